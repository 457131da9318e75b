"""How long a repository is believed to list what is written to it, and what is asked meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from storage.formats.reference import Repository
from storage.oci import listings
from storage.oci.listings import MOST_LISTED, Listings

HERE, THERE = Repository("registry.example", "team/app"), Repository("registry.example", "team/other")
SUBJECT, FIRST, SECOND = (f"sha256:{letter * 64}" for letter in "abc")


@dataclass
class Client:
    """Answers with the lists that are given, the last one again and again; None is a registry without the API."""

    lists: list[list[str] | None]
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def referrers(self, repository: Repository, subject: str, most: int, *, push: bool) -> Any:
        self.asked.append((repository, subject, most, push))
        listed = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        await asyncio.sleep(0)
        if listed is None:
            return None
        return SimpleNamespace(descriptors=[SimpleNamespace(digest=digest) for digest in listed])


@dataclass
class Time:
    """A clock that stands still, and notes what is slept."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()

    async def note(seconds: float) -> None:
        found.slept.append(seconds)

    # the module's own names, so that nothing else stands still
    monkeypatch.setattr(listings, "time", SimpleNamespace(monotonic=lambda: found.now))
    monkeypatch.setattr(listings, "asyncio", SimpleNamespace(sleep=note))
    return found


def ask(
    of: Listings,
    digest: str = FIRST,
    *,
    told: bool = False,
    written: bool = True,
    repository: Repository = HERE,
    subject: str = SUBJECT,
) -> bool:
    return asyncio.run(of.shows(repository, subject, digest, told=told, written=written))


def opened(*lists: list[str] | None) -> tuple[Client, Listings]:
    client: Any = Client(list(lists))
    return client, Listings(client)


def test_the_list_of_the_subject_is_asked_for_in_full_and_as_a_writer(time: Time) -> None:
    client, found = opened([SECOND, FIRST])
    assert ask(found, written=False)
    assert client.asked == [(HERE, SUBJECT, MOST_LISTED, True)]


def test_what_was_listed_once_is_not_asked_for_again_but_elsewhere_it_is(time: Time) -> None:
    client, found = opened([FIRST])
    for _ in range(2):
        assert ask(found, written=False)
    assert len(client.asked) == 1
    assert not ask(found, SECOND, written=False)
    assert not ask(found, SECOND, written=False), "what was not listed is asked for each time"
    assert len(client.asked) == 3
    assert ask(found, repository=THERE, written=False)
    assert len(client.asked) == 4


def test_a_registry_without_the_api_lists_nothing_and_is_not_waited_for(time: Time) -> None:
    client, found = opened(None)
    assert not ask(found, written=False)
    assert not ask(found, told=True)
    assert (len(client.asked), time.slept) == (2, [])


@pytest.mark.parametrize(("told", "seconds"), [(False, 60.0), (True, 3600.0)])
def test_a_repository_that_lists_is_believed_for_a_while(time: Time, told: bool, seconds: float) -> None:
    client, found = opened([FIRST], [])
    assert ask(found, told=told)
    assert ask(found, SECOND, told=told), "it is not asked for what is written next"
    time.now += seconds - 0.1
    assert ask(found, SECOND, told=told)
    assert len(client.asked) == 1
    time.now += 0.1
    assert not ask(found, FIRST[:-1] + "f", told=told)
    assert len(client.asked) > 1


def test_a_repository_that_does_not_list_is_not_asked_again_for_an_hour(time: Time) -> None:
    client, found = opened([])
    assert not ask(found)
    time.now += 3599.9
    assert not ask(found)
    assert not ask(found, SECOND, written=False)
    assert len(client.asked) == 1
    time.now += 0.1
    client.lists = [[FIRST]]
    assert ask(found)
    assert len(client.asked) == 2


def test_a_registry_that_says_oci_subject_has_time_to_list(time: Time) -> None:
    client, found = opened([], [], [FIRST])
    assert ask(found, told=True)
    assert (client.asked, time.slept) == ([(HERE, SUBJECT, MOST_LISTED, True)] * 3, [0.1, 0.4])
    client, found = opened([])
    time.slept.clear()
    assert not ask(found, told=True)
    assert (len(client.asked), time.slept) == (4, [0.1, 0.4, 1.0])
    client, found = opened([])
    time.slept.clear()
    assert not ask(found, told=False)
    assert (len(client.asked), time.slept) == (1, [])


def test_a_registry_that_stops_saying_oci_subject_is_asked_again_and_one_that_begins_is_not(
    time: Time,
) -> None:
    client, found = opened([FIRST])
    assert ask(found, told=True)
    assert not ask(found, SECOND, told=False)
    assert len(client.asked) == 2
    client, found = opened([FIRST])
    assert ask(found, told=False)
    assert ask(found, SECOND, told=True)
    assert len(client.asked) == 1


def test_that_a_repository_lists_says_nothing_of_a_manifest_that_was_there_before(time: Time) -> None:
    client, found = opened([FIRST])
    assert ask(found)
    assert not ask(found, SECOND, written=False)
    assert ask(found, FIRST, written=False), "it was listed after it was written"
    assert len(client.asked) == 2


def test_who_asks_the_same_at_the_same_time_shares_the_answer(time: Time) -> None:
    async def all_at_once(found: Listings, *asks: tuple[str, str, bool]) -> list[bool]:
        return await asyncio.gather(
            *(
                found.shows(HERE, subject, digest, told=False, written=written)
                for subject, digest, written in asks
            )
        )

    client, found = opened([FIRST])
    looks = ((SUBJECT, FIRST, False), (SUBJECT, SECOND, False), (SECOND, FIRST, False))
    assert asyncio.run(all_at_once(found, *looks)) == [True, False, True]
    assert [subject for _, subject, _, _ in client.asked] == [SUBJECT, SECOND]
    client, found = opened([FIRST])
    proofs = ((SUBJECT, FIRST, True), (SECOND, SECOND, True))
    assert asyncio.run(all_at_once(found, *proofs)) == [True, True]
    assert len(client.asked) == 1, "one proof is enough for a repository"
    client, found = opened([FIRST])

    async def two_repositories() -> list[bool]:
        return await asyncio.gather(
            *(found.shows(each, SUBJECT, FIRST, told=False, written=True) for each in (HERE, THERE))
        )

    assert asyncio.run(two_repositories()) == [True, True]
    assert [repository for repository, *_ in client.asked] == [HERE, THERE], "each is proven by itself"


def test_siblings_share_what_is_known_of_repositories_and_of_manifests(time: Time) -> None:
    client, found = opened([FIRST], [])
    assert ask(found)
    other: Any = Client([[]])
    sibling = Listings(other, found)
    assert ask(sibling, SECOND)
    assert ask(sibling, FIRST, written=False)
    assert other.asked == []
    assert not ask(sibling, repository=THERE)
    assert not ask(found, repository=THERE)
    assert len(other.asked) == len(client.asked) == 1
