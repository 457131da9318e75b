"""Registries that lead to addresses nearer to us than they are: by number, name, rebinding, Location and Link.

Servers are real, on several addresses of the loopback network. What a name stands for, and which of these
addresses is how near, is the test's.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from aiohttp import web

from storage.base import FORM_A, StoreOptions
from storage.errors import StoreRejected, StoreUnavailable
from storage.formats.reference import Repository, parse_repository
from storage.http_client import addresses
from storage.http_client.addresses import Zone
from storage.oci import transport
from storage.oci.docker_config import Credential
from storage.oci.registry import RegistryClient
from storage.oci.store import RegistryStore
from storage.record import Stored, Subject
from tests.testbed.certificates import Certificates, make_certificates
from tests.unit.storage import records
from tests.unit.storage.fake_registry import (
    FakeRegistry,
    digest_of,
    index_response,
    refused,
    serving,
)

SELF, PUBLIC, PRIVATE, LINK, NOWHERE = (f"127.0.0.{number}" for number in range(1, 6))
SECRET = "open-sesame-4711"
BASIC = "Basic " + base64.b64encode(f"robot:{SECRET}".encode()).decode()
HOSTS = ("registry.test", "auth.test", "elsewhere.test", "10.0.0.7.test")


class Names:
    """What names stand for; each look-up takes the first list and leaves the last."""

    def __init__(self) -> None:
        self.known: dict[str, list[list[str]]] = {}
        self.asked: list[str] = []

    def set(self, host: str, *answers: list[str]) -> None:
        self.known[host] = list(answers)

    async def resolve(self, host: str, port: int) -> list[addresses.AddressInfo]:
        self.asked.append(host)
        answers = self.known.get(host, [[host]])
        found = answers[0] if len(answers) == 1 else answers.pop(0)
        return [(2, 1, 6, "", (address, port)) for address in found]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    zones = ((Zone.LOOPBACK, SELF), (Zone.PRIVATE, PRIVATE), (Zone.LINK, LINK), (Zone.NOWHERE, NOWHERE))
    known = Names()
    monkeypatch.setattr(
        addresses, "_ZONES", tuple((zone, (ipaddress.ip_network(text),)) for zone, text in zones)
    )
    monkeypatch.setattr(addresses, "resolve", known.resolve)
    addresses.zone_of.cache_clear()
    yield known
    addresses.zone_of.cache_clear()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"), HOSTS)


@pytest.fixture
def tls(files: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.cert_file, files.key_file)
    return context


@pytest.fixture
def options(files: Certificates) -> StoreOptions:
    return StoreOptions(encoding_format=FORM_A, ca_file=str(files.ca_file), timeout=5, attempts=1)


class OneCredential:
    async def candidates(self, repository: Repository, *, again: bool = False) -> list[Credential]:
        del repository, again
        return [Credential("the test's keychain", "robot", SECRET)]


@asynccontextmanager
async def at(
    name: str, address: str, names: Names, tls: ssl.SSLContext | None, **settings: bool
) -> AsyncIterator[FakeRegistry]:
    """Serve at an address of this machine, under a name."""
    async with serving(address=address, tls=tls, **settings) as server:
        names.set(name, [address])
        server.host = f"{name}:{server.host.rpartition(':')[2]}"
        yield server


async def put(registry: FakeRegistry, options: StoreOptions) -> Stored:
    digest = registry.push_image("team/app")
    subject = Subject(f"{registry.host}/team/app", {"sha256": digest.removeprefix("sha256:")})
    async with RegistryStore("oci:", options, OneCredential()) as store:
        return await store.put(records.attestation(subject))


def port_of(server: FakeRegistry) -> str:
    return server.host.rpartition(":")[2]


def asks_for_token(realm: str) -> Callable[[web.Request], Awaitable[web.Response | None]]:
    async def fault(request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == "Bearer T":
            return None
        return refused(401, "UNAUTHORIZED", **{"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'})

    return fault


async def gives_token(request: web.Request) -> web.Response:
    return web.json_response({"token": "T"})


# the token server


@pytest.mark.parametrize(
    ("home", "there", "words"),
    [
        (PUBLIC, PUBLIC, ""),
        (PUBLIC, PRIVATE, "is in a private network: refused"),
        (PUBLIC, SELF, "is this machine: refused"),
        (PUBLIC, LINK, "is link-local: refused"),
        (PUBLIC, NOWHERE, "must not be connected to: refused"),
        (PRIVATE, PUBLIC, ""),
        (PRIVATE, PRIVATE, ""),
        (PRIVATE, SELF, "is this machine: refused"),
        (SELF, PRIVATE, ""),
        (SELF, SELF, ""),
        (SELF, NOWHERE, "must not be connected to: refused"),
    ],
)
def test_a_token_server_behind_a_name_is_no_nearer_than_its_registry(
    home: str, there: str, words: str, names: Names, tls: ssl.SSLContext, options: StoreOptions
) -> None:
    async def work() -> None:
        async with (
            at("registry.test", home, names, tls) as registry,
            at("auth.test", there, names, tls) as auth,
        ):
            registry.fault = asks_for_token(f"https://{auth.host}/token")
            auth.fault = gives_token
            stored = await put(registry, options)
        if words:
            assert f"the token server auth.test: its address {there} {words}" in stored.failures[0].reason
            assert not stored.failures[0].transient
            assert auth.seen == []
        else:
            assert not stored.failures
            assert auth.headers[0]["Authorization"] == BASIC

    asyncio.run(work())


def test_a_token_server_is_reached_at_the_address_that_was_checked_and_not_asked_for_twice(
    names: Names, tls: ssl.SSLContext, options: StoreOptions
) -> None:
    async def work() -> None:
        async with (
            at("registry.test", PUBLIC, names, tls) as registry,
            at("auth.test", PUBLIC, names, tls) as auth,
        ):
            registry.fault = asks_for_token(f"https://{auth.host}/token")
            auth.fault = gives_token
            names.set("auth.test", [PUBLIC], [PRIVATE])
            assert not (await put(registry, options)).failures
            assert names.asked.count("auth.test") == 1
            # the next connection finds the other address, and refuses it
            stored = await put(registry, options)
            assert f"its address {PRIVATE} is in a private network" in stored.failures[0].reason

    asyncio.run(work())


def test_of_several_addresses_of_a_name_the_allowed_ones_are_connected_to(
    names: Names, tls: ssl.SSLContext, options: StoreOptions
) -> None:
    async def work() -> None:
        async with (
            at("registry.test", PUBLIC, names, tls) as registry,
            at("auth.test", PUBLIC, names, tls) as auth,
            serving(address=PRIVATE, port=int(port_of(auth)), tls=tls) as inside,
        ):
            names.set("auth.test", [PRIVATE, PUBLIC])
            registry.fault = asks_for_token(f"https://{auth.host}/token")
            auth.fault = gives_token
            assert not (await put(registry, options)).failures
            assert len(auth.seen) == 1
            assert inside.seen == []

    asyncio.run(work())


# uploads, blobs, lists


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (f"https://elsewhere.test:{{port}}/upload at {PUBLIC}", ""),
        (f"https://elsewhere.test:{{port}}/upload at {PRIVATE}", "is in a private network: refused"),
        (f"https://elsewhere.test:{{port}}/upload at {SELF}", "is this machine: refused"),
        (f"https://elsewhere.test:{{port}}/upload at {LINK}", "is link-local: refused"),
        ("https://127.0.0.1:{port}/upload", "is this machine: refused"),
        ("https://2130706433:{port}/upload", "is this machine: refused"),
        ("https://[::ffff:127.0.0.3]:{port}/upload", "is in a private network: refused"),
        (f"http://elsewhere.test:{{port}}/upload at {PUBLIC}", "from https to plain http: refused"),
        ("http://registry.test:{port}/upload", "from https to plain http: refused"),
    ],
)
def test_an_upload_is_led_to_the_internet_alone(
    location: str, words: str, names: Names, tls: ssl.SSLContext, options: StoreOptions
) -> None:
    url, _, address = location.partition(" at ")

    async def work() -> None:
        async with (
            at("registry.test", PUBLIC, names, tls, single_post=False) as registry,
            at("elsewhere.test", address or SELF, names, tls) as elsewhere,
        ):
            names.set("2130706433", [SELF])

            async def fault(request: web.Request) -> web.Response | None:
                if request.method != "POST":
                    return None
                target = url.format(port=port_of(elsewhere))
                return web.Response(status=202, headers={"Location": target})

            async def taken(request: web.Request) -> web.Response:
                registry.push_blob("team/app", await request.read())
                return web.Response(status=201)

            registry.fault, elsewhere.fault = fault, taken
            stored = await put(registry, options)
        if words:
            assert words in stored.failures[0].reason
            assert not stored.failures[0].transient
            assert elsewhere.seen == []
        else:
            assert not stored.failures
            assert elsewhere.seen[0].startswith("PUT /upload?digest=")
            assert "Authorization" not in elsewhere.headers[0]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("address", "words"),
    [(PUBLIC, ""), (PRIVATE, "is in a private network: refused"), (SELF, "is this machine: refused")],
)
def test_a_blob_is_redirected_to_the_internet_alone(
    address: str, words: str, names: Names, tls: ssl.SSLContext, options: StoreOptions
) -> None:
    async def work() -> None:
        async with (
            at("registry.test", PUBLIC, names, tls) as registry,
            at("elsewhere.test", address, names, tls) as elsewhere,
        ):
            digest = registry.push_blob("team/app", b"blob")
            elsewhere.push_blob("x", b"blob")

            async def fault(request: web.Request) -> web.Response | None:
                if request.path == "/v2/":
                    return None
                target = f"https://{elsewhere.host}/v2/x/blobs/{digest}"
                return web.Response(status=307, headers={"Location": target})

            registry.fault = fault
            async with RegistryClient(options, OneCredential()) as client:
                read = client.get_blob(parse_repository(f"{registry.host}/team/app"), digest)
                if words:
                    with pytest.raises(StoreRejected, match=words):
                        await read
                    assert elsewhere.seen == []
                else:
                    assert await read == b"blob"

    asyncio.run(work())


def test_a_list_of_referrers_goes_on_no_nearer_than_it_began(
    names: Names, tls: ssl.SSLContext, options: StoreOptions
) -> None:
    async def work() -> None:
        async with (
            at("registry.test", PUBLIC, names, tls) as registry,
            at("elsewhere.test", PRIVATE, names, tls) as elsewhere,
        ):

            async def fault(request: web.Request) -> web.Response | None:
                if "/referrers/" not in request.path:
                    return None
                return index_response([], Link=f'<https://{elsewhere.host}/more>; rel="next"')

            registry.fault = fault
            async with RegistryClient(options, OneCredential()) as client:
                repository = parse_repository(f"{registry.host}/team/app")
                with pytest.raises(StoreRejected, match=r"leads to elsewhere\.test: its address"):
                    await client.referrers(repository, digest_of(b"image"), 10)
            assert elsewhere.seen == []

    asyncio.run(work())


def test_an_open_connection_is_not_lent_to_one_who_may_not_go_there(
    names: Names, tls: ssl.SSLContext, options: StoreOptions
) -> None:
    async def work() -> None:
        async with (
            at("registry.test", PUBLIC, names, tls) as registry,
            at("elsewhere.test", PRIVATE, names, tls) as inside,
        ):
            digest = inside.push_blob("team/app", b"of the inside")

            async def fault(request: web.Request) -> web.Response | None:
                if "/blobs/" not in request.path:
                    return None
                target = f"https://{inside.host}/v2/team/app/blobs/{digest}"
                return web.Response(status=307, headers={"Location": target})

            registry.fault = fault
            async with RegistryClient(options, OneCredential()) as client:
                own = parse_repository(f"{inside.host}/team/app")
                assert await client.get_blob(own, digest) == b"of the inside"
                before = len(inside.seen)
                with pytest.raises(StoreRejected, match="is in a private network: refused"):
                    await client.get_blob(parse_repository(f"{registry.host}/team/app"), digest)
                assert len(inside.seen) == before
                # the connection is still there for its own registry
                asked = len(names.asked)
                assert await client.get_blob(own, digest) == b"of the inside"
                assert len(names.asked) == asked

    asyncio.run(work())


@pytest.mark.parametrize("host", ["169.254.169.254.test", "0.0.0.0"])
def test_no_registry_is_where_a_machine_gets_its_credentials(
    host: str, names: Names, options: StoreOptions
) -> None:
    async def work() -> None:
        async with serving(address=NOWHERE) as metadata:
            names.set(host, [NOWHERE])
            place = f"{host}:{port_of(metadata)}"
            async with RegistryClient(replace(options, insecure=True), OneCredential()) as client:
                with pytest.raises(StoreRejected, match="must not be connected to"):
                    await client.head_manifest(parse_repository(f"{place}/team/app"), "latest")
            assert metadata.seen == []

    asyncio.run(work())


# plain HTTP


def basic(request: web.Request) -> bool:
    return request.headers.get("Authorization") == BASIC


async def wants_basic(request: web.Request) -> web.Response | None:
    return None if basic(request) else refused(401, "UNAUTHORIZED", **{"WWW-Authenticate": "Basic realm=x"})


@pytest.mark.parametrize(
    ("address", "insecure", "sent"), [(SELF, False, True), (PRIVATE, False, False), (PRIVATE, True, True)]
)
def test_credentials_go_over_plain_http_to_this_machine_or_where_the_user_said_so(
    address: str, names: Names, options: StoreOptions, *, insecure: bool, sent: bool
) -> None:
    async def work() -> None:
        async with at("10.0.0.7", address, names, None) as registry:
            registry.fault = wants_basic
            stored = await put(registry, replace(options, insecure=insecure))
        assert any(headers.get("Authorization") == BASIC for headers in registry.headers) is sent
        assert (not stored.failures) is sent
        if not sent:
            assert "not sent over plain http: serve the registry with TLS" in stored.failures[0].reason
            assert not stored.failures[0].transient

    asyncio.run(work())


@pytest.mark.parametrize(("address", "reached"), [(SELF, True), (PRIVATE, True), (PUBLIC, False)])
def test_a_near_name_at_a_far_address_gets_no_plain_http(
    address: str, names: Names, options: StoreOptions, *, reached: bool
) -> None:
    async def work() -> None:
        async with at("registry.localhost", address, names, None) as registry:
            stored = await put(registry, options)
        assert (not stored.failures) is reached
        assert bool(registry.seen) is reached

    asyncio.run(work())


def test_a_registry_that_spoke_tls_is_never_spoken_to_without(
    names: Names, tls: ssl.SSLContext, options: StoreOptions
) -> None:
    async def work() -> None:
        names.set("localhost", [SELF])
        async with RegistryClient(options, OneCredential()) as client:
            async with serving(address=SELF, tls=tls) as registry:
                port = int(port_of(registry))
                repository = parse_repository(f"localhost:{port}/team/app")
                assert await client.head_manifest(repository, "latest") is None
            client._transport._endpoints.pop(f"localhost:{port}", None)
            async with serving(address=SELF, port=port) as impostor:
                with pytest.raises(StoreRejected, match="it spoke TLS before, so plain HTTP is not tried"):
                    await client.head_manifest(repository, "latest")
                assert impostor.seen == []

    asyncio.run(work())


def test_plain_http_is_given_up_when_the_registry_speaks_tls(
    names: Names, tls: ssl.SSLContext, options: StoreOptions
) -> None:
    async def work() -> None:
        names.set("localhost", [SELF])
        async with RegistryClient(options, OneCredential()) as client:
            async with serving(address=SELF) as registry:
                port = int(port_of(registry))
                repository = parse_repository(f"localhost:{port}/team/app")
                assert await client.head_manifest(repository, "latest") is None
                assert await client._transport.reach(f"localhost:{port}") == ("http", "")
            async with serving(address=SELF, port=port, tls=tls) as registry:
                with pytest.raises((StoreRejected, StoreUnavailable)):
                    await client.head_manifest(repository, "latest")  # it was plain a moment ago
                assert await client.head_manifest(repository, "latest") is None
                looks = [f"{method} /v2/team/app/manifests/latest" for method in ("HEAD", "GET")]
                assert registry.seen[-2:] == looks, "a 404 to a HEAD is asked again"

    asyncio.run(work())


def test_plain_http_is_believed_for_some_minutes_only(
    names: Names, options: StoreOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        async with at("localhost", SELF, names, None) as registry:
            repository = parse_repository(f"{registry.host}/team/app")
            registry.push_manifest("team/app", b"{}", "latest")
            async with RegistryClient(options, OneCredential()) as client:
                await client.head_manifest(repository, "latest")
                await client.head_manifest(repository, "latest")
                assert registry.count("GET /v2/$") == 1
                monkeypatch.setattr(transport, "PLAIN_SECONDS", 0.0)
                client._transport._endpoints.get(registry.host).until = 0.0  # type: ignore[union-attr]
                await client.head_manifest(repository, "latest")
                assert registry.count("GET /v2/$") == 2

    asyncio.run(work())


def test_what_is_known_of_registries_does_not_grow_without_end(
    names: Names, options: StoreOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MOST_REGISTRIES", 4)

    async def work() -> None:
        async with at("localhost", SELF, names, None) as registry, RegistryClient(options) as client:
            port = port_of(registry)
            for number in range(10):
                names.set(f"r{number}.localhost", [SELF])
                await client.head_manifest(parse_repository(f"r{number}.localhost:{port}/a"), "latest")
            assert len(client._transport._endpoints) == 4

    asyncio.run(work())


def test_urls_in_a_manifest_are_not_followed(
    names: Names, tls: ssl.SSLContext, options: StoreOptions
) -> None:
    """A descriptor may list URLs where its content is too; nothing here reads them."""
    from chains.attest.image_environment import ImageReader

    async def work() -> None:
        async with (
            at("registry.test", PUBLIC, names, tls) as registry,
            at("elsewhere.test", PUBLIC, names, tls) as elsewhere,
        ):
            config = b'{"config":{"Env":["A=1"]}}'
            elsewhere.push_blob("x", config)
            described = (
                f'{{"digest":"{digest_of(config)}","size":{len(config)},'
                f'"urls":["https://{elsewhere.host}/v2/x/blobs/{digest_of(config)}"]}}'
            )
            digest = registry.push_manifest("team/app", f'{{"config":{described}}}'.encode())
            reader = ImageReader(RegistryClient(options, OneCredential()))
            found = await reader._read_once(f"{registry.host}/team/app@{digest}")
            await reader.close()
            assert "has no configuration" in found.problem
            assert elsewhere.seen == []

    asyncio.run(work())
