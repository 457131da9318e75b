"""``chains retention check`` and the page: what is told of stores without locks, in every form."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from chains.audit.ledger.entries import EntryKind, Receipt, Run, RunEntry
from chains.audit.ledger.writer import LogWriter
from chains.audit.retention.format import LockWanted, Outcome, Start
from chains.audit.retention.judge import Code, State
from chains.cli.main import run as chains
from tests.audit_truth import task_run, uid_of
from tests.unit.chains.audit.ledger.made import ORIGIN, Clock, close_due, sealer_of
from tests.unit.chains.cli.test_revocation_page import run_shell

Json = Any
ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs" / "retention.md").read_text()
HOSTILE = "=cmd|'/c calc'!A1\x1b[2J\u202e<script>"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert chains(["keys", "generate", "e.key"]) == 0


def attest(store: str, *numbers: int) -> None:
    runs = json.loads(json.dumps([task_run(number) for number in numbers]).replace("2026-10", "2020-10"))
    Path("runs.json").write_text(json.dumps(runs))
    assert chains(["attest", "runs.json", "--store", store, "--key", "e.key"]) == 0


def write_rules(classes: Json = None, holds: Json = None) -> None:
    spec = {"classes": classes or [one_class()], **({"holds": holds} if holds else {})}
    document = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Retention",
        "metadata": {"name": "e"},
        "spec": spec,
    }
    Path("rules.yaml").write_text(json.dumps(document))


def one_class(**more: Json) -> Json:
    return {"name": "all", "match": {}, "keep": "36500d", "reason": "rule 7", **more}


def check(capsys: pytest.CaptureFixture[str], code: int, *more: str, form: str = "json") -> str:
    capsys.readouterr()
    words = ["retention", "check", "--rules", "rules.yaml", "--key", "e.pub", "--output", form, *more]
    assert chains(words) == code, capsys.readouterr().err
    return capsys.readouterr().out


def test_the_page_is_true_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    told = run_shell(shell, tmp_path)
    assert told.returncode == 0, told.stderr + told.stdout
    assert "rules.yaml: 0 errors, 0 warnings" in told.stdout
    assert "disposed" in told.stdout


def test_the_page_has_a_row_for_every_state_code_and_word_of_the_file() -> None:
    named = set(re.findall(r"`([a-z_-]+)`", PAGE))
    assert {one.value for kind in (State, Code, Start, LockWanted, Outcome) for one in kind} - named == set()


@pytest.mark.parametrize("store", ["file:store", "oci-layout:store"])
def test_a_folder_has_no_locks_and_says_so(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    attest(store, 1)
    write_rules()
    found = json.loads(check(capsys, 0, "--store", store))
    assert (found["states"]["keep"], found["pieces"]) == (6, [])
    assert found["stores"][0]["lock"] == "none"
    write_rules([one_class(lock="governance")])
    found = json.loads(check(capsys, 1, "--store", store))
    assert {one["problems"][0]["code"] for one in found["pieces"]} == {"lock_missing"}
    assert {one["lock"]["state"] for one in found["pieces"]} == {"none"}


def test_a_store_that_does_not_answer_and_an_empty_one_prove_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_rules()
    found = json.loads(check(capsys, 4, "--store", "oci://127.0.0.1:1/nowhere"))
    assert "cannot be read whole" in found["problems"][0]
    Path("empty").mkdir()
    assert json.loads(check(capsys, 3, "--store", "file:empty"))["pieces"] == []


def test_strangers_evidence_and_evidence_of_no_class_is_undecided(capsys: pytest.CaptureFixture[str]) -> None:
    attest("file:store", 1)
    assert chains(["keys", "generate", "x.key"]) == 0
    write_rules()
    words = ["retention", "check", "--rules", "rules.yaml", "--key", "x.pub", "--store", "file:store"]
    capsys.readouterr()
    assert chains([*words, "--output", "json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["codes"]["not_verified"] == found["states"]["undecided"] == 6
    write_rules([one_class(match={"namespaces": ["elsewhere"]})])
    assert json.loads(check(capsys, 4, "--store", "file:store"))["codes"]["unclassified"] == 6
    # a file does not say when it was stored
    write_rules([one_class(**{"from": ["stored"]})])
    assert json.loads(check(capsys, 4, "--store", "file:store"))["codes"]["time_unknown"] == 6


def test_classes_see_outcome_image_namespace_and_type(capsys: pytest.CaptureFixture[str]) -> None:
    attest("oci-layout:store", 1, 4)  # the fourth run failed, and has no image
    classes = [
        one_class(),
        one_class(name="images", match={"images": ["registry.example/*"]}),
        one_class(name="failed", match={"outcomes": ["failed"]}),
        one_class(name="team", match={"namespaces": ["team-4"]}),
        one_class(name="reports", match={"predicateTypes": ["*scai*"]}),
        one_class(name="run", match={"runs": [uid_of(1)]}),
        one_class(name="digest", match={"digests": [f"sha256:{2:064x}"]}),
    ]
    write_rules(classes)
    found = json.loads(check(capsys, 0, "--store", "oci-layout:store", "--all"))
    seen = {
        (one["run"]["uid"], one["predicateType"]): set(one["classes"]) - {"all"} for one in found["pieces"]
    }
    slsa, scai, sign = (
        "https://slsa.dev/provenance/v1", "https://in-toto.io/attestation/scai/v0.3",
        "https://sigstore.dev/cosign/sign/v1",
    )  # fmt: skip
    assert seen == {
        (uid_of(1), slsa): {"images", "run", "digest"},
        (uid_of(1), scai): {"images", "reports", "run", "digest"},
        (uid_of(1), sign): {"images", "run", "digest"},
        (uid_of(4), slsa): {"failed", "team"},
        (uid_of(4), scai): {"failed", "team", "reports"},
    }


def test_what_a_signed_ledger_says_was_stored_has_to_be_there(capsys: pytest.CaptureFixture[str]) -> None:
    attest("file:store", 1)
    write_rules()
    digests = json.loads(check(capsys, 0, "--store", "file:store", "--all"))["pieces"]
    clock = Clock()
    writer = LogWriter(Path("ledger/share-0-of-1"), ORIGIN, clock)
    receipts = [Receipt("p", "file:store", "file", "", one["location"], one["digest"]) for one in digests]
    lost = Receipt("p", "file:store", "file", "", "/gone/x.bundle.json", "sha256:" + "ab" * 32)
    elsewhere = Receipt("p", "s3://other", "object", "", "s3://other/x", "sha256:" + "cd" * 32)
    run = Run("TaskRun", "team-1", "run-1", uid_of(1))
    entry = RunEntry(clock(), EntryKind.EVIDENCED, run, receipts=(*receipts, lost, elsewhere))
    assert writer.append([entry]) == [None]
    clock.move(days=1)
    sealer = sealer_of(Path.cwd())
    close_due(writer, sealer, clock())
    writer.close()
    key = Path("ledger.pub")
    key.write_bytes(sealer.signer.public_pem)
    words = ("--store", "file:store", "--ledger", "ledger", "--ledger-key", str(key))
    found = json.loads(check(capsys, 1, *words))
    (gone,) = found["pieces"]
    assert (gone["state"], gone["location"], gone["run"]["uid"]) == ("gone", lost.location, uid_of(1))
    assert "ledger says that it was stored" in gone["words"]
    assert found["notes"] == ["1 receipt of s3://other not compared: it was not read whole"]


def test_hostile_names_are_escaped_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    attest("file:store", 1)
    hold = {"id": "case", "match": {}, "reason": HOSTILE, "by": HOSTILE, "from": "2020-01-01T00:00:00Z"}
    write_rules([one_class(reason=HOSTILE)], [hold])
    for form in ("text", "json", "csv", "junit"):
        out = check(capsys, 1, "--store", "file:store", "--all", form=form)
        assert "\x1b" not in out
        assert "\u202e" not in out
        if form == "csv":
            rows = list(csv.DictReader(io.StringIO(out)))
            assert len(rows) == 6
            assert not any(cell.startswith(("=", "+", "-", "@")) for row in rows for cell in row.values())
        if form == "junit":
            suite = ET.fromstring(out)
            assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("6", "6", "0")


def test_rules_that_are_wrong_are_told_whole_and_nothing_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    attest("file:store", 1)
    write_rules([one_class(keep="soon"), one_class(lock="iron")])
    capsys.readouterr()
    assert chains(["retention", "lint", "rules.yaml"]) == 1
    assert "rules.yaml: 2 errors, 0 warnings" in capsys.readouterr().out
    for command in ("check", "renew", "dispose"):
        assert (
            chains(["retention", command, "--rules", "rules.yaml", "--store", "file:store", "--key", "e.pub"])
            == 2
        )
        told = capsys.readouterr().err
        assert "(wrong_type)" in told
        assert "(wrong_value)" in told
    assert chains(["retention", "check", "--store", "file:store", "--key", "e.pub"]) == 2


def test_the_memory_of_a_survey_is_names_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers go to the spool as they come: no more than a few parts of a store are held at a time."""
    from chains.audit.retention import survey

    attest("file:store", *range(1, 40))
    write_rules()
    held: list[int] = []
    real = survey.Surveyor._all

    async def counted(self: Any, store: Any, parts: Any) -> Any:
        held.append(len(parts))
        return await real(self, store, parts)

    monkeypatch.setattr(survey.Surveyor, "_all", counted)
    found = json.loads(check(capsys, 0, "--store", "file:store", "--all"))
    assert len(found["pieces"]) == sum(found["states"].values()) > 200
    assert max(held) == survey.PARTS_AT_ONCE
