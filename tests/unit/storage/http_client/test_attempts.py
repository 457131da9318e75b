"""How often a request is tried, and with which waits; nothing here really waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from storage.errors import StoreRejected, StoreUnavailable
from storage.http_client import attempts
from storage.http_client.answer import Answer
from storage.http_client.attempts import LONGEST_WAIT, Later, NoTls, answered, wait_before

ANSWER = Answer(200, CIMultiDictProxy(CIMultiDict()), b"", URL("https://a.example/"))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """What is asked for before each further try: its number and the wait that the server wants."""
    asked: list[tuple[int, float]] = []

    def no_wait(tried: int, after: float) -> float:
        asked.append((tried, after))
        return 0.0

    monkeypatch.setattr(attempts, "wait_before", no_wait)
    return asked


def asked(
    *outcomes: Answer | Exception, tries: int = 3, is_silent: Callable[[str], bool] = lambda _: False
) -> Answer:
    left = list(outcomes)

    async def send() -> Answer:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    found = asyncio.run(answered(send, "read a", tries, is_silent))
    assert not left
    return found


def test_what_is_answered_at_once_waits_for_nothing(waits: list[tuple[int, float]]) -> None:
    assert asked(ANSWER) is ANSWER
    assert waits == []


def test_each_further_try_waits_as_the_server_asks(waits: list[tuple[int, float]]) -> None:
    assert asked(Later("busy", 7.0), Later("busy"), ANSWER) is ANSWER
    assert waits == [(1, 7.0), (2, 0.0)]


def test_after_the_last_try_the_error_tells_how_many_there_were(waits: list[tuple[int, float]]) -> None:
    with pytest.raises(StoreUnavailable, match=r"^read a: busy \(3 tries\)$"):
        asked(*(Later("busy") for _ in range(3)))
    assert len(waits) == 2
    with pytest.raises(StoreUnavailable, match=r"^read a: busy$"):
        asked(Later("busy"), tries=1)


def test_a_silent_host_is_not_tried_again_and_is_named(waits: list[tuple[int, float]]) -> None:
    with pytest.raises(StoreUnavailable, match=r"^read a: no answer$") as caught:
        asked(Later("no answer", host="https://a.example:443"), is_silent="https://a.example:443".__eq__)
    assert caught.value.host == "https://a.example:443"
    assert waits == []


def test_tls_that_is_not_there_is_not_tried_again() -> None:
    with pytest.raises(StoreRejected, match=r"^read a: it does not speak TLS$"):
        asked(NoTls("it does not speak TLS"))


def test_before_a_further_try_the_caller_may_stop_it(waits: list[tuple[int, float]]) -> None:
    sent: list[str] = []

    async def send() -> Answer:
        sent.append("")
        raise Later("busy")

    async def stop() -> None:
        raise StoreRejected("somebody else wrote it")

    with pytest.raises(StoreRejected, match="somebody else wrote it"):
        asyncio.run(answered(send, "write a", 3, lambda _: False, stop))
    assert (len(sent), waits) == (1, [(1, 0.0)])


def test_waits_double_from_a_fifth_of_a_second_and_have_an_end() -> None:
    for tried in range(1, 12):
        middle = 0.2 * 2 ** (tried - 1)
        assert min(0.5 * middle, LONGEST_WAIT) <= wait_before(tried, 0.0) <= min(1.5 * middle, LONGEST_WAIT)
    assert wait_before(1, 3.0) == 3.0
    assert wait_before(1, 86_400.0) == LONGEST_WAIT == 30.0
