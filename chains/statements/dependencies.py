"""What a run was built from: step images, git sources and inputs, in order of first appearance.

Both SLSA versions use these functions. Each predicate gives the descriptors its own names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from chains.statements.statement import ResourceDescriptor
from chains.statements.type_hints import (
    Rejection,
    Result,
    Subjects,
    git_hint,
    image_dependency,
    input_artifacts,
    parse_digest,
    spdx_git,
)
from chains.tekton import late_changes
from chains.tekton.image_name import parse_image_digest
from chains.tekton.schema import Json
from chains.tekton.snapshot import PIPELINE_TASK_LABEL, RunSnapshot


def moment(run: RunSnapshot, key: str) -> str:
    """Return ``startTime`` or ``completionTime`` as it came, with fractions of a second; ``""`` if unset."""
    status = run.raw.get("status") or {}
    return status.get(key) or ""


def run_results(run: RunSnapshot) -> list[Result]:
    """Return the results of the run's status."""
    return _results(run.status)


def _results(holder: Json) -> list[Result]:
    return [(result["name"], result["value"]) for result in holder.get("results", ())]


def step_results(run: RunSnapshot) -> list[list[Result]]:
    """Return the results of StepActions, one list for each step."""
    return [_results(step) for step in run.status.get("steps", ())]


def pipeline_tasks(run: RunSnapshot) -> list[dict[str, Json]]:
    """Return the tasks and then the finally tasks of the PipelineRun's resolved spec."""
    spec = run.status.get("pipelineSpec", {})
    return [*spec.get("tasks", ()), *spec.get("finally", ())]


def task_runs(run: RunSnapshot, task: str) -> list[RunSnapshot]:
    """Return the finished children of one pipeline task. They are matched by label, as in Chains."""
    return [
        child
        for child in run.children
        if child.run["metadata"].get("labels", {}).get(PIPELINE_TASK_LABEL) == task
        and moment(child, "completionTime")
    ]


def executed_tasks(run: RunSnapshot) -> Iterator[RunSnapshot]:
    """Yield the finished children in the order of the pipeline tasks."""
    for task in pipeline_tasks(run):
        yield from task_runs(run, task.get("name", ""))


def definition(run: RunSnapshot) -> ResourceDescriptor | None:
    """Return where the run's own task or pipeline was resolved from, None if it is not recorded."""
    return _reference(run.status)


def _reference(holder: Json) -> ResourceDescriptor | None:
    source = holder.get("provenance", {}).get("refSource")
    if source is None:
        return None
    return ResourceDescriptor(uri=source.get("uri", ""), digest=source.get("digest"))


def step_actions(run: RunSnapshot) -> list[ResourceDescriptor]:
    """Return the resolved StepActions as ``stepAction/<step>`` (Chains v0.29)."""
    found = []
    for step in run.status.get("steps", ()):
        source = _reference(step)
        if source is not None:
            name = f"stepAction/{step.get('name', '')}"
            found.append(ResourceDescriptor(name=name, uri=source.uri, digest=source.digest))
    return found


def image_ids(run: RunSnapshot, containers: str) -> list[str]:
    """Return the image ids of ``steps`` or ``sidecars``.

    For a sidecar that Tekton replaced to stop it, this is the image that the Task asked for if that has a
    digest, else nothing. The record no longer says what ran, and the replacement was not part of the build.
    """
    pinned = replaced_sidecars(run) if containers == "sidecars" else {}
    found = []
    for container in run.status.get(containers, ()):
        image = pinned.get(container.get("name", ""))
        if image is None:
            found.append(container.get("imageID", ""))
        elif (asked := parse_image_digest(image)) is not None:
            # the form that runtimes report
            found.append(str(asked).replace("index.docker.io/", "docker.io/", 1))
    return found


def replaced_sidecars(run: RunSnapshot) -> dict[str, str]:
    """Return the sidecars whose record is about the replacement, with the images that the Task asked for."""
    asked = {sidecar.get("name", ""): sidecar.get("image", "") for sidecar in _task_sidecars(run)}
    return {name: asked.get(name, "") for name in late_changes.replaced(run.raw)}


