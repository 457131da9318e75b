"""The flow for one run, and for many at once: snapshot, payloads, signatures, receipts.

Returns an outcome with an entry for each payload, store, subject and form. The same flow serves the
command line and the controller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from chains.assembly.sealers import wants_log
from chains.attest.earlier import NOTHING_YET, Attested, Earlier, is_as_before, key_of
from chains.attest.image_environment import ImageReader
from chains.attest.payloads import IMAGE_SIGNATURE, PROVENANCE, Payload, build_payloads, warnings
from chains.attest.platforms import read_platforms
from chains.attest.reuse import attest_payloads
from chains.attest.sign import sign
from chains.attest.stores import Entry, Stores
from chains.config.extra_signers import choose_extra
from chains.config.parse import Config
from chains.errors import ChainsError, ConfigError, InputError
from chains.masking.forms import mask
from chains.statements.redaction import Redaction, open_redaction
from chains.statements.statement import MAX_SUBJECTS
from chains.tekton.image_name import ImageDigest
from chains.tekton.run_files import Intake, Key
from chains.tekton.snapshot import RunSnapshot
from chains.tekton.surroundings import Beside
from chains.tracing import span
from signers.base import Signer, SignerError, SignerUnavailable
from signers.sealer import Sealer
from storage import lean_json
from storage.base import StoreError, StoreUnavailable
from storage.record import Absence

SIGNED, FAILED, SKIPPED = "signed", "failed", "skipped"
AT_ONCE = 64
"""Runs in work at the same time: a registry's tag is written, and looked at again after a pause."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run: ``signed``, ``failed`` or ``skipped``, with the reason and every entry.

    ``signed`` means that every expected payload has a receipt; ``unchanged`` that all of it was there before.
    """

    run: str
    uid: str
    state: str
    reason: str = ""
    entries: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()
    transient: bool = False
    """Whether a key could not be reached: trying again can help."""
    host: str = ""
    """Who did not answer (``scheme://host:port``), where that kept the run from being attested at all."""
    logged: tuple[str, ...] = ()
    """Where the transparency log has the signatures, the provenance's first; empty when it has none."""
    absence: Absence = ""
    """Whether it failed for want of a subject, such as an image that is yet to be pushed."""
    earlier: Earlier = field(default_factory=dict, repr=False, compare=False)
    """Of a failure, what became of each payload: for the next try, which stores what has no receipt."""

    @property
    def hosts(self) -> frozenset[str]:
        """Who did not answer."""
        return frozenset(filter(None, (self.host, *(entry.host for entry in self.entries))))

    @property
    def unchanged(self) -> bool:
        """Whether the run was attested before and nothing had to be written."""
        return self.state == SIGNED and not any(entry.state == "stored" for entry in self.entries)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome for ``--output json``."""
        return {
            "run": self.run,
            "uid": self.uid,
            "state": self.state,
            "unchanged": self.unchanged,
            "reason": mask(self.reason),
            "entries": [
                {
                    "payload": entry.payload,
                    "store": entry.store,
                    "form": entry.form,
                    "subject": entry.subject,
                    "state": entry.state,
                    "detail": entry.told,
                    "digest": entry.digest,
                    "signer": entry.signer,
                    "absent": bool(entry.absence),
                }
                for entry in self.entries
            ],
            "warnings": [mask(warning) for warning in self.warnings],
            "transparency": list(self.logged),
        }


async def attest_run(
    run: RunSnapshot,
    beside: Mapping[str, Beside] | None,
    config: Config,
    signer: Signer | Sealer | Mapping[str, Sealer],
    stores: Stores,
    redaction: Redaction | None = None,
    images: ImageReader | None = None,
    before_storing: Callable[[], None] = lambda: None,
    earlier: Earlier | None = None,
    *,
    waits: bool = False,
) -> Outcome:
    """Attest one frozen run. Never raises for the run's own sake: what fails is told by the outcome.

    ``signer`` signs everything, or is a mapping from the names by which artifacts choose what seals theirs; a
    signer stands for a sealer that adds nothing. ``beside`` has what stands beside each TaskRun, as
    :func:`chains.isolation.judgement.judge_isolation` takes it; ``redaction`` the rules of the configuration,
    opened once; ``images`` reads what images set in the environment, where isolation hangs on it.
    ``before_storing`` is called before anything is stored, or sent to a log; what it raises goes through, and
    nothing is stored. ``earlier`` is that of the outcome of an earlier try. ``waits`` says that an absent
    subject is waited for: then nothing is done while it is as absent as before, and nothing is attested
    without the platforms of an image that is not there yet.
    """
    if not run.is_done:
        status = run.condition.get("status", "missing")
        reason = f"not finished: condition Succeeded is {status!r}; attest it when it is"
        return Outcome(run.label, run.uid, FAILED, reason)
    if images is not None and beside:
        beside = await images.add_images(run, beside)
    sealers = Sealer(signer) if isinstance(signer, Signer) else signer
    log = wants_log(run, config)
    try:
        with span("payload"):
            platforms, unknown = await read_platforms(run, config, stores.all)
            if unknown and waits:
                reason = f"{run.label}: {next(iter(unknown.values()))}"
                return Outcome(run.label, run.uid, FAILED, reason, absence="certain", earlier=earlier or {})
            build = partial(build_payloads, run, config, beside, redaction or Redaction(), platforms)
            payloads = await lean_json.aside(run.data, build)
        _refuse_too_many_subjects(payloads)
        chosen = [(payload, _choose(sealers, run, payload, config)) for payload in payloads]
        names = [""] * len(chosen)
        if config.signers.extra and not isinstance(sealers, Sealer):
            chosen, names = _with_extra(chosen, sealers, run, config, stores)
        before = [NOTHING_YET] * len(chosen)
        if earlier:
            named = zip(chosen, names, strict=True)
            before = [earlier.get(key_of(payload, name), NOTHING_YET) for (payload, _), name in named]
        told = Outcome(run.label, run.uid, SIGNED, "", _without_platforms(unknown), tuple(warnings(run)))
        if waits and earlier and await is_as_before([payload for payload, _ in chosen], before, stores):
            return _ended(told, chosen, names, before)
        at_once = all(sealer.is_local(log=log) and sealer.repeats(log=log) for _, sealer in chosen)
        with span("sign", payloads=len(payloads)):
            records = [(payload, sign(run, payload, sealer)) for payload, sealer in chosen if at_once]
    except (ChainsError, SignerError, StoreError) as error:
        transient = isinstance(error, SignerUnavailable | StoreUnavailable)
        absence = error.absence if isinstance(error, StoreError) else ""
        host = error.host if isinstance(error, StoreError) else ""
        return Outcome(
            run.label, run.uid, FAILED, f"{run.label}: {error}",
            transient=transient, host=host, absence=absence, earlier=earlier or {},
        )  # fmt: skip
    if not at_once:
        with span("sign", payloads=len(payloads)):
            attested = await attest_payloads(run, chosen, stores, before_storing, before, log=log)
        return _ended(told, chosen, names, attested)
    before_storing()
    puts = [
        stores.put(payload.kind, record, payload.stores, earlier=known.entries)
        for (payload, record), known in zip(records, before, strict=True)
    ]
    found = [await puts[0]] if len(puts) == 1 else await asyncio.gather(*puts)
    return _ended(told, chosen, names, [Attested(tuple(entries)) for entries in found])


def _without_platforms(unknown: Mapping[ImageDigest, str]) -> tuple[Entry, ...]:
    return tuple(
        Entry(PROVENANCE, "", "", f"sha256:{image.hex}", "failed", reason, absence="certain")
        for image, reason in unknown.items()
    )


def _ended(
    told: Outcome, chosen: Sequence[tuple[Payload, Sealer]], names: Sequence[str], groups: Sequence[Attested]
) -> Outcome:
    """Return the outcome of a run whose payloads ended so; ``names`` are those of their further signers."""
    entries = [
        replace(entry, signer=name) if name else entry
        for group, name in zip(groups, names, strict=True)
        for entry in group.entries
    ]
    logged = tuple(url for group in groups for url in group.logged)
    outcome = _judge(replace(told, entries=(*entries, *told.entries), logged=logged))
    if outcome.state != FAILED:
        return outcome
    keys = [key_of(payload, name) for (payload, _), name in zip(chosen, names, strict=True)]
    return replace(outcome, earlier=dict(zip(keys, groups, strict=True)))


def _choose(
    sealers: Sealer | Mapping[str, Sealer], run: RunSnapshot, payload: Payload, config: Config
) -> Sealer:
    if isinstance(sealers, Sealer):
        return sealers
    if payload.kind == IMAGE_SIGNATURE:
        return sealers[config.oci.signer]
    return sealers[(config.taskrun if run.kind == "TaskRun" else config.pipelinerun).signer]


def _with_extra(
    chosen: Sequence[tuple[Payload, Sealer]],
    sealers: Mapping[str, Sealer],
    run: RunSnapshot,
    config: Config,
    stores: Stores,
) -> tuple[list[tuple[Payload, Sealer]], list[str]]:
    """Return what seals each payload with the further signers of the run, and their names, in step.

    Annotations have room for one signature of a payload: that of the first, which is the artifact's own
    unless another signs instead. Raises :class:`ConfigError` where the others have no store.
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
    """Set state and reason from the entries: signed only when nothing failed and something is stored."""
    failed = [entry for entry in outcome.entries if entry.state == "failed"]
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
    if all(entry.state == "skipped" for entry in outcome.entries):
        return replace(outcome, state=SKIPPED, reason=outcome.entries[0].detail)
    return outcome


def gave_up(outcome: Outcome, words: str) -> Outcome:
    """Return a failure with ``words`` added to what failed for want of its subject."""
    if not any(entry.absence for entry in outcome.entries):
        return replace(outcome, reason=outcome.reason + words)
    entries = (
        replace(entry, detail=entry.detail + words) if entry.absence else entry for entry in outcome.entries
    )
    return _judge(replace(outcome, entries=tuple(entries)))


async def attest_all(
    intake: Intake,
    config: Config,
    signer: Signer | Sealer | Mapping[str, Sealer],
    stores: Stores,
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    images: ImageReader | None = None,
) -> list[Outcome]:
    """Attest every run of the intake, many at once, in the order of the input.

    A run that cannot be read, and a file that cannot, is an outcome of its own. No receipt is believed
    before the stores have flushed. Raises :class:`ConfigError` for rules of redaction that cannot be used.
    """
    redaction = open_redaction(config.redaction)

    async def attest(key: Key) -> Outcome:
        run = intake.snapshot(key)
        return await attest_run(run, intake.beside_of(run), config, signer, stores, redaction, images)

    outcomes: dict[Key, Outcome] = {}
    waiting = iter(list(intake.runs))
    at_once = min(AT_ONCE, len(intake.runs))
    await asyncio.gather(*(_work(waiting, attest, outcomes, on_outcome) for _ in range(at_once)))
    lost = await stores.flush()
    ordered = [outcomes[key] for key in intake.runs]
    problems = [Outcome(name, "", FAILED, reason) for name, reason in intake.problems]
    return [*(distrust(outcome, lost) for outcome in ordered), *problems]


async def _work(
    waiting: Iterator[Key],
    attest: Callable[[Key], Awaitable[Outcome]],
    outcomes: dict[Key, Outcome],
    on_outcome: Callable[[Outcome], None],
) -> None:
    for key in waiting:
        outcomes[key] = await _attest_one(key, attest)
        on_outcome(outcomes[key])


async def _attest_one(key: Key, attest: Callable[[Key], Awaitable[Outcome]]) -> Outcome:
    label = f"{key[0].lower()}/{key[1]}/{key[2]}"
    try:
        return await attest(key)
    except ChainsError as error:
        return Outcome(label, "", FAILED, str(error))
    except Exception as error:  # noqa: BLE001 - a run that breaks the formatter must hurt nobody else
        return Outcome(
            label, "", FAILED, f"{label}: unexpected {type(error).__name__}: {error}; please report it"
        )


def distrust(outcome: Outcome, lost: Mapping[str, str]) -> Outcome:
    """Return the outcome with the receipts of stores that could not flush, by URL and reason, as failures."""
    if not lost or not any(entry.store in lost for entry in outcome.entries):
        return outcome
    entries = tuple(
        replace(entry, state="failed", detail=lost[entry.store], digest="")
        if entry.store in lost and entry.state in {"stored", "unchanged"}
        else entry
        for entry in outcome.entries
    )
    return _judge(replace(outcome, state=SIGNED, reason="", entries=entries))
