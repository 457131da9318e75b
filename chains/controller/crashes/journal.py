"""The runs in work, in a file that outlives the process: if a run ended the process, it is one of them.

Each run in work has a slot in a memory-mapped file. A slot is written without a system call, and the kernel
keeps what a killed process wrote. Runs whose slots are full at the next start are suspects. The first slot is
for the run that is tried alone. What is known of suspects is in a second file, which is written when it
changes.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import mmap
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from chains.tekton.runs import Job, label_of

MOST_CRASHES = 3
"""How often a run may end the process while it is tried alone, before it is put aside."""
_STAYS_APART = 3
"""A run that was in work at so many ends of the process is never worked on together with others again."""
_SLOT, _LENGTH = 512, 2
_MOST_SUSPECTS = 1000
_FORGOTTEN = 30 * 86_400.0
"""Seconds after which a suspect that was not seen again is forgotten."""
_log = logging.getLogger("chains.journal")


@dataclass(slots=True)
class Suspect:
    """A run that was in work when the process ended: how often together with others, and how often alone."""

    run: str
    times: int = 0
    crashes: int = 0
    is_free: bool = False
    """Whether it was tried alone since, and the process went on."""
    noted: float = 0.0
    reason: str = ""
    """How it ended the process the last time that it was tried alone."""


def default_folder(server: str, namespace: str, pod: str) -> Path:
    """Return the folder of one controller, below the folder for temporary files."""
    name = hashlib.sha256("\n".join((server, namespace, pod)).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"chains-controller-{name}")


class Journal:
    """The journal in ``folder``, for ``most`` runs in work at once. One process can have it open at a time.

    Raises :class:`OSError` if the folder cannot be used, or if others may write to it.
    """

    def __init__(self, folder: Path, most: int) -> None:
        _make(folder)
        self._folder = folder
        self._file = os.open(folder / "in-work", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.suspects = self._read_suspects()
            self._accuse()
            size = (most + 1) * _SLOT
            os.ftruncate(self._file, 0)
            # disk space is allocated now: writing to a page without any would end the process with SIGBUS
            os.posix_fallocate(self._file, 0, size)
            self._slots = mmap.mmap(self._file, size)
        except BaseException:
            os.close(self._file)
            raise
        self._most, self._free = most, list(range(1, most + 1))

    @contextmanager
    def in_work(self, job: Job) -> Iterator[None]:
        """Keep a run in the journal for the length of the block.

        It stays there if the block raises what ends the process, such as :class:`SystemExit`.
        """
        slot = self._free.pop()
        self._write(slot, job)
        try:
            yield
        except (Exception, asyncio.CancelledError):
            self._end(slot)
            raise
        self._end(slot)

    @contextmanager
    def alone(self, job: Job) -> Iterator[None]:
        """Keep a run in the journal as the one that is tried alone, for the length of the block."""
        self._write(0, job)
        try:
            yield
        finally:
            self._clear(0)

    def is_apart(self, job: Job) -> bool:
        """Whether a run is to be tried alone."""
        if not self.suspects:
            return False
        found = self.suspects.get(job.uid)
        return found is not None and not found.is_free and found.crashes < MOST_CRASHES

    def poison(self, job: Job) -> str:
        """Return why a run is put aside, empty for any other run."""
        found = self.suspects.get(job.uid)
        if found is None or found.crashes < MOST_CRASHES:
            return ""
        return f"{found.crashes} attempts: tried alone, {found.reason}"

    def crashed(self, job: Job, reason: str) -> int:
        """Note that a run ended the process in which it was alone; return how often it did."""
        found = self.suspects.setdefault(job.uid, Suspect(label_of(job)))
        found.crashes, found.reason, found.noted = found.crashes + 1, reason, time.time()
        self._write_suspects()
        return found.crashes

    def survived(self, job: Job) -> None:
        """Note that a run was tried alone and the process went on."""
        found = self.suspects.get(job.uid)
        if found is not None and found.times < _STAYS_APART:
            found.is_free = True
            self._write_suspects()

    def settled(self, job: Job) -> None:
        """Note that a run is marked, or gone."""
        if self.suspects and self.suspects.pop(job.uid, None) is not None:
            self._write_suspects()

    def close(self) -> None:
        """Close the files, and remove them if there are no suspects."""
        self._slots.close()
        if not self.suspects and len(self._free) == self._most:
            with suppress(OSError):
                for name in ("in-work", "suspects.json"):
                    (self._folder / name).unlink(missing_ok=True)
                self._folder.rmdir()
        os.close(self._file)

    def _write(self, slot: int, job: Job) -> None:
        data = orjson.dumps([job.uid, label_of(job)])
        if len(data) > _SLOT - _LENGTH:
            return
        begin = slot * _SLOT
        self._slots[begin + _LENGTH : begin + _LENGTH + len(data)] = data
        self._slots[begin : begin + _LENGTH] = len(data).to_bytes(_LENGTH, "little")

    def _end(self, slot: int) -> None:
        self._clear(slot)
        self._free.append(slot)

    def _clear(self, slot: int) -> None:
        begin = slot * _SLOT
        self._slots[begin : begin + _LENGTH] = bytes(_LENGTH)

    def _accuse(self) -> None:
        """Make suspects of the runs that were in work when the last process ended."""
        data = os.pread(self._file, os.fstat(self._file).st_size, 0)
        accused = 0
        for begin in range(0, len(data), _SLOT):
            length = int.from_bytes(data[begin : begin + _LENGTH], "little")
            if not length:
                continue
            try:
                uid, run = orjson.loads(data[begin + _LENGTH : begin + _LENGTH + length])
                found = self.suspects.setdefault(str(uid), Suspect(str(run)))
            except (ValueError, TypeError):
                continue
            accused += 1
            found.noted = time.time()
            if begin == 0:
                found.crashes += 1
                found.reason = "the controller ended without a word, as if it was killed"
            else:
                found.times, found.is_free = found.times + 1, False
        if accused:
            _log.warning("runs were in work when the last process ended", extra={"runs": accused})
            self._write_suspects()

    def _read_suspects(self) -> dict[str, Suspect]:
        try:
            told = orjson.loads((self._folder / "suspects.json").read_bytes())
            found = {uid: Suspect(**fields) for uid, fields in told.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            return {}  # a file of another version, or one that a full disk cut
        now = time.time()
        return {uid: each for uid, each in found.items() if now - each.noted < _FORGOTTEN}

    def _write_suspects(self) -> None:
        while len(self.suspects) > _MOST_SUSPECTS:
            del self.suspects[min(self.suspects, key=lambda uid: self.suspects[uid].noted)]
        new = self._folder / "suspects.json.new"
        try:
            new.write_bytes(orjson.dumps({uid: asdict(each) for uid, each in self.suspects.items()}))
            new.replace(self._folder / "suspects.json")
        except OSError as error:
            _log.warning("the list of suspects cannot be written", extra={"reason": str(error)})


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{folder} is no folder that belongs to this user alone")
