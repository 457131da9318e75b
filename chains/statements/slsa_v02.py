"""SLSA provenance v0.2 as Chains' formats ``in-toto`` and ``slsa/v1`` write it. Only this module has
materials.

https://slsa.dev/spec/v0.2/provenance
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from chains.statements import dependencies
from chains.statements.slsa_v1 import Options, pipeline_subjects, task_subjects
from chains.statements.statement import SLSA_V02, STATEMENT_V01, ResourceDescriptor, Statement
from chains.statements.type_hints import Subjects
from chains.tekton.go_values import nano_time
from chains.tekton.schema import Json, read_value
from chains.tekton.snapshot import CHAINS_PREFIX, RunSnapshot

REPRODUCIBLE_LABEL = CHAINS_PREFIX + "reproducible"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_VARIABLE = re.compile(r"\$\(([_a-zA-Z0-9.-]++(?:\[(?:[0-9]++|\*)\])?)\)", re.ASCII)
"""The same matches as Tekton's own pattern, but without its repeated group: an unclosed name would take
exponential time to reject."""
_STATUS = {"False": "Failed", "True": "Succeeded", "Unknown": "Running"}


def build(run: RunSnapshot, options: Options) -> Statement:
    """Return the v0.2 statement of a TaskRun or PipelineRun."""
    if run.kind == "TaskRun":
        subjects = task_subjects(run, options)
        config: dict[str, Any] = {"steps": _task_steps(run)}
        materials = _task_materials(run, options)
    else:
        subjects = pipeline_subjects(run, options)
        config = {"tasks": _tasks(run) if "pipelineSpec" in run.status else None}
        materials = _pipeline_materials(run, options)
    predicate: dict[str, Any] = {
        "builder": {"id": options.builder_id},
        "buildType": f"{run.run['apiVersion']}/{run.kind}",
        "invocation": _invocation(run),
        "buildConfig": config,
        "metadata": _metadata(run),
    }
    if materials:
        predicate["materials"] = [item.fields() for item in materials]
    return Statement(STATEMENT_V01, tuple(subjects), SLSA_V02, predicate)


def _task_materials(run: RunSnapshot, options: Options) -> list[ResourceDescriptor]:
    found = Subjects()
    found.extend(dependencies.images(run))
    found.extend(dependencies.task_inputs(run))
    if options.native:
        found.extend(dependencies.native_artifacts(run, "inputs"))
    return found.as_dependencies()


def _pipeline_materials(run: RunSnapshot, options: Options) -> list[ResourceDescriptor]:
    found = Subjects()
    for own in filter(None, [dependencies.definition(run)]):
        found.add(own.uri, own.digest or {})
    for child in dependencies.executed_tasks(run):
        found.extend(dependencies.images(child))
        for definition in filter(None, [dependencies.definition(child)]):
            found.add(definition.uri, definition.digest or {})
    found.extend(dependencies.pipeline_inputs(run, deep=options.deep))
    return found.as_dependencies()


def _invocation(run: RunSnapshot) -> dict[str, Any]:
    spec = run.status.get("taskSpec" if run.kind == "TaskRun" else "pipelineSpec", {})
    parameters = {item["name"]: item["default"] for item in spec.get("params", ()) if "default" in item}
    parameters.update({item["name"]: item["value"] for item in run.spec.get("params", ())})
    labels, annotations = dependencies.labels_and_annotations(run)
    kept = {
        key: value
        for key, value in (annotations or {}).items()
        if key != _LAST_APPLIED and not key.startswith(CHAINS_PREFIX)
    }
    environment = {}
    if kept:
        environment["annotations"] = kept
    if labels:
        environment["labels"] = labels
    source = run.status.get("provenance", {}).get("refSource", {})
    invocation: dict[str, Any] = {
        "configSource": {key: source[key] for key in ("uri", "digest", "entryPoint") if key in source},
        "parameters": parameters,
    }
    if environment:
        invocation["environment"] = environment
    return invocation


def _metadata(run: RunSnapshot) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    for field, key in (("buildStartedOn", "startTime"), ("buildFinishedOn", "completionTime")):
        moment = dependencies.moment(run, key)
        if moment:
            metadata[field] = nano_time(moment)
    metadata["completeness"] = {"parameters": False, "environment": False, "materials": False}
    metadata["reproducible"] = _is_reproducible(run)
    return metadata


def _is_reproducible(run: RunSnapshot) -> bool:
    labels, _ = dependencies.labels_and_annotations(run)
    return (labels or {}).get(REPRODUCIBLE_LABEL) == "true"


def _step(step: Mapping[str, Json], raw: Mapping[str, Json], state: Mapping[str, Json]) -> dict[str, Any]:
    arguments = raw.get("args")
    return {
        "entryPoint": step.get("script") or " ".join(step.get("command", ())),
        "arguments": None if arguments is None else [item or "" for item in arguments],
        "environment": {
            "container": state.get("name", ""),
            "image": "oci://" + state.get("imageID", "").removeprefix("docker-pullable://"),
        },
        "annotations": None,
    }


def _spec_steps(run: RunSnapshot) -> list[tuple[Mapping[str, Json], Mapping[str, Json]]]:
    """Return the resolved steps as (as Go writes it, as it came); only the latter tells [] from null."""
    steps = run.status.get("taskSpec", {}).get("steps", ())
    raw = run.raw["status"]["taskSpec"]["steps"] if steps else ()
    return [(step, origin or {}) for step, origin in zip(steps, raw, strict=True)]


def _task_steps(run: RunSnapshot) -> list[dict[str, Any]]:
    by_name: dict[str, tuple[Mapping[str, Json], Mapping[str, Json]]] = {}
    for step, raw in _spec_steps(run):
        by_name.setdefault(step["name"], (step, raw))
    return [
        _step(*by_name.get(state.get("name", ""), ({}, {})), state) for state in run.status.get("steps", ())
    ]


def _tasks(run: RunSnapshot) -> list[dict[str, Any]]:
    spec = run.status["pipelineSpec"]
    regular = len(spec.get("tasks", ()))
    found = []
    last = ""
    for index, task in enumerate(dependencies.pipeline_tasks(run)):
        name = task.get("name", "")
        after = _after(task)
        if not after and index >= regular and last:
            after = [last]
        for child in dependencies.task_runs(run, name):
            steps = matched_steps(child)
            if steps is not None:
                found.append(_task(run, task, child, after, steps))
        if index < regular and _has_children(run, name):
            last = name
    return found


def _has_children(run: RunSnapshot, task: str) -> bool:
    return any(
        child.run["metadata"].get("labels", {}).get("tekton.dev/pipelineTask") == task
        for child in run.children
    )


def matched_steps(child: RunSnapshot) -> list[dict[str, Any]] | None:
    """Return a child's steps, or None if spec and status do not match.

    Chains then leaves the whole task out of ``buildConfig``. The execution report names it.
    """
    states = child.status.get("steps", ())
    specs = _spec_steps(child)
    if "taskSpec" not in child.status or len(specs) != len(states):
        return None
    pairs = list(zip(specs, states, strict=True))
    if any(state.get("name", "").startswith("unnamed-") and step["name"] for (step, _), state in pairs):
        return None
    return [_step(step, raw, state) for (step, raw), state in pairs]


def _task(
    run: RunSnapshot,
    task: Mapping[str, Json],
    child: RunSnapshot,
    after: list[str],
    steps: list[dict[str, Any]],
) -> dict[str, Any]:
    conditions = child.status.get("conditions", ())
    fields = {
        "name": task.get("name", ""),
        "after": after,
        "serviceAccountName": run.spec.get("taskRunTemplate", {}).get("serviceAccountName", ""),
        "status": _STATUS.get(conditions[0]["status"], "") if conditions else "",
        "steps": steps,
        "results": child.status.get("results", ()),
    }
    written = {key: value for key, value in fields.items() if value}
    for field, key in (("startedOn", "startTime"), ("finishedOn", "completionTime")):
        moment = dependencies.moment(child, key)
        if moment:
            written[field] = nano_time(moment)
    written["ref"] = task.get("taskRef", {})
    written["invocation"] = _invocation(child)
    return written


def _after(task: Mapping[str, Json]) -> list[str]:
    """Return the tasks that must run before: those of ``runAfter``, then those whose results are used."""
    after = list(task.get("runAfter", ()))
    known = set(after)
    for text in _referring_texts(task):
        for expression in _VARIABLE.findall(text):
            parts = expression.split(".")
            refers = parts[0] in {"tasks", "finally"} and len(parts) in {4, 5} and parts[2] == "results"
            if refers and parts[1] not in known:
                known.add(parts[1])
                after.append(parts[1])
    return after


def _referring_texts(task: Mapping[str, Json]) -> Iterator[str]:
    matrix = task.get("matrix", {})
    groups = [task.get("params", ()), matrix.get("params", ())]
    groups += [include.get("params", ()) for include in matrix.get("include", ())]
    for param in (param for group in groups for param in group):
        yield from _texts(read_value(param["value"]))
    for when in task.get("when", ()):
        yield when.get("input", "")
        yield when.get("cel", "")
        yield from when.get("values") or ()
    for containers in ("steps", "sidecars"):
        for container in task.get("taskSpec", {}).get(containers, ()):
            yield from _container_texts(container)


def _texts(value: Json) -> list[str]:
    if isinstance(value, str):
        return [value]
    return list(value.values()) if isinstance(value, dict) else list(value)


def _container_texts(container: Mapping[str, Json]) -> Iterator[str]:
    for key in ("name", "image", "imagePullPolicy", "script", "workingDir"):
        yield container.get(key, "")
    yield from container.get("command", ())
    yield from container.get("args", ())
    for variable in container.get("env", ()):
        yield variable.get("value", "")
        for source in ("secretKeyRef", "configMapKeyRef"):
            reference = variable.get("valueFrom", {}).get(source, {})
            yield reference.get("key", "")
            yield reference.get("name", "")
