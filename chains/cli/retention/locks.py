"""The command ``retention renew``: locks that are too short become longer, legal holds are set."""

from __future__ import annotations

from datetime import UTC, datetime

from chains.assembly.workspace import load_settings
from chains.audit.retention.renew import Change, apply, changes_of, merged
from chains.cli.arguments import FAILURE, OK, Option, Options, output
from chains.cli.audit.options import evidence_options
from chains.cli.commands import Command
from chains.cli.retention.check import MOST_ROWS, bars, open_retention, rule_options
from chains.cli.tables import write_table
from chains.loop import carry_out
from chains.terminal import write_json, write_line
from chains.text import count
from storage.errors import StoreError

UNDECIDED = 4


class _Renewal:
    """What was, or would be, changed. The first changes are told; all are counted."""

    def __init__(self) -> None:
        self.told: list[Change] = []
        self.changes = self.failed = 0
        self.problems: list[str] = []

    def add(self, change: Change) -> None:
        """Count a change."""
        self.changes += 1
        self.failed += bool(change.problem)
        if len(self.told) < MOST_ROWS or (change.problem and len(self.told) < 2 * MOST_ROWS):
            self.told.append(change)


def _renew(options: Options) -> int:
    """Make locks as the rules demand, or say without --apply what would be changed."""
    settings, now = load_settings(options.config), datetime.now(UTC)
    found = _Renewal()

    async def work() -> None:
        opened = open_retention(options, settings, now)
        try:
            for store in opened.asked.stores:
                try:
                    async for kept, total in opened.surveyor.pieces(store):
                        changes = merged(change for one in kept for change in changes_of(one, now))
                        told = await apply(store, changes) if options.apply else [""] * len(changes)
                        for change, problem in zip(changes, told, strict=True):
                            found.add(Change(change.lock, change.mode, change.until, change.hold, problem))
                        advance(store.url, total, any(told))
                except StoreError as error:
                    found.problems.append(f"{store.url} cannot be read whole: {error}")
        finally:
            await opened.asked.close()

    with bars() as advance:
        carry_out(work())
    _show(found, options)
    if found.problems:
        return UNDECIDED
    return FAILURE if found.failed else OK


def _show(found: _Renewal, options: Options) -> None:
    summary = _summary(found, is_applied=options.apply)
    if options.output == "json":
        write_json(
            {
                "schema": "https://provenance.chains/retention-renew/v1",
                "summary": summary,
                "applied": options.apply,
                "changes": found.changes,
                "failed": found.failed,
                "objects": [one.to_json() for one in found.told],
                "problems": found.problems,
            },
            indent=True,
        )
        return
    write_line(summary)
    if found.told:
        write_table(
            ("STATE", "OBJECT", "CHANGE", "WHY NOT"),
            [
                (
                    "failed" if one.problem else "ok" if options.apply else "planned",
                    one.lock.location,
                    one.words,
                    one.problem,
                )
                for one in found.told
            ],
        )
    if found.changes > len(found.told):
        write_line(f"and {found.changes - len(found.told):,} more")
    for problem in found.problems:
        write_line(f"Not read: {problem}")


def _summary(found: _Renewal, *, is_applied: bool) -> str:
    if not is_applied:
        told = (
            f"{count(found.changes, 'lock has', 'locks have')} to change; nothing was changed (no --apply)."
        )
        return told if found.changes else "Every lock is as demanded."
    changed = count(found.changes - found.failed, "lock was", "locks were")
    return f"{changed} changed, {found.failed:,} failed."


renew = Command(
    "renew",
    _renew,
    [
        *rule_options(),
        *evidence_options(),
        Option("--apply", "change the locks; without it, only say what would change", flag=True,
               twin="CHAINS_RETENTION_APPLY"),
        output(),
    ],
    text="make locks longer and stricter where rules demand it, and set legal holds; never shorter",
)  # fmt: skip
