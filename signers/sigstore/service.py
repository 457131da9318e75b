"""One exchange with a service over HTTP: bounded in time and size, its troubles in this room's two words.

Proxies and certificate authorities come from the environment, as with every client of ``requests``
(``HTTPS_PROXY``, ``NO_PROXY``, ``REQUESTS_CA_BUNDLE``). Redirects are not followed: tokens travel here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError, ProtocolError

from signers.errors import FormatError, SignerError, SignerRejected, SignerUnavailable
from signers.strict_json import expect_few

MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_ANSWER_VALUES = 20_000
CONNECTIONS = 100
"""As many threads may wait for one service: Rekor v2 answers after a second, however many ask."""
_EXCERPT = 200
_OK, _REDIRECT, _BROKEN = 200, 300, 500
_TEMPORARY = frozenset({408, 425, 429})
_FAILURES = (requests.RequestException, HTTPError, OSError)
"""Of a request, of the reading of its answer's body, and of the system."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a service answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    where: str
    """For errors: the service and its host."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """What was sent and must not be shown: some services and proxies repeat it."""

    @property
    def json(self) -> dict[str, Any]:
        """The JSON object in the body. Raises :class:`SignerUnavailable`: a proxy may have answered."""
        try:
            expect_few(self.body, f"the answer of {self.where}", MAX_ANSWER_VALUES)
            content = orjson.loads(self.body)
        except FormatError as error:
            raise SignerUnavailable(str(error)) from error
        except orjson.JSONDecodeError as error:
            raise SignerUnavailable(f"{self.where} answered no json: check the url") from error
        if not isinstance(content, dict):
            raise SignerUnavailable(f"{self.where} answered no json object: check the url")
        return content

    def excerpt(self) -> str:
        """Return the start of the body on one line, for an error."""
        text = self.body.decode(errors="replace")
        for secret in self.secrets:  # before anything is cut: a part of a token is too much too
            text = text.replace(secret, "…")
        return " ".join(text[: 4 * _EXCERPT].split())[:_EXCERPT]

    def refusal(self) -> SignerError:
        """Return the error that an answer without success means."""
        told = f"{self.where} answered {self.status}: {self.excerpt() or 'nothing'}"
        if self.status >= _BROKEN or self.status in _TEMPORARY:
            return SignerUnavailable(told)
        return SignerRejected(told)


class Service:
    """A service at ``url``; ``what`` names it in errors, ``timeout`` is in seconds. Safe for threads."""

    def __init__(self, url: str, what: str, *, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._timeout = timeout
        self.where = f"{what} {shown_url(url)}"
        self._session = requests.Session()
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=4, pool_maxsize=CONNECTIONS))

    def request(
        self,
        method: str,
        path: str = "",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        secret: str = "",
    ) -> Reply:
        """Return the answer to one request, whatever its status.

        ``secret`` is in the body; it is kept out of errors, as credentials in the headers are. Raises
        :class:`SignerUnavailable` when there is no answer, and for one that is too long.
        """
        try:
            return self._once(method, path, body, headers, secret)
        except _FAILURES as error:
            if not _was_dropped(error):
                raise self._failure(error) from error
        # the server closed a kept connection just as it was used again, and most often read nothing of it
        try:
            return self._once(method, path, body, headers, secret)
        except _FAILURES as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> SignerError:
        if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
            return SignerRejected(f"{self.where} cannot be asked: check the url")
        # the library's words can repeat the whole URL, with what it may hold
        return SignerUnavailable(f"{self.where} does not answer: {type(error).__name__}")

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, secret: str
    ) -> Reply:
        with self._session.request(
            method,
            self.url + path,
            data=body,
            # what is compressed may be of any size, and no answer is large
            headers={"Accept-Encoding": "identity", **(headers or {})},
            timeout=self._timeout,
            allow_redirects=False,
            stream=True,
        ) as answer:
            data = _read(answer.raw)
            secrets = _secrets(headers or {}, secret)
            reply = Reply(answer.status_code, dict(answer.headers), data, self.where, secrets)
        if len(data) > MAX_ANSWER_BYTES:
            raise SignerUnavailable(f"{self.where} answered more than {MAX_ANSWER_BYTES} bytes")
        return reply

    def post_json(
        self, path: str, content: object, headers: Mapping[str, str] | None = None, secret: str = ""
    ) -> Reply:
        """Post JSON. Raises as :meth:`request` does."""
        sent = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
        return self.request("POST", path, orjson.dumps(content), sent, secret)


def _read(raw: Any) -> bytes:
    """Return a body as it came, or one byte more of it than may be."""
    found = b""
    while len(found) <= MAX_ANSWER_BYTES:
        part = raw.read(MAX_ANSWER_BYTES + 1 - len(found), decode_content=False)
        if not part:
            break
        found += part
    return found


def succeeded(reply: Reply) -> bool:
    """Whether the status says success."""
    return _OK <= reply.status < _REDIRECT


def expect_success(reply: Reply) -> Reply:
    """Return a successful answer. Raises :class:`SignerUnavailable` or :class:`SignerRejected`."""
    if not succeeded(reply):
        raise reply.refusal()
    return reply


def _was_dropped(error: Exception) -> bool:
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(cause, ProtocolError)


def _secrets(headers: Mapping[str, str], secret: str) -> tuple[str, ...]:
    given = headers.get("Authorization", "").rpartition(" ")[2]
    return tuple(one for one in (given, secret) if one)


def without_user(url: str) -> str:
    """Return the URL without user and password, for what is published."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def shown_url(url: str) -> str:
    """Return scheme, host and port: user and query can be secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if host else "(no host in its url)"
