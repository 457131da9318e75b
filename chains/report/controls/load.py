"""Files of control maps become maps: every problem of a file is found at once, with its line."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from chains.documents.load import read_bytes
from chains.documents.places import Path as ValuePath
from chains.documents.places import PlacedDocument, load_placed
from chains.errors import InputError
from chains.policy.document.load import placed
from chains.policy.document.problem import Finding, Problem, ProblemsError, Report, Severity
from chains.policy.document.shapes import WRONG
from chains.report.controls.facts import FACTS
from chains.report.controls.format import DOCUMENT, LARGEST, Highest, Ids
from chains.report.controls.requirement import Requirement
from chains.text import why_of

_SUFFIXES = (".yaml", ".yml", ".json")
MOST_FILES = 200
"""Files of one folder of control maps."""
_PLACE = re.compile(r"\{[^{}]*\}|[{}]")
_PLACES = frozenset(("{from}", "{to}"))


class ControlMapError(ProblemsError):
    """A control map cannot be used."""


@dataclass(frozen=True, slots=True)
class Control:
    """A control of a framework, and what has to hold for each state."""

    id: str
    title: str
    highest: Highest
    partly: tuple[Requirement, ...] = ()
    evidenced: tuple[Requirement, ...] = ()
    missing: str = ""
    queries: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ControlMap:
    """The controls of one framework. ``digest`` is the SHA-256 of its file, in hexadecimal digits."""

    name: str
    framework: str
    version: str
    source: str
    ids: Ids
    controls: tuple[Control, ...]
    digest: str = ""
    file: str = field(default="", compare=False)


@cache
def own_maps() -> tuple[ControlMap, ...]:
    """Return the maps that come with the program, in the order of their names."""
    found: list[ControlMap] = []
    for file in sorted(files(__package__).iterdir(), key=lambda one: one.name):
        if file.name.endswith(".yaml"):
            maps, problems = parse_maps(file.read_bytes(), file.name)
            if problems:
                raise ControlMapError(problems)
            found += maps
    return tuple(sorted(found, key=lambda one: one.name))


def load_maps(paths: Sequence[Path]) -> tuple[ControlMap, ...]:
    """Return our own maps and those of files and folders. A map of the same name replaces ours.

    Raises :class:`ControlMapError` with every problem if one of them cannot be used, and :class:`InputError`
    for a file that cannot be read.
    """
    maps, problems = read_maps(paths)
    if problems:
        raise ControlMapError(problems)
    found = {one.name: one for one in (*own_maps(), *maps)}
    return tuple(found[name] for name in sorted(found))


def read_maps(paths: Sequence[Path]) -> tuple[tuple[ControlMap, ...], tuple[Problem, ...]]:
    """Return the maps of files and folders that can be used, and everything that is wrong with the others."""
    maps: list[ControlMap] = []
    problems: list[Problem] = []
    for path in paths:
        for file in _files(path):
            found, wrong = parse_maps(read_bytes(file, LARGEST), str(file))
            maps += found
            problems += wrong
    seen: dict[str, ControlMap] = {}
    for one in maps:
        first = seen.setdefault(one.name, one)
        if first is not one:
            message = f"control map {one.name!r} is defined twice, the first time in {first.file}"
            problems.append(Problem(Severity.ERROR, "name_twice", message, one.file))
    return tuple(maps), tuple(problems)


def _files(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    try:
        # a pipe, or a link to nothing, is no folder: reading it tells what is wrong, so none is left out
        found = sorted(one for one in path.iterdir() if one.suffix.lower() in _SUFFIXES and not one.is_dir())
    except OSError as error:
        raise InputError(f"{path}: {why_of(error)}") from error
    if not found:
        raise InputError(f"{path}: no control maps: expected files that end in {', '.join(_SUFFIXES)}")
    if len(found) > MOST_FILES:
        raise InputError(f"{path}: {len(found)} files, expected at most {MOST_FILES}")
    return found


def parse_maps(data: bytes, name: str) -> tuple[tuple[ControlMap, ...], tuple[Problem, ...]]:
    """Read the maps of one file's bytes. Raises :class:`InputError` for what is neither YAML nor JSON."""
    documents = [one for one in load_placed(data, name) if one.value is not None]
    if not documents:
        raise InputError(f"{name}: no control map: expected a document with kind: ControlMap")
    digest = hashlib.sha256(data).hexdigest()
    maps: list[ControlMap] = []
    problems: list[Problem] = []
    for document in documents:
        found, wrong = _parse(document, name, digest)
        problems += wrong
        if found is not None:
            maps.append(found)
    return tuple(maps), tuple(problems)


def _parse(document: PlacedDocument, name: str, digest: str) -> tuple[ControlMap | None, list[Problem]]:
    findings: list[Finding] = []
    read = DOCUMENT.read(document.value, (), findings.append)
    found = None
    if read is not WRONG:
        spec = read["spec"]
        controls = _controls(spec["controls"], findings.append)
        found = ControlMap(
            name=read["metadata"]["name"],
            framework=spec["framework"],
            version=spec["version"],
            source=spec["source"],
            ids=spec.get("ids", Ids.PLAIN),
            controls=controls,
            digest=digest,
            file=name,
        )
    problems = [placed(finding, document, name) for finding in findings]
    return (None if problems else found), problems


def _controls(values: Sequence[Mapping[str, Any]], report: Report) -> tuple[Control, ...]:
    found: list[Control] = []
    ids: set[str] = set()
    for at, value in enumerate(values):
        path: ValuePath = ("spec", "controls", at)
        # two ids that differ in other characters alone would be one control for readers of OSCAL
        same = re.sub(r"[^\w.-]", "_", value["id"]).casefold()
        if same in ids:
            report(Finding((*path, "id"), "id_twice", f"the id {value['id']!r} comes twice"))
        ids.add(same)
        _check_states(value, path, report)
        for number, query in enumerate(value.get("queries", ())):
            wrong = sorted(set(_PLACE.findall(query)) - _PLACES)
            if wrong:
                message = f"{wrong[0]!r}: known are {{from}} and {{to}}"
                report(Finding((*path, "queries", number), "placeholder", message))
        found.append(
            Control(
                id=value["id"],
                title=value["title"],
                highest=value["highest"],
                partly=_requirements(value, "partly", path, report),
                evidenced=_requirements(value, "evidenced", path, report),
                missing=value.get("missing", ""),
                queries=value.get("queries", ()),
            )
        )
    return tuple(found)


def _requirements(
    value: Mapping[str, Any], name: str, path: ValuePath, report: Report
) -> tuple[Requirement, ...]:
    found = []
    for at, text in enumerate(value.get(name, ())):
        try:
            found.append(Requirement.parse(text, FACTS))
        except ValueError as error:
            report(Finding((*path, name, at), "requirement", f"{text!r}: {error}"))
    return tuple(found)


def _check_states(value: Mapping[str, Any], path: ValuePath, report: Report) -> None:
    """Report a control whose state could not fall, or could never be reached."""
    highest = value["highest"]
    for state, name in ((Highest.PARTLY, "partly"), (Highest.EVIDENCED, "evidenced")):
        reached = highest is Highest.EVIDENCED or highest is state
        if reached and name not in value:
            message = f"{name} is missing: a control that demands nothing would always be {name}"
            report(Finding(path, "demands_nothing", message))
        if not reached and name in value:
            message = f"{name} has no effect: the highest state is {highest.value}"
            report(Finding((*path, name), "no_effect", message))
    if highest is not Highest.EVIDENCED and "missing" not in value:
        message = "missing is missing: say what no report shows about the control"
        report(Finding(path, "missing_name", message))
