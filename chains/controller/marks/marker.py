"""What the controller writes to a run: a finalizer, the mark, and an Event if the run failed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from cachetools import FIFOCache

from chains.attest.outcome import FAILED, Outcome
from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ObjectChanged, ObjectGone, ObjectRefused
from chains.cluster.events import write_event
from chains.cluster.update import update
from chains.controller.marks.patches import (
    FINALIZERS,
    bare,
    finalizer_patch,
    has_marks,
    is_marked,
    mark_patch,
    room_patch,
    smaller,
    unmark_patch,
)
from chains.tekton.runs import Job, label_of, run_path
from chains.tekton.snapshot import API_VERSION, DONE_LABEL

_log = logging.getLogger("chains.marking")
_MOST_UNWRITTEN = 1000
Before = Callable[[Outcome], Awaitable[None]]
"""Is called before a run is marked with an outcome."""


async def _nothing(_: Outcome) -> None:
    """Do nothing."""


class Marker:
    """Writes to runs. ``may_write`` is called before each write; it raises if this replica may not write.

    Up to a thousand outcomes whose mark could not be written are kept. The next attempt writes the same
    outcome. It does not attest again, because the run may have been changed meanwhile.
    """

    def __init__(self, cluster: Cluster, may_write: Callable[[Job], None]) -> None:
        self._cluster, self._may_write = cluster, may_write
        self._unwritten: FIFOCache[Job, tuple[Outcome, Mapping[str, str]]] = FIFOCache(_MOST_UNWRITTEN)

    async def patch(self, job: Job, body: Mapping[str, Any]) -> None:
        """Write one merge patch. Raises :class:`ClusterError`."""
        self._may_write(job)
        await self._cluster.patch(run_path(job), body)

    def unwritten(self, job: Job) -> Outcome | None:
        """Return the outcome of a run that could not be marked with it."""
        known = self._unwritten.get(job)
        return known and known[0]

    def put_off(self, job: Job, outcome: Outcome, extra: Mapping[str, str]) -> None:
        """Keep an outcome that cannot be written now, for the next attempt."""
        _, kept = self._unwritten.pop(job, (None, {}))
        self._unwritten[job] = outcome, {**kept, **extra}

    def forget(self, job: Job) -> None:
        """Forget an outcome that is not to be written any more."""
        self._unwritten.pop(job, None)

    def forget_all(self, unwanted: Callable[[Job], bool]) -> None:
        """Forget the outcomes of ``unwanted`` runs."""
        for job in [job for job in self._unwritten if unwanted(job)]:
            del self._unwritten[job]

    async def mark(
        self,
        job: Job,
        metadata: Mapping[str, Any],
        outcome: Outcome,
        extra: Mapping[str, str],
        before: Before = _nothing,
    ) -> Outcome:
        """Write the mark, even if the run was updated since it was read: the stored evidence need not be made
        again.

        ``extra`` are the annotations of the ``tekton`` store. ``before`` is called with each other outcome
        before the run is marked with it. Returns the outcome as it was written, which is
        a failure if the run has no room for the evidence. Raises :class:`ClusterError` and keeps the outcome,
        unless the run is gone or marked by another controller.
        """
        _, kept = self._unwritten.pop(job, (None, {}))
        extra = {**kept, **extra}
        try:
            return await self._write_what_fits(job, metadata, outcome, extra, before)
        except ObjectGone:
            raise
        except ClusterError:
            self._unwritten[job] = outcome, extra
            raise

    async def _write_what_fits(
        self,
        job: Job,
        metadata: Mapping[str, Any],
        outcome: Outcome,
        extra: Mapping[str, str],
        before: Before,
    ) -> Outcome:
        try:
            await self._write(job, metadata, lambda found: mark_patch(job.kind, found, outcome, extra))
        except ObjectRefused as error:
            why = str(error)
        else:
            return outcome
        told = smaller(outcome, extra, why)
        for fewer in (told, bare(told)):
            await before(fewer)
            with suppress(ObjectRefused):
                await self._write(job, metadata, partial(_marked, job.kind, fewer))
                return fewer
        marked = replace(told, state=FAILED, reason=f"the run has no room for a mark: {why}")
        await before(marked)
        try:
            await self._write(job, metadata, lambda found: room_patch(job.kind, found))
        except ObjectRefused:
            # not even the label fits, but the finalizer must not keep anybody from deleting the run
            await self.leave(job, metadata)
            raise
        return marked

    async def _write(
        self, job: Job, metadata: Mapping[str, Any], patch: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    ) -> None:
        def permitted(found: Mapping[str, Any]) -> Mapping[str, Any]:
            self._may_write(job)
            return patch(found)

        await update(
            self._cluster,
            run_path(job),
            job.uid,
            metadata,
            permitted,
            goes_on=lambda found: not is_marked(found),
        )

    async def finish(self, job: Job, metadata: Mapping[str, Any]) -> None:
        """Label a run that is marked already, and remove our finalizer."""
        self.forget(job)
        labelled = DONE_LABEL in (metadata.get("labels") or {})
        ours = FINALIZERS[job.kind] in (metadata.get("finalizers") or [])
        if not labelled or ours:
            await self.patch(job, mark_patch(job.kind, metadata, None))

    async def leave(self, job: Job, metadata: Mapping[str, Any]) -> None:
        """Remove our finalizer from a run that belongs to another controller, in case it was ours before."""
        self.forget(job)
        patch = finalizer_patch(job.kind, metadata, hold=False)
        if patch is not None:
            await self.patch(job, patch)

    async def hold(self, job: Job, metadata: Mapping[str, Any]) -> bool:
        """Add our finalizer to a run in progress, unless it is being deleted, so that it is attested before
        it goes.

        A mark on a run in progress cannot be ours and is removed. Returns whether the run was as it had been
        read.
        """
        patch = finalizer_patch(job.kind, metadata, hold=not metadata.get("deletionTimestamp"))
        if has_marks(metadata):
            patch = {"metadata": {**unmark_patch(metadata)["metadata"], **(patch or {}).get("metadata", {})}}
            _log.warning("a run in progress had a mark, which is taken off", extra={"run": label_of(job)})
        if patch is not None:
            try:
                await self.patch(job, patch)
            except ObjectChanged:
                return False
            except ObjectRefused as error:
                _log.warning("a run cannot be held", extra={"run": label_of(job), "reason": str(error)})
        return True

    async def tell(self, job: Job, reason: str, message: str) -> None:
        """Write an Event about the run; ``reason`` is its stable code."""
        found = {"kind": job.kind, "namespace": job.namespace, "name": job.name, "uid": job.uid}
        await write_event(self._cluster, {"apiVersion": API_VERSION, **found}, reason, message)


def _marked(kind: str, outcome: Outcome, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return mark_patch(kind, metadata, outcome)
