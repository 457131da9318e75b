"""The types of a report, member by member as its JSON has them.

A report has a head and three long lists, ``runs``, ``artifacts`` and ``attestations``, which are read one by
one. Times are RFC 3339 in UTC, durations whole seconds, digests ``ALGORITHM:HEX``. There are no fractions:
amounts of money are decimal texts. What is not known is null, never zero and never an empty text. Texts come
from runs and stores: :func:`text` is the one door for them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypedDict

from chains.tekton.raw import parse_time
from chains.text import excerpt, rfc3339

SCHEMA: Final = "https://provenance.chains/report/v1"
LONGEST: Final = 2000
"""Characters that are kept of a text."""

State = Literal["evidenced", "failed", "missing", "unattestable", "unknown", "skipped", "disposed", "open"]
STATES: Final[tuple[State, ...]] = (
    "evidenced", "failed", "missing", "unattestable", "unknown", "skipped", "disposed", "open",
)  # fmt: skip
"""The states of runs, as ``docs/audit.md`` explains them."""
COUNTED: Final[tuple[State, ...]] = STATES[:5]
"""The states of the finished runs of which evidence is demanded."""
ControlState = Literal["evidenced", "partly", "not-evidenced", "not-here"]
Maybe = str | None


class Tool(TypedDict):
    """The program that made the report."""

    name: str
    version: str
    digest: Annotated[str, "SHA-256 over the installed files of the program"]


class Criteria(TypedDict):
    """What evidence had to satisfy."""

    signers: Annotated[list[str], "who is trusted: key ids, and identities with their issuers"]
    predicateTypes: list[str]
    builderId: Maybe
    buildType: Maybe
    require: Annotated[list[str], "log, timestamp"]


class PolicyUsed(TypedDict):
    """A policy that the images of the runs had to pass, too."""

    name: str
    digest: str


class Scope(TypedDict):
    """What the report is about, how it was asked, and by which program."""

    at: Annotated[str, "the report time: every result is that of this time"]
    timeSource: Annotated[
        Literal["clock", "option", "SOURCE_DATE_EPOCH"], "where the report time is from: the clock, or given"
    ]
    since: Annotated[Maybe, "runs that ended from this time on; null: from the first one on"]
    until: Annotated[Maybe, "runs that ended before this time; null: up to the report time"]
    namespaces: Annotated[list[str], "the namespaces that were asked for; empty: all of them"]
    stores: Annotated[list[str], "where evidence was looked for"]
    criteria: Criteria
    policies: list[PolicyUsed]
    configuration: Annotated[Maybe, "SHA-256 of the chains-config that says which runs are left out"]
    tool: Tool


class Gap(TypedDict):
    """A time in which a source of runs saw nothing."""

    source: str
    since: Maybe
    until: Maybe
    reason: str


class Source(TypedDict):
    """A source of runs: what it shows, what it cannot, and what was found in it."""

    name: str
    kind: str
    shows: str
    cannotShow: str
    query: Annotated[str, "how the same answer is got again"]
    since: Maybe
    until: Maybe
    runs: int
    finished: int
    problems: Annotated[list[str], "what could not be read: runs may be lost in it"]
    notes: list[str]


class LedgerHead(TypedDict):
    """The last verified day of one log of a ledger, and how far it is unbroken."""

    log: str
    day: str
    size: Annotated[int, "entries of the log's tree at the end of the day"]
    root: Annotated[str, "root hash of the tree, hex"]
    signer: Annotated[Maybe, "the key that signed the day"]
    signed: Annotated[Maybe, "when, according to a timestamp authority"]
    firstDay: str
    days: Annotated[int, "closed and verified days, without a break from the first day on"]
    notVerified: Annotated[int, "closed days that are not verified"]
    notClosed: int


class Difference(TypedDict):
    """Two sources contradict each other about a run, or one itself."""

    run: str
    uid: str
    what: str
    first: str
    said: str
    second: str
    contradicted: str


class Stray(TypedDict):
    """Evidence whose run no source knows."""

    run: str
    uid: str
    finished: Maybe
    store: str
    verdict: str
    shouldBeKnown: Annotated[bool, "a source that would know the run does not know it"]


class Compared(TypedDict):
    """An independent number beside the population, and what it says."""

    name: str
    says: str


class Image(TypedDict):
    """An image in use that no run of the population made."""

    image: str
    reason: str
    words: str
    where: list[str]


class Population(TypedDict):
    """The runs of the period, and how it was shown that none is left out."""

    runs: Annotated[int, "runs of the period, whatever became of them"]
    finished: Annotated[int, "of those, the finished runs of which evidence is demanded"]
    digest: Annotated[str, "SHA-256 of the sorted UIDs of the runs, each followed by a line break"]
    sources: list[Source]
    ledgers: list[LedgerHead]
    gaps: Annotated[list[Gap], "gaps in the period that no other source closes"]
    differences: list[Difference]
    furtherDifferences: int
    evidenceWithoutRun: list[Stray]
    imagesAsked: int
    imagesWithoutRun: list[Image]
    compared: list[Compared]
    problems: list[str]
    undecided: Annotated[list[str], "why the answer is not whole; empty if it is"]
    notes: list[str]


class Counts(TypedDict):
    """How many runs are in each state."""

    evidenced: int
    failed: int
    missing: int
    unattestable: int
    unknown: int
    skipped: int
    disposed: int
    open: int


class Coverage(TypedDict):
    """The share of finished runs with evidence that verifies. Unknown runs make it a range."""

    least: Annotated[int, "runs that are evidenced"]
    most: Annotated[int, "the same and the unknown runs"]
    finished: int
    text: Annotated[str, "in percent, rounded down; a range if runs are unknown"]


class Namespace(TypedDict):
    """The runs of a namespace."""

    namespace: str
    counts: Counts


class Day(TypedDict):
    """The runs that ended on a UTC day; null: their end is not known."""

    day: Maybe
    counts: Counts


class NamespaceDay(TypedDict):
    """The finished runs of a namespace that ended on a day, for the map of namespaces."""

    namespace: str
    day: str
    evidenced: int
    unknown: int
    finished: int


class ReasonCount(TypedDict):
    """How many runs are in a state for a reason."""

    state: State
    reason: str
    runs: int


class LevelCount(TypedDict):
    """How many evidenced runs have a hermetic level; null: no verified report says one."""

    level: Maybe
    runs: int


class Latency(TypedDict):
    """Runs whose evidence is known to have existed at most so many seconds after their end."""

    seconds: Annotated[int | None, "null: longer than all others"]
    runs: Annotated[int, "runs that are not in an entry before"]


class Key(TypedDict):
    """A key or identity that signed evidence of the period, or is trusted for it."""

    signer: str
    kind: Literal["key", "certificate"]
    algorithm: Maybe
    custody: Annotated[
        Maybe,
        "the kind of key service or device that holds the private key; null: a file gave the public key, and "
        "nobody knows",
    ]
    status: Annotated[Maybe, "active, retired or revoked, according to the key set"]
    notBefore: Maybe
    notAfter: Maybe
    trusted: bool
    attestations: Annotated[int, "attestations of the report that it signed"]
    runs: Annotated[int, "runs of the report of which it signed evidence"]
    firstRun: Annotated[Maybe, "the end of the first of these runs"]
    lastRun: Annotated[Maybe, "the end of the last of these runs"]


class KeyChange(TypedDict):
    """Signers came into force, according to a ledger."""

    at: str
    signers: list[str]
    ledger: Annotated[str, "the key that signs the ledger"]
    signed: Annotated[bool, "whether the entry is in a signed day"]


class Revocation(TypedDict):
    """An entry of a revocation list that was applied."""

    kind: str
    value: str
    since: Maybe
    reason: str
    list: Annotated[str, "the digest of the list"]


class Exemption(TypedDict):
    """Something is exempt from a demand, or a demand was overridden."""

    what: str
    rules: list[str]
    approver: Annotated[Maybe, "who approved it"]
    reason: str
    reference: Maybe
    since: Maybe
    until: Annotated[Maybe, "when it ends; null: it has no end"]
    source: Annotated[Literal["ledger", "policy"], "where it is recorded"]
    isOver: Annotated[bool, "whether it had ended at the report time"]


class Disposition(TypedDict):
    """Evidence was deleted, according to a ledger."""

    at: str
    digest: str
    location: str
    by: str
    reason: str
    uid: Maybe


class Change(TypedDict):
    """A configuration came into force, according to a ledger."""

    at: str
    digest: str
    changed: Annotated[list[str], "the names of the keys that changed; no values"]
    signed: Annotated[bool, "whether the entry is in a signed day"]


class Value(TypedDict):
    """A number of a figure; null: it is not known."""

    name: str
    value: int | str | None
    unit: str


class Table(TypedDict):
    """The same figure by something, such as by pipeline."""

    columns: list[str]
    rows: list[list[int | str | None]]


class Figure(TypedDict):
    """A figure of operation, with its honest limit."""

    id: str
    title: str
    basis: Annotated[str, "what it is computed from"]
    limit: Annotated[str, "what it does not say"]
    known: Annotated[int, "runs of which the basis is known"]
    of: Annotated[int, "runs that it is about"]
    values: list[Value]
    table: Table


class Cited(TypedDict):
    """Something that the report rests on, by its digest. Attestations have a list of their own."""

    what: str
    name: str
    digest: str


class Unknown(TypedDict):
    """Something that a report has and that is not known here, and why."""

    what: str
    why: str


class Fact(TypedDict):
    """A fact that a control demands."""

    name: str
    says: Annotated[str, "its value, and what is demanded"]
    holds: bool
    query: Annotated[str, "how it is computed again"]


class Control(TypedDict):
    """What the facts of the report show for a control of a framework, by a control map."""

    map: Annotated[str, "the name of the control map"]
    framework: str
    version: str
    source: Annotated[str, "where the framework is published"]
    id: str
    title: str
    target: Annotated[str, "how OSCAL names it: a control and its statement"]
    highest: Annotated[ControlState, "the highest state that a report can show"]
    state: ControlState
    reason: str
    facts: list[Fact]
    missing: Annotated[str, "what this report cannot show for the control"]
    queries: Annotated[list[str], "further commands that show it"]
    attestations: Annotated[list[str], "digests of attestations as examples"]


class Head(TypedDict):
    """A report without its long lists."""

    schema: Literal["https://provenance.chains/report/v1"]
    scope: Scope
    summary: Annotated[list[str], "the answer in sentences, the most important first"]
    exitCode: Annotated[int, "0: every finished run is evidenced; 1: some are not; 4: it is not decided"]
    population: Population
    counts: Counts
    coverage: Annotated[Coverage | None, "null: there is no finished run"]
    namespaces: Annotated[list[Namespace], "the worst first"]
    days: Annotated[list[Day], "in order; days without a run are left out"]
    namespaceDays: Annotated[list[NamespaceDay], "of the namespaces with most runs"]
    reasons: Annotated[list[ReasonCount], "of the runs that are not evidenced"]
    levels: list[LevelCount]
    latencies: Annotated[list[Latency] | None, "null: of no run is it known when its evidence existed"]
    keys: list[Key]
    keyChanges: Annotated[list[KeyChange] | None, "null: no ledger was given"]
    revocations: Annotated[list[Revocation] | None, "null: no revocation list was given"]
    exemptions: Annotated[list[Exemption] | None, "null: neither a ledger nor policies were given"]
    dispositions: Annotated[list[Disposition] | None, "null: no ledger was given"]
    configuration: Annotated[list[Change] | None, "null: no ledger was given"]
    figures: list[Figure]
    controls: list[Control]
    cited: list[Cited]
    unknown: list[Unknown]
    limits: Annotated[list[str], "what the report does not cover"]


class Run(TypedDict):
    """One run of the period."""

    uid: Annotated[Maybe, "null: a TaskRun that only its PipelineRun names"]
    kind: str
    namespace: str
    name: str
    state: State
    reason: Annotated[str, "a code of docs/audit.md"]
    detail: Annotated[Maybe, "a code of docs/verify.md"]
    words: Annotated[Maybe, "the reason in words; null for runs that are evidenced"]
    created: Maybe
    started: Maybe
    finished: Maybe
    outcome: Annotated[
        Maybe, "succeeded, failed, cancelled, timed-out or unfinished; null: no source says it"
    ]
    pipeline: Annotated[Maybe, "the Pipeline or Task, by name"]
    level: Annotated[Maybe, "the hermetic level of a verified execution report"]
    levelReason: Maybe
    sources: Annotated[list[int], "positions in population.sources"]
    attestations: Annotated[list[str], "digests of its evidence"]


class Artifact(TypedDict):
    """An artifact that a run made, and what is known about it."""

    digest: Maybe
    name: str
    uid: Annotated[Maybe, "the run that made it"]
    run: Annotated[str, "KIND/NAMESPACE/NAME"]
    finished: Maybe
    state: Annotated[State, "the state of the run: the result at the report time"]
    attested: Annotated[bool, "whether verified provenance names it; else it is a claim of the run"]
    source: Annotated[Maybe, "repository"]
    commit: Maybe
    builder: Maybe
    buildLevel: Annotated[Maybe, "SLSA level of a verified summary; null: no summary says one"]
    hermetic: Annotated[Maybe, "the hermetic level of the run"]
    attestations: Annotated[list[str], "digests of the evidence that names it"]


class Moment(TypedDict):
    """A verified time at which a signature existed."""

    time: str
    source: Annotated[str, "the kind of proof"]


class LogEntry(TypedDict):
    """A verified entry of a transparency log."""

    log: str
    index: int


class Attestation(TypedDict):
    """One piece of evidence about a run of the report."""

    digest: Annotated[str, "SHA-256 of the stored bytes"]
    uid: Annotated[Maybe, "the run for which it was found"]
    predicateType: Annotated[Maybe, "null: nobody trusted signed it, so its claims are not shown"]
    form: str
    places: Annotated[list[str], "where it is stored"]
    signer: Annotated[Maybe, "null: nobody trusted signed it"]
    times: list[Moment]
    logEntries: list[LogEntry]
    result: Annotated[Literal["verified", "not-used"], "at the report time"]
    reason: Annotated[Maybe, "a code of docs/verify.md, why it does not count"]
    detail: Maybe


Row = Run | Artifact | Attestation
ROWS: Final = ("artifacts", "attestations", "runs")
"""The names of the long lists, in the order of the file."""
Plain = Any
"""Plain JSON values."""


def text(value: str) -> str:
    """Return a text as a report has it: cut, and with lone surrogates, which JSON cannot have, escaped."""
    return excerpt(value, LONGEST).encode("utf-8", "backslashreplace").decode()


def maybe(value: str | None) -> str | None:
    """Return a text, or None for an empty one: what is not known is null."""
    return text(value) if value else None


def moment(value: str | None) -> str | None:
    """Return a time that a run or a source states as a report has times, None for what is none."""
    at = parse_time(value) if value else None
    try:
        return None if at is None else rfc3339(at)
    except (OverflowError, ValueError):
        return None
