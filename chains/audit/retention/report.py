"""A survey as JSON, CSV and JUnit, written piece by piece. Everything from stores and evidence is escaped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import quoteattr

import orjson

from chains.audit.retention.judge import UNDECIDED, Code, State
from chains.audit.retention.survey import Kept, Survey, weakest
from chains.columns import csv_line
from chains.text import plain, rfc3339, to_json
from storage.locks import ObjectLock

SCHEMA = "https://provenance.chains/retention-check/v1"
COLUMNS = (
    "state", "problems", "class", "keep_until", "from", "since", "holds", "lock", "lock_mode", "lock_until",
    "legal_hold", "predicate_type", "kind", "namespace", "name", "uid", "store", "location", "digest",
    "signer", "words",
)  # fmt: skip


class Spool:
    """The answers of a survey in a temporary file, in their order. Use it with ``with``."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="chains-retention-")  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, kept: Kept) -> None:
        """Add an answer."""
        self._file.write(to_json(kept_to_json(kept)).encode() + b"\n")

    def rows(self, *, all_pieces: bool) -> Iterator[dict[str, Any]]:
        """Yield the answers; without ``all_pieces`` those that ask for somebody's attention."""
        self._file.seek(0)
        for line in self._file:
            row: dict[str, Any] = orjson.loads(line)
            if all_pieces or row["problems"] or row["state"] != State.KEEP:
                yield row


def kept_to_json(one: Kept) -> dict[str, Any]:
    """Return the answer about a piece as plain JSON values."""
    demand, lock = one.demand, weakest(one.locks)
    return {
        "state": one.state.value,
        "problems": [{"code": each.code.value, "words": each.words} for each in one.problems],
        "words": one.words,
        "store": one.store,
        "location": one.location,
        "digest": one.digest,
        "predicateType": one.predicate_type or None,
        "run": {
            "kind": one.run.kind, "namespace": one.run.namespace, "name": one.run.name, "uid": one.run.uid,
        },
        "signer": one.signer or None,
        "class": demand.decides.name if demand.decides is not None else None,
        "reason": demand.decides.reason if demand.decides is not None else None,
        "classes": [each.name for each in demand.classes],
        "from": demand.start.value if demand.start is not None else None,
        "since": rfc3339(demand.since) if demand.since is not None else None,
        "keepUntil": rfc3339(demand.until) if demand.until is not None else None,
        "holds": [{"id": each.id, "by": each.by, "reason": each.reason} for each in demand.holds],
        "lockDemanded": demand.lock.value,
        "lock": _lock(lock) if lock is not None else None,
        "objects": [_lock(each) | {"location": each.location} for each in one.locks],
    }  # fmt: skip


def _lock(lock: ObjectLock) -> dict[str, Any]:
    return {
        "state": lock.state.value,
        "mode": lock.mode or None,
        "until": rfc3339(lock.until) if lock.until is not None else None,
        "legalHold": lock.hold,
        "version": lock.version or None,
        "isCurrent": lock.is_current,
        "detail": lock.detail or None,
    }


def _head(survey: Survey) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "at": rfc3339(survey.at),
        "rules": {"name": survey.rules.name, "digest": survey.rules.digest},
        "summary": " ".join(survey.summary),
        "exitCode": survey.exit_code,
        "stores": [
            {
                "store": url,
                "lock": found.state.value,
                "detail": found.detail,
                "versioning": found.versioning or None,
                "default": found.default or None,
            }
            for url, found in survey.protections.items()
        ],
        "states": {state.value: survey.states[state] for state in State},
        "codes": {code.value: survey.codes[code] for code in Code},
        "problems": survey.problems,
        "notes": survey.notes,
    }


def to_json_lines(survey: Survey, spool: Spool, *, all_pieces: bool) -> Iterator[str]:
    """Yield the lines of one JSON document."""
    yield to_json(_head(survey))[:-1] + ',"pieces":['
    comma = ""
    for row in spool.rows(all_pieces=all_pieces):
        yield f"{comma}{to_json(row)}"
        comma = ","
    yield "]}"


def to_csv(spool: Spool, *, all_pieces: bool) -> Iterator[str]:
    """Yield the lines of a CSV file: a header, then one line for each piece."""
    yield csv_line(COLUMNS)
    for row in spool.rows(all_pieces=all_pieces):
        lock, run = row["lock"] or {}, row["run"]
        values = (
            row["state"], " ".join(one["code"] for one in row["problems"]), row["class"], row["keepUntil"],
            row["from"], row["since"], " ".join(one["id"] for one in row["holds"]), lock.get("state"),
            lock.get("mode"), lock.get("until"), _yes(lock.get("legalHold")), row["predicateType"],
            run["kind"], run["namespace"], run["name"], run["uid"], row["store"], row["location"],
            row["digest"], row["signer"], words_of(row),
        )  # fmt: skip
        yield csv_line([value or "" for value in values])


def _yes(value: bool | None) -> str:
    return {True: "on", False: "off", None: ""}[value]


def words_of(row: dict[str, Any]) -> str:
    """Return why an answer is what it is, the problems first."""
    told = [one["words"] for one in row["problems"]]
    if row["words"]:
        told.append(row["words"])
    told += [f"hold {one['id']} by {one['by']}: {one['reason']}" for one in row["holds"]]
    if row["class"]:
        told.append(f"class {row['class']}: {row['reason']}")
    return "; ".join(told)


def to_junit(survey: Survey, spool: Spool) -> Iterator[str]:
    """Yield the lines of a JUnit report: a test case for each piece, and for what could not be asked."""
    wrong = unsure = 0
    for row in spool.rows(all_pieces=True):
        kind = _kind(row)
        wrong += kind == "failure"
        unsure += kind == "error"
    attributes = {
        "name": "chains retention check",
        "tests": str(survey.states.total() + len(survey.problems)),
        "failures": str(wrong),
        "errors": str(unsure + len(survey.problems)),
        "skipped": "0",
    }
    yield '<?xml version="1.0" encoding="utf-8"?>'
    yield f"<testsuite{''.join(f' {name}={quoteattr(text)}' for name, text in attributes.items())}>"
    for row in spool.rows(all_pieces=True):
        case = ET.Element("testcase", name=plain(row["location"]), classname=plain(row["store"]))
        if kind := _kind(row):
            codes = " ".join(one["code"] for one in row["problems"])
            ET.SubElement(case, kind, message=plain(words_of(row)), type=codes)
        yield ET.tostring(case, encoding="unicode")
    for problem in survey.problems:
        case = ET.Element("testcase", name="what had no answer", classname="retention")
        ET.SubElement(case, "error", message=plain(problem))
        yield ET.tostring(case, encoding="unicode")
    yield "</testsuite>"


def _kind(row: dict[str, Any]) -> str:
    codes = {Code(one["code"]) for one in row["problems"]}
    if not codes:
        return ""
    return "error" if codes <= UNDECIDED else "failure"
