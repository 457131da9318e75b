"""What is printed of a ledger: lines and cells for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chains.audit.ledger.entries import Entry, RunEntry, moment
from chains.audit.ledger.proof import Proven
from chains.audit.ledger.state import Finding, Gap, LedgerDay, LedgerState
from chains.audit.ledger.walk import LogWalk, Trusted
from chains.text import count, rfc3339


def summary(walk: LogWalk) -> str:
    """Return the line about a log."""
    closed = [day for day in walk.days if day.is_closed]
    verified = sum(day.verified for day in closed)
    left = len(walk.days) - len(closed)
    text = f"{walk.origin}: {verified} of {count(len(closed), 'closed day')} verified"
    if closed:
        size = count(closed[-1].size, "entry", "entries")
        text += f", {closed[0].day.isoformat()} to {closed[-1].day.isoformat()}, {size}"
    text += f"; {count(left, 'day')} not closed yet" if left else ""
    for name in sorted({name for day in closed for name in day.cosigned}):
        last = max(day.day for day in closed if name in day.cosigned)
        text += f"; {name} signed it up to {last.isoformat()}"
    if walk.ended is not None:
        names = ", ".join(name.rpartition("/")[2] for name in walk.ended.successors)
        text += f"; it has ended, for it goes on: {names}"
    return text


def state_of(day: LedgerDay, trusted: Trusted) -> str:
    """Return the word for a day: open, signed, failed, or closed if no key was given to verify it."""
    if not day.is_closed:
        return "open"
    if day.verified:
        return "signed"
    return "failed" if trusted.keys else "closed"


def run_of(entry: Entry) -> str:
    """Return the run of an entry; empty for an entry about no run."""
    if not isinstance(entry, RunEntry):
        return ""
    run = entry.run
    return f"{run.kind} {run.namespace}/{run.name} {run.uid}"


def ledger_of(state: LedgerState, problems: Sequence[Finding], behind: Sequence[LedgerDay]) -> dict[str, Any]:
    """Return a ledger as JSON: its days, gaps, runs by state, and what is wrong."""
    return {
        "until": rfc3339(state.until) if state.until is not None else None,
        "since": moment(state.since) if state.since is not None else None,
        "runs": _by_state(state),
        "days": [_day_of(day) for day in state.days],
        "gaps": [_gap_of(gap) for gap in state.gaps],
        "ended": {log: list(successors) for log, successors in state.ended.items()},
        "problems": [
            {
                "code": one.code,
                "log": one.log,
                "day": one.day.isoformat() if one.day is not None else None,
                "message": one.message,
            }
            for one in problems
        ],
        "notClosed": [{"log": day.log, "day": day.day.isoformat()} for day in behind],
    }


def _by_state(state: LedgerState) -> dict[str, int]:
    found: dict[str, int] = {}
    for run in state.runs.values():
        found[run.state.value] = found.get(run.state.value, 0) + 1
    return found


def _day_of(day: LedgerDay) -> dict[str, Any]:
    return {
        "log": day.log,
        "day": day.day.isoformat(),
        "closed": day.is_closed,
        "verified": day.verified,
        "entries": day.entries,
        "size": day.size,
        "root": day.root,
        "counts": dict(day.counts),
        "openBefore": day.opened,
        "openAfter": day.still_open,
        "pendingAfter": day.pending,
        "signer": day.signer,
        "signed": rfc3339(day.signed) if day.signed is not None else None,
        "logEntries": day.log_entries,
        "cosigned": cosigned_of(day.cosigned),
    }


def cosigned_of(signed: Mapping[str, datetime]) -> dict[str, str]:
    """Return when each witness signed, as JSON."""
    return {name: rfc3339(at) for name, at in signed.items()}


def _gap_of(gap: Gap) -> dict[str, str]:
    return {"log": gap.log, "from": moment(gap.start), "until": moment(gap.until), "reason": gap.reason}


def proof_of(proven: Proven) -> dict[str, Any]:
    """Return what a proof shows as JSON."""
    head = proven.checkpoint
    return {
        "verified": True,
        "log": head.origin,
        "size": head.size,
        "root": head.root_hash.hex(),
        "run": proven.run,
        "entries": [
            {"index": index, "at": moment(entry.at), "kind": entry.kind.value}
            for index, entry in proven.entries
        ],
        "since": proven.since.size if proven.since is not None else None,
    }
