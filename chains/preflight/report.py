"""The answers of preflight in the forms that other programs read: JSON, JUnit and SARIF 2.1.0.

Everything that comes from objects and evidence is escaped: control characters are shown and not obeyed.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET  # only writes
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from chains.preflight.answer import ImageCheck, State
from chains.preflight.cluster_reports import Written
from chains.preflight.inventory import STANDARD_INPUT, Inventory
from chains.text import plain

SCHEMA = "https://provenance.chains/preflight/v1"
_SARIF = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {State.FAIL: "error", State.UNDECIDED: "warning", State.SKIP: "note"}
_OTHER = "image_not_judged"
_ROOT = "%SRCROOT%"
"""The name of the folder that the addresses in SARIF are relative to (3.14.14)."""


def exit_code(checks: Sequence[ImageCheck], inventory: Inventory) -> int:
    """Return 1 where an image fails, else 4 where one is undecided or something could not be read, else 0.

    It is 4, too, where reports that were asked for are not in the cluster.
    """
    states = {check.state for check in checks}
    if State.FAIL in states and not inventory.unwritten:
        return 1
    return 4 if State.UNDECIDED in states or inventory.problems or inventory.unwritten else 0


def to_json(
    checks: Sequence[ImageCheck], inventory: Inventory, reports: Written | None = None
) -> dict[str, Any]:
    """Return the report as plain JSON values. ``reports`` are those that were written into a cluster."""
    states = Counter(check.state.value for check in checks)
    return {
        "schema": SCHEMA,
        "exitCode": exit_code(checks, inventory),
        "counts": {state.value: states.get(state.value, 0) for state in State},
        "uses": len(inventory.uses),
        "problems": list(inventory.problems),
        "reports": reports.to_json() if reports else None,
        "images": [check.to_json() for check in checks],
    }


def to_junit(checks: Sequence[ImageCheck], inventory: Inventory) -> str:
    """Return a JUnit report: one test case for each image and namespace."""
    states = Counter(check.state for check in checks)
    suite = ET.Element(
        "testsuite",
        name="chains preflight",
        tests=str(len(checks) + len(inventory.problems)),
        failures=str(states[State.FAIL]),
        errors=str(states[State.UNDECIDED] + len(inventory.problems)),
        skipped=str(states[State.SKIP]),
    )
    for check in checks:
        namespace = check.uses[0].namespace or "no namespace"
        case = ET.SubElement(suite, "testcase", name=plain(check.image), classname=plain(namespace))
        kind = {State.FAIL: "failure", State.UNDECIDED: "error", State.SKIP: "skipped"}.get(check.state)
        if kind is not None:
            told = ET.SubElement(case, kind, message=plain(check.told), type=check.reason or _OTHER)
            told.text = "\n".join(plain(use.name) for use in check.uses)
    for problem in inventory.problems:
        case = ET.SubElement(suite, "testcase", name="what could not be read", classname="inventory")
        ET.SubElement(case, "error", message=plain(problem))
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def to_sarif(checks: Sequence[ImageCheck], inventory: Inventory, version: str) -> dict[str, Any]:
    """Return a SARIF log: a result for each place of an image that does not pass, and what was not read.

    Addresses of files are relative to the current folder where they are in it.
    """
    results: list[dict[str, Any]] = []
    rules: dict[str, int] = {}
    for check in checks:
        level = _LEVELS.get(check.state)
        if level is None:
            continue
        rule = check.reason or _OTHER
        results += [
            {
                "ruleId": rule,
                "ruleIndex": rules.setdefault(rule, len(rules)),
                "level": level,
                "message": {"text": plain(f"{check.image}: {check.told}")},
                "locations": [_location(use.where, use.name)],
                "partialFingerprints": {"image/v1": plain(f"{use.name}|{use.container}|{check.image}")},
            }
            for use in check.uses
        ]
    driver = {
        "name": "provenance-chains",
        "version": version,
        "rules": [{"id": rule} for rule in rules],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [_invocation(checks, inventory)],
        "originalUriBaseIds": {_ROOT: {"description": {"text": "the folder in which the command ran"}}},
        "results": results,
    }
    return {"$schema": _SARIF, "version": "2.1.0", "runs": [run]}


def _invocation(checks: Sequence[ImageCheck], inventory: Inventory) -> dict[str, Any]:
    """Return how the run ended: without this, a reader takes what was not read for what is right."""
    notifications = [{"level": "error", "message": {"text": plain(text)}} for text in inventory.problems]
    return {
        "executionSuccessful": not notifications,
        "exitCode": exit_code(checks, inventory),
        "toolExecutionNotifications": notifications,
    }


def _location(where: str, name: str) -> dict[str, Any]:
    logical = {"logicalLocations": [{"fullyQualifiedName": plain(name), "kind": "resource"}]}
    if not where or where == STANDARD_INPUT:
        return logical
    return {"physicalLocation": {"artifactLocation": artifact_location(where)}, **logical}


def artifact_location(path: str) -> dict[str, str]:
    """Return the address of a file: relative to the current folder where it is in it, else absolute.

    Every byte that a URI does not allow is percent-encoded (RFC 3986), a colon too: before the first slash it
    would end a scheme.
    """
    folder = Path.cwd()
    whole = Path(os.path.normpath(folder / path))
    if whole.is_relative_to(folder):
        return {"uri": quote(os.fsencode(whole.relative_to(folder))), "uriBaseId": _ROOT}
    return {"uri": f"file://{quote(os.fsencode(whole))}"}
