"""Logins by OpenID Connect against a running issuer, and everything that must not become one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from chains.web.access.cookies import Sealed
from chains.web.access.login import LOGIN, LOGOUT, SESSION_COOKIE, local_path
from chains.web.access.oidc.errors import IssuerUnavailable
from chains.web.access.oidc.provider import Provider
from chains.web.access.settings import Access, Oidc
from tests.testbed.login_issuer import (
    CLIENT,
    SECRET,
    LoginIssuer,
    forged_none,
    forged_with_public_key,
    login_issuer,
)
from tests.unit.chains.web.access.gated import Answer, Browser, Server, access_of, served

URL = "https://chains.example"


@pytest.fixture
def issuer() -> Iterator[LoginIssuer]:
    with login_issuer() as found:
        yield found


@pytest.fixture
def access(issuer: LoginIssuer, tmp_path: Path) -> Access:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return access_of(
        tmp_path,
        f"""
oidc: {{issuer: "{issuer.url}", clientId: {CLIENT}, url: "{URL}", clientSecretFile: secret, audience: api}}
session: 30m
grants:
  - {{groups: [shop-devs], namespaces: [shop]}}
  - {{users: [root], namespaces: "*"}}
""",
    )


async def begun(browser: Browser, issuer: LoginIssuer, to: str = "/search?q=a%20b") -> str:
    """Begin a login, and carry it out at the issuer. Returns the path to come back to."""
    first = await browser.get(to)
    assert first.status == 303
    where = urlsplit(first.location)
    assert (where.scheme, where.netloc, where.path, parse_qs(where.query)) == ("", "", LOGIN, {"to": [to]})
    second = await browser.get(first.location)
    assert second.status == 303
    assert second.location.startswith(f"{issuer.url}/authorize?")
    back = issuer.code(second.location)[1]
    assert back.startswith(f"{URL}/auth/callback?")
    return back.removeprefix(URL)


async def logged_in(server: Server, issuer: LoginIssuer) -> Browser:
    browser = Browser(server)
    answer = await browser.get(await begun(browser, issuer))
    assert (answer.status, answer.location) == (303, "/search?q=a%20b")
    return browser


def test_a_login_ends_where_it_began_with_what_the_groups_may_see(
    issuer: LoginIssuer, access: Access
) -> None:
    async def work(server: Server) -> None:
        browser = await logged_in(server, issuer)
        assert list(browser.cookies) == [SESSION_COOKIE]
        assert (await browser.get("/search")).shown == ["alice", ["shop"]]
        assert (await browser.get("/api/v1/search")).shown == ["alice", ["shop"]]
        # the log has the login without the code, and who looked
        entries = server.lines.entries
        assert [(one["path"], one.get("viewer"), one["status"]) for one in entries] == [
            ("/search", None, 303),
            ("/auth/login", None, 303),
            ("/auth/callback", "alice", 303),
            ("/search", "alice", 200),
            ("/api/v1/search", "alice", 200),
        ]
        assert all("query" not in one for one in entries[1:3])

    served(access, work)
    assert issuer.asked.count("/token") == 1


def test_the_question_to_the_issuer_is_a_code_flow_with_pkce_and_a_nonce(
    issuer: LoginIssuer, access: Access
) -> None:
    async def work(server: Server) -> None:
        answers = [await server.get(f"{LOGIN}?to=/x") for _ in range(2)]
        asked = [parse_qs(urlsplit(one.location).query) for one in answers]
        first = {name: values[0] for name, values in asked[0].items()}
        assert first["response_type"] == "code"
        assert first["client_id"] == CLIENT
        assert first["redirect_uri"] == f"{URL}/auth/callback"
        assert first["scope"] == "openid profile"
        assert first["code_challenge_method"] == "S256"
        for name in ("state", "nonce", "code_challenge"):
            assert len(first[name]) == 43
            assert asked[0][name] != asked[1][name]
        cookie = answers[0].headers["Set-Cookie"]
        assert cookie.startswith(f"__Host-chains-login-{first['state'][:8]}=")
        for attribute in ("; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=600"):
            assert attribute in cookie
        assert "Domain" not in cookie
        # what is kept in the browser cannot be read there
        assert first["nonce"] not in cookie
        assert first["state"] not in cookie

    served(access, work)


def test_a_session_ends_by_time_and_by_logout_even_if_it_was_copied(
    issuer: LoginIssuer, access: Access
) -> None:
    async def work(server: Server) -> None:
        browser = await logged_in(server, issuer)
        copied = dict(browser.cookies)
        # another site cannot end it
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {}):
            assert (await browser.post(LOGOUT, **headers)).status == 403
        assert (await browser.get("/")).status == 200
        assert (await browser.post(LOGOUT, **{"Sec-Fetch-Site": "same-origin"})).status == 200
        assert browser.cookies == {}
        thief = Browser(server)
        thief.cookies = copied
        assert (await thief.get("/")).status == 303
        other = await logged_in(server, issuer)
        server.clock.moved = 29 * 60.0
        assert (await other.get("/")).status == 200
        server.clock.moved = 31 * 60.0
        assert (await other.get("/")).status == 303

    served(access, work)


def test_several_logins_of_one_browser_at_once_all_count(issuer: LoginIssuer, access: Access) -> None:
    async def work(server: Server) -> None:
        browser = Browser(server)
        backs = [await begun(browser, issuer, f"/artifact/{number}") for number in range(3)]
        assert len(browser.cookies) == 3
        assert [(await browser.get(back)).location for back in backs] == [f"/artifact/{n}" for n in range(3)]
        assert list(browser.cookies) == [SESSION_COOKIE]

    served(access, work)


def test_logins_that_nobody_finishes_do_not_lock_the_browser_out(issuer: LoginIssuer, access: Access) -> None:
    async def work(server: Server) -> None:
        for to in ("/", f"/search?q={'a' * 1900}"):
            browser = await logged_in(server, issuer)
            for _ in range(40):
                answer = await browser.get(f"{LOGIN}?{urlencode({'to': to})}")
                assert answer.status == 303
            assert (await browser.get("/")).shown == ["alice", ["shop"]]
            # and the newest can be finished
            back = issuer.code(answer.location)[1].removeprefix(URL)
            assert (await browser.get(back)).location == to

    served(access, work)


async def refused(server: Server, browser: Browser, back: str, why: str) -> Answer:
    """Come back to the server, which must not take it."""
    answer = await browser.get(back)
    assert answer.status == 403, why
    assert SESSION_COOKIE not in browser.cookies
    assert why in server.lines.entries[-1]["refused"], server.lines.entries[-1]["refused"]
    # why is told to the log, not to whoever tries
    assert why not in answer.text
    return answer


def test_a_state_counts_once(issuer: LoginIssuer, access: Access) -> None:
    async def work(server: Server) -> None:
        browser = Browser(server)
        back = await begun(browser, issuer)
        kept = dict(browser.cookies)
        assert (await browser.get(back)).status == 303
        again = Browser(server)
        again.cookies = kept
        await refused(server, again, back, "the state was used before")

    served(access, work)


def test_a_login_of_another_browser_cannot_be_finished(issuer: LoginIssuer, access: Access) -> None:
    async def work(server: Server) -> None:
        # somebody leads another to their own login (login CSRF), or injects a code into it
        attacker, victim = Browser(server), Browser(server)
        back = await begun(attacker, issuer)
        await refused(server, victim, back, "this browser did not begin the login")
        own = await begun(victim, issuer)
        state = parse_qs(urlsplit(own).query)["state"][0]
        theirs = parse_qs(urlsplit(back).query)["code"][0]
        # the code of another login does not fit the verifier of this one
        await refused(server, victim, f"/auth/callback?code={theirs}&state={state}", "refused the code")

    served(access, work)


def test_a_login_that_takes_too_long_does_not_count(issuer: LoginIssuer, access: Access) -> None:
    async def work(server: Server) -> None:
        browser = Browser(server)
        back = await begun(browser, issuer)
        server.clock.moved = 601
        await refused(server, browser, back, "it took too long")

    served(access, work)


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("", "no state"),
        ("state=", "no state"),
        ("state={state}&state={state}&code=x", "no state"),
        ("state={state}", "no code"),
        ("state={state}&code=", "no code"),
        ("state={state}&code=x&code=y", "no code"),
        ("state={state}&code=x&iss=https://evil.example", "of another issuer"),
        ("state={state}&code=x&iss={issuer}&iss=https://evil.example", "of another issuer"),
        ("state={state}&error=access_denied&error_description=<b>no</b>", "access_denied"),
    ],
    ids=[
        "nothing",
        "empty state",
        "two states",
        "no code",
        "empty code",
        "two codes",
        "iss",
        "two iss",
        "error",
    ],
)
def test_an_answer_that_is_not_right_is_refused_before_a_code_is_used(
    issuer: LoginIssuer, access: Access, query: str, why: str
) -> None:
    async def work(server: Server) -> None:
        browser = Browser(server)
        state = parse_qs(urlsplit(await begun(browser, issuer)).query)["state"][0]
        answer = await refused(
            server, browser, f"/auth/callback?{query.format(state=state, issuer=issuer.url)}", why
        )
        assert "<b>" not in answer.text
        assert "/token" not in issuer.asked

    served(access, work)


def test_an_issuer_that_names_itself_must_do_so(issuer: LoginIssuer, access: Access) -> None:
    issuer.document = {"authorization_response_iss_parameter_supported": True}

    async def work(server: Server) -> None:
        browser = Browser(server)
        await refused(server, browser, await begun(browser, issuer), "of another issuer")
        back = f"{await begun(browser, issuer)}&{urlencode({'iss': issuer.url})}"
        assert (await browser.get(back)).status == 303

    served(access, work)


NOW = int(time.time())
OTHER = ec.generate_private_key(ec.SECP256R1())
WRONG_CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "another nonce": ({"nonce": "other"}, "nonce"),
    "no nonce": ({"nonce": None}, "nonce"),
    "another issuer": ({"iss": "https://evil.example"}, "another issuer"),
    "an issuer with a slash more": ({"iss": "{issuer}/"}, "another issuer"),
    "no issuer": ({"iss": None}, "iss"),
    "another audience": ({"aud": "other"}, "another audience"),
    "no audience": ({"aud": None}, "another audience"),
    "the audience of the API": ({"aud": "api"}, "another audience"),
    "for several without a party": ({"aud": [CLIENT, "other"]}, "another client"),
    "for several and another party": ({"aud": [CLIENT, "other"], "azp": "other"}, "another client"),
    "another party": ({"azp": "other"}, "another client"),
    "expired": ({"exp": NOW - 3600}, "expired"),
    "no end": ({"exp": None}, "exp"),
    "an end that is no number": ({"exp": "never"}, "exp"),
    "not yet": ({"nbf": NOW + 90_000}, "not yet valid"),
    "from the future": ({"iat": NOW + 90_000}, "in the future"),
    "no beginning": ({"iat": None}, "iat"),
    "nobody": ({"sub": None}, "sub"),
    "an empty name": ({"sub": " "}, "no user"),
    "a number as a name": ({"sub": 7}, "sub"),
    "a long name": ({"sub": "a" * 257}, "no user"),
    "another access token": ({"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}, "another access token"),
    "a hash that is no text": ({"at_hash": 7}, "another access token"),
}


@pytest.mark.parametrize(("claims", "why"), WRONG_CLAIMS.values(), ids=list(WRONG_CLAIMS))
def test_an_id_token_with_wrong_claims_is_no_login(
    issuer: LoginIssuer, access: Access, claims: dict[str, Any], why: str
) -> None:
    told: dict[str, Any] = {
        name: value.format(issuer=issuer.url) if isinstance(value, str) else value
        for name, value in claims.items()
    }

    async def work(server: Server) -> None:
        browser = Browser(server)
        back = await begun(browser, issuer)
        (question,) = issuer.codes.values()
        issuer.change = lambda answer: {
            **answer,
            "id_token": issuer.token(**{"nonce": question["nonce"], **told}),
        }
        await refused(server, browser, back, why)

    served(access, work)


def _unsigned(issuer: LoginIssuer, token: str) -> str:
    return forged_none(token)


def _with_public_key(issuer: LoginIssuer, token: str) -> str:
    kid, key = next(iter(issuer.keys.items()))
    return forged_with_public_key(token, kid, key)


def _by_another_key(issuer: LoginIssuer, token: str) -> str:
    return f"{token.rpartition('.')[0]}.{issuer.token(key=OTHER).rpartition('.')[2]}"


def _changed(issuer: LoginIssuer, token: str) -> str:
    head, body, signature = token.split(".")
    return f"{head}.{issuer.token(sub='root').split('.')[1]}.{signature}" if body else ""


WRONG_TOKENS: dict[str, tuple[Callable[[LoginIssuer, str], str], str]] = {
    "alg none": (_unsigned, "no signed JWT"),
    "HS256 with the public key": (_with_public_key, "not allowed"),
    "signed by another key": (_by_another_key, "signature"),
    "changed": (_changed, "signature"),
    "five parts": (lambda _, token: f"{token}.x.y", "no signed JWT"),
    "no JSON": (lambda _, token: f"{token.partition('.')[0]}.AAAA.{token.rpartition('.')[2]}", "token"),
    "a logout token": (lambda issuer, _: issuer.token(header={"typ": "logout+jwt"}), "of another kind"),
    "an access token": (lambda issuer, _: issuer.token(header={"typ": "at+jwt"}), "of another kind"),
    "empty": (lambda _, token: "", "no signed JWT"),
    "too long": (lambda _, token: f"{token}{'A' * 40_000}", "no signed JWT"),
    "a critical header": (
        lambda issuer, _: issuer.token(header={"crit": ["x"], "x": 1}),
        "token",
    ),
    "the keys in its header": (
        lambda issuer, _: issuer.token(key=OTHER, header={"jku": "https://evil.example", "kid": "x"}),
        "token",
    ),
}


@pytest.mark.parametrize(("forge", "why"), WRONG_TOKENS.values(), ids=list(WRONG_TOKENS))
def test_a_forged_id_token_is_no_login(
    issuer: LoginIssuer, access: Access, forge: Callable[[LoginIssuer, str], str], why: str
) -> None:
    async def work(server: Server) -> None:
        browser = Browser(server)
        back = await begun(browser, issuer)
        issuer.change = lambda answer: {**answer, "id_token": forge(issuer, answer["id_token"])}
        await refused(server, browser, back, why)

    served(access, work)


def test_an_answer_without_an_id_token_is_no_login(issuer: LoginIssuer, access: Access) -> None:
    async def work(server: Server) -> None:
        for changed in ({"id_token": None}, {"id_token": 7}, {"access_token": ["x"]}):
            issuer.change = lambda answer, changed=changed: {**answer, **changed}  # type: ignore[misc]
            browser = Browser(server)
            await refused(server, browser, await begun(browser, issuer), "no ID token")

    served(access, work)


def test_a_clock_may_differ_by_a_minute(issuer: LoginIssuer, access: Access) -> None:
    now = int(time.time())
    issuer.claims |= {"iat": now + 40, "nbf": now + 40, "exp": now + 400}

    async def work(server: Server) -> None:
        await logged_in(server, issuer)

    served(access, work)


def test_new_keys_count_at_once_and_old_ones_no_more(issuer: LoginIssuer, access: Access) -> None:
    async def work(server: Server) -> None:
        await logged_in(server, issuer)
        old = issuer.token(aud="api")
        issuer.rotate(rsa.generate_private_key(65537, 2048))
        server.clock.moved += 11  # the keys are not asked for without end
        await logged_in(server, issuer)
        assert issuer.asked.count("/keys") == 2
        answer = await server.get("/api/v1/search", {"Authorization": f"Bearer {old}"})
        assert answer.status == 401
        # tokens with unknown keys do not make us ask more often
        for _ in range(20):
            token = issuer.token(aud="api", header={"kid": "unknown"})
            assert (await server.get("/api/v1/search", {"Authorization": f"Bearer {token}"})).status == 401
        assert issuer.asked.count("/keys") == 2

    served(access, work)


def test_tokens_of_the_issuer_open_the_api(issuer: LoginIssuer, access: Access) -> None:
    async def work(server: Server) -> None:
        async def status(token: str, path: str = "/api/v1/search") -> int:
            return (await server.get(path, {"Authorization": f"Bearer {token}"})).status

        access_token: dict[str, Any] = {"header": {"typ": "at+jwt"}}
        assert await status(issuer.token(aud="api", **access_token)) == 200
        assert await status(issuer.token(aud=["api", "other"])) == 200
        assert await status(issuer.token()) == 200
        # for this client, and made for another one
        assert await status(issuer.token(azp="other")) == 401
        assert await status(issuer.token(aud=[CLIENT, "other"], azp="other")) == 401
        assert await status(issuer.token(aud=[CLIENT, "other"])) == 401
        assert await status(issuer.token(aud=[CLIENT, "other"], azp=CLIENT)) == 200
        assert await status(issuer.token(aud=["api", CLIENT], azp="other")) == 200
        # an access token for the client is not for the API, and no token opens a page
        assert await status(issuer.token(**access_token)) == 401
        assert await status(issuer.token(aud="other")) == 401
        assert await status(issuer.token(aud="api", iss="https://evil.example")) == 401
        assert await status(issuer.token(aud="api", exp=NOW - 3600)) == 401
        assert await status(issuer.token(aud="api"), "/search") == 303
        assert await status(forged_none(issuer.token(aud="api"))) == 401
        # it is known who it is, and nothing is granted to them
        assert await status(issuer.token(aud="api", sub="mallory", groups=[])) == 403
        assert await status(issuer.token(aud="api", sub="root", groups="no list")) == 200

    served(access, work)


def test_a_token_counts_only_as_what_it_says_it_is(issuer: LoginIssuer, access: Access) -> None:
    async def work(server: Server) -> None:
        async def status(kind: object) -> int:
            token = issuer.token(aud="api", header={"typ": kind})
            return (await server.get("/api/v1/x", {"Authorization": f"Bearer {token}"})).status

        for kind in ("JWT", "jwt", "application/jwt", "at+jwt", "AT+JWT", "application/at+jwt"):
            assert await status(kind) == 200, kind
        for kind in (
            "logout+jwt",
            "application/logout+jwt",
            "secevent+jwt",
            "dpop+jwt",
            "id",
            "",
            "jwt ",
            None,
            7,
        ):
            assert await status(kind) == 401, kind
        assert {one["refused"] for one in server.lines.entries[-9:-2]} == {"the token is of another kind"}

    served(access, work)


def test_an_email_that_nobody_verified_names_nobody(issuer: LoginIssuer, tmp_path: Path) -> None:
    text = f"""
