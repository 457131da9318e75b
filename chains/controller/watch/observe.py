"""kopf as a source of events: it lists, watches and starts again; only keys are handed on. The only import of
kopf.

The settings were measured (``docs/decisions/0005``): pages of 500, a bounded number of kopf's workers that
end at once, a diff base that stores nothing, and a label selector on the server, so that marked runs are
never sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import kopf
from kopf._cogs.structs.references import Insights
from kopf._core.engines.peering import Identity
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory
from multidict import CIMultiDict

from chains.cluster.access import Access
from chains.cluster.client import tls_of
from chains.controller.marks.patches import FINALIZERS, has_marks
from chains.controller.memory.run_cache import RunCache
from chains.controller.watch.stream import IN_PART, Heard, Requests, Response, Seen
from chains.controller.work.worklist import BACKLOG, FRESH, LEAVING
from chains.documents.decode import UNREADABLE
from chains.errors import ChainsError, UsageError
from chains.tekton.children import parent_of
from chains.tekton.runs import Job
from chains.tekton.snapshot import DONE_LABEL, has_ended

GROUP, VERSION = "tekton.dev", "v1"
PLURALS = {"taskruns": "TaskRun", "pipelineruns": "PipelineRun"}
FRESH_SECONDS = 300.0
"""Seconds after its end in which a run is fresh; later it belongs to the backlog."""
_RESTART_DELAY = 1.0
_ENDING_SECONDS = 5.0
_IDENTITY = Identity("chains")
"""The name of this process for kopf's peering, which is not used.

