import asyncio
import time

from chains.cluster.rate_limit import Pace


def seconds_for(pace: Pace, turns: int) -> float:
    async def work() -> float:
        started = time.monotonic()
        await asyncio.gather(*(pace.turn() for _ in range(turns)))
        return time.monotonic() - started

    return asyncio.run(work())


def test_a_burst_goes_at_once_and_the_rest_keeps_the_rate() -> None:
    assert seconds_for(Pace(20, 10), 10) < 0.2
    assert 0.2 <= seconds_for(Pace(20, 10), 15) < 3


def test_without_a_rate_nobody_waits() -> None:
    assert seconds_for(Pace(), 1000) < 0.5
