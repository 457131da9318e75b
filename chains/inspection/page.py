"""Puts together what was found about one target: a part for each build, and what is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from chains.inspection.contents import Contents, Said
from chains.inspection.facts import (
    GIVEN,
    Confirmed,
    Facts,
    Named,
    SignedAt,
    Value,
    seconds_between,
    to_plain,
)
from chains.inspection.provenance import is_tekton, read_provenance, subjects_of
from chains.inspection.report import is_report, read_record, read_report, with_times
from chains.inspection.run_names import own_name, shortened
from chains.lineage.statement_facts import moment_of
from chains.statements.claims import run_uid, verifier_id
from chains.statements.statement import SLSA_V02
from chains.statements.vsa import SVR, VSA
from chains.tekton.raw import text_at, texts_at
from chains.text import count, rfc3339
from chains.verify.criteria import PROVENANCE_TYPES
from chains.verify.reasons import Result
from chains.verify.verdict import Attestation, Left, Verdict, Verification

SCHEMA = "https://provenance.chains/inspection/v1"
UNVERIFIED = "UNVERIFIED"
UNVERIFIED_CODE = 4
"""Nobody was asked to confirm anything, so nothing could be decided."""
_CLAIMS = "nothing was verified: these are claims of whoever can write to the store, or gave you the file"


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds between two times of a run."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Build:
    """One run and what was said about it. ``missing`` are sentences about what nobody said."""

    confirmed: tuple[Confirmed, ...]
    facts: Facts
    waits: tuple[Wait, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Other:
    """A statement of another type about the same artifact, with its main facts."""

    confirmed: Confirmed
    facts: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class NotUsed:
    """Something that was found and does not count, with the reason."""

    location: str
    digest: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A check that did not pass."""

    check: str
    reason: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Page:
    """Everything about one target. ``verdict`` is that of ``chains verify``, or UNVERIFIED."""

    verdict: str
    exit_code: int
    summary: str
    asked: str
    digests: tuple[str, ...]
    at: datetime
    stores: tuple[str, ...]
    passed: tuple[str, ...]
    failed: tuple[Failed, ...]
    builds: tuple[Build, ...]
    others: tuple[Other, ...]
    not_used: tuple[NotUsed, ...]
    policy: str = ""

    @property
    def is_verified(self) -> bool:
        """Whether what the page says was confirmed."""
        return self.verdict != UNVERIFIED

    def to_json(self) -> dict[str, Any]:
        """Return the page as it is printed."""
        return {"schema": SCHEMA, "valuesAreGivenBy": GIVEN, **to_plain(self)}


def page_of(found: Verification, contents: Contents) -> Page:
    """Return the page about the target of a verification."""
    verdict, code, summary = found.verdict.value, found.exit_code, found.summary
    failed = [check for check in found.checks if check.result in {Result.FAIL, Result.ERROR}]
    passed = [check.id for check in found.checks if check.result is Result.PASS]
    if not contents.is_verified:
        failed, passed = [check for check in failed if check.result is Result.ERROR], []
        if contents.said:
            verdict, code, summary = UNVERIFIED, UNVERIFIED_CODE, _CLAIMS
        elif found.verdict is Verdict.FAILED:
            summary = "evidence was found, and none of it can be read as a statement about this target"
    builds, others = parts(contents)
    return Page(
        verdict=verdict,
        exit_code=code,
        summary=summary,
        asked=found.target.ref,
        digests=tuple(f"{name}:{value}" for name, value in found.target.digest.items()),
        at=found.verified_at,
        stores=found.stores,
        passed=tuple(dict.fromkeys(passed)),
        failed=tuple(
            dict.fromkeys(
                Failed(one.id, one.reason.value if one.reason else "", one.expected, one.actual)
                for one in failed
            )
        ),
        builds=builds,
        others=others,
        not_used=tuple(not_used(found.attestations, found.skipped, contents)),
    )


