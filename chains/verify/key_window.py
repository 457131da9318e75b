"""Whether the key of a piece of evidence counted when it was signed, by the given key set."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from chains.verify.criteria import Criteria
from chains.verify.evidence import Examined
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Check
from signers.keys.keyset import KeyStatus

KEY_WINDOW = "key-window"


def judge_window(each: Examined, criteria: Criteria, now: datetime) -> Examined:
    """Add the check of the key's time window and status, if the key is of a key set.

    If times were verified, the key has to count at each of them: see
    :meth:`signers.keys.keyset.ListedKey.problem`.
    """
    listed = criteria.windows.get(each.signed_by.keyid) if each.signed_by else None
    if each.signed_by is None or listed is None:
        return each
    moments = [one.moment for one in each.signed_by.times]
    problems = [listed.problem(now, moment) for moment in moments] or [listed.problem(now)]
    problem = next(filter(None, problems), "")
    expected = "signed by a key that counts, within its time"
    if not problem:
        check = Check(KEY_WINDOW, Result.PASS, expected, f"{listed.key.keyid} is {listed.status.value}")
    else:
        revoked = listed.status is KeyStatus.REVOKED
        reason = Reason.KEY_REVOKED if revoked else Reason.KEY_OUTSIDE_WINDOW
        check = Check(KEY_WINDOW, Result.FAIL, expected, f"{listed.key.keyid}: {problem}", reason)
    return replace(each, checks=(*each.checks, check))
