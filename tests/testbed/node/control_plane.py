"""etcd, the API server, the controller manager, the scheduler and kube-proxy, as processes of the sandbox."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.testbed.build import binary
from tests.testbed.cluster import ADMIN, ApiError, ApiServer
from tests.testbed.images import Registry
from tests.testbed.node.certificates import Authority
from tests.testbed.node.sandbox import Network, Sandbox
from tests.testbed.node.traces import Traces
from tests.testbed.process import Running, ServerError, running

NODE = "node"
API_PORT, REGISTRY_PORT = 6443, 5000
READY_SECONDS = 180
AUTHENTICATION = "extension-apiserver-authentication"
# user, and what the API server's own authorization knows it by
USERS = {
    "admin": ("admin", "system:masters"),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
}
NO_PROXY = {"NO_PROXY": "*", "no_proxy": "*"}
Command = list[str | Path]


@dataclass(frozen=True, slots=True)
class _Started:
    """A process, and how it was started."""

    stack: ExitStack
    pid: int
    command: Command
    announces: str
    times: int


class Services:
    """Starts the processes of a node in its sandbox; ``stack`` ends them."""

    def __init__(self, sandbox: Sandbox, folder: Path, stack: ExitStack) -> None:
        self.sandbox, self.folder, self._stack = sandbox, folder, stack
        self.authority = Authority(folder / "pki")
        self._started: dict[str, _Started] = {}

    @property
    def network(self) -> Network:
        """The addresses of the sandbox."""
        return self.sandbox.network

    def start(self, name: str, command: Command, announces: str, seconds: float = READY_SECONDS) -> Running:
        """Run a process until the stack ends; returns when its log has what it ``announces``.

        The next process of that name has a log of its own, ``NAME-2.log`` and so on.
        """
        inside = self.sandbox.inside(*command)
        times = self._started[name].times + 1 if name in self._started else 1
        log = self.folder / "log" / (f"{name}.log" if times == 1 else f"{name}-{times}.log")
        stack = self._stack.enter_context(ExitStack())
        made = stack.enter_context(running(inside, log, announces, env=NO_PROXY, seconds=seconds))
        self._started[name] = _Started(stack, made.pid, command, announces, times)
        return made

    def stop(self, name: str) -> None:
        """End one process in an orderly way, as an init system does. Its children go on."""
        started = self._started[name]
        # what was started is nsenter, which waits for the program
        (program,) = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
        os.kill(int(program), signal.SIGTERM)
        wait_for(lambda: not Path(f"/proc/{program}").exists(), f"{name} has ended")
        started.stack.close()

    def start_again(self, name: str) -> None:
        """Start a process that was stopped, with the same command."""
        started = self._started[name]
        self.start(name, started.command, started.announces)

    def traces(self, before: Mapping[str, str]) -> Traces:
        """Return where the node can be seen; ``before`` are the settings from before it started."""
        namespace = str(Path(f"/proc/{self.sandbox.init}/ns/net").readlink())
        return Traces(self.network, self.folder, namespace, before)

    def kubeconfig(self, user: str) -> Path:
        """Write the kubeconfig of one of :data:`USERS` and return its path."""
        return self.api.kubeconfig(self._folder_of(user), _token(user))

    def _folder_of(self, user: str) -> Path:
        folder = self.folder / "users" / user
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def api(self) -> ApiServer:
        """The API server, as its administrator."""
        url = f"https://{self.network.address}:{API_PORT}"
        return ApiServer(url, self.authority.ca_file, _token("admin"))

    def registry(self) -> Registry:
        """Run an OCI registry that pods and host reach under the same name."""
        host = f"{self.network.address}:{REGISTRY_PORT}"
        command: Command = [binary("registry"), "-quiet", f"-addr={host}", f"-dir={self.folder / 'blobs'}"]
        server = self.start("registry", command, r"^(\S+:\d+)$")
        return Registry(host, server.pid, server.log)

    def control_plane(self) -> None:
        """Run etcd and the API server, then the manager, the scheduler and kube-proxy."""
        etcd = "http://127.0.0.1:2379"
        self.start(
            "etcd",
            [
                binary("etcd"), "--data-dir", self.folder / "etcd", "--unsafe-no-fsync",
                "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
            ],
            r"(ready to serve client requests)",
        )  # fmt: skip
        self._api_server(etcd)
        manager, scheduler, proxy = map(self.kubeconfig, ("manager", "scheduler", "proxy"))
        self.start(
            "manager",
            [
                binary("kube-controller-manager"), "--kubeconfig", manager, "--leader-elect=false",
                "--authentication-kubeconfig", manager, "--authorization-kubeconfig", manager,
                "--service-account-private-key-file", self.folder / "sa.key",
                "--root-ca-file", self.authority.ca_file, "--use-service-account-credentials",
            ],
            r"(Serving securely on)",
        )  # fmt: skip
        self.start(
            "scheduler",
            [
                binary("kube-scheduler"), "--kubeconfig", scheduler, "--leader-elect=false",
                "--authentication-kubeconfig", scheduler, "--authorization-kubeconfig", scheduler,
            ],
            r"(Serving securely on)",
        )  # fmt: skip
        self.start(
            "proxy",
            [
                binary("kube-proxy"), "--kubeconfig", proxy, "--proxy-mode", "nftables",
                "--cluster-cidr", self.network.pods, "--hostname-override", NODE,
                # settings of the whole machine stay as they are
                "--conntrack-max-per-core", "0", "--conntrack-tcp-timeout-established", "0s",
                "--conntrack-tcp-timeout-close-wait", "0s",
            ],
            r"(Caches are synced)",
        )  # fmt: skip

    def _api_server(self, etcd: str) -> None:
        network, authority, key = self.network, self.authority, self.folder / "sa.key"
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        tokens = self.folder / "tokens.csv"
        tokens.write_text(
            "".join(f'{_token(user)},{name},{user},"{group}"\n' for user, (name, group) in USERS.items())
        )
        hosts = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"]
        serving = authority.issue(
            "api", "kube-apiserver", hosts=[*hosts, "127.0.0.1", network.address, network.api]
        )
        client = authority.issue("api-client", "kube-apiserver-client", group="system:masters")
        self.start(
            "api",
            [
                binary("kube-apiserver"), "--etcd-servers", etcd, "--secure-port", str(API_PORT),
                "--advertise-address", network.address, "--allow-privileged",
                "--tls-cert-file", serving[0], "--tls-private-key-file", serving[1],
                "--client-ca-file", authority.ca_file, "--token-auth-file", tokens,
                "--service-account-issuer", "https://kubernetes.default.svc",
                "--service-account-key-file", key, "--service-account-signing-key-file", key,
                "--service-cluster-ip-range", network.services, "--authorization-mode", "Node,RBAC",
                "--enable-admission-plugins", "NodeRestriction",
                # webhooks are called at their endpoints
                "--enable-aggregator-routing",
                "--kubelet-client-certificate", client[0], "--kubelet-client-key", client[1],
                "--kubelet-certificate-authority", authority.ca_file,
                "--kubelet-preferred-address-types", "InternalIP",
            ],
            r"(Serving securely on)",
        )  # fmt: skip
        wait_for(self._has_roles, "the API server has its own roles")

    def _has_roles(self) -> bool:
        """Return whether the controller manager has the permissions without which it exits."""
        asked = {"namespace": "kube-system", "verb": "get", "resource": "configmaps"}
        spec = {"user": USERS["manager"][0], "resourceAttributes": asked | {"name": AUTHENTICATION}}
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        return bool(self.api.request("POST", path, {"spec": spec})["status"]["allowed"])


def wait_for(attempt: Callable[[], object], what: str, seconds: float = READY_SECONDS) -> None:
    """Call ``attempt`` until its result is true. Raises :class:`ServerError` with its last problem."""
    deadline = time.monotonic() + seconds
    trouble: object = "not yet"
    while time.monotonic() < deadline:
        try:
            if attempt():
                return
        except (ApiError, URLError, OSError) as error:
            trouble = error
        time.sleep(0.1)
    raise ServerError(f"waited {seconds:g} s until {what}: {trouble}")


def _token(user: str) -> str:
    return ADMIN if user == "admin" else f"{user}-of-the-node"
