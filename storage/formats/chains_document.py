"""The document that Tekton Chains stores for one payload in ``gcs`` and ``docdb``.

The key is ``taskrun-<UID>``, ``pipelinerun-<UID>`` or the first twelve hex digits of an image. Chains' field
``signature`` holds the whole DSSE envelope for an in-toto payload, and the raw signature for an image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace

import orjson

from storage import lean_json
from storage.base import FORM_A, StoreOptions
from storage.errors import StoreRejected
from storage.formats.digest import is_sha256, sha256
from storage.formats.manifests import CERTIFICATE_KEY, CHAIN_KEY
from storage.limits import allowance
from storage.limits.allowance import LARGEST, Allowance
from storage.record import (
    BUNDLE_FORMAT,
    DSSE_FORMAT,
    SIMPLE_SIGNING_FORMAT,
    SLSA_V02_PREDICATE,
    SLSA_V1_PREDICATE,
    Evidence,
    Findings,
    ListedRun,
    Origin,
    Record,
    Skipped,
)

PROVENANCE = (SLSA_V1_PREDICATE, SLSA_V02_PREDICATE)
MOST_DOCUMENTS = 10_000
"""The most documents that one search reads. A search reports when there are more."""
_RUN_KEY = re.compile(r"(taskrun|pipelinerun)-([0-9A-Za-z-]{1,64})")
_KEY = re.compile(r"(?:taskrun|pipelinerun|report)-[0-9A-Za-z-]{1,64}|[0-9a-f]{12}")
IMAGE_KEY = 12
"""The number of hex digits of an image's digest in its key."""


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """The fields of Chains' ``SignedDocument``, before any encoding of the values."""

    key: str
    payload: bytes
    signature: bytes
    certificate: bytes = b""
    chain: bytes = b""

    def mentions(self, digest: str) -> bool:
        """Whether the payload contains the hex of ``digest``.

        A cheap filter; verification compares subjects.
        """
        return digest.partition(":")[2].encode() in self.payload

    def evidence(self, source: str, location: str) -> Evidence | Skipped:
        """Return the envelope, or the payload of an image with its signature, as evidence."""
        annotations = {
            key: value.decode("ascii", "replace")
            for key, value in ((CERTIFICATE_KEY, self.certificate), (CHAIN_KEY, self.chain))
            if value
        }
        if len(self.signature) > LARGEST or len(self.payload) > LARGEST:
            return Skipped(location, "", f"more than {LARGEST} bytes: not read")
        if not self.signature:
            return Skipped(location, "", "it has no signature")
        if is_envelope(self.signature):
            data = self.signature
            return Evidence(source, location, sha256(data), DSSE_FORMAT, data, annotations=annotations)
        digest = sha256(self.payload)
        return Evidence(
            source, location, digest, SIMPLE_SIGNING_FORMAT, self.payload, self.signature, annotations
        )


def document_of(record: Record) -> SignedDocument:
    """Return the document for a record. Raises :class:`StoreRejected` if it has no signature."""
    signature = record.signature or record.envelope
    if not signature:
        raise StoreRejected("the record has neither envelope nor signature")
    return SignedDocument(annotation_key(record), record.payload, signature, record.certificate, record.chain)


def bundle_of(record: Record, options: StoreOptions) -> bytes:
    """Return the bundle to store with the document; empty if only form A is configured."""
    return b"" if options.encoding_format == FORM_A else record.bundle


def bundle_evidence(data: bytes, source: str, location: str) -> Evidence | Skipped:
    """Return a stored bundle as evidence."""
    if len(data) > LARGEST:
        return Skipped(location, "", f"{len(data)} bytes: not read")
    return Evidence(source, location, sha256(data), BUNDLE_FORMAT, data)


def digests_of(record: Record) -> list[str]:
    """Return ``algorithm:hex`` of every subject, without duplicates."""
    return list(
        dict.fromkeys(
            f"{name}:{value}" for subject in record.subjects for name, value in subject.digest.items()
        )
    )


