"""Programs that are started, under both event loops: asyncio's own, and uvloop's, which a program that uses this package may have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from storage.child_process import start_process

MakeLoop = Callable[[], asyncio.AbstractEventLoop] | None


@pytest.fixture(params=[None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def make_loop(request: pytest.FixtureRequest) -> MakeLoop:
    found: MakeLoop = request.param
    return found


def run(work: Coroutine[Any, Any, bytes], make_loop: MakeLoop) -> bytes:
    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(work)


def test_what_is_written_is_read_by_the_program(make_loop: MakeLoop) -> None:
    async def work() -> bytes:
        process = await start_process("cat")
        process.write(b"a line\n")
        assert process.stdout is not None
        said = await process.stdout.readline()
        await process.end()
        return said

    assert run(work(), make_loop) == b"a line\n"


def test_writing_to_a_program_that_has_ended_raises_nothing(make_loop: MakeLoop) -> None:
    async def work() -> bytes:
        process = await start_process("true")
        assert process.stdout is not None
        said = await process.stdout.read()
        assert await process.wait() == 0
        for _ in range(3):
            process.write(b"a line\n")
            await asyncio.sleep(0)
        await process.end()
        return said

    assert run(work(), make_loop) == b""


def test_a_program_that_says_more_than_is_read_is_ended_and_leaves_nothing_open(make_loop: MakeLoop) -> None:
    async def work() -> bytes:
        # what the shell starts keeps the output open
        process = await start_process("sh", "-c", "yes & yes")
        assert process.stdout is not None
        said = await process.stdout.read(4)
        await process.end()
        assert process.returncode == -9
        return said

    assert run(work(), make_loop) == b"y\ny\n"
