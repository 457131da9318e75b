"""A real Kubernetes API server with etcd, RBAC and Tekton's own CRDs, on free loopback ports."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.testbed.build import binary, go_for
from tests.testbed.certificates import ClientAuthority
from tests.testbed.ports import free_ports
from tests.testbed.process import ServerError, running

PIPELINE = "github.com/tektoncd/pipeline"
MODULE = Path(__file__).with_name("peer")
ADMIN = "admin-of-the-testbed"
MERGE = "application/merge-patch+json"
READY_SECONDS = 150
Json = Any


class ApiError(Exception):
    """The API server refused a request of a test's set-up."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text[:500]}")
        self.status, self.text = status, text


@dataclass(frozen=True, slots=True)
class ApiServer:
    """A running API server and its administrator."""

    url: str
    ca_file: Path
    token: str = field(repr=False)
    etcd: str = ""
    pids: Mapping[str, int] = field(default_factory=dict)
    """Process ids of ``etcd`` and ``api server``."""
    clients: ClientAuthority | None = None
    """Issues certificates of users."""

    def request(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        kind: str = "application/json",
        token: str = "",
        accept: str = "application/json",
    ) -> Json:
        """Send one request as the administrator or with another token; return the JSON of the answer.

        ``accept`` requests another form. Raises :class:`ApiError` for an answer without success.
        """
        headers = {"Authorization": f"Bearer {token or self.token}", "Content-Type": kind, "Accept": accept}
        data = None if body is None else json.dumps(body).encode()
        opener = build_opener(
            ProxyHandler({}), HTTPSHandler(context=ssl.create_default_context(cafile=str(self.ca_file)))
        )
        try:
            with opener.open(Request(self.url + path, data, headers, method=method), timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except HTTPError as error:
            with error:
                raise ApiError(error.code, error.read().decode(errors="replace")) from error

    def create_namespace(self, name: str) -> str:
        """Create a namespace and return its name."""
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def create_run(self, run: Json) -> Json:
        """Create a TaskRun or PipelineRun with its status, as Tekton's controller leaves it, and return it.

        The status is written to ``/status``, because the API server drops it when an object is created.
        """
        body = json.loads(json.dumps(run))
        status = body.pop("status", None)
        plural = {"TaskRun": "taskruns", "PipelineRun": "pipelineruns"}[body["kind"]]
        path = f"/apis/tekton.dev/v1/namespaces/{body['metadata']['namespace']}/{plural}"
        body["metadata"].pop("uid", None)
        created = self.request("POST", path, body)
        if status is not None:
            target = f"{path}/{created['metadata']['name']}/status"
            created = self.request("PATCH", target, {"status": status}, kind=MERGE)
        return created

    def get_run(self, kind: str, namespace: str, name: str) -> Json:
        """Return a run."""
        return self.request("GET", f"/apis/tekton.dev/v1/namespaces/{namespace}/{kind.lower()}s/{name}")

    def service_account_token(self, namespace: str, name: str) -> str:
        """Return a token of a service account, which is created if it does not exist."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        try:
            self.request("POST", path, {"metadata": {"name": name}})
        except ApiError as error:
            if error.status != 409:
                raise
        answer = self.request("POST", f"{path}/{name}/token", {"spec": {"expirationSeconds": 3600}})
        token: str = answer["status"]["token"]
        return token

    def kubeconfig(self, folder: Path, token: str = "") -> Path:
        """Write a kubeconfig for the administrator, or for another token, and return its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "testbed",
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
            "clusters": [
                {
                    "name": "testbed",
                    "cluster": {"server": self.url, "certificate-authority": str(self.ca_file)},
                }
            ],
            "users": [{"name": "testbed", "user": {"token": token or self.token}}],
        }
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config))
        return path


@contextmanager
def api_server(tmp: Path, *more: str | Path, accounts: bool = False) -> Iterator[ApiServer]:
    """Run etcd and the API server for the length of the block, with Tekton's CRDs installed.

    ``more`` are further arguments of the API server.
    With ``accounts``, a new pod needs its service account and gets its pull secrets, as in every cluster.
    """
    client, peer, secure = free_ports(3)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (tmp / "sa.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
    clients = ClientAuthority.make(tmp)
    (tmp / "tokens.csv").write_text(f'{ADMIN},admin,admin,"system:masters"\n')
    etcd, url = f"http://127.0.0.1:{client}", f"https://127.0.0.1:{secure}"
    database: list[str | Path] = [
        binary("etcd"), "--data-dir", tmp / "etcd", "--unsafe-no-fsync",
        "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
        "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
        "--initial-cluster", f"default=http://127.0.0.1:{peer}",
    ]  # fmt: skip
    server: list[str | Path] = [
        binary("kube-apiserver"), "--etcd-servers", etcd, "--secure-port", str(secure), "--bind-address", "127.0.0.1",
        "--cert-dir", tmp / "pki", "--service-account-issuer", url, "--service-account-jwks-uri", f"{url}/openid/v1/jwks",
        "--service-account-key-file", tmp / "sa.key", "--service-account-signing-key-file", tmp / "sa.key",
        "--service-cluster-ip-range", "10.0.0.0/24", "--token-auth-file", tmp / "tokens.csv",
        "--client-ca-file", clients.ca_file, "--authorization-mode", "RBAC",
        *([] if accounts else ["--disable-admission-plugins", "ServiceAccount"]), *more,
    ]  # fmt: skip
    with ExitStack() as stack:
        store = stack.enter_context(running(database, tmp / "etcd.log", r"(ready to serve client requests)"))
        api = stack.enter_context(
            running(server, tmp / "api.log", r"(Serving securely on)", seconds=READY_SECONDS)
        )
        pids = {"etcd": store.pid, "api server": api.pid}
        found = ApiServer(url, tmp / "pki" / "apiserver.crt", ADMIN, etcd, pids, clients)
        _wait_until_ready(found)
        _install_tekton(found)
        yield found


def _wait_until_ready(server: ApiServer) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            server.request("GET", "/api/v1/namespaces/default")
        except (ApiError, URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise ServerError(f"the api server is not ready: {error}") from error
            time.sleep(0.1)
        else:
            return


def _install_tekton(server: ApiServer) -> None:
    install_crds(
        server,
        definitions_of(MODULE.name, PIPELINE, "config/300-crds"),
        [f"tekton.dev/v1{'beta1' if plural == 'customruns' else ''}/{plural}" for plural in ("taskruns", "pipelineruns", "customruns")],
    )  # fmt: skip


def definitions_of(module: str, package: str, folder: str, files: str = "*.yaml") -> list[Json]:
    """Return the CRDs in files of a folder of a Go package, which the module beside this file pins."""
    found = subprocess.check_output(
        [go_for(module), "mod", "download", "-json", package], cwd=MODULE.with_name(module)
    )
    return [
        document
        for path in sorted((Path(json.loads(found)["Dir"]) / folder).glob(files))
        for document in yaml.load_all(path.read_text(), Loader=yaml.CSafeLoader)
        if document and document["kind"] == "CustomResourceDefinition"
    ]


def install_crds(server: ApiServer, definitions: list[Json], served: list[str]) -> None:
    """Create CRDs and wait until their resources (``group/version/plural``) are served."""
    for definition in definitions:
        definition["spec"].pop("conversion", None)  # its webhook does not run here
        server.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    deadline = time.monotonic() + READY_SECONDS
    for resource in served:
        while True:
            try:
                server.request("GET", f"/apis/{resource}?limit=1")
                break
            except ApiError as error:
                # not served yet, or its storage is still being set up
                if error.status not in {404, 429} or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
