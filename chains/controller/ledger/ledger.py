"""What the controller tells its ledger: sights, decisions, removals and gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from chains.attest.outcome import Outcome
from chains.audit.ledger.entries import Entry, GapEntry, RunEntry, fit, fit_reason
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.lines import parse_entry
from chains.audit.ledger.writer import Standing
from chains.controller.ledger.facts import decision, found_mark, removal, run_of, sight
from chains.tekton.runs import Job
from chains.tekton.snapshot import has_ended

_SETTLED = timedelta(seconds=1)
"""How long ago a run was seen if a list without it means that it is gone or marked."""


class Records(Protocol):
    """What writes facts: :class:`~chains.controller.ledger.recorder.Recorder`, or one in another process."""

    def standing(self, share: int, uid: str) -> Standing:
        """Return what the log of a share knows of a run; empty if it is not known here."""

    def undecided(self, share: int) -> Iterator[RunEntry]:
        """Yield the ``seen`` entries of the runs of a share that are open or pending."""

    def note(self, share: int, *facts: Entry) -> None:
        """Write facts soon."""

    async def record(self, share: int, fact: Entry) -> None:
        """Write a fact, and return when it is on disk. Raises :class:`LedgerError`."""


class Ledger:
    """The ledger of a replica. Without a ``recorder`` there is none, and nothing is written.

    ``share_of`` returns the share of a run, ``held`` the shares of this replica.
    """

    def __init__(
        self,
        recorder: Records | None = None,
        share_of: Callable[[Job], int] = lambda _: 0,
        held: Callable[[], Sequence[int]] = lambda: (),
    ) -> None:
        self._recorder, self._share_of, self._held = recorder, share_of, held
        self.is_on = False
        """Whether the configuration in force has a ledger."""

    def saw(self, job: Job, raw: Mapping[str, Any], *, listed: bool) -> None:
        """Note a run at its first sight, and its end. Costs no more than two lookups if both are known."""
        if not self.is_on or self._recorder is None:
            return
        standing = self._standing(job)
        if not standing or (standing == "open" and has_ended(raw)):
            self._recorder.note(self._share_of(job), sight(job, raw, listed=listed))

    async def sighted(self, job: Job, raw: Mapping[str, Any]) -> None:
        """Write the first sight of a run, before it is held. Raises :class:`LedgerError`.

        So every run that has our finalizer is in the ledger, whenever this process is killed.
        """
        if self.is_on and self._recorder is not None and not self._standing(job):
            await self._recorder.record(self._share_of(job), sight(job, raw, listed=True))

    def is_undecided(self, job: Job) -> bool:
        """Whether the ledger waits for the end of a run."""
        return self._standing(job) in {"open", "pending"}

    def _standing(self, job: Job) -> Standing:
        if not self.is_on or self._recorder is None:
            return ""
        return self._recorder.standing(self._share_of(job), fit(job.uid))

    async def decided(self, job: Job, raw: Mapping[str, Any], outcome: Outcome) -> None:
        """Write what became of a run. Raises :class:`LedgerError` if it is not on disk."""
        if self.is_on and self._recorder is not None:
            await self._recorder.record(self._share_of(job), decision(job, raw, outcome))

    async def take(self, job: Job, line: bytes, *, wait: bool) -> str:
        """Write a fact that another process of this replica tells about a run.

        With ``wait`` it returns when the fact is on disk. Returns why it could not be written, else nothing.
        """
        if not self.is_on or self._recorder is None:
            return ""
        try:
            fact = parse_entry(line)
            if not isinstance(fact, RunEntry) or fact.run != run_of(job):
                raise LedgerError("a fact about another run was told")  # noqa: TRY301 - one handler for all
            if wait:
                await self._recorder.record(self._share_of(job), fact)
            else:
                self._recorder.note(self._share_of(job), fact)
        except LedgerError as error:
            return str(error)
        return ""

    async def found_marked(self, job: Job, raw: Mapping[str, Any]) -> None:
        """Write what the mark of a run says, if the ledger waits for it. Raises :class:`LedgerError`."""
        if self.is_undecided(job) and self._recorder is not None:
            fact = found_mark(job, raw)
            if fact is not None:
                await self._recorder.record(self._share_of(job), fact)

    def gone(self, job: Job, reason: str) -> None:
        """Note that a run is gone, or somebody else's, before it was decided."""
        if self.is_on and self._recorder is not None and self._standing(job) != "decided":
            self._recorder.note(self._share_of(job), removal(job, reason))

    def interrupted(self, since: datetime, what: str) -> None:
        """Note that runs could come and go unseen from ``since`` until now."""
        if self.is_on and self._recorder is not None:
            now = datetime.now(UTC)
            for share in self._held():
                self._recorder.note(share, GapEntry(now, since, now, fit_reason(what)))

    def missing(self, share: int, found: set[str], listed: datetime) -> Iterator[Job]:
        """Yield the runs of a share that the ledger waits for, and that a list of unmarked runs did not have.

        ``listed`` is when the list began: of a run that was seen shortly before, it says nothing.
        """
        if not self.is_on or self._recorder is None:
            return
        for entry in self._recorder.undecided(share):
            run = entry.run
            if run.uid not in found and entry.at < listed - _SETTLED:
                yield Job(run.kind, run.namespace, run.name, run.uid, run.parent)
