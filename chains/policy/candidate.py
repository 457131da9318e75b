"""One provenance statement that may satisfy a policy, with all that its requirements are compared with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from chains.policy.document.policy import TrustEntry
from chains.policy.opened import OpenedPolicy, OpenedSigner
from chains.policy.rules import Prepared
from chains.statements.claims import builder_id, hermetic_level
from chains.statements.statement import SCAI, Statement
from chains.verify.criteria import PROVENANCE_TYPES
from chains.verify.signed_by import SignedBy
from chains.verify.verdict import Attestation
from storage.formats.reference import Image


@dataclass(frozen=True, slots=True)
class VerifiedStatement:
    """A statement whose signature was verified, and for which signers of the policy it was."""

    attestation: Attestation
    statement: Statement
    signed_by: SignedBy
    signers: tuple[OpenedSigner, ...]

    @property
    def digest(self) -> str:
        """The digest of the evidence's bytes."""
        return self.attestation.digest

    @property
    def run_uid(self) -> str:
        """The UID of the run that the statement names, empty for none."""
        return self.attestation.run_uid

    @property
    def is_provenance(self) -> bool:
        """Whether it is SLSA provenance."""
        return self.statement.predicate_type in PROVENANCE_TYPES

    def to_fact(self) -> dict[str, Any]:
        """Return what rules see beside the statement: its type, run and signer."""
        return {
            "predicateType": self.statement.predicate_type,
            "runUid": self.run_uid,
            "signer": {
                "keyid": self.signed_by.keyid,
                "identity": self.signed_by.identity,
                "issuer": self.signed_by.issuer,
            },
            "digest": self.digest,
        }