def parts(contents: Contents) -> tuple[tuple[Build, ...], tuple[Other, ...]]:
    """Return the builds, each provenance with the report about its run, and everything else."""
    provenance = [one for one in contents.said if one.statement.predicate_type in PROVENANCE_TYPES]
    reports = [one for one in contents.said if is_report(one.statement)]
    left = list(reports)
    builds = []
    for one in provenance:
        own = [report for report in reports if _is_about(report, one, contents)]
        left = [report for report in left if all(report is not other for other in own)]
        builds.append(_build(one, own, contents))
    builds += [_build(None, [report], contents) for report in left]
    known = (*provenance, *reports)
    others = (one for one in contents.said if all(one is not other for other in known))
    return tuple(builds), tuple(map(_other, others))


def _is_about(report: Said, provenance: Said, contents: Contents) -> bool:
    """Whether a report is about the run of a provenance, by the same signer, as ``verify`` demands."""
    names = [one.signed_by.name if one.signed_by else "" for one in (report, provenance)]
    if names[0] != names[1]:
        return False
    uid = run_uid(provenance.statement)
    is_of_record = contents.record is not None and run_uid(report.statement) == contents.record.uid
    return uid == run_uid(report.statement) if uid else is_of_record


def _build(provenance: Said | None, reports: Sequence[Said], contents: Contents) -> Build:
    facts = read_provenance(provenance.statement) if provenance else Facts()
    told = read_report(reports[0].statement) if reports else Facts()
    record = contents.record
    recorded = Facts()
    if record is not None and record.uid in {told.run_uid, facts.run_uid}:
        recorded = read_record(record)
    # the report of a PipelineRun has no steps; those of the record are those of its tasks
    steps = with_times(told.steps, recorded.steps) or recorded.steps or facts.steps
    merged = _merged(told, facts)
    merged = replace(merged, steps=steps, created=recorded.created, results=_results(merged))
    said = ([provenance] if provenance else []) + list(reports)
    confirmed = tuple(map(_confirmed, said))
    return Build(
        confirmed, merged, tuple(_waits(merged)), tuple(_missing(provenance, reports, merged, confirmed))
    )


def _results(facts: Facts) -> tuple[Value, ...]:
    """Return the results; their tasks are named without the name of the run."""
    own = own_name(facts)
    return tuple(replace(one, task=shortened(one.task, own)) for one in facts.results)


def _merged(first: Facts, second: Facts) -> Facts:
    """Return the facts of both; what both have is taken from the first, circumstances from both."""
    merged = {one.name: getattr(first, one.name) or getattr(second, one.name) for one in fields(Facts)}
    return replace(Facts(**merged), circumstances=(*first.circumstances, *second.circumstances))


def _confirmed(said: Said) -> Confirmed:
    by = said.signed_by
    return Confirmed(
        predicate_type=said.statement.predicate_type,
        statement="sha256:" + hashlib.sha256(said.payload).hexdigest(),
        signer=by.name if by else "",
        key=by.keyid if by else "",
        identity=by.identity if by else "",
        issuer=by.issuer if by else "",
        times=tuple(
            SignedAt(rfc3339(one.moment), one.source, one.uri)
            for one in sorted(by.times if by else (), key=lambda one: one.moment)
        ),
        log_entries=tuple(f"index {one.index} of {one.url}" for one in (by.entries if by else ())),
        places=tuple(sorted(said.copies, key=lambda one: (one.format, one.location))),
    )


def _waits(facts: Facts) -> Iterator[Wait]:
    """Yield how long a run waited and worked, between the times that are known."""
    started = [step.started for step in facts.steps if step.started and not step.of_tekton]
    first = min(filter(None, map(moment_of, started)), default=None)
    created, begun = moment_of(facts.created), moment_of(facts.started)
    pod, ended = moment_of(facts.pod_started), moment_of(facts.finished)
    told = (
        ("from creation to start", created, begun),
        ("from start to the pod", begun, pod),
        ("from start to the first step", begun, first),
        ("from start to end", begun, ended),
    )
    for name, start, end in told:
        seconds = seconds_between(start, end)
        if seconds is not None:
            yield Wait(name, seconds)


