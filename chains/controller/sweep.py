"""Lists the unmarked runs, as metadata only: of a share that was just gained, and of all shares now and
then."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError
from chains.controller.watch.observe import lane_of, owner_of
from chains.controller.work.worklist import FRESH
from chains.tekton.runs import RESOURCES, Job
from chains.tekton.snapshot import DONE_LABEL

INTERVAL = 600.0
"""Seconds between two sweeps of all shares, plus or minus a fifth."""
_RETRY = 2.0
_log = logging.getLogger("chains.sweep")


class Sweep:
    """Offers the unmarked runs of shares, whether they have ended or not: metadata does not say it.

    ``share_of`` returns the number of a run's share, ``held`` the shares of the regular sweep. ``missing``
    yields the runs of a share that are expected, and whose UIDs are not in a list that began at that time.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespaces: Sequence[str],
        offer: Callable[[Job, int, float | None], None],
        share_of: Callable[[Job], int],
        held: Callable[[], Sequence[int]],
        *,
        interval: float = INTERVAL,
        missing: Callable[[int, set[str], datetime], Iterable[Job]] = lambda _share, _found, _listed: (),
    ) -> None:
        self._missing = missing
        self._cluster, self._namespaces, self._offer = cluster, namespaces, offer
        self._share_of, self._held, self._interval = share_of, held, interval
        self._asked: set[int] = set()
        self._wake = asyncio.Event()

    def ask(self, *shares: int) -> None:
        """Sweep shares soon."""
        self._asked.update(shares)
        self._wake.set()

    async def run(self) -> None:
        """Sweep when asked and every ten minutes, until cancelled."""
        while True:
            try:
                async with asyncio.timeout(self._interval * random.uniform(0.8, 1.2)):  # noqa: S311 - jitter
                    await self._wake.wait()
                shares = self._asked
            except TimeoutError:
                shares = set(self._held())
            self._asked = set()
            self._wake.clear()
            try:
                found = await self.look(shares)
            except ClusterError as error:
                _log.warning("the unmarked runs cannot be listed", extra={"reason": str(error)})
                await asyncio.sleep(_RETRY)
                for share in shares & set(self._held()):
                    self.ask(share)
            else:
                _log.info("unmarked runs were listed", extra={"shares": sorted(shares), "runs": found})

    async def look(self, shares: set[int]) -> int:
        """Offer every unmarked run of the shares and return how many. Raises :class:`ClusterError`."""
        count, found, listed = 0, set[str](), datetime.now(UTC)
        for kind, plural in RESOURCES.items():
            for namespace in self._namespaces or [""]:
                scope = f"/namespaces/{namespace}" if namespace else ""
                path = f"/apis/tekton.dev/v1{scope}/{plural}"
                async for metadata in self._cluster.list_metadata(path, f"!{DONE_LABEL}"):
                    job = Job(
                        kind,
                        metadata["namespace"],
                        metadata["name"],
                        metadata["uid"],
                        owner_of(kind, metadata),
                    )
                    if self._share_of(job) in shares:
                        found.add(job.uid)
                        # when a run ended is not in its metadata, but it did not end before it was created
                        created = {"completionTime": metadata.get("creationTimestamp")}
                        self._offer(job, lane_of(created, datetime.now(UTC))[0], None)
                        count += 1
        for share in shares:
            for job in list(self._missing(share, found, listed)):
                self._offer(job, FRESH, None)
        return count
