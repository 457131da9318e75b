"""What a reader remembers: no list goes back, and a file that cannot be kept is no reason to forget."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chains.revocation import memory
from chains.revocation.document import parse_list
from chains.revocation.errors import RevocationError
from chains.revocation.memory import MEDIA_TYPE, Memory
from tests.faults.verify.forge import NOW, public
from tests.unit.chains.revocation.made import SIGNER, document, read, signed

Json = Any
IMAGE = {"image": "sha256:" + "ab" * 32}
OTHER = {"image": "sha256:" + "cd" * 32}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "revocations.json"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "seen.json"


def problem(path: Path, state: Path, keys: tuple[str, ...] = (SIGNER,)) -> str:
    return read(path, state=state, keys=keys).problem(NOW)


def seen(state: Path) -> Json:
    members = json.loads(state.read_text())
    assert members["mediaType"] == MEDIA_TYPE
    return {keyid: one["version"] for keyid, one in members["seen"].items()}


def test_the_first_list_is_remembered_and_a_newer_one_takes_its_place(path: Path, state: Path) -> None:
    path.write_bytes(signed(IMAGE, version=3))
    assert problem(path, state) == ""
    assert seen(state) == {public(SIGNER).keyid: 3}
    path.write_bytes(signed(IMAGE, version=5))
    assert problem(path, state) == ""
    assert seen(state) == {public(SIGNER).keyid: 5}


def test_an_older_list_is_undecided_wherever_its_copy_lies(path: Path, state: Path, tmp_path: Path) -> None:
    path.write_bytes(signed(IMAGE, version=5))
    assert problem(path, state) == ""
    copy = tmp_path / "copy.json"
    copy.write_bytes(signed(IMAGE, version=4))
    assert "has version 4, and version 5 was read before" in problem(copy, state)
    assert seen(state) == {public(SIGNER).keyid: 5}
    assert problem(path, state) == "", "the newest list counts on"


def test_a_second_list_of_the_same_version_is_undecided(path: Path, state: Path) -> None:
    path.write_bytes(signed(IMAGE, version=5))
    assert problem(path, state) == ""
    path.write_bytes(signed(OTHER, version=5))
    assert "another list of version 5 was read before" in problem(path, state)


def test_another_signature_over_the_same_document_is_the_same_list(path: Path, state: Path) -> None:
    keys = (SIGNER, "second")
    path.write_bytes(signed(IMAGE, version=5))
    assert problem(path, state, keys) == ""
    path.write_bytes(signed(IMAGE, version=5, by="second"))
    assert problem(path, state, keys) == ""


def test_a_new_key_beside_the_old_one_does_not_let_a_list_go_back(path: Path, state: Path) -> None:
    path.write_bytes(signed(IMAGE, version=5))
    assert problem(path, state) == ""
    path.write_bytes(signed(IMAGE, version=4, by="second"))
    assert "version 5 was read before" in problem(path, state, (SIGNER, "second"))
    path.write_bytes(signed(IMAGE, version=6, by="second"))
    assert problem(path, state, (SIGNER, "second")) == ""
    assert seen(state) == {public(SIGNER).keyid: 6, public("second").keyid: 6}
    path.write_bytes(signed(IMAGE, version=5))
    assert "version 6 was read before" in problem(path, state)


def test_lists_of_other_keys_have_versions_of_their_own(path: Path, state: Path) -> None:
    path.write_bytes(signed(IMAGE, version=5))
    assert problem(path, state) == ""
    path.write_bytes(signed(IMAGE, version=1, by="second"))
    assert problem(path, state, ("second",)) == ""
    assert seen(state) == {public(SIGNER).keyid: 5, public("second").keyid: 1}


def test_a_list_that_a_stranger_signed_is_not_remembered(path: Path, state: Path) -> None:
    path.write_bytes(signed(IMAGE, version=9, by="stranger"))
    assert problem(path, state)
    assert not state.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"mediaType": "other", "seen": {}}',
        json.dumps({"mediaType": MEDIA_TYPE}).encode(),
        json.dumps({"mediaType": MEDIA_TYPE, "seen": []}).encode(),
        json.dumps({"mediaType": MEDIA_TYPE, "seen": {"a": 7}}).encode(),
        json.dumps({"mediaType": MEDIA_TYPE, "seen": {"a": {"version": "1", "digest": "b"}}}).encode(),
        json.dumps({"mediaType": MEDIA_TYPE, "seen": {"a": {"version": True, "digest": "b"}}}).encode(),
        json.dumps({"mediaType": MEDIA_TYPE, "seen": {"a": {"version": 1}}}).encode(),
    ],
    ids=repr,
)
def test_a_state_file_that_cannot_be_read_is_undecided_and_kept(
    path: Path, state: Path, content: bytes
) -> None:
    state.parent.mkdir()
    state.write_bytes(content)
    path.write_bytes(signed(IMAGE))
    assert f"the state file {state} cannot be read" in problem(path, state)
    assert state.read_bytes() == content


def test_a_folder_a_pipe_a_huge_file_and_a_circle_as_state_file_are_undecided(
    path: Path, tmp_path: Path
) -> None:
    path.write_bytes(signed(IMAGE))
    pipe, huge, circle = tmp_path / "pipe", tmp_path / "huge", tmp_path / "circle"
    os.mkfifo(pipe)
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    circle.symlink_to(circle)
    for state in (tmp_path, pipe, huge, circle, path / "below-a-file"):
        assert f"the state file {state} cannot be kept" in problem(path, state), state


def test_a_lock_that_is_a_link_or_a_pipe_is_undecided(path: Path, tmp_path: Path) -> None:
    path.write_bytes(signed(IMAGE))
    (tmp_path / "a.lock").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "b.lock")
    for name in ("a", "b"):
        assert "cannot be kept" in problem(path, tmp_path / name)
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_without_permission_is_undecided_until_nothing_has_to_be_written(
    path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(signed(IMAGE, version=5))
    assert problem(path, state) == ""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # root, who may run this test, is refused nothing by the system itself
    monkeypatch.setattr(memory, "write_new", refuse)
    assert problem(path, state) == "", "version 5 is remembered"
    path.write_bytes(signed(IMAGE, version=6))
    told = problem(path, state)
    assert f"the state file {state} cannot be kept: Permission denied" in told


def test_a_state_file_behind_a_link_stays_behind_it(path: Path, tmp_path: Path) -> None:
    path.write_bytes(signed(IMAGE))
    (tmp_path / "volume").mkdir()
    state = tmp_path / "seen.json"
    state.symlink_to(tmp_path / "volume" / "seen.json")
    assert problem(path, state) == ""
    assert state.is_symlink()
    assert seen(tmp_path / "volume" / "seen.json")


def test_a_lock_that_another_process_keeps_is_undecided(
    path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_bytes(signed(IMAGE))
    state.parent.mkdir()
    monkeypatch.setattr(memory, "_PATIENCE", 0.05)
    with state.with_name(f"{state.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "cannot be kept" in problem(path, state)
    assert problem(path, state) == ""


@pytest.mark.parametrize("version", [5, 6])
def test_what_another_reader_remembers_before_the_lock_is_had_counts(
    path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    path.write_bytes(signed(IMAGE, version=5))
    lock = memory._lock

    def late(handle: int) -> None:
        lock(handle)
        seen_now = {public(SIGNER).keyid: {"version": version, "digest": "sha256:other"}}
        state.write_text(json.dumps({"mediaType": MEDIA_TYPE, "seen": seen_now}))

    monkeypatch.setattr(memory, "_lock", late)
    assert "was read before" in problem(path, state)
    assert seen(state) == {public(SIGNER).keyid: version}


def _admit(state: str, first: int, keyid: str) -> None:
    for version in range(first, 41, 4):
        try:
            Memory(Path(state)).admit(parse_list(document(IMAGE, version=version)), [keyid])
        except RevocationError as error:
            assert "was read before" in str(error)  # noqa: PT017 - the other processes are faster


def test_readers_at_once_keep_the_highest_version_of_every_signer(state: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_admit, args=(str(state), first, keyid))
        for first, keyid in ((37, "a"), (38, "a"), (39, "b"), (40, "b"))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert seen(state) == {"a": 38, "b": 40}


_WRITER = """
import sys
from pathlib import Path
from chains.revocation.document import parse_list
from chains.revocation.memory import Memory
state, version = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
while True:
    version += 1
    data = b'{"version": %d, "issued": "2026-10-01T00:00:00Z", "entries": []}' % version
    Memory(state).admit(parse_list(data), ["a"])
    print(version, flush=True)
"""


def test_a_reader_that_is_killed_leaves_a_file_with_what_it_had_accepted(state: Path) -> None:
    highest = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(state), str(highest)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            told = [
                int(writer.stdout.readline()) if number else writer.stdout.readline() for number in range(20)
            ]
            writer.send_signal(signal.SIGKILL)
            rest = writer.stdout.read().split()
        accepted = int(rest[-1]) if rest else int(told[-1])
        found = seen(state)["a"]
        assert found in {accepted, accepted + 1}, "the one under way was written, or was not"
        highest = found
    left = {one.name for one in state.parent.iterdir()}
    assert left <= {state.name, f"{state.name}.lock", f".{state.name}.new"}
