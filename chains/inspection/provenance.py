"""Reads one provenance statement of SLSA v1 or v0.2, by any builder. Pure; what is not there stays empty."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Iterable, Iterator, Mapping

import orjson

from chains.inspection.facts import Artifact, Facts, Named, Step, Value, seconds_between
from chains.inspection.run_names import STEP_OF
from chains.lineage.statement_facts import Input, Role, digests_of, moment_of, read_facts
from chains.statements import slsa_v1
from chains.statements.claims import build_type, builder_id, run_uid
from chains.statements.statement import SLSA_V02, Statement
from chains.tekton.image_name import parse_image_digest
from chains.tekton.raw import Json, mapping_at, objects_at, text_at
from chains.text import to_json

_RESULTS = re.compile(
    r"(?P<kind>(?:taskRun|pipelineRun|step)Results)/(?:(?P<run>[^/]+)/)?(?P<name>.+)", re.DOTALL
)
_TEKTON_V02 = re.compile(r"tekton\.dev/v1(?:beta1)?/(?:TaskRun|PipelineRun)")
_OF_TASK = frozenset({"task", "pipeline", "pipelineTask"})
_IMAGE = "oci://"


def read_provenance(statement: Statement) -> Facts:
    """Return what a provenance statement says. Nothing is verified here."""
    return _read_v02(statement) if statement.predicate_type == SLSA_V02 else _read_v1(statement)


def subjects_of(statement: Statement) -> tuple[Artifact, ...]:
    """Return what a statement is about."""
    return tuple(
        Artifact("subject", one.name, "", digests_of(dict(one.digest or {}))) for one in statement.subjects
    )


def is_tekton(statement: Statement) -> bool:
    """Whether a run of Tekton is described, by its build type."""
    kind = build_type(statement)
    return kind in slsa_v1.BUILD_TYPES or _TEKTON_V02.fullmatch(kind) is not None


def text_of(value: Json) -> str:
    """Return a value of a parameter or result as text: a string as it is, anything else as JSON.

    The members of an object have no order, so they are sorted.
    """
    return value if isinstance(value, str) else to_json(_sorted(value))


def _sorted(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


def _inputs(inputs: Iterable[Input], left_out: frozenset[Role]) -> Iterator[Artifact]:
    for one in inputs:
        if one.role not in left_out:
            yield Artifact(one.role.value, "", one.uri, one.digests)


def _sources(inputs: Iterable[Input], *, is_tekton: bool) -> Iterator[Artifact]:
    """Yield the sources. What Tekton read a Task or Pipeline from is listed among the materials, too."""
    told = list(inputs)
    definitions = {(one.uri, one.digests) for one in told if one.role is Role.TASK} if is_tekton else set()
    for one in told:
        if one.role is Role.SOURCE and (one.uri, one.digests) not in definitions:
            yield Artifact(one.role.value, "", one.uri, one.digests)


def _read_v1(statement: Statement) -> Facts:
    facts = read_facts(statement)
    of_tekton = is_tekton(statement)
    predicate = statement.predicate
    definition = mapping_at(predicate, "buildDefinition")
    external = mapping_at(definition, "externalParameters")
    metadata = mapping_at(predicate, "runDetails", "metadata")
    dependencies = objects_at(definition, "resolvedDependencies")
    uid = run_uid(statement)
    return Facts(
        run=_run_v1(definition) if of_tekton else "",
        run_uid=uid if of_tekton else "",
        invocation="" if of_tekton else uid,
        started=text_at(metadata, "startedOn"),
        finished=text_at(metadata, "finishedOn"),
        subjects=subjects_of(statement),
        sources=tuple(_sources(facts.inputs, is_tekton=False)),
        definitions=tuple(_definitions_v1(external, dependencies)) if of_tekton else (),
        builder=builder_id(statement),
        build_type=build_type(statement),
        service_account=_service_account(mapping_at(external, "runSpec")) if of_tekton else "",
        steps=tuple(_steps_v1(facts.inputs, dependencies)) if of_tekton else (),
        parameters=tuple(_parameters_v1(external, of_tekton=of_tekton)),
        results=tuple(_results_v1(predicate)),
        inputs=tuple(
            _inputs(
                facts.inputs,
                frozenset({Role.SOURCE, Role.TASK, Role.STEP_IMAGE})
                if of_tekton
                else frozenset({Role.SOURCE}),
            )
        ),
        circumstances=(*_versions(predicate), *_resolvers(mapping_at(external, "runSpec"))),
    )


def _run_v1(definition: Mapping[str, Json]) -> str:
    """Return the run's kind and name, which only the labels of one build type tell."""
    labels = mapping_at(definition, "internalParameters", "labels")
    for kind in ("taskRun", "pipelineRun"):
        if name := text_at(labels, f"tekton.dev/{kind}"):
            return f"{kind.lower()} {name}"
    return ""


