"""Runs read from files, for a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from chains.errors import InputError
from chains.tekton.run_files import Intake, read_inputs
from chains.tekton.snapshot import RunSnapshot
from chains.tekton.surroundings import Surroundings


class Runs:
    """The runs of some files; iteration freezes one after another, so that few are in memory at once."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    def __len__(self) -> int:
        return len(self._intake.runs)

    def __iter__(self) -> Iterator[RunSnapshot]:
        """Yield each run as a snapshot. Raises :class:`InputError` for one that cannot be frozen."""
        return map(self._intake.snapshot, list(self._intake.runs))

    def surroundings(self, run: RunSnapshot) -> Mapping[str, Surroundings]:
        """Return the pod and policies that the files hold for each TaskRun of the run, by label."""
        return self._intake.surroundings_of(run)


def read_runs(*paths: str | Path) -> Runs:
    """Read TaskRuns and PipelineRuns, and the objects around them, from files and folders.

    Files are JSON or YAML, as ``kubectl get -o json`` writes them; a folder gives every such file below it.
    Raises :class:`InputError` with every file and object that cannot be read.
    """
    intake = read_inputs(map(str, paths))
    if intake.problems:
        raise InputError("; ".join(problem for _, problem in intake.problems))
    return Runs(intake)
