"""Stored results of ``chains audit --output json``: the newest counts, older ones can be chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from chains.audit.report import SCHEMA
from chains.tekton.raw import mapping_at, objects_at, text_at, texts_at
from chains.web.files.watched import files_of

LARGEST: Final = 64 * 1024 * 1024
"""Bytes of a result that is read."""
MOST: Final = 50
"""Results that can be chosen; the newest are."""
STATES: Final = ("missing", "failed", "unattestable", "unknown", "disposed", "skipped", "open")
"""The states that are gaps or may be, the worst first."""
NOT_COUNTED: Final = frozenset({"disposed", "skipped", "open"})
"""The states of runs of which no evidence is demanded."""
_PERIOD: Final = ("since", "until")


@dataclass(frozen=True, slots=True)
class Gap:
    """A run that is not evidenced: its state, the code and words why, and who saw it."""

    state: str
    reason: str
    detail: str
    words: str
    kind: str
    namespace: str
    name: str
    uid: str
    created: str
    finished: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PopulationSource:
    """A source of the runs that should have evidence: what it can show, what it cannot, how it was asked."""

    name: str
    shows: str
    cannot_show: str
    query: str
    runs: int
    finished: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditResult:
    """One audit, as it was told. ``namespaces`` has numbers of runs by state for each."""

    file: str
    at: str
    since: str
    until: str
    summary: str
    exit_code: int
    finished: int
    counts: Mapping[str, int]
    namespaces: Mapping[str, Mapping[str, int]]
    coverage: tuple[str, str] | None
    sources: tuple[PopulationSource, ...]
    watch_gaps: tuple[Mapping[str, Any], ...]
    differences: int
    problems: tuple[str, ...]
    stores: tuple[str, ...]
    gaps: tuple[Gap, ...]

    def within(self, namespaces: Sequence[str] | None) -> AuditResult:
        """Return what a viewer of some namespaces may see of it: their runs, and no numbers of others."""
        if namespaces is None:
            return self
        own = {name: found for name, found in self.namespaces.items() if name in namespaces}
        counts: Counter[str] = Counter()
        for found in own.values():
            counts.update(found)
        return AuditResult(
            file=self.file,
            at=self.at,
            since=self.since,
            until=self.until,
            summary="",
            exit_code=_exit_code(counts),
            finished=sum(counts[name] for name in counts if name not in NOT_COUNTED),
            counts=counts,
            namespaces=own,
            coverage=None,
            sources=(),
            watch_gaps=self.watch_gaps,
            differences=0,
            problems=(),
            stores=(),
            gaps=tuple(one for one in self.gaps if one.namespace in namespaces),
        )


def _exit_code(counts: Mapping[str, int]) -> int:
    """Return the exit code for these runs alone: that of the whole says how it is with those of others."""
    if any(counts.get(state) for state in ("failed", "missing", "unattestable")):
        return 1
    return 4 if counts.get("unknown") else 0


@dataclass(frozen=True, slots=True)
class Audits:
    """The results, the newest first, and the files that are none, with the reason."""

    results: tuple[AuditResult, ...]
    problems: tuple[str, ...]

    def within(self, namespaces: Sequence[str] | None) -> Audits:
        """Return what a viewer of some namespaces may see of all results."""
        if namespaces is None:
            return self
        return Audits(tuple(one.within(namespaces) for one in self.results), ())

    def at(self, moment: str) -> AuditResult | None:
        """Return the result of a time, the newest without one; None if there is none."""
        if not moment:
            return self.results[0] if self.results else None
        return next((one for one in self.results if one.at == moment), None)


def read_audits(paths: Sequence[Path]) -> Audits:
    """Read the results in files and folders. What cannot be read is told."""
    results, problems = [], []
    newest = sorted(files_of(paths, (".json",)), key=_age)[:MOST]
    for path in newest:
        try:
            if path.stat().st_size > LARGEST:
                problems.append(f"{path.name}: larger than {LARGEST >> 20} MiB")
                continue
            told = orjson.loads(path.read_bytes())
        except OSError as error:
            # the whole text has the path on the server
            problems.append(f"{path.name}: {error.strerror}")
            continue
        except orjson.JSONDecodeError as error:
            problems.append(f"{path.name}: {error}")
            continue
        if not isinstance(told, dict) or told.get("schema") != SCHEMA:
            problems.append(f"{path.name}: no result of chains audit --output json")
            continue
        results.append(_result(path.name, told))
    return Audits(tuple(sorted(results, key=lambda one: one.at, reverse=True)), tuple(problems))


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def _result(file: str, told: Mapping[str, Any]) -> AuditResult:
    coverage = texts_at(told, "coverage", "text")
    since, until = (text_at(told, name) for name in _PERIOD)
    return AuditResult(
        file=file,
        at=text_at(told, "at"),
        since=since,
        until=until,
        summary=" ".join(texts_at(told, "summary")),
        exit_code=_number(told.get("exitCode")),
        finished=_number(told.get("finished")),
        counts=_numbers(mapping_at(told, "counts")),
        namespaces={name: _numbers(found) for name, found in mapping_at(told, "namespaces").items()},
        coverage=(coverage[0], coverage[1]) if len(coverage) == 2 else None,  # noqa: PLR2004 - least and most
        sources=tuple(map(_source, objects_at(told, "sources"))),
        watch_gaps=tuple(objects_at(told, "gaps")),
        differences=len(objects_at(told, "differences")) + _number(told.get("furtherDifferences")),
        problems=tuple(texts_at(told, "problems")),
        stores=tuple(texts_at(told, "stores")),
        gaps=tuple(_gap(one) for one in objects_at(told, "runs") if one.get("state") in STATES),
    )


def _gap(one: Mapping[str, Any]) -> Gap:
    return Gap(
        state=text_at(one, "state"),
        reason=text_at(one, "reason"),
        detail=text_at(one, "detail"),
        words=text_at(one, "words"),
        kind=text_at(one, "kind"),
        namespace=text_at(one, "namespace"),
        name=text_at(one, "name"),
        uid=text_at(one, "uid"),
        created=text_at(one, "created"),
        finished=text_at(one, "finished"),
        sources=tuple(texts_at(one, "sources")),
    )


def _source(one: Mapping[str, Any]) -> PopulationSource:
    return PopulationSource(
        text_at(one, "name"),
        text_at(one, "shows"),
        text_at(one, "cannotShow"),
        text_at(one, "query"),
        _number(one.get("runs")),
        _number(one.get("finished")),
        tuple(texts_at(one, "problems")),
    )


def _numbers(found: Any) -> dict[str, int]:
    return {name: _number(value) for name, value in found.items()} if isinstance(found, Mapping) else {}


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
