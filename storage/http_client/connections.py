"""One HTTP exchange: kept-alive connections, trusted CAs, proxies, limits on time and size.

Knows nothing about registries. Failures are :class:`Later` (a later try may succeed) or :class:`NoTls`; their
texts contain neither URL nor header.
"""

from __future__ import annotations

import asyncio
import io
import ssl
import urllib.request
from collections.abc import Callable

import aiohttp
from cachetools import LRUCache
from yarl import URL

from storage.base import StoreOptions
from storage.errors import BadContent, StoreRejected
from storage.http_client.addresses import Allows, Refused, spelled_address
from storage.http_client.answer import ERROR_TEXT, Answer
from storage.http_client.attempts import Later, NoTls
from storage.http_client.exchange import BODIES, ERROR_BODY, STEP, Broken, TooLarge
from storage.http_client.http1 import Client
from storage.http_client.plain_http import is_loopback
from storage.limits.askers import Places
from storage.limits.circuits import SILENCE, Asked, Circuits
from storage.limits.pool import Hold

_LARGE_BODY = 1024 * 1024
"""Bytes from which a request body is given to aiohttp as a file object."""
_REDIRECT = 300
ROOM_SECONDS = 60.0
"""Seconds for which an answer waits for memory, see :data:`storage.http_client.exchange.BODIES`."""
_MOST_HOSTS = 2048
"""The most hosts for which the choice of a proxy is remembered."""
_MOST_REQUESTS = 256
"""The most requests under way for one asker. One busy registry needs far fewer."""
_NOT_ASKED = "it does not answer, and no request is sent to it for now"
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "provenance-chains"}


def _anywhere(_: str) -> bool:
    return True


class Proxies:
    """The proxies of the environment (``HTTPS_PROXY``, ``NO_PROXY``, …), read once. ``.netrc`` is not read.

    As in Go programs, this machine itself is never reached through a proxy.
    """

    def __init__(self) -> None:
        self._proxies = urllib.request.getproxies()
        self._chosen: LRUCache[tuple[str, str], str] = LRUCache(_MOST_HOSTS)

    def choose(self, url: URL) -> str | None:
        """Return the proxy for ``url``; None for a direct connection."""
        if not self._proxies:
            return None
        key = (url.scheme, url.host or "")
        chosen = self._chosen.get(key)
        if chosen is None:
            direct = is_loopback(key[1]) or urllib.request.proxy_bypass(key[1])
            chosen = "" if direct else self._proxies.get(key[0]) or ""
            self._chosen[key] = chosen
        return chosen or None


class _Question:
    """One request: its time limit from :meth:`begin` on, and what it reports to its host's circuit."""

    def __init__(self, circuits: Circuits | None, host: str, seconds: float, method: str) -> None:
        self._circuits, self.host, self.seconds, self._method = circuits, host, seconds, method
        self.patience = asyncio.timeout(None)
        self._begun = False
        self.rests = False
        """Whether it waits for memory for the answer."""
        self._asked: Asked | None = None

    def begin(self) -> None:
        """Start the time limit: from now on the host is waited for. Raises :class:`Later` if it is silent."""
        if self._begun:
            return
        self._begun = True
        self.patience.reschedule(asyncio.get_running_loop().time() + self.seconds)
        if self._circuits is not None:
            self._asked = self._circuits.ask(self.host, self._cut_short, self._method)
            if self._asked is None:
                raise Later(_NOT_ASKED, host=self.host)

    def rest(self, rests: bool, /) -> None:
        """Report that it waits for memory and not for the host, or for the host again."""
        self.rests = rests
        if self._circuits is not None and rests:
            self.end(Circuits.gave_up)
            self._asked = None
        elif self._circuits is not None:
            self._asked = self._circuits.ask(self.host, self._cut_short, self._method)
        self.patience.reschedule(
            asyncio.get_running_loop().time() + (ROOM_SECONDS if rests else self.seconds)
        )

    def _cut_short(self) -> None:
        if not self.patience.expired():
            self.patience.reschedule(asyncio.get_running_loop().time())

    @property
    def is_silent(self) -> bool:
        """Whether the request was ended early because the host is silent."""
        return self._asked is not None and self._asked.ended

    def end(self, how: Callable[[Circuits, str, Asked], None]) -> None:
        """Report the outcome to the circuit."""
        if self._circuits is not None and self._asked is not None:
            how(self._circuits, self.host, self._asked)


