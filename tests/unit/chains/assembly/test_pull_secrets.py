"""Which credentials a pod has for a repository, how often Secrets are read, and what bounds an owner of many."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from chains.assembly import pull_secrets as module
from chains.assembly.pull_secrets import (
    MOST_COMPARED,
    MOST_ENTRIES,
    MOST_FOUND,
    MOST_OF_NAMESPACE,
    MOST_TRIED,
    SECONDS,
    Outcome,
    PullSecrets,
)
from chains.assembly.registry_secrets import LARGEST
from chains.cluster.errors import ClusterError, ClusterForbidden, ClusterUnavailable, ObjectGone
from chains.tekton.workloads import MOST_PULL_SECRETS, Puller, puller_of
from storage.errors import StoreUnavailable
from storage.formats.reference import Repository
from storage.oci.docker_config import Credential

Json = Any
APP = Repository("registry.example", "team/app")
JSON, CFG = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"
OWN = Credential("the file", "own", "own")


class Own:
    """The server's own credentials, which may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def candidates(self, repository: Repository, *, again: bool = False) -> Sequence[Credential]:
        if self._error is not None:
            raise self._error
        return [OWN]


class Objects:
    """An API server with these objects; an error stands for what it answers."""

    def __init__(self, **found: Json) -> None:
        self.found = {name.replace("__", "/").replace("_", "-"): each for name, each in found.items()}
        self.asked: list[str] = []
        self.wait: Callable[[], Any] | None = None

    async def get(self, path: str) -> Json:
        name = path.removeprefix("/api/v1/namespaces/")
        self.asked.append(name)
        if self.wait is not None:
            await self.wait()
        found = self.found.get(name, ObjectGone(f"GET {path}: 404"))
        if isinstance(found, ClusterError):
            raise found
        return found


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def secret(*entries: tuple[str, str], kind: str = JSON, password: str = "hunter2") -> Json:
    auths = {host: {"username": user, "password": password} for host, user in entries}
    content = {"auths": auths} if kind == JSON else auths
    name = ".dockerconfigjson" if kind == JSON else ".dockercfg"
    return {"type": kind, "data": {name: base64.b64encode(json.dumps(content).encode()).decode()}}


HERE = ("registry.example", "user")


class Made:
    def __init__(self, **found: Json) -> None:
        self.api, self.clock, self.outcomes = Objects(**found), Clock(), Counter[str]()
        self.secrets = PullSecrets(
            self.api,  # type: ignore[arg-type]
            Own(),
            key=b"k",
            count=lambda one: self.outcomes.update([one.value]),
            clock=self.clock,
        )

    def users(self, *names: str, account: str = "", repository: Repository = APP) -> list[str]:
        return asyncio.run(self._users(Puller("shop", names, account), repository))

    async def _users(self, puller: Puller, repository: Repository) -> list[str]:
        found = await self.secrets.find(puller, repository)
        if found is None:
            return []
        return [one.username for one in await found.keychain.candidates(repository)]


def test_a_pods_secrets_come_in_its_order_and_before_the_servers_own() -> None:
    made = Made(
        shop__secrets__a=secret(HERE),
        shop__secrets__b=secret(("registry.example/team", "closer"), ("other.example", "x"), kind=CFG),
    )
    assert made.users("b", "a", "b") == ["closer", "user", "own"]
    assert made.api.asked == ["shop/secrets/b", "shop/secrets/a"]
    assert made.outcomes == {"read": 2}


def test_credentials_go_to_the_registry_and_repository_that_they_are_for_and_no_other() -> None:
    made = Made(shop__secrets__a=secret(("registry.example/team", "user"), ("*.example.com", "glob")))
    assert made.users("a", repository=Repository("other.example", "team/app")) == []
    assert made.users("a", repository=Repository("registry.example.evil.com", "team/app")) == []
    assert made.users("a", repository=Repository("registry.example", "teams/app")) == []
    assert made.users("a", repository=Repository("eu.example.com", "x")) == ["glob", "own"]

    async def elsewhere() -> list[str]:
        found = await made.secrets.find(Puller("shop", ("a",)), APP)
        assert found is not None
        # evidence may be kept in another repository, even of the same registry: the server's own credentials go there
        there = [Repository("registry.example", "team/evidence"), Repository("eu.example.com", "x")]
        return [one.username for place in there for one in await found.keychain.candidates(place)]

    assert asyncio.run(elsewhere()) == ["own", "own"]


