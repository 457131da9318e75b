"""Assessment results: a result for each framework, a finding for each control that a report can show.

Source: https://pages.nist.gov/OSCAL-Reference/models/v1.2.1/assessment-results/json-definition/. A finding
knows two states. A control that is evidenced in part is ``not-satisfied``, with its state in a property.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import orjson

from chains.report.document.digest import document_digest
from chains.report.document.file import Document
from chains.report.document.format import Attestation, Control, Scope
from chains.report.forms.table import File
from chains.report.oscal.names import NAMESPACE, Identifiers, line, markup, name_of
from chains.text import plain_json

OSCAL_VERSION: Final = "1.2.1"
REPORT_FILE: Final = "report.json"
"""How the report's file is referred to: it lies beside."""
MOST_RESOURCES: Final = 1000
"""Attestations that are listed one by one; the report has all of them."""
_Json = dict[str, Any]


def oscal_files(document: Document) -> Iterator[File]:
    """Yield the file of a report's form ``oscal``."""
    written = orjson.dumps(assessment_results(document), option=orjson.OPT_INDENT_2)
    yield File("oscal-assessment-results.json", [plain_json(written.decode()).encode() + b"\n"])


def assessment_results(document: Document) -> _Json:
    """Return a report as OSCAL assessment results. The lists of the document are read twice."""
    head = document.head
    digest = document_digest(document)
    ids = Identifiers(digest)
    scope = head["scope"]
    by_map: dict[str, list[Control]] = {}
    for control in head["controls"]:
        by_map.setdefault(control["map"], []).append(control)
    period = _period(document)
    listed = _listed(document)
    results = [_result(ids, name, controls, document, period) for name, controls in by_map.items()]
    return {
        "assessment-results": {
            "uuid": ids.of("document"),
            "metadata": {
                "title": "Evidence of builds: what a report shows for controls",
                "last-modified": scope["at"],
                "version": line(scope["tool"]["version"]),
                "oscal-version": OSCAL_VERSION,
                "props": [
                    _prop("report-digest", f"sha256:{digest}"),
                    _prop("report-exit-code", str(head["exitCode"])),
                    _prop("time-source", scope["timeSource"]),
                ],
                "remarks": markup(" ".join(head["summary"])),
            },
            "import-ap": {"href": f"#{ids.of('no-plan')}"},
            # without a map there is no result; OSCAL demands one
            "results": results or [_result(ids, "no-map", [], document, period)],
            "back-matter": {
                "resources": [
                    _no_plan(ids),
                    _report(ids, digest),
                    *(_resource(ids, one) for one in listed.values()),
                ]
            },
        }
    }


def _period(document: Document) -> tuple[str, str]:
    """Return start and end of the period; an open start is the end of the first run."""
    scope = document.head["scope"]
    end = scope["until"] or scope["at"]
    first = next((run["finished"] for run in document.runs() if run["finished"]), None)
    start = scope["since"] or first or end
    return min(start, end), end


def _listed(document: Document) -> dict[str, Attestation]:
    """Return the attestations that have a resource: those that controls cite, and the first ones."""
    wanted = {digest for control in document.head["controls"] for digest in control["attestations"]}
    found: dict[str, Attestation] = {}
    for number, one in enumerate(document.attestations()):
        if not name_of(one["digest"]):
            continue
        if number < MOST_RESOURCES or one["digest"] in wanted:
            found.setdefault(one["digest"], one)
    return dict(sorted(found.items()))


def _result(
    ids: Identifiers, name: str, controls: list[Control], document: Document, period: tuple[str, str]
) -> _Json:
    scope = document.head["scope"]
    shown = [one for one in controls if one["state"] != "not-here"]
    first = controls[0] if controls else None
    title = f"{first['framework']} {first['version']}" if first else "No control map"
    found: _Json = {
        "uuid": ids.of("result", name),
        "title": markup(title),
        "description": markup(
            f"What a report about finished builds shows for {title}. It covers builds alone. "
            "Satisfied means: everything that the control map demands holds for the whole period. "
            f"Namespaces: {', '.join(scope['namespaces']) or 'all'}. "
            f"Stores: {', '.join(scope['stores']) or 'none'}."
        ),
        "start": period[0],
        "end": period[1],
        "props": [_prop("control-map", name), *_counts(controls)],
        "local-definitions": {"assessment-assets": _assets(ids, name, scope)},
        "reviewed-controls": {
            "description": "The controls of the control map of which a report can show something.",
            "control-selections": [_selection(shown, controls)],
        },
    }
    if shown:
        found["observations"] = [_observation(ids, name, one, scope) for one in shown]
        found["findings"] = [_finding(ids, name, one) for one in shown]
    return found


def _counts(controls: list[Control]) -> Iterator[_Json]:
    for state in ("evidenced", "partly", "not-evidenced", "not-here"):
        yield _prop(f"controls-{state}", str(sum(one["state"] == state for one in controls)))


def _selection(shown: list[Control], controls: list[Control]) -> _Json:
    if not shown:
        return {"description": "No control of the map can be shown by a report.", "include-all": {}}
    left_out = [one for one in controls if one["state"] == "not-here"]
    found: _Json = {"include-controls": [{"control-id": _control_id(one)} for one in shown]}
    if left_out:
        found["exclude-controls"] = [{"control-id": _control_id(one)} for one in left_out]
        found["remarks"] = "No report can show anything of the excluded controls."
    return found


