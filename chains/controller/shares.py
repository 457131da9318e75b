"""Which runs belong to this replica: the runs are divided into shares by UID, and each share is held by a
Lease.

The holder works on a share for two thirds of the Lease's duration after its last renewal was *sent*. Another
replica takes the share only when the whole duration has passed since that renewal was *seen*. Each side
measures with its own monotonic clock, so clocks of two machines are never compared. Work on a run has a
permit of the current term, which ends with the term.

Replicas that divide the runs into different numbers of shares never work at the same time. A share is taken
only if no Lease of another number is alive, which is checked again after the Lease was written.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from chains.cluster.errors import ClusterError, ObjectChanged
from chains.cluster.leases import LeaseRecord, LeaseTable
from chains.controller.permit import Permit, share_of_uid
from chains.tekton.runs import Job

_FENCE, _STEP, _RENEW = 2 / 3, 1 / 15, 2 / 15
"""Parts of a Lease's duration: how long a renewal is valid for the holder; between two checks; between two
renewals."""
_RELEASE_TRIES = 3
_log = logging.getLogger("chains.shares")


def share_of(job: Job, count: int) -> int:
    """Return the share of a run. A TaskRun has the share of its PipelineRun, so that one replica has both."""
    return share_of_uid(job.owner or job.uid, count)


@dataclass(slots=True, eq=False)
class _Term:
    renewed: float
    until: float
    handing_over: float | None = None


@dataclass(slots=True)
class _Sight:
    """When a record was first seen in this state, by our clock, and how long other replicas may go first."""

    key: tuple[str, str, int]
    since: float
    patience: float


@dataclass(frozen=True, slots=True)
class Events:
    """What is called when a share is gained or lost; ``is_busy`` returns whether runs of a share are in
    work."""

    gained: Callable[[int], None] = lambda _: None
    lost: Callable[[int], None] = lambda _: None
    is_busy: Callable[[int], bool] = lambda _: False


@dataclass(slots=True)
class Shares:
    """The shares of one replica among ``count``. Without a ``table`` it is the only replica and holds all of
    them.

    ``ordinal`` is the replica's own share. ``identity`` must differ at every start. ``seconds`` is the
    duration of the Leases.
    """

    count: int = 1
    ordinal: int = 0
    identity: str = ""
    table: LeaseTable | None = None
    seconds: int = 15
    events: Events = field(default_factory=Events)
    clock: Callable[[], float] = time.monotonic
    _terms: dict[int, _Term] = field(default_factory=dict)
    _sights: dict[int, _Sight] = field(default_factory=dict)
    _stopping: bool = False
    _trouble: str = ""

    def __post_init__(self) -> None:
        if self.table is None:
            self._terms = {share: _Term(0.0, float("inf")) for share in range(self.count)}

    @property
    def held(self) -> list[int]:
        """The shares on which work may begin now."""
        return [share for share in sorted(self._terms) if self._open(share) is not None]

    def admit(self, job: Job) -> Permit | None:
        """Return the permit to work on a run, None if this replica does not hold its share."""
        share = share_of(job, self.count)
        term = self._open(share)
        if term is None:
            return None
        return lambda: self._terms.get(share) is term and self.clock() < term.until

    def _open(self, share: int) -> _Term | None:
        term = self._terms.get(share)
        if term is None or self._stopping or term.handing_over is not None or self.clock() >= term.until:
            return None
        return term

    def stop(self) -> None:
        """Admit no more runs. Runs in work keep their permits."""
        self._stopping = True

    async def run(self) -> None:
        """Renew and take Leases until cancelled. A single replica has none."""
        table = self.table
        if table is None:
            await asyncio.Event().wait()
            return
        while True:
            try:
                await self.step(table)
                if self._trouble:
                    _log.info("the leases can be reached again")
                self._trouble = ""
            except ObjectChanged:
                pass  # another replica wrote the Lease first: the next step reads it
            except ClusterError as error:
                if not self._trouble:
                    _log.warning("the leases cannot be renewed", extra={"reason": str(error)})
                self._trouble = str(error)
            self._expire()
            await asyncio.sleep(self.seconds * _STEP)

    async def step(self, table: LeaseTable) -> None:
        """Check every Lease once: renew, hand over or take it. Raises :class:`ClusterError`."""
        self._expire()
        records = self._see(await table.read())
        for share in sorted(range(self.count), key=lambda share: share != self.ordinal):
            record = records.get(share, LeaseRecord())
            if share in self._terms:
                await self._keep(table, share, record)
            elif not self._stopping:
                await self._seek(table, share, record, records)

    async def release(self) -> None:
        """Release all shares, as the last step. A Lease that cannot be written expires by itself."""
        if self.table is None:
            return
        for share in list(self._terms):
            self._lose(share, "the replica ends")
        for _ in range(_RELEASE_TRIES):
            try:
                for share, record in (await self.table.read()).items():
                    if record.holder == self.identity:
                        await self.table.write(share, replace(record, holder=""))
            except ObjectChanged:
                continue
            except ClusterError as error:
                _log.warning("the leases were not released and expire", extra={"reason": str(error)})
            return

    def _see(self, records: Mapping[int, LeaseRecord]) -> Mapping[int, LeaseRecord]:
        now = self.clock()
        for share in {*range(self.count), *records}:
            record = records.get(share, LeaseRecord())
            key = (record.holder, record.renewed, record.transitions)
            sight = self._sights.get(share)
            if sight is None or sight.key != key:
                patience = self.seconds * _STEP * random.uniform(1, 3)  # noqa: S311 - jitter
                self._sights[share] = _Sight(key, now, patience)
        return records

    def _is_alive(self, share: int, record: LeaseRecord) -> bool:
        return bool(record.holder) and self.clock() - self._sights[share].since < record.seconds

    def _may_take(self, share: int, record: LeaseRecord) -> bool:
        if record.holder == self.identity:
            return True  # our own: the term ended without a renewal, and no other replica took it since
        if self._is_alive(share, record):
            return False
        sight = self._sights[share]
        if share == self.ordinal:
            return True
        wait = record.seconds if record.holder or record.wanted_by else 0
        return self.clock() - sight.since >= wait + (
            sight.patience if record.holder else self.seconds * _STEP
        )

    async def _keep(self, table: LeaseTable, share: int, record: LeaseRecord) -> None:
        term, now = self._terms[share], self.clock()
        if record.holder != self.identity:
            self._lose(share, f"{record.holder or 'nobody'} has its lease")
            return
        if record.wanted_by and share != self.ordinal and term.handing_over is None:
            _log.info("share is wanted back", extra={"share": share, "by": record.wanted_by})
            term.handing_over = now
        asked = term.handing_over
        if asked is not None and (now - asked > self.seconds or not self.events.is_busy(share)):
            self._lose(share, f"handed over to {record.wanted_by}")
            await table.write(share, replace(record, holder=""))
        elif now - term.renewed >= self.seconds * _RENEW:
            await table.write(share, replace(record, renewed=_now(), seconds=self.seconds))
            # a term that ended during the request stays ended, because runs were turned away since
            self._expire()
            if self._terms.get(share) is term:
                term.renewed, term.until = now, now + self.seconds * _FENCE

    async def _seek(
        self, table: LeaseTable, share: int, record: LeaseRecord, records: Mapping[int, LeaseRecord]
    ) -> None:
        if self._divided_otherwise(records):
            return
        if not self._may_take(share, record):
            if share == self.ordinal and record.wanted_by != self.identity:
                await table.write(share, replace(record, wanted_by=self.identity))
            return
        started, before = self.clock(), record.holder
        taken = replace(
            record,
            holder=self.identity,
            seconds=self.seconds,
            acquired=_now(),
            renewed=_now(),
            transitions=record.transitions + bool(record.version),
            replicas=self.count,
            wanted_by="",
        )
        await table.write(share, taken)
        after = self._see(await table.read())
        if after.get(share, LeaseRecord()).holder != self.identity:
            return
        if self._divided_otherwise(after):
            await table.write(share, replace(after[share], holder=""))
            return
        self._terms[share] = _Term(started, started + self.seconds * _FENCE)
        _log.info("share is gained", extra={"share": share, "of": self.count, "before": before})
        self.events.gained(share)

    def _divided_otherwise(self, records: Mapping[int, LeaseRecord]) -> bool:
        return any(
            record.replicas != self.count and self._is_alive(share, record)
            for share, record in records.items()
        )

    def _expire(self) -> None:
        for share, term in list(self._terms.items()):
            if self.clock() >= term.until:
                self._lose(share, "its lease was not renewed in time")

    def _lose(self, share: int, reason: str) -> None:
        if self._terms.pop(share, None) is not None:
            _log.info("share is lost", extra={"share": share, "of": self.count, "reason": reason})
            self.events.lost(share)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