def test_the_secrets_of_an_account_count_for_a_template_that_names_none() -> None:
    pulls = {"imagePullSecrets": [{"name": "a"}], "secrets": [{"name": "never"}]}
    made = Made(shop__serviceaccounts__builder=pulls, shop__secrets__a=secret(HERE))
    assert made.users(account="builder") == ["user", "own"]
    assert made.api.asked == ["shop/serviceaccounts/builder", "shop/secrets/a"]
    assert made.users(account="none") == []


@pytest.mark.parametrize(
    ("spec", "is_pod", "expected"),
    [
        ({"imagePullSecrets": [{"name": "a"}, {"name": "b"}]}, True, Puller("shop", ("a", "b"))),
        ({"imagePullSecrets": [{"name": "a"}], "serviceAccountName": "x"}, False, Puller("shop", ("a",))),
        ({"serviceAccountName": "x"}, False, Puller("shop", (), "x")),
        ({"serviceAccount": "x"}, False, Puller("shop", (), "x")),
        ({"serviceAccountName": 7}, False, Puller("shop", (), "default")),
        ({}, False, Puller("shop", (), "default")),
        ({"imagePullSecrets": []}, False, Puller("shop", (), "default")),
        ({"serviceAccountName": "x"}, True, None),
        ({"imagePullSecrets": [{}, 7, {"name": 7}, {"name": "n" * 254}]}, True, None),
        ({"imagePullSecrets": {"name": "a"}}, True, None),
        ({"imagePullSecrets": [{"name": f"s{at}"} for at in range(99)]}, True,
         Puller("shop", tuple(f"s{at}" for at in range(MOST_PULL_SECRETS)))),
        ([], False, None),
        (None, False, None),
    ],
)  # fmt: skip
def test_whose_secrets_count_is_what_the_kubelet_would_take(
    spec: Json, is_pod: bool, expected: Puller
) -> None:
    assert puller_of(spec, "shop", is_pod=is_pod) == expected


def test_a_secret_is_read_once_for_all_who_ask_and_again_after_seconds() -> None:
    made = Made(shop__secrets__a=secret(HERE))

    async def at_once() -> None:
        release = asyncio.Event()
        made.api.wait = release.wait
        asking = [asyncio.create_task(made._users(Puller("shop", ("a",)), APP)) for _ in range(50)]
        await asyncio.sleep(0)
        release.set()
        assert await asyncio.gather(*asking) == [["user", "own"]] * 50

    asyncio.run(at_once())
    made.api.wait = None
    assert made.api.asked == ["shop/secrets/a"]
    made.api.found["shop/secrets/a"] = secret(("registry.example", "new"))
    assert made.users("a") == ["user", "own"]
    made.clock.seconds = 2 * SECONDS
    assert made.users("a") == ["new", "own"]


def test_what_expires_while_it_is_asked_for_is_read_again() -> None:
    """The clock is read for each question to a cache."""
    steps = itertools.count(0, int(SECONDS) - 2)
    users = PullSecrets(Objects(shop__secrets__a=secret(HERE)), Own(), clock=lambda: float(next(steps)))  # type: ignore[arg-type]

    async def work() -> None:
        for _ in range(50):
            found = await users.find(Puller("shop", ("a",)), APP)
            assert found is not None
            assert [one.username for one in await found.keychain.candidates(APP)] == ["user", "own"]

    asyncio.run(work())


