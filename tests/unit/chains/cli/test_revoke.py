"""The commands ``revoke``, and ``verify`` with a list: exit codes, and what people read."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.revocation.document import parse_list
from chains.revocation.envelope import read_envelope
from tests.faults.verify.forge import BUILDER, DIGEST, bundle, provenance, public, signer, subject
from tests.unit.chains.revocation.made import document, signed

Json = Any
CHAINS = Path(sys.executable).with_name("chains")
KEYID = public().keyid
EXAMPLE = Path(__file__).parents[4] / "examples" / "taskrun-image.json"
BUILT = "sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
"""The image that the example run built."""
Show = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """Run a command in a folder with evidence, its key, and the key of lists."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("b.sigstore.json").write_bytes(bundle(provenance()))
    Path("ours.pub").write_bytes(public().pem)
    assert chains(["keys", "generate", "lists.pem"]) == 0
    capsys.readouterr()

    def call(*words: str) -> tuple[int, str, str]:
        code = chains(list(words))
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def verify(call: Show, *words: str) -> tuple[int, str, str]:
    listed = ["--revocations", "list.json", "--revocations-key", "lists.pub"]
    return call("verify", "b.sigstore.json", "--key", "ours.pub", "--digest", DIGEST, *listed, *words)


def entries(path: str = "list.json") -> Json:
    return json.loads(Path(path).read_text())["entries"]


def put(call: Show, *words: str) -> None:
    """Add to the draft and sign it."""
    assert call("revoke", "add", "draft.json", "--reason", "r", *words)[0] == 0
    code, _, told = call("revoke", "sign", "draft.json", "--key", "lists.pem", "--to", "list.json")
    assert code == 0, told


def test_of_two_additions_at_the_same_time_neither_is_lost(call: Show) -> None:
    def add(number: int) -> int:
        image = "sha256:" + f"{number:064x}"
        command = ["revoke", "add", "draft.json", "--reason", "r", "--image", image]
        return subprocess.run([CHAINS, *command], check=False, capture_output=True).returncode

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(add, range(6))) == [0] * 6
    assert len(entries("draft.json")) == 6
    assert json.loads(Path("draft.json").read_text())["version"] == 6


def test_an_addition_waits_a_while_for_another_and_then_says_so(
    call: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chains.cli.revoke._PATIENCE", 0.0)
    handle = os.open(".", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        code, _, told = call("revoke", "add", "draft.json", "--reason", "r", "--builder", "https://b")
    finally:
        os.close(handle)
    assert (code, Path("draft.json").exists()) == (1, False)
    assert "another program has changed lists in this folder for 0 s; try again" in told


# verify


def test_verify_answers_by_the_list_with_the_documented_exit_codes(call: Show) -> None:
    put(call, "--builder", "https://other.example.com")
    code, out, _ = verify(call)
    assert (code, out.split()[0]) == (0, "VERIFIED")
    put(call, "--key", KEYID)
    code, out, _ = verify(call, "--output", "json")
    found = json.loads(out)
    assert (code, found["exitCode"], found["verdict"]) == (1, 1, "FAILED")
    assert found["attestations"][0]["reason"] == "key_revoked"
    assert {"revocation-list", "revocation"} <= {one["id"] for one in found["checks"]}
    Path("list.json").unlink()
    code, out, _ = verify(call)
    assert (code, out.split()[0]) == (4, "INDETERMINATE")
    assert "revocation_list_unusable" in out


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--key", KEYID),
        ("--key", "ours.pub"),
        ("--image", DIGEST),
        ("--image", f"mirror.example.com/app:1@{DIGEST}"),
        ("--builder", BUILDER),
    ],
    ids=["keyid", "key file", "image", "image with its name", "builder"],  # the keyid differs in each process
)
def test_each_kind_fails_by_the_command(call: Show, option: str, value: str) -> None:
    put(call, option, value)
    assert verify(call)[0] == 1


