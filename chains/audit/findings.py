"""What an audit found: each finished run with its state, the gaps, and one sentence. Plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from chains.audit.population.known import Difference, Gap, Source
from chains.audit.population.sighting import KINDS
from chains.text import count, excerpt, rfc3339

_LONGEST = 300
"""Characters of a reason in a table."""


class State(StrEnum):
    """What became of a run. All but the last three count for the coverage."""

    EVIDENCED = "evidenced"
    """Its evidence verifies now."""
    FAILED = "failed"
    """There is evidence that does not verify, or attesting it failed."""
    MISSING = "missing"
    """There is no evidence."""
    UNATTESTABLE = "unattestable"
    """There is no evidence, and none can be made: the run's record cannot be described."""
    UNKNOWN = "unknown"
    """It could not be decided."""
    SKIPPED = "skipped"
    """The configuration leaves it out."""
    DISPOSED = "disposed"
    """Its evidence was deleted when its retention was over: a signed disposition record says so."""
    OPEN = "open"
    """It has not ended, or was deleted before its end."""


COUNTED = (State.EVIDENCED, State.FAILED, State.MISSING, State.UNATTESTABLE, State.UNKNOWN)
"""The states of the finished runs of which evidence is demanded."""
WRONG = frozenset({State.FAILED, State.MISSING, State.UNATTESTABLE})
"""The states for which the answer is no."""


class Why(StrEnum):
    """The stable code of a reason. ``docs/audit.md`` explains each; a code never changes its meaning."""

    VERIFIED = "verified"
    VERIFIED_BY_UID = "verified_by_uid"
    EVIDENCE_INVALID = "evidence_invalid"
    POLICY_REFUSED = "policy_refused"
    ATTESTING_FAILED = "attesting_failed"
    NO_EVIDENCE = "no_evidence"
    MARKED_WITHOUT_EVIDENCE = "marked_without_evidence"
    DELETED_WITHOUT_EVIDENCE = "deleted_without_evidence"
    EVIDENCE_GONE = "evidence_gone"
    DISPOSED = "disposed"
    FINALIZER_STRIPPED = "finalizer_stripped"
    CHILD_UNKNOWN = "child_unknown"
    NOT_DESCRIBABLE = "not_describable"
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_NOT_BY_RUN = "store_not_by_run"
    UID_NOT_SIGNED = "uid_not_signed"
    END_NOT_SEEN = "end_not_seen"
    IN_GAP = "in_gap"
    CHILD_BY_NAME = "child_by_name"
    LEFT_OUT = "left_out"
    LEFT_OUT_THEN = "left_out_then"
    NOT_ENDED = "not_ended"
    DELETED_BEFORE_END = "deleted_before_end"


@dataclass(frozen=True, slots=True)
class Judged:
    """One run with its state, the reason as code and in words, and who knows it.

    ``detail`` is the verification's own code for evidence that does not verify. ``places`` are the stores
    that were asked.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    state: State
    why: Why
    words: str
    detail: str = ""
    created: str = ""
    finished: str = ""
    sources: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    exemption: str = ""
    """The exemptions in signed days of a ledger that cover an image of the run. They decide nothing."""

    @property
    def label(self) -> str:
        """The run's name for people: ``taskrun/namespace/name``."""
        return f"{self.kind.lower()}/{self.namespace}/{self.name}"

    @property
    def reason(self) -> str:
        """The reason for people, the code first; at most 300 characters of its words."""
        words = excerpt(self.words, _LONGEST)
        if self.exemption:
            words += f"; exemption: {excerpt(self.exemption, _LONGEST)}"
        return words if words.startswith(f"{self.why}: ") else f"{self.why}: {words}"


@dataclass(frozen=True, slots=True)
class Stray:
    """Evidence in a store whose run no source knows.

    ``verdict`` is what verification says about it. ``is_covered``: a source that would know the run, even a
    deleted one, does not know it.
    """

    label: str
    uid: str
    finished: str
    store: str
    verdict: str
    is_covered: bool


@dataclass(frozen=True, slots=True)
class ImageUse:
    """An image that is in use without a run in the population, where, and why it is one."""

    image: str
    why: str
    words: str
    where: tuple[str, ...]


