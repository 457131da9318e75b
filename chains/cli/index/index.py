"""The commands ``chains index build|update|stats|export``: an index of evidence that is in stores."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chains.assembly.stores import open_url, store_options
from chains.assembly.workspace import LAYOUT, Settings, load_settings, own_layout
from chains.cli.arguments import (
    FAILURE,
    FOLDER,
    OK,
    Argument,
    Option,
    Options,
    config,
    output,
    store,
)
from chains.cli.commands import Command, Group
from chains.cli.index.feeding import feed_lines
from chains.cli.index.trusting import given_trust, policy_option, trust_of, trust_options
from chains.cli.progress import Progress
from chains.cli.tables import write_table
from chains.cli.trust import OPTIONS, trust_own_key
from chains.errors import UsageError
from chains.index.codes import Verdict, word
from chains.index.database import DEFAULT, Place, place_of
from chains.index.upkeep.shard import Shard
from chains.loop import carry_out
from chains.terminal import say, write_json, write_line, write_text
from chains.text import count, rfc3339
from chains.verify.criteria import MissingError

if TYPE_CHECKING:
    from chains.index.ingest import Ingested, Source

_EXPORT = "export:"
_MIB = 1024 * 1024
_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


def _build(options: Options) -> int:
    """Build an index anew, and put it in the place of the old one."""
    place = place_of(options.index)
    given = given_trust(options)
    urls = list(dict.fromkeys(options.store))
    if not urls and own_layout():
        say(f"reading {LAYOUT}")
        urls = [LAYOUT]
    if not urls:
        raise UsageError("no store to index: pass --store URL; for a registry oci://REGISTRY/REPOSITORY")
    if not given["key"] and given["policy"] is None and urls == [LAYOUT]:
        given["key"] = [str(Path(trust_own_key()).absolute())]
    from chains.index.target import building  # noqa: PLC0415 - imports SQLAlchemy, which is slow

    return _carry_out(options, _opened(options, building, is_build=True), place, given, urls)


def _update(options: Options) -> int:
    """Add what stores have since to an index, with the trust and the stores of its build."""
    place = place_of(options.index)
    from chains.index.target import remembered, updating  # noqa: PLC0415 - imports SQLAlchemy, which is slow

    given, known = remembered(place)
    if options.policy is not None:
        if given.get("policy") is None:
            raise UsageError(f"the index {place} was built without policies: build it anew with --policy")
        given = given | {"policy": str(Path(options.policy).absolute())}
    urls = list(dict.fromkeys(options.store)) or known
    return _carry_out(options, _opened(options, updating, is_build=False), place, given, urls)


def _opened(options: Options, alone: Any, *, is_build: bool) -> Any:
    """Return what opens the index: for this process alone, or for the part that it reads."""
    from chains.index.sharing import sharing  # noqa: PLC0415 - imports SQLAlchemy, which is slow

    shard = _shard(options.shard)
    return alone if shard.is_all else partial(sharing, shard=shard, is_build=is_build)


def _shard(text: str) -> Shard:
    """Return the part that ``NUMBER/TOTAL`` names. Raises :class:`UsageError`."""
    if not text:
        return Shard()
    found = _SHARD.fullmatch(text)
    if found is None or not int(found[1]) < int(found[2]):
        raise UsageError(f"--shard {text[:40]!r}: expected NUMBER/TOTAL, from 0/TOTAL on, such as 0/4")
    return Shard(int(found[1]), int(found[2]))


def _carry_out(options: Options, opened: Any, place: Place, given: dict[str, Any], urls: list[str]) -> int:
    from chains.index.ingest import ingest  # noqa: PLC0415 - imports SQLAlchemy, which is slow

    settings = load_settings(options.config)
    try:
        trust = trust_of(given, settings)
    except MissingError as error:
        raise UsageError(f"{error}: {OPTIONS[error.missing]}") from error
    now = datetime.now(UTC)
    bars = _Bars()

    async def run() -> Ingested:
        async with AsyncExitStack() as stack:
            sources = [await _source(url, settings, stack) for url in urls]
            with opened(place, trust) as target:
                ingested = await ingest(sources, target, trust, now, bars.advance, _shard(options.shard))
                bars.close()
                if ingested.failed:
                    target.keep_old()
                return ingested

    try:
        ingested = carry_out(run())
    finally:
        bars.close()
    _tell(ingested, place, options.output)
    return FAILURE if ingested.failed else OK


async def _source(url: str, settings: Settings, stack: AsyncExitStack) -> Source:
    if url.startswith(_EXPORT):
        from chains.index.exports import Export  # noqa: PLC0415 - needed for an export alone

        return Export(url)
    return await stack.enter_async_context(open_url(url, store_options(settings.config)))


class _Bars:
    """A progress bar for each store, one after the other."""

    def __init__(self) -> None:
        self._url = ""
        self._bar: Progress | None = None

    def advance(self, url: str, total: int, failed: bool) -> None:
        """Count a part of a store."""
        if self._bar is None or url != self._url:
            self.close()
            self._url, self._bar = url, Progress(total, "parts of the store", is_timed=True)
        self._bar.advance(failed=failed)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _tell(ingested: Ingested, place: Place, form: str) -> None:
    # without policies everything is judged
    told_of = (one for one in Verdict if one is not Verdict.NOT_JUDGED or ingested.new[one])
    new = {word(one): ingested.new[one] for one in told_of}
    for note in ingested.notes:
        say(f"note: {note}")
    for url, reason in ingested.failed.items():
        say(f"error: {url} was not read to the end: {reason}; run it again to go on")
    if form == "json":
        write_json(
            {
                "index": str(place),
                "pieces": ingested.pieces,
                "known": ingested.known,
                "new": new,
                "unread": ingested.unread,
                "removed": ingested.removed,
                "removedCopies": ingested.removed_copies,
                "failed": ingested.failed,
                "notes": ingested.notes,
            },
            indent=True,
        )
        return
    told = ", ".join(f"{number} {name}" for name, number in new.items())
    write_line(f"{place}: {count(sum(new.values()), 'new statement')} ({told})")
    write_line(f"{count(ingested.pieces, 'piece')} of evidence, {ingested.known} known before")
    if ingested.removed_copies:
        gone = count(ingested.removed_copies, "piece")
        write_line(f"{gone} of evidence gone from the stores; removed {count(ingested.removed, 'statement')}")
    if ingested.unread:
        write_line(f"{ingested.unread} could not be read: chains index stats --unread lists them")


def _stats(options: Options) -> int:
    """Print what the index has, how large it is, and how far behind its stores."""
    from chains.index.stats import stats, unread_of  # noqa: PLC0415 - imports SQLAlchemy, which is slow

    place = place_of(options.index)
    if options.unread:
        listed = unread_of(place)
        if options.output == "json":
            write_json(
                [{"store": url, "location": at, "reason": why} for url, at, why in listed], indent=True
            )
        else:
            write_table(("STORE", "PLACE", "REASON"), listed)
        return OK
    found = stats(place)
    if options.output == "json":
        stores = [asdict(one) | {"behind": one.behind, "updated": _time(one.updated)} for one in found.stores]
        told = asdict(found) | {"stores": stores, "newest": _time(found.newest), "index": str(place)}
        write_json(told, indent=True)
        return OK
    write_line(f"{place}: {count(found.attestations, 'statement')} about {count(found.runs, 'run')}")
    write_line(
        f"{found.size / _MIB:.1f} MiB; the latest run ended at {_time(found.newest) or 'an unknown time'}"
    )
    write_line("")
    names = list(found.verdicts)
    rows = [(name, *(str(by[one]) for one in names)) for name, by in found.types.items()]
    rows.append(("all", *(str(found.verdicts[one]) for one in names)))
    write_table(("PREDICATE TYPE", *(name.upper() for name in names)), rows)
    write_line("")
    write_table(
        ("STORE", "COPIES", "UNREAD", "BEHIND", "UPDATED"),
        [
            (one.url, str(one.copies), str(one.unread), str(one.behind), _time(one.updated) or "never")
            for one in found.stores
        ],
    )
    return OK


def _export(options: Options) -> int:
    """Write every statement of the index for other programs."""
    from chains.index.export import to_csv, to_json_lines, write_parquet  # noqa: PLC0415 - imports SQLAlchemy

    place, is_parquet = place_of(options.index), options.output == "parquet"
    if is_parquet != bool(options.folder):
        raise UsageError("parquet is written to a FOLDER, json and csv to standard output")
    if is_parquet:
        written = write_parquet(place, Path(options.folder))
        write_line(f"{options.folder}: {count(written, 'statement')}")
        return OK
    for line in to_csv(place) if options.output == "csv" else to_json_lines(place):
        write_text(line)
    return OK


def _time(seconds: int) -> str | None:
    return rfc3339(datetime.fromtimestamp(seconds, UTC)) if seconds else None


def _index() -> Option:
    text = f"the index: a file, or postgresql://… (default: {DEFAULT})"
    return Option("--index", text, default=DEFAULT, metavar="FILE|URL", twin="CHAINS_INDEX")


def _part() -> Option:
    text = "read one of so many parts alone, into PostgreSQL; the first is 0/TOTAL"
    return Option("--shard", text, twin="CHAINS_INDEX_SHARD", metavar="NUMBER/TOTAL")


_CONFIG = "a chains-config, for its registry settings"
index = Group(
    "index",
    [
        Command(
            "build",
            _build,
            [
                _index(),
                store("index this store, or export:FOLDER that chains export wrote"),
                *trust_options(),
                policy_option("index by these policies: the verdict is that of verify --policy"),
                _part(),
                config(_CONFIG),
                output(),
            ],
            text="build an index of the evidence in stores anew",
        ),
        Command(
            "update",
            _update,
            [
                _index(),
                store("add this store, or export:FOLDER (default: those that were indexed before)"),
                policy_option("where the policies of the build are now"),
                _part(),
                config(_CONFIG),
                output(),
            ],
            text="add what stores have since, with the trust of the build",
        ),
        Command(
            "feed",
            feed_lines,
            [_index(), config(_CONFIG)],
            text="add the evidence of runs that standard input names, as the controller does",
        ),
        Command(
            "stats",
            _stats,
            [
                _index(),
                Option("--unread", "list what could not be read, with the reason", flag=True),
                output(),
            ],
            text="say what the index has and how far behind it is",
        ),
        Command(
            "export",
            _export,
            [
                Argument("folder", "a new folder, for parquet", "FOLDER", many="?", type=FOLDER),
                _index(),
                Option(
                    "--output",
                    "json (one object a line), csv, or parquet (a file for each day; extra parquet)",
                    default="json",
                    choices=["json", "csv", "parquet"],
                ),
            ],
            text="write every statement of the index for other programs",
        ),
    ],
)
