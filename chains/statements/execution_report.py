"""The execution report: an in-toto SCAI attribute report with what provenance leaves out.

It has the outcome, the isolation and its level, facts about run and pod, children without a record, and the
type hints and fields that the compatible formats drop. ``docs/execution-report.md`` describes every
attribute.

https://github.com/in-toto/attestation/blob/main/spec/predicates/scai.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from chains.isolation.judgement import ContainerIsolation, Isolation
from chains.masking.forms import mask
from chains.statements import dependencies
from chains.statements.attributes import Attribute, RunOutcome
from chains.statements.execution_facts import container_facts, ordered, pod_facts, run_facts
from chains.statements.pod_settings import pod_settings
from chains.statements.redaction import Redaction
from chains.statements.slsa_v02 import matched_steps
from chains.statements.statement import SCAI, STATEMENT_V1, ResourceDescriptor, Statement
from chains.statements.trigger_facts import trigger_facts
from chains.statements.type_hints import Rejection, image_dependency, rejections
from chains.tekton.image_name import parse_image_digest
from chains.tekton.late_changes import is_replaced, sidecars_of
from chains.tekton.pod import Pod
from chains.tekton.raw import text_at
from chains.tekton.snapshot import RunSnapshot

PRODUCER = {"name": "provenance-chains", "uri": "https://provenance.chains/execution/v1"}
_CANCELLED = ("cancel",)
_TIMED_OUT = ("timeout", "timedout")


def build_execution_report(
    run: RunSnapshot,
    subjects: Sequence[ResourceDescriptor],
    isolation: Isolation,
    redaction: Redaction = Redaction(),  # noqa: B008 - frozen
    *,
    trigger_guarded: bool = False,
) -> Statement:
    """Return the report about ``subjects``, or about the run itself if it built nothing.

    The run as a subject has the name ``kind/namespace/name`` and the SHA-256 of its snapshot. The bytes
    depend only on the arguments. ``redaction`` decides what is hidden. ``trigger_guarded`` says that the
    operator vouches for what labels and annotations say about the run's trigger.
    """
    about = tuple(subjects) or (own_subject(run),)
    attributes = [
        _outcome(run),
        *_levels(run, isolation),
        *(_hermetic(run, found, isolation.pod) for found in isolation.containers),
        *_gaps(run),
        *_sidecars(run),
        *_warnings(run),
        *_trigger(run, redaction, guarded=trigger_guarded),
        *_facts(run, isolation, redaction),
        *_settings(run, isolation),
    ]
    return Statement(STATEMENT_V1, about, SCAI, {"attributes": attributes, "producer": PRODUCER})


def own_subject(run: RunSnapshot) -> ResourceDescriptor:
    """Return the run as a subject."""
    return ResourceDescriptor(name=run.label, digest={"sha256": run.digest})


def outcome(run: RunSnapshot) -> RunOutcome:
    """Return what a run came to, by the status and the reason code of its condition."""
    condition = run.condition
    if condition.get("status") == "True":
        return RunOutcome.SUCCEEDED
    if condition.get("status") != "False":
        return RunOutcome.UNFINISHED
    reason = condition.get("reason", "").lower()
    if any(word in reason for word in _CANCELLED):
        return RunOutcome.CANCELLED
    return RunOutcome.TIMED_OUT if any(word in reason for word in _TIMED_OUT) else RunOutcome.FAILED


def _outcome(run: RunSnapshot) -> dict[str, Any]:
    conditions = {
        "uid": run.uid,
        "outcome": outcome(run),
        "reason": run.condition.get("reason", ""),
        "startedOn": run.status.get("startTime") or "",
        "finishedOn": run.status.get("completionTime") or "",
        "podName": run.status.get("podName", ""),
        "serviceAccountName": _service_account(run),
    }
    return _attribute(
        Attribute.RUN_OUTCOME, own_subject(run), {key: value for key, value in conditions.items() if value}
    )


def _service_account(run: RunSnapshot) -> str:
    name = run.spec.get("serviceAccountName") or run.spec.get("taskRunTemplate", {}).get(
        "serviceAccountName", ""
    )
    return str(name)


def _attribute(
    attribute: Attribute,
    target: ResourceDescriptor,
    conditions: Mapping[str, Any],
    pod: Pod | None = None,
) -> dict[str, Any]:
    """Return one attribute, with the pod as its evidence if one is given."""
    written = {"attribute": attribute, "target": target.fields(), "conditions": conditions}
    return written if pod is None else {**written, "evidence": _pod_descriptor(pod).fields()}


def _pod_descriptor(pod: Pod) -> ResourceDescriptor:
    name = f"pod/{pod.namespace}/{pod.name}"
    return ResourceDescriptor(name=name, uri=f"{name}#{pod.uid}")


def _levels(run: RunSnapshot, isolation: Isolation) -> Iterator[dict[str, Any]]:
    conditions: dict[str, Any] = {"level": isolation.level, "reason": isolation.reason}
    yield _attribute(Attribute.HERMETIC_LEVEL, own_subject(run), conditions, isolation.pod)
    for child in isolation.children:
        name = f"{child.kind.lower()}/{run.namespace}/{child.name}"
        target = ResourceDescriptor(name=name, uri=f"{run.label}#{child.kind}/{child.name}")
        conditions = {"level": child.level, "reason": child.reason} | (
            {"uid": child.uid} if child.uid else {}
        )
        yield _attribute(Attribute.HERMETIC_CHILD_LEVEL, target, conditions)
    if isolation.network is not None and isolation.pod is not None:
        answers = {name: answer.to_json() for name, answer in isolation.network.mechanisms.items()}
        yield _attribute(Attribute.POD_NETWORK, _pod_descriptor(isolation.pod), answers)


def _container_descriptor(run: RunSnapshot, found: ContainerIsolation) -> ResourceDescriptor:
    image = image_dependency(found.image)
    name = f"{found.kind}/{found.name}"
    return ResourceDescriptor(
        name=name, uri=image.uri if image else f"{run.label}#{name}", digest=image.digest if image else None
    )


def _hermetic(run: RunSnapshot, found: ContainerIsolation, pod: Pod | None) -> dict[str, Any]:
    conditions: dict[str, Any] = {
        "requested": found.requested.to_json(),
        "enforced": found.enforced.to_json(),
        "observed": found.observed.to_json(),
    }
    if found.entrypoint is not None:
        conditions["entrypoint"] = found.entrypoint.to_json()
    if not found.is_counted:
        conditions["ofTekton"] = True
    return _attribute(Attribute.HERMETIC_EXECUTION, _container_descriptor(run, found), conditions, pod)


def _trigger(run: RunSnapshot, redaction: Redaction, *, guarded: bool) -> Iterator[dict[str, Any]]:
    facts = trigger_facts(run, redaction, guarded=guarded)
    if facts:
        yield _attribute(Attribute.RUN_TRIGGER, own_subject(run), facts)


def _facts(run: RunSnapshot, isolation: Isolation, redaction: Redaction) -> Iterator[dict[str, Any]]:
    facts = run_facts(run, redaction)
    if facts:
        yield _attribute(Attribute.RUN_FACTS, own_subject(run), facts)
    pod = isolation.pod
    if pod is None:
        return
    yield _attribute(Attribute.POD_FACTS, _pod_descriptor(pod), pod_facts(pod, isolation.runtime_class))
    for found in isolation.containers:
        if found.placed is not None:
            facts = container_facts(found.placed, found.image, redaction)
            yield _attribute(Attribute.CONTAINER_FACTS, _container_descriptor(run, found), facts)


def _settings(run: RunSnapshot, isolation: Isolation) -> Iterator[dict[str, Any]]:
    """Yield the settings of each pod, those of a PipelineRun's children among them."""
    pods = {child.uid: child.pod for child in isolation.children} | {run.uid: isolation.pod}
    for task in (run, *run.children):
        pod = pods.get(task.uid)
        if task.kind == "TaskRun" and (settings := pod_settings(task, pod)):
            target = ResourceDescriptor(name=task.label, uri=f"{task.label}#{task.uid}")
            yield _attribute(Attribute.POD_SETTINGS, target, settings, pod)


