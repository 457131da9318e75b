"""The commands that read stores: ``get``, ``copy`` and ``export``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from chains.assembly.stores import open_url, store_options
from chains.assembly.trust import open_public_keys
from chains.assembly.workspace import LAYOUT, load_settings, own_layout
from chains.cli.arguments import (
    FAILURE,
    FILE,
    FOLDER,
    NO_EVIDENCE,
    OK,
    Argument,
    Option,
    Options,
    config,
    output,
)
from chains.cli.commands import Command
from chains.cli.progress import Progress
from chains.cli.tables import write_table
from chains.cli.trust import trust_own_key
from chains.config.selection import parse_since
from chains.documents.load import read_bytes
from chains.errors import EvidenceError, InputError, UsageError
from chains.evidence.copying import Copying, Counts, Journal
from chains.evidence.offline_pack import write_pack
from chains.evidence.records import read_envelope
from chains.evidence.retrieve import Found, Window, names_artifact, names_image, retrieve
from chains.loop import carry_out
from chains.statements.statement import parse_statement
from chains.terminal import say, write_json, write_line
from chains.text import count
from signers.errors import FormatError
from signers.keys.public_key import PublicKey
from signers.sigstore.trusted_root import MAX_BYTES as MAX_ROOT
from storage import lean_json
from storage.base import FORM_A, Store
from storage.record import SIMPLE_SIGNING_FORMAT, Evidence, ListedRun, Skipped

_EVIDENCE = ("piece of evidence", "pieces of evidence")
_SUBJECTS = ("run or subject", "runs or subjects")
_TARGET = (
    "sha256:HEX, IMAGE@sha256:HEX, the UID of a run or [KIND/]NAMESPACE/NAME; without a target, all runs"
)
_STORES = "oci-layout:PATH, file:PATH, s3://BUCKET/PREFIX; oci: for images by digest"


def _get(options: Options) -> int:
    """Print the evidence for targets, or for the runs in a window of time."""
    found = carry_out(_collect(options))
    evidence = [(one, item) for one in found for item in one.findings.evidence]
    skipped = [item for one in found for item in one.findings.skipped]
    if options.output == "json":
        written = {
            "evidence": [_to_json(one.store, item) for one, item in evidence],
            "skipped": [item.to_json() for item in skipped],
        }
        write_json(written, indent=True)
    else:
        rows = [_row(item) for _, item in evidence]
        if rows:
            write_table(("RUN", "ENDED", "FORMAT", "PREDICATE", "DIGEST", "WHERE"), rows)
        unusable = f", {len(skipped)} unusable" if skipped else ""
        write_line(f"{count(len(evidence), *_EVIDENCE)}{unusable}")
        _tell(skipped)
    if skipped:
        return FAILURE
    return OK if evidence else NO_EVIDENCE


async def _collect(options: Options) -> list[Found]:
    async with AsyncExitStack() as stack:
        stores = await _open(options, stack)
        return [found async for found in retrieve(stores, options.targets, _window(options))]


async def _open(options: Options, stack: AsyncExitStack) -> list[Store]:
    settings = store_options(load_settings(options.config).config)
    stores = [open_url(url, settings) for url in dict.fromkeys(options.store or _where(options.targets))]
    for store in stores:
        await stack.enter_async_context(store)
    return stores


def _where(targets: Sequence[str]) -> list[str]:
    """Return the stores to search without ``--store``.

    They are the registry of the images, or this folder's layout. Raises :class:`UsageError` if there is
    neither.
    """
    images = [target for target in targets if names_image(target)]
    if images and len(images) == len(targets):
        return ["oci:"]
    if images or not own_layout():
        raise UsageError(f"no store: pass --store URL, one of {_STORES}")
    say(f"looking in {LAYOUT}")
    return [LAYOUT]


def _window(options: Options) -> Window:
    now = datetime.now(UTC)
    times = {name: _time(getattr(options, name), now) for name in ("since", "until")}
    return Window(options.namespace, options.name, times["since"], times["until"])


def _time(text: str, now: datetime) -> str:
    try:
        return parse_since(text, now).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if text else ""
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is no time: write 2026-01-02T03:04:05Z, 36h or 7d") from error


def _row(item: Evidence) -> tuple[str, ...]:
    origin = item.origin
    run = f"{origin.kind}/{origin.namespace}/{origin.name}" if origin is not None else ""
    return (
        run,
        item.created,
        item.format,
        _statement(item).get("predicateType", ""),
        item.digest,
        item.location,
    )


def _statement(item: Evidence) -> dict[str, Any]:
    """Return predicate type and subjects, or nothing if the evidence is malformed."""
    if item.format == SIMPLE_SIGNING_FORMAT:
        return {}
    try:
        statement = parse_statement(read_envelope(item, ()).payload)
    except (EvidenceError, FormatError):
        return {}
    return {
        "predicateType": statement.predicate_type,
        "subjects": [subject.fields() for subject in statement.subjects],
    }


def _to_json(store: str, item: Evidence) -> dict[str, Any]:
    """Return one piece of evidence for ``--output json``; ``data`` is the stored text."""
    return {
        "store": store,
        "location": item.location,
        "digest": item.digest,
        "format": item.format,
        "run": asdict(item.origin) if item.origin is not None else None,
        "created": item.created,
        **_statement(item),
        "signature": item.signature.hex(),
        "data": item.data.decode("utf-8", "replace"),
    }


def _tell(skipped: Sequence[Skipped]) -> None:
    for item in skipped[:20]:
        say(f"{f'{item.location} {item.digest}'.rstrip()}: {item.reason}")


def _copy(options: Options) -> int:
    """Copy evidence from one store to another."""
    counts = carry_out(_copy_async(options))
    fields = ("runs", "before", "empty", "copied", "unchanged", "failed", "refused")
    if options.output == "json":
        told = {name: getattr(counts, name) for name in fields}
        write_json(told | {"reasons": [one.to_json() for one in counts.reasons]})
    else:
        _tell(counts.reasons)
        left = f"{counts.before} done before, {counts.empty} without evidence"
        write_line(
            f"{count(counts.runs, *_SUBJECTS)} ({left}): "
            f"{count(counts.copied, 'record')} copied, {counts.unchanged} unchanged, {counts.failed} failed, "
            f"{count(counts.refused, *_EVIDENCE)} refused"
        )
    return OK if counts.is_whole else FAILURE


async def _copy_async(options: Options) -> Counts:
    keys = open_public_keys(options.key) if options.key else []
    settings = store_options(load_settings(options.config).config)
    journal = Journal(options.journal)
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(open_url(options.source, settings))
        destination = await stack.enter_async_context(open_url(options.destination, settings))
        bare = open_url(options.destination, replace(settings, encoding_format=FORM_A))
        await stack.enter_async_context(bare)
        copying = Copying(destination, bare, keys, journal)
        work = await _work(source, options, journal, copying.counts)
        bar = Progress(len(work), "runs")
        try:
            return await copying.run(work, lambda failed: bar.advance(failed=failed))
        finally:
            bar.close()


async def _work(
    source: Store, options: Options, journal: Any, counts: Counts
) -> list[Callable[[], AsyncIterator[Found]]]:
    """Return one task for each target, or for each run of the window that the journal does not have."""
    window = _window(options)
    if options.targets:
        return [lambda one=one: retrieve([source], [one], window) for one in options.targets]  # type: ignore[misc]

    def copy_run(run: ListedRun) -> Callable[[], AsyncIterator[Found]]:
        async def find() -> AsyncIterator[Found]:
            uid = run.origin.uid
            yield Found(f"run {uid}", source.url, await source.find_run(uid), run)

        return find

    work = []
    async for run in source.list_runs(window.since, window.until):
        if not window.has(run):
            continue
        if journal.has(run.origin.uid):
            counts.before += 1
        else:
            work.append(copy_run(run))
    return work


def _export(options: Options) -> int:
    """Write an offline pack: bundles, keys, an index and checksums."""
    keys = open_public_keys(options.key or _own_key(options))
    trusted_root = b""
    if options.trusted_root:
        trusted_root = read_bytes(Path(options.trusted_root), MAX_ROOT)
        try:
            lean_json.loads(trusted_root)
        except orjson.JSONDecodeError as error:
            raise InputError(f"{options.trusted_root} is no trusted root: it is not JSON") from error
    packed = carry_out(_export_async(options, keys, trusted_root))
    if options.output == "json":
        refused = [one.to_json() for one in packed.refused]
        write_json({"folder": options.folder, "bundles": packed.bundles, "refused": refused})
    else:
        _tell(packed.refused)
        write_line(f"{options.folder}: {count(packed.bundles, 'bundle')}, {len(packed.refused)} refused")
    if packed.refused:
        return FAILURE
    return OK if packed.bundles else NO_EVIDENCE


def _own_key(options: Options) -> list[str]:
    """Return this folder's key, for the runs of its own layout.

    Raises :class:`UsageError` for other evidence: the reader of the pack trusts the keys in it, so a key that
    lies in the folder must not vouch for evidence from elsewhere.
    """
    if options.store or any(map(names_artifact, options.targets)):
        raise UsageError(
            "no key: pass --key PUB; the key of .chains/ counts for the runs of this folder's layout alone"
        )
    return [trust_own_key()]


async def _export_async(options: Options, keys: Sequence[PublicKey], trusted_root: bytes) -> Any:
    async with AsyncExitStack() as stack:
        stores = await _open(options, stack)
        found = retrieve(stores, options.targets, _window(options))
        return await write_pack(Path(options.folder), found, keys, trusted_root)


def _window_options() -> list[Option]:
    when = "TIME|36h|7d"
    return [
        config("a chains-config, for its registry settings"),
        Option("--namespace", "only runs of this namespace", metavar="NAME"),
        Option("--name", "only runs of this name", metavar="NAME"),
        Option("--since", "only runs that ended at this time or later", metavar=when),
        Option("--until", "only runs that ended before this time", metavar=when),
    ]


def _targets() -> Argument:
    return Argument("targets", _TARGET, "TARGET", many="*")


def _store() -> Option:
    return Option(
        "--store", f"the store to search: {_STORES}; may be repeated", repeatable=True, metavar="URL"
    )


def _keys(text: str) -> Option:
    return Option("--key", text, twin="CHAINS_PUBLIC_KEY", repeatable=True, metavar="PUB", type=FILE)


get = Command("get", _get, [_targets(), _store(), *_window_options(), output()])
copy = Command(
    "copy",
    _copy,
    [
        Argument("source", f"the store to read: {_STORES}", "SRC"),
        Argument("destination", f"the store to write: {_STORES}", "DST"),
        _targets(),
        _keys("copy only what this public key signed; may be repeated"),
        Option(
            "--journal",
            "a file that records the copied runs, so that a stopped copy continues",
            metavar="FILE",
            type=FILE,
        ),
        *_window_options(),
        output(),
    ],
)
export = Command(
    "export",
    _export,
    [
        Argument("folder", "a new folder for the pack", "FOLDER", type=FOLDER),
        _targets(),
        _store(),
        _keys(
            "a public key to include; only what it signed is exported (default, only for the runs of this "
            "folder's layout: .chains/signing.pub)"
        ),
        Option("--trusted-root", "a Sigstore trusted root to include", metavar="FILE", type=FILE),
        *_window_options(),
        output(),
    ],
)