Without it kopf would look up the user's name, and would fail if the uid has none, as in our image.
"""
_KOPF = Path(kopf.__file__).parent
_log = logging.getLogger("chains.observe")


class _NoDiffBase(kopf.DiffBaseStorage):
    """Stores nothing: kopf would copy every object for its diffs, which are not used here."""

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
    """Remembers nothing: kopf would keep a kilobyte for each object, for handlers that are not used here."""

    async def recall(self, raw_body: Any, **keywords: Any) -> ResourceMemory:
        return await super().recall(raw_body, **{**keywords, "ephemeral": True})


class _NotOfKopf(frozenset[asyncio.Task[Any]]):
    """The tasks that are not kopf's. kopf's operator, when it ends, cancels all younger tasks except
    these."""

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


class TektonMissing(ChainsError):  # noqa: N818 - as other modules say what is not there
    """The API server serves no TaskRuns or PipelineRuns, for now."""


def check_watchable(access: Access) -> None:
    """Raise :class:`UsageError` for settings that kopf would ignore, and so act as another user."""
    told = {"as": access.headers, "tls-server-name": access.server_name}
    for name, value in told.items():
        if value:
            raise UsageError(
                f"{access.source}: {name} is not honoured by the controller's watch: "
                "use a kubeconfig without it"
            )


@dataclass(frozen=True, slots=True)
class Listener:
    """What the watch tells.

    ``offer`` gets each run that is finished and not marked, or has no finalizer yet, with its lane and when
    it ended. ``run_cache`` gets the finished runs. ``listed`` is called for each run of a list. ``left`` is
    called with the last version of each finished run that left the watch, and returns whether it is to be
    looked at. ``saw`` is called with every object, and whether it was listed and not watched; ``interrupted``
    when a list takes the place of a watch, with the time since when nothing was heard, and of what.
    """

    offer: Callable[[Job, int, float | None], None]
    run_cache: RunCache = field(default_factory=lambda: RunCache(max_bytes=0))
    listed: Callable[[], None] = lambda: None
    left: Callable[[Job, Mapping[str, Any]], bool] = lambda _job, _raw: False
    saw: Callable[[Job, Mapping[str, Any], bool], None] = lambda _job, _raw, _listed: None
    interrupted: Callable[[datetime, str], None] = lambda _since, _what: None


async def observe(
    access: Access,
    listener: Listener,
    *,
    namespaces: Sequence[str] = (),
    ready: asyncio.Event | None = None,
    take_signals: Callable[[], None] = lambda: None,
) -> None:
    """Watch the runs of these namespaces, or of all, and tell ``listener``, until cancelled.

    kopf's operator ends for good if a page of a list is answered with 410, or a watch with an error event. It
    is then started again and lists what is left. It is also started again while the API server does not serve
    Tekton's kinds, because kopf looks for them only once.

    ``ready`` is set while there is a watch. kopf installs its own signal handlers at every start;
    ``take_signals`` installs ours again.
    """
    heard = Heard(listener.interrupted)
    while True:
        try:
            await _operate(access, listener, namespaces, ready, take_signals, heard)
        except TektonMissing as error:
            _log.warning("nothing to watch yet", extra={"reason": str(error)})
        except Exception:  # noqa: BLE001 - whatever ended the watch, runs must not be forgotten
            _log.exception("the watch failed; starting it again")
        if ready is not None:
            ready.clear()
        await asyncio.sleep(_RESTART_DELAY)


def _handler(kind: str, listener: Listener) -> Seen:
    offer, run_cache = listener.offer, listener.run_cache

    def seen(event: str | None, raw: dict[str, Any]) -> None:
        if event is None:
            listener.listed()
        meta, ended = raw["metadata"], has_ended(raw)
        job = Job(kind, meta["namespace"], meta["name"], meta["uid"], owner_of(kind, meta))
        listener.saw(job, raw, event is None)
        if event == "DELETED":
            run_cache.forget(job)
            # the run is gone, or has the done label, which the watch does not select; raw is its last version
            if not ended:
                offer(job, FRESH, None)
            elif listener.left(job, raw):
                offer(job, LEAVING, None)
        elif ended:
            if UNREADABLE not in raw and IN_PART not in raw:
                run_cache.keep(job, raw)
            lane, since = lane_of(raw["status"], datetime.now(UTC))
            offer(job, LEAVING if meta.get("deletionTimestamp") else lane, since)
        elif (
            meta.get("deletionTimestamp")
            or FINALIZERS[kind] not in meta.get("finalizers", ())
            or has_marks(meta)
        ):
            offer(job, FRESH, None)
        elif kind == "PipelineRun" and event is None:
            # listed after a start: the records of its finished children have to be read again
            offer(job, BACKLOG, None)

    return seen


def _authorization(access: Access) -> str:
    """Return the Authorization header, empty if a client certificate is used instead."""
    if access.authorize:
        return access.authorize()
    token = access.token_file.read_text().strip() if access.token_file else access.token
    return f"Bearer {token}" if token else ""


async def _operate(
    access: Access,
    listener: Listener,
    namespaces: Sequence[str],
    ready: asyncio.Event | None,
    take_signals: Callable[[], None],
    heard: Heard,
) -> None:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        headers = CIMultiDict(access.headers)
        if authorization := await asyncio.to_thread(_authorization, access):
            headers["Authorization"] = authorization
        asks = Requests({plural: _handler(kind, listener) for plural, kind in PLURALS.items()}, heard)
        session = asks.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls_of(access)),
            headers=headers,
            proxy=access.proxy or None,
            response_class=Response,
            middlewares=(asks,),
        )
        return kopf.AiohttpSession(server=access.server, aiohttp_session=session)

    async def unused(**_: Any) -> None:
        """Make kopf watch. It is never called: the objects are taken from the answers, see :mod:`.stream`."""

    for plural in PLURALS:
        kopf.on.event(GROUP, VERSION, plural, registry=registry)(unused)

    insights = Insights()
    tasks = await kopf.spawn_tasks(
        insights=insights,
        memories=_NoMemories(),
        identity=_IDENTITY,
        registry=registry,
        settings=settings_for_scale(),
        clusterwide=not namespaces,
        namespaces=namespaces,
        standalone=True,
    )
    take_signals()
    served = asyncio.create_task(_served(insights, ready))
    await run_to_the_end([*tasks, served])


async def run_to_the_end(tasks: Sequence[asyncio.Task[Any]], *, patience: float = _ENDING_SECONDS) -> None:
    """Run kopf's tasks until one ends, then end the others, and raise what the first one raised.

    A watch of kopf that is cancelled while it opens its request loses the cancellation and goes on. It then
    waits for a login that never comes, and ``kopf.run_tasks`` waits for it for ever. Tasks that have not
    ended after ``patience`` seconds are therefore cancelled again, until they have.
    """
    operator = asyncio.create_task(kopf.run_tasks(tasks, ignored=_NotOfKopf()))
    try:
        await asyncio.wait([operator, *tasks], return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        operator.cancel()
        await _ended(operator, tasks, patience)
        raise
    await _ended(operator, tasks, patience)
    operator.result()


async def _ended(operator: asyncio.Task[None], tasks: Sequence[asyncio.Task[Any]], patience: float) -> None:
    others = _NotOfKopf()
    while not (await asyncio.wait([operator], timeout=patience))[0]:
        again = [task for task in {*tasks, *asyncio.all_tasks()} if task in tasks or task not in others]
        _log.warning("tasks of the watch did not end; cancelling them again", extra={"count": len(again)})
        for task in again:
            if task is not operator:
                task.cancel()


async def _served(insights: Insights, ready: asyncio.Event | None) -> None:
    """Set ``ready`` and wait for ever, once Tekton's kinds are watched. Raises :class:`TektonMissing`."""
    await insights.ready_resources.wait()
    missing = PLURALS.keys() - {resource.plural for resource in insights.watched_resources}
    if missing:
        raise TektonMissing(f"the API server serves no {' and '.join(sorted(missing))} of {GROUP}/{VERSION}")
    if ready is not None:
        ready.set()
    await asyncio.Event().wait()
