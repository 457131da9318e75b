"""What was signed about a run of which only the UID is known: the record of the run is not compared."""

from __future__ import annotations

from dataclasses import dataclass

from chains.statements.claims import run_uid
from chains.text import excerpt
from chains.verify.reasons import Reason, Result
from chains.verify.runs.question import UID_CHECK
from chains.verify.subject import Authentic
from chains.verify.verdict import Check

_LONGEST = 100


@dataclass(frozen=True, slots=True)
class UidWanted:
    """A statement that names this run. SLSA v0.2 names no run, so no statement of it matches."""

    uid: str

    def match(self, found: Authentic) -> list[Check]:
        """Return whether the UID that the statement names is the wanted one."""
        named = run_uid(found.statement)
        expected = f"a statement about run {self.uid}"
        if named and named == self.uid:
            return [Check(UID_CHECK, Result.PASS, expected, f"run {named}")]
        actual = f"run {excerpt(named, _LONGEST)}" if named else "a statement that names no run"
        return [Check(UID_CHECK, Result.FAIL, expected, actual, Reason.RUN_MISMATCH)]

    def is_image(self, sha256: str) -> bool:
        """Return False: no image is wanted."""
        del sha256
        return False
