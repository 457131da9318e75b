"""Whether Tekton's entrypoint kept a step from the network, judged by the pod (``cmd/entrypoint/runner.go``).

The entrypoint starts the step's command in a new network namespace if ``TEKTON_HERMETIC`` is ``1`` and
``TEKTON_RESOURCE_NAME`` is empty. If it cannot, the step fails. This proves something only if the entrypoint
is what runs, and its binary is the one that Tekton put into the pod.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from chains.isolation.environment import Environment
from chains.isolation.expected_pod import BIN_FOLDER, BIN_VOLUME, ENTRYPOINT, HERMETIC_VARIABLE, PREPARE, Part
from chains.isolation.finding import Answer, Finding
from chains.isolation.pod import Placed, distrust, place, too_large
from chains.tekton.container import Container
from chains.tekton.pod import Pod
from chains.tekton.snapshot import RunSnapshot
from chains.tekton.surroundings import ImageEnvironment, Surroundings

_TEKTONS_EMPTY = ("tekton-internal-", "tekton-creds-init-home-")
"""The prefixes of the names of Tekton's own empty volumes. When a container starts, only Tekton has
written to them."""
DEFEATING_VARIABLE = "TEKTON_RESOURCE_NAME"
_NOT_TEKTONS = Finding(Answer.UNKNOWN, f"{BIN_FOLDER} is not the volume that tekton puts its entrypoint into")


def judge_entrypoint(
    step: Placed, pod: Pod, binary: Sequence[Finding], surroundings: Surroundings
) -> Finding:
    """Return whether the entrypoint isolates a step. A certain reason wins over an uncertain one.

    ``binary`` is what :func:`judge_binary` returns for the pod.
    """
    environment = Environment(step.container)
    against = [
        *_not_run(step.container, pod),
        *_hermetic_variable(environment),
        *_defeating_variable(environment, surroundings.images.get(step.status.image_id)),
        *_binary(step.container, pod),
        *binary,
    ]
    for value in (Answer.FALSE, Answer.UNKNOWN):
        for finding in against:
            if finding.value == value:
                return finding
    return Finding(Answer.TRUE, f"the entrypoint runs with {HERMETIC_VARIABLE}=1, and nothing defeats it")


def _not_run(container: Container, pod: Pod) -> Iterator[Finding]:
    if container.command != (ENTRYPOINT,):
        yield Finding(Answer.FALSE, f"the container does not run {ENTRYPOINT}")
    for hook in container.hooks:
        yield Finding(Answer.FALSE, f"{hook} runs beside the entrypoint")
    if "windows" in pod.operating_systems:
        yield Finding(Answer.FALSE, "the entrypoint keeps the network on windows")


def _hermetic_variable(environment: Environment) -> Iterator[Finding]:
    value = environment.get(HERMETIC_VARIABLE)
    if value is None:
        yield Finding(Answer.FALSE, f"{HERMETIC_VARIABLE} is not in the container's environment")
    elif value.text is None:
        yield Finding(Answer.UNKNOWN, f"{HERMETIC_VARIABLE}: {value.why}")
    elif value.text != "1":
        yield Finding(Answer.FALSE, f"{HERMETIC_VARIABLE} is not '1' in the container's environment")


def images_that_decide(run: RunSnapshot, surroundings: Surroundings) -> list[str]:
    """Return the ids of the step images whose own ENV decides whether the entrypoint isolates the step."""
    pod = surroundings.pod
    if pod is None or distrust(run, pod) or too_large(pod):
        return []
    found: dict[str, None] = {}
    for step in place(run, pod):
        environment = Environment(step.container)
        asked = environment.get(HERMETIC_VARIABLE)
        is_open = environment.get(DEFEATING_VARIABLE) is None
        if step.kind == Part.STEP and is_open and asked is not None and asked.text == "1":
            found[step.status.image_id] = None
    return [image for image in found if image]


def _of_image(image: ImageEnvironment | None) -> Iterator[Finding]:
    """Judge a variable that the pod does not set, by what the image sets."""
    if image is None or image.problem or not image.platforms:
        reason = (
            f"the image's own ENV may set {DEFEATING_VARIABLE}, which keeps the network; the pod does not"
        )
        more = f" ({image.problem})" if image is not None and image.problem else ""
        yield Finding(Answer.UNKNOWN, f"{reason} set it to nothing{more}")
    elif all(variables.get(DEFEATING_VARIABLE) for variables in image.platforms):
        yield Finding(
            Answer.FALSE, f"the image sets {DEFEATING_VARIABLE}, so the entrypoint keeps the network"
        )
    elif any(variables.get(DEFEATING_VARIABLE) for variables in image.platforms):
        yield Finding(Answer.UNKNOWN, f"some platforms of the image set {DEFEATING_VARIABLE}")


def _defeating_variable(environment: Environment, image: ImageEnvironment | None) -> Iterator[Finding]:
    value = environment.get(DEFEATING_VARIABLE)
    if value is None:
        yield from _of_image(image)
    elif value.text is None:
        yield Finding(Answer.UNKNOWN, f"{DEFEATING_VARIABLE}: {value.why}")
    elif value.text:
        yield Finding(Answer.FALSE, f"{DEFEATING_VARIABLE} is set, so the entrypoint keeps the network")


def judge_binary(placed: Sequence[Placed], pod: Pod) -> list[Finding]:
    """Return the findings against the binary, for all steps: who put it there, who could write it."""
    found = []
    volumes = [volume for volume in pod.volumes if volume.name == BIN_VOLUME]
    if not volumes or not all(volume.is_empty_dir for volume in volumes):
        found.append(_NOT_TEKTONS)
    if not any(one.is_tektons_own and one.container.name == PREPARE for one in placed):
        found.append(
            Finding(Answer.UNKNOWN, f"no init container {PREPARE} of tekton puts the entrypoint there")
        )
    for other in placed:
        for mount in other.container.mounts:
            if mount.name != BIN_VOLUME or other.is_tektons_own or mount.read_only is True:
                continue
            found.append(
                Finding(Answer.UNKNOWN, f"{other.kind}/{other.name} can change the entrypoint's binary")
            )
    return found


def _binary(container: Container, pod: Pod) -> Iterator[Finding]:
    """Yield a finding if a step may run another binary than the one that Tekton's init container made."""
    mounts = [mount for mount in container.mounts if _covers(mount.path, BIN_FOLDER)]
    is_own = [(mount.name, mount.path) for mount in mounts] == [(BIN_VOLUME, BIN_FOLDER)]
    if not is_own or mounts[0].has_sub_path:
        yield _NOT_TEKTONS
        return
    if inner := next(_laid_over(container, pod), ""):
        yield Finding(Answer.UNKNOWN, f"a link may lead the volume at {inner} over {BIN_FOLDER}")


def _laid_over(container: Container, pod: Pod) -> Iterator[str]:
    """Yield the paths of volumes that are mounted inside other volumes.

    Runtimes follow links there (runc's ``SecureJoin``), so such a mount may end up somewhere else.
    """
    mounts = [(mount.name, _parts(mount.path)) for mount in container.mounts]
    empty = {volume.name for volume in pod.volumes if volume.is_empty_dir}
    foreign = [parts for name, parts in mounts if name not in empty or not name.startswith(_TEKTONS_EMPTY)]
    for _, path in mounts:
        if any(len(under) < len(path) and path[: len(under)] == under for under in foreign):
            yield "/" + "/".join(path)


def _parts(path: str) -> list[str]:
    """Return the names along a path; none for the root."""
    return [part for part in posixpath.normpath("/" + path).split("/") if part]


def _covers(path: str, folder: str) -> bool:
    """Return whether a mount at ``path`` is at the folder or below it."""
    return _parts(path)[:2] == _parts(folder)
