from __future__ import annotations

import asyncio

import pytest

from chains.cluster import rate_limit
from chains.cluster.rate_limit import Pace


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What each turn waits for, while time stands still."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr(rate_limit.time, "monotonic", lambda: 1000.0)
    monkeypatch.setattr(rate_limit.asyncio, "sleep", sleep)
    return found


def take_turns(pace: Pace, turns: int) -> None:
    async def work() -> None:
        for _ in range(turns):
            await pace.turn()

    asyncio.run(work())


def test_a_burst_goes_at_once_and_the_rest_keeps_the_rate(waits: list[float]) -> None:
    take_turns(Pace(20, 10), 13)
    assert waits == pytest.approx([0.05, 0.1, 0.15])


def test_after_a_pause_there_may_be_a_burst_again(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = Pace(20, 10)
    take_turns(pace, 12)
    monkeypatch.setattr(rate_limit.time, "monotonic", lambda: 1010.0)
    take_turns(pace, 11)
    assert waits == pytest.approx([0.05, 0.1, 0.05])


def test_without_a_rate_nobody_waits(waits: list[float]) -> None:
    take_turns(Pace(), 1000)
    assert waits == []
