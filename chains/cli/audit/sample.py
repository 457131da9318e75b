"""The command ``audit sample``: runs chosen by the auditor's seed, with an evidence pack for each."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from chains.assembly.workspace import load_settings
from chains.audit.compare import open_gaps
from chains.audit.judge import Judge
from chains.audit.population.known import Population
from chains.audit.sample import STRATA, Sample, choose, population_digest, sample_to_json, write_sample
from chains.cli.arguments import FOLDER, Option, Options, output
from chains.cli.audit.options import (
    disposition_option,
    dispositions_of,
    evidence_options,
    open_verifier,
    period_of,
    policy_of,
    policy_option,
    read_sources,
    source_options,
)
from chains.cli.cluster import whole_number
from chains.cli.commands import Command
from chains.cli.tables import write_table
from chains.documents.load import read_bytes
from chains.errors import UsageError
from chains.loop import carry_out
from chains.terminal import say, write_json, write_line
from chains.text import count

_MOST = 10_000
_LARGEST_ROOT = 16 * 1024 * 1024


def _sample(options: Options) -> int:
    """Choose runs by the seed, say what became of each, and write a pack for each."""
    if not options.seed:
        raise UsageError("no seed: pass --seed TEXT, which the auditor tells after the period is closed")
    settings, now = load_settings(options.config), datetime.now(UTC)
    period, n = period_of(options, now), whole_number(options.n, "--n", 1, _MOST)
    folder = Path(options.folder) if options.folder else None
    root = read_bytes(Path(options.trusted_root), _LARGEST_ROOT) if options.trusted_root else b""

    policy = policy_of(options, settings)

    async def work(population: Population) -> Sample:
        asked = open_verifier(options, settings, now)
        try:
            await read_sources(options, population, now)
            runs = [run for run in population if run.is_finished and period.has(run.moment)]
            chosen = choose(runs, n, options.seed, options.by)
            judge = Judge(
                asked.verifier, population, settings.config if settings.given else None, now, policy,
                dispositions_of(options, asked, now),
            )  # fmt: skip
            criteria = asked.verifier.criteria
            # with a certificate, a pack has what the verification used, whoever of both signed it
            keys = list(criteria.keys) if criteria.certificate is None else []
            gaps = [
                f"gap of {name}: {gap.since} to {gap.until}: {gap.reason}"
                for name, gap in open_gaps(population.sources, period)
            ]
            lost = [f"{one.name}: {problem}" for one in population.sources for problem in one.problems]
            empty = Sample(
                options.seed, options.by, len(runs), population_digest(runs), undecided=(*lost, *gaps)
            )
            return await write_sample(population, chosen, judge, empty, folder, keys, root)
        finally:
            await asked.close()

    with Population() as population:
        sample = carry_out(work(population))
        if options.output == "json":
            write_json(sample_to_json(sample, population), indent=True)
        else:
            _show(sample, options.folder)
    return sample.exit_code


def _show(sample: Sample, folder: str) -> None:
    spread = f", spread by {sample.by}" if sample.by else ""
    write_line(
        f"{len(sample.items)} of {count(sample.population, 'finished run')}{spread}; seed {sample.seed!r}"
    )
    write_line(f"population {sample.digest}")
    write_table(
        ("NUMBER", "STATE", "RUN", "UID", "FINISHED", "BUNDLES", "WHY"),
        [
            (
                f"{one.number:03d}",
                one.judged.state.value,
                one.judged.label,
                one.judged.uid,
                one.judged.finished,
                str(one.bundles) if one.folder else "",
                one.judged.reason,
            )
            for one in sample.items
        ],
    )
    for one in sample.undecided:
        say(f"warning: not whole: {one}")
    if folder:
        write_line(f"{folder}: {count(len(sample.items), 'pack')}")


sample = Command(
    "sample",
    _sample,
    [
        Option("--n", "how many runs (default: 25)", twin="CHAINS_AUDIT_N", default="25", metavar="N"),
        Option(
            "--seed",
            "the auditor's seed, which decides what is chosen; demanded",
            twin="CHAINS_AUDIT_SEED",
            metavar="TEXT",
        ),
        Option(
            "--by",
            "take the first run of each, then the second of each, and so on",
            twin="CHAINS_AUDIT_BY",
            choices=list(STRATA),
        ),
        Option(
            "--folder",
            "write the evidence of each run into this new or empty folder",
            twin="CHAINS_AUDIT_FOLDER",
            metavar="FOLDER",
            type=FOLDER,
        ),
        *source_options(),
        *evidence_options(),
        disposition_option(),
        policy_option(),
        output(),
    ],
)
