"""What a reader remembers of revocation lists: the highest version of each signer, so that none goes back.

The state file is written under a lock, as a new file that takes the place of the old one, and flushed to
disk. A reader that is killed leaves the old file or the new one. Several readers can use one file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from chains.revocation.document import MOST_VERSION, RevocationList
from chains.revocation.errors import RevocationError
from signers.errors import FormatError
from signers.strict_json import member, parse_object
from storage.durable import sync_folder, write_new
from storage.files import read_file

MEDIA_TYPE = "application/vnd.provenance-chains.revocations-seen.v1+json"
_LARGEST = 1024 * 1024
_PATIENCE, _PAUSE = 10.0, 0.01
"""Seconds to wait for another reader's lock, and between two attempts."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The highest version that was read, and the digest of its document."""

    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class Memory:
    """The state file. It is made when the first list is read."""

    path: Path

    def admit(self, found: RevocationList, keyids: Sequence[str]) -> None:
        """Accept a list whose signer must be one of these keys, and remember it for each of them.

        Raises :class:`RevocationError` for a version below one that was read before, for another document
        with the same version, and if the file cannot be read or written.
        """
        wanted = Seen(found.version, found.digest)
        try:
            if self._accepts(self._read(), wanted, keyids):
                return
            path = self.path.resolve()
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _locked(path.with_name(f"{path.name}.lock")):
                seen = self._read()
                if not self._accepts(seen, wanted, keyids):
                    _write(path, seen | dict.fromkeys(keyids, wanted))
        except (OSError, ValueError, RuntimeError) as error:
            why = getattr(error, "strerror", None) or error
            raise RevocationError(
                f"the state file {self.path} cannot be kept: {why}; name one that this process may write"
            ) from error

    def _accepts(self, seen: Mapping[str, Seen], wanted: Seen, keyids: Sequence[str]) -> bool:
        """Whether nothing is left to write. Raises :class:`RevocationError` for a list that goes back."""
        known = [seen[keyid] for keyid in keyids if keyid in seen]
        for one in known:
            if wanted.version < one.version:
                raise RevocationError(
                    f"the list has version {wanted.version}, and version {one.version} was read before "
                    f"({self.path}): get the newest list"
                )
            if wanted.version == one.version and wanted.digest != one.digest:
                raise RevocationError(
                    f"another list of version {wanted.version} was read before: {one.digest}, now "
                    f"{wanted.digest}: find out who signed the second one; a new list needs a new version"
                )
        return len(known) == len(keyids) and all(one == wanted for one in known)

    def _read(self) -> dict[str, Seen]:
        try:
            data = read_file(self.path, _LARGEST)
        except FileNotFoundError:
            return {}
        try:
            return _parse(data)
        except FormatError as error:
            raise RevocationError(
                f"the state file {self.path} cannot be read: {error}; restore it, or remove it and demand a "
                "minimum version"
            ) from error


def _parse(data: bytes) -> dict[str, Seen]:
    members = parse_object(data, "state file", _LARGEST)
    if members.get("mediaType") != MEDIA_TYPE:
        raise FormatError(f"mediaType is not {MEDIA_TYPE}")
    found = {}
    for keyid, one in member(members, "seen", dict, "state file").items():
        if not isinstance(one, dict):
            raise FormatError(f"{keyid[:64]!r} is no object")
        version, digest = member(one, "version", int, keyid), member(one, "digest", str, keyid)
        if isinstance(version, bool) or not 1 <= version <= MOST_VERSION:
            raise FormatError(f"{keyid[:64]!r} has no version")
        found[keyid] = Seen(version, digest)
    return found


def _write(path: Path, seen: Mapping[str, Seen]) -> None:
    listed = {keyid: {"version": one.version, "digest": one.digest} for keyid, one in sorted(seen.items())}
    data = orjson.dumps({"mediaType": MEDIA_TYPE, "seen": listed}, option=orjson.OPT_INDENT_2)
    # one name for all readers: who holds the lock writes it, and what a killed one left is overwritten
    new = path.with_name(f".{path.name}.new")
    write_new(os.fspath(new), data, fsync=True)
    new.replace(path)
    sync_folder(path.parent)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of this file. Raises :class:`OSError`, also if another process keeps it for too long."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
    handle = os.open(path, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, f"{path} is not a regular file")
        _lock(handle)
        yield
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
        else:
            return