def _control_id(control: Control) -> str:
    """Return the control of a statement: ``si-7.1`` of ``si-7.1_smt``, ``PS.3.2`` of ``statement_PS.3.2``."""
    return control["target"].removesuffix("_smt").removeprefix("statement_")


def _assets(ids: Identifiers, name: str, scope: Scope) -> _Json:
    tool = scope["tool"]
    component = ids.of("tool", name)
    return {
        "components": [
            {
                "uuid": component,
                "type": "software",
                "title": markup(tool["name"]),
                "description": "The program that verified the evidence and made the report.",
                "props": [_prop("version", tool["version"]), _prop("digest", tool["digest"])],
                "status": {"state": "operational"},
            }
        ],
        "assessment-platforms": [
            {
                "uuid": ids.of("platform", name),
                "title": "Where the program ran",
                "uses-components": [{"component-uuid": component}],
            }
        ],
    }


def _observation(ids: Identifiers, name: str, control: Control, scope: Scope) -> _Json:
    told = " ".join(f"{fact['name']}: {fact['says']}." for fact in control["facts"])
    cited = [digest for digest in control["attestations"] if name_of(digest)]
    queries = dict.fromkeys([*(fact["query"] for fact in control["facts"]), *control["queries"]])
    return {
        "uuid": ids.of("observation", name, control["id"]),
        "title": markup(f"Facts for {control['id']}"),
        "description": markup(told),
        "props": [
            {
                "name": fact["name"],
                "ns": NAMESPACE,
                "value": line(fact["says"]),
                "class": "holds" if fact["holds"] else "does-not-hold",
                "uuid": ids.of("fact", name, control["id"], fact["name"]),
            }
            for fact in control["facts"]
        ],
        "methods": ["TEST"],
        "types": ["control-objective"],
        "origins": [{"actors": [{"type": "tool", "actor-uuid": ids.of("tool", name)}]}],
        "relevant-evidence": [
            {
                "href": f"#{ids.of('report')}",
                "description": "The report, which has every run, artifact and attestation.",
                "remarks": markup("Computed again by: " + "; ".join(queries)),
            },
            *(
                {
                    "href": f"#{ids.of('attestation', digest)}",
                    "description": markup(f"An attestation that verified: {digest}"),
                }
                for digest in cited
            ),
        ],
        "collected": scope["at"],
    }


def _finding(ids: Identifiers, name: str, control: Control) -> _Json:
    is_satisfied = control["state"] == "evidenced"
    remarks = f"{control['state']}: {control['reason']}."
    if control["missing"]:
        remarks += f" Not shown by any report: {control['missing']}"
    return {
        "uuid": ids.of("finding", name, control["id"]),
        "title": markup(f"{control['id']}: {control['title']}"),
        "description": markup(
            f"A report can show at most: {control['highest']}. It shows: {control['state']}."
        ),
        "props": [_prop("evidence-state", control["state"]), _prop("highest-state", control["highest"])],
        "target": {
            "type": "statement-id",
            "target-id": control["target"],
            "status": {
                "state": "satisfied" if is_satisfied else "not-satisfied",
                "reason": _reason(control),
                "remarks": markup(remarks),
            },
        },
        "related-observations": [{"observation-uuid": ids.of("observation", name, control["id"])}],
    }


def _reason(control: Control) -> str:
    """Return OSCAL's reason: ``other`` where nothing failed, and the rest is beyond any report."""
    if control["state"] == "evidenced":
        return "pass"
    return "other" if control["state"] == control["highest"] else "fail"


def _prop(name: str, value: str) -> _Json:
    return {"name": name, "ns": NAMESPACE, "value": line(value)}


def _no_plan(ids: Identifiers) -> _Json:
    return {
        "uuid": ids.of("no-plan"),
        "title": "There is no assessment plan",
        "description": (
            "OSCAL demands a plan. There is none: a program made these results from a report. The control "
            "maps say what was looked at."
        ),
        "props": [_prop("plan-exists", "no")],
    }


def _report(ids: Identifiers, digest: str) -> _Json:
    return {
        "uuid": ids.of("report"),
        "title": "The report",
        "description": "The report of these results, with every run, artifact and attestation.",
        "rlinks": [
            {
                "href": REPORT_FILE,
                "media-type": "application/json",
                "hashes": [{"algorithm": "SHA-256", "value": digest}],
            }
        ],
    }


def _resource(ids: Identifiers, one: Attestation) -> _Json:
    value = one["digest"].partition(":")[2]
    found: _Json = {
        "uuid": ids.of("attestation", one["digest"]),
        "title": markup(f"Attestation {one['digest']}"),
        "props": [
            _prop("result", one["result"]),
            _prop("predicate-type", one["predicateType"] or "not known"),
            _prop("signer", one["signer"] or "not known"),
        ],
        "rlinks": [
            {"href": name_of(one["digest"]), "hashes": [{"algorithm": "SHA-256", "value": value}]},
        ],
    }
    if one["places"]:
        found["remarks"] = markup("Stored at: " + ", ".join(islice(one["places"], 10)))
    return found
