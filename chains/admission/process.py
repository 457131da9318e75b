"""The admission server as a process: opens what it needs, answers, and ends cleanly."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from chains.admission.answers import Answers
from chains.admission.certificate import Certificate
from chains.admission.health import Health
from chains.admission.images import Kinds
from chains.admission.judge import Judge, Tags
from chains.admission.mutate import Mutator
from chains.admission.namespaces import Namespaces
from chains.admission.policies import PoliciesInForce
from chains.admission.processes import Part, run_processes
from chains.admission.reporting.events import Events
from chains.admission.reporting.metrics import Metrics
from chains.admission.server import application
from chains.admission.sharing.shared import SharedAnswers
from chains.admission.validate import Validator
from chains.assembly.pull_secrets import PullSecrets
from chains.assembly.registry_tags import RegistryTags
from chains.assembly.stores import open_url, store_options
from chains.cluster.access import Access
from chains.cluster.client import Cluster
from chains.cluster.leader import ClusterLease, Leader
from chains.cluster.rate_limit import Pace
from chains.config.parse import Config
from chains.policy.opened import Opener
from chains.policy.verdict import Decision
from chains.preflight.pulls import Pulls
from chains.recheck.metrics import RecheckMetrics
from chains.recheck.rounds import BURST, LABELS, LEASE, REQUESTS, Recheck, RecheckOptions, own_identity
from chains.tracing import run_traced
from storage.base import Store
from storage.limits.circuits import Circuits
from storage.oci.docker_config import DockerCredentials

_KEEP_SECONDS = 150.0
"""Seconds for which an idle connection is kept. The API server keeps its own for 90, and a connection that is
closed while a request is on its way fails the request."""
_CLUSTER_SECONDS = 5.0
_LIST_SECONDS = 30.0
_DRAIN_SECONDS = 25.0
_SECRETS = 50
"""Secrets and service accounts per second that are read for the credentials of pods."""
_log = logging.getLogger("chains.admission")


@dataclass(frozen=True, slots=True)
class AdmissionOptions:
    """The options of the command line, see ``chains admission --help``."""

    policies: Path
    config: Config
    stores: Sequence[str]
    certificate: Path
    client_ca: Path | None
    host: str
    port: int
    health_port: int
    kinds: Kinds
    unmatched: Decision
    access: Access | None
    opener: Opener
    lists: Sequence[Path] = ()
    """The revocation lists that the opener reads."""
    linger: float = 0.0
    """Seconds for which requests are still taken after the signal to end."""
    processes: int = 1
    recheck: RecheckOptions | None = None
    """None if what runs is not verified again; needs ``access``."""
    pull_secrets: bool = False
    """Whether the pull secrets of pods are read; needs ``access``."""
    pod: Mapping[str, str] | None = None
    """The server's own pod, as an Event refers to it. None if it is not known."""


def run(options: AdmissionOptions) -> int:
    """Serve in as many processes as the options say. Returns the exit code; see :func:`serve`."""
    if options.processes == 1:
        return run_traced(serve(options))
    # what cannot be opened is an error here, before there are several processes
    Certificate(options.certificate, options.client_ca)
    return run_processes(
        options.processes, lambda part: run_traced(serve(options, part)), options.health_port
    )


