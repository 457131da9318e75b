"""The flow for one run: payloads, signatures, receipts.

The outcome has an entry for each payload, store, subject and form. The command, the controller and programs
use the same flow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from chains.attest.earlier import NOTHING_YET, Attested, Earlier, is_as_before, key_of
from chains.attest.image_environment import ImageReader
from chains.attest.outcome import FAILED, SIGNED, SKIPPED, Outcome
from chains.attest.payloads import IMAGE_SIGNATURE, PROVENANCE, Payload, build_payloads, warnings
from chains.attest.platforms import read_platforms
from chains.attest.reuse import attest_payloads
from chains.attest.sign import sign
from chains.attest.stores import Entry, EntryState, Stores, without_lost
from chains.config.extra_signers import choose_extra
from chains.config.parse import Config
from chains.errors import ChainsError, ConfigError, InputError
from chains.statements.redaction import Redaction, open_redaction
from chains.statements.statement import MAX_SUBJECTS
from chains.tekton.image_name import ImageDigest
from chains.tekton.snapshot import TRANSPARENCY_UPLOAD, RunSnapshot
from chains.tekton.surroundings import Surroundings
from chains.tracing import span
from signers.base import Signer
from signers.errors import SignerError, SignerUnavailable
from signers.sealer import Sealer
from storage import lean_json
from storage.errors import StoreError, StoreUnavailable
from storage.record import Absence

UPLOAD_LABEL = "provenance.chains/transparency-upload"
"""The label that requests a log entry. Tekton since 0.49 does not copy the annotation to new runs."""


class Flow:
    """Attests runs: one configuration with the signers and stores that were opened for it.

    ``sealers`` signs everything, or maps the names by which artifacts choose their signer (``x509``, ``kms``,
    ``extra/NAME``) to what seals with it; a :class:`Signer` stands for a sealer that adds no log entry and no
    timestamp. ``images`` reads the environment that images set, where isolation depends on it. ``redaction``
    are the opened rules of the configuration; without them they are opened here. Use it as an asynchronous
    context manager, or call :meth:`close`. Raises :class:`ConfigError` for redaction rules that cannot be
    used.
    """

    def __init__(
        self,
        config: Config,
        sealers: Signer | Sealer | Mapping[str, Sealer],
        stores: Stores,
        images: ImageReader | None = None,
        redaction: Redaction | None = None,
    ) -> None:
        self.config = config
        self.sealers = Sealer(sealers) if isinstance(sealers, Signer) else sealers
        self.stores = stores
        self.images = images
        # opened here, so that no caller can forget them and publish what the configuration hides
        self.redaction = redaction or open_redaction(config.redaction)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection, and release the threads of the signers."""
        await self.stores.close()
        for sealer in [self.sealers] if isinstance(self.sealers, Sealer) else self.sealers.values():
            sealer.close()
        if self.images is not None:
            await self.images.close()

    def with_stores(self, stores: Stores) -> Flow:
        """Return this flow with other stores. Both share everything else, so only one of them is closed."""
        other = copy(self)
        other.stores = stores
        return other

    def with_config(self, config: Config) -> Flow:
        """Return this flow with another configuration that needs the same signers and stores."""
        other = copy(self)
        other.config = config
        return other

    async def attest(
        self,
        run: RunSnapshot,
        surroundings: Mapping[str, Surroundings] | None = None,
        before_storing: Callable[[], None] = lambda: None,
        *,
        earlier: Earlier | None = None,
        waits: bool = False,
    ) -> Outcome:
        """Attest one frozen run: build its payloads, sign them, store them and flush the stores.

        Never raises because of the run: the outcome says what failed, and ``outcome.error`` has an exception
        that nobody expected. ``surroundings`` are the pod and the policies of each TaskRun by its label, as
        :func:`chains.isolation.judgement.judge_isolation` takes them. ``before_storing`` is called before
        anything is stored or sent to a log; what it raises is raised here, and nothing is stored.

        ``earlier`` is ``outcome.earlier`` of an earlier attempt: what has a receipt is not stored again.
        ``waits`` says that the caller waits for absent subjects. Then nothing is signed or stored while they
        are still absent, nor while the platforms of an image are not known yet.
        """
        return await self._guarded(
            run, surroundings, before_storing, earlier or {}, waits=waits, flushes=True
        )

    async def attest_unflushed(
        self, run: RunSnapshot, surroundings: Mapping[str, Surroundings] | None = None
    ) -> Outcome:
        """Attest as :meth:`attest` does, without flushing the stores.

        Its receipts count only after :meth:`Stores.flush`, and as :func:`distrust` then says.
        """
        return await self._guarded(run, surroundings, lambda: None, {}, waits=False, flushes=False)

    async def _guarded(
        self,
        run: RunSnapshot,
        surroundings: Mapping[str, Surroundings] | None,
        before_storing: Callable[[], None],
        earlier: Earlier,
        *,
        waits: bool,
        flushes: bool,
    ) -> Outcome:
        """Turn every exception into an outcome, except one that ``before_storing`` raised."""
        stopped: list[Exception] = []

        def checked() -> None:
            try:
                before_storing()
            except Exception as error:
                stopped.append(error)
                raise

        try:
            attempt = await self._attest(run, surroundings, checked, earlier, waits=waits)
            if isinstance(attempt, Outcome):
                return attempt
            return attempt.outcome(await self.stores.flush() if flushes else {})
        except ChainsError as error:
            if error in stopped:
                raise
            return Outcome(run.label, run.uid, FAILED, f"{run.label}: {error}", earlier=earlier)
        except Exception as error:
            if error in stopped:
                raise
            return unexpected(run.label, run.uid, error)

    async def _attest(
        self,
        run: RunSnapshot,
        surroundings: Mapping[str, Surroundings] | None,
        before_storing: Callable[[], None],
        earlier: Earlier,
        *,
        waits: bool,
    ) -> _Attempt | Outcome:
        """Return the attempt, or the outcome if nothing was signed."""
        if not run.is_done:
            status = run.condition.get("status", "missing")
            reason = f"not finished: condition Succeeded is {status!r}; attest it when it is"
            return Outcome(run.label, run.uid, FAILED, reason)
        if self.images is not None and surroundings:
            surroundings = await self.images.add_images(run, surroundings)
        log = wants_log(run, self.config)
        try:
            with span("payload"):
                platforms, unknown = await read_platforms(run, self.config, self.stores.all)
                if unknown and waits:
                    reason = f"{run.label}: {next(iter(unknown.values()))}"
                    return Outcome(run.label, run.uid, FAILED, reason, absence="certain", earlier=earlier)
                build = partial(build_payloads, run, self.config, surroundings, self.redaction, platforms)
                # a large run is built on a thread, so that the loop can serve other runs
                payloads = await lean_json.aside(run.data, build)
            _refuse_too_many_subjects(payloads)
            told = Outcome(run.label, run.uid, SIGNED, "", _without_platforms(unknown), tuple(warnings(run)))
            attempt = _Attempt(told, *self._choose(run, payloads))
            before = attempt.recall(earlier)
            if waits and earlier and await is_as_before(attempt.payloads, before, self.stores):
                attempt.groups = before
                return attempt
            # a key in a file signs at once and deterministically: no stored signature has to be found first
            at_once = all(one.is_local(log=log) and one.repeats(log=log) for _, one in attempt.sealing)
            with span("sign", payloads=len(payloads)):
                records = [
                    (payload, sign(run, payload, sealer)) for payload, sealer in attempt.sealing if at_once
                ]
        except (ChainsError, SignerError, StoreError) as error:
            return _not_signed(run, error, earlier)
        if not at_once:
            with span("sign", payloads=len(payloads)):
                attempt.groups = await attest_payloads(
                    run, attempt.sealing, self.stores, before_storing, before, log=log
                )
            return attempt
        before_storing()
        puts = [
            self.stores.put(payload.kind, record, payload.stores, earlier=known.entries)
            for (payload, record), known in zip(records, before, strict=True)
        ]
        found = [await puts[0]] if len(puts) == 1 else await asyncio.gather(*puts)
        attempt.groups = [Attested(tuple(entries)) for entries in found]
        return attempt

    def _choose(
        self, run: RunSnapshot, payloads: Sequence[Payload]
    ) -> tuple[list[tuple[Payload, Sealer]], list[str]]:
        """Return each payload with its sealer, and in step the name of a further signer, else empty."""
        chosen = [(payload, self._sealer(run, payload)) for payload in payloads]
        if self.config.signers.extra and not isinstance(self.sealers, Sealer):
            return _with_extra(chosen, self.sealers, run, self.config, self.stores)
        return chosen, [""] * len(chosen)

    def _sealer(self, run: RunSnapshot, payload: Payload) -> Sealer:
        if isinstance(self.sealers, Sealer):
            return self.sealers
        if payload.kind == IMAGE_SIGNATURE:
            return self.sealers[self.config.oci.signer]
        artifact = self.config.taskrun if run.kind == "TaskRun" else self.config.pipelinerun
        return self.sealers[artifact.signer]


