"""What a report shows for the controls of maps, as the rows of the document."""

from __future__ import annotations

import re
from collections.abc import Sequence

from chains.report.controls.evaluate import Judged, judge_all
from chains.report.controls.fact import Value, shown
from chains.report.controls.facts import FACTS, measure_all
from chains.report.controls.format import Ids
from chains.report.controls.load import ControlMap
from chains.report.controls.requirement import Requirement
from chains.report.controls.tally import Tally, tally
from chains.report.document.file import Document
from chains.report.document.format import Cited, Control, Fact, Scope, text

_MOST_CITED = 10
"""Attestations that are named as examples for one control."""
_CITED_AS = "control map"
_NIST = re.compile(r"([A-Z]{2}-[0-9]{1,2})((?:\([0-9]{1,2}\))*)")


def control_rows(maps: Sequence[ControlMap], counted: Tally) -> list[Control]:
    """Return a row for each control of the maps, in their order. ``counted`` is of the same report."""
    values = measure_all(counted)
    cited = sorted({digest for found in counted.examples.values() for digest in found})[:_MOST_CITED]
    return [
        _row(one, judged, values, counted.head["scope"], cited)
        for one, each in judge_all(maps, counted)
        for judged in each
    ]


def cited_maps(maps: Sequence[ControlMap]) -> list[Cited]:
    """Return the files of the maps as what the report rests on."""
    return [{"what": _CITED_AS, "name": one.name, "digest": f"sha256:{one.digest}"} for one in maps]


def _row(
    one: ControlMap, judged: Judged, values: dict[str, Value], scope: Scope, cited: Sequence[str]
) -> Control:
    control = judged.control
    demanded: dict[str, list[Requirement]] = {}
    for demand in judged.serving:
        demanded.setdefault(demand.fact, []).append(demand)
    serving = [_fact(name, demands, values, scope) for name, demands in demanded.items()]
    return {
        "map": one.name,
        "framework": text(one.framework),
        "version": text(one.version),
        "source": text(one.source),
        "id": text(control.id),
        "title": text(control.title),
        "target": target_of(one, control.id),
        "highest": control.highest.value,
        "state": judged.state.value,
        "reason": text(judged.reason),
        "facts": serving,
        "missing": text(control.missing),
        "queries": [text(_filled(query, scope)) for query in control.queries],
        "attestations": list(cited) if serving else [],
    }


def _fact(name: str, demands: Sequence[Requirement], values: dict[str, Value], scope: Scope) -> Fact:
    """Return a fact with all that is demanded of it: the more for the higher state."""
    fact = FACTS[name]
    value = values.get(name)
    return {
        "name": name,
        "says": f"{shown(value, fact.kind)}; demanded: {', and '.join(map(str, demands))}",
        "holds": all(demand.holds(value) for demand in demands),
        "query": _filled(fact.query, scope),
    }


def _filled(query: str, scope: Scope) -> str:
    """Return a command for the period of the report. An open end of the period leaves its option out."""
    for name, moment in (("from", scope["since"]), ("to", scope["until"])):
        place = f"{{{name}}}"
        if moment is None:
            query = re.sub(rf"\s*(?:--{name} |\b{name}:){re.escape(place)}", "", query)
        query = query.replace(place, moment or "")
    return query


def target_of(one: ControlMap, control: str) -> str:
    """Return how OSCAL names the statement of a control: a token, that of NIST's catalog if it has one."""
    nist = _NIST.fullmatch(control)
    if one.ids is Ids.SP800_53 and nist is not None:
        parts = re.findall(r"[0-9]+", nist[2])
        return ".".join([nist[1].lower(), *parts]) + "_smt"
    if one.ids is Ids.SSDF and re.fullmatch(r"[A-Z]{2}\.[0-9]{1,2}(\.[0-9]{1,2})?", control):
        return f"statement_{control}"
    return f"{one.name}_" + re.sub(r"[^A-Za-z0-9._-]", "_", control)


def add_controls(document: Document, maps: Sequence[ControlMap]) -> None:
    """Put what the report shows for the controls into its head. The lists of the document are read once."""
    head = document.head
    head["controls"] = control_rows(maps, tally(document))
    known = [one for one in head["cited"] if one["what"] != _CITED_AS]
    head["cited"] = sorted(
        [*known, *cited_maps(maps)], key=lambda one: (one["what"], one["name"], one["digest"])
    )
