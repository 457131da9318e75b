"""The audit log of the Kubernetes API server: who created, ended and deleted which run.

The log has one event of ``audit.k8s.io/v1`` a line. An event names a run with its UID only if it has the
answer of the API server: level RequestResponse. At the levels Metadata and Request, a run that is created
with ``generateName`` has neither name nor UID, so such a log cannot give a population and is refused. Source:
https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qs

import orjson

from chains.audit.population.known import Population, Source
from chains.audit.population.sighting import FINALIZERS, KINDS, Sighting, sighting_of
from chains.errors import InputError
from chains.tekton.raw import mapping_at, objects_at, parse_time, text_at, texts_at
from chains.text import count
from storage import lean_json

Json = Any
LARGEST_LINE = 64 * 1024 * 1024
"""Bytes of one event. A deletion of a collection has all of its objects."""
MOST_PROBLEMS = 100
_GZIP = b"\x1f\x8b"
_RESOURCES = {"taskruns": "TaskRun", "pipelineruns": "PipelineRun"}
_MOMENT = re.compile(rb'"stageTimestamp"\s*:\s*"([0-9TZ:.+-]{20,40})"')
_STAGE = b'"stageTimestamp"'
_FIRST_LINES = 1000
_ABOUT_TEKTON = b"tekton.dev"
_WRITES = {"create", "update", "patch", "apply", "delete", "deletecollection"}
_LEVEL = "RequestResponse"
_TRUNCATED = "audit.k8s.io/truncated"
_SUCCESS = range(200, 300)
_QUIET_SECONDS = 600


@dataclass(slots=True)
class _Reading:
    """What is remembered while the events are read."""

    source: Source
    population: Population
    last: str = ""
    held: set[str] = field(default_factory=set)
    """UIDs of unmarked runs that have the finalizer of a controller of Chains."""
    low_levels: dict[str, int] = field(default_factory=dict)
    """How many events of each verb have no answer of the API server."""
    ends_unseen: int = 0
    """How many writes of a status have no answer of the API server, so that each may have been an end."""
    finished: set[str] = field(default_factory=set)
    quiet: tuple[float, str, str] = (0.0, "", "")

    def problem(self, text: str) -> None:
        """Note what could not be read; after many, that there are more."""
        if len(self.source.problems) < MOST_PROBLEMS:
            self.source.problems.append(text)
        elif len(self.source.problems) == MOST_PROBLEMS:
            self.source.problems.append("there are further lines that cannot be used")

    def lacks(self, event: Mapping[str, Json]) -> None:
        """Note a write that does not show the run after it."""
        if text_at(event, "objectRef", "subresource") == "status":
            self.ends_unseen += 1
            return
        verb = text_at(event, "verb")
        self.low_levels[verb] = self.low_levels.get(verb, 0) + 1

    def saw(self, moment: str) -> None:
        """Note the time of any event, and the longest time without one."""
        at, before = parse_time(moment), parse_time(self.last)
        if at is None:
            return
        if before is not None and (at - before).total_seconds() > self.quiet[0]:
            self.quiet = ((at - before).total_seconds(), self.last, moment)
        if before is None or at > before:
            self.last = moment


def read_audit_log(paths: Iterable[str], population: Population) -> Source:
    """Add the runs that an audit log names: files, compressed or not, and folders of rotated files.

    Raises :class:`InputError` for a log that does not show names, and for a path that is no file.
    """
    names = list(paths)
    source = population.source(
        Source(
            name=f"audit log ({', '.join(names)})",
            kind="audit-log",
            shows="every run that was created, ended or deleted through this API server, and by whom",
            cannot="requests to other API servers of the cluster, and what the audit policy leaves out; a "
            "file that was removed between two others, and events that a webhook in the mode batch dropped, "
            "leave no trace",
            query=" ".join(names),
            shows_deleted=True,
            closes_gaps=True,
            periods={},
        )
    )
    reading = _Reading(source, population)
    files = sorted(
        ((_first_moment(file), str(file), file) for name in names for file in _files(name)),
        key=lambda one: one[:2],
    )
    for number, (_, _, file) in enumerate(files, start=1):
        _read_file(file, reading, is_last=number == len(files))
    source.finished = len(reading.finished)
    for verb, many in reading.low_levels.items():
        source.notes.append(
            f"{count(many, 'event')} of {verb} below the level {_LEVEL}: they do not show the run after it"
        )
    if reading.ends_unseen:
        source.problems.append(
            f"{count(reading.ends_unseen, 'write')} of a status without the run after it, so the end of a "
            f"run may be lost: set the level {_LEVEL} for taskruns/status and pipelineruns/status in the "
            "audit policy"
        )
    seconds, since, until = reading.quiet
    if seconds > _QUIET_SECONDS:
        source.notes.append(f"the longest time without any event: {since} to {until}")
    if not reading.last:
        source.problems.append("no event of audit.k8s.io with a time: is this the log of an API server?")
    elif not source.since:
        source.notes.append(
            f"no write of a run at the level {_LEVEL}: an audit policy that leaves runs out writes such a "
            "log, so it covers no time"
        )
    for kind in KINDS if source.since else ():
        if kind not in (source.periods or {}):
            source.notes.append(
                f"no write of a {kind} at the level {_LEVEL}: an audit policy that leaves that kind out "
                f"writes such a log, so it covers no {kind}s"
            )
    return source


def _files(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.is_file())
        if not found:
            raise InputError(f"{name}: the folder has no files of an audit log")
        return found
    if not path.is_file():
        raise InputError(f"{name}: no such file; name the files of the API server's --audit-log-path")
    return [path]


def _open(file: Path) -> IO[bytes]:
    with file.open("rb") as raw:
        is_packed = raw.read(2) == _GZIP
    return gzip.open(file) if is_packed else file.open("rb")  # type: ignore[return-value]


def _first_moment(file: Path) -> str:
    """Return the time of the first event that has one, so that rotated files are read in their order."""
    try:
        with closing(_open(file)) as opened:
            moments = (_moment_in(line) for line in islice(_lines(opened), _FIRST_LINES))
            return next(filter(None, moments), "")
    except EOFError:
        return ""  # told when the file is read
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror or error}") from error


def _moment_in(line: bytes) -> str:
    """Return the time of an event, which follows the objects in it: these may have a member of this name."""
    place = line.rfind(_STAGE)
    found = _MOMENT.match(line, place) if place >= 0 else None
    return found[1].decode() if found else ""


def _read_file(file: Path, reading: _Reading, *, is_last: bool) -> None:
    number = 0
    try:
        with closing(_open(file)) as opened:
            for number, line in enumerate(_lines(opened), start=1):
                where = f"{file} line {number}"
                if not line.endswith(b"\n"):
                    _read_last(line, where, reading, is_last=is_last)
                elif line.strip():
                    _read_line(line, where, reading)
    except (OSError, EOFError) as error:
        reading.problem(f"{file}: breaks off after line {number}: {error}")


def _lines(opened: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a file; one that is too long comes in parts, which are no JSON."""
    while line := opened.readline(LARGEST_LINE):
        yield line


