"""What ``verify --attest-vsa`` signs about an answer, and stores beside the evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chains.errors import ChainsError, UsageError
from chains.policy.document.format import HermeticWanted
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import PolicyVerdict
from chains.statements.statement import Statement
from chains.statements.vsa import InputAttestation, Summary, build_svr, build_vsa, levels
from chains.verify.verdict import Verdict
from signers.errors import SignerError
from signers.keys.public_key import load_public_keys
from signers.sealer import Sealer
from storage.base import Store
from storage.errors import StoreError
from storage.record import IN_TOTO_PAYLOAD_TYPE, Origin, Receipt, Record, Subject


class SummaryError(ChainsError):
    """A summary could not be signed or stored."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """Who verifies: the organisation's own id (a URI), the version of this program, and its key."""

    id: str
    version: str
    sealer: Sealer


@dataclass(frozen=True, slots=True)
class SignedSummary:
    """One signed statement about an answer: its predicate type, its bare envelope and where it was stored."""

    predicate_type: str
    envelope: bytes
    receipts: tuple[Receipt, ...]


def refuse_shared_key(verifier: Verifier, policies: Sequence[OpenedPolicy]) -> None:
    """Raise :class:`UsageError` where the verifier's key is one that signs evidence for a policy.

    Whoever holds a builder's key could otherwise verify its own builds (SLSA: separate roots of trust). And
    a verifier that accepts its own summaries could renew an old one for ever.
    """
    own = {key.keyid for key in load_public_keys(verifier.sealer.signer.public_pem)}
    for opened in policies:
        for signer in (*opened.signers, *opened.accept):
            shared = own & {key.keyid for key in signer.criteria.keys}
            if shared:
                raise UsageError(
                    f"the key {shared.pop()} signs evidence for policy {opened.policy.name}: a summary needs "
                    "a key of its own"
                )


def summarise(verdict: PolicyVerdict, verifier: Verifier, policy_uri: str) -> Summary:
    """Return what a verifier states about an answer.

    The level is the lower of the trust entry's and what was checked. An image that is exempt from evidence
    was not verified, and has no levels.
    """
    repository = verdict.image.partition("@")[0]
    is_passed = verdict.verdict is Verdict.VERIFIED
    used = [one for one in verdict.attestations if one.used]
    inputs = {one.digest: InputAttestation(one.location, one.digest) for one in used}
    return Summary(
        name=repository,
        digest=verdict.digest,
        resource_uri=verdict.image,
        verifier_id=verifier.id,
        version=verifier.version,
        policy_uri=policy_uri,
        policy_digest=verdict.policy_digest,
        verified_at=verdict.verified_at,
        levels=tuple(levels(max(verdict.level, 1), is_hermetic=verdict.hermetic == HermeticWanted.ENFORCED))
        if is_passed
        else (),
        inputs=tuple(inputs.values()),
    )


async def attest_summary(
    summary: Summary, policy: str, verifier: Verifier, stores: Sequence[Store]
) -> list[SignedSummary]:
    """Sign a summary as VSA, and as SVR where it passed, and put both into every store.

    Raises :class:`SummaryError` where it could not be signed, or a store did not take it.
    """
    statements = [build_vsa(summary)] + ([build_svr(summary)] if summary.is_passed else [])
    signed = [await _attest(statement, summary, policy, verifier, stores) for statement in statements]
    for store in stores:
        try:
            await store.flush()
        except StoreError as error:
            raise SummaryError(f"{store.url}: {error}") from error
    return signed


async def _attest(
    statement: Statement, summary: Summary, policy: str, verifier: Verifier, stores: Sequence[Store]
) -> SignedSummary:
    payload = statement.to_bytes()
    try:
        sealed = await verifier.sealer.seal(payload, IN_TOTO_PAYLOAD_TYPE)
    except SignerError as error:
        raise SummaryError(f"{summary.resource_uri}: the summary cannot be signed: {error}") from error
    algorithm, _, value = summary.digest.partition(":")
    record = Record(
        origin=Origin("policy", "", policy, ""),
        subjects=(Subject(summary.name, {algorithm: value}),),
        payload=payload,
        payload_type=IN_TOTO_PAYLOAD_TYPE,
        predicate_type=statement.predicate_type,
        bundle=sealed.bundle,
        envelope=sealed.envelope,
        created=summary.verified_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        certificate=sealed.certificate,
        chain=sealed.chain,
        annotations=sealed.annotations,
    )
    receipts: list[Receipt] = []
    for store in stores:
        try:
            stored = await store.put(record)
        except StoreError as error:
            raise SummaryError(f"{store.url}: {error}") from error
        if stored.failures:
            raise SummaryError(f"{store.url}: {stored.failures[0].reason}")
        receipts += stored.receipts
    return SignedSummary(statement.predicate_type, sealed.envelope, tuple(receipts))
