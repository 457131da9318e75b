"""The command ``admission``: a webhook that lets only images run whose evidence passes the policies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from chains.assembly.workspace import load_settings
from chains.cli.arguments import FILE, FOLDER, Argument, Option, Options, config, store
from chains.cli.cluster import access_options, whole_number
from chains.cli.commands import Command
from chains.cli.revocations import revocation_options, revocations_of
from chains.cluster.access import Access
from chains.cluster.discovery import find_access
from chains.config.key import read_duration
from chains.config.parse import Config
from chains.errors import UsageError
from chains.policy.document.policy import Policy
from chains.policy.opened import OpenedPolicy, Opener, open_policy
from chains.policy.verdict import Decision
from chains.revocation.revocations import Revocations

if TYPE_CHECKING:
    from chains.recheck.rounds import RecheckOptions

_HIGHEST_PORT = 65_535
_LONGEST_INTERVAL = 30 * 86_400.0
_MOST_SECONDS = 600
_MOST_PROCESSES = 64


def _admission(options: Options) -> int:
    """Answer the API server which images may run, until the process is stopped."""
    from chains.admission.images import kinds_with  # noqa: PLC0415
    from chains.admission.process import AdmissionOptions, run  # noqa: PLC0415 - its packages are an extra
    from chains.controller.log_lines import log_as_json  # noqa: PLC0415

    if options.pull_secrets and options.no_cluster:
        raise UsageError("--pull-secrets reads the Secrets of a cluster: leave --no-cluster out")
    settings = load_settings(options.config)
    recheck = _recheck(options)
    given = AdmissionOptions(
        policies=Path(options.policy),
        config=settings.config,
        stores=tuple(options.store),
        certificate=Path(options.certificates),
        client_ca=Path(options.client_ca) if options.client_ca else None,
        host=options.host,
        port=whole_number(options.port, "--port", 1, _HIGHEST_PORT),
        health_port=whole_number(options.health_port, "--health-port", 1, _HIGHEST_PORT),
        kinds=kinds_with(options.workload),
        unmatched=Decision(options.unmatched),
        access=_access(options),
        opener=_opener(options, settings.config),
        lists=[Path(options.revocations)] if options.revocations else (),
        linger=whole_number(options.linger_seconds, "--linger-seconds", 0, _MOST_SECONDS),
        processes=whole_number(options.processes, "--processes", 1, _MOST_PROCESSES),
        recheck=recheck,
        pull_secrets=options.pull_secrets,
        pod=_pod(options),
    )
    log_as_json()
    return run(given)


def _opener(options: Options, config: Config) -> Opener:
    """Return what opens a policy, each time with the newest revocation list of the options.

    Raises :class:`UsageError` for half of these options, and for keys that cannot be read.
    """
    revocations_of(options, config)

    def opened(policy: Policy) -> OpenedPolicy:
        newest = revocations_of(options, config)
        return open_policy(
            policy, config, revocations=newest or Revocations(), state=options.revocations_state
        )

    return opened


def _access(options: Options) -> Access | None:
    """Return the access to the cluster, None with ``--no-cluster``."""
    if not options.no_cluster:
        return find_access(options.kubeconfig, options.context)
    if "kubeconfig" in options.given or "context" in options.given:
        raise UsageError("--no-cluster and a kubeconfig: pass one of them")
    return None


def _pod(options: Options) -> dict[str, str] | None:
    """Return the server's own pod as an Event refers to it, None if not all of it is given."""
    found = {"name": options.pod_name, "namespace": options.pod_namespace, "uid": options.pod_uid}
    return {"apiVersion": "v1", "kind": "Pod", **found} if all(found.values()) else None


def _recheck(options: Options) -> RecheckOptions | None:
    """Return how what runs is verified again, None if it is not. Raises :class:`UsageError`."""
    from chains.recheck.rounds import RecheckOptions  # noqa: PLC0415 - its packages are an extra

    try:
        interval = read_duration(options.recheck)
    except ValueError:
        interval = -1.0
    if interval < 0 or interval > _LONGEST_INTERVAL:
        raise UsageError(
            f"--recheck {options.recheck[:40]!r}: expected 0 or a time up to 30d, such as 90s, 30m or 1h"
        )
    if not interval:
        if options.recheck_reports:
            raise UsageError("--recheck-reports belongs to --recheck: there is nothing to report")
        return None
    if options.no_cluster:
        raise UsageError("--recheck reads the pods of a cluster: leave --no-cluster out")
    return RecheckOptions(interval, options.recheck_namespace, options.recheck_reports)


admission = Command(
    "admission",
    _admission,
    [
        Argument("policy", "a policy file, or a folder of policy files", "POLICY", type=FILE),
        Option(
            "--certificates",
            "the folder with the server's certificate tls.crt and its key tls.key",
            default="/etc/chains-admission/tls",
            metavar="DIR",
            type=FOLDER,
        ),
        Option(
            "--client-ca",
            "CAs of client certificates: clients have to present one",
            metavar="FILE",
            type=FILE,
        ),
        Option("--host", "the address to listen on (default: all)", metavar="ADDRESS", default="0.0.0.0"),  # noqa: S104
        Option("--port", "the port of the webhook", default="8443", metavar="PORT"),
        Option("--health-port", "the port for health checks and metrics", default="8080", metavar="PORT"),
        Option(
            "--unmatched",
            "what happens at most to an image that none of its namespace's policies is for",
            default="deny",
            choices=["deny", "warn", "allow"],
        ),
        Option(
            "--workload",
            "a further kind that has a pod template, and the path to it: GROUP/KIND=PATH; may be repeated",
            repeatable=True,
            metavar="GROUP/KIND=PATH",
        ),
        Option("--processes", "the number of processes that answer on the port", default="1", metavar="N"),
        Option(
            "--linger-seconds",
            "for how long requests are still taken after the signal to end",
            default="5",
            metavar="SECONDS",
        ),
        Option(
            "--no-cluster", "read no namespaces: policies that choose by labels count everywhere", flag=True
        ),
        *access_options(),
        Option(
            "--pull-secrets",
            "look with the pull secrets of pods where the server's own credentials show nothing",
            flag=True,
        ),
        Option(
            "--recheck",
            "verify what runs again, at this interval: 30m, 1h (default: never)",
            default="0",
            metavar="TIME",
        ),
        Option("--recheck-reports", "write openreports.io reports about what runs, too", flag=True),
        Option(
            "--recheck-namespace",
            "the namespace of the Lease by which one process of all does so",
            default="chains-admission",
            metavar="NAME",
        ),
        Option(
            "--pod-name",
            "the name of this pod; an Event about it tells that new policies are refused",
            twin="POD_NAME",
            metavar="NAME",
        ),
        Option("--pod-namespace", "the namespace of this pod", twin="POD_NAMESPACE", metavar="NAME"),
        Option("--pod-uid", "the uid of this pod", twin="POD_UID", metavar="UID"),
        store("look for evidence here (default: an image's registry)"),
        *revocation_options(),
        config("a chains-config, for its registry settings"),
    ],
)
