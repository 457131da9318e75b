"""The rounds of re-check: by one process of all, one after the other, each image by digest once a round."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import traceback
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ClusterForbidden
from chains.cluster.leader import Leader
from chains.cluster.rate_limit import Pace
from chains.errors import ChainsError
from chains.policy.opened import OpenedPolicy
from chains.preflight.answer import ImageCheck
from chains.preflight.check import Places, TagResolver, check_all
from chains.preflight.cluster_reports import write_reports
from chains.preflight.openreports import reports_of
from chains.preflight.pulls import Pulls
from chains.recheck.events import tell
from chains.recheck.metrics import RecheckMetrics
from chains.recheck.pods import Running, running_in
from chains.recheck.standing import Change, Standings
from chains.text import excerpt, rfc3339, told
from storage.base import Store

LEASE, LABELS = "chains-recheck", {"app": "chains-admission"}
REPORTS = "chains-recheck"
"""The name of the reports, which is not that of ``chains preflight``."""
REQUESTS, BURST = 20.0, 20
"""Requests per second to the API server."""
IMAGES = 20.0
"""Images per second: evidence is verified in the process that answers the API server, which goes first."""
RETRY = 60.0
"""Seconds after which a round that failed is tried again, if the interval is longer."""
EARLY = 5.0
"""Seconds after the end of a round at which the next one may begin early, since policies changed."""
_LOOK = 1.0
"""Seconds between two looks at the policies."""
_MOST_SHOWN = 5
_log = logging.getLogger("chains.recheck")


@dataclass(frozen=True, slots=True)
class RecheckOptions:
    """How often, in which namespace the Lease is, and whether reports are written."""

    interval: float
    namespace: str
    reports: bool = False


def own_identity() -> str:
    """Return a name for this process that no other process has or had."""
    return f"{os.environ.get('HOSTNAME') or 'recheck'}_{uuid.uuid4().hex}"


class Recheck:
    """Does the rounds while this process holds the Lease. Use from one event loop.

    ``policies`` returns those in force, None if there are none yet; another object when they changed, or
    something that they depend on, such as a revocation list. ``pulls`` finds the credentials of pods.
    ``clock`` returns seconds, ``now`` the time of day.
    """

    def __init__(
        self,
        cluster: Cluster,
        stores: Sequence[Store],
        tags: TagResolver,
        policies: Callable[[], Sequence[OpenedPolicy] | None],
        leader: Leader,
        metrics: RecheckMetrics,
        options: RecheckOptions,
        *,
        pulls: Pulls | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster, self._stores, self._tags, self._policies = cluster, stores, tags, policies
        self._leader, self._metrics, self._options, self._pulls = leader, metrics, options, pulls
        self._clock, self._now = clock, now
        self._standings = Standings()
        self._pace = Pace(IMAGES, int(IMAGES))
        self._troubles: dict[str, str] = {}

    async def run(self) -> None:
        """Take the Lease and do the rounds, until cancelled. Never raises for what goes wrong on the way."""
        work: asyncio.Task[None] | None = None
        try:
            while True:
                await self._step()
                if self._leader.is_held and work is None:
                    _log.info("this process does the rounds of re-check")
                    self._metrics.leads.set(1)
                    work = asyncio.create_task(self._rounds())
                elif not self._leader.is_held and work is not None:
                    _log.info("another process does the rounds of re-check, or the lease cannot be renewed")
                    await self._end(work)
                    work = None
                await asyncio.sleep(self._leader.pause)
        finally:
            if work is not None:
                await self._end(work)
            await self._leader.release()

    async def _end(self, work: asyncio.Task[None]) -> None:
        """End the rounds, and count no images any more: another process does."""
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work
        self._standings.forget()
        self._metrics.leads.set(0)
        self._metrics.show({})

    async def _step(self) -> None:
        try:
            # longer than this, and the term of the holder would end unnoticed
            async with asyncio.timeout(self._leader.pause):
                await self._leader.step()
        except TimeoutError:
            self._fail(
                "lease", f"{self._lease}: the API server does not answer within {self._leader.pause:g} s"
            )
        except ClusterError as error:
            self._fail("lease", f"{self._lease}: {error}")
            self._metrics.lacks("hold the lease", is_missing=isinstance(error, ClusterForbidden))
        except Exception as error:  # noqa: BLE001 - an odd lease must not end admission
            self._fail("lease", f"{self._lease}: {_fault(error)}; please report it")
        else:
            self._succeed("lease")
            self._metrics.lacks("hold the lease", is_missing=False)
        with suppress(ValueError):
            self._metrics.last_complete.set(datetime.fromisoformat(self._leader.note).timestamp())

    async def _rounds(self) -> None:
        interval = self._options.interval
        while True:
            began, policies = self._clock(), self._policies()
            is_whole = await self.round()
            took = self._clock() - began
            if took > interval:
                self._metrics.overruns.inc()
                _log.warning(
                    "a round of re-check takes longer than the interval",
                    extra={"seconds": round(took), "interval": interval},
                )
            await self._pause(max(interval - took, 0) if is_whole else min(interval, RETRY), policies)

    async def _pause(self, seconds: float, policies: object) -> None:
        """Wait until the next round: so many seconds, or less once other policies are in force."""
        begin = self._clock()
        while (left := begin + seconds - self._clock()) > 0:
            if self._policies() is not policies and self._clock() - begin >= EARLY:
                _log.info("a round of re-check begins early: other policies or lists are in force")
                return
            await asyncio.sleep(min(left, _LOOK))

    async def round(self) -> bool:
        """Ask about everything that runs, once. Returns whether it was seen whole; else nothing changes."""
        began = self._clock()
        policies = self._policies()
        if policies is None:
            self._fail("round", "no policies are in force")
            return False
        try:
            running = await running_in(self._cluster, policies)
            for right in ("list pods", "list namespaces"):
                self._metrics.lacks(right, is_missing=False)
            checks = await self._checks(running, policies)
            await self._conclude(running, checks, began)
        except ClusterForbidden as error:
            right = "list pods" if str(error).startswith("GET /api/v1/pods:") else "list namespaces"
            self._metrics.lacks(right, is_missing=True)
            self._fail("round", f"the account lacks the right to {right}: {error}")
            return False
        except ChainsError as error:
            self._fail("round", str(error))
            return False
        except Exception:  # noqa: BLE001 - the next round may succeed, and admission goes on
            self._metrics.fail("round")
            _log.exception("a round of re-check failed; please report it")
            return False
        self._succeed("round")
        return True

    async def _checks(self, running: Running, policies: Sequence[OpenedPolicy]) -> list[ImageCheck]:
        indexes = self._stores if running.has_tags else ()
        places = Places(policies, self._stores, self._tags, indexes, self._pace.turn, self._pulls)
        found = await check_all(running.inventory, places, now=self._now(), keep_evidence=False)
        return list(running.told(found))

    async def _conclude(self, running: Running, checks: Sequence[ImageCheck], began: float) -> None:
        now = self._now()
        changes = self._standings.take(checks, now)
        for change in changes:
            self._record(change, is_new=not change.fails or change.since == now)
        done = await tell(self._cluster, changes, self._standings, lambda: self._leader.is_held)
        is_forbidden = isinstance(done.failure, ClusterForbidden)
        self._metrics.lacks("create events", is_missing=is_forbidden)
        self._metrics.untold.set(done.left + done.failed)
        if done.failure is not None:
            self._fail("event", f"{done.failed} events are not written: {done.failure}")
        else:
            self._succeed("event")
        if self._options.reports and self._leader.is_held:
            await self._report(running, checks, now)
        counts = self._standings.counts()
        seconds = self._clock() - began
        self._metrics.show(counts)
        self._metrics.unreadable.set(len(running.inventory.problems))
        self._metrics.seconds.set(seconds)
        self._leader.note = rfc3339(self._now())
        self._metrics.last_complete.set(self._now().timestamp())
        for problem in running.inventory.problems[:_MOST_SHOWN]:
            _log.warning("an image that runs cannot be seen", extra={"reason": told(problem)})
        images = {standing.value: number for standing, number in counts.items()}
        _log.info(
            "a round of re-check is complete",
            extra={
                "pods": running.pods,
                "images": images,
                "events": done.written,
                "seconds": round(seconds, 1),
            },
        )

    async def _report(self, running: Running, checks: Sequence[ImageCheck], now: datetime) -> None:
        reports = reports_of(checks, running.inventory.problems, REPORTS, now)
        done = await write_reports(self._cluster, reports, REPORTS, (), dry_run=False)
        self._metrics.lacks("write reports", is_missing=": 403 " in done.failure)
        if done.failure:
            self._fail("report", done.failure)
        else:
            self._succeed("report")

    def _record(self, change: Change, *, is_new: bool) -> None:
        """Log a change of an image once, also if its Events cannot be written."""
        if not is_new:
            return
        line = "an image that runs does not pass" if change.fails else "an image that runs passes again"
        _log.log(
            logging.WARNING if change.fails else logging.INFO,
            line,
            extra={
                "namespace": change.key.namespace,
                "image": told(change.check.image),
                "policy": change.check.verdict.policy if change.check.verdict else "",
                "reason": change.check.reason,
                "passed_before": change.has_passed,
                "since": rfc3339(change.since),
                "workloads": [one.label for one in change.workloads[:_MOST_SHOWN]],
            },
        )

    @property
    def _lease(self) -> str:
        return f"lease {self._options.namespace}/{LEASE}"

    def _fail(self, what: str, reason: str) -> None:
        """Count a failure, and log its reason once."""
        self._metrics.fail(what)
        if self._troubles.get(what) != reason:
            _log.error("re-check: the %s failed", what, extra={"reason": told(reason)})
        self._troubles[what] = reason

    def _succeed(self, what: str) -> None:
        if self._troubles.pop(what, ""):
            _log.info("re-check: the %s succeeds again", what)


def _fault(error: Exception) -> str:
    """Say what is wrong, and where in the code: a type alone leads nobody to it."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    places = "".join(f" in {one.name}, line {one.lineno} of {Path(one.filename).name}" for one in last)
    return f"unexpected {type(error).__name__}: {excerpt(str(error), 200)}{places}"