class Connections:
    """Sends all requests, directly or through a proxy. Call :meth:`close` at the end."""

    def __init__(self, options: StoreOptions) -> None:
        self._tls = tls_context(options)
        self._timeout, self._circuits = options.timeout, options.circuits
        self._places = Places(_MOST_REQUESTS)
        self._proxies = Proxies()
        self._direct = Client()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection. A later request opens new ones."""
        await self._direct.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(
        self,
        method: str,
        url: URL,
        headers: dict[str, str],
        data: bytes | None = None,
        limit: int = ERROR_BODY,
        seconds: float = 0.0,
        allows: Allows = _anywhere,
    ) -> Answer:
        """Return the answer to one request, whatever its status. Redirects are not followed.

        ``limit`` is the largest body in bytes. ``seconds`` limits the whole exchange if it is given, else the
        configured timeout does. ``allows`` is called for each address before it is connected to; since a
        proxy resolves names itself, it is then called only for addresses in URLs. Raises :class:`Later`,
        immediately for a host that is silent; :class:`NoTls`, :class:`Refused`, and :class:`BadContent` for a
        larger body.
        """
        host, seconds = _host(url), seconds or self._timeout
        # Fail before a place is taken: a silent host must not use up the places of others.
        if self._circuits is not None and self._circuits.wait(host):
            raise Later(_NOT_ASKED, host=host)
        question = _Question(self._circuits, host, seconds, method)
        async with self._places.place():
            try:
                answer = await self._exchange(question, method, url, headers, data, limit, allows)
            except Later:
                question.end(Circuits.failed)
                if question.is_silent:
                    raise Later(f"it does not answer: no data came in {SILENCE:g} s", host=host) from None
                raise
            except (NoTls, BadContent):
                question.end(Circuits.answered)
                raise
            except BaseException:
                question.end(Circuits.gave_up)
                raise
            question.end(Circuits.answered)
            return answer

    def is_silent(self, host: str) -> bool:
        """Whether the host is silent, so that another try is of no use."""
        return self._circuits is not None and self._circuits.is_open(host)

    async def _exchange(
        self,
        question: _Question,
        method: str,
        url: URL,
        headers: dict[str, str],
        data: bytes | None,
        limit: int,
        allows: Allows,
    ) -> Answer:
        """Send a request directly or through a proxy, and map all exceptions."""
        headers, host = _HEADERS | headers, question.host
        proxy = self._proxies.choose(url)
        try:
            async with question.patience:
                if proxy is not None:
                    # The proxy resolves names, so only addresses that the URL spells out can be checked here.
                    spelled = spelled_address(url.raw_host or "")
                    if spelled and not allows(spelled):
                        raise Refused(spelled)
                    question.begin()
                    return await self._by_proxy(proxy, method, url, headers, data, limit)
                response = await self._direct.send(
                    method,
                    url,
                    headers,
                    data,
                    limit=limit,
                    tls=self._tls,
                    allows=allows,
                    begin=question.begin,
                    rests=question.rest,
                )
                return Answer(
                    response.status, response.headers, response.body, url, response.address, response.hold
                )
        except TimeoutError as exc:
            if question.rests:
                raise Later(f"there was no memory for its answer in {ROOM_SECONDS:g} s") from exc
            raise Later(f"no answer in {question.seconds:g} s", host=host) from exc
        except TooLarge as exc:
            size = (
                f"{exc.size} bytes; the limit is {limit}"
                if exc.size
                else f"more than the limit of {limit} bytes"
            )
            raise BadContent(f"{url.host} answered with {size}") from exc
        except Broken as exc:
            raise Later(f"the connection broke ({exc})", host=host) from exc
        # It is an SSLError, which is an OSError: the order of these clauses matters.
        except ssl.SSLCertVerificationError as exc:
            raise _untrusted(exc) from exc
        except ssl.SSLError as exc:
            raise NoTls(f"it does not use TLS, or none that is supported ({_first_line(exc)})") from exc
        except OSError as exc:
            raise Later(f"cannot connect ({exc.strerror or type(exc).__name__})", host=host) from exc
        except ValueError as exc:
            raise StoreRejected(f"cannot send a request to {url.host}: {exc}") from exc

    async def _by_proxy(
        self, proxy: str, method: str, url: URL, headers: dict[str, str], data: bytes | None, limit: int
    ) -> Answer:
        """Send a request through a proxy, with aiohttp."""
        try:
            async with self._client().request(
                method,
                url,
                headers=headers,
                # aiohttp warns about large bytes bodies, because they block the loop; a file object is sent
                # in parts.
                data=data if data is None or len(data) <= _LARGE_BODY else io.BytesIO(data),
                allow_redirects=False,
                proxy=proxy,
                ssl=self._tls,
            ) as response:
                cuts = response.status >= _REDIRECT
                limit = min(limit, ERROR_BODY) if cuts else limit
                if method == "HEAD":
                    return Answer(response.status, response.headers, b"", url)
                body, hold = await _read(response, limit, cuts=cuts)
                return Answer(response.status, response.headers, body, url, hold=hold)
        except aiohttp.ClientConnectorCertificateError as exc:
            raise _untrusted(exc.certificate_error) from exc
        except aiohttp.ClientConnectorSSLError as exc:
            raise NoTls(f"it does not use TLS, or none that is supported ({_first_line(exc)})") from exc
        except aiohttp.ClientConnectorError as exc:
            why = exc.os_error.strerror or type(exc.os_error).__name__
            raise Later(f"cannot connect ({why})", host=_host(url)) from exc
        except aiohttp.ClientError as exc:
            raise Later(f"the connection broke ({type(exc).__name__})", host=_host(url)) from exc

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=None),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


def tls_context(options: StoreOptions) -> ssl.SSLContext:
    """Return a context that trusts the system's CAs and ``ca_file``, or any certificate if ``insecure``.

    Raises :class:`StoreRejected` if ``ca_file`` cannot be read as PEM.
    """
    context = ssl.create_default_context()
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif options.ca_file:
        try:
            context.load_verify_locations(cafile=options.ca_file)
        except OSError as exc:
            reason = "expected PEM certificates" if isinstance(exc, ssl.SSLError) else exc.strerror
            raise StoreRejected(f"cannot use storage.oci.ca-file {options.ca_file}: {reason}") from exc
    return context


def _host(url: URL) -> str:
    """Return ``scheme://host:port`` of a URL."""
    return f"{url.scheme}://{url.host_port_subcomponent}"


