"""The sub-commands that work in a cluster: the controller and what an operator does by hand."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chains.cli.arguments import Parser, add_output
from chains.columns import table
from chains.errors import UsageError
from chains.loop import carry_out
from chains.terminal import terminal_width, write_json, write_line, write_text
from chains.text import count
from chains.tracing import run_traced

if TYPE_CHECKING:
    from chains.controller.operations import Done

_MOST, _DIGITS = 10**9, 10
_MOST_WORKERS = 4096
_HIGHEST_PORT = 65_535


def _controller(options: argparse.Namespace) -> int:
    """Watch a cluster and attest every finished run."""
    from chains.controller.log_lines import log_as_json  # noqa: PLC0415 - keeps --help fast
    from chains.controller.process import ControllerOptions, serve  # noqa: PLC0415 - kopf takes a second

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
                burst=_number(options.kube_api_burst, "--kube-api-burst", 1),
                retry_for=_number(options.retry_for, "--retry-for"),
                health_port=_number(options.health_port, "--health-port", 1, _HIGHEST_PORT),
                tekton_namespace=options.tekton_namespace,
                replicas=_number(options.replicas, "--replicas"),
                pod_name=options.pod_name,
                lease_seconds=_number(options.lease_seconds, "--lease-seconds"),
                state_folder=Path(options.state_folder) if options.state_folder else None,
            )
        )
    )


def _resign(options: argparse.Namespace) -> int:
    """Take the marks off runs, so that the controller attests them again."""
    from chains.cluster.client import Cluster  # noqa: PLC0415 - keeps --help fast
    from chains.cluster.discovery import find_access  # noqa: PLC0415 - keeps --help fast
    from chains.controller.operations import resign  # noqa: PLC0415 - keeps --help fast

    async def work() -> list[Done]:
        async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
            return [
                done for name in options.runs for done in await resign(cluster, name, dry_run=options.dry_run)
            ]

    return _tell(carry_out(work()), options)


def _release(options: argparse.Namespace) -> int:
    """Take our finalizers off every run."""
    from chains.cluster.client import Cluster  # noqa: PLC0415 - keeps --help fast
    from chains.cluster.discovery import find_access  # noqa: PLC0415 - keeps --help fast
    from chains.controller.operations import release_finalizers  # noqa: PLC0415 - keeps --help fast

    async def work() -> list[Done]:
        async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
            return await release_finalizers(cluster, split_names(options.namespace), dry_run=options.dry_run)

    return _tell(carry_out(work()), options)


def _backfill(options: argparse.Namespace) -> int:
    """Attest finished runs that are not marked, without a controller."""
    from chains.cluster.client import Cluster  # noqa: PLC0415 - keeps --help fast
    from chains.cluster.discovery import find_access  # noqa: PLC0415 - keeps --help fast
    from chains.controller.metrics import Metrics  # noqa: PLC0415 - keeps --help fast
    from chains.controller.operations import backfill, would_backfill  # noqa: PLC0415 - keeps --help fast
    from chains.controller.reconcile import Controller  # noqa: PLC0415 - keeps --help fast
    from chains.controller.reload import Reloader  # noqa: PLC0415 - keeps --help fast
    from chains.controller.work.worklist import WorkList  # noqa: PLC0415 - keeps --help fast

    since, namespaces = _since(options.since), split_names(options.namespace)

    async def work() -> list[Done]:
        async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
            if options.dry_run:
                return [done async for done in would_backfill(cluster, namespaces, since)]
            reloader = Reloader(cluster, options.system_namespace, Path(options.signing_secrets))
            await reloader.look()
            # what the cut-off put off is just what this command is for
            config = reloader.flow.config
            selection = replace(config.selection, since="")
            flow = replace(reloader.flow, config=replace(config, selection=selection))
            controller = Controller(
                cluster,
                WorkList(),
                lambda: flow,
                Metrics(),
                waits_for_children=False,
                tekton_namespace=options.tekton_namespace,
            )
            try:
                return [done async for done in backfill(cluster, controller, namespaces, since)]
            finally:
                await flow.close()

    return _tell(carry_out(work()), options)


def _tell(found: Sequence[Done], options: argparse.Namespace) -> int:
    if options.output == "json":
        write_json([{"run": done.run, "state": done.state} for done in found])
    else:
        if found:
            write_text(table(("RUN", "STATE"), [(done.run, done.state) for done in found], terminal_width()))
        nothing = "; a dry run: nothing was written" if options.dry_run else ""
        write_line(f"{count(len(found), 'run')}{nothing}")
    return int(any(done.is_open for done in found))


def _since(text: str) -> datetime | None:
    from chains.config.selection import parse_since  # noqa: PLC0415 - keeps --help fast

    try:
        return parse_since(text, datetime.now(UTC)) if text else None
    except ValueError:
        raise UsageError(
            f"--since {text!r}: expected a time such as 2026-01-31T00:00:00Z, or 36h, or 7d"
        ) from None


def split_names(text: str) -> list[str]:
    """Return the names of a list with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _workers(options: argparse.Namespace) -> int:
    # the spelling of Tekton Chains wins where it is given
    if options.threads_per_controller:
        return _number(options.threads_per_controller, "--threads-per-controller", 1, _MOST_WORKERS)
    return _number(options.workers, "--workers", 1, _MOST_WORKERS) if options.workers else 0


