"""A report checked: it is counted again from its own rows, and compared with one that was made anew. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from chains.audit.findings import NOTHING_FOUND, State, summary_of, undecided_of
from chains.report.controls.load import own_maps
from chains.report.controls.rows import cited_maps, control_rows
from chains.report.controls.tally import tally as count_rows
from chains.report.document.file import Document, canonical
from chains.report.document.format import Attestation, Cited
from chains.report.gather.tally import Tally
from chains.text import excerpt

MOST = 1000
"""Differences that are named; further ones are counted."""
_LONGEST = 120
_KEYS = ("uid", "digest", "signer", "namespace", "day", "id", "name", "log", "what")
"""Members by which the entries of a list are named in a path, the first that all of them have."""
_LAST = ("cited", "controls")
"""Members that change with nearly every other one."""
_NOT_COMPARED = frozenset({"scope.tool.version", "scope.tool.digest", "scope.timeSource"})
"""What may differ: another version of the program may count again, and says when by an option."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that a report says, and what was found in its place. ``path`` names the member."""

    path: str
    said: str
    found: str

    def __str__(self) -> str:
        return f"{self.path}: the report says {self.said}, found {self.found}"


class Differences:
    """Differences, of which the first ones are kept."""

    def __init__(self) -> None:
        self.kept: list[Difference] = []
        self.more = 0

    def add(self, path: str, said: Any, found: Any) -> None:
        """Add a difference."""
        if len(self.kept) == MOST:
            self.more += 1
            return
        self.kept.append(Difference(path, _shown(said), _shown(found)))

    def __bool__(self) -> bool:
        return bool(self.kept)


def count_again(document: Document, into: Differences) -> None:
    """Add what the report says otherwise than its own rows."""
    tally = Tally()
    attestations = document.attestations()
    runs: dict[str, str] = {}
    for run in document.runs():
        label = f"runs[{run['uid'] or run['name']}]"
        evidence: list[Attestation] = []
        for digest in run["attestations"]:
            found = next(attestations, None)
            if found is None or (found["digest"], found["uid"]) != (digest, run["uid"]):
                into.add(f"{label}.attestations", digest, found["digest"] if found else None)
                break
            evidence.append(found)
        is_evidenced = run["state"] == "evidenced"
        if is_evidenced and not any(one["result"] == "verified" for one in evidence):
            into.add(f"{label}.state", run["state"], "no evidence that was verified")
        tally.add(run, evidence)
        if run["uid"]:
            runs[run["uid"]] = run["state"]
    if left := sum(1 for _ in attestations):
        into.add("attestations", f"{left} more", "runs that name them")
    for artifact in document.artifacts():
        uid = artifact["uid"]
        if uid and runs.get(uid) != artifact["state"]:
            path = f"artifacts[{artifact['digest']} of {uid}].state"
            into.add(path, artifact["state"], runs.get(uid, "no such run"))
    _compare_counts(document, tally, into)
    _compare_words(document, tally, into)
    if not into:  # controls rest on all of it, and would tell each difference many times
        _compare_controls(document, into)


def _compare_counts(document: Document, tally: Tally, into: Differences) -> None:
    head = document.head
    covered = tally.coverage()
    wrong = sum(tally.counts[state] for state in ("failed", "missing", "unattestable"))
    population = head["population"]
    undecided = 4 if population["undecided"] or tally.counts["unknown"] else 0
    code = 1 if wrong or population["imagesWithoutRun"] else undecided
    pairs: list[tuple[str, Any, Any]] = [
        ("counts", head["counts"], {name: tally.counts[name] for name in head["counts"]}),
        ("coverage", head["coverage"], covered),
        ("exitCode", head["exitCode"], code),
        ("population.runs", population["runs"], tally.counts.total()),
        ("population.finished", population["finished"], tally.finished),
        ("population.digest", population["digest"], tally.digest()),
        ("namespaces", head["namespaces"], tally.namespaces()),
        ("days", head["days"], tally.days()),
        ("namespaceDays", head["namespaceDays"], tally.namespace_days()),
        ("reasons", head["reasons"], tally.reasons()),
        ("levels", head["levels"], tally.level_counts()),
    ]
    for path, said, found in pairs:
        _compare(path, said, found, into)
    used = tally.signers.used()
    for key in head["keys"]:
        for member, found in used.pop(key["signer"], tally.signers.nothing()).items():
            _compare(f"keys[{key['signer']}].{member}", key[member], found, into)  # type: ignore[literal-required]
    for name in used:
        into.add(f"keys[{name}]", None, "evidence that it signed")


