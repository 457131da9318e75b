"""Test cases of policies whose evidence is that of a run file, attested in memory without any store or key."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from signers.keys.keyfile import generate_key, write_key_pair
from tests.faults.verify.forge import public
from tests.testbed.sigstore_keys import make_keys, trusted_root
from tests.unit.chains.policy.made import document, trust

Json = Any
ROOT = Path(__file__).parents[5]
IMAGE = (
    "registry.example.com/shop/storefront"
    "@sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
)
BUILDER = "https://builder.example.com/hermetic"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cases").mkdir()
    Path("run.json").write_bytes((ROOT / "examples" / "taskrun-image.json").read_bytes())


def policy(**spec: Json) -> None:
    entries = [trust("hermetic-builder", builder=BUILDER, level=3), trust("other", "stranger", level=1)]
    written = document(images=["registry.example.com/shop/**"], **{"trust": entries} | spec)
    Path("policy.json").write_text(json.dumps(written))


def case(name: str = "a", *, image: str = IMAGE, expect: Json, **spec: Json) -> None:
    written = {
        "apiVersion": "provenance.chains/v1",
        "kind": "PolicyCase",
        "metadata": {"name": name},
        "spec": {"image": image, "run": "../run.json", **spec, "expect": expect},
    }
    Path("cases", f"{name}.yaml").write_text(json.dumps(written))


def judged(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Json]:
    """Return the results by name; every case of the folder is judged."""
    code = chains(["policy", "test", "policy.json", "cases", "--output", "json", *options])
    found = json.loads(capsys.readouterr().out)
    assert code == (0 if found.get("passed") else 1)
    return {one["name"]: one for one in found["results"]}


def test_a_run_signed_as_a_trust_entry_is_judged_by_all_rules(capsys: pytest.CaptureFixture[str]) -> None:
    rules = [
        {"name": "same-run", "cel": "report.runUid == provenance.predicate.runDetails.metadata.invocationId", "message": "m"},
        {"name": "never", "cel": "image.digest == ''", "message": "never"},
    ]  # fmt: skip
    policy(rules=rules, require={"level": 3, "namespaces": ["ci"], "outcome": "succeeded"})
    case(
        signedAs="hermetic-builder",
        expect={"verdict": "FAILED", "decision": "deny", "reasons": ["rule_failed"]},
    )
    found = judged(capsys)["a"]
    assert found["passed"], found
    answer = found["answer"]
    assert (answer["level"], answer["trust"], answer["stores"]) == (3, "hermetic-builder", ["run:"])
    results = {check["id"]: check["result"] for check in answer["checks"]}
    assert (results["same-run"], results["never"]) == ("pass", "fail")
    assert not Path(".chains").exists()


def test_a_stranger_and_the_signer_of_another_entry_are_denied(capsys: pytest.CaptureFixture[str]) -> None:
    policy(require={"level": 2})
    case("stranger", expect={"verdict": "FAILED", "reasons": ["key_unknown"]})
    case("other", signedAs="other", expect={"verdict": "FAILED", "reasons": ["level_too_low"]})
    case("right", signedAs="hermetic-builder", expect={"verdict": "VERIFIED", "reasons": []})
    assert all(one["passed"] for one in judged(capsys).values())


def test_the_statements_are_those_of_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    policy()
    Path("chains-config.yaml").write_text(
        "builder.id: https://builder.example.com/elsewhere\ntransparency.enabled: 'true'\n"
        "storage.oci.attach-to-platforms: 'true'\n"
    )
    expected = {"verdict": "FAILED", "reasons": ["builder_not_trusted"]}
    case(signedAs="hermetic-builder", expect=expected)
    assert judged(capsys, "--config", "chains-config.yaml")["a"]["passed"]
    assert judged(capsys)["a"]["differences"][0] == "verdict: expected FAILED, got VERIFIED"


def test_a_given_key_signs_and_the_policy_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    write_key_pair(Path("cases/own.key"), generate_key())
    entry = {
        "name": "own",
        "signer": {"keys": [{"ref": "cases/own.pub"}]},
        "builderId": "https://tekton.dev/chains/v2",
        "maxLevel": 2,
    }
    policy(trust=[entry])
    case("known", key="own.key", expect={"verdict": "VERIFIED"})
    case("missing", key="none.key", expect={"verdict": "VERIFIED"})
    found = judged(capsys)
    assert found["known"]["passed"]
    assert "key file cases/none.key does not exist" in found["missing"]["differences"][0]


def test_another_image_than_the_run_built_has_no_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    policy()
    other = f"registry.example.com/shop/storefront@sha256:{'0' * 64}"
    case(
        image=other, signedAs="hermetic-builder", expect={"verdict": "NOT_FOUND", "reasons": ["no_evidence"]}
    )
    assert judged(capsys)["a"]["passed"]


def test_what_only_a_service_can_prove_is_not_proven(capsys: pytest.CaptureFixture[str]) -> None:
    content = trusted_root(make_keys(), "http://fulcio", "http://rekor", "http://ct", "http://tsa")
    Path("trusted_root.json").write_text(json.dumps(content))
    policy(require={"maxAge": "30d"}, trustedRoot="trusted_root.json")
    case(
        signedAs="hermetic-builder",
        expect={"verdict": "INDETERMINATE", "decision": "deny", "reasons": ["no_verified_time"]},
    )
    assert judged(capsys)["a"]["passed"]


def test_a_run_with_its_pod_proves_hermetic_execution(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.json").unlink()
    Path("run.yaml").write_bytes((ROOT / "examples" / "taskrun-hermetic.yaml").read_bytes())
    assert chains(["payload", "run.yaml"]) == 0
    (statement, *_) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.strip()]
    subject = statement["subject"][0]
    image = f"{subject['name']}@sha256:{subject['digest']['sha256']}"
    policy(require={"hermetic": "enforced"})
    Path("policy.json").write_text(Path("policy.json").read_text().replace("shop/**", "**"))
    case(image=image, run="../run.yaml", signedAs="hermetic-builder", expect={"verdict": "VERIFIED"})
    found = judged(capsys)["a"]
    assert found["passed"], found["differences"]
    assert found["answer"]["hermetic"] == "enforced"


def test_a_pipeline_run_is_attested_with_its_children(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.json").write_bytes((ROOT / "examples" / "pipelinerun.json").read_bytes())
    digest = "sha256:df259229db6185400b28470adfb433f3138d3796813a110ba8e9a875f3e28bb7"
    rules = [
        {"name": "both", "cel": "attestations.exists(a, a.runUid != report.runUid)", "message": "one run"},
        {"name": "by-pipeline", "cel": "provenance.predicate.buildDefinition.externalParameters.runSpec.pipelineRef.resolver == 'git'", "message": "no pipeline"},
    ]  # fmt: skip
    policy(rules=rules)
    case(
        image=f"registry.example.com/shop/storefront@{digest}",
        signedAs="hermetic-builder",
        expect={"verdict": "VERIFIED"},
    )
    found = judged(capsys)["a"]
    assert found["passed"], found["differences"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "expected an object with kind and name"),
        ("not: [", "not YAML"),
        (json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}), "holds no TaskRun"),
        (
            json.dumps({"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "r"}}),
            "not finished",
        ),
    ],
)
def test_a_run_that_cannot_be_attested_fails_its_case_with_the_reason(
    text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    policy()
    Path("run.json").rename("whole.json")
    Path("run.yaml").write_text(text)
    case("broken", run="../run.yaml", signedAs="hermetic-builder", expect={"verdict": "VERIFIED"})
    case("sound", run="../whole.json", signedAs="hermetic-builder", expect={"verdict": "VERIFIED"})
    found = judged(capsys)
    assert told in found["broken"]["differences"][0]
    assert found["sound"]["passed"]


def test_an_unknown_entry_fails_its_case_and_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    policy()
    case(signedAs="typo", expect={"verdict": "VERIFIED"})
    told = judged(capsys)["a"]["differences"]
    assert told == ["signedAs: no trust entry 'typo': known are hermetic-builder, other"]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ({"signedAs": "x", "key": "y"}, "two_signers"),
        ({"signedAs": "x", "run": None}, "no_run"),
        ({"key": "x", "run": None}, "no_run"),
        ({"signedas": "x"}, "unknown_name"),
    ],
)
def test_a_case_that_contradicts_itself_is_told_with_its_place(
    spec: Json, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    policy()
    case(expect={"verdict": "VERIFIED"}, **spec)
    written = json.loads(Path("cases/a.yaml").read_text())
    written["spec"] = {name: value for name, value in written["spec"].items() if value is not None}
    Path("cases/a.yaml").write_text(json.dumps(written))
    assert chains(["policy", "test", "policy.json", "cases"]) == 2
    told = capsys.readouterr().err
    assert f"({code})" in told
    assert "cases/a.yaml:1:" in told


def test_the_junit_report_has_each_case_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    policy()
    hostile = "a \u202e<b>&\x1b"
    case("one", signedAs="hermetic-builder", expect={"verdict": "VERIFIED"})
    case("two", signedAs="other\x1b", expect={"verdict": "VERIFIED"})
    text = Path("cases/two.yaml").read_text().replace('"two"', json.dumps(hostile))
    Path("cases/two.yaml").write_text(text)
    judged(capsys, "--junit", "results.xml")
    tree = ET.fromstring(Path("results.xml").read_bytes())
    assert (tree.get("tests"), tree.get("failures")) == ("2", "1")
    assert [case.get("name") for case in tree] == ["one", "a \\u202e<b>&\\x1b"]


def test_the_key_of_a_test_never_counts_outside_of_its_case() -> None:
    """Two cases, two keys: the policies of one case do not change those of the next."""
    policy()
    case("a", signedAs="hermetic-builder", expect={"verdict": "VERIFIED"})
    case("b", expect={"verdict": "FAILED", "reasons": ["key_unknown"]})
    assert public().keyid
    assert chains(["policy", "test", "policy.json", "cases"]) == 0