@dataclass(slots=True)
class Audit:
    """The whole answer. ``since`` and ``until`` are the audited period; None is open."""

    at: datetime
    since: datetime | None
    until: datetime | None
    sources: Sequence[Source]
    stores: tuple[str, ...]
    runs: list[Judged] = field(default_factory=list)
    gaps: list[tuple[str, Gap]] = field(default_factory=list)
    """Gaps of sources that no other source closes."""
    differences: Sequence[Difference] = ()
    more_differences: int = 0
    strays: list[Stray] = field(default_factory=list)
    images: list[ImageUse] = field(default_factory=list)
    images_asked: int = 0
    images_unlisted: int = 0
    """Repositories and registries of which not every image is known: there may be more without a run."""
    problems: list[str] = field(default_factory=list)
    """What could not be read or asked, besides the problems of the sources."""
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> Counter[State]:
        """How many runs are in each state."""
        return Counter(one.state for one in self.runs)

    @property
    def total(self) -> int:
        """Finished runs of which evidence is demanded."""
        counts = self.counts
        return sum(counts[state] for state in COUNTED)

    @property
    def coverage(self) -> tuple[Fraction, Fraction] | None:
        """The least and the most share of runs with evidence, None without any run.

        Unknown runs count as without evidence for the least, and as with evidence for the most.
        """
        counts, total = self.counts, self.total
        if not total:
            return None
        least = counts[State.EVIDENCED]
        return Fraction(least, total), Fraction(least + counts[State.UNKNOWN], total)

    @property
    def undecided(self) -> list[str]:
        """Why the answer is not whole, in words; empty if it is."""
        told = undecided_of(
            self.counts,
            gaps=len(self.gaps),
            lost=sum(len(one.problems) for one in self.sources),
            problems=len(self.problems),
            strays=sum(one.is_covered for one in self.strays),
        )
        if not self.total and not any(map(self._is_covered_by, self.sources)):
            told.append(NOTHING_FOUND)
        return told

    def _is_covered_by(self, source: Source) -> bool:
        """Whether a source would know every run of the period, so that none in it means that none ran."""
        ends = [rfc3339(one) for one in (self.since, self.until) if one is not None]
        covers = all(source.covers(end, kind) for end in ends for kind in KINDS)
        return source.closes_gaps and all(map(source.shows_kind, KINDS)) and covers

    @property
    def exit_code(self) -> int:
        """0 all evidence is there and verifies, 1 some does not, 4 it could not be decided."""
        counts = self.counts
        if any(counts[state] for state in WRONG) or self.images:
            return 1
        return 4 if self.undecided else 0

    @property
    def summary(self) -> list[str]:
        """The answer in sentences, the most important first."""
        return summary_of(self.counts, self.undecided, rfc3339(self.at))

    def by_namespace(self) -> list[tuple[str, Counter[State]]]:
        """Return the counts of each namespace, the worst first."""
        found: dict[str, Counter[State]] = {}
        for one in self.runs:
            found.setdefault(one.namespace, Counter())[one.state] += 1
        return sorted(found.items(), key=lambda item: (*(-item[1][state] for state in _WORST), item[0]))


def undecided_of(
    counts: Mapping[State, int], *, gaps: int, lost: int, problems: int, strays: int
) -> list[str]:
    """Return why an answer is not whole, from what it has: numbers of gaps, of parts of sources that were
    lost, of questions without an answer, and of evidence whose run a source should know."""
    told = [count(counts[State.UNKNOWN], "run is", "runs are") + " unknown"] if counts[State.UNKNOWN] else []
    if gaps:
        told.append(f"what ran in {count(gaps, 'gap')} is not known")
    if lost:
        told.append(f"{count(lost, 'part')} of the sources could not be read")
    if problems:
        told.append(count(problems, "question") + " had no answer")
    if strays:
        told.append(f"evidence of {count(strays, 'run')} that a source should know and does not")
    return told


NOTHING_FOUND = "no finished run was found, which proves nothing"
"""What is added to these reasons where no source proves that nothing ran."""


def summary_of(counts: Mapping[State, int], undecided: Sequence[str], at: str) -> list[str]:
    """Return an answer in sentences, the most important first; ``at`` is when it was found."""
    total, least = sum(counts[state] for state in COUNTED), counts[State.EVIDENCED]
    told = f"{least:,} of {total:,} finished runs have evidence that verified at {at}"
    others = [
        f"{counts[state]:,} {'is' if counts[state] == 1 else 'are'} {state.value}"
        for state in (State.MISSING, State.UNATTESTABLE, State.UNKNOWN)
        if counts[state]
    ]
    if counts[State.FAILED]:
        others.insert(0, f"{counts[State.FAILED]:,} failed")
    told += "".join(f"{', ' if number else '; '}{one}" for number, one in enumerate(others))
    if total:
        told += f"; coverage {span((Fraction(least, total), Fraction(least + counts[State.UNKNOWN], total)))}"
    lines = [f"{told}."]
    if undecided:
        lines.append(f"Not whole: {'; '.join(undecided)}.")
    beside = [
        f"{counts[State.SKIPPED]:,} left out by the configuration" if counts[State.SKIPPED] else "",
        f"{counts[State.DISPOSED]:,} disposed of with a record" if counts[State.DISPOSED] else "",
        f"{counts[State.OPEN]:,} not ended, or deleted before the end" if counts[State.OPEN] else "",
    ]
    if any(beside):
        lines.append(f"Not counted: {', '.join(filter(None, beside))}.")
    return lines


_WORST = (State.FAILED, State.MISSING, State.UNATTESTABLE, State.UNKNOWN)


def span(covered: tuple[Fraction, Fraction]) -> str:
    """Return a coverage as text: rounded down, so that 100 % is said only where it is true."""
    least, most = (percent(one) for one in covered)
    return least if least == most else f"{least} to {most}"


def percent(share: Fraction) -> str:
    """Return a share in percent with one decimal, rounded down: ``99.8 %``, ``100 %``."""
    tenths = int(share * 1000)
    return f"{tenths // 10} %" if tenths == 1000 else f"{tenths // 10}.{tenths % 10} %"  # noqa: PLR2004 - all of it


def wrong_first(runs: Iterable[Judged]) -> list[Judged]:
    """Return runs ordered by state, the worst first, then by time and name."""
    order = {
        state: number
        for number, state in enumerate((*_WORST, State.DISPOSED, State.SKIPPED, State.OPEN, State.EVIDENCED))
    }
    return sorted(runs, key=lambda one: (order[one.state], one.finished, one.label, one.uid))
