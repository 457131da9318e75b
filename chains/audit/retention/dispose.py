"""Deletes evidence whose time is over, after a signed record of it was stored.

The order is the promise: the record is signed, stored and flushed, and only then something is deleted. A
process that is killed leaves a record without its deletion, and the next one goes on from the record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from chains.audit.retention.dispositions import Dispositions, absolute, is_same_store
from chains.audit.retention.judge import State
from chains.audit.retention.record import DispositionRecord, Piece, in_records
from chains.audit.retention.rules import Rules
from chains.audit.retention.survey import Advance, Kept, Surveyor
from chains.errors import InputError
from chains.statements.statement import DISPOSITION
from chains.text import count, excerpt
from signers.sealer import Sealer
from storage.base import Store
from storage.errors import StoreError
from storage.locks import Doomed, LockState
from storage.record import COSIGN_SIGN_PREDICATE, IN_TOTO_PAYLOAD_TYPE

MOST_TOLD = 10_000
_LONGEST = 300
_Key = tuple[str, str]
"""Location and digest of a piece."""
Told = Callable[[DispositionRecord, bytes], None]
"""Takes a record that is stored, and its bundle, before anything is deleted."""


@dataclass(frozen=True, slots=True)
class Approval:
    """Who approved that evidence is deleted, and why."""

    by: str
    reason: str


@dataclass(slots=True)
class Disposal:
    """What was, or would be, deleted."""

    is_applied: bool
    pieces: list[Piece] = field(default_factory=list)
    deleted: int = 0
    records: list[str] = field(default_factory=list)
    """The UIDs of the records that were written."""
    finished: int = 0
    """Pieces of earlier records that were still there."""
    kept: list[tuple[str, str]] = field(default_factory=list)
    """Locations of pieces that may go and are still there, each with the reason."""
    needed: list[str] = field(default_factory=list)
    """Locations of image signatures that may go, and that other evidence about the same image still needs."""
    problems: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 all that may go is gone (or would be), 1 something is still there, 4 a store was not read."""
        if self.problems:
            return 4
        return 1 if self.kept and self.is_applied else 0

    @property
    def summary(self) -> str:
        """The answer in one sentence."""
        if not self.is_applied:
            return f"{count(len(self.pieces), 'piece')} of evidence may go; nothing was changed (no --apply)."
        told = (
            f"{count(self.deleted, 'piece')} of evidence deleted, with {count(len(self.records), 'record')}"
        )
        if self.finished:
            told += f"; {count(self.finished, 'piece')} of earlier records deleted"
        if self.kept:
            told += f"; {count(len(self.kept), 'piece')} still there"
        return f"{told}."

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON values."""
        return {
            "schema": "https://provenance.chains/retention-dispose/v1",
            "summary": self.summary,
            "exitCode": self.exit_code,
            "applied": self.is_applied,
            "deleted": self.deleted,
            "finished": self.finished,
            "records": self.records,
            "pieces": [
                {
                    "location": one.location,
                    "digest": one.digest,
                    "class": one.rule,
                    "run": one.run.uid or None,
                }
                for one in self.pieces[:MOST_TOLD]
            ],
            "kept": [{"location": place, "reason": reason} for place, reason in self.kept[:MOST_TOLD]],
            "needed": self.needed[:MOST_TOLD],
            "problems": self.problems,
        }


class Disposer:
    """Deletes what may go from stores, each record signed by one sealer."""

    def __init__(
        self,
        surveyor: Surveyor,
        dispositions: Dispositions,
        sealer: Sealer | None,
        rules: Rules,
        approval: Approval,
        told: Told = lambda _record, _bundle: None,
    ) -> None:
        self._surveyor, self._dispositions = surveyor, dispositions
        self._sealer, self._rules, self._approval, self._told = sealer, rules, approval, told

    async def dispose(self, stores: Sequence[Store], advance: Advance) -> Disposal:
        """Delete what may go; without a sealer only say what that is."""
        answer = Disposal(self._sealer is not None)
        for store in stores:
            try:
                await self._of(store, answer, advance)
            except StoreError as error:
                answer.problems.append(f"{store.url} cannot be read whole: {error}")
        answer.problems += self._dispositions.problems
        return answer

    async def _of(self, store: Store, answer: Disposal, advance: Advance) -> None:
        doomed: dict[_Key, Piece] = {}
        there: dict[_Key, State] = {}
        images: set[str] = set()
        records: dict[str, tuple[DispositionRecord, bytes]] = {}
        async for kept, total in self._surveyor.pieces(store):
            for one in kept:
                if one.predicate_type == DISPOSITION and one.evidence is not None:
                    found = self._dispositions.read(one.evidence)
                    if found is not None and is_same_store(found.record.store, store.url):
                        records[found.record.uid] = found.record, one.evidence.data
                elif one.state is not State.DISPOSABLE:
                    there[_key(one)] = one.state
                    images.update(one.subjects)
                elif reason := why_not(store, one, self._surveyor.now):
                    there[_key(one)] = one.state
                    answer.kept.append((one.location, reason))
                else:
                    doomed[_key(one)] = _piece(one)
            advance(store.url, total, False)
        for key, piece in list(doomed.items()):
            # two runs may have made one image, whose signature a layout has once
            is_shared = piece.predicate_type == COSIGN_SIGN_PREDICATE and not images.isdisjoint(piece.about)
            if is_shared or key in there:
                answer.needed.append(key[0])
                there[key] = State.DISPOSABLE
                del doomed[key]
        for record, data in records.values():
            await self._finish(store, record, data, doomed, there, answer)
        answer.pieces += doomed.values()
        for group in in_records(list(doomed.values())) if self._sealer is not None else ():
            await self._delete(store, group, answer)

    async def _finish(
        self,
        store: Store,
        record: DispositionRecord,
        data: bytes,
        doomed: dict[_Key, Piece],
        there: dict[_Key, State],
        answer: Disposal,
    ) -> None:
        """Do what an earlier process left undone. What must be kept by now stays, whatever a record says."""
        keys = [(one.location, one.digest) for one in record.pieces]
        waiting = [piece for key in keys if (piece := doomed.pop(key, None)) is not None]
        for key in keys:
            if there.get(key, State.DISPOSABLE) is not State.DISPOSABLE:
                answer.kept.append((key[0], f"a record names it, but it is {there[key].value} now"))
        if self._sealer is None:
            answer.pieces += waiting
            return
        self._told(record, data)
        going = [piece for key, piece in zip(keys, record.pieces, strict=True) if key not in there]
        before = len(answer.kept)
        await self._carry_out(store, going, answer)
        answer.finished += max(0, len(waiting) - (len(answer.kept) - before))

    async def _delete(self, store: Store, group: Sequence[Piece], answer: Disposal) -> None:
        """Write the record of some pieces, store it, and then delete them."""
        record = DispositionRecord(
            absolute(store.url),
            datetime.now(UTC),
            self._approval.by,
            self._approval.reason,
            self._rules.digest,
            tuple(group),
        )
        try:
            payload = record.to_bytes()
        except InputError as error:
            answer.problems.append(f"{store.url}: {error}")
            return
        assert self._sealer is not None  # noqa: S101 - asked by the caller
        sealed = await self._sealer.seal(payload, IN_TOTO_PAYLOAD_TYPE)
        stored = await store.put(record.as_record(payload, sealed.envelope, sealed.bundle))
        if stored.failures or not stored.receipts:
            why = "; ".join(one.reason for one in stored.failures) or "it gave no receipt"
            answer.problems.append(f"{store.url}: the record was not stored, so nothing was deleted: {why}")
            return
        await store.flush()
        answer.records.append(record.uid)
        self._told(record, sealed.bundle)
        before = len(answer.kept)
        await self._carry_out(store, group, answer)
        answer.deleted += len(group) - (len(answer.kept) - before)

    async def _carry_out(self, store: Store, pieces: Sequence[Piece], answer: Disposal) -> None:
        doomed = [Doomed(one.location, one.digest, one.run.uid, one.about) for one in pieces]
        for piece, reason in zip(pieces, await store.delete(doomed), strict=True):
            if reason:
                answer.kept.append((piece.location, excerpt(reason, _LONGEST)))


def why_not(store: Store, kept: Kept, now: datetime) -> str:
    """Return why a piece that may go cannot be deleted, empty if it can."""
    if not store.can_delete:
        return f"evidence in {store.url} cannot be deleted by this program"
    for lock in kept.locks:
        if lock.state is LockState.UNKNOWN:
            return f"{lock.location}: whether it is locked is not known: {lock.detail}"
        if lock.hold:
            return f"{lock.location}: it has a legal hold"
        if lock.until is not None and lock.until > now:
            return f"{lock.location}: it is locked ({lock.mode.lower()}) until {lock.until.isoformat()}"
    return ""


def _piece(kept: Kept) -> Piece:
    demand = kept.demand
    if demand.decides is None or demand.start is None or demand.since is None or demand.until is None:
        raise ValueError(f"{kept.location} is no piece that may go")
    return Piece(
        kept.digest, kept.location, kept.predicate_type, kept.run, demand.decides.name, demand.start.value,
        demand.since, demand.until, kept.subjects, kept.signed_uid,
    )  # fmt: skip


def _key(kept: Kept) -> _Key:
    return kept.location, kept.digest
