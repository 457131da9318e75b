"""Files beside the index, which change while they are read."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from chains.web.files import watched


def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "_FRESH", 0.0)
    path = tmp_path / "audit.json"
    path.write_text("old")
    has_read, may_end = threading.Event(), threading.Event()

    def load() -> str:
        text = path.read_text()
        has_read.set()
        may_end.wait()
        return text

    async def work() -> None:
        file = watched.Watched([path], load)
        first = asyncio.create_task(file.value())
        await asyncio.to_thread(has_read.wait)
        path.write_text("newer")
        await file.state()
        may_end.set()
        assert await first == "old"
        assert await file.value() == "newer"

    asyncio.run(work())
