"""Answers of policies as text for people: the verdict and what to do first, the details after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chains.columns import folded
from chains.policy.document.policy import Exemption
from chains.policy.verdict import Decision, ImageAnswer, PolicyCheck, PolicyVerdict
from chains.text import count, plain
from chains.verify.reasons import Result

WIDTH = 110
_MARKS = {Result.PASS: "ok", Result.FAIL: "FAIL", Result.ERROR: "UNDECIDED", Result.SKIP: "exempt"}
_DECISIONS = {Decision.ALLOW: "allowed", Decision.WARN: "allowed with a warning", Decision.DENY: "denied"}


def answers_to_text(answers: Sequence[ImageAnswer], *, verbose: bool = False, width: int = WIDTH) -> str:
    """Return the text of answers. Foreign text is escaped and long lines are folded."""
    lines: list[str] = []
    for answer in answers:
        if lines:
            lines.append("")
        lines += _lines(answer.strictest, verbose=verbose)
        for other in answer.verdicts[1:]:
            lines.append(f"  policy {other.policy}: {other.verdict.value}, {_DECISIONS[other.decision]}")
    return "\n".join(part for line in lines for part in folded(plain(line), width))


def _lines(one: PolicyVerdict, *, verbose: bool) -> Iterator[str]:
    yield f"{one.verdict.value}  {one.image}"
    yield f"  {_DECISIONS[one.decision]} by policy {one.policy} ({one.mode.value})"
    wrong = [check for check in one.checks if check.is_wrong]
    if not wrong:
        yield f"  {one.summary}"
    for check in wrong:
        yield from _wrong(check)
    for check in one.checks:
        if check.exempted:
            yield f"  exempt from {check.id} until {_exemption(check.exempted)}"
    if verbose:
        yield "  checks:"
        for check in one.checks:
            told = f": {check.actual}" if check.actual else ""
            yield f"    {_MARKS[check.result]:<9} {check.id}{told}"
        yield f"  policy {one.policy} {one.policy_digest}"
        for attestation in one.attestations:
            state = (
                "verified"
                if attestation.used
                else f"not used: {attestation.detail or 'no signer of the policy'}"
            )
            yield f"    {attestation.location} {state}"
        for item in one.skipped:
            yield f"    skipped {item.location}: {item.detail}"
    else:
        more = f" ({count(len(one.checks), 'check')}; --verbose shows them)" if one.checks else ""
        yield f"  stores: {', '.join(one.stores) or 'none'}{more}"


def _wrong(check: PolicyCheck) -> Iterator[str]:
    reason = f" ({check.reason.value})" if check.reason else ""
    yield f"  {_MARKS[check.result]} {check.id}{reason}"
    yield f"    expected: {check.expected}"
    yield f"    got:      {check.actual}"
    if check.guidance:
        yield f"    do:       {check.guidance}"
    for exemption in check.expired:
        yield f"    an exemption ended at {_exemption(exemption)}"


def _exemption(exemption: Exemption) -> str:
    moment = exemption.until.strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{moment}: {exemption.reason} ({exemption.reference})"
