"""What verification found about one run, as the rows of a report. Pure.

Only statements that somebody trusted signed, and that passed every check, say something about a run. What a
run that is not evidenced says about itself is a claim, and marked as one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

from chains.audit.findings import Judged, State
from chains.errors import EvidenceError
from chains.index.codes import word
from chains.index.run_facts import Provenance, Report, read_provenance, read_report
from chains.lineage.statement_facts import Facts, read_facts
from chains.report.document.format import Artifact, Attestation, LogEntry, Moment, Run, maybe, moment, text
from chains.statements.execution_report import outcome
from chains.statements.statement import ResourceDescriptor
from chains.tekton.raw import mapping_at, objects_at, parse_time, text_at
from chains.tekton.snapshot import RunSnapshot
from chains.text import rfc3339
from chains.verify.runs.run import RunWanted
from chains.verify.verdict import Attestation as Judgement
from chains.verify.verdict import Verification

MOST_ARTIFACTS = 5000
"""Artifacts of one run in a report: those of several statements, of which each has at most 1,024 subjects."""
_EVENT = "triggers.tekton.dev/triggers-eventid"
_LISTENER, _TRIGGER = "triggers.tekton.dev/eventlistener", "triggers.tekton.dev/trigger"
_IMAGE_RESULTS = ("IMAGE_DIGEST", "IMAGES", "ARTIFACT_OUTPUTS")


class Operation(TypedDict):
    """What the figures of operation need of a run; null where no source says it. Times are Unix seconds."""

    created: int | None
    started: int | None
    finished: int | None
    podWait: int | None
    stepWait: int | None
    attempts: int | None
    cpu: int | None
    memory: int | None
    event: str | None
    trigger: str | None
    imageNotGiven: bool | None
    completeness: list[bool] | None


class Kept(TypedDict):
    """All rows of one run."""

    run: Run
    artifacts: list[Artifact]
    attestations: list[Attestation]
    operation: Operation


COMPLETE = (
    "provenance names the source with its commit",
    "every input in the provenance has a digest",
    "the provenance names an artifact",
    "there is a verified execution report",
)
"""What ``completeness`` of an evidenced run says, in this order."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What the used statements about a run say together."""

    provenance: Provenance | None = None
    facts: tuple[tuple[str, Facts], ...] = ()
    report: Report | None = None

    @property
    def level(self) -> str | None:
        return word(self.report.level) if self.report is not None and self.report.level else None


def keep(judged: Judged, sources: list[int], found: Verification | None, run: RunSnapshot | None) -> Kept:
    """Return the rows of a run that was judged.

    ``run`` is its whole record as it was compared, None if no source has it.
    """
    evidence = list(found.attestations) if found is not None else []
    said = _said(evidence)
    attestations = _attestations(evidence, judged.uid)
    ended = word(said.report.outcome) if said.report is not None and said.report.outcome else ""
    row: Run = {
        "uid": maybe(judged.uid),
        "kind": judged.kind,
        "namespace": text(judged.namespace),
        "name": text(judged.name),
        "state": judged.state.value,
        "reason": judged.why.value,
        "detail": maybe(judged.detail),
        "words": None if judged.state is State.EVIDENCED else text(judged.words),
        "created": moment(judged.created),
        "started": _started(said, run),
        "finished": moment(judged.finished),
        "outcome": ended or (outcome(run).value if run is not None else None),
        "pipeline": _pipeline(said, run),
        "level": said.level,
        "levelReason": maybe(said.report.level_reason) if said.report is not None else None,
        "sources": sources,
        "attestations": [one["digest"] for one in attestations],
    }
    return {
        "run": row,
        "artifacts": _artifacts(row, judged, said, run),
        "attestations": attestations,
        "operation": _operation(judged, said, run),
    }


def _said(evidence: Sequence[Judgement]) -> _Said:
    """Return what the statements that count say: of several the one with the greatest digest, as an index."""
    provenance: Provenance | None = None
    report: Report | None = None
    facts: list[tuple[str, Facts]] = []
    for one in sorted((one for one in evidence if one.used), key=lambda one: one.digest):
        if one.statement is None:
            continue
        report = read_report(one.statement) or report
        try:
            found = read_facts(one.statement)
        except EvidenceError:
            continue
        said = read_provenance(one.statement, found)
        if said is not None:
            provenance = said
            facts.append((one.digest, found))
    return _Said(provenance, tuple(facts), report)


def _attestations(evidence: Sequence[Judgement], uid: str) -> list[Attestation]:
    """Return each piece of evidence once, with all places; what counts stands for copies that do not."""
    found: dict[str, Attestation] = {}
    for one in sorted(evidence, key=lambda one: (one.digest, not one.used, one.source, one.location)):
        place = text(one.location if one.location.startswith(one.source) else f"{one.source} {one.location}")
        if one.digest in found:
            if place not in found[one.digest]["places"]:
                found[one.digest]["places"].append(place)
            continue
        by = one.signed_by
        times: list[Moment] = [
            {"time": rfc3339(each.moment), "source": text(each.source)} for each in (by.times if by else ())
        ]
        entries: list[LogEntry] = [
            {"log": text(each.url), "index": each.index} for each in (by.entries if by else ())
        ]
        found[one.digest] = {
            "digest": text(one.digest),
            "uid": maybe(uid),
            "predicateType": maybe(one.statement.predicate_type) if one.statement else None,
            "form": text(one.format),
            "places": [place],
            "signer": maybe(by.name) if by else None,
            "times": times,
            "logEntries": entries,
            "result": "verified" if one.used else "not-used",
            "reason": one.reason.value if one.reason else None,
            "detail": maybe(one.detail) if not one.used else None,
        }
    return list(found.values())


