"""An archive verified again: every piece of evidence of a store, and what will stop to count soon.

Nothing is compared with a run or an artifact: the question is whether what was stored is unchanged and signed
by somebody trusted. Each of several processes can verify a part of a store.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chains.audit.certificates import SIGNING, CertificatesInEvidence
from chains.text import count, excerpt, rfc3339
from chains.verify.conclude import conclude
from chains.verify.criteria import Criteria
from chains.verify.evidence import OF_PROVENANCE
from chains.verify.examining.case import Case
from chains.verify.reasons import Result
from chains.verify.search import Search
from chains.verify.subject import NothingWanted
from chains.verify.verdict import Attestation, Target, Verification
from chains.verify.verifier import Verifier
from signers.keys.keyset import KeyStatus
from storage.base import Store
from storage.errors import StoreError
from storage.record import Evidence, SkipKind

SCHEMA = "https://provenance.chains/audit-reverify/v1"
MOST_FAILURES = 10_000
"""Failures that are listed; further ones are counted."""
_LONGEST = 300
_WEAK_RSA = 3072
_RSA = re.compile(r"rsa-(\d+)-")
Advance = Callable[[str, int, bool], None]


@dataclass(frozen=True, slots=True)
class Shard:
    """The part ``number`` of ``total`` parts, from 0 on: a piece belongs to the part that its digest says."""

    number: int = 0
    total: int = 1

    def has(self, evidence: Evidence) -> bool:
        """Whether a piece of evidence belongs to this part."""
        return (
            self.total == 1
            or int(hashlib.sha256(evidence.data).hexdigest()[:15], 16) % self.total == self.number
        )


@dataclass(frozen=True, slots=True)
class Broken:
    """One piece of evidence that does not verify, and why."""

    store: str
    location: str
    digest: str
    reason: str
    words: str


@dataclass(frozen=True, slots=True)
class Expiring:
    """Something that stops to count, when, and how many pieces of evidence depend on it."""

    what: str
    until: str
    pieces: int
    words: str


@dataclass(slots=True)
class Reverified:
    """What an archive holds: how many pieces verify, which do not, and what ends soon."""

    at: datetime
    stores: tuple[str, ...]
    shard: Shard
    verified: int = 0
    failed: int = 0
    foreign: int = 0
    """Pieces in the place of evidence that are something else, such as an SBOM."""
    signers: Counter[str] = field(default_factory=Counter)
    algorithms: Counter[str] = field(default_factory=Counter)
    timed: int = 0
    """Verified pieces with a time of a timestamp authority or a log."""
    certificates: CertificatesInEvidence = field(default_factory=CertificatesInEvidence)
    """The certificates in verified pieces; none without a trusted root, which vouches for them."""
    broken: list[Broken] = field(default_factory=list)
    expiring: list[Expiring] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What could not be read."""

    @property
    def exit_code(self) -> int:
        """0 all verify, 1 some do not, 4 not everything was read, 3 there is nothing."""
        if self.failed:
            return 1
        if self.problems:
            return 4
        return 0 if self.verified or self.shard.total > 1 else 3

    @property
    def summary(self) -> str:
        """The answer in one sentence."""
        part = f" in part {self.shard.number} of {self.shard.total}" if self.shard.total > 1 else ""
        told = f"{self.verified:,} of {count(self.verified + self.failed, 'piece')} of evidence verify{part}"
        if self.problems:
            told += f"; not whole: {count(len(self.problems), 'problem')}"
        return f"{told}."


class _Anything(NothingWanted):
    """Any artifact, and any image in an image signature."""

    def is_image(self, sha256: str) -> bool:
        """Return True: the image is not compared."""
        del sha256
        return True


async def reverify(
    stores: Sequence[Store],
    verifier: Verifier,
    now: datetime,
    soon: timedelta,
    shard: Shard,
    advance: Advance,
) -> Reverified:
    """Verify every piece of evidence of the stores that belongs to the shard.

    ``soon`` is the time ahead in which something counts as ending soon. ``advance`` is called for each part
    of a store, with the store, the number of its parts, and whether a piece did not verify.
    """
    found = Reverified(now, tuple(store.url for store in stores), shard)
    untimed: Counter[str] = Counter()
    seen: set[bytes] = set()
    for store in stores:
        try:
            async for part in store.scan():
                before = found.failed
                for skipped in part.findings.skipped:
                    if shard.number > 0:
                        continue  # told by the first part alone
                    if skipped.kind is SkipKind.FOREIGN:
                        found.foreign += 1
                    else:
                        _fail(found, store, skipped.location, skipped.digest, "unreadable", skipped.reason)
                for evidence in part.findings.evidence:
                    name = hashlib.sha256(
                        f"{evidence.location}\0{evidence.digest}\0{evidence.format}".encode()
                    ).digest()
                    if name not in seen and shard.has(evidence):
                        seen.add(name)
                        _judge(evidence, store, verifier, found, untimed)
                advance(store.url, part.total, found.failed > before)
        except StoreError as error:
            found.problems.append(f"{store.url} cannot be read whole: {error}")
        if store.unseen:
            found.problems.append(f"{store.url}: {store.unseen}")
    found.expiring = list(_expiring(verifier.criteria, found, untimed, now + soon))
    return found


def _fail(found: Reverified, store: Store, location: str, digest: str, reason: str, words: str) -> None:
    found.failed += 1
    if len(found.broken) < MOST_FAILURES:
        found.broken.append(Broken(store.url, location, digest, reason, excerpt(words, _LONGEST)))


