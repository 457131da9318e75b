"""Whether a pod belongs to the run, and which part each of its containers has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from chains.isolation.expected_pod import Expected, Part, expected_containers, is_tektons_own
from chains.tekton.container import NO_STATUS, Container, ContainerStatus
from chains.tekton.late_changes import is_replacement
from chains.tekton.network_policy import NetworkPolicy
from chains.tekton.pod import Pod
from chains.tekton.raw import Json, parse_time, text_at
from chains.tekton.snapshot import RunSnapshot

ENDED_BY_TEKTON = (
    "tekton ended the run before its steps had ended, and recorded no container that would tie a pod to it"
)
TASK_RUN_LABEL = "tekton.dev/taskRun"
UID_LABEL = "tekton.dev/taskRunUID"
_HARMLESS = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "IPC_LOCK", "KILL", "MKNOD", "NET_ADMIN",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
    "SYS_NICE", "SYS_RESOURCE",
))  # fmt: skip
"""Capabilities that let no process leave its container: the runtimes' defaults and a few more."""
MOST_CONTAINERS, MOST_VOLUMES, MOST_MOUNTS = 250, 500, 100
"""The most containers and volumes of a pod, and mounts of a container, that are judged. Each is compared
with each."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One container of a pod with its part.

    ``expected`` is what the Task asks for, None if it does not ask for this container. ``status`` is what the
    kubelet reports. ``is_stopped`` says that Tekton replaced the image of a container that was still running
    after the steps: then the status is about the replacement, except for :attr:`ContainerStatus.last`.
    """

    kind: Part
    name: str
    container: Container
    status: ContainerStatus
    expected: Expected | None = None
    is_tektons_own: bool = False
    is_stopped: bool = False


def distrust(run: RunSnapshot, pod: Pod) -> str:
    """Return why a pod is not believed to be the run's, ``""`` if nothing speaks against it.

    Anybody who may create pods can copy the name, owner and labels of a run's pod. Only the kubelet makes
    container ids, so they must be the ids that Tekton recorded.
    """
    if not run.uid:
        return "the run has no uid that its pod's owner could be compared with"
    if (pod.namespace, pod.name) != (run.namespace, run.status.get("podName", "")):
        return f"the pod is {pod.namespace}/{pod.name}, not the one that the run names"
    if pod.task_run_owners != (run.uid,):
        return "the pod belongs to another owner than this run"
    if pod.labels.get(TASK_RUN_LABEL) != run.name or pod.labels.get(UID_LABEL, run.uid) != run.uid:
        return "the pod's labels name another run"
    ended = parse_time(run.status.get("completionTime") or "")
    if pod.created and ended and pod.created > ended:
        return "the pod was created after the run had ended"
    return next(_foreign_containers(run, pod), "")


def too_large(pod: Pod) -> str:
    """Return why a pod is too large to be judged in a short time, ``""`` if it is not."""
    containers = pod.all_containers
    if len(containers) > MOST_CONTAINERS:
        return f"the pod has {len(containers)} containers, more than the {MOST_CONTAINERS} that are judged"
    if (volumes := len(pod.volumes)) > MOST_VOLUMES:
        return f"the pod has {volumes} volumes, more than the {MOST_VOLUMES} that are judged"
    for one in containers:
        if (mounts := len(one.mounts)) > MOST_MOUNTS:
            found = f"container {one.name} has {mounts} volume mounts"
            return f"{found}, more than the {MOST_MOUNTS} that are judged"
    return ""


def asked_labels(run: RunSnapshot) -> dict[str, Json]:
    """Return the labels that Tekton gives the pod of a run (``makeLabels`` in ``pkg/pod``)."""
    return {**run.run["metadata"].get("labels", {}), TASK_RUN_LABEL: run.name, UID_LABEL: run.uid}


def _foreign_containers(run: RunSnapshot, pod: Pod) -> Iterator[str]:
    if not any(map(_recorded_container, run.status.get("steps", ()))):
        yield "the run recorded no container, so nothing ties a pod to it"
    for step in run.status.get("steps", ()):
        recorded = _recorded_container(step)
        name = step.get("container") or f"step-{step.get('name', '')}"
        if recorded and _container_id(pod.statuses.get(name, NO_STATUS)) != recorded:
            yield f"container {name} of the pod is not the one that the run recorded"


def unrecorded(run: RunSnapshot) -> str:
    """Return why no pod can belong to the run, whether a pod is there or not; ``""`` if one can.

    When a run is cancelled, times out or cannot go on, Tekton ends its steps in the record only and has the
    pod deleted (``terminateStepsInPod``, ``failTaskRun``). The pod may remain for a while, or be kept.
    """
    steps = run.status.get("steps", ())
    reason = run.condition.get("reason", "")  # Tekton writes the run's reason as the reason of each step
    is_failed = run.condition.get("status") == "False"
    ended = is_failed and any(text_at(step, "terminated", "reason") == reason != "" for step in steps)
    return ENDED_BY_TEKTON if ended and not any(map(_recorded_container, steps)) else ""