def _service_account(spec: Mapping[str, Json]) -> str:
    return text_at(spec, "serviceAccountName") or text_at(spec, "taskRunTemplate", "serviceAccountName")


def _definitions_v1(
    external: Mapping[str, Json], dependencies: Iterable[Mapping[str, Json]]
) -> Iterator[Artifact]:
    """Yield what the run was defined by: Task, Pipeline, tasks of the pipeline, StepActions."""
    spec = mapping_at(external, "runSpec")
    path = text_at(external, "buildConfigSource", "path")
    is_told = False
    for one in dependencies:
        name = text_at(one, "name")
        if name not in _OF_TASK and not name.startswith("stepAction/"):
            continue
        uri, digests = text_at(one, "uri"), digests_of(one.get("digest"))
        if not uri and not digests:
            continue
        is_own = name in {"task", "pipeline"}
        is_told |= is_own
        yield Artifact(name, _reference(spec, name) if is_own else "", uri, digests, path if is_own else "")
    if is_told:
        return
    for kind in ("task", "pipeline"):
        if name := _reference(spec, kind):
            yield Artifact(kind, name, "", ())
        elif mapping_at(spec, f"{kind}Spec"):
            yield Artifact(kind, "(written in the run itself)", "", ())


def _reference(spec: Mapping[str, Json], kind: str) -> str:
    reference = mapping_at(spec, f"{kind}Ref")
    return text_at(reference, "name") or next(
        (text_at(one, "value") for one in objects_at(reference, "params") if text_at(one, "name") == "name"),
        "",
    )


def _steps_v1(inputs: Iterable[Input], dependencies: Iterable[Mapping[str, Json]]) -> Iterator[Step]:
    """Yield the steps in the records of tasks that one build type has, else the images alone."""
    told = False
    for one in dependencies:
        record = _content(one) if text_at(one, "name") == "pipelineTask" else None
        for step in steps_of_run(record):
            told = True
            yield step
    if not told:
        for image in inputs:
            if image.role is Role.STEP_IMAGE:
                yield Step("", "", image.uri, image.digests[0] if image.digests else "")


def steps_of_run(run: Json) -> Iterator[Step]:
    """Yield the steps in the record of a TaskRun, with the images that its Task wrote."""
    labels = mapping_at(run, "metadata", "labels")
    task = text_at(labels, "tekton.dev/pipelineTask")
    written = {
        text_at(one, "name"): text_at(one, "image") for one in objects_at(run, "status", "taskSpec", "steps")
    }
    for state in objects_at(run, "status", "steps"):
        name = text_at(state, "name")
        image, _, digest = text_at(state, "imageID").removeprefix("docker-pullable://").partition("@")
        ended = mapping_at(state, "terminated")
        started, finished = text_at(ended, "startedAt"), text_at(ended, "finishedAt")
        asked = written.get(name, "")
        yield Step(
            task=task,
            name=name,
            image=f"{_IMAGE}{image}" if image else "",
            digest=digest,
            written=asked,
            pinned=is_pinned(asked),
            started=started,
            finished=finished,
            seconds=seconds_between(moment_of(started), moment_of(finished)),
            exit_code=number_at(ended, "exitCode"),
            ended=text_at(ended, "reason"),
        )


def is_pinned(written: str) -> bool | None:
    """Return whether an image is written with its digest, None if it is not known how it was written."""
    return parse_image_digest(written) is not None if written else None


def number_at(value: Json, name: str) -> int | None:
    """Return the whole number under a name, None if there is none."""
    found = mapping_at(value).get(name)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _content(descriptor: Mapping[str, Json]) -> Json:
    try:
        return orjson.loads(b64decode(text_at(descriptor, "content"), validate=True))
    except (Error, ValueError):
        return None


def _parameters_v1(external: Mapping[str, Json], *, of_tekton: bool) -> Iterator[Value]:
    if of_tekton:
        for one in objects_at(external, "runSpec", "params"):
            yield Value(text_at(one, "name"), text_of(one.get("value")))
        return
    for name, value in external.items():
        if isinstance(value, Mapping):
            yield from (Value(f"{name}.{inner}", text_of(found)) for inner, found in value.items())
        else:
            yield Value(name, text_of(value))


