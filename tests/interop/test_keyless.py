"""Certificates, log entries and timestamps of the real services, verified by stock cosign and sigstore-python."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sigstore.errors import VerificationError
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.verify import Verifier
from sigstore.verify.policy import Identity

from chains.cli.main import run as chains
from chains.config.parse import parse_config
from chains.doctor.local import check_identity
from tests.interop.attested import run_of, slug
from tests.testbed.cluster import ApiServer
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry
from tests.testbed.issuer import kubernetes_identity
from tests.testbed.loopback import Answer, Request, serving
from tests.testbed.rekor_v1 import rekor_v1
from tests.testbed.sigstore import SigstoreServices, fulcio_for
from tests.testbed.sigstore_keys import log_of
from tests.testbed.spire import spire_agent

pytestmark = pytest.mark.server
Json = Any
FORM_A = ("--new-bundle-format=false", "--insecure-ignore-tlog=true", "--use-signed-timestamps")
"""Cosign's form A has no place for an entry of Rekor v2; the timestamp says when the certificate was used."""
NOWHERE = "http://127.0.0.1:9"


class Project:
    """A folder with a configuration and a token, an image, and the run that built it."""

    def __init__(self, services: SigstoreServices, registry: Registry, folder: Path, name: str) -> None:
        self.services, self.registry, self.folder, self.name = services, registry, folder, name
        self.digest = registry.push_image(name)
        self.repository = f"{registry.host}/{name}"
        self.reference = f"{self.repository}@{self.digest}"
        self.run = run_of(self.repository, self.digest, name)
        self.token = folder / "token"
        self.token.write_text(services.issuer.token() + "\n")
        self.config = {
            "artifacts.taskrun.format": "slsa/v2alpha4",
            "artifacts.taskrun.storage": "oci",
            "artifacts.pipelinerun.storage": "oci",
            "storage.oci.encoding-format": "both",
            "signers.x509.fulcio.enabled": "true",
            "signers.x509.identity.token.file": str(self.token),
            "signers.x509.trusted-root": str(services.trusted_root),
            "signers.x509.signing-config": str(services.signing_config),
            "transparency.enabled": "true",
        }

    def attest(self, *options: str, expected: int = 0, **config: str) -> None:
        changed = {key.replace("__", "-").replace("_", "."): value for key, value in config.items()}
        (self.folder / "config.json").write_text(json.dumps(self.config | changed))
        (self.folder / "run.json").write_text(json.dumps(self.run))
        files = (str(self.folder / "run.json"), "--config", str(self.folder / "config.json"))
        assert chains(["attest", *files, *options]) == expected

    def tags(self) -> dict[str, Json]:
        """Return what lies beside the image by the suffix of its tag."""
        found = {}
        for tag in self.registry.tags(self.name):
            if tag.startswith("sha256-") and "." in tag:
                found[tag.rpartition(".")[2]] = json.loads(self.registry.manifest(self.name, tag))
        return found

    def bundles(self) -> list[bytes]:
        """Return the bundles that refer to the image."""
        answer = self.registry.request("GET", f"/v2/{self.name}/referrers/{self.digest}")
        found = []
        for one in json.loads(answer.body)["manifests"]:
            manifest = json.loads(self.registry.manifest(self.name, one["digest"]))
            found.append(self.registry.blob(self.name, manifest["layers"][0]["digest"]))
        return sorted(found)  # the registry lists them in any order


