"""SLSA provenance v1.0 as Chains' ``slsa/v2alpha3`` and ``slsa/v2alpha4`` write it.

https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from chains.statements import dependencies, slsa_names
from chains.statements.statement import SLSA_V1, STATEMENT_V1, ResourceDescriptor, Statement
from chains.statements.type_hints import Result, Subjects, all_subjects, built_subjects, is_byproduct
from chains.tekton.go_values import marshal, protobuf_time
from chains.tekton.snapshot import RunSnapshot

SLSA_BUILD_TYPE, TEKTON_BUILD_TYPE = slsa_names.BUILD_TYPES
BUILD_TYPES, INPUT = slsa_names.BUILD_TYPES, slsa_names.INPUT
_JSON = "application/json"
_KEPT_TWICE = ("task", "pipeline")


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of the configuration that a provenance format depends on.

    ``deep`` includes a PipelineRun's children (``artifacts.pipelinerun.enable-deep-inspection``). ``native``
    includes Tekton's own artifacts (``artifacts.native.enabled``), which Chains does not support.
    """

    builder_id: str
    build_type: str
    deep: bool = False
    native: bool = False


def build_v2alpha3(run: RunSnapshot, options: Options) -> Statement:
    """Return the statement of format ``slsa/v2alpha3``. Every artifact with a type hint is a subject."""
    if run.kind == "TaskRun":
        subjects = task_subjects(run, options)
        byproducts = _byproducts("taskRunResults/", dependencies.run_results(run))
    else:
        subjects = pipeline_subjects(run, options)
        byproducts = _byproducts("pipelineRunResults/", dependencies.run_results(run))
    return _statement(run, options, subjects, byproducts, _resolved(run, options, with_steps=False))


def build_v2alpha4(run: RunSnapshot, options: Options) -> Statement:
    """Return the statement of format ``slsa/v2alpha4``. Build artifacts and images are subjects."""
    subjects = Subjects()
    if run.kind == "TaskRun":
        subjects.extend(_built(run, options))
        byproducts = _task_byproducts(run)
    else:
        results = dependencies.run_results(run)
        subjects.extend(built_subjects(results))
        byproducts = _byproducts(f"pipelineRunResults/{run.name}/", filter(is_byproduct, results))
        if options.deep:
            for child in dependencies.executed_tasks(run):
                subjects.extend(_built(child, options))
                byproducts += _task_byproducts(child)
    resolved = _resolved(run, options, with_steps=True)
    return _statement(run, options, subjects.as_subjects(), byproducts, resolved)


def task_subjects(run: RunSnapshot, options: Options) -> list[ResourceDescriptor]:
    """Return a TaskRun's subjects in the older formats."""
    subjects = Subjects()
    subjects.extend(all_subjects(dependencies.run_results(run)))
    if options.native:
        subjects.extend(dependencies.native_artifacts(run, "outputs"))
    return subjects.as_subjects()


def pipeline_subjects(run: RunSnapshot, options: Options) -> list[ResourceDescriptor]:
    """Return a PipelineRun's subjects in the older formats. With ``deep``, those of its tasks come first."""
    subjects = Subjects()
    if options.deep:
        for child in dependencies.executed_tasks(run):
            subjects.extend(task_subjects(child, options))
    subjects.extend(all_subjects(dependencies.run_results(run)))
    return subjects.as_subjects()


def _built(run: RunSnapshot, options: Options) -> list[ResourceDescriptor]:
    subjects = Subjects()
    for results in dependencies.step_results(run):
        subjects.extend(built_subjects(results))
    subjects.extend(built_subjects(dependencies.run_results(run)))
    if options.native:
        subjects.extend(dependencies.native_artifacts(run, "outputs"))
    return subjects.as_subjects()


def _byproducts(prefix: str, results: Iterable[Result]) -> list[ResourceDescriptor]:
    return [
        ResourceDescriptor(name=prefix + name, content=marshal(value), media_type=_JSON)
        for name, value in results
    ]


def _task_byproducts(run: RunSnapshot) -> list[ResourceDescriptor]:
    steps = [result for results in dependencies.step_results(run) for result in results]
    return [
        *_byproducts(f"taskRunResults/{run.name}/", filter(is_byproduct, dependencies.run_results(run))),
        *_byproducts(f"stepResults/{run.name}/", filter(is_byproduct, steps)),
    ]


