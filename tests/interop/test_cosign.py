"""Stock cosign verifies everything that is stored, in each form, for each kind of key; and refuses the rest."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.interop.attested import ENCODINGS, KINDS, Attested, attest_image, run_of, slug
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry

pytestmark = pytest.mark.server
Json = Any
NO_LOG = "--insecure-ignore-tlog=true"
FORM_A = "--new-bundle-format=false"
SCAI = "https://in-toto.io/attestation/scai/v0.3"


@pytest.fixture(params=["referrers_registry", "plain_registry"])
def registry(request: pytest.FixtureRequest) -> Registry:
    found: Registry = request.getfixturevalue(request.param)
    return found


def statement(output: str) -> Json:
    """Return the statement that cosign printed: an envelope a line."""
    return json.loads(b64decode(json.loads(output.splitlines()[0])["payload"]))


def verify(
    cosign: Cosign, attested: Attested, kind: str = "slsaprovenance1", *, form: str = "", env: Any = None
) -> Json:
    flags = [FORM_A] if form == "dsse" else []
    arguments = ["--key", attested.public_key, NO_LOG, *flags, "--type", kind, attested.reference]
    return statement(cosign("verify-attestation", *arguments, env=env).stdout)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_cosign_verifies_attestations_and_signatures(
    registry: Registry,
    cosign: Cosign,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    encoding: str,
    kind: str,
) -> None:
    attested = attest_image(registry, tmp_path, slug(request), kind=kind, encoding=encoding)
    # where there are both forms, cosign reads bundles alone unless it is told otherwise
    for form in ("dsse", "sigstore-bundle") if encoding == "both" else (encoding,):
        provenance = verify(cosign, attested, form=form)
        assert provenance["predicateType"] == "https://slsa.dev/provenance/v1"
        assert provenance["subject"][0]["digest"] == {"sha256": attested.digest.removeprefix("sha256:")}
        assert verify(cosign, attested, SCAI, form=form)["predicateType"] == SCAI
        flags = [FORM_A] if form == "dsse" else []
        cosign("verify", "--key", attested.public_key, NO_LOG, *flags, attested.reference)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_cosign_refuses_another_key_another_image_and_another_type(
    registry: Registry, cosign: Cosign, tmp_path: Path, request: pytest.FixtureRequest, encoding: str
) -> None:
    attested = attest_image(registry, tmp_path, slug(request), encoding=encoding)
    assert chains(["keys", "generate", str(tmp_path / "other.key")]) == 0
    other = tmp_path / "other.pub"
    unattested = registry.push_image(slug(request), content=b"another image")
    for arguments in (
        ["verify-attestation", "--key", other, NO_LOG, "--type", "slsaprovenance1", attested.reference],
        ["verify-attestation", "--key", attested.public_key, NO_LOG, "--type", "spdx", attested.reference],
        ["verify-attestation", "--key", attested.public_key, NO_LOG, "--type", "slsaprovenance1", f"{attested.repository}@{unattested}"],
        ["verify", "--key", other, NO_LOG, attested.reference],
    ):  # fmt: skip
        assert cosign(*arguments, check=False).returncode != 0, arguments


@pytest.mark.parametrize("name", ["in-toto", "slsa/v2alpha3", "slsa/v2alpha4"])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_format_is_verified(
    referrers_registry: Registry,
    cosign: Cosign,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    encoding: str,
    name: str,
) -> None:
    data = {"artifacts.taskrun.format": name}
    attested = attest_image(referrers_registry, tmp_path, slug(request), encoding=encoding, data=data)
    kind = "slsaprovenance02" if name == "in-toto" else "slsaprovenance1"
    assert verify(cosign, attested, kind)["subject"][0]["name"] == attested.repository


def test_twice_leaves_one_attestation_of_each_kind(
    registry: Registry, cosign: Cosign, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = slug(request)
    attested = attest_image(registry, tmp_path, name)
    hexdigest = attested.digest.removeprefix("sha256:")
    before = {tag: registry.manifest(name, tag) for tag in registry.tags(name)}
    attest_image(registry, tmp_path, name)
    assert {tag: registry.manifest(name, tag) for tag in registry.tags(name)} == before
    assert len(json.loads(before[f"sha256-{hexdigest}.att"])["layers"]) == 2
    assert len(json.loads(before[f"sha256-{hexdigest}.sig"])["layers"]) == 1
    verify(cosign, attested)


def test_a_second_run_s_evidence_stands_beside_the_first(
    registry: Registry, cosign: Cosign, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    attested = attest_image(registry, tmp_path, slug(request))
    second = tmp_path / "second.json"
    second.write_text(json.dumps(run_of(attested.repository, attested.digest, "second")))
    config = str(tmp_path / "config.json")
    key = str(attested.private_key)
    assert chains(["attest", str(second), "--config", config, "--key", key, "--store", "oci:"]) == 0
    done = cosign(
        "verify-attestation",
        "--key",
        attested.public_key,
        NO_LOG,
        "--type",
        "slsaprovenance1",
        attested.reference,
    )
    found = {
        statement(line)["predicate"]["runDetails"]["metadata"]["invocationId"]
        for line in done.stdout.splitlines()
    }
    assert len(found) == 2


def test_a_registry_with_tls_and_credentials(
    cosign: Cosign, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fixture in ("secured_registry", "token_registry"):
        registry: Registry = request.getfixturevalue(fixture)
        env = registry.client_env(tmp_path / fixture / "docker")
        monkeypatch.setenv("DOCKER_CONFIG", env["DOCKER_CONFIG"])
        attested = attest_image(registry, tmp_path / fixture, slug(request))
        verify(cosign, attested, env=env)


def test_cosign_s_own_encrypted_key_signs(
    registry: Registry,
    cosign: Cosign,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cosign("generate-key-pair", cwd=tmp_path, env={"COSIGN_PASSWORD": "correct horse"})
    (tmp_path / "cosign.key").rename(tmp_path / "signing.key")
    (tmp_path / "cosign.pub").rename(tmp_path / "signing.pub")
    monkeypatch.setenv("COSIGN_PASSWORD", "correct horse")
    verify(cosign, attest_image(registry, tmp_path, slug(request)))


def test_one_repository_for_all_attestations(
    referrers_registry: Registry, cosign: Cosign, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    evidence = f"{referrers_registry.host}/{slug(request)}-evidence"
    data = {"storage.oci.repository": evidence}
    attested = attest_image(referrers_registry, tmp_path, slug(request), encoding="dsse", data=data)
    assert referrers_registry.tags(slug(request)) == []
    verify(cosign, attested, env={"COSIGN_REPOSITORY": evidence})


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_repository_for_each_namespace(
    registry: Registry,
    cosign: Cosign,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
    encoding: str,
) -> None:
    evidence = f"{registry.host}/{slug(request)}-evidence"
    data = {
        "storage.oci.repository": evidence + "/{namespace}",
        "storage.oci.bundles-in-repository": "true",
    }
    attested = attest_image(registry, tmp_path, slug(request), encoding=encoding, data=data)
    assert registry.tags(slug(request)) == []
    config = str(tmp_path / "config.json")
    ours = ["--config", config, "--key", str(attested.public_key), "--output", "json"]
    # without --store an image is looked for where its registry and the configuration say
    for target in ([str(attested.run_file), "--store", "oci:"], [attested.reference, "--namespace", "ci"]):
        capsys.readouterr()
        code = chains(["verify", *target, *ours])
        assert (code, json.loads(capsys.readouterr().out)["verdict"]) == (0, "VERIFIED")
    capsys.readouterr()
    assert chains(["verify", attested.reference, *ours]) != 0
    assert "--namespace" in capsys.readouterr().out
    assert chains(["verify", attested.reference, "--namespace", "other", *ours]) != 0
    if encoding != "sigstore-bundle":
        verify(cosign, attested, form="dsse", env={"COSIGN_REPOSITORY": f"{evidence}/ci"})


def test_our_verifier_reads_what_cosign_wrote(
    registry: Registry,
    cosign: Cosign,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = slug(request)
    digest = registry.push_image(name)
    cosign("generate-key-pair", cwd=tmp_path)
    predicate = tmp_path / "predicate.json"
    predicate.write_text(
        json.dumps(
            {
                "buildDefinition": {"buildType": "x", "externalParameters": {}},
                "runDetails": {"builder": {"id": "b"}},
            }
        )
    )
    reference = f"{registry.host}/{name}@{digest}"
    config = tmp_path / "signing-config.json"
    cosign("signing-config", "create", "--out", config)
    cosign("attest", "--key", tmp_path / "cosign.key", "--signing-config", config, "--type", "slsaprovenance1",
           "--predicate", predicate, "--yes", reference)  # fmt: skip
    code = chains(
        ["verify", reference, "--key", str(tmp_path / "cosign.pub"), "--store", "oci:", "--output", "json"]
    )
    answer = json.loads(capsys.readouterr().out)
    assert (code, answer["verdict"]) == (0, "VERIFIED")


def test_cosign_verifies_what_is_copied_out_of_a_layout(
    referrers_registry: Registry, cosign: Cosign, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """An entry of ``oci-layout:`` put into a registry as it is, by any tool, is an attestation there."""
    name = slug(request)
    layout = tmp_path / "layout"
    attested = attest_image(referrers_registry, tmp_path, name, store=f"oci-layout:{layout}")
    hexdigest = attested.digest.removeprefix("sha256:")
    index = json.loads((layout / "index.json").read_bytes())
    tags = {item["annotations"]["org.opencontainers.image.ref.name"]: item for item in index["manifests"]
            if "org.opencontainers.image.ref.name" in item.get("annotations", {})}  # fmt: skip
    for tag in (f"sha256-{hexdigest}.att", f"sha256-{hexdigest}.sig"):
        body = (layout / "blobs" / "sha256" / tags[tag]["digest"].removeprefix("sha256:")).read_bytes()
        manifest = json.loads(body)
        for item in [manifest["config"], *manifest["layers"]]:
            blob = (layout / "blobs" / "sha256" / item["digest"].removeprefix("sha256:")).read_bytes()
            referrers_registry.push_blob(name, blob)
        referrers_registry.push_manifest(name, body, manifest["mediaType"], tag)
    verify(cosign, attested)
    cosign("verify", "--key", attested.public_key, NO_LOG, attested.reference)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_cosign_verifies_the_summary_that_a_policy_leaves(
    registry: Registry, cosign: Cosign, tmp_path: Path, request: pytest.FixtureRequest, encoding: str
) -> None:
    attested = attest_image(registry, tmp_path, slug(request), encoding=encoding)
    config = ["--config", str(tmp_path / "config.json")]
    assert chains(["keys", "generate", str(tmp_path / "vsa.key")]) == 0
    key = {"pem": attested.public_key.read_text()}
    builder = "https://tekton.dev/chains/v2"
    policy = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": "interop"},
        "spec": {
            "match": {"images": [attested.repository]},
            "trust": [{"name": "t", "signer": {"keys": [key]}, "builderId": builder, "maxLevel": 2}],
        },
    }
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    verifier, uri = "https://security.example.com/verifier", "https://security.example.com/policy"
    summary = [
        "--attest-vsa",
        "--vsa-key",
        str(tmp_path / "vsa.key"),
        "--verifier-id",
        verifier,
        "--policy-uri",
        uri,
    ]
    asked = ["verify", "--policy", str(tmp_path / "policy.json"), *config, attested.reference]
    assert chains([*asked, *summary]) == 0
    types = ("https://slsa.dev/verification_summary/v1", "https://in-toto.io/attestation/svr/v0.2")
    for form in ("dsse", "sigstore-bundle") if encoding == "both" else (encoding,):
        flags = [FORM_A, NO_LOG] if form == "dsse" else [NO_LOG]
        for kind in types:
            ours = ["--key", tmp_path / "vsa.pub", *flags, "--type", kind, attested.reference]
            assert statement(cosign("verify-attestation", *ours).stdout)["predicateType"] == kind
            # the builder's key vouches for no summary, and the verifier's for no provenance
            theirs = ["--key", attested.public_key, *flags, "--type", kind, attested.reference]
            assert cosign("verify-attestation", *theirs, check=False).returncode != 0
    swapped = ["--key", tmp_path / "vsa.pub", NO_LOG, "--type", "slsaprovenance1", attested.reference]
    assert cosign("verify-attestation", *swapped, check=False).returncode != 0
    # what is there now is verified as before
    assert chains(asked) == 0
