"""The text of a verification: the verdict first, then the details, in lines of 80 columns.

Text from evidence can neither begin a line nor move the cursor: continued lines are indented, and every line
is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chains.columns import folded
from chains.text import excerpt, plain
from chains.verify.criteria import Criteria
from chains.verify.reasons import Result
from chains.verify.verdict import Attestation, Check, Verification, from_worst, worst

WIDTH = 80
_RUN_WORDS = {
    "namespace": "namespace",
    "taskRef": "task ref",
    "pipelineRef": "pipeline ref",
    "source": "source",
}
_REQUIRED = {
    "log": "an entry in a transparency log",
    "timestamp": "a timestamp by an authority",
    "hermetic": "hermetic execution, proven",
}
_LABEL = 14


def to_text(found: Verification, *, verbose: bool = False, width: int = WIDTH) -> str:
    """Return lines of at most ``width`` columns; the first begins with the verdict.

    It is followed by the reason, the target, the checks that failed or could not be made with expected and
    actual values, the checks that passed, the stores, and the attestations that were used. With ``verbose``
    every criterion, check and item of evidence is listed.
    """
    lines = [f"{found.verdict.value} {_plain(found.target.ref)}", f"  {_plain(found.summary)}"]
    lines += [f"  digest {name}:{_plain(value)}" for name, value in found.target.digest.items()]
    lines += [_labelled("run uid", found.target.uid)] if found.target.uid else []
    lines += _everything(found) if verbose else _what_matters(found)
    return "\n".join(part for line in lines for part in folded(plain(line), width))


def many_to_text(verifications: Sequence[Verification], *, verbose: bool = False, width: int = WIDTH) -> str:
    """Return all texts. Several are preceded by a line with the worst verdict and the counts."""
    texts = [to_text(each, verbose=verbose, width=width) for each in verifications]
    if len(texts) == 1:
        return texts[0]
    verdicts = [each.verdict for each in verifications]
    counts = [f"{verdicts.count(each)} {each.value}" for each in from_worst(verdicts)]
    first = f"{worst(verdicts).value} {len(verdicts)} targets: {', '.join(counts) or 'none'}"
    return "\n\n".join([first, *texts])


def _what_matters(found: Verification) -> Iterator[str]:
    passed = [check.id for check in found.checks if check.result is Result.PASS]
    for check in found.checks:
        if check.result is not Result.PASS:
            yield from _check_lines(check)
    if passed:
        yield _labelled("passed", ", ".join(dict.fromkeys(passed)))
    yield from (_labelled("looked in", store) for store in found.stores)
    used = [each for each in found.attestations if each.used]
    kinds = [_kind(each) for each in used]
    yield from (
        _labelled("used", kind + (f" ({kinds.count(kind)} copies)" if kinds.count(kind) > 1 else ""))
        for kind in dict.fromkeys(kinds)
    )
    left = len(found.attestations) - len(used) + len(found.skipped)
    if left:
        what = "1 more item was" if left == 1 else f"{left} more items were"
        yield _labelled("not used", f"{what} found; --verbose tells of each")


def _everything(found: Verification) -> Iterator[str]:
    yield "criteria"
    yield from _criteria_lines(found.criteria, found.stores)
    yield "checks"
    for check in found.checks:
        yield from _check_lines(check)
    if found.attestations:
        yield "attestations"
    for attestation in found.attestations:
        yield from _attestation_lines(attestation)
    if found.skipped:
        yield "skipped"
    for item in found.skipped:
        yield f"  {_plain(item.location)} {_plain(item.digest)}".rstrip()
        yield f"    {item.reason.value}: {_plain(item.detail)}"


def _plain(text: str) -> str:
    """Return ``text`` shortened, escaped, and on one line."""
    return plain(excerpt(text))


def _labelled(label: str, text: str) -> str:
    return f"  {label:{_LABEL}}  {_plain(text)}"


def _criteria_lines(criteria: Criteria, stores: Sequence[str]) -> Iterator[str]:
    yield from (_labelled("signed by", f"{key.keyid} ({key.algorithm})") for key in criteria.keys)
    if criteria.certificate:
        yield _labelled("signed by", str(criteria.certificate))
    yield from (_labelled("predicate type", wanted) for wanted in criteria.wanted_types)
    for name, value in (("builder id", criteria.builder_id), ("build type", criteria.build_type)):
        asked = "not asked for" if value is None else f"{value}, believed for the signer's sake"
        yield _labelled(name, asked)
    for name, asked_of_run in criteria.run_wanted.items():
        if asked_of_run:
            yield _labelled(_RUN_WORDS[name], asked_of_run)
    yield from (_labelled("require", _REQUIRED[name]) for name in criteria.required)
    yield from (_labelled("looked in", store) for store in stores)


def _check_lines(check: Check) -> list[str]:
    lines = [f"  {check.result.value:7} {check.id}"]
    if check.reason:
        lines[0] += f": {check.reason.value}"
    if check.expected == check.actual:
        return [*lines, f"    as expected {_plain(check.actual)}"]
    return [*lines, f"    expected {_plain(check.expected)}", f"    actual   {_plain(check.actual)}"]


def _kind(found: Attestation) -> str:
    if found.is_image_signature:
        return f"image signature{'' if found.signed_by else ', unverified'}"
    return found.statement.predicate_type if found.statement else "unverified"


def _attestation_lines(found: Attestation) -> Iterator[str]:
    yield f"  {'used' if found.used else 'not used'}: {_plain(_kind(found))}"
    yield f"    {found.digest}"
    yield f"    {_plain(found.location)}"
    yield f"    {_plain(found.format)}, {found.source}"
    if found.signed_by:
        uid = f", run uid {_plain(found.run_uid)}" if found.run_uid else ""
        yield f"    signed by {_plain(str(found.signed_by))}{uid}"
    if found.reason or found.detail:
        reason = f"{found.reason.value}: " if found.reason else ""
        yield f"    {reason}{_plain(found.detail)}"
