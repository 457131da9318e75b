"""What ledgers say beside their runs: heads, configurations, keys, exemptions, deletions, times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from chains.audit.compare import Period
from chains.audit.ledger.entries import Configured, Disposition, Entry, Exemption, Keys
from chains.audit.ledger.state import LedgerDay, LedgerState, RunState
from chains.report.document import format as form
from chains.report.document.format import maybe, moment, text
from chains.tekton.raw import parse_time
from chains.text import rfc3339


@dataclass(slots=True)
class LedgerFacts:
    """What all ledgers say that a report has."""

    heads: list[form.LedgerHead] = field(default_factory=list)
    changes: list[form.Change] = field(default_factory=list)
    keys: list[form.KeyChange] = field(default_factory=list)
    exemptions: list[form.Exemption] = field(default_factory=list)
    dispositions: list[form.Disposition] = field(default_factory=list)
    unsigned: int = 0
    """Exemptions and deletions among these that are in no signed day."""
    decided: dict[str, int] = field(default_factory=dict)
    """By UID, when the controller had stored the evidence of a run, in Unix seconds."""


def ledger_facts(states: Iterable[LedgerState], period: Period, now: datetime) -> LedgerFacts | None:
    """Return what ledgers say about a period, None without a ledger.

    Exemptions are those in force at some time of the period.
    """
    facts: LedgerFacts | None = None
    for state in states:
        facts = facts or LedgerFacts()
        facts.heads += _heads(state.days)
        for uid, run in state.runs.items():
            if run.state is RunState.EVIDENCED and run.decided is not None and not run.is_from_mark:
                facts.decided[uid] = int(run.decided.timestamp())
        for entry in state.others:
            is_signed = state.is_sound and state.until is not None and entry.at < state.until
            _take(entry, facts, period, now, is_signed=is_signed)
    if facts is not None:
        facts.heads.sort(key=lambda one: one["log"])
        facts.changes.sort(key=lambda one: (one["at"], one["digest"]))
        facts.keys.sort(key=lambda one: (one["at"], one["signers"]))
        facts.exemptions.sort(key=lambda one: (one["since"] or "", one["what"]))
        facts.dispositions.sort(key=lambda one: (one["at"], one["digest"]))
    return facts


def _take(entry: Entry, facts: LedgerFacts, period: Period, now: datetime, *, is_signed: bool) -> None:
    at = rfc3339(entry.at)
    if isinstance(entry, Exemption):
        # one that began before the period may still count in it
        until = parse_time(entry.until) if entry.until else None
        if (period.until is None or entry.at < period.until) and (
            until is None or period.since is None or until >= period.since
        ):
            facts.unsigned += not is_signed
            facts.exemptions.append(
                {
                    "what": text(entry.what), "rules": [], "approver": maybe(entry.by),
                    "reason": text(entry.reason), "reference": None, "since": at,
                    "until": moment(entry.until), "source": "ledger",
                    "isOver": until is not None and until <= now,
                }
            )  # fmt: skip
        return
    if not period.has(at):
        return
    if isinstance(entry, Configured):
        changed = [text(one) for one in entry.changed]
        facts.changes.append(
            {"at": at, "digest": text(entry.digest), "changed": changed, "signed": is_signed}
        )
    elif isinstance(entry, Keys):
        signers = sorted(text(one) for one in entry.signers)
        facts.keys.append({"at": at, "signers": signers, "ledger": text(entry.ledger), "signed": is_signed})
    elif isinstance(entry, Disposition):
        facts.unsigned += not is_signed
        facts.dispositions.append(
            {
                "at": at, "digest": text(entry.digest), "location": text(entry.location),
                "by": text(entry.by), "reason": text(entry.reason), "uid": maybe(entry.uid),
            }
        )  # fmt: skip


def _heads(days: Sequence[LedgerDay]) -> Iterator[form.LedgerHead]:
    by_log: dict[str, list[LedgerDay]] = {}
    for one in days:
        by_log.setdefault(one.log, []).append(one)
    for log, found in by_log.items():
        unbroken = []
        for one in found:
            if not one.verified:
                break
            unbroken.append(one)
        if not unbroken:
            continue
        last = unbroken[-1]
        yield {
            "log": text(log),
            "day": last.day.isoformat(),
            "size": last.size,
            "root": last.root,
            "signer": maybe(last.signer),
            "signed": rfc3339(last.signed) if last.signed is not None else None,
            "firstDay": found[0].day.isoformat(),
            "days": len(unbroken),
            "notVerified": sum(one.is_closed and not one.verified for one in found),
            "notClosed": sum(not one.is_closed for one in found),
        }
