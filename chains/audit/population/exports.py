"""Runs from files, as every command of the command line reads them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from chains.audit.population.known import Population, Source
from chains.audit.population.sighting import sighting_of
from chains.documents.folders import files_below
from chains.documents.load import load_documents, read_bytes
from chains.errors import InputError
from chains.tekton.run_files import Intake, read_inputs
from chains.text import count

_SUFFIXES = (".json", ".yaml", ".yml")
_LARGEST_EVIDENCE = 64 << 20
_BUNDLES = "application/vnd.dev.sigstore.bundle"
_ENVELOPE = {"payload", "payloadType", "signatures"}


def read_exports(paths: Iterable[str], population: Population) -> Source:
    """Add the runs of files and folders, file by file, and ``-`` for standard input."""
    names = list(paths)
    source = population.source(
        Source(
            name=f"exports ({', '.join(names)})",
            kind="export",
            shows="the runs that somebody wrote into these files",
            cannot="runs that were deleted before the export, or that were left out of it, "
            "and files in hidden folders",
            query=" ".join(names),
        )
    )
    evidence = 0
    for name in names:
        is_folder = Path(name).is_dir()
        for file in _files(name, source):
            intake = read_inputs([file])
            if is_folder and not intake.runs and is_evidence(Path(file)):
                evidence += 1
                continue
            _add(intake, source, population)
    if evidence:
        source.notes.append(f"{count(evidence, 'file')} with evidence, not runs, in the folders")
    return source


def is_evidence(file: Path) -> bool:
    """Whether a file is a Sigstore bundle or a DSSE envelope, whoever signed it, as lies beside runs."""
    try:
        (found,) = load_documents(read_bytes(file, _LARGEST_EVIDENCE), str(file))
    except (InputError, ValueError):
        return False
    if not isinstance(found, dict) or "kind" in found:
        return False
    media_type = found.get("mediaType")
    is_bundle = isinstance(media_type, str) and media_type.startswith(_BUNDLES)
    return is_bundle or found.keys() >= _ENVELOPE


_EXPORT = "export the runs again: kubectl get taskruns,pipelineruns -A -o json"


def _files(name: str, source: Source) -> list[str]:
    """Return the files of a folder, or the path itself, so that one file at a time is in memory."""
    path = Path(name)
    if name == "-" or not path.is_dir():
        return [name]

    def unreadable(error: OSError) -> None:
        source.problems.append(f"{error.filename}: {error.strerror}; let this user read it")

    found = files_below(path, _SUFFIXES, unreadable, skip_hidden=True)
    if not found:
        source.problems.append(f"{name}: the folder has no {', '.join(_SUFFIXES)} files; {_EXPORT}")
    return [str(file) for file in found]


def _add(intake: Intake, source: Source, population: Population) -> None:
    source.problems += [f"{problem}; {_EXPORT}" for _, problem in intake.problems]
    for key, data in intake.runs.items():
        seen = sighting_of(intake.load(key), data)
        if seen is not None:
            source.finished += seen.is_finished
            source.saw(seen.finished or seen.created)
            population.add(source, seen)
