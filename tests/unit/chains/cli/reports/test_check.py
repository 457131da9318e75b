"""``report check`` finds a report whose numbers were changed, each of them by its name."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.report.check import Differences, compare, count_again
from chains.report.document.file import Document, read_document, write_document
from tests.audit_truth import World, _remove
from tests.unit.chains.cli.reports.worlds import check, report
from tests.unit.chains.report.made import small_world

Json = Any


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def out(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "october"
    assert report(world, folder, "--formats", "json") == 1
    return folder


def test_a_report_agrees_with_its_sources(
    world: World, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(world, out, "--output", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["agrees"], told["comparedWithSources"], told["differences"]) == (True, True, [])


def test_without_sources_nothing_is_decided(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["report", "check", str(out / "report.json")]) == 4
    assert "Every count of the report is what its own rows give." in capsys.readouterr().out


def numbers(value: Json, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every number in a document."""
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        return [path]
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for name, each in pairs for found in numbers(each, (*path, name))]


def in_memory(out: Path) -> Document:
    found = read_document(out / "report.json")
    return Document.of(found.head, list(found.runs()), list(found.artifacts()), list(found.attestations()))


def changed(document: Document, path: tuple[Any, ...]) -> Document:
    head = copy.deepcopy(document.head)
    place: Any = head
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] += 1
    return Document(head, document.read_runs, document.read_artifacts, document.read_attestations)


def test_every_number_that_is_changed_is_found_against_the_sources(out: Path) -> None:
    document = in_memory(out)
    paths = numbers(document.head)
    assert len(paths) > 150
    for path in paths:
        found = Differences()
        compare(changed(document, path), document, found)
        assert [one.path.split(".")[0].split("[")[0] for one in found.kept] == [path[0]], path


COUNTED = (
    "counts",
    "coverage",
    "exitCode",
    "namespaces",
    "days",
    "namespaceDays",
    "reasons",
    "levels",
    "keys",
)


def test_every_count_that_is_changed_is_found_in_the_report_itself(out: Path) -> None:
    document = in_memory(out)
    found = Differences()
    count_again(document, found)
    assert not found
    paths = [path for path in numbers(document.head) if path[0] in COUNTED]
    paths += [("population", "runs"), ("population", "finished")]
    assert {path[0] for path in paths} == {*COUNTED, "population"}
    for path in paths:
        found = Differences()
        count_again(changed(document, path), found)
        assert len(found.kept) == 1, path
        assert found.kept[0].path.startswith(path[0])


def test_sentences_and_controls_that_are_changed_are_found_in_the_report_itself(out: Path) -> None:
    document = in_memory(out)

    def told(change: Callable[[Json], None]) -> list[str]:
        head, found = copy.deepcopy(document.head), Differences()
        change(head)
        rows = document.read_runs, document.read_artifacts, document.read_attestations
        count_again(Document(head, *rows), found)
        return [one.path for one in found.kept]

    assert told(lambda head: None) == []
    assert told(lambda head: head["summary"].__setitem__(0, "everything is evidenced.")) == ["summary[0]"]
    assert told(lambda head: head["summary"].pop()) == [f"summary[{len(document.head['summary']) - 1}]"]
    # without what makes it not whole, the answer reads better than it is
    assert document.head["population"]["undecided"]
    assert "population.undecided[0]" in told(lambda head: head["population"]["undecided"].clear())
    number = next(n for n, one in enumerate(document.head["controls"]) if one["state"] == "not-evidenced")
    better = told(lambda head: head["controls"][number].update(state="evidenced"))
    assert len(better) == 1
    assert better[0].startswith("controls[")
    assert better[0].endswith("].state")
    assert told(lambda head: head["controls"].pop())


def test_a_run_that_is_left_out_or_called_evidenced_is_found(out: Path) -> None:
    document = in_memory(out)
    runs = list(document.runs())
    number = next(n for n, one in enumerate(runs) if one["state"] == "missing" and one["uid"])
    without = Document.of(
        document.head, runs[:number] + runs[number + 1 :], list(document.artifacts()),
        list(document.attestations()),
    )  # fmt: skip
    found = Differences()
    count_again(without, found)
    paths = {one.path for one in found.kept}
    assert {"counts.missing", "coverage.finished", "population.runs", "population.digest"} <= paths
    better = copy.deepcopy(runs)
    better[number]["state"] = "evidenced"
    found = Differences()
    count_again(
        Document.of(document.head, better, list(document.artifacts()), list(document.attestations())), found
    )
    assert any(one.path == f"runs[{runs[number]['uid']}].state" for one in found.kept)


