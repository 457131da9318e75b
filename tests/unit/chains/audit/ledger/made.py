"""Ledgers made for tests: a clock that tests set, keys, and days with runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chains.audit.ledger.close import close_day, due_days
from chains.audit.ledger.entries import EntryKind, Receipt, Run, RunEntry
from chains.audit.ledger.writer import LogWriter
from signers.keys.keyfile import open_keyfile
from signers.keys.keyset import ListedKey
from signers.keys.public_key import PublicKey
from signers.sealer import Sealer

ORIGIN = "chains.example.com/prod/share-0-of-1"
START = datetime(2025, 11, 26, 8, 0, 0, tzinfo=UTC)
LATER = datetime(2025, 12, 31, tzinfo=UTC)
RECEIPT = Receipt(
    "slsa", "oci:", "referrer", "sha256:" + "ab" * 32, "registry.example/app", "sha256:" + "cd" * 32
)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, now=START):
        self.now = now

    def __call__(self):
        return self.now

    def move(self, **by):
        self.now += timedelta(**by)


def sealer_of(folder, name="ledger"):
    path = folder / f"{name}.pem"
    if not path.exists():
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        key = Ed25519PrivateKey.generate()
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Sealer(open_keyfile(f"file://{path}"))


def listed(*sealers):
    return [ListedKey(PublicKey.from_pem(sealer.signer.public_pem)) for sealer in sealers]


def run(number, kind="TaskRun", namespace="ci"):
    return Run(kind, namespace, f"build-{number}", f"00000000-0000-4000-8000-{number:012d}")


def fact(kind, number, **fields):
    return RunEntry(START, EntryKind(kind), run(number), **fields)


def seen(number, **fields):
    return fact("seen", number, created="2025-11-26T07:59:00Z", **fields)


def finished(number, **fields):
    return fact("finished", number, completed="2025-11-26T08:01:00Z", succeeded=True, **fields)


def evidenced(number, **fields):
    return fact("evidenced", number, receipts=(RECEIPT,), **fields)


def close_due(writer, sealer, now):
    closed = []
    for day in list(due_days(writer.log, now.date())):
        closed.append(close_day(writer.log, day, sealer, now)[0])
        writer.end_day(day)
    return closed


def four_days(folder, sealer, clock=None):
    """Make a ledger of four closed days and an open one; the third has no entries of runs."""
    clock = clock or Clock()
    writer = LogWriter(folder, ORIGIN, clock)
    for day in range(5):
        if day != 2:
            for number in range(day * 10, day * 10 + 5):
                clock.move(minutes=1)
                writer.append([seen(number)])
            clock.move(minutes=1)
            # of each day two runs are decided, one is pending and two stay open
            writer.append(
                [
                    evidenced(day * 10),
                    fact("skipped", day * 10 + 1, reason="left out"),
                    finished(day * 10 + 2),
                ]
            )
        clock.now = START + timedelta(days=day + 1)
        if day < 4:
            close_due(writer, sealer, clock.now)
    writer.close(ends=False)
    return clock
