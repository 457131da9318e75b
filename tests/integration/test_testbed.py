"""The testbed's servers and programs do what the tests that use them rely on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.testbed import build, servers
from tests.testbed.commands import CommandError
from tests.testbed.cosign import Cosign
from tests.testbed.images import INDEX, MANIFEST, Registry, RegistryRefusedError, descriptor, digest_of
from tests.testbed.process import ServerError, running

pytestmark = pytest.mark.server

OPEN = ["referrers_registry", "plain_registry"]
CLOSED = ["secured_registry", "token_registry"]
SIGN = ("--key", "cosign.key", "--use-signing-config=false", "--tlog-upload=false", "--yes")
VERIFY = ("--key", "cosign.pub", "--insecure-ignore-tlog=true")
PROVENANCE = ("--type", "slsaprovenance1")
OLD_FORM = "--new-bundle-format=false"
"""Writes and reads the tags ``.sig`` and ``.att`` instead of referrers."""


@pytest.fixture(scope="module")
def keys(cosign: Cosign) -> None:
    """cosign.key and cosign.pub, other.key and other.pub in cosign's home folder."""
    cosign("generate-key-pair")
    cosign("generate-key-pair", "--output-key-prefix", "other")


@pytest.mark.parametrize("name", OPEN + CLOSED)
def test_an_image_pushed_to_a_registry_is_read_back_byte_for_byte(
    name: str, request: pytest.FixtureRequest
) -> None:
    registry: Registry = request.getfixturevalue(name)
    digest = registry.push_image("team/app", tag="v1", content=b"hello")
    manifest = registry.manifest("team/app", "v1")
    assert digest_of(manifest) == digest
    for part in (json.loads(manifest)["config"], *json.loads(manifest)["layers"]):
        assert digest_of(registry.blob("team/app", part["digest"])) == part["digest"]
    assert registry.tags("team/app") == ["v1"]


@pytest.mark.parametrize("name", OPEN + CLOSED)
def test_an_index_names_its_platforms(name: str, request: pytest.FixtureRequest) -> None:
    registry: Registry = request.getfixturevalue(name)
    digest = registry.push_index("team/multi")
    index = json.loads(registry.manifest("team/multi", digest))
    assert index["mediaType"] == INDEX
    assert [child["platform"]["architecture"] for child in index["manifests"]] == ["amd64", "arm64"]
    for child in index["manifests"]:
        assert digest_of(registry.manifest("team/multi", child["digest"])) == child["digest"]


def test_only_the_referrers_registry_has_a_referrers_api(
    referrers_registry: Registry, plain_registry: Registry
) -> None:
    for registry, status in ((referrers_registry, 200), (plain_registry, 404)):
        digest = registry.push_image("team/referred")
        assert registry.request("GET", f"/v2/team/referred/referrers/{digest}").status == status


def test_the_referrers_api_names_the_artifact_type_of_each_manifest(referrers_registry: Registry) -> None:
    subject = referrers_registry.push_image("team/typed")
    empty = referrers_registry.push_blob("team/typed", b"{}")
    part = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.example.evidence",
        "config": part,
        "layers": [part],
        "subject": descriptor(MANIFEST, referrers_registry.manifest("team/typed", subject)),
    }
    digest = referrers_registry.push_manifest("team/typed", json.dumps(manifest).encode(), MANIFEST)
    (referrer,) = json.loads(referrers_registry.request("GET", f"/v2/team/typed/referrers/{subject}").body)[
        "manifests"
    ]
    assert (referrer["digest"], referrer["artifactType"]) == (digest, "application/vnd.example.evidence")


def test_the_referrers_api_can_be_switched_off(tmp_path: Path) -> None:
    with servers.registry(tmp_path, referrers=False) as registry:
        digest = registry.push_image("team/app")
        assert registry.request("GET", f"/v2/team/app/referrers/{digest}").status == 404


@pytest.mark.parametrize(("name", "scheme"), [("secured_registry", "Basic"), ("token_registry", "Bearer")])
def test_a_closed_registry_answers_only_who_has_its_credentials(
    name: str, scheme: str, request: pytest.FixtureRequest
) -> None:
    registry: Registry = request.getfixturevalue(name)
    digest = registry.push_image("team/closed")
    path = f"/v2/team/closed/manifests/{digest}"
    refused = registry.request("GET", path, anonymous=True)
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"].startswith(scheme)
    assert registry.request("GET", path).status == 200


