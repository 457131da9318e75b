"""What an operator does with a cluster's runs by hand: sign again, attest a backlog, remove finalizers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chains.audit.ledger.errors import LedgerError
from chains.cluster.client import Cluster, get_outline
from chains.cluster.errors import ClusterError, ListExpired, ObjectChanged, ObjectGone
from chains.cluster.update import update
from chains.controller.marks.patches import PUT_OFF, finalizer_patch, is_marked, unmark_patch
from chains.controller.permit import share_of_uid
from chains.controller.reconcile import Controller
from chains.errors import UsageError
from chains.tekton.runs import RESOURCES, Job, run_path
from chains.tekton.snapshot import DONE_LABEL, has_ended

_LATER = "failed for now; run it again"


@dataclass(frozen=True, slots=True)
class Done:
    """The result for one run; ``is_open`` means that the command has to be run again for it."""

    run: str
    state: str
    is_open: bool = False


async def runs(
    cluster: Cluster, namespaces: Sequence[str], selector: str = ""
) -> AsyncIterator[tuple[Job, dict[str, Any]]]:
    """Yield every run of the namespaces, or of all of them, page by page."""
    for kind, plural in RESOURCES.items():
        for namespace in namespaces or [""]:
            scope = f"/namespaces/{namespace}" if namespace else ""
            async for raw in cluster.list(f"/apis/tekton.dev/v1{scope}/{plural}", selector, outlines=True):
                metadata = raw["metadata"]
                yield Job(kind, metadata["namespace"], metadata["name"], metadata["uid"]), raw


async def release_finalizers(
    cluster: Cluster, namespaces: Sequence[str], *, dry_run: bool = False
) -> list[Done]:
    """Remove our finalizers from every run, when the controller is uninstalled; return the changed runs.

    The state of a run says whether it can be deleted without evidence from now on. With ``dry_run``, nothing
    is written, and the runs are those that would be changed.
    """
    released = []
    async for job, raw in runs(cluster, namespaces):
        if finalizer_patch(job.kind, raw["metadata"], hold=False) is not None:
            what = "released" + _without_evidence(raw)
            if dry_run:
                released.append(Done(_label(job), f"would be {what}"))
            else:
                released.append(await _release(cluster, job, raw["metadata"], what))
    return released


def _without_evidence(raw: Mapping[str, Any]) -> str:
    if is_marked(raw["metadata"]):
        return ""
    return ", ended and not attested" if has_ended(raw) else ", still running"


async def _release(cluster: Cluster, job: Job, metadata: dict[str, Any], what: str) -> Done:
    def release(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return finalizer_patch(job.kind, found, hold=False)

    try:
        await update(cluster, run_path(job), job.uid, metadata, release)
    except ObjectGone:
        return Done(_label(job), "gone")
    except ObjectChanged:
        return Done(_label(job), "changes too often; run it again", is_open=True)
    return Done(_label(job), what)


async def resign(cluster: Cluster, name: str, *, dry_run: bool = False) -> list[Done]:
    """Remove the marks from the runs called ``NAMESPACE/NAME``, so that the controller attests them again.

    With ``dry_run`` nothing is written. Raises :class:`UsageError` if there is no such run.
    """
    namespace, slash, run = name.partition("/")
    if not slash or not run:
        raise UsageError(f"{name}: expected NAMESPACE/NAME")
    found = []
    for kind in RESOURCES:
        job = Job(kind, namespace, run, "")
        try:
            metadata = (await get_outline(cluster, run_path(job)))["metadata"]
        except ObjectGone:
            continue
        if not dry_run:
            await update(cluster, run_path(job), metadata["uid"], metadata, unmark_patch)
        found.append(Done(_label(job), f"{'would' if dry_run else 'will'} be attested again"))
    if not found:
        raise UsageError(f"{name}: there is no TaskRun or PipelineRun of that name")
    return found


def share() -> tuple[int, int]:
    """Return (index, count) of an Indexed Job's pod from its environment, (0, 1) without one."""
    index, count = os.environ.get("JOB_COMPLETION_INDEX", "0"), os.environ.get("CHAINS_JOB_COMPLETIONS", "1")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise UsageError(f"JOB_COMPLETION_INDEX {index!r} is not below CHAINS_JOB_COMPLETIONS {count!r}")
    return int(index), int(count)


def is_mine(uid: str, index: int, count: int) -> bool:
    """Whether a run belongs to this share of all UIDs."""
    return share_of_uid(uid, count) == index


async def left(
    cluster: Cluster, namespaces: Sequence[str], since: datetime | None
) -> AsyncIterator[tuple[Job, dict[str, Any]]]:
    """Yield the finished runs of this share that are not marked and ended after ``since``, each once.

    Runs that ``backlog.since`` put off count as not marked.
    """
    index, count = share()
    seen: set[str] = set()
    while True:
        try:
            async for job, raw in runs(cluster, namespaces, f"{DONE_LABEL}!=true"):
                if job.uid in seen or not is_mine(job.uid, index, count):
                    continue
                seen.add(job.uid)
                if _is_left(raw, since):
                    yield job, raw
        except ListExpired:
            continue  # attesting a page took longer than the API server keeps a list: list again
        return


async def backfill(
    cluster: Cluster, controller: Controller, namespaces: Sequence[str], since: datetime | None
) -> AsyncIterator[Done]:
    """Attest the runs of :func:`left`; yield the result of each."""
    async for job, raw in left(cluster, namespaces, since):
        yield await _attest(controller, cluster, job, raw["metadata"])


async def would_backfill(
    cluster: Cluster, namespaces: Sequence[str], since: datetime | None
) -> AsyncIterator[Done]:
    """Yield the runs that :func:`backfill` would attest, and write nothing."""
    async for job, _ in left(cluster, namespaces, since):
        yield Done(_label(job), "would be attested")


def _is_left(raw: Mapping[str, Any], since: datetime | None) -> bool:
    metadata = raw["metadata"]
    put_off = (metadata.get("labels") or {}).get(DONE_LABEL) == PUT_OFF
    if not has_ended(raw) or (is_marked(metadata) and not put_off):
        return False
    ended = (raw.get("status") or {}).get("completionTime") or metadata["creationTimestamp"]
    return since is None or datetime.fromisoformat(ended) >= since


async def _attest(controller: Controller, cluster: Cluster, job: Job, metadata: Mapping[str, Any]) -> Done:
    label = _label(job)
    try:
        if is_marked(metadata):
            await update(cluster, run_path(job), metadata["uid"], metadata, unmark_patch)
        final = await controller.handle(job)
    except ObjectGone:
        return Done(label, "gone")
    except (ClusterError, LedgerError) as error:
        return Done(label, f"{_LATER}: {error}", is_open=True)
    except Exception as error:  # noqa: BLE001 - a run that breaks us must not stop the others
        return Done(label, f"{_LATER}: unexpected {type(error).__name__}: {error}", is_open=True)
    return Done(label, "attested") if final else Done(label, _LATER, is_open=True)


def _label(job: Job) -> str:
    return f"{job.kind.lower()}/{job.namespace}/{job.name}"
