"""Several credentials for one registry: which is used, what is told of the others, what is shared."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiohttp import web

from storage.base import StoreOptions
from storage.errors import StoreRejected
from storage.formats.reference import Repository
from storage.oci.docker_config import Credential
from storage.oci.store import RegistryStore
from storage.record import Stored, Subject
from tests.unit.storage import records
from tests.unit.storage.fake_registry import FakeRegistry, refused, serving

FAST = StoreOptions(timeout=5, attempts=1)
BASIC = 'Basic realm="test"'


@dataclass
class Several:
    """A keychain of several users, and of others when it is asked again."""

    first: Sequence[Credential]
    then: Sequence[Credential] | None = None
    asked: list[bool] = field(default_factory=list)

    async def candidates(self, repository: Repository, *, again: bool = False) -> Sequence[Credential]:
        self.asked.append(again)
        return self.first if self.then is None or not again else self.then


def user(name: str, password: str = "secret") -> Credential:
    return Credential(f"the secret of {name}", name, password)


class Guard:
    """The registry's side: who may read and who may push too; everybody else is asked or told no."""

    def __init__(
        self, pushers: Sequence[Credential], readers: Sequence[Credential] = (), status: int = 401
    ) -> None:
        self.pushers = {each.basic for each in pushers}
        self.readers = {each.basic for each in readers} | self.pushers
        self.status, self.seen = status, list[str]()

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        given = request.headers.get("Authorization", "")
        self.seen.append(given)
        allowed = (
            self.readers if request.method in {"GET", "HEAD"} and request.path != "/v2/" else self.pushers
        )
        if given in allowed:
            return None
        if given in self.readers:
            return refused(403, "DENIED", "push")
        return refused(self.status if given else 401, "UNAUTHORIZED", **{"WWW-Authenticate": BASIC})


def image_in(registry: FakeRegistry, content: str = "image") -> Subject:
    digest = registry.push_image("team/app", content)
    return Subject(f"{registry.host}/team/app", {"sha256": digest.removeprefix("sha256:")})


def put(guard: object, keychain: Several, times: int = 1) -> list[Stored]:
    async def work() -> list[Stored]:
        async with serving() as registry:
            images = [image_in(registry, str(number)) for number in range(times)]
            registry.fault = guard  # type: ignore[assignment]
            async with RegistryStore("oci:", FAST, keychain) as store:
                return [await store.put(records.attestation(image)) for image in images]

    return asyncio.run(work())


def test_the_second_is_used_where_the_first_is_refused_and_the_next_run_begins_with_it() -> None:
    good, wrong = user("good"), user("wrong")
    guard = Guard([good])
    first, second = put(guard, Several([wrong, good]), times=2)
    assert not first.failures + second.failures
    last_wrong = max(at for at, given in enumerate(guard.seen) if given == wrong.basic)
    assert len(guard.seen) - last_wrong > 8, "the wrong one was tried for the first requests alone"


def test_one_that_may_read_and_not_push_gives_way_to_one_that_may() -> None:
    good, reader = user("good"), user("reader")
    (stored,) = put(Guard([good], [reader]), Several([reader, good]))
    assert not stored.failures


def test_a_refusal_by_403_goes_on_too() -> None:
    (stored,) = put(Guard([user("good")], status=403), Several([user("wrong"), user("good")]))
    assert not stored.failures


def test_every_refusal_is_told_in_order_with_its_source_and_no_secret() -> None:
    unreadable = Credential("the secret gone", unusable="does not exist")
    keychain = Several(
        [user("a", "hunter2"), unreadable, user("b", "hunter3"), Credential("none, as there is none")]
    )
    (stored,) = put(Guard([]), keychain)
    for failure in stored.failures:
        assert not failure.transient
        told = failure.reason.partition("credentials tried: ")[2]
        sources, _, advice = told.replace(" UNAUTHORIZED: no", "").rpartition("; ")  # a HEAD has no words
        assert sources == (
            "the secret of a (answered 401); the secret gone (does not exist); "
            "the secret of b (answered 401); none, as there is none (answered 401)"
        )
        assert advice.startswith("one of them must be allowed to push to 127.0.0.1:")
        assert "hunter" not in failure.reason
        assert base64.b64encode(b"a:hunter2").decode() not in failure.reason
    assert set(keychain.asked) == {False, True}


