"""The command ``ledger prove``: a proof that the ledger has a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chains.audit.ledger.checkpoint import LARGEST as LARGEST_CHECKPOINT
from chains.audit.ledger.entries import RunEntry
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import LogFolder, find_logs
from chains.audit.ledger.lines import parse_entry
from chains.audit.ledger.proof import make_proof
from chains.cli.arguments import (
    NO_EVIDENCE,
    OK,
    Options,
)
from chains.documents.load import read_bytes
from chains.errors import InputError, UsageError
from chains.terminal import write_document
from chains.text import count, rfc3339


def prove(options: Options) -> int:
    """Print a proof that the ledger has a run."""
    folder = Path(options.ledger)
    try:
        older = read_bytes(Path(options.older), LARGEST_CHECKPOINT) if options.older else b""
    except InputError as error:
        raise UsageError(f"--older {error}") from error
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
        raise _NotProven(
            f"no closed day of {folder} has an entry of the run {options.run}: name it by "
            "UID or NAMESPACE/NAME; a run of today can be proven when the day is closed"
        )
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
        raise _NotProven(f"the ledger has no run {word}: chains ledger show --day lists those of a day")
    if len(found) > 1:
        told = ", ".join(f"{entry.run.kind} {uid} of {rfc3339(entry.at)}" for uid, entry in found.items())
        raise UsageError(f"{word}: several runs had this name; give the UID of one: {told}")
    return next(iter(found))
