"""The keys ``ledger.*``: where the controller's ledger is, what it is called, what signs it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

STORES = ("archivista", "docdb", "gcs", "kafka", "s3")
"""The stores that may keep the statements of closed days: those that take subjects which are no images."""

_ORIGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*", re.ASCII)
_LONGEST_ORIGIN = 200


def is_origin(text: str) -> bool:
    """Whether a text can be the name of a log: a host and a path, without scheme, blanks and plus signs."""
    return len(text) <= _LONGEST_ORIGIN and _ORIGIN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Keys ``ledger.*``. Without a ``folder`` there is no ledger."""

    folder: str = ""
    origin: str = ""
    signer: str = ""
    storage: tuple[str, ...] = ()
    transparency: bool = False
    witnesses: tuple[tuple[str, str], ...] = ()
    """The verifier key and the URL of each witness."""
    policies: str = ""
    """A file or folder with policies whose exemptions the ledger notes."""

    @property
    def enabled(self) -> bool:
        """Whether the controller writes a ledger."""
        return bool(self.folder)


def witness_pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the verifier key and the URL of each witness; a part that is missing is empty."""
    for entry in text.replace("\n", ",").split(","):
        if words := entry.split(maxsplit=1):
            yield words[0], words[1].strip() if len(words) > 1 else ""


def ledger_settings(values: Mapping[str, str]) -> LedgerSettings:
    """Return the settings from the values of all keys."""
    stores = values["ledger.storage"]
    return LedgerSettings(
        folder=values["ledger.folder"],
        origin=values["ledger.origin"],
        signer=values["ledger.signer"],
        storage=tuple(stores.split(",")) if stores else (),
        transparency=values["ledger.transparency"] == "true",
        witnesses=tuple(witness_pairs(values["ledger.witnesses"])),
        policies=values["ledger.policies"],
    )
