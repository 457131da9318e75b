"""The controller's peak memory while tenants make everything large and name registries that answer with harm."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from chains.cluster.client import METADATA_ONLY
from chains.tekton.snapshot import DONE_LABEL
from tests.integration.test_controller import Running, finished
from tests.integration.test_controller_runs import RUNS
from tests.owners import owned
from tests.testbed.hostile import KINDS, digest_of, image

Json = Any
CONFIG = {"artifacts.taskrun.format": "slsa/v2alpha4", "artifacts.taskrun.storage": "oci"}
Key = tuple[str, str, str]
"""Kind, namespace, name."""
_DIGEST = "sha256:" + "0" * 64
_CHILD_VALUES = 1500
_AT_ONCE = 4
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Attack:
    """How many runs there are: of ``large`` and ``families`` so many in each of two namespaces."""

    registries: int = 36
    """Runs that name hostile registries."""
    large: int = 12
    """TaskRuns of 950 KB."""
    families: int = 1
    """PipelineRuns with ``children`` of 450 KB."""
    children: int = 16


@dataclass(slots=True)
class Watched:
    """What was seen while the attack went on."""

    peak: float = 0.0
    """MiB."""
    longest: float = 0.0
    """Seconds of the longest wait for an answer of ``/livez``."""
    busiest: float = 0.0
    """Seconds of processor time that the controller took, with all its threads, during one such wait.

    What holds up the event loop takes at least as long as that. A busy machine prolongs only the wait.
    """
    stalest: float = 0.0
    """Age of a Lease that the controller held, in parts of the Lease's duration."""
    unmarked: set[Key] = field(default_factory=set)


def start(running: Running, host: str, attack: Attack) -> set[Key]:
    """Create everything, start the controller, and return what is to be marked.

    That is not what names a hostile registry: it may be tried again for hours.
    """
    other = running.server.create_namespace(f"{running.namespace}-other")
    running.watched = (other,)
    led = [
        finished(running.namespace, f"led-{number}", f"{host}/{kind}/app{number}", digest_of(image()))
        for number, kind in zip(range(attack.registries), KINDS * attack.registries, strict=False)
    ]
    runs = [
        large(space, f"large-{number}")
        for space in (running.namespace, other)
        for number in range(attack.large)
    ]
    due = {("TaskRun", run["metadata"]["namespace"], run["metadata"]["name"]) for run in runs}
    for space in (running.namespace, other):
        for number in range(attack.families):
            parent = running.server.create_run(family(space, f"family-{number}", attack.children))
            runs += [child(parent, name) for name in _children(parent)]
            due.add(("PipelineRun", space, f"family-{number}"))
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(running.server.create_run, [*led, *runs]))
    running.start()
    return due


def large(namespace: str, name: str) -> Json:
    """A TaskRun of 90,000 values, none of which is said in evidence."""
    run = finished(namespace, name, "example.com/x", _DIGEST)
    run["status"]["results"] = []
    run["spec"]["params"] = _params(60)
    return run


def family(namespace: str, name: str, children: int) -> Json:
    """A PipelineRun that has ended."""
    names = [f"{name}-{number}" for number in range(children)]
    status = {
        "conditions": [{"type": "Succeeded", "status": "True"}], "completionTime": "2026-01-02T03:10:05Z",
        "pipelineSpec": {"tasks": [{"name": one, "taskRef": {"name": "x"}} for one in names]},
        "childReferences": [
            {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "name": one, "pipelineTaskName": one} for one in names
        ],
    }  # fmt: skip
    return {
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": {"name": name, "namespace": namespace},
        "spec": {"pipelineRef": {"name": "p"}}, "status": status,
    }  # fmt: skip


def child(parent: Json, name: str) -> Json:
    """One of its TaskRuns, with 45,000 values."""
    run = large(parent["metadata"]["namespace"], name)
    run["spec"]["params"] = _params(30)
    run["metadata"]["labels"] = {"tekton.dev/pipelineTask": name}
    run["metadata"]["ownerReferences"] = owned(parent["metadata"]["uid"], parent["metadata"]["name"])
    return run


def _children(parent: Json) -> list[str]:
    return [one["name"] for one in parent["status"]["childReferences"]]


def _params(values: int) -> list[Json]:
    return [
        {"name": f"p{one}", "value": [f"{one}-{two}" for two in range(values)]}
        for one in range(_CHILD_VALUES)
    ]


def peak(running: Running) -> float:
    """MiB of the process's memory, as the system counts them."""
    assert running.process is not None
    status = Path(f"/proc/{running.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def processor_time(running: Running) -> float:
    """Seconds that the process took so far, in all its threads."""
    assert running.process is not None
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _ages(running: Running) -> list[float]:
    """Return how long ago each Lease was renewed, in parts of its duration."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{running.system}/leases"
    leases = [item["spec"] for item in running.server.request("GET", path)["items"]]
    now = datetime.now(UTC)
    return [
        (now - datetime.fromisoformat(lease["renewTime"])).total_seconds() / lease["leaseDurationSeconds"]
        for lease in leases
        if lease.get("holderIdentity")
    ]


def unmarked(running: Running, due: set[Key]) -> set[Key]:
    """Return what of it is not marked yet."""
    left: set[Key] = set()
    for kind, namespace in {(kind, namespace) for kind, namespace, _ in due}:
        path = f"{RUNS}/{namespace}/{kind.lower()}s?labelSelector=%21{DONE_LABEL.replace('/', '%2F')}"
        found = running.server.request(
            "GET", path, accept=METADATA_ONLY.replace("Metadata;", "MetadataList;")
        )
        left |= {(kind, namespace, item["metadata"]["name"]) for item in found["items"] or ()}
    return due & left


def remove(running: Running) -> None:
    """Delete the runs of both namespaces: what else uses the API server would list them for minutes."""
    for namespace in (running.namespace, *running.watched):
        for kind in ("taskruns", "pipelineruns"):
            running.server.request("DELETE", f"{RUNS}/{namespace}/{kind}")


def watch(running: Running, due: set[Key], seconds: float) -> Watched:
    """Ask for the controller's health until everything is marked, or so many seconds have passed."""
    found, deadline = Watched(), time.monotonic() + seconds
    with ThreadPoolExecutor(1) as surroundings:
        looking = surroundings.submit(_wait, running, due, deadline)
        while not looking.done():
            begun, processor = time.monotonic(), processor_time(running)
            with urlopen(f"http://127.0.0.1:{running.port}/livez", timeout=seconds) as answer:
                assert answer.status == HTTPStatus.OK
            found.longest = max(found.longest, time.monotonic() - begun)
            found.busiest = max(found.busiest, processor_time(running) - processor)
            found.stalest = max([found.stalest, *_ages(running)])
            time.sleep(_LOOK_SECONDS)
        found.unmarked = looking.result()
    found.peak = peak(running)
    return found


def _wait(running: Running, due: set[Key], deadline: float) -> set[Key]:
    while due and time.monotonic() < deadline:
        with suppress(OSError):  # the API server has no time for us either
            due = unmarked(running, due)
        time.sleep(1.0)
    return due
