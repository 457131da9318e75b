"""A root folder becomes a layer, a compressed archive whose bytes depend on the folder's content alone.

``build.py`` runs this file with the Python of the base (from the lock), not with that of the machine, because
bytecode and compressed bytes depend on the versions of Python and zlib. The task is JSON on stdin, the result
JSON on stdout:

    {"root": folder, "compile": [folder in it, …], "time": seconds, "target": file}
    {"diff_id": …, "digest": …, "size": bytes, "unpacked": bytes}
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import py_compile
import stat
import sys
import tarfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypedDict

LEVEL = 6
WITH_GZIP_HEADER = 31
_CHUNK = 1 << 20


class Task(TypedDict):
    """What is to be done; all paths are absolute, except those of ``compile``."""

    root: str
    compile: list[str]
    time: int
    """The modification time of everything in the archive, in seconds since 1970."""
    target: str


class Layer(TypedDict):
    """What was made."""

    diff_id: str
    digest: str
    size: int
    """The compressed layer, in bytes."""
    unpacked: int
    """The sum of its files, in bytes."""


def main() -> None:
    """Do the task on stdin."""
    task: Task = json.load(sys.stdin)
    root = Path(task["root"])
    for folder in task["compile"]:
        compile_modules(root, root / folder)
    with Path(task["target"]).open("wb") as file:
        made = pack(root, task["time"], file)
    json.dump(made, sys.stdout)


def compile_modules(root: Path, folder: Path) -> None:
    """Compile every module below a folder.

    The bytecode is never compared with its source at run time: the root is read-only, and times in layers
    mean nothing. A file that is no valid Python, such as a template, stays without bytecode, as with pip.
    """
    warnings.simplefilter("ignore")
    for path in sorted(folder.rglob("*.py")):
        inside = Path("/") / path.relative_to(root)
        try:
            py_compile.compile(
                str(path),
                cfile=str(path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"),
                dfile=str(inside),
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
        except (py_compile.PyCompileError, UnicodeDecodeError):
            continue


class _Gzip(io.RawIOBase):
    """Compresses what is written, and hashes it before and after."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._gzip = file, zlib.compressobj(LEVEL, zlib.DEFLATED, WITH_GZIP_HEADER)
        self.plain, self.compressed, self.size = hashlib.sha256(), hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raw = bytes(data)  # type: ignore[call-overload]  # any buffer
        self.plain.update(raw)
        self._put(self._gzip.compress(raw))
        return len(raw)

    def end(self) -> None:
        self._put(self._gzip.flush())

    def _put(self, data: bytes) -> None:
        self.compressed.update(data)
        self.size += len(data)
        self._file.write(data)


def pack(root: Path, time: int, file: BinaryIO) -> Layer:
    """Write a folder as a compressed archive: sorted, owned by root, one time, modes 755, 644 and 1777."""
    sink, unpacked = _Gzip(file), 0
    buffer = io.BufferedWriter(sink, _CHUNK)
    with tarfile.open(fileobj=buffer, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in _sorted(root):
            member = tarfile.TarInfo(path.relative_to(root).as_posix())
            member.mtime = time
            found = path.lstat()
            if stat.S_ISLNK(found.st_mode):
                member.type, member.linkname, member.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
                archive.addfile(member)
            elif stat.S_ISDIR(found.st_mode):
                member.type, member.mode = tarfile.DIRTYPE, 0o1777 if member.name == "tmp" else 0o755
                archive.addfile(member)
            elif stat.S_ISREG(found.st_mode):
                member.size, member.mode = found.st_size, 0o755 if found.st_mode & 0o100 else 0o644
                unpacked += member.size
                with path.open("rb") as content:
                    archive.addfile(member, content)
            else:
                raise ValueError(f"{member.name} is neither a file, a folder nor a link")
    buffer.flush()
    sink.end()
    return {
        "diff_id": f"sha256:{sink.plain.hexdigest()}",
        "digest": f"sha256:{sink.compressed.hexdigest()}",
        "size": sink.size,
        "unpacked": unpacked,
    }


def _sorted(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir(), key=lambda path: os.fsencode(path.name)):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _sorted(path)


if __name__ == "__main__":
    main()
