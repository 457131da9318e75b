"""One HTTP/1.1 connection: one exchange at a time, whole bodies, strict framing.

What RFC 9112 leaves open or warns about is refused here: two lengths, folded headers, encodings other than
``chunked``. A connection is reused only after an answer that ended where its framing said. httptools, which
parses faster, was tried in its place (``docs/decisions/0036``).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import cast

from multidict import CIMultiDict, CIMultiDictProxy

from storage.limits.pool import Hold, Pool

MAX_HEAD = 64 * 1024
"""The largest status line and headers in bytes."""
ERROR_BODY = 64 * 1024
"""The bytes that are read of the body of an answer without success. The rest is discarded with the
connection."""
_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")
_CHUNK_DIGITS = 16
_INFORMATION, _SWITCHING, _EMPTY = range(100, 200), 101, {204, 304}
_OK, _REDIRECT = 200, 300
BODIES = Pool(32 * 1024 * 1024)
"""The memory for the bodies of answers in this process, until their users release them."""
UNBOOKED = 16 * 1024
"""The bytes of a body that need no reservation."""
STEP = 256 * 1024
"""The bytes that are reserved at a time for a body without a length."""

Rests = Callable[[bool], None]
"""Called with True when reading an answer stops for lack of memory, and with False when it continues."""


def ignore(_: bool, /) -> None:
    """Do nothing."""


class Broken(Exception):  # noqa: N818 - named after what happened
    """The connection ended, or its data is not an HTTP answer."""

    def __init__(self, reason: str, *, unheard: bool = False) -> None:
        super().__init__(reason)
        self.unheard = unheard
        """Whether a reused connection ended before the first byte of an answer."""


class TooLarge(Exception):  # noqa: N818 - named after what is wrong
    """The body is larger than allowed. ``size`` is its announced size in bytes, 0 if there is none."""

    def __init__(self, size: int = 0) -> None:
        super().__init__(f"{size} bytes" if size else "")
        self.size = size


class _Full(Exception):  # noqa: N818 - control flow, not an error
    """There is no memory for ``size`` more bytes now."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class _Enough(Exception):  # noqa: N818 - control flow
    """The wanted part of the body was read."""