def test_every_kind_of_target_is_compared_with_the_list(call: Show) -> None:
    assert call("attest", str(EXAMPLE))[0] == 0
    Path("blob").write_bytes(b"release")
    value = hashlib.sha256(b"release").hexdigest()
    Path("blob.sigstore.json").write_bytes(bundle(provenance(subject(value))))
    store = ["--store", "oci-layout:.chains/layout", "--key", ".chains/signing.pub"]
    targets = {
        "image": [f"registry.example.com/shop/storefront@{BUILT}", *store],
        "digest": [BUILT, *store],
        "run": [str(EXAMPLE), *store],
        "bundle": ["b.sigstore.json", "--key", "ours.pub"],
        "blob": ["blob.sigstore.json", "--blob", "blob", "--key", "ours.pub"],
    }
    listed = ["--revocations", "list.json", "--revocations-key", "lists.pub"]
    put(call, "--builder", "https://other.example.com")
    for name, words in targets.items():
        assert call("verify", *words, *listed)[0] == 0, name
    put(call, "--image", BUILT, "--image", DIGEST, "--image", f"sha256:{value}")
    for name, words in targets.items():
        code, out, _ = call("verify", *words, *listed)
        assert (code, "revoked" in out) == (1, True), name
    Path("list.json").write_text("{}")
    for name, words in targets.items():
        assert call("verify", *words, *listed)[0] == 4, name


def test_a_run_fails_for_the_key_that_attested_it_and_for_the_builder(call: Show) -> None:
    assert call("attest", str(EXAMPLE))[0] == 0
    listed = ["--revocations", "list.json", "--revocations-key", "lists.pub"]
    words = ["verify", str(EXAMPLE), "--store", "oci-layout:.chains/layout", "--key", ".chains/signing.pub"]
    put(call, "--builder", "https://tekton.dev/chains/v2")
    code, out, _ = call(*words, *listed, "--revocations-state", "none")
    assert (code, "builder https://tekton.dev/chains/v2 is revoked" in " ".join(out.split())) == (1, True)
    Path("draft.json").unlink()
    Path("list.json").unlink()
    put(call, "--key", ".chains/signing.pub")
    code, out, _ = call(*words, *listed, "--revocations-state", "none", "--output", "json")
    found = json.loads(out)
    assert code == 1
    assert {one["reason"] for one in found["attestations"]} == {"key_revoked"}
    assert not any(one["used"] for one in found["attestations"])


def test_a_list_may_not_go_back_from_one_command_to_the_next(call: Show) -> None:
    put(call, "--builder", "https://one.example.com")
    old = Path("list.json").read_bytes()
    put(call, "--builder", "https://two.example.com")
    assert verify(call)[0] == 0
    assert (Path("state") / "provenance-chains" / "revocations.json").exists()
    Path("list.json").write_bytes(old)
    code, out, _ = verify(call)
    assert code == 4
    assert "version 2 was read before" in " ".join(out.split())
    assert verify(call, "--revocations-state", "none")[0] == 0
    assert verify(call, "--revocations-state", "none", "--revocations-min-version", "2")[0] == 4
    assert verify(call, "--revocations-state", "elsewhere.json")[0] == 0
    assert Path("elsewhere.json").exists()


def test_the_environment_names_a_list_too(call: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    put(call, "--key", KEYID)
    monkeypatch.setenv("CHAINS_REVOCATIONS", "list.json")
    monkeypatch.setenv("CHAINS_REVOCATIONS_KEY", "lists.pub")
    monkeypatch.setenv("CHAINS_REVOCATIONS_STATE", "seen.json")
    assert call("verify", "b.sigstore.json", "--key", "ours.pub", "--digest", DIGEST)[0] == 1
    assert Path("seen.json").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--revocations", "list.json"], "--revocations needs --revocations-key"),
        (["--revocations-key", "lists.pub"], "--revocations-key belongs to --revocations"),
        (["--revocations-min-version", "3"], "--revocations-min-version belongs to --revocations"),
        (
            ["--revocations", "list.json", "--revocations-key", "missing.pub"],
            "missing.pub",
        ),
        (
            [
                "--revocations",
                "list.json",
                "--revocations-key",
                "lists.pub",
                "--revocations-min-version",
                "-1",
            ],
            "expected a whole number",
        ),
        (
            [
                "--revocations",
                "list.json",
                "--revocations-key",
                "lists.pub",
                "--revocations-min-version",
                "x",
            ],
            "expected a whole number",
        ),
    ],
)
def test_half_of_the_options_is_wrong_usage(call: Show, words: list[str], told: str) -> None:
    code, _, err = call("verify", "b.sigstore.json", "--key", "ours.pub", *words)
    assert code == 2
    assert told in err


