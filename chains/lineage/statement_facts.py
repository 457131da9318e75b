"""What one statement says: what was made, from what, by whom, when. Pure; all of it is claims.

Both versions of SLSA provenance, the execution report and every other statement with subjects are read. The
inputs of a run are in ``resolvedDependencies`` (SLSA v1), ``materials`` and ``buildConfig`` (v0.2), and in
the targets of the execution report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from chains.errors import EvidenceError
from chains.statements import slsa_names
from chains.statements.attributes import Attribute
from chains.statements.claims import build_type, builder_id, run_outcome, run_uid
from chains.statements.statement import SCAI, SLSA_V02, SLSA_V1, ResourceDescriptor, Statement
from chains.tekton.raw import Json, mapping_at, objects_at, parse_time, text_at

_LONGEST = 2048
"""Characters that are kept of a name."""
_LONGEST_TIME = 64
_LONGEST_DIGEST = 300
_GIT = ("git+", "git://")
_OF_TASK = frozenset({"task", "pipeline", "pipelineTask"})
_NAMING = frozenset({"name", "bundle", "pathInRepo"})
"""Parameters of a resolver that name what it resolves."""
_LABELS = ("tekton.dev/task", "tekton.dev/pipeline", "tekton.dev/clusterTask")
_PREFERRED = ("sha256", "sha512", "sha384", "sha224", "sha1")


class Role(StrEnum):
    """What an input was for the run."""

    STEP_IMAGE = "step-image"
    TASK = "task"
    SOURCE = "source"
    DEPENDENCY = "dependency"


@dataclass(frozen=True, slots=True)
class Input:
    """Something that a run used; ``digests`` are ``algorithm:value``."""

    role: Role
    uri: str
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """A subject of a statement. The first of ``digests`` stands for it."""

    name: str
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What one statement says. ``stated`` is when the run ended; ``tasks`` are names and references.

    ``are_roles_known`` is false where the format does not tell a Task's definition from another input.
    """

    predicate_type: str
    products: tuple[Product, ...]
    inputs: tuple[Input, ...] = ()
    builder: str = ""
    tasks: frozenset[str] = frozenset()
    run_uid: str = ""
    stated: datetime | None = None
    are_roles_known: bool = True


def read_facts(statement: Statement) -> Facts:
    """Return what a statement says. Fields that are missing or malformed are empty.

    Raises :class:`EvidenceError` for a subject whose digest is longer than any.
    """
    inputs: Iterable[Input] = ()
    tasks: Iterable[str] = ()
    predicate = statement.predicate
    match statement.predicate_type:
        case kind if kind == SLSA_V1:
            inputs, tasks = _inputs_v1(statement), _tasks_v1(predicate)
            ended = text_at(predicate, "runDetails", "metadata", "finishedOn")
        case kind if kind == SLSA_V02:
            inputs, tasks = _inputs_v02(predicate), _tasks_v02(predicate)
            ended = text_at(predicate, "metadata", "buildFinishedOn")
        case kind if kind == SCAI:
            inputs = _inputs_scai(predicate)
            ended = text_at(run_outcome(statement), "conditions", "finishedOn")
        case _:
            ended = text_at(predicate, "timeVerified") or text_at(predicate, "timeCreated")
    return Facts(
        predicate_type=statement.predicate_type[:_LONGEST],
        products=tuple(_product(one) for one in statement.subjects),
        inputs=tuple(dict.fromkeys(inputs)),
        builder=builder_id(statement),
        tasks=frozenset(task for task in tasks if task),
        run_uid=run_uid(statement)[:_LONGEST],
        stated=moment_of(ended),
        are_roles_known=statement.predicate_type != SLSA_V02,
    )


def moment_of(text: str) -> datetime | None:
    """Return a time of a statement or store in UTC, None where it is none."""
    found = parse_time(text) if len(text) <= _LONGEST_TIME else None
    try:
        return None if found is None else found.astimezone(UTC)
    except (OverflowError, ValueError):
        return None


def digests_of(value: Json) -> tuple[str, ...]:
    """Return a digest set as ``algorithm:value``, the usual one first; other values are left out."""
    if not isinstance(value, dict):
        return ()
    found = {
        name: text.lower()
        for name, text in value.items()
        if isinstance(text, str) and name and text and len(name) + len(text) < _LONGEST_DIGEST
    }
    if len(found) == 1:  # nearly always
        return tuple(f"{name}:{text}" for name, text in found.items())
    order = [name for name in _PREFERRED if name in found] + sorted(found.keys() - set(_PREFERRED))
    return tuple(f"{name}:{found[name]}" for name in order)


def _product(subject: ResourceDescriptor) -> Product:
    digests = digests_of(subject.digest)
    if len(digests) != len(subject.digest or {}):
        raise EvidenceError(
            f"statement has a subject with a digest of more than {_LONGEST_DIGEST} characters"
        )
    return Product(subject.name[:_LONGEST], digests)


