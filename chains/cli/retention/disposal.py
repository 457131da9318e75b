"""The command ``retention dispose``: deletes evidence whose time is over, after a signed record of it."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from chains.assembly.sealers import open_sealer
from chains.assembly.workspace import load_settings, open_key
from chains.audit.ledger.folder import find_logs
from chains.audit.retention import inbox
from chains.audit.retention.dispose import Approval, Disposal, Disposer
from chains.cli.arguments import FILE, FOLDER, Option, Options, output, password_file
from chains.cli.audit.options import evidence_options
from chains.cli.commands import Command
from chains.cli.retention.check import MOST_ROWS, bars, open_retention, rule_options
from chains.cli.tables import write_table
from chains.errors import UsageError
from chains.loop import carry_out
from chains.terminal import write_json, write_line
from chains.text import told
from signers.keys.keyset import ListedKey
from signers.keys.public_key import PublicKey

_MOST = 300
"""Characters of who approved, and why."""


def _dispose(options: Options) -> int:
    """Delete what may go, or say without --apply what that is."""
    settings, now = load_settings(options.config), datetime.now(UTC)
    approval = Approval(_line(options.approved_by), _line(options.reason))
    if options.apply and not (options.signer and approval.by and approval.reason):
        raise UsageError(
            "a record says who approved and why, and is signed: pass --signer KEY, --approved-by WHO and "
            "--reason WHY"
        )
    if options.ledger:
        find_logs(Path(options.ledger))  # a wrong folder is told before anything is done
    signer = None
    if options.apply:
        signer = open_key(options.signer, settings.config, password_file=options.password_file)
    sealer = open_sealer(settings.config, signer) if signer is not None else None

    async def work() -> Disposal:
        # the key's own records count: what it began is finished
        own = [ListedKey(PublicKey.from_pem(signer.public_pem))] if signer is not None else []
        opened = open_retention(options, settings, now, own, fsync=True)
        try:
            run_keys = {key.keyid for key in opened.asked.verifier.criteria.keys}
            if signer is not None and signer.keyid in run_keys:
                raise UsageError(
                    f"--signer: its key {signer.keyid} may sign evidence, too: whoever makes evidence must "
                    "not be able to make the record of its deletion; take another key"
                )
            put = partial(inbox.put, Path(options.ledger)) if options.ledger else lambda _record, _data: None
            disposer = Disposer(opened.surveyor, opened.dispositions, sealer, opened.rules, approval, put)
            return await disposer.dispose(opened.asked.stores, advance)
        finally:
            await opened.asked.close()
            if sealer is not None:
                sealer.close()

    with bars() as advance:
        disposal = carry_out(work())
    _show(disposal, options)
    return disposal.exit_code


def _line(text: str) -> str:
    if len(text) > _MOST:
        raise UsageError(f"--approved-by and --reason have at most {_MOST} characters each")
    return told(text)


def _show(disposal: Disposal, options: Options) -> None:
    if options.output == "json":
        write_json(disposal.to_json(), indent=True)
        return
    write_line(disposal.summary)
    if disposal.pieces:
        write_table(
            ("LOCATION", "DIGEST", "CLASS", "KEPT UNTIL", "RUN"),
            [
                (one.location, one.digest, one.rule, one.kept_until.isoformat(), one.run.uid)
                for one in disposal.pieces[:MOST_ROWS]
            ],
        )
    if len(disposal.pieces) > MOST_ROWS:
        write_line(f"and {len(disposal.pieces) - MOST_ROWS:,} more")
    for uid in disposal.records:
        write_line(f"Record {uid}")
    for place, reason in disposal.kept[:MOST_ROWS]:
        write_line(f"Still there: {place}: {reason}")
    for place in disposal.needed[:MOST_ROWS]:
        write_line(f"Kept, because other evidence about the same image is kept: {place}")
    for problem in disposal.problems:
        write_line(f"Not done: {problem}")


dispose = Command(
    "dispose",
    _dispose,
    [
        *rule_options(),
        *evidence_options(),
        Option("--signer", "the key that signs the records, and signs no evidence", metavar="KEY", type=FILE),
        password_file(),
        Option("--approved-by", "who approved it; the record says it", metavar="WHO"),
        Option("--reason", "why; the record says it", metavar="WHY"),
        Option(
            "--ledger",
            "the controller's ledger, whose writer notes the records",
            metavar="FOLDER",
            twin="CHAINS_AUDIT_LEDGER",
            type=FOLDER,
        ),
        Option(
            "--apply",
            "delete; without it, only say what may go",
            flag=True,
            twin="CHAINS_RETENTION_APPLY",
        ),
        output(),
    ],
    text="delete evidence whose time is over, after a signed record of it was stored",
)
