"""The layout of a bucket: from a record to keys and back. Pure functions.

::

    runs/<kind>/<namespace>/<yyyy>/<mm>/<dd>/<uid>/<what>/<name>       the evidence itself
    subjects/<algorithm>/<hex>/<kind>/…/<uid>/<what>/<name>            a pointer: empty, with the same tail
    uids/<uid>/<kind>/<namespace>/<yyyy>/<mm>/<dd>                     empty: the day of a run

``what`` is the predicate (``slsa.dev-provenance-v1``), ``image-signature`` or ``snapshot``. The day is that
of the run's end in UTC, ``0000/00/00`` if unknown. A name begins with the SHA-256 of the content, so other
content never has the same key, and what is read can be checked. Unusual names are replaced as in a folder
(:func:`storage.formats.names.plain_name`).
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote, unquote

import orjson

from storage.errors import StoreRejected
from storage.formats.manifests import DSSE_TYPE
from storage.formats.names import plain_name
from storage.limits.allowance import LARGEST
from storage.record import BUNDLE_FORMAT, BUNDLE_TYPE, DSSE_FORMAT, SIMPLE_SIGNING_FORMAT, Origin, Record

BUNDLE, ENVELOPE, SIGNATURE, PAYLOAD = ".bundle.json", ".envelope.json", ".sig", ".payload.json"
CERTIFICATE, CHAIN, ANNOTATIONS = ".cert.pem", ".chain.pem", ".annotations.json"
FORMATS = {BUNDLE: BUNDLE_FORMAT, ENVELOPE: DSSE_FORMAT, SIGNATURE: SIMPLE_SIGNING_FORMAT}
SNAPSHOT = "snapshot"
UNDATED = "0000/00/00"
_NAME = re.compile(r"([0-9a-f]{64})(?:-([0-9a-f]{64}))?(\.[a-z.]+)")
_ALGORITHM = re.compile(r"[A-Za-z0-9_]{1,40}")
_HEX = re.compile(r"[0-9a-f]{2,256}")
_PARTS = 8
"""The number of parts of a key under ``runs/``."""
_LONGEST_METADATA = 1000
"""The longest metadata value in bytes. S3 allows 2 KiB for all metadata of an object."""


@dataclass(frozen=True, slots=True)
class Blob:
    """One object of a record: the end of its key, and its bytes."""

    tail: str
    """``<what>/<name>``."""
    data: bytes
    content_type: str
    is_evidence: bool
    beside: str = ""
    """The objects that belong to this one: a list such as ``cert,chain,annotations``."""
    is_beside: bool = False
    """Whether the object belongs to evidence and has its name. An existing object then stays, whatever its
    content."""


@dataclass(frozen=True, slots=True)
class Place:
    """The parts of a key under ``runs/``."""

    kind: str
    namespace: str
    day: str
    uid: str
    what: str
    name: str
    digest: str
    """The SHA-256 in hex of the content; for a signature that of the payload."""
    signature: str
    suffix: str


def run_folder(origin: Origin, created: str) -> str:
    """Return ``<kind>/<namespace>/<yyyy>/<mm>/<dd>`` of a run."""
    return f"{_part(origin.kind)}/{_part(origin.namespace)}/{day_of(created)}"


def uid_part(uid: str) -> str:
    """Return a UID as a part of keys."""
    return _part(uid)


def _part(text: str) -> str:
    """Return a field of a run as a part of keys."""
    return plain_name(text) if text else "unknown"


def day_of(created: str) -> str:
    """Return the day ``yyyy/mm/dd`` in UTC of an RFC 3339 time."""
    try:
        when = datetime.fromisoformat(created)
    except ValueError:
        return UNDATED
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    try:
        # strftime() does not pad years below 1000 on Linux.
        return when.astimezone(UTC).strftime("%Y/%m/%d").zfill(len(UNDATED))
    except OverflowError:
        return UNDATED


def subject_folder(algorithm: str, value: str) -> str | None:
    """Return ``subjects/<algorithm>/<hex>``; None if this is not a digest."""
    if not _ALGORITHM.fullmatch(algorithm) or not _HEX.fullmatch(value):
        return None
    return f"subjects/{algorithm}/{value}"


def subjects_of(record: Record) -> dict[str, str]:
    """Return the folders of a record's subjects, each with its ``algorithm:hex``."""
    folders = {}
    for subject in record.subjects:
        for algorithm, value in subject.digest.items():
            folder = subject_folder(algorithm, value)
            if folder:
                folders[folder] = f"{algorithm}:{value}"
    return folders


