"""Builds notes and occurrences of Container Analysis in Tekton Chains' format. Pure functions.

An image signature is an ATTESTATION occurrence under the note ``<noteid>-simplesigning``. A provenance is a
BUILD occurrence under ``<noteid>-taskrun-intoto`` or ``<noteid>-pipelinerun-intoto`` for each image. Chains
converts only SLSA v0.2 into grafeas' fields; for other predicates most fields are empty, and the envelope has
the whole statement. The execution report, which is not a build, is an ATTESTATION under
``<noteid>-<kind>-report``.
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
    """The settings of one project: the keys ``storage.grafeas.*`` and ``signers.kms.kmsref``."""

    project: str
    note_id: str = ""
    note_hint: str = ""
    key_id: str = ""

    def note_name(self, record: Record) -> str:
        """Return the id of the note for a record (the last part of its name)."""
        # Chains' default name of a note.
        start = self.note_id or f"tekton-{record.origin.namespace}"
        if record.is_image_signature:
            return f"{start}-simplesigning"
        kind = "intoto" if record.predicate_type in PROVENANCE else "report"
        return f"{start}-{record.origin.kind}-{kind}"

    def note(self, record: Record) -> Json:
        """Return the note for a record."""
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
        occurrence: Json = {
            "resourceUri": uri,
            "noteName": f"projects/{self.project}/notes/{self.note_name(record)}",
            "envelope": {
                "payload": payload,
                "payloadType": SIMPLE_SIGNING_TYPE if simple else IN_TOTO_PAYLOAD_TYPE,
                "signatures": [{"sig": signature, **key}],
            },
        }
        # Only provenance is a BUILD; everything else is an ATTESTATION.
        if simple or record.predicate_type not in PROVENANCE:
            named = {"publicKeyId": self.key_id} if self.key_id else {}
            signatures = [{"signature": signature, **named}]
            return {**occurrence, "attestation": {"serializedPayload": payload, "signatures": signatures}}
        return {**occurrence, "build": {"intotoStatement": _statement(record.payload)}}


def uris_of(record: Record) -> list[str]:
    """Return ``NAME@sha256:hex`` of each subject with a SHA-256 digest, without duplicates."""
    return list(
        dict.fromkeys(
            f"{subject.name}@sha256:{subject.digest['sha256']}"
            for subject in record.subjects
            if "sha256" in subject.digest
        )
    )


def _statement(payload: bytes) -> Json:
    """Return grafeas' form of a statement; its fields are empty unless the predicate is SLSA v0.2."""
    try:
        statement = lean_json.loads(payload, lean_json.MOST_PAYLOAD_VALUES)
        predicate: Mapping[str, Any] = statement["predicate"]
        subjects = [
            {"name": subject["name"], "digest": subject["digest"]} for subject in statement["subject"]
        ]
        shown = {
            "_type": statement["_type"],
            "subject": subjects,
            "predicateType": statement["predicateType"],
            "slsaProvenanceZeroTwo": _provenance(predicate),
        }
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as exc:
        raise StoreRejected("grafeas stores in-toto statements only") from exc
    return _without_empty(shown)


def _provenance(predicate: Mapping[str, Any]) -> Json:
    """Return grafeas' form of an SLSA v0.2 predicate."""
    invocation = predicate.get("invocation") or {}
    source = invocation.get("configSource") or {}
    provenance: Json = {
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
            {"uri": material.get("uri", ""), "digest": material.get("digest") or {}}
            for material in predicate.get("materials") or []
        ],
    }
    metadata = predicate.get("metadata")
    if metadata is not None:
        completeness = metadata.get("completeness") or {}
        provenance["metadata"] = {
            # The statement spells it buildInvocationID, grafeas buildInvocationId.
            "buildInvocationId": metadata.get("buildInvocationID", ""),
            "buildStartedOn": metadata.get("buildStartedOn"),
            "buildFinishedOn": metadata.get("buildFinishedOn"),
            "completeness": {
                name: completeness.get(name, False) for name in ("parameters", "environment", "materials")
            },
            "reproducible": metadata.get("reproducible", False),
        }
    return provenance


# Free-form objects: empty values in them are data and are kept.
_AS_THEY_ARE = frozenset({"parameters", "environment", "buildConfig"})


def _without_empty(value: Json) -> Json:
    """Leave out what proto3's JSON form leaves out: false, empty strings, empty lists and maps, null."""
    kept: Json = {}
    for key, item in value.items():
        if isinstance(item, dict) and key in _AS_THEY_ARE:
            kept[key] = item
        # A digest set is a map of strings, which proto3 omits only as a whole.
        elif isinstance(item, dict) and key == "digest":
            if item:
                kept[key] = item
        elif isinstance(item, dict):
            kept[key] = _without_empty(item)
        elif isinstance(item, list):
            if item:
                kept[key] = [
                    _without_empty(element) if isinstance(element, dict) else element for element in item
                ]
        elif item not in (None, "", False):
            kept[key] = item
    return kept


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
