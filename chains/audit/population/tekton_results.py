"""Tekton Results: the runs that its watcher stored, from its API or from exported answers of it.

A record is ``{"name": "NAMESPACE/results/UID/records/UID", "data": {"type": "tekton.dev/v1.TaskRun", "value":
"BASE64"}}``. Source: https://github.com/tektoncd/results/blob/main/docs/api/README.md
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from chains.audit.population.known import Population, Source
from chains.audit.population.sighting import KINDS, sighting_of
from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError
from chains.documents.folders import files_below
from chains.documents.load import read_bytes
from chains.errors import InputError
from chains.tekton.raw import mapping_at, objects_at, text_at
from chains.text import excerpt
from storage import lean_json

Json = Any
PAGE = 100
"""Records of a page: five is the least that the API gives, ten thousand the most."""
_MOST_PAGES = 100_000
_TOKENS = {"nextPageToken", "next_page_token"}
_LARGEST = 256 * 1024 * 1024
_MOST_PROBLEMS = 100
_TYPES = {f"tekton.dev/{version}.{kind}": kind for version in ("v1", "v1beta1") for kind in KINDS}
_FILTER = " || ".join(f"data_type=='{name}'" for name in _TYPES)
RECORDS = "/apis/results.tekton.dev/v1alpha2/parents/{}/results/-/records"


def _source(name: str, query: str) -> Source:
    return Source(
        name=name,
        kind="tekton-results",
        shows="the runs that the watcher of Tekton Results stored, also those that were deleted since",
        cannot="runs that were deleted before the watcher stored them (its metric "
        "watcher_runs_not_stored_count_total), runs that its retention agent or an administrator of Tekton "
        "Results deleted, and the end of runs whose row was never brought up to date",
        query=query,
        shows_deleted=True,
    )


async def read_results_api(api: Cluster, namespaces: Iterable[str], population: Population) -> Source:
    """Add the runs of the API, page by page, in some namespaces or, without any, in all.

    A page that cannot be read is a problem of the source, which ends there.
    """
    paths = [RECORDS.format(quote(name, safe="")) for name in namespaces] or [RECORDS.format("-")]
    query = f"?filter={quote(_FILTER)}&page_size={PAGE}"
    source = population.source(_source("Tekton Results", " ".join(f"GET {path}{query}" for path in paths)))
    for path in paths:
        token = ""
        for _ in range(_MOST_PAGES):
            asked = f"{path}{query}" + (f"&page_token={quote(token, safe='')}" if token else "")
            try:
                page = await api.get(asked)
            except ClusterError as error:
                source.problems.append(f"{path}: cannot be read whole: {error}")
                break
            _add_page(page, path, source, population)
            following = _following(page)
            if not following:
                break
            if following == token:
                source.problems.append(f"{path}: gives the same page again, so the rest is not known")
                break
            token = following
    return source


def read_results_files(paths: Iterable[str], population: Population) -> Source:
    """Add the runs of exported answers: JSON with ``records``, a list of records, or one record a line."""
    names = list(paths)
    source = population.source(_source(f"Tekton Results ({', '.join(names)})", " ".join(names)))

    def unreadable(error: OSError) -> None:
        source.problems.append(f"{error.filename}: {error.strerror}")

    unended = ""
    for name in names:
        path = Path(name)
        files = [path]
        if path.is_dir():
            files = files_below(path, (".json", ".jsonl"), unreadable, skip_hidden=True)
        for file in files:
            for where, document in _documents(file, source):
                _add_page(document, where, source, population)
                if _is_page(document):
                    unended = where if _following(document) else ""
    if unended:
        source.problems.append(f"{unended}: a further page follows it (nextPageToken), and there is none")
    return source


def _is_page(document: Json) -> bool:
    return isinstance(document, Mapping) and ("records" in document or "data" not in document)


def _following(page: Json) -> str:
    """Return the token of the next page, empty for the last one."""
    return text_at(page, "nextPageToken") or text_at(page, "next_page_token")


def _documents(file: Path, source: Source) -> Iterable[tuple[str, Json]]:
    try:
        data = read_bytes(file, _LARGEST)
    except InputError as error:
        source.problems.append(str(error))
        return
    try:
        whole = lean_json.loads(data, 20 * lean_json.MOST_VALUES)
    except orjson.JSONDecodeError:
        lines = data.splitlines()
    else:
        yield str(file), whole
        return
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"{file} line {number}", lean_json.loads(line)
            except orjson.JSONDecodeError as error:
                _problem(source, f"{file} line {number}: is no JSON, so a record is lost: {error}")


def _add_page(page: Json, where: str, source: Source, population: Population) -> None:
    if isinstance(page, Mapping) and objects_at(page, "results"):
        _problem(source, f"{where}: holds results and not records: ask for …/results/-/records")
        return
    records = page
    if isinstance(page, Mapping):
        # an answer without any record is an object without members, or with an empty token
        otherwise = [page] if "data" in page else None if set(page) - _TOKENS else []
        records = page.get("records", otherwise)
    if not isinstance(records, list):
        _problem(source, f"{where}: expected an object with a list of records{_error_in(page)}")
        return
    for record in records:
        if isinstance(record, Mapping):
            _add_record(record, where, source, population)
        else:
            _problem(source, f"{where}: a record is no object, so a run may be lost")


def _error_in(page: Json) -> str:
    """Return what an error of the API says, which somebody saved instead of an answer."""
    told = text_at(page, "message")
    return f", got an error: {excerpt(told, 200)}" if told else ""


def _add_record(record: Json, where: str, source: Source, population: Population) -> None:
    name = text_at(record, "name") or "a record without name"
    kind = _TYPES.get(text_at(record, "data", "type"))
    if not text_at(record, "data", "type"):
        _problem(source, f"{where}: {name}: has no type, so it may be a run")
        return
    if kind is None:
        return  # logs, events and runs of other kinds
    try:
        raw = lean_json.loads(b64decode(text_at(record, "data", "value"), validate=True))
    except (ValueError, binascii.Error) as error:
        _problem(source, f"{where}: {name}: its run cannot be read: {error}; export it again")
        return
    raw = {"apiVersion": text_at(record, "data", "type").rpartition(".")[0], "kind": kind, **mapping_at(raw)}
    seen = sighting_of(raw)
    if seen is None or not seen.uid:
        _problem(source, f"{where}: {name}: holds no run with name and UID")
        return
    if not seen.is_finished:
        source.notes.append(f"{seen.label}: the row was stored before the run had ended")
    if seen.is_finished:
        source.finished += 1
        source.ends_of.add(seen.kind)
    source.saw(seen.finished or seen.created)
    population.add(source, seen)


def _problem(source: Source, text: str) -> None:
    if len(source.problems) < _MOST_PROBLEMS:
        source.problems.append(text)
    elif len(source.problems) == _MOST_PROBLEMS:
        source.problems.append("there are further records that cannot be read")
