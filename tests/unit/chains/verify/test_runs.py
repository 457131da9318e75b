"""A run file against what was signed about it, through the real flow and real stores."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from chains.attest.batch import attest_all
from chains.attest.flow import Flow
from chains.attest.payloads import build_payloads
from chains.attest.sign import sign
from chains.attest.stores import Stores
from chains.config.parse import parse_config
from chains.errors import InputError
from chains.isolation.judgement import judge_isolation
from chains.statements import execution_report, slsa_v1
from chains.statements.formats import Format
from chains.statements.provenance import BUILDERS
from chains.statements.redaction import Redaction
from chains.statements.statement import SLSA_V1, ResourceDescriptor
from chains.tekton.run_files import Intake, read_inputs
from chains.tekton.snapshot import RunSnapshot, take_snapshot
from chains.verify.render import to_text
from chains.verify.runs import run as verify_runs
from chains.verify.runs.run import differences
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from storage.errors import StoreRejected
from storage.open import open_store
from storage.record import Evidence, Findings
from tests.faults.verify.forge import (
    BUILD_TYPE,
    BUILDER,
    HEX,
    IMAGE,
    NOW,
    OTHER,
    Broken,
    Shelf,
    criteria,
    evidence,
    form_a,
    form_b,
    image_signature,
    reasons,
    results,
    signer,
)
from tests.runs import pipeline_runs, task_runs

Json = Any
EXAMPLES = Path(__file__).parents[4] / "examples"
FORMATS = ["in-toto", "slsa/v1", "slsa/v2alpha3", "slsa/v2alpha4"]


def config(name: str = "slsa/v2alpha4", **more: str) -> dict[str, str]:
    keys = {key.replace("_", "."): value for key, value in more.items()}
    return {"artifacts.taskrun.format": name, "artifacts.pipelinerun.format": name} | keys


def raw(name: str = "r", *, image: bool = True, uid: str = "uid-1", **spec: Json) -> Json:
    given = [
        {"name": "IMAGE_URL", "type": "string", "value": IMAGE},
        {"name": "IMAGE_DIGEST", "type": "string", "value": f"sha256:{HEX}"},
        {"name": "note", "type": "string", "value": "n"},
    ]
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": name, "namespace": "ns", "uid": uid, "labels": {"app": "x"}},
        "spec": {"params": [{"name": "url", "value": "https://git.example.com/x"}], **spec},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Succeeded"}],
            "startTime": "2026-01-02T03:04:05Z",
            "completionTime": "2026-01-02T03:05:05Z",
            "podName": "r-pod",
            "results": given if image else given[2:],
            "steps": [
                {"name": "build", "imageID": f"quay.io/step@sha256:{OTHER}", "container": "step-build"}
            ],
            "taskSpec": {"steps": [{"name": "build", "image": "quay.io/step", "script": "make"}]},
        },
    }


def signed(run: RunSnapshot, keys: Mapping[str, str] | None = None, *, only: str = "") -> list[Evidence]:
    """Everything that the flow signs about a run, in form B and what of form A is no envelope."""
    found = []
    for payload in build_payloads(run, parse_config(dict(keys or config()))):
        if only and payload.kind != only:
            continue
        record = sign(run, payload, signer())
        found.append(evidence(record.bundle))
        if record.signature:
            found.append(evidence(record.payload, "simplesigning", "oci-sig", signature=record.signature))
    return found


def ask(run: RunSnapshot, *held: Evidence, **asked: Json) -> Verification:
    return asyncio.run(Verifier(criteria(**asked), [Shelf(*held)], clock=lambda: NOW).run(run))


def failed(found: Verification, check: str = "statement-matches-run") -> Json:
    (one,) = [each for each in found.checks if each.id == check]
    assert one.result.value == "fail"
    return one


@pytest.mark.parametrize("kind", ["oci-layout", "file"])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*run*.*")), ids=lambda path: path.stem)
def test_every_example_verifies_in_every_format_through_a_real_store(
    path: Path, name: str, kind: str, tmp_path: Path
) -> None:
    async def work() -> Verification:
        intake = read_inputs([str(path)])
        stores = Stores({Stores.EVERYTHING: [open_store(f"{kind}:{tmp_path}/store")]})
        outcomes = await attest_all(intake, Flow(parse_config(config(name)), signer(), stores))
        assert {outcome.state for outcome in outcomes} == {"signed"}
        await stores.close()
        async with open_store(f"{kind}:{tmp_path}/store") as store:
            return await Verifier(criteria(), [store], clock=lambda: NOW).target(str(path))

    found = asyncio.run(work())
    assert found.verdict is Verdict.VERIFIED, to_text(found, verbose=True)
    assert results(found)["statement-matches-run"] == "pass"
    assert results(found)["execution-report"] == "pass"
    assert {check for check, result in results(found).items() if result != "pass"} <= {"invocation-id"}
    orjson.dumps(found.to_json())


@pytest.mark.parametrize("deep", ["true", "false"])
@pytest.mark.parametrize("native", ["true", "false"])
@pytest.mark.parametrize("kind", slsa_v1.BUILD_TYPES)
@pytest.mark.parametrize("name", FORMATS)
def test_settings_that_change_a_statement_are_found_out(name: str, kind: str, native: str, deep: str) -> None:
    intake = read_inputs([str(EXAMPLES / "pipelinerun.json")])
    (key,) = intake.top()
    run = intake.snapshot(key)
    keys = config(name) | {
        "builddefinition.buildtype": kind,
        "builder.id": "https://example.com/builder",
        "artifacts.pipelinerun.enable-deep-inspection": deep,
        "artifacts.native.enabled": native,
    }
    found = ask(run, *signed(run, keys))
    assert found.verdict is Verdict.VERIFIED, to_text(found, verbose=True)
    asked = ask(run, *signed(run, keys), builder_id="https://example.com/builder")
    assert asked.verdict is Verdict.VERIFIED
    assert ask(run, *signed(run, keys), builder_id="https://other.example").verdict is Verdict.FAILED


CHANGES: dict[str, tuple[Json, str]] = {
    "a param": (
        lambda run: run["spec"]["params"][0].update(value="https://evil.example"),
        "predicate.buildDefinition.externalParameters.runSpec.params[0].value",
    ),
    "a new param": (
        lambda run: run["spec"]["params"].append({"name": "x", "value": "y"}),
        "predicate.buildDefinition.externalParameters.runSpec.params[1]",
    ),
    "a result": (
        lambda run: run["status"]["results"][2].update(value="other"),
        "predicate.runDetails.byproducts[0].content",
    ),
    "an artifact's digest": (
        lambda run: run["status"]["results"][1].update(value=f"sha256:{OTHER}"),
        "subject[0].digest.sha256",
    ),
    "a step's image": (
        lambda run: run["status"]["steps"][0].update(imageID=f"quay.io/evil@sha256:{HEX}"),
        "predicate.buildDefinition.resolvedDependencies[0].uri",
    ),
    "the end": (
        lambda run: run["status"].update(completionTime="2026-01-02T03:05:06Z"),
        "predicate.runDetails.metadata.finishedOn",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_run_changed_after_signing_fails_with_the_field_that_differs(name: str) -> None:
    change, field = CHANGES[name]
    held = signed(take_snapshot(raw()))
    changed = raw()
    change(changed)
    found = ask(take_snapshot(changed), *held)
    assert found.verdict is Verdict.FAILED
    check = failed(found)
    assert check.expected.startswith(f"{field} = ")
    assert check.actual.startswith(f"{field} = ")
    assert check.expected != check.actual
    assert failed(found, "execution-report").reason.value == "run_mismatch"
    assert not any(each.used for each in found.attestations)


def test_a_change_that_provenance_does_not_hold_is_found_by_the_execution_report() -> None:
    held = signed(take_snapshot(raw()))
    changed = raw()
    changed["metadata"]["labels"]["app"] = "y"
    found = ask(take_snapshot(changed), *held)
    assert found.verdict is Verdict.FAILED
    assert results(found)["statement-matches-run"] == "pass"
    check = failed(found, "execution-report")
    assert check.expected == f"snapshot sha256:{take_snapshot(changed).digest}"
    assert "of this run" in check.actual


def test_the_run_of_another_uid_is_another_run() -> None:
    found = ask(take_snapshot(raw(uid="uid-2")), *signed(take_snapshot(raw())))
    assert found.verdict is Verdict.FAILED
    check = failed(found, "invocation-id")
    assert (check.expected, check.actual) == ("uid-2", "uid-1")


def test_two_runs_of_one_artifact_are_each_verified_by_their_own_evidence() -> None:
    one, two = take_snapshot(raw("one")), take_snapshot(raw("two", uid="uid-2"))
    held = [*signed(one), *signed(two)]
    for run in (one, two):
        found = ask(run, *held)
        assert found.verdict is Verdict.VERIFIED
        assert {each.run_uid for each in found.attestations if each.used} == {run.uid}


def test_a_missing_execution_report_is_told_and_no_failure() -> None:
    run = take_snapshot(raw())
    found = ask(run, *signed(run, only="provenance"))
    assert found.verdict is Verdict.VERIFIED
    assert {name: result for name, result in results(found).items() if result != "pass"} == {
        "execution-report": "skip"
    }
    assert "no_execution_report" in reasons(found)


def test_provenance_without_a_subject_is_found_by_the_runs_uid(tmp_path: Path) -> None:
    async def work() -> Verification:
        intake = Intake()
        intake.add("in.json", json.dumps(raw(image=False)).encode())
        store = open_store(f"oci-layout:{tmp_path}/layout")
        stores = Stores({Stores.EVERYTHING: [store]})
        await attest_all(intake, Flow(parse_config(config()), signer(), stores))
        run = intake.snapshot(*intake.top())
        assert not verify_runs.RunWanted(run).subjects
        found = await Verifier(criteria(), [store], clock=lambda: NOW).run(run)
        await stores.close()
        return found

    found = asyncio.run(work())
    assert found.verdict is Verdict.VERIFIED
    assert SLSA_V1 in found.summary


def test_without_artifacts_the_execution_report_can_stand_alone() -> None:
    run = take_snapshot(raw(image=False))
    held = signed(run, only="execution-report")
    found = ask(run, *held)
    assert found.verdict is Verdict.VERIFIED
    assert results(found)["provenance"] == "skip"
    assert "no_provenance" in reasons(found)
    assert execution_report.SCAI in found.summary
    assert "predicate-type" not in results(found)
    for asked in ({"predicate_types": [SLSA_V1]}, {"builder_id": BUILDER}, {"build_type": BUILD_TYPE}):
        assert ask(run, *held, **asked).verdict is Verdict.FAILED


def test_with_artifacts_the_execution_report_alone_is_not_enough() -> None:
    run = take_snapshot(raw())
    found = ask(run, *signed(run, only="execution-report"))
    assert found.verdict is Verdict.FAILED
    assert "predicate_type_mismatch" in reasons(found) | {str(each.reason) for each in found.checks}


def test_a_report_that_stands_alone_does_not_outweigh_provenance_that_differs() -> None:
    run = take_snapshot(raw(image=False))
    changed = raw(image=False)
    changed["spec"]["params"] = []
    found = ask(
        run,
        *signed(run, only="execution-report"),
        *signed(take_snapshot(changed), only="provenance"),
    )
    assert found.verdict is Verdict.FAILED


def test_the_execution_report_can_be_asked_for_by_its_type() -> None:
    run = take_snapshot(raw())
    held = signed(run)
    found = ask(run, *held, predicate_types=[execution_report.SCAI])
    assert found.verdict is Verdict.VERIFIED
    changed = raw()
    changed["metadata"]["labels"]["app"] = "y"
    found = ask(take_snapshot(changed), *held, predicate_types=[execution_report.SCAI])
    assert found.verdict is Verdict.FAILED


def test_a_task_cannot_vouch_for_a_forged_run_by_naming_its_snapshot_as_an_artifact() -> None:
    forged = take_snapshot(raw("forged", image=False))
    attack = raw("attack")
    attack["status"]["results"][1]["value"] = f"sha256:{forged.digest}"
    found = ask(forged, *signed(take_snapshot(attack)))
    assert found.verdict is Verdict.FAILED
    other = take_snapshot(raw("other", uid="uid-2"))
    report = execution_report.build_execution_report(
        other, [subject_of(forged)], judge_isolation(other), Redaction()
    )
    assert ask(forged, form_b(report.to_bytes())).verdict is Verdict.FAILED
    outcome = report.predicate["attributes"][0]
    for attributes in (
        [],
        [outcome, outcome],
        [{**outcome, "target": 5}],
        [{**outcome, "target": {"digest": []}}],
        5,
    ):
        report.predicate["attributes"] = attributes  # type: ignore[index]
        assert ask(forged, form_b(report.to_bytes())).verdict is Verdict.FAILED


def subject_of(run: RunSnapshot) -> ResourceDescriptor:
    return execution_report.own_subject(run)


def test_lists_that_chains_writes_in_any_order_may_come_in_any_order() -> None:
    first = raw()
    first["status"]["results"] += [
        {"name": "two_IMAGE_URL", "value": "registry.example.com/two"},
        {"name": "two_IMAGE_DIGEST", "value": f"sha256:{OTHER}"},
    ]
    first["status"]["steps"].append({"name": "b", "imageID": f"quay.io/b@sha256:{HEX}"})
    run = take_snapshot(first)
    options = slsa_v1.Options(builder_id=BUILDER, build_type=BUILD_TYPE)
    statement = orjson.loads(slsa_v1.build_v2alpha4(run, options).to_bytes())
    statement["subject"].reverse()
    statement["predicate"]["buildDefinition"]["resolvedDependencies"].reverse()
    assert ask(run, form_a(statement)).verdict is Verdict.VERIFIED
    for more in ([*statement["subject"], statement["subject"][0]], statement["subject"][:1], []):
        found = ask(run, form_a({**statement, "subject": more}))
        assert failed(found).expected.startswith("subject[")


def test_a_build_type_that_no_format_has_fails() -> None:
    run = take_snapshot(raw())
    options = slsa_v1.Options(builder_id=BUILDER, build_type="https://example.com/mine")
    found = ask(run, form_a(slsa_v1.build_v2alpha4(run, options).to_bytes()))
    assert "buildType" in failed(found).expected


def test_a_statement_of_a_type_that_nothing_binds_to_a_run_fails() -> None:
    run = take_snapshot(raw())
    statement = {**orjson.loads(form_payload(run)), "predicateType": "https://example.com/sbom"}
    found = ask(run, form_a(statement), predicate_types=["https://example.com/sbom"])
    assert "nothing binds" in failed(found).actual


def form_payload(run: RunSnapshot) -> bytes:
    return slsa_v1.build_v2alpha4(run, slsa_v1.Options(builder_id=BUILDER, build_type=BUILD_TYPE)).to_bytes()


def test_image_signatures_of_the_runs_images_have_their_check() -> None:
    run = take_snapshot(raw())
    found = ask(run, *signed(run))
    assert results(found)["image-signature"] == "pass"
    found = ask(run, *signed(run, only="provenance"), image_signature("00" * 32))
    assert results(found)["image-signature"] == "skip"


class Picky(Shelf):
    """A store like a registry: it needs a repository and finds no runs."""

    async def find(self, digest: str, reference: str = "") -> Findings:
        if not reference:
            raise StoreRejected(f"cannot search for {digest}: say which registry/repository it is in")
        return await super().find(digest, reference)


def test_a_registry_is_asked_about_images_and_its_refusal_of_the_rest_is_told() -> None:
    run = take_snapshot(raw())
    store = Picky(*signed(run))
    found = asyncio.run(Verifier(criteria(), [store], clock=lambda: NOW).run(run))
    assert found.verdict is Verdict.VERIFIED
    assert store.asked == [(f"sha256:{HEX}", IMAGE)]
    assert "say which registry" in found.skipped[-1].detail
    run = take_snapshot(raw(image=False))
    found = asyncio.run(Verifier(criteria(), [store], clock=lambda: NOW).run(run))
    assert found.verdict is Verdict.INDETERMINATE


def test_a_store_that_is_down_does_not_hide_a_changed_run() -> None:
    held = signed(take_snapshot(raw()))
    changed = raw()
    changed["spec"]["params"][0]["value"] = "evil"
    run = take_snapshot(changed)
    found = asyncio.run(Verifier(criteria(), [Shelf(*held), Broken()], clock=lambda: NOW).run(run))
    assert found.verdict is Verdict.FAILED


def test_a_run_that_breaks_a_format_is_not_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Json) -> Json:
        raise KeyError("boom")

    run = take_snapshot(raw())
    held = signed(run)
    monkeypatch.setitem(BUILDERS, Format.SLSA_V2ALPHA4, broken)
    found = ask(run, *held)
    assert found.verdict is Verdict.INDETERMINATE
    assert reasons(found) == {"internal_error"}


def test_evidence_that_breaks_the_verifier_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    run = take_snapshot(raw())
    other = form_a({**orjson.loads(form_payload(run)), "predicateType": "https://example.com/boom"})
    real = verify_runs.RunWanted.match

    def match(self: Json, found: Json) -> Json:
        if found.statement.predicate_type.endswith("boom"):
            raise ZeroDivisionError
        return real(self, found)

    monkeypatch.setattr(verify_runs.RunWanted, "match", match)
    found = ask(run, other, *signed(run))
    assert found.verdict is Verdict.VERIFIED
    assert "internal_error" in reasons(found)
    assert ask(run, other).verdict is Verdict.INDETERMINATE


@settings(max_examples=60, deadline=None)
@given(task_runs(), st.sampled_from(FORMATS))
def test_any_task_run_that_can_be_signed_verifies(run: Json, name: str) -> None:
    snapshot = take_snapshot(run)
    found = ask(snapshot, *signed(snapshot, config(name)))
    assert found.verdict is Verdict.VERIFIED or is_unreadable(found), to_text(found, verbose=True)


@settings(max_examples=40, deadline=None)
@given(pipeline_runs(), st.sampled_from(FORMATS), st.sampled_from(["true", "false"]))
def test_any_pipeline_run_that_can_be_signed_verifies(group: Json, name: str, deep: str) -> None:
    run, children = group
    others = {("TaskRun", "ns", child["metadata"]["name"]): child for child in children}
    snapshot = take_snapshot(run, others)
    keys = config(name) | {"artifacts.pipelinerun.enable-deep-inspection": deep}
    found = ask(snapshot, *signed(snapshot, keys))
    assert found.verdict is Verdict.VERIFIED or is_unreadable(found), to_text(found, verbose=True)


def is_unreadable(found: Verification) -> bool:
    """Whether what was signed is a statement that no verifier takes, such as one with a digest that is no hex."""
    return "statement_invalid" in reasons(found)


def leaves(value: Json, path: tuple[Json, ...] = ()) -> list[tuple[Json, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [leaf for key, inner in items for leaf in leaves(inner, (*path, key))]
    return found or [path]


@settings(max_examples=120, deadline=None)
@given(st.data(), st.one_of(task_runs(), st.just(raw())), st.sampled_from(FORMATS))
def test_a_run_changed_anywhere_never_verifies(data: st.DataObject, run: Json, name: str) -> None:
    snapshot = take_snapshot(run)
    changed = copy.deepcopy(run)
    path = data.draw(st.sampled_from([leaf for leaf in leaves(changed) if leaf != ("kind",)]))
    holder = changed
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = data.draw(st.sampled_from(["x", "2026-05-05T05:05:05Z", 5, None, [], {}, True]))
    try:
        other = take_snapshot(changed)
    except InputError:
        reject()
    found = ask(other, *signed(snapshot, config(name)))
    if path[:2] == ("status", "sidecars") and changed != run:
        # Tekton changes sidecars after the end, so the digest leaves them out: what may differ is a test of
        # late changes; who they are may not
        assert path[-1] != "name" or found.verdict is not Verdict.VERIFIED, to_text(found, verbose=True)
    elif other.digest == snapshot.digest:
        assert found.verdict is Verdict.VERIFIED or is_unreadable(found)
    else:
        assert found.verdict is not Verdict.VERIFIED, to_text(found, verbose=True)


@pytest.mark.parametrize(
    ("given_value", "signed_value", "paths"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": True}, {"a": 1}, ["a"]),
        ({"a": 0}, {"a": False}, ["a"]),
        ({"a": "1"}, {"a": 1}, ["a"]),
        ({"a": None}, {}, ["a"]),
        ({}, {"a": None}, ["a"]),
        ({"a": []}, {"a": {}}, ["a"]),
        ({"a": [1, 2]}, {"a": [2, 1]}, ["a[0]", "a[1]"]),
        ({"subject": [1, 2]}, {"subject": [2, 1]}, []),
        ({"subject": [1, 1, 2]}, {"subject": [1, 2, 2]}, ["subject[1]"]),
        ({"subject": [1]}, {"subject": [1, 1]}, ["subject[1]"]),
        ({"a": {"subject": [1, 2]}}, {"a": {"subject": [2, 1]}}, ["a.subject[0]", "a.subject[1]"]),
        ({"b": 1, "a": 1}, {"c": 1}, ["b", "a", "c"]),
    ],
)
def test_differences_are_named_in_order(given_value: Json, signed_value: Json, paths: list[str]) -> None:
    assert [path for path, _, _ in differences(given_value, signed_value)] == paths


def test_old_provenance_tells_no_run_so_a_copy_under_another_name_needs_its_report() -> None:
    held = signed(take_snapshot(raw()), config("in-toto"))
    copied = raw("copy", uid="uid-2")
    found = ask(take_snapshot(copied), *held)
    assert found.verdict is Verdict.FAILED
    assert results(found)["statement-matches-run"] == "pass"
    assert "of run uid-1" in failed(found, "execution-report").actual
    found = ask(take_snapshot(copied), held[0])
    assert found.verdict is Verdict.VERIFIED
    assert results(found)["invocation-id"] == results(found)["execution-report"] == "skip"
    assert "not_compared" in reasons(found)


def stored(tmp_path: Path, kind: str) -> RunSnapshot:
    """Attest one run into a real store below ``tmp_path``."""

    async def work() -> RunSnapshot:
        intake = Intake()
        intake.add("in.json", json.dumps(raw()).encode())
        stores = Stores({Stores.EVERYTHING: [open_store(f"{kind}:{tmp_path}/store")]})
        await attest_all(intake, Flow(parse_config(config()), signer(), stores))
        await stores.close()
        return intake.snapshot(*intake.top())

    return asyncio.run(work())


def from_store(tmp_path: Path, kind: str, run: RunSnapshot) -> list[Verification]:
    """Ask about the run and about its image."""

    async def work() -> list[Verification]:
        async with open_store(f"{kind}:{tmp_path}/store") as store:
            one = await Verifier(criteria(), [store], clock=lambda: NOW).run(run)
            two = await Verifier(criteria(), [store], clock=lambda: NOW).digest(f"sha256:{HEX}", IMAGE)
            return [one, two]

    return asyncio.run(work())


@pytest.mark.parametrize("kind", ["oci-layout", "file"])
def test_evidence_changed_in_a_real_store_fails(kind: str, tmp_path: Path) -> None:
    run = stored(tmp_path, kind)
    assert [found.verdict for found in from_store(tmp_path, kind, run)] == [Verdict.VERIFIED] * 2
    for path in [
        path for path in (tmp_path / "store").rglob("*") if path.is_file() and not path.is_symlink()
    ]:
        data = path.read_bytes()
        # another letter inside the payload's base64: well-formed, and signed by nobody
        path.write_bytes(data.replace(b'"payload":"eyJfdHlwZSI6', b'"payload":"eyJfdHlwZSI7'))
    for found in from_store(tmp_path, kind, run):
        assert found.verdict is Verdict.FAILED, to_text(found, verbose=True)
        assert reasons(found) & {"signature_invalid", "unreadable"}


@pytest.mark.parametrize("kind", ["oci-layout", "file"])
def test_evidence_taken_out_of_a_real_store_never_verifies(kind: str, tmp_path: Path) -> None:
    run = stored(tmp_path, kind)
    for path in [
        path for path in (tmp_path / "store").rglob("*") if path.is_file() and not path.is_symlink()
    ]:
        if b"eyJfdHlwZSI6" in path.read_bytes() or b'"_type"' in path.read_bytes():
            path.unlink()
    for found in from_store(tmp_path, kind, run):
        assert found.exit_code in {1, 3}


def test_a_layout_that_is_not_there_leaves_nothing_decided(tmp_path: Path) -> None:
    (found, _) = from_store(tmp_path, "oci-layout", take_snapshot(raw()))
    assert found.verdict is Verdict.INDETERMINATE
    assert "store_unavailable" in reasons(found)
