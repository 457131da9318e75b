"""The command ``preflight``: whether every image that runs or is desired would pass the policies."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from chains import __version__
from chains.assembly.pull_secrets import PullSecrets
from chains.assembly.registry_tags import RegistryTags
from chains.assembly.stores import open_url, store_options
from chains.assembly.workspace import load_settings
from chains.cli.arguments import FILE, Argument, Option, Options, config, store
from chains.cli.cluster import access_options, split_names
from chains.cli.commands import Command
from chains.cli.policies.decide import open_policies
from chains.cli.progress import Progress
from chains.cli.revocations import revocation_options
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.cluster.errors import ClusterError
from chains.columns import table
from chains.errors import UsageError
from chains.loop import carry_out
from chains.preflight.answer import ImageCheck, State
from chains.preflight.check import Places, check_all
from chains.preflight.cluster_reports import Written, write_reports
from chains.preflight.inventory import Inventory, from_cluster, from_files
from chains.preflight.openreports import API_VERSION, NAME, Report, checked_name, reports_of
from chains.preflight.pulls import Pulls
from chains.preflight.report import exit_code, to_json, to_junit, to_sarif
from chains.terminal import say, terminal_width, write_json, write_line, write_text
from chains.text import count
from storage.oci.docker_config import DockerCredentials

_SECRET_SECONDS = 10.0


def _preflight(options: Options) -> int:
    """Ask the policies about every image of manifests or of a cluster, and print what would not pass."""
    _expect_fitting(options)
    report_name = checked_name(options.report_name)
    settings = load_settings(options.config)
    policies = open_policies(options.policy, settings, options)
    inventory = Inventory()
    namespaces = split_names(options.namespace)
    now = datetime.now(UTC)
    from_files(options.manifests, inventory)
    of_files = len(inventory.problems)

    async def run() -> list[ImageCheck]:
        async with AsyncExitStack() as stack:
            return await check(stack)

    async def check(stack: AsyncExitStack) -> list[ImageCheck]:
        if options.cluster:
            try:
                async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
                    await from_cluster(cluster, namespaces, inventory)
            except ClusterError as error:
                inventory.tell(f"the cluster cannot be read whole: {error}")
                inventory.is_cut = True
        progress = Progress(len({use.image for use in inventory.uses}), "images")
        found = store_options(settings.config)
        stores = [open_url(url, found) for url in dict.fromkeys(options.store or ("oci:",))]
        indexes = [*stores, open_url("oci:", found)] if options.platforms else stores
        tags = RegistryTags(found)
        pulls = await _pulls(options, stack, tags)
        try:
            return await check_all(
                inventory,
                Places(policies, stores, tags, indexes, pulls=pulls),
                now=now,
                advance=lambda state: progress.advance(failed=state is State.FAIL),
                keep_evidence=options.output == "json",
            )
        finally:
            progress.close()
            for opened in indexes:
                await opened.close()

    async def write(reports: Sequence[Report]) -> Written:
        async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
            return await write_reports(cluster, reports, report_name, namespaces, dry_run=options.dry_run)

    checks = carry_out(run())
    written = None
    if options.write_reports and inventory.is_cut:
        written = Written(failure="reports are not written: they would lack what the cluster did not say")
    elif options.write_reports:
        unseen = inventory.problems[of_files:]
        written = carry_out(write(reports_of(checks, unseen, report_name, now, namespaces)))
    if written is not None and written.failure:
        inventory.problems.append(written.failure)
        inventory.unwritten = True
    _show(checks, inventory, options, written)
    return exit_code(checks, inventory)


def _expect_fitting(options: Options) -> None:
    """Raise :class:`UsageError` for options that do not belong together."""
    if not options.manifests and not options.cluster:
        raise UsageError("nothing to look at: name manifests, or pass --cluster")
    if options.write_reports and not options.cluster:
        raise UsageError("--write-reports belongs to --cluster: there is no cluster to write into")
    if "dry_run" in options.given and not options.write_reports:
        raise UsageError("--dry-run belongs to --write-reports")
    if options.pull_secrets and not options.cluster:
        raise UsageError("--pull-secrets belongs to --cluster: there are no Secrets to read")


async def _pulls(options: Options, stack: AsyncExitStack, tags: RegistryTags) -> Pulls | None:
    """Return what finds the credentials of pods, None if they are not to be used."""
    if not options.pull_secrets:
        return None
    reading = Cluster(find_access(options.kubeconfig, options.context), timeout=_SECRET_SECONDS)
    secrets = PullSecrets(await stack.enter_async_context(reading), DockerCredentials())
    return Pulls(secrets, tags.with_keychain)


def _show(checks: list[ImageCheck], inventory: Inventory, options: Options, written: Written | None) -> None:
    if written is not None and not written.failure:
        say(f"{API_VERSION}: {written}")
        for label in written.skipped:
            say(f"{label}: its namespace is gone or going, so nothing was written")
    match options.output:
        case "json":
            write_json(to_json(checks, inventory, written), indent=True)
        case "junit":
            write_text(to_junit(checks, inventory))
        case "sarif":
            write_json(to_sarif(checks, inventory, __version__), indent=True)
        case _:
            _show_table(checks, inventory, verbose=options.verbose)


def _show_table(checks: list[ImageCheck], inventory: Inventory, *, verbose: bool) -> None:
    shown = [check for check in checks if verbose or check.state is not State.PASS]
    if shown:
        rows = [
            (
                check.state.value.upper(),
                check.image,
                check.uses[0].namespace,
                check.uses[0].name + (f" and {len(check.uses) - 1} more" if check.uses[1:] else ""),
                f"{check.reason}: {check.told}" if check.reason else check.told,
            )
            for check in shown
        ]
        write_text(table(("STATE", "IMAGE", "NAMESPACE", "USED BY", "WHY"), rows, terminal_width()))
        write_line("")
    for problem in inventory.problems:
        say(f"warning: {problem}")
    states = [check.state for check in checks]
    told = ", ".join(f"{states.count(state)} {state.value}" for state in State)
    write_line(f"{count(len(checks), 'image')} of {count(len(inventory.uses), 'use')}: {told}")


_FORMS = ("text", "json", "junit", "sarif")

preflight = Command(
    "preflight",
    _preflight,
    [
        Argument("policy", "a policy file, or a folder of policy files", "POLICY", type=FILE),
        Argument(
            "manifests", "manifest files, folders, or - for standard input", "FILE", many="*", type=FILE
        ),
        Option("--cluster", "look at the objects of a cluster, too", flag=True),
        *access_options(),
        Option(
            "--pull-secrets",
            "look with the pull secrets of workloads, too, where your own credentials show nothing",
            flag=True,
        ),
        Option("--namespace", "of the cluster these namespaces alone", short="-n", metavar="A,B"),
        Option(
            "--write-reports", "write openreports.io reports into the cluster, for each namespace", flag=True
        ),
        Option("--report-name", "the name of these reports", default=NAME, metavar="NAME"),
        Option("--dry-run", "let the cluster check the reports, and write none", flag=True),
        store("look for evidence here (default: an image's registry)"),
        *revocation_options(),
        config("a chains-config, for its registry settings"),
        Option("--platforms", "ask registries for the platforms of indexes, where no store knows", flag=True),
        Option("--verbose", "show images that pass, too", flag=True),
        Option(
            "--output",
            "text, json, junit or sarif",
            default="text",
            choices=_FORMS,
        ),
    ],
)
