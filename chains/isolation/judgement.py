"""The isolation of each container of a run: requested, enforced, observed. Pure.

Tekton's annotation alone proves nothing: the entrypoint isolates steps, never sidecars, and only if nothing
defeats it. Every answer is true, false or unknown with its reason, and unknown never counts as true. A level
is ``enforced`` only if every process that matters is proven to have no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from chains.isolation.entrypoint import judge_binary, judge_entrypoint
from chains.isolation.expected_pod import (
    MODE_ANNOTATION,
    Expected,
    Part,
    differences,
    expected_containers,
    is_requested,
)
from chains.isolation.finding import LEVELS, Answer, Finding, Level
from chains.isolation.network import PodNetwork, judge_network
from chains.isolation.pod import (
    Placed,
    asked_labels,
    distrust,
    missing,
    not_ended,
    place,
    too_large,
    unrecorded,
    way_out,
)
from chains.tekton.late_changes import replaced
from chains.tekton.pod import Pod
from chains.tekton.snapshot import RunSnapshot
from chains.tekton.surroundings import FEATURE_FLAGS, NOTHING, RuntimeClass, Surroundings

_NAMED = 6
_Images = dict[tuple[Part, str], str]


@dataclass(frozen=True, slots=True)
class ContainerIsolation:
    """The answers for one container.

    ``image`` is the image id that was reported. ``placed`` is its place in the pod, None if it has none.
    ``is_counted`` is False for helpers of Tekton, which do not affect the level.
    """

    kind: Part
    name: str
    image: str
    requested: Finding
    enforced: Finding
    observed: Finding
    entrypoint: Finding | None = None
    is_counted: bool = True
    placed: Placed | None = None


@dataclass(frozen=True, slots=True)
class ChildLevel:
    """The level of one child of a PipelineRun, with or without a record.

    ``pod`` is None unless it is believed to be the child's, and the child is not in doubt.
    """

    kind: str
    name: str
    uid: str
    level: Level
    reason: str
    pod: Pod | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Isolation:
    """The answers for one run: level and reason, containers, the pod's network, a PipelineRun's children.

    ``pod`` is None unless it is believed to be the run's; ``runtime_class`` is its RuntimeClass, if known.
    """

    level: Level
    reason: str
    containers: tuple[ContainerIsolation, ...] = ()
    network: PodNetwork | None = None
    pod: Pod | None = None
    runtime_class: RuntimeClass | None = None
    children: tuple[ChildLevel, ...] = ()


def judge_isolation(
    run: RunSnapshot,
    surroundings: Mapping[str, Surroundings] | None = None,
    *,
    policies_vouched: bool = False,
) -> Isolation:
    """Return the answers for a TaskRun, or the weakest level of a PipelineRun's children.

    ``surroundings`` are those of each TaskRun, by :attr:`RunSnapshot.label`. ``policies_vouched`` says that
    the cluster's network plugin is known to enforce NetworkPolicies. Never raises because of what a pod
    holds.
    """
    known = surroundings or {}
    if run.kind == "TaskRun":
        return _judge_task(run, known.get(run.label, NOTHING), policies_vouched=policies_vouched)
    # nothing is known of a child without a certain record, so its level cannot be enforced
    without = Level.UNKNOWN if is_requested(run) else Level.NOT_REQUESTED
    doubts = {gap.uid: gap.reason for gap in run.gaps if gap.uid}
    children = []
    for child in run.children:
        found = _judge_task(child, known.get(child.label, NOTHING), policies_vouched=policies_vouched)
        level, reason = found.level, found.reason
        pod = None if child.uid in doubts else found.pod
        if child.uid in doubts and LEVELS.index(level) > LEVELS.index(without):
            level, reason = without, f"in doubt: {doubts[child.uid]}"
        children.append(ChildLevel(child.kind, child.name, child.uid, level, reason, pod))
    children += [
        ChildLevel(gap.kind, gap.name, "", without, f"no record: {gap.reason}")
        for gap in run.gaps
        if not gap.uid
    ]
    if not children:
        return Isolation(without, "the run has no children")
    weakest = min(children, key=lambda child: LEVELS.index(child.level))
    reason = f"{weakest.kind.lower()} {weakest.name}: {weakest.reason}"
    return Isolation(weakest.level, reason, children=tuple(children))


def _judge_task(run: RunSnapshot, surroundings: Surroundings, *, policies_vouched: bool) -> Isolation:
    pod = surroundings.pod
    why = ""
    if run.status.get("podName"):
        why = unrecorded(run) or (_unbelieved(run, pod) if pod is not None else surroundings.missing)
    recorded = _recorded_images(run)
    # without a pod that is believed, only the record says which containers there were
    if pod is None or why or not run.status.get("podName"):
        why = why or "the run names no pod"
        containers = [
            _unseen(run, expected, surroundings, recorded, why) for expected in expected_containers(run)
        ]
        return Isolation(*_level(run, containers, why), tuple(containers))
    network = judge_network(pod, surroundings, asked_labels(run), vouched=policies_vouched)
    placed = place(run, pod)
    # the volume with the binary is shared, so any container may have changed it for all steps
    binary = judge_binary(placed, pod)
    containers = [
        _judge_container(run, pod, item, binary, surroundings, network, recorded) for item in placed
    ]
    containers += [
        _unseen(run, expected, surroundings, recorded, f"the pod has no container {expected.container}")
        for expected in missing(run, placed)
    ]
    level, reason = _level(run, containers, "the pod has no containers", partly=network.partly)
    return Isolation(level, reason, tuple(containers), network, pod, surroundings.runtime_class)


def _unbelieved(run: RunSnapshot, pod: Pod) -> str:
    return distrust(run, pod) or too_large(pod)


def _unseen(
    run: RunSnapshot, expected: Expected, surroundings: Surroundings, recorded: _Images, why: str
) -> ContainerIsolation:
    return ContainerIsolation(
        expected.kind,
        expected.name,
        recorded.get((expected.kind, expected.name), ""),
        _requested(run, expected.kind, surroundings),
        Finding(Answer.UNKNOWN, why),
        Finding(Answer.UNKNOWN, why),
    )


def _judge_container(
    run: RunSnapshot,
    pod: Pod,
    placed: Placed,
    binary: Sequence[Finding],
    surroundings: Surroundings,
    network: PodNetwork,
    recorded: _Images,
) -> ContainerIsolation:
    entrypoint = judge_entrypoint(placed, pod, binary, surroundings) if placed.kind == Part.STEP else None
    enforced = _enforced(placed, entrypoint, network, way_out(placed.container, pod))
    if placed.kind == Part.STEP and enforced.value == Answer.TRUE and (why := not_ended(run, placed)):
        enforced = Finding(Answer.UNKNOWN, why)
    return ContainerIsolation(
        placed.kind,
        placed.name,
        _image(placed, recorded),
        _requested(run, placed.kind, surroundings),
        enforced,
        _observed(run, placed, recorded),
        entrypoint,
        is_counted=not placed.is_tektons_own,
        placed=placed,
    )


def _image(placed: Placed, recorded: _Images) -> str:
    """Return the id of the image that ran. For a sidecar that Tekton stopped, only the run's record may
    have it."""
    reported = "" if placed.is_stopped else placed.status.image_id
    return reported or recorded.get((placed.kind, placed.name), "")


def _recorded_images(run: RunSnapshot) -> _Images:
    """Return the image ids in the run's record, by part and name."""
    found: _Images = {}
    for kind, states in ((Part.STEP, "steps"), (Part.SIDECAR, "sidecars")):
        gone = set(replaced(run.raw)) if kind == Part.SIDECAR else set()
        for state in run.status.get(states, ()):
            name = state.get("name", "")
            found.setdefault((kind, name), "" if name in gone else state.get("imageID", ""))
    return found


