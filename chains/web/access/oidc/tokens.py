"""Whether a token counts, and for whom: signature, issuer, audience, times, nonce.

The steps are those of OpenID Connect Core 3.1.3.7 and RFC 9068, 4.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from chains.web.access.oidc.errors import LoginRefused
from chains.web.access.oidc.provider import Provider
from chains.web.access.settings import Oidc

SKEW: Final = 60
"""Seconds that the issuer's clock may differ."""
_LARGEST: Final = 32 * 1024
_JWT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
_LONGEST: Final = 256
_PLAIN, _ACCESS = "jwt", "at+jwt"
_OF_LOGIN: Final = frozenset({_PLAIN})
_OF_BEARER: Final = frozenset({_PLAIN, _ACCESS})
_MOST_GROUPS: Final = 2000


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is according to the issuer."""

    user: str
    groups: tuple[str, ...]


class Tokens:
    """Verifies tokens of one issuer. ``now`` returns Unix time."""

    def __init__(self, provider: Provider, now: Callable[[], float]) -> None:
        self._provider, self._oidc, self._now = provider, provider.oidc, now

    async def of_login(self, token: str, nonce: str, access_token: str) -> Identity:
        """Return who an ID token is about that was got for a code.

        Raises :class:`LoginRefused`, and what the issuer's keys raise.
        """
        header, claims = await self._verified(token, _OF_LOGIN)
        self._check_audience(claims, {self._oidc.client_id})
        self._check_party(claims)
        given = claims.get("nonce")
        if not isinstance(given, str) or not hmac.compare_digest(given.encode(), nonce.encode()):
            raise LoginRefused("the nonce of the ID token is not that of this login")
        if "at_hash" in claims and not _is_hash_of(claims["at_hash"], access_token, str(header["alg"])):
            raise LoginRefused("the ID token is about another access token")
        return identity_of(claims, self._oidc)

    async def of_bearer(self, token: str) -> Identity:
        """Return whose token it is that a program shows.

        Raises :class:`LoginRefused`, and what the issuer's keys raise.
        """
        header, claims = await self._verified(token, _OF_BEARER)
        # an access token (RFC 9068) is for the API alone; an ID token for the client counts, too
        is_access = _kind(header) == _ACCESS
        audiences = {self._oidc.audience} if is_access else {self._oidc.audience, self._oidc.client_id}
        self._check_audience(claims, audiences - {""})
        if self._oidc.client_id in audiences and not self._is_for(claims, self._oidc.audience):
            # what is not for the API counts only as an ID token for this client
            self._check_party(claims)
        return identity_of(claims, self._oidc)

    async def _verified(
        self, token: str, kinds: frozenset[str]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        if len(token) > _LARGEST or not _JWT.fullmatch(token):
            raise LoginRefused("the token is no signed JWT")
        algorithms = list(self._oidc.algorithms)
        # unknown parameters of a header are passed over, but not those that it calls critical (RFC 7515, 4.1)
        registry = JWSRegistry(algorithms=algorithms, strict_check_header=False)
        try:
            kid = _kid(token)
            keys = await self._provider.keys(kid)
            decoded = jwt.decode(token, keys, algorithms=algorithms, registry=registry)
            claims = decoded.claims
            jwt.JWTClaimsRegistry(
                now=int(self._now()),
                leeway=SKEW,
                iss={"essential": True},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
            ).validate(claims)
        except JoseError as error:
            # the words of the error have nothing of the token but the names of claims
            raise LoginRefused(
                f"the token does not count: {error.error}: {error.description}"[:200]
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LoginRefused(f"the token cannot be read ({type(error).__name__})") from error
        if claims["iss"] != self._oidc.issuer:
            raise LoginRefused("the token is of another issuer")
        if _kind(decoded.header) not in kinds:
            # such as a logout token: same issuer, audience and key, and no login (RFC 8725, 3.11)
            raise LoginRefused("the token is of another kind")
        return decoded.header, claims

    def _check_audience(self, claims: Mapping[str, Any], wanted: set[str]) -> None:
        if not any(self._is_for(claims, one) for one in wanted):
            raise LoginRefused("the token is for another audience")

    def _is_for(self, claims: Mapping[str, Any], audience: str) -> bool:
        given = claims.get("aud")
        return bool(audience) and (given == audience or (isinstance(given, list) and audience in given))

    def _check_party(self, claims: Mapping[str, Any]) -> None:
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if ("azp" in claims or several) and claims.get("azp") != self._oidc.client_id:
            raise LoginRefused("the ID token was made for another client")


def identity_of(claims: Mapping[str, Any], oidc: Oidc) -> Identity:
    """Return the user and groups of a token. Raises :class:`LoginRefused` if it names no user."""
    user = claims.get(oidc.user_claim)
    if not isinstance(user, str) or not user.strip() or len(user) > _LONGEST:
        raise LoginRefused(f"the token names no user in the claim {oidc.user_claim}")
    if oidc.user_claim == "email" and claims.get("email_verified") is not True:
        raise LoginRefused("the issuer did not verify the email address")
    groups = claims.get(oidc.groups_claim, [])
    groups = groups if isinstance(groups, list) else [groups]
    named = [one for one in groups[:_MOST_GROUPS] if isinstance(one, str)]
    return Identity(user, tuple(named))


def _kind(header: Mapping[str, Any]) -> str:
    """Return the media type of a token in lower case, ``jwt`` if it does not say any (RFC 7515, 4.1.9)."""
    found = header.get("typ", _PLAIN)
    return found.lower().removeprefix("application/") if isinstance(found, str) else ""


def _kid(token: str) -> str | None:
    found = jws.extract_compact(token.encode()).headers().get("kid")
    return found if isinstance(found, str) else None


def _is_hash_of(given: object, access_token: str, algorithm: str) -> bool:
    # of the size of the signature's hash; Ed25519 has SHA-512
    make = _HASHES.get(algorithm[-3:], hashlib.sha512)
    digest = make(access_token.encode()).digest()
    expected = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    return isinstance(given, str) and bool(access_token) and hmac.compare_digest(given, expected)