def _gaps(run: RunSnapshot) -> Iterator[dict[str, Any]]:
    for gap in run.gaps:
        target = ResourceDescriptor(
            name=f"{gap.kind.lower()}/{run.namespace}/{gap.name}", uri=f"{run.label}#{gap.kind}/{gap.name}"
        )
        conditions = {"pipelineTask": gap.pipeline_task, "reason": gap.reason}
        if gap.uid:
            yield _attribute(Attribute.CHILD_IN_DOUBT, target, {**conditions, "uid": gap.uid})
        else:
            yield _attribute(Attribute.CHILD_WITHOUT_RECORD, target, conditions)


def _sidecars(run: RunSnapshot) -> Iterator[dict[str, Any]]:
    """Yield the records of all sidecars as they came. The run's digest leaves them out, as Tekton changes
    them."""
    for task in (run, *run.children):
        for sidecar in sidecars_of(task.raw):
            name = text_at(sidecar, "name")
            image = image_dependency(text_at(sidecar, "imageID"))
            is_known = image is not None and not is_replaced(sidecar, task.status.get("completionTime") or "")
            target = ResourceDescriptor(
                name=f"{task.label}: sidecar/{name}",
                uri=image.uri if image and is_known else f"{task.label}#sidecar/{name}",
                digest=image.digest if image and is_known else None,
            )
            yield _attribute(Attribute.SIDECAR_STATE, target, {"run": task.label, "record": ordered(sidecar)})


