"""OSCAL assessment results, in what NIST's JSON schema does not carry: allowed values, references, texts."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import orjson
import pytest

from chains.report.controls.load import own_maps
from chains.report.controls.rows import add_controls
from chains.report.document.file import Document, write_document
from chains.report.oscal.names import line, markup, name_of
from chains.report.oscal.results import MOST_RESOURCES, assessment_results
from tests.unit.chains.report.controls import made

HOSTILE = "<script>alert(1)</script> [x](javascript:1) `rm` \u202e\u200b\n| *b* & \x07"


def filled(document: Document | None = None) -> Document:
    document = document or made.document()
    add_controls(document, own_maps())
    return document


def results(document: Document | None = None) -> dict[str, Any]:
    found: dict[str, Any] = assessment_results(filled(document))["assessment-results"]
    return found


RESULTS = results()


def parts(value: Any, name: str) -> Iterator[Any]:
    """Every value of a member of that name, wherever it stands."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == name:
                yield each
            yield from parts(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from parts(each, name)


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def finding(control: str, name: str = "sp800-53-r5", found: dict[str, Any] | None = None) -> dict[str, Any]:
    (one,) = [
        each
        for result in (found or RESULTS)["results"]
        if result["props"][0]["value"] == name
        for each in result["findings"]
        if each["title"].startswith(control.replace("(", "(") + ":")
    ]
    return one  # type: ignore[no-any-return]


# allowed values of the metaschema, https://pages.nist.gov/OSCAL-Reference/models/v1.2.1/assessment-results/


def test_values_are_those_that_the_metaschema_allows() -> None:
    assert set(parts(RESULTS, "oscal-version")) == {"1.2.1"}
    assert {one for each in parts(RESULTS, "methods") for one in each} <= {
        "EXAMINE", "INTERVIEW", "TEST", "UNKNOWN",
    }  # fmt: skip
    assert {one for each in parts(RESULTS, "types") for one in each} <= {
        "ssp-statement-issue", "control-objective", "mitigation", "finding", "historic",
    }  # fmt: skip
    assert {one["type"] for each in parts(RESULTS, "actors") for one in each} == {"tool"}
    assert {one["type"] for one in parts(RESULTS, "target")} <= {"statement-id", "objective-id"}
    status = [one["status"] for one in parts(RESULTS, "target")]
    assert {one["state"] for one in status} <= {"satisfied", "not-satisfied"}
    assert {one["reason"] for one in status} <= {"pass", "fail", "other"}
    hashes = [one for each in parts(RESULTS, "hashes") for one in each]
    assert {one["algorithm"] for one in hashes} == {"SHA-256"}
    assert all(re.fullmatch("[0-9a-f]{64}", one["value"]) for one in hashes)
    components = [one for each in parts(RESULTS, "components") for one in each]
    assert {one["type"] for one in components} == {"software"}
    assert {one["status"]["state"] for one in components} == {"operational"}


def test_ids_are_tokens_without_digests() -> None:
    ids = [*parts(RESULTS, "target-id"), *parts(RESULTS, "control-id")]
    assert ids
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", one) for one in ids)
    assert {"si-7.1_smt", "statement_PS.3.2"} <= set(ids)
    assert {"si-7.1", "PS.3.2"} <= set(ids)


def test_properties_have_a_namespace_a_token_and_one_line() -> None:
    props = [one for each in parts(RESULTS, "props") for one in each]
    assert {one["ns"] for one in props} == {"https://provenance.chains/ns/oscal"}
    for one in props:
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9._-]*", one["name"])
        assert re.fullmatch(r"\S(.*\S)?", one["value"])


def test_every_identifier_is_of_version_5_and_comes_once() -> None:
    found = list(parts(RESULTS, "uuid"))
    assert {UUID(one).version for one in found} == {5}
    assert len(set(found)) == len(found)


def test_every_reference_leads_to_something() -> None:
    known = set(parts(RESULTS, "uuid"))
    assert {one[1:] for one in parts(RESULTS, "href") if one.startswith("#")} <= known
    for name in ("actor-uuid", "component-uuid", "observation-uuid"):
        assert set(parts(RESULTS, name)) <= known, name


def test_the_plan_is_a_resource_that_says_that_there_is_none() -> None:
    href = RESULTS["import-ap"]["href"]
    (plan,) = [one for one in RESULTS["back-matter"]["resources"] if f"#{one['uuid']}" == href]
    assert plan["title"] == "There is no assessment plan"
    assert [(one["name"], one["value"]) for one in plan["props"]] == [("plan-exists", "no")]


# what is said


def test_the_report_is_a_resource_with_the_digest_of_its_file() -> None:
    document = filled()
    out = io.BytesIO()
    write_document(document, out)
    (report,) = [
        one
        for one in assessment_results(document)["assessment-results"]["back-matter"]["resources"]
        if one["title"] == "The report"
    ]
    assert report["rlinks"] == [
        {
            "href": "report.json",
            "media-type": "application/json",
            "hashes": [{"algorithm": "SHA-256", "value": hashlib.sha256(out.getvalue()).hexdigest()}],
        }
    ]