@dataclass(slots=True)
class _Attempt:
    """One attempt: each payload, its sealer, the name of a further signer, and the result."""

    told: Outcome
    sealing: list[tuple[Payload, Sealer]]
    names: list[str]
    groups: Sequence[Attested] = ()

    @property
    def payloads(self) -> list[Payload]:
        return [payload for payload, _ in self.sealing]

    @property
    def keys(self) -> list[str]:
        return [key_of(payload, name) for payload, name in zip(self.payloads, self.names, strict=True)]

    def recall(self, earlier: Earlier) -> list[Attested]:
        """Return the result of an earlier attempt for each payload."""
        if not earlier:
            return [NOTHING_YET] * len(self.sealing)
        return [earlier.get(key, NOTHING_YET) for key in self.keys]

    def outcome(self, lost: Mapping[str, str]) -> Outcome:
        """Return the outcome. ``lost`` has, by store URL, why a store could not flush."""
        groups = self.groups
        if lost:
            groups = [replace(group, entries=without_lost(group.entries, lost)) for group in groups]
        entries = [
            replace(entry, signer=name) if name else entry
            for group, name in zip(groups, self.names, strict=True)
            for entry in group.entries
        ]
        logged = tuple(url for group in groups for url in group.logged)
        outcome = _judge(replace(self.told, entries=(*entries, *self.told.entries), logged=logged))
        if outcome.state != FAILED:
            return outcome
        return replace(outcome, earlier=dict(zip(self.keys, groups, strict=True)))


