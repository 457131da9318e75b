"""What auditors ask about a run and its pod: pure, from the same objects as the isolation, without secrets.

Only what is set is told. Names are those of the Kubernetes and Tekton fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chains.isolation.expected_pod import ENTRYPOINT, entrypoint_flag
from chains.isolation.pod import INJECTED, SIDECAR, Placed
from chains.statements.redaction import Redaction, environment
from chains.tekton.image_name import parse_image_digest
from chains.tekton.raw import Json, mapping_at, objects_at, text_at, texts_at
from chains.tekton.snapshot import RunSnapshot

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
"""Labels and annotations by which tools tell who asked for a run; Kubernetes itself does not record it."""
_VOLUME_NAMES = {
    "persistentVolumeClaim": "claimName",
    "configMap": "name",
    "secret": "secretName",
    "csi": "driver",
    "hostPath": "path",
}
_HOST_FIELDS = ("hostNetwork", "hostPID", "hostIPC", "hostUsers", "shareProcessNamespace")
_POD_FIELDS = (
    "serviceAccountName", "automountServiceAccountToken", "nodeName", "runtimeClassName", "networkMode",
    "dnsPolicy", "priorityClassName", "schedulerName", "enableServiceLinks",
)  # fmt: skip
_WORKSPACE_SOURCES = ("persistentVolumeClaim", "emptyDir", "configMap", "secret", "projected", "csi")
_DEEPEST = 16


def run_facts(run: RunSnapshot, redaction: Redaction) -> dict[str, Any]:
    """Return what the run's own record tells: workspaces, pod template, trigger, creator, attempts."""
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
    return _told(
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
    named = text_at(source, _VOLUME_NAMES.get(kind, "name"))
    return _told(
        {
            "name": binding.get("name", ""),
            "type": kind,
            "source": named,
            "subPath": binding.get("subPath", ""),
        }
    )


def _template(template: Mapping[str, Json], redaction: Redaction) -> dict[str, Any]:
    """Return a pod template in sorted order, its variables without values."""
    kept = {key: ordered(value) for key, value in sorted(template.items())}
    kept["volumes"] = [_volume(volume) for volume in objects_at(template, "volumes")]
    return _told({**kept, "env": environment(objects_at(template, "env"), redaction)})


def pod_facts(pod: Mapping[str, Json], runtime_class: Mapping[str, Json] | None) -> dict[str, Any]:
    """Return what the pod as a whole was allowed."""
    spec, metadata = mapping_at(pod, "spec"), mapping_at(pod, "metadata")
    volumes = [one for one in objects_at(spec, "volumes") if not _is_tektons_own(one)]
    apparmor = {
        name.removeprefix(_APP_ARMOR): value
        for name, value in sorted(mapping_at(metadata, "annotations").items())
        if name.startswith(_APP_ARMOR)
    }
    return _told(
        {
            "uid": text_at(metadata, "uid"),
            **{name: spec.get(name) for name in _POD_FIELDS},
            "runtimeHandler": text_at(runtime_class, "handler"),
            "os": text_at(spec, "os", "name"),
            "dnsConfig": ordered(spec.get("dnsConfig")),
            "hostAliases": ordered(spec.get("hostAliases")),
            "hostNamespaces": {name: spec[name] for name in _HOST_FIELDS if spec.get(name) is not None},
            "securityContext": ordered(spec.get("securityContext")),
            "appArmor": apparmor,
            "volumes": [_volume(volume) for volume in volumes],
            "tokenVolumes": [token for volume in volumes for token in _tokens(volume)],
            "qosClass": text_at(pod, "status", "qosClass"),
            "startedOn": text_at(pod, "status", "startTime"),
        }
    )


def _is_tektons_own(volume: Mapping[str, Json]) -> bool:
    """Whether this is one of the empty volumes that every pod of Tekton has."""
    name = text_at(volume, "name")
    is_own = name.startswith(("tekton-internal-", "tekton-creds-init-home-"))
    return is_own and ("emptyDir" in volume or "downwardAPI" in volume)


def _volume(volume: Mapping[str, Json]) -> dict[str, Any]:
    kind = next((key for key in sorted(volume) if key != "name"), "")
    source = mapping_at(volume, kind)
    named = text_at(source, _VOLUME_NAMES.get(kind, "name"))
    more = {"type": text_at(source, "type")} if kind == "hostPath" and source.get("type") else {}
    return _told({"name": text_at(volume, "name"), "kind": kind, "source": named, **more})


def _tokens(volume: Mapping[str, Json]) -> Iterator[dict[str, Any]]:
    for source in objects_at(volume, "projected", "sources"):
        token = source.get("serviceAccountToken")
        if isinstance(token, Mapping):
            yield _told(
                {
                    "volume": text_at(volume, "name"),
                    "audience": text_at(token, "audience"),
                    "expirationSeconds": token.get("expirationSeconds"),
                }
            )


def container_facts(placed: Placed, image_id: str, redaction: Redaction) -> dict[str, Any]:
    """Return what one container was given and what became of it."""
    container, state = placed.container, placed.state
    fields = placed.expected.fields if placed.expected else None
    in_pod = _image_in_pod(placed)
    written = (fields or {}).get("image", "") or in_pod
    last = "lastState" if placed.is_stopped else "state"
    ended = mapping_at(state, last, "terminated")
    container_id = text_at(ended if placed.is_stopped else state, "containerID")
    mounts = [
        _told(
            {
                "name": text_at(mount, "name"),
                "path": text_at(mount, "mountPath"),
                "readOnly": mount.get("readOnly"),
            }
        )
        for mount in objects_at(container, "volumeMounts")
        if not text_at(mount, "name").startswith("tekton-internal-")
    ]
    return _told(
        {
            "container": text_at(container, "name"),
            "imageAsWritten": written,
            "imageInPod": in_pod,
            "imageAsRun": image_id,
            "imagePinned": parse_image_digest(written) is not None,
            "securityContext": ordered(container.get("securityContext")),
            "resources": ordered(container.get("resources")),
            "env": environment(objects_at(container, "env"), redaction),
            "envFrom": [_reference(item) for item in objects_at(container, "envFrom")],
            "commandLine": [] if placed.is_tektons_own else _command_line(container, redaction),
            "volumeMounts": mounts,
            "exitCode": ended.get("exitCode"),
            "endedAs": text_at(ended, "reason"),
            "startedOn": text_at(ended, "startedAt"),
            "finishedOn": text_at(ended, "finishedAt"),
            "containerId": container_id,
            "restarts": state.get("restartCount"),
            "stoppedBy": "tekton" if placed.is_stopped else "",
        }
    )


def _image_in_pod(placed: Placed) -> str:
    """Return the image in the pod; of what Tekton stops by changing it, as the kubelet reports it."""
    image = text_at(placed.container, "image")
    if placed.is_stopped:
        return ""
    return text_at(placed.state, "image") or image if placed.kind in {SIDECAR, INJECTED} else image


def _command_line(container: Mapping[str, Json], redaction: Redaction) -> list[str]:
    """Return what a container runs; of a step what the entrypoint starts, which is what the Task gave it."""
    command, args = texts_at(container, "command"), texts_at(container, "args")
    if command == [ENTRYPOINT] and "--" in args:
        split = args.index("--")
        if run := entrypoint_flag(args[:split]):
            command, args = run, args[split + 1 :]
    return redaction.command_line([*command, *args])


def _reference(source: Mapping[str, Json]) -> dict[str, Any]:
    return _told(
        {
            "prefix": text_at(source, "prefix"),
            "configMap": text_at(source, "configMapRef", "name"),
            "secret": text_at(source, "secretRef", "name"),
        }
    )


def ordered(value: Json, depth: int = _DEEPEST) -> Json:
    """Return a JSON value with the keys of every mapping in order, so that equal values give equal bytes.

    What is nested deeper than any field of Kubernetes is left out.
    """
    if not isinstance(value, Mapping | list):
        return value
    if depth == 0:
        return None
    if isinstance(value, list):
        return [ordered(item, depth - 1) for item in value]
    return {str(key): ordered(value[key], depth - 1) for key in sorted(value, key=str)}


def _told(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is not set."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {})}
