"""What each key service signed into a registry: verified by stock cosign and by ``chains verify``, also after a rotation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from chains.cli.main import run as chains
from tests.interop.attested import run_of, slug
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry
from tests.testbed.key_services.every import NAMES, KeyServices

pytestmark = pytest.mark.server
SIGNERS = [f"artifacts.{artifact}.signer" for artifact in ("taskrun", "pipelinerun", "oci")]
NO_LOG = "--insecure-ignore-tlog=true"
FORMS = ("--new-bundle-format=true", "--new-bundle-format=false")
# the kinds that tests/contract does not bring to a registry: one of each family that the service has
OTHERS = [("google wire protocol", "ed25519"), ("azure wire protocol", "rsa-2048"),
          ("vault wire protocol", "ecdsa-p384"), ("pkcs11 softhsm", "rsa-2048")]  # fmt: skip
CASES = [*((name, "ecdsa-p256") for name in NAMES), *OTHERS]


class Project:
    """A folder with a configuration that names one service's key, and images whose runs are attested with it."""

    def __init__(self, registry: Registry, folder: Path, name: str, config: dict[str, str]) -> None:
        self.registry, self.folder, self.name = registry, folder, name
        self.config = folder / "config.json"
        self.config.write_text(json.dumps(config))
        self.key = config["signers.kms.kmsref"]

    def attest(self, name: str) -> str:
        """Push an image and attest its run; return the image's reference."""
        digest = self.registry.push_image(self.name, content=name.encode())
        repository = f"{self.registry.host}/{self.name}"
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(run_of(repository, digest, f"{self.name}-{name}")))
        assert chains(["attest", str(path), "--config", str(self.config), "--store", "oci:"]) == 0
        return f"{repository}@{digest}"

    def verify(self, image: str, *keys: str) -> int:
        given = [argument for key in keys for argument in ("--key", key)]
        return chains(["verify", image, "--config", str(self.config), "--store", "oci:", *given])


@pytest.fixture
def start(
    referrers_registry: Registry,
    key_services: KeyServices,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str, str], Project]:
    monkeypatch.chdir(tmp_path)

    def prepare(service: str, algorithm: str) -> Project:
        server = key_services.server(service)
        config = {
            **dict.fromkeys(SIGNERS, "kms"),
            "artifacts.taskrun.format": "slsa/v2alpha4",
            "artifacts.taskrun.storage": "oci",
            "storage.oci.encoding-format": "both",
            "signers.kms.kmsref": server.reference(algorithm),
        }
        if service.startswith("vault"):
            (tmp_path / "token").write_text("root-token\n")
            config["signers.kms.auth.address"] = server.address
            config["signers.kms.auth.token-path"] = str(tmp_path / "token")
        if service.startswith("aws"):
            server.set_environment(monkeypatch)
        return Project(referrers_registry, tmp_path, slug(request), config)

    return prepare


@pytest.mark.parametrize(("service", "algorithm"), CASES)
def test_cosign_and_our_verifier_believe_it_before_and_after_a_rotation(
    start: Callable[[str, str], Project],
    key_services: KeyServices,
    cosign: Cosign,
    capsys: pytest.CaptureFixture[str],
    service: str,
    algorithm: str,
) -> None:
    project = start(service, algorithm)

    def exported(name: str, *form: str) -> Path:
        capsys.readouterr()
        arguments = ["keys", "export", project.key, "--config", str(project.config), *form]
        assert chains(arguments) == 0
        path = project.folder / name
        path.write_text(capsys.readouterr().out)
        return path

    def cosign_believes(image: str, key: Path) -> list[bool]:
        return [
            cosign(*command, "--key", key, NO_LOG, form, image, check=False).returncode == 0
            for form in FORMS
            for command in (("verify-attestation", "--type", "slsaprovenance1"), ("verify",))
        ]

    old_image, old_key = project.attest("old"), exported("old.pub")
    assert cosign_believes(old_image, old_key) == [True] * 4
    assert project.verify(old_image, project.key) == 0

    key_services.server(service).rotate(project.key)
    new_image, new_key = project.attest("new"), exported("new.pub")
    assert new_key.read_text() != old_key.read_text()
    assert cosign_believes(new_image, new_key) == [True] * 4
    assert cosign_believes(old_image, old_key) == [True] * 4
    assert cosign_believes(new_image, old_key) == [False] * 4
    # the reference names the version that is current; the older one is kept as a file
    assert project.verify(new_image, project.key) == 0
    assert project.verify(old_image, project.key) == 1
    assert project.verify(old_image, project.key, str(old_key)) == 0
    assert project.verify(new_image, str(old_key)) == 1