def _resolved(run: RunSnapshot, options: Options, *, with_steps: bool) -> list[ResourceDescriptor]:
    if run.kind == "TaskRun":
        definition = dependencies.definition(run)
        found = dependencies.images(run)
        if with_steps:
            found += dependencies.named(INPUT, dependencies.step_inputs(run))
            found += dependencies.step_actions(run)
        found += dependencies.named(INPUT, _task_inputs(run, options))
        own = dependencies.named("task", [definition]) if definition else []
        return own + _without_duplicates(found)
    return _without_duplicates(_pipeline_resolved(run, options, with_steps=with_steps))


def _task_inputs(run: RunSnapshot, options: Options) -> list[ResourceDescriptor]:
    native = dependencies.native_artifacts(run, "inputs") if options.native else []
    return dependencies.task_inputs(run) + native


def _pipeline_resolved(run: RunSnapshot, options: Options, *, with_steps: bool) -> list[ResourceDescriptor]:
    definition = dependencies.definition(run)
    found = dependencies.named("pipeline", [definition]) if definition else []
    for child in dependencies.executed_tasks(run):
        found += _pipeline_task(child, options.build_type)
        if with_steps:
            found += dependencies.step_actions(child)
        found += dependencies.images(child)
    if options.deep and with_steps:
        for child in dependencies.executed_tasks(run):
            found += dependencies.named(INPUT, dependencies.step_inputs(child))
    if options.deep and options.native:
        for child in dependencies.executed_tasks(run):
            found += dependencies.named(INPUT, dependencies.native_artifacts(child, "inputs"))
    return found + dependencies.named(INPUT, dependencies.pipeline_inputs(run, deep=options.deep))


def _pipeline_task(child: RunSnapshot, build_type: str) -> list[ResourceDescriptor]:
    definition = dependencies.definition(child)
    if build_type == TEKTON_BUILD_TYPE:
        uri, digest = (definition.uri, definition.digest) if definition else ("", None)
        content = marshal(child.run)
        return [ResourceDescriptor(name="pipelineTask", uri=uri, digest=digest, content=content)]
    return dependencies.named("pipelineTask", [definition]) if definition else []


def _without_duplicates(found: list[ResourceDescriptor]) -> list[ResourceDescriptor]:
    """Return the descriptors without those whose URI, digest and content came before.

    The definitions of the run itself are always kept.
    """
    seen = set()
    kept = []
    for item in found:
        key = (item.uri, tuple(sorted((item.digest or {}).items())), item.content)
        if key not in seen or item.name in _KEPT_TWICE or item.name.startswith("stepAction/"):
            seen.add(key)
            kept.append(item)
    return kept


def _external(run: RunSnapshot) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    reference = run.spec.get("taskRef" if run.kind == "TaskRun" else "pipelineRef", {})
    source = run.status.get("provenance", {}).get("refSource")
    if source is not None and reference.get("resolver", "") not in {"", "Cluster"}:
        digests = [f"{algorithm}:{value}" for algorithm, value in source.get("digest", {}).items()]
        parameters["buildConfigSource"] = {
            "path": source.get("entryPoint", ""),
            "ref": digests[0] if digests else "",
            "repository": source.get("uri", ""),
        }
    parameters["runSpec"] = run.spec
    return parameters


def _internal(run: RunSnapshot, build_type: str) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    provenance: Mapping[str, Any] = run.status.get("provenance", {})
    if "featureFlags" in provenance:
        parameters["tekton-pipelines-feature-flags"] = provenance["featureFlags"]
    if build_type == TEKTON_BUILD_TYPE:
        parameters["labels"], parameters["annotations"] = dependencies.labels_and_annotations(run)
    return parameters


def _metadata(run: RunSnapshot) -> dict[str, str]:
    metadata = {"invocationId": run.uid} if run.uid else {}
    for field, key in (("startedOn", "startTime"), ("finishedOn", "completionTime")):
        moment = dependencies.moment(run, key)
        if moment:
            metadata[field] = protobuf_time(moment)
    return metadata


def _statement(
    run: RunSnapshot,
    options: Options,
    subjects: list[ResourceDescriptor],
    byproducts: list[ResourceDescriptor],
    resolved: list[ResourceDescriptor],
) -> Statement:
    build: dict[str, Any] = {
        "buildType": options.build_type,
        "externalParameters": _external(run),
        "internalParameters": _internal(run, options.build_type),
    }
    if resolved:
        build["resolvedDependencies"] = [item.fields() for item in resolved]
    details: dict[str, Any] = {
        "builder": {"id": options.builder_id} if options.builder_id else {},
        "metadata": _metadata(run),
    }
    if byproducts:
        details["byproducts"] = [item.fields() for item in byproducts]
    predicate = {"buildDefinition": build, "runDetails": details}
    return Statement(STATEMENT_V1, tuple(subjects), SLSA_V1, predicate)
