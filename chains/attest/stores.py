"""Puts records into every store that the configuration names for them; each gives at least one entry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from chains.errors import ConfigError
from chains.masking.forms import mask
from chains.tracing import fail, span
from storage.base import Probe, Store
from storage.errors import StoreError, StoreUnavailable
from storage.record import Absence, Failure, Findings, Platform, Receipt, Record, Stored


class EntryState(StrEnum):
    """The state of one payload in one store; ``unchanged`` was stored before, byte for byte."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    SKIPPED = "skipped"


THERE = frozenset({EntryState.STORED, EntryState.UNCHANGED})
"""The states of an entry with a receipt."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The result for one payload in one store, for one subject and form.

    ``detail`` is the location if it is stored, else the reason.
    """

    payload: str
    store: str
    form: str
    subject: str
    state: EntryState
    detail: str
    digest: str = ""
    transient: bool = False
    host: str = ""
    """The host that did not answer (``scheme://host:port``), if that is why it failed."""
    signer: str = ""
    """The name of a further signer (``signers.extra``); empty for the artifact's own."""
    absence: Absence = ""
    """Whether it failed because its subject is absent."""

    @property
    def told(self) -> str:
        """The location, or the reason without what looks like a secret."""
        return self.detail if self.state in THERE else mask(self.detail)

    @property
    def is_received(self) -> bool:
        """Whether it is stored for good. Annotations are not until the run is marked: they never count."""
        return self.state in THERE and self.form != "annotation"


class ClosedStore(Store):
    """Takes the place of a store that could not be opened. Everything put there fails for now."""

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason

    async def put(self, record: Record) -> Stored:
        """Store nothing. The failure passes when the configuration is mended."""
        del record
        return Stored(failures=(Failure(self.url, "", "", self.reason, transient=True),))

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Return why the store could not be opened."""
        del places
        return [Probe("open", "failed", self.reason, "mend the keys of this store")]

    async def platforms(self, digest: str, reference: str) -> tuple[Platform, ...] | None:
        """Raise :class:`StoreUnavailable`: the store that could not be opened may know."""
        del digest, reference
        raise StoreUnavailable(self.reason)

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Raise :class:`StoreUnavailable`."""
        del digest, reference
        raise StoreUnavailable(self.reason)


class Stores:
    """The open stores by the names that payloads use (``oci``). Those named ``*`` take everything."""

    EVERYTHING = "*"

    def __init__(self, by_name: Mapping[str, Sequence[Store]]) -> None:
        self._by_name = {name: tuple(stores) for name, stores in by_name.items()}
        self._all = tuple(dict.fromkeys(store for stores in self._by_name.values() for store in stores))

    @property
    def all(self) -> tuple[Store, ...]:
        """Every store once."""
        return self._all

    def exchanged(self, change: Callable[[Store], Store]) -> Stores:
        """Return these stores, each replaced by what ``change`` returns for it."""
        changed = {store: change(store) for store in self._all}
        return Stores({name: [changed[store] for store in stores] for name, stores in self._by_name.items()})

    def chosen(self, names: Sequence[str]) -> tuple[Store, ...]:
        """Return the stores with these names. Raises :class:`ConfigError` for a store that is not open."""
        everything = self._by_name.get(self.EVERYTHING)
        if everything is not None:
            return everything
        missing = [name for name in names if name not in self._by_name]
        if missing:
            raise ConfigError(f"no store is open for {', '.join(missing)}")
        return tuple(store for name in names for store in self._by_name[name])

    async def put(
        self,
        payload: str,
        record: Record,
        names: Sequence[str],
        without: Container[Store] = (),
        earlier: Sequence[Entry] = (),
    ) -> list[Entry]:
        """Store one record in each of its stores, all at once, but in none of ``without``.

        ``earlier`` are the entries of an earlier attempt with the same payload: what has a receipt is not
        stored again.
        """
        stores = self.chosen(names)
        if without:
            stores = tuple(store for store in stores if store not in without)
        if len(stores) == 1:
            return await _put(stores[0], payload, record, earlier)
        found = await asyncio.gather(*(_put(store, payload, record, earlier) for store in stores))
        return [entry for entries in found for entry in entries]

    def closed(self) -> list[str]:
        """Return the reason of each store that could not be opened."""
        return [store.reason for store in self._all if isinstance(store, ClosedStore)]

    async def flush(self) -> dict[str, str]:
        """Flush every store; return, by store URL, why a store could not. Its receipts then do not count."""
        failed = {}
        for store in self._all:
            try:
                await store.flush()
            except StoreError as error:
                failed[store.url] = str(error)
        return failed

    async def close(self) -> None:
        """Release all connections and files."""
        for store in self._all:
            # the outcomes already say what a store could not flush; the other stores have to be closed too
            with suppress(StoreError):
                await store.close()


def without_lost(entries: tuple[Entry, ...], lost: Mapping[str, str]) -> tuple[Entry, ...]:
    """Return the entries after a flush that some stores failed; ``lost`` has the reasons by store URL.

    The entries of such a store fail, because none of its receipts counts. Entries of other stores stay.
    Another attempt can help: it stores the failed entries again.
    """
    if not any(entry.store in lost and entry.state in THERE for entry in entries):
        return entries
    return tuple(
        replace(entry, state=EntryState.FAILED, detail=lost[entry.store], digest="", transient=True)
        if entry.store in lost and entry.state in THERE
        else entry
        for entry in entries
    )


def is_done(store: Store, earlier: Sequence[Entry]) -> bool:
    """Whether an earlier attempt stored everything in a store."""
    there = [entry for entry in earlier if entry.store == store.url and entry.state != EntryState.SKIPPED]
    return bool(there) and all(entry.is_received for entry in there)


async def _put(store: Store, payload: str, record: Record, earlier: Sequence[Entry] = ()) -> list[Entry]:
    if not earlier:
        return await _put_all(store, payload, record)
    mine = [entry for entry in earlier if entry.store == store.url]
    if is_done(store, mine):
        return mine
    received = {entry.detail: entry for entry in mine if entry.is_received}
    found = await _put_all(store, payload, replace(record, received=frozenset(received)))
    return [received.get(entry.detail, entry) for entry in found]


async def _put_all(store: Store, payload: str, record: Record) -> list[Entry]:
    with span("store", payload=payload, store=store.url, bytes=len(record.payload)):
        stored = await store.put(record)
        fail(stored.failures[0].reason if stored.failures else "")
    entries = [_received(payload, receipt) for receipt in stored.receipts]
    entries += [_failed(payload, failure, EntryState.FAILED) for failure in stored.failures]
    entries += [_failed(payload, failure, EntryState.SKIPPED) for failure in stored.skipped]
    if not entries:
        reason = "no subject that this store can hold"
        entries.append(Entry(payload, store.url, "", "", EntryState.SKIPPED, reason))
    return entries


def _received(payload: str, receipt: Receipt) -> Entry:
    state = EntryState.STORED if receipt.changed else EntryState.UNCHANGED
    return Entry(
        payload, receipt.store, receipt.form, receipt.subject, state, receipt.location, receipt.digest
    )


def _failed(payload: str, failure: Failure, state: EntryState) -> Entry:
    return Entry(
        payload,
        failure.store,
        failure.form,
        failure.subject,
        state,
        failure.reason,
        transient=failure.transient,
        absence=failure.absence,
        host=failure.host,
    )
