"""Whose run it was: any task can name any artifact as its own, so the run itself has to be asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.errors import UsageError
from chains.statements.statement import STATEMENT_V1
from chains.verify.render import to_text
from chains.verify.verdict import Verdict, Verification
from chains.verify.wanted_run import ReferenceWanted, SourceWanted, namespace_wanted
from storage.record import Evidence
from tests.faults.verify.forge import (
    HEX,
    OTHER,
    ask,
    criteria,
    form_a,
    form_b,
    old_provenance,
    provenance,
    public,
    reasons,
    signer,
    subject,
)

Json = Any
SCAI = "https://in-toto.io/attestation/scai/v0.3"
SHA1, OTHER_SHA1 = "6" * 40, "7" * 40
GIT, PATH = "git+https://git.example.com/catalog.git", "tasks/build.yaml"
SOURCE, COMMIT = "git+https://git.example.com/shop.git", "a" * 40


def run_of(uid: str = "uid-1", *, kind: str = "task", resolver: str = "git", digest: str = SHA1, path: str = PATH, source: str = SOURCE, value: str = HEX) -> Json:  # fmt: skip
    made = provenance(subject(value), uid=uid)
    made["predicate"]["buildDefinition"] |= {
        "externalParameters": {
            "runSpec": {f"{kind}Ref": {"resolver": resolver}},
            "buildConfigSource": {"ref": f"sha1:{digest}", "repository": GIT, "path": path},
        },
        "resolvedDependencies": [
            {"name": kind, "uri": GIT, "digest": {"sha1": digest}},
            {"uri": "oci://registry.example.com/tool", "digest": {"sha256": "1" * 64}},
            {"name": "inputs/result", "uri": source, "digest": {"sha1": COMMIT}},
        ],
    }
    return made


def report_of(
    uid: str = "uid-1", *, namespace: str = "ci", level: str = "enforced", value: str = HEX
) -> Json:
    target = {"name": f"taskrun/{namespace}/build", "digest": {"sha256": "2" * 64}}
    told = [
        {"attribute": "RUN_OUTCOME", "target": target, "conditions": {"uid": uid}},
        {"attribute": "HERMETIC_LEVEL", "target": target, "conditions": {"level": level}},
    ]
    return {"_type": STATEMENT_V1, "subject": [subject(value)], "predicateType": SCAI, "predicate": {"attributes": told}}  # fmt: skip


def asked(*held: Evidence, **by: Json) -> Verification:
    return ask(*held, by=criteria(**by))


def check(found: Verification, name: str) -> tuple[str, str, str]:
    (one,) = [each for each in found.checks if each.id == name]
    return one.result.value, one.reason.value if one.reason else "", one.actual


STRANGER = (form_b(run_of("uid-2")), form_b(report_of("uid-2", namespace="tenant")))
OWN = (form_b(run_of()), form_b(report_of()))
HERMETIC_CI = {"require_hermetic": True, "namespace": "ci"}


def test_a_hermetic_run_of_another_namespace_that_echoes_the_digest_is_no_proof() -> None:
    assert asked(*STRANGER, require_hermetic=True, builder_id=None).verdict is Verdict.VERIFIED
    found = asked(*STRANGER, **HERMETIC_CI)
    assert found.verdict is Verdict.FAILED
    assert check(found, "namespace") == ("fail", "namespace_mismatch", "tenant")
    found = asked(*OWN, *STRANGER, **HERMETIC_CI)
    assert found.verdict is Verdict.VERIFIED
    assert [each.run_uid for each in found.attestations if each.used] == ["uid-1", "uid-1"]
    assert check(found, "namespace") == ("pass", "", "a run in namespace ci")


def test_one_runs_namespace_never_vouches_for_anothers_hermetic_level() -> None:
    weak = (form_b(run_of()), form_b(report_of(level="partly")))
    found = asked(*weak, *STRANGER, **HERMETIC_CI)
    assert found.verdict is Verdict.FAILED
    assert check(found, "hermetic") == ("fail", "hermetic_not_proven", "level partly")
    # nor two reports that call themselves the same run: one report has to show all of it
    split = (form_b(run_of()), form_b(report_of(level="partly")), form_b(report_of(namespace="tenant")))
    assert asked(*split, **HERMETIC_CI).verdict is Verdict.FAILED


def test_report_and_provenance_are_of_one_signer() -> None:
    keys = [public(), public("other")]
    held = (form_b(run_of()), form_b(report_of(), signer("other")))
    for by in ({"require_hermetic": True}, HERMETIC_CI, {"namespace": "ci"}):
        found = asked(*held, keys=keys, **by)
        assert found.verdict is Verdict.FAILED
        (told,) = {one.actual for one in found.checks if one.id in {"namespace", "hermetic"} and one.result == "fail"}  # fmt: skip
        assert told == "a report by another signer than the provenance's"
    both = (form_b(run_of(), signer("other")), form_b(report_of(), signer("other")))
    assert asked(*both, keys=keys, **HERMETIC_CI).verdict is Verdict.VERIFIED


def test_a_report_about_another_artifact_ties_nothing() -> None:
    found = asked(form_b(run_of()), form_b(report_of(value=OTHER)), **HERMETIC_CI)
    assert found.verdict is Verdict.FAILED
    assert check(found, "namespace")[:2] == ("fail", "namespace_mismatch")


@pytest.mark.parametrize("names", [("taskrun/ci/build", "taskrun/other/build"), ("ci", "ci"), ("pod/ci/x", "pod/ci/x"), ("taskrun/ci/a/b", "taskrun/ci/a/b"), ("", "")])  # fmt: skip
def test_a_report_that_does_not_name_one_run_is_of_no_namespace(names: tuple[str, str]) -> None:
    told = report_of()
    for attribute, name in zip(told["predicate"]["attributes"], names, strict=True):
        attribute["target"] = {"name": name}
    found = asked(form_b(run_of()), form_b(told), **HERMETIC_CI)
    assert check(found, "namespace") == ("fail", "namespace_mismatch", "no namespace")


def test_provenance_that_tells_no_run_stands_where_only_the_namespace_is_asked_and_says_so() -> None:
    held = (form_b(old_provenance()), form_b(report_of()))
    found = asked(*held, namespace="ci")
    assert found.verdict is Verdict.VERIFIED
    assert check(found, "namespace")[:2] == ("skip", "not_compared")
    assert "namespace: not compared" in found.summary
    assert asked(*held, **HERMETIC_CI).verdict is Verdict.FAILED
    # what tells its run is held to it
    assert asked(form_b(run_of()), namespace="ci").verdict is Verdict.FAILED
    assert asked(form_b(run_of()), form_b(old_provenance()), namespace="ci").verdict is Verdict.VERIFIED


REF = f"git@sha1:{SHA1}"


@pytest.mark.parametrize("kind", ["task", "pipeline"])
@pytest.mark.parametrize(
    ("wanted", "made", "verdict"),
    [
        (REF, {}, Verdict.VERIFIED),
        (f"{REF}#{PATH}", {}, Verdict.VERIFIED),
        (f"{REF}#tasks/other.yaml", {}, Verdict.FAILED),
        (f"git@sha1:{OTHER_SHA1}", {}, Verdict.FAILED),
        (f"bundles@sha1:{SHA1}", {}, Verdict.FAILED),
        (REF, {"resolver": ""}, Verdict.FAILED),
        (REF, {"digest": OTHER_SHA1}, Verdict.FAILED),
    ],
)
def test_a_task_or_pipeline_is_known_by_its_resolver_and_digest(
    kind: str, wanted: str, made: Json, verdict: Verdict
) -> None:
    by = {f"{kind}_ref": ReferenceWanted.from_option(wanted, "--x-ref"), "require_hermetic": True}
    found = asked(form_b(run_of(kind=kind, **made)), form_b(report_of()), **by)
    assert found.verdict is verdict
    assert found.to_json()["criteria"][f"{kind}Ref"] == wanted
    if verdict is Verdict.FAILED:
        assert f"{kind}_ref_mismatch" in reasons(found)
    # a run of the other kind has no such reference
    other = "pipeline" if kind == "task" else "task"
    assert asked(form_b(run_of(kind=other)), form_b(report_of()), **by).verdict is Verdict.FAILED


def test_references_of_other_builders_old_statements_and_doubled_ones_count_for_nothing() -> None:
    by = {"task_ref": ReferenceWanted.from_option(REF, "--task-ref")}
    foreign, doubled = run_of(), run_of()
    foreign["predicate"]["buildDefinition"]["buildType"] = "urn:other"
    listed = doubled["predicate"]["buildDefinition"]["resolvedDependencies"]
    listed.append(dict(listed[0], digest={"sha1": OTHER_SHA1}))
    for made in (foreign, doubled, old_provenance(), provenance()):
        found = asked(form_b(made), **by)
        assert found.verdict is Verdict.FAILED
        assert check(found, "task-ref") == ("fail", "task_ref_mismatch", "no task that a resolver brought")


@pytest.mark.parametrize(
    ("wanted", "verdict"),
    [
        (SOURCE, Verdict.VERIFIED),
        ("https://git.example.com/shop", Verdict.VERIFIED),
        (f"{SOURCE}@sha1:{COMMIT}", Verdict.VERIFIED),
        (f"{SOURCE}@sha1:{OTHER_SHA1}", Verdict.FAILED),
        ("https://git.example.com/other", Verdict.FAILED),
        (GIT, Verdict.FAILED),
        ("oci://registry.example.com/tool", Verdict.FAILED),
    ],
)
def test_a_source_is_one_of_the_inputs_that_the_task_names(wanted: str, verdict: Verdict) -> None:
    found = asked(form_b(run_of()), source=SourceWanted.from_option(wanted, "--source"))
    assert found.verdict is verdict
    assert ("source_mismatch" in reasons(found)) == (verdict is Verdict.FAILED)
    old = old_provenance()
    old["predicate"]["materials"] = [{"uri": SOURCE, "digest": {"sha1": COMMIT}}]
    if verdict is Verdict.VERIFIED:
        assert asked(form_a(old), source=SourceWanted.from_option(wanted, "--source")).verdict is verdict


def test_the_verdicts_line_says_what_of_the_run_was_not_compared() -> None:
    found = asked(*OWN, **HERMETIC_CI)
    assert found.summary.endswith("; of the run not compared: task or pipeline reference, builder, source")
    by_source = {"require_hermetic": True, "source": SourceWanted.from_option(SOURCE, "--source")}
    assert asked(*OWN, **by_source).summary.endswith(
        "; of the run not compared: namespace, task or pipeline reference, builder "
        "(artifact and source are the word of the task that ran)"
    )
    text = to_text(asked(*OWN, **HERMETIC_CI), verbose=True)
    assert "  namespace       ci\n" in text


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (ReferenceWanted.from_option, "git"),
        (ReferenceWanted.from_option, f"@sha1:{SHA1}"),
        (ReferenceWanted.from_option, "git@sha1:abc"),
        (ReferenceWanted.from_option, f"git@md5:{'0' * 32}"),
        (ReferenceWanted.from_option, f"git@sha1:{'A' * 40}"),
        (ReferenceWanted.from_option, ""),
        (SourceWanted.from_option, ""),
        (SourceWanted.from_option, f"@sha1:{SHA1}"),
        (SourceWanted.from_option, "https://x@sha1:abc"),
        (namespace_wanted, ""),
        (namespace_wanted, "a/b"),
        (namespace_wanted, "CI"),
    ],
)
def test_what_cannot_be_compared_is_wrong_usage(read: Any, text: str) -> None:
    with pytest.raises(UsageError, match="--option"):
        read(text, "--option")


def test_a_source_may_have_a_user_in_it() -> None:
    assert SourceWanted.from_option("ssh://git@host/x.git", "-") == SourceWanted("ssh://git@host/x.git")


TARGET = f"sha256:{HEX}"
DEMANDS = [
    ("--namespace", "ci"), ("--task-ref", REF), ("--pipeline-ref", REF), ("--source", SOURCE), ("--builder-id", "urn:b"),
]  # fmt: skip


def test_hermetic_is_refused_for_an_artifact_unless_the_run_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert chains(["keys", "generate", "k.key"]) == 0
    Path("none").mkdir()
    common = ["--key", "k.pub", "--store", "file:none", "--output", "json"]
    for target in (TARGET, f"registry.example.com/app@{TARGET}"):
        capsys.readouterr()
        assert chains(["verify", target, "--require", "hermetic", *common]) == 2
        told = capsys.readouterr()
        for option in ("--namespace", "--task-ref", "--pipeline-ref", "--source", "--builder-id"):
            assert option in told.err
    for option, value in DEMANDS:
        capsys.readouterr()
        assert chains(["verify", TARGET, "--require", "hermetic", option, value, *common]) == 3
        by_option = json.loads(capsys.readouterr().out)["criteria"]
        monkeypatch.setenv("CHAINS" + option[1:].replace("-", "_").upper(), value)
        assert chains(["verify", TARGET, "--require", "hermetic", *common]) == 3
        assert json.loads(capsys.readouterr().out)["criteria"] == by_option
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        name = {"--task-ref": "taskRef", "--pipeline-ref": "pipelineRef", "--builder-id": "builderId"}
        assert by_option[name.get(option, option[2:])] == value


def test_an_empty_or_broken_demand_is_refused_and_never_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert chains(["keys", "generate", "k.key"]) == 0
    for option in ("--namespace", "--task-ref", "--pipeline-ref", "--source"):
        capsys.readouterr()
        assert chains(["verify", TARGET, option, "", "--key", "k.pub", "--store", "file:none"]) == 2
        assert option in capsys.readouterr().err