@dataclass(frozen=True, slots=True)
class Examined:
    """One piece of evidence and what verification says about it; ``reason`` is empty if it verifies."""

    evidence: Evidence
    attestation: Attestation | None
    reason: str = ""
    words: str = ""

    @property
    def is_right(self) -> bool:
        """Whether it is unchanged and signed by somebody trusted."""
        return not self.reason


def examine(evidence: Evidence, verifier: Verifier, now: datetime) -> Examined:
    """Return whether a piece is unchanged and signed by somebody trusted, whatever it is about."""
    case = Case(
        Target(evidence.location),
        _Anything(),
        verifier.criteria,
        (),
        now,
        Search((evidence,)),
        False,
        verifier.revocations,
    )
    answer = conclude(case)
    one = next(iter(answer.attestations), None)
    wrong = _why_not(answer, one)
    if wrong is not None or one is None or one.signed_by is None:
        reason, words = wrong or ("not_an_attestation", answer.summary)
        return Examined(evidence, one, reason, words)
    return Examined(evidence, one)


def _judge(
    evidence: Evidence, store: Store, verifier: Verifier, found: Reverified, untimed: Counter[str]
) -> None:
    examined = examine(evidence, verifier, found.at)
    one = examined.attestation
    if not examined.is_right or one is None or one.signed_by is None:
        _fail(found, store, evidence.location, evidence.digest, examined.reason, examined.words)
        return
    found.verified += 1
    signer = one.signed_by
    found.signers[signer.name] += 1
    if verifier.criteria.trusted_root is not None:
        found.certificates.add(evidence, signer)
    if signer.times:
        found.timed += 1
    elif signer.keyid:
        untimed[signer.keyid] += 1
    key = next((key for key in verifier.criteria.keys if key.keyid == signer.keyid), None)
    found.algorithms[key.algorithm if key is not None else "certificate"] += 1


def _why_not(answer: Verification, one: Attestation | None) -> tuple[str, str] | None:
    """Return why a piece does not verify, as code and in words. What is only of provenance is not asked."""
    if one is not None and one.signed_by is not None and one.is_image_signature:
        return None if one.reason is None else (one.reason.value, one.detail)
    for check in answer.checks:
        if check.result in {Result.FAIL, Result.ERROR} and check.id not in OF_PROVENANCE | {"evidence"}:
            reason = check.reason.value if check.reason is not None else check.id
            return reason, f"expected {check.expected}, got {check.actual}"
    if one is None or one.signed_by is None:
        return (
            one.reason.value if one is not None and one.reason is not None else "no_attestation"
        ), answer.summary
    return None


def _expiring(
    criteria: Criteria, found: Reverified, untimed: Counter[str], end: datetime
) -> Iterator[Expiring]:
    """Yield what stops to count before ``end``."""
    for keyid, listed in criteria.windows.items():
        if listed.not_after is not None and listed.not_after <= end and listed.status is KeyStatus.ACTIVE:
            words = "evidence without a trusted time does not count after the key's notAfter: retire the key"
            if untimed[keyid]:
                yield Expiring(f"key {keyid}", rfc3339(listed.not_after), untimed[keyid], words)
    root = criteria.trusted_root
    for authority in root.timestamp_authorities if root is not None else ():
        last = min(one.not_valid_after_utc for one in authority.chain)
        if last <= end and found.timed:
            words = (
                "timestamps that are older than their authority's certificate: add newer ones before its end"
            )
            yield Expiring(f"timestamp authority {authority.url}", rfc3339(last), found.timed, words)
    for one in found.certificates.ending(end):
        words = (
            "timestamps in evidence end with it, and nothing later proves their time: add newer ones before"
        )
        what = f"timestamp certificate {one.subject or one.issuer}"
        yield Expiring(what, rfc3339(one.last_end or end), one.pieces - one.outlived, words)
    for algorithm, pieces in sorted((found.algorithms + _of_certificates(found)).items()):
        bits = _RSA.match(algorithm)
        if bits is not None and int(bits[1]) < _WEAK_RSA:
            words = "NIST SP 800-131A allows RSA below 3072 bits until the end of 2030: sign with another key"
            yield Expiring(f"algorithm {algorithm}", "2030-12-31T23:59:59Z", pieces, words)


def _of_certificates(found: Reverified) -> Counter[str]:
    """Return the weak keys of signing certificates, in the words of keys."""
    weak: Counter[str] = Counter()
    for one in found.certificates.listed():
        if one.kind == SIGNING and one.algorithm.startswith("rsa-"):
            weak[f"{one.algorithm}-certificate"] += one.pieces
    return weak


def reverified_to_json(found: Reverified) -> dict[str, Any]:
    """Return the answer as plain JSON values."""
    return {
        "schema": SCHEMA,
        "at": rfc3339(found.at),
        "stores": list(found.stores),
        "shard": {"number": found.shard.number, "total": found.shard.total},
        "summary": found.summary,
        "exitCode": found.exit_code,
        "verified": found.verified,
        "failed": found.failed,
        "foreign": found.foreign,
        "withTrustedTime": found.timed,
        "signers": dict(found.signers),
        "algorithms": dict(found.algorithms),
        "certificates": [one.to_json() for one in found.certificates.listed()],
        "broken": [
            {
                "store": one.store, "location": one.location, "digest": one.digest, "reason": one.reason,
                "words": one.words,
            }
            for one in found.broken
        ],
        "expiring": [
            {"what": one.what, "until": one.until, "pieces": one.pieces, "words": one.words}
            for one in found.expiring
        ],
        "problems": list(found.problems),
    }  # fmt: skip
