"""A judge of an audit that keeps what it found about each run, in a temporary file.

So the memory for a run does not depend on its evidence, and nothing is verified twice.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from types import TracebackType
from typing import Self, cast

import orjson

from chains.audit.findings import Judged
from chains.audit.judge import Judge
from chains.audit.population.known import KnownRun, Population
from chains.audit.retention.dispositions import Dispositions
from chains.config.parse import Config
from chains.policy.loaded import Policy
from chains.report.gather.facts import Kept, keep
from chains.verify.verifier import Verifier


class Recorder(Judge):
    """A judge that keeps the rows of each run. Use it with ``with``: it removes its file at the end."""

    def __init__(
        self,
        verifier: Verifier,
        population: Population,
        config: Config | None,
        now: datetime,
        policy: Policy | None = None,
        dispositions: Dispositions | None = None,
    ) -> None:
        super().__init__(verifier, population, config, now, policy, dispositions)
        self._number = {one.name: number for number, one in enumerate(population.sources)}
        self._places: dict[str, tuple[int, int]] = {}
        self._spool = tempfile.TemporaryFile(prefix="chains-report-")  # noqa: SIM115 - closed by close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary file."""
        self._spool.close()

    async def judge(self, run: KnownRun) -> Judged:
        """Return what became of a run, and keep what was found about it."""
        judged, found, snapshot = await self.verified(run)
        written = orjson.dumps(keep(judged, self._sources_of(judged), found, snapshot))
        self._places[run.uid] = (self._spool.seek(0, 2), len(written))
        self._spool.write(written)
        return judged

    def _sources_of(self, judged: Judged) -> list[int]:
        return [self._number[name] for name in judged.sources]

    def kept(self, runs: Iterable[Judged]) -> Iterator[Kept]:
        """Yield the rows of judged runs, in the order of their ends, then of their UIDs and names."""
        for judged in sorted(runs, key=lambda one: (one.finished, one.uid, one.label)):
            place = self._places.get(judged.uid) if judged.uid else None
            if place is None:
                # only its PipelineRun names it
                yield keep(judged, self._sources_of(judged), None, None)
                continue
            self._spool.seek(place[0])
            yield cast("Kept", orjson.loads(self._spool.read(place[1])))