def _read_last(line: bytes, where: str, reading: _Reading, *, is_last: bool) -> None:
    """Read a line without an end, which is being written if the file is the newest one."""
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        text = f"{where}: the line breaks off"
        if is_last:
            reading.source.notes.append(f"{text}, as that of a file that is being written does")
        else:
            reading.problem(f"{text}: an event is lost")
    else:
        _read_line(line, where, reading)


def _read_line(line: bytes, where: str, reading: _Reading) -> None:
    if _ABOUT_TEKTON not in line:
        if moment := _moment_in(line):
            reading.saw(moment)
        elif not line.lstrip().startswith(b"{"):
            reading.problem(f"{where}: is no event: expected JSON of audit.k8s.io")
        return
    try:
        event = lean_json.loads(line, lean_json.MOST_PAYLOAD_VALUES)
    except orjson.JSONDecodeError as error:
        reading.problem(f"{where}: is no JSON, so an event is lost: {error}")
        return
    for one in objects_at(event, "items") or [mapping_at(event)]:
        reading.saw(text_at(one, "stageTimestamp"))
        _read_event(one, where, reading)


def _read_event(event: Mapping[str, Json], where: str, reading: _Reading) -> None:
    about, verb = mapping_at(event, "objectRef"), text_at(event, "verb")
    kind = _RESOURCES.get(text_at(about, "resource"), "")
    if not kind or text_at(about, "apiGroup") != "tekton.dev" or verb not in _WRITES:
        return
    if text_at(event, "stage") not in {"ResponseComplete", "Panic"}:
        return
    if text_at(event, "level") == _LEVEL:
        reading.source.saw(text_at(event, "stageTimestamp"), kind)
    code = mapping_at(event, "responseStatus").get("code")
    if code not in _SUCCESS or _is_dry(event):
        return
    answer = mapping_at(event, "responseObject")
    if not answer and mapping_at(event, "annotations").get(_TRUNCATED) == "true":
        reading.problem(f"{where}: the event of a {verb} was truncated, so its run is not named")
        return
    if not answer and verb == "create":
        raise InputError(
            f"{where}: a {verb} of {text_at(about, 'resource')} was logged at level "
            f"{text_at(event, 'level') or 'unknown'}, expected {_LEVEL}: at this level runs with "
            "generateName have neither name nor UID, so nobody can tell which runs there were; set the level "
            f"{_LEVEL} for taskruns and pipelineruns in the audit policy, or use another source"
        )
    if verb in {"delete", "deletecollection"}:
        _read_deletion(event, kind, answer, reading)
    elif answer:
        _read_object(event, kind, answer, reading)
    else:
        reading.lacks(event)


