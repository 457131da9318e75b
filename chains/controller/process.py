"""The controller as a process: starts watch, workers and configuration, serves the health port, ends
cleanly."""

from __future__ import annotations

import asyncio
import logging
import resource
import secrets
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from chains.cluster.access import Access
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.cluster.leases import ClusterLeases
from chains.cluster.rate_limit import Pace
from chains.controller import heap
from chains.controller.crashes.journal import Journal, default_folder
from chains.controller.crashes.trial import Trial, TrialOptions
from chains.controller.feed.feed import Feed
from chains.controller.flow import FlowInForce
from chains.controller.health import State, answer_health
from chains.controller.ledger.begin import begin_ledger
from chains.controller.ledger.keeper import Keeper
from chains.controller.ledger.ledger import Ledger
from chains.controller.memory.run_cache import RunCache
from chains.controller.metrics import Metrics
from chains.controller.permit import share_of_uid
from chains.controller.reconcile import Controller, HowToWork, SharedParts
from chains.controller.reload import Reloader
from chains.controller.shares import Events, Shares, share_of
from chains.controller.sweep import Sweep
from chains.controller.watch.observe import Listener, check_watchable, observe
from chains.controller.work.crew import FEWEST, MOST, part_of
from chains.controller.work.worklist import WorkList
from chains.errors import UsageError
from chains.tekton.runs import Job
from storage.limits.circuits import Circuits

_DRAIN_SECONDS = 20.0
_SHORTEST_LEASE = 3
_FIRST_LOOK_SECONDS = 5.0
"""Seconds that the health port waits for the configuration, so that a probe does not see a state that is over
at once."""
_LONGEST_HOST = 300
_THREADS = 64
"""Threads, mostly for looking up names: each waits for a name server, which may not answer."""
_OPEN_FILES = 65_536


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """The options of the command line, see ``chains controller --help``."""

    kubeconfig: str
    system_namespace: str
    namespaces: Sequence[str]
    key_folder: Path
    workers: int
    """0 to choose the number by measurement, see :mod:`chains.controller.work.crew`."""
    requests: float
    burst: int
    retry_for: float
    health_port: int
    tekton_namespace: str
    replicas: int = 1
    pod_name: str = ""
    lease_seconds: int = 15
    context: str = ""
    state_folder: Path | None = None