def not_ended(run: RunSnapshot, step: Placed) -> str:
    """Return why it is not certain that a step has ended, ``""`` if it is certain.

    The record is checked first, because it does not change. The kubelet may report an end a moment later.
    """
    records = (record for record in run.status.get("steps", ()) if record.get("name", "") == step.name)
    if not any(text_at(record, "terminated", "containerID") for record in records):
        return "the run does not record that it ended by itself"
    if not step.status.now.is_terminated:
        return "the kubelet does not report that it ended"
    return ""


def _recorded_container(step: Mapping[str, Json]) -> str:
    """Return the id of a step's container. Tekton gets it from the kubelet, only when the container ends."""
    return text_at(step, "terminated", "containerID")


def _container_id(status: ContainerStatus) -> str:
    return status.container_id or status.now.terminated.container_id


def place(run: RunSnapshot, pod: Pod) -> list[Placed]:
    """Return every container of a pod with its part: those of the Task in its order, then the others."""
    expected = expected_containers(run)
    ended = run.status.get("completionTime") or ""
    found: dict[str, Placed] = {}
    others: list[Placed] = []
    for is_init, containers in ((True, pod.init_containers), (False, pod.containers)):
        for container in containers:
            name = container.name
            status = pod.statuses.get(name, NO_STATUS)
            stopped = not is_init and _is_stopped(status, ended)
            asked = next(
                (one for one in expected if one.container == name and _fits(one, container, is_init=is_init)),
                None,
            )
            # container names are unique for the API server, but not in an export: only the first one counts
            if asked is not None and name not in found:
                stopped = stopped and asked.kind != Part.STEP  # Tekton replaces no step
                found[name] = Placed(asked.kind, asked.name, container, status, asked, is_stopped=stopped)
            else:
                own = is_tektons_own(container, run)
                kind = Part.INJECTED if not own else Part.INIT if is_init else Part.SIDECAR
                others.append(Placed(kind, name, container, status, is_tektons_own=own, is_stopped=stopped))
    others += [
        Placed(Part.EPHEMERAL, container.name, container, pod.statuses.get(container.name, NO_STATUS))
        for container in pod.ephemeral_containers
    ]
    ordered = [found[one.container] for one in expected if one.container in found]
    return [*ordered, *others]


def _is_stopped(status: ContainerStatus, ended: str) -> bool:
    """Return whether a container that is not a step was started again, or will be, after the run's end."""
    is_to_begin = status.now.is_waiting and not status.last.is_empty
    return is_to_begin or is_replacement(status.now, ended)


def _fits(expected: Expected, container: Container, *, is_init: bool) -> bool:
    """Return whether a container is where Tekton puts it. A sidecar may be a restarting init container."""
    return not is_init or (container.restarts_always and expected.kind == Part.SIDECAR)


def way_out(container: Container, pod: Pod) -> str:
    """Return how a container without a network may still reach one, ``""`` if there is no way."""
    return next(_ways_out(container, pod), "")


def _ways_out(container: Container, pod: Pod) -> Iterator[str]:
    security = container.security
    if security.is_privileged:
        yield "the container is privileged, so it may leave its namespaces"
    added = {name.upper().removeprefix("CAP_") for name in security.added_capabilities}
    if added - _HARMLESS:
        yield f"with the capability {min(added - _HARMLESS)} the container may leave its namespaces"
    if security.proc_mount not in {"", "Default"}:
        yield "its /proc is not masked, so it may set what the node's kernel runs"
    for shared in pod.shared_namespaces:
        yield f"with {shared} the container may use processes that have a network"
    for device in _devices(container):
        yield f"it was given {device}, which may lead outside"
    host_paths = {volume.name: volume.host_path for volume in pod.volumes if volume.host_path is not None}
    for mount in container.mounts:
        if mount.name in host_paths:
            path = host_paths[mount.name]
            yield f"the host's {path} is mounted, and a socket in it may lead outside"


def _devices(container: Container) -> Iterator[str]:
    """Yield the node's devices that a container was given. Some, such as RDMA adapters, are networks."""
    for device in container.devices:
        yield f"the device {device}"
    for claim in container.claims:
        yield f"the resource claim {claim}"
    for name in container.resource_names:
        domain, slash, _ = name.partition("/")
        if slash and domain != "kubernetes.io" and not domain.endswith(".kubernetes.io"):
            yield f"the node's {name}"


def missing(run: RunSnapshot, placed: list[Placed]) -> list[Expected]:
    """Return the containers that the Task asks for and the pod does not have."""
    there = {container.expected.container for container in placed if container.expected is not None}
    return [item for item in expected_containers(run) if item.container not in there]


def doubt(policy: NetworkPolicy, moment: datetime | None) -> str:
    """Return why a policy may have been different at ``moment``, ``""`` if it certainly was not.

    A policy is certain if its specification never changed. The API server counts changes in ``generation``.
    Times in managed fields prove nothing, because whoever may write an object may write them too.
    """
    if policy.created is None or moment is None:
        return "when it was created is not known"
    if policy.created > moment:
        return "it was created after the pod"
    if policy.is_unchanged:
        return ""
    return "its generation is not 1, so it may have been changed after the pod was created"
