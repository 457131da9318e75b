"""From options to an open report: the sources are read, every run is judged, and nothing is written."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chains.assembly.trust import open_listed_keys
from chains.assembly.workspace import Settings
from chains.audit.compare import AT_ONCE, Period, compare
from chains.audit.findings import WRONG, Audit, State
from chains.audit.images import compare_images
from chains.audit.ledger.state import LedgerState
from chains.audit.population.counters import Counters
from chains.audit.population.known import Population
from chains.cli.arguments import FILE, Option, Options
from chains.cli.audit.options import (
    disposition_option,
    dispositions_of,
    evidence_options,
    image_options,
    open_verifier,
    period_of,
    policy_of,
    policy_option,
    read_counters,
    read_images,
    read_sources,
    source_options,
)
from chains.cli.cluster import split_names, whole_number
from chains.cli.progress import Progress
from chains.errors import InputError, UsageError
from chains.loop import carry_out
from chains.report.controls.load import load_maps
from chains.report.controls.rows import add_controls
from chains.report.document.file import Document
from chains.report.folder import digest_of
from chains.report.gather.build import Given, TimeSource, build
from chains.report.gather.ledgers import ledger_facts
from chains.report.gather.prices import Prices, read_prices
from chains.report.gather.recorder import Recorder
from chains.tekton.raw import parse_time
from chains.text import plain, why_of
from signers.open import KEY_SERVICES, scheme_of

MOST_AT_ONCE = 512
MOST_CITED = 1000
"""Files of one folder that are cited by their digests."""
_EPOCH = "SOURCE_DATE_EPOCH"
_AHEAD = timedelta(minutes=5)
_URLS = ("http://", "https://")


@dataclass(frozen=True, slots=True)
class At:
    """The report time, and where it is from."""

    moment: datetime
    source: TimeSource


def gathering_options() -> list[Option]:
    """Return the options of everything that a report is made from."""
    return [
        *source_options(),
        *evidence_options(),
        disposition_option(),
        policy_option(),
        *image_options(),
        Option(
            "--index",
            "an index of the evidence, for SLSA levels and as an independent count",
            metavar="FILE|URL",
            twin="CHAINS_REPORT_INDEX",
            type=FILE,
        ),
        Option(
            "--prices",
            "what an hour of a CPU and of a GiB of memory cost: a JSON or YAML file",
            metavar="FILE",
            twin="CHAINS_REPORT_PRICES",
            type=FILE,
        ),
        Option(
            "--control-map",
            "control maps beside those of the program: a file or a folder; may be repeated",
            repeatable=True,
            metavar="FILE",
            twin="CHAINS_REPORT_CONTROL_MAP",
            type=FILE,
        ),
        Option(
            "--at-once",
            f"runs to judge at the same time (default: {AT_ONCE})",
            default=str(AT_ONCE),
            metavar="N",
        ),
    ]


def at_of(text: str) -> At:
    """Return the report time: the option's, else that of ``SOURCE_DATE_EPOCH``, else now.

    Raises :class:`UsageError` for what is no time, or one that has not come yet.
    """
    now = datetime.now(UTC).replace(microsecond=0)
    epoch = os.environ.get(_EPOCH, "")
    if text:
        moment = parse_time(text) if text[:1].isdigit() and "T" in text else None
        if moment is None:
            raise UsageError(f"--at: {text!r} is no time: write 2026-01-02T03:04:05Z")
        found = At(moment.astimezone(UTC).replace(microsecond=0), "option")
    elif epoch:
        try:
            found = At(datetime.fromtimestamp(int(epoch), UTC), "SOURCE_DATE_EPOCH")
        except (ValueError, OverflowError, OSError) as error:
            raise UsageError(f"{_EPOCH}: {epoch!r} is no number of seconds since 1970") from error
    else:
        return At(now, "clock")
    if found.moment > now + _AHEAD:
        raise UsageError(f"the report time {found.moment.isoformat()} has not come yet")
    return found


@contextmanager
def gathered(
    options: Options, settings: Settings, at: At, period: Period | None = None
) -> Iterator[Document]:
    """Give the report that the options ask for. It can be read until the end of the ``with``.

    ``period`` replaces that of the options. Raises :class:`UsageError` and what reading the sources raises.
    """
    now = at.moment
    period = period or _period_of(options, at)
    counters = carry_out(read_counters(options))
    at_once = whole_number(options.at_once, "--at-once", 1, MOST_AT_ONCE)
    policy = policy_of(options, settings)
    prices = _prices(options)
    maps = load_maps([Path(one) for one in options.control_map])
    with ExitStack() as stack:
        population = stack.enter_context(Population())

        async def work() -> tuple[Audit, Recorder, list[LedgerState]]:
            asked = open_verifier(options, settings, now)
            try:
                ledgers = await read_sources(options, population, now)
                problems: list[str] = []
                images = await read_images(options, problems)
                config = settings.config if settings.given else None
                recorder = stack.enter_context(Recorder(
                    asked.verifier, population, config, now, policy, dispositions_of(options, asked, now)
                ))  # fmt: skip
                bar = Progress(len(population), "runs")
                try:
                    audit = await compare(
                        population,
                        recorder,
                        period,
                        now,
                        at_once=at_once,
                        advance=lambda state: bar.advance(failed=state in WRONG),
                    )
                finally:
                    bar.close()
                audit.problems += problems
                if images:
                    await compare_images(
                        images, population, asked.verifier, audit, at_once=at_once, advance=_ignore
                    )
                return audit, recorder, ledgers
            finally:
                await asked.close()

        audit, recorder, ledgers = carry_out(work())
        facts = ledger_facts(ledgers, period, now)
        del ledgers
        indexed = _indexed(options, period)
        given = Given(
            time_source=at.source,
            namespaces=split_names(options.namespace),
            policy=policy,
            configuration=_digest(options.config) if options.config else "",
            ledgers=facts,
            prices=prices,
            compared=[*_compared(counters, population), *(indexed[1] if indexed else ())],
            cited=list(_cited(options)),
            custody=_custody(options, settings),
            build_levels=indexed[0] if indexed else None,
        )
        document = build(audit, recorder, given)
        add_controls(document, maps)
        yield document


def _period_of(options: Options, at: At) -> Period:
    """Return the period of the options, in whole seconds, as a report writes it.

    A report of a given time has no runs that ended later.
    """
    asked = period_of(options, at.moment)
    found = Period(*(one and one.replace(microsecond=0) for one in (asked.since, asked.until)))
    if found.until is not None or at.source == "clock":
        return found
    if found.since is not None and found.since >= at.moment:
        raise UsageError("--from is not before the report time: no time is between them")
    return replace(found, until=at.moment)


def _ignore(state: State) -> None:
    del state


def _indexed(options: Options, period: Period) -> tuple[dict[str, str], list[tuple[str, str]]] | None:
    if not options.index:
        return None
    from chains.report.gather.indexed import ask_index  # noqa: PLC0415 - needed with an index alone

    return ask_index(options.index, period)


def _custody(options: Options, settings: Settings) -> dict[str, str]:
    """Return the kind of key service that answered for each key, by key id."""
    references = [one for one in options.key or () if scheme_of(one) in KEY_SERVICES]
    return {
        listed.key.keyid: scheme_of(one)
        for one in references
        for listed in open_listed_keys([one], settings.config)
    }


def _prices(options: Options) -> Prices | None:
    try:
        return read_prices(Path(options.prices)) if options.prices else None
    except InputError as error:
        raise UsageError(f"--prices: {error}") from error


def _compared(counters: Sequence[Counters], population: Population) -> Iterator[tuple[str, str]]:
    finished = Counter(run.kind for run in population if run.is_finished)
    for one in counters:
        agrees = ["they count as many finished runs as the sources know"]
        for told in one.compare(finished) or agrees:
            yield f"counters of Tekton's controller ({one.name})", told


def _cited(options: Options) -> Iterator[tuple[str, str, str]]:
    """Yield what, name and digest of each file that the options name as a source or as trust."""
    sources = (
        ("exported runs", options.runs),
        ("audit log", options.audit_log),
        ("records of Tekton Results", options.tekton_results),
        ("trusted root", [options.trusted_root] if options.trusted_root else []),
    )
    for what, names in sources:
        for name in names or ():
            if name != "-" and not name.startswith(_URLS):
                yield from _files(what, Path(name))


def _files(what: str, path: Path) -> Iterator[tuple[str, str, str]]:
    if path.is_file():
        yield what, str(path), _digest(str(path))
        return
    # hidden folders are not read as sources, either
    found = sorted(
        one
        for one in path.rglob("*")
        if one.is_file() and not any(part.startswith(".") for part in one.relative_to(path).parts)
    )
    if len(found) <= MOST_CITED:
        for one in found:
            yield what, str(one), _digest(str(one))
        return
    lines = "".join(f"{_digest(str(one))}  {one.relative_to(path).as_posix()}\n" for one in found)
    digest = hashlib.sha256(lines.encode(errors="backslashreplace")).hexdigest()
    yield f"{what}, list of the digests of {len(found)} files", str(path), f"sha256:{digest}"


def _digest(path: str) -> str:
    try:
        return f"sha256:{digest_of(Path(path))}"
    except OSError as error:
        raise UsageError(f"{plain(path)}: {why_of(error)}") from error