def test_observations_cite_attestations_by_their_digests() -> None:
    resources = {one["uuid"]: one for one in RESULTS["back-matter"]["resources"]}
    observation = RESULTS["results"][0]["observations"][0]
    cited = [resources[one["href"][1:]] for one in observation["relevant-evidence"][1:]]
    assert [one["rlinks"][0]["hashes"][0]["value"] for one in cited] == [
        made.digest(number).removeprefix("sha256:") for number in (10, 11, 20, 21, 30, 31)
    ]
    assert cited[0]["rlinks"][0]["href"] == name_of(made.digest(10))
    assert name_of(made.digest(10)) == "ni:///sha-256;AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAo"


def test_only_what_is_evidenced_is_satisfied() -> None:
    for result in RESULTS["results"]:
        for one in result.get("findings", ()):
            state = one["props"][0]["value"]
            assert (one["target"]["status"]["state"] == "satisfied") == (state == "evidenced")


def test_partly_is_in_a_property_and_in_words() -> None:
    one = finding("SR-3")
    assert [each["value"] for each in one["props"]] == ["partly", "partly"]
    assert one["target"]["status"]["state"] == "not-satisfied"
    assert one["target"]["status"]["reason"] == "other"
    assert "Not shown by any report: Processes outside the builds" in one["target"]["status"]["remarks"]


def test_what_fell_by_data_failed() -> None:
    found = results(made.mixed(999, missing=1))
    one = finding("SI-7", found=found)
    assert one["target"]["status"]["state"] == "not-satisfied"
    assert one["target"]["status"]["reason"] == "fail"
    assert "coverage = 100 does not hold: 99.9 %" in one["target"]["status"]["remarks"]
    assert "satisfied" not in set(parts(found, "state"))


def test_controls_of_which_no_report_shows_anything_are_excluded_and_have_no_finding() -> None:
    (ssdf,) = [one for one in RESULTS["results"] if one["props"][0]["value"] == "ssdf-1.1"]
    (selection,) = ssdf["reviewed-controls"]["control-selections"]
    assert {one["control-id"] for one in selection["exclude-controls"]} == {
        "PS.1.1", "PW.7", "PW.8", "RV.1", "RV.2", "RV.3",
    }  # fmt: skip
    assert len(ssdf["findings"]) == len(selection["include-controls"]) == 11


def test_the_period_is_that_of_the_report() -> None:
    assert {(one["start"], one["end"]) for one in RESULTS["results"]} == {
        ("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z")
    }
    opened = results(made.document(scope=made.scope(since=None, until=None)))
    assert {(one["start"], one["end"]) for one in opened["results"]} == {
        ("2026-10-02T09:00:00Z", "2026-11-02T10:00:00Z")
    }


def test_the_same_report_gives_the_same_bytes_and_another_gives_other_identifiers() -> None:
    assert orjson.dumps(results()) == orjson.dumps(RESULTS)
    other = results(made.document(4, counts=made.counts(evidenced=4), coverage=None))
    assert set(parts(other, "uuid")).isdisjoint(parts(RESULTS, "uuid"))


def test_many_attestations_are_left_to_the_report() -> None:
    many = [made.attestation(number) for number in range(10, 10 + 2 * MOST_RESOURCES)]
    found = results(made.document(attestations=many))
    titles = [one["title"] for one in found["back-matter"]["resources"]]
    assert sum(one.startswith("Attestation") for one in titles) == MOST_RESOURCES


def test_a_report_without_control_maps_still_is_a_document() -> None:
    document = made.document()
    (one,) = assessment_results(document)["assessment-results"]["results"]
    assert one["title"] == "No control map"
    assert "findings" not in one
    assert one["reviewed-controls"]["control-selections"][0]["include-all"] == {}


@pytest.mark.parametrize("field", ["predicateType", "signer"])
def test_hostile_text_is_one_visible_line(field: str) -> None:
    rows = [made.attestation(10, **{field: HOSTILE, "places": [HOSTILE]})]
    keys = [made.key(), made.key(HOSTILE)]
    found = results(made.document(attestations=rows, keys=keys, summary=[HOSTILE]))
    for text in texts(found):
        assert text.isprintable(), text
    for name in ("title", "description", "remarks"):
        for text in parts(found, name):
            assert re.search(r"(?<!\\)[<>\[\]`*|]", text) is None, text
    assert r"\<script\>" in found["metadata"]["remarks"]


def test_markup_shows_just_the_text() -> None:
    assert markup("a*b_c[d](e) <f> `g` #h | i\\j") == r"a\*b\_c\[d\](e) \<f\> \`g\` \#h \| i\\j"
    assert markup(" \n ") == "none"
    assert line("  a \n b\u200b ") == r"a b\u200b"
    assert line("") == "none"
    assert json.dumps(line("\u202eevil")) == '"\\\\u202eevil"'


@pytest.mark.parametrize("digest", ["", "sha256:xyz", "sha512:" + "a" * 128, "sha256:" + "A" * 64])
def test_only_a_sha256_has_a_name(digest: str) -> None:
    assert name_of(digest) == ""