@dataclass(frozen=True, slots=True)
class Candidate:
    """Provenance with its run's execution report, and everything else that was verified about the image.

    ``entry`` is the trust entry with the highest level whose signer signed it for its builder, else ``None``.
    ``is_whole`` says that every store answered. ``places`` has the places among ``stores`` of those that hold
    the same statement, and is None where nobody asked for it; ``away`` those that did not answer.
    """

    opened: OpenedPolicy
    image: Image
    provenance: VerifiedStatement
    report: VerifiedStatement | None
    everything: Sequence[VerifiedStatement]
    entry: TrustEntry | None
    now: datetime
    is_whole: bool
    stores: tuple[str, ...] = ()
    places: frozenset[int] | None = None
    away: frozenset[int] = frozenset()
    moments: tuple[datetime, ...] = ()
    """The verified times of all signatures that its signer made over this very statement."""
    is_read: bool = True
    """Whether nothing was found that could not be read."""

    basis = "provenance"

    @property
    def digest(self) -> str:
        """The digest of the provenance's bytes."""
        return self.provenance.digest

    @property
    def name(self) -> str:
        """The name of the trust entry, empty for none."""
        return self.entry.name if self.entry else ""

    @property
    def level(self) -> int:
        """The SLSA build level that counts."""
        return self.entry.max_level if self.entry else 0

    @property
    def hermetic(self) -> str:
        """The hermetic level of the execution report, empty for none."""
        return hermetic_level(self.report.statement) if self.report else ""

    @property
    def is_by_trust(self) -> bool:
        """Whether a signer of a trust entry signed the provenance, for whatever builder."""
        own = self.provenance.signers
        return any(signer is other for signer in own for other in self.opened.trust)

    @property
    def builder(self) -> str:
        """The builder's id that the provenance states."""
        return builder_id(self.provenance.statement)

    def attributes(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Give the report's attributes of a name, none without a report."""
        listed = self.report.statement.predicate.get("attributes") if self.report else None
        for item in listed if isinstance(listed, list) else ():
            if isinstance(item, Mapping) and item.get("attribute") == name:
                yield item


class Facts:
    """What the rules of a policy see of an image. Each statement is read once, in however many places it is.

    All candidates share the statements of the image. There may be a thousand, and reading all for each would
    take minutes.
    """

    def __init__(self, opened: OpenedPolicy, verified: Sequence[VerifiedStatement]) -> None:
        counted = [one for one in verified if _is_by_own_signer(opened, one)]
        self._attestations = Prepared.of(
            [{"statement": self._members(one), **one.to_fact()} for one in counted]
        )

    def of(self, candidate: Candidate) -> dict[str, Any]:
        """Return what rules see of one candidate; ``attestations`` has each by a signer of its type."""
        repository, signer = candidate.image.repository, candidate.provenance.signed_by
        return {
            "image": {
                "ref": f"{repository}@{candidate.image.digest}",
                "registry": repository.registry,
                "repository": repository.name,
                "digest": candidate.image.digest,
            },
            "provenance": self._members(candidate.provenance),
            "report": self._report(candidate.report),
            "attestations": self._attestations,
            "signer": {
                "trust": candidate.entry.name if candidate.entry else "",
                "keyid": signer.keyid,
                "identity": signer.identity,
                "issuer": signer.issuer,
            },
            "now": candidate.now,
        }

    def _report(self, report: VerifiedStatement | None) -> Prepared:
        if report is None:
            return Prepared.of(
                {"predicate": {"attributes": []}, "exists": False, "runUid": "", "hermetic": ""}
            )
        members = self._members(report)
        if members.error:
            return members
        more = {
            "exists": True,
            "runUid": report.run_uid,
            "hermetic": hermetic_level(report.statement),
        }
        return replace(members, value=members.value | more, count=members.count + len(more))

    def _members(self, one: VerifiedStatement) -> Prepared:
        """Return a statement's values as rules see them. They are prepared once for all evaluations."""
        return one.statement.once(_prepared)


def _prepared(statement: Statement) -> Prepared:
    """Return the values of a statement; a whole number of any size stays what it is."""
    return Prepared.of(json.loads(statement.source))


def _is_by_own_signer(opened: OpenedPolicy, one: VerifiedStatement) -> bool:
    own = opened.by_type.get(one.statement.predicate_type)
    accepted = opened.trust if own is None else (own,)
    return any(signer is other for signer in one.signers for other in accepted)


def candidates(
    opened: OpenedPolicy,
    image: Image,
    verified: Sequence[VerifiedStatement],
    *,
    now: datetime,
    is_whole: bool,
    stores: tuple[str, ...],
    places: Mapping[bytes, frozenset[int]] | None,
    away: frozenset[int] = frozenset(),
    is_read: bool = True,
) -> list[Candidate]:
    """Return a candidate for each provenance statement, those that a trust entry vouches for first."""
    moments: dict[tuple[bytes, str], tuple[datetime, ...]] = {}
    for one in verified:
        key = (one.attestation.payload, one.signed_by.name)
        moments[key] = moments.get(key, ()) + tuple(time.moment for time in one.signed_by.times)
    reports: dict[str, list[VerifiedStatement]] = {}
    for one in verified:
        if one.statement.predicate_type == SCAI and (uid := one.run_uid):
            reports.setdefault(uid, []).append(one)
    found = [
        Candidate(
            opened,
            image,
            one,
            _report(opened, one, reports),
            verified,
            _entry(opened, one),
            now,
            is_whole,
            stores,
            None if places is None else places.get(one.attestation.payload, frozenset()),
            away,
            moments[one.attestation.payload, one.signed_by.name],
            is_read,
        )
        for one in verified
        if one.is_provenance
    ]
    return sorted(found, key=lambda one: (one.entry is None, one.provenance.digest))


def _entry(opened: OpenedPolicy, one: VerifiedStatement) -> TrustEntry | None:
    """Return the best trust entry of the pair (signer, builder), of which both must be the statement's."""
    builder = builder_id(one.statement)
    fitting = [
        entry
        for entry, signer in zip(opened.policy.trust, opened.trust, strict=True)
        if entry.builder_id == builder and any(signer is other for other in one.signers)
    ]
    return max(fitting, key=lambda entry: entry.max_level, default=None)


def _report(
    opened: OpenedPolicy, provenance: VerifiedStatement, by_run: Mapping[str, Sequence[VerifiedStatement]]
) -> VerifiedStatement | None:
    """Return the execution report of the provenance's own run.

    It has the run's UID and is signed by the provenance's signer, or by the one that the policy names for
    reports. Of several the one with the best level counts, as for ``verify --require hermetic``.
    """
    own = opened.by_type.get(SCAI)
    reports = [
        one
        for one in by_run.get(provenance.run_uid, ())
        if (
            any(own is signer for signer in one.signers)
            if own is not None
            else one.signed_by.name == provenance.signed_by.name
        )
    ]
    reports.sort(key=lambda one: (hermetic_level(one.statement) != "enforced", one.digest))
    return reports[0] if reports else None
