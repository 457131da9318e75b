"""A run's pod as a frozen type: read once, when its surroundings are, and never judged here.

Reading is tolerant, see :mod:`chains.tekton.container`. A pod may be anybody's until
:func:`chains.isolation.pod.distrust` has compared it with its run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from chains.tekton.container import Container, ContainerStatus, parse_container, parse_status
from chains.tekton.raw import NO_VALUE, Json, Verbatim, mapping_at, objects_at, parse_time, text_at, texts_at

HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace")
POD_FIELDS = (
    "serviceAccountName", "automountServiceAccountToken", "nodeName", "runtimeClassName", "networkMode",
    "dnsPolicy", "priorityClassName", "schedulerName", "enableServiceLinks",
)  # fmt: skip
SETTINGS_FIELDS = (
    "nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "runtimeClassName",
    "priorityClassName", "priority", "preemptionPolicy", "schedulerName", "overhead", "resources",
    "resourceClaims",
)  # fmt: skip
"""What decides where a pod is placed, and what the whole pod may use."""
_ATTESTED = (*HOST_FIELDS, *POD_FIELDS, *SETTINGS_FIELDS, "dnsConfig", "hostAliases", "securityContext")
_SYSTEM_LABELS = ("kubernetes.io/os", "beta.kubernetes.io/os")
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_SHARED = ("hostPID", "hostIPC")
_VOLUME_NAMES = {
    "persistentVolumeClaim": "claimName",
    "configMap": "name",
    "secret": "secretName",
    "csi": "driver",
    "hostPath": "path",
    "image": "reference",
}


@dataclass(frozen=True, slots=True)
class Token:
    """A service account token in a projected volume. ``seconds`` is ``expirationSeconds`` as it came."""

    audience: str
    seconds: Json


@dataclass(frozen=True, slots=True)
class Volume:
    """One volume. ``kind`` is the field that says where it comes from, ``source`` the name or path there.

    ``type`` is that of a ``hostPath``. ``host_path`` is None for a volume without one.
    """

    name: str
    kind: str
    source: str
    type: str
    host_path: str | None
    is_empty_dir: bool
    is_downward: bool
    tokens: tuple[Token, ...]


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod.

    ``created`` is None where that cannot be read. Labels and annotations are as they came.
    ``task_run_owners`` are the UIDs of the TaskRuns that own it. ``shared_namespaces`` are the fields that
    let it see the node's processes. ``operating_systems`` is what it asks its node for. ``statuses`` are by
    container; ``addresses`` may hold empty texts. ``attested`` are the fields of the specification that are
    only attested.
    """

    name: str
    namespace: str
    uid: str = ""
    created: datetime | None = None
    labels: Mapping[str, Json] = field(default_factory=dict)
    annotations: Mapping[str, Json] = field(default_factory=dict)
    task_run_owners: tuple[str, ...] = ()
    host_network: bool = False
    network_mode: str = ""
    shared_namespaces: tuple[str, ...] = ()
    runtime_class: str = ""
    os: str = ""
    operating_systems: tuple[str, ...] = ()
    init_containers: tuple[Container, ...] = ()
    containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    statuses: Mapping[str, ContainerStatus] = field(default_factory=dict)
    has_started: bool = False
    start_time: str = ""
    addresses: tuple[str, ...] = ()
    qos_class: str = ""
    attested: Verbatim = NO_VALUE

    @property
    def all_containers(self) -> tuple[Container, ...]:
        """The containers of all three lists: init containers first, ephemeral ones last."""
        return (*self.init_containers, *self.containers, *self.ephemeral_containers)


def parse_pod(raw: Json) -> Pod:
    """Return a pod of the API server or of an export; what is no object is a pod without anything."""
    metadata, spec, status = mapping_at(raw, "metadata"), mapping_at(raw, "spec"), mapping_at(raw, "status")
    return Pod(
        name=text_at(metadata, "name"),
        namespace=text_at(metadata, "namespace") or "default",
        uid=text_at(metadata, "uid"),
        created=parse_time(text_at(metadata, "creationTimestamp")),
        labels=mapping_at(metadata, "labels"),
        annotations=mapping_at(metadata, "annotations"),
        task_run_owners=tuple(
            text_at(owner, "uid")
            for owner in objects_at(metadata, "ownerReferences")
            if owner.get("kind") == "TaskRun"
        ),
        host_network=spec.get("hostNetwork") is True,
        network_mode=text_at(spec, "networkMode"),
        shared_namespaces=tuple(name for name in _SHARED if spec.get(name) is True),
        runtime_class=text_at(spec, "runtimeClassName"),
        os=text_at(spec, "os", "name"),
        operating_systems=tuple(_operating_systems(spec)),
        init_containers=tuple(map(parse_container, objects_at(spec, "initContainers"))),
        containers=tuple(map(parse_container, objects_at(spec, "containers"))),
        ephemeral_containers=tuple(map(parse_container, objects_at(spec, "ephemeralContainers"))),
        volumes=tuple(map(parse_volume, objects_at(spec, "volumes"))),
        statuses={
            text_at(item, "name"): parse_status(item)
            for name in _STATUSES
            for item in objects_at(status, name)
        },
        has_started=bool(status.get("startTime")),
        start_time=text_at(status, "startTime"),
        addresses=(
            text_at(status, "podIP"), *(text_at(item, "ip") for item in objects_at(status, "podIPs"))
        ),
        qos_class=text_at(status, "qosClass"),
        attested=Verbatim({name: spec[name] for name in _ATTESTED if name in spec}),
    )  # fmt: skip


def _operating_systems(spec: Mapping[str, Json]) -> Iterator[str]:
    yield text_at(spec, "os", "name")
    yield from (text_at(spec, "nodeSelector", label) for label in _SYSTEM_LABELS)
    affinity = mapping_at(spec, "affinity", "nodeAffinity")
    for term in objects_at(affinity, "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"):
        for expression in objects_at(term, "matchExpressions"):
            if text_at(expression, "key") in _SYSTEM_LABELS and text_at(expression, "operator") == "In":
                yield from texts_at(expression, "values")


def parse_volume(raw: Mapping[str, Json]) -> Volume:
    """Return one volume of a pod or pod template; its kind is the first field in alphabetical order."""
    kind = min((key for key in raw if key != "name"), default="")
    source = mapping_at(raw, kind)
    return Volume(
        text_at(raw, "name"),
        kind,
        text_at(source, source_field(kind)),
        text_at(source, "type") if kind == "hostPath" else "",
        text_at(raw, "hostPath", "path") if "hostPath" in raw else None,
        "emptyDir" in raw,
        "downwardAPI" in raw,
        tuple(_tokens(raw)) if "projected" in raw else (),
    )


def source_field(kind: str) -> str:
    """Return the field that names the source of a volume of this kind, such as ``claimName``."""
    return _VOLUME_NAMES.get(kind, "name")


def _tokens(raw: Mapping[str, Json]) -> Iterator[Token]:
    for source in objects_at(raw, "projected", "sources"):
        token = source.get("serviceAccountToken")
        if isinstance(token, Mapping):
            yield Token(text_at(token, "audience"), token.get("expirationSeconds"))
