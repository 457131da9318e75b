"""The page about an image that policies decided about."""

from __future__ import annotations

from chains.inspection.contents import Contents
from chains.inspection.page import Failed, Page, not_used, parts
from chains.policy.verdict import ImageAnswer
from chains.verify.reasons import Result


def page_of_answer(answer: ImageAnswer, contents: Contents) -> Page:
    """Return the page about an image that policies decided about; the strictest answer counts."""
    one = answer.strictest
    builds, others = parts(contents)
    failed = [check for check in one.checks if check.is_wrong]
    return Page(
        verdict=one.verdict.value,
        exit_code=one.exit_code,
        summary=one.summary,
        asked=one.image,
        digests=(one.digest,),
        at=one.verified_at,
        stores=one.stores,
        passed=tuple(dict.fromkeys(check.id for check in one.checks if check.result is Result.PASS)),
        failed=tuple(
            Failed(check.id, check.reason.value if check.reason else "", check.expected, check.actual)
            for check in failed
        ),
        builds=builds,
        others=others,
        not_used=tuple(not_used(one.attestations, one.skipped, contents)),
        policy=f"{one.policy} ({one.decision.value}, mode {one.mode.value})",
    )
