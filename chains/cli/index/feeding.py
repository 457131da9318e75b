"""The command ``chains index feed``: adds the evidence of runs that another program names, line by line.

A line of standard input is ``{"runs": [{"uid": "…", "copies": [["sha256:…", "PLACE"]]}]}``, where ``copies``
are the digests of subjects and where their evidence was stored. Each line is answered on standard output by
``{"fed": 2, "pieces": 8, …}``, by ``{"busy": true}`` while another process writes the index, or by
``{"error": "…"}``. A line that was not answered by ``fed`` may be sent again.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from chains.assembly.stores import open_url, store_options
from chains.assembly.workspace import Settings, load_settings
from chains.cli.arguments import OK, Options
from chains.cli.index.trusting import trust_of
from chains.errors import ChainsError
from chains.index.codes import word
from chains.index.database import Place, place_of
from chains.index.errors import IndexBusy
from chains.loop import carry_out
from chains.terminal import write_line
from chains.verify.criteria import MissingError
from storage.errors import StoreError

if TYPE_CHECKING:
    from chains.index.ingest import RunStored, Source
    from chains.index.reading import Trust

_EXPORT = "export:"


def feed_lines(options: Options) -> int:
    """Answer line after line until standard input ends."""
    return carry_out(_serve(place_of(options.index), load_settings(options.config)))


async def _serve(place: Place, settings: Settings) -> int:
    async with AsyncExitStack() as stack:
        feeder = _Feeder(place, settings, stack)
        while line := await asyncio.to_thread(sys.stdin.buffer.readline):
            try:
                answer = await feeder.feed(_runs(line))
            except IndexBusy:
                answer = {"busy": True}
            except (ChainsError, MissingError, StoreError, OSError, ValueError) as error:
                answer = {"error": str(error) or type(error).__name__}
            write_line(json.dumps(answer))
    return OK


def _runs(line: bytes) -> list[RunStored]:
    """Return the runs that a line names. Raises :class:`ValueError`."""
    from chains.index.ingest import RunStored  # noqa: PLC0415 - imports SQLAlchemy, which is slow

    try:
        return [
            RunStored(str(one["uid"]), tuple((str(digest), str(at)) for digest, at in one["copies"]))
            for one in json.loads(line)["runs"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("expected a line with runs, each with uid and copies") from error


class _Feeder:
    """Adds to an index with the trust and the stores of its build, which are read again for each line."""

    def __init__(self, place: Place, settings: Settings, stack: AsyncExitStack) -> None:
        self._place, self._settings, self._stack = place, settings, stack
        self._told: tuple[str, tuple[str, ...]] = ("", ())
        self._trust: Trust | None = None
        self._stores: list[Source] = []

    async def feed(self, runs: list[RunStored]) -> dict[str, Any]:
        """Add the evidence of runs. Raises :class:`ChainsError`."""
        from chains.index.ingest import feed  # noqa: PLC0415 - imports SQLAlchemy, which is slow
        from chains.index.target import remembered, updating  # noqa: PLC0415

        given, urls = remembered(self._place)
        told = (json.dumps(given, sort_keys=True), tuple(urls))
        if self._trust is None or told != self._told:
            await self._stack.aclose()
            self._trust, self._told = trust_of(given, self._settings), told
            # an export is finished: nothing is added to it
            wanted = (url for url in urls if not url.startswith(_EXPORT))
            self._stores = [
                await self._stack.enter_async_context(open_url(url, store_options(self._settings.config)))
                for url in wanted
            ]
        with updating(self._place, self._trust) as target:
            found = await feed(runs, self._stores, target, self._trust, datetime.now(UTC))
        if found.failed:
            raise ChainsError("; ".join(f"{url}: {why}" for url, why in found.failed.items()))
        new = {word(verdict): number for verdict, number in found.new.items()}
        return {"fed": len(runs), "pieces": found.pieces, "known": found.known, "new": new}
