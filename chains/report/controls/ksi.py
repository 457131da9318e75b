"""The record of FedRAMP's Key Security Indicators: for each, the five artifacts that the rules ask for.

Source: ``info.default_artifacts.KSI`` of https://github.com/FedRAMP/rules, version 2026.07.14.01. A record
shows what a report shows. What only the provider can say stays open, and is marked as such.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import orjson

from chains.report.controls.facts import FACTS
from chains.report.document.digest import document_digest
from chains.report.document.file import Document
from chains.report.document.format import Control, Head
from chains.report.forms.table import File
from chains.text import plain_json

TYPE: Final = "https://provenance.chains/fedramp-ksi/v1"
MAP: Final = "fedramp-ksi-2026"
"""The control map of the indicators."""
ARTIFACTS: Final = (
    "Explanation of measures (and their objectives) that demonstrate the Key Security Indicator, or an "
    "explanation of the reason and resulting risk to customers for not having measures available for that "
    "Key Security Indicator.",
    "Explanation of the cycle for any measures that are implemented persistently (if applicable).",
    "Verification that the measures demonstrate the Key Security Indicator, or that the reason for not "
    "having them is accepted.",
    "Verification that the automation in place is accurate and sufficient to demonstrate appropriate "
    "measures for the Key Security Indicator, or that automation is not necessary for each measure.",
    "Validation that the measures are accurately produced and are in place and working as intended, or that "
    "the reason for not having them is valid.",
)
"""The artifacts in FedRAMP's words, which are in the public domain."""


def ksi_files(document: Document) -> Iterator[File]:
    """Yield the file of a report's form ``ksi``."""
    written = orjson.dumps(ksi_record(document), option=orjson.OPT_INDENT_2)
    yield File("fedramp-ksi.json", [plain_json(written.decode()).encode() + b"\n"])


def ksi_record(document: Document) -> dict[str, Any]:
    """Return the record of a report as plain JSON values."""
    head = document.head
    scope = head["scope"]
    controls = [one for one in head["controls"] if one["map"] == MAP]
    return {
        "type": TYPE,
        "rules": {
            "title": controls[0]["framework"] if controls else "",
            "version": controls[0]["version"] if controls else "",
            "source": controls[0]["source"] if controls else "",
        },
        "report": {
            "file": "report.json",
            "digest": f"sha256:{document_digest(document)}",
            "at": scope["at"],
            "since": scope["since"],
            "until": scope["until"],
            "tool": dict(scope["tool"]),
        },
        "covers": "builds that were runs of Tekton, and nothing else of the cloud service offering",
        "indicators": [_indicator(head, one) for one in controls],
    }


def _indicator(head: Head, control: Control) -> dict[str, Any]:
    made = (
        _measures(control),
        _cycle(head, control),
        _demonstrates(control),
        _accurate(head, control),
        _works(control),
    )
    return {
        "id": control["id"],
        "title": control["title"],
        "state": control["state"],
        "highest": control["highest"],
        "artifacts": [
            {"artifact": asked, "text": list(told), "openForProvider": still_open}
            for asked, (told, still_open) in zip(ARTIFACTS, made, strict=True)
        ],
        "attestations": list(control["attestations"]),
    }


_Artifact = tuple[list[str], str | None]
"""What the report shows, and what only the provider can say."""


def _measures(control: Control) -> _Artifact:
    if control["state"] == "not-here":
        return (
            ["No report can show a measure."],
            "Name your measures, or the reason and the risk of having none.",
        )
    told = [
        f"{fact['name']}: {FACTS[fact['name']].text}" for fact in control["facts"] if fact["name"] in FACTS
    ]
    still_open = f"Not shown by any report: {control['missing']}" if control["missing"] else None
    return (told, still_open)


def _cycle(head: Head, control: Control) -> _Artifact:
    if control["state"] == "not-here":
        return ([], "Say the cycle of your measures.")
    told = ["Evidence is made, signed and stored when a run has finished."]
    ledgers = head["population"]["ledgers"]
    if ledgers:
        told.append(
            "The ledger has an entry at least every ten minutes, and each UTC day is closed and signed."
        )
        told += [
            f"Log {one['log']}: {one['days']} closed days from {one['firstDay']} to {one['day']}."
            for one in ledgers
        ]
    since, until = head["scope"]["since"] or "the first run", head["scope"]["until"] or head["scope"]["at"]
    told.append(f"This report covers the time from {since} to {until}.")
    return (told, "Say how often you make a report, and who reads it.")


def _demonstrates(control: Control) -> _Artifact:
    if control["state"] == "not-here":
        return ([], "Somebody has to accept the reason for having no measures.")
    return (
        [
            f"A report can show at most: {control['highest']}. It shows: {control['state']}.",
            f"{control['reason']}.",
        ],
        "An assessor has to agree that these facts demonstrate the indicator.",
    )


def _accurate(head: Head, control: Control) -> _Artifact:
    if control["state"] == "not-here":
        return ([], None)
    tool = head["scope"]["tool"]
    queries = dict.fromkeys([*(fact["query"] for fact in control["facts"]), *control["queries"]])
    return (
        [
            f"Made by {tool['name']} {tool['version']}, digest {tool['digest']}.",
            *(f"Computed again by: {query}" for query in queries),
            "All counts are computed again by: chains report check REPORT",
        ],
        None,
    )


def _works(control: Control) -> _Artifact:
    return (
        list(_values(control)),
        None if control["facts"] else "The reason for having no measures has to be valid.",
    )


def _values(control: Control) -> Iterator[str]:
    for fact in control["facts"]:
        yield f"{fact['name']}: {fact['says']}; {'holds' if fact['holds'] else 'does not hold'}."
