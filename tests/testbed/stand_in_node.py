"""What a node and Tekton do for one pod of the controller and for TaskRuns, without a kubelet.

The pod is an object of the API server, made from the StatefulSet of the manifests, and a process here. While the block
lasts, a thread

- keeps Secrets in the folders that stand for their mounts, as the kubelet does;
- ends the process when its pod is deleted (with SIGTERM if the deletion has a grace period, otherwise with SIGKILL), and
  makes a new pod, with a new token of its account;
- ends TaskRuns of the namespaces in ``tekton`` after the seconds of their parameter ``seconds``, with their results.

``exec`` of :func:`kubectl` runs commands here, with the paths of the mounts.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.testbed.build import binary
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.mounted import Mounted
from tests.testbed.ports import free_ports

Json = Any
PAUSE = 0.2
CHAINS = Path(sys.executable).with_name("chains")


class StandInNode:
    """One pod. ``seen_as`` is the API server as the pod reaches it; ``lease`` is in seconds."""

    def __init__(
        self, server: ApiServer, seen_as: ApiServer, stateful_set: Json, folder: Path, *, lease: int = 3
    ) -> None:
        self.server, self.seen_as, self.folder = server, seen_as, folder
        self.template: Json = stateful_set["spec"]["template"]
        self.namespace: str = stateful_set["metadata"]["namespace"]
        self.name = f"{stateful_set['metadata']['name']}-0"
        self.lease = lease
        self.tekton: set[str] = set()
        self.log, self.port = folder / "controller.log", free_ports(1)[0]
        self.environment: dict[str, str] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0
        self.trouble: list[str] = []
        self._seen: dict[str, str] = {}
        self._uid = ""
        self._volumes = {
            volume["name"]: (volume["secret"], Mounted(folder / volume["name"]))
            for volume in self.template["spec"]["volumes"]
            if "secret" in volume
        }

    def mount(self, name: str) -> Path:
        """Return the folder that stands for the mount of a volume."""
        return self._volumes[name][1].folder

    def kubectl(self, folder: Path) -> Path:
        """Write a program: the real kubectl as the administrator, and ``exec`` as above."""
        kubeconfig = self.server.kubeconfig(folder)
        words = [f"s#{mount}#{where}#g" for mount, where in self._places()]
        sed = " ".join(f"-e {shlex.quote(each)}" for each in words) or "-e p"
        program = folder / "kubectl"
        program.write_text(
            "#!/bin/bash\n"
            'if [[ " $* " == *" exec "* ]]; then\n'
            '  while [ "$1" != -- ]; do shift; done; shift; words=()\n'
            f'  for each in "$@"; do words+=("$(sed {sed} <<<"$each")"); done\n'
            f'  [ "${{words[0]}}" != python3 ] || words[0]={shlex.quote(sys.executable)}\n'
            '  exec "${words[@]}"\n'
            "fi\n"
            f'exec {binary("kubectl")} --kubeconfig {kubeconfig} "$@"\n'
        )
        program.chmod(0o755)
        return program

    def _places(self) -> Iterator[tuple[str, Path]]:
        for mount in self.template["spec"]["containers"][0]["volumeMounts"]:
            if mount["name"] in self._volumes:
                yield mount["mountPath"], self.mount(mount["name"])

    def look(self) -> None:
        """Do once what the thread does again and again."""
        self._mounts()
        self._pod()
        for namespace in self.tekton:
            self._end_runs(namespace)

    def _mounts(self) -> None:
        for name, (source, mounted) in self._volumes.items():
            try:
                secret = self.server.request(
                    "GET", f"/api/v1/namespaces/{self.namespace}/secrets/{source['secretName']}"
                )
            except ApiError as error:
                if error.status != 404:
                    raise
                continue
            if self._seen.get(name) == (version := secret["metadata"]["resourceVersion"]):
                continue
            names = {each["key"]: each["path"] for each in source.get("items", [])}
            data = {key: b64decode(value) for key, value in secret.get("data", {}).items()}
            mounted.write({
                names.get(key, key): value for key, value in data.items() if not names or key in names
            })  # fmt: skip
            self._seen[name] = version

    def _pod(self) -> None:
        path = f"/api/v1/namespaces/{self.namespace}/pods"
        try:
            pod = self.server.request("GET", f"{path}/{self.name}")
        except ApiError as error:
            if error.status != 404:
                raise
            pod = None
        if self._uid and (pod is None or pod["metadata"]["uid"] != self._uid):
            self._end(signal.SIGKILL)
            self._uid = ""
        if pod is not None and pod["metadata"].get("deletionTimestamp"):
            self._end(signal.SIGTERM)
            self.server.request("DELETE", f"{path}/{self.name}?gracePeriodSeconds=0")
            self._uid, pod = "", None
        if pod is None:
            self._start(path)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)

    def _start(self, path: str) -> None:
        spec = {**self.template["spec"], "nodeName": "stand-in"}
        body = {"metadata": {"name": self.name, "labels": self.template["metadata"]["labels"]}, "spec": spec}
        account = spec["serviceAccountName"]
        # the account may be on its way; then the pod waits for it
        token = self.server.request(
            "POST",
            f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token",
            {"spec": {"expirationSeconds": 3600}},
        )["status"]["token"]
        self._uid = self.server.request("POST", path, body)["metadata"]["uid"]
        (self.folder / "pod").mkdir(exist_ok=True)
        kubeconfig = self.seen_as.kubeconfig(self.folder / "pod", token)
        environment = {
            "SYSTEM_NAMESPACE": self.namespace, "POD_NAME": self.name, "CHAINS_REPLICAS": "2",
            "CHAINS_LEASE_SECONDS": str(self.lease), "TMPDIR": str(self.folder),
            "DOCKER_CONFIG": str(self.mount("registry-credentials")),
        }  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    CHAINS, *spec["containers"][0]["args"], "--kubeconfig", kubeconfig,
                    "--signing-secrets", self.mount("signing-secrets"), "--health-port", str(self.port),
                ],
                stderr=log, env=os.environ | environment | self.environment,
            )  # fmt: skip
        self.starts += 1

    def _end_runs(self, namespace: str) -> None:
        path = f"/apis/tekton.dev/v1/namespaces/{namespace}/taskruns"
        for run in self.server.request("GET", path)["items"]:
            if "completionTime" not in run.get("status", {}):
                self._end_run(path, run)

    def _end_run(self, path: str, run: Json) -> None:
        given = {each["name"]: each["value"] for each in run["spec"].get("params", [])}
        begun = run["metadata"]["creationTimestamp"]
        if time.time() < seconds_of(begun) + float(given.get("seconds", 0)):
            return
        task = run["spec"]["taskSpec"]
        status = {
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}],
            "podName": f"{run['metadata']['name']}-pod", "startTime": begun,
            "completionTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "taskSpec": task,
            "steps": [{"name": each["name"], "imageID": f"{each['image']}@sha256:{'ab' * 32}"} for each in task["steps"]],
            "results": [
                {"name": each["name"], "type": "string", "value": given[each["name"]]} for each in task.get("results", [])
            ],
        }  # fmt: skip
        try:
            self.server.request(
                "PATCH", f"{path}/{run['metadata']['name']}/status", {"status": status}, kind=MERGE
            )
        except ApiError as error:
            if error.status != 404:
                raise


def seconds_of(text: str) -> float:
    """Return a time of Kubernetes, which has whole seconds."""
    return datetime.fromisoformat(text).timestamp()


@contextmanager
def stand_in_node(
    server: ApiServer,
    seen_as: ApiServer,
    manifests: Sequence[Json],
    folder: Path,
    **environment: str,
) -> Iterator[StandInNode]:
    """Run the pod of a StatefulSet for the length of the block."""
    (stateful_set,) = (each for each in manifests if each["kind"] == "StatefulSet")
    node, over = StandInNode(server, seen_as, stateful_set, folder), threading.Event()
    node.environment = environment

    def work() -> None:
        while not over.wait(PAUSE):
            try:
                node.look()
            except (ApiError, OSError, ValueError) as error:
                node.trouble.append(f"{error}")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield node
    finally:
        over.set()
        thread.join(60)
        if node.process is not None and node.process.poll() is None:
            node.process.kill()
            node.process.wait()
