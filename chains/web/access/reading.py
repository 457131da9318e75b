"""Reads the access file. Nothing in it is ignored: an unknown key is an error, and every problem is told."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from chains.config.key import read_duration
from chains.documents.load import load_documents, read_bytes
from chains.errors import ConfigError, Problem
from chains.text import excerpt
from chains.web.access.settings import (
    ALGORITHMS,
    BURST,
    GROUPS_CLAIM,
    GROUPS_HEADER,
    PER_MINUTE,
    SCOPES,
    USER_CLAIM,
    USER_HEADER,
    USUAL_ALGORITHMS,
    Access,
    Grant,
    Network,
    Oidc,
    Proxy,
    Rate,
    StaticToken,
)

T = TypeVar("T")
_LARGEST: Final = 1 << 20
_HEADER: Final = re.compile(r"[A-Za-z0-9-]{1,80}")
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SHORTEST_SESSION, _LONGEST_SESSION = timedelta(minutes=1), timedelta(hours=24)
_LONGEST_TOKEN: Final = timedelta(days=366)
_MOST_RATE: Final = 1_000_000
_WIDEST = {4: 8, 6: 16}
"""The shortest prefix of a network of proxies. A wider one believes half the world."""
_KEYS: Final[Mapping[str, Sequence[str]]] = {
    "": ("proxy", "oidc", "tokens", "grants", "rateLimit", "session", "sessionKeyFile"),
    "proxy": ("from", "userHeader", "groupsHeader"),
    "oidc": (
        "issuer", "clientId", "clientSecretFile", "url", "caFile", "scopes", "userClaim", "groupsClaim",
        "algorithms", "audience",
    ),
    "tokens": ("name", "sha256", "expires", "namespaces"),
    "grants": ("users", "groups", "namespaces"),
    "rateLimit": ("perMinute", "burst"),
}  # fmt: skip


def read_access(path: Path, now: datetime | None = None) -> Access:
    """Return the access file. Relative paths in it are in its folder.

    Raises :class:`ConfigError` with every problem, and :class:`InputError` for what cannot be read.
    """
    access, problems = check_access(path, now)
    errors = [one for one in problems if one.severity == "error"]
    if access is None or errors:
        raise ConfigError(f"{path}: the access file cannot be used:", errors)
    return access


def check_access(path: Path, now: datetime | None = None) -> tuple[Access | None, tuple[Problem, ...]]:
    """Return the access file, None if it cannot be used, and what is wrong or risky in it.

    Raises :class:`InputError` for what cannot be read.
    """
    data = read_bytes(path, _LARGEST)
    documents = load_documents(data, str(path)) if data.strip() else []
    reader = _Reader(path.parent, now or datetime.now(UTC))
    if len(documents) != 1 or not isinstance(documents[0], dict):
        reader.error("", "expected one YAML mapping with proxy, oidc, tokens or grants")
        return None, tuple(reader.problems)
    access = reader.access(documents[0])
    return (None if reader.has_errors else access), tuple(reader.problems)


class _Reader:
    def __init__(self, folder: Path, now: datetime) -> None:
        self.problems: list[Problem] = []
        self._folder, self._now = folder, now

    @property
    def has_errors(self) -> bool:
        return any(one.severity == "error" for one in self.problems)

    def error(self, key: str, message: str, suggestion: str = "") -> None:
        self.problems.append(Problem(key, "error", message, suggestion))

    def warn(self, key: str, message: str) -> None:
        self.problems.append(Problem(key, "warning", message))

    def access(self, given: Mapping[str, Any]) -> Access:
        self._known("", given)
        proxy = self._part(given, "proxy", self._proxy)
        oidc = self._part(given, "oidc", self._oidc)
        if proxy is not None and oidc is not None:
            self.error("oidc", "proxy and oidc: people log in by one of them, so give one")
        tokens = tuple(
            self._token(f"tokens[{number}]", one) for number, one in enumerate(self._list(given, "tokens"))
        )
        for name in _twice([one.name for one in tokens]):
            self.error("tokens", f"two tokens have the name {excerpt(name, 80)!r}")
        grants = tuple(
            self._grant(f"grants[{number}]", one) for number, one in enumerate(self._list(given, "grants"))
        )
        if proxy is None and oidc is None and not tokens:
            self.error("", "nobody can be told apart: give proxy, oidc or tokens")
        if (proxy is not None or oidc is not None) and not grants:
            self.error("grants", "nobody may see anything: give users or groups with their namespaces")
        session = self._duration(given, "session", timedelta(hours=1))
        key_file = self._file(given, "sessionKeyFile", "")
        if oidc is not None and key_file is None:
            self.warn(
                "sessionKeyFile", "without it, logins end with the process and count in one replica only"
            )
        rate = self._part(given, "rateLimit", self._rate)
        return Access(proxy, oidc, tokens, grants, rate or Rate(), session, key_file)

    def _proxy(self, given: Mapping[str, Any]) -> Proxy:
        sources = []
        for text in self._texts(given, "from", "proxy.", required=True):
            network = _network(text)
            if network is None:
                self.error(
                    "proxy.from",
                    f"{excerpt(text, 60)!r}: expected an address or a network, such as 10.0.0.0/24",
                )
            elif network.prefixlen < _WIDEST[network.version]:
                self.error("proxy.from", f"{network}: too wide: name the proxy's own addresses")
            else:
                sources.append(network)
        found = {}
        for key, default in (("userHeader", USER_HEADER), ("groupsHeader", GROUPS_HEADER)):
            found[key] = self._text(given, key, "proxy.", default)
            if not _HEADER.fullmatch(found[key]):
                self.error(f"proxy.{key}", f"{excerpt(found[key], 60)!r}: expected the name of a header")
        if found["userHeader"].lower() == found["groupsHeader"].lower():
            self.error("proxy.groupsHeader", "the same header as userHeader")
        return Proxy(tuple(sources), found["userHeader"], found["groupsHeader"])

    def _oidc(self, given: Mapping[str, Any]) -> Oidc:
        issuer, url = (self._text(given, key, "oidc.", required=True) for key in ("issuer", "url"))
        for key, text in (("issuer", issuer), ("url", url)):
            if text and not _is_safe_url(text):
                self.error(
                    f"oidc.{key}", f"{excerpt(text, 80)!r}: expected an https URL without query or fragment"
                )
        if urlsplit(url).path.strip("/"):
            self.error("oidc.url", "expected no path: the browser is served from the root of a host")
        scopes = self._texts(given, "scopes", "oidc.") or SCOPES
        if "openid" not in scopes:
            self.error("oidc.scopes", "openid is missing, without it there is no ID token")
        algorithms = self._texts(given, "algorithms", "oidc.") or USUAL_ALGORITHMS
        for one in algorithms:
            if one not in ALGORITHMS:
                self.error(
                    "oidc.algorithms",
                    f"{excerpt(one, 40)!r}: expected signatures with a public key: {', '.join(ALGORITHMS)}",
                )
        return Oidc(
            issuer,
            self._text(given, "clientId", "oidc.", required=True),
            url.rstrip("/"),
            self._file(given, "clientSecretFile", "oidc."),
            self._file(given, "caFile", "oidc."),
            scopes,
            self._text(given, "userClaim", "oidc.", USER_CLAIM),
            self._text(given, "groupsClaim", "oidc.", GROUPS_CLAIM),
            algorithms,
            self._text(given, "audience", "oidc."),
        )

    def _token(self, where: str, given: Any) -> StaticToken:
        given = self._mapping(where, "tokens", given)
        digest = self._text(given, "sha256", f"{where}.", required=True)
        if digest and not _SHA256.fullmatch(digest):
            self.error(f"{where}.sha256", "expected 64 hex digits: `chains access token` prints them")
            digest = ""
        expires = self._moment(given.get("expires"), f"{where}.expires")
        if expires > self._now + _LONGEST_TOKEN:
            self.error(
                f"{where}.expires", "further away than a year: a token that is never changed is found one day"
            )
        elif expires <= self._now:
            self.warn(f"{where}.expires", "it has expired: take it out")
        name = self._text(given, "name", f"{where}.", required=True)
        return StaticToken(name, bytes.fromhex(digest), expires, self._namespaces(given, where))

    def _grant(self, where: str, given: Any) -> Grant:
        given = self._mapping(where, "grants", given)
        users, groups = (frozenset(self._texts(given, key, f"{where}.")) for key in ("users", "groups"))
        if not users and not groups:
            self.error(where, "it is for nobody: give users or groups")
        return Grant(users, groups, self._namespaces(given, where))

    def _rate(self, given: Mapping[str, Any]) -> Rate:
        numbers = []
        for key, default in (("perMinute", PER_MINUTE), ("burst", BURST)):
            value = given.get(key, default)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST_RATE:
                self.error(f"rateLimit.{key}", f"expected a number from 1 to {_MOST_RATE}")
                value = default
            numbers.append(value)
        return Rate(*numbers)

    def _namespaces(self, given: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
        if given.get("namespaces") == "*":
            return None
        found = self._texts(given, "namespaces", f"{where}.", required=True)
        for name in found:
            if name == "*":
                self.error(f"{where}.namespaces", 'all namespaces are written namespaces: "*", not in a list')
            elif not _NAMESPACE.fullmatch(name):
                self.error(
                    f"{where}.namespaces",
                    f"{excerpt(name, 80)!r}: expected the name of a namespace; there are no patterns",
                )
        return tuple(sorted(set(found)))

    def _known(self, part: str, given: Mapping[str, Any], where: str = "") -> None:
        names = _KEYS[part]
        for key in given:
            if key not in names:
                near = get_close_matches(str(key)[:60], names, 1, 0.6)
                path = ".".join(filter(None, (where or part, excerpt(str(key), 60))))
                self.error(path, f"unknown key; known keys: {', '.join(names)}", near[0] if near else "")

    def _mapping(self, where: str, part: str, given: Any) -> Mapping[str, Any]:
        if not isinstance(given, dict):
            self.error(where, f"expected a mapping with {', '.join(_KEYS[part])}")
            return {}
        self._known(part, given, where)
        return given

    def _part(self, given: Mapping[str, Any], key: str, read: Callable[[Mapping[str, Any]], T]) -> T | None:
        return None if given.get(key) is None else read(self._mapping(key, key, given[key]))

    def _list(self, given: Mapping[str, Any], key: str) -> Sequence[Any]:
        found = given.get(key)
        if found is None:
            return ()
        if not isinstance(found, list):
            self.error(key, "expected a list")
            return ()
        return found

    def _text(
        self, given: Mapping[str, Any], key: str, where: str, default: str = "", *, required: bool = False
    ) -> str:
        found = given.get(key, default)
        if not isinstance(found, str) or found != found.strip() or (required and not found):
            self.error(f"{where}{key}", "expected a text" + (": it is needed" if required else ""))
            return default
        return found

    def _texts(
        self, given: Mapping[str, Any], key: str, where: str, *, required: bool = False
    ) -> tuple[str, ...]:
        found = given.get(key, [])
        if not isinstance(found, list) or not all(isinstance(one, str) and one.strip() for one in found):
            self.error(f"{where}{key}", "expected a list of texts")
            return ()
        if required and not found:
            self.error(f"{where}{key}", "expected a list with at least one text")
        return tuple(found)

    def _file(self, given: Mapping[str, Any], key: str, where: str) -> Path | None:
        text = self._text(given, key, where)
        if not text:
            return None
        path = self._folder / text
        if not path.is_file():
            self.error(f"{where}{key}", f"{path}: no such file")
        return path

    def _duration(self, given: Mapping[str, Any], key: str, default: timedelta) -> timedelta:
        text = self._text(given, key, "")
        if not text:
            return default
        try:
            found = timedelta(seconds=read_duration(text))
        except ValueError:
            found = timedelta(0)
        if not _SHORTEST_SESSION <= found <= _LONGEST_SESSION:
            self.error(key, f"{excerpt(text, 40)!r}: expected a time from 1m to 24h")
            return default
        return found

    def _moment(self, given: Any, where: str) -> datetime:
        # YAML reads what looks like a time as one
        if isinstance(given, str):
            try:
                given = datetime.fromisoformat(given)
            except ValueError:
                given = None
        if isinstance(given, datetime):
            return given if given.tzinfo else given.replace(tzinfo=UTC)
        if isinstance(given, date):
            return datetime.combine(given, time(), UTC)
        self.error(where, "expected a day or a time at which it ends, such as 2027-01-31")
        return self._now


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None


def _is_safe_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or parts.query or parts.fragment or parts.username is not None or not text.isascii():
        return False
    is_here = host == "localhost" or ((network := _network(host)) is not None and network.is_loopback)
    return parts.scheme == "https" or (parts.scheme == "http" and is_here)


def _twice(names: Sequence[str]) -> set[str]:
    return {name for name in names if names.count(name) > 1}
