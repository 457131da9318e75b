"""Notes and occurrences of Container Analysis, as Tekton Chains makes them; pure.

An image signature is an ATTESTATION occurrence under the note ``<noteid>-simplesigning``, a provenance a
BUILD occurrence under ``<noteid>-taskrun-intoto`` or ``<noteid>-pipelinerun-intoto`` for each image. As SLSA
v0.2 is the one predicate Chains converts, every other provenance's details say little; the envelope holds
all. Our execution report, which is no build, is an ATTESTATION under ``<noteid>-<kind>-report``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from storage import lean_json
from storage.errors import StoreRejected
from storage.formats.chains_document import PROVENANCE
from storage.record import IN_TOTO_PAYLOAD_TYPE, SIMPLE_SIGNING_TYPE, Record

Json = dict[str, Any]
KINDS = ("TaskRun", "PipelineRun")


@dataclass(frozen=True, slots=True)
class Layout:
    """One project's settings, of the keys ``storage.grafeas.*`` and ``signers.kms.kmsref``."""

    project: str
    note_id: str = ""
    note_hint: str = ""
    key_id: str = ""

    def note_name(self, record: Record) -> str:
        """Return the last part of the name of the note that a record belongs to."""
        start = self.note_id or f"tekton-{record.origin.namespace}"
        if record.is_image_signature:
            return f"{start}-simplesigning"
        kind = "intoto" if record.predicate_type in PROVENANCE else "report"
        return f"{start}-{record.origin.kind}-{kind}"

    def note(self, record: Record) -> Json:
        """Return the note."""
        if record.is_image_signature:
            return self._attestation_note("OCI Artifact Attestation Note")
        if record.predicate_type not in PROVENANCE:
            return self._attestation_note("Execution Report Note")
        kinds = {kind.lower(): kind for kind in KINDS}
        version = f"tekton.dev/v1/{kinds.get(record.origin.kind, record.origin.kind)}"
        return {
            "shortDescription": "Build Provenance Note for TaskRun",
            "build": {"builderVersion": version},
        }

    def _attestation_note(self, text: str) -> Json:
        hint = {"humanReadableName": self.note_hint} if self.note_hint else {}
        return {"shortDescription": text, "attestation": {"hint": hint}}

    def occurrence(self, record: Record, uri: str) -> Json:
        """Return the occurrence of ``record`` about the image ``uri`` (``NAME@sha256:hex``)."""
        payload = _b64(record.payload)
        signature = _b64(record.signature or record.envelope)
        key = {"keyid": self.key_id} if self.key_id else {}
        simple = record.is_image_signature
        found: Json = {
            "resourceUri": uri,
            "noteName": f"projects/{self.project}/notes/{self.note_name(record)}",
            "envelope": {
                "payload": payload,
                "payloadType": SIMPLE_SIGNING_TYPE if simple else IN_TOTO_PAYLOAD_TYPE,
                "signatures": [{"sig": signature, **key}],
            },
        }
        if simple or record.predicate_type not in PROVENANCE:
            named = {"publicKeyId": self.key_id} if self.key_id else {}
            signatures = [{"signature": signature, **named}]
            return {**found, "attestation": {"serializedPayload": payload, "signatures": signatures}}
        return {**found, "build": {"intotoStatement": _statement(record.payload)}}


def uris_of(record: Record) -> list[str]:
    """Return ``NAME@sha256:hex`` of each image or other subject with a SHA-256, each once."""
    return list(
        dict.fromkeys(
            f"{one.name}@sha256:{one.digest['sha256']}" for one in record.subjects if "sha256" in one.digest
        )
    )


def _statement(payload: bytes) -> Json:
    """Return grafeas' form of a statement: SLSA v0.2's fields, and empty ones where another predicate is."""
    try:
        statement = lean_json.loads(payload, lean_json.MOST_PAYLOAD_VALUES)
        predicate: Mapping[str, Any] = statement["predicate"]
        subjects = [{"name": one["name"], "digest": one["digest"]} for one in statement["subject"]]
        shown = {
            "_type": statement["_type"],
            "subject": subjects,
            "predicateType": statement["predicateType"],
            "slsaProvenanceZeroTwo": _provenance(predicate),
        }
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as exc:
        raise StoreRejected("grafeas takes in-toto statements only") from exc
    return _without_empty(shown)


def _provenance(predicate: Mapping[str, Any]) -> Json:
    invocation = predicate.get("invocation") or {}
    source = invocation.get("configSource") or {}
    found: Json = {
        "builder": {"id": (predicate.get("builder") or {}).get("id", "")},
        "buildType": predicate.get("buildType", ""),
        "invocation": {
            "configSource": {
                "uri": source.get("uri", ""),
                "digest": source.get("digest") or {},
                "entryPoint": source.get("entryPoint", ""),
            },
            "parameters": invocation.get("parameters"),
            "environment": invocation.get("environment"),
        },
        "buildConfig": predicate.get("buildConfig"),
        "materials": [
            {"uri": one.get("uri", ""), "digest": one.get("digest") or {}}
            for one in predicate.get("materials") or []
        ],
    }
    metadata = predicate.get("metadata")
    if metadata is not None:
        completeness = metadata.get("completeness") or {}
        found["metadata"] = {
            "buildInvocationId": metadata.get("buildInvocationID", ""),
            "buildStartedOn": metadata.get("buildStartedOn"),
            "buildFinishedOn": metadata.get("buildFinishedOn"),
            "completeness": {
                name: completeness.get(name, False) for name in ("parameters", "environment", "materials")
            },
            "reproducible": metadata.get("reproducible", False),
        }
    return found


# free-form objects, whose empty values mean something
_AS_THEY_ARE = frozenset({"parameters", "environment", "buildConfig"})


def _without_empty(value: Json) -> Json:
    """Leave out what proto3's JSON leaves out: false, empty strings, lists and maps of strings, null."""
    found: Json = {}
    for key, one in value.items():
        if isinstance(one, dict) and key in _AS_THEY_ARE:
            found[key] = one
        elif isinstance(one, dict) and key == "digest":
            if one:
                found[key] = one
        elif isinstance(one, dict):
            found[key] = _without_empty(one)
        elif isinstance(one, list):
            if one:
                found[key] = [_without_empty(each) if isinstance(each, dict) else each for each in one]
        elif one not in (None, "", False):
            found[key] = one
    return found


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
