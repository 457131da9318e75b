"""The answers of the API. A field is always there; what no evidence says is null.

Times are RFC 3339 in UTC. A digest is ``ALGORITHM:VALUE``. The text in an annotation goes into the
description of the API.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final


@dataclass(frozen=True, slots=True)
class Form:
    """The ``format`` of a text in JSON Schema."""

    name: str


Time = Annotated[str, Form("date-time")]
Digest = Annotated[str, "ALGORITHM:VALUE, such as sha256:HEX"]
Link = Annotated[str, Form("uri-reference")]


class Verdict(StrEnum):
    """What a verification said, of the index at ``checkedAt``."""

    VERIFIED = "verified"
    FAILED = "failed"
    INDETERMINATE = "indeterminate"


class Outcome(StrEnum):
    """The verdict of a verification that was made for this answer."""

    VERIFIED = "VERIFIED"
    FAILED = "FAILED"
    NOT_FOUND = "NOT_FOUND"
    INDETERMINATE = "INDETERMINATE"


@dataclass(frozen=True, slots=True)
class Store:
    """A store of the index. ``behind`` and ``unreadable`` are null for viewers of some namespaces."""

    url: str
    read_at: Time | None
    is_whole: bool
    behind: int | None
    unreadable: int | None


@dataclass(frozen=True, slots=True)
class Index:
    """From when the answer is: what is not in the index was not searched."""

    criteria_digest: Annotated[str | None, "of whom the index trusts"]
    is_whole: bool
    stores: tuple[Store, ...]


@dataclass(frozen=True, slots=True)
class Named:
    """An artifact with a name that a statement gives it."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class RunOf:
    """The run that an attestation names."""

    uid: str | None
    kind: str | None
    namespace: str | None
    name: str | None
    commit: str | None
    link: Link | None


@dataclass(frozen=True, slots=True)
class Attestation:
    """A signed statement. If it is not ``verified``, everything in it is a claim of whoever wrote it."""

    digest: Digest
    predicate_type: str
    verdict: Verdict
    checked_at: Time | None
    signer: Annotated[str | None, "the key or identity, if it verified"]
    reason: Annotated[str | None, "the code why it did not verify"]
    detail: str | None
    finished_at: Annotated[Time | None, "when the run ended, by the statement"]
    namespace: str | None
    pipeline: str | None
    builder: str | None
    repository: str | None
    level: Annotated[str | None, "the hermetic level"]
    outcome: str | None
    run: RunOf | None
    subjects: tuple[Named, ...]
    has_more_subjects: bool
    link: Link


@dataclass(frozen=True, slots=True)
class Results:
    """A page of attestations that fit a query, the newest first."""

    query: Annotated[str, "as it was understood"]
    words: tuple[str, ...]
    count: int
    count_is_cut: Annotated[bool, "there are at least so many"]
    results: tuple[Attestation, ...]
    searched: tuple[str, ...]
    not_in_index: Annotated[tuple[str, ...], "terms that nothing fits even alone"]
    next: Annotated[Link | None, "the next page"]
    index: Index


@dataclass(frozen=True, slots=True)
class Input:
    """Something that a run used."""

    role: str
    name: str
    digest: Digest | None


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is known about an artifact: at most 100 attestations, and the inputs of its provenance."""

    digest: Digest
    names: tuple[str, ...]
    attestations: tuple[Attestation, ...]
    has_more: bool
    inputs: tuple[Input, ...]
    index: Index


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a TaskRun, by its execution report."""

    name: str
    image: str
    image_digest: Digest | None
    exit_code: int | None
    ended_as: str | None
    started_at: Time | None
    finished_at: Time | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run, as verified statements tell it. With another verdict everything but the UID is a claim."""

    uid: str
    verdict: Verdict
    kind: str | None
    namespace: str | None
    name: str | None
    pipeline: str | None
    task: str | None
    builder: str | None
    repository: str | None
    commit: str | None
    trigger: str | None
    sender: str | None
    service_account: str | None
    node: str | None
    outcome: str | None
    reason: str | None
    created_at: Time | None
    started_at: Time | None
    finished_at: Time | None
    level: str | None
    level_reason: str | None
    steps: tuple[Step, ...]
    attestations: tuple[Attestation, ...]
    index: Index


@dataclass(frozen=True, slots=True)
class Copy:
    """A stored copy of an attestation; the digest is that of its bytes."""

    store: str
    location: str
    digest: Digest
    form: str


@dataclass(frozen=True, slots=True)
class SignedAt:
    """A verified time at which the signature existed."""

    time: Time
    authority: str


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A verified entry in a transparency log."""

    index: int
    authority: str


@dataclass(frozen=True, slots=True)
class OneAttestation:
    """An attestation with where it lies, what proves its time, and its inputs."""

    attestation: Attestation
    copies: tuple[Copy, ...]
    signed_at: tuple[SignedAt, ...]
    log_entries: tuple[LogEntry, ...]
    inputs: tuple[Input, ...]
    index: Index


@dataclass(frozen=True, slots=True)
class Relative:
    """An artifact that was made from another one, or went into it."""

    digests: tuple[Digest, ...]
    names: tuple[str, ...]
    distance: Annotated[int, "runs between"]
    is_verified: Annotated[bool, "a way over verified statements leads to it"]
    is_cut: Annotated[bool, "there is more beyond it"]


@dataclass(frozen=True, slots=True)
class Lineage:
    """What an artifact was made from, and what was made from it, by the statements of the index."""

    digest: Digest
    names: tuple[str, ...]
    made_from: tuple[Relative, ...]
    went_into: tuple[Relative, ...]
    not_read: Annotated[tuple[str, ...], "why the answer may lack something"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A run of which there is evidence, and none that verified."""

    uid: str
    kind: str | None
    namespace: str | None
    name: str | None
    finished_at: Time | None
    link: Link


@dataclass(frozen=True, slots=True)
class Gaps:
    """A page of runs without evidence that verified, the newest first.

    An index knows runs from their evidence alone: an audit knows which have none at all.
    """

    runs: tuple[Gap, ...]
    next: Annotated[Link | None, "the next page"]
    index: Index


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a verification."""

    id: str
    result: str
    expected: str
    actual: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class Judged:
    """A piece of evidence that was judged now."""

    digest: Digest
    store: str
    predicate_type: str | None
    used: bool
    signer: Annotated[str | None, "the fingerprint of the key, or the identity"]
    reason: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Verification:
    """A verification of one artifact that was made now, or some seconds ago: ``verifiedAt`` says when."""

    digest: Digest
    verdict: Outcome
    summary: str
    verified_at: Time
    signed_by: Annotated[tuple[str, ...], "whom the server trusts"]
    stores: tuple[str, ...]
    checks: tuple[Check, ...]
    attestations: tuple[Judged, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """What went wrong (RFC 9457)."""

    type: Link
    title: str
    status: int
    detail: str


PROBLEMS: Final = "https://provenance.chains/problems/"
"""How the types of problems begin. The words behind it are stable."""