def _is_dry(event: Mapping[str, Json]) -> bool:
    """Whether a request was to change nothing.

    The API server takes the options of a delete from the body alone if there is one, else from the query.
    """
    body = mapping_at(event, "requestObject")
    if body and text_at(event, "verb") in {"delete", "deletecollection"}:
        return "All" in texts_at(body, "dryRun")
    return "All" in parse_qs(text_at(event, "requestURI").partition("?")[2]).get("dryRun", [])


def _read_object(event: Mapping[str, Json], kind: str, answer: Mapping[str, Json], reading: _Reading) -> None:
    """Add a run as it was after a write."""
    seen = sighting_of({"kind": kind, "apiVersion": "tekton.dev/v1", **answer})
    if seen is None or not seen.uid:
        # a client may ask for the metadata of the answer alone, or for a table
        reading.lacks(event)
        return
    holds = FINALIZERS[kind] in texts_at(answer, "metadata", "finalizers")
    if holds and not seen.mark:
        reading.held.add(seen.uid)
    elif seen.uid in reading.held:
        reading.held.discard(seen.uid)
        if not seen.mark:
            who = f"{_who(event)} at {text_at(event, 'stageTimestamp')}"
            seen = replace(seen, stripped=who)
    if seen.is_finished:
        reading.finished.add(seen.uid)
        # any write shows the status of a run that ended: only those of the status are shown for every run
        if text_at(event, "objectRef", "subresource") == "status":
            reading.source.ends_of.add(kind)
    reading.population.add(reading.source, seen)


def _read_deletion(
    event: Mapping[str, Json], kind: str, answer: Mapping[str, Json], reading: _Reading
) -> None:
    """Add that runs were deleted: one, or each of a collection."""
    moment, who = text_at(event, "stageTimestamp"), _who(event)
    for item in objects_at(answer, "items") or ([answer] if answer else []):
        seen = sighting_of({"kind": kind, "apiVersion": "tekton.dev/v1", **item})
        if seen is not None and seen.uid:
            reading.population.add(reading.source, replace(seen, deleted=moment, deleted_by=who))
            if seen.is_finished:
                reading.finished.add(seen.uid)
    if objects_at(answer, "items") or text_at(answer, "kind") in _RESOURCES.values():
        return
    about = mapping_at(event, "objectRef")
    namespace, name = text_at(about, "namespace"), text_at(about, "name")
    uid = text_at(answer, "details", "uid") or text_at(about, "uid")
    known = reading.population.named(kind, namespace, name) if name else None
    if not uid and known is not None:
        uid = known.uid
    if uid and name:
        reading.population.add(
            reading.source, Sighting(kind, namespace, name, uid, deleted=moment, deleted_by=who)
        )
    else:
        reading.lacks(event)


def _who(event: Mapping[str, Json]) -> str:
    return text_at(event, "user", "username") or "an unknown user"