def test_the_token_service_refuses_wrong_credentials(tmp_path: Path) -> None:
    with servers.distribution(tmp_path, token=True) as registry:
        assert registry.tokens is not None
        registry.push_image("team/app")
        assert {scope.rpartition(":")[0] for scope in registry.tokens.scopes} == {"repository:team/app"}
        intruder = Registry(registry.host, registry.pid, registry.log, username="robot", password="guess")
        with pytest.raises(RegistryRefusedError, match="expected 202, got 401"):
            intruder.push_image("team/app")
        assert len(registry.tokens.refused) == 1


def test_a_certificate_of_the_private_ca_is_refused_by_who_does_not_know_it(
    secured_registry: Registry,
) -> None:
    stranger = Registry(secured_registry.host, secured_registry.pid, secured_registry.log, tls=True)
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.request("GET", "/v2/")


def test_cosign_is_the_pinned_version(cosign: Cosign) -> None:
    pinned = next(
        line.split()[1]
        for line in (build.HERE / "tools" / "go.mod").read_text().splitlines()
        if line.strip().startswith("github.com/sigstore/cosign/v3 ")
    )
    assert pinned.startswith("v3.")
    assert cosign("version").returncode == 0


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("form", [(), (OLD_FORM,)], ids=["referrers", "tags"])
def test_cosign_signs_and_verifies_offline(
    form: tuple[str, ...], referrers_registry: Registry, cosign: Cosign
) -> None:
    repository = "team/signed-by-tag" if form else "team/signed-by-referrer"
    digest = referrers_registry.push_image(repository)
    image = f"{referrers_registry.host}/{repository}@{digest}"
    (cosign.home / "predicate.json").write_text(
        '{"buildDefinition": {"buildType": "https://example.com/t"}, "runDetails": {"builder": {"id": "https://b"}}}'
    )
    cosign("sign", *SIGN, *form, image)
    cosign("attest", *SIGN, *form, *PROVENANCE, "--predicate", "predicate.json", image)
    tag = digest.replace(":", "-")
    assert referrers_registry.tags(repository) == ([f"{tag}.att", f"{tag}.sig"] if form else [])
    referrers = json.loads(referrers_registry.request("GET", f"/v2/{repository}/referrers/{digest}").body)
    assert len(referrers["manifests"]) == (0 if form else 2)

    cosign("verify", *VERIFY, *form, image)
    cosign("verify-attestation", *VERIFY, *form, *PROVENANCE, image)
    with pytest.raises(CommandError, match="signature"):
        cosign("verify", "--key", "other.pub", "--insecure-ignore-tlog=true", *form, image)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("name", CLOSED)
def test_cosign_signs_and_verifies_behind_tls_and_credentials(
    name: str, request: pytest.FixtureRequest, cosign: Cosign, tmp_path: Path
) -> None:
    registry: Registry = request.getfixturevalue(name)
    env = registry.client_env(tmp_path)
    image = f"{registry.host}/team/signed@{registry.push_image('team/signed')}"
    cosign("sign", *SIGN, image, env=env)
    cosign("verify", *VERIFY, image, env=env)
    assert cosign("verify", *VERIFY, image, check=False).returncode != 0


def test_cosign_reaches_no_address_but_this_machine(cosign: Cosign) -> None:
    with pytest.raises(CommandError, match="proxyconnect"):
        cosign("verify", *VERIFY[2:], "--key", "cosign.pub", "registry.example.com/team/app:v1")


def test_a_server_that_fails_to_start_shows_its_log(tmp_path: Path) -> None:
    command: list[str | Path] = [build.binary("registry"), "-addr=192.0.2.1:1"]
    with (
        pytest.raises(ServerError, match=r"ended with 1\n.*cannot assign requested address"),
        running(command, tmp_path / "log", r"^(never)$"),
    ):
        pytest.fail("the block of a server that did not start ran")


def test_a_server_is_gone_after_its_block(tmp_path: Path) -> None:
    with servers.registry(tmp_path) as registry:
        assert registry.request("GET", "/v2/").status == 200
    with pytest.raises(OSError, match="refused"):
        registry.request("GET", "/v2/")


def test_an_unknown_program_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(
        build.BuildError, match="unknown program 'cosing': expected one of registry, distribution"
    ):
        build.binary("cosing")
