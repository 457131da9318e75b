"""Who is let in: a proxy's header, a token, this machine; how often; and what is written of each request."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import aiohttp
import pytest

from chains.errors import InputError
from chains.web.access.bearer import PREFIX, new_token
from chains.web.access.limits import Limits, network_of
from chains.web.access.log import File
from chains.web.access.settings import Rate
from tests.unit.chains.web.access.gated import Server, access_of, served

GRANTS = """
grants:
  - {groups: [shop-devs], namespaces: [shop, shop-staging]}
  - {users: [bob], namespaces: [dev]}
  - {groups: [auditors], namespaces: "*"}
"""
PROXY = "proxy: {from: [127.0.0.1]}" + GRANTS


def test_a_proxy_says_who_asks_and_grants_say_what_they_see(tmp_path: Path) -> None:
    async def work(server: Server) -> list[object]:
        asked = [
            {"X-Forwarded-User": "alice", "X-Forwarded-Groups": "shop-devs, other"},
            {"X-Forwarded-User": "bob", "X-Forwarded-Groups": "shop-devs"},
            {"X-Forwarded-User": "carol", "X-Forwarded-Groups": "x,auditors,shop-devs"},
        ]
        return [(await server.get("/search?q=x", headers)).shown for headers in asked]

    assert served(access_of(tmp_path, PROXY), work) == [
        ["alice", ["shop", "shop-staging"]],
        ["bob", ["dev", "shop", "shop-staging"]],
        ["carol", None],
    ]


def test_a_proxys_header_from_elsewhere_is_refused_and_told(tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        # the same server, from another address of this machine
        connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
        async with aiohttp.ClientSession(connector=connector) as other:
            for header in ("X-Forwarded-User", "x-forwarded-groups"):
                answer = await server.get("/search", {header: "carol"}, session=other)
                assert answer.status == 401
                assert "carol" not in answer.text
            # without the header it is nobody; with a forwarded address it is not the proxy either
            for headers in ({}, {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1"}):
                assert (await server.get("/search", headers, session=other)).status == 401
        assert (await server.get("/search")).status == 401
        assert [(one["address"], one["refused"]) for one in server.lines.entries] == [
            ("127.0.0.2", "the header X-Forwarded-User does not come from a configured proxy"),
            ("127.0.0.2", "the header X-Forwarded-Groups does not come from a configured proxy"),
            ("127.0.0.2", "nobody is logged in"),
            ("127.0.0.2", "nobody is logged in"),
            ("127.0.0.1", "nobody is logged in"),
        ]
        assert all("viewer" not in one and one["status"] == 401 for one in server.lines.entries)

    served(access_of(tmp_path, PROXY), work)


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-User", "alice"), ("X-Forwarded-User", "carol")],
        [("X-Forwarded-User", "alice"), ("X-Forwarded-Groups", "a"), ("X-Forwarded-Groups", "auditors")],
        [("X-Forwarded-User", "al\u202eice")],
        [("X-Forwarded-User", "a" * 257)],
        [("X-Forwarded-User", "  ")],
        [("X-Forwarded-Groups", "auditors")],
    ],
    ids=["two users", "two lists of groups", "invisible", "long", "blank", "groups alone"],
)
def test_a_header_that_can_be_read_in_two_ways_names_nobody(
    tmp_path: Path, headers: list[tuple[str, str]]
) -> None:
    async def work(server: Server) -> None:
        from multidict import CIMultiDict

        assert (await server.get("/", CIMultiDict(headers))).status == 401

    served(access_of(tmp_path, PROXY), work)


def test_who_has_no_grant_is_known_and_sees_nothing(tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        answer = await server.get("/search", {"X-Forwarded-User": "mallory"})
        assert (answer.status, answer.text) == (403, "mallory may see no namespace: ask for a grant\n")
        assert server.lines.entries[0]["viewer"] == "mallory"
        assert server.lines.entries[0]["refused"] == "no namespace is granted"

    served(access_of(tmp_path, PROXY), work)


def tokens_file(folder: Path, token: str, expires: str = "2026-12-31") -> str:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return (
        f"tokens: [{{name: audit-2026, sha256: {digest}, expires: {expires}, namespaces: [shop]}}]" + GRANTS
    )


def test_a_static_token_opens_the_api_until_it_ends(tmp_path: Path) -> None:
    token, digest = new_token()
    assert hashlib.sha256(token.encode()).hexdigest() == digest
    assert token.startswith(PREFIX)

    async def work(server: Server) -> None:
        good = {"Authorization": f"Bearer {token}"}
        assert (await server.get("/api/v1/search", good)).shown == ["token audit-2026", ["shop"]]
        assert (await server.get("/badge/sha256/x.svg", {"Authorization": f"bearer  {token}"})).status == 200
        for bad in (
            f"Bearer {token}x",
            f"Bearer {PREFIX}",
            "Bearer ",
            "Bearer a.b.c",
            f"Basic {token}",
            f"Bearer {'é' * 9}",
        ):
            answer = await server.get("/api/v1/search", {"Authorization": bad})
            assert answer.status == 401, bad
            assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="chains"')
        # a page is for people: no token opens it
        assert (await server.get("/search", good)).status == 401
        server.clock.moved = 400 * 86_400.0
        assert (await server.get("/api/v1/search", good)).status == 401
        assert server.lines.entries[-1]["refused"] == "the token audit-2026 has expired"
        # nothing of the token is in the log
        assert not any(token[len(PREFIX) : 20].encode() in line for line in server.lines.written)

    served(access_of(tmp_path, tokens_file(tmp_path, token, "2027-11-01")), work)


def test_a_wrong_token_is_not_excused_by_a_right_header(tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        headers = {"X-Forwarded-User": "carol", "X-Forwarded-Groups": "auditors"}
        assert (await server.get("/api/v1/search", headers)).shown == ["carol", None]
        assert (
            await server.get("/api/v1/search", {**headers, "Authorization": "Bearer wrong"})
        ).status == 401

    served(access_of(tmp_path, PROXY), work)


def test_without_access_this_machine_alone_sees_everything() -> None:
    async def work(server: Server) -> None:
        assert (await server.get("/search")).shown == ["local user", None]
        # a page of the web that leads its own name here
        assert (await server.get("/search", {"Host": "evil.example"})).status == 421
        assert [one.get("viewer") for one in server.lines.entries] == ["local user", None]

    served(None, work)


def test_each_viewer_has_requests_of_their_own_and_each_address_too(tmp_path: Path) -> None:
    text = PROXY + "rateLimit: {perMinute: 60, burst: 3}\n"

    async def work(server: Server) -> None:
        async def statuses(**headers: str) -> list[int]:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            return [(await server.get("/", given)).status for _ in range(5)]

        assert await statuses(X_Forwarded_User="bob") == [200, 200, 200, 429, 429]
        assert await statuses(X_Forwarded_User="alice", X_Forwarded_Groups="shop-devs") == [
            200,
            200,
            200,
            429,
            429,
        ]
        answer = await server.get("/", {"X-Forwarded-User": "bob"})
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        server.clock.moved += 2
        assert await statuses(X_Forwarded_User="bob") == [200, 200, 429, 429, 429]
        # strangers are counted by their address, unless it is the proxy's
        assert await statuses() == [401] * 5
        connector = aiohttp.TCPConnector(local_addr=("127.0.0.3", 0))
        async with aiohttp.ClientSession(connector=connector) as other:
            found = [(await server.get("/", session=other)).status for _ in range(5)]
        assert found == [401, 401, 401, 429, 429]
        assert server.lines.entries[-1]["refused"] == "too many requests"
        assert len(server.lines.entries) == 26

    served(access_of(tmp_path, text), work)


def test_a_changed_access_file_counts_without_a_new_start_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    token, _ = new_token()
    access, path = access_of(tmp_path, tokens_file(tmp_path, token)), tmp_path / "access.yaml"

    async def work(server: Server) -> None:
        async def status() -> int:
            server.clock.moved += 3
            return (await server.get("/api/v1/x", {"Authorization": f"Bearer {token}"})).status

        assert await status() == 200
        good = path.read_text()
        path.write_text("tokens: [{name: x}]")  # wrong: the last good one stays in force
        assert await status() == 200
        assert b"chains_web_access_refused 1.0" in server.gate.metrics.text()
        path.write_text(good + "session: 2h\n")  # what only a new start can change
        assert await status() == 200
        assert b"chains_web_access_refused 1.0" in server.gate.metrics.text()
        other, _ = new_token()
        path.write_text(tokens_file(tmp_path, other))  # the token is withdrawn
        assert await status() == 401
        assert b"chains_web_access_refused 0.0" in server.gate.metrics.text()
        path.unlink()  # a file that is gone takes nothing away
        assert await status() == 401
        path.write_text(good)
        assert await status() == 200

    served(access, work, path)


def test_limits_take_no_more_memory_than_they_have_buckets() -> None:
    limits = Limits(Rate(60, 2), clock=lambda: 0.0, most=100)
    for number in range(10_000):
        assert limits.take(f"address {number}") == 0
    assert len(limits) == 100


def test_an_ipv6_customer_counts_once() -> None:
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::9") == "2001:db8:1:2::/64"
    assert network_of("2001:db8:1:3::9") != network_of("2001:db8:1:2::9")
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("fe80::1%eth0") == "fe80::/64"
    assert network_of("") == "unknown"
    # IPv4 on a socket for both is not one customer
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7"


def test_an_entry_tells_who_looked_at_what_and_no_secret(tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        who = {"X-Forwarded-User": "bob", "User-Agent": "x", "Cookie": "__Host-chains=secret-of-a-session"}
        await server.get("/search?q=commit:abc&token=s3cr3t-value&x=%E2%80%AEgnp%0A%7B", who)
        await server.get("/api/v1/search?access_token=eyJhbGciOiJFUzI1NiJ9.eyJ9.abc", who)
        first, second = server.lines.entries
        assert first == {
            "time": "2026-11-29T12:00:00Z",
            "event": "request",
            "viewer": "bob",
            "by": "proxy",
            "address": "127.0.0.1",
            "method": "GET",
            "path": "/search",
            "query": first["query"],
            "status": 200,
            "seconds": first["seconds"],
        }
        assert first["query"].startswith("q=commit%3Aabc&token=")
        assert second["query"].startswith("access_token=")
        written = b"".join(server.lines.written)
        assert b"s3cr3t" not in written
        assert b"eyJhbG" not in written
        assert b"secret-of-a-session" not in written
        assert written.isascii()
        assert written.count(b"\n") == 2

    served(access_of(tmp_path, PROXY), work)


def test_hostile_text_is_one_line_of_ascii(tmp_path: Path) -> None:
    hostile = 'a\u202eb\u200b\x1b[31m\x7f\\"\ud800\u2028é'

    async def work(server: Server) -> None:
        from urllib.parse import quote

        path = f"/{quote(hostile.encode(errors='surrogatepass'))}?q={quote(hostile.encode(errors='surrogatepass'))}"
        await server.get(path, {"X-Forwarded-User": "bob"})
        (line,) = server.lines.written
        assert line.isascii()
        assert b"\x7f" not in line
        assert b"\x1b" not in line
        assert line.count(b"\n") == 1
        assert json.loads(line)["viewer"] == "bob"

    served(access_of(tmp_path, PROXY), work)


def test_what_cannot_be_logged_is_not_answered(tmp_path: Path) -> None:
    async def work(server: Server) -> None:
        server.lines.is_full = True
        answer = await server.get("/search", {"X-Forwarded-User": "bob"})
        assert (answer.status, answer.text) == (503, "the access log cannot be written\n")
        assert b"chains_web_log_failures_total 1.0" in server.gate.metrics.text()
        server.lines.is_full = False
        assert (await server.get("/search", {"X-Forwarded-User": "bob"})).status == 200
        text = server.gate.metrics.text().decode()
        assert 'chains_web_requests_total{status="2xx"} 1.0' in text
        assert 'chains_web_requests_total{status="5xx"} 1.0' in text
        assert "bob" not in text

    served(access_of(tmp_path, PROXY), work)


def test_a_log_file_is_added_to_and_begun_anew_when_it_was_moved(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"old\n")
    log = File(path)
    log.write(b"one\n")
    path.rename(tmp_path / "access.log.1")
    log.write(b"two\n")
    log.close()
    assert (tmp_path / "access.log.1").read_bytes() == b"old\none\n"
    assert path.read_bytes() == b"two\n"
    assert path.stat().st_mode & 0o007 == 0
    with pytest.raises(InputError, match="the access log cannot be written"):
        File(tmp_path / "nowhere" / "access.log")
