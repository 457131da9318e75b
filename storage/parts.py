"""Reads all that a store has, part by part: several parts at the same time, each within a limit of bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from storage.errors import StoreRejected
from storage.limits.allowance import Allowance, within
from storage.limits.together import together
from storage.record import Findings, Skipped

K = TypeVar("K")

AT_ONCE = 16
"""Parts that are read at the same time."""
FEW_BYTES = 2 * 1024 * 1024
"""Bytes of evidence of a part that is read together with others. A part with more is read again, alone."""


@dataclass(frozen=True, slots=True)
class Part:
    """The evidence of one part of a store; ``total`` is how many parts the store has in all."""

    findings: Findings
    total: int


async def read_each(keys: Sequence[K], read: Callable[[K], Awaitable[Findings]]) -> AsyncIterator[Part]:
    """Yield the part of each key in order; what the store refuses to give of one key is skipped.

    Raises :class:`StoreUnavailable` as soon as a part cannot be read for a transient reason.
    """
    for start in range(0, len(keys), AT_ONCE):
        batch = keys[start : start + AT_ONCE]
        few = await together([_read(read, key, Allowance(FEW_BYTES)) for key in batch])
        for key, found in zip(batch, few, strict=True):
            whole = found if found is not None else await _read(read, key, Allowance(), is_last=True)
            yield Part(whole or Findings(), len(keys))


async def _read(
    read: Callable[[K], Awaitable[Findings]], key: K, allowed: Allowance, *, is_last: bool = False
) -> Findings | None:
    """Return what there is of one key, None if it is more than allowed and may be asked for again."""
    with within(allowed):
        try:
            found = await read(key)
        except StoreRejected as error:
            return Findings(skipped=(Skipped(str(key), "", str(error)),))
    return None if allowed.is_exceeded and not is_last else found
