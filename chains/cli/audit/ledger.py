"""The commands ``ledger``: verify the ledger of runs, show it, and prove that it has a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from chains.assembly.stores import open_url, store_options
from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.assembly.workspace import load_settings
from chains.audit.ledger.checkpoint import LARGEST as LARGEST_CHECKPOINT
from chains.audit.ledger.entries import Entry, RunEntry, moment, parse_entry
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import LogFolder, find_logs
from chains.audit.ledger.forks import compare, compare_checkpoint
from chains.audit.ledger.proof import LARGEST as LARGEST_PROOF
from chains.audit.ledger.proof import make_proof, verify_proof
from chains.audit.ledger.read import walk_ledger
from chains.audit.ledger.replay import ONE_DAY
from chains.audit.ledger.state import Finding, LedgerDay, LedgerState
from chains.audit.ledger.stored import compare_stored
from chains.audit.ledger.walk import LogWalk, Trusted
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
from chains.cli.audit.days import ledger_of, proof_of, run_of, state_of, summary, what
from chains.cli.commands import Command, Group
from chains.cli.tables import write_table
from chains.documents.load import read_bytes
from chains.errors import UsageError
from chains.loop import carry_out
from chains.terminal import say, write_document, write_json, write_line
from chains.text import count, rfc3339
from signers.keys.keyset import KeyStatus
from storage.open import STORES

UNDECIDED = 4
GRACE = timedelta(hours=1)
"""How long after its end a day may wait to be closed before the ledger counts as behind."""
_SHORT = 12


def _verify(options: Options) -> int:
    """Verify a ledger, or a proof that was made from one."""
    trusted = _trusted(options)
    if not trusted.keys:
        raise UsageError("the key that signs the ledger is missing: pass --key PUB")
    path = Path(options.ledger)
    if path.is_file():
        return _verify_proof(path, options, trusted)
    state, walks = walk_ledger(path, trusted)
    problems = [
        *state.problems,
        *(one for place in options.against for one in _against(place, walks, trusted, options)),
    ]
    behind = [day for day in state.days if not day.is_closed and _is_late(day, trusted.now)]
    is_short = _is_short(state, options.until)
    code = _exit_code(state, problems, is_undecided=is_short or bool(behind))
    if options.output == "json":
        write_json(ledger_of(state, problems, behind) | {"exitCode": code}, indent=True)
        return code
    for walk in walks:
        write_line(summary(walk))
    for finding in problems:
        write_line(f"{finding.code}: {finding}")
    for day in behind:
        write_line(f"not closed: {day.log} {day.day.isoformat()}: it is over, and nobody has signed it yet")
    if state.until is not None:
        write_line(
            f"verified until {rfc3339(state.until)}; {count(len(state.runs), 'run')}, "
            f"{count(len(state.gaps), 'gap')} of the watch"
        )
    return code


def _is_short(state: LedgerState, until: str) -> bool:
    """Whether a ledger is not verified up to the end of the day that was demanded."""
    if not until:
        return False
    end = datetime.combine(_day(until, "--until") + ONE_DAY, time(), UTC)
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
    proven = verify_proof(read_bytes(path, LARGEST_PROOF), keys)
    if options.output == "json":
        write_json(proof_of(proven), indent=True)
        return OK
    head = proven.checkpoint
    write_line(
        f"the log {head.origin} of {count(head.size, 'entry', 'entries')} has of the run {proven.run}:"
    )
    write_table(
        ("INDEX", "TIME", "ENTRY", "RUN"),
        [(str(index), moment(entry.at), entry.kind.value, run_of(entry)) for index, entry in proven.entries],
    )
    if proven.since is not None:
        write_line(f"it grew from the log of {count(proven.since.size, 'entry', 'entries')} that you had")
    return OK


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
    others = {walk.origin: walk for walk in walk_ledger(path, trusted)[1]}
    if not others.keys() & {walk.origin for walk in walks}:
        raise UsageError(f"--against {place}: no log of this ledger is in it")
    for walk in walks:
        if walk.origin in others:
            yield from compare(walk, others[walk.origin])


def _show(options: Options) -> int:
    """Print the days of a ledger, or the entries of one day."""
    trusted = _trusted(options)
    folder = Path(options.ledger)
    if options.day:
        return _show_day(folder, _day(options.day, "--day"), options.output)
    state, _ = walk_ledger(folder, trusted)
    if options.output == "json":
        write_json(ledger_of(state, state.problems, ()), indent=True)
        return FAILURE if state.problems else OK
    rows = [
        (
            day.log,
            day.day.isoformat(),
            state_of(day, trusted),
            str(day.entries),
            str(day.opened),
            str(day.counts.get("seen", 0)),
            str(day.counts.get("finished", 0)),
            str(day.counts.get("removed", 0) - day.counts.get("lost", 0)),
            str(day.still_open),
            str(day.pending),
            day.root[:_SHORT],
        )
        for day in state.days
    ]
    write_table(
        (
            "LOG",
            "DAY",
            "STATE",
            "ENTRIES",
            "OPEN BEFORE",
            "SEEN",
            "FINISHED",
            "REMOVED",
            "OPEN",
            "PENDING",
            "ROOT",
        ),
        rows,
    )
    for gap in state.gaps:
        write_line(f"gap: {gap.log}: {moment(gap.start)} to {moment(gap.until)}: {gap.reason}")
    for finding in state.problems:
        write_line(f"{finding.code}: {finding}")
    return FAILURE if state.problems else OK


def _show_day(folder: Path, day: date, form: str) -> int:
    rows: list[tuple[str, Entry]] = []
    for log in find_logs(folder):
        origin = log.origin()
        rows += [(origin, parse_entry(line)) for line in log.whole_lines(day)]
        if form == "json":
            for line in log.whole_lines(day):
                write_document(line)
    if rows and form != "json":
        write_table(
            ("LOG", "TIME", "ENTRY", "RUN", "WHAT"),
            [(origin, moment(one.at), one.kind.value, run_of(one), what(one)) for origin, one in rows],
        )
    if not rows:
        say(f"the ledger has no entry of {day.isoformat()}")
    return OK if rows else NO_EVIDENCE


def _prove(options: Options) -> int:
    """Print a proof that the ledger has a run."""
    folder = Path(options.ledger)
    older = read_bytes(Path(options.older), LARGEST_CHECKPOINT) if options.older else b""
    logs = find_logs(folder)
    uid = _uid(logs, options.run)
    origin = older.partition(b"\n")[0].decode(errors="replace")
    if older and origin not in {log.origin() for log in logs}:
        raise UsageError(
            f"--older {options.older}: a checkpoint of {origin[:80]!r}, which is no log of {folder}"
        )
    proofs = [
        proof
        for log in logs
        if (proof := make_proof(log, uid, older if log.origin() == origin else b"")) is not None
    ]
    if not proofs:
        raise _NotProven(f"no closed day of {folder} has an entry of the run {options.run}")
    if len(proofs) > 1:
        raise UsageError(
            f"{count(len(proofs), 'log')} have entries of the run: name the folder of one of them"
        )
    write_document(proofs[0].removesuffix(b"\n"))
    return OK


class _NotProven(LedgerError):  # noqa: N818 - as other errors say what is not there
    exit_code = NO_EVIDENCE


def _uid(logs: Sequence[LogFolder], word: str) -> str:
    """Return the UID of a run that is named by its UID, or by NAMESPACE/NAME."""
    namespace, slash, name = word.partition("/")
    if not slash:
        return word
    found: dict[str, RunEntry] = {}
    for log in logs:
        for line in (line for day in log.days() for line in log.whole_lines(day)):
            entry = parse_entry(line)
            if isinstance(entry, RunEntry) and (entry.run.namespace, entry.run.name) == (namespace, name):
                found[entry.run.uid] = entry
    if not found:
        raise _NotProven(f"the ledger has no run {word}")
    if len(found) > 1:
        told = ", ".join(f"{entry.run.kind} {uid} of {rfc3339(entry.at)}" for uid, entry in found.items())
        raise UsageError(f"{word}: several runs had this name; give the UID of one: {told}")
    return next(iter(found))


def _trusted(options: Options) -> Trusted:
    settings = load_settings(options.config)
    keys = open_listed_keys(options.key, settings.config) if options.key else []
    root = open_trusted_root(options.trusted_root) if options.trusted_root else None
    return Trusted(keys, datetime.now(UTC), root)


def _is_late(day: LedgerDay, now: datetime) -> bool:
    return now > datetime.combine(day.day + ONE_DAY, time(), UTC) + GRACE


def _day(text: str, option: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{option}: expected a UTC day such as 2026-11-29, got {text[:40]!r}") from error


def _key() -> Option:
    return Option(
        "--key",
        "the public key of the ledger, or a key set; may be repeated",
        metavar="PUB",
        twin="CHAINS_LEDGER_KEY",
        repeatable=True,
        type=FILE,
    )


def _root() -> Option:
    return Option(
        "--trusted-root", "a trusted_root.json, for timestamps and log entries", metavar="FILE", type=FILE
    )


_CONFIG = "a chains-config, for the login to a key service"
ledger = Group(
    "ledger",
    [
        Command(
            "verify",
            _verify,
            [
                Argument("ledger", "the folder of a ledger, or a proof", "LEDGER|PROOF", type=FILE),
                _key(),
                _root(),
                Option(
                    "--against",
                    "another copy of the ledger, an older checkpoint, or a store; may be repeated",
                    metavar="FOLDER|CHECKPOINT|URL",
                    twin="CHAINS_LEDGER_AGAINST",
                    repeatable=True,
                    type=FILE,
                ),
                Option(
                    "--until",
                    "the last UTC day that has to be closed and verified; without it the end may be missing",
                    metavar="DAY",
                    twin="CHAINS_LEDGER_UNTIL",
                ),
                config(_CONFIG),
                output(),
            ],
            text="verify a ledger day by day, or a proof that was made from one",
        ),
        Command(
            "show",
            _show,
            [
                Argument("ledger", "the folder of a ledger", "LEDGER", type=FOLDER),
                Option("--day", "the entries of this UTC day", metavar="DAY", twin="CHAINS_LEDGER_DAY"),
                _key(),
                _root(),
                config(_CONFIG),
                output(),
            ],
            text="print the days of a ledger, or the entries of one day",
        ),
        Command(
            "prove",
            _prove,
            [
                Argument("run", "the UID of a run, or NAMESPACE/NAME", "RUN"),
                Argument("ledger", "the folder of a ledger", "LEDGER", type=FOLDER),
                Option(
                    "--older",
                    "a checkpoint from before: prove that the ledger grew from it, too",
                    metavar="CHECKPOINT",
                    twin="CHAINS_LEDGER_OLDER",
                    type=FILE,
                ),
            ],
            text="print a proof that the ledger has a run, for chains ledger verify",
        ),
    ],
)
