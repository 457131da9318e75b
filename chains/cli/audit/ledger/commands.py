"""The commands ``ledger``: verify the ledger of runs, show it, and prove that it has a run."""

from __future__ import annotations

from chains.cli.arguments import (
    FILE,
    FOLDER,
    Argument,
    Option,
    config,
    output,
)
from chains.cli.audit.ledger.prove import prove
from chains.cli.audit.ledger.show import keys, show
from chains.cli.audit.ledger.verify import verify
from chains.cli.commands import Command, Group


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


def _required() -> list[Option]:
    each = "every closed day must have"
    return [
        Option(
            "--require-log",
            f"{each} an entry of a transparency log",
            twin="CHAINS_LEDGER_REQUIRE_LOG",
            flag=True,
        ),
        Option(
            "--require-timestamp",
            f"{each} an RFC 3161 timestamp",
            twin="CHAINS_LEDGER_REQUIRE_TIMESTAMP",
            flag=True,
        ),
    ]


def _witness() -> Option:
    return Option(
        "--witness",
        "the verifier key of a witness (NAME+ID+KEY); may be repeated",
        metavar="VKEY",
        twin="CHAINS_LEDGER_WITNESS",
        repeatable=True,
    )


_CONFIG = "a chains-config, for the login to a key service"
ledger = Group(
    "ledger",
    [
        Command(
            "verify",
            verify,
            [
                Argument("ledger", "the folder of a ledger, or a proof", "LEDGER|PROOF", type=FILE),
                _key(),
                _root(),
                *_required(),
                Option(
                    "--against",
                    "another copy of the ledger, an older checkpoint, or a store; may be repeated",
                    metavar="FOLDER|CHECKPOINT|URL",
                    twin="CHAINS_LEDGER_AGAINST",
                    repeatable=True,
                    type=FILE,
                ),
                _witness(),
                Option(
                    "--cosigned",
                    "so many of the witnesses must have signed the last closed day (default: 0)",
                    metavar="N",
                    twin="CHAINS_LEDGER_COSIGNED",
                    default="0",
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
            show,
            [
                Argument("ledger", "the folder of a ledger", "LEDGER", type=FOLDER),
                Option("--day", "the entries of this UTC day", metavar="DAY", twin="CHAINS_LEDGER_DAY"),
                _key(),
                _root(),
                _witness(),
                config(_CONFIG),
                output(),
            ],
            text="print the days of a ledger, or the entries of one day",
        ),
        Command(
            "keys",
            keys,
            [
                Argument("ledger", "the folder of a ledger", "LEDGER", type=FOLDER),
                _key(),
                config(_CONFIG),
                output(),
            ],
            text="print the key of each log as witnesses need it",
        ),
        Command(
            "prove",
            prove,
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