def image_key(digest: str) -> str:
    """Return the key of an image signature; empty for a digest that is not ``sha256:hex``."""
    return digest[7 : 7 + IMAGE_KEY] if is_sha256(digest) else ""


def run_bytes(record: Record) -> bytes:
    """Return the run and its end as JSON, which :func:`run_of_bytes` reads."""
    return orjson.dumps({**asdict(record.origin), "created": record.created})


def run_of_bytes(data: bytes, key: str) -> ListedRun | None:
    """Return the run stored with evidence, else the run that the key of Chains' document names."""
    try:
        members = lean_json.loads(data, lean_json.FEW_VALUES)
        origin = Origin(*(str(members[name]) for name in ("kind", "namespace", "name", "uid")))
        return ListedRun(origin, str(members.get("created", "")))
    except (orjson.JSONDecodeError, KeyError, TypeError):
        match = _RUN_KEY.fullmatch(key)
        return ListedRun(Origin(match[1], "", "", match[2]), "") if match else None


def of_run(items: list[Evidence | Skipped], run: ListedRun | None) -> list[Evidence | Skipped]:
    """Return the items; evidence gets the run that it comes from."""
    if run is None:
        return items
    return [
        replace(item, origin=run.origin, created=run.created) if isinstance(item, Evidence) else item
        for item in items
    ]


def is_key(name: str) -> bool:
    """Whether a document of this name can be evidence: about a run or an image."""
    return _KEY.fullmatch(name) is not None


def runs_of(keys: Iterable[str]) -> Iterator[ListedRun]:
    """Yield each run that the keys of Chains' documents name once."""
    matches = (_RUN_KEY.fullmatch(key) for key in keys)
    for kind, uid in sorted({(match[1], match[2]) for match in matches if match}):
        yield ListedRun(Origin(kind, "", "", uid), "")


def is_envelope(signature: bytes) -> bool:
    """Whether these bytes are a DSSE envelope. A raw signature is never JSON."""
    try:
        members = lean_json.loads(signature, lean_json.FEW_VALUES)
    except orjson.JSONDecodeError:
        return False
    return isinstance(members, dict) and "payload" in members and "signatures" in members


@dataclass(slots=True)
class Found:
    """Collects the evidence of a search: each location once, with a limit on bytes."""

    _items: dict[tuple[str, str], Evidence | Skipped] = field(default_factory=dict)
    _allowed: Allowance = field(default_factory=allowance.current)

    def add(self, items: Iterable[Evidence | Skipped]) -> None:
        """Add items. Evidence beyond the limit becomes :class:`Skipped`."""
        for item in items:
            kind = item.format if isinstance(item, Evidence) else ""
            if (item.location, kind) in self._items:
                continue
            if isinstance(item, Evidence):
                if reason := self._allowed.take(len(item.data)):
                    item = Skipped(item.location, item.digest, reason)  # noqa: PLW2901
                else:
                    item = replace(item, data=self._allowed.kept(item.digest, item.data))  # noqa: PLW2901
            self._items[item.location, kind] = item

    def findings(self) -> Findings:
        """Return everything in the order of the locations."""
        items = [self._items[key] for key in sorted(self._items)]
        return Findings(
            tuple(item for item in items if isinstance(item, Evidence)),
            tuple(item for item in items if isinstance(item, Skipped)),
        )


_SHORT = 12
"""Hex digits of an image's digest in its key."""


def annotation_key(record: Record) -> str:
    """Return Chains' key of a record.

    It is ``taskrun-<UID>``, ``pipelinerun-<UID>`` or the first 12 hex digits of an image. The execution
    report, which Chains does not have, gets ``report-<UID>``: an annotation's name may have 63 characters.
    """
    if record.is_image_signature and record.subjects:
        return record.subjects[0].digest["sha256"][:_SHORT]
    kind = record.origin.kind if record.predicate_type in PROVENANCE else "report"
    return f"{kind}-{record.origin.uid}"