async def serve(options: ControllerOptions) -> int:
    """Run until SIGTERM or SIGINT; then finish the runs in work, for up to 20 seconds, and release the
    shares.

    Returns the exit code: 1 if a part of the controller failed, which ends all of it, else 0. Raises
    :class:`UsageError` for options that contradict each other.
    """
    access = find_access(options.kubeconfig, options.context)
    check_watchable(access)
    stop = asyncio.Event()

    def take_signals() -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)

    take_signals()
    _prepare()
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster(access, pace=Pace(options.requests, options.burst)))
        shares = await _open_shares(options, access, stack)
        circuits = Circuits()
        metrics = Metrics()
        keeper = begin_ledger(
            lambda job: share_of(job, shares.count), lambda: shares.held, shares.count, metrics
        )
        feed, take = _open_feed(metrics, keeper)
        reloader = Reloader(cluster, options.system_namespace, options.key_folder, circuits, take)
        workers, few = options.workers or FEWEST, part_of(options.workers or FEWEST)
        work = WorkList(lambda: reloader.flow.config.backlog_rate, few, workers=workers, slow=few)
        circuits.on_open = lambda host: _tell_silent(host, metrics)

        def offer(job: Job, lane: int, since: float | None) -> None:
            if shares.admit(job) is not None:
                work.offer(job, lane, since)

        sweep = Sweep(
            cluster,
            options.namespaces,
            offer,
            lambda job: share_of(job, shares.count),
            lambda: shares.held,
            missing=keeper.ledger.missing,
        )
        keeper.on_begin = lambda: sweep.ask(*shares.held)
        configured = asyncio.create_task(reloader.watch())
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                await reloader.looked.wait()
        run_cache = RunCache()
        how = HowToWork(
            workers=workers,
            most_workers=options.workers or MOST,
            retry_for=options.retry_for,
            tekton_namespace=options.tekton_namespace,
        )
        trial = _open_trial(options, access, work, metrics, shares, keeper.ledger, stack)
        shared = SharedParts(shares.admit, run_cache, circuits, trial, keeper.ledger, feed.offer)
        controller = Controller(cluster, work, lambda: reloader.flow, metrics, how, shared)
        shares.events = _events(work, controller, metrics, sweep, keeper, shares.count)
        watching = asyncio.Event()
        health = await answer_health(
            options.health_port, State(reloader, watching, metrics, work, shares, circuits)
        )
        listener = Listener(
            offer,
            run_cache,
            work.listing,
            lambda job, raw: shares.admit(job) is not None and controller.left(job, raw),
            lambda job, raw, listed: controller.saw(job, raw, listed=listed) if shares.admit(job) else None,
            keeper.ledger.interrupted,
        )
        watch = observe(
            access, listener, namespaces=options.namespaces, ready=watching, take_signals=take_signals
        )
        tasks = [
            configured,
            asyncio.create_task(_work_when_ready(reloader, controller)),
            asyncio.create_task(sweep.run()),
            asyncio.create_task(watch),
            asyncio.create_task(shares.run()),
            asyncio.create_task(keeper.run()),
            asyncio.create_task(feed.run()),
            asyncio.create_task(stop.wait()),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        shares.stop()
        await _drain(work, feed)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [each for each in ended if isinstance(each, Exception)]
        for failure in failures:
            logging.getLogger("chains.serve").error("a part of the controller failed", exc_info=failure)
        await keeper.close()
        await shares.release()
        await reloader.close()
        await health.cleanup()
    return int(bool(failures))


async def _open_shares(options: ControllerOptions, access: Access, stack: AsyncExitStack) -> Shares:
    """Return the shares of this replica. Raises :class:`UsageError`."""
    if options.replicas == 1:
        return Shares()
    if options.replicas < 1 or options.lease_seconds < _SHORTEST_LEASE:
        raise UsageError(
            f"--replicas {options.replicas}, --lease-seconds {options.lease_seconds}: expected at least 1 "
            f"and {_SHORTEST_LEASE}"
        )
    ordinal = options.pod_name.rpartition("-")[2]
    if not ordinal.isdecimal():
        raise UsageError(
            f"--pod-name {options.pod_name!r}: expected the name of a StatefulSet's pod, which ends with -N; "
            "without one use --replicas 1"
        )
    if int(ordinal) >= options.replicas:
        logging.getLogger("chains.serve").warning(
            "this pod has no share of its own and only takes over those of others; keep CHAINS_REPLICAS "
            "equal to the StatefulSet's replicas",
            extra={"pod": options.pod_name, "replicas": options.replicas},
        )
    # connections of its own: requests of the workers must not delay the renewal of a Lease
    timeout = options.lease_seconds / 5
    cluster = await stack.enter_async_context(Cluster(access, connections=2, timeout=timeout))
    return Shares(
        count=options.replicas,
        ordinal=int(ordinal),
        identity=f"{options.pod_name}_{secrets.token_hex(4)}",
        table=ClusterLeases(cluster, options.system_namespace),
        seconds=options.lease_seconds,
    )


def _open_trial(
    options: ControllerOptions,
    access: Access,
    work: WorkList,
    metrics: Metrics,
    shares: Shares,
    ledger: Ledger,
    stack: AsyncExitStack,
) -> Trial | None:
    """Return what tries suspects, None if the journal cannot be opened."""
    folder = options.state_folder
    try:
        if folder is None:  # inside the try: there may be no folder for temporary files at all
            folder = default_folder(access.server, options.system_namespace, options.pod_name)
        journal = Journal(folder, options.workers or MOST)
    except OSError as error:
        logging.getLogger("chains.serve").warning(
            "it cannot be noted what is in work: a run that ends the process would not be found",
            extra={"folder": str(folder or ""), "reason": str(error)},
        )
        return None
    stack.callback(journal.close)
    given = TrialOptions(
        options.kubeconfig,
        options.context,
        options.system_namespace,
        str(options.key_folder),
        options.tekton_namespace,
        options.retry_for,
    )
    return Trial(
        journal, given, work, metrics, shares.admit, lambda job, line, wait: ledger.take(job, line, wait=wait)
    )


def _events(
    work: WorkList, controller: Controller, metrics: Metrics, sweep: Sweep, keeper: Keeper, count: int
) -> Events:
    def gained(share: int) -> None:
        metrics.share_transitions.inc()
        keeper.regain(share)
        sweep.ask(share)

    def lost(share: int) -> None:
        metrics.share_transitions.inc()
        work.drop(lambda job: share_of(job, count) == share)
        controller.forget(lambda uid: share_of_uid(uid, count) == share)
        keeper.release(share)

    return Events(gained, lost, lambda share: any(share_of(job, count) == share for job in work.working()))


def _prepare() -> None:
    """Allow enough threads and open files that unknown names and silent hosts do not block others.

    Memory of large runs is given back to the system.
    """
    heap.return_large_blocks()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "chains"))
    few, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(_OPEN_FILES, most)
    if few != resource.RLIM_INFINITY and few < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _tell_silent(host: str, metrics: Metrics) -> None:
    metrics.silences.inc()
    logging.getLogger("chains.serve").warning(
        "a host does not answer; runs that need it wait for it", extra={"host": host[:_LONGEST_HOST]}
    )


async def _work_when_ready(reloader: Reloader, controller: Controller) -> None:
    # without a configuration and a key no run can be attested, and none may be marked
    await reloader.wait()
    await controller.run()


def _open_feed(metrics: Metrics, keeper: Keeper) -> tuple[Feed, Callable[[FlowInForce], None]]:
    """Return what names runs to an index, and what ledger and index follow a configuration with."""
    feed = Feed(metrics)

    def take(flow: FlowInForce) -> None:
        keeper.take(flow)
        feed.take(flow)

    return feed, take


async def _drain(work: WorkList, feed: Feed) -> None:
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            await work.idle()
    except TimeoutError:
        logging.getLogger("chains.serve").warning("runs are still in work; the next start attests them")
    await feed.close()
