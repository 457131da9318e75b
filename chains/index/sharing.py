"""An index that several processes write, each a part: one transaction after the other, under the lock.

Parts verify side by side. The last part to end puts a new index in the place of the old one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import delete, select, update

from chains.errors import UsageError
from chains.index.database import BESIDE, LIVE, Place, reading, translated
from chains.index.errors import IndexBusy
from chains.index.reading import Trust
from chains.index.tables import meta, store
from chains.index.target import Target, finish, prepare_schema, refuse_other_trust, replace_schema
from chains.index.upkeep.shard import Shard
from chains.index.writer import Writer

T = TypeVar("T")
_WAIT = 600.0
"""Seconds for which a part waits for the lock."""
_MARK = "shard"


class SharedTarget(Target):
    """A database that others write as well: it is locked, and opened anew, for each piece of work."""

    def write(self, work: Callable[[Writer], T]) -> T:
        """Do work that may be repeated. Raises :class:`IndexUnavailable`."""
        return self.alone(lambda: super(SharedTarget, self).write(work))

    def alone(self, work: Callable[[], T]) -> T:
        """Do work while nobody else writes: wait for the lock, and give it back."""
        until = time.monotonic() + _WAIT
        while True:
            try:
                return work()
            except IndexBusy:
                if time.monotonic() >= until:
                    raise
                time.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - jitter
            finally:
                self.close()


@contextmanager
def sharing(place: Place, trust: Trust, shard: Shard, *, is_build: bool) -> Iterator[Target]:
    """Open the index for one part, beside the old one for a build.

    When the block ends for the last part, the build takes the place of the old index. Raises
    :class:`UsageError` for an index in a file, and what :func:`building` and :func:`updating` raise.
    """
    if not place.is_postgres:
        raise UsageError(f"the index {place}: parts are written by several processes, which need PostgreSQL")
    if not is_build:
        with reading(place) as connection:
            refuse_other_trust(place, connection, trust)
    target = SharedTarget(place, place, BESIDE if is_build else LIVE, is_build=is_build)
    mark = f"{_MARK} {shard.number}/{shard.total}"

    def begin() -> None:
        with translated(place):
            if is_build:
                prepare_schema(target, trust)
            with target.connection().begin():
                target.connection().execute(delete(meta).where(meta.c.key == mark))

    def end() -> None:
        with translated(place):
            connection = target.connection()
            with connection.begin():
                connection.execute(meta.insert().values(key=mark, value=str(int(time.time()))))
                marks = {f"{_MARK} {number}/{shard.total}" for number in range(shard.total)}
                done = set(connection.execute(select(meta.c.key).where(meta.c.key.in_(marks))).scalars())
                if done != marks:
                    return
                connection.execute(delete(meta).where(meta.c.key.like(f"{_MARK} %")))
                connection.execute(update(store).values(read=store.c.parts, updated=int(time.time())))
            if is_build:
                finish(target)
                replace_schema(target.connection())

    target.alone(begin)
    try:
        yield target
        if target.is_complete:
            target.alone(end)
    finally:
        target.close()
