"""Judges every piece of evidence of a case: what it says, and whether its signer counts now."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import replace

from chains.verify.evidence import Examined, examine
from chains.verify.examining.case import Case
from chains.verify.examining.memory import KNOWN
from chains.verify.key_window import KEY_WINDOW, judge_window
from chains.verify.reasons import REVOCATION, Reason, Result
from chains.verify.subject import DigestWanted
from chains.verify.verdict import Check
from storage.record import Evidence

_OF_SIGNATURE = frozenset({"verification-material", "timestamp", "transparency-log", KEY_WINDOW, REVOCATION})
"""Checks that one signature of an envelope can fail while another one passes."""


def examine_all(case: Case) -> list[Examined]:
    """Judge each piece of evidence once, even if several places have it, such as several images of a run."""
    known: dict[Hashable, Examined] = {}
    examined = []
    for evidence in case.found.evidence:
        key = _key(evidence)
        found = known.get(key)
        if found is None:
            found = known[key] = _judge(evidence, key, case)
        examined.append(found.at(evidence))
    return examined


def is_broken(each: Examined) -> bool:
    """Whether evidence could not be judged, because of a bug of ours or of clocks that disagree."""
    return each.failed is not None and any(check.result is Result.ERROR for check in each.checks)


def _key(evidence: Evidence) -> Hashable:
    """Return everything of the evidence that is judged. The digest that it came with may be wrong."""
    own = hashlib.sha256(evidence.data).digest()
    annotations = frozenset(evidence.annotations.items())
    return own, evidence.digest, evidence.format, evidence.signature, annotations


def _judge(evidence: Evidence, key: Hashable, case: Case) -> Examined:
    try:
        return _by_any_signer(evidence, key, case)
    except Exception as error:  # noqa: BLE001 - one piece of evidence must never hide the others
        actual = f"{evidence.location}: unexpected {type(error).__name__}; please report it"
        check = Check("evidence", Result.ERROR, "evidence that can be judged", actual, Reason.INTERNAL_ERROR)
        return Examined(evidence, evidence.digest, (check,))


def _by_any_signer(evidence: Evidence, key: Hashable, case: Case) -> Examined:
    """Judge evidence by the first trusted signature that counts, or by the first one if none does.

    An envelope may have several. A signature that was passed over is told by a skipped check.
    """
    first = found = _by_one_signer(evidence, key, case)
    passed_over: list[Examined] = []
    keys: frozenset[str] = frozenset()
    while (failed := found.failed) is not None:
        keyid = found.signed_by.keyid if found.signed_by else ""
        # what is no envelope has one signature, whose key is found again
        if not keyid or keyid in keys or failed.id not in _OF_SIGNATURE:
            return first
        passed_over.append(found)
        keys |= {keyid}
        if case.criteria.certificate is None and all(one.keyid in keys for one in case.criteria.keys):
            return first
        found = _by_one_signer(evidence, key, case, keys)
    told = [_passed_over(one) for one in passed_over]
    return replace(found, checks=(*found.checks, *told)) if told else found


def _passed_over(each: Examined) -> Check:
    failed, name = each.failed, each.signed_by.name if each.signed_by else ""
    if failed is None:
        raise TypeError("a signature that counts was passed over")
    actual = f"another signature of it counts, and one by {name} does not: {failed.actual}"
    return Check(failed.id, Result.SKIP, failed.expected, actual, failed.reason)


def _by_one_signer(
    evidence: Evidence, key: Hashable, case: Case, passed_over: frozenset[str] = frozenset()
) -> Examined:
    examined = judge_window(_examined(evidence, key, case, passed_over), case.criteria, case.now)
    if case.revocations is not None:
        from chains.verify.revoked import judge_revocation  # noqa: PLC0415 - needed with a list alone

        examined = judge_revocation(examined, case.revocations, case.wanted)
    return examined


def _examined(evidence: Evidence, key: Hashable, case: Case, passed_over: frozenset[str]) -> Examined:
    """Examine evidence, or return what is known of it. What a run wants changes while it is judged."""
    wanted = case.wanted
    if type(wanted) is not DigestWanted or case.is_alone:
        return _examine(evidence, case, passed_over)
    place = key, frozenset(wanted.digest.items()), passed_over
    known = KNOWN.find(place, evidence, case.criteria, case.now)
    if known is None:
        known = _examine(evidence, case, passed_over)
        KNOWN.keep(place, known, case.criteria, case.now)
    return known


def _examine(evidence: Evidence, case: Case, passed_over: frozenset[str]) -> Examined:
    return examine(
        evidence,
        case.criteria,
        case.wanted,
        now=case.now,
        is_alone=case.is_alone,
        readings=case.found.readings,
        passed_over=passed_over,
    )
