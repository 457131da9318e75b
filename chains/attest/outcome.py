"""What became of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chains.attest.earlier import Earlier
from chains.attest.stores import Entry, EntryState
from chains.masking.forms import mask
from storage.record import Absence


class State(StrEnum):
    """What became of a run as a whole."""

    SIGNED = "signed"
    FAILED = "failed"
    SKIPPED = "skipped"


SIGNED, FAILED, SKIPPED = State.SIGNED, State.FAILED, State.SKIPPED


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run: ``signed``, ``failed`` or ``skipped``, with the reason and every entry.

    ``signed`` means that every expected payload has a receipt; ``unchanged`` that all of it was there before.
    """

    run: str
    uid: str
    state: State
    reason: str = ""
    entries: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()
    transient: bool = False
    """Whether a key could not be reached: trying again can help."""
    host: str = ""
    """Who did not answer (``scheme://host:port``), where that kept the run from being attested at all."""
    logged: tuple[str, ...] = ()
    """Where the transparency log has the signatures, the provenance's first; empty when it has none."""
    absence: Absence = ""
    """Whether it failed for want of a subject, such as an image that is yet to be pushed."""
    earlier: Earlier = field(default_factory=dict, repr=False, compare=False)
    """Of a failure, what became of each payload: for the next try, which stores what has no receipt."""

    put_off: bool = False
    """Whether it was left out for its age alone, so that ``chains backfill`` may still attest it."""
    error: Exception | None = field(default=None, repr=False, compare=False)
    """What broke our code, where the reason calls it unexpected."""

    @property
    def may_pass(self) -> bool:
        """Whether trying a failure again can help: a key or a store could not be reached."""
        failed = (entry for entry in self.entries if entry.state == EntryState.FAILED)
        # what one store refuses for good does not keep the others from being tried again
        return self.transient or any(entry.transient for entry in failed)

    @property
    def hosts(self) -> frozenset[str]:
        """Who did not answer."""
        return frozenset(filter(None, (self.host, *(entry.host for entry in self.entries))))

    @property
    def unchanged(self) -> bool:
        """Whether the run was attested before and nothing had to be written."""
        return self.state == SIGNED and not any(entry.state == EntryState.STORED for entry in self.entries)

    def to_json(self) -> dict[str, Any]:
        """Return the outcome for ``--output json``."""
        return {
            "run": self.run,
            "uid": self.uid,
            "state": self.state,
            "unchanged": self.unchanged,
            "reason": mask(self.reason),
            "entries": [
                {
                    "payload": entry.payload,
                    "store": entry.store,
                    "form": entry.form,
                    "subject": entry.subject,
                    "state": entry.state,
                    "detail": entry.told,
                    "digest": entry.digest,
                    "signer": entry.signer,
                    "absent": bool(entry.absence),
                }
                for entry in self.entries
            ],
            "warnings": [mask(warning) for warning in self.warnings],
            "transparency": list(self.logged),
        }
