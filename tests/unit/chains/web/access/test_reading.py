"""The access file: nothing in it is ignored, and what would let in too many is refused."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from chains.errors import ConfigError, InputError
from chains.web.access.cookies import secret_of
from chains.web.access.reading import check_access, read_access
from chains.web.access.settings import Access
from tests.unit.chains.web.access.gated import NOW, access_of

DIGEST = "ab" * 32
WHOLE = f"""
oidc:
  issuer: https://login.example.com/realms/one
  clientId: chains
  clientSecretFile: secret
  caFile: secret
  url: https://chains.example.com/
  scopes: [openid, email, groups]
  userClaim: email
  groupsClaim: roles
  algorithms: [ES256]
  audience: chains-api
tokens:
  - {{name: auditor, sha256: {DIGEST}, expires: 2026-12-31, namespaces: [shop, dev]}}
  - {{name: pipeline, sha256: {DIGEST}, expires: "2026-12-31T10:00:00+02:00", namespaces: "*"}}
grants:
  - {{groups: [shop-devs], namespaces: [shop]}}
  - {{users: [a@example.com], groups: [auditors], namespaces: "*"}}
rateLimit: {{perMinute: 60, burst: 10}}
session: 8h
sessionKeyFile: secret
"""


def test_everything_in_the_file_counts(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x" * 32)
    found = access_of(tmp_path, WHOLE)
    assert found.oidc is not None
    assert found.oidc.url == "https://chains.example.com"
    assert found.oidc.secret_file == tmp_path / "secret"
    assert (found.oidc.algorithms, found.oidc.user_claim, found.oidc.audience) == (
        ("ES256",),
        "email",
        "chains-api",
    )
    assert [one.namespaces for one in found.tokens] == [("dev", "shop"), None]
    assert [one.expires for one in found.tokens] == [
        datetime(2026, 12, 31, tzinfo=UTC),
        datetime(2026, 12, 31, 8, tzinfo=UTC),
    ]
    assert (found.rate.per_minute, found.rate.burst, found.session) == (60, 10, timedelta(hours=8))
    assert found.known_groups == {"shop-devs", "auditors"}
    assert check_access(tmp_path / "access.yaml", NOW)[1] == ()


def test_grants_add_up_and_a_name_is_no_pattern(tmp_path: Path) -> None:
    found = access_of(
        tmp_path,
        "proxy: {from: [10.0.0.7, 'fd00::/64']}\n"
        "grants: [{users: [a], namespaces: [one]}, {groups: [g], namespaces: [two, one]}, {groups: [h], namespaces: '*'}]",
    )
    assert found.namespaces_of("a", ["g"]) == ("one", "two")
    assert found.namespaces_of("a", ["h"]) is None
    # a group is no user, and no namespace is the name of another
    assert found.namespaces_of("g", ["a", "A", "H", ""]) == ()
    assert Access().namespaces_of("a", ["g"]) == ()
    assert found.proxy is not None
    assert found.proxy.sources == (ipaddress.ip_network("10.0.0.7"), ipaddress.ip_network("fd00::/64"))


PROXY = "proxy: {from: [10.0.0.7]}\ngrants: [{users: [a], namespaces: [shop]}]\n"
OIDC = "oidc: {issuer: https://i.example, clientId: c, url: https://u.example}\ngrants: [{users: [a], namespaces: [s]}]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected one YAML mapping"),
        ("[]", "expected one YAML mapping"),
        ("a: 1\n---\nb: 2", "expected one YAML mapping"),
        ("grants: []", "nobody can be told apart"),
        ("proxy: {from: [10.0.0.7]}", "grants: nobody may see anything"),
        (PROXY + OIDC.partition("\n")[0], "so give one"),
        (PROXY.replace("proxy:", "proxi:"), "proxi: unknown key; known keys: proxy, oidc, tokens, grants, rateLimit, session, sessionKeyFile; did you mean proxy?"),
        (PROXY.replace("from:", "form:"), "proxy.form: unknown key; known keys: from, userHeader, groupsHeader; did you mean from?"),
        (PROXY.replace("10.0.0.7", "0.0.0.0/0"), "proxy.from: 0.0.0.0/0: too wide"),
        (PROXY.replace("10.0.0.7", "'::/0'"), "proxy.from: ::/0: too wide"),
        (PROXY.replace("10.0.0.7", "10.0.0.7/8"), "proxy.from: '10.0.0.7/8': expected an address"),
        (PROXY.replace("10.0.0.7", "proxy.example"), "proxy.from: 'proxy.example': expected an address"),
        (PROXY.replace("[10.0.0.7]", "[]"), "proxy.from: expected a list with at least one text"),
        (PROXY.replace("]}\ng", "], userHeader: 'a b'}\ng"), "proxy.userHeader: 'a b': expected the name of a header"),
        (PROXY.replace("]}\ng", "], groupsHeader: x-forwarded-USER}\ng"), "the same header as userHeader"),
        (PROXY.replace("[shop]", "['*']"), 'all namespaces are written namespaces: "*"'),
        (PROXY.replace("[shop]", "['shop-*']"), "grants[0].namespaces: 'shop-*': expected the name of a namespace; there are no patterns"),
        (PROXY.replace("[shop]", "shop"), "grants[0].namespaces: expected a list of texts"),
        (PROXY.replace("[shop]", "[]"), "at least one text"),
        (PROXY.replace("users: [a], ", ""), "grants[0]: it is for nobody"),
        (PROXY.replace("users: [a]", "user: [a]"), "did you mean users?"),
        (PROXY + "session: 25h", "session: '25h': expected a time from 1m to 24h"),
        (PROXY + "session: 1", "session: expected a text"),
        (PROXY + "rateLimit: {perMinute: 0}", "rateLimit.perMinute: expected a number from 1"),
        (PROXY + "rateLimit: {burst: true}", "rateLimit.burst: expected a number from 1"),
        (PROXY + "sessionKeyFile: nowhere", "no such file"),
        (OIDC.replace("https://i", "http://i"), "oidc.issuer: 'http://i.example': expected an https URL"),
        (OIDC.replace("https://i.example", "https://a:b@i.example"), "oidc.issuer"),
        (OIDC.replace("https://u.example", "https://u.example/path"), "oidc.url: expected no path"),
        (OIDC.replace("clientId: c, ", ""), "oidc.clientId: expected a text: it is needed"),
        (OIDC.replace("clientId: c", "clientId: c, scopes: [email]"), "openid is missing"),
        (OIDC.replace("clientId: c", "clientId: c, algorithms: [HS256]"), "oidc.algorithms: 'HS256': expected signatures with a public key"),
        (OIDC.replace("clientId: c", "clientId: c, algorithms: [none]"), "oidc.algorithms: 'none'"),
        ("tokens: [{name: a, sha256: abc, expires: 2026-12-31, namespaces: [s]}]", "tokens[0].sha256: expected 64 hex digits"),
        (f"tokens: [{{name: a, sha256: {DIGEST}, namespaces: [s]}}]", "tokens[0].expires: expected a day or a time"),
        (f"tokens: [{{name: a, sha256: {DIGEST}, expires: 2028-01-01, namespaces: [s]}}]", "further away than a year"),
        (f"tokens: [{{name: a, sha256: {DIGEST}, expires: 2026-12-31}}]", "tokens[0].namespaces: expected a list with at least one"),
        ("tokens: [x]", "tokens[0]: expected a mapping"),
        (f"tokens: [{{name: a, sha256: {DIGEST}, expires: 2026-12-31, namespaces: [s]}}, {{name: a, sha256: {DIGEST}, expires: 2026-12-31, namespaces: [s]}}]", "two tokens have the name 'a'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        access_of(tmp_path, text)
    assert any(told in line for line in error.value.lines), error.value.lines
    assert error.value.exit_code == 2


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        access_of(tmp_path, "proxy: {from: [x], user: y}\ngrants: [{namespaces: ['*']}]\nsession: never")
    assert len(error.value.problems) == 5


def test_what_is_risky_is_told_and_counts(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text(OIDC + f"tokens: [{{name: a, sha256: {DIGEST}, expires: 2020-01-01, namespaces: [s]}}]")
    access, problems = check_access(path, NOW)
    assert access is not None
    assert [(one.key, one.severity) for one in problems] == [
        ("tokens[0].expires", "warning"),
        ("sessionKeyFile", "warning"),
    ]


def test_a_file_that_is_not_there_or_no_yaml_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"access\.yaml"):
        read_access(tmp_path / "access.yaml")
    with pytest.raises(InputError, match=r"access\.yaml"):
        access_of(tmp_path, "a: [")


def test_a_session_key_has_to_be_long_and_without_a_file_is_fresh(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("x" * 31 + "\n")
    with pytest.raises(InputError, match="31 bytes: expected at least 32"):
        secret_of(path)
    path.write_text("x" * 32 + "\n")
    assert secret_of(path) == b"x" * 32
    assert secret_of(None) != secret_of(None)
