"""The containers of a pod and what the kubelet reports of them, as frozen types.

Reading is tolerant: a field that is missing or has another type is read as empty. Values that are only
compared or attested stay as they came, in :class:`~chains.tekton.raw.Verbatim` or as
:data:`~chains.tekton.raw.Json`. Field names and meanings:
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chains.tekton.raw import NO_VALUE, Json, Verbatim, as_text, mapping_at, objects_at, text_at, texts_at

HOOKS = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
"""Fields by which a container runs programs next to its command."""
_REFERENCE_FIELDS = ("name", "key", "fieldPath", "resource")


@dataclass(frozen=True, slots=True)
class Reference:
    """One source in ``valueFrom``, such as ``secretKeyRef``, and the fields that say what it points to.

    ``fields`` are those of name, key, field path and resource that are set, in this order, as texts.
    ``is_object`` is False where something else than an object stands there.
    """

    kind: str
    fields: tuple[tuple[str, str], ...]
    is_object: bool

    @property
    def target(self) -> tuple[str, ...]:
        """Kind, name, key, field path and resource, empty where not set: equal ones are the same source."""
        values = dict(self.fields)
        return (self.kind, *(values.get(name, "") for name in _REFERENCE_FIELDS))


@dataclass(frozen=True, slots=True)
class Variable:
    """One entry of ``env``.

    ``has_source`` says that ``valueFrom`` is there; ``source`` are its references by kind, None where
    ``valueFrom`` is no object. ``config_map`` and ``secret`` name what a key is taken from. ``shown_name``
    and ``has_value`` are for reports: the name as a text whatever its type, and whether any value was
    written.
    """

    name: str
    value: str
    has_source: bool = False
    source: tuple[Reference, ...] | None = None
    config_map: str = ""
    secret: str = ""
    shown_name: str = ""
    has_value: bool = False


@dataclass(frozen=True, slots=True)
class EnvironmentSource:
    """One entry of ``envFrom``: a prefix, and the ConfigMap or Secret whose keys become variables."""

    prefix: str
    config_map: str
    secret: str


@dataclass(frozen=True, slots=True)
class Mount:
    """One entry of ``volumeMounts``. ``read_only`` is as it came."""

    name: str
    path: str
    read_only: Json
    has_sub_path: bool


@dataclass(frozen=True, slots=True)
class SecurityContext:
    """What a container may do. ``written`` is the whole object as it came."""

    is_privileged: bool = False
    added_capabilities: tuple[str, ...] = ()
    proc_mount: str = ""
    written: Verbatim = NO_VALUE


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a pod's specification.

    ``hooks`` are those of :data:`HOOKS` that are set. ``has_env`` and ``has_env_from`` are True for anything
    but an empty value, so also where no entry could be read. ``resource_names`` are the names in limits and
    requests, ``resources`` the whole object as it came.
    """

    name: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    working_dir: str
    restarts_always: bool
    hooks: tuple[str, ...]
    env: tuple[Variable, ...]
    has_env: bool
    env_from: tuple[EnvironmentSource, ...]
    has_env_from: bool
    mounts: tuple[Mount, ...]
    devices: tuple[str, ...]
    claims: tuple[str, ...]
    resource_names: tuple[str, ...]
    resources: Verbatim
    security: SecurityContext


@dataclass(frozen=True, slots=True)
class Phase:
    """What a status says of a container while it ran (``running``) or after (``terminated``).

    Times are RFC 3339 as the kubelet wrote them; ``exit_code`` is as it came.
    """

    started: str = ""
    finished: str = ""
    message: str = ""
    reason: str = ""
    container_id: str = ""
    exit_code: Json = None
    is_empty: bool = True


@dataclass(frozen=True, slots=True)
class State:
    """The ``state`` of a container, or the same fields in a run's record of a step or sidecar."""

    is_waiting: bool
    is_terminated: bool
    running: Phase
    terminated: Phase


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """What the kubelet reports of one container. ``restarts`` is as it came.

    ``is_reported`` is False for an empty report. ``last`` is how the container ended before the present one.
    """

    image: str
    image_id: str
    container_id: str
    restarts: Json
    now: State
    last: Phase
    is_reported: bool = True


_NO_PHASE = Phase()
_NO_STATE = State(is_waiting=False, is_terminated=False, running=_NO_PHASE, terminated=_NO_PHASE)
NO_STATUS = ContainerStatus("", "", "", None, _NO_STATE, _NO_PHASE, is_reported=False)
"""The kubelet reports nothing."""
_NO_SECURITY = SecurityContext()


