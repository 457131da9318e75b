"""Keeps the ledger: follows the configuration, writes heartbeats, closes days and stores their statements."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from time import monotonic as time_of_day

import orjson

from chains.assembly.ledger import LedgerParts
from chains.audit.exemptions import changes, entries_of
from chains.audit.ledger.close import SealedDay, Written, due_days, seal_day
from chains.audit.ledger.entries import Configured, Entry, Exemption, Keys, fit
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import STORED, LogFolder
from chains.audit.ledger.replay import ONE_DAY
from chains.audit.ledger.stored import record_of
from chains.audit.ledger.succession import end_others, predecessors, take_over
from chains.audit.ledger.witness.client import ForkError, WitnessClient
from chains.audit.ledger.witness.stored import cosign_day, missing_days
from chains.audit.ledger.writer import LogWriter, now
from chains.controller.flow import FlowInForce
from chains.controller.ledger.facts import names_that_fit
from chains.controller.ledger.ledger import Ledger
from chains.controller.ledger.recorder import Place, Recorder
from chains.controller.ledger.records import SHARE
from chains.controller.permit import share_of_uid
from chains.errors import ChainsError
from chains.policy.document.load import load_policies
from signers.errors import SignerError
from storage.durable import replace_file
from storage.errors import StoreError
from storage.record import Receipt

INTERVAL = 30.0
"""Seconds between two looks at what is due."""
_AFTER_MIDNIGHT = timedelta(seconds=10)
"""How long after its end a day is closed."""
_MOST_STORED = 31
"""The most statements that are stored in one look, the oldest first."""
WITNESS_PAUSE = 600.0
"""Seconds after which a witness that did not sign is asked again."""
_log = logging.getLogger("chains.ledger")


class Keeper:
    """Keeps the ledger of a replica that holds the shares ``held`` of ``count``."""

    def __init__(
        self,
        ledger: Ledger,
        recorder: Recorder,
        held: Callable[[], Sequence[int]],
        count: int,
        *,
        interval: float = INTERVAL,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.ledger, self._recorder, self._held, self._count = ledger, recorder, held, count
        self._interval, self._clock = interval, clock
        self._parts: LedgerParts | None = None
        self._place: Place | None = None
        self._is_new = False
        self._data: dict[str, str] | None = None
        self._told: set[str] = set()
        self._exempt: list[Exemption] = []
        """The exemptions that were noted."""
        self._wake = asyncio.Event()
        self._linked: dict[Path, set[str]] = {}
        """The logs for which each log goes on, as far as they were looked at."""
        self._clients: Sequence[WitnessClient] = ()
        self._ask_at: dict[tuple[Path, str], float] = {}
        self.forks: set[tuple[Path, str]] = set()
        """The logs of which a witness signed another history, with its name."""
        self.on_begin: Callable[[], object] = lambda: None
        """Is called when the ledger begins, or goes on at another place: all runs are to be looked at."""
        self.closed_until: datetime | None = None
        """The end of the last day that is closed in every log of this replica."""

    def take(self, flow: FlowInForce) -> None:
        """Follow a configuration that came into force."""
        parts = self._parts = flow.ledger
        if parts is None:
            self.ledger.is_on, self._place = False, None
            self._recorder.move(None, ())
            return
        place = Place(Path(parts.settings.folder), parts.settings.origin, self._count, self._clock)
        self._recorder.move(place, self._preface(flow, parts))
        self._is_new = self._is_new or place != self._place
        self.ledger.is_on, self._place = True, place
        self._wake.set()

    def release(self, share: int) -> None:
        """Close the log of a share that belongs to another replica now."""
        self._recorder.release(share)

    def regain(self, share: int) -> None:
        """Write the log of a share that belongs to this replica now."""
        self._recorder.regain(share)

    async def close(self) -> None:
        """Write what waits, and close all logs; give up after some seconds if the disk hangs."""
        await self._recorder.close()
        for client in self._clients:
            await client.close()

    def _preface(self, flow: FlowInForce, parts: LedgerParts) -> Sequence[Entry]:
        before, self._data = self._data, dict(flow.data)
        names = sorted(self._data.keys() | (before or {}).keys())
        changed = [name for name in names if before is not None and before.get(name) != self._data.get(name)]
        return preface(flow, parts, changed, self._clock())

    async def run(self) -> None:
        """Look every half minute until cancelled."""
        while True:
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - the next look may go well
                _log.exception("the ledger could not be kept")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            self._wake.clear()

    async def look(self) -> None:
        """Write heartbeats, close the days that are over, and store what is not stored yet."""
        parts = self._parts
        if parts is None:
            return
        self._recorder.beat(self._held())
        await self._recorder.settle(lambda: None)  # the logs are open now, if they can be
        if self._is_new and self._recorder.writers:
            self._is_new = False
            self.on_begin()
        writers = dict(self._recorder.writers)
        told: set[str] = set()
        await self._try("a log of the ledger cannot be ended", self._end_others(parts, told), told)
        for writer in writers.values():
            await self._try("a log of the ledger cannot go on for others", self._take_over(writer), told)
        await self._try("exemptions cannot be noted", self._note_exemptions(parts), told)
        # all are closed first: a store that does not answer must leave no day unsigned
        for share, writer in writers.items():
            await self._try("a day of the ledger cannot be closed", self._close(share, writer, parts), told)
        for writer in writers.values():
            await self._try(
                "a statement of the ledger cannot be stored", self._store(writer.log, parts), told
            )
        for writer in writers.values():
            await self._cosign(writer.log, parts, told)
        self._told = told
        logs = [writer.log for writer in writers.values()]
        self.closed_until = await asyncio.to_thread(_closed_in_all, logs)

    async def _try(self, what: str, work: Awaitable[None], told: set[str]) -> bool:
        """Do a part of the work for one log, and add to ``told`` why it failed: the other logs go on."""
        try:
            await work
        except Exception as error:  # noqa: BLE001 - each log on its own
            reason = str(error) or type(error).__name__
            if reason not in self._told | told:
                is_expected = isinstance(error, (ChainsError, SignerError, StoreError, OSError))
                _log.error(what, extra={"reason": reason}, exc_info=None if is_expected else error)
            told.add(reason)
            return False
        return True

    async def _note_exemptions(self, parts: LedgerParts) -> None:
        """Note the exemptions of the configured policies that are news since the last look."""
        path = parts.settings.policies
        if not path:
            self._exempt = []
            return
        if SHARE not in self._recorder.writers:
            return
        policies = await asyncio.to_thread(load_policies, Path(path))
        at = self._clock()
        found = entries_of(policies, at)
        for one in changes(self._exempt, found, at):
            await self._recorder.record(SHARE, one)
        self._exempt = found

    async def _close(self, share: int, writer: LogWriter, parts: LedgerParts) -> None:
        log, today = writer.log, (self._clock() - _AFTER_MIDNIGHT).date()
        for day in await asyncio.to_thread(lambda: list(due_days(log, today))):
            # in the thread that writes: afterwards nothing is written to that day any more
            await self._recorder.settle(partial(writer.end_day, day))
            made = await asyncio.to_thread(_seal, log, day, parts, self._clock(), writer.head_of)
            # in the thread that writes, too: it is the one that gives the log up when the share is lost
            await self._recorder.settle(partial(self._write, share, writer, made))
            statement = made.statement
            _log.info(
                "a day of the ledger is closed",
                extra={"log": statement.log, "day": day.isoformat(), "entries": statement.after.size},
            )

    async def _take_over(self, writer: LogWriter) -> None:
        """Let a log go on for those that ended and name it."""
        folder = writer.log.path.parent
        known = self._linked.setdefault(writer.log.path, set())
        ended = await asyncio.to_thread(predecessors, folder, writer.log, known)
        if ended:
            await self._recorder.settle(partial(take_over, writer, ended, share_of_uid))

    async def _end_others(self, parts: LedgerParts, told: set[str]) -> None:
        """End the logs that are no share's any more, and close and store their days.

        The replica that holds the first share does it for all.
        """
        if 0 not in self._held():
            return
        settings = parts.settings
        logs, errors = await asyncio.to_thread(
            end_others, Path(settings.folder), settings.origin, self._count, share_of_uid, self._clock
        )
        for log in logs:
            await self._try("a day of the ledger cannot be closed", self._close_ended(log, parts, told), told)
        for error in errors:
            await self._try("a log of the ledger cannot be ended", _raise(error), told)

    async def _close_ended(self, log: LogFolder, parts: LedgerParts, told: set[str]) -> None:
        today = (self._clock() - _AFTER_MIDNIGHT).date()
        due = await asyncio.to_thread(lambda: list(due_days(log, today)))
        if due:
            open_it = partial(LogWriter, log.path, log.origin(), self._clock, goes_on=False)
            writer = await asyncio.to_thread(open_it)
            try:
                for day in due:
                    made = await asyncio.to_thread(_seal, log, day, parts, self._clock())
                    await asyncio.to_thread(made.write, log)
            finally:
                await asyncio.to_thread(partial(writer.close, ends=False))
        await self._store(log, parts)
        await self._cosign(log, parts, told)

    async def _cosign(self, log: LogFolder, parts: LedgerParts, told: set[str]) -> None:
        """Let each witness sign the closed days of a log; one that fails is asked again after a pause."""
        for client in self._clients_of(parts):
            at = (log.path, client.name)
            if time_of_day() >= self._ask_at.get(at, 0.0):
                self._ask_at[at] = time_of_day() + WITNESS_PAUSE
                work = self._ask(log, client)
                if await self._try("a witness did not sign a day of the ledger", work, told):
                    self._ask_at.pop(at)

    def _clients_of(self, parts: LedgerParts) -> Sequence[WitnessClient]:
        if tuple((one.url, one.key) for one in self._clients) != parts.witnesses:
            self._clients = [WitnessClient(url, key) for url, key in parts.witnesses]
        return self._clients

    async def _ask(self, log: LogFolder, client: WitnessClient) -> None:
        key = (log.path, client.name)
        try:
            known, days = await asyncio.to_thread(missing_days, log, client.key)
            for day in days:
                known = await cosign_day(log, day, known, client)
        except ForkError:
            self.forks.add(key)
            raise
        self.forks.discard(key)

    def _write(self, share: int, writer: LogWriter, made: SealedDay) -> None:
        if self._recorder.writers.get(share) is not writer:
            raise LedgerError(
                f"{writer.log.path}: the log was given up while {made.statement.day.isoformat()} was signed: "
                "its next writer closes that day"
            )
        made.write(writer.log)

    async def _store(self, log: LogFolder, parts: LedgerParts) -> None:
        if not parts.stores:
            return
        for day in await asyncio.to_thread(_not_stored, log):
            record = await asyncio.to_thread(record_of, log, day)
            receipts: list[Receipt] = []
            for store in parts.stores:
                stored = await store.put(record)
                await store.flush()
                if stored.failures:
                    raise StoreError(f"{store.url}: {stored.failures[0].reason}")
                receipts += stored.receipts
            told = [{"store": one.store, "location": one.location, "digest": one.digest} for one in receipts]
            await asyncio.to_thread(replace_file, log.file(day, STORED), orjson.dumps(told), fsync=True)


def preface(flow: FlowInForce, parts: LedgerParts, changed: Iterable[str], at: datetime) -> Sequence[Entry]:
    """Return the entries that say which configuration and which keys are in force."""
    digest = hashlib.sha256(orjson.dumps(dict(flow.data), option=orjson.OPT_SORT_KEYS)).hexdigest()
    signers = sorted({fit(sealer.signer.keyid or "keyless") for sealer in flow.all_sealers()})
    return (
        Configured(at, digest, names_that_fit(map(fit, changed))),
        Keys(at, names_that_fit(signers), fit(parts.sealer.signer.keyid)),
    )


async def _raise(error: LedgerError) -> None:
    raise error


def _seal(
    log: LogFolder, day: date, parts: LedgerParts, at: datetime, written: Written | None = None
) -> SealedDay:
    return seal_day(log, day, parts.sealer, at, transparency=parts.settings.transparency, written=written)


def _not_stored(log: LogFolder) -> list[date]:
    closed = [day for day in log.days() if log.is_closed(day)]
    return [day for day in closed if not log.file(day, STORED).exists()][:_MOST_STORED]


def _closed_until(log: LogFolder) -> datetime | None:
    closed = [day for day in log.days() if log.is_closed(day)]
    return datetime.combine(closed[-1] + ONE_DAY, time(), UTC) if closed else None


def _closed_in_all(logs: Sequence[LogFolder]) -> datetime | None:
    """Return the end of the last day that is closed in all logs that can be read, and have one."""
    ends = []
    for log in logs:
        with suppress(LedgerError, OSError):
            ends.append(_closed_until(log))
    return min((end for end in ends if end is not None), default=None)
