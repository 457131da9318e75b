"""The command ``report``: its folder, its bytes, its exit codes, and what is refused."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chains.cli.main import run as chains
from chains.report.forms.table import FORMS
from tests.audit_truth import World
from tests.unit.chains.cli.reports.worlds import AT, loaded, report, sources
from tests.unit.chains.report.made import small_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def out(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "october"
    assert report(world, folder) == 1
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_report_says_what_the_audit_says(world: World, out: Path) -> None:
    found = loaded(out)
    named = {
        one["uid"] or f"{one['namespace']}/{one['name']}": (one["state"], one["reason"], one["detail"])
        for one in found["runs"]
        if one["state"] != "evidenced"
    }
    assert named == world.expected
    assert found["population"]["finished"] == world.finished
    assert found["exitCode"] == 1
    assert found["scope"]["at"] == AT
    assert found["scope"]["timeSource"] == "option"
    assert found["scope"]["configuration"] == (
        "sha256:" + hashlib.sha256((world.folder / "config.json").read_bytes()).hexdigest()
    )


def test_every_source_and_file_is_cited_by_its_digest(world: World, out: Path) -> None:
    cited = {one["name"]: one["digest"] for one in loaded(out)["cited"]}
    for path in (world.folder / "runs.json", *(world.folder / "log").iterdir()):
        assert cited[str(path)] == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_inputs_give_the_same_bytes(world: World, out: Path, tmp_path: Path) -> None:
    assert report(world, tmp_path / "again", "--at-once", "3") == 1
    assert content(tmp_path / "again") == content(out)


def test_the_checksums_are_those_of_all_files(out: Path) -> None:
    lines = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    files = content(out)
    del files["SHA256SUMS"]
    assert lines == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def test_source_date_epoch_is_the_report_time(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1793620800")
    words = ["report", *sources(world), "--out", str(tmp_path / "out"), "--formats", "json"]
    assert chains(words) == 1
    scope = loaded(tmp_path / "out")["scope"]
    assert (scope["at"], scope["timeSource"]) == ("2026-11-02T12:00:00Z", "SOURCE_DATE_EPOCH")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "SHA256SUMS"}


def test_a_report_of_a_given_time_has_no_run_that_ended_later(
    world: World, out: Path, tmp_path: Path
) -> None:
    words = ["report", *sources(world), "--at", "2026-10-01T00:00:30Z", "--formats", "json"]
    assert chains([*words, "--out", str(tmp_path / "out")]) == 1
    found = loaded(tmp_path / "out")
    assert found["scope"]["until"] == "2026-10-01T00:00:30Z"
    ends = [one["finished"] for one in found["runs"] if one["finished"]]
    assert ends
    assert max(ends) < "2026-10-01T00:00:30Z"
    everything = [one["finished"] for one in loaded(out)["runs"] if one["finished"]]
    assert len(ends) == sum(one < "2026-10-01T00:00:30Z" for one in everything) < len(everything)
    assert chains([*words, "--from", "2026-10-01T00:00:30Z", "--out", str(tmp_path / "none")]) == 2


def test_a_period_with_fractions_of_a_second_is_the_one_that_is_written(world: World, tmp_path: Path) -> None:
    words = ["report", *sources(world), "--at", AT, "--formats", "json", "--out", str(tmp_path / "out")]
    assert chains([*words, "--from", "2026-10-01T00:00:09.9Z", "--to", "2026-10-01T00:00:12.9Z"]) == 1
    found = loaded(tmp_path / "out")
    assert (found["scope"]["since"], found["scope"]["until"]) == (
        "2026-10-01T00:00:09Z",
        "2026-10-01T00:00:12Z",
    )
    ends = {one["finished"] for one in found["runs"]}
    assert ends == {f"2026-10-01T00:00:{second:02d}Z" for second in (9, 10, 11)}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--out", ""], "no folder for the report"),
        (["--out", "new", "--at", "yesterday"], "--at: 'yesterday' is no time"),
        (["--out", "new", "--at", "2999-01-01T00:00:00Z"], "has not come yet"),
        (["--out", "new", "--formats", "doc"], "'doc' is none of json"),
        (["--out", "new", "--prices", "prices.json"], "--prices: prices.json"),
        (["--out", "."], "name a folder for the report"),
        (["--out", "used"], "is not empty"),
        (["--out", "file"], "is no folder"),
        (["--out", "new", "--password-file", "p", "--sign"], "--password-file belongs to --signing-key"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_written(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], told: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("used").mkdir()
    Path("used/kept").touch()
    Path("file").touch()
    assert chains(["report", *sources(world), *words]) == 2
    assert told in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"used", "file"}


def test_a_report_without_sources_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["report", "--out", str(tmp_path / "out"), "--store", "oci-layout:x", "--key", "x.pub"]
    assert chains(words) == 2
    assert capsys.readouterr().err


def test_every_option_has_a_twin(
    world: World, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINS_REPORT_OUT", str(tmp_path / "out"))
    monkeypatch.setenv("CHAINS_REPORT_FORMATS", "csv")
    monkeypatch.setenv("CHAINS_REPORT_AT", AT)
    period = ("--from", "2026-10-01T00:00:00Z", "--to", "2026-11-02T00:00:00Z")
    assert chains(["report", *sources(world), *period]) == 1
    assert (tmp_path / "out" / "report.json").read_bytes() == (out / "report.json").read_bytes()
    assert (tmp_path / "out" / "runs.csv").is_file()


_SLOW = """
import sys
from pathlib import Path
from chains.report.document.file import Document
from chains.report.folder import write_folder
from chains.report.forms.table import File
from tests.unit.chains.report.made import report_of

def endless():
    yield b"first"
    print("writing", flush=True)
    while True:
        sys.stdin.read()

world = Path(sys.argv[2])
world.mkdir()
write_folder(Path(sys.argv[1]), report_of(world), [lambda document: [File("slow", endless())]])
"""


def test_a_killed_process_leaves_no_half_report(world: World, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-c", _SLOW, str(out), str(tmp_path / "made")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[5],
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert (tmp_path / ".out.part" / "report.json").is_file()
    # another process does not write the same report meanwhile
    assert report(world, out) == 2
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    assert report(world, out) == 1
    assert not (tmp_path / ".out.part").exists()
    assert not (out / "slow").exists()
    assert (out / "report.json").is_file()


def test_a_form_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    monkeypatch.setitem(FORMS, "broken", (f"{__name__}:broken", "for this test"))
    assert report(world, tmp_path / "out", "--formats", "csv,broken") == 1
    assert list(tmp_path.iterdir()) == []


def broken(document: object) -> object:
    del document
    raise OSError(28, os.strerror(28), "report.csv")
