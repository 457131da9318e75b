"""A page as text: the answer first, then a section for each question that a reader has.

Every text of the evidence is escaped and cut, so that it can neither begin a line nor move the cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from chains.columns import fitted
from chains.inspection.facts import GIVEN, Answer, Artifact, Confirmed, Facts, Step, Value
from chains.inspection.page import Build, NotUsed, Other, Page
from chains.text import count, excerpt, plain, rfc3339
from chains.verify.verdict import Verdict

T = TypeVar("T")
WIDTH = 100
"""Columns where the output is no terminal, and the most on one."""
MOST = 50
"""Entries of one list. JSON has all of them."""
_LABEL = 15
_LONGEST = 400
_MINUTE, _HOUR = 60, 3600
_LEVELS = {
    "enforced": "no process of the build had a network; this is proven",
    "partly": "some containers had no network, others had one, or only one direction was closed",
    "requested-only": "isolation was requested, and no container was isolated",
    "not-requested": "isolation was not requested, and nothing is known to isolate",
    "unknown": "whether the build had a network cannot be determined",
}


def page_to_text(page: Page, width: int = WIDTH) -> str:
    """Return the lines of a page, of at most ``width`` columns. A digest that fits is never cut."""
    return "\n".join(part for line in _lines(page) for part in fitted(plain(line), width))


def _lines(page: Page) -> Iterator[str]:
    yield f"{page.verdict} {cut(page.asked)}"
    yield f"  {cut(page.summary, 600)}"
    if not page.is_verified:
        yield "  pass --key PUB, an identity or --policy FILE to have it confirmed"
    yield from (_labelled("digest", digest) for digest in page.digests)
    yield _labelled("verified at" if page.verdict == Verdict.VERIFIED else "asked at", rfc3339(page.at))
    yield from (_labelled("looked in", store) for store in page.stores)
    if page.policy:
        yield _labelled("policy", page.policy)
    if page.passed:
        yield _labelled("checks passed", ", ".join(page.passed))
    for failed in page.failed:
        yield _labelled("check failed", f"{failed.check}{f' ({failed.reason})' if failed.reason else ''}")
        yield _labelled("", f"expected {failed.expected}")
        yield _labelled("", f"got {failed.actual}")
    for number, build in enumerate(page.builds, 1):
        yield ""
        of = f" {number} of {len(page.builds)}" if page.builds[1:] else ""
        claimed = "" if page.is_verified else ", as claimed"
        name = build.facts.run or build.facts.invocation or build.facts.run_uid or "unknown run"
        yield f"BUILD{of}{claimed}: {cut(name)}"
        yield from _build(build)
    yield from _listed("\nALSO STATED", page.others, _other)
    yield from _listed("\nFOUND AND NOT USED", page.not_used, _not_used)


def _build(build: Build) -> Iterator[str]:
    facts = build.facts
    yield from _listed(
        "CONFIRMED" if any(one.signer for one in build.confirmed) else "CLAIMED", build.confirmed, _confirmed
    )
    if any(one.name == facts.run for one in facts.subjects):
        yield "  MADE"
        yield "    nothing: the statements are about the run itself"
    else:
        yield from _listed("MADE", facts.subjects, lambda one: _artifact("", one))
    yield from _where_from(facts)
    yield from _by_whom(facts)
    yield from _isolation(facts)
    yield from _when(build)
    yield from _listed("STEPS", facts.steps, _step)
    yield from _listed(f"PARAMETERS ({GIVEN})", facts.parameters, _value)
    yield from _listed(f"RESULTS ({GIVEN})", facts.results, _value)
    yield from _listed("INPUTS", facts.inputs, lambda one: _artifact(one.role, one))
    places = {f"{one.location} ({one.format})": None for said in build.confirmed for one in said.places}
    yield from _listed("STORED", list(places), lambda one: iter([f"    {cut(one)}"]))
    yield from _listed(
        "LEFT OUT OF THE EVIDENCE",
        facts.omissions,
        lambda one: iter(
            [_labelled(one.kind.lower().replace("_", " "), one.name), _labelled("", one.reason)]
        ),
    )
    yield from _listed("MISSING", build.missing, lambda one: iter([f"    {one}"]))


def _listed(title: str, items: Sequence[T], write: Callable[[T], Iterator[str]]) -> Iterator[str]:
    if not items:
        return
    yield from (f"  {title}" if not title.startswith("\n") else title).split("\n")
    for item in items[:MOST]:
        yield from write(item)
    if len(items) > MOST:
        yield f"    and {len(items) - MOST} more; --output json has all"


def _confirmed(one: Confirmed) -> Iterator[str]:
    yield _labelled("statement", one.predicate_type)
    if not one.signer:
        yield _labelled("signature", "not verified: nobody was named to be trusted")
        return
    who = f"key {one.key}" if one.key else f"identity {one.identity}, issued by {one.issuer}"
    times = "; ".join(f"at {time.time} ({time.source} {time.uri})" for time in one.times)
    yield _labelled("signature", f"confirmed with {who}, {times or 'at a time that nothing confirms'}")
    yield from (_labelled("log entry", entry) for entry in one.log_entries)


def _where_from(facts: Facts) -> Iterator[str]:
    yield "  WHERE FROM"
    if not facts.sources:
        yield _labelled("source", "not stated")
    for one in facts.sources[:MOST]:
        yield from _artifact("source", one)


def _by_whom(facts: Facts) -> Iterator[str]:
    yield "  BY WHOM"
    yield _labelled("builder", facts.builder or "not stated")
    told = (
        ("build type", facts.build_type),
        ("run", facts.run),
        ("run UID", facts.run_uid),
        ("invocation", facts.invocation),
        ("service account", facts.service_account),
    )
    yield from (_labelled(name, value) for name, value in told if value)
    for one in facts.definitions[:MOST]:
        yield from _artifact(one.role, one)
    yield from (_labelled(one.name, one.value) for one in facts.circumstances)


def _isolation(facts: Facts) -> Iterator[str]:
    yield "  HOW ISOLATED"
    if not facts.hermetic_level:
        yield _labelled("network", "not stated")
        return
    meaning = _LEVELS.get(facts.hermetic_level, "")
    yield _labelled("hermetic level", f"{facts.hermetic_level}{f': {meaning}' if meaning else ''}")
    yield _labelled("reason", facts.hermetic_reason)
    yield from (_labelled(one.name, one.value) for one in facts.network)
    for child in facts.hermetic_children[:MOST]:
        yield _labelled(child.level, f"{child.name}: {child.reason}")


def _when(build: Build) -> Iterator[str]:
    facts = build.facts
    yield "  WHEN"
    told = (
        (
            "outcome",
            " ".join(
                filter(None, (facts.outcome, f"({facts.outcome_reason})" if facts.outcome_reason else ""))
            ),
        ),
        ("created", facts.created or "not stated"),
        ("started", facts.started or "not stated"),
        ("finished", facts.finished or "not stated"),
    )
    yield from (_labelled(name, value) for name, value in told if value)
    yield from (_labelled("", f"{wait.name}: {_duration(wait.seconds)}") for wait in build.waits)


def _step(one: Step) -> Iterator[str]:
    name = "/".join(filter(None, (one.task, one.name))) or "(no name)"
    pinned = {
        True: "image pinned by digest",
        False: "image not pinned",
        None: "not known whether the image was pinned",
    }
    told = [
        _duration(one.seconds) if one.seconds is not None else "",
        f"exit code {one.exit_code}" if one.exit_code is not None else "",
        one.ended if one.ended not in {"", "Completed"} else "",
        pinned[one.pinned],
        "helper of Tekton" if one.of_tekton else "",
    ]
    yield _labelled(name, ", ".join(filter(None, told)))
    yield _labelled("", f"{one.image}@{one.digest}" if one.digest else one.image or "its image is not known")
    answers = (("requested", one.requested), ("enforced", one.enforced), ("observed", one.observed))
    isolation = "; ".join(f"{name} {_answer(answer)}" for name, answer in answers if answer)
    if isolation:
        yield _labelled("", f"isolation {isolation}")


def _answer(answer: Answer) -> str:
    return f"{answer.value} ({cut(answer.reason)})" if answer.reason else answer.value


def _artifact(label: str, one: Artifact) -> Iterator[str]:
    name = " ".join(filter(None, (one.name, one.uri)))
    first = " ".join(filter(None, (name, one.path))) or "(no name)"
    yield _labelled(label, first) if label else f"    {cut(first)}"
    for digest in one.digests:
        yield _labelled("", digest) if label else f"    {cut(digest)}"


def _value(one: Value) -> Iterator[str]:
    yield _labelled(f"{one.task}: {one.name}" if one.task else one.name, one.value)


def _other(one: Other) -> Iterator[str]:
    yield from _confirmed(one.confirmed)
    yield from (_labelled(fact.name, fact.value) for fact in one.facts[:MOST])


def _not_used(one: NotUsed) -> Iterator[str]:
    yield f"    {cut(one.location)} {cut(one.digest)}".rstrip()
    yield _labelled("", ": ".join(filter(None, (one.reason, one.detail))))


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < _MINUTE:
        return count(whole, "second")
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE}s"
    return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE}m {whole % _MINUTE}s"


def cut(text: str, longest: int = _LONGEST) -> str:
    """Return a text of the evidence on one line, escaped and shortened."""
    return plain(excerpt(text, longest))


def _labelled(label: str, text: str) -> str:
    return f"    {cut(label):{_LABEL}}  {cut(text)}"
