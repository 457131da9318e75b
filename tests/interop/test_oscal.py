"""OSCAL documents of reports, read by NIST's JSON schema and by compliance-trestle's models."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import orjson
import pytest

from chains.report.controls.load import own_maps
from chains.report.controls.rows import add_controls
from chains.report.document.file import Document
from chains.report.oscal.results import OSCAL_VERSION, assessment_results
from tests.testbed import oscal
from tests.unit.chains.report.controls import made

pytestmark = pytest.mark.server

HOSTILE = "<script> [x](javascript:1) \u202e\u200b\n\x07 \\ ` * _"
DOCUMENTS = {
    "whole": made.document(),
    "of an empty period": made.mixed(0),
    "with failures": made.mixed(20, missing=2, failed=1, unknown=1, skipped=1),
    "of an open period": made.document(scope=made.scope(since=None, until=None)),
    "hostile": made.document(
        attestations=[
            made.attestation(10, signer=HOSTILE, predicateType=HOSTILE, places=[HOSTILE, ""]),
            made.attestation(20, digest="sha512:" + "a" * 128, signer=None, predicateType=None, places=[]),
        ],
        summary=[HOSTILE, ""],
        scope=made.scope(tool={"name": HOSTILE, "version": " ", "digest": "unknown"}),
    ),
}


def written(document: Document, *, mapped: bool = True) -> dict[str, Any]:
    if mapped:
        add_controls(document, own_maps())
    return assessment_results(document)


@pytest.fixture(scope="module")
def validator() -> jsonschema_rs.Draft7Validator:
    return jsonschema_rs.Draft7Validator(oscal.schema(), validate_formats=True)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_nists_schema_and_trestle_read_a_report(name: str, validator: jsonschema_rs.Draft7Validator) -> None:
    document = written(DOCUMENTS[name])
    assert [str(one) for one in validator.iter_errors(document)] == []
    assert oscal.read_by_trestle(orjson.dumps(document)) == {"version": oscal.VERSION, "results": 11}
    assert OSCAL_VERSION == oscal.VERSION


def test_a_report_without_control_maps_is_read_too(validator: jsonschema_rs.Draft7Validator) -> None:
    document = written(made.document(), mapped=False)
    assert [str(one) for one in validator.iter_errors(document)] == []
    assert oscal.read_by_trestle(orjson.dumps(document))["results"] == 1


def test_the_two_readers_refuse_what_is_wrong(validator: jsonschema_rs.Draft7Validator) -> None:
    """So that a test above cannot pass because nothing is looked at."""
    document = written(made.document())
    status = document["assessment-results"]["results"][0]["findings"][0]["target"]["status"]
    status["state"] = "partly"
    assert list(validator.iter_errors(document))
    with pytest.raises(ValueError, match="validation error"):
        oscal.read_by_trestle(orjson.dumps(document))
