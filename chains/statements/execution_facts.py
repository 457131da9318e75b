"""Facts about a run and its pod for auditors. Pure; from the same objects as the isolation; no secrets.

Fields that are not set are left out. Names are those of the Kubernetes and Tekton fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from chains.isolation.expected_pod import ENTRYPOINT, Part, entrypoint_flag
from chains.isolation.pod import Placed
from chains.statements.redaction import Redaction, environment
from chains.tekton.container import Container, EnvironmentSource, parse_variable
from chains.tekton.image_name import parse_image_digest
from chains.tekton.pod import HOST_FIELDS, POD_FIELDS, Pod, Volume, parse_volume, source_field
from chains.tekton.raw import Json, mapping_at, objects_at, text_at
from chains.tekton.snapshot import RunSnapshot
from chains.tekton.surroundings import RuntimeClass

_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_RELEASE = "pipeline.tekton.dev/release"
_TRIGGER_LABELS = {
    "eventListener": "triggers.tekton.dev/eventlistener",
    "trigger": "triggers.tekton.dev/trigger",
    "eventId": "triggers.tekton.dev/triggers-eventid",
}
_CREATORS = (
    "pipelinesascode.tekton.dev/sender",
    "pipeline.openshift.io/started-by",
    "app.kubernetes.io/created-by",
)
"""Labels and annotations in which tools write who asked for a run. Kubernetes itself does not record it."""
_WORKSPACE_SOURCES = ("persistentVolumeClaim", "emptyDir", "configMap", "secret", "projected", "csi")
_DEEPEST = 16


def run_facts(run: RunSnapshot, redaction: Redaction) -> dict[str, Any]:
    """Return the facts in the run's own record: workspaces, pod template, trigger, creator, attempts."""
    metadata: Mapping[str, Json] = run.run["metadata"]
    labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
    trigger = {name: labels[label] for name, label in _TRIGGER_LABELS.items() if labels.get(label)}
    creators = (
        {name: found[name] for name in _CREATORS if found.get(name)} for found in (labels, annotations)
    )
    template = run.spec.get("podTemplate") or mapping_at(run.spec, "taskRunTemplate", "podTemplate")
    owners = [
        {"kind": text_at(owner, "kind"), "name": text_at(owner, "name"), "uid": text_at(owner, "uid")}
        for owner in objects_at(metadata, "ownerReferences")
    ]
    attempts = [state.get("podName", "") for state in run.status.get("retriesStatus") or ()]
    return _set_fields(
        {
            "workspaces": [_workspace(item) for item in run.spec.get("workspaces", ())],
            "podTemplate": _template(template, redaction),
            "trigger": trigger,
            "createdBy": {name: value for found in creators for name, value in found.items()},
            "owners": owners,
            "earlierAttempts": attempts,
            "tektonRelease": annotations.get(_RELEASE, ""),
        }
    )


def _workspace(binding: Mapping[str, Json]) -> dict[str, Any]:
    kind = next((kind for kind in _WORKSPACE_SOURCES if kind in binding), "")
    kind = "volumeClaimTemplate" if "volumeClaimTemplate" in binding else kind
    source = mapping_at(binding, kind)
    named = text_at(source, source_field(kind))
    return _set_fields(
        {
            "name": binding.get("name", ""),
            "type": kind,
            "source": named,
            "subPath": binding.get("subPath", ""),
        }
    )


def _template(template: Mapping[str, Json], redaction: Redaction) -> dict[str, Any]:
    """Return a pod template with its keys sorted and without the values of its variables."""
    kept = {key: ordered(value) for key, value in sorted(template.items())}
    kept["volumes"] = [_volume(parse_volume(volume)) for volume in objects_at(template, "volumes")]
    return _set_fields(
        {**kept, "env": environment(map(parse_variable, objects_at(template, "env")), redaction)}
    )