def test_equal_credentials_have_one_identity_and_others_another() -> None:
    made = Made(
        shop__secrets__a=secret(HERE),
        shop__secrets__twin=secret(HERE, ("other.example", "x")),
        shop__secrets__wrong=secret(HERE, password="hunter3"),
        mall__secrets__a=secret(HERE),
    )

    async def identities(secrets: PullSecrets) -> list[str]:
        pullers = [
            Puller("shop", ("a",)),
            Puller("mall", ("a",)),
            Puller("shop", ("twin",)),
            Puller("shop", ("a", "twin")),
            Puller("shop", ("wrong",)),
            Puller("shop", ("a", "wrong")),
        ]
        found = [await secrets.find(one, APP) for one in pullers]
        return [one.identity for one in found if one]

    one, *others = asyncio.run(identities(made.secrets))
    assert others[:3] == [one] * 3
    assert len({one, *others[3:]}) == 3
    # the key is the server's: whoever sees an identity cannot try passwords
    again = PullSecrets(made.api, Own(), key=b"other")  # type: ignore[arg-type]
    assert asyncio.run(identities(again))[0] != one


def test_no_credential_says_which_secret_it_is_from_or_shows_its_password() -> None:
    made = Made(shop__secrets__quarterly_plan=secret(("registry.example/team", "user")))

    async def shown() -> str:
        found = await made.secrets.find(Puller("shop", ("quarterly-plan",)), APP)
        assert found is not None
        return repr(await found.keychain.candidates(APP)) + repr(found)

    told = asyncio.run(shown())
    assert "source='pull secret 1'" in told
    assert not [word for word in ("quarterly", "hunter2", "shop", "registry.example/team") if word in told]


@pytest.mark.parametrize(
    ("found", "outcome", "reason"),
    [
        (ClusterForbidden("GET: 403 no"), Outcome.FORBIDDEN, "the account may not read it; the overlay"),
        (ObjectGone("GET: 404"), Outcome.UNUSABLE, "does not exist"),
        ({"type": "Opaque"}, Outcome.UNUSABLE, "is of type Opaque; expected kubernetes.io/dockerconfigjson"),
        ({"type": JSON}, Outcome.UNUSABLE, "has no .dockerconfigjson of registries and credentials"),
        ({"type": JSON, "data": {".dockerconfigjson": "hunter2"}}, Outcome.UNUSABLE, "has no .dockerconfigjson"),
        ({"type": JSON, "data": {".dockerconfigjson": "A" * (LARGEST + 1)}}, Outcome.UNUSABLE, "expected at most"),
    ],
    ids=["forbidden", "gone", "opaque", "empty", "no-base64", "large"],
)  # fmt: skip
def test_what_cannot_be_used_is_told_once_and_counted_and_the_others_are_used(
    caplog: pytest.LogCaptureFixture, found: Json, outcome: Outcome, reason: str
) -> None:
    made = Made(shop__secrets__bad=found, shop__secrets__a=secret(HERE))
    assert made.users("bad", "a") == ["user", "own"]
    assert made.outcomes == {outcome.value: 1, "read": 1}
    made.clock.seconds = 60
    assert made.users("bad", "a") == ["user", "own"]
    (record,) = caplog.records
    assert (record.namespace, record.object) == ("shop", "secrets/bad")  # type: ignore[attr-defined]
    assert reason in record.reason  # type: ignore[attr-defined]
    assert "hunter2" not in caplog.text + str(record.__dict__)


def test_an_api_server_that_is_away_is_asked_again_at_once() -> None:
    made = Made(shop__secrets__a=ClusterUnavailable("GET: 503"))
    assert made.users("a") == []
    made.api.found["shop/secrets/a"] = secret(HERE)
    assert made.users("a") == ["user", "own"]


@pytest.mark.parametrize("name", ["..", "a/../b", "A", "a?b", "ä", ""])
def test_a_name_that_would_lead_elsewhere_is_not_asked_for(name: str) -> None:
    made = Made()
    assert made.users(name) == []

    async def elsewhere() -> object:
        return await made.secrets.find(Puller(name, ("a",)), APP)

    assert asyncio.run(elsewhere()) is None
    assert made.api.asked == []


def test_one_namespace_cannot_hold_up_the_others() -> None:
    made = Made(mall__secrets__a=secret(HERE))

    async def run() -> None:
        release = asyncio.Event()
        made.api.wait = release.wait
        hostile = [
            asyncio.create_task(made._users(Puller("shop", (f"s{at}",)), APP))
            for at in range(3 * MOST_OF_NAMESPACE)
        ]
        for _ in range(20):
            await asyncio.sleep(0)
        assert made.outcomes == {"left_out": 2 * MOST_OF_NAMESPACE}
        other = asyncio.create_task(made._users(Puller("mall", ("a",)), APP))
        await asyncio.sleep(0)
        release.set()
        assert await other == ["user", "own"]
        await asyncio.gather(*hostile)

    asyncio.run(run())
    # nothing is left over: the namespace may read as many again
    assert made.users("later") == []
    assert made.outcomes["unusable"] == MOST_OF_NAMESPACE + 1


