"""A run that is named by its UID or its name, and what a statement must say to be about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chains.errors import UsageError
from chains.evidence.retrieve import Window, retrieve
from chains.statements.claims import run_outcome, run_uid
from chains.statements.statement import SCAI, Statement
from chains.tekton.raw import text_at
from chains.verify.reasons import Reason, Result
from chains.verify.subject import Authentic
from chains.verify.verdict import Check
from storage.base import Store

_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_NAME = re.compile(r"(?:taskrun|pipelinerun)/[a-z0-9.-]+/[a-z0-9.-]+", re.ASCII)
_NAMED = 10


@dataclass(frozen=True, slots=True)
class RunName:
    """A run by its UID, or by ``kind/namespace/name``."""

    ref: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class RunNamed:
    """Matches the statements that name the run with this UID; a report must name it as ``label``, too."""

    uid: str
    label: str = ""

    def match(self, found: Authentic) -> list[Check]:
        """Compare the UID in the statement, and the name in a report."""
        uid = run_uid(found.statement)
        if not uid or uid != self.uid:
            return [_fail(f"run {self.uid}", f"run {uid}" if uid else "a statement that names no run")]
        name = reported_name(found.statement)
        if self.label and found.statement.predicate_type == SCAI and name != self.label:
            return [_fail(self.label, name or "no name")]
        return [Check("run", Result.PASS, f"run {self.uid}", f"run {uid}")]

    def is_image(self, sha256: str) -> bool:
        """Return False: no image is wanted."""
        del sha256
        return False


def reported_name(statement: Statement | None) -> str:
    """Return the name of the run in an execution report, as ``kind/namespace/name``; empty for none."""
    return text_at(run_outcome(statement), "target", "name") if statement is not None else ""


def _fail(expected: str, actual: str) -> Check:
    return Check("run", Result.FAIL, expected, actual, Reason.RUN_MISMATCH)


def parse_run_name(word: str) -> RunName | None:
    """Return the run that a word names; None for any other word, and for an existing file."""
    if _UID.fullmatch(word):
        return RunName(word, word)
    if _NAME.fullmatch(word) and not Path(word).exists():
        return RunName(word)
    return None


def unsearchable(stores: Sequence[Store]) -> list[str]:
    """Return the URLs of the stores that cannot search by run, and answer nothing."""
    return [store.url for store in stores if type(store).find_run is Store.find_run]


async def uid_of(stores: Sequence[Store], name: RunName) -> str:
    """Return the UID that the stores have for a run, empty if they have none.

    Raises :class:`UsageError` if several runs have the name, and what the stores raise.
    """
    if name.uid:
        return name.uid
    found = {one.run.origin.uid: None async for one in retrieve(stores, [name.ref], Window())}
    if len(found) > 1:
        told = ", ".join(list(found)[:_NAMED])
        raise UsageError(f"{name.ref}: {len(found)} runs have this name; name one by its UID: {told}")
    return next(iter(found), "")
