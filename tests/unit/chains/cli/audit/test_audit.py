"""``chains audit`` as a user sees it: the page, each state and reason, forms, hostile text and exit codes."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chains.audit.findings import Why
from chains.audit.ledger.entries import EntryKind, Run, RunEntry
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.stored import record_of
from chains.audit.ledger.writer import LogWriter
from chains.cli.main import run as chains
from chains.statements.statement import LEDGER_DAY, SLSA_V1, parse_statement
from signers.formats.bundle import Bundle
from signers.formats.dsse import Envelope
from signers.keys.keyfile import generate_key, write_key_pair
from storage.open import open_store
from storage.record import BUNDLE_FORMAT, DSSE_FORMAT, IN_TOTO_PAYLOAD_TYPE, Evidence, Origin, Record
from tests.audit_truth import event, pipeline_run, task_run, time_of, uid_of, with_metadata, without
from tests.owners import owned
from tests.unit.chains.audit.ledger.made import ORIGIN, Clock, close_due, sealer_of

Json = Any
ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs" / "audit.md").read_text()
STORE, KEY = ("--store", "oci-layout:.chains/layout"), ("--key", ".chains/signing.pub")
HOSTILE = "=cmd|'/c calc'!A1\x1b[2J\u202e<script>\x00"
Audit = Callable[..., Json]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str]) -> Audit:
    """Run an audit, check its exit code, and return its JSON."""

    def run(code: int, *more: str) -> Json:
        capsys.readouterr()
        assert chains(["audit", *STORE, *KEY, "--output", "json", *more]) == code
        return json.loads(capsys.readouterr().out)

    return run


def write(name: str, *runs: Json) -> str:
    Path(name).write_text(json.dumps({"kind": "List", "apiVersion": "v1", "items": list(runs)}))
    return name


def attest(*runs: Json, config: Json = None) -> None:
    Path("attested-config.json").write_text(
        json.dumps(
            {
                "artifacts.taskrun.format": "slsa/v2alpha4",
                "artifacts.pipelinerun.format": "slsa/v2alpha4",
                "storage.oci.encoding-format": "both",
                **(config or {}),
            }
        )
    )
    assert (
        chains(
            ["attest", write("attested.json", *runs), "--store", STORE[1], "--config", "attested-config.json"]
        )
        == 0
    )


def write_log(*events: Json) -> str:
    Path("audit.log").write_text("".join(json.dumps(one) + "\n" for one in events))
    return "audit.log"


def reasons(found: Json) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["state"], one["reason"]) for one in found["runs"]}


def test_the_page_is_true_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", shell],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "EXAMPLES": str(ROOT / "examples"),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "9 of 9 finished runs have evidence" in told.stdout
    assert "9 of 10 finished runs have evidence" in told.stdout
    assert "1 is missing; coverage 90.0 %." in told.stdout
    (row,) = csv.DictReader((folder / "audit.csv").read_text().splitlines())
    assert (row["state"], row["reason"]) == ("missing", "no_evidence")


def test_the_page_tells_every_option_reason_and_exit_code() -> None:
    from chains.cli.audit.audit import audit as command

    shared = {"store", "key", "kubeconfig", "context", "config", "revocations", "trusted_root"}
    for option in command.params:
        name = option.opts[-1].lstrip("-")
        if option.name not in shared and not name.startswith(
            ("certificate", "revocations", "require", "build")
        ):
            assert f"--{name}" in PAGE, name
    for why in Why:
        assert f"`{why.value}`" in PAGE, why
    for code in "0124":
        assert f"| {code} |" in PAGE


def test_all_runs_with_evidence_are_a_hundred_percent(audit: Audit) -> None:
    attest(task_run(1), task_run(4))
    found = audit(0, "--runs", "attested.json", "--all")
    assert (found["finished"], found["counts"]["evidenced"]) == (2, 2)
    assert found["coverage"] == {"least": 1.0, "most": 1.0, "text": ["100 %", "100 %"]}
    assert {one["reason"] for one in found["runs"]} == {"verified"}
    assert found["undecided"] == []


def test_no_run_proves_nothing(audit: Audit) -> None:
    attest(task_run(1))
    found = audit(4, "--runs", "attested.json", "--from", "2027-01-01T00:00:00Z")
    assert found["coverage"] is None
    assert found["undecided"] == ["no finished run was found, which proves nothing"]
    begun = [
        event("create", without(one, "status"), time_of(1)) for one in (task_run(1), pipeline_run(2, []))
    ]
    assert audit(0, "--audit-log", write_log(*begun))["counts"]["open"] == 2
    # a log of one kind says nothing about the other: its audit policy may leave that out
    for one in begun:
        assert audit(4, "--audit-log", write_log(one))["counts"]["open"] == 1


def test_a_period_has_the_runs_that_ended_in_it(audit: Audit) -> None:
    attest(task_run(1))
    runs = write("runs.json", task_run(1), task_run(2), without(task_run(3), "status"))
    assert audit(0, "--runs", runs, "--to", time_of(2, 9))["counts"]["evidenced"] == 1
    found = audit(1, "--runs", runs, "--from", time_of(2, 9))
    assert reasons(found) == {"run-2": ("missing", "no_evidence")}


def test_a_run_is_skipped_only_if_the_configuration_says_so(audit: Audit) -> None:
    attest(task_run(1))
    marks = {"chains.tekton.dev/signed": "skipped"}
    runs = write(
        "runs.json", task_run(1), with_metadata(task_run(2), annotations=marks, labels={"skip-me": "true"})
    )
    config = {"filter.skip": "skip-me"}
    Path("config.json").write_text(json.dumps(config))
    assert reasons(audit(1, "--runs", runs)) == {"run-2": ("missing", "marked_without_evidence")}
    found = audit(0, "--runs", runs, "--config", "config.json")
    assert reasons(found) == {"run-2": ("skipped", "left_out")}
    assert (found["finished"], found["coverage"]["text"]) == (1, ["100 %", "100 %"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"spec": {"managedBy": "kueue.x-k8s.io/multikueue"}}, "spec.managedBy"),
        ({}, "stores nothing for a TaskRun"),
    ],
    ids=["another-manager", "no-store"],
)
def test_a_run_that_is_not_ours_is_left_out(audit: Audit, change: Json, words: str) -> None:
    Path("config.json").write_text(json.dumps({} if change else {"artifacts.taskrun.storage": ""}))
    attest(task_run(1))
    runs = write("runs.json", {**task_run(2), **change})
    (one,) = audit(4, "--runs", runs, "--config", "config.json")["runs"]
    assert one["reason"] == "left_out"
    assert words in one["words"]


def test_a_run_whose_record_is_gone_is_verified_by_its_uid(audit: Audit) -> None:
    attest(task_run(1))
    gone = event(
        "delete",
        {**task_run(1), "kind": "TaskRun"},
        time_of(1, 30),
        "pruner",
        responseObject={"kind": "Status", "details": {"uid": uid_of(1)}},
    )
    other = event(
        "delete",
        task_run(2),
        time_of(2, 30),
        "pruner",
        responseObject={"kind": "Status", "details": {"uid": uid_of(2)}},
    )
    found = audit(4, "--audit-log", write_log(gone, other), "--all")
    assert reasons(found) == {"run-1": ("evidenced", "verified_by_uid"), "run-2": ("unknown", "end_not_seen")}
    assert found["coverage"]["text"] == ["50.0 %", "100 %"]
    assert "coverage 50.0 % to 100 %" in found["summary"][0]


def test_evidence_that_names_no_run_proves_nothing_about_a_uid(audit: Audit) -> None:
    attest(task_run(1), config={"artifacts.taskrun.format": "slsa/v1"})
    ended = event("update", {**task_run(1), "apiVersion": "tekton.dev/v1beta1"}, time_of(1, 9))
    found = audit(4, "--audit-log", write_log(ended))
    assert reasons(found) == {"run-1": ("unknown", "uid_not_signed")}


def test_a_store_that_cannot_be_searched_by_run_leaves_it_unknown(audit: Audit) -> None:
    ended = event("update", {**task_run(1), "apiVersion": "tekton.dev/v1beta1"}, time_of(1, 9))
    attest(task_run(2))
    found = audit(4, "--audit-log", write_log(ended), "--store", "oci:")
    assert reasons(found) == {"run-1": ("unknown", "store_not_by_run")}
    assert "oci:" in found["runs"][0]["words"]


def test_evidence_of_another_run_that_made_the_same_image_is_not_its_own(audit: Audit) -> None:
    attest(task_run(1))
    twin = with_metadata(task_run(1), name="twin", uid=uid_of(2))
    found = audit(1, "--runs", write("runs.json", task_run(1), twin))
    assert reasons(found) == {"twin": ("missing", "no_evidence")}


def test_a_run_that_was_deleted_before_its_end_needs_no_evidence(audit: Audit) -> None:
    attest(task_run(1))
    begun = without(task_run(2), "status")
    ended, gone = event("update", task_run(1), time_of(1, 9)), event("delete", begun, time_of(2, 3), "jane")
    found = audit(4, "--audit-log", write_log(ended, gone))
    # a mark on another run does not show that ends are logged
    assert reasons(found) == {"run-2": ("unknown", "end_not_seen")}
    ended["objectRef"]["subresource"] = "status"
    found = audit(0, "--audit-log", write_log(ended, gone))
    assert reasons(found) == {"run-2": ("open", "deleted_before_end")}


def test_evidence_of_a_deleted_run_counts_before_its_end_is_asked_for(audit: Audit) -> None:
    attest(task_run(1), task_run(2))
    ended = event("update", task_run(1), time_of(1, 9))
    ended["objectRef"]["subresource"] = "status"
    log = write_log(ended, event("delete", without(task_run(2), "status"), time_of(2, 3), "jane"))
    assert audit(0, "--audit-log", log)["counts"]["evidenced"] == 2
    Path("key").mkdir()
    Path(KEY[1]).rename("key/ours.pub")
    write_key_pair(Path("key/strange.key"), generate_key())
    Path("key/strange.pub").rename(KEY[1])
    assert reasons(audit(1, "--audit-log", log))["run-2"] == ("failed", "evidence_invalid")
    Path(".chains/layout").rename("away")
    assert reasons(audit(4, "--audit-log", log))["run-2"] == ("unknown", "store_unavailable")


def test_an_age_in_the_configuration_leaves_no_run_out(audit: Audit) -> None:
    """Else every missing run would be left out once it is old enough."""
    attest(task_run(1))
    runs = write("runs.json", task_run(1), task_run(2))
    for since, code, expected in (
        ("7d", 1, ("missing", "no_evidence")),
        ("1h", 1, ("missing", "no_evidence")),
        (time_of(2, 9), 1, ("missing", "no_evidence")),
        (time_of(2, 10), 0, ("skipped", "left_out")),
    ):
        Path("config.json").write_text(json.dumps({"backlog.since": since}))
        assert reasons(audit(code, "--runs", runs, "--config", "config.json")) == {"run-2": expected}


def test_no_run_in_a_period_proves_something_only_if_a_source_covers_it(audit: Audit) -> None:
    attest(task_run(1))
    begun = [
        event("create", without(one, "status"), time_of(number))
        for number in (1, 50)
        for one in (task_run(number), pipeline_run(number + 100, []))
    ]
    assert audit(0, "--audit-log", write_log(*begun))["finished"] == 0
    log = write_log(*begun)
    assert audit(0, "--audit-log", log, "--from", time_of(2), "--to", time_of(3))["finished"] == 0
    for period in ((time_of(2), time_of(51)), (time_of(0), time_of(3)), (time_of(51), time_of(52))):
        found = audit(4, "--audit-log", log, "--from", period[0], "--to", period[1])
        assert found["undecided"] == ["no finished run was found, which proves nothing"]
    pods = event("create", task_run(1), time_of(1), objectRef={"resource": "pods", "name": "tekton.dev"})
    assert audit(4, "--audit-log", write_log(pods))["undecided"]


def test_a_child_is_not_left_out_with_its_pipeline_run(audit: Audit) -> None:
    parent = with_metadata(pipeline_run(1, ["child"]), labels={"skip-me": "true"})
    attest(task_run(2))
    runs = write("runs.json", parent)
    Path("config.json").write_text(
        json.dumps({"filter.skip": "skip-me", "artifacts.pipelinerun.storage": ""})
    )
    found = audit(1, "--runs", runs, "--config", "config.json")
    assert reasons(found) == {"pipe-1": ("skipped", "left_out"), "child": ("missing", "child_unknown")}
    Path("config.json").write_text(json.dumps({"artifacts.taskrun.storage": ""}))
    found = audit(1, "--runs", runs, "--config", "config.json")
    assert reasons(found) == {"pipe-1": ("missing", "no_evidence"), "child": ("skipped", "left_out")}


def test_a_record_that_cannot_be_described_is_unattestable(audit: Audit) -> None:
    attest(task_run(1))
    broken = task_run(2)
    broken["spec"]["params"] = "none"
    found = audit(1, "--runs", write("runs.json", broken))
    assert reasons(found) == {"run-2": ("unattestable", "not_describable")}


def test_evidence_of_a_run_that_nobody_knows_is_listed(audit: Audit) -> None:
    attest(task_run(1), task_run(2))
    runs = write("runs.json", task_run(1))
    (stray,) = audit(0, "--runs", runs)["evidenceWithoutRun"]
    assert (stray["runUid"], stray["verdict"], stray["aSourceShouldKnowIt"]) == (uid_of(2), "VERIFIED", False)
    log = write_log(event("update", task_run(1), time_of(0)), event("update", task_run(1), time_of(50)))
    found = audit(4, "--audit-log", log)
    assert found["evidenceWithoutRun"][0]["aSourceShouldKnowIt"]
    assert found["undecided"] == ["evidence of 1 run that a source should know and does not"]


def test_a_day_of_a_ledger_in_the_same_store_is_no_evidence_of_an_unknown_run(audit: Audit) -> None:
    attest(task_run(1))
    log = LogFolder(ROOT / "examples" / "ledger" / "share-0-of-1")
    put(STORE[1], *(record_of(log, date(2026, 3, day)) for day in (2, 3, 4)))
    runs = write("runs.json", task_run(1))
    found = audit(0, "--runs", runs)
    assert found["evidenceWithoutRun"] == []
    assert found["notes"] == [
        "3 signed days of a ledger are in the stores; `chains ledger verify --against STORE` compares them"
    ]
    # and so it is if the ledger's key is trusted, too
    assert audit(0, "--runs", runs, "--key", str(log.path.parent / "ledger.pub"))["evidenceWithoutRun"] == []


def test_evidence_of_a_run_is_not_hidden_by_calling_it_a_day_of_a_ledger(audit: Audit) -> None:
    attest(task_run(1), task_run(2))
    kept = dict(asyncio.run(evidence_of(uid_of(2))))
    envelope = Envelope.from_bytes(kept["dsse"])
    disguised = Record(
        Origin("ledger", "share-0-of-1", "2026-03-02", uid_of(2)),
        (),
        envelope.payload,
        IN_TOTO_PAYLOAD_TYPE,
        LEDGER_DAY,
        kept["bundle-v0.3"],
        kept["dsse"],
        created="2026-03-02T23:59:59Z",
    )
    put("file:disguised", disguised)
    runs = write("runs.json", task_run(1))
    found = audit(0, "--runs", runs, "--store", "file:disguised")
    assert [(one["runUid"], one["verdict"]) for one in found["evidenceWithoutRun"]] == [
        (uid_of(2), "VERIFIED")
    ]
    assert found["notes"] == []
    Path(".chains/layout").rename("away")
    told = audit(4, "--runs", runs, "--store", "file:disguised")["evidenceWithoutRun"]
    assert [(one["run"], one["runUid"], one["verdict"]) for one in told] == [
        ("ledger/share-0-of-1/2026-03-02", uid_of(2), "VERIFIED")
    ]


def put(url: str, *records: Record) -> None:
    """Store records as the controller does."""

    async def work() -> None:
        async with open_store(url) as store:
            for one in records:
                assert not (await store.put(one)).failures

    asyncio.run(work())


async def evidence_of(uid: str) -> list[tuple[str, bytes]]:
    """Return the provenance of a run in the layout, each form with its bytes."""
    async with open_store(STORE[1]) as store:
        found = (await store.find_run(uid)).evidence
    return [(one.format, one.data) for one in found if is_provenance(one)]


def is_provenance(one: Evidence) -> bool:
    if one.format not in {BUNDLE_FORMAT, DSSE_FORMAT}:
        return False
    envelope = Bundle.from_bytes(one.data).envelope if one.is_bundle else Envelope.from_bytes(one.data)
    return parse_statement(envelope.payload).predicate_type == SLSA_V1


def test_a_child_of_which_only_evidence_under_its_name_is_left_is_unknown(audit: Audit) -> None:
    parent = pipeline_run(1, ["child"])
    child = with_metadata(
        task_run(2), name="child", namespace="team-1", ownerReferences=owned(uid_of(1), "pipe-1")
    )
    attest(parent, child)
    found = audit(4, "--runs", write("runs.json", parent), "--all")
    assert reasons(found) == {
        "pipe-1": ("evidenced", "verified_by_uid"),
        "child": ("unknown", "child_by_name"),
    }
    assert found["evidenceWithoutRun"] == []


def test_two_sources_that_contradict_each_other_are_shown_both(audit: Audit) -> None:
    attest(task_run(1), task_run(2))
    failed = task_run(1)
    failed["status"]["conditions"][0]["status"] = "False"
    log = write_log(event("update", failed, time_of(0)), event("update", failed, time_of(60)))
    found = audit(0, "--runs", "attested.json", "--audit-log", log)
    said = {
        (one["run"].rpartition("/")[2], one["what"]): [side["says"] for side in one["sides"]]
        for one in found["differences"]
    }
    assert said == {
        ("run-1", "outcome"): ["True", "False"],
        ("run-2", "run"): [f"finished {time_of(2, 9)}", "not known"],
    }


def test_what_could_not_be_read_keeps_the_answer_from_being_whole(audit: Audit) -> None:
    attest(task_run(1))
    Path("broken.json").write_text("{")
    found = audit(4, "--runs", "attested.json", "--runs", "broken.json")
    assert found["coverage"]["text"] == ["100 %", "100 %"]
    assert found["undecided"] == ["1 part of the sources could not be read"]


def test_images_in_use_without_a_known_run_are_named(audit: Audit) -> None:
    attest(task_run(1), task_run(2))
    known, unknown, nobody = (f"registry.example/app@sha256:{number + 1:064x}" for number in (1, 2, 7))
    containers = [
        {"name": f"c{place}", "image": image}
        for place, image in enumerate((known, unknown, nobody, "registry.example/app:latest"))
    ]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "prod"},
        "spec": {"containers": containers},
    }
    Path("pod.json").write_text(json.dumps(pod))
    runs = write("runs.json", task_run(1))
    assert audit(0, "--runs", runs)["imagesWithoutRun"] == []
    found = audit(1, "--runs", runs, "--images", "pod.json")
    assert {one["image"]: one["reason"] for one in found["imagesWithoutRun"]} == {
        unknown: "run_unknown", nobody: "no_evidence", "registry.example/app:latest": "tag",
    }  # fmt: skip
    assert found["imagesAsked"] == 4
    assert {tuple(one["where"]) for one in found["imagesWithoutRun"]} == {("Pod/prod/p",)}
    Path("broken.json").write_text("{")
    assert audit(4, "--runs", runs, "--images", "broken.json")["problems"]


def test_a_policy_is_asked_about_the_images_of_a_run(audit: Audit) -> None:
    attest(task_run(1), task_run(4))
    trust = {
        "name": "ours",
        "signer": {"keys": [{"ref": ".chains/signing.pub"}]},
        "builderId": "https://tekton.dev/chains/v2",
        "maxLevel": 3,
    }

    def policy(**require: Json) -> str:
        spec = {"match": {"images": ["registry.example/**"]}, "trust": [trust]} | (
            {"require": require} if require else {}
        )
        head = {"apiVersion": "provenance.chains/v1", "kind": "Policy", "metadata": {"name": "p"}}
        Path("policy.yaml").write_text(json.dumps(head | {"spec": spec}))
        return "policy.yaml"

    assert audit(0, "--runs", "attested.json", "--policy", policy())["counts"]["evidenced"] == 2
    found = audit(
        1, "--runs", "attested.json", "--policy", policy(sources=["git+https://git.example.com/other"])
    )
    # the second run failed and made no image, so no policy is for it
    assert reasons(found) == {"run-1": ("failed", "policy_refused")}


def test_a_signed_day_of_the_ledger_says_that_a_run_was_left_out(audit: Audit, tmp_path: Path) -> None:
    attest(task_run(1))
    clock, sealer = Clock(datetime(2026, 10, 1, tzinfo=UTC)), sealer_of(tmp_path)
    Path("ledger.pub").write_bytes(sealer.signer.public_pem)
    writer = LogWriter(tmp_path / "ledger", ORIGIN, clock)
    run = Run("TaskRun", "team-2", "run-2", uid_of(2))
    entries = [
        RunEntry(clock.now, EntryKind.SEEN, run, created=time_of(2)),
        RunEntry(clock.now, EntryKind.FINISHED, run, completed=time_of(2, 9), succeeded=True),
        RunEntry(clock.now, EntryKind.SKIPPED, run, reason="left out: the run carries skip-me"),
    ]
    assert not any(writer.append(entries))
    words = ("--runs", "attested.json", "--ledger", "ledger", "--ledger-key", "ledger.pub")
    # the day is not signed yet, so that anybody may have written the entry
    assert reasons(audit(1, *words)) == {"run-2": ("missing", "no_evidence")}
    clock.move(days=1)
    assert close_due(writer, sealer, clock.now)
    writer.close()
    # nobody wrote the ledger since then
    (gap,) = audit(4, *words)["gaps"]
    assert (gap["from"], gap["source"]) == ("2026-10-02T00:00:00.000000Z", "ledger (ledger)")
    (one,) = audit(0, *words, "--to", "2026-10-01T23:00:00Z")["runs"]
    assert (one["state"], one["reason"]) == ("skipped", "left_out_then")
    assert "the run carries skip-me" in one["words"]


def test_a_run_is_in_the_period_if_any_source_says_that_it_ended_there(audit: Audit) -> None:
    attest(task_run(1))
    moved = task_run(2)
    moved["status"]["completionTime"] = "2026-09-01T00:00:00Z"
    words = ("--runs", write("moved.json", moved), "--runs", write("kept.json", task_run(1), task_run(2)))
    period = ("--from", "2026-10-01T00:00:00Z", "--to", "2026-10-02T00:00:00Z")
    found = audit(1, *words, *period)
    assert (found["finished"], found["counts"]["missing"]) == (2, 1)
    assert reasons(found) == {"run-2": ("missing", "no_evidence")}
    assert len(found["differences"]) == 1
    # of a period in which no source has its end, it is no run
    assert audit(4, *words, "--to", "2026-08-01T00:00:00Z")["finished"] == 0


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (EntryKind.EVIDENCED, ("missing", "evidence_gone")),
        (EntryKind.FAILED, ("failed", "attesting_failed")),
    ],
)
def test_a_label_that_came_later_leaves_out_no_run_that_the_ledger_says_was_attested(
    kind: EntryKind, expected: tuple[str, str], audit: Audit, tmp_path: Path
) -> None:
    attest(task_run(1))
    clock, sealer = Clock(datetime(2026, 10, 1, tzinfo=UTC)), sealer_of(tmp_path)
    Path("ledger.pub").write_bytes(sealer.signer.public_pem)
    writer = LogWriter(tmp_path / "ledger", ORIGIN, clock)
    run = Run("TaskRun", "team-2", "run-2", uid_of(2))
    entries = [
        RunEntry(clock.now, EntryKind.SEEN, run, created=time_of(2)),
        RunEntry(clock.now, EntryKind.FINISHED, run, completed=time_of(2, 9), succeeded=True),
        RunEntry(clock.now, kind, run),
    ]
    assert not any(writer.append(entries))
    clock.move(days=1)
    assert close_due(writer, sealer, clock.now)
    writer.close()
    Path("config.json").write_text(json.dumps({"filter.skip": "example.com/skip"}))
    labelled = write("labelled.json", with_metadata(task_run(2), labels={"example.com/skip": "true"}))
    words = ("--runs", labelled, "--config", "config.json")
    assert reasons(audit(4, *words)) == {"run-2": ("skipped", "left_out")}
    words = (*words, "--ledger", "ledger", "--ledger-key", "ledger.pub", "--to", "2026-10-01T23:00:00Z")
    assert reasons(audit(1, *words)) == {"run-2": expected}


def test_metrics_that_cannot_be_written_name_their_file_after_the_answer(
    audit: Audit, capsys: pytest.CaptureFixture[str]
) -> None:
    attest(task_run(1))
    words = ["audit", *STORE, *KEY, "--runs", "attested.json", "--metrics-file", "nowhere/audit.prom"]
    capsys.readouterr()
    assert chains(words) == 1
    told = capsys.readouterr()
    assert "1 of 1 finished run" in told.out
    assert "nowhere/audit.prom: No such file or directory" in told.err


def test_the_reason_of_a_run_is_told_once(audit: Audit, capsys: pytest.CaptureFixture[str]) -> None:
    attest(task_run(1))
    capsys.readouterr()
    assert chains(["audit", "--store", "oci-layout:nowhere", *KEY, "--runs", "attested.json"]) == 4
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("unknown")]
    assert line.endswith("  store_unavailable: oci-layout:nowhere: nowhere is not an OCI image layout")


def test_metrics_come_from_the_audit_and_not_from_marks(audit: Audit) -> None:
    attest(task_run(1), task_run(4))
    marked = with_metadata(task_run(2), annotations={"chains.tekton.dev/signed": "true"})
    late = with_metadata(task_run(9), namespace='a"b\\c\n')
    audit(
        1,
        "--runs",
        write("runs.json", task_run(1), task_run(4), marked, late),
        "--metrics-file",
        "audit.prom",
    )
    found = {
        (family.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(Path("audit.prom").read_text())
        for sample in family.samples
    }
    end = datetime.fromisoformat(time_of(2, 9)).timestamp()
    assert found.pop(("chains_audit_timestamp_seconds",)) > end
    assert found == {
        ("chains_audit_runs", ("namespace", "team-1"), ("state", "evidenced")): 1,
        ("chains_audit_runs", ("namespace", "team-4"), ("state", "evidenced")): 1,
        ("chains_audit_runs", ("namespace", "team-2"), ("state", "missing")): 1,
        ("chains_audit_runs", ("namespace", 'a"b\\c\\n'), ("state", "missing")): 1,
        ("chains_audit_coverage_ratio", ("bound", "least")): 0.5,
        ("chains_audit_coverage_ratio", ("bound", "most")): 0.5,
        ("chains_audit_oldest_unproven_timestamp_seconds",): end,
        ("chains_audit_gaps",): 0,
        ("chains_audit_exit_code",): 1,
    }
    assert [
        path.name for path in Path().iterdir() if path.name.startswith(".") and path.name != ".chains"
    ] == []


def test_hostile_text_is_escaped_in_each_form(capsys: pytest.CaptureFixture[str]) -> None:
    attest(task_run(1))
    told = json.dumps({"uid": uid_of(2), "reason": HOSTILE})
    marks = {"chains.tekton.dev/signed": "failed", "chains.tekton.dev/outcome": told}
    log = write_log(
        event(
            "update",
            with_metadata(task_run(2), annotations=marks, namespace=HOSTILE, name=HOSTILE),
            time_of(2, 9),
            HOSTILE,
        )
    )
    for form in ("text", "json", "csv", "junit"):
        capsys.readouterr()
        assert chains(["audit", *STORE, *KEY, "--audit-log", log, "--output", form]) == 1
        written = capsys.readouterr().out
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e]", written), form
        assert "cmd|" in written
        if form == "junit":
            assert len(ET.fromstring(written)) == 1
        if form == "csv":
            (row,) = csv.DictReader(io.StringIO(written))
            assert all(not (cell or "").startswith(("=", "+", "-", "@", "|")) for cell in row.values())


def test_junit_has_a_case_for_each_run_and_for_what_is_not_decided(
    capsys: pytest.CaptureFixture[str],
) -> None:
    attest(task_run(1))
    Path("broken.json").write_text("{")
    runs = write("runs.json", task_run(1), task_run(2))
    capsys.readouterr()
    assert chains(["audit", *STORE, *KEY, "--runs", runs, "--runs", "broken.json", "--output", "junit"]) == 1
    suite = ET.fromstring(capsys.readouterr().out)
    assert suite.attrib == {
        "name": "chains audit",
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
    }
    assert sorted(child.tag for case in suite for child in case) == ["error", "failure"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((*STORE, *KEY), "no source of runs"),
        (("--runs", "../x.json", *KEY), "no store to look for evidence in"),
        (("--runs", "x.json", *STORE), "nobody to trust"),
        ((*STORE, *KEY, "--runs", "x.json", "--from", "2d", "--to", "3d"), "--from is not before --to"),
        ((*STORE, *KEY, "--runs", "x.json", "--from", "soon"), "--from: 'soon' is no time"),
        ((*STORE, *KEY, "--runs", "x.json", "--at-once", "0"), "--at-once"),
        ((*STORE, *KEY, "--runs", "x.json", "--counters", "nowhere"), "--counters: nowhere"),
        ((*STORE, *KEY, "--audit-log", "nowhere"), "--audit-log: nowhere: no such file"),
        ((*STORE, *KEY, "--runs", "attested.json", "--runs", "nowhere"), "--runs: nowhere: no such file"),
        ((*STORE, *KEY, "--tekton-results", "nowhere"), "--tekton-results: nowhere: no such file"),
        (
            (*STORE, *KEY, "--ledger", "nowhere", "--ledger-key", KEY[1]),
            "--ledger: nowhere: no such file or folder",
        ),
        ((*STORE, *KEY, "--runs", "attested.json", "--images", "nowhere"), "--images: nowhere: no such file"),
        ((*STORE, *KEY, "--ledger", "nowhere"), "--ledger needs --ledger-key"),
        ((*STORE, *KEY, "--runs", "x.json", "--ledger-key", "x"), "--ledger-key belongs to --ledger"),
        ((*STORE, *KEY, "--runs", "x.json", "what"), "'what' is no command"),
        ((*STORE, *KEY, "--runs", "--store"), "--runs has no value"),
    ],
)
def test_wrong_usage_is_told(words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    attest(task_run(1))
    capsys.readouterr()
    assert chains(["audit", *words]) == 2
    assert told in capsys.readouterr().err


def test_the_runs_of_this_folder_are_compared_with_its_own_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = write("own.json", task_run(1))
    assert chains(["attest", run]) == 0
    capsys.readouterr()
    for words in (["--runs", run], ["--runs", "."]):
        assert chains(["audit", *words]) == 0
        shown = capsys.readouterr()
        assert "1 of 1 finished run" in shown.out
        assert "looking in oci-layout:.chains/layout" in shown.err
        assert "trusting .chains/signing.pub" in shown.err
    # runs from elsewhere may not be vouched for by a key that lies in this folder
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "own.json").write_bytes(Path(run).read_bytes())
    below = tmp_path / "below"
    below.mkdir()
    Path(".chains").rename(below / ".chains")
    monkeypatch.chdir(below)
    assert chains(["audit", "--runs", str(elsewhere / "own.json")]) == 2
    assert "no store to look for evidence in" in capsys.readouterr().err
    assert (
        chains(["audit", "--runs", str(elsewhere / "own.json"), "--store", "oci-layout:.chains/layout"]) == 2
    )
    assert "nobody to trust" in capsys.readouterr().err


def test_hidden_folders_below_a_folder_of_runs_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    write("own.json", task_run(1))
    Path(".hidden").mkdir()
    write(".hidden/other.json", task_run(2))
    for _ in range(2):  # the second time, .chains/ is there
        assert chains(["attest", "."]) == 0
        assert "1 run: 1 signed" in capsys.readouterr().out
    assert chains(["audit", "--runs", "."]) == 0
    assert "1 of 1 finished run" in capsys.readouterr().out
    assert chains(["audit", "--runs", ".hidden"]) == 1


@pytest.mark.parametrize("order", [("own.json", "copy.json"), ("copy.json", "own.json")], ids="-".join)
@pytest.mark.parametrize("change", [{"name": "other"}, {"namespace": "victim"}], ids=str)
def test_a_run_cannot_hide_behind_the_uid_of_another(
    order: tuple[str, str], change: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = task_run(1)
    assert chains(["attest", write("own.json", run)]) == 0
    write("copy.json", {**run, "metadata": {**run["metadata"], **change}})
    capsys.readouterr()
    code = chains(["audit", "--runs", order[0], "--runs", order[1], "--output", "json"])
    found = json.loads(capsys.readouterr().out)
    # what was read first is judged; the other one leaves the answer open
    assert code == (4 if order[0] == "own.json" else 1)
    (judged,) = found["runs"] or [{"state": "evidenced"}]
    assert judged["state"] == ("evidenced" if order[0] == "own.json" else "failed")
    ((problem,),) = [one["problems"] for one in found["sources"]]
    assert f"has the UID {run['metadata']['uid']} of " in problem
    assert "victim" in problem or "other" in problem
