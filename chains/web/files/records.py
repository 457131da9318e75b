"""Records of runs: what the cluster had, exported to files. Nobody signed them.

A record belongs to evidence if a confirmed execution report has its digest. Then it is the run as it was when
it was attested.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chains.errors import InputError
from chains.tekton.run_files import Intake, read_inputs
from chains.tekton.snapshot import RunSnapshot
from chains.web.files.watched import files_of


@dataclass(frozen=True, slots=True)
class Records:
    """Runs by UID, frozen when they are asked for."""

    intake: Intake
    keys: dict[str, tuple[str, str, str]]

    def run(self, uid: str) -> RunSnapshot | None:
        """Return the record of a run, None if there is none that can be read."""
        key = self.keys.get(uid)
        try:
            return self.intake.snapshot(key) if key is not None else None
        except InputError:
            return None


def read_records(paths: Sequence[Path]) -> Records:
    """Read the runs of files and folders. What cannot be read is left out."""
    intake = read_inputs([str(path) for path in files_of(paths, (".json", ".yaml", ".yml"))])
    return Records(intake, _keys(intake))


def record_in(data: bytes, uid: str) -> RunSnapshot | None:
    """Return the run with a UID in the bytes that a store keeps of it, None if it is not in them."""
    intake = Intake()
    intake.add("the store", data)
    return Records(intake, _keys(intake)).run(uid)


def _keys(intake: Intake) -> dict[str, tuple[str, str, str]]:
    found = {}
    for key in intake.runs:
        metadata = intake.load(key).get("metadata")
        uid = metadata.get("uid") if isinstance(metadata, dict) else None
        if isinstance(uid, str) and uid:
            found[uid] = key
    return found
