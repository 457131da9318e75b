"""The access file as data: how people are told apart, and which namespaces they may see."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
ALGORITHMS: Final = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "Ed25519",
)
"""Signatures of tokens that may be configured (RFC 7518, 9864): none with a shared secret, no ``none``."""
USER_HEADER, GROUPS_HEADER = "X-Forwarded-User", "X-Forwarded-Groups"
SCOPES: Final = ("openid", "profile")
USER_CLAIM, GROUPS_CLAIM = "sub", "groups"
USUAL_ALGORITHMS: Final = ("RS256", "ES256")
PER_MINUTE, BURST = 600, 200
SHORTEST_SECRET: Final = 32
"""Bytes of a session key."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A reverse proxy that says in headers who asks. Only connections from ``sources`` are it."""

    sources: tuple[Network, ...]
    user_header: str = USER_HEADER
    groups_header: str = GROUPS_HEADER


@dataclass(frozen=True, slots=True)
class Oidc:
    """An OpenID Connect issuer. ``url`` is that of this browser as people see it, without a path.

    ``audience`` is what access tokens for the API are for; empty: only tokens for ``client_id`` are taken.
    """

    issuer: str
    client_id: str
    url: str
    secret_file: Path | None = None
    ca_file: Path | None = None
    scopes: tuple[str, ...] = SCOPES
    user_claim: str = USER_CLAIM
    groups_claim: str = GROUPS_CLAIM
    algorithms: tuple[str, ...] = USUAL_ALGORITHMS
    audience: str = ""


@dataclass(frozen=True, slots=True)
class StaticToken:
    """A token for the API, of which only the SHA-256 is known. ``namespaces`` None: all."""

    name: str
    sha256: bytes
    expires: datetime
    namespaces: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Grant:
    """Users and groups, and the namespaces that they may see; None: all."""

    users: frozenset[str]
    groups: frozenset[str]
    namespaces: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests of one viewer: ``per_minute`` in the long run, ``burst`` at once."""

    per_minute: int = PER_MINUTE
    burst: int = BURST


@dataclass(frozen=True, slots=True)
class Access:
    """All of the access file. At most one of ``proxy`` and ``oidc`` is given."""

    proxy: Proxy | None = None
    oidc: Oidc | None = None
    tokens: tuple[StaticToken, ...] = ()
    grants: tuple[Grant, ...] = ()
    rate: Rate = Rate()
    session: timedelta = timedelta(hours=1)
    session_key_file: Path | None = None

    @property
    def known_groups(self) -> frozenset[str]:
        """The groups that make a difference."""
        return frozenset().union(*(grant.groups for grant in self.grants))

    def namespaces_of(self, user: str, groups: Collection[str]) -> tuple[str, ...] | None:
        """Return what somebody may see: all namespaces of all their grants, None for everything.

        Without a grant it is empty.
        """
        own = set(groups)
        found: set[str] = set()
        for grant in self.grants:
            if user in grant.users or not own.isdisjoint(grant.groups):
                if grant.namespaces is None:
                    return None
                found.update(grant.namespaces)
        return tuple(sorted(found))
