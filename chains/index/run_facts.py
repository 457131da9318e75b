"""What a statement says about its run, for the row of the run. Pure; all of it is claims of its signer.

An execution report says nearly everything, provenance the definition and the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from chains.index.codes import Kind, Level, Outcome
from chains.index.names import name_of, source_of
from chains.isolation.expected_pod import Part
from chains.lineage.statement_facts import Facts, Role, moment_of
from chains.statements.attributes import Attribute
from chains.statements.claims import run_outcome
from chains.statements.statement import SCAI, SLSA_V02, SLSA_V1, Statement
from chains.tekton.go_values import canonical_quantity
from chains.tekton.raw import Json, mapping_at, objects_at, text_at

T = TypeVar("T", Outcome, Level)

MOST_STEPS = 250
"""Steps of a run that are kept."""
_LARGEST = 2**31 - 1
_UNITS: dict[str, Decimal] = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "u": Decimal("0.000001"),
    "n": Decimal("0.000000001"),
} | {
    unit: Decimal(base) ** power
    for base, units in ((1000, "kMGTPE"), (1024, ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")))
    for power, unit in enumerate(units, 1)
}
_MIB = 1024 * 1024
_SPOT = {
    ("karpenter.sh/capacity-type", "spot"),
    ("eks.amazonaws.com/capacityType", "SPOT"),
    ("cloud.google.com/gke-spot", "true"),
    ("cloud.google.com/gke-preemptible", "true"),
    ("kubernetes.azure.com/scalesetpriority", "spot"),
}
"""Labels and taints by which the clouds offer nodes that they may take back."""
_COMMITS = ("gitCommit:", "sha1:")
_NAME, _TASK, _PIPELINE = "name", "tekton.dev/task", "tekton.dev/pipeline"


@dataclass(frozen=True, slots=True)
class Step:
    """A step as it ran. Times are seconds of Unix time; ``digest`` is the SHA-256 of its image."""

    name: str
    image: str
    digest: bytes | None
    exit_code: int | None
    ended_as: str
    started: int | None
    finished: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """An execution report. Texts that it does not have are empty; units are those of the table ``run``.

    ``snapshot`` is the digest of the run's own record.
    """

    kind: Kind
    namespace: str
    name: str
    snapshot: str
    account: str
    outcome: Outcome
    reason: str
    started: int | None
    finished: int | None
    trigger: str
    sender: str
    node: str
    pod_wait: int | None
    step_wait: int | None
    retries: int
    cpu: int | None
    memory: int | None
    spot_wish: bool
    level: Level
    level_reason: str
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What provenance says about the definition and the source of a run."""

    pipeline: str
    task: str
    builder: str
    repository: str
    commit: str


def kind_of(text: str) -> Kind:
    """Return the kind of a run by its name in lower case."""
    return {"taskrun": Kind.TASKRUN, "pipelinerun": Kind.PIPELINERUN}.get(text.lower(), Kind.OTHER)


def seconds_of(moment: datetime | None) -> int | None:
    """Return whole seconds of Unix time."""
    return None if moment is None else int(moment.timestamp())


def read_provenance(statement: Statement, facts: Facts) -> Provenance | None:
    """Return what provenance says, None for another statement."""
    predicate = statement.predicate
    if statement.predicate_type == SLSA_V1:
        definition = mapping_at(predicate, "buildDefinition")
        spec = mapping_at(definition, "externalParameters", "runSpec")
        labels = mapping_at(definition, "internalParameters", "labels")
        pipeline = text_at(labels, _PIPELINE) or _referred(mapping_at(spec, "pipelineRef"))
        task = text_at(labels, _TASK) or _referred(mapping_at(spec, "taskRef"))
    elif statement.predicate_type == SLSA_V02:
        labels = mapping_at(predicate, "invocation", "environment", "labels")
        pipeline, task = text_at(labels, _PIPELINE), text_at(labels, _TASK)
    else:
        return None
    source = next((one for one in facts.inputs if one.role is Role.SOURCE), None)
    commit = ""
    if source is not None:
        commit = next((one.partition(":")[2] for one in source.digests if one.startswith(_COMMITS)), "")
    return Provenance(pipeline, task, facts.builder, source_of(source.uri) if source else "", commit)


def _referred(reference: Mapping[str, Json]) -> str:
    named = (text_at(one, "value") for one in objects_at(reference, "params") if text_at(one, _NAME) == _NAME)
    return text_at(reference, _NAME) or next(named, "")


