"""Keys of key services through the commands and the controller's configuration: attest, verify, rotate, fail."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.cluster.client import Cluster
from chains.controller.flow import build_flow
from chains.controller.reload import Reloader
from chains.errors import ConfigError, UnreachableError
from signers.keys.keyfile import generate_key, write_key_pair
from signers.kms.service import KmsSettings
from signers.open import open_signer
from tests.testbed.commands import Command
from tests.testbed.key_services import DENY, OUTAGE
from tests.testbed.key_services.aws import Aws, aws
from tests.testbed.key_services.vault import Vault, vault

RUN = str(Path(__file__).parents[2] / "examples" / "taskrun-image.json")
IMAGE = next(
    item["value"]
    for item in json.loads(Path(RUN).read_text())["status"]["results"]
    if item["name"].endswith("IMAGE_DIGEST")
)
KEYS = ("artifacts.taskrun.signer", "artifacts.pipelinerun.signer", "artifacts.oci.signer")


@pytest.fixture(scope="module")
def running_vault() -> Iterator[Vault]:
    with vault() as server:
        yield server


@pytest.fixture(scope="module")
def running_aws() -> Iterator[Aws]:
    with aws() as server:
        yield server


@pytest.fixture
def server(running_vault: Vault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vault:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("signers.kms.service._FIRST_DELAY", 0.001)
    monkeypatch.delenv("VAULT_ADDR", raising=False)
    monkeypatch.delenv("VAULT_TOKEN", raising=False)
    running_vault.faults.clear()
    return running_vault


def configuration(server: Vault, **more: str) -> dict[str, str]:
    Path("token").write_text("root-token\n")
    return {
        **dict.fromkeys(KEYS, "kms"),
        "artifacts.taskrun.format": "slsa/v2alpha4",
        "storage.oci.encoding-format": "both",
        "signers.kms.kmsref": server.reference("ecdsa-p256"),
        "signers.kms.auth.address": server.address,
        "signers.kms.auth.token-path": str(Path("token").absolute()),
        **more,
    }


def written(data: Mapping[str, str]) -> str:
    Path("config.json").write_text(json.dumps(data))
    return "config.json"


def attested(config: str, capsys: pytest.CaptureFixture[str], *more: str) -> Any:
    code = chains(
        ["attest", RUN, "--config", config, "--store", "oci-layout:layout", "--output", "json", *more]
    )
    said = capsys.readouterr()
    return code, (json.loads(said.out).get("runs") or [{}])[0], said.err


def test_a_configured_key_signs_and_its_reference_verifies(
    server: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    data = configuration(server)
    code, run, _ = attested(written(data), capsys)
    assert (code, run["state"]) == (0, "signed")
    reference = data["signers.kms.kmsref"]
    verify = ["verify", RUN, "--store", "oci-layout:layout", "--config", "config.json", "--key"]
    assert chains([*verify, reference]) == 0
    assert chains([*verify, server.reference("ecdsa-p256")]) == 1


def test_a_reference_given_as_key_replaces_the_configured_one(
    server: Vault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VAULT_ADDR", server.address)
    monkeypatch.setenv("VAULT_TOKEN", "root-token")
    reference = server.reference("ed25519")
    assert chains(["attest", RUN, "--key", reference, "--store", "oci-layout:layout"]) == 0
    capsys.readouterr()
    assert chains(["keys", "public", reference, "--output", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["version"].endswith("/versions/1")
    Path("the.pub").write_text(told["pem"])
    assert chains(["verify", RUN, "--store", "oci-layout:layout", "--key", "the.pub"]) == 0


@pytest.mark.server
def test_cosign_verifies_what_the_controller_s_configuration_signs(
    server: Vault, running_aws: Aws, cosign: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_aws.set_environment(monkeypatch)
    reference = running_aws.reference("ecdsa-p256")
    data = configuration(server, **{"signers.kms.kmsref": reference})
    assert chains(["attest", RUN, "--config", written(data), "--store", "file:evidence"]) == 0
    Path("the.pub").write_bytes(open_signer(reference).public_pem)
    bundles = [
        path
        for path in Path("evidence").rglob("*")
        if path.is_file() and b"dsseEnvelope" in path.read_bytes()
    ]
    assert len(bundles) >= 2
    for bundle in bundles:
        payload = base64.b64decode(json.loads(bundle.read_bytes())["dsseEnvelope"]["payload"])
        cosign(
            "verify-blob-attestation", "--key", str(Path("the.pub").absolute()), "--bundle", str(bundle.absolute()), "--insecure-ignore-tlog=true",
            "--type", json.loads(payload)["predicateType"],
            "--digest", IMAGE.removeprefix("sha256:"), "--digestAlg", "sha256",
        )  # fmt: skip


def test_artifacts_choose_their_own_signers(server: Vault, capsys: pytest.CaptureFixture[str]) -> None:
    data = configuration(server, **{"artifacts.oci.signer": "x509"})
    code, run, _ = attested(written(data), capsys)
    assert (code, run["state"]) == (0, "signed")
    verify = ["verify", IMAGE, "--store", "oci-layout:layout", "--config", "config.json", "--key"]
    verified = [
        chains([*verify, key, "--predicate-type", kind]) == 0
        for key in (data["signers.kms.kmsref"], ".chains/signing.pub")
        for kind in ("https://slsa.dev/provenance/v1", "https://sigstore.dev/cosign/sign/v1")
    ]
    assert verified == [True, False, False, True]


@pytest.mark.parametrize(
    ("fault", "words"),
    [(DENY, "permission denied"), (OUTAGE, "the server did not answer")],
)
def test_a_service_that_refuses_is_one_error_at_the_start(
    server: Vault, capsys: pytest.CaptureFixture[str], fault: str, words: str
) -> None:
    server.faults.forever = fault
    code, _, error = attested(written(configuration(server)), capsys)
    assert code == 2
    (line,) = [line for line in error.splitlines() if line.startswith("chains: error")]
    assert "signers.kms.kmsref: " in line
    assert words in line
    assert "root-token" not in error
    assert not Path("layout/index.json").exists() or b"sha256-" not in Path("layout/index.json").read_bytes()


def test_a_token_that_may_read_but_not_sign_is_noticed_at_the_start(
    server: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_sign", lambda *_: (403, {"errors": ["1 error occurred"]}, {}))
    with pytest.raises(UnreachableError, match=r"its policy lacks update on transit/sign/key-\d+/sha2-256"):
        build_flow(configuration(server), Path("keys"))


def test_an_outage_while_signing_fails_the_run_for_now_only(
    server: Vault, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from chains.tekton.run_files import read_inputs

    flow = build_flow(configuration(server) | {"artifacts.oci.storage": "tekton"}, tmp_path)
    intake = read_inputs([RUN])
    run = intake.snapshot(intake.top()[0])

    async def states(*faults: str) -> list[set[tuple[str, bool]]]:
        found = []
        for fault in faults:
            server.faults.forever = fault
            outcome = await flow.of(run).attest(run)
            assert outcome.state == "failed"
            found.append({(entry.state, entry.transient) for entry in outcome.entries})
        await flow.close()
        return found

    assert asyncio.run(states(OUTAGE, DENY)) == [{("failed", True)}, {("failed", False)}]


class OneConfigMap(Cluster):
    """Answers with one ConfigMap and keeps the Events that are written."""

    def __init__(self, data: dict[str, str]) -> None:
        self.data, self.events = data, list[str]()

    async def get(self, path: str, *_: Any, **__: Any) -> dict[str, Any]:
        return {"metadata": {"uid": "1"}, "data": self.data}

    async def create(self, path: str, body: Any, *_: Any, **__: Any) -> Any:
        self.events.append(body["message"])


def test_the_controller_opens_a_rotated_key_again(server: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    data = configuration(server)
    reloader = Reloader(OneConfigMap(data), "tekton-chains", Path("keys"))
    asyncio.run(reloader.look())
    first = reloader.flow
    server.rotate(data["signers.kms.kmsref"])
    asyncio.run(reloader.look())
    assert reloader.flow is first, "the public key has not expired yet"
    monkeypatch.setattr("signers.kms.service.PUBLIC_KEY_SECONDS", 0)
    asyncio.run(reloader.look())
    assert reloader.flow is not first
    keys = [flow.flow.sealers["kms"].signer.version.rpartition("/")[2] for flow in (first, reloader.flow)]  # type: ignore[index]
    assert keys == ["1", "2"]


def test_an_unreachable_service_keeps_the_controller_from_being_ready_until_it_answers(
    server: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = OneConfigMap(configuration(server))
    reloader = Reloader(cluster, "tekton-chains", Path("keys"))
    server.faults.forever = OUTAGE
    asyncio.run(reloader.look())
    with pytest.raises(ConfigError, match="the server did not answer"):
        _ = reloader.flow
    server.faults.clear()
    asyncio.run(reloader.look())
    assert reloader.refused, "it is not asked at every look"
    monkeypatch.setattr(reloader, "_open_again", 0.0)
    asyncio.run(reloader.look())
    assert not reloader.refused
    assert reloader.flow
    assert len(cluster.events) == 1


def test_the_same_refusal_is_told_once(server: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = OneConfigMap(configuration(server))
    reloader = Reloader(cluster, "tekton-chains", Path("keys"))
    server.faults.forever = DENY
    for _ in range(3):
        asyncio.run(reloader.look())
        monkeypatch.setattr(reloader, "_open_again", 0.0)
    assert len(cluster.events) == 1
    assert "root-token" not in cluster.events[0]


def test_no_key_folder_is_needed_where_a_service_signs_everything(server: Vault, tmp_path: Path) -> None:
    flow = build_flow(configuration(server), tmp_path / "missing")
    assert list(flow.flow.sealers) == ["kms"]  # type: ignore[arg-type]
    folder = tmp_path / "keys"
    folder.mkdir()
    write_key_pair(folder / "x509.pem", generate_key())
    both = build_flow(configuration(server, **{"artifacts.oci.signer": "x509"}), folder)
    assert sorted(both.flow.sealers) == ["kms", "x509"]  # type: ignore[arg-type]


def test_the_settings_of_the_configuration_reach_the_login(server: Vault, tmp_path: Path) -> None:
    server.jwts = {"a-jwt"}
    (tmp_path / "jwt").write_text("a-jwt")
    data = configuration(server)
    del data["signers.kms.auth.token-path"]
    data |= {
        "signers.kms.auth.oidc.path": "jwt",
        "signers.kms.auth.oidc.role": "chains",
        "signers.kms.auth.oidc.token-path": str(tmp_path / "jwt"),
    }
    build_flow(data, tmp_path)
    assert KmsSettings().oidc_path == ""


def test_the_doctor_tries_the_key_service_that_the_configuration_names(
    server: Vault, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "doctor",
        "--config",
        written(configuration(server)),
        "--signing-secrets",
        "none",
        "--output",
        "json",
    ]
    chains(command)
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["key service"]["state"] == "ok"
    assert "/versions/1" in checks["key service"]["detail"]
    assert "key" not in checks, "the key folder is nobody's"
    server.faults.forever = DENY
    assert chains(command) == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["key service"]["state"] == "failed"
    assert "permission denied" in checks["key service"]["detail"]


def extra(server: Vault) -> str:
    return json.dumps([{"name": "team", "reference": server.reference("ecdsa-p256"), "namespaces": ["team"]}])


def test_a_tenants_key_that_is_refused_is_asked_for_again_until_it_is_granted(
    server: Vault, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = configuration(server, **{"signers.extra": extra(server)})
    data |= {f"artifacts.{artifact}.storage": "oci" for artifact in ("taskrun", "pipelinerun", "oci")}
    write_key_pair(Path("x509.pem"), generate_key())
    data |= dict.fromkeys(KEYS, "x509")  # so that it is the tenant's key alone that is refused
    reloader = Reloader(OneConfigMap(data), "tekton-chains", Path())
    server.faults.forever = DENY
    asyncio.run(reloader.look())
    assert "signers.extra: team: " in reloader.refused
    assert "permission denied" in reloader.refused
    doctor = ["doctor", "--config", written(data), "--signing-secrets", ".", "--output", "json"]
    capsys.readouterr()
    assert chains(doctor) == 1
    states = {check["name"]: check["state"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert (states["key"], states["signer team"]) == ("ok", "failed")
    server.faults.clear()
    assert math.isfinite(reloader._open_again), "it asks again by itself"
    monkeypatch.setattr(reloader, "_open_again", 0.0)
    asyncio.run(reloader.look())
    assert not reloader.refused
    assert sorted(reloader.flow.flow.sealers) == ["extra/team", "x509"]  # type: ignore[arg-type]