def _missing(
    provenance: Said | None, reports: Sequence[Said], facts: Facts, confirmed: Iterable[Confirmed]
) -> Iterator[str]:
    """Yield a sentence for each thing that a reader looks for and nobody said."""
    of_tekton = provenance is None or is_tekton(provenance.statement)
    if provenance is None:
        yield "no provenance that names this run: source, parameters and inputs are not known"
    else:
        yield from _missing_in_provenance(provenance, facts, of_tekton=of_tekton, is_tied=bool(reports))
    timed = any(step.seconds is not None for step in facts.steps)
    what = "isolation and outcome are not known" if of_tekton else "other builders write none"
    told = (
        (not reports, f"no execution report about this run: {what}"),
        (len(reports) > 1, f"{count(len(reports), 'report')} about this run: the first one is shown"),
        (not (facts.started and facts.finished), "no start or no end: how long the build took is not known"),
        (not facts.created, "no time of creation: only the record of a run has it; inspect the run's file"),
        (of_tekton and not timed, "no times of the steps: a report has them if the pod could be read"),
        (
            any(one.signer and not one.times for one in confirmed),
            "no verified time of the signature: no log entry or timestamp that a trusted root confirms",
        ),
    )
    yield from (sentence for is_missing, sentence in told if is_missing)


def _missing_in_provenance(
    provenance: Said, facts: Facts, *, of_tekton: bool, is_tied: bool
) -> Iterator[str]:
    is_nameless = provenance.statement.predicate_type == SLSA_V02 and not is_tied
    known = any(one.digests for one in facts.definitions)
    told = (
        (not facts.sources, "no source: the provenance names no repository that was built from"),
        (not facts.builder, "no builder: the provenance names none"),
        (not facts.parameters, "no parameters: the run had none, or they are not recorded"),
        (
            of_tekton and is_nameless,
            "no UID of the run: SLSA v0.2 has no field for it, so no report can be tied to it",
        ),
        (of_tekton and not facts.definitions, "no definition: it is not said which Task or Pipeline ran"),
        (
            of_tekton and bool(facts.definitions) and not known,
            "no digest of the Task or Pipeline: its content when it ran is not known",
        ),
    )
    yield from (sentence for is_missing, sentence in told if is_missing)


def _other(said: Said) -> Other:
    statement, told = said.statement, []
    if statement.predicate_type in {VSA, SVR}:
        predicate = statement.predicate
        told = [
            Named("verifier", verifier_id(statement)),
            Named("result", text_at(predicate, "verificationResult")),
            Named(
                "levels",
                ", ".join(texts_at(predicate, "verifiedLevels") or texts_at(predicate, "properties")),
            ),
            Named("resource", text_at(predicate, "resourceUri")),
            Named("policy", text_at(predicate, "policy", "uri")),
            Named("stated time", text_at(predicate, "timeVerified") or text_at(predicate, "timeCreated")),
        ]
    subjects = [
        Named("subject", " ".join(filter(None, (one.name, *one.digests)))) for one in subjects_of(statement)
    ]
    return Other(_confirmed(said), tuple(one for one in (*told, *subjects) if one.value))


def not_used(
    attestations: Iterable[Attestation], skipped: Iterable[Left], contents: Contents
) -> Iterator[NotUsed]:
    """Yield what was found and is not among the contents, with the reason."""
    for one in attestations:
        if one.digest in contents.used:
            continue
        reason, detail = one.reason.value if one.reason else "", one.detail
        if not contents.is_verified:
            reason = ""
            detail = (
                "an image signature: it says nothing about how the image was made"
                if one.is_image_signature
                else "not about this target, or not readable as a statement"
            )
        yield NotUsed(one.location, one.digest, reason, detail)
    for item in skipped:
        if item.digest not in contents.used:
            yield NotUsed(item.location, item.digest, item.reason.value, item.detail)
