"""The flow for one run: payloads, signatures, receipts.

Returns an outcome with an entry for each payload, store, subject and form. The same flow serves the
command line and the controller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from chains.attest.earlier import NOTHING_YET, Attested, Earlier, is_as_before, key_of
from chains.attest.image_environment import ImageReader
from chains.attest.outcome import FAILED, SIGNED, SKIPPED, Outcome
from chains.attest.payloads import IMAGE_SIGNATURE, PROVENANCE, Payload, build_payloads, warnings
from chains.attest.platforms import read_platforms
from chains.attest.reuse import attest_payloads
from chains.attest.sign import sign
from chains.attest.stores import Entry, Stores
from chains.config.extra_signers import choose_extra
from chains.config.parse import Config
from chains.errors import ChainsError, ConfigError, InputError
from chains.statements.redaction import Redaction
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
"""Asks for a log entry as the annotation does: Tekton since 0.49 keeps that one from new runs, not labels."""


async def attest_run(
    run: RunSnapshot,
    surroundings: Mapping[str, Surroundings] | None,
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
    signer stands for a sealer that adds nothing. ``surroundings`` has what stands beside each TaskRun, as
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
    if images is not None and surroundings:
        surroundings = await images.add_images(run, surroundings)
    sealers = Sealer(signer) if isinstance(signer, Signer) else signer
    log = wants_log(run, config)
    try:
        with span("payload"):
            platforms, unknown = await read_platforms(run, config, stores.all)
            if unknown and waits:
                reason = f"{run.label}: {next(iter(unknown.values()))}"
                return Outcome(run.label, run.uid, FAILED, reason, absence="certain", earlier=earlier or {})
            build = partial(build_payloads, run, config, surroundings, redaction or Redaction(), platforms)
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


def wants_log(run: RunSnapshot, config: Config) -> bool:
    """Whether the run's signatures go to the log: always, never, or when the run asks for it."""
    if not config.transparency.manual:
        return config.transparency.enabled
    metadata = run.raw.get("metadata") or {}
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    return "true" in {annotations.get(TRANSPARENCY_UPLOAD), labels.get(UPLOAD_LABEL)}
