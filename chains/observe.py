"""kopf as a thin source of events: handlers hand a key over and do nothing else. Its only import.

Settings follow what was measured (``docs/decisions/0005``): pages of 500, a bounded number of workers that
let go at once, a diff base that stores nothing, a label selector on the server so that marked runs are
never sent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import kopf
import orjson
from kopf._cogs.structs.references import Insights
from kopf._core.engines.peering import Identity
from kopf._core.reactor.inventory import ResourceMemories, ResourceMemory
from multidict import CIMultiDict

from chains.access import Access
from chains.bodies import Bodies
from chains.children import parent_of
from chains.cluster import tls_of
from chains.decode import UNREADABLE, Unreadable, decode_event, decode_page
from chains.errors import ChainsError, UsageError
from chains.mark import FINALIZERS, has_marks
from chains.paging import Pages, is_large, read_some
from chains.snapshot import DONE_LABEL, has_ended
from chains.worklist import BACKLOG, FRESH, LEAVING, Job
from storage import lean_json

GROUP, VERSION = "tekton.dev", "v1"
PLURALS = {"taskruns": "TaskRun", "pipelineruns": "PipelineRun"}
FRESH_SECONDS = 300.0
"""A run that ended longer ago is backlog."""
_RESTART_DELAY = 1.0
_FAILED = 400
_ENDING_SECONDS = 5.0
_LONGEST_LINE = 16 * 1024 * 1024
_LARGE_ON_AVERAGE = 64 * 1024
_IN_PART = "provenance.chains/in-part"
"""The member of an object that says that it is not the whole of it."""
_IDENTITY = Identity("chains")
"""What kopf calls this process among its peers, of which there are none.

It would look for the user's name otherwise, and end where the uid has none, as in our image.
"""
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


class _Lines:
    """The stream of a watch, in which what cannot be read has an outline in its place."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """Yield whole lines, each an event that anybody can decode."""
        parts: list[bytes] = []
        length = 0
        async for chunk in self._content.iter_chunked(size):
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                whole = b"".join((*parts, line))
                parts, length = [], 0
                if whole:
                    yield _decodable(whole)
            length += len(rest)
            if length <= _LONGEST_LINE:
                parts.append(rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)


def _decodable(line: bytes) -> bytes:
    """Return one event as it can be decoded without recursion that ends the watch; empty for none."""
    event = decode_event(line)
    if event is None:
        _log.error("an event of the watch can neither be read nor named", extra={"begins": repr(line[:200])})
        return b""
    found = event.get("object")
    if isinstance(found, dict) and isinstance(found.get("metadata"), dict):
        # nobody needs them, and kopf decodes what it is given once more
        found["metadata"].pop("managedFields", None)
        if is_large(line):
            event["object"] = _looked_at(found)
    return orjson.dumps(event) + b"\n"


class _Asks:
    """Asks for as many objects of a list at once as the lists before had room for."""

    def __init__(self) -> None:
        self.session: aiohttp.ClientSession | None = None
        self._pages: dict[str, Pages] = {}

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send a request of kopf's."""
        if "limit" not in request.url.query:
            return await handler(request)
        pages = self._pages.setdefault(request.url.path, Pages())
        request.url = request.url.update_query(limit=pages.objects)
        answer = await handler(request)
        if isinstance(answer, _Response):
            answer.pages, answer.session = pages, self.session
        return answer


def _looked_at(raw: dict[str, Any]) -> dict[str, Any]:
    """Return what is looked at of an object before its turn, marked as not being the whole of it."""
    status, spec = raw.get("status"), raw.get("spec")
    told = {name: raw[name] for name in ("apiVersion", "kind", "metadata", UNREADABLE) if name in raw}
    if isinstance(status, dict):
        told["status"] = {name: status[name] for name in ("conditions", "completionTime") if name in status}
    if isinstance(spec, dict):
        told["spec"] = {name: spec[name] for name in ("managedBy",) if name in spec}
    return {**told, _IN_PART: True}


class _Response(aiohttp.ClientResponse):
    """An answer of the API server to kopf: one object that cannot be read spoils no other."""

    pages: Pages | None = None
    session: aiohttp.ClientSession | None = None

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        answer = await super().start(connection)
        if self.url.query.get("watch") == "true" and self.status < _FAILED:
            self.content = _Lines(self.content)  # type: ignore[assignment] # kopf asks it for chunks alone
        return answer

    async def _page(self) -> bytes:
        """Return the body; of a list as many objects as fit, with the token that continues it."""
        answer: aiohttp.ClientResponse = self
        pages = self.pages
        if pages is None or self.session is None or "limit" not in self.url.query:
            return await self.read()
        while True:
            asked = pages.objects
            data = await read_some(answer, pages.largest)
            if pages.takes(data) and data is not None:
                return data
            if asked == 1:
                raise aiohttp.ClientPayloadError(f"an object of {self.url.path} is larger than is read")
            answer.close()
            answer = await self.session.get(self.url, raise_for_status=True)

    async def json(self, **_: Any) -> Any:
        data = await self._page()
        try:
            page = await lean_json.aside(data, partial(decode_page, data))
        except Unreadable as error:
            raise orjson.JSONDecodeError(str(error), "", 0) from error
        if isinstance(page.get("items"), list):
            nameless = page["items"].count(None)
            if nameless:
                _log.error("objects of a list can neither be read nor named", extra={"count": nameless})
            page["items"] = [item for item in page["items"] if item is not None]
            if len(data) > _LARGE_ON_AVERAGE * len(page["items"]):
                # kopf holds them all until each had its turn
                page["items"] = [_looked_at(item) for item in page["items"]]
        return page


