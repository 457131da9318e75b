"""The command ``ledger verify``: a ledger, or a proof that was made from one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from chains.assembly.stores import open_url, store_options
from chains.assembly.workspace import load_settings
from chains.audit.ledger.checkpoint import LARGEST as LARGEST_CHECKPOINT
from chains.audit.ledger.entries import moment
from chains.audit.ledger.errors import LedgerMissing
from chains.audit.ledger.forks import compare, compare_checkpoint
from chains.audit.ledger.proof import LARGEST as LARGEST_PROOF
from chains.audit.ledger.proof import verify_proof
from chains.audit.ledger.read import walk_ledger
from chains.audit.ledger.replay import ONE_DAY
from chains.audit.ledger.seal import SKEW
from chains.audit.ledger.state import Finding, LedgerDay, LedgerState
from chains.audit.ledger.stored import compare_stored
from chains.audit.ledger.walk import LogWalk, Trusted
from chains.cli.arguments import (
    FAILURE,
    NO_EVIDENCE,
    OK,
    Options,
)
from chains.cli.audit.ledger.printed import cosigned_of, ledger_of, proof_of, run_of, summary
from chains.cli.audit.ledger.trusted import day_of, trusted_of
from chains.cli.cluster import whole_number
from chains.cli.tables import write_table
from chains.documents.load import read_bytes
from chains.errors import UsageError
from chains.loop import carry_out
from chains.terminal import say, write_json, write_line
from chains.text import count, rfc3339
from signers.keys.keyset import KeyStatus
from signers.sigstore.cosignature import find_cosignatures
from storage.errors import StoreError
from storage.open import STORES

UNDECIDED = 4
GRACE = timedelta(hours=1)
"""How long after its end a day may wait to be closed before the ledger counts as behind."""


def verify(options: Options) -> int:
    """Verify a ledger, or a proof that was made from one."""
    trusted = trusted_of(options)
    if not trusted.keys:
        raise UsageError("the key that signs the ledger is missing: pass --key PUB")
    path = Path(options.ledger)
    if path.is_file():
        return _verify_proof(path, options, trusted)
    state, walks = walk_ledger(path, trusted)
    problems, away = list(state.problems), list[str]()
    for place in options.against:
        try:
            problems += _against(place, walks, trusted, options)
        except StoreError as error:
            away.append(f"{place}: {error}; try again when the store answers, or name another copy")
    behind = [day for day in state.days if not day.is_closed and _is_late(day, trusted.now)]
    is_short = _is_short(state, options.until)
    needed = _cosignatures(options, trusted)
    alone = list(_without_witnesses(walks, needed, trusted.now))
    code = _exit_code(state, problems, is_undecided=is_short or bool(behind) or bool(alone or away))
    more = {"notCosigned": alone, "notCompared": away, "exitCode": code}
    if options.output == "json":
        write_json(ledger_of(state, problems, behind) | more, indent=True)
        return code
    for walk in walks:
        write_line(summary(walk))
    for finding in problems:
        write_line(f"{finding.code}: {finding}")
    for day in behind:
        write_line(f"not closed: {day.log} {day.day.isoformat()}: it is over, and nobody has signed it yet")
    for text in away:
        write_line(f"not compared: {text}")
    for text in alone:
        write_line(f"not cosigned: {text}")
    if state.until is not None:
        write_line(
            f"verified until {rfc3339(state.until)}; {count(len(state.runs), 'run')}, "
            f"{count(len(state.gaps), 'gap')} of the watch"
        )
    return code


def _cosignatures(options: Options, trusted: Trusted) -> int:
    """Return how many witnesses have to have signed. Raises :class:`UsageError`."""
    needed = whole_number(options.cosigned, "--cosigned", 0)
    if needed > len(trusted.witnesses):
        raise UsageError(
            f"--cosigned {needed}: {count(len(trusted.witnesses), 'witness', 'witnesses')} given: pass "
            "--witness VKEY for each one that may have signed"
        )
    return needed


def _without_witnesses(walks: Sequence[LogWalk], needed: int, now: datetime) -> Iterator[str]:
    """Yield the logs whose last closed day has too few signatures of witnesses, in words.

    A signature of a day covers all days before it. The last day has an hour to get its own.
    """
    for walk in walks if needed else ():
        closed = [day for day in walk.days if day.is_closed]
        due = [day for day in closed if _is_late(day, now)]
        found = next((day for day in reversed(closed) if len(day.cosigned) >= needed), None)
        if due and (found is None or found.day < due[-1].day):
            upto = f"since {found.day.isoformat()}" if found is not None else "any day"
            asked = count(needed, "given witness", "given witnesses")
            yield f"{walk.origin}: {asked} did not sign {upto}: the controller's log says why"


def _is_short(state: LedgerState, until: str) -> bool:
    """Whether a ledger is not verified up to the end of the day that was demanded."""
    if not until:
        return False
    end = datetime.combine(day_of(until, "--until") + ONE_DAY, time(), UTC)
    if state.until is not None and state.until >= end:
        return False
    say(
        f"the ledger is not verified up to the end of {until}: days are missing at its end, or not closed yet"
    )
    return True


def _exit_code(state: LedgerState, problems: Sequence[Finding], *, is_undecided: bool) -> int:
    if problems:
        return FAILURE
    if not any(day.is_closed for day in state.days):
        say("no day of the ledger is closed yet: nothing in it is signed")
        return NO_EVIDENCE
    return UNDECIDED if is_undecided else OK


def _verify_proof(path: Path, options: Options, trusted: Trusted) -> int:
    if options.against:
        raise UsageError("--against compares ledgers: a proof has its own checkpoint")
    keys = [one.key for one in trusted.keys if one.status is not KeyStatus.REVOKED]
    needed = _cosignatures(options, trusted)
    proven = verify_proof(read_bytes(path, LARGEST_PROOF), keys)
    head = proven.checkpoint
    signed = find_cosignatures(head, trusted.witnesses, trusted.now + SKEW)
    code = UNDECIDED if len(signed) < needed else OK
    if code == UNDECIDED:
        say(f"{len(signed)} of {count(needed, 'demanded witness', 'demanded witnesses')} signed it")
    if options.output == "json":
        write_json(proof_of(proven) | {"cosigned": cosigned_of(signed), "exitCode": code}, indent=True)
        return code
    write_line(
        f"the log {head.origin} of {count(head.size, 'entry', 'entries')} has of the run {proven.run}:"
    )
    write_table(
        ("INDEX", "TIME", "ENTRY", "RUN"),
        [(str(index), moment(entry.at), entry.kind.value, run_of(entry)) for index, entry in proven.entries],
    )
    for name, at in signed.items():
        write_line(f"cosigned by {name} at {rfc3339(at)}")
    if proven.since is not None:
        write_line(f"it grew from the log of {count(proven.since.size, 'entry', 'entries')} that you had")
    return code


def _is_store(place: str) -> bool:
    scheme, colon, _ = place.partition(":")
    return bool(colon) and scheme in STORES


def _against_store(url: str, walks: Sequence[LogWalk], options: Options) -> list[Finding]:
    async def run() -> list[Finding]:
        async with open_url(url, store_options(load_settings(options.config).config)) as store:
            return [one for walk in walks for one in await compare_stored(walk, store)]

    return carry_out(run())


def _against(place: str, walks: Sequence[LogWalk], trusted: Trusted, options: Options) -> Iterator[Finding]:
    """Compare the logs with another copy, a checkpoint kept elsewhere, or the statements in a store."""
    path = Path(place)
    if _is_store(place):
        yield from _against_store(place, walks, options)
        return
    if path.is_file():
        note = read_bytes(path, LARGEST_CHECKPOINT)
        origin = note.partition(b"\n")[0].decode(errors="replace")
        walk = next((walk for walk in walks if walk.origin == origin), None)
        if walk is None:
            raise UsageError(
                f"--against {place}: a checkpoint of {origin[:80]!r}, which is no log of this ledger"
            )
        yield from compare_checkpoint(walk, note, [one.key for one in trusted.keys])
        return
    try:
        others = {walk.origin: walk for walk in walk_ledger(path, trusted)[1]}
    except LedgerMissing as error:
        raise UsageError(f"--against {place}: {error}") from error
    if not others.keys() & {walk.origin for walk in walks}:
        raise UsageError(f"--against {place}: no log of this ledger is in it")
    for walk in walks:
        if walk.origin in others:
            yield from compare(walk, others[walk.origin])


def _is_late(day: LedgerDay, now: datetime) -> bool:
    return now > datetime.combine(day.day + ONE_DAY, time(), UTC) + GRACE
