"""Ways to certificates and logs that deployments take: a TUF mirror, subjects without sha256, a key service's key."""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import b64decode
from pathlib import Path

import pytest

from chains.controller.reload import TRUST_SECONDS, Reloader
from signers.kms.service import KmsSettings
from signers.open import open_signer
from tests.integration.test_key_services import OneConfigMap
from tests.interop.test_keyless import Project, identity, project
from tests.testbed.cosign import Cosign
from tests.testbed.key_services.vault import vault
from tests.testbed.loopback import Answer, Request, serving
from tests.testbed.tuf import Repository

__all__ = ["project"]
pytestmark = pytest.mark.server


def test_a_tuf_mirror_with_a_pinned_root_replaces_the_trusted_root_s_file(
    project: Project, cosign: Cosign, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.folder / "cache"))
    repository = Repository(project.services.trusted_root.read_bytes())
    pinned = project.folder / "tuf_root.json"
    with serving(repository.answer) as mirror:
        trust = {"signers_x509_trusted__root": "", "signers_x509_tuf_mirror_url": mirror}
        pinned.write_bytes(Repository(b"{}").root)
        project.attest(expected=2, signers_x509_tuf_root=str(pinned), **trust)
        assert "does not verify with the pinned root" in capsys.readouterr().err
        assert project.tags() == {}
        pinned.write_bytes(repository.root)
        project.attest(signers_x509_tuf_root=str(pinned), **trust)
    arguments = ["--trusted-root", project.services.trusted_root, *identity(project.services)]
    cosign("verify-attestation", "--type", "slsaprovenance1", *arguments, project.reference)


def test_a_controller_fetches_the_trusted_root_again_after_a_day(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(project.folder / "cache"))
    repository = Repository(project.services.trusted_root.read_bytes())
    pinned = project.folder / "tuf_root.json"
    pinned.write_bytes(repository.root)
    asked: list[str] = []

    def answer(request: Request) -> Answer:
        asked.append(request.path)
        return repository.answer(request)

    async def look() -> int:
        before = len(asked)
        await reloader.look()
        assert not reloader.refused
        return len(asked) - before

    with serving(answer) as mirror:
        tuf = {"signers.x509.tuf.mirror.url": mirror, "signers.x509.tuf.root": str(pinned)}
        config = {
            name: value for name, value in project.config.items() if name != "signers.x509.trusted-root"
        }
        reloader = Reloader(OneConfigMap(config | tuf), "tekton-chains", project.folder)

        async def lives() -> list[bool]:
            first, second = await look(), await look()
            monkeypatch.setattr(reloader, "_open_again", reloader._open_again - TRUST_SECONDS)
            third = await look()
            await reloader.close()
            return [count > 0 for count in (first, second, third)]

        assert asyncio.run(lives()) == [True, False, True]


@pytest.mark.parametrize("form", ["in-toto", "slsa/v2alpha4"])
def test_a_subject_that_has_a_sha1_alone_is_signed_with_a_certificate(
    project: Project, cosign: Cosign, form: str
) -> None:
    """sigstore-python's signer takes neither such subjects nor the Statement v0.1 of the older form."""
    digest = hashlib.sha1(b"content", usedforsecurity=False).hexdigest()
    value = {"uri": "pkg:generic/app", "digest": f"sha1:{digest}", "isBuildArtifact": "true"}
    project.run["status"]["results"] = [{"name": "app_ARTIFACT_OUTPUTS", "type": "object", "value": value}]
    before = project.services.log_size()
    project.attest("--store", "file:evidence", artifacts_taskrun_format=form, artifacts_taskrun_storage="oci")
    # provenance and execution report
    assert project.services.log_size() == before + 2
    kind = "https://slsa.dev/provenance/v0.2" if form == "in-toto" else "https://slsa.dev/provenance/v1"
    (bundle,) = (
        path
        for path in Path("evidence").glob("taskrun-*/*.bundle.json")
        if statement_of(path)["predicateType"] == kind
    )
    assert statement_of(bundle)["subject"][0]["digest"] == {"sha1": digest}
    arguments = ["--bundle", bundle, "--trusted-root", project.services.trusted_root, "--type", kind]
    arguments += [*identity(project.services), "--digest", digest, "--digestAlg", "sha1"]
    cosign("verify-blob-attestation", *arguments, cwd=project.folder)


def statement_of(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads(b64decode(json.loads(path.read_bytes())["dsseEnvelope"]["payload"]))
    return found


def test_a_key_service_s_key_gets_its_log_entry_and_its_timestamp(project: Project, cosign: Cosign) -> None:
    with vault() as server:
        reference = server.reference("ecdsa-p256")
        (project.folder / "vault-token").write_text("root-token")
        before = project.services.log_size()
        project.attest(
            artifacts_taskrun_signer="kms",
            artifacts_pipelinerun_signer="kms",
            artifacts_oci_signer="kms",
            signers_kms_kmsref=reference,
            signers_kms_auth_address=server.address,
            signers_kms_auth_token__path=str(project.folder / "vault-token"),
        )
        assert project.services.log_size() == before + 4
        settings = KmsSettings(address=server.address, token="root-token")
        (project.folder / "kms.pub").write_bytes(open_signer(reference, settings=settings).public_pem)
    for command in (["verify-attestation", "--type", "slsaprovenance1"], ["verify"]):
        trust = ["--trusted-root", project.services.trusted_root, "--use-signed-timestamps"]
        cosign(*command, *trust, "--key", project.folder / "kms.pub", project.reference)