def _task_sidecars(run: RunSnapshot) -> list[dict[str, Json]]:
    found: list[dict[str, Json]] = run.status.get("taskSpec", {}).get("sidecars", [])
    return found


def images(run: RunSnapshot) -> list[ResourceDescriptor]:
    """Return the images of the steps, then of the sidecars. Equal images of one group come once."""
    found: list[ResourceDescriptor] = []
    for containers in ("steps", "sidecars"):
        group = Subjects()
        group.extend(filter(None, map(image_dependency, image_ids(run, containers))))
        found += group.as_dependencies()
    return found


def unresolved_images(run: RunSnapshot) -> list[Rejection]:
    """Return the containers whose image id has no digest."""
    replaced = replaced_sidecars(run)
    return [
        Rejection(container.get("name", ""), f"image id {container.get('imageID', '')!r} holds no digest")
        for containers in ("steps", "sidecars")
        for container in run.status.get(containers, ())
        if image_dependency(container.get("imageID", "")) is None
        and not (containers == "sidecars" and container.get("name", "") in replaced)
    ]


def _defaults(spec: Json) -> Iterator[Result]:
    for param in spec.get("params", ()):
        if "default" in param:
            yield param["name"], param["default"]


def _params(run: RunSnapshot) -> Iterator[Result]:
    for param in run.spec.get("params", ()):
        yield param["name"], param["value"]


def task_inputs(run: RunSnapshot) -> list[ResourceDescriptor]:
    """Return a TaskRun's git source (defaults, params, results: the last wins) and its input artifacts."""
    found = Subjects()
    results = run_results(run)
    commit, url = git_hint(_defaults(run.status.get("taskSpec", {})), _params(run), results)
    if commit:
        found.add(spdx_git(url), {"sha1": commit})
    found.extend(input_artifacts(results))
    return found.as_dependencies()


def step_inputs(run: RunSnapshot) -> list[ResourceDescriptor]:
    """Return the git sources and input artifacts that StepActions report."""
    found = Subjects()
    steps = step_results(run)
    for results in steps:
        commit, url = git_hint(results)
        if commit:
            found.add(spdx_git(url), {"sha1": commit})
    found.extend(input_artifacts([result for results in steps for result in results]))
    return found.as_dependencies()


def pipeline_inputs(run: RunSnapshot, *, deep: bool) -> list[ResourceDescriptor]:
    """Return a PipelineRun's input artifacts and git source, with those of its tasks between if ``deep``."""
    found = Subjects()
    results = run_results(run)
    found.extend(input_artifacts(results))
    if deep:
        for child in executed_tasks(run):
            found.extend(task_inputs(child))
    commit, url = git_hint(_defaults(run.status.get("pipelineSpec", {})), _params(run), results)
    if commit and url:
        found.add(spdx_git(url), {"sha1": commit})
    return found.as_dependencies()


def native_artifacts(run: RunSnapshot, side: str) -> list[ResourceDescriptor]:
    """Return Tekton's own artifacts of a TaskRun: ``inputs``, or those ``outputs`` that are marked as built.

    They come from ``status.artifacts`` and from each step (TEP-0147). Values without a well-formed digest are
    left out.
    """
    found = Subjects()
    holders = [run.status.get("artifacts", {}), *run.status.get("steps", ())]
    for artifact in (artifact for holder in holders for artifact in holder.get(side, ())):
        if side == "outputs" and not artifact.get("buildOutput"):
            continue
        for value in artifact.get("values", ()):
            parsed = (parse_digest(f"{name}:{text}") for name, text in value.get("digest", {}).items())
            digest = dict(filter(None, parsed))
            if digest:
                found.add(value.get("uri", "") or artifact.get("name", ""), digest)
    return found.as_dependencies()


def named(name: str, descriptors: Iterable[ResourceDescriptor]) -> list[ResourceDescriptor]:
    """Return the descriptors with this name."""
    return [
        ResourceDescriptor(name=name, uri=item.uri, digest=item.digest, content=item.content)
        for item in descriptors
    ]


def labels_and_annotations(run: RunSnapshot) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """Return the run's labels and annotations, None for what is not set."""
    metadata = run.run["metadata"]
    return metadata.get("labels"), metadata.get("annotations")
