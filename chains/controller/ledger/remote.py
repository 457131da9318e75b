"""Tells facts to the process that writes the ledger: that in which suspects are tried writes none itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

from chains.audit.ledger.entries import Entry, RunEntry
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.lines import write_entry
from chains.audit.ledger.writer import Standing


class RemoteRecorder:
    """Stands for the recorder of another process.

    ``tell`` sends the line of an entry, and whether an answer is waited for; ``answer`` returns the next
    answer: why the fact could not be written, or nothing. The other process knows which facts are news.
    """

    def __init__(self, tell: Callable[[bytes, bool], None], answer: Callable[[], Awaitable[str]]) -> None:
        self._tell, self._answer = tell, answer

    def standing(self, share: int, uid: str) -> Standing:
        """Return that nothing is known here."""
        del share, uid
        return ""

    def undecided(self, share: int) -> Iterator[RunEntry]:
        """Yield nothing: the other process knows which runs are undecided."""
        del share
        return iter(())

    def note(self, share: int, *facts: Entry) -> None:
        """Send facts and wait for nothing."""
        del share
        for fact in facts:
            self._tell(write_entry(fact), False)

    async def record(self, share: int, fact: Entry) -> None:
        """Send a fact, and return when it is on disk. Raises :class:`LedgerError`."""
        del share
        self._tell(write_entry(fact), True)
        if reason := await self._answer():
            raise LedgerError(reason)
