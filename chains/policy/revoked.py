"""What revocation lists do to the answer of a policy: the check of the lists and of the image itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from chains.policy.reasons import REVOCATIONS
from chains.policy.verdict import PolicyCheck
from chains.revocation.revocations import Revocations
from chains.verify.reasons import Reason, Result

_EXPECTED = "an image that no usable list revokes"
REVOCATION_GUIDANCE: Mapping[Reason, str] = {
    Reason.REVOKED: "do not run the image: build it again without what is revoked",
    Reason.KEY_REVOKED: (
        "sign the image's run again with a key that counts, or build it again; a verified time before the "
        "revocation would have saved it"
    ),
    Reason.REVOCATION_LIST_UNUSABLE: "get the newest list; chains revoke show FILE says what it holds",
}


def revocation_check(
    revocations: Revocations, digest: Mapping[str, str], now: datetime
) -> PolicyCheck | None:
    """Return whether the lists can be used and do not name the image; None where no list is configured.

    No exemption takes this check away.
    """
    if not revocations.is_configured:
        return None
    problem = revocations.problem(now)
    if problem:
        return _wrong(Result.ERROR, problem, Reason.REVOCATION_LIST_UNUSABLE)
    found = revocations.image(digest)
    if found is not None:
        return _wrong(Result.FAIL, str(found), Reason.REVOKED)
    return PolicyCheck(REVOCATIONS, Result.PASS, _EXPECTED, str(revocations))


def _wrong(result: Result, actual: str, reason: Reason) -> PolicyCheck:
    return PolicyCheck(REVOCATIONS, result, _EXPECTED, actual, reason, REVOCATION_GUIDANCE[reason])
