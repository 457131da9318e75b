"""What a person meets first: words on the command line that are wrong, counts, keys, packs, installations."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from chains.cli.main import run as chains
from chains.doctor.packages import check_packages
from chains.extras import install_hint
from chains.text import count
from signers.keys.keyfile import generate_key, is_encrypted_keyfile, open_keyfile, write_key_pair

EXAMPLES = Path(__file__).parents[4] / "examples"


def test_a_count_has_its_noun_in_the_right_form() -> None:
    assert [count(number, "run") for number in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert count(1, "piece of evidence", "pieces of evidence") == "1 piece of evidence"
    assert count(3, "piece of evidence", "pieces of evidence") == "3 pieces of evidence"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--workers", "0"),
        ("--workers", "-1"),
        ("--workers", "many"),
        ("--workers", "99999999999999999999999"),
        ("--workers", "\u0663"),
        ("--threads-per-controller", "0"),
        ("--kube-api-burst", "0"),
        ("--health-port", "0"),
        ("--health-port", "65536"),
        ("--retry-for", "forever"),
        ("--kube-api-qps", "-1"),
        ("--kube-api-qps", "nan"),
    ],
)
def test_a_number_that_the_controller_cannot_work_with_is_refused(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["controller", "--kubeconfig", "nowhere", f"{option}={value}"]) == 2
    assert f"{option} " in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["verify", "run.json", "--out", "json"],
        ["attest", "run.json", "--stor", "file:x"],
        ["keys", "generate", "x.key", "--algo", "ed25519"],
        ["controller", "--work", "3"],
        ["--vers"],
    ],
)
def test_an_abbreviated_option_is_unknown(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(words) == 2
    told = capsys.readouterr().err
    option = next(word for word in words if word.startswith("--"))
    assert f"no such option: {option}; did you mean --" in told


def test_a_program_that_asks_for_json_gets_json_for_a_usage_error_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (
        ["verify", "missing.json", "--output", "json"],
        ["verify", "missing.json", "--output=json", "--unknown"],
        ["attest", "missing.json", "--config", "missing.yaml", "--output", "json"],
        ["get", "sha256:abc", "--store", "file:x", "--output", "json"],
    ):
        code = chains(words)
        captured = capsys.readouterr()
        answer = json.loads(captured.out)
        assert (code, answer["exitCode"]) == (2, 2)
        assert answer["error"] in captured.err.replace("chains: error: ", "").replace("\n", "")
    monkeypatch.setenv("CHAINS_OUTPUT", "json")
    assert chains(["verify", "missing.json"]) == 2
    assert json.loads(capsys.readouterr().out)["exitCode"] == 2
    assert chains(["verify", "missing.json", "--output", "text"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "target",
    [
        "sha256:abc",
        "sha512:" + "a" * 64,
        "sha256:" + "A" * 64,
        "ghcr.io/app@sha256:abc",
        "ghcr.io/app:tag",
        "a/b/c/d",
        "?",
    ],
)
def test_get_refuses_what_can_name_nothing_as_verify_does(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "evidence").mkdir()
    assert chains(["get", target, "--store", f"file:{tmp_path / 'evidence'}"]) == 2
    assert target in capsys.readouterr().err


def test_keys_public_makes_no_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert chains(["keys", "public"]) == 2
    assert "chains keys generate" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_only_a_private_key_that_all_may_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    private = tmp_path / "signing.key"
    public = write_key_pair(private, generate_key())
    public.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        assert chains(["keys", "public", str(public)]) != 0  # it has no private half to open
        assert not caplog.records
        private.chmod(0o644)
        open_keyfile(str(private))
    assert "is open to every user" in caplog.text


def test_an_encrypted_key_is_opened_by_a_password_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
    key = tmp_path / "cosign.key"
    secret = b"correct horse"
    encrypted = load_pem_private_key(generate_key(), None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(secret)
    )
    key.write_bytes(encrypted)
    key.chmod(0o600)
    assert is_encrypted_keyfile(str(key))
    right, wrong = tmp_path / "password", tmp_path / "wrong"
    right.write_bytes(secret + b"\r\nnot this line\n")
    wrong.write_text("guess")
    assert chains(["keys", "public", str(key), "--password-file", str(right)]) == 0
    assert "BEGIN PUBLIC KEY" in capsys.readouterr().out
    monkeypatch.setenv("COSIGN_PASSWORD", secret.decode())
    assert chains(["keys", "public", str(key), "--password-file", str(wrong)]) == 2
    told = capsys.readouterr().err
    assert "cannot be decrypted with this password" in told
    assert "guess" not in told
    assert chains(["keys", "public", str(key), "--password-file", str(tmp_path / "missing")]) == 2
    assert chains(["keys", "public", "awskms:///alias/x", "--password-file", str(right)]) == 2


def test_the_hint_for_an_extra_names_packages_that_an_index_has() -> None:
    hint = install_hint("keyless")
    assert hint.startswith("pip install ")
    assert "provenance-chains" not in hint
    listed = [line for line in requires("provenance-chains") or [] if "keyless" in line]
    assert listed
    for line in listed:
        assert line.partition(";")[0].strip() in hint
    assert install_hint("unheard-of") == "install provenance-chains with its extra unheard-of"


def _python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, text=True, capture_output=True, check=False
    )


@pytest.mark.parametrize("name", ["signers", "storage"])
@pytest.mark.parametrize("content", ["", "DISTRIBUTION = 'provenance-chains'\n"])
def test_a_package_that_shadows_a_part_of_this_one_is_named(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text(content)
    ended = _python("import chains.cli.main", tmp_path)
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert f"another package shadows a part of provenance-chains: {name} is {tmp_path / name}" in last


def test_doctor_names_the_distribution_that_brings_the_same_package(tmp_path: Path) -> None:
    assert check_packages().state == "ok"
    other = tmp_path / "other_signers-1.0.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: other-signers\nVersion: 1.0\n")
    (other / "top_level.txt").write_text("signers\n")
    code = "from chains.doctor.packages import check_packages; import json; print(json.dumps(check_packages().to_json()))"
    found: Any = json.loads(_python(code, tmp_path).stdout)
    assert (found["name"], found["state"]) == ("packages", "failed")
    assert found["detail"] == "signers is also of other-signers"
    assert "uninstall" in found["next_step"]


def test_the_commands_in_a_packs_own_readme_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert chains(["attest", str(EXAMPLES / "taskrun-image.json")]) == 0
    assert (
        chains(["export", "pack", "--key", ".chains/signing.pub", "--store", "oci-layout:.chains/layout"])
        == 0
    )
    pack = tmp_path / "pack"
    block = (pack / "README.md").read_text().split("```sh\n")[1].split("```")[0]
    for number, line in enumerate((pack / "index.jsonl").read_text().splitlines(), 1):
        told = json.loads(line)
        digest = told["subjects"][0]["digest"]["sha256"]
        commands = block.replace("PREDICATE_TYPE", told["predicateType"]).replace("HEX", digest)
        commands = commands.replace("sed -n 1p", f"sed -n {number}p")
        # cosign is an outside program; its command is tried by the tests that build it
        ours = [step for step in commands.replace("\\\n", " ").splitlines() if not step.startswith("cosign")]
        ended = subprocess.run(
            ["sh", "-ec", "\n".join(ours)], cwd=pack, text=True, capture_output=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "VERIFIED" in ended.stdout
