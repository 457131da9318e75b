"""The containers that Tekton's pod builder (``pkg/pod``) makes of a Task, compared with those of a pod.

A difference means that somebody else changed the pod. Only fields that decide what runs are compared. A
placeholder that Tekton fills in later (``$(…)``) matches any text. Environments are compared by the final
value of each name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from chains.tekton.container import (
    Container,
    EnvironmentSource,
    Mount,
    Variable,
    parse_environment_source,
    parse_mount,
    parse_variable,
)
from chains.tekton.image_name import parse_image_digest
from chains.tekton.raw import Json, mapping_at, objects_at
from chains.tekton.snapshot import RunSnapshot

ENTRYPOINT = "/tekton/bin/entrypoint"
MODE_ANNOTATION = "experimental.tekton.dev/execution-mode"
BIN_VOLUME, BIN_FOLDER = "tekton-internal-bin", "/tekton/bin"
HERMETIC_VARIABLE = "TEKTON_HERMETIC"
PREPARE, PLACE_SCRIPTS, WORKING_DIRS = "prepare", "place-scripts", "working-dir-initializer"
_OWN_VARIABLES = ("TEKTON_PLATFORM_COMMANDS",)
_RESULTS_SIDECAR = "sidecar-tekton-log-results"
_OWN_VOLUMES = ("tekton-internal-", "tekton-creds-", "ws-", "spiffe-workload-api")
_TOKEN_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
_ENTRYPOINT_FLAG = re.compile(r"--?entrypoint(=|$)")
_LONGEST_NAME = 63
_SCRIPTS = re.compile(
    r'(scriptfile="/tekton/scripts/[\w.-]+"\ntouch \$\{scriptfile\} && chmod \+x \$\{scriptfile\}\n'
    r"cat > \$\{scriptfile\} << '_EOF_'\n[A-Za-z0-9+/=]*\n_EOF_\n"
    r'/tekton/bin/entrypoint decode-script "\$\{scriptfile\}"\n)+',
    re.ASCII,
)


class Part(StrEnum):
    """The part that a container has in a run's pod.

    ``init`` are Tekton's own init containers. ``injected`` are containers that neither the Task nor Tekton
    asked for. ``ephemeral`` are containers that somebody attached to debug the pod.
    """

    STEP = "step"
    SIDECAR = "sidecar"
    INIT = "init"
    INJECTED = "injected"
    EPHEMERAL = "ephemeral"


@dataclass(frozen=True, slots=True)
class Expected:
    """A container that the Task asks for. ``fields`` are the step's or sidecar's, None if not recorded."""

    kind: Part
    name: str
    container: str
    fields: Mapping[str, Json] | None


def is_requested(run: RunSnapshot) -> bool:
    """Return whether the run has Tekton's annotation for hermetic execution."""
    annotations: Mapping[str, str] = run.run["metadata"].get("annotations", {})
    return annotations.get(MODE_ANNOTATION) == "hermetic"


def expected_containers(run: RunSnapshot) -> list[Expected]:
    """Return the steps and sidecars that the run's record asks for, steps first."""
    spec = run.status.get("taskSpec", {})
    found = [
        _expected(Part.STEP, step, step.get("name") or f"unnamed-{number}", _merged(spec, step))
        for number, step in enumerate(spec.get("steps", ()))
    ]
    found += [
        _expected(Part.SIDECAR, sidecar, sidecar.get("name", ""), sidecar)
        for sidecar in spec.get("sidecars", ())
    ]
    if found:
        return found
    return [
        Expected(
            kind, state.get("name", ""), state.get("container") or f"{kind}-{state.get('name', '')}", None
        )
        for kind, states in ((Part.STEP, "steps"), (Part.SIDECAR, "sidecars"))
        for state in run.status.get(states, ())
    ]


def _expected(kind: Part, written: Mapping[str, Json], name: str, fields: Mapping[str, Json]) -> Expected:
    container = re.sub(r"[^a-zA-Z0-9]+$", "", f"{kind}-{name}"[:_LONGEST_NAME])
    return Expected(kind, name, container, None if "ref" in written else fields)