def unexpected(label: str, uid: str, error: Exception) -> Outcome:
    """Return the outcome for an exception that nobody expected."""
    reason = f"{label}: unexpected {type(error).__name__}: {error}; please report it"
    return Outcome(label, uid, FAILED, reason, error=error)


def _not_signed(run: RunSnapshot, error: Exception, earlier: Earlier) -> Outcome:
    of_store = error if isinstance(error, StoreError) else None
    return Outcome(
        run.label,
        run.uid,
        FAILED,
        f"{run.label}: {error}",
        transient=isinstance(error, SignerUnavailable | StoreUnavailable),
        host=of_store.host if of_store else "",
        absence=of_store.absence if of_store else "",
        earlier=earlier,
    )


def _without_platforms(unknown: Mapping[ImageDigest, str]) -> tuple[Entry, ...]:
    return tuple(
        Entry(PROVENANCE, "", "", f"sha256:{image.hex}", EntryState.FAILED, reason, absence="certain")
        for image, reason in unknown.items()
    )


def _with_extra(
    chosen: Sequence[tuple[Payload, Sealer]],
    sealers: Mapping[str, Sealer],
    run: RunSnapshot,
    config: Config,
    stores: Stores,
) -> tuple[list[tuple[Payload, Sealer]], list[str]]:
    """Return each payload once for every signer of the run, and the names of the further signers in step.

    Annotations hold one signature of a payload: that of the first signer, which is the artifact's own unless
    another signs instead. Raises :class:`ConfigError` if the others have no store.
    """
    labels = (run.raw.get("metadata") or {}).get("labels") or {}
    extra, keeps_own = choose_extra(config.signers.extra, run.namespace, labels)
    found: list[tuple[Payload, Sealer]] = []
    names: list[str] = []
    for payload, own in chosen:
        sealing = {own: ""} if keeps_own else {}
        for one in extra:
            sealing.setdefault(sealers[one.sealer], one.name)
        for number, (sealer, name) in enumerate(sealing.items()):
            mine = payload
            if number and "tekton" in payload.stores:
                mine = replace(payload, stores=tuple(one for one in payload.stores if one != "tekton"))
                if not stores.chosen(mine.stores):
                    raise ConfigError(
                        f"signers.extra {name}: {payload.kind} is stored in annotations alone, which hold "
                        "one signature; add another store"
                    )
            found.append((mine, sealer))
            names.append(name)
    return found, names