def test_what_is_kept_and_tried_is_bounded_however_many_secrets_there_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_KEPT", 30_000)
    many = {f"shop__secrets__s{at}": secret(("registry.example/team", f"u{at}")) for at in range(100)}
    many["shop__secrets__wide"] = secret(*((f"{'*' * (at + 1)}.example", f"w{at}") for at in range(50)))
    many["shop__secrets__late"] = secret(*((f"r{at}.example", "x") for at in range(MOST_ENTRIES)), HERE)
    many["shop__secrets__long"] = secret(HERE, password="p" * (module.LONGEST + 1))
    made = Made(**many)
    for at in range(100):
        made.users(f"s{at}")
    assert made.secrets._objects.currsize <= 30_000
    assert made.users("wide") == ["w4", "w3", "w2", "w1", "w0", "own"]
    assert made.users("late") == []
    some = [f"s{at}" for at in range(8, 24)]
    assert len(made.users(*some)) == MOST_TRIED + 1
    left_out = [one for one in caplog.records if "are left out" in one.__dict__["reason"]]
    assert [(one.__dict__["object"], one.__dict__["reason"].partition(" ")[0]) for one in left_out] == [
        ("secrets/wide", "45"), ("secrets/late", "1")
    ]  # fmt: skip
    assert made.users("long") == []


def test_own_credentials_that_cannot_be_read_do_not_stop_those_of_the_pod() -> None:
    api = Objects(shop__secrets__a=secret(HERE))
    secrets = PullSecrets(api, Own(StoreUnavailable("the helper hangs")))  # type: ignore[arg-type]

    async def run() -> Sequence[Credential]:
        found = await secrets.find(Puller("shop", ("a",)), APP)
        assert found is not None
        return await found.keychain.candidates(APP)

    first, second = asyncio.run(run())
    assert first.username == "user"
    assert (second.unusable, second.transient) == ("the helper hangs", True)


def test_no_more_entries_are_compared_for_an_image_than_a_limit_whatever_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[int] = []
    really = module.matching_entries

    def counted(auths: Any, repository: Repository, source: str) -> list[Credential]:
        compared.append(len(auths))
        return really(auths, repository, source)

    monkeypatch.setattr(module, "matching_entries", counted)
    of_host = {f"registry.example/x{at}": "x" for at in range(100)}
    made = Made(**{f"shop__secrets__s{at}": secret(*of_host.items(), ("*.example", "y")) for at in range(9)})
    made.users(*(f"s{at}" for at in range(9)))
    assert sum(compared) == MOST_COMPARED
    # entries of other registries cost nothing
    compared.clear()
    made.users("s0", repository=Repository("elsewhere.com", "app"))
    assert compared == [1]


def test_a_namespace_that_names_many_images_is_left_out_beyond_a_limit_and_the_others_are_not() -> None:
    made = Made(shop__secrets__a=secret(HERE), mall__secrets__a=secret(HERE))

    async def run() -> None:
        release = asyncio.Event()
        made.api.wait = release.wait
        places = [Repository("registry.example", f"app{at}") for at in range(3 * MOST_FOUND)]
        hostile = [asyncio.create_task(made._users(Puller("shop", ("a",)), place)) for place in places]
        other = asyncio.create_task(made._users(Puller("mall", ("a",)), APP))
        await asyncio.sleep(0)
        release.set()
        assert await other == ["user", "own"]
        found = await asyncio.gather(*hostile)
        assert found == [["user", "own"]] * MOST_FOUND + [[]] * 2 * MOST_FOUND
        assert made.outcomes == {"read": 2, "left_out": 2 * MOST_FOUND}
        # nothing is left over
        assert await made._users(Puller("shop", ("a",)), places[-1]) == ["user", "own"]

    asyncio.run(run())
