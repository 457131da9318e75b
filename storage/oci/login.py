"""One request with one credential after another, until the registry takes it; each refusal is explained.

What was taken is remembered for the repository and the action until it expires, so that the next request
begins with it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from storage.errors import StoreError, StoreUnavailable
from storage.formats.reference import Repository
from storage.http_client.addresses import Home
from storage.http_client.connections import Answer
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
_T = TypeVar("_T")
_SHORT = 160
NOT_OVER_HTTP = (
    "not sent over plain http: serve the registry with TLS, or set storage.oci.repository.insecure"
)
_MOST_CHALLENGES = 4
"""Met with one credential for one request."""

Send = Callable[[Authorization], Awaitable[Answer]]


class NoAccess(Exception):  # noqa: N818 - the caller says what it was wanted for
    """There is no credential that the registry takes; ``transient`` when there may be one later.

    ``answer`` is its last refusal, None when it was the token server's or nothing could be tried; ``host`` is
    a token server that gave no answer.
    """

    def __init__(
        self, reason: str, *, transient: bool = False, answer: Answer | None = None, host: str = ""
    ) -> None:
        super().__init__(reason)
        self.transient, self.answer, self.host = transient, answer, host


class Attempts:
    """The credentials of one keychain, and which of them each repository took last."""

    def __init__(self, keychain: Keychain, tokens: TokenSource) -> None:
        self._keychain, self._tokens = keychain, tokens
        self._taken: dict[tuple[Repository, bool], Authorization] = {}

    def known(self, repository: Repository, *, push: bool) -> Authorization | None:
        """Return what the registry took last, while it holds."""
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
        """Meet the challenges with each credential in turn; return the first answer that is no refusal.

        ``refused`` is what :meth:`known` gave and the registry did not take any more. Raises
        :class:`NoAccess` with every attempt, and whatever ``send`` raises.
        """
        attempt = _Attempt(self._tokens, challenges, repository, send, push=push, home=home)
        if refused is not None:
            attempt.refused.add(refused.header)
        for again in (False, True):
            for credential in await _explained(self._keychain.candidates(repository, again=again)):
                answer = await attempt.try_with(credential)
                if answer is not None:
                    self._remember(repository, attempt.taken, push=push)
                    return answer
        self._taken.pop((repository, push), None)
        right = "push to" if push else "read"
        text = f"refused; credentials tried: {'; '.join(attempt.told)}"
        advice = "" if attempt.transient else f"; one of them must be allowed to {right} {repository}"
        raise NoAccess(text + advice, transient=attempt.transient, answer=attempt.answer)

    async def has_any(self, repository: Repository) -> bool:
        """Whether there is something to log in with."""
        try:
            candidates = await self._keychain.candidates(repository)
        except StoreError:
            return False
        return not all(each.is_anonymous or each.unusable for each in candidates)

    def _remember(self, repository: Repository, taken: Authorization, *, push: bool) -> None:
        if len(self._taken) >= _MOST_KNOWN:
            now = time.monotonic()
            self._taken = {key: each for key, each in self._taken.items() if each.expires > now}
            if len(self._taken) >= _MOST_KNOWN:
                self._taken.clear()
        self._taken[repository, push] = taken


async def _explained(work: Awaitable[_T]) -> _T:
    try:
        return await work
    except CredentialRefused:
        raise
    except StoreError as exc:
        raise NoAccess(str(exc), transient=isinstance(exc, StoreUnavailable), host=exc.host) from exc


class _Attempt:
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
        self.told: list[str] = []
        self.transient = False
        self.taken = Authorization("", "", 0.0)
        self.answer: Answer | None = None

    async def try_with(self, credential: Credential) -> Answer | None:
        """Return the answer, None when the credential was refused or cannot be used."""
        if credential in self._tried:
            return None
        self._tried.add(credential)
        if credential.unusable:
            self.transient |= credential.transient
            self.told.append(f"{credential.source} ({credential.unusable})")
            return None
        if not (self._home.keeps_secrets or credential.is_anonymous):
            self.told.append(f"{credential.source} ({NOT_OVER_HTTP})")
            return None
        return await self._meet(credential)

    async def _meet(self, credential: Credential) -> Answer | None:
        """Meet one challenge after another, those too that come with a refusal: a scheme may change."""
        waiting = self._suiting(credential, self._challenges)
        tried: set[tuple[str, str, str, str]] = set()
        said = ""
        if not waiting:
            said = f"the registry asks for {self._challenges[0].scheme}, which it cannot meet"
        while waiting and len(tried) <= _MOST_CHALLENGES:
            challenge = waiting.pop(0)
            parameters = challenge.parameters
            scope = challenge.scope(self._repository, push=self._push)
            key = challenge.scheme, parameters.get("realm", ""), parameters.get("service", ""), scope
            if key in tried:
                continue
            tried.add(key)
            try:
                authorization = await self._authorized(challenge, credential)
            except CredentialRefused as exc:
                self.answer, said = None, str(exc)
                continue
            except NoAccess as exc:
                if exc.transient or not self._suiting(credential, waiting):
                    raise
                said = str(exc)
                continue
            answer = await self._send(authorization)
            if answer.status not in {UNAUTHORIZED, FORBIDDEN}:
                self.taken = authorization
                return answer
            self.answer, said = answer, answer.text[:_SHORT]
            self.refused.add(authorization.header)
            if authorization.reused:
                tried.discard(key)
                waiting.insert(0, challenge)
            asked = challenges_of(answer)
            if asked:
                self._challenges = asked
                waiting = [*self._suiting(credential, asked), *waiting]
        self.told.append(f"{credential.source} ({said})")
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
        suiting = [each for each in challenges if each.suits(credential)]
        if credential.is_anonymous:
            # nobody has no password to show, but token servers give tokens to anybody
            suiting.sort(key=lambda each: each.scheme == "basic")
        return suiting
