"""A retention file becomes rules: every problem of the file is found at once, with its line and column."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from chains.audit.retention.format import DOCUMENT, KIND, LARGEST, LockWanted, Start
from chains.audit.retention.rules import Hold, Match, RetentionClass, Rules
from chains.documents.load import read_bytes
from chains.documents.places import Path as ValuePath
from chains.documents.places import PlacedDocument, load_placed
from chains.errors import InputError, UsageError
from chains.policy.document.load import placed
from chains.policy.document.patterns import ImagePattern
from chains.policy.document.problem import Finding, Problem, ProblemsError, Severity
from chains.policy.document.shapes import WRONG

_STARTS = (Start.SIGNED, Start.FINISHED)


class RetentionError(ProblemsError):
    """A retention file cannot be used."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a file holds: its rules if they can be used, and every problem."""

    rules: Rules | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep the rules from being used."""
        return tuple(one for one in self.problems if one.severity is Severity.ERROR)


def load_rules(path: Path, now: datetime) -> Rules:
    """Return the rules of a file. Raises :class:`RetentionError` with every problem, :class:`InputError`."""
    read = read_rules(path, now)
    if read.rules is None or read.errors:
        raise RetentionError(read.errors)
    return read.rules


def read_rules(path: Path, now: datetime) -> Read:
    """Return what a file holds, warnings too. Raises :class:`InputError` if it cannot be read."""
    return parse_rules(read_bytes(path, LARGEST), str(path), now)


def parse_rules(data: bytes, name: str, now: datetime) -> Read:
    """Read the bytes of a file. Raises :class:`InputError` for what is neither YAML nor JSON."""
    documents = [one for one in load_placed(data, name) if one.value is not None]
    if len(documents) != 1:
        raise InputError(f"{name}: expected one document with kind: {KIND}, got {len(documents)}")
    document, findings = documents[0], list[Finding]()
    read = DOCUMENT.read(document.value, (), findings.append)
    if read is WRONG:
        return _done(None, document, findings, name)
    rules = _rules(read, findings, "sha256:" + hashlib.sha256(data).hexdigest(), name)
    if not findings:
        findings += _warnings(rules, now)
    return _done(rules, document, findings, name)


def _done(rules: Rules | None, document: PlacedDocument, findings: list[Finding], name: str) -> Read:
    problems = sorted(
        (placed(one, document, name) for one in findings), key=lambda one: (one.line, one.column)
    )
    wrong = any(one.severity is Severity.ERROR for one in problems)
    return Read(None if wrong else rules, tuple(problems))


def _rules(read: Mapping[str, Any], findings: list[Finding], digest: str, file: str) -> Rules:
    classes, holds = [], []
    spec = read["spec"]
    for at, one in enumerate(spec["classes"]):
        path: ValuePath = ("spec", "classes", at)
        _refuse_twice([each["name"] for each in spec["classes"]], at, (*path, "name"), findings)
        classes.append(
            RetentionClass(
                one["name"],
                _match(one["match"], (*path, "match"), findings),
                one["keep"],
                one.get("from", _STARTS),
                one.get("lock", LockWanted.NONE),
                one["reason"],
            )
        )
    for at, one in enumerate(spec.get("holds", ())):
        path = ("spec", "holds", at)
        _refuse_twice([each["id"] for each in spec["holds"]], at, (*path, "id"), findings)
        released = one.get("released")
        if released is not None and released <= one["from"]:
            findings.append(Finding((*path, "released"), "window", "released is not after from"))
        holds.append(
            Hold(
                one["id"],
                _match(one["match"], (*path, "match"), findings),
                one["reason"],
                one["by"],
                one["from"],
                released,
                one.get("lock", True),
            )
        )
    return Rules(read["metadata"]["name"], tuple(classes), tuple(holds), digest, file)


def _refuse_twice(names: list[str], at: int, path: ValuePath, findings: list[Finding]) -> None:
    if names[at] in names[:at]:
        findings.append(Finding(path, "name_twice", f"the name {names[at]!r} comes twice"))


def _match(read: Mapping[str, Any], path: ValuePath, findings: list[Finding]) -> Match:
    images = []
    for at, text in enumerate(read.get("images", ())):
        try:
            images.append(ImagePattern.parse(text))
        except UsageError as error:
            findings.append(Finding((*path, "images", at), "pattern", f"{text!r}: {error}"))
    return Match(
        tuple(images),
        read.get("namespaces", ()),
        read.get("predicateTypes", ()),
        read.get("outcomes", ()),
        read.get("runs", ()),
        read.get("digests", ()),
    )


def _warnings(rules: Rules, now: datetime) -> Iterator[Finding]:
    """Yield what is likely to be a mistake in rules that can be used."""
    everything = Match()
    if not any(one.match == everything for one in rules.classes):
        message = "no class has the match {}: evidence of no class is kept, and told as unclassified"
        yield Finding(("spec", "classes"), "no_default", message, Severity.WARNING)
    for at, one in enumerate(rules.classes):
        if one.starts == (Start.STORED,) or one.starts[0] is Start.STORED:
            message = "stored comes first: only S3 says when it took an object, and a copy is younger"
            yield Finding(("spec", "classes", at, "from"), "stored_first", message, Severity.WARNING)
    for at, hold in enumerate(rules.holds):
        if hold.begin > now:
            message = f"the hold {hold.id!r} begins later: it does not count yet"
            yield Finding(("spec", "holds", at, "from"), "not_yet", message, Severity.WARNING)
