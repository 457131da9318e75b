"""What a rule's result means for an answer: a check, also where more evidence could change it. Pure.

A rule that looks at all statements can be true because one is missing: ``attestations.all(…)`` is true of
none. While a store is away, or something could not be read, such a rule is undecided.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from chains.policy.candidate import Candidate
from chains.policy.guidance import GUIDANCE
from chains.policy.listing import one_line
from chains.policy.reasons import PolicyReason
from chains.policy.rules import RuleResult
from chains.policy.verdict import PolicyCheck
from chains.verify.reasons import Result

LITERAL = re.compile(r"""r?'''.*?'''|r?\"\"\".*?\"\"\"|r?'(?:\\.|[^'\\])*'|r?"(?:\\.|[^"\\])*\"""", re.DOTALL)
"""A text or bytes in a rule."""
_PREFIXED = re.compile(r"(?i)\b[rb]{1,2}['\"]")
_COMMENT = re.compile(r"//[^\n]*")
_ALL = re.compile(r"\battestations\b")
_REPORT = re.compile(r"\breport\b")
_EXISTS = re.compile(r"attestations\s*\.\s*exists\s*\(")


def rule_checks(results: Sequence[RuleResult], candidate: Candidate) -> list[PolicyCheck]:
    """Return the check of each rule for a candidate. A rule that errors fails with its own reason."""
    return [_check(result, candidate) for result in results]


def _check(result: RuleResult, candidate: Candidate) -> PolicyCheck:
    rule = result.rule
    expected = one_line(rule.cel)
    if result.error:
        reason = PolicyReason.RULE_ERROR
        told = f"{rule.message}: the rule could not be evaluated: {result.error}"
        return PolicyCheck(rule.name, Result.FAIL, expected, told, reason, rule.guidance or GUIDANCE[reason])
    if not result.is_met:
        return PolicyCheck(
            rule.name, Result.FAIL, expected, rule.message, PolicyReason.RULE_FAILED, rule.guidance
        )
    if (candidate.is_whole and candidate.is_read) or not may_change(
        rule.cel, has_report=candidate.report is not None
    ):
        return PolicyCheck(rule.name, Result.PASS, expected, "true")
    reason, why = PolicyReason.EVIDENCE_UNDECIDED, "not everything about the image could be read"
    if not candidate.is_whole:
        reason, why = PolicyReason.STORE_UNAVAILABLE, "not every store answered"
    told = f"true so far, and {why}: more evidence could change it"
    return PolicyCheck(rule.name, Result.ERROR, expected, told, reason, GUIDANCE[reason])


def may_change(cel: str, *, has_report: bool) -> bool:
    """Whether a rule that is true could be false if there were more statements of the image.

    A rule that names no ``attestations`` depends on its own statement and report alone. One that asks for
    statements with ``attestations.exists(…)`` and nothing else of them stays true. Of any other, nothing is
    said, so it could.
    """
    if not has_report and _REPORT.search(cel):
        return True
    if _ALL.search(cel) is None:
        return False
    return _PREFIXED.search(cel) is not None or not _only_asks(_COMMENT.sub("", LITERAL.sub("''", cel)))


def _only_asks(code: str) -> bool:
    """Whether an expression is of parts that ask for a statement, or name none, joined by && and ||."""
    if "?" in code:
        return False
    parts = list(_parts(code))
    if len(parts) == 1 and not (code := parts[0]).startswith("attestations"):
        inner = code[1:-1].strip()
        is_enclosed = code.startswith("(") and _end(code, 0) == len(code) - 1
        return _only_asks(inner) if is_enclosed else _ALL.search(code) is None
    return all(_asks(part) if part.startswith("attestations") else _only_asks(part) for part in parts)


def _asks(part: str) -> bool:
    match = _EXISTS.match(part)
    if match is None or _end(part, match.end() - 1) != len(part) - 1:
        return False
    return _ALL.search(part[match.end() :]) is None


def _parts(code: str) -> Iterator[str]:
    """Give what && and || join, outside of all brackets."""
    depth, start = 0, 0
    for place, char in enumerate(code):
        depth += (char in "([{") - (char in ")]}")
        if depth == 0 and code[place : place + 2] in {"&&", "||"}:
            yield code[start:place].strip()
            start = place + 2
    yield code[start:].strip()


def _end(code: str, opening: int) -> int:
    """Return the place of the bracket that closes the one at ``opening``, -1 for none."""
    depth = 0
    for place in range(opening, len(code)):
        depth += (code[place] in "([{") - (code[place] in ")]}")
        if depth == 0:
            return place
    return -1
