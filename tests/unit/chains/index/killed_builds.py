"""Builds that are killed at each of their steps, and that meet a full disk: started by the test of that, in a process of its own.

Arguments: the folder to work in, and how many kills. Each build runs in a fork and is ended by SIGKILL when it sends
a statement to the database, or renames or removes a file: at the 1st, 8th, 15th of these steps, and so on. After each,
the old index must be as it was, or the new one complete.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from chains.index import ingest as ingesting
from chains.index.errors import IndexUnavailable
from tests.unit.chains.index.made import (
    Signer,
    built,
    bundle,
    content,
    dsse,
    file_at,
    provenance,
    report,
    trust,
    updated,
)
from tests.unit.chains.lineage.made import Whole


def main(folder: Path, kills: int) -> None:
    signer = Signer()
    trusted = trust(signer)
    envelopes = [signer.envelope(make(number)) for number in range(4) for make in (provenance, report)]
    evidence = [make(one) for one in envelopes for make in (dsse, bundle)]
    stores = [
        Whole(*evidence[start : start + 4], url=f"whole:{start}") for start in range(0, len(evidence), 4)
    ]
    ingesting.MOST_PIECES = 1
    fresh, place = file_at(folder / "fresh.db"), file_at(folder / "index.db")
    built(fresh, trusted, *stores)
    built(place, trusted, stores[0])
    old, whole = content(place), content(fresh)
    replaced = 0
    for number in range(1, kills + 1):
        ended = _in_fork(lambda at=number: _killed_at(at * 7, lambda: built(place, trusted, *stores)))  # type: ignore[misc]
        assert ended in (0, -signal.SIGKILL), ended
        found = content(place)
        # a build that is killed behind the rename has done its work
        assert found == whole or (found == old and ended), number
        if found == whole:
            built(place, trusted, stores[0])
            replaced += 1
    assert 0 < replaced < kills
    built(place, trusted, *stores)
    assert content(place) == whole
    # an update that is killed leaves what it had committed
    built(place, trusted, stores[0])
    for number in range(1, 6):
        assert _in_fork(lambda at=number: _killed_at(at * 11, lambda: updated(place, trusted, *stores))) in (
            0,
            -signal.SIGKILL,
        )  # type: ignore[misc]
        content(place)
    updated(place, trusted, *stores)
    assert content(place)["attestation"] == whole["attestation"]
    _full_disk(folder, lambda: built(place, trusted, *stores))
    assert content(place)["attestation"] == whole["attestation"]
    sys.stdout.write("as expected\n")


def _killed_at(number: int, work) -> None:  # type: ignore[no-untyped-def]
    sent = 0

    def count(*_: object) -> None:
        nonlocal sent
        sent += 1
        if sent == number:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", count)
    event.listen(Engine, "commit", count)
    for name in ("replace", "unlink"):
        setattr(Path, name, _counted(getattr(Path, name), count))
    work()


def _counted(function, count):  # type: ignore[no-untyped-def]
    def counted(*args: object, **kwargs: object) -> object:
        count()
        return function(*args, **kwargs)

    return counted


def _full_disk(folder: Path, work) -> None:  # type: ignore[no-untyped-def]
    """A file may not grow beyond a limit: SQLite is told so as on a full disk."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limit = 100_000
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        with pytest.raises(IndexUnavailable, match=r"full|disk"):
            work()

    assert _in_fork(limited) == 0


def _in_fork(work) -> int:  # type: ignore[no-untyped-def]
    """Return the exit code of a fork, negative for a signal."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:  # noqa: BLE001 - a fork must never come back into its parent
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