def _merged(spec: Mapping[str, Json], step: Mapping[str, Json]) -> dict[str, Json]:
    """Return a step's fields merged over those of the Task's step template."""
    template = spec.get("stepTemplate", {})
    fields: dict[str, Json] = {**template, **step}
    for name, key in (("env", "name"), ("volumeMounts", "mountPath")):
        both = [*template.get(name, ()), *step.get(name, ())]
        fields[name] = list({item.get(key): item for item in both}.values())
    for name in ("securityContext", "computeResources"):
        fields[name] = _deep(template.get(name, {}), step.get(name, {}))
    return fields


def _deep(under: Mapping[str, Json], over: Mapping[str, Json]) -> dict[str, Json]:
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = _deep(mapping_at(below), value) if both else value
    return merged


def is_tektons_own(container: Container, run: RunSnapshot) -> bool:
    """Return whether this is a helper container as Tekton makes it. It runs no command of the Task.

    The name proves nothing. The command, the mounts and the environment must be Tekton's too.
    """
    name, command, args = container.name, container.command, container.args
    if container.hooks or container.has_env_from or any(_added_mounts((), container)):
        return False
    if name == _RESULTS_SIDECAR:
        flags = run.status.get("provenance", {}).get("featureFlags", {})
        variables = [variable.name for variable in container.env]
        is_asked = flags.get("resultExtractionMethod") == "sidecar-logs"
        is_tektons = command[:1] == ("/ko-app/sidecarlogresults",)
        return is_asked and is_tektons and variables == ["SIDECAR_LOG_POLLING_INTERVAL"]
    if container.has_env:
        return False
    if name == PREPARE:
        return command[:4] == ("/ko-app/entrypoint", "init", "/ko-app/entrypoint", ENTRYPOINT) and not args
    if name == PLACE_SCRIPTS:
        places = len(args) == 2 and args[0] == "-c" and _SCRIPTS.fullmatch(args[1])  # noqa: PLR2004
        return command == ("sh",) and bool(places)
    return name == WORKING_DIRS and command == ("/ko-app/workingdirinit",)


def differences(expected: Expected, container: Container, run: RunSnapshot) -> list[str]:
    """Return how a container differs from what Tekton makes of the Task, as texts. Values are never included.

    The image of a sidecar is not compared, because Tekton replaces it to stop the sidecar.
    """
    fields = expected.fields
    if fields is None:
        return []
    found = list(_different_environment(expected, container, run))
    found += _added_mounts([parse_mount(item) for item in objects_at(fields, "volumeMounts")], container)
    if expected.kind == Part.STEP:
        if not _is_image(fields, container.image):
            found.append("the image is another one")
        if not _is_wrapped(fields, container):
            found.append("the command is another one")
    elif not _is_sidecars(fields, container):
        found.append("the command is another one")
    if not _matches(fields.get("workingDir", ""), container.working_dir):
        found.append("the working folder is another one")
    written = container.security.written.value
    if mapping_at(fields, "securityContext") != mapping_at(written):
        found.append("the security context is another one")
    return found + [f"{hook} was added" for hook in container.hooks if not fields.get(hook)]


def _matches(expected: str, actual: str) -> bool:
    """Compare texts. Each placeholder in ``expected`` matches any text. Both are read once."""
    first, *middle = _between_placeholders(expected)
    if not middle:
        return expected == actual
    last = middle.pop()
    at, end = len(first), len(actual) - len(last)
    if at > end or not (actual.startswith(first) and actual.endswith(last)):
        return False
    for part in middle:
        found = actual.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def _between_placeholders(text: str) -> list[str]:
    parts, at = [], 0
    while (begin := text.find("$(", at)) >= 0 and (end := text.find(")", begin)) >= 0:
        parts.append(text[at:begin])
        at = end + 1
    return [*parts, text[at:]]


def _all_match(expected: Sequence[str], actual: Sequence[str]) -> bool:
    return len(expected) == len(actual) and all(map(_matches, expected, actual))