def _input(role: Role, descriptor: Mapping[str, Json]) -> Iterator[Input]:
    uri, digests = text_at(descriptor, "uri"), digests_of(descriptor.get("digest"))
    if uri or digests:
        yield Input(role, uri, digests)


def _inputs_v1(statement: Statement) -> Iterator[Input]:
    definition = mapping_at(statement.predicate, "buildDefinition")
    is_tekton = build_type(statement) in slsa_names.BUILD_TYPES
    for one in objects_at(definition, "resolvedDependencies"):
        yield from _input(_role_v1(one, is_tekton=is_tekton), one)
    source = mapping_at(definition, "externalParameters", "buildConfigSource")
    if is_tekton and source:
        algorithm, _, value = text_at(source, "ref").partition(":")
        yield from _input(
            Role.TASK, {"uri": text_at(source, "repository"), "digest": {algorithm: value} if value else {}}
        )


def _role_v1(one: Mapping[str, Json], *, is_tekton: bool) -> Role:
    name, uri = text_at(one, "name"), text_at(one, "uri")
    if is_tekton and (name in _OF_TASK or name.startswith("stepAction/")):
        return Role.TASK
    if is_tekton and not name and uri.startswith("oci://"):
        return Role.STEP_IMAGE
    return Role.SOURCE if _is_git(one) else Role.DEPENDENCY


def _is_git(one: Json) -> bool:
    return text_at(one, "uri").startswith(_GIT) or "gitCommit" in mapping_at(one, "digest")


def _inputs_v02(predicate: Json) -> Iterator[Input]:
    for one in objects_at(predicate, "materials"):
        is_image = text_at(one, "uri").startswith("oci://")
        role = Role.STEP_IMAGE if is_image else Role.SOURCE if _is_git(one) else Role.DEPENDENCY
        yield from _input(role, one)
    tasks = objects_at(predicate, "buildConfig", "tasks")
    for holder in (predicate, *tasks):
        yield from _input(Role.TASK, mapping_at(holder, "invocation", "configSource"))
    for steps in (
        objects_at(predicate, "buildConfig", "steps"),
        *(objects_at(task, "steps") for task in tasks),
    ):
        for step in steps:
            uri, at, digest = text_at(step, "environment", "image").partition("@")
            algorithm, _, value = digest.partition(":")
            if at and value:
                yield from _input(Role.STEP_IMAGE, {"uri": uri, "digest": {algorithm: value}})


def _inputs_scai(predicate: Json) -> Iterator[Input]:
    """Yield the containers of an execution report. Of other reports too: a digest in a target is what ran."""
    for attribute in objects_at(predicate, "attributes"):
        target = mapping_at(attribute, "target")
        kind = text_at(target, "name").rpartition(": ")[2].partition("/")[0]
        # the run itself is a target, too, by the digest of its record
        if kind not in {"taskrun", "pipelinerun"} and mapping_at(target, "digest"):
            yield from _input(Role.STEP_IMAGE, target)
        if attribute.get("attribute") == Attribute.CONTAINER_FACTS:
            yield from _named_images(mapping_at(attribute, "conditions"))


def _named_images(facts: Mapping[str, Json]) -> Iterator[Input]:
    """Yield the images of a container as the Task and the pod name them, which may have no digest."""
    for field in ("imageAsWritten", "imageInPod", "imageAsRun"):
        name, _, digest = text_at(facts, field).partition("@")
        algorithm, _, value = digest.partition(":")
        if name:
            uri = f"oci://{name.removeprefix('docker-pullable://')}"
            yield from _input(Role.STEP_IMAGE, {"uri": uri, "digest": {algorithm: value} if value else {}})


def _tasks_v1(predicate: Json) -> Iterator[str]:
    definition = mapping_at(predicate, "buildDefinition")
    spec = mapping_at(definition, "externalParameters", "runSpec")
    yield from _referred(mapping_at(spec, "taskRef"))
    yield from _referred(mapping_at(spec, "pipelineRef"))
    for part in ("tasks", "finally"):
        for task in objects_at(spec, "pipelineSpec", part):
            yield from _referred(mapping_at(task, "taskRef"))
    yield text_at(definition, "externalParameters", "buildConfigSource", "path")
    yield from _labelled(mapping_at(definition, "internalParameters", "labels"))


def _tasks_v02(predicate: Json) -> Iterator[str]:
    for holder in (predicate, *objects_at(predicate, "buildConfig", "tasks")):
        invocation = mapping_at(holder, "invocation")
        yield text_at(invocation, "configSource", "entryPoint")
        yield from _labelled(mapping_at(invocation, "environment", "labels"))
        yield from _referred(mapping_at(holder, "ref"))


def _referred(reference: Mapping[str, Json]) -> Iterator[str]:
    yield text_at(reference, "name")
    yield text_at(reference, "bundle")
    for parameter in objects_at(reference, "params"):
        if text_at(parameter, "name") in _NAMING:
            yield text_at(parameter, "value")


def _labelled(labels: Mapping[str, Json]) -> Iterator[str]:
    return (text_at(labels, name) for name in _LABELS)
