"""Real servers and programs as session fixtures; a test that asks for none of them starts and builds nothing.

Tests that use one carry the marker ``server``, which is added here where it is missing. With ``CI=true`` such a
test may not be skipped. Elsewhere it is skipped, with the reason, where there is no Go to build with.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.testbed import cluster, s3, servers
from tests.testbed.admission import Gatekeeper, Kyverno, PolicyTester
from tests.testbed.build import BuildError, GoMissingError, binary
from tests.testbed.clouds import archivista, containeranalysis, firestore, gcs, mongo
from tests.testbed.cluster import ApiServer
from tests.testbed.commands import Command
from tests.testbed.controller_manager import controller_manager
from tests.testbed.cosign import Cosign, cosign_in
from tests.testbed.images import Registry
from tests.testbed.key_services.every import KeyServices
from tests.testbed.node import cluster as node
from tests.testbed.peer_client import PeerStores
from tests.testbed.pod_builder import PodBuilder
from tests.testbed.process import Running
from tests.testbed.s3 import S3Server
from tests.testbed.sigstore import SigstoreServices, sigstore

UNIT = Path(__file__).parent / "unit"
# fixture -> the programs it runs; built before the first test, so that no test's time limit holds a build
BUILT_FOR = {
    "referrers_registry": "registry",
    "plain_registry": "distribution",
    "secured_registry": "distribution",
    "token_registry": "distribution",
    "s3_server": "versitygw",
    "kafka_program": "kafka",
    "tekton_triggers": "etcd kube-apiserver kubectl triggers-sink triggers-interceptors",
    "cosign": "cosign",
    "policy_tester": "policy-tester",
    "slsa_verifier": "slsa-verifier",
    "kyverno": "kyverno",
    "gatekeeper": "gatekeeper",
    "peer": "peer",
    "peer_controller": "peer-controller",
    "peer_stores": "peer-stores",
    "api_server": "etcd kube-apiserver",
    "kubectl": "kubectl",
    "helm": "helm",
    "oras": "oras",
    "kustomize": "kubectl",
    "install_cluster": "etcd kube-apiserver kubectl helm",
    "kube_controller_manager": "kube-controller-manager",
    "pod_builder": "pods",
    "tekton_entrypoint": "tekton-entrypoint",
    "sigstore_services": "fulcio rekor timestamp-authority",
    "litewitness": "litewitness",
    "node": node.PROGRAMS,
}


@pytest.fixture(scope="session")
def referrers_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An OCI 1.1 registry with the referrers API, on plain HTTP, for anybody."""
    with servers.registry(tmp_path_factory.mktemp("referrers-registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def plain_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The reference registry without a referrers API, on plain HTTP, for anybody."""
    with servers.distribution(tmp_path_factory.mktemp("plain-registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
def secured_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The reference registry behind TLS of a private CA and basic credentials."""
    with servers.distribution(
        tmp_path_factory.mktemp("secured-registry"), tls=True, htpasswd=True
    ) as registry:
        yield registry


@pytest.fixture(scope="session")
def token_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """The reference registry behind TLS of a private CA and bearer tokens."""
    with servers.distribution(tmp_path_factory.mktemp("token-registry"), tls=True, token=True) as registry:
        yield registry


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 service with versioning, object lock and accounts, on plain HTTP."""
    with s3.versitygw(tmp_path_factory.mktemp("s3-server")) as server:
        yield server


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Moto's AWS: S3 with encryption, KMS and STS; it accepts all credentials."""
    with s3.moto(tmp_path_factory.mktemp("moto-server")) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_program() -> Path:
    """A Kafka broker, for :func:`tests.testbed.kafka_broker.kafka_broker`."""
    return binary("kafka")


@pytest.fixture(scope="session")
def peer_stores() -> PeerStores:
    """Tekton Chains' own storage backends."""
    return PeerStores(binary("peer-stores"))


@pytest.fixture
def gcs_bucket() -> Iterator[gcs.Bucket]:
    """A bucket behind a local endpoint that speaks Google Cloud Storage's API."""
    with gcs.gcs_endpoint() as bucket:
        yield bucket


@pytest.fixture
def mongo_server() -> Iterator[mongo.MongoServer]:
    """A local endpoint that speaks MongoDB's wire protocol."""
    with mongo.mongo_endpoint() as server:
        yield server


@pytest.fixture
def firestore_server() -> Iterator[firestore.FirestoreServer]:
    """A local endpoint that speaks Firestore's gRPC."""
    with firestore.firestore_endpoint() as server:
        yield server


@pytest.fixture
def grafeas_server() -> Iterator[containeranalysis.Project]:
    """A local endpoint that speaks Container Analysis' REST API."""
    with containeranalysis.containeranalysis_endpoint() as project:
        yield project


@pytest.fixture
def archivista_server() -> Iterator[archivista.Envelopes]:
    """A local endpoint that speaks Archivista's HTTP API."""
    with archivista.archivista_endpoint() as envelopes:
        yield envelopes


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """A Kubernetes API server with RBAC and Tekton's CRDs."""
    with cluster.api_server(tmp_path_factory.mktemp("api-server")) as server:
        yield server


@pytest.fixture(scope="session")
def kubectl(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """kubectl as the administrator of the API server: call it with its arguments."""
    home = tmp_path_factory.mktemp("kubectl-home")
    settings = {"KUBECONFIG": str(api_server.kubeconfig(home))}
    return Command("kubectl", binary("kubectl"), home, settings)


@pytest.fixture(scope="session")
def kustomize(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """kubectl without a cluster, for ``kubectl kustomize``."""
    return Command("kubectl", binary("kubectl"), tmp_path_factory.mktemp("kustomize-home"))


@pytest.fixture(scope="session")
def oras(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """ORAS, a client of registries for any artifact: call it with its arguments."""
    return Command("oras", binary("oras"), tmp_path_factory.mktemp("oras-home"))


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """helm without a cluster: call it with its arguments."""
    return Command("helm", binary("helm"), tmp_path_factory.mktemp("helm-home"))


@pytest.fixture(scope="module")
def kube_controller_manager(
    api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Kubernetes' own controllers of Deployments and ReplicaSets beside the API server.

    They end with the module, since they would create pods of the Deployments of others.
    """
    folder = tmp_path_factory.mktemp("controller-manager")
    with controller_manager(
        api_server, folder, ("deployment-controller", "replicaset-controller")
    ) as manager:
        yield manager


@pytest.fixture(scope="session")
def peer_controller() -> Path:
    """Tekton Chains' own controller."""
    return binary("peer-controller")


@pytest.fixture(scope="session")
def pod_builder() -> Iterator[PodBuilder]:
    """Tekton's own pod builder."""
    builder = PodBuilder(binary("pods"))
    yield builder
    builder.close()


@pytest.fixture(scope="session")
def tekton_entrypoint() -> Path:
    """Tekton's own entrypoint."""
    return binary("tekton-entrypoint")


@pytest.fixture(scope="session")
def cosign(tmp_path_factory: pytest.TempPathFactory) -> Cosign:
    """cosign, offline: call it with its arguments."""
    return cosign_in(binary("cosign"), tmp_path_factory.mktemp("cosign-home"))


@pytest.fixture(scope="session")
def slsa_verifier(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The SLSA project's own verifier: call it with its arguments."""
    home = tmp_path_factory.mktemp("slsa-verifier-home")
    return Command("slsa-verifier", binary("slsa-verifier"), home)


@pytest.fixture(scope="session")
def sigstore_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SigstoreServices]:
    """A private Sigstore: Fulcio with a CT log, Rekor v2, a timestamp authority and an issuer of tokens."""
    with sigstore(tmp_path_factory.mktemp("sigstore")) as services:
        yield services


@pytest.fixture(scope="session")
def key_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyServices]:
    """The key services, each started for the first test that asks for it.

    One for all tests: a PKCS #11 module is loaded into the process once, with one folder of tokens.
    """
    with ExitStack() as stack:
        yield KeyServices(tmp_path_factory.mktemp("key-services"), stack)


@pytest.fixture(scope="session")
def policy_tester(tmp_path_factory: pytest.TempPathFactory) -> PolicyTester:
    """sigstore's policy-controller, offline."""
    home = tmp_path_factory.mktemp("policy-tester-home")
    return PolicyTester(Command("policy-tester", binary("policy-tester"), home))


@pytest.fixture(scope="session")
def kyverno(tmp_path_factory: pytest.TempPathFactory) -> Kyverno:
    """Kyverno's command line, offline."""
    return Kyverno(Command("kyverno", binary("kyverno"), tmp_path_factory.mktemp("kyverno-home")))


@pytest.fixture(scope="session")
def gatekeeper(tmp_path_factory: pytest.TempPathFactory) -> Gatekeeper:
    """Gatekeeper's constraint framework."""
    home = tmp_path_factory.mktemp("gatekeeper-home")
    return Gatekeeper(Command("gatekeeper", binary("gatekeeper"), home))


def _promised() -> bool:
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def _programs(item: pytest.Item) -> set[str]:
    """Return the programs of the fixtures that a test asks for, be it by the name in a parameter.

    In unit tests such a parameter is the name of an engine that policies are written for.
    """
    call = None if UNIT in item.path.parents else getattr(item, "callspec", None)
    names = [*getattr(item, "fixturenames", ()), *(call.params.values() if call else ())]
    found = (BUILT_FOR[name] for name in names if isinstance(name, str) and name in BUILT_FOR)
    return {program for programs in found for program in programs.split()}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _programs(item) and not item.get_closest_marker("server"):
            item.add_marker(pytest.mark.server)


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        items = [item for item in session.items if not item.get_closest_marker("skip")]
        for program in sorted(set().union(*map(_programs, items))):
            with suppress(BuildError):  # raised again by the fixture that runs the program
                binary(program)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    missing = call.excinfo.value if call.excinfo and isinstance(call.excinfo.value, GoMissingError) else None
    if missing and not _promised():
        path, line, _ = item.location
        report.outcome = "skipped"
        report.longrepr = (path, (line or 0) + 1, f"Skipped: {str(missing).splitlines()[0]}")
    elif (
        report.skipped
        and _promised()
        and item.get_closest_marker("server")
        and not hasattr(report, "wasxfail")
    ):
        report.outcome = "failed"
        report.longrepr = f"a server test may not be skipped where CI is set: {report.longrepr}"
    return report
