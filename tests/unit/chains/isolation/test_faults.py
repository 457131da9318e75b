"""Each attack on hermetic evidence is a file, and beside it lies what the report must say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chains.attest.payloads import EXECUTION_REPORT, PROVENANCE, build_payloads
from chains.config.parse import Config, parse_config
from chains.isolation.finding import LEVELS
from chains.statements.claims import builder_id
from chains.statements.statement import parse_statement
from chains.tekton.run_files import Intake, read_inputs

Json = Any
FOLDER = Path(__file__).parents[3] / "faults" / "hermetic"
CASES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
TOLD = {"HERMETIC_LEVEL", "POD_NETWORK", "HERMETIC_EXECUTION"}
SECRET = "hunter2"


def config_of(intake: Intake) -> Config:
    """Return the configuration that a file brings with it, the default one otherwise."""
    data = intake.surroundings.get(("ConfigMap", "tekton-chains", "chains-config"), b"{}")
    return parse_config(json.loads(data).get("data", {}))


def report_of(name: str) -> Json:
    intake = read_inputs([str(FOLDER / f"{name}.yaml")])
    assert not intake.problems
    run = intake.snapshot(("TaskRun", "ci", "build"))
    payloads = build_payloads(run, config_of(intake), intake.surroundings_of(run))
    (report,) = [payload for payload in payloads if payload.kind == EXECUTION_REPORT]
    return json.loads(report.statement)


def relevant(report: Json) -> list[Json]:
    """Return what the report tells of isolation, leaving out Tekton's own helpers."""
    return [
        {
            "attribute": found["attribute"],
            "target": found["target"]["name"],
            "conditions": found["conditions"],
        }
        for found in report["predicate"]["attributes"]
        if found["attribute"] in TOLD and "ofTekton" not in found["conditions"]
    ]


@pytest.mark.parametrize("name", CASES)
def test_the_report_is_the_expected_one(name: str) -> None:
    expected = json.loads((FOLDER / f"{name}.report.json").read_text(encoding="utf-8"))
    assert relevant(report_of(name)) == expected


@pytest.mark.parametrize("name", CASES)
def test_enforced_is_said_only_where_nothing_is_wrong(name: str) -> None:
    proven = {
        "nothing-wrong",
        "policies-for-each-direction",
        "policy-denies-all",
        "network-mode-none",
    }
    level = relevant(report_of(name))[0]["conditions"]["level"]
    assert level in LEVELS
    assert (level == "enforced") == (name in proven)


@pytest.mark.parametrize("name", CASES)
def test_the_same_input_gives_the_same_bytes_and_no_secret(name: str) -> None:
    first = json.dumps(report_of(name))
    assert json.dumps(report_of(name)) == first
    assert SECRET not in first


def test_every_case_has_its_report_and_no_report_is_left_over() -> None:
    assert sorted(path.name.removesuffix(".report.json") for path in FOLDER.glob("*.json")) == CASES


HERMETIC_BUILDER = "https://builder.example.com/hermetic"
POLICY_CASES = [name for name in CASES if "polic" in name or "egress" in name]


@pytest.mark.parametrize("name", POLICY_CASES)
def test_the_builder_of_hermetic_runs_is_named_only_where_policies_close_both_directions(name: str) -> None:
    intake = read_inputs([str(FOLDER / f"{name}.yaml")])
    data = json.loads(intake.surroundings.get(("ConfigMap", "tekton-chains", "chains-config"), b"{}")).get(
        "data", {}
    )
    config = parse_config({**data, "builder.id": "urn:plain", "builder.id.hermetic": HERMETIC_BUILDER})
    run = intake.snapshot(("TaskRun", "ci", "build"))
    payloads = build_payloads(run, config, intake.surroundings_of(run))
    (provenance,) = [payload for payload in payloads if payload.kind == PROVENANCE]
    closed = {"policies-for-each-direction", "policy-denies-all"}
    builder = builder_id(parse_statement(provenance.statement))
    assert builder == (HERMETIC_BUILDER if name in closed else "urn:plain")