def pod_facts(pod: Pod, runtime_class: RuntimeClass | None) -> dict[str, Any]:
    """Return what the pod as a whole was allowed to do."""
    attested = mapping_at(pod.attested.value)
    volumes = [volume for volume in pod.volumes if not _is_tektons_own(volume)]
    apparmor = {
        name.removeprefix(_APP_ARMOR): value
        for name, value in sorted(pod.annotations.items())
        if name.startswith(_APP_ARMOR)
    }
    return _set_fields(
        {
            "uid": pod.uid,
            **{name: attested.get(name) for name in POD_FIELDS},
            "runtimeHandler": runtime_class.handler if runtime_class is not None else "",
            "os": pod.os,
            "dnsConfig": ordered(attested.get("dnsConfig")),
            "hostAliases": ordered(attested.get("hostAliases")),
            "hostNamespaces": {
                name: attested[name] for name in HOST_FIELDS if attested.get(name) is not None
            },
            "securityContext": ordered(attested.get("securityContext")),
            "appArmor": apparmor,
            "volumes": [_volume(volume) for volume in volumes],
            "tokenVolumes": [token for volume in volumes for token in _tokens(volume)],
            "qosClass": pod.qos_class,
            "startedOn": pod.start_time,
        }
    )


def _is_tektons_own(volume: Volume) -> bool:
    """Return whether this is one of the empty volumes that every pod of Tekton has."""
    is_own = volume.name.startswith(("tekton-internal-", "tekton-creds-init-home-"))
    return is_own and (volume.is_empty_dir or volume.is_downward)


def _volume(volume: Volume) -> dict[str, Any]:
    return _set_fields(
        {"name": volume.name, "kind": volume.kind, "source": volume.source, "type": volume.type}
    )


def _tokens(volume: Volume) -> Iterator[dict[str, Any]]:
    for token in volume.tokens:
        yield _set_fields(
            {"volume": volume.name, "audience": token.audience, "expirationSeconds": token.seconds}
        )


def container_facts(placed: Placed, image_id: str, redaction: Redaction) -> dict[str, Any]:
    """Return what one container was given, and how it ended."""
    container, status = placed.container, placed.status
    fields = placed.expected.fields if placed.expected else None
    in_pod = _image_in_pod(placed)
    written = (fields or {}).get("image", "") or in_pod
    # the present status of a sidecar that Tekton stopped is about its replacement
    ended = status.last if placed.is_stopped else status.now.terminated
    mounts = [
        _set_fields({"name": mount.name, "path": mount.path, "readOnly": mount.read_only})
        for mount in container.mounts
        if not mount.name.startswith("tekton-internal-")
    ]
    return _set_fields(
        {
            "container": container.name,
            "imageAsWritten": written,
            "imageInPod": in_pod,
            "imageAsRun": image_id,
            "imagePinned": parse_image_digest(written) is not None,
            "securityContext": ordered(container.security.written.value),
            "resources": ordered(container.resources.value),
            "env": environment(container.env, redaction),
            "envFrom": [_environment_source(source) for source in container.env_from],
            "commandLine": [] if placed.is_tektons_own else _command_line(container, redaction),
            "volumeMounts": mounts,
            "exitCode": ended.exit_code,
            "endedAs": ended.reason,
            "startedOn": ended.started,
            "finishedOn": ended.finished,
            "containerId": ended.container_id if placed.is_stopped else status.container_id,
            "restarts": status.restarts,
            "stoppedBy": "tekton" if placed.is_stopped else "",
        }
    )


def _image_in_pod(placed: Placed) -> str:
    """Return the image in the pod; for containers whose image Tekton changes, what the kubelet reports."""
    image = placed.container.image
    if placed.is_stopped:
        return ""
    return placed.status.image or image if placed.kind in {Part.SIDECAR, Part.INJECTED} else image


def _command_line(container: Container, redaction: Redaction) -> list[str]:
    """Return what a container runs; for a step, what the entrypoint starts, which comes from the Task."""
    command: Sequence[str] = container.command
    args = container.args
    if command == (ENTRYPOINT,) and "--" in args:
        split = args.index("--")
        if run := entrypoint_flag(args[:split]):
            command, args = run, args[split + 1 :]
    return redaction.command_line([*command, *args])


def _environment_source(source: EnvironmentSource) -> dict[str, Any]:
    return _set_fields({"prefix": source.prefix, "configMap": source.config_map, "secret": source.secret})


def ordered(value: Json, depth: int = _DEEPEST) -> Json:
    """Return a JSON value with the keys of every mapping sorted, so that equal values give equal bytes.

    Values nested deeper than any Kubernetes field are left out.
    """
    if not isinstance(value, Mapping | list):
        return value
    if depth == 0:
        return None
    if isinstance(value, list):
        return [ordered(item, depth - 1) for item in value]
    return {str(key): ordered(value[key], depth - 1) for key in sorted(value, key=str)}


def _set_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are set."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
