"""The commands that work in a cluster: the controller, and what an operator does by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from chains.cli.arguments import FILE, FOLDER, Argument, Option, Options, output
from chains.cli.commands import Command, Group
from chains.cli.tables import write_table
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.config.selection import parse_since
from chains.errors import UsageError
from chains.loop import carry_out
from chains.terminal import write_json, write_line
from chains.text import count
from chains.tracing import run_traced

if TYPE_CHECKING:
    from chains.controller.operations import Done

_MOST, _DIGITS = 10**9, 10
_MOST_WORKERS = 4096
_HIGHEST_PORT = 65_535


def _controller(options: Options) -> int:
    """Watch a cluster and attest every finished run, until the process is stopped."""
    from chains.controller.log_lines import log_as_json  # noqa: PLC0415
    from chains.controller.process import ControllerOptions, serve  # noqa: PLC0415 - kopf is an extra and takes a second

    log_as_json()
    return run_traced(
        serve(
            ControllerOptions(
                kubeconfig=options.kubeconfig,
                context=options.context,
                system_namespace=options.system_namespace,
                namespaces=split_names(options.namespace),
                key_folder=Path(options.signing_secrets),
                workers=_workers(options),
                requests=_rate(options.kube_api_qps, "--kube-api-qps"),
                burst=whole_number(options.kube_api_burst, "--kube-api-burst", 1),
                retry_for=whole_number(options.retry_for, "--retry-for"),
                health_port=whole_number(options.health_port, "--health-port", 1, _HIGHEST_PORT),
                tekton_namespace=options.tekton_namespace,
                replicas=whole_number(options.replicas, "--replicas"),
                pod_name=options.pod_name,
                lease_seconds=whole_number(options.lease_seconds, "--lease-seconds"),
                state_folder=Path(options.state_folder) if options.state_folder else None,
            )
        )
    )


def _resign(options: Options) -> int:
    """Remove the marks from runs, so that the controller attests them again."""
    from chains.controller import operations  # noqa: PLC0415 - its packages are an extra, --help needs none

    async def work() -> list[Done]:
        async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
            return [
                done
                for name in options.runs
                for done in await operations.resign(cluster, name, dry_run=options.dry_run)
            ]

    return _tell(carry_out(work()), options)


def _release(options: Options) -> int:
    """Remove the controller's finalizers from every run."""
    from chains.controller import operations  # noqa: PLC0415 - its packages are an extra, --help needs none

    async def work() -> list[Done]:
        async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
            return await operations.release_finalizers(
                cluster, split_names(options.namespace), dry_run=options.dry_run
            )

    return _tell(carry_out(work()), options)


def _backfill(options: Options) -> int:
    """Attest finished runs that have no mark, without a controller."""
    from chains.controller import operations  # noqa: PLC0415 - its packages are an extra, --help needs none
    from chains.controller.ledger.begin import ledger_of_backfill  # noqa: PLC0415
    from chains.controller.metrics import Metrics  # noqa: PLC0415
    from chains.controller.reconcile import Controller, HowToWork, SharedParts  # noqa: PLC0415
    from chains.controller.reload import Reloader  # noqa: PLC0415
    from chains.controller.work.worklist import WorkList  # noqa: PLC0415

    since, namespaces = _since(options.since), split_names(options.namespace)

    async def work() -> list[Done]:
        async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
            if options.dry_run:
                return [done async for done in operations.would_backfill(cluster, namespaces, since)]
            reloader = Reloader(cluster, options.system_namespace, Path(options.signing_secrets))
            await reloader.look()
            # backlog.since skips old runs in the controller; this command exists to attest them
            flow = reloader.flow.without_cut_off()
            how = HowToWork(waits_for_children=False, tekton_namespace=options.tekton_namespace)
            try:
                async with ledger_of_backfill(flow, *operations.share()) as ledger:
                    shared = SharedParts(ledger=ledger)
                    attesting = Controller(cluster, WorkList(), lambda: flow, Metrics(), how, shared)
                    return [done async for done in operations.backfill(cluster, attesting, namespaces, since)]
            finally:
                await flow.close()

    return _tell(carry_out(work()), options)


def _tell(found: Sequence[Done], options: Options) -> int:
    if options.output == "json":
        write_json([{"run": done.run, "state": done.state} for done in found])
    else:
        if found:
            write_table(("RUN", "STATE"), [(done.run, done.state) for done in found])
        nothing = "; a dry run: nothing was written" if options.dry_run else ""
        write_line(f"{count(len(found), 'run')}{nothing}")
    return int(any(done.is_open for done in found))


