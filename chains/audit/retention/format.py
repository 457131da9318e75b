"""The retention file: one table of its names, from which the reader, lint and the JSON Schema come."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any, Final

from chains.policy.document.format import API_VERSION
from chains.policy.document.shapes import Choice, Fields, Flag, ListOf, Moment, Named, Span, Text

KIND = "Retention"
SCHEMA_URI = "https://provenance.chains/retention/v1"
LARGEST = 4 * 1024 * 1024
"""Bytes of a retention file."""


class Start(StrEnum):
    """From which time the term of a piece of evidence counts."""

    SIGNED = "signed"
    """The earliest time that a timestamp authority or a log says, verified with the trusted root."""
    FINISHED = "finished"
    """The end of the run, as somebody trusted signed it."""
    STORED = "stored"
    """When the store took the object, by the store's clock. Only S3 says it."""


class LockWanted(StrEnum):
    """The lock that a class demands of every object, from the weakest to the strictest."""

    NONE = "none"
    GOVERNANCE = "governance"
    COMPLIANCE = "compliance"


class Outcome(StrEnum):
    """How a run ended, as execution reports say it."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed-out"


_NAME = Text(
    "a name of letters, digits, '.', '_' and '-'", r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?"
)
_LINE = Text("a text of one line", r"[^\r\n]+", 2048)
_PATTERN = Text("a pattern of images", r"[^\s]+", 1024)
_DIGEST = Text("a digest such as sha256:HEX", r"sha256:[0-9a-f]{64}")
_MATCH = Fields(
    {
        "images": Named(ListOf(_PATTERN, 1), "patterns of repositories, as in policies"),
        "namespaces": Named(ListOf(_LINE, 1), "namespaces of runs; * stands for any characters"),
        "predicateTypes": Named(ListOf(_LINE, 1), "predicate types; * stands for any characters"),
        "outcomes": Named(ListOf(Choice(Outcome), 1), "how the run ended"),
        "runs": Named(ListOf(_LINE, 1), "UIDs of runs"),
        "digests": Named(ListOf(_DIGEST, 1), "digests of evidence, or of what it is about"),
    }
)
_CLASS = Fields(
    {
        "name": Named(_NAME, "the name of the class", required=True),
        "match": Named(_MATCH, "the evidence that is in the class; {} is all evidence", required=True),
        "keep": Named(Span(), "how long it must be kept, such as 3650d", required=True),
        "from": Named(
            ListOf(Choice(Start), 1),
            "from which time on: the first of these that is known; signed, then finished is the default",
        ),
        "lock": Named(Choice(LockWanted), "the lock that every object must have; none is the default"),
        "reason": Named(_LINE, "the law or rule that demands it", required=True),
    }
)
_HOLD = Fields(
    {
        "id": Named(_NAME, "the name of the hold", required=True),
        "match": Named(_MATCH, "the evidence that it covers; {} is all evidence", required=True),
        "reason": Named(_LINE, "why", required=True),
        "by": Named(_LINE, "who ordered it", required=True),
        "from": Named(Moment(), "since when", required=True),
        "released": Named(Moment(), "when it ended; without it, it goes on"),
        "lock": Named(
            Flag(), "whether every object must have a legal hold in its store; true is the default"
        ),
    }
)
DOCUMENT: Final = Fields(
    {
        "apiVersion": Named(
            Text(API_VERSION, re.escape(API_VERSION)), f"always {API_VERSION}", required=True
        ),
        "kind": Named(Text(KIND, re.escape(KIND)), f"always {KIND}", required=True),
        "metadata": Named(
            Fields({"name": Named(_NAME, "the name of these rules", required=True)}),
            "the name of these rules",
            required=True,
        ),
        "spec": Named(
            Fields(
                {
                    "classes": Named(ListOf(_CLASS, 1), "classes of evidence", required=True),
                    "holds": Named(ListOf(_HOLD), "what must be kept until somebody releases it"),
                }
            ),
            "classes and holds",
            required=True,
        ),
    }
)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a retention file, as ``docs/retention.schema.json`` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_URI,
        "title": "Retention rules of provenance-chains",
        **DOCUMENT.schema(),
    }