async def serve(options: AdmissionOptions, part: Part | None = None) -> int:
    """Run until SIGTERM or SIGINT; then answer what is under way. Returns the exit code.

    ``part`` is what this process gets if it is one of several.

    Raises :class:`InputError` and :class:`UsageError` for a certificate or a store that cannot be opened.
    """
    stop = _stop()
    async with AsyncExitStack() as stack:
        found = store_options(options.config, Circuits())
        stores = [open_url(url, found) for url in dict.fromkeys(options.stores or ("oci:",))]
        for store in stores:
            stack.push_async_callback(store.close)
        cluster = None
        if options.access is not None:
            cluster = await stack.enter_async_context(Cluster(options.access, timeout=_CLUSTER_SECONDS))
        certificate = Certificate(options.certificate, options.client_ca)
        metrics = Metrics()
        secrets = await _pull_secrets(options, stack, metrics, part.key if part is not None else b"")
        answers = Answers(stores, secrets, shared=await _shared(part, stack))
        events = Events(cluster, metrics, options.pod)
        stack.push_async_callback(events.close)
        policies = PoliciesInForce(
            options.policies,
            options.opener,
            lambda: events.policies(policies.refused),
            lists=options.lists,
        )
        resolver = RegistryTags(found)
        tags, namespaces = Tags(resolver, secrets, resolver.with_keychain), Namespaces(cluster)
        judge = Judge(answers, tags, options.unmatched)
        validator = Validator(policies, namespaces, judge, options.kinds)
        mutator = Mutator(policies, namespaces, tags)
        health = Health(policies, certificate, answers, metrics)
        await policies.look()
        health_runner = web.AppRunner(health.application(), access_log=None)
        stack.push_async_callback(health_runner.cleanup)
        answering = application(validator, mutator, policies, answers, metrics, events)
        await _listen(stack, answering, health.stopping, options, certificate, shares_port=part is not None)
        # after the port of the webhook: whoever finds the process ready sends requests
        await health_runner.setup()
        if part is None:
            await web.TCPSite(health_runner, port=options.health_port).start()
        else:
            await web.SockSite(health_runner, part.health).start()
            _end_with_parent(part.parent, stop)
        tasks = [
            asyncio.create_task(policies.watch()),
            asyncio.create_task(certificate.watch()),
            asyncio.create_task(stop.wait()),
        ]
        rounds: asyncio.Task[None] | None = None
        if options.recheck is not None and options.access is not None:
            own = await stack.enter_async_context(
                Cluster(options.access, timeout=_LIST_SECONDS, pace=Pace(REQUESTS, BURST))
            )
            recheck = _recheck(options.recheck, own, stores, resolver, policies, metrics, secrets)
            rounds = asyncio.create_task(recheck.run())
            tasks.append(rounds)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        health.stopping.set()
        if rounds is not None:
            # nobody waits for a round, and another replica may go on
            rounds.cancel()
        await asyncio.sleep(options.linger)
        for task in tasks:
            if task is not rounds:  # a second time would keep it from giving up its lease
                task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [each for each in ended if isinstance(each, Exception)]
        for failure in failures:
            _log.error("a part of the server failed", exc_info=failure)
    return int(bool(failures))


async def _listen(
    stack: AsyncExitStack,
    answering: web.Application,
    stopping: asyncio.Event,
    options: AdmissionOptions,
    certificate: Certificate,
    *,
    shares_port: bool,
) -> None:
    """Answer on the port of the webhook. Once the server is stopping, each answer ends its connection.

    The API server uses a connection for many requests, and fails one that it sends while the connection is
    closed. After an answer with ``Connection: close`` it opens another one, to a replica that stays.
    """

    async def close(_: web.Request, response: web.StreamResponse) -> None:
        if stopping.is_set():
            response.headers["Connection"] = "close"  # the headers are made before this is called
            response.force_close()

    answering.on_response_prepare.append(close)
    runner = web.AppRunner(
        answering, access_log=None, keepalive_timeout=_KEEP_SECONDS, shutdown_timeout=_DRAIN_SECONDS
    )
    stack.push_async_callback(runner.cleanup)
    await runner.setup()
    await web.TCPSite(
        runner, options.host, options.port, ssl_context=certificate.context, reuse_port=shares_port
    ).start()
    _log.info("admission answers", extra={"port": options.port})


async def _shared(part: Part | None, stack: AsyncExitStack) -> SharedAnswers | None:
    """Return the answers of all processes, None if there is one process."""
    if part is None:
        return None
    found = SharedAnswers(part.answers)
    await found.open()
    stack.push_async_callback(found.close)
    return found


async def _pull_secrets(
    options: AdmissionOptions, stack: AsyncExitStack, metrics: Metrics, key: bytes
) -> PullSecrets | None:
    """Return what finds the credentials of pods, None if they are not to be used."""
    if not options.pull_secrets or options.access is None:
        return None
    # at a pace of its own: whoever makes it read many Secrets delays no look at a namespace
    reading = Cluster(options.access, timeout=_CLUSTER_SECONDS, pace=Pace(_SECRETS, _SECRETS))
    return PullSecrets(
        await stack.enter_async_context(reading), DockerCredentials(), key=key, count=metrics.pulled
    )


def _stop() -> asyncio.Event:
    """Return what is set by the signals to end."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _recheck(
    options: RecheckOptions,
    cluster: Cluster,
    stores: Sequence[Store],
    tags: RegistryTags,
    policies: PoliciesInForce,
    metrics: Metrics,
    secrets: PullSecrets | None,
) -> Recheck:
    """Return the task that verifies again what runs."""
    leader = Leader(ClusterLease(cluster, options.namespace, LEASE, LABELS), own_identity())
    shown = RecheckMetrics(metrics.registry, options.interval)
    return Recheck(
        cluster,
        stores,
        tags,
        lambda: policies.current.policies if policies.current is not None else None,
        leader,
        shown,
        options,
        pulls=Pulls(secrets, tags.with_keychain) if secrets is not None else None,
    )


def _end_with_parent(parent: int, stop: asyncio.Event) -> None:
    """Set ``stop`` when the first process is gone, however it ended."""
    loop = asyncio.get_running_loop()

    def end() -> None:
        loop.remove_reader(parent)
        stop.set()

    loop.add_reader(parent, end)