def _since(text: str) -> datetime | None:
    try:
        return parse_since(text, datetime.now(UTC)) if text else None
    except ValueError:
        raise UsageError(
            f"--since {text!r}: expected a time such as 2026-01-31T00:00:00Z, or 36h, or 7d"
        ) from None


def split_names(text: str) -> list[str]:
    """Return the names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _workers(options: Options) -> int:
    # the option of Tekton Chains takes precedence
    if options.threads_per_controller:
        return whole_number(options.threads_per_controller, "--threads-per-controller", 1, _MOST_WORKERS)
    return whole_number(options.workers, "--workers", 1, _MOST_WORKERS) if options.workers else 0


def _rate(text: str, option: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not 0 <= found < float("inf"):
        raise UsageError(f"{option} {text!r}: expected a number that is not negative")
    return found


def whole_number(text: str, option: str, least: int = 0, most: int = _MOST) -> int:
    """Return the number that an option gives. Raises :class:`UsageError` for any other text."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= _DIGITS
    if not is_number or not least <= int(text) <= most:
        raise UsageError(f"{option} {text[:40]!r}: expected a whole number from {least} to {most}")
    return int(text)


def access_options() -> list[Option]:
    """Return the options for access to a cluster."""
    text = "the kubeconfig file (default: $KUBECONFIG, the pod's service account, ~/.kube/config)"
    return [
        Option("--kubeconfig", text, metavar="FILE", type=FILE),
        Option("--context", "the kubeconfig's context (default: its current one)", metavar="NAME"),
    ]


def cluster_options() -> list[Option]:
    """Return the options for access to the cluster and for its namespaces."""
    return [
        *access_options(),
        Option("--namespace", "only runs in these namespaces", short="-n", metavar="A,B"),
    ]


def key_folder_options() -> list[Option]:
    """Return the options for the places of the configuration and the key."""
    return [
        Option(
            "--system-namespace",
            "the namespace of the ConfigMap chains-config",
            twin="SYSTEM_NAMESPACE",
            default="tekton-chains",
            metavar="NAME",
        ),
        Option(
            "--tekton-namespace",
            "the namespace of Tekton and its ConfigMap feature-flags",
            default="tekton-pipelines",
            metavar="NAME",
        ),
        Option(
            "--signing-secrets",
            "the folder where the Secret signing-secrets is mounted",
            default="/etc/signing-secrets",
            metavar="DIR",
            type=FOLDER,
        ),
    ]


def _dry_run() -> Option:
    return Option("--dry-run", "print the affected runs and change nothing", flag=True)


controller = Command(
    "controller",
    _controller,
    [
        *cluster_options(),
        *key_folder_options(),
        Option(
            "--workers",
            "runs to work on at the same time (default: 64, and up to 512 while registries are far away)",
            metavar="N",
        ),
        Option(
            "--threads-per-controller",
            "the same option under its name in Tekton Chains; it takes precedence",
            metavar="N",
        ),
        Option(
            "--kube-api-qps",
            "requests per second to the API server; 0 means no limit",
            default="0",
            metavar="RATE",
        ),
        Option("--kube-api-burst", "requests that may be sent at once", default="10", metavar="N"),
        Option(
            "--retry-for",
            "how long to retry after a failure that can be temporary",
            default="21600",
            metavar="SECONDS",
        ),
        Option("--health-port", "the port for health checks and metrics", default="8080", metavar="PORT"),
        Option("--replicas", "the number of controllers that share the runs", default="1", metavar="N"),
        Option(
            "--pod-name",
            "the name of this pod; the number at its end is the share that it prefers",
            twin="POD_NAME",
            metavar="NAME",
        ),
        Option(
            "--lease-seconds",
            "after how many seconds another replica takes over the share of a silent one",
            default="15",
            metavar="SECONDS",
        ),
        Option(
            "--state-folder",
            "the folder that records the runs in work, to find the cause of a crash (default: a folder in "
            "the temporary folder)",
            metavar="DIR",
            type=FOLDER,
        ),
    ],
)
resign = Command(
    "resign",
    _resign,
    [
        Argument("runs", "a TaskRun or PipelineRun", "NAMESPACE/NAME", many="+"),
        *access_options(),
        _dry_run(),
        output(),
    ],
)
backfill = Command(
    "backfill",
    _backfill,
    [
        *cluster_options(),
        *key_folder_options(),
        Option("--since", "only runs that ended after this time, or within this age", metavar="TIME|36h|7d"),
        _dry_run(),
        output(),
    ],
)
finalizers = Group(
    "finalizers",
    [
        Command(
            "release",
            _release,
            [*cluster_options(), _dry_run(), output()],
            text="remove the finalizers from every run, when the controller is uninstalled",
        )
    ],
)