def _rate(text: str, option: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1
    if not 0 <= found < float("inf"):
        raise UsageError(f"{option} {text!r}: expected a number that is not negative")
    return found


def _number(text: str, option: str, least: int = 0, most: int = _MOST) -> int:
    is_number = text.isascii() and text.isdecimal() and len(text) <= _DIGITS
    if not is_number or not least <= int(text) <= most:
        raise UsageError(f"{option} {text[:40]!r}: expected a whole number from {least} to {most}")
    return int(text)


def add_cluster_commands(commands: Any) -> None:
    """Add the sub-commands of this module to a parser's."""
    controller = commands.add_parser("controller", help="watch a cluster and attest every finished run")
    common_options(controller)
    key_folder_option(controller)
    controller.option(
        "--workers",
        "runs in work at once (default: 64, and up to 512 while registries are far away)",
        metavar="N",
    )
    controller.option(
        "--threads-per-controller", "the same, as Tekton Chains calls it; wins where it is given", metavar="N"
    )
    controller.option(
        "--kube-api-qps", "requests to the API server in a second; 0: no limit", default="0", metavar="RATE"
    )
    controller.option("--kube-api-burst", "so many of them at once", default="10", metavar="N")
    controller.option("--retry-for", "how long to retry what may pass", default="21600", metavar="SECONDS")
    controller.option("--health-port", "where health and metrics answer", default="8080", metavar="PORT")
    controller.option("--replicas", "how many of them share the runs", default="1", metavar="N")
    controller.option(
        "--pod-name", "which of them it is, by the number at the end", twin="POD_NAME", metavar="NAME"
    )
    controller.option(
        "--lease-seconds", "when a silent replica's share goes to another", default="15", metavar="SECONDS"
    )
    controller.option(
        "--state-folder",
        "where it notes what is in work, to know after a crash (default: one below the temporary folder)",
        metavar="DIR",
    )
    controller.set_defaults(command=_controller)

    resign = commands.add_parser("resign", help="take the marks off runs, to have them attested again")
    resign.add_argument("runs", metavar="NAMESPACE/NAME", nargs="+", help="a TaskRun or PipelineRun")
    _access_options(resign)
    _add_dry_run(resign)
    add_output(resign)
    resign.set_defaults(command=_resign)

    backfill = commands.add_parser(
        "backfill", help="attest finished runs that are not marked, without a controller"
    )
    common_options(backfill)
    key_folder_option(backfill)
    backfill.option(
        "--since", "only runs that ended after this time or within this age", metavar="TIME|36h|7d"
    )
    _add_dry_run(backfill)
    add_output(backfill)
    backfill.set_defaults(command=_backfill)

    finalizers = commands.add_parser("finalizers", help="work with the controller's finalizers")
    kinds = finalizers.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    release = kinds.add_parser("release", help="take them off every run, for the day the controller goes")
    common_options(release)
    _add_dry_run(release)
    add_output(release)
    release.set_defaults(command=_release)


def _add_dry_run(parser: Parser) -> None:
    parser.option("--dry-run", "say which runs it is about, and write nothing", action="store_true")


def common_options(parser: Parser) -> None:
    """Add how to reach the cluster, and where in it."""
    _access_options(parser)
    parser.option("--namespace", "only these namespaces", short="-n", metavar="A,B")


def _access_options(parser: Parser) -> None:
    text = "how to reach the cluster (default: $KUBECONFIG, the pod's service account, ~/.kube/config)"
    parser.option("--kubeconfig", text, metavar="FILE")
    parser.option("--context", "the kubeconfig's context (default: its current one)", metavar="NAME")


def key_folder_option(parser: Parser) -> None:
    """Add where the configuration and the key are."""
    twin, name = "SYSTEM_NAMESPACE", "tekton-chains"
    parser.option("--system-namespace", "where chains-config is", twin=twin, default=name, metavar="NAME")
    pipelines = "tekton-pipelines"
    parser.option(
        "--tekton-namespace", "where Tekton and its feature-flags are", default=pipelines, metavar="NAME"
    )
    folder = "/etc/signing-secrets"
    parser.option(
        "--signing-secrets", "where the Secret of that name is mounted", default=folder, metavar="DIR"
    )