def _artifacts(row: Run, judged: Judged, said: _Said, run: RunSnapshot | None) -> list[Artifact]:
    named: dict[tuple[str, str], list[str]] = {}
    attested = judged.state is State.EVIDENCED
    if attested:
        for digest, facts in said.facts:
            for product in facts.products:
                own = _digest_of(product.digests)
                cited = named.setdefault((own, product.name), [])
                if digest not in cited:
                    cited.append(digest)
    elif run is not None:
        for subject in RunWanted(run).subjects:
            named.setdefault((_digest_in(subject), subject.name), [])
    is_own = judged.label  # a run without artifacts is the subject of its own statements
    builder = next((facts.builder for _, facts in reversed(said.facts) if facts.builder), "")
    return [
        {
            "digest": maybe(digest),
            "name": text(name),
            "uid": row["uid"],
            "run": text(judged.label),
            "finished": row["finished"],
            "state": row["state"],
            "attested": attested,
            "source": maybe(said.provenance.repository) if attested and said.provenance else None,
            "commit": maybe(said.provenance.commit) if attested and said.provenance else None,
            "builder": maybe(builder) if attested else None,
            "buildLevel": None,
            "hermetic": said.level if attested else None,
            "attestations": cited,
        }
        for (digest, name), cited in sorted(named.items())[:MOST_ARTIFACTS]
        if name != is_own
    ]


def _digest_of(digests: Sequence[str]) -> str:
    return digests[0] if digests else ""


def _digest_in(subject: ResourceDescriptor) -> str:
    found = subject.digest or {}
    name = "sha256" if "sha256" in found else next(iter(sorted(found)), "")
    return f"{name}:{found[name]}" if name else ""


def _started(said: _Said, run: RunSnapshot | None) -> str | None:
    if run is not None:
        return moment(str(run.status.get("startTime") or ""))
    if said.report is None or said.report.started is None:
        return None
    return rfc3339(datetime.fromtimestamp(said.report.started, UTC))


def _pipeline(said: _Said, run: RunSnapshot | None) -> str | None:
    if said.provenance is not None and (said.provenance.pipeline or said.provenance.task):
        return maybe(said.provenance.pipeline or said.provenance.task)
    labels = mapping_at(run.raw, "metadata", "labels") if run is not None else {}
    return maybe(text_at(labels, "tekton.dev/pipeline") or text_at(labels, "tekton.dev/task"))


def _seconds(moment: str) -> int | None:
    at = parse_time(moment) if moment else None
    return None if at is None else int(at.timestamp())


def _operation(judged: Judged, said: _Said, run: RunSnapshot | None) -> Operation:
    report = said.report
    labels = mapping_at(run.raw, "metadata", "labels") if run is not None else {}
    trigger = "/".join(filter(None, (text_at(labels, _LISTENER), text_at(labels, _TRIGGER))))
    started = report.started if report is not None else None
    if started is None and run is not None:
        started = _seconds(str(run.status.get("startTime") or ""))
    return {
        "created": _seconds(judged.created),
        "started": started,
        "finished": _seconds(judged.finished),
        "podWait": report.pod_wait if report is not None else None,
        "stepWait": report.step_wait if report is not None else None,
        "attempts": report.retries if report is not None else _attempts(run),
        "cpu": report.cpu if report is not None else None,
        "memory": report.memory if report is not None else None,
        "event": maybe(text_at(labels, _EVENT)),
        "trigger": maybe(trigger or (report.trigger if report is not None else "")),
        "imageNotGiven": _image_not_given(run),
        "completeness": _completeness(judged, said),
    }


def _attempts(run: RunSnapshot | None) -> int | None:
    if run is None:
        return None
    return len(list(objects_at(run.status, "retriesStatus")))


def _image_not_given(run: RunSnapshot | None) -> bool | None:
    """Whether a TaskRun that failed declares a result for an image and gave none; None without its record."""
    if run is None or run.kind != "TaskRun":
        return None
    declared = {text_at(one, "name") for one in objects_at(run.status, "taskSpec", "results")}
    given = {text_at(one, "name") for one in objects_at(run.status, "results")}
    wanted = {name for name in declared if name.endswith(_IMAGE_RESULTS)}
    return run.condition.get("status") == "False" and bool(wanted) and not wanted & given


def _completeness(judged: Judged, said: _Said) -> list[bool] | None:
    if judged.state is not State.EVIDENCED:
        return None
    inputs = [one for _, facts in said.facts for one in facts.inputs]
    products: Iterator[Any] = (one for _, facts in said.facts for one in facts.products)
    return [
        said.provenance is not None and bool(said.provenance.repository and said.provenance.commit),
        bool(inputs) and all(one.digests for one in inputs),
        any(one.name != judged.label for one in products),
        said.report is not None,
    ]
