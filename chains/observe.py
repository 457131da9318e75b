"""kopf as a thin source of events: handlers hand a key over and do nothing else. Its only import.

Settings follow what was measured (``docs/decisions/0005``): pages of 500, a bounded number of workers that
let go at once, a diff base that stores nothing, a label selector on the server so that marked runs are
never sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kopf
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory

from chains.bodies import Bodies
from chains.cluster import Access
from chains.family import parent_of
from chains.mark import FINALIZERS
from chains.snapshot import DONE_LABEL
from chains.worklist import BACKLOG, FRESH, Job

GROUP, VERSION = "tekton.dev", "v1"
PLURALS = {"taskruns": "TaskRun", "pipelineruns": "PipelineRun"}
FRESH_SECONDS = 300.0
"""A run that ended longer ago is backlog."""
_RESTART_DELAY = 1.0
_KOPF = Path(kopf.__file__).parent
_log = logging.getLogger("chains.observe")


class _NoDiffBase(kopf.DiffBaseStorage):
    """kopf copies every body for its diffs, which nothing here reads."""

    def build(self, *, body: Any, extra_fields: Any = None) -> Any:
        del body, extra_fields
        return {}

    def fetch(self, *, body: Any) -> Any:
        del body

    def store(self, *, body: Any, patch: Any, essence: Any) -> None:
        """Store nothing."""


def lane_of(status: Mapping[str, Any], now: datetime) -> tuple[int, float | None]:
    """Return the lane of a finished run, fresh if it ended in the last five minutes, and when it ended."""
    try:
        ended = datetime.fromisoformat(str(status.get("completionTime")))
        return FRESH if (now - ended).total_seconds() < FRESH_SECONDS else BACKLOG, ended.timestamp()
    except (TypeError, ValueError):
        return BACKLOG, None


def owner_of(kind: str, metadata: Mapping[str, Any]) -> str:
    """Return the UID of the PipelineRun that owns a TaskRun, empty for any other run."""
    return parent_of(metadata) if kind == "TaskRun" else ""


class _NoMemories(ResourceMemories):
    """kopf keeps a kilobyte for each object it has seen, for kinds of handlers that are not used here."""

    async def recall(self, raw_body: Any, **keywords: Any) -> ResourceMemory:
        return await super().recall(raw_body, **{**keywords, "ephemeral": True})


class _NotOfKopf(frozenset[asyncio.Task[Any]]):
    """When kopf's operator ends, it cancels every task younger than itself but those in such a set."""

    def __contains__(self, task: object) -> bool:
        code = getattr(task.get_coro(), "cr_code", None) if isinstance(task, asyncio.Task) else None
        return code is None or _KOPF not in Path(code.co_filename).parents


def settings_for_scale() -> kopf.OperatorSettings:
    """Return the settings under which kopf keeps up with thousands of runs."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 600
    for plural in PLURALS:
        settings.watching.label_selectors[GROUP, plural] = f"!{DONE_LABEL}"
    settings.queueing.worker_limit = 64
    settings.queueing.idle_timeout = 0.02
    settings.queueing.exit_timeout = 10
    settings.persistence.diffbase_storage = _NoDiffBase()
    return settings


async def observe(
    access: Access,
    offer: Callable[[Job, int, float | None], None],
    *,
    namespaces: Sequence[str] = (),
    ready: asyncio.Event | None = None,
    take_signals: Callable[[], None] = lambda: None,
    bodies: Bodies | None = None,
) -> None:
    """Offer the key of every run that is finished and not marked, or not held yet, until cancelled.

    kopf's operator ends for good when a page of a list answers 410 or a watch answers with an error event; it
    is started again, and lists what is left. kopf takes the process's signals for itself at every start;
    ``take_signals`` takes them back. ``bodies`` gets the finished runs as they came.
    """
    bodies = bodies or Bodies(max_bytes=0)
    while True:
        try:
            await _operate(access, offer, namespaces, ready, take_signals, bodies)
        except Exception:  # noqa: BLE001 - whatever ended the watch, runs must not be forgotten
            _log.exception("the watch failed; starting it again")
        await asyncio.sleep(_RESTART_DELAY)


def _handler(kind: str, offer: Callable[[Job, int, float | None], None], bodies: Bodies) -> Any:
    async def seen(event: Any, uid: str, name: str, namespace: str, status: Any, meta: Any, **_: Any) -> None:
        job = Job(kind, namespace, name, uid, owner_of(kind, meta))
        if event["type"] == "DELETED":
            bodies.forget(job)
        elif status.get("completionTime"):
            bodies.keep(job, event["object"])
            offer(job, *lane_of(status, datetime.now(UTC)))
        elif meta.get("deletionTimestamp") or FINALIZERS[kind] not in meta.get("finalizers", ()):
            offer(job, FRESH, None)
        elif kind == "PipelineRun" and event["type"] is None:
            # listed at a start: its children's snapshots, kept in memory, are to be read again
            offer(job, BACKLOG, None)

    return seen


async def _operate(
    access: Access,
    offer: Callable[[Job, int, float | None], None],
    namespaces: Sequence[str],
    ready: asyncio.Event | None,
    take_signals: Callable[[], None],
    bodies: Bodies,
) -> None:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        token = access.token_file.read_text().strip() if access.token_file else access.token
        return kopf.ConnectionInfo(
            server=access.server,
            ca_data=access.ca_data.encode() if access.ca_data else None,
            insecure=access.insecure,
            token=token or None,
            certificate_path=access.certificate,
            private_key_path=access.key,
        )

    for plural, kind in PLURALS.items():
        kopf.on.event(GROUP, VERSION, plural, registry=registry)(_handler(kind, offer, bodies))

    tasks = await kopf.spawn_tasks(
        memories=_NoMemories(),
        registry=registry,
        settings=settings_for_scale(),
        clusterwide=not namespaces,
        namespaces=namespaces,
        standalone=True,
        ready_flag=ready,
    )
    take_signals()
    await kopf.run_tasks(tasks, ignored=_NotOfKopf())
