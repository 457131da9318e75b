"""Plays the kubelet for a Job or a bare pod of a test: runs the container's arguments with its account's token."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.testbed.cluster import MERGE, ApiError, ApiServer

Json = Any
CHAINS = Path(sys.executable).with_name("chains")


@dataclass(frozen=True, slots=True)
class Ran:
    """One run of a container."""

    name: str
    account: str
    arguments: list[str]
    code: int
    text: str


@dataclass
class Kubelet:
    """What was run. ``mounts`` replaces mount paths by folders of this machine."""

    server: ApiServer
    namespace: str
    folder: Path
    mounts: dict[str, Path] = field(default_factory=dict)
    ran: list[Ran] = field(default_factory=list)
    done: set[str] = field(default_factory=set)
    fails: bool = False
    """Whether no container can be run, as without an image."""

    def look(self) -> None:
        """Run every Job and pod that was not run yet, and write its end into its status."""
        jobs = f"/apis/batch/v1/namespaces/{self.namespace}/jobs"
        for job in self.server.request("GET", jobs)["items"]:
            if job["metadata"]["uid"] not in self.done:
                self.done.add(job["metadata"]["uid"])
                self._job(f"{jobs}/{job['metadata']['name']}/status", job)
        pods = f"/api/v1/namespaces/{self.namespace}/pods"
        for pod in self.server.request("GET", pods)["items"]:
            if pod["metadata"]["uid"] not in self.done:
                self.done.add(pod["metadata"]["uid"])
                code = self._run(pod["metadata"]["name"], pod["spec"])
                status = {"phase": "Failed" if code else "Succeeded"}
                self.server.request(
                    "PATCH", f"{pods}/{pod['metadata']['name']}/status", {"status": status}, kind=MERGE
                )

    def _job(self, path: str, job: Json) -> None:
        started = datetime.now(UTC)
        code = 1
        for _ in range(0 if self.fails else job["spec"]["backoffLimit"] + 1):
            code = self._run(job["metadata"]["name"], job["spec"]["template"]["spec"])
            if code == 0:
                break
            time.sleep(0.5)
        began, ended = (f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (started, datetime.now(UTC)))
        kinds = ("FailureTarget", "Failed") if code else ("SuccessCriteriaMet", "Complete")
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": ended, "lastProbeTime": ended}
            for kind in kinds
        ]
        status = {"startTime": began, "conditions": conditions}
        status |= {"failed": 1} if code else {"succeeded": 1, "completionTime": ended}
        self.server.request("PATCH", path, {"status": status}, kind=MERGE)

    def _run(self, name: str, pod: Json) -> int:
        """Run the pod's only container with the token of its account; return its exit code."""
        (container,) = pod["containers"]
        token = self.server.service_account_token(self.namespace, pod["serviceAccountName"])
        home = self.folder / f"pod-{len(self.ran)}"
        home.mkdir()
        given = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        settings = {key: str(self.mounts.get(value, value)) for key, value in given.items()} | {
            "HOME": str(home),
            "CHAINS_KUBECONFIG": str(self.server.kubeconfig(home, token)),
            "CHAINS_SIGNING_SECRETS": str(self.mounts.get("/etc/signing-secrets", home)),
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            [CHAINS, *container["args"]], env=settings, capture_output=True, text=True, check=False
        )
        text = done.stdout + done.stderr
        self.ran.append(Ran(name, pod["serviceAccountName"], container["args"], done.returncode, text))
        return done.returncode


@contextmanager
def kubelet(
    server: ApiServer, namespace: str, folder: Path, mounts: dict[str, Path] | None = None
) -> Iterator[Kubelet]:
    """Run the Jobs and bare pods of a namespace for the length of the block."""
    found, stop = Kubelet(server, namespace, folder, mounts or {}), threading.Event()

    def work() -> None:
        while not stop.wait(0.2):
            try:
                found.look()
            except ApiError as error:
                if error.status not in {404, 409}:  # deleted or changed in between
                    raise

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join(120)
        assert not thread.is_alive()
