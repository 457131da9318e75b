"""AdmissionReview ``admission.k8s.io/v1``: the request that is read, and the answer that is written.

Source: k8s.io/api/admission/v1. A request that cannot be read is an error of the caller. It is never an
allowed request.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from chains.documents.decode import Unreadable, decode
from chains.tekton.raw import Json, mapping_at, text_at

API_VERSION = "admission.k8s.io/v1"
LARGEST = 8 << 20
"""Bytes of a request. An object has at most 1.5 MiB in etcd, and an UPDATE sends it twice."""
_MOST_VALUES = 800_000
_LONGEST_UID = 256
_LONGEST_NAME = 512
_TIMEOUT = re.compile(r"(\d{1,4}(?:\.\d{1,9})?)(ms|s|m)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}
DEFAULT_SECONDS, LONGEST_SECONDS = 10.0, 30.0
"""What Kubernetes waits for a webhook if its configuration says nothing, and at most."""
MARGIN = 0.5
"""Seconds before the API server's deadline at which an answer is sent, whatever is known by then."""
_SHORTEST = 0.1
OPERATIONS = frozenset(("CREATE", "UPDATE", "DELETE", "CONNECT"))


class MalformedReview(ValueError):  # noqa: N818 - says what is wrong with it
    """The body is no AdmissionReview of a version that is known here."""


@dataclass(frozen=True, slots=True)
class Review:
    """One request for admission.

    ``group`` and ``kind`` are those of the object as it is sent, ``object`` and ``old`` are any JSON value.
    ``name`` may be empty: the API server generates it later.
    """

    uid: str
    group: str
    kind: str
    namespace: str
    name: str
    operation: str
    subresource: str = ""
    object: Json = None
    old: Json = None
    is_dry_run: bool = False

    @property
    def shown(self) -> str:
        """The object as people name it, such as ``Pod shop/web``. Not escaped."""
        metadata = mapping_at(self.object, "metadata")
        generated = text_at(metadata, "generateName")
        name = self.name or text_at(metadata, "name") or (f"{generated}…" if generated else "")
        return f"{self.kind} {'/'.join(part for part in (self.namespace, name) if part)}".strip()


def read_review(data: bytes) -> Review:
    """Return the request of an AdmissionReview's bytes. Raises :class:`MalformedReview`.

    Members that decide what is looked at must be there and have the right type; there are no defaults.
    """
    try:
        found = decode(data, _MOST_VALUES)
    except Unreadable as error:
        raise MalformedReview(f"no AdmissionReview: {error}") from None
    if not isinstance(found, dict):
        raise MalformedReview("no AdmissionReview: expected a JSON object")
    if found.get("apiVersion") != API_VERSION or found.get("kind") != "AdmissionReview":
        raise MalformedReview(f"expected an AdmissionReview of {API_VERSION}")
    request = found.get("request")
    if not isinstance(request, dict):
        raise MalformedReview("the AdmissionReview has no request")
    uid = _text(request, "uid", _LONGEST_UID)
    if not uid:
        raise MalformedReview("the request has no uid")
    kind = request.get("kind")
    if not isinstance(kind, dict):
        raise MalformedReview("the request has no kind")
    operation = _text(request, "operation")
    if operation not in OPERATIONS:
        raise MalformedReview("the request has no operation that is known")
    name = _text(kind, "kind")
    if not name:
        raise MalformedReview("the request's kind has no name")
    dry_run = request.get("dryRun")
    if dry_run is not None and not isinstance(dry_run, bool):
        raise MalformedReview("the request's dryRun is neither true nor false")
    return Review(
        uid=uid,
        group=_text(kind, "group"),
        kind=name,
        namespace=_text(request, "namespace"),
        name=_text(request, "name"),
        operation=operation,
        subresource=_text(request, "subResource"),
        object=request.get("object"),
        old=request.get("oldObject"),
        is_dry_run=bool(dry_run),
    )


def _text(value: Mapping[str, Json], key: str, longest: int = _LONGEST_NAME) -> str:
    found = value.get(key)
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > longest:
        raise MalformedReview(f"the request's {key} is no text of at most {longest} characters")
    return found


def seconds_of(timeout: str) -> float:
    """Return how long an answer may take, from the query ``timeout`` that the API server sends (``5s``).

    A missing or odd value counts as the shorter of the usual ones: an answer that comes too late is none.
    """
    found = _TIMEOUT.fullmatch(timeout)
    given = float(found[1]) * _SECONDS[found[2]] if found else DEFAULT_SECONDS
    return max(_SHORTEST, min(given, LONGEST_SECONDS) - MARGIN)


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered. ``patch`` is a JSON Patch; it may only be there in an answer that allows."""

    allowed: bool
    message: str = ""
    warnings: Sequence[str] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    patch: bytes = b""
    code: int = 403
    reason: str = "Forbidden"

    def to_bytes(self, uid: str) -> bytes:
        """Return the AdmissionReview that answers the request with this uid."""
        response: dict[str, Any] = {"uid": uid, "allowed": self.allowed}
        if not self.allowed:
            response["status"] = {"code": self.code, "reason": self.reason, "message": self.message}
        if self.warnings:
            response["warnings"] = list(self.warnings)
        if self.annotations:
            response["auditAnnotations"] = dict(self.annotations)
        if self.patch and self.allowed:
            response |= {"patchType": "JSONPatch", "patch": b64encode(self.patch).decode()}
        return orjson.dumps({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
