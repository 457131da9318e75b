"""The command ``audit reverify``: every piece of evidence of a store verified again."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from chains.assembly.workspace import load_settings
from chains.audit.reverify import Reverified, Shard, reverified_to_json, reverify
from chains.cli.arguments import Option, Options, output
from chains.cli.audit.options import evidence_options, open_verifier
from chains.cli.cluster import whole_number
from chains.cli.commands import Command
from chains.cli.progress import Progress
from chains.cli.tables import write_table
from chains.errors import UsageError
from chains.loop import carry_out
from chains.terminal import write_json, write_line
from chains.text import rfc3339

MOST_ROWS = 1000
_MOST_DAYS = 36_500
_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})", re.ASCII)


def _reverify(options: Options) -> int:
    """Verify everything that stores hold, and say what does not verify and what ends soon."""
    settings, now = load_settings(options.config), datetime.now(UTC)
    shard = _shard(options.shard)
    soon = timedelta(days=whole_number(options.soon, "--soon", 0, _MOST_DAYS))
    bar: Progress | None = None
    done: dict[str, int] = {}

    def advance(url: str, total: int, failed: bool) -> None:
        nonlocal bar
        if url not in done and bar is not None:
            bar.close()
        if url not in done or bar is None:
            bar = Progress(total, "parts of the store")
        done[url] = done.get(url, 0) + 1
        bar.advance(failed=failed)

    async def work() -> Reverified:
        asked = open_verifier(options, settings, now)
        try:
            return await reverify(asked.stores, asked.verifier, now, soon, shard, advance)
        finally:
            await asked.close()

    try:
        found = carry_out(work())
    finally:
        if bar is not None:
            bar.close()
    if options.output == "json":
        write_json(reverified_to_json(found), indent=True)
    else:
        _show(found)
    return found.exit_code


def _shard(text: str) -> Shard:
    """Return the part that ``NUMBER/TOTAL`` names. Raises :class:`UsageError`."""
    if not text:
        return Shard()
    found = _SHARD.fullmatch(text)
    if found is None or not int(found[1]) < int(found[2]):
        raise UsageError(f"--shard {text[:40]!r}: expected NUMBER/TOTAL, from 0/TOTAL on, such as 0/4")
    return Shard(int(found[1]), int(found[2]))


def _show(found: Reverified) -> None:
    write_line(found.summary)
    if found.broken:
        write_line("")
        write_table(
            ("REASON", "LOCATION", "DIGEST", "WHY"),
            [(one.reason, one.location, one.digest, one.words) for one in found.broken[:MOST_ROWS]],
        )
        if found.failed > MOST_ROWS:
            write_line(f"and {found.failed - MOST_ROWS:,} more")
    if found.certificates.found:
        write_line("")
        write_table(
            ("CERTIFICATE", "KEY", "PIECES", "OUTLIVED", "FIRST END", "LAST END", "ISSUER"),
            [
                (
                    f"{one.kind} {one.subject}".strip(),
                    one.algorithm,
                    str(one.pieces),
                    str(one.outlived),
                    rfc3339(one.first_end) if one.first_end else "",
                    rfc3339(one.last_end) if one.last_end else "",
                    one.issuer,
                )
                for one in found.certificates.listed()[:MOST_ROWS]
            ],
        )
    if found.expiring:
        write_line("")
        write_table(
            ("ENDS", "WHAT", "PIECES", "WHAT TO DO"),
            [(one.until, one.what, str(one.pieces), one.words) for one in found.expiring],
        )
    for problem in found.problems:
        write_line(f"Not read: {problem}")


reverify_command = Command(
    "reverify",
    _reverify,
    [
        *evidence_options(),
        Option(
            "--shard",
            "verify one of so many parts alone; the first is 0/TOTAL",
            twin="CHAINS_AUDIT_SHARD",
            metavar="NUMBER/TOTAL",
        ),
        Option(
            "--soon",
            "tell what ends within so many days (default: 90)",
            twin="CHAINS_AUDIT_SOON",
            default="90",
            metavar="DAYS",
        ),
        output(),
    ],
)
