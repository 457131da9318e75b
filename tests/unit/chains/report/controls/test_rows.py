"""The rows of controls in a report: valid by its schema, filled with the period, the same each time."""

from __future__ import annotations

import io
import re
import shlex
from typing import Any

import click
import jsonschema_rs
import pytest

from chains.cli.main import program
from chains.index.query.parse import parse
from chains.report.controls.facts import FACTS
from chains.report.controls.load import own_maps
from chains.report.controls.rows import add_controls
from chains.report.document.file import Document, write_document
from chains.report.document.schema import json_schema
from tests.unit.chains.report.controls import made


def filled(**given: Any) -> Document:
    document = made.document(keys=[made.key()], **given)
    add_controls(document, own_maps())
    return document


def bytes_of(document: Document) -> bytes:
    out = io.BytesIO()
    write_document(document, out)
    return out.getvalue()


def test_a_report_with_controls_passes_its_schema() -> None:
    import orjson

    jsonschema_rs.validator_for(json_schema()).validate(orjson.loads(bytes_of(filled())))


def test_the_same_report_has_the_same_controls_and_bytes() -> None:
    document = filled()
    once = bytes_of(document)
    add_controls(document, own_maps())
    assert bytes_of(document) == once == bytes_of(filled())


def test_every_control_of_every_map_has_a_row() -> None:
    rows = [(one["map"], one["id"]) for one in filled().head["controls"]]
    assert rows == [(one.name, control.id) for one in own_maps() for control in one.controls]


def test_each_map_is_cited_by_its_digest() -> None:
    cited = {one["name"]: one["digest"] for one in filled().head["cited"] if one["what"] == "control map"}
    assert cited == {one.name: f"sha256:{one.digest}" for one in own_maps()}


def test_targets_are_tokens_and_each_is_of_one_control() -> None:
    targets = [one["target"] for one in filled().head["controls"]]
    assert len(set(targets)) == len(targets)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", one) for one in targets)
    of = {(one["map"], one["id"]): one["target"] for one in filled().head["controls"]}
    assert of["sp800-53-r5", "SI-7(1)"] == "si-7.1_smt"
    assert of["sp800-53-r5", "AU-9"] == "au-9_smt"
    assert of["ssdf-1.1", "PS.3.2"] == "statement_PS.3.2"
    assert of["cra-2024-2847", "Annex VII (2)(c)"] == "cra-2024-2847_Annex_VII__2__c_"
    assert of["pci-dss-4.0.1", "10.3"] == "pci-dss-4.0.1_10.3"


def test_a_fact_says_its_value_what_is_demanded_and_how_it_is_computed_again() -> None:
    row = next(one for one in filled().head["controls"] if one["id"] == "KSI-SVC-VRI")
    coverage = [one for one in row["facts"] if one["name"] == "coverage"]
    assert coverage[0] == {
        "name": "coverage",
        "says": "100 %; demanded: coverage >= 90, and coverage = 100",
        "holds": True,
        "query": "chains audit --ledger LEDGER --ledger-key LEDGER.pub --store STORE --key KEY.pub "
        "--from 2026-10-01T00:00:00Z --to 2026-11-01T00:00:00Z",
    }
    assert row["attestations"]


def test_an_open_period_leaves_the_option_out() -> None:
    document = filled(scope=made.scope(since=None, until=None))
    queries = {fact["query"] for one in document.head["controls"] for fact in one["facts"]}
    assert not any("{" in one or "--from" in one or "--to " in one or "from:" in one for one in queries)
    assert "chains search 'type:provenance verdict:verified'" in queries


@pytest.mark.parametrize("name", FACTS)
def test_the_command_of_each_fact_is_one_of_ours_with_options_that_exist(name: str) -> None:
    check(FACTS[name].query)


def test_the_commands_of_own_maps_exist() -> None:
    queries = [query for one in own_maps() for control in one.controls for query in control.queries]
    assert queries
    for query in queries:
        check(query)


def check(query: str) -> None:
    """Parse a command as the command line does, and carry nothing out."""
    times = {"{from}": "2026-10-01T00:00:00Z", "{to}": "2026-11-01T00:00:00Z"}
    words = shlex.split(query.replace("{from}", times["{from}"]).replace("{to}", times["{to}"]))
    assert words.pop(0) == "chains"
    if words[0] == "search":
        assert parse(words[-1])
    command: click.Command = program
    while words:
        with command.make_context("chains", list(words)) as context:
            if not isinstance(command, click.Group) or not (
                rest := [*context._protected_args, *context.args]
            ):
                return
            _, found, words = command.resolve_command(context, rest)
            assert found is not None
            command = found