def _refuse_too_many_subjects(payloads: Sequence[Payload]) -> None:
    for payload in payloads:
        if len(payload.subjects) > MAX_SUBJECTS:
            raise InputError(
                f"{payload.kind} would have {len(payload.subjects)} subjects and verifiers take at most "
                f"{MAX_SUBJECTS}; let several runs build them"
            )


def _judge(outcome: Outcome) -> Outcome:
    """Set state and reason from the entries: ``signed`` if nothing failed and something is stored."""
    failed = [entry for entry in outcome.entries if entry.state == EntryState.FAILED]
    if failed:
        first = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        where = f"{first.payload} in {first.store}" if first.store else first.payload
        where += f" by {first.signer}" if first.signer else ""
        found = {entry.absence for entry in failed}
        absence: Absence = "certain" if "certain" in found else "possible" if "possible" in found else ""
        return replace(outcome, state=FAILED, reason=f"{where}: {first.detail}{more}", absence=absence)
    if not outcome.entries:
        return replace(outcome, state=SKIPPED, reason="the configuration leaves nothing to attest")
    if all(entry.state == EntryState.SKIPPED for entry in outcome.entries):
        return replace(outcome, state=SKIPPED, reason=outcome.entries[0].detail)
    return outcome


def gave_up(outcome: Outcome, words: str) -> Outcome:
    """Return a failure with ``words`` added to each entry that failed because its subject is absent."""
    if not any(entry.absence for entry in outcome.entries):
        return replace(outcome, reason=outcome.reason + words)
    entries = (
        replace(entry, detail=entry.detail + words) if entry.absence else entry for entry in outcome.entries
    )
    return _judge(replace(outcome, entries=tuple(entries)))


def distrust(outcome: Outcome, lost: Mapping[str, str]) -> Outcome:
    """Return an outcome of :meth:`Flow.attest_unflushed` after the flush; ``lost`` is what it returned."""
    entries = without_lost(outcome.entries, lost)
    if entries is outcome.entries:
        return outcome
    return _judge(replace(outcome, state=SIGNED, reason="", entries=entries))


def wants_log(run: RunSnapshot, config: Config) -> bool:
    """Whether the run's signatures go to the log: always, never, or if the run requests it."""
    if not config.transparency.manual:
        return config.transparency.enabled
    metadata = run.raw.get("metadata") or {}
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    return "true" in {annotations.get(TRANSPARENCY_UPLOAD), labels.get(UPLOAD_LABEL)}
