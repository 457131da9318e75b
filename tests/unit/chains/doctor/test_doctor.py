"""The report of ``chains doctor``, and what it finds without a cluster or a registry."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.columns import table
from chains.config.parse import parse_config
from chains.doctor.cluster import Right, judge_clock, needs
from chains.doctor.local import check_services, services
from chains.doctor.report import HEADER, DoctorCheck, exit_code, rows_of, summary_of, to_json
from tests.testbed.cluster import free_ports
from tests.testbed.sigstore_keys import signing_config

OK = DoctorCheck("key", "ok", "signs")
WARNING = DoctorCheck("clock", "warning", "is 9 s ahead", "set it")
FAILED = DoctorCheck("rights", "failed", "may not patch runs\x1b[2J", "grant them")
SKIPPED = DoctorCheck("log", "skipped", "none is named")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))


def doctor(
    capsys: pytest.CaptureFixture[str], *arguments: str, data: Any = None
) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the checks by name; several of one name as a list of them."""
    Path("config.json").write_text(json.dumps(data or {}))
    code = chains(
        ["doctor", "--config", "config.json", "--signing-secrets", "keys", "--output", "json", *arguments]
    )
    found: dict[str, Any] = {}
    for check in json.loads(capsys.readouterr().out)["checks"]:
        found.setdefault(check["name"], []).append(check)
    return code, {name: checks[0] if len(checks) == 1 else checks for name, checks in found.items()}


def listed(checks: Any) -> list[Any]:
    return checks if isinstance(checks, list) else [checks]


def make_key(name: str = "x509.pem") -> None:
    Path("keys").mkdir(exist_ok=True)
    assert chains(["keys", "generate", f"keys/{name}"]) == 0


def test_only_a_failed_check_makes_the_exit_code_one() -> None:
    assert exit_code([OK, WARNING, SKIPPED]) == 0
    assert exit_code([]) == 0
    assert exit_code([OK, FAILED]) == 1


def test_the_table_has_every_next_step_and_obeys_no_control_character() -> None:
    checks = [OK, WARNING, FAILED, SKIPPED]
    text = f"{table(HEADER, rows_of(checks))}\n\n{summary_of(checks)}"
    assert text.splitlines()[0].split() == ["STATE", "CHECK", "DETAIL"]
    assert "next: set it" in text
    assert "next: grant them" in text
    assert "\x1b" not in text
    assert text.endswith("4 checks: 1 ok, 1 warning, 1 failed, 1 skipped")


def test_the_json_has_name_state_detail_and_next_step() -> None:
    found = to_json([WARNING])
    assert found["checks"] == [
        {"name": "clock", "state": "warning", "detail": "is 9 s ahead", "next_step": "set it"}
    ]
    assert found["counts"] == {"ok": 0, "warning": 1, "failed": 0, "skipped": 0}


@pytest.mark.parametrize(
    ("skew", "state"), [(0, "ok"), (-4, "ok"), (20, "warning"), (-20, "warning"), (90, "failed")]
)
def test_a_wrong_clock_is_told_with_its_direction(skew: float, state: str) -> None:
    check = judge_clock(skew)
    assert check.state == state
    if state != "ok":
        assert ("ahead" if skew > 0 else "behind") in check.detail


def test_rights_are_asked_for_in_each_watched_namespace() -> None:
    runs = next(need for need in needs(["a", "b"], "system") if need.name == "rights on runs")
    assert len(runs.rights) == 2 * 2 * 4
    right = Right("patch", "tekton.dev/taskruns:status", "a")
    assert right.attributes() == {
        "verb": "patch", "group": "tekton.dev", "resource": "taskruns", "subresource": "status", "namespace": "a",
    }  # fmt: skip
    assert str(right) == "patch taskruns/status in a"
    assert str(Right("get", "secrets")) == "get secrets in all namespaces"


def test_without_a_cluster_and_a_configuration_there_is_nothing_to_examine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chains(["doctor"]) == 2
    assert "pass --kubeconfig FILE, --config FILE or both" in capsys.readouterr().err


def test_a_good_key_and_configuration_pass(capsys: pytest.CaptureFixture[str]) -> None:
    make_key()
    capsys.readouterr()
    code, found = doctor(
        capsys, data={"artifacts.taskrun.storage": "tekton", "artifacts.oci.storage": "tekton"}
    )
    assert code == 0
    assert found["key"]["state"] == "ok"
    assert found["key"]["detail"].startswith("SHA256:")
    assert "(ecdsa-p256-sha256)" in found["key"]["detail"]
    assert found["store tekton: write"]["state"] == "ok"
    assert found["cluster"]["state"] == found["log"]["state"] == "skipped"
    assert "key files" not in found


def test_a_key_open_to_everybody_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    make_key()
    Path("keys/x509.pem").chmod(0o644)
    capsys.readouterr()
    code, found = doctor(capsys)
    assert code == 0
    assert found["key files"]["state"] == "warning"
    assert "defaultMode 0440" in found["key files"]["next_step"]