def _untrusted(exc: BaseException) -> NoTls:
    return NoTls(
        f"its certificate is not trusted ({_first_line(exc)}); add its CA with storage.oci.ca-file",
        untrusted=True,
    )


async def _read(response: aiohttp.ClientResponse, limit: int, *, cuts: bool) -> tuple[bytes, Hold]:
    """Return the body and its reserved memory; with ``cuts`` only the part of it within the limit."""
    length = response.content_length
    if length is not None and length > limit and not cuts:
        response.close()
        raise BadContent(f"{response.host} answered with {length} bytes; the limit is {limit}")
    hold = await BODIES.hold(min(length or 0, limit))
    body, left = io.BytesIO(), limit
    async for part in response.content.iter_any():
        if len(part) > left:
            response.close()
            if not cuts:
                raise BadContent(f"{response.host} answered with more than the limit of {limit} bytes")
            body.write(part[:left])
            break
        if body.tell() + len(part) > hold.size:
            # Memory is reserved step by step, because the length may be unknown.
            hold.absorb(await BODIES.hold(STEP))
        body.write(part)
        left -= len(part)
    hold.shrink(body.tell())
    return body.getvalue(), hold


def _first_line(exc: BaseException) -> str:
    return str(exc).partition("\n")[0][:ERROR_TEXT]