def _requested(run: RunSnapshot, kind: Part, surroundings: Surroundings) -> Finding:
    if not is_requested(run):
        return Finding(Answer.FALSE, f"no annotation {MODE_ANNOTATION}: hermetic")
    if kind != Part.STEP:
        return Finding(Answer.FALSE, "tekton's hermetic mode covers steps alone")
    flags = run.status.get("provenance", {}).get("featureFlags", {})
    fields = flags.get("enableAPIFields") or surroundings.feature_flags.get("enable-api-fields", "")
    reason = f"annotation {MODE_ANNOTATION}"
    if fields and fields != "alpha":
        reason += f", which tekton ignores with enable-api-fields {fields} ({FEATURE_FLAGS})"
    pod = surroundings.pod
    if pod is not None and pod.annotations.get(MODE_ANNOTATION) != "hermetic":
        reason += ", which the pod does not have"
    return Finding(Answer.TRUE, reason)


def _enforced(placed: Placed, entrypoint: Finding | None, network: PodNetwork, around: str) -> Finding:
    """Return whether a container had no network, whatever the mechanism, and no way around it."""
    if network.own_namespace.value == Answer.FALSE:
        return network.own_namespace
    for finding in (network.network_mode, entrypoint, network.network_policy):
        if finding is not None and finding.value == Answer.TRUE:
            return Finding(Answer.UNKNOWN, around) if around else finding
    own = entrypoint or Finding(Answer.FALSE, _not_covered(placed))
    weaker = [own, network.network_mode, network.network_policy]
    unknown = next((finding for finding in weaker if finding.value == Answer.UNKNOWN), None)
    if unknown is not None and unknown is not own:
        return Finding(Answer.UNKNOWN, f"{own.reason}; {unknown.reason}")
    return unknown or Finding(Answer.FALSE, f"{own.reason}; {network.network_policy.reason}")