def test_a_broken_configuration_fails_with_every_problem_and_the_key_is_tried_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_key()
    capsys.readouterr()
    data = {
        "artifacts.taskrun.format": "slsa/v9",
        "artifacts.taskrun.storag": "oci",
        "signers.kms.auth.token": "s3cr3t",
    }
    code, found = doctor(capsys, data=data)
    assert code == 1
    told = [
        each
        for name, checks in found.items()
        if name.startswith("configuration: ")
        for each in listed(checks)
    ]
    details = [check["detail"] for check in told]
    assert any("artifacts.taskrun.format: expected one of" in detail for detail in details)
    assert any("did you mean artifacts.taskrun.storage?" in detail for detail in details)
    assert found["key"]["state"] == "ok"
    assert found["stores"]["state"] == "skipped"
    assert "s3cr3t" not in json.dumps(found)


def test_a_store_that_cannot_be_opened_fails_and_the_others_are_tried(
    capsys: pytest.CaptureFixture[str],
) -> None:
    make_key()
    capsys.readouterr()
    code, found = doctor(capsys, data={"storage.oci.ca-file": "/no/such/file.pem"})
    assert code == 1
    assert "/no/such/file.pem" in json.dumps(found)
    assert found["store tekton: write"]["state"] == "ok"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "has neither x509.pem nor cosign.key"),
        (
            b"-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n",
            "cannot be read as a private key",
        ),
        (b"not a key", "keys/x509.pem"),
    ],
)
def test_a_wrong_key_fails_with_the_next_step(
    content: bytes | None, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("keys").mkdir()
    if content is not None:
        Path("keys/x509.pem").write_bytes(content)
        Path("keys/x509.pem").chmod(0o600)
    code, found = doctor(capsys)
    assert code == 1
    assert words in found["key"]["detail"]
    assert "signing-secrets" in found["key"]["next_step"]


def test_a_public_key_that_belongs_to_another_one_fails(capsys: pytest.CaptureFixture[str]) -> None:
    make_key()
    make_key("other.pem")
    Path("keys/other.pub").rename("keys/cosign.pub")
    capsys.readouterr()
    code, found = doctor(capsys)
    assert code == 1
    assert "the key that signs is SHA256:" in found["public key"]["detail"]
    Path("keys/x509.pub").rename("keys/cosign.pub")
    code, found = doctor(capsys)
    assert (code, found["public key"]["state"]) == (0, "ok")


def test_a_server_that_is_not_there_fails_and_the_password_in_its_url_is_not_told() -> None:
    port = free_ports(1)[0]
    data = {"transparency.enabled": "true", "transparency.url": f"http://me:s3cr3t@127.0.0.1:{port}"}
    (check,) = asyncio.run(check_services(parse_config(data)))
    assert (check.name, check.state) == ("log", "failed")
    assert "127.0.0.1 cannot be reached" in check.detail
    assert "s3cr3t" not in str(check)


def test_servers_that_a_signing_configuration_names_are_tried_instead_of_the_public_ones(
    tmp_path: Path,
) -> None:
    file = tmp_path / "signing_config.json"
    file.write_text(json.dumps(signing_config("http://ca.test", "http://log.test", "http://tsa.test")))
    data = {
        "signers.x509.fulcio.enabled": "true",
        "signers.x509.trusted-root": "root.json",
        "signers.x509.signing-config": str(file),
        "transparency.enabled": "true",
    }
    found = {each.name: each.url for each in services(parse_config(data))}
    assert found == {"fulcio": "http://ca.test", "log": "http://log.test", "timestamps": "http://tsa.test"}
    file.write_text("{}")
    (check,) = asyncio.run(check_services(parse_config(data)))
    assert (check.name, check.state) == ("signing configuration", "failed")


def without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process in which a module is not installed."""
    program = f"import sys; sys.modules[{module!r}] = None; from chains.cli.main import run; sys.exit(run({list(arguments)}))"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("kopf", ["controller"]),
        ("prometheus_client", ["controller"]),
        ("prometheus_client", ["backfill"]),
        ("prometheus_client", ["resign", "ci/build"]),
        ("prometheus_client", ["finalizers", "release"]),
    ],
)
def test_a_missing_package_of_the_extra_is_named(module: str, arguments: list[str]) -> None:
    ended = without(module, *arguments)
    assert ended.returncode == 2
    packages = "'kopf>=1.45.2' 'prometheus-client>=0.22'"
    words = f"the module {module} is missing: pip install {packages} brings what is needed"
    assert ended.stderr == f"chains: error: {words}\n"


@pytest.mark.parametrize("module", ["kopf", "prometheus_client"])
def test_the_doctor_needs_no_package_of_the_extra(module: str) -> None:
    Path("config.json").write_text("{}")
    ended = without(module, "doctor", "--config", "config.json")
    assert " checks: " in ended.stdout
    assert ended.stderr == ""


def test_another_module_that_is_missing_is_not_blamed_on_the_extra() -> None:
    ended = without("aiohttp", "controller")
    assert ended.returncode == 1
    assert "ModuleNotFoundError: import of aiohttp halted" in ended.stderr
    assert "pip install" not in ended.stderr.rpartition("ModuleNotFoundError")[2]
