"""The execution report: an in-toto SCAI attribute report of what provenance leaves out.

Outcome, isolation of each container, children without a record, type hints and fields that the compatible
formats drop. https://github.com/in-toto/attestation/blob/main/spec/predicates/scai.md
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from chains import dependencies
from chains.artifacts import Rejection, image_dependency, rejections
from chains.hermetic import ContainerIsolation
from chains.predicates.slsa_v02 import matched_steps
from chains.snapshot import RunSnapshot
from chains.statement import STATEMENT_V1, ResourceDescriptor, Statement

SCAI = "https://in-toto.io/attestation/scai/v0.3"
PRODUCER = {"name": "provenance-chains", "uri": "https://provenance.chains/execution/v1"}
_CANCELLED = ("cancel",)
_TIMED_OUT = ("timeout", "timedout")


def build(
    run: RunSnapshot, subjects: Sequence[ResourceDescriptor], isolation: Iterable[ContainerIsolation]
) -> Statement:
    """Return the report about ``subjects``, or about the run itself where it made none.

    A run is its own subject by name ``kind/namespace/name`` and the SHA-256 of its snapshot.
    """
    about = tuple(subjects) or (own_subject(run),)
    attributes = [_outcome(run), *map(_hermetic(run), isolation), *_gaps(run), *_warnings(run)]
    return Statement(STATEMENT_V1, about, SCAI, {"attributes": attributes, "producer": PRODUCER})


def own_subject(run: RunSnapshot) -> ResourceDescriptor:
    """Return the run as a subject."""
    return ResourceDescriptor(name=run.label, digest={"sha256": run.digest})


def outcome(run: RunSnapshot) -> str:
    """Return ``succeeded``, ``failed``, ``cancelled``, ``timed-out`` or ``unfinished``."""
    condition = run.condition
    if condition.get("status") == "True":
        return "succeeded"
    if condition.get("status") != "False":
        return "unfinished"
    reason = condition.get("reason", "").lower()
    if any(word in reason for word in _CANCELLED):
        return "cancelled"
    return "timed-out" if any(word in reason for word in _TIMED_OUT) else "failed"


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
        "RUN_OUTCOME", own_subject(run), {key: value for key, value in conditions.items() if value}
    )


def _service_account(run: RunSnapshot) -> str:
    name = run.spec.get("serviceAccountName") or run.spec.get("taskRunTemplate", {}).get(
        "serviceAccountName", ""
    )
    return str(name)


def _attribute(attribute: str, target: ResourceDescriptor, conditions: Mapping[str, Any]) -> dict[str, Any]:
    return {"attribute": attribute, "target": target.fields(), "conditions": conditions}


def _hermetic(run: RunSnapshot) -> Any:
    def write(found: ContainerIsolation) -> dict[str, Any]:
        image = image_dependency(found.image)
        target = ResourceDescriptor(
            name=f"{found.kind}/{found.name}",
            uri=image.uri if image else f"{run.label}#{found.kind}/{found.name}",
            digest=image.digest if image else None,
        )
        answers = {"requested": found.requested, "enforced": found.enforced}
        conditions = {
            key: {"value": answer.value, "reason": answer.reason} for key, answer in answers.items()
        }
        return _attribute("HERMETIC_EXECUTION", target, conditions)

    return write


def _gaps(run: RunSnapshot) -> Iterator[dict[str, Any]]:
    for gap in run.gaps:
        target = ResourceDescriptor(
            name=f"{gap.kind.lower()}/{run.namespace}/{gap.name}", uri=f"{run.label}#{gap.kind}/{gap.name}"
        )
        yield _attribute(
            "CHILD_WITHOUT_RECORD", target, {"pipelineTask": gap.pipeline_task, "reason": gap.reason}
        )


def dropped_by_provenance(run: RunSnapshot) -> list[tuple[str, Rejection]]:
    """Return what the compatible provenance leaves out of a run and children: (attribute, what and why)."""
    found = [("FIELD_DROPPED", Rejection(path, "not a field of tekton's types")) for path in run.dropped]
    results = dependencies.run_results(run)
    steps = (
        [result for group in dependencies.step_results(run) for result in group]
        if run.kind == "TaskRun"
        else []
    )
    found += [("HINT_REJECTED", rejection) for rejection in [*rejections(results), *rejections(steps)]]
    found += [("IMAGE_WITHOUT_DIGEST", rejection) for rejection in dependencies.unresolved_images(run)]
    for child in run.children:
        if dependencies.moment(child, "completionTime") and matched_steps(child) is None:
            reason = "its steps in spec and status do not match, so SLSA v0.2 leaves the task out"
            found.append(("TASK_WITHOUT_STEPS", Rejection(child.label, reason)))
        found += [
            (attribute, Rejection(f"{child.label}: {item.name}", item.reason))
            for attribute, item in dropped_by_provenance(child)
        ]
    return found


def _warnings(run: RunSnapshot) -> Iterator[dict[str, Any]]:
    for attribute, rejection in dropped_by_provenance(run):
        target = ResourceDescriptor(name=rejection.name, uri=f"{run.label}#{rejection.name}")
        yield _attribute(attribute, target, {"reason": rejection.reason})
