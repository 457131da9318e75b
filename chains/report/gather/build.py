"""From an audit and what was kept of its runs to a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from chains.audit.findings import COUNTED, Audit, State
from chains.policy.loaded import Policy
from chains.report.document import format as form
from chains.report.document.file import Document
from chains.report.document.format import maybe, moment, text
from chains.report.gather.facts import Kept
from chains.report.gather.figures import Figures
from chains.report.gather.ledgers import LedgerFacts
from chains.report.gather.limits import LIMITS
from chains.report.gather.prices import Prices
from chains.report.gather.program import this_program
from chains.report.gather.recorder import Recorder
from chains.report.gather.signers import MOST_REVOCATIONS, criteria_of, revocations_of
from chains.report.gather.tally import Tally, counts_of
from chains.tekton.raw import parse_time
from chains.text import count, rfc3339

LATENCIES = (60, 300, 900, 3600, 4 * 3600, 24 * 3600)
"""Bounds of :class:`chains.report.document.format.Latency`, in seconds."""
TimeSource = Literal["clock", "option", "SOURCE_DATE_EPOCH"]


@dataclass(frozen=True, slots=True)
class Given:
    """What is known about a report beside its audit."""

    time_source: TimeSource = "clock"
    namespaces: Sequence[str] = ()
    policy: Policy | None = None
    configuration: str = ""
    """SHA-256 of the configuration that says which runs are left out, ``sha256:HEX``."""
    ledgers: LedgerFacts | None = None
    prices: Prices | None = None
    compared: Sequence[tuple[str, str]] = ()
    """Independent numbers: a name, and what it says."""
    cited: Sequence[tuple[str, str, str]] = ()
    """What it is, its name, its digest."""
    custody: Mapping[str, str] = field(default_factory=dict)
    """The kind of key service that holds a private key, by key id."""
    build_levels: Mapping[str, str] | None = None
    """SLSA levels of verified summaries by the digest of an artifact; None: no index was asked."""


def build(audit: Audit, recorder: Recorder, given: Given) -> Document:
    """Return the report of an audit whose runs a recorder judged, to be read while the recorder is open."""
    counted = _Counted(given)
    for one in recorder.kept(audit.runs):
        counted.add(one)
    head = _head(audit, recorder, given, counted)

    def artifacts() -> Iterator[form.Artifact]:
        for one in recorder.kept(audit.runs):
            for artifact in one["artifacts"]:
                level = (given.build_levels or {}).get(artifact["digest"] or "")
                yield {**artifact, "buildLevel": level} if level else artifact

    return Document(
        head,
        lambda: (one["run"] for one in recorder.kept(audit.runs)),
        artifacts,
        lambda: (each for one in recorder.kept(audit.runs) for each in one["attestations"]),
    )


class _Counted:
    """What is counted over all runs: from the rows, and from what the rows do not have."""

    def __init__(self, given: Given) -> None:
        self.tally = Tally()
        self.figures = Figures(given.prices)
        self.latencies: Counter[int | None] = Counter()
        self.without_time = 0
        self._decided: Mapping[str, int] = given.ledgers.decided if given.ledgers else {}

    def add(self, one: Kept) -> None:
        """Count a run."""
        self.tally.add(one["run"], one["attestations"])
        self.figures.add(one["run"], one["operation"])
        if one["run"]["state"] == "evidenced":
            self._latency(one)

    def _latency(self, one: Kept) -> None:
        """Count the time from the end of a run to the first proof that its evidence existed."""
        ended = one["operation"]["finished"]
        proofs = [
            int(at.timestamp())
            for each in one["attestations"]
            if each["result"] == "verified"
            for proof in each["times"]
            if (at := parse_time(proof["time"])) is not None
        ]
        decided = self._decided.get(one["run"]["uid"] or "")
        if decided is not None:
            proofs.append(decided)
        if ended is None or not proofs:
            self.without_time += 1
            return
        seconds = max(min(proofs) - ended, 0)
        self.latencies[next((bound for bound in LATENCIES if seconds <= bound), None)] += 1


def _head(audit: Audit, recorder: Recorder, given: Given, counted: _Counted) -> form.Head:
    tally = counted.tally
    verifier = recorder.verifier
    ledgers = given.ledgers
    return {
        "schema": "https://provenance.chains/report/v1",
        "scope": {
            "at": rfc3339(audit.at),
            "timeSource": given.time_source,
            "since": _written(audit.since),
            "until": _written(audit.until),
            "namespaces": sorted(map(text, given.namespaces)),
            "stores": sorted(map(text, audit.stores)),
            "criteria": criteria_of(verifier.criteria),
            "policies": [
                {"name": text(one.policy.name), "digest": one.policy.digest}
                for one in (given.policy.documents if given.policy else ())
            ],
            "configuration": maybe(given.configuration),
            "tool": this_program(),
        },
        "summary": [text(one) for one in audit.summary],
        "exitCode": audit.exit_code,
        "population": _population(audit, given, tally),
        "counts": counts_of(tally.counts),
        "coverage": tally.coverage(),
        "namespaces": tally.namespaces(),
        "days": tally.days(),
        "namespaceDays": tally.namespace_days(),
        "reasons": tally.reasons(),
        "levels": tally.level_counts(),
        "latencies": _latencies(counted),
        "keys": tally.signers.all(verifier.criteria, given.custody),
        "keyChanges": ledgers.keys if ledgers else None,
        "revocations": revocations_of(verifier.revocations),
        "exemptions": _exemptions(given, audit.at),
        "dispositions": ledgers.dispositions if ledgers else None,
        "configuration": ledgers.changes if ledgers else None,
        "figures": counted.figures.all(),
        "controls": [],
        "cited": _cited(recorder, given),
        "unknown": list(_unknown(audit, recorder, given, counted)),
        "limits": list(LIMITS),
    }


def _population(audit: Audit, given: Given, tally: Tally) -> form.Population:
    return {
        "runs": len(audit.runs),
        "finished": tally.finished,
        "digest": tally.digest(),
        "sources": [
            {
                "name": text(one.name), "kind": one.kind, "shows": one.shows, "cannotShow": one.cannot,
                "query": text(one.query), "since": moment(one.since), "until": moment(one.until),
                "runs": one.runs, "finished": one.finished, "problems": [text(each) for each in one.problems],
                "notes": [text(each) for each in one.notes],
            }
            for one in audit.sources
        ],
        "ledgers": given.ledgers.heads if given.ledgers else [],
        "gaps": [
            {
                "source": text(name), "since": moment(gap.since), "until": moment(gap.until),
                "reason": text(gap.reason),
            }
            for name, gap in audit.gaps
        ],
        "differences": [
            {
                "run": text(one.label), "uid": text(one.uid), "what": one.what, "first": text(one.first),
                "said": text(one.said), "second": text(one.second), "contradicted": text(one.contradicted),
            }
            for one in audit.differences
        ],
        "furtherDifferences": audit.more_differences,
        "evidenceWithoutRun": [
            {
                "run": text(one.label), "uid": text(one.uid), "finished": moment(one.finished),
                "store": text(one.store), "verdict": one.verdict, "shouldBeKnown": one.is_covered,
            }
            for one in audit.strays
        ],
        "imagesAsked": audit.images_asked,
        "imagesWithoutRun": [
            {
                "image": text(one.image), "reason": one.why, "words": text(one.words),
                "where": [text(each) for each in one.where],
            }
            for one in audit.images
        ],
        "compared": [{"name": text(name), "says": text(says)} for name, says in given.compared],
        "problems": [text(one) for one in audit.problems],
        "undecided": [text(one) for one in audit.undecided],
        "notes": [text(one) for one in audit.notes],
    }  # fmt: skip


def _latencies(counted: _Counted) -> list[form.Latency] | None:
    if not counted.latencies:
        return None
    return [{"seconds": bound, "runs": counted.latencies[bound]} for bound in (*LATENCIES, None)]


def _exemptions(given: Given, now: datetime) -> list[form.Exemption] | None:
    if given.ledgers is None and given.policy is None:
        return None
    found = list(given.ledgers.exemptions) if given.ledgers else []
    for opened in given.policy.documents if given.policy else ():
        for one in opened.policy.exemptions:
            found.append(
                {
                    "what": text(one.image.text), "rules": [text(each) for each in one.rules],
                    "approver": None, "reason": text(one.reason), "reference": maybe(one.reference),
                    "since": None, "until": rfc3339(one.until), "source": "policy",
                    "isOver": one.is_over(now),
                }
            )  # fmt: skip
    return found


def _cited(recorder: Recorder, given: Given) -> list[form.Cited]:
    found = set(given.cited)
    if given.configuration:
        found.add(("configuration", "chains-config", given.configuration))
    for one in given.policy.documents if given.policy else ():
        found.add(("policy", one.policy.name, one.policy.digest))
    revocations = recorder.verifier.revocations
    for each in revocations.lists if revocations else ():
        found.add(("revocation list", f"version {each.version}", each.digest))
    for head in given.ledgers.heads if given.ledgers else ():
        found.add(("tree of a ledger", f"{head['log']} {head['day']}", f"sha256:{head['root']}"))
    if given.prices is not None:
        found.add(("price table", given.prices.currency, given.prices.digest))
    return [
        {"what": text(what), "name": text(name), "digest": text(digest)}
        for what, name, digest in sorted(found)
    ]


def _unknown(audit: Audit, recorder: Recorder, given: Given, counted: _Counted) -> Iterator[form.Unknown]:
    """Yield what the report has a place for and that is not known."""
    if given.ledgers is None:
        what = "rotations of keys, changes of the configuration, deletions of evidence"
        yield {"what": what, "why": "they are in a ledger, and none was given (--ledger)"}
    elif given.ledgers.unsigned:
        told = count(given.ledgers.unsigned, "entry", "entries")
        why = "no signed day has what they say, so anybody who can write to the ledger may have written it"
        yield {"what": f"who wrote {told} about exemptions and deletions", "why": why}
    if given.ledgers is None and given.policy is None:
        yield {"what": "exemptions", "why": "neither a ledger nor policies were given (--ledger, --policy)"}
    if recorder.verifier.revocations is None:
        yield {"what": "revocations", "why": "no revocation list was given (--revocations)"}
    elif (
        left := sum(len(one.entries) for one in recorder.verifier.revocations.lists) - MOST_REVOCATIONS
    ) > 0:
        why = f"a report has {MOST_REVOCATIONS:,} entries; the lists are cited by their digests"
        yield {
            "what": f"{count(left, 'further entry', 'further entries')} of the revocation lists",
            "why": why,
        }
    if not given.configuration:
        why = "no configuration was given (--config), so no run counts as left out by one"
        yield {"what": "which runs the configuration leaves out", "why": why}
    if given.build_levels is None:
        why = "levels are in verification summaries, which an index finds, and none was given (--index)"
        yield {"what": "SLSA build levels", "why": why}
    if audit.counts[State.UNKNOWN]:
        why = "see the reason of each; unknown runs make the coverage a range"
        yield {"what": f"what became of {count(audit.counts[State.UNKNOWN], 'run')}", "why": why}
    if counted.without_time:
        why = "neither a trusted time nor a ledger says it"
        yield {"what": f"when the evidence of {count(counted.without_time, 'run')} existed", "why": why}
    without = counted.tally.levels[None]
    if without:
        why = "no verified execution report says it"
        yield {"what": f"the hermetic level of {count(without, 'evidenced run')}", "why": why}
    if audit.since is None or audit.until is None:
        yield {"what": "an end of the period", "why": "it is open: --from or --to was not given"}


def _written(at: datetime | None) -> str | None:
    return rfc3339(at) if at is not None else None


assert tuple(state.value for state in COUNTED) == form.COUNTED  # noqa: S101 - two lists of one thing