oidc: {{issuer: "{issuer.url}", clientId: {CLIENT}, url: "{URL}", userClaim: email}}
grants: [{{users: [a@example.com], namespaces: [shop]}}]
"""

    async def work(server: Server) -> None:
        async def status(**claims: Any) -> int:
            token = issuer.token(email="a@example.com", **claims)
            return (await server.get("/api/v1/x", {"Authorization": f"Bearer {token}"})).status

        assert await status(email_verified=True) == 200
        assert [await status(email_verified=value) for value in (False, "true", None)] == [401] * 3

    served(access_of(tmp_path, text), work)


def test_an_issuer_that_does_not_answer_lets_nobody_in_and_keeps_who_is_in(
    issuer: LoginIssuer, access: Access
) -> None:
    async def work(server: Server) -> None:
        browser = await logged_in(server, issuer)
        issuer.is_away = True
        server.clock.moved = 601  # its document is no longer known
        answer = await server.get(LOGIN)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "60")
        assert (await browser.get("/")).shown == ["alice", ["shop"]]

    served(access, work)


def test_an_issuer_that_fails_is_not_asked_again_at_once_and_each_request_counts(
    issuer: LoginIssuer, tmp_path: Path
) -> None:
    text = f"""
oidc: {{issuer: "{issuer.url}", clientId: {CLIENT}, url: "{URL}"}}
grants: [{{users: [alice], namespaces: [shop]}}]
rateLimit: {{perMinute: 60, burst: 3}}
"""

    async def work(server: Server) -> None:
        async def status(path: str = "/api/v1/x") -> int:
            return (await server.get(path, {"Authorization": f"Bearer {issuer.token()}"})).status

        issuer.is_away = True
        assert [await status() for _ in range(5)] == [503, 503, 503, 429, 429]
        assert server.lines.entries[-1]["refused"] == "too many requests"
        assert issuer.asked == ["/.well-known/openid-configuration"]
        issuer.is_away = False
        server.clock.moved += 4
        assert [await status(), await status(LOGIN)] == [503, 503]
        assert issuer.asked == ["/.well-known/openid-configuration"]
        server.clock.moved += 2
        assert [await status(), await status(LOGIN)] == [200, 303]
        # what is known needs no answer: a failure for other keys keeps nobody out
        server.clock.moved += 60
        issuer.is_away = True
        other = issuer.token(header={"kid": "unknown"})
        assert (await server.get("/api/v1/x", {"Authorization": f"Bearer {other}"})).status == 503
        assert [await status(), await status(LOGIN)] == [200, 303]

    served(access_of(tmp_path, text), work)


def test_all_who_wait_for_an_issuer_that_fails_share_its_answer() -> None:
    async def work() -> None:
        connections = 0
        began, end = asyncio.Event(), asyncio.Event()

        async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            began.set()
            await end.wait()
            writer.close()

        async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            provider = Provider(Oidc(f"http://127.0.0.1:{port}", CLIENT, URL), lambda: 0.0)
            waiting = [asyncio.create_task(provider.keys(f"key-{number}")) for number in range(20)]
            await began.wait()
            end.set()
            found = await asyncio.gather(*waiting, provider.endpoints(), return_exceptions=True)
            assert {type(one) for one in found} == {IssuerUnavailable}
            assert {str(one) for one in found} == {str(found[0])}
            # a client may try a closed connection once more; no waiter tries by themselves
            assert connections <= 2
            await provider.close()

    asyncio.run(work())


def test_no_more_than_some_tokens_wait_for_an_issuer_that_hangs() -> None:
    async def work() -> None:
        began, end = asyncio.Event(), asyncio.Event()

        async def hang(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            began.set()
            await end.wait()
            writer.close()

        async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            provider = Provider(Oidc(f"http://127.0.0.1:{port}", CLIENT, URL))
            waiting = [asyncio.create_task(provider.keys(f"key-{number}")) for number in range(64)]
            await began.wait()
            with pytest.raises(IssuerUnavailable, match="too many tokens wait"):
                await provider.keys("one more")
            end.set()
            found = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(one) for one in found} == {IssuerUnavailable}
            assert not [one for one in found if "too many" in str(one)]
            with pytest.raises(IssuerUnavailable, match="does not answer"):
                await provider.keys("later")
            await provider.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "ftp://evil.example/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": None},
    ],
    ids=["another issuer", "ftp", "javascript", "no keys"],
)
def test_a_document_that_leads_elsewhere_is_refused(
    issuer: LoginIssuer, access: Access, document: dict[str, Any]
) -> None:
    issuer.document = document

    async def work(server: Server) -> None:
        assert (await server.get(LOGIN)).status == 503

    served(access, work)


@pytest.mark.parametrize(
    "to",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/%5cevil\\x",
        "/\t/evil.example",
        "/a\r\nSet-Cookie: x=y",
        "javascript:alert(1)",
        "evil",
        "",
        "/auth/logout",
        "/" + "a" * 2001,
        "/\u202e",
    ],
)
def test_a_login_never_leads_to_another_site(to: str) -> None:
    assert local_path(to) == "/"


def test_a_login_leads_to_any_page_of_this_site() -> None:
    for path in ("/", "/search?q=namespace:shop&x=%2F%2Fevil", "/artifact/sha256/ab?to=//x"):
        assert local_path(path) == path


def test_a_cookie_counts_for_its_use_alone_and_only_if_it_is_ours() -> None:
    now = [1000.0]
    sealed = Sealed(b"k" * 32, lambda: now[0])
    text = sealed.seal("login", {"state": "x"}, 10)
    assert sealed.open("login", text) == {"state": "x", "until": 1010.0}
    assert sealed.open("session", text) is None
    assert Sealed(b"j" * 32, lambda: now[0]).open("login", text) is None
    for wrong in (
        "",
        "x",
        text[:-2],
        text[:30] + ("A" if text[30] != "A" else "B") + text[31:],
        "é",
        "A" * 5000,
        text + "=",
    ):
        assert sealed.open("login", wrong) is None, wrong
    now[0] = 1010.0
    assert sealed.open("login", text) is None
