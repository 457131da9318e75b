"""Run files: JSON or YAML, one object or a List, from single files, folders or standard input.

An object that cannot be read becomes a problem and does not affect the other runs. Objects are kept as bytes
and parsed when they are needed, so memory grows with the size of the text and not of the parsed objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from chains.documents.folders import files_below
from chains.documents.lists import MAX_RUN
from chains.documents.load import (
    check_object_names,
    is_large,
    item_of,
    load_documents,
    load_list,
    read_bytes,
    read_standard_input,
)
from chains.errors import AbsentError, InputError
from chains.tekton.children import child_references, names_a_task, why_foreign
from chains.tekton.exported_surroundings import SurroundingsIndex
from chains.tekton.snapshot import (
    RunSnapshot,
    is_run,
    look_alikes,
    looks_like_a_run,
    run_label,
    take_snapshot,
)
from chains.tekton.surroundings import Surroundings

RunKey = tuple[str, str, str]
"""Kind, namespace, name."""

MOST_FOREIGN = 100
"""After this many items that are not known objects, the rest of a file is not read."""
_SUFFIXES = (".json", ".yaml", ".yml")


@dataclass(slots=True)
class Intake:
    """Everything that was read from the inputs: runs, the objects around them, and problems."""

    runs: dict[RunKey, bytes] = field(default_factory=dict)
    surroundings: dict[RunKey, bytes] = field(default_factory=dict)
    """Pods, NetworkPolicies and the like."""
    problems: list[tuple[str, str]] = field(default_factory=list)
    """(run or file, what is wrong)."""
    _conflicting: set[RunKey] = field(default_factory=set)
    _index: SurroundingsIndex | None = None

    def add(self, source: str, data: bytes) -> None:
        """Read the text of one file."""
        if is_large(data):
            self._add_list(source, data)
            return
        try:
            documents = load_documents(data, source)
        except InputError as error:
            self.problems.append((source, str(error)))
            return
        for document in documents:
            try:
                check_object_names(document, source)
            except InputError as error:
                self.problems.append((source, str(error)))
                return
        items = list(_items(documents))
        whole = data if len(items) == 1 and items[0] is documents[0] and data[:1] == b"{" else b""
        if not items:
            self.problems.append((source, f"{source}: holds no objects; expected runs"))
        self._keep_all(source, ((item, "") for item in items), whole)

    def _add_list(self, source: str, data: bytes) -> None:
        try:
            self._keep_all(source, load_list(data, source))
        except InputError as error:
            self.problems.append((source, str(error)))

    def _keep_all(self, source: str, items: Iterable[tuple[Any, str]], whole: bytes = b"") -> None:
        """Keep the items that were read, and the problems of the others."""
        foreign = 0
        for item, problem in items:
            if problem:
                self.problems.append((source, problem))
                continue
            key = self._key(source, item)
            if key is not None:
                self._keep(source, key, item, whole)
                continue
            foreign += 1
            if foreign == MOST_FOREIGN:
                text = f"{source}: the rest is not read: {foreign} of its items are no objects that we know"
                self.problems.append((source, text))
                return

    def _key(self, source: str, item: Any) -> RunKey | None:
        try:
            check_object_names(item, f"{source}: {run_label(item)}")
        except InputError as error:
            self.problems.append((run_label(item), str(error)))
            return None
        key = _key(item)
        if key is None:
            self.problems.append(
                (source, f"{source}: {run_label(item)}: expected an object with kind and name")
            )
        return key

    def _keep(self, source: str, key: RunKey, item: Any, whole: bytes) -> None:
        try:
            data = whole or orjson.dumps(item)
        except (TypeError, RecursionError) as error:
            self.problems.append((run_label(item), f"{source}: {run_label(item)}: {error}"))
            return
        if len(data) > MAX_RUN:
            limit = f"{len(data) >> 20} MiB, more than the {MAX_RUN >> 20} MiB that one object may have"
            self.problems.append((run_label(item), f"{run_label(item)}: {limit}"))
        elif looks_like_a_run(item) and not is_run(item):
            text = (
                f"{run_label(item)}: spelled {item.get('apiVersion')} {item['kind']}; expected tekton.dev/v1"
            )
            self.problems.append((run_label(item), f"{text} TaskRun or PipelineRun"))
        elif not is_run(item):
            if orjson.loads(self.surroundings.setdefault(key, data)) != item:
                self._conflicting.add(key)
            self._index = None
        elif key in self._conflicting:
            return
        elif key not in self.runs:
            self.runs[key] = data
        elif orjson.loads(self.runs[key]) != item:
            text = f"{run_label(item)}: comes twice with different content; pass one of the two"
            self.problems.append((run_label(item), text))
            # Nothing says which of the two is true, so neither is attested.
            self._conflicting.add(key)
            del self.runs[key]

    def load(self, key: RunKey) -> dict[str, Any]:
        """Return one run as a raw object."""
        raw: dict[str, Any] = orjson.loads(self.runs[key])
        return raw

    def snapshot(self, key: RunKey) -> RunSnapshot:
        """Freeze one run, with its children from the same input. Raises :class:`InputError`."""
        raw = self.load(key)
        others: Mapping[RunKey, Any] = {}
        if key[0] == "PipelineRun":
            names = {(str(ref.get("kind")), key[1], str(ref.get("name"))) for ref in child_references(raw)}
            others = {name: self.load(name) for name in names if name in self.runs}
        run = take_snapshot(raw, others)
        if alike := look_alikes(run):
            raise InputError(f"{alike[0]}; readers would disagree about it")
        return run

    def top(self) -> list[RunKey]:
        """Return the runs that are not the child of another run.

        Only TaskRuns can be children, because only TaskRuns become part of a parent's snapshot. A run that
        names itself or another PipelineRun as a child hides nothing.
        """
        children: set[RunKey] = set()
        for key in self.runs:
            if key[0] != "PipelineRun":
                continue
            raw = self.load(key)
            for reference in child_references(raw):
                child = ("TaskRun", key[1], str(reference.get("name")))
                if names_a_task(reference) and child in self.runs and not why_foreign(self.load(child), raw):
                    children.add(child)
        return [key for key in self.runs if key not in children]

    def surroundings_of(self, run: RunSnapshot) -> dict[str, Surroundings]:
        """Return the surroundings of a TaskRun, or of each child of a PipelineRun, by label."""
        if self._index is None:
            self._index = SurroundingsIndex(self.surroundings, self._conflicting)
        tasks = (run, *run.children)
        return {
            task.label: self._index.of_pod(task.namespace, task.status.get("podName", ""))
            for task in tasks
            if task.kind == "TaskRun"
        }


def _items(documents: Iterable[Any]) -> Iterator[Any]:
    for document in documents:
        if (
            isinstance(document, dict)
            and str(document.get("kind", "")).endswith("List")
            and "items" in document
        ):
            items = document["items"]
            for item in items if isinstance(items, list) else [items]:
                yield item_of(document, item)
        elif isinstance(document, list):
            yield from document
        else:
            yield document


def _key(item: Any) -> RunKey | None:
    if not isinstance(item, dict) or not isinstance(item.get("kind"), str):
        return None
    metadata = item.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        return None
    return item["kind"], str(metadata.get("namespace") or "default"), metadata["name"]


def read_inputs(names: Iterable[str]) -> Intake:
    """Read files, folders (all ``.json``, ``.yaml`` and ``.yml`` files in them) and ``-``, standard input.

    A file that is not there is a problem of the intake. Raises :class:`AbsentError` if no other was named.
    """
    intake = Intake()
    absent: list[AbsentError] = []
    names = list(names)
    for name in names:
        if name == "-":
            intake.add("standard input", read_standard_input())
            continue
        path = Path(name)
        files = _files_below(path, intake) if path.is_dir() else [path]
        if not files:
            intake.problems.append((name, f"{name}: the folder has no {', '.join(_SUFFIXES)} files"))
        for file in files:
            label = str(file).encode(errors="surrogateescape").decode(errors="backslashreplace")
            try:
                intake.add(label, read_bytes(file))
            except InputError as error:
                told = str(error).replace(str(file), label)
                intake.problems.append((label, told))
                if isinstance(error, AbsentError) and not path.is_dir():
                    absent.append(AbsentError(told))
    if absent and len(absent) == len(names):
        raise absent[0]
    return intake


def _files_below(folder: Path, intake: Intake) -> list[Path]:
    """Return the files in a folder and its subfolders, links included, but not in hidden subfolders.

    Folders that cannot be read become problems.
    """

    def unreadable(error: OSError) -> None:
        intake.problems.append((str(error.filename), f"{error.filename}: {error.strerror}"))

    return files_below(folder, _SUFFIXES, unreadable, skip_hidden=True)