class TektonMissing(ChainsError):  # noqa: N818 - as other modules say what is not there
    """The API server serves no TaskRuns or PipelineRuns, for now."""


def check_watchable(access: Access) -> None:
    """Raise :class:`UsageError` for what kopf would leave out, and so act as somebody else."""
    told = {"as": access.headers, "tls-server-name": access.server_name}
    for name, value in told.items():
        if value:
            raise UsageError(
                f"{access.source}: {name} is not honoured by the controller's watch: "
                "use a kubeconfig without it"
            )


async def observe(
    access: Access,
    offer: Callable[[Job, int, float | None], None],
    *,
    namespaces: Sequence[str] = (),
    ready: asyncio.Event | None = None,
    take_signals: Callable[[], None] = lambda: None,
    bodies: Bodies | None = None,
    listed: Callable[[], None] = lambda: None,
    left: Callable[[Job, Mapping[str, Any]], bool] = lambda _job, _raw: False,
) -> None:
    """Offer the key of every run that is finished and not marked, or not held yet, until cancelled.

    kopf's operator ends for good when a page of a list answers 410 or a watch answers with an error event; it
    is started again, and lists what is left; also while the API server does not serve Tekton's kinds, for
    which kopf looks once. ``ready`` is set while there is a watch. kopf takes the process's signals for
    itself at every start; ``take_signals`` takes them back. ``bodies`` gets the finished runs as they came;
    ``listed`` is called for each run of a list; ``left`` with each finished one that is not in the watch any
    more, as it was last, and says whether it is to be looked at.
    """
    bodies = bodies or Bodies(max_bytes=0)
    while True:
        try:
            await _operate(access, offer, namespaces, ready, take_signals, bodies, listed, left)
        except TektonMissing as error:
            _log.warning("nothing to watch yet", extra={"reason": str(error)})
        except Exception:  # noqa: BLE001 - whatever ended the watch, runs must not be forgotten
            _log.exception("the watch failed; starting it again")
        if ready is not None:
            ready.clear()
        await asyncio.sleep(_RESTART_DELAY)


def _handler(
    kind: str,
    offer: Callable[[Job, int, float | None], None],
    bodies: Bodies,
    listed: Callable[[], None],
    left: Callable[[Job, Mapping[str, Any]], bool],
) -> Any:
    async def seen(event: Any, uid: str, name: str, namespace: str, **_: Any) -> None:
        if event["type"] is None:
            listed()
        raw = event["object"]
        meta, ended = raw["metadata"], has_ended(raw)
        job = Job(kind, namespace, name, uid, owner_of(kind, meta))
        if event["type"] == "DELETED":
            bodies.forget(job)
            # gone, or labelled as done, which hides it from the watch: the event has what was there before
            if not ended:
                offer(job, FRESH, None)
            elif left(job, raw):
                offer(job, LEAVING, None)
        elif ended:
            if UNREADABLE not in raw and _IN_PART not in raw:
                bodies.keep(job, raw)
            lane, since = lane_of(raw["status"], datetime.now(UTC))
            offer(job, LEAVING if meta.get("deletionTimestamp") else lane, since)
        elif (
            meta.get("deletionTimestamp")
            or FINALIZERS[kind] not in meta.get("finalizers", ())
            or has_marks(meta)
        ):
            offer(job, FRESH, None)
        elif kind == "PipelineRun" and event["type"] is None:
            # listed at a start: its children's snapshots, kept in memory, are to be read again
            offer(job, BACKLOG, None)

    return seen


def _authorization(access: Access) -> str:
    """Return the header that says who we are, empty where a certificate does."""
    if access.authorize:
        return access.authorize()
    token = access.token_file.read_text().strip() if access.token_file else access.token
    return f"Bearer {token}" if token else ""


async def _operate(
    access: Access,
    offer: Callable[[Job, int, float | None], None],
    namespaces: Sequence[str],
    ready: asyncio.Event | None,
    take_signals: Callable[[], None],
    bodies: Bodies,
    listed: Callable[[], None],
    left: Callable[[Job, Mapping[str, Any]], bool],
) -> None:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.AiohttpSession:
        headers = CIMultiDict(access.headers)
        if authorization := await asyncio.to_thread(_authorization, access):
            headers["Authorization"] = authorization
        asks = _Asks()
        session = asks.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls_of(access)),
            headers=headers,
            proxy=access.proxy or None,
            response_class=_Response,
            middlewares=(asks,),
        )
        return kopf.AiohttpSession(server=access.server, aiohttp_session=session)

    for plural, kind in PLURALS.items():
        kopf.on.event(GROUP, VERSION, plural, registry=registry)(_handler(kind, offer, bodies, listed, left))

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

    A watch that is cancelled while it opens its request takes the cancellation for its own and goes on. It
    then waits for a login that nobody makes any more, and ``kopf.run_tasks`` waits for it without a watch.
    So what has not ended after ``patience`` seconds is cancelled again, as often as it takes.
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
    """Go on for as long as there is something to watch. Raises :class:`TektonMissing`."""
    await insights.ready_resources.wait()
    missing = PLURALS.keys() - {resource.plural for resource in insights.watched_resources}
    if missing:
        raise TektonMissing(f"the API server serves no {' and '.join(sorted(missing))} of {GROUP}/{VERSION}")
    if ready is not None:
        ready.set()
    await asyncio.Event().wait()