def _not_covered(placed: Placed) -> str:
    if placed.is_tektons_own:
        return "a helper of tekton, with the pod's network; it runs no command of the task"
    return {
        Part.SIDECAR: "the entrypoint does not run in sidecars",
        Part.INJECTED: "the task did not ask for this container, and the entrypoint does not run in it",
        Part.EPHEMERAL: "a debugging container, in which the entrypoint does not run",
    }[placed.kind]


def _observed(run: RunSnapshot, placed: Placed, recorded: _Images) -> Finding:
    """Return whether the kubelet reports the container, and it ran as the Task asks."""
    wrong = _not_as_asked(run, placed, recorded)
    unknown = _not_reported(placed)
    if wrong or unknown:
        return Finding(Answer.FALSE, wrong) if wrong else Finding(Answer.UNKNOWN, unknown)
    return Finding(
        Answer.TRUE, "ran once, as the task asks" if placed.expected else "ran once, as tekton makes it"
    )


def _not_as_asked(run: RunSnapshot, placed: Placed, images: _Images) -> str:
    if placed.kind in {Part.INJECTED, Part.EPHEMERAL}:
        return "the task did not ask for this container"
    changed = differences(placed.expected, placed.container, run) if placed.expected else []
    if changed:
        more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
        return "not as the task asks: " + ", ".join(changed[:_NAMED]) + more
    recorded, reported = images.get((placed.kind, placed.name), ""), placed.status.image_id
    if placed.kind == Part.STEP and recorded and reported and recorded != reported:
        return "the kubelet reports another image than the run's record"
    restarts = _restarts(placed)
    return f"restarted {restarts} times" if restarts and placed.kind != Part.SIDECAR else ""


def _not_reported(placed: Placed) -> str:
    if not placed.status.is_reported:
        return "no kubelet reported on this container"
    if not placed.status.image_id:
        return "the kubelet does not report which image ran"
    if _restarts(placed):
        return "restarted, as tekton does to stop a sidecar; what ran before is no longer reported"
    if placed.expected is not None and placed.expected.fields is None:
        return "the run's record does not tell what the task asks for"
    if not placed.status.now.is_terminated:
        return "the kubelet does not report that it ended"
    return ""


def _restarts(placed: Placed) -> int:
    count = placed.status.restarts
    return count if isinstance(count, int) else 0


def _level(
    run: RunSnapshot, containers: Sequence[ContainerIsolation], why: str, *, partly: bool = False
) -> tuple[Level, str]:
    """Return the level, and the reason of the first container because of which it is not ``enforced``."""
    counted = [container for container in containers if container.is_counted]
    values = [container.enforced.value for container in counted]
    if counted and all(value == Answer.TRUE for value in values):
        return Level.ENFORCED, f"no network for {len(counted)} of {len(counted)} containers"
    lacking = next((container for container in counted if container.enforced.value != Answer.TRUE), None)
    reason = f"{lacking.kind}/{lacking.name}: {lacking.enforced.reason}" if lacking else why
    if Answer.FALSE in values and (Answer.TRUE in values or partly):
        return Level.PARTLY, reason
    if not is_requested(run) and Answer.TRUE not in values:
        return (
            Level.NOT_REQUESTED,
            f"no annotation {MODE_ANNOTATION}: hermetic, and nothing is known to enforce it",
        )
    if Answer.UNKNOWN in values or not values:
        return Level.UNKNOWN, reason
    return Level.REQUESTED_ONLY, reason
