"""Starts the node with Tekton and the controller, and gives tests access to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from tests.testbed.build import binary
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.images import Registry
from tests.testbed.node import chains, kubelet, tekton
from tests.testbed.node.control_plane import NO_PROXY, Services
from tests.testbed.node.images import push_all
from tests.testbed.node.sandbox import sandbox
from tests.testbed.node.shipped_image import shipped_image

PROGRAMS = (
    "registry etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl "
    "containerd containerd-shim-runc-v2 pause step-push crane tekton-controller tekton-webhook tekton-resolvers "
    "tekton-entrypoint tekton-nop tekton-workingdirinit tekton-sidecarlogresults"
)
PLURALS = {"TaskRun": "taskruns", "PipelineRun": "pipelineruns"}
SIGNED, PAYLOAD = "chains.tekton.dev/signed", "chains.tekton.dev/payload-"
WAIT_SECONDS = 120
Json = Any


@dataclass(frozen=True, slots=True)
class Node:
    """A node with Tekton and the two pods of the controller.

    Image names in manifests begin with ``REGISTRY/``. ``REGISTRY/busybox:1`` has a shell and ``push``.
    """

    api: ApiServer
    """The API server, as its administrator."""
    registry: Registry
    """The registry, which host and pods reach under the same name."""
    kubeconfig: Path
    public_key: Path
    """The key that verifies what the controller signs."""
    folder: Path
    """The state of the node, with ``log/NAME.log`` of every process."""
    services: Services
    """The processes of the node."""
    seconds: float
    """How long it took until Tekton and the controller were ready."""

    def kubectl(self, *arguments: str | Path, text: str = "") -> str:
        """Run kubectl as the administrator and return its output; ``text`` is its input.

        Raises :class:`subprocess.CalledProcessError`, with the error output in ``stderr``.
        """
        command = [binary("kubectl"), "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | NO_PROXY,
            timeout=300,
        )
        if done.returncode:
            error = subprocess.CalledProcessError(
                done.returncode, list(map(str, command)), done.stdout, done.stderr
            )
            error.add_note(done.stderr)
            raise error
        return done.stdout

    def namespace(self, name: str) -> str:
        """Create a namespace, with its service account for pods, and return its name."""
        self.api.create_namespace(name)
        self.wait(
            lambda: self._found(f"/api/v1/namespaces/{name}/serviceaccounts/default"), f"{name} is usable"
        )
        return name

    def apply(self, namespace: str, manifests: str) -> list[Json]:
        """Create the objects in a YAML text, in which ``REGISTRY`` stands for the node's registry, and return
        them.
        """
        objects = list(yaml.safe_load_all(manifests.replace("REGISTRY", self.registry.host)))
        text = yaml.safe_dump_all(objects)
        told = self.kubectl("-n", namespace, "create", "-o", "json", "-f", "-", text=text)
        return list(_documents(told))

    def run(self, kind: str, namespace: str, name: str) -> Json:
        """Return the current state of a TaskRun or PipelineRun."""
        return self.api.request("GET", f"/apis/tekton.dev/v1/namespaces/{namespace}/{PLURALS[kind]}/{name}")

    def ended(self, kind: str, namespace: str, name: str, seconds: float = WAIT_SECONDS) -> Json:
        """Wait until a run has ended, whatever its outcome, and return it."""
        return self._until(kind, namespace, name, has_ended, "has ended", seconds)

    def marked(self, kind: str, namespace: str, name: str, seconds: float = WAIT_SECONDS) -> Json:
        """Wait until the controller has marked a run as ``true``, ``failed`` or ``skipped``, and return
        it.
        """
        return self._until(kind, namespace, name, lambda run: bool(mark_of(run)), "is marked", seconds)

    def pod_of(self, task_run: Json) -> Json:
        """Return the pod of a TaskRun. Raises :class:`ApiError` 404 if it was deleted."""
        namespace, pod = task_run["metadata"]["namespace"], task_run["status"]["podName"]
        return self.api.request("GET", f"/api/v1/namespaces/{namespace}/pods/{pod}")

    def wait(self, attempt: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
        """Call ``attempt`` until its result is true. Raises :class:`AssertionError` after ``seconds``."""
        deadline = time.monotonic() + seconds
        while not attempt():
            assert time.monotonic() < deadline, f"waited {seconds:g} s until {what}"
            time.sleep(0.2)

    def statements(self, run: Json) -> dict[str, Json]:
        """Return the statements in the store ``tekton`` for a run, by predicate type."""
        annotations, uid = run["metadata"]["annotations"], run["metadata"]["uid"]
        names = [f"{PAYLOAD}{name}-{uid}" for name in (run["kind"].lower(), "report")]
        found = [json.loads(b64decode(annotations[name])) for name in names if name in annotations]
        return {each["predicateType"]: each for each in found}

    @contextmanager
    def without_kubelet(self) -> Iterator[None]:
        """Stop kubelet and containerd for the length of the block, as an update of both does; containers go on."""
        for name in ("kubelet", "containerd"):
            self.services.stop(name)
        try:
            yield
        finally:
            for name in ("containerd", "kubelet"):
                self.services.start_again(name)

    def _until(
        self, kind: str, namespace: str, name: str, holds: Callable[[Json], bool], what: str, seconds: float
    ) -> Json:
        found: list[Json] = []

        def look() -> bool:
            found[:] = [self.run(kind, namespace, name)]
            return holds(found[0])

        try:
            self.wait(look, f"{kind} {namespace}/{name} {what}", seconds)
        except AssertionError as error:
            error.add_note(self._trouble(found[0]))
            raise
        return found[0]

    def _trouble(self, run: Json) -> str:
        """Return what helps to find out why a run does not progress."""
        namespace = run["metadata"]["namespace"]
        status = json.dumps(run.get("status", {}).get("conditions"))
        told = [status, self.kubectl("-n", namespace, "get", "pods,events"), self.logs_of_chains()]
        return "\n".join(told)

    @contextmanager
    def configured(self, keys: Mapping[str, str]) -> Iterator[None]:
        """Set keys of ``chains-config`` for the length of the block; waits until both pods have read them."""
        path = f"/api/v1/namespaces/{chains.NAMESPACE}/configmaps/chains-config"
        data = self.api.request("GET", path)["data"]
        before = {key: data.get(key) for key in keys}
        self._configure(path, keys)
        try:
            yield
        finally:
            self._configure(path, before)

    def _configure(self, path: str, keys: Mapping[str, str | None]) -> None:
        pods = [f"{chains.NAME}-{number}" for number in range(chains.REPLICAS)]
        before = {pod: self._times_configured(pod) for pod in pods}
        self.api.request("PATCH", path, {"data": keys}, kind=MERGE)
        self.wait(
            lambda: all(self._times_configured(pod) > before[pod] for pod in pods),
            "the configuration is in force",
        )

    def _times_configured(self, pod: str) -> int:
        return self.kubectl("-n", chains.NAMESPACE, "logs", pod).count("a new configuration is in force")

    def logs_of_chains(self) -> str:
        """Return the end of the log of each pod of the controller."""
        selector = f"app={chains.NAME}"
        return self.kubectl("-n", chains.NAMESPACE, "logs", "-l", selector, "--prefix", "--tail=200")

    def _found(self, path: str) -> bool:
        try:
            self.api.request("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True


def _documents(text: str) -> Iterator[Json]:
    """Yield the consecutive JSON values in a text, as kubectl writes them."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        yield value
        text = text[end:]


