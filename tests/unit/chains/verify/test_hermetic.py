"""``--require hermetic``: the proof must be signed by a given key and be of the same run as the provenance."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chains.attest.payloads import build_payloads
from chains.attest.sign import sign
from chains.cli.main import run as chains
from chains.config.parse import parse_config
from chains.statements.statement import STATEMENT_V1
from chains.tekton.run_files import read_inputs
from chains.verify.render import to_text
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from signers.keys.keyset import KeyStatus, ListedKey
from storage.base import Store
from storage.record import Evidence
from tests.faults.verify.forge import (
    HEX,
    NOW,
    OTHER,
    Broken,
    Shelf,
    ask,
    bundle,
    criteria,
    evidence,
    form_b,
    old_provenance,
    provenance,
    public,
    signer,
    subject,
)

Json = Any
EXAMPLE = Path(__file__).parents[4] / "examples" / "taskrun-hermetic.yaml"
SCAI = "https://in-toto.io/attestation/scai/v0.3"


def report(level: str = "enforced", *, uid: str = "uid-1", value: str = HEX, attributes: Json = None) -> Json:
    told = [
        {"attribute": "RUN_OUTCOME", "target": {"name": "r"}, "conditions": {"uid": uid}},
        {"attribute": "HERMETIC_LEVEL", "target": {"name": "r"}, "conditions": {"level": level}},
    ]
    return {
        "_type": STATEMENT_V1,
        "subject": [subject(value)],
        "predicateType": SCAI,
        "predicate": {"attributes": told if attributes is None else attributes},
    }


def demanded(*held: Evidence | Store) -> Verification:
    return ask(*held, by=criteria(require_hermetic=True))


def hermetic(found: Verification) -> tuple[str, str, str]:
    (check,) = [check for check in found.checks if check.id == "hermetic"]
    return check.result.value, check.reason.value if check.reason else "", check.actual


def test_a_report_of_the_same_run_that_says_enforced_is_proof() -> None:
    found = demanded(form_b(provenance()), form_b(report()))
    assert found.verdict is Verdict.VERIFIED
    assert hermetic(found) == ("pass", "", "level enforced")
    assert [each.used for each in found.attestations] == [True, True]
    assert found.to_json()["criteria"]["require"] == ["hermetic"]
    assert "require         hermetic execution, proven" in to_text(found, verbose=True)


def test_without_the_demand_nothing_changes() -> None:
    found = ask(form_b(provenance()))
    assert found.verdict is Verdict.VERIFIED
    assert found.to_json()["criteria"]["require"] == []
    assert not [check for check in found.checks if check.id == "hermetic"]


@pytest.mark.parametrize("level", ["partly", "unknown", "requested-only", "not-requested", "", "ENFORCED"])
def test_any_other_level_is_none(level: str) -> None:
    found = demanded(form_b(provenance()), form_b(report(level)))
    assert found.verdict is Verdict.FAILED
    assert hermetic(found) == ("fail", "hermetic_not_proven", f"level {level or 'missing'}")
    assert "hermetic_not_proven: expected an execution report of the same run" in found.summary
    assert not any(each.used for each in found.attestations)


LEVEL = report()["predicate"]["attributes"][1]
OUTCOME = report()["predicate"]["attributes"][0]


@pytest.mark.parametrize(
    ("held", "actual"),
    [
        ([], "no execution report by a given key"),
        ([form_b(report(), signer("stranger"))], "no execution report by a given key"),
        ([form_b(report(uid="uid-2"))], "1 of other runs"),
        ([form_b(report(value=OTHER))], "no execution report by a given key"),
        ([form_b(report(uid=""))], "1 of other runs"),
        ([form_b(report(attributes=[OUTCOME, OUTCOME, LEVEL]))], "1 of other runs"),
        ([form_b(report(attributes=[OUTCOME, LEVEL, LEVEL]))], "level missing"),
        ([form_b(report(attributes=5))], "1 of other runs"),
        ([form_b(report(attributes=[OUTCOME, {**LEVEL, "conditions": "enforced"}]))], "level missing"),
    ],
    ids=["none", "stranger", "other run", "other artifact", "no uid", "two uids", "two levels", "5", "text"],
)
def test_what_ties_nothing_to_the_run_is_no_proof(held: list[Evidence], actual: str) -> None:
    found = demanded(form_b(provenance()), *held)
    assert found.verdict is Verdict.FAILED
    assert hermetic(found) == ("fail", "hermetic_not_proven", actual)


def test_of_two_runs_that_made_the_artifact_only_the_proven_one_counts() -> None:
    found = demanded(form_b(provenance(uid="uid-2")), form_b(provenance()), form_b(report()))
    assert found.verdict is Verdict.VERIFIED
    assert [each.used for each in found.attestations] == [False, True, True]


def test_a_report_written_after_the_pod_was_gone_takes_nothing_away() -> None:
    found = demanded(form_b(provenance()), form_b(report("unknown")), form_b(report()))
    assert found.verdict is Verdict.VERIFIED


def test_provenance_that_tells_no_run_cannot_be_tied_to_a_report() -> None:
    found = demanded(form_b(old_provenance()), form_b(report()))
    assert hermetic(found)[2] == "the provenance tells no run (SLSA v0.2), so no report can be tied to it"


def test_two_statements_that_tell_no_run_are_not_of_one_run_for_that() -> None:
    found = demanded(form_b(old_provenance()), form_b(report(uid="")))
    assert found.verdict is Verdict.FAILED
    assert hermetic(found)[2] == "the provenance tells no run (SLSA v0.2), so no report can be tied to it"


def test_every_level_that_was_found_is_told_and_every_proof_is_used() -> None:
    found = demanded(form_b(provenance()), form_b(report("partly")), form_b(report("unknown")))
    assert hermetic(found)[2] == "level partly and level unknown"
    two = (form_b(provenance()), form_b(provenance(uid="uid-2")))
    found = demanded(*two, form_b(report("partly")), form_b(report("unknown", uid="uid-2")))
    assert hermetic(found)[2] == "level partly and level unknown"
    found = demanded(*two, form_b(report()), form_b(report(uid="uid-2")))
    assert found.verdict is Verdict.VERIFIED
    assert [each.used for each in found.attestations] == [True] * 4


def test_provenance_by_a_key_that_counts_no_more_is_no_report_by_it() -> None:
    old = public("old")
    asked = criteria(
        keys=[public(), old],
        windows={old.keyid: ListedKey(old, status=KeyStatus.REVOKED)},
        require_hermetic=True,
    )
    found = ask(form_b(provenance()), form_b(provenance(uid="uid-2"), signer("old")), by=asked)
    assert hermetic(found)[2] == "no execution report by a given key"


def test_a_store_that_does_not_answer_may_have_the_proof() -> None:
    found = demanded(form_b(provenance()), form_b(report("unknown")), Broken())
    assert found.verdict is Verdict.INDETERMINATE
    assert hermetic(found)[:2] == ("error", "store_unavailable")


def test_nothing_verified_is_told_as_before() -> None:
    assert demanded().verdict is Verdict.NOT_FOUND
    found = demanded(form_b(provenance(subject(OTHER))))
    assert found.verdict is Verdict.FAILED
    assert hermetic(found)[:2] == ("skip", "not_compared")


def test_a_file_with_the_report_alone_proves_itself_when_its_type_is_asked_for() -> None:
    asked = criteria(require_hermetic=True, predicate_types=[SCAI])
    for level, verdict in (("enforced", Verdict.VERIFIED), ("partly", Verdict.FAILED)):
        assert (
            Verifier(asked, clock=lambda: NOW).judge_bundle(bundle(report(level)), ref="f").verdict is verdict
        )
    alone = Verifier(criteria(require_hermetic=True), clock=lambda: NOW).judge_bundle(
        bundle(provenance()), ref="f"
    )
    assert alone.verdict is Verdict.FAILED


@pytest.mark.parametrize("name", ["slsa/v2alpha4", "slsa/v2alpha3", "slsa/v1", "in-toto"])
@pytest.mark.parametrize("with_pod", [True, False])
def test_a_run_file_is_proven_by_the_report_of_its_own_snapshot(name: str, with_pod: bool) -> None:
    intake = read_inputs([str(EXAMPLE)])
    (key,) = intake.runs
    run = intake.snapshot(key)
    config = parse_config(
        {"artifacts.taskrun.format": name, "builder.id.hermetic": "https://b.example.com/h"}
    )
    payloads = build_payloads(run, config, intake.surroundings_of(run) if with_pod else None)
    held = [evidence(sign(run, payload, signer()).bundle) for payload in payloads if payload.image is None]
    asked = criteria(require_hermetic=True, builder_id="https://b.example.com/h" if with_pod else None)
    found = asyncio.run(Verifier(asked, [Shelf(*held)], clock=lambda: NOW).run(run))
    assert found.verdict is (Verdict.VERIFIED if with_pod else Verdict.FAILED), to_text(found, verbose=True)
    assert hermetic(found)[0] == ("pass" if with_pod else "fail")


def test_the_command_line_demands_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    proven, other = (
        shutil.copy(EXAMPLE.with_name(name), ".") for name in (EXAMPLE.name, "taskrun-image.json")
    )
    assert chains(["attest", proven]) == 0
    assert chains(["verify", proven, "--require", "hermetic"]) == 0
    assert chains(["attest", str(other)]) == 0
    assert chains(["verify", str(other)]) == 0
    monkeypatch.setenv("CHAINS_REQUIRE", "hermetic")
    capsys.readouterr()
    assert chains(["verify", str(other), "--output", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["summary"].startswith("hermetic_not_proven: ")
    monkeypatch.setenv("CHAINS_REQUIRE", "slsa")
    assert chains(["verify", str(other)]) == 2
    assert "CHAINS_REQUIRE: expected one of hermetic, got 'slsa'" in capsys.readouterr().err
