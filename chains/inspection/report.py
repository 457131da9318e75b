"""Reads an execution report, and the record of a run whose digest a report has. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from chains.inspection.facts import Answer, Facts, LevelOfChild, Named, Omission, Step, seconds_between
from chains.inspection.provenance import number_at, steps_of_run, subjects_of, text_of
from chains.lineage.statement_facts import digests_of, moment_of
from chains.statements.attributes import Attribute
from chains.statements.claims import run_outcome
from chains.statements.pod_settings import Source
from chains.statements.statement import Statement
from chains.tekton.raw import Json, mapping_at, objects_at, text_at
from chains.tekton.snapshot import RunSnapshot

_OMISSIONS = (
    Attribute.CHILD_WITHOUT_RECORD,
    Attribute.CHILD_IN_DOUBT,
    Attribute.SIDECAR_REPLACED,
    Attribute.HINT_REJECTED,
    Attribute.IMAGE_WITHOUT_DIGEST,
    Attribute.FIELD_DROPPED,
    Attribute.TASK_WITHOUT_STEPS,
)
_OF_POD = ("nodeName", "runtimeClassName", "runtimeHandler", "automountServiceAccountToken", "hostNamespaces")
_OF_SETTINGS = (
    "nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "priorityClassName",
    "resources", "containerResources", "resourceClaims", "devices",
)  # fmt: skip
_OF_RUN = ("createdBy", "workspaces", "owners", "earlierAttempts", "tektonRelease")


def is_report(statement: Statement) -> bool:
    """Whether a statement is an execution report: it says how exactly one run ended."""
    return bool(run_outcome(statement))


def read_report(statement: Statement) -> Facts:
    """Return what an execution report says. Nothing is verified here."""
    attributes = objects_at(statement.predicate, "attributes")
    outcome = run_outcome(statement)
    conditions = mapping_at(outcome, "conditions")
    (level,) = list(_conditions(attributes, Attribute.HERMETIC_LEVEL)) or [{}]
    pod = next(_conditions(attributes, Attribute.POD_FACTS), {})
    return Facts(
        run=text_at(outcome, "target", "name"),
        run_uid=text_at(conditions, "uid"),
        outcome=text_at(conditions, "outcome"),
        outcome_reason=text_at(conditions, "reason"),
        started=text_at(conditions, "startedOn"),
        finished=text_at(conditions, "finishedOn"),
        pod_started=text_at(pod, "startedOn"),
        subjects=subjects_of(statement),
        service_account=text_at(conditions, "serviceAccountName"),
        hermetic_level=text_at(level, "level"),
        hermetic_reason=text_at(level, "reason"),
        hermetic_children=tuple(_children(attributes)),
        network=tuple(_network(attributes)),
        steps=tuple(_steps(attributes)),
        circumstances=tuple(_circumstances(attributes, pod, conditions)),
        omissions=tuple(
            Omission(
                text_at(one, "attribute"),
                text_at(one, "target", "name"),
                text_at(one, "conditions", "reason"),
            )
            for one in attributes
            if one.get("attribute") in _OMISSIONS
        ),
    )


def read_record(run: RunSnapshot) -> Facts:
    """Return what the record of a run says that no statement has: when it was created, its steps' times."""
    own = (replace(step, task="") for step in steps_of_run(run.raw)) if run.kind == "TaskRun" else ()
    return Facts(
        created=text_at(run.raw, "metadata", "creationTimestamp"),
        steps=(*own, *(step for child in run.children for step in steps_of_run(child.raw))),
    )