def _results_v1(predicate: Json) -> Iterator[Value]:
    for one in objects_at(predicate, "runDetails", "byproducts"):
        name = text_at(one, "name")
        match = _RESULTS.fullmatch(name)
        if match is None:
            digests = " ".join(digests_of(one.get("digest")))
            yield Value(name or text_at(one, "uri"), digests or text_at(one, "mediaType"))
            continue
        value = _content(one)
        shown = text_of(value) if value is not None else text_at(one, "content")
        run = match["run"] or ""
        yield Value(match["name"], shown, f"{STEP_OF}{run}" if match["kind"] == "stepResults" else run)


def _versions(predicate: Json) -> Iterator[Named]:
    for name, version in mapping_at(predicate, "runDetails", "builder", "version").items():
        yield Named(f"builder version of {name}", text_of(version))


def _resolvers(spec: Mapping[str, Json]) -> Iterator[Named]:
    for kind in ("task", "pipeline"):
        if resolver := text_at(spec, f"{kind}Ref", "resolver"):
            yield Named(f"{kind} resolver", resolver)


def _read_v02(statement: Statement) -> Facts:
    facts = read_facts(statement)
    of_tekton = is_tekton(statement)
    predicate = statement.predicate
    metadata, invocation = mapping_at(predicate, "metadata"), mapping_at(predicate, "invocation")
    labels = mapping_at(invocation, "environment", "labels")
    tasks = objects_at(predicate, "buildConfig", "tasks")
    kinds = [kind for kind in ("taskRun", "pipelineRun") if text_at(labels, f"tekton.dev/{kind}")]
    parameters = mapping_at(invocation, "parameters")
    left_out = {Role.SOURCE, Role.TASK} | ({Role.STEP_IMAGE} if of_tekton else set())
    return Facts(
        run=f"{kinds[0].lower()} {text_at(labels, f'tekton.dev/{kinds[0]}')}" if kinds and of_tekton else "",
        invocation=text_at(metadata, "buildInvocationId") or text_at(metadata, "buildInvocationID"),
        started=text_at(metadata, "buildStartedOn"),
        finished=text_at(metadata, "buildFinishedOn"),
        subjects=subjects_of(statement),
        sources=tuple(_sources(facts.inputs, is_tekton=of_tekton)),
        definitions=tuple(_definitions_v02(predicate, tasks)),
        builder=builder_id(statement),
        build_type=build_type(statement),
        service_account=next(filter(None, (text_at(task, "serviceAccountName") for task in tasks)), ""),
        steps=tuple(_steps_v02(predicate, tasks, facts.inputs)) if of_tekton else (),
        parameters=(
            *(Value(name, text_of(value)) for name, value in parameters.items()),
            *(
                Value(name, text_of(value), text_at(task, "name"))
                for task in tasks
                for name, value in mapping_at(task, "invocation", "parameters").items()
            ),
        ),
        results=tuple(
            Value(text_at(one, "name"), text_of(one.get("value")), text_at(task, "name"))
            for task in tasks
            for one in objects_at(task, "results")
        ),
        inputs=tuple(_inputs(facts.inputs, frozenset(left_out))),
    )


def _definitions_v02(predicate: Json, tasks: Iterable[Mapping[str, Json]]) -> Iterator[Artifact]:
    kind = text_at(predicate, "buildType").rpartition("/")[2]
    own = {"TaskRun": "task", "PipelineRun": "pipeline"}.get(kind, "definition")
    for role, holder in ((own, mapping_at(predicate)), *(("pipelineTask", task) for task in tasks)):
        source = mapping_at(holder, "invocation", "configSource")
        uri, digests = text_at(source, "uri"), digests_of(source.get("digest"))
        name = text_at(holder, "name") or text_at(holder, "ref", "name")
        if uri or digests or name:
            yield Artifact(role, name, uri, digests, text_at(source, "entryPoint"))


def _steps_v02(
    predicate: Json, tasks: Iterable[Mapping[str, Json]], inputs: Iterable[Input]
) -> Iterator[Step]:
    groups = [("", objects_at(predicate, "buildConfig", "steps"))]
    groups += [(text_at(task, "name"), objects_at(task, "steps")) for task in tasks]
    told = False
    for task, steps in groups:
        for step in steps:
            told = True
            image, _, digest = text_at(step, "environment", "image").partition("@")
            yield Step(task, text_at(step, "environment", "container"), image, digest)
    if not told:
        for one in inputs:
            if one.role is Role.STEP_IMAGE:
                yield Step("", "", one.uri, one.digests[0] if one.digests else "")
