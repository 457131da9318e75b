"""Retries a request with growing waits while the failure is transient.

stamina is not used: its overhead is a hundred times larger for a request that succeeds at the first try
(``docs/decisions/0036``).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from storage.errors import StoreRejected, StoreUnavailable
from storage.http_client.answer import Answer

LONGEST_WAIT = 30.0
"""The longest wait between two tries in seconds, whatever ``Retry-After`` says."""
_FIRST_WAIT = 0.2
"""Seconds before the second try, on average."""
_random = secrets.SystemRandom()


class Later(Exception):  # noqa: N818 - the caller may retry
    """This try failed for a transient reason. ``after`` is the requested wait in seconds.

    ``host`` (``scheme://host:port``) did not answer; empty if it did.
    """

    def __init__(self, reason: str, after: float = 0.0, host: str = "") -> None:
        super().__init__(reason)
        self.after, self.host = after, host


class NoTls(Exception):  # noqa: N818
    """The server's TLS is absent or broken or, with ``untrusted``, its certificate is not trusted."""

    def __init__(self, reason: str, *, untrusted: bool = False) -> None:
        super().__init__(reason)
        self.untrusted = untrusted


async def answered(
    send: Callable[[], Awaitable[Answer]],
    purpose: object,
    tries: int,
    is_silent: Callable[[str], bool],
    before_retry: Callable[[], Awaitable[None]] | None = None,
) -> Answer:
    """Return the result of ``send``, which is called up to ``tries`` times while it raises :class:`Later`.

    A host that ``is_silent`` is not tried again. ``before_retry`` is awaited before each further try. Raises
    :class:`StoreUnavailable` if the failure stays transient, and :class:`StoreRejected` for :class:`NoTls`;
    both texts begin with ``purpose``.
    """
    for tried in range(1, tries + 1):
        try:
            return await send()
        except Later as exc:
            # A silent host is not tried again: every try would wait for its full time limit.
            if tried == tries or is_silent(exc.host):
                times = f" ({tried} tries)" if tried > 1 else ""
                raise StoreUnavailable(f"{purpose}: {exc}{times}", exc.host) from exc.__cause__
            await asyncio.sleep(wait_before(tried, exc.after))
            if before_retry is not None:
                await before_retry()
        except NoTls as exc:
            raise StoreRejected(f"{purpose}: {exc}") from exc.__cause__
    raise AssertionError("unreachable")


def wait_before(tried: int, asked: float) -> float:
    """Return the seconds to wait after ``tried`` tries.

    It is what the server asked for, else a doubling wait with jitter; at most :data:`LONGEST_WAIT`.
    """
    wait = asked or _FIRST_WAIT * 2 ** (tried - 1) * _random.uniform(0.5, 1.5)
    return min(wait, LONGEST_WAIT)