@dataclass(frozen=True, slots=True)
class Response:
    """Status, headers and the whole body."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    address: str = ""
    """The address of the server."""
    hold: Hold | None = field(default=None, repr=False, compare=False)
    """The memory reserved for the body in :data:`BODIES`. Keep it as long as the body."""


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._waiter: asyncio.Future[Response] | None = None
        self._bodyless, self._limit, self._cuts = False, 0, False
        self._head: tuple[int, CIMultiDictProxy[str]] | None = None
        self._length: int | None = None  # of the body; None: chunked, or until the connection ends
        self._chunked = self._keep = self._used = False
        self._body = BytesIO()  # getvalue() returns the bytes without a copy
        self._size = 0
        self._passed = 0  # bytes of informational answers, chunk extensions and trailers
        self._hold: Hold | None = None
        self._booking: asyncio.Task[None] | None = None
        self._rests: Rests = ignore
        self._left = 0  # bytes left of the chunk; -1: its size line comes next, -2: in the trailer
        self.idle_since = 0.0
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)

    async def exchange(self, method: str, sent: bytes, limit: int, rests: Rests = ignore) -> Response:
        """Send a request and return its answer. Raises :class:`Broken` and :class:`TooLarge`."""
        if self._transport.is_closing():
            raise Broken("it was closed", unheard=self._used)
        self._waiter = asyncio.get_running_loop().create_future()
        self._keep = False
        self._bodyless, self._limit, self._rests = method == "HEAD", limit, rests
        self._transport.write(sent)
        try:
            return await self._waiter
        finally:
            self._waiter = self._hold = None
            if self._booking is not None:
                self._booking.cancel()
                self._booking = None
            if not self._keep:
                self.abort()

    @property
    def is_open(self) -> bool:
        """Whether it can be reused."""
        return not self._transport.is_closing()

    def abort(self) -> None:
        """Close it immediately."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse the data that arrived; return the answer to the caller when it is complete."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self._keep = False  # data without a request: the framing of this connection is lost
            self.abort()
            return
        self._buffer += data
        if self._booking is not None:
            return
        try:
            while self._head is None:
                if not self._read_head():
                    return
            done = self._read_body()
        except _Full as error:
            self._wait_for(error.size)
            return
        except _Enough:
            self._keep = False
            done = True
        except (Broken, TooLarge) as error:
            self._keep = False
            waiter.set_exception(error)
            return
        if done:
            self._finish(waiter)

    def eof_received(self) -> None:
        """Let the transport close itself."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End the exchange: with its answer if that lasts until the connection ends, else with
        :class:`Broken`.
        """
        self._keep = False
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        # A body without a length and not chunked ends with the connection (RFC 9112, section 6.3, rule 8).
        if exc is None and self._head is not None and self._length is None and not self._chunked:
            self._finish(waiter)
            return
        unheard = self._used and self._head is None and not self._buffer
        waiter.set_exception(Broken(type(exc).__name__ if exc else "it ended early", unheard=unheard))

    def _finish(self, waiter: asyncio.Future[Response]) -> None:
        """Give the answer to the caller."""
        assert self._head is not None  # noqa: S101 - set by _read_head()
        # If the answer came before the request was sent completely, the rest of the request is still queued.
        clean = not self._buffer and not self._transport.get_write_buffer_size()
        self._keep = self._keep and clean
        if self._hold is not None:
            self._hold.shrink(self._size)
        waiter.set_result(Response(*self._head, self._body.getvalue(), self.address, self._hold))
        self._head, self._used, self._hold = None, True, None
        self._body, self._size, self._passed = BytesIO(), 0, 0

    def _announced(self) -> int:
        """Return the announced size of the body in bytes (at most the limit); 0 if unknown."""
        return min(self._length, self._limit) if self._length and not self._chunked else 0

    def _make_room(self, size: int) -> None:
        """Reserve memory for ``size`` bytes of body in all. Raises :class:`_Full` if there is none now."""
        room = self._hold.size if self._hold else UNBOOKED
        if size <= room:
            return
        more = size - (self._hold.size if self._hold else 0)
        hold = BODIES.take(more)
        if hold is None:
            raise _Full(more)
        self._have(hold)

    def _have(self, hold: Hold) -> None:
        if self._hold is None:
            self._hold = hold
        else:
            self._hold.absorb(hold)

    def _wait_for(self, size: int) -> None:
        """Stop reading until there is memory again."""
        self._transport.pause_reading()
        self._rests(True)
        self._booking = asyncio.ensure_future(self._book(size))

    async def _book(self, size: int) -> None:
        hold = await BODIES.hold(size)
        self._booking = None
        if self._waiter is None or self._waiter.done():
            hold.release()
            return
        self._have(hold)
        self._rests(False)
        self._transport.resume_reading()
        self.data_received(b"")

    def _read_head(self) -> bool:
        """Parse status line and headers; return whether they were complete.

        Informational answers are skipped.
        """
        end = self._buffer.find(_END)
        if end < 0 or end > MAX_HEAD:
            if len(self._buffer) > MAX_HEAD:
                raise Broken(f"headers of more than {MAX_HEAD} bytes")
            return False
        head = bytes(self._buffer[:end])
        line, *lines = head.split(b"\r\n")
        if not head.count(b"\r") == head.count(b"\n") == len(lines) or b"\0" in head:
            # Another reader may take a bare CR or LF for the end of a line (RFC 9112, section 2.2).
            raise Broken("the headers have a line break or a NUL of their own")
        del self._buffer[: end + len(_END)]
        match = _STATUS.fullmatch(line)
        if match is None:
            raise Broken("the answer is not HTTP/1.1")
        status = int(match[2])
        # 100 Continue and 103 Early Hints precede the real answer.
        if status in _INFORMATION:
            if status == _SWITCHING:
                raise Broken("it switches to another protocol")
            self._pass_over(end + len(_END))
            return True
        headers = _headers(lines)
        self._keep = _keeps(headers, is_new=match[1] == b"1")
        self._frame(status, headers)
        self._head = status, CIMultiDictProxy(headers)
        self._make_room(self._announced())
        return True

    def _frame(self, status: int, headers: CIMultiDict[str]) -> None:
        """Find out where the body ends (RFC 9112, section 6.3)."""
        self._chunked, self._length, self._left = False, None, -1
        self._cuts = not _OK <= status < _REDIRECT
        self._limit = min(self._limit, ERROR_BODY) if self._cuts else self._limit
        encodings, lengths = headers.getall("Transfer-Encoding", ()), headers.getall("Content-Length", ())
        if self._bodyless or status in _EMPTY:
            self._length = 0
        elif encodings:
            # Both headers, or several encodings, are how requests are smuggled (RFC 9112, section 11.2).
            if lengths or [encoding.lower() for encoding in encodings] != ["chunked"]:
                raise Broken("the end of the answer is ambiguous")
            self._chunked = True
        elif lengths:
            # int() would accept "+5", "5_0" and digits of other scripts.
            if len(set(lengths)) != 1 or not (lengths[0].isascii() and lengths[0].isdecimal()):
                raise Broken("the length of the answer is ambiguous")
            self._length = int(lengths[0])
            if self._length > self._limit and not self._cuts:
                raise TooLarge(self._length)
        else:
            self._keep = False

    def _read_body(self) -> bool:
        """Take what has arrived of the body; return whether it is complete."""
        if self._chunked:
            return self._read_chunks()
        if self._length is None:
            self._take(len(self._buffer))
            return False
        self._take(min(len(self._buffer), self._length - self._size))
        return self._size == self._length

    def _take(self, count: int) -> None:
        """Move bytes from the buffer to the body.

        Raises :class:`TooLarge`, or :class:`_Enough` if a part of the body is sufficient.
        """
        fits = min(count, self._limit - self._size)
        if fits < count and not self._cuts:
            raise TooLarge
        if not self._announced():
            needed = self._size + fits
            self._make_room(needed if needed <= UNBOOKED else -(-needed // STEP) * STEP)
        # A view avoids a copy. It must be released before the buffer is resized.
        with memoryview(self._buffer) as view:
            self._body.write(view[:fits])
        self._size += fits
        del self._buffer[:count]
        if fits < count:
            raise _Enough

    def _read_chunks(self) -> bool:
        """Take the chunks that have arrived; return whether the body is complete (RFC 9112, section 7.1)."""
        while True:
            if self._left > 0:
                count = min(self._left, len(self._buffer))
                self._take(count)
                self._left -= count
                if self._left:
                    return False
                self._left = 0
            line = self._line()
            if line is None:
                return False
            if self._left == 0:
                if line:
                    raise Broken("a chunk is longer than its stated size")
                self._left = -1
            elif self._left == -1:
                match = _CHUNK.fullmatch(line)
                if match is None:
                    raise Broken("a chunk has no valid size")
                # A chunk of size 0 is the last one; trailer lines follow it.
                self._left = int(match[1], 16) or -2
                self._pass_over(max(0, len(line) - _CHUNK_DIGITS))
            elif not line:
                return True
            else:
                self._pass_over(len(line))

    def _pass_over(self, count: int) -> None:
        """Count bytes that are read and not kept. Raises :class:`Broken`."""
        self._passed += count
        if self._passed > MAX_HEAD:
            raise Broken(f"more than {MAX_HEAD} bytes beside headers and body")

    def _line(self) -> bytes | None:
        """Return the next line; None if it has not arrived completely."""
        end = self._buffer.find(b"\r\n")
        if end < 0 or end > MAX_HEAD:
            if len(self._buffer) > MAX_HEAD:
                raise Broken(f"a line of more than {MAX_HEAD} bytes")
            return None
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line


def _headers(lines: list[bytes]) -> CIMultiDict[str]:
    """Parse header lines. Raises :class:`Broken`."""
    headers: CIMultiDict[str] = CIMultiDict()
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or _NAME.fullmatch(name) is None:
            raise Broken("a header has no valid name")
        headers.add(name, value.strip(" \t"))
    return headers


def _keeps(headers: CIMultiDict[str], *, is_new: bool) -> bool:
    """Whether the server keeps the connection open after this answer."""
    words = {word.strip().lower() for value in headers.getall("Connection", ()) for word in value.split(",")}
    return "close" not in words and (is_new or "keep-alive" in words)