def test_a_changed_artifact_or_attestation_is_found(out: Path) -> None:
    document = in_memory(out)
    artifacts = copy.deepcopy(list(document.artifacts()))
    attested = next(one for one in artifacts if one["attested"])
    attested["state"] = "missing"
    found = Differences()
    rows = list(document.runs()), artifacts, list(document.attestations())
    count_again(Document.of(document.head, *rows), found)
    assert [one.found for one in found.kept] == ["evidenced"]
    attestations = copy.deepcopy(list(document.attestations()))
    attestations[0]["result"] = "not-used"
    attestations[0]["signer"] = None
    found = Differences()
    count_again(
        Document.of(document.head, list(document.runs()), list(document.artifacts()), attestations), found
    )
    assert found.kept


@pytest.mark.parametrize("name", ["runs", "artifacts", "attestations"])
def test_rows_in_another_order_are_found(out: Path, name: str) -> None:
    document = in_memory(out)
    rows = {each: list(document.rows(each)) for each in ("runs", "artifacts", "attestations")}
    rows[name][:2] = reversed(rows[name][:2])
    found = Differences()
    compare(
        Document.of(document.head, rows["runs"], rows["artifacts"], rows["attestations"]), document, found
    )
    assert [one.path for one in found.kept] == [f"order of {name}"]


def test_a_changed_file_is_told_with_both_numbers(
    world: World, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = in_memory(out)
    said = document.head["counts"]["evidenced"]
    forged = changed(changed(document, ("counts", "evidenced")), ("population", "sources", 0, "runs"))
    data = BytesIO()
    write_document(forged, data)
    path = tmp_path / "report.json"
    path.write_bytes(data.getvalue())
    assert check(world, path) == 1
    told = capsys.readouterr().out
    assert f"counts.evidenced: the report says {said + 1}, found {said}\n" in told
    assert "population.sources[ledger (" in told


def test_evidence_that_is_gone_since_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "world").mkdir()
    world = small_world(tmp_path / "world")
    assert report(world, tmp_path / "out", "--formats", "json") == 1
    runs = json.loads((tmp_path / "out" / "report.json").read_bytes())["runs"]
    gone = next(one["uid"] for one in runs if one["state"] == "evidenced")
    _remove(world.folder / "layout", {gone})
    capsys.readouterr()
    assert check(world, tmp_path / "out") == 1
    told = capsys.readouterr().out
    assert f"runs[{gone}].state: the report says evidenced, found missing" in told


def test_a_file_that_is_no_report_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.json").write_text("{}")
    assert chains(["report", "check", str(tmp_path)]) == 1
    assert "this is no report as it was written" in capsys.readouterr().err


def test_a_form_that_is_not_what_the_document_gives_is_found(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(world, tmp_path / "out", "--formats", "html,markdown,csv,oscal,pdf,ksi") == 1
    words = ["report", "check", str(tmp_path / "out"), "--output", "json"]
    capsys.readouterr()
    assert chains(words) == 4
    assert capsys.readouterr().err == ""
    forms = {path for path in (tmp_path / "out").iterdir() if path.name not in {"report.json", "SHA256SUMS"}}
    assert {path.suffix for path in forms} == {".html", ".md", ".svg", ".csv", ".json", ".pdf"}
    for path in forms:
        path.write_bytes(path.read_bytes() + b" ")
    assert chains(words) == 1
    found = json.loads(capsys.readouterr().out)["differences"]
    assert {one["path"] for one in found} == {path.name for path in forms}


def test_forms_of_another_program_are_not_compared_and_that_is_said(
    world: World, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = in_memory(out)
    document.head["scope"]["tool"]["version"] = "0.0.0"
    data = BytesIO()
    write_document(document, data)
    (tmp_path / "report.json").write_bytes(data.getvalue())
    (tmp_path / "report.html").write_text("anything")
    capsys.readouterr()
    assert chains(["report", "check", str(tmp_path)]) == 4
    assert "html: another program made the report" in capsys.readouterr().err
