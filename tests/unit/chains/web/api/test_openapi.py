"""The API's description: right by OpenAPI 3.1, the same as the committed copy, and true of every real answer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from openapi_spec_validator import OpenAPIV31SpecValidator

from chains.verify.criteria import Criteria
from chains.web.api.openapi import document, written
from chains.web.api.routes import routes
from chains.web.api.verify_now import Trusting, VerifyNow
from signers.keys.public_key import load_public_keys
from tests.unit.chains.web.api.asked import Get, Told, asked, get_all
from tests.unit.chains.web.api.beside import beside
from tests.unit.chains.web.world import World, inside

COPY = Path(__file__).parents[5] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document(routes(VerifyNow(Trusting()).handler))


def test_the_description_is_openapi(described: dict[str, Any]) -> None:
    assert described["openapi"] == "3.1.0"
    assert [error.message for error in OpenAPIV31SpecValidator(described).iter_errors()] == []
    # each schema is a schema, too
    for name, schema in described["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert schema["description"], name


def test_the_committed_copy_is_what_the_code_describes(described: dict[str, Any]) -> None:
    assert COPY.read_bytes() == written(described), "run python docs/generate_openapi.py"


def test_a_wrong_description_is_no_openapi(described: dict[str, Any]) -> None:
    wrong = copy.deepcopy(described)
    wrong["paths"]["/api/v1/search"]["get"]["parameters"][0]["in"] = "nowhere"
    assert list(OpenAPIV31SpecValidator(wrong).iter_errors())


@pytest.fixture(scope="module")
def answers(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """One real answer of each route, with evidence behind it."""
    key = load_public_keys(world.folder / ".chains/signing.pub")
    with inside(world.folder):
        search = get_all(world.place, ["/api/v1/search?limit=2"])[0].json
        full = next(
            one
            for one in get_all(world.place, ["/api/v1/search?q=type:provenance%20verdict:verified"])[0].json[
                "results"
            ]
            if one["subjects"]
        )
        algorithm, _, value = full["subjects"][0]["digest"].partition(":")
        paths = {
            "/api/v1/search": search["next"],
            "/api/v1/artifact/{algorithm}/{value}": f"/api/v1/artifact/{algorithm}/{value}",
            "/api/v1/run/{uid}": full["run"]["link"],
            "/api/v1/attestation/{algorithm}/{value}": full["link"],
            "/api/v1/lineage/{algorithm}/{value}": f"/api/v1/lineage/{algorithm}/{value}",
            "/api/v1/gaps": "/api/v1/gaps?limit=1",
            "/api/v1/audit": "/api/v1/audit?limit=1",
            "/api/v1/ledger": "/api/v1/ledger",
            "/api/v1/reports": "/api/v1/reports",
            "/api/v1/verify/{algorithm}/{value}": f"/api/v1/verify/{algorithm}/{value}",
        }
        settings = beside(world, tmp_path_factory.mktemp("beside"))
        trusting = Trusting(Criteria(keys=key))
        found = get_all(world.place, list(paths.values()), trusting=trusting, settings=settings)
    return dict(zip(paths, found, strict=True))


def test_each_route_answers_as_it_is_described(described: dict[str, Any], answers: dict[str, Told]) -> None:
    told = {path for path in described["paths"] if path.startswith("/api/")}
    assert set(answers) == told
    for path, answer in answers.items():
        assert answer.status == 200, (path, answer.body)
        assert answer.headers["Content-Type"] == "application/json", path
        schema = described["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert problems(described, schema, answer.json) == [], path


def test_the_answers_have_something_of_everything(answers: dict[str, Told]) -> None:
    """Lists that are empty would fit any description."""
    run, one = answers["/api/v1/run/{uid}"].json, answers["/api/v1/attestation/{algorithm}/{value}"].json
    artifact = answers["/api/v1/artifact/{algorithm}/{value}"].json
    assert run["attestations"]
    assert one["copies"]
    assert artifact["inputs"]
    assert artifact["names"]
    assert answers["/api/v1/lineage/{algorithm}/{value}"].json["madeFrom"]
    verified = answers["/api/v1/verify/{algorithm}/{value}"].json
    assert (verified["verdict"], bool(verified["checks"]), bool(verified["attestations"])) == (
        "VERIFIED",
        True,
        True,
    )
    assert answers["/api/v1/gaps"].json["runs"]
    audit = answers["/api/v1/audit"].json
    assert (len(audit["runs"]), audit["next"]) == (
        1,
        "/api/v1/audit?at=2026-11-20T00%3A00%3A00Z&limit=1&cursor=2",
    )
    ledger = answers["/api/v1/ledger"].json
    assert ledger["isVerified"]
    assert any(day["isVerified"] for day in ledger["days"])
    (report,) = answers["/api/v1/reports"].json["reports"]
    assert {file["name"] for file in report["files"]} >= {"report.json"}


def test_the_runs_of_an_audit_follow_page_by_page(world: World, tmp_path: Path) -> None:
    settings = beside(world, tmp_path)

    async def work(get: Get) -> None:
        found, path = [], "/api/v1/audit?limit=1"
        while path:
            told = (await get(path)).json
            found += [one["name"] for one in told["runs"]]
            path = told["next"]
        assert found == ["build-secret", "build-shop"]
        (one,) = (await get("/api/v1/audit?state=failed")).json["runs"]
        assert one["name"] == "build-shop"
        assert (await get("/api/v1/audit?at=2020-01-01T00:00:00Z")).status == 404
        assert (await get("/api/v1/audit?state=fine")).status == 400

    asked(world.place, work, settings=settings)


def test_an_error_is_a_problem_as_it_is_described(described: dict[str, Any], world: World) -> None:
    paths = {
        "/api/v1/search?q=foo:bar": (400, "unknown key foo:"),
        "/api/v1/search?limit=0": (400, "limit: expected a number from 1 to 500"),
        "/api/v1/search?limit=501": (400, "limit: expected"),
        "/api/v1/search?limit=%D9%A1": (400, "limit: expected"),
        "/api/v1/search?cursor=x": (400, "the cursor is damaged"),
        "/api/v1/search?query=x": (400, "unknown parameter 'query'; known parameters: q, limit, cursor"),
        "/api/v1/search?q=a&q=b": (400, "q: it is given twice"),
        "/api/v1/gaps?from=yesterday": (400, "from:"),
        "/api/v1/gaps?from=2026-10%20namespace:shop": (400, "from and to: expected"),
        "/api/v1/gaps?from=2026-11&to=2026-10": (400, "from: is not before to:"),
        "/api/v1/lineage/sha256/aa?depth=11": (400, "depth: expected a number from 1 to 10"),
        "/api/v1/run/nobody": (404, "or you may not see it"),
        "/api/v1/artifact/sha256/aa": (404, "or you may not see it"),
        "/api/v1/artifact/%3Cb%3E/aa": (404, "or you may not see it"),
        "/api/v1/attestation/sha512/aa": (404, "or you may not see it"),
        "/api/v1/lineage/sha256/aa": (404, "or you may not see it"),
        "/api/v1/nothing": (404, "or you may not see it"),
        "/api/": (404, "or you may not see it"),
        "/badge/sha256/aa.svg": (404, "or you may not see it"),
        "/api/v1/verify/sha256/aa": (503, "nobody is named to trust: start chains web with --key PUB"),
    }
    schema = {"$ref": "#/components/schemas/Problem"}
    for (path, (status, words)), answer in zip(paths.items(), get_all(world.place, list(paths)), strict=True):
        assert answer.status == status, (path, answer.body)
        assert answer.headers["Content-Type"] == "application/problem+json", path
        told = answer.json
        assert problems(described, schema, told) == [], path
        assert (told["status"], words in told["detail"]) == (status, True), (path, told)
        assert told["type"].startswith("https://provenance.chains/problems/"), path


def problems(described: dict[str, Any], schema: dict[str, Any], value: object) -> list[str]:
    """Return how a value differs from its description, fields that it does not have included."""
    strict = copy.deepcopy(described["components"]["schemas"])
    for one in strict.values():
        if one["type"] == "object":
            one["additionalProperties"] = False
    whole = {**schema, "components": {"schemas": strict}}
    validator = Draft202012Validator(whole, format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{list(error.absolute_path)}: {error.message[:200]}" for error in validator.iter_errors(value)]


def test_a_field_that_is_not_described_is_found(described: dict[str, Any], answers: dict[str, Told]) -> None:
    schema = {"$ref": "#/components/schemas/Results"}
    value = json.loads(answers["/api/v1/search"].body)
    assert problems(described, schema, value) == []
    assert problems(described, schema, {**value, "more": 1})
    value["results"][0].pop("verdict")
    assert problems(described, schema, value)