def test_without_a_home_a_state_file_has_to_be_named(call: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    put(call, "--builder", "https://other.example.com")
    monkeypatch.delenv("XDG_STATE_HOME")

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    code, _, err = verify(call)
    assert code == 2
    assert "--revocations-state FILE" in err
    assert verify(call, "--revocations-state", "none")[0] == 0


# add


def test_add_begins_a_list_raises_its_version_and_sorts_it(call: Show) -> None:
    assert call("revoke", "add", "d.json", "--builder", "https://b", "--reason", "r")[0] == 0
    first = parse_list(Path("d.json").read_bytes())
    assert first.version == 1
    code, _, told = call(
        "revoke", "add", "d.json", "--key", KEYID, "--image", DIGEST, "--reason", "r", "--since",
        "2026-10-01T00:00:00+02:00",
    )  # fmt: skip
    assert code == 0
    assert "version 2 and 3 entries" in told
    assert "chains revoke sign" in told
    assert [next(iter(one)) for one in entries("d.json")] == ["key", "image", "builder"]
    assert entries("d.json")[0]["since"] == "2026-09-30T22:00:00Z"
    assert parse_list(Path("d.json").read_bytes()).version == 2


def test_add_takes_every_kind_at_once(call: Show) -> None:
    words = ["--key", KEYID, "--image", DIGEST, "--builder", "https://b", "--verifier", "https://v"]
    words += ["--task", "sha1:" + "a" * 40, "--identity", "https://ci", "--issuer", "https://issuer"]
    assert call("revoke", "add", "d.json", *words, "--reason", "r")[0] == 0
    assert [next(iter(one)) for one in entries("d.json")] == [
        "key", "identity", "image", "builder", "verifier", "task",
    ]  # fmt: skip
    assert entries("d.json")[1]["identity"] == {"san": "https://ci", "issuer": "https://issuer"}


def test_a_key_is_added_by_its_file_and_a_key_set_with_all_its_keys(call: Show) -> None:
    Path("both.pub").write_bytes(public().pem + public("second").pem)
    assert call("revoke", "add", "d.json", "--key", "both.pub", "--reason", "r")[0] == 0
    assert {one["key"] for one in entries("d.json")} == {KEYID, public("second").keyid}


def test_what_is_listed_is_refused_unless_the_new_entry_revokes_more(call: Show) -> None:
    def add(*words: str) -> int:
        return call("revoke", "add", "d.json", "--key", KEYID, "--reason", "r", *words)[0]

    assert add("--since", "2026-10-05T00:00:00Z") == 0
    assert add("--since", "2026-10-05T00:00:00Z") == 2, "the same"
    assert add("--since", "2026-10-06T00:00:00Z") == 2, "less"
    assert entries("d.json")[0]["since"] == "2026-10-05T00:00:00Z"
    assert add("--since", "2026-10-04T00:00:00Z") == 0, "more"
    assert add() == 0, "always"
    assert entries("d.json") == [{"key": KEYID, "reason": "r"}]
    assert add() == 2
    assert parse_list(Path("d.json").read_bytes()).version == 3


def test_an_identity_gets_several_windows_and_a_wider_one_takes_the_place_of_all(call: Show) -> None:
    def add(*words: str) -> int:
        name = ["--identity-regexp", r"https://ci\.example\.com/.*", "--issuer", "https://issuer"]
        return call("revoke", "add", "d.json", *name, "--reason", "r", *words)[0]

    assert add("--since", "2026-01-01T00:00:00Z", "--until", "2026-02-01T00:00:00Z") == 0
    assert add("--since", "2026-03-01T00:00:00Z", "--until", "2026-04-01T00:00:00Z") == 0
    assert add("--since", "2026-03-02T00:00:00Z", "--until", "2026-03-03T00:00:00Z") == 2
    assert len(entries("d.json")) == 2
    assert add("--since", "2025-01-01T00:00:00Z") == 0
    assert len(entries("d.json")) == 1


def test_expires_alone_makes_a_new_version_and_stays(call: Show) -> None:
    assert call("revoke", "add", "d.json", "--expires", "2090-01-01T00:00:00Z")[0] == 0
    assert call("revoke", "add", "d.json", "--key", KEYID, "--reason", "r")[0] == 0
    found = parse_list(Path("d.json").read_bytes())
    assert (found.version, found.expires and found.expires.year) == (2, 2090)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nothing to add"),
        (["--reason", "r"], "--reason belongs to an entry"),
        (["--key", KEYID], "--reason is missing"),
        (["--key", "SHA256:x", "--reason", "r"], "--key: expected SHA256:"),
        (["--key", "missing.pub", "--reason", "r"], "missing.pub"),
        (["--image", "app:v1", "--reason", "r"], "--image: expected sha256"),
        (["--task", "git-clone", "--reason", "r"], "--task: expected sha1"),
        (["--builder", "a b", "--reason", "r"], "--builder: expected an id without spaces"),
        (["--identity", "a", "--reason", "r"], "pass one of --issuer and --issuer-regexp"),
        (["--issuer", "a", "--reason", "r"], "pass one of --identity and --identity-regexp"),
        (["--identity", "a", "--identity-regexp", "a", "--issuer", "b", "--reason", "r"], "pass one of --identity and"),
        (["--identity-regexp", "(a+)+", "--issuer", "b", "--reason", "r"], "can take for ever"),
        (["--key", KEYID, "--reason", "r", "--since", "monday"], "--since: expected a time"),
        (["--key", KEYID, "--reason", "r", "--until", "2026-01-01T00:00:00Z"], "--until is for --identity"),
        (["--expires", "2020-01-01T00:00:00Z"], "which is past"),
        (
            ["--identity", "a", "--issuer", "b", "--reason", "r", "--since", "2026-02-01T00:00:00Z", "--until", "2026-01-01T00:00:00Z"],
            "--until is not after --since",
        ),
    ],
)  # fmt: skip
def test_wrong_words_are_wrong_usage_and_write_nothing(call: Show, words: list[str], told: str) -> None:
    code, _, err = call("revoke", "add", "d.json", *words)
    assert code == 2, err
    assert told in err
    assert not Path("d.json").exists()


