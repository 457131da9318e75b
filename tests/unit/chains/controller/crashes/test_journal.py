"""The journal of what is in work survives the process and accuses nobody of more than it knows."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chains.controller.crashes.journal import Journal, default_folder
from chains.tekton.runs import Job

ONE, TWO = (Job("TaskRun", "ci", name, f"uid-{name}") for name in ("one", "two"))
LONG = Job("PipelineRun", "n" * 63, "p" * 253, "u" * 36)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def killed(folder: Path, *jobs: Job, alone: Job | None = None) -> None:
    """Have a real process killed while it works on runs."""
    names = [(job.kind, job.namespace, job.name, job.uid) for job in jobs]
    tried = alone and (alone.kind, alone.namespace, alone.name, alone.uid)
    program = f"""
from contextlib import ExitStack
import os, signal
from pathlib import Path
from chains.controller.crashes.journal import Journal
from chains.tekton.runs import Job
journal, stack = Journal(Path({str(folder)!r}), 4), ExitStack()
for names in {names!r}:
    stack.enter_context(journal.in_work(Job(*names)))
if {tried!r}:
    stack.enter_context(journal.alone(Job(*{tried!r})))
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL


def opened(folder: Path) -> Journal:
    return Journal(folder, 4)


def test_what_was_in_work_when_the_process_was_killed_is_tried_apart_until_it_survives(folder: Path) -> None:
    killed(folder, ONE, LONG)
    journal = opened(folder)
    assert [journal.is_apart(job) for job in (ONE, TWO, LONG)] == [True, False, True]
    assert journal.poison(ONE) == ""
    journal.survived(ONE)
    assert not journal.is_apart(ONE)
    journal.close()
    journal = opened(folder)
    assert [journal.is_apart(job) for job in (ONE, LONG)] == [False, True]
    journal.settled(LONG)
    assert not journal.is_apart(LONG)
    journal.close()


def test_what_ended_before_is_no_suspect_however_it_ended(folder: Path) -> None:
    journal = opened(folder)
    for error in (ValueError, asyncio.CancelledError):
        with pytest.raises(error), journal.in_work(ONE):
            raise error
    with journal.in_work(TWO):
        pass
    journal._slots.close()  # as a killed process leaves it
    os.close(journal._file)
    journal = opened(folder)
    assert journal.suspects == {}
    journal.close()
    assert not folder.exists(), "nothing is left behind where nobody is suspected"


def test_what_ends_the_process_by_an_exception_is_a_suspect(folder: Path) -> None:
    journal = opened(folder)
    with pytest.raises(SystemExit), journal.in_work(ONE):
        raise SystemExit
    journal.close()
    journal = opened(folder)
    assert journal.is_apart(ONE)
    journal.close()


def test_only_a_crash_alone_counts_and_three_of_them_put_a_run_aside(folder: Path) -> None:
    for count in range(1, 4):
        killed(folder, TWO, alone=ONE)
        journal = opened(folder)
        assert (journal.suspects[ONE.uid].crashes, journal.suspects[TWO.uid].crashes) == (count, 0)
        assert journal.is_apart(ONE) == (count < 3)
        assert bool(journal.poison(ONE)) == (count == 3)
        journal.close()
    journal = opened(folder)
    assert journal.poison(ONE).startswith("3 attempts: tried alone, the controller ended without a word")
    assert journal.poison(TWO) == ""
    assert journal.is_apart(TWO)
    journal.settled(ONE)
    assert journal.poison(ONE) == ""
    journal.close()


def test_a_run_that_was_in_work_at_three_ends_stays_apart_until_it_is_settled(folder: Path) -> None:
    for count in range(1, 4):
        killed(folder, ONE)
        journal = opened(folder)
        assert journal.is_apart(ONE)
        journal.survived(ONE)
        assert journal.is_apart(ONE) == (count == 3)
        journal.close()
    journal = opened(folder)
    journal.settled(ONE)
    assert not journal.is_apart(ONE)
    journal.close()


def test_a_process_that_ends_with_its_run_alone_is_told_with_how(folder: Path) -> None:
    journal = opened(folder)
    with pytest.raises(ValueError, match="ended"), journal.alone(ONE):
        raise ValueError("ended")
    assert [journal.crashed(ONE, f"reason {number}") for number in range(3)] == [1, 2, 3]
    assert journal.poison(ONE) == "3 attempts: tried alone, reason 2"
    journal.close()
    journal = opened(folder)
    assert journal.poison(ONE) == "3 attempts: tried alone, reason 2"
    journal.close()


def test_there_is_one_process_to_a_journal(folder: Path) -> None:
    journal = opened(folder)
    with pytest.raises(BlockingIOError):
        opened(folder)
    journal.close()
    opened(folder).close()


def break_the_file(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff" * 3000)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: break_the_file(folder, "in-work"),
        lambda folder: break_the_file(folder, "suspects.json"),
        lambda folder: (folder / "suspects.json").write_text('{"uid-one": {"unknown": 1}}'),
        lambda folder: (folder / "suspects.json").write_text("[1]"),
        lambda folder: (folder / "in-work").write_bytes(b"\x02\x00[]" + bytes(508) + b"\x05\x00[1,2]"),
    ],
)
def test_files_that_are_broken_accuse_nobody_and_stop_nothing(
    folder: Path, harm: Callable[[Path], None]
) -> None:
    folder.mkdir(0o700)
    harm(folder)
    journal = opened(folder)
    assert not journal.is_apart(ONE)
    with journal.in_work(ONE):
        pass
    journal.close()


def test_a_folder_of_others_is_not_used(tmp_path: Path) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere").mkdir(0o700)
    (tmp_path / "file").write_text("")
    for name in ("open", "link", "file", "file/below"):
        with pytest.raises(OSError, match=name.partition("/")[0]):
            Journal(tmp_path / name, 4)
    private = tmp_path / "private"
    private.mkdir(0o700)
    (private / "in-work").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="in-work"):
        Journal(private, 4)


def test_a_suspect_that_is_never_seen_again_is_forgotten_and_their_number_is_bounded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chains.controller.crashes.journal._MOST_SUSPECTS", 3)
    journal = opened(folder)
    for number in range(5):
        journal.crashed(Job("TaskRun", "ci", f"run-{number}", str(number)), "r")
    assert list(journal.suspects) == ["2", "3", "4"]
    journal.close()
    monkeypatch.setattr("chains.controller.crashes.journal._FORGOTTEN", 0.0)
    journal = opened(folder)
    assert journal.suspects == {}
    journal.close()


def test_controllers_of_other_clusters_namespaces_and_pods_have_folders_of_their_own() -> None:
    given = [
        ("https://a", "ns", "p-0"),
        ("https://b", "ns", "p-0"),
        ("https://a", "n", "p-0"),
        ("https://a", "ns", "p-1"),
    ]
    assert len({default_folder(*each) for each in given}) == len(given)
    assert default_folder(*given[0]) == default_folder(*given[0])