def read_report(statement: Statement) -> Report | None:
    """Return what an execution report says, None for another statement."""
    if statement.predicate_type != SCAI:
        return None
    ended = run_outcome(statement)
    conditions, target = mapping_at(ended, "conditions"), mapping_at(ended, "target")
    kind, namespace, name = [*text_at(target, _NAME).split("/", 2), "", ""][:3]
    if not conditions or not kind_of(kind):
        return None
    attributes = list(objects_at(statement.predicate, "attributes"))
    facts, pod, level = (
        _only(attributes, one) for one in (Attribute.RUN_FACTS, Attribute.POD_FACTS, Attribute.HERMETIC_LEVEL)
    )
    containers = list(_containers(attributes))
    steps = tuple(_step(*one) for one in containers if one[0] == Part.STEP)[:MOST_STEPS]
    started, pod_started = _time(conditions, "startedOn"), _time(pod, "startedOn")
    first = min((one.started for one in steps if one.started is not None), default=None)
    trigger = mapping_at(facts, "trigger")
    senders = [one for one in mapping_at(facts, "createdBy").values() if isinstance(one, str)]
    return Report(
        kind=kind_of(kind),
        namespace=namespace,
        name=name,
        snapshot=text_at(target, "digest", "sha256"),
        account=text_at(conditions, "serviceAccountName") or text_at(pod, "serviceAccountName"),
        outcome=_code(Outcome, text_at(conditions, "outcome")),
        reason=text_at(conditions, "reason"),
        started=started,
        finished=_time(conditions, "finishedOn"),
        trigger="/".join(filter(None, (text_at(trigger, "eventListener"), text_at(trigger, "trigger")))),
        sender=next(iter(senders), ""),
        node=text_at(pod, "nodeName"),
        pod_wait=_between(started, pod_started),
        step_wait=_between(pod_started, first),
        retries=_length(facts.get("earlierAttempts")),
        cpu=_requested(containers, "cpu", 1000),
        memory=_requested(containers, "memory", Decimal(1) / _MIB),
        spot_wish=_wants_spot(mapping_at(facts, "podTemplate")),
        level=_code(Level, text_at(level, "level")),
        level_reason=text_at(level, "reason"),
        steps=steps,
    )


def _only(attributes: list[Mapping[str, Json]], name: Attribute) -> Mapping[str, Json]:
    found = [one for one in attributes if one.get("attribute") == name]
    return mapping_at(found[0], "conditions") if len(found) == 1 else {}


def _containers(
    attributes: list[Mapping[str, Json]],
) -> Iterator[tuple[str, str, Mapping[str, Json]]]:
    """Yield part, name and facts of each container, in the order of the pod."""
    for one in attributes:
        if one.get("attribute") == Attribute.CONTAINER_FACTS:
            part, _, name = text_at(one, "target", _NAME).partition("/")
            yield part, name, mapping_at(one, "conditions")


def _step(_: str, name: str, facts: Mapping[str, Json]) -> Step:
    image = text_at(facts, "imageAsRun")
    algorithm, _, value = image.partition("@")[2].partition(":")
    code = facts.get("exitCode")
    return Step(
        name=name,
        image=name_of(image or text_at(facts, "imageAsWritten")),
        digest=_sha256(value) if algorithm == "sha256" else None,
        exit_code=code if isinstance(code, int) and abs(code) <= _LARGEST else None,
        ended_as=text_at(facts, "endedAs"),
        started=_time(facts, "startedOn"),
        finished=_time(facts, "finishedOn"),
    )


def _sha256(value: str) -> bytes | None:
    try:
        found = bytes.fromhex(value)
    except ValueError:
        return None
    return found if len(found) == len(value) // 2 == 32 else None  # noqa: PLR2004 - bytes of a SHA-256


def _time(facts: Mapping[str, Json], name: str) -> int | None:
    return seconds_of(moment_of(text_at(facts, name)))


def _between(start: int | None, end: int | None) -> int | None:
    """Return seconds between two times; clocks that disagree give none."""
    return end - start if start is not None and end is not None and 0 <= end - start <= _LARGEST else None


def _length(value: Json) -> int:
    return min(len(value), 1000) if isinstance(value, list) else 0


def _code(kind: type[T], text: str) -> T:
    return next((one for one in kind if one and one.name.lower().replace("_", "-") == text), kind(0))


def _requested(
    containers: list[tuple[str, str, Mapping[str, Json]]], name: str, factor: Decimal | int
) -> int | None:
    """Return what all containers requested, times the seconds that they ran; None if no times are known."""
    total, is_known = Decimal(0), False
    for _, _, facts in containers:
        seconds = _between(_time(facts, "startedOn"), _time(facts, "finishedOn"))
        if seconds is not None:
            is_known = True
            total += _quantity(mapping_at(facts, "resources", "requests").get(name)) * factor * seconds
    return int(min(total, Decimal(2**62))) if is_known else None


def _quantity(value: Json) -> Decimal:
    """Return a quantity of Kubernetes as a number, 0 for what is none."""
    if not isinstance(value, str | int):
        return Decimal(0)
    try:
        text = canonical_quantity(str(value))
        digits = text.rstrip("kmunKMGTPEi") if "e" not in text else text
        found = Decimal(digits) * _UNITS[text[len(digits) :]]
    except (ValueError, InvalidOperation, KeyError):
        return Decimal(0)
    return max(found, Decimal(0))


def _wants_spot(template: Mapping[str, Json]) -> bool:
    selected = mapping_at(template, "nodeSelector")
    tolerated = {(text_at(one, "key"), text_at(one, "value")) for one in objects_at(template, "tolerations")}
    return any(text_at(selected, name) == value or (name, value) in tolerated for name, value in _SPOT)
