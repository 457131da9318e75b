"""The command ``doctor``: try what the controller needs, and say what is wrong and what to do next."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

from chains.cli.arguments import FILE, Option, Options, config, output
from chains.cli.cluster import cluster_options, key_folder_options, split_names
from chains.cli.commands import Command
from chains.cli.tables import write_table
from chains.cluster.access import Access
from chains.cluster.client import Cluster
from chains.cluster.discovery import SERVICE_ACCOUNT, find_access
from chains.cluster.errors import ClusterError
from chains.config.parse import load_config_file
from chains.doctor.cluster import (
    check_admission,
    check_clock,
    check_rights,
    check_tekton,
    read_config,
)
from chains.doctor.hold import check_hold
from chains.doctor.ledger import check_ledger
from chains.doctor.local import check_config, check_key, check_services, check_stores
from chains.doctor.packages import check_packages
from chains.doctor.process import check_names, check_process
from chains.doctor.report import HEADER, DoctorCheck, exit_code, rows_of, summary_of, to_json
from chains.doctor.webhook import check_webhook
from chains.errors import UsageError
from chains.loop import carry_out
from chains.terminal import write_json, write_text

_EPILOG = """exit codes: 0 no check failed (warnings and skipped checks do not count), 1 a check failed,
2 usage"""


def _doctor(options: Options) -> int:
    """Run all checks and print the report."""
    checks = carry_out(_examine(options))
    if options.output == "json":
        write_json(to_json(checks), indent=True)
    else:
        write_table(HEADER, rows_of(checks))
        write_text(f"\n{summary_of(checks)}")
    return exit_code(checks)


async def _examine(options: Options) -> list[DoctorCheck]:
    access = _access(options)
    data = load_config_file(Path(options.config)) if options.config else None
    found: list[DoctorCheck] = []
    if access is None:
        found.append(DoctorCheck("cluster", "skipped", "no --kubeconfig, and not in a pod"))
    else:
        data, found = await _ask_cluster(access, options, data)
    found.append(check_packages())
    parsed = None
    if data is not None:
        parsed, told = check_config(data)
        found += told
    found += check_process(parsed, in_pod=access is not None and not options.kubeconfig)
    registries = [f"https://{image}" for image in options.image or []]
    found.append(await check_names(data or {}, [*registries, access.server if access else ""]))
    found += await check_key(Path(options.signing_secrets), options.key, parsed)
    if parsed is None:
        found += [DoctorCheck(name, "skipped", "needs a configuration") for name in ("stores", "log")]
        return found
    found += await check_stores(parsed, options.image or [])
    found += await check_services(parsed)
    found += check_ledger(parsed, datetime.now(UTC), in_pod=access is not None and not options.kubeconfig)
    return found


def _access(options: Options) -> Access | None:
    named = options.kubeconfig or options.context or os.environ.get("KUBECONFIG", "").strip()
    if named or (SERVICE_ACCOUNT / "token").is_file():
        return find_access(options.kubeconfig, options.context)
    if not options.config:
        raise UsageError("nothing to examine: pass --kubeconfig FILE, --config FILE or both")
    return None


async def _ask_cluster(
    access: Access, options: Options, data: dict[str, str] | None
) -> tuple[dict[str, str] | None, list[DoctorCheck]]:
    found: list[DoctorCheck] = []
    try:
        async with Cluster(access, timeout=15) as cluster:
            clock = await check_clock(cluster)
            found = [DoctorCheck("cluster", "ok", "the API server answers"), clock]
            if data is None:
                data, told = await read_config(cluster, options.system_namespace)
                found.append(told)
            namespaces = split_names(options.namespace)
            found += await check_rights(cluster, namespaces, options.system_namespace)
            found += await check_tekton(cluster, options.tekton_namespace)
            found.append(await check_admission(cluster))
            found.append(await check_hold(cluster, namespaces))
            found.append(await check_webhook(cluster))
    except (ClusterError, ssl.SSLError) as error:
        step = "check the server's address, the token or certificate, and the way there"
        # the results so far stay; this failure replaces the check of the connection
        rest = [check for check in found if check.name != "cluster"]
        return data, [DoctorCheck("cluster", "failed", str(error), step), *rest]
    return data, found


doctor = Command(
    "doctor",
    _doctor,
    [
        *cluster_options(),
        *key_folder_options(),
        config("a chains-config to examine instead of the cluster's"),
        Option("--key", "a key to examine instead of the mounted one", metavar="REF", type=FILE),
        Option(
            "--image",
            "a repository to test pushing to; may be repeated",
            repeatable=True,
            metavar="REGISTRY/REPOSITORY",
        ),
        output(),
    ],
    epilog=_EPILOG,
)