def _compare_words(document: Document, tally: Tally, into: Differences) -> None:
    """Compare the sentences with what they are made from."""
    head, counts = document.head, {state: tally.counts[state] for state in State}
    population = head["population"]
    undecided = undecided_of(
        counts,
        gaps=len(population["gaps"]),
        lost=sum(len(one["problems"]) for one in population["sources"]),
        problems=len(population["problems"]),
        strays=sum(one["shouldBeKnown"] for one in population["evidenceWithoutRun"]),
    )
    if not tally.finished and population["undecided"][-1:] == [NOTHING_FOUND]:
        undecided.append(NOTHING_FOUND)  # only the sources themselves say whether nothing ran
    _compare("population.undecided", population["undecided"], undecided, into)
    _compare("summary", head["summary"], summary_of(counts, undecided, head["scope"]["at"]), into)


def _compare_controls(document: Document, into: Differences) -> None:
    """Compare the controls of the maps that this program has, too. Those of other maps need the map."""
    head = document.head
    maps = [one for one in own_maps() if set(map(_name, cited_maps([one]))) <= set(map(_name, head["cited"]))]
    names = {one.name for one in maps}
    said = [one for one in head["controls"] if one["map"] in names]
    _compare("controls", said, control_rows(maps, count_rows(document)), into)


def _name(one: Cited) -> tuple[str, str, str]:
    return one["what"], one["name"], one["digest"]


def compare(said: Document, found: Document, into: Differences) -> None:
    """Add what a report says otherwise than one that was made anew: counts first, controls last."""
    names = sorted(said.head.keys() | found.head.keys(), key=lambda one: (one in _LAST, one))
    for name in (one for one in names if one not in _LAST):
        _compare(name, said.head.get(name), found.head.get(name), into)
    for name in ("runs", "artifacts", "attestations"):
        _compare_rows(name, said, found, into)
    for name in _LAST:
        _compare(name, said.head.get(name), found.head.get(name), into)


def _compare_rows(name: str, said: Document, found: Document, into: Differences) -> None:
    """Compare two lists entry by entry, and their order. Of each entry only a digest is kept in memory."""
    known = {key: _digest(row) for key, row in _keyed(found.rows(name))}
    order = iter(tuple(known))
    first_moved: tuple[str, str] | None = None
    is_added = False
    wrong: dict[str, Any] = {}
    for key, row in _keyed(said.rows(name)):
        at_this_place = next(order, key)
        if first_moved is None and at_this_place != key:
            first_moved = key, at_this_place
        digest = known.pop(key, None)
        if digest is None:
            is_added = True
            into.add(f"{name}[{key}]", row, None)
        elif digest != _digest(row):
            wrong[key] = row
    if not wrong and not known:
        if first_moved is not None and not is_added:
            into.add(f"order of {name}", *first_moved)
        return
    for key, row in _keyed(found.rows(name)):
        if key in wrong:
            _compare(f"{name}[{key}]", wrong[key], row, into)
        elif key in known:
            into.add(f"{name}[{key}]", None, row)


def _keyed(rows: Iterator[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a list with what names them; a second entry of a name gets a number."""
    seen: Counter[str] = Counter()
    for row in rows:
        parts = (
            row.get("uid") or "",
            row.get("digest") or "",
            "" if row.get("uid") else row.get("name") or "",
        )
        name = " ".join(filter(None, parts))
        seen[name] += 1
        yield f"{name} ({seen[name]})" if seen[name] > 1 else name, row


def _digest(row: Any) -> bytes:
    return hashlib.sha256(canonical(row)).digest()


def _compare(path: str, said: Any, found: Any, into: Differences) -> None:
    if said == found or path in _NOT_COMPARED:
        return
    if isinstance(said, dict) and isinstance(found, dict):
        for name in sorted(said.keys() | found.keys()):
            _compare(f"{path}.{name}" if path else name, said.get(name), found.get(name), into)
    elif isinstance(said, list) and isinstance(found, list):
        for name, first, second in _paired(said, found):
            _compare(f"{path}[{name}]", first, second, into)
    else:
        into.add(path, said, found)


def _paired(said: list[Any], found: list[Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the entries of two lists that belong together, with the name of each."""
    both = [*said, *found]
    name = next((one for one in _KEYS if all(isinstance(each, dict) and one in each for each in both)), "")
    first, second = ({each.get(name): each for each in one} if name else {} for one in (said, found))
    if name and len(first) == len(said) and len(second) == len(found):
        for key in dict.fromkeys((*first, *second)):
            yield str(key), first.get(key), second.get(key)
        return
    for number, (one, other) in enumerate(zip_longest(said, found)):
        yield str(number), one, other


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    return excerpt(value if isinstance(value, str) else canonical(value).decode(), _LONGEST)
