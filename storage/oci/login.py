"""Tries one credential after another for a request until the registry accepts one.

The accepted authorization is remembered for the repository and action until it expires, and the next request
uses it first. If none is accepted, the error explains every attempt.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from storage.errors import StoreError, StoreUnavailable
from storage.formats.reference import Repository
from storage.http_client.addresses import Home
from storage.http_client.answer import Answer
from storage.oci.docker_config import Credential
from storage.oci.tokens import (
    Authorization,
    Challenge,
    CredentialRefused,
    Keychain,
    TokenSource,
    challenges_of,
)

UNAUTHORIZED, FORBIDDEN = 401, 403
_MOST_KNOWN = 2000
"""The most authorizations that are remembered."""
_T = TypeVar("_T")
_SHORT = 160
"""The most characters of a refusal in an error."""
NOT_OVER_HTTP = (
    "not sent over plain http: serve the registry with TLS, or set storage.oci.repository.insecure"
)
_MOST_CHALLENGES = 4
"""The most challenges that are answered with one credential for one request."""

Send = Callable[[Authorization], Awaitable[Answer]]


class NoAccess(Exception):  # noqa: N818 - the caller turns it into an error
    """The registry accepted no credential. ``transient``: a later try may succeed.

    ``answer`` is its last refusal, None if the token server refused or nothing could be tried. ``host`` is a
    token server that did not answer.
    """

    def __init__(
        self, reason: str, *, transient: bool = False, answer: Answer | None = None, host: str = ""
    ) -> None:
        super().__init__(reason)
        self.transient, self.answer, self.host = transient, answer, host


class Attempts:
    """The credentials of one keychain, and the authorization that each repository accepted last."""

    def __init__(self, keychain: Keychain, tokens: TokenSource) -> None:
        self._keychain, self._tokens = keychain, tokens
        self._taken: dict[tuple[Repository, bool], Authorization] = {}

    def known(self, repository: Repository, *, push: bool) -> Authorization | None:
        """Return the authorization that the registry accepted last, unless it has expired."""
        authorization = self._taken.get((repository, push))
        if authorization is None or authorization.expires <= time.monotonic():
            return None
        return authorization

    async def make(
        self,
        challenges: Sequence[Challenge],
        repository: Repository,
        send: Send,
        *,
        push: bool,
        home: Home,
        refused: Authorization | None = None,
    ) -> Answer:
        """Answer the challenges with each credential in turn; return the first answer that is not a refusal.

        ``refused`` is the authorization of :meth:`known` that the registry refused. Raises :class:`NoAccess`,
        which lists every attempt, and whatever ``send`` raises.
        """
        attempt = _Attempt(self._tokens, challenges, repository, send, push=push, home=home)
        if refused is not None:
            # A remembered token with this header must not be used again.
            attempt.refused.add(refused.header)
        # The second round asks the keychain for new credentials: the stored ones may have been rotated.
        for again in (False, True):
            for credential in await _explained(self._keychain.candidates(repository, again=again)):
                answer = await attempt.try_with(credential)
                if answer is not None:
                    self._remember(repository, attempt.taken, push=push)
                    return answer
        self._taken.pop((repository, push), None)
        right = "push to" if push else "read"
        text = f"refused; credentials tried: {'; '.join(attempt.reasons)}"
        advice = "" if attempt.transient else f"; one of them must be allowed to {right} {repository}"
        raise NoAccess(text + advice, transient=attempt.transient, answer=attempt.answer)

    async def has_any(self, repository: Repository) -> bool:
        """Whether there is any usable credential."""
        try:
            candidates = await self._keychain.candidates(repository)
        except StoreError:
            return False
        return not all(credential.is_anonymous or credential.unusable for credential in candidates)

    def _remember(self, repository: Repository, taken: Authorization, *, push: bool) -> None:
        """Remember an accepted authorization. Expired ones are dropped when there are too many."""
        if len(self._taken) >= _MOST_KNOWN:
            now = time.monotonic()
            self._taken = {
                key: authorization
                for key, authorization in self._taken.items()
                if authorization.expires > now
            }
            if len(self._taken) >= _MOST_KNOWN:
                self._taken.clear()
        self._taken[repository, push] = taken


async def _explained(work: Awaitable[_T]) -> _T:
    """Await ``work`` and raise :class:`NoAccess` for its errors."""
    try:
        return await work
    except CredentialRefused:
        raise
    except StoreError as exc:
        raise NoAccess(str(exc), transient=isinstance(exc, StoreUnavailable), host=exc.host) from exc


class _Attempt:
    """One request with all credentials; collects what was tried and why it failed."""

    def __init__(
        self,
        tokens: TokenSource,
        challenges: Sequence[Challenge],
        repository: Repository,
        send: Send,
        *,
        push: bool,
        home: Home,
    ) -> None:
        self._tokens, self._repository, self._send = tokens, repository, send
        self._challenges = tuple(challenges)
        self._push, self._home = push, home
        self._tried: set[Credential] = set()
        self.refused: set[str] = set()
        self.reasons: list[str] = []
        self.transient = False
        self.taken = Authorization("", "", 0.0)
        self.answer: Answer | None = None

    async def try_with(self, credential: Credential) -> Answer | None:
        """Return the answer; None if the credential is refused or unusable."""
        if credential in self._tried:
            return None
        self._tried.add(credential)
        if credential.unusable:
            self.transient |= credential.transient
            self.reasons.append(f"{credential.source} ({credential.unusable})")
            return None
        if not (self._home.keeps_secrets or credential.is_anonymous):
            self.reasons.append(f"{credential.source} ({NOT_OVER_HTTP})")
            return None
        return await self._meet(credential)

    async def _meet(self, credential: Credential) -> Answer | None:
        """Answer one challenge after another, also those that refusals contain.

        The registry may change the scheme.
        """
        waiting = self._suiting(credential, self._challenges)
        tried: set[tuple[str, str, str, str]] = set()
        problem = ""
        if not waiting:
            problem = f"the registry asks for {self._challenges[0].scheme}, which it does not support"
        while waiting and len(tried) <= _MOST_CHALLENGES:
            challenge = waiting.pop(0)
            parameters = challenge.parameters
            scope = challenge.scope(self._repository, push=self._push)
            # Two challenges with these values equal have the same answer.
            key = challenge.scheme, parameters.get("realm", ""), parameters.get("service", ""), scope
            if key in tried:
                continue
            tried.add(key)
            try:
                authorization = await self._authorized(challenge, credential)
            except CredentialRefused as exc:
                self.answer, problem = None, str(exc)
                continue
            except NoAccess as exc:
                if exc.transient or not self._suiting(credential, waiting):
                    raise
                problem = str(exc)
                continue
            answer = await self._send(authorization)
            if answer.status not in {UNAUTHORIZED, FORBIDDEN}:
                self.taken = authorization
                return answer
            self.answer, problem = answer, answer.text[:_SHORT]
            self.refused.add(authorization.header)
            # A remembered token was refused. Try the same challenge once more with a new token.
            if authorization.reused:
                tried.discard(key)
                waiting.insert(0, challenge)
            # A refusal may contain other challenges; they come first, because they are the newest.
            asked = challenges_of(answer)
            if asked:
                self._challenges = asked
                waiting = [*self._suiting(credential, asked), *waiting]
        self.reasons.append(f"{credential.source} ({problem})")
        return None

    async def _authorized(self, challenge: Challenge, credential: Credential) -> Authorization:
        work = self._tokens.authorize(
            challenge,
            credential,
            self._repository,
            push=self._push,
            home=self._home,
            refused=self.refused,
        )
        return await _explained(work)

    @staticmethod
    def _suiting(credential: Credential, challenges: Sequence[Challenge]) -> list[Challenge]:
        """Return the challenges that the credential can answer."""
        suiting = [challenge for challenge in challenges if challenge.suits(credential)]
        if credential.is_anonymous:
            # Without a password basic is of no use, but token servers also issue anonymous tokens.
            suiting.sort(key=lambda challenge: challenge.scheme == "basic")
        return suiting
