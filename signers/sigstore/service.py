"""One HTTP exchange with a service, with limits on time and size and this package's exceptions.

Proxies and certificate authorities come from the environment, as for every client of ``requests``
(``HTTPS_PROXY``, ``NO_PROXY``, ``REQUESTS_CA_BUNDLE``). Redirects are not followed, because requests carry
tokens.
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
"""The largest answer that is read."""
MAX_ANSWER_VALUES = 20_000
"""The most JSON values in an answer."""
CONNECTIONS = 100
"""The most connections to one service. Rekor v2 answers after about a second whatever the load, so many
threads wait at the same time."""
_EXCERPT = 200
"""The most characters of an answer in an error."""
_OK, _REDIRECT, _BROKEN = 200, 300, 500
_TEMPORARY = frozenset({408, 425, 429})
_FAILURES = (requests.RequestException, HTTPError, OSError)
"""Failures of a request, of reading the body of its answer, and of the operating system."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a service, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    where: str
    """The service and its host, for errors."""
    secrets: tuple[str, ...] = field(default=(), repr=False)
    """Credentials that were sent. Some services and proxies repeat them in their answers, so they are removed
    from messages."""

    @property
    def json(self) -> dict[str, Any]:
        """The JSON object in the body. Raises :class:`SignerUnavailable`: a proxy may have answered."""
        try:
            expect_few(self.body, f"the answer of {self.where}", MAX_ANSWER_VALUES)
            content = orjson.loads(self.body)
        except FormatError as error:
            raise SignerUnavailable(str(error)) from error
        except orjson.JSONDecodeError as error:
            raise SignerUnavailable(f"{self.where}: its answer is not json: check the url") from error
        if not isinstance(content, dict):
            raise SignerUnavailable(f"{self.where}: its answer is not a json object: check the url")
        return content

    def excerpt(self) -> str:
        """Return the start of the body on one line, without secrets, for an error."""
        text = self.body.decode(errors="replace")
        for secret in self.secrets:  # before the text is cut, or a part of a token could remain
            text = text.replace(secret, "…")
        return " ".join(text[: 4 * _EXCERPT].split())[:_EXCERPT]

    def refusal(self) -> SignerError:
        """Return the exception for an answer without success."""
        text = f"{self.where} answered {self.status}: {self.excerpt() or 'nothing'}"
        if self.status >= _BROKEN or self.status in _TEMPORARY:
            return SignerUnavailable(text)
        return SignerRejected(text)


class Service:
    """A service at ``url``. ``what`` names it in errors, ``timeout`` is in seconds. Safe for threads."""

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

        ``secret`` is a credential in the body; errors do not show it, nor credentials in headers. Raises
        :class:`SignerUnavailable` when there is no answer or one above :data:`MAX_ANSWER_BYTES`, and
        :class:`SignerRejected` for an unusable URL.
        """
        try:
            return self._once(method, path, body, headers, secret)
        except _FAILURES as error:
            if not _was_dropped(error):
                raise self._failure(error) from error
        # The server closed a kept-alive connection just as it was reused, most often before it read anything.
        try:
            return self._once(method, path, body, headers, secret)
        except _FAILURES as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> SignerError:
        if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)):
            return SignerRejected(f"{self.where} cannot be called: check the url")
        # The library's message is not repeated: it can contain the whole URL with credentials.
        return SignerUnavailable(f"{self.where} does not answer: {type(error).__name__}")

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None, secret: str
    ) -> Reply:
        with self._session.request(
            method,
            self.url + path,
            data=body,
            # No compression: a small compressed answer could expand to any size.
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
        """Post JSON and return the answer. Raises as :meth:`request` does."""
        sent = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
        return self.request("POST", path, orjson.dumps(content), sent, secret)


def _read(raw: Any) -> bytes:
    """Return the body, or its first bytes up to one more than the limit, by which the caller sees that."""
    data = b""
    while len(data) <= MAX_ANSWER_BYTES:
        part = raw.read(MAX_ANSWER_BYTES + 1 - len(data), decode_content=False)
        if not part:
            break
        data += part
    return data


def succeeded(reply: Reply) -> bool:
    """Whether the status means success."""
    return _OK <= reply.status < _REDIRECT


def expect_success(reply: Reply) -> Reply:
    """Return a successful answer. Raises :class:`SignerUnavailable` or :class:`SignerRejected`."""
    if not succeeded(reply):
        raise reply.refusal()
    return reply


def _was_dropped(error: Exception) -> bool:
    """Whether the connection was closed before an answer began."""
    cause = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    return isinstance(cause, ProtocolError)


def _secrets(headers: Mapping[str, str], secret: str) -> tuple[str, ...]:
    """Return the credentials of a request, of which answers and errors must show nothing."""
    given = headers.get("Authorization", "").rpartition(" ")[2]
    return tuple(value for value in (given, secret) if value)


def without_user(url: str) -> str:
    """Return the URL without user and password, fit for publication."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def shown_url(url: str) -> str:
    """Return scheme, host and port. User and query of a URL can be secrets."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" if host else "(no host in its url)"
