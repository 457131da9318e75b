"""The command ``audit``: which runs finished, and which of them have evidence that verifies now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from chains.assembly.workspace import load_settings
from chains.audit.compare import AT_ONCE, compare
from chains.audit.findings import WRONG, Audit, State, wrong_first
from chains.audit.images import compare_images
from chains.audit.judge import Judge
from chains.audit.metrics import write_metrics
from chains.audit.population.known import Population
from chains.audit.registry_images import UNSEEN
from chains.audit.report import to_csv, to_json, to_junit
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
    read_repositories,
    read_sources,
    repository_option,
    source_options,
)
from chains.cli.cluster import whole_number
from chains.cli.commands import WorkingGroup
from chains.cli.progress import Progress
from chains.cli.tables import write_table
from chains.loop import carry_out
from chains.terminal import say, write_json, write_line, write_text
from chains.text import count

MOST_ROWS = 1000
"""Runs in the table. JSON and CSV have all of them."""
MOST_AT_ONCE = 512
_FORMS = ("text", "json", "csv", "junit")


def _audit(options: Options) -> int:
    """Compare the runs of every source with evidence, and print what is not there or does not verify."""
    settings = load_settings(options.config)
    now = datetime.now(UTC)
    period, counters = period_of(options, now), carry_out(read_counters(options))
    at_once = whole_number(options.at_once, "--at-once", 1, MOST_AT_ONCE)

    policy = policy_of(options, settings)

    async def work(population: Population) -> Audit:
        asked = open_verifier(options, settings, now)
        try:
            await read_sources(options, population, now)
            problems: list[str] = []
            images = await read_images(options, problems)
            stored = await read_repositories(options, settings)
            for image, tags in stored.tags.items():
                images.setdefault(image, []).extend(tags)
            judge = Judge(
                asked.verifier, population, settings.config if settings.given else None, now, policy,
                dispositions_of(options, asked, now),
            )  # fmt: skip
            with _bar(len(population), "runs") as advance:
                audit = await compare(population, judge, period, now, at_once=at_once, advance=advance)
            audit.problems += [*problems, *stored.problems]
            audit.images_unlisted = stored.unlisted
            if stored.tags:
                audit.notes.append(UNSEEN)
            if images:
                with _bar(len(images), "images") as advance:
                    await compare_images(
                        images,
                        population,
                        asked.verifier,
                        audit,
                        platforms=stored.platforms,
                        at_once=at_once,
                        advance=advance,
                    )
            return audit
        finally:
            await asked.close()

    with Population() as population:
        audit = carry_out(work(population))
        finished = Counter(run.kind for run in population if run.is_finished)
    for one in counters:
        audit.notes += one.compare(finished)
    _show(audit, options)
    if options.metrics_file:
        write_metrics(audit, Path(options.metrics_file))
    return audit.exit_code


@contextmanager
def _bar(total: int, noun: str) -> Iterator[Callable[[State], None]]:
    bar = Progress(total, noun)
    try:
        yield lambda state: bar.advance(failed=state in WRONG)
    finally:
        bar.close()


def _show(audit: Audit, options: Options) -> None:
    """Write the answer; what is no part of a file in the form goes to standard error."""
    match options.output:
        case "json":
            write_json(to_json(audit, all_runs=options.all), indent=True)
            return
        case "csv":
            for line in to_csv(audit, all_runs=options.all):
                write_text(line)
        case "junit":
            for line in to_junit(audit):
                write_text(line)
        case _:
            for line in audit.summary:
                write_line(line)
            _show_tables(audit, all_runs=options.all)
            return
    for line in audit.summary:
        say(line)


def _show_tables(audit: Audit, *, all_runs: bool) -> None:
    rows = [
        (name or "(none)", *(str(found[state]) for state in State)) for name, found in audit.by_namespace()
    ]
    if rows:
        write_line("")
        write_table(("NAMESPACE", *(state.value.upper() for state in State)), rows)
    shown = [one for one in wrong_first(audit.runs) if all_runs or one.state is not State.EVIDENCED]
    if shown:
        write_line("")
        write_table(
            ("STATE", "RUN", "UID", "FINISHED", "WHY"),
            [
                (
                    one.state.value,
                    one.label,
                    one.uid,
                    one.finished,
                    one.reason,
                )
                for one in shown[:MOST_ROWS]
            ],
        )
        if len(shown) > MOST_ROWS:
            write_line(f"and {len(shown) - MOST_ROWS:,} more: --output json and csv have all of them")
    _show_others(audit)
    _show_sources(audit)


def _show_others(audit: Audit) -> None:
    if audit.strays:
        write_line("")
        write_line(f"Evidence whose run no source knows: {count(len(audit.strays), 'run')}.")
        write_table(
            ("VERDICT", "RUN", "UID", "FINISHED", "STORE"),
            [(one.verdict, one.label, one.uid, one.finished, one.store) for one in audit.strays[:MOST_ROWS]],
        )
    if audit.differences:
        write_line("")
        total = len(audit.differences) + audit.more_differences
        write_line(f"Sources contradict each other: {count(total, 'difference')}.")
        write_table(
            ("RUN", "UID", "WHAT", "ONE SAYS", "THE OTHER SAYS"),
            [
                (
                    one.label,
                    one.uid,
                    one.what,
                    f"{one.first}: {one.said}",
                    f"{one.second}: {one.contradicted}",
                )
                for one in audit.differences[:MOST_ROWS]
            ],
        )
    if audit.images:
        write_line("")
        least = "at least " if audit.images_unlisted else ""
        write_line(f"Images without a known run: {least}{len(audit.images)} of {audit.images_asked}.")
        write_table(
            ("IMAGE", "WHERE", "WHY"),
            [
                (one.image, ", ".join(one.where), f"{one.why}: {one.words}")
                for one in audit.images[:MOST_ROWS]
            ],
        )


def _show_sources(audit: Audit) -> None:
    """Write what each source can show and what it cannot: without that, a percentage says nothing."""
    for source in audit.sources:
        write_line("")
        period = f", {source.since} to {source.until}" if source.since else ""
        write_line(
            f"Source {source.name}: {count(source.runs, 'run')}, {source.finished:,} finished{period}."
        )
        write_line(f"  shows: {source.shows}")
        write_line(f"  cannot show: {source.cannot}")
        for note in source.notes[:MOST_ROWS]:
            write_line(f"  note: {note}")
        for problem in source.problems[:MOST_ROWS]:
            write_line(f"  lost: {problem}")
    for name, gap in audit.gaps:
        write_line(f"Gap of {name}: {gap.since} to {gap.until}: {gap.reason}")
    for problem in audit.problems:
        write_line(f"Not answered: {problem}")
    for note in audit.notes:
        write_line(f"Note: {note}")


audit = WorkingGroup(
    "audit",
    _audit,
    lazy={
        "sample": (
            "chains.cli.audit.sample:sample",
            "choose runs by an auditor's seed, and pack the evidence of each",
        ),
        "reverify": (
            "chains.cli.audit.reverify:reverify_command",
            "verify every piece of evidence of a store again",
        ),
    },
    parameters=[
        *source_options(),
        *evidence_options(),
        disposition_option(),
        policy_option(),
        *image_options(),
        repository_option(),
        Option("--all", "show runs whose evidence verifies, too", twin="CHAINS_AUDIT_ALL", flag=True),
        Option(
            "--at-once",
            f"runs to judge at the same time (default: {AT_ONCE})",
            default=str(AT_ONCE),
            metavar="N",
        ),
        Option(
            "--metrics-file",
            "write metrics for the textfile collector of node exporter into this file",
            twin="CHAINS_AUDIT_METRICS_FILE",
            metavar="FILE",
            type=FILE,
        ),
        Option("--output", ", ".join(_FORMS), default="text", choices=_FORMS),
    ],
)