@pytest.fixture
def project(
    sigstore_services: SigstoreServices,
    referrers_registry: Registry,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Project:
    monkeypatch.chdir(tmp_path)
    return Project(sigstore_services, referrers_registry, tmp_path, slug(request))


def identity(services: SigstoreServices, account: str = "tekton-chains-controller") -> list[str]:
    subject = services.issuer.identity(account=account)
    return ["--certificate-identity", subject, "--certificate-oidc-issuer", services.issuer.url]


@pytest.mark.parametrize("form", ["in-toto", "slsa/v2alpha4"])
def test_cosign_verifies_certificates_in_both_forms_and_refuses_another_identity(
    project: Project, cosign: Cosign, form: str
) -> None:
    services = project.services
    before = services.log_size()
    project.attest(artifacts_taskrun_format=form)
    # provenance, execution report, and the image's signature as a statement and in its own form
    assert services.log_size() == before + 4
    kind = "slsaprovenance02" if form == "in-toto" else "slsaprovenance1"
    root = ["--trusted-root", services.trusted_root]
    for flags in ((), FORM_A):
        for command in (["verify-attestation", "--type", kind], ["verify"]):
            cosign(*command, *root, *flags, *identity(services), project.reference)
            wrong = cosign(
                *command, *root, *flags, *identity(services, "other"), project.reference, check=False
            )
            assert wrong.returncode != 0
    ours = ["verify", "--trusted-root", str(services.trusted_root), "--store", "oci:", "--require-log"]
    assert chains([*ours, *identity(services), project.reference]) == 0
    assert chains([*ours, *identity(services, "other"), project.reference]) == 1


def test_an_identity_is_revoked_by_the_times_of_log_and_timestamp(project: Project) -> None:
    services = project.services
    project.attest()
    assert chains(["keys", "generate", "lists.pem"]) == 0
    now, day = datetime.now(UTC).replace(microsecond=0), timedelta(days=1)
    account = services.issuer.identity(account="tekton-chains-controller")
    name = ["--identity", account, "--issuer", services.issuer.url]
    every = ["--identity-regexp", ".*/tekton-chains-controller", "--issuer", services.issuer.url]
    for number, (words, expected) in enumerate(
        [
            (name, 1),
            ([*name, "--since", (now + day).isoformat()], 0),
            ([*name, "--since", (now - day).isoformat()], 1),
            ([*name, "--since", (now - 2 * day).isoformat(), "--until", (now - day).isoformat()], 0),
            (every, 1),
            (["--identity", account, "--issuer", "https://other.example.com"], 0),
            (["--image", project.digest], 1),
        ]
    ):
        draft, signed = f"{number}.json", f"{number}.signed.json"
        assert chains(["revoke", "add", draft, *words, "--reason", "r"]) == 0
        assert chains(["revoke", "sign", draft, "--key", "lists.pem", "--to", signed]) == 0
        listed = ["--revocations", signed, "--revocations-key", "lists.pub", "--revocations-state", "none"]
        ours = ["verify", "--trusted-root", str(services.trusted_root), "--store", "oci:"]
        assert chains([*ours, *identity(services), *listed, project.reference]) == expected, words


def test_sigstore_python_verifies_the_bundles(project: Project) -> None:
    project.attest()
    services = project.services
    root = ClientTrustConfig.from_json(services.client_trust_config).trusted_root
    bundles = project.bundles()
    assert len(bundles) == 3
    for data in bundles:
        policy = Identity(identity=services.issuer.identity(), issuer=services.issuer.url)
        Verifier(trusted_root=root).verify_dsse(Bundle.from_json(data), policy)
        other = Identity(identity=services.issuer.identity("other"), issuer=services.issuer.url)
        with pytest.raises(VerificationError):
            Verifier(trusted_root=root).verify_dsse(Bundle.from_json(data), other)


def test_a_projected_token_of_kubernetes_gives_a_certificate(
    project: Project, api_server: ApiServer, cosign: Cosign
) -> None:
    binding = {
        "metadata": {"name": "issuer-discovery"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:service-account-issuer-discovery"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}],
    }  # fmt: skip
    api_server.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    namespace = api_server.create_namespace(project.name)
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    api_server.request("POST", accounts, {"metadata": {"name": "signer"}})
    asked = {"spec": {"audiences": ["sigstore"], "expirationSeconds": 600}}
    answer = api_server.request("POST", f"{accounts}/signer/token", asked)
    project.token.write_text(answer["status"]["token"])
    services = project.services
    with fulcio_for(services, project.folder, api_server.url, api_server.ca_file.read_text()) as fulcio:
        config = json.loads(services.signing_config.read_text())
        config["caUrls"][0]["url"] = fulcio
        path = project.folder / "signing_config.json"
        path.write_text(json.dumps(config))
        project.attest(signers_x509_signing__config=str(path))
    arguments = ["verify-attestation", "--type", "slsaprovenance1", "--trusted-root", services.trusted_root]
    subject = kubernetes_identity(namespace, "signer")
    arguments += ["--certificate-identity", subject, "--certificate-oidc-issuer", api_server.url]
    cosign(*arguments, project.reference)


WORKFLOW = "https://github.com/team/app/.github/workflows/release.yaml@refs/heads/main"
# what a provider's tokens say, what Fulcio takes them for, and whose the certificate is then
PROVIDERS: dict[str, tuple[Json, Json, str]] = {
    "github": (
        {
            "sub": "repo:team/app:ref:refs/heads/main", "job_workflow_ref": WORKFLOW.removeprefix("https://github.com/"),
            "job_workflow_sha": "a" * 40, "workflow_ref": WORKFLOW.removeprefix("https://github.com/"),
            "workflow_sha": "a" * 40, "sha": "a" * 40, "event_name": "push", "repository": "team/app",
            "workflow": "release", "ref": "refs/heads/main", "runner_environment": "github-hosted",
            "repository_id": "1", "repository_owner": "team", "repository_owner_id": "2", "run_id": "3",
            "run_attempt": "1", "repository_visibility": "public",
        },
        {"Type": "github-workflow"},
        WORKFLOW,
    ),
    "google": (
        {"sub": "1234", "email": "robot@p.iam.gserviceaccount.com", "email_verified": True},
        {"Type": "email"},
        "robot@p.iam.gserviceaccount.com",
    ),
    "spiffe": (
        {"sub": "spiffe://example.org/chains"},
        {"Type": "spiffe", "SPIFFETrustDomain": "example.org"},
        "spiffe://example.org/chains",
    ),
}  # fmt: skip


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_provider_s_identity_gets_a_certificate_of_the_real_fulcio(
    project: Project, cosign: Cosign, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, kind, subject = PROVIDERS[provider]
    services = project.services
    token = services.issuer.token(**claims)

    def answer(request: Request) -> Answer:
        flavor = {"Metadata-Flavor": "Google"}
        if provider == "google":
            return (
                Answer(200, token.encode(), flavor)
                if "identity?" in request.path
                else Answer(200, {}, flavor)
            )
        return Answer(200, {"value": token})

    with ExitStack() as stack:
        url = stack.enter_context(serving(answer))
        if provider == "github":
            monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{url}/?api=1")
            monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret")
        elif provider == "google":
            monkeypatch.setenv("GCE_METADATA_HOST", url.removeprefix("http://"))
        else:
            stack.enter_context(spire_agent(f"unix:{project.folder}/agent.sock", token))
            monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", f"unix://{project.folder}/agent.sock")
        fulcio = stack.enter_context(fulcio_for(services, project.folder, services.issuer.url, **kind))
        config = json.loads(services.signing_config.read_text())
        config["caUrls"][0]["url"] = fulcio
        path = project.folder / "signing_config.json"
        path.write_text(json.dumps(config))
        project.attest(
            signers_x509_signing__config=str(path),
            signers_x509_fulcio_provider=provider,
            signers_x509_identity_token_file="",
        )
    arguments = ["--trusted-root", services.trusted_root, "--certificate-oidc-issuer", services.issuer.url]
    arguments += ["--certificate-identity", subject, "--type", "slsaprovenance1", project.reference]
    cosign("verify-attestation", *arguments)


def test_cosign_verifies_a_key_with_a_log_entry_and_a_timestamp(project: Project, cosign: Cosign) -> None:
    assert chains(["keys", "generate", "signing.key"]) == 0
    before = project.services.log_size()
    project.attest("--key", "signing.key")
    assert project.services.log_size() == before + 4
    root = [
        "--trusted-root",
        project.services.trusted_root,
        "--key",
        "signing.pub",
        "--use-signed-timestamps",
    ]
    for command in (["verify-attestation", "--type", "slsaprovenance1"], ["verify"]):
        cosign(*command, *root, project.reference, cwd=project.folder)
    refused = cosign(
        "verify", *root[:2], "--key", "other.pub", project.reference, cwd=project.folder, check=False
    )
    assert refused.returncode != 0


def test_attesting_again_finds_what_is_stored_and_makes_no_log_entry(project: Project) -> None:
    project.attest()
    tags, bundles, size = project.tags(), project.bundles(), project.services.log_size()
    project.attest()
    assert project.services.log_size() == size
    assert (project.tags(), project.bundles()) == (tags, bundles)
    assert len(tags["att"]["layers"]) == 2
    assert len(tags["sig"]["layers"]) == 1


@pytest.mark.parametrize("encoding", ["dsse", "sigstore-bundle"])
def test_a_store_that_lacks_it_gets_what_another_has(project: Project, encoding: str, tmp_path: Path) -> None:
    project.attest("--store", "oci:", storage_oci_encoding__format=encoding)
    size = project.services.log_size()
    project.attest(
        "--store", "oci:", "--store", f"file:{tmp_path / 'copy'}", storage_oci_encoding__format=encoding
    )
    # the copy has both forms of the image's signature, and the registry has one
    assert project.services.log_size() == size + 1
    project.attest("--store", "oci:", storage_oci_encoding__format=encoding)
    assert project.services.log_size() == size + 1
    (copied,) = (tmp_path / "copy").glob("*/*.slsa.dev-provenance-v1.bundle.json")
    assert json.loads(copied.read_text())["verificationMaterial"]["tlogEntries"]


def test_a_timestamp_authority_that_is_down_leaves_nothing_in_the_log(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    before = project.services.log_size()
    project.attest(expected=1, signers_timestamp_url=NOWHERE)
    assert "timestamp authority http://127.0.0.1:9 does not answer" in capsys.readouterr().out
    assert project.services.log_size() == before
    assert project.tags() == {}


def test_a_log_that_is_down_leaves_nothing_stored(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads(project.services.signing_config.read_text())
    config["rekorTlogUrls"][0]["url"] = NOWHERE
    path = project.folder / "signing_config.json"
    path.write_text(json.dumps(config))
    project.attest(expected=1, signers_x509_signing__config=str(path))
    assert "transparency log http://127.0.0.1:9 does not answer" in capsys.readouterr().out
    assert project.tags() == {}
    assert project.bundles() == []


def test_the_doctor_tells_who_signs_and_why_nobody_can(project: Project) -> None:
    (good,) = asyncio.run(check_identity(parse_config(project.config)))
    expected = f"{project.services.issuer.identity()} (issuer {project.services.issuer.url})"
    assert (good.state, good.detail) == ("ok", f"signs as {expected}")
    project.token.unlink()
    (bad,) = asyncio.run(check_identity(parse_config(project.config)))
    assert bad.state == "failed"
    assert "identity token file" in bad.detail


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"lifetime": -60}, "expired at"),
        ({"audience": "other"}, "check the audience, the issuer and the clock"),
    ],
)
def test_a_token_that_is_not_taken_is_told_at_the_start(
    project: Project, capsys: pytest.CaptureFixture[str], claims: Json, message: str
) -> None:
    token = project.services.issuer.token(**claims)
    project.token.write_text(token)
    project.attest(expected=2)
    told = capsys.readouterr().err
    assert message in told
    assert "tekton-chains-controller" in told
    assert token not in told
    assert token.split(".")[1] not in told
    assert project.tags() == {}


@pytest.mark.parametrize("asks", ["annotation", "label", ""])
def test_manual_logs_the_runs_that_ask_for_it(project: Project, asks: str) -> None:
    metadata = project.run["metadata"]
    if asks == "annotation":
        metadata["annotations"] = {"chains.tekton.dev/transparency-upload": "true"}
    if asks == "label":
        metadata["labels"] = {"provenance.chains/transparency-upload": "true"}
    before = project.services.log_size()
    project.attest(transparency_enabled="manual")
    assert project.services.log_size() == before + (4 if asks else 0)
    bundles = [json.loads(data)["verificationMaterial"] for data in project.bundles()]
    assert [bool(one["tlogEntries"]) for one in bundles] == [bool(asks)] * 3
    assert all(one["timestampVerificationData"] for one in bundles)


@pytest.mark.parametrize("identity_by", ["key", "certificate"])
def test_cosign_verifies_entries_of_a_rekor_v1_log_in_both_forms(
    project: Project, cosign: Cosign, identity_by: str
) -> None:
    services = project.services
    assert chains(["keys", "generate", "signing.key"]) == 0
    with rekor_v1() as log:
        root = json.loads(services.trusted_root.read_text())
        root["tlogs"] = [log_of(log.key, log.url)]
        (project.folder / "root.json").write_text(json.dumps(root))
        project.attest(
            *(["--key", "signing.key"] if identity_by == "key" else []),
            signers_x509_signing__config="",
            signers_x509_trusted__root=str(project.folder / "root.json"),
            signers_x509_fulcio_address=services.fulcio,
            transparency_url=log.url,
        )
        kinds = [json.loads(leaf)["kind"] for leaf in log.leaves]
    assert sorted(kinds) == ["dsse", "dsse", "dsse", "hashedrekord"]
    signer = ["--key", "signing.pub"] if identity_by == "key" else identity(services)
    arguments = ["--trusted-root", "root.json", *signer, project.reference]
    for flags in ((), ("--new-bundle-format=false",)):
        for command in (["verify-attestation", "--type", "slsaprovenance1"], ["verify"]):
            cosign(*command, *flags, *arguments, cwd=project.folder)
