"""The types that stores take and return. They consist of plain strings and bytes.

A store takes a record and returns a receipt or a failure for every form and subject.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, NamedTuple

IN_TOTO_PAYLOAD_TYPE = "application/vnd.in-toto+json"
SIMPLE_SIGNING_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
COSIGN_SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
SLSA_V1_PREDICATE = "https://slsa.dev/provenance/v1"
SLSA_V02_PREDICATE = "https://slsa.dev/provenance/v0.2"

BUNDLE_FORMAT, DSSE_FORMAT, SIMPLE_SIGNING_FORMAT = "bundle-v0.3", "dsse", "simplesigning"
"""The values of :attr:`Evidence.format` that are written today."""

Absence = Literal["", "certain", "possible"]
"""Whether an operation failed because its subject is absent: ``certain`` if the store says so, ``possible``
if it refuses to say. Many registries do not reveal that a repository does not exist."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A subject of the statement: its name and its digest set (algorithm to lower case hex)."""

    name: str
    digest: Mapping[str, str]


class Platform(NamedTuple):
    """One image that an image index lists."""

    digest: str
    name: str = ""
    """``linux/arm64/v8``; empty if the index names no platform."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The run that a record is about: kind in lower case (``taskrun``), namespace, name and UID."""

    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Record:
    """One signed payload, ready to be stored.

    An attestation has an in-toto ``payload``, a DSSE ``envelope`` (form A) and a Sigstore ``bundle`` (form
    B). An image signature has a simple-signing ``payload`` with its raw ``signature`` (form A) and a
    ``bundle`` over the statement ``https://sigstore.dev/cosign/sign/v1`` (form B); its envelope is empty.
    Stores write all bytes unchanged.
    """

    origin: Origin
    subjects: tuple[Subject, ...]
    payload: bytes
    payload_type: str
    predicate_type: str
    bundle: bytes
    envelope: bytes = b""
    signature: bytes = b""
    created: str = ""
    """The RFC 3339 time of the run's end. Manifests contain it, and no other time, so that building them
    again gives equal bytes."""
    certificate: bytes = b""
    """The leaf certificate in PEM, for keyless signatures; else empty."""
    chain: bytes = b""
    """The intermediate certificates and the root in PEM; else empty."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Further annotations of the form A layer: timestamp and log entry, as cosign writes them."""
    snapshot: bytes = b""
    """The run in canonical JSON. Few stores keep it."""
    received: frozenset[str] = frozenset()
    """Locations for which this store returned receipts when the same record was put before. The store need
    not check them again and returns a receipt without a digest."""

    @property
    def is_image_signature(self) -> bool:
        """Whether this is an image signature (tag ``.sig``) and not an attestation (tag ``.att``)."""
        return self.payload_type == SIMPLE_SIGNING_TYPE


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that bytes are stored. A store returns it only after the bytes are stored durably."""

    store: str
    form: str
    """``att``, ``sig``, ``referrer``, ``layout``, ``file`` or ``object``."""
    subject: str
    """``algorithm:hex`` of the subject of this copy; ``""`` if the copy serves the whole record."""
    location: str
    digest: str
    """``sha256:…`` of the stored manifest or file. In an OCI layout it is that of the envelope or payload,
    because the manifest of a tag holds several records and is written at the flush."""
    changed: bool = True
    """False if exactly this was stored before."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A form or subject that could not be stored, and why. ``transient``: a later try can succeed."""

    store: str
    form: str
    subject: str
    reason: str
    transient: bool = False
    absence: Absence = ""
    """Whether the subject is absent. It can be stored once the subject exists; ``transient`` is false
    then."""
    host: str = ""
    """The host (``scheme://host:port``) that did not answer, if that is the cause."""


@dataclass(frozen=True, slots=True)
class Stored:
    """All receipts and failures of one record in one store."""

    receipts: tuple[Receipt, ...] = ()
    failures: tuple[Failure, ...] = ()
    skipped: tuple[Failure, ...] = ()
    """What this store does not serve by design, and why; for example a subject that is not an image, in a
    registry. It is not an error."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Signed bytes found in a store. Nothing about them is verified."""

    source: str
    """``oci-referrer``, ``oci-att``, ``oci-sig``, ``oci-layout``, ``file``, ``s3``, ``gcs``, ``mongo``,
    ``dynamodb``, ``firestore``, ``grafeas`` or ``archivista``."""
    location: str
    digest: str
    """``sha256:…`` of ``data``."""
    format: str
    """``bundle-v0.3`` (older bundles: ``bundle-v0.1``, ``bundle-v0.2``), ``dsse`` or ``simplesigning``."""
    data: bytes
    """Bundle or envelope as JSON; for ``simplesigning`` the payload."""
    signature: bytes = b""
    """The raw signature; for ``simplesigning`` only."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    origin: Origin | None = None
    """The run according to the store; None if the store does not know it."""
    created: str = ""
    """The RFC 3339 time of the run's end according to the store; empty if unknown."""

    @property
    def is_bundle(self) -> bool:
        """Whether ``data`` is a Sigstore bundle, of any version."""
        return self.format.startswith("bundle")


class SkipKind(StrEnum):
    """What was skipped: it may have been evidence, or it is something else, such as an SBOM."""

    UNREADABLE = "unreadable"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in the place of evidence that could not be used, and why."""

    location: str
    digest: str
    reason: str
    kind: SkipKind = SkipKind.UNREADABLE

    def to_json(self) -> dict[str, str]:
        """Return the item as it is printed."""
        return {"location": self.location, "digest": self.digest, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of a search for one digest or run."""

    evidence: tuple[Evidence, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    snapshot: bytes = b""
    """The run in canonical JSON, from a search by run in a store that keeps it."""


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run from which a store has evidence. Fields of ``origin`` that the listing lacks are empty."""

    origin: Origin
    created: str
    """The RFC 3339 time of the run's end, or only its day (``2026-01-02``), or empty if unknown."""

    def ended_within(self, since: str, until: str) -> bool:
        """Whether the run ended at or after ``since`` and before ``until``, as far as is known."""
        if not self.created:
            return not since
        # RFC 3339 times in UTC sort as text. A run with only a day is compared by its day.
        return (not since or self.created >= since[: len(self.created)]) and (
            not until or self.created < until
        )