def _is_image(fields: Mapping[str, Json], actual: str) -> bool:
    written = fields.get("image", "")
    if fields.get("command") or fields.get("script") or "$(" in written:
        return _matches(written, actual)
    # without a command, Tekton looks up what the image runs and writes its digest in place of the tag
    pinned, found = parse_image_digest(written), parse_image_digest(actual)
    if pinned is not None:
        return found == pinned
    name = parse_image_digest(f"{written}@sha256:{'0' * 64}")
    return found is not None and name is not None and found.repository == name.repository


def _is_wrapped(fields: Mapping[str, Json], container: Container) -> bool:
    """Return whether the container runs Tekton's entrypoint with the step's own command."""
    args = container.args
    if container.command != (ENTRYPOINT,) or "--" not in args:
        return False
    split = args.index("--")
    run, rest = entrypoint_flag(args[:split]), args[split + 1 :]
    command, arguments = fields.get("command", []), fields.get("args", [])
    if fields.get("script"):
        return len(run) == 1 and run[0].startswith("/tekton/scripts/script-") and _all_match(arguments, rest)
    return _all_match(command[:1], run) and _all_match([*command[1:], *arguments], rest)


def entrypoint_flag(flags: Sequence[str]) -> Sequence[str]:
    """Return the value of ``-entrypoint`` as Tekton writes it; empty if another flag could replace it."""
    named = [place for place, word in enumerate(flags) if _ENTRYPOINT_FLAG.match(word)]
    if len(named) != 1 or flags[named[0]] != "-entrypoint":
        return ()
    return flags[named[0] + 1 : named[0] + 2]


def _is_sidecars(fields: Mapping[str, Json], container: Container) -> bool:
    command = container.command
    if not _all_match(fields.get("args", []), container.args):
        return False
    if fields.get("script"):
        return len(command) == 1 and command[0].startswith("/tekton/scripts/sidecar-script-")
    return _all_match(fields.get("command", []), command)


def _different_environment(expected: Expected, container: Container, run: RunSnapshot) -> Iterator[str]:
    fields = expected.fields or {}
    asked = _by_name(fields.get("env", ()))
    # a cluster may forbid variables in pod templates, so these may be missing
    template = objects_at(run.spec, "podTemplate", "env") if expected.kind == Part.STEP else []
    allowed = asked | _by_name(template)
    if expected.kind == Part.STEP and is_requested(run):
        allowed[HERMETIC_VARIABLE] = Variable(HERMETIC_VARIABLE, "1")
    own = _OWN_VARIABLES if expected.kind == Part.STEP else ()
    actual = {variable.name: variable for variable in container.env}
    for name, variable in actual.items():
        if name in own:
            continue
        # either value is as asked: the pod template's, or the step's own where the cluster forbids the former
        candidates = [item for item in (allowed.get(name), asked.get(name)) if item is not None]
        if not candidates:
            yield f"variable {name} was added"
        elif not any(_same_variable(item, variable) for item in candidates):
            yield f"variable {name} was changed"
    yield from (f"variable {name} was removed" for name in asked if name not in actual)
    sources: tuple[EnvironmentSource, ...] = tuple(map(parse_environment_source, fields.get("envFrom", ())))
    if sources != container.env_from:
        yield "envFrom was changed"


def _by_name(variables: Sequence[Mapping[str, Json]]) -> dict[str, Variable]:
    return {variable.name: variable for variable in map(parse_variable, variables)}


def _same_variable(expected: Variable, actual: Variable) -> bool:
    """Compare value and references. The API server adds defaults to the other fields of a reference."""
    return _matches(expected.value, actual.value) and _targets(expected) == _targets(actual)


def _targets(variable: Variable) -> list[tuple[str, ...]]:
    return [reference.target for reference in variable.source or ()]


def _added_mounts(asked: Sequence[Mount], container: Container) -> Iterator[str]:
    for mount in container.mounts:
        is_own = mount.name.startswith(_OWN_VOLUMES) or mount.path == _TOKEN_MOUNT
        is_asked = any(_matches(item.name, mount.name) and _matches(item.path, mount.path) for item in asked)
        if not (is_own or is_asked):
            yield f"a volume was mounted at {mount.path}"
