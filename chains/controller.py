"""The controller's work on one run after another: read, attest, mark with one PATCH, or try again later.

Nothing that must survive a restart is kept here: a run that is not marked is simply listed again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from chains.attest import FAILED, Outcome, attest_run
from chains.cluster import Cluster, ClusterError, ClusterUnavailable, ObjectChanged, ObjectGone
from chains.config import Config
from chains.errors import ChainsError
from chains.mark import FINALIZERS, finalizer_patch, is_marked, mark_patch
from chains.metrics import Metrics
from chains.snapshot import DONE_LABEL, child_references, take_snapshot
from chains.store import Stores
from chains.worklist import BACKLOG, Job, WorkList
from signers.base import Signer
from storage.annotations import AnnotationStore

RESOURCES = {"TaskRun": "taskruns", "PipelineRun": "pipelineruns"}
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 600.0
_LONGEST_HOLD = 600.0
"""Seconds that a run being deleted is held for its evidence."""
_log = logging.getLogger("chains.controller")


@dataclass(frozen=True, slots=True)
class Flow:
    """What attests: a configuration with signer and stores, replaced as a whole when one of them changes."""

    config: Config
    signer: Signer
    stores: Stores
    annotations: AnnotationStore


@dataclass(slots=True)
class _Trouble:
    attempts: int = 0
    since: float = field(default_factory=time.monotonic)


def run_path(job: Job) -> str:
    """Return the API path of a run."""
    return f"/apis/tekton.dev/v1/namespaces/{job.namespace}/{RESOURCES[job.kind]}/{job.name}"


class Controller:
    """Works on the jobs of a work list with ``workers`` at once; ``retry_for`` is in seconds."""

    def __init__(
        self,
        cluster: Cluster,
        work: WorkList,
        flow: Callable[[], Flow],
        metrics: Metrics,
        *,
        workers: int = 32,
        retry_for: float = 21_600,
    ) -> None:
        self._metrics = metrics
        self._cluster, self._work, self._flow = cluster, work, flow
        self._workers, self._retry_for = workers, retry_for
        self._troubles: dict[Job, _Trouble] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._worker())

    async def _worker(self) -> None:
        while True:
            job = await self._work.take()
            try:
                await self._look_at(job)
            finally:
                self._work.done(job)

    async def _look_at(self, job: Job) -> None:
        try:
            if await self.handle(job):
                self._troubles.pop(job, None)
        except ObjectGone:
            self._troubles.pop(job, None)
            _log.info("run is gone", extra={"run": _label(job)})
        except ObjectChanged:
            # somebody wrote between our read and our patch: look at what is there now
            self._work.later(job, random.uniform(0.05, 0.5))  # noqa: S311 - jitter
        except ClusterUnavailable as error:
            self._again(job, str(error))
        except ClusterError as error:
            # no permission, or an object that the server refuses: it may be mended, so it is not given up
            self._again(job, str(error))
        except Exception:  # noqa: BLE001 - a run that breaks us must not stop the others
            _log.exception("unexpected failure", extra={"run": _label(job)})
            self._again(job, "unexpected failure")

    def _again(self, job: Job, reason: str) -> None:
        trouble = self._troubles.setdefault(job, _Trouble())
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2**trouble.attempts) * random.uniform(0.7, 1.3)  # noqa: S311 - jitter
        trouble.attempts += 1
        self._metrics.retries.inc()
        _log.warning(
            "trying again later", extra={"run": _label(job), "reason": reason, "seconds": round(delay, 1)}
        )
        self._work.later(job, delay, BACKLOG)

    async def handle(self, job: Job) -> bool:
        """Look at one run once; False when it will be looked at again. Raises :class:`ClusterError`."""
        raw = await self._cluster.get(run_path(job))
        metadata = raw["metadata"]
        if metadata.get("uid") != job.uid:
            return True  # another run of the same name, which has a job of its own
        if is_marked(metadata):
            await self._finish_marked(job, metadata)
            return True
        flow = self._flow()
        outcome, transient = await self._attest(job, raw, flow)
        if outcome is None:
            await self._hold(job, metadata)
            return True
        trouble = self._troubles.get(job)
        too_long = trouble is not None and time.monotonic() - trouble.since > self._retry_for
        too_long = too_long or _age(metadata.get("deletionTimestamp")) > _LONGEST_HOLD
        if outcome.state == FAILED and transient and not too_long:
            flow.annotations.take(job.uid)
            self._again(job, outcome.reason)
            return False
        await self._cluster.patch(
            run_path(job), mark_patch(job.kind, metadata, outcome, flow.annotations.take(job.uid))
        )
        ended = (raw.get("status") or {}).get("completionTime")
        self._metrics.count(job.kind, job.namespace, outcome, time.time() - _age(ended) if ended else None)
        if outcome.state == FAILED:
            await self._tell(job, "AttestationFailed", outcome.reason)
        _log.info(
            "run is marked", extra={"run": _label(job), "state": outcome.state, "reason": outcome.reason}
        )
        return True

    async def _hold(self, job: Job, metadata: Mapping[str, Any]) -> None:
        """Keep a running run from vanishing before it is attested, unless somebody is already deleting it."""
        patch = finalizer_patch(job.kind, metadata, hold=not metadata.get("deletionTimestamp"))
        if patch is not None:
            await self._cluster.patch(run_path(job), patch)

    async def _tell(self, job: Job, reason: str, message: str) -> None:
        """Write a Kubernetes event about a run; a cluster that refuses it loses nothing else."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "metadata": {"generateName": f"{job.name[:200]}.", "namespace": job.namespace},
            "type": "Warning",
            "reason": reason,
            "message": message[:1000],
            "source": {"component": "tekton-chains-controller"},
            "involvedObject": {
                "apiVersion": "tekton.dev/v1", "kind": job.kind, "namespace": job.namespace, "name": job.name,
                "uid": job.uid,
            },
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }  # fmt: skip
        try:
            await self._cluster.create(f"/api/v1/namespaces/{job.namespace}/events", body)
        except ClusterError as error:
            _log.warning("the event was not written", extra={"run": _label(job), "reason": str(error)})

    async def _finish_marked(self, job: Job, metadata: Mapping[str, Any]) -> None:
        labelled = (metadata.get("labels") or {}).get(DONE_LABEL) == "true"
        ours = FINALIZERS[job.kind] in (metadata.get("finalizers") or [])
        if not labelled or ours:
            await self._cluster.patch(run_path(job), mark_patch(job.kind, metadata, None))

    async def _attest(self, job: Job, raw: Mapping[str, Any], flow: Flow) -> tuple[Outcome | None, bool]:
        """Return the outcome and whether trying again can help; None for a run that has not ended."""
        try:
            snapshot = take_snapshot(raw, await self._children(job, raw))
        except ClusterError:
            raise
        except ChainsError as error:
            return Outcome(_label(job), job.uid, FAILED, str(error)), False
        if not snapshot.is_done:
            return None, False
        outcome = await attest_run(snapshot, None, flow.config, flow.signer, flow.stores)
        lost = await flow.stores.flush()
        failed = [entry for entry in outcome.entries if entry.state == "failed"]
        transient = bool(lost) or (bool(failed) and all(entry.transient for entry in failed))
        if lost and outcome.state != FAILED:
            outcome = Outcome(outcome.run, outcome.uid, FAILED, "; ".join(lost.values()), outcome.entries)
        return outcome, transient

    async def _children(self, job: Job, raw: Mapping[str, Any]) -> dict[tuple[str, str, str], Any]:
        if job.kind != "PipelineRun":
            return {}
        names = [str(item.get("name")) for item in child_references(raw) if item.get("kind") == "TaskRun"]
        found = await asyncio.gather(*(self._child(job.namespace, name) for name in names))
        return {
            ("TaskRun", job.namespace, name): item for name, item in zip(names, found, strict=True) if item
        }

    async def _child(self, namespace: str, name: str) -> dict[str, Any] | None:
        try:
            return await self._cluster.get(run_path(Job("TaskRun", namespace, name, "")))
        except ObjectGone:
            return None


def _age(text: str | None) -> float:
    """Return the seconds since an RFC 3339 time, negative infinity for none."""
    if not text:
        return float("-inf")
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    except (ValueError, TypeError):
        return float("-inf")


def _label(job: Job) -> str:
    return f"{job.kind.lower()}/{job.namespace}/{job.name}"
