"""Starts one server process, waits until it prints its address, and ends it by its process id."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 30


class ServerError(Exception):
    """A server did not become ready. The text ends with its log."""


@dataclass(frozen=True, slots=True)
class Running:
    """A running server that was ready when it was returned."""

    address: str
    """``127.0.0.1:port``."""
    pid: int
    log: Path


@contextmanager
def running(
    command: Sequence[str | Path],
    log: Path,
    announces: str,
    *,
    env: Mapping[str, str] | None = None,
    seconds: float = 90,
) -> Iterator[Running]:
    """Run a server for the length of the block.

    ``announces`` is a pattern for the line that the server prints when it listens; its first group is the
    address. Standard output and error go to the file ``log``. Raises :class:`ServerError` if the server ends,
    or does not print the line within ``seconds``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | (env or {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Running(_address(process, log, re.compile(announces, re.MULTILINE), seconds), process.pid, log)
    finally:
        _stop(process)


def _address(process: subprocess.Popen[bytes], log: Path, announces: re.Pattern[str], seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while True:
        ended = process.poll()
        text = log.read_text(errors="replace")
        if found := announces.search(text):
            return found[1]
        if ended is not None or time.monotonic() > deadline:
            state = f"silent for {seconds:g} s" if ended is None else f"ended with {ended}"
            raise ServerError(f"{process.args!r}: {state}\n{text[-4000:]}")
        time.sleep(0.01)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
