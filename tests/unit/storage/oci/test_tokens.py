from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import StoreRejected
from storage.formats.reference import registry_host
from storage.http_client.addresses import Home, zone_of_spelling
from storage.oci.tokens import Challenge, checked_realm, parse_challenges

TOKENS = Challenge(
    "bearer",
    {
        "realm": "https://auth.example/token",
        "service": "registry.example",
        "scope": "repository:a:pull,push",
    },
)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], ()),
        (["Negotiate"], ()),
        (["Basic"], (Challenge("basic"),)),
        (['Basic realm="a, b"'], (Challenge("basic", {"realm": "a, b"}),)),
        (["basic realm=x"], (Challenge("basic", {"realm": "x"}),)),
        (['Negotiate, Basic realm="x"'], (Challenge("basic", {"realm": "x"}),)),
        (["Negotiate", 'Basic realm="x"'], (Challenge("basic", {"realm": "x"}),)),
        (["Bearer"], ()),
        (
            [
                'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a:pull,push"'
            ],
            (TOKENS,),
        ),
        (
            ['Bearer realm = "a\\"b" , service = s'],
            (Challenge("bearer", {"realm": 'a"b', "service": "s"}),),
        ),
        (
            ['Bearer realm="r",error="invalid_token", Basic realm="x"'],
            (
                Challenge("bearer", {"realm": "r", "error": "invalid_token"}),
                Challenge("basic", {"realm": "x"}),
            ),
        ),
        (
            ['Basic realm="x"', 'Bearer realm="r"'],
            (Challenge("basic", {"realm": "x"}), Challenge("bearer", {"realm": "r"})),
        ),
    ],
)
def test_challenges_are_read(headers: list[str], expected: tuple[Challenge, ...]) -> None:
    assert parse_challenges(headers) == expected


@pytest.mark.parametrize("filler", ["\x0b" * 60_000, "-" * 60_000, "\xa0,\xa0" * 20_000, "_ " * 30_000])
def test_a_header_as_long_as_one_may_be_is_read_once(filler: str) -> None:
    expected = Challenge("bearer", {"realm": "https://a.example/token"})
    assert parse_challenges([f'Bearer realm="https://a.example/token",{filler}!']) == (expected,)
    assert parse_challenges([f"{filler}!"]) == ()


@given(st.lists(st.text(alphabet='Bearsicm ="\\,/x')))
def test_any_header_is_read_or_not_but_never_fails(headers: list[str]) -> None:
    assert all(challenge.scheme in {"basic", "bearer"} for challenge in parse_challenges(headers))


def home_of(registry: str, *, plain: bool) -> Home:
    host = registry_host(registry)
    return Home(host, zone_of_spelling(host), plain)


@pytest.mark.parametrize(
    ("realm", "registry", "plain"),
    [
        ("https://auth.example/token", "registry.example", False),
        ("https://10.0.0.1/token", "10.0.0.1:5000", False),
        ("http://127.0.0.1:5001/token", "127.0.0.1:5000", True),
        ("http://10.0.0.7/token", "localhost:5000", True),
        ("http://auth.example/token", "registry.example", True),
    ],
)
def test_realms_that_may_have_the_credentials(realm: str, registry: str, *, plain: bool) -> None:
    assert str(checked_realm(realm, registry, home_of(registry, plain=plain))) == realm


@pytest.mark.parametrize(
    ("realm", "registry", "plain"),
    [
        ("http://auth.example/token", "registry.example", False),
        ("https://169.254.169.254/latest/meta-data", "registry.example", False),
        ("http://169.254.169.254/latest", "127.0.0.1:5000", True),
        ("https://127.0.0.1/token", "registry.example", False),
        ("https://10.0.0.1/token", "registry.example", False),
        ("https://[::1]/token", "registry.example", False),
        ("https://0.0.0.0/token", "registry.example", False),
        ("https://2130706433/token", "registry.example", False),
        ("https://0x7f.1/token", "registry.example", False),
        ("https://017700000001/token", "registry.example", False),
        ("https://10.0.0.1./token", "registry.example", False),
        ("https://[64:ff9b::10.0.0.1]/token", "registry.example", False),
        ("https://[::ffff:10.0.0.1]/token", "registry.example", False),
        ("https://[::ffff:0:10.0.0.1]/token", "registry.example", False),
        ("https://[2002:a00:1::]/token", "registry.example", False),
        ("https://[fd00::1]/token", "registry.example", False),
        ("https://100.64.0.1/token", "registry.example", False),
        ("http://127.0.0.1/token", "registry.example", True),
        ("https://127.0.0.1/token", "10.0.0.1:5000", False),
        ("file:///etc/passwd", "registry.example", True),
        ("/token", "registry.example", True),
        ("https://[", "registry.example", True),
        ("https://auth.example:99999/token", "registry.example", True),
        ("", "registry.example", True),
    ],
)
def test_realms_that_may_not(realm: str, registry: str, *, plain: bool) -> None:
    with pytest.raises(StoreRejected, match=r"registry\.example|127\.0\.0\.1|10\.0\.0\.1"):
        checked_realm(realm, registry, home_of(registry, plain=plain))
