"""The event loop of a command."""

from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from chains.loop import carry_out, fast_loop


class Untold:
    """A result that nobody may make a text of."""

    def __repr__(self) -> str:
        raise AssertionError("the result was made a text of")


def test_the_result_is_returned_and_never_made_a_text_of() -> None:
    result = Untold()

    async def work() -> Untold:
        await asyncio.sleep(0)
        return result

    assert carry_out(work()) is result


def test_what_was_raised_is_raised() -> None:
    async def work() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        carry_out(work())


def test_the_fast_loop_is_uvloop_s_where_it_is_installed() -> None:
    async def work() -> type[asyncio.AbstractEventLoop]:
        return type(asyncio.get_running_loop())

    assert carry_out(work(), fast_loop()) is uvloop.Loop
    assert carry_out(work()) is not uvloop.Loop


def test_without_uvloop_the_loop_is_asyncio_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert fast_loop() is None
