"""Signing with a service, or with a result that differs each time: find stored signatures and reuse them.

A stored signature is used again, so that another attempt after a partial failure makes no second log entry
and no second layer. A payload that cannot be signed does not keep the others from their stores.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chains.attest.earlier import NOTHING_YET, Attested
from chains.attest.payloads import Payload
from chains.attest.sign import record_of
from chains.attest.stores import Entry, EntryState, Stores, is_done
from chains.statements import simple_signing
from chains.tekton.snapshot import RunSnapshot, origin_of
from signers.errors import FormatError, SignerError, SignerUnavailable
from signers.formats.dsse import Envelope, pae
from signers.sealer import Material, Sealed, Sealer
from storage.base import FORM_A, FORM_B, Store
from storage.errors import StoreError, StoreUnavailable
from storage.limits.allowance import Allowance, within
from storage.limits.pool import Pool
from storage.record import (
    BUNDLE_FORMAT,
    DSSE_FORMAT,
    IN_TOTO_PAYLOAD_TYPE,
    SIMPLE_SIGNING_FORMAT,
    Evidence,
    Findings,
)

REOPENING = Pool(32 * 1024 * 1024)
"""Bytes of stored evidence that all payloads together may hold while they look for their own in it."""
_PIECES = 8
_MATERIAL_BYTES = 64 * 1024
"""Bytes of the certificate, log entry and timestamp of one signature."""
_MOST_SUBJECTS = 4
"""Subjects that are asked for. A payload is stored with each of them, so a few are enough to find it."""


async def attest_payloads(
    run: RunSnapshot,
    payloads: Sequence[tuple[Payload, Sealer]],
    stores: Stores,
    may_go_on: Callable[[], None] = lambda: None,
    earlier: Sequence[Attested] = (),
    *,
    log: bool,
) -> list[Attested]:
    """Seal and store all payloads concurrently; each has its own entries, whatever happens to others.

    ``may_go_on`` is called before a payload is sealed and before it is stored; what it raises is raised when
    all payloads have ended. ``earlier`` is the result of an earlier attempt for each payload; what has a
    receipt is not stored again.
    """
    before = earlier or [NOTHING_YET] * len(payloads)
    work = _Work(run, stores, may_go_on, log)
    attempts = (
        _attest(work, payload, sealer, known)
        for (payload, sealer), known in zip(payloads, before, strict=True)
    )
    ended = await asyncio.gather(*attempts, return_exceptions=True)
    found = []
    for one in ended:
        if isinstance(one, BaseException):
            raise one
        found.append(one)
    return found


@dataclass(frozen=True, slots=True)
class _Work:
    """What all payloads of one run share; ``log`` says whether signatures go to the log."""

    run: RunSnapshot
    stores: Stores
    may_go_on: Callable[[], None]
    log: bool


async def _attest(work: _Work, payload: Payload, sealer: Sealer, earlier: Attested) -> Attested:
    run, stores, log = work.run, work.stores, work.log
    chosen = stores.chosen(payload.stores)
    # 1. nothing to do if an earlier attempt stored it everywhere
    done = [store for store in chosen if is_done(store, earlier.entries)]
    if len(done) == len(chosen):
        return earlier
    # 2. find signatures that are stored already, if signing again would give others
    stored = _NONE
    silent: dict[Store, StoreUnavailable] = {}
    if not sealer.repeats(log=log):
        stored, silent = await _reopened(run, payload, sealer, stores, log=log)
        silent = {store: reason for store, reason in silent.items() if store not in done}
    # a store that cannot answer may have the payload already; another attempt stores it there
    unasked = tuple(_unasked(payload.kind, store, error) for store, error in silent.items())
    silent_urls = {store.url for store in silent}
    unasked += tuple(one for one in earlier.entries if one.is_received and one.store in silent_urls)
    if unasked and len(silent) == len(chosen):
        return Attested(unasked)
    # 3. seal what was not found
    work.may_go_on()
    try:
        sealed, raw = await _sealed(payload, sealer, chosen, stored, log=log)
    except SignerError as error:
        transient = isinstance(error, SignerUnavailable)
        failed = Entry(
            payload.kind, "", "", "", EntryState.FAILED, f"not signed: {error}", transient=transient
        )
        return Attested((failed,))
    simple = simple_signing.build(payload.image) if payload.image is not None else b""
    record = record_of(run, payload, sealed, simple, raw)
    # 4. store it, unless another replica took the run over while it was sealed
    work.may_go_on()
    entries = await stores.put(payload.kind, record, payload.stores, silent, earlier.entries)
    logged = tuple(one.entry_url for one in (sealed, raw) if one is not None and one.entry_url)
    return Attested((*entries, *unasked), logged)


def _unasked(kind: str, store: Store, error: StoreUnavailable) -> Entry:
    reason = f"cannot tell what it has: {error}"
    return Entry(kind, store.url, "", "", EntryState.FAILED, reason, transient=True, host=error.host)


@dataclass(frozen=True, slots=True)
class _Reopened:
    """What an earlier attempt sealed and stored, in the two forms of a payload."""

    envelope: Sealed | None = None
    signature: Sealed | None = None


_NONE = _Reopened()


async def _reopened(
    run: RunSnapshot, payload: Payload, sealer: Sealer, stores: Stores, *, log: bool
) -> tuple[_Reopened, dict[Store, StoreUnavailable]]:
    """Return the signatures that are stored already, and the error of each store that could not answer.

    A store may be full of unrelated evidence. Only evidence with exactly this payload is kept, and the bytes
    that are held at a time are limited for the whole process.
    """
    simple = simple_signing.build(payload.image) if payload.image is not None else b""
    encoded = b64encode(payload.statement)
    largest = 2 * len(encoded) + _MATERIAL_BYTES
    allowed = Allowance(
        min(_PIECES * largest, REOPENING.size), largest, lambda data: data == simple or encoded in data
    )
    with await REOPENING.hold(allowed.most):
        with within(allowed):
            found, silent = await _look(run, payload, stores)
        found = [one for one in found if one.data]
        envelope = await _stored_envelope(payload.statement, sealer, found, log=log)
        signature = await _stored_signature(simple, sealer, found, log=log) if simple else None
    return _Reopened(envelope, signature), silent


async def _sealed(
    payload: Payload, sealer: Sealer, stores: Sequence[Store], stored: _Reopened, *, log: bool
) -> tuple[Sealed | None, Sealed | None]:
    if payload.image is None:
        return await _envelope(payload.statement, stored, sealer, log=log), None
    # an image has a signature for each form; one that no store keeps would only fill the log
    statement = payload.statement if any(store.wants(FORM_B) for store in stores) else None
    simple = simple_signing.build(payload.image) if any(store.wants(FORM_A) for store in stores) else None
    # concurrently, since a log takes a second; both are awaited, since a signature left behind would be lost
    sealed, raw = await asyncio.gather(
        _envelope(statement, stored, sealer, log=log),
        _signature(simple, stored, sealer, log=log),
        return_exceptions=True,
    )
    if isinstance(sealed, BaseException):
        raise sealed
    if isinstance(raw, BaseException):
        raise raw
    return sealed, raw


async def _envelope(
    statement: bytes | None, stored: _Reopened, sealer: Sealer, *, log: bool
) -> Sealed | None:
    if statement is None:
        return None
    return stored.envelope or await sealer.seal(statement, IN_TOTO_PAYLOAD_TYPE, log=log)


async def _signature(simple: bytes | None, stored: _Reopened, sealer: Sealer, *, log: bool) -> Sealed | None:
    if simple is None:
        return None
    return stored.signature or await sealer.sign(simple, log=log)


async def _look(
    run: RunSnapshot, payload: Payload, stores: Stores
) -> tuple[list[Evidence], dict[Store, StoreUnavailable]]:
    """Return the evidence about a payload in its stores, and the error of each that could not answer."""
    subjects = [item for item in payload.subjects if (item.digest or {}).get("sha256")]
    found: list[Evidence] = []
    silent: dict[Store, StoreUnavailable] = {}
    for store in stores.chosen(payload.stores):
        questions = [
            store.within(origin_of(run)).find(
                f"sha256:{(item.digest or {})['sha256']}", item.name.removeprefix("oci://")
            )
            for item in subjects[:_MOST_SUBJECTS]
        ]
        answers = await asyncio.gather(*questions, store.find_run(run.uid), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, Findings):
                found += answer.evidence
            elif isinstance(answer, StoreUnavailable):
                silent[store] = answer
            elif not isinstance(
                answer, StoreError
            ):  # any other StoreError: the store does not serve such subjects
                raise answer
    return found, silent


async def _stored_envelope(
    statement: bytes, sealer: Sealer, found: Sequence[Evidence], *, log: bool
) -> Sealed | None:
    for one in found:
        if one.format == BUNDLE_FORMAT:
            sealed = await sealer.reopen_bundle(one.data, statement, IN_TOTO_PAYLOAD_TYPE, log=log)
            if sealed is not None:
                return sealed
    for one in found:
        if one.format != DSSE_FORMAT:
            continue
        try:
            envelope = Envelope.from_bytes(one.data)
            material = _material(one)
        except FormatError:
            continue
        if (envelope.payload, envelope.payload_type) == (statement, IN_TOTO_PAYLOAD_TYPE):
            data, signature = pae(IN_TOTO_PAYLOAD_TYPE, statement), envelope.signatures[0].sig
            sealed = await sealer.reopen(data, signature, material, envelope=envelope, log=log)
            if sealed is not None:
                return sealed
    return None


async def _stored_signature(
    simple: bytes, sealer: Sealer, found: Sequence[Evidence], *, log: bool
) -> Sealed | None:
    for one in found:
        if one.format != SIMPLE_SIGNING_FORMAT or one.data != simple:
            continue
        try:
            material = _material(one)
        except FormatError:
            continue
        sealed = await sealer.reopen(simple, one.signature, material, log=log)
        if sealed is not None:
            return sealed
    return None


def _material(one: Evidence) -> Material:
    if not any(name.startswith(("dev.sigstore.cosign/", "provenance.chains/")) for name in one.annotations):
        return Material()
    from signers.sigstore.sealer import material_of_annotations  # noqa: PLC0415 - needs the network's packages

    return material_of_annotations(one.annotations)