def test_a_file_that_is_no_list_is_not_overwritten(call: Show) -> None:
    for content in (b"{}", b"hello", b"", signer().public_pem):
        Path("d.json").write_bytes(content)
        assert call("revoke", "add", "d.json", "--key", KEYID, "--reason", "r")[0] == 1
        assert Path("d.json").read_bytes() == content


def test_a_signed_list_is_added_to_only_if_its_signature_is_verified(call: Show) -> None:
    Path("d.json").write_bytes(document({"key": KEYID}))
    assert call("revoke", "sign", "d.json", "--key", "lists.pem")[0] == 0
    more = ["--builder", "https://b", "--reason", "r"]
    code, _, err = call("revoke", "add", "d.json", *more)
    assert code == 2
    assert "pass --revocations-key" in err
    assert call("revoke", "add", "d.json", *more, "--revocations-key", "ours.pub")[0] == 1
    assert call("revoke", "add", "d.json", *more, "--revocations-key", "lists.pub")[0] == 0
    assert [next(iter(one)) for one in entries("d.json")] == ["key", "builder"]


def test_a_link_keeps_leading_to_the_list(call: Show) -> None:
    Path("real.json").write_bytes(document())
    Path("link.json").symlink_to("real.json")
    assert call("revoke", "add", "link.json", "--key", KEYID, "--reason", "r")[0] == 0
    assert Path("link.json").is_symlink()
    assert entries("real.json") == [{"key": KEYID, "reason": "r"}]


@pytest.mark.parametrize("command", ["add", "sign", "show"])
def test_odd_files_end_a_command_with_an_error_and_never_block(call: Show, command: str) -> None:
    Path("folder.json").mkdir()
    os.mkfifo("pipe.json")
    Path("circle.json").symlink_to("circle.json")
    with Path("huge.json").open("wb") as file:
        file.truncate(1 << 40)
    more = {"add": ["--key", KEYID, "--reason", "r"], "sign": ["--key", "lists.pem"], "show": []}[command]
    for name in ("folder", "pipe", "circle", "huge"):
        code, _, err = call("revoke", command, f"{name}.json", *more)
        assert (code, f"{name}.json" in err) == (1, True), name