def parse_variable(raw: Mapping[str, Json]) -> Variable:
    """Return one entry of ``env``, of a container, a step or a pod template."""
    name, value = raw.get("name", ""), raw.get("value")
    is_text = isinstance(name, str)
    shown = name if is_text else as_text(name)
    text = value if isinstance(value, str) else ""
    if "valueFrom" not in raw:
        return Variable(name if is_text else "", text, shown_name=shown, has_value=bool(value))
    source = raw["valueFrom"]
    return Variable(
        name if is_text else "",
        text,
        has_source=True,
        source=_references(source) if isinstance(source, Mapping) else None,
        config_map=text_at(source, "configMapKeyRef", "name"),
        secret=text_at(source, "secretKeyRef", "name"),
        shown_name=shown,
        has_value=bool(value),
    )


def _references(source: Mapping[str, Json]) -> tuple[Reference, ...]:
    return tuple(
        Reference(
            kind,
            tuple((name, as_text(item[name])) for name in _REFERENCE_FIELDS if name in item)
            if isinstance(item, Mapping)
            else (),
            isinstance(item, Mapping),
        )
        for kind, item in sorted(source.items())
    )


def parse_environment_source(raw: Mapping[str, Json]) -> EnvironmentSource:
    """Return one entry of ``envFrom``, of a container or a step."""
    return EnvironmentSource(
        text_at(raw, "prefix"), text_at(raw, "configMapRef", "name"), text_at(raw, "secretRef", "name")
    )


def parse_mount(raw: Mapping[str, Json]) -> Mount:
    """Return one entry of ``volumeMounts``, of a container or a step."""
    return Mount(
        text_at(raw, "name"),
        text_at(raw, "mountPath"),
        raw.get("readOnly"),
        "subPath" in raw or "subPathExpr" in raw,
    )


def parse_container(raw: Mapping[str, Json]) -> Container:
    """Return one container of a pod's specification."""
    resources = raw.get("resources")
    return Container(
        name=text_at(raw, "name"),
        image=text_at(raw, "image"),
        command=tuple(texts_at(raw, "command")),
        args=tuple(texts_at(raw, "args")),
        working_dir=text_at(raw, "workingDir"),
        restarts_always=raw.get("restartPolicy") == "Always",
        hooks=tuple(hook for hook in HOOKS if raw.get(hook)),
        env=tuple(map(parse_variable, objects_at(raw, "env"))),
        has_env=bool(raw.get("env")),
        env_from=tuple(map(parse_environment_source, objects_at(raw, "envFrom"))),
        has_env_from=bool(raw.get("envFrom")),
        mounts=tuple(map(parse_mount, objects_at(raw, "volumeMounts"))),
        devices=tuple(text_at(device, "name") for device in objects_at(raw, "volumeDevices")),
        claims=tuple(text_at(claim, "name") for claim in objects_at(resources, "claims")),
        resource_names=(*mapping_at(resources, "limits"), *mapping_at(resources, "requests")),
        resources=Verbatim(resources),
        security=_security(raw.get("securityContext")),
    )


def _security(raw: Json) -> SecurityContext:
    if raw is None:
        return _NO_SECURITY
    return SecurityContext(
        mapping_at(raw).get("privileged") is True,
        tuple(texts_at(raw, "capabilities", "add")),
        text_at(raw, "procMount"),
        Verbatim(raw),
    )


def parse_state(raw: Mapping[str, Json]) -> State:
    """Return a container's ``state``; a run's record of a step or sidecar has the same fields."""
    if not raw:
        return _NO_STATE
    return State(
        is_waiting="waiting" in raw,
        is_terminated="terminated" in raw,
        running=_phase(raw.get("running")),
        terminated=_phase(raw.get("terminated")),
    )


def _phase(raw: Json) -> Phase:
    if not raw or not isinstance(raw, Mapping):
        return _NO_PHASE
    return Phase(
        text_at(raw, "startedAt"),
        text_at(raw, "finishedAt"),
        text_at(raw, "message"),
        text_at(raw, "reason"),
        text_at(raw, "containerID"),
        raw.get("exitCode"),
        is_empty=False,
    )


def parse_status(raw: Mapping[str, Json]) -> ContainerStatus:
    """Return what the kubelet reports of a container."""
    return ContainerStatus(
        text_at(raw, "image"),
        text_at(raw, "imageID"),
        text_at(raw, "containerID"),
        raw.get("restartCount"),
        parse_state(mapping_at(raw, "state")),
        _phase(mapping_at(raw, "lastState").get("terminated")),
        is_reported=bool(raw),
    )