def with_times(steps: tuple[Step, ...], recorded: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the steps of a report, with what the record of the run has besides.

    A container is matched by its name, which is the name of one container alone in a TaskRun.
    """
    known: dict[str, list[Step]] = {}
    for step in recorded:
        known.setdefault(step.name, []).append(step)
    return tuple(_with_times(step, known.get(step.name, [])) for step in steps)


def _with_times(step: Step, recorded: list[Step]) -> Step:
    if step.started or len(recorded) != 1:
        return step
    (other,) = recorded
    return replace(
        step,
        written=step.written or other.written,
        pinned=other.pinned if step.pinned is None else step.pinned,
        started=other.started,
        finished=other.finished,
        seconds=other.seconds,
        exit_code=other.exit_code,
        ended=other.ended,
    )


def _conditions(attributes: list[Mapping[str, Json]], kind: Attribute) -> Iterator[Mapping[str, Json]]:
    return (mapping_at(one, "conditions") for one in attributes if one.get("attribute") == kind)


def _children(attributes: list[Mapping[str, Json]]) -> Iterator[LevelOfChild]:
    for one in attributes:
        if one.get("attribute") == Attribute.HERMETIC_CHILD_LEVEL:
            conditions = mapping_at(one, "conditions")
            yield LevelOfChild(
                text_at(one, "target", "name"), text_at(conditions, "level"), text_at(conditions, "reason")
            )


def _network(attributes: list[Mapping[str, Json]]) -> Iterator[Named]:
    for conditions in _conditions(attributes, Attribute.POD_NETWORK):
        for name, answer in conditions.items():
            reason = text_at(answer, "reason")
            yield Named(name, f"{text_at(answer, 'value')}{f' ({reason})' if reason else ''}")


def _steps(attributes: list[Mapping[str, Json]]) -> Iterator[Step]:
    """Yield every container that the report judges, with the facts that it has about it."""
    facts = {
        text_at(one, "target", "name"): mapping_at(one, "conditions")
        for one in attributes
        if one.get("attribute") == Attribute.CONTAINER_FACTS
    }
    for one in attributes:
        if one.get("attribute") != Attribute.HERMETIC_EXECUTION:
            continue
        name = text_at(one, "target", "name")
        conditions, known = mapping_at(one, "conditions"), facts.get(name, {})
        digests = digests_of(mapping_at(one, "target").get("digest"))
        uri = text_at(one, "target", "uri")
        started, finished = text_at(known, "startedOn"), text_at(known, "finishedOn")
        pinned = known.get("imagePinned")
        yield Step(
            task="",
            name=name.removeprefix("step/"),
            image=uri if digests else "",
            digest=digests[0] if digests else "",
            written=text_at(known, "imageAsWritten"),
            pinned=pinned if isinstance(pinned, bool) else None,
            started=started,
            finished=finished,
            seconds=seconds_between(moment_of(started), moment_of(finished)),
            exit_code=number_at(known, "exitCode"),
            ended=text_at(known, "endedAs"),
            of_tekton=conditions.get("ofTekton") is True,
            requested=_answer(conditions, "requested"),
            enforced=_answer(conditions, "enforced"),
            observed=_answer(conditions, "observed"),
        )


def _answer(conditions: Mapping[str, Json], name: str) -> Answer | None:
    found = mapping_at(conditions, name)
    return Answer(text_at(found, "value"), text_at(found, "reason")) if found else None


def _circumstances(
    attributes: list[Mapping[str, Json]], pod: Mapping[str, Json], outcome: Mapping[str, Json]
) -> Iterator[Named]:
    if text_at(outcome, "podName"):
        yield Named("pod", text_at(outcome, "podName"))
    yield from (Named(name, text_of(pod[name])) for name in _OF_POD if name in pod)
    started_by = next(_conditions(attributes, Attribute.RUN_TRIGGER), {})
    if started_by:
        yield Named("trigger", _trigger(started_by))
    for facts in _conditions(attributes, Attribute.RUN_FACTS):
        if "trigger" in facts and not started_by:  # a report of before RUN_TRIGGER
            yield Named("trigger", text_of(facts["trigger"]))
        yield from (Named(name, text_of(facts[name])) for name in _OF_RUN if name in facts)
    yield from _settings(attributes)


def _settings(attributes: list[Mapping[str, Json]]) -> Iterator[Named]:
    """Yield where each pod was placed, and what it was given; what nobody saw is only asked for."""
    for settings in _conditions(attributes, Attribute.POD_SETTINGS):
        task = text_at(settings, "pipelineTask")
        asked = "" if text_at(settings, "source") == Source.POD else " (asked for)"
        for name in _OF_SETTINGS:
            if name in settings:
                yield Named(f"{task}: {name}" if task else name, f"{text_of(settings[name])}{asked}")


def _trigger(facts: Mapping[str, Json]) -> str:
    """Return what started a run as one text, which begins with whose word it is."""
    found = []
    for name, fact in facts.items():
        value, digest = text_at(fact, "value"), text_at(fact, "sha256")
        if value or digest:
            found.append(f"{name} {value or f'sha256:{digest}'}")
    trust, reason = text_at(facts, "trust"), text_at(facts, "reason")
    return f"{trust or 'of unknown trust'}: {', '.join(found)}{f' ({reason})' if reason else ''}"
