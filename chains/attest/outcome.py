"""The outcome of one run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chains.attest.earlier import Earlier
from chains.attest.stores import Entry, EntryState
from chains.masking.forms import mask
from storage.record import Absence


class State(StrEnum):
    """The state of a run as a whole."""

    SIGNED = "signed"
    FAILED = "failed"
    SKIPPED = "skipped"


SIGNED, FAILED, SKIPPED = State.SIGNED, State.FAILED, State.SKIPPED


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one run: its state, the reason, and every entry.

    ``signed`` means that every expected payload has a receipt, ``unchanged`` that all was stored before.
    """

    run: str
    uid: str
    state: State
    reason: str = ""
    entries: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()
    transient: bool = False
    """Whether a key or a store could not be reached before anything was stored: another attempt can help."""
    host: str = ""
    """The host that did not answer (``scheme://host:port``), if nothing was attested because of it."""
    logged: tuple[str, ...] = ()
    """The URLs of the log entries, the provenance's first; empty if nothing was logged."""
    absence: Absence = ""
    """Whether it failed because a subject is absent, such as an image that is not pushed yet."""
    earlier: Earlier = field(default_factory=dict, repr=False, compare=False)
    """For a failure: the result for each payload. The next attempt stores what has no receipt."""

    put_off: bool = False
    """Whether it was left out for its age alone, so that ``chains backfill`` may still attest it."""
    error: Exception | None = field(default=None, repr=False, compare=False)
    """The exception that nobody expected, if there was one."""

    @property
    def may_pass(self) -> bool:
        """Whether another attempt can help: a key or a store could not be reached."""
        failed = (entry for entry in self.entries if entry.state == EntryState.FAILED)
        # a store that refuses for good does not keep the other stores from being tried again
        return self.transient or any(entry.transient for entry in failed)

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts that did not answer."""
        return frozenset(filter(None, (self.host, *(entry.host for entry in self.entries))))

    @property
    def unchanged(self) -> bool:
        """Whether everything was stored before, so that nothing had to be written."""
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