def has_ended(run: Json) -> bool:
    """Return whether a run has succeeded or failed."""
    conditions = run.get("status", {}).get("conditions") or [{}]
    return conditions[0].get("status") in {"True", "False"}


def mark_of(run: Json) -> str:
    """Return the controller's mark on a run; empty if there is none."""
    return str(run["metadata"].get("annotations", {}).get(SIGNED, ""))


@contextmanager
def running_node(folder: Path, flags: Mapping[str, str] | None = None) -> Iterator[Node]:
    """Run the node for the length of the block; ``flags`` are Tekton's feature flags.

    ``folder`` is removed at the end. Raises :class:`ServerError`, :class:`BuildError` and
    :class:`subprocess.CalledProcessError`.
    """
    for name in PROGRAMS.split():
        binary(name)
    shipped_image()
    started = time.monotonic()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        services = Services(stack.enter_context(sandbox(folder)), folder, stack)
        registry = services.registry()
        services.control_plane()
        push_all(registry)
        kubelet.start(services, registry)
        public_key, kubeconfig = folder / "chains" / "x509.pub", services.kubeconfig("admin")
        made = Node(services.api, registry, kubeconfig, public_key, folder, services, 0)
        tekton.install(made.kubectl, registry, flags or {})
        chains.install(made.kubectl, registry, folder / "chains")
        yield replace(made, seconds=time.monotonic() - started)
