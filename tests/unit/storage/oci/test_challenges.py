"""How credentials reach a registry: without a challenge, by the challenge that they meet, along redirects."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable

import pytest
from aiohttp import web

from storage.oci.docker_config import Credential
from storage.oci.store import RegistryStore
from storage.record import Stored
from tests.unit.storage import records
from tests.unit.storage.fake_registry import FakeRegistry, Fault, refused, serving
from tests.unit.storage.oci.test_login import FAST, Several, image_in, user

NOBODY = Credential("none, as there is none")
ROBOT = user("robot")
IDENTITY = Credential("the identity token", identity_token="IDENTITY")
REGISTRY = Credential("the registry token", registry_token="REGISTRY")


def put(made: Callable[[FakeRegistry], Fault], *credentials: Credential) -> tuple[Stored, FakeRegistry]:
    """Store an attestation in a registry that ``made`` guards."""

    async def work() -> tuple[Stored, FakeRegistry]:
        async with serving() as registry:
            image = image_in(registry)
            registry.fault = made(registry)
            async with RegistryStore("oci:", FAST, Several(credentials or [NOBODY])) as store:
                return await store.put(records.attestation(image)), registry

    return asyncio.run(work())


def is_read(request: web.Request) -> bool:
    return request.method in {"GET", "HEAD"}


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("credential", "header"), [(ROBOT, ROBOT.basic), (REGISTRY, "Bearer REGISTRY")], ids=["user", "token"]
)
def test_a_registry_that_asks_nobody_and_refuses_writes_gets_the_credentials(
    status: int, credential: Credential, header: str
) -> None:
    def guard(_: FakeRegistry) -> Fault:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            allowed = is_read(request) or request.headers.get("Authorization") == header
            return None if allowed else refused(status, "DENIED")

        return fault

    stored, registry = put(guard, credential)
    assert not stored.failures
    assert registry.headers[0].get("Authorization") is None, "nothing is sent before it is asked for"


def test_a_registry_that_hides_what_is_not_everybodys_gets_the_credentials() -> None:
    def guard(_: FakeRegistry) -> Fault:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            if request.path == "/v2/" or request.headers.get("Authorization") == ROBOT.basic:
                return None
            return refused(404, "NAME_UNKNOWN")

        return fault

    stored, _ = put(guard, ROBOT)
    assert not stored.failures
    stored, _ = put(guard, user("wrong"))
    assert {failure.absence for failure in stored.failures} == {"certain"}


def test_a_registry_that_refuses_without_a_challenge_and_without_credentials_says_so() -> None:
    def guard(_: FakeRegistry) -> Fault:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            return None if is_read(request) else refused(403, "DENIED", "no anonymous push")

        return fault

    stored, _ = put(guard)
    for failure in stored.failures:
        assert "403 DENIED: no anonymous push; credentials tried: none" in failure.reason
        assert not failure.transient


def both(
    basic_first: bool, takes: str, *, realm: str = "http://{host}/token"
) -> Callable[[FakeRegistry], Fault]:
    """A registry that names two schemes and takes one of them."""

    def guard(registry: FakeRegistry) -> Fault:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            given = request.headers.get("Authorization", "")
            if request.path == "/token":
                known = given == ROBOT.basic or b"IDENTITY" in await request.read()
                return web.json_response({"token": "T"}) if known else refused(401, "UNAUTHORIZED")
            if given == {"basic": ROBOT.basic, "bearer": "Bearer T"}[takes]:
                return None
            bearer = f'Bearer realm="{realm.format(host=request.host)}",service="s"'
            schemes = ['Basic realm="x"', bearer]
            answer = refused(401, "UNAUTHORIZED")
            for scheme in schemes if basic_first else reversed(schemes):
                answer.headers.add("WWW-Authenticate", scheme)
            return answer

        return fault

    return guard


@pytest.mark.parametrize("basic_first", [True, False])
@pytest.mark.parametrize(
    ("takes", "credential"), [("basic", ROBOT), ("bearer", ROBOT), ("bearer", IDENTITY)],
    ids=["basic, user", "bearer, user", "bearer, identity token"],
)  # fmt: skip
def test_of_two_challenges_the_one_is_met_that_the_credential_can(
    basic_first: bool, takes: str, credential: Credential
) -> None:
    stored, _ = put(both(basic_first, takes), credential)
    assert not stored.failures


@pytest.mark.parametrize("basic_first", [True, False])
def test_a_token_server_that_cannot_be_used_leaves_the_other_scheme(basic_first: bool) -> None:
    stored, _ = put(both(basic_first, "basic", realm="null://{host}/v2/token"), ROBOT)
    assert not stored.failures


def test_an_identity_token_is_no_password_and_that_is_told() -> None:
    def guard(_: FakeRegistry) -> Fault:
        async def fault(_: web.Request) -> web.StreamResponse | None:
            return refused(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="x"'})

        return fault

    stored, registry = put(guard, IDENTITY)
    assert (
        "the identity token (the registry asks for basic, which it does not support)"
        in stored.failures[0].reason
    )
    assert not any("Authorization" in headers for headers in registry.headers)


@pytest.mark.parametrize("begins", ["basic", "bearer"])
def test_a_scheme_that_changes_midway_is_followed(begins: str) -> None:
    """As behind a proxy that is changed while a run is stored: after five requests it wants the other."""

    def guard(registry: FakeRegistry) -> Fault:
        ends = {"basic": "bearer", "bearer": "basic"}[begins]

        async def fault(request: web.Request) -> web.StreamResponse | None:
            wanted = begins if len(registry.seen) <= 5 else ends
            return (
                await both(True, wanted)(registry)(request)
                if request.path == "/token"
                else _one(request, wanted)
            )

        return fault

    stored, _ = put(guard, ROBOT)
    assert not stored.failures


def _one(request: web.Request, wanted: str) -> web.StreamResponse | None:
    challenge, header = {
        "basic": ('Basic realm="x"', ROBOT.basic),
        "bearer": (f'Bearer realm="http://{request.host}/token",service="s"', "Bearer T"),
    }[wanted]
    if request.headers.get("Authorization") == header:
        return None
    return refused(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge})


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("whole", [False, True], ids=["path", "URL"])
def test_every_method_follows_a_redirect_to_the_same_origin_with_credentials(
    status: int, whole: bool
) -> None:
    followed: list[tuple[str, str]] = []

    def guard(registry: FakeRegistry) -> Fault:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            if request.headers.get("Authorization") != ROBOT.basic:
                return refused(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="x"'})
            if "moved" in request.query or request.path == "/v2/":
                followed.append((request.method, request.path))
                return None
            await request.read()
            place = f"{request.path}?{request.query_string}&moved=1".replace("?&", "?")
            target = f"http://{registry.host}{place}" if whole else place
            return web.Response(status=status, headers={"Location": target})

        return fault

    stored, registry = put(guard, ROBOT)
    assert not stored.failures
    assert {method for method, _ in followed} == {"GET", "HEAD", "POST", "PUT"}
    assert len(registry.manifests) > 2


def test_credentials_stay_where_they_belong_when_a_read_is_redirected() -> None:
    async def work() -> None:
        async with serving() as registry, serving(address="127.0.0.2") as other:
            image = image_in(registry)

            async def fault(request: web.Request) -> web.StreamResponse | None:
                if request.headers.get("Authorization") != ROBOT.basic:
                    return refused(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="x"'})
                if request.method == "GET" and ".att" in request.path:
                    place = f"http://{other.host}{request.path}"
                    return web.Response(status=307, headers={"Location": place})
                return None

            registry.fault = fault
            async with RegistryStore("oci:", FAST, Several([ROBOT])) as store:
                await store.put(records.attestation(image))
            assert other.seen, "it was followed"
            assert not any("Authorization" in headers for headers in other.headers)

    asyncio.run(work())


def test_a_token_server_that_moved_within_its_origin_is_followed() -> None:
    def guard(_: FakeRegistry) -> Fault:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            if request.path == "/token":
                return web.Response(status=307, headers={"Location": f"/v3/token?{request.query_string}"})
            if request.path == "/v3/token":
                right = request.headers.get("Authorization") == ROBOT.basic
                return web.json_response({"token": "T"}) if right else refused(401, "UNAUTHORIZED")
            return _one(request, "bearer")

        return fault

    stored, _ = put(guard, ROBOT)
    assert not stored.failures


def test_a_password_never_leaves_in_a_reason() -> None:
    secret = base64.b64encode(b"robot:secret").decode()
    stored, _ = put(both(True, "bearer", realm="null://{host}"), user("robot"))
    assert stored.failures
    assert all(secret not in one.reason for one in stored.failures)