# sign


def test_sign_signs_the_documents_own_bytes(call: Show) -> None:
    data = document({"key": KEYID}, version=3)
    Path("d.json").write_bytes(data)
    code, _, told = call("revoke", "sign", "d.json", "--key", "lists.pem", "--to", "s.json")
    assert code == 0
    assert "signed version 3" in told
    assert read_envelope(Path("s.json").read_bytes()).payload == data
    assert Path("d.json").read_bytes() == data


def test_sign_refuses_what_readers_would_refuse(call: Show) -> None:
    Path("d.json").write_bytes(document({"key": KEYID}, version=3))
    assert call("revoke", "sign", "d.json", "--key", "lists.pem", "--to", "s.json")[0] == 0
    assert call("revoke", "sign", "d.json", "--key", "lists.pem", "--to", "s.json")[0] == 0, "again"
    for version in (2, 3):
        Path("d.json").write_bytes(document({"image": DIGEST}, version=version))
        code, _, err = call("revoke", "sign", "d.json", "--key", "lists.pem", "--to", "s.json")
        assert code == 2
        assert "has version 3 already" in err
    Path("d.json").write_bytes(document({"image": DIGEST}, version=4, expires="2026-10-02T00:00:00Z"))
    code, _, err = call("revoke", "sign", "d.json", "--key", "lists.pem", "--to", "s.json")
    assert code == 2
    assert "--expires TIME" in err


def test_sign_refuses_what_is_no_list_and_what_is_signed(call: Show) -> None:
    Path("d.json").write_bytes(b"{}")
    assert call("revoke", "sign", "d.json", "--key", "lists.pem")[0] == 1
    Path("d.json").write_bytes(signed({"key": KEYID}))
    code, _, err = call("revoke", "sign", "d.json", "--key", "lists.pem")
    assert code == 2
    assert "is signed already" in err
    Path("d.json").write_bytes(document())
    assert call("revoke", "sign", "d.json", "--key", "missing.pem")[0] == 2
    assert call("revoke", "sign", "missing.json", "--key", "lists.pem")[0] == 2


# show


def test_show_tells_who_signed_and_what_is_listed(call: Show) -> None:
    Path("d.json").write_bytes(document({"key": KEYID, "since": "2026-10-01T00:00:00Z", "reason": "stolen"}))
    code, out, _ = call("revoke", "show", "d.json")
    assert code == 0
    assert "version 1, issued 2026-10-01T00:00:00Z, not signed" in out
    assert "2026-10-01T00:00:00Z" in out
    assert "stolen" in out
    assert call("revoke", "sign", "d.json", "--key", "lists.pem")[0] == 0
    assert "signed, not verified" in call("revoke", "show", "d.json")[1]
    code, out, _ = call("revoke", "show", "d.json", "--revocations-key", "lists.pub", "--output", "json")
    found = json.loads(out)
    assert code == 0
    assert found["signed"] is True
    assert found["signer"].startswith("SHA256:")
    assert found["entries"] == [{"key": KEYID, "since": "2026-10-01T00:00:00Z", "reason": "stolen"}]
    assert call("revoke", "show", "d.json", "--revocations-key", "ours.pub")[0] == 1
    assert call("revoke", "show", "missing.json")[0] == 2


def test_show_escapes_hostile_text(call: Show) -> None:
    evil = "\x1b[2Ja\nb\u202e"
    Path("d.json").write_bytes(
        document({"identity": {"san": f"n{evil}", "issuer": f"i{evil}"}, "reason": f"r{evil}"})
    )
    for form in ("text", "json"):
        code, out, _ = call("revoke", "show", "d.json", "--output", form)
        assert code == 0
        assert "\x1b" not in out
        assert "\u202e" not in out
    code, _, err = call(
        "revoke", "add", "d.json", "--identity", f"n{evil}", "--issuer", f"i{evil}", "--reason", "r"
    )
    assert code == 2
    assert "\x1b" not in err
