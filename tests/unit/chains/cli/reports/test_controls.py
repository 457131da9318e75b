"""``chains report controls``, the options of a report about controls, and the page that teaches them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pypdf import PdfReader

from chains.cli.main import run as chains
from chains.report.controls.evaluate import EVIDENCED_FLOOR, PARTLY_FLOOR
from chains.report.controls.facts import FACTS
from chains.report.controls.format import Highest
from chains.report.controls.load import own_maps

ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs" / "controls.md").read_text()


def test_the_page_is_true_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", shell],
        cwd=tmp_path,
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
    assert told.returncode == 0, told.stderr + told.stdout
    said = re.search(r"\[\('partly', \"?'?([^\]]+)'?\"?\)\]", told.stdout)
    assert said is not None, told.stdout
    assert "ledger-unbroken does not hold: no" in said[1]
    assert "keys-outside-files does not hold: not in the report" in said[1]
    results = json.loads((tmp_path / "report" / "oscal-assessment-results.json").read_bytes())
    assert len(results["assessment-results"]["results"]) == len(own_maps())
    record = json.loads((tmp_path / "report" / "fedramp-ksi.json").read_bytes())
    assert [len(one["artifacts"]) for one in record["indicators"]] == [5] * 10
    pages = PdfReader(tmp_path / "report" / "report.pdf").pages
    assert "Provenance report" in pages[0].extract_text()
    second = json.loads((tmp_path / "second" / "report.json").read_bytes())
    ours = {one["id"]: one["state"] for one in second["controls"] if one["map"] == "ours"}
    assert ours == {"B-7": "partly", "B-8": "not-here"}


def test_the_page_has_every_fact_and_what_no_map_can_lower() -> None:
    for name, fact in FACTS.items():
        assert f"| `{name}` | {fact.text} |" in PAGE
    for floor in (PARTLY_FLOOR, EVIDENCED_FLOOR):
        assert ", ".join(f"`{one}`" for one in floor) in PAGE


def test_the_page_names_every_map_with_its_source_and_every_state() -> None:
    for one in own_maps():
        assert f"| `{one.name}` | " in PAGE
    for state in Highest:
        assert f"`{state.value}`" in PAGE


def test_every_problem_of_a_map_is_printed_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(
        """apiVersion: provenance.chains/v1
kind: ControlMap
metadata: {name: ours}
spec:
  framework: ours
  version: "1"
  source: https://example.com
  controls:
    - {id: a, title: x, highest: partly, missing: y, partly: [luck]}
    - {id: a, title: x, highest: not-here, missing: y}
"""
    )
    assert chains(["report", "controls", str(file)]) == 1
    told = capsys.readouterr().out
    assert (
        f"{file}:9:63: error: spec.controls[0].partly[0]: 'luck': there is no fact 'luck' (requirement)"
        in told
    )
    assert f"{file}:10:8: error: spec.controls[1].id: the id 'a' comes twice (id_twice)" in told
    assert told.endswith("2 errors\n")
    assert chains(["report", "controls", str(file), "--output", "json"]) == 1
    assert [one["line"] for one in json.loads(capsys.readouterr().out)["problems"]] == [9, 10]


def test_a_report_with_a_wrong_map_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ours.yaml").write_text("apiVersion: provenance.chains/v1\nkind: ControlMap\n")
    runs = str(ROOT / "examples" / "taskrun-image.json")
    out = tmp_path / "out"
    given = ["--store", f"file:{tmp_path}", "--key", str(ROOT / "examples" / "ledger" / "ledger.pub")]
    asked = [
        "report",
        "--runs",
        runs,
        *given,
        "--control-map",
        str(tmp_path / "ours.yaml"),
        "--out",
        str(out),
    ]
    assert chains(asked) == 2
    told = capsys.readouterr().err
    assert "metadata is missing" in told
    assert "spec is missing" in told
    assert not out.exists()


def test_controls_and_facts_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["report", "controls"]) == 0
    told = capsys.readouterr().out
    assert "sp800-53-r5" in told
    assert "KSI-SVC-VRI" in told
    assert chains(["report", "controls", "--output", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["maps"]) == len(own_maps())
    assert chains(["report", "controls", "--facts", "--output", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in listed["facts"]] == list(FACTS)
    assert listed["demandedOfEveryControl"]["partly"] == list(map(str, PARTLY_FLOOR))


def test_a_map_that_cannot_be_read_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["report", "controls", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


def ledger_says(tmp_path: Path, name: str, *period: str, tamper: bool = False) -> str:
    """What a report of the ledger of the examples says about it; none of its runs has evidence here."""
    ledger = tmp_path / f"ledger-{name}"
    shutil.copytree(ROOT / "examples" / "ledger", ledger)
    if tamper:
        day = ledger / "share-0-of-1" / "2026-03-02.jsonl"
        day.write_text(day.read_text().replace("storefront", "shopfront"))
    out = tmp_path / name
    key = str(ledger / "ledger.pub")
    sources = ["--ledger", str(ledger), "--ledger-key", key, "--store", f"file:{tmp_path}", "--key", key]
    assert chains(["report", *sources, *period, "--formats", "json", "--out", str(out)]) in {1, 4}
    controls = json.loads((out / "report.json").read_bytes())["controls"]
    assert {one["state"] for one in controls} == {"not-evidenced", "not-here"}
    (said,) = {fact["says"] for one in controls for fact in one["facts"] if fact["name"] == "ledger-unbroken"}
    return said.partition(";")[0]  # type: ignore[no-any-return]


def test_a_real_ledger_is_unbroken_only_where_its_signed_days_cover_the_period(tmp_path: Path) -> None:
    covered = ("--from", "2026-03-02T08:00:00Z", "--to", "2026-03-04T00:00:00Z")
    assert ledger_says(tmp_path, "covered", *covered) == "yes"
    assert ledger_says(tmp_path, "changed", *covered, tamper=True) == "no"
    assert (
        ledger_says(tmp_path, "with-a-gap", "--from", "2026-03-02T08:00:00Z", "--to", "2026-03-05T00:00:00Z")
        == "no"
    )
    assert (
        ledger_says(tmp_path, "too-early", "--from", "2026-03-01T00:00:00Z", "--to", "2026-03-04T00:00:00Z")
        == "no"
    )
