"""The document of a control map: one table of its names, from which reader, lint and JSON Schema come."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from chains.policy.document.shapes import Choice, Fields, ListOf, Named, Text
from chains.report.controls.requirement import PATTERN

API_VERSION = "provenance.chains/v1"
KIND = "ControlMap"
SCHEMA_URI = "https://provenance.chains/control-map/v1"
LARGEST = 4 * 1024 * 1024
"""Bytes of one file of control maps."""


class Highest(StrEnum):
    """The highest state that a control can ever have by what a report says."""

    EVIDENCED = "evidenced"
    PARTLY = "partly"
    NOT_HERE = "not-here"


class Ids(StrEnum):
    """How a control's id is named as the target of an OSCAL finding."""

    PLAIN = "plain"
    """The id, with every other character than letters, digits, ``.``, ``-`` and ``_`` replaced."""
    SP800_53 = "sp800-53"
    """``SI-7(1)`` is the statement ``si-7.1_smt`` of NIST's catalog."""
    SSDF = "ssdf"
    """``PS.3.2`` is the statement ``statement_PS.3.2`` of NIST's catalog."""


def _const(value: str) -> Text:
    return Text(f"{value!r}", value.replace(".", r"\."))


_NAME = Text("a name of small letters, digits, '.' and '-'", r"[a-z](?:[a-z0-9.-]{0,61}[a-z0-9])?", most=63)
_ID = Text(
    "an id of one line, at most 80 characters", r"[^\s\x00-\x1f](?:[^\x00-\x1f\x7f]{0,78}[^\s\x00-\x1f\x7f])?"
)
_LINE = Text("a text of one line", r"[^\r\n]+", 400)
_QUERY = Text("a command that begins with 'chains '", r"chains [^\r\n]+", 1000)
_REQUIREMENTS = ListOf(Text("a fact, or a comparison such as coverage >= 100", PATTERN), 1)
_CONTROL = Fields(
    {
        "id": Named(_ID, "the control's id in its framework", required=True),
        "title": Named(_LINE, "what it asks for, in your own words", required=True),
        "highest": Named(Choice(Highest), "the highest state that it can ever have", required=True),
        "partly": Named(_REQUIREMENTS, "what has to hold before it is evidenced partly"),
        "evidenced": Named(_REQUIREMENTS, "what has to hold besides before it is evidenced"),
        "missing": Named(_LINE, "what no report shows about it"),
        "queries": Named(ListOf(_QUERY, 1), "further commands that show it; {from} and {to} are the period"),
    }
)
DOCUMENT: Final = Fields(
    {
        "apiVersion": Named(_const(API_VERSION), f"always {API_VERSION}", required=True),
        "kind": Named(_const(KIND), f"always {KIND}", required=True),
        "metadata": Named(
            Fields({"name": Named(_NAME, "the map's name", required=True)}), "its name", required=True
        ),
        "spec": Named(
            Fields(
                {
                    "framework": Named(_LINE, "the framework's name", required=True),
                    "version": Named(_LINE, "its version", required=True),
                    "source": Named(_LINE, "where the framework is published", required=True),
                    "ids": Named(Choice(Ids), "how ids are named in OSCAL (default: plain)"),
                    "controls": Named(ListOf(_CONTROL, 1), "its controls", required=True),
                }
            ),
            "the framework and its controls",
            required=True,
        ),
    }
)


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a control map, as ``docs/controls.schema.json`` has it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_URI,
        "title": "Control map of provenance-chains",
        **DOCUMENT.schema(),
    }
