"""The event loop of a command."""

from __future__ import annotations

import asyncio

import pytest

from chains.loop import carry_out


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