def test_what_could_not_be_tried_now_makes_the_failure_one_that_passes() -> None:
    away = Credential("the secret away", unusable="cannot be read: 503", transient=True)
    (stored,) = put(Guard([]), Several([away, user("wrong")]))
    assert stored.failures
    assert all(failure.transient and "the secret away" in failure.reason for failure in stored.failures)
    (stored,) = put(Guard([user("good")]), Several([away, user("good")]))
    assert not stored.failures


def test_after_the_last_refusal_it_is_looked_for_new_ones() -> None:
    keychain = Several([user("robot", "old")], [user("robot", "new")])
    (stored,) = put(Guard([user("robot", "new")]), keychain)
    assert not stored.failures


def test_a_keychain_that_breaks_is_told() -> None:
    class Broken(Several):
        async def candidates(self, repository: Repository, *, again: bool = False) -> Sequence[Credential]:
            raise StoreRejected("the file is no JSON")

    (stored,) = put(Guard([]), Broken([]))
    assert all("the file is no JSON" in failure.reason for failure in stored.failures)


class TokenGuard:
    """A registry with tokens: one for each good user, and no push for those who may only read."""

    def __init__(self, pushers: Sequence[Credential], readers: Sequence[Credential] = ()) -> None:
        self.pushers, self.readers = {each.basic for each in pushers}, {each.basic for each in readers}
        self.asked: list[str] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        given = request.headers.get("Authorization", "")
        if request.path == "/token":
            self.asked.append(given)
            if given in self.pushers | self.readers:
                return web.json_response({"token": "push" if given in self.pushers else "pull"})
            return refused(401, "UNAUTHORIZED")
        if given == "Bearer push" or (given == "Bearer pull" and request.method in {"GET", "HEAD"}):
            return None
        challenge = f'Bearer realm="http://{request.host}/token",service="registry.test"'
        return refused(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge})


def test_a_user_whom_the_token_server_refuses_gives_way_to_the_next() -> None:
    good, reader, wrong = user("good"), user("reader"), user("wrong")
    (stored,) = put(TokenGuard([good], [reader]), Several([wrong, reader, good]))
    assert not stored.failures
    (stored,) = put(TokenGuard([good], [reader]), Several([wrong, reader]))
    for failure in stored.failures:
        assert "the secret of wrong (the token server 127.0.0.1" in failure.reason
        assert "the secret of reader (answered 401 UNAUTHORIZED: no)" in failure.reason


def test_siblings_share_connections_and_the_tokens_of_equal_credentials_and_no_others() -> None:
    async def work() -> None:
        good, wrong = user("good"), user("wrong")
        async with serving() as registry:
            guard = TokenGuard([good])
            image, registry.fault = image_in(registry), guard
            async with RegistryStore("oci:", FAST, Several([])) as store:
                ours = [store.sibling(Several([good])) for _ in range(3)]
                theirs = store.sibling(Several([wrong]))
                for each in ours:
                    assert not (await each.put(records.attestation(image))).failures
                assert len(guard.asked) == 1
                assert registry.count("GET /v2/$") == 1
                assert (await theirs.put(records.attestation(image))).failures
                await theirs.close()
                assert not (await ours[0].put(records.attestation(image))).failures

    asyncio.run(work())


def test_siblings_that_write_one_tag_at_the_same_time_lose_nothing() -> None:
    async def work() -> None:
        async with serving() as registry:
            image = image_in(registry)
            async with RegistryStore("oci:", FAST, Several([Credential("none")])) as store:
                ours = [store.sibling(Several([Credential("none")])) for _ in range(4)]
                jobs = (each.put(records.attestation(image, pad=at)) for at, each in enumerate(ours))
                assert not any(stored.failures for stored in await asyncio.gather(*jobs))
                found = await store.find(f"sha256:{image.digest['sha256']}", image.name)
        assert len({one.data for one in found.evidence if one.source == "oci-att"}) == 4

    asyncio.run(work())
