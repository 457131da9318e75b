"""The command ``admission-certificates``: the webhook's certificates where there is no cert-manager."""

from __future__ import annotations

from chains.cli.arguments import OK, Option, Options
from chains.cli.cluster import access_options, whole_number
from chains.cli.commands import Command
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.loop import carry_out
from chains.terminal import say, write_line

_MOST_DAYS, _MOST_SECONDS = 3000, 3600


def _certificates(options: Options) -> int:
    """Make or renew the certificates of the admission webhook, and let its configurations trust them."""
    from chains.admission.renew import Wanted, renew  # noqa: PLC0415 - --help needs none of it

    wanted = Wanted(
        namespace=options.namespace,
        service=options.service,
        secret=options.secret,
        authority_secret=options.authority_secret,
        configuration=options.configuration,
        days=whole_number(options.days, "--days", 1, _MOST_DAYS),
        pause=whole_number(options.pause_seconds, "--pause-seconds", 0, _MOST_SECONDS),
    )

    async def work() -> bool:
        async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
            return await renew(cluster, wanted, say)

    write_line("certificates were written" if carry_out(work()) else "nothing to do")
    return OK


admission_certificates = Command(
    "admission-certificates",
    _certificates,
    [
        *access_options(),
        Option(
            "--namespace",
            "the namespace of the server",
            default="chains-admission",
            short="-n",
            metavar="NAME",
        ),
        Option("--service", "the Service of the server", default="chains-admission", metavar="NAME"),
        Option(
            "--secret", "the Secret that the servers mount", default="chains-admission-tls", metavar="NAME"
        ),
        Option(
            "--authority-secret",
            "the Secret with the CA and its key, which nothing mounts",
            default="chains-admission-ca",
            metavar="NAME",
        ),
        Option(
            "--configuration",
            "the name of the validating and the mutating configuration",
            default="chains-admission",
            metavar="NAME",
        ),
        Option(
            "--days",
            "for how long a certificate is valid; it is renewed when a third is left",
            default="365",
            metavar="N",
        ),
        Option(
            "--pause-seconds",
            "for how long a new CA is trusted before it is used",
            default="60",
            metavar="SECONDS",
        ),
    ],
)
