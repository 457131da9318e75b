"""The type that crosses into the stores, and what comes back: plain strings and bytes.

A record goes in; for every form and subject a receipt or a failure comes out, never silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

IN_TOTO_PAYLOAD_TYPE = "application/vnd.in-toto+json"
SIMPLE_SIGNING_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
COSIGN_SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"

Absence = Literal["", "certain", "possible"]
"""Whether something failed for want of its subject: the store does not have it, or would not say. Many
registries refuse to say that a repository does not exist."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a record is about: a name as in the statement and a digest set, algorithm to lowercase hex."""

    name: str
    digest: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """The run a record comes from: lowercase kind (``taskrun``), namespace, name and UID."""

    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Record:
    """One signed payload, ready to be stored.

    An attestation has an in-toto ``payload``, a DSSE ``envelope`` (form A) and a Sigstore ``bundle``
    (form B). An image signature has a simple-signing ``payload`` with its raw ``signature`` (form A) and a
    ``bundle`` over the statement ``https://sigstore.dev/cosign/sign/v1`` (form B); its envelope is empty.
    All bytes are stored as they are; nothing here is parsed and written again.
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
    """RFC 3339 time of the run's end: it makes manifests the same each time they are built."""
    certificate: bytes = b""
    """PEM of the leaf certificate for keyless signatures, else empty."""
    chain: bytes = b""
    """PEM of the intermediates and root, else empty."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """What the layer of form A carries besides: timestamp and log entry, as cosign has them there."""
    snapshot: bytes = b""
    """The run's canonical bytes, which a store may keep beside the evidence; most do not."""
    received: frozenset[str] = frozenset()
    """Locations that this store gave receipts for when the same was put before: it need not look there again,
    and gives a receipt without a digest."""

    @property
    def is_image_signature(self) -> bool:
        """Whether this is a simple-signing record (form ``.sig``) and not an attestation (``.att``)."""
        return self.payload_type == SIMPLE_SIGNING_TYPE


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that bytes are where they should be: given only after the store accepted them for good."""

    store: str
    form: str
    """``att``, ``sig``, ``referrer``, ``layout``, ``file`` or ``object``."""
    subject: str
    """``algorithm:hex`` of the subject served by this copy; ``""`` where a copy serves the whole record."""
    location: str
    digest: str
    """``sha256:…`` of the stored manifest or file; in an OCI layout, where a tag's manifest gathers several
    records and is written at the flush, of the envelope or payload."""
    changed: bool = True
    """False when exactly this was there already."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be stored, where and why; ``transient`` says whether trying again can help."""

    store: str
    form: str
    subject: str
    reason: str
    transient: bool = False
    absence: Absence = ""
    """Whether it may be stored once its subject is there; it is not transient then."""
    host: str = ""
    """Who did not answer (``scheme://host:port``), where that is why."""


@dataclass(frozen=True, slots=True)
class Stored:
    """All receipts and failures of one record in one store."""

    receipts: tuple[Receipt, ...] = ()
    failures: tuple[Failure, ...] = ()
    skipped: tuple[Failure, ...] = ()
    """What this store rightly does not serve, and why: a subject that is no image, in a registry. Never an
    error, never silent."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Signed bytes as found in a store: nothing about them has been verified."""

    source: str
    """``oci-referrer``, ``oci-att``, ``oci-sig``, ``oci-layout``, ``file``, ``s3``, ``gcs``, ``mongo``,
    ``dynamodb``, ``firestore``, ``grafeas`` or ``archivista``."""
    location: str
    digest: str
    """``sha256:…`` of ``data``."""
    format: str
    """``bundle-v0.3`` (older bundles: ``bundle-v0.1``, ``bundle-v0.2``), ``dsse`` or ``simplesigning``."""
    data: bytes
    """Bundle or envelope JSON; for ``simplesigning`` the payload."""
    signature: bytes = b""
    """Raw signature bytes, for ``simplesigning`` alone."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    origin: Origin | None = None
    """The run it came from, as the store says; None where the store does not know."""
    created: str = ""
    """RFC 3339 time of the run's end, as the store says; empty where it does not know."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something found beside the evidence that could not be used, and why."""

    location: str
    digest: str
    reason: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What a store has about one digest or run."""

    evidence: tuple[Evidence, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    snapshot: bytes = b""
    """The run's canonical bytes, in a search by run, where the store keeps them."""


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run that a store has evidence from; fields of ``origin`` that a listing does not tell are empty."""

    origin: Origin
    created: str
    """RFC 3339 time of the run's end, or its day alone (``2026-01-02``), or empty: unknown."""

    def ended_within(self, since: str, until: str) -> bool:
        """Whether the run ended at ``since`` or later and before ``until``, as far as is known."""
        if not self.created:
            return not since
        return (not since or self.created >= since[: len(self.created)]) and (
            not until or self.created < until
        )