def blobs_of(record: Record) -> list[Blob]:
    """Return the objects of a record; evidence comes after the objects that belong to it.

    Raises :class:`StoreRejected` for a record without evidence and for an object that is too large.
    """
    what = _what(record)
    kept = {"cert": (CERTIFICATE, record.certificate), "chain": (CHAIN, record.chain)}
    if record.annotations:
        kept["annotations"] = (
            ANNOTATIONS,
            orjson.dumps(dict(record.annotations), option=orjson.OPT_SORT_KEYS),
        )
    beside = {name: pair for name, pair in kept.items() if pair[1]}
    blobs: list[Blob] = []

    def add(name: str, data: bytes, kind: str, *, takes_beside: bool = False) -> None:
        # The certificates have the name of their evidence with another suffix.
        stem = f"{what}/{name.partition('.')[0]}"
        # Only form A needs them; a bundle contains its certificates.
        mine = beside if takes_beside else {}
        blobs.extend(
            Blob(stem + suffix, content, "text/plain", False, is_beside=True)
            for suffix, content in mine.values()
        )
        blobs.append(Blob(f"{what}/{name}", data, kind, name.endswith(tuple(FORMATS)), ",".join(mine)))

    if record.is_image_signature and record.signature:
        digest = _hex(record.payload)
        add(digest + PAYLOAD, record.payload, "application/json")
        name = f"{digest}-{_hex(record.signature)}{SIGNATURE}"
        add(name, base64.b64encode(record.signature), "text/plain", takes_beside=True)
    if record.envelope:
        add(_hex(record.envelope) + ENVELOPE, record.envelope, DSSE_TYPE, takes_beside=True)
    if record.bundle:
        add(_hex(record.bundle) + BUNDLE, record.bundle, BUNDLE_TYPE)
    if not any(blob.is_evidence for blob in blobs):
        raise StoreRejected("the record has no bundle, envelope or signature")
    for blob in blobs:
        if len(blob.data) > LARGEST:
            raise StoreRejected(f"{blob.tail} has {len(blob.data)} bytes; the limit is {LARGEST}")
    return blobs


def snapshot_blob(record: Record) -> Blob | None:
    """Return the object with the snapshot of the run; None if there is none."""
    if not record.snapshot:
        return None
    if len(record.snapshot) > LARGEST:
        raise StoreRejected(f"the snapshot has {len(record.snapshot)} bytes; the limit is {LARGEST}")
    return Blob(f"{SNAPSHOT}/{_hex(record.snapshot)}.json", record.snapshot, "application/json", False)


def parse_key(key: str) -> Place | None:
    """Parse ``<kind>/<namespace>/<yyyy>/<mm>/<dd>/<uid>/<what>/<name>``; None for anything else."""
    parts = key.split("/")
    if len(parts) != _PARTS or not all(parts):
        return None
    kind, namespace, year, month, day, uid, what, name = parts
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return Place(
        kind, namespace, f"{year}/{month}/{day}", uid, what, name, match[1], match[2] or "", match[3]
    )


def metadata_of(record: Record, beside: str = "") -> dict[str, str]:
    """Return the user metadata of an object, in ASCII: what its key does not contain."""
    origin = record.origin
    run = "/".join(
        quote(part, safe="", errors="replace")
        for part in (origin.kind, origin.namespace, origin.name, origin.uid)
    )
    metadata = {"run": run, "created": quote(record.created, safe=":+-."), "beside": beside}
    # A value that is too long is left out: the key still has the essential parts.
    return {name: value for name, value in metadata.items() if value and len(value) <= _LONGEST_METADATA}


def origin_of(place: Place, metadata: dict[str, str]) -> Origin:
    """Return the run of an object according to its metadata, else according to its key."""
    parts = [unquote(part) for part in metadata.get("run", "").split("/")]
    if len(parts) == 4:  # noqa: PLR2004 - kind, namespace, name, uid
        return Origin(*parts)
    return Origin(place.kind, place.namespace, "", place.uid)


def created_of(place: Place, metadata: dict[str, str]) -> str:
    """Return when the run ended: the time, else the day, else empty."""
    return unquote(metadata.get("created", "")) or (
        "" if place.day == UNDATED else place.day.replace("/", "-")
    )


def _what(record: Record) -> str:
    """Return the part of a key that says what the record is about."""
    if record.is_image_signature:
        return "image-signature"
    uri = record.predicate_type.partition("://")[2] or record.predicate_type
    return plain_name(uri.replace("/", "-") or "statement")


def _hex(data: bytes) -> str:
    return sha256(data).hexdigest()
