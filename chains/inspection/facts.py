"""What is told of one build: plain data, as it is printed as JSON."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from chains.text import rfc3339

_WORD = re.compile(r"_([a-z])")
GIVEN = "given by the run's author"
"""What parameters and results are: nobody but the author of the run vouches for them."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something that was made or used. ``role`` says what for; ``path`` is the file in a repository."""

    role: str
    name: str
    uri: str
    digests: tuple[str, ...]
    path: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the execution report: ``true``, ``false`` or ``unknown``, with its reason."""

    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """A container. ``pinned`` is whether it was written with a digest, None where that is not known.

    ``written`` is its image as the Task wrote it. ``task`` is the task of a pipeline that it belongs to.
    Times are as the evidence has them; ``seconds`` is between them.
    """

    task: str
    name: str
    image: str
    digest: str
    written: str = ""
    pinned: bool | None = None
    started: str = ""
    finished: str = ""
    seconds: float | None = None
    exit_code: int | None = None
    ended: str = ""
    of_tekton: bool = False
    requested: Answer | None = None
    enforced: Answer | None = None
    observed: Answer | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """A parameter or result; ``value`` is a text, or JSON where it is something else."""

    name: str
    value: str
    task: str = ""


@dataclass(frozen=True, slots=True)
class Named:
    """A fact with the name of its field."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class LevelOfChild:
    """The hermetic level of a child of a PipelineRun."""

    name: str
    level: str
    reason: str


@dataclass(frozen=True, slots=True)
class Omission:
    """Something that the evidence says it does not have; ``kind`` is the attribute of the report."""

    kind: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy of a statement lies."""

    source: str
    location: str
    digest: str
    format: str


@dataclass(frozen=True, slots=True)
class SignedAt:
    """A time at which the signature existed, and the authority or log that says so."""

    time: str
    source: str
    uri: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """One statement and who signed it. ``signer`` is empty where nothing was verified.

    ``statement`` is the digest of the signed bytes.
    """

    predicate_type: str
    statement: str
    signer: str
    key: str
    identity: str
    issuer: str
    times: tuple[SignedAt, ...]
    log_entries: tuple[str, ...]
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What statements say about one build. What none of them says is empty."""

    run: str = ""
    run_uid: str = ""
    invocation: str = ""
    outcome: str = ""
    outcome_reason: str = ""
    created: str = ""
    started: str = ""
    finished: str = ""
    pod_started: str = ""
    subjects: tuple[Artifact, ...] = ()
    sources: tuple[Artifact, ...] = ()
    definitions: tuple[Artifact, ...] = ()
    builder: str = ""
    build_type: str = ""
    service_account: str = ""
    hermetic_level: str = ""
    hermetic_reason: str = ""
    hermetic_children: tuple[LevelOfChild, ...] = ()
    network: tuple[Named, ...] = ()
    steps: tuple[Step, ...] = ()
    parameters: tuple[Value, ...] = ()
    results: tuple[Value, ...] = ()
    inputs: tuple[Artifact, ...] = ()
    circumstances: tuple[Named, ...] = ()
    """Node, trigger, workspaces and the like."""
    omissions: tuple[Omission, ...] = field(default=())


def to_plain(value: Any) -> Any:
    """Return facts as JSON values: field names in camel case, times as RFC 3339."""
    if is_dataclass(value) and not isinstance(value, type):
        return {camel(one.name): to_plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Enum):
        return value.value
    return [to_plain(one) for one in value] if isinstance(value, (tuple, list)) else value


def camel(name: str) -> str:
    """Return the name of a field as it is written in JSON."""
    return _WORD.sub(lambda match: match[1].upper(), name)


def seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    """Return the seconds from one time to another, None if one is not known or they are in no order."""
    if start is None or end is None or end < start:
        return None
    return (end - start).total_seconds()