MOST_DROPPED = 1000
"""The most entries about what provenance leaves out. A result can be a list with as many mistakes as
characters, and each entry takes a hundred times that room."""


Dropped = tuple[Attribute, Rejection]
# the report and the warnings of a run both need this list
_dropped_by_provenance: WeakKeyDictionary[RunSnapshot, list[Dropped]] = WeakKeyDictionary()


def dropped_by_provenance(run: RunSnapshot) -> list[tuple[Attribute, Rejection]]:
    """Return what the compatible provenance leaves out of a run and its children, and why."""
    known = _dropped_by_provenance.get(run)
    if known is not None:
        return known
    found = list(islice(_dropped(run), MOST_DROPPED + 1))
    if len(found) > MOST_DROPPED:
        reason = f"more than {MOST_DROPPED} are left out: these are not all"
        found[MOST_DROPPED:] = [(found[MOST_DROPPED][0], Rejection(run.label, reason))]
    _dropped_by_provenance[run] = found
    return found


def _dropped(run: RunSnapshot) -> Iterator[tuple[Attribute, Rejection]]:
    for path in run.dropped:
        yield Attribute.FIELD_DROPPED, Rejection(path, "not a field of tekton's types")
    results = dependencies.run_results(run)
    steps = (
        [result for group in dependencies.step_results(run) for result in group]
        if run.kind == "TaskRun"
        else []
    )
    for group in (results, steps):
        for rejection in rejections(group):
            yield Attribute.HINT_REJECTED, rejection
    for rejection in dependencies.unresolved_images(run):
        yield Attribute.IMAGE_WITHOUT_DIGEST, rejection
    for name, asked in dependencies.replaced_sidecars(run).items():
        yield Attribute.SIDECAR_REPLACED, Rejection(name, _replaced(run, name, asked))
    for child in run.children:
        if dependencies.moment(child, "completionTime") and matched_steps(child) is None:
            reason = "its steps in spec and status do not match, so SLSA v0.2 leaves the task out"
            yield Attribute.TASK_WITHOUT_STEPS, Rejection(child.label, reason)
        for attribute, item in dropped_by_provenance(child):
            yield attribute, Rejection(f"{child.label}: {item.name}", item.reason)


def _replaced(run: RunSnapshot, name: str, asked: str) -> str:
    image = next(
        (text_at(sidecar, "imageID") for sidecar in sidecars_of(run.raw) if text_at(sidecar, "name") == name),
        "",
    )
    told = "is told in its place" if parse_image_digest(asked) else "has no digest and is left out"
    reason = f"tekton stopped it by the image {image or '(not recorded)'} before the run was recorded, "
    return f"{reason}so that what ran is not known; what the task asks for, {asked or 'not recorded'}, {told}"


def _warnings(run: RunSnapshot) -> Iterator[dict[str, Any]]:
    for attribute, rejection in dropped_by_provenance(run):
        target = ResourceDescriptor(name=rejection.name, uri=f"{run.label}#{rejection.name}")
        yield _attribute(attribute, target, {"reason": mask(rejection.reason)})
