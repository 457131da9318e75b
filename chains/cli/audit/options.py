"""The options of an audit: where runs are known from, where evidence is, and who is trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from chains.assembly.stores import open_url, store_options
from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.assembly.workspace import LAYOUT, PUBLIC_KEY, Settings, own_layout
from chains.audit.compare import Period
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.state import LedgerState
from chains.audit.population.audit_log import read_audit_log
from chains.audit.population.cluster import read_cluster
from chains.audit.population.counters import Counters, fetch_counters, parse_counters
from chains.audit.population.exports import read_exports
from chains.audit.population.known import Population
from chains.audit.population.ledger import add_ledger
from chains.audit.population.tekton_results import read_results_api, read_results_files
from chains.audit.registry_images import RegistryImages, list_images, place_of
from chains.audit.retention.dispositions import Dispositions
from chains.cli.arguments import FILE, Option, Options, config, store
from chains.cli.cluster import cluster_options, split_names
from chains.cli.policies.decide import load_policy
from chains.cli.revocations import revocation_options, revocations_of
from chains.cli.trust import OPTIONS, Trusted, named_signers, trust_own_key
from chains.cli.verify import signer_options
from chains.cluster.access import Access
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.config.selection import parse_since
from chains.documents.load import read_bytes
from chains.errors import InputError, UsageError
from chains.policy.loaded import Policy
from chains.preflight.inventory import Inventory, from_cluster, from_files
from chains.terminal import say
from chains.verify.criteria import Criteria, Missing, MissingError
from chains.verify.verifier import Verifier
from signers.keys.keyset import ListedKey
from storage.base import Store

_TWIN = "CHAINS_AUDIT_"
_LARGEST_PAGE = 64 * 1024 * 1024
_URLS = ("http://", "https://")


def source_options() -> list[Option]:
    """Return the options that name the sources of runs and the period."""
    return [
        _many("--runs", "exported runs: files or folders, or - for standard input", "FILE"),
        Option("--cluster", "the runs that are in the cluster now", twin=f"{_TWIN}CLUSTER", flag=True),
        _many("--audit-log", "audit log of the API server: files, gzip too, or folders", "FILE"),
        _many("--tekton-results", "Tekton Results: the URL of its API, or exported records", "URL|FILE"),
        Option(
            "--tekton-results-token-file",
            "the file with the token for the API of Tekton Results",
            metavar="FILE",
            type=FILE,
        ),
        Option("--tekton-results-ca-file", "a CA that is trusted for that API", metavar="FILE", type=FILE),
        _many("--ledger", "the controller's ledger", "FOLDER"),
        Option(
            "--ledger-key",
            "a public key that may sign days of the ledger; may be repeated",
            repeatable=True,
            metavar="PUB",
            type=FILE,
        ),
        _many("--counters", "metrics of Tekton's controller, as a cross-check", "URL|FILE"),
        *cluster_options(),
        _time("--from", "only runs that ended from this time on"),
        _time("--to", "only runs that ended before this time"),
    ]


def image_options() -> list[Option]:
    """Return the options that name images in use."""
    return [
        _many("--images", "manifests: is every image in them made by a known run", "FILE"),
        Option(
            "--running",
            "the same for the images that pods of the cluster run",
            twin=f"{_TWIN}RUNNING",
            flag=True,
        ),
    ]


async def read_images(options: Options, problems: list[str]) -> dict[str, list[str]]:
    """Return the images that the options name, each with the places that use it.

    What cannot be read is added to ``problems``.
    """
    inventory = Inventory()
    if options.images:
        from_files(options.images, inventory)
    if options.running:
        async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
            await from_cluster(cluster, split_names(options.namespace), inventory)
    problems += inventory.problems
    found: dict[str, list[str]] = {}
    for use in inventory.uses:
        found.setdefault(use.image, []).append(use.name)
    return {image: list(dict.fromkeys(places)) for image, places in found.items()}


def repository_option() -> Option:
    """Return the option that names repositories and registries."""
    return _many(
        "--repository",
        "is every image that a tag of this repository, or of any in this registry, names made by a known run",
        "REGISTRY[/REPOSITORY]",
    )


async def read_repositories(options: Options, settings: Settings) -> RegistryImages:
    """Return the images of the repositories and registries that the options name."""
    places = [place_of(text) for text in options.repository]
    return await list_images(places, store_options(settings.config)) if places else RegistryImages()


def evidence_options() -> list[Option]:
    """Return the options that name the stores, and who is trusted."""
    return [
        store("look for evidence here (default, for run files in this folder alone: .chains/layout)"),
        *signer_options(),
        Option("--builder-id", "require this builder", default=None, metavar="URI"),
        Option("--build-type", "require this build type", default=None, metavar="URI"),
        *revocation_options(),
        config("the chains-config: what it leaves out is skipped by policy; and its registry settings"),
    ]


def disposition_option() -> Option:
    """Return the option that names who may sign disposition records."""
    return Option(
        "--disposition-key",
        "a public key that may sign disposition records, and no evidence; may be repeated",
        metavar="PUB",
        repeatable=True,
        type=FILE,
    )


def dispositions_of(options: Options, asked: Asked, now: datetime, *own: ListedKey) -> Dispositions:
    """Return what finds disposition records in the stores; ``own`` are further keys that may sign them."""
    keys = open_listed_keys(options.disposition_key) if options.disposition_key else []
    criteria = asked.verifier.criteria
    run_keys = {key.keyid for key in criteria.keys}
    return Dispositions(
        asked.stores, [*keys, *own], now, criteria.trusted_root, run_keys, asked.verifier.revocations
    )


def policy_option() -> Option:
    """Return the option that names policies."""
    text = "policies that the images of the runs must pass, too: a file or a folder"
    return Option("--policy", text, twin=f"{_TWIN}POLICY", metavar="FILE", type=FILE)


def policy_of(options: Options, settings: Settings) -> Policy | None:
    """Return the open policies that the options name, None without. Raises :class:`UsageError`."""
    if options.policy and not Path(options.policy).exists():
        raise UsageError(f"--policy: {options.policy}: no such file or folder; check the path")
    return load_policy(options.policy, settings, options) if options.policy else None


def _many(name: str, text: str, metavar: str) -> Option:
    twin = _TWIN + name.lstrip("-").replace("-", "_").upper()
    return Option(name, f"{text}; may be repeated", twin=twin, metavar=metavar, repeatable=True, type=FILE)


def _time(name: str, text: str) -> Option:
    return Option(name, text, twin=_TWIN + name.lstrip("-").upper(), metavar="TIME|36h|7d")


def period_of(options: Options, now: datetime) -> Period:
    """Return the period that the options name. Raises :class:`UsageError`."""
    since, until = (_moment(getattr(options, name), f"--{name}", now) for name in ("from", "to"))
    if since and until and since >= until:
        raise UsageError("--from is not before --to: no time is between them")
    return Period(since, until)


def _moment(text: str, option: str, now: datetime) -> datetime | None:
    try:
        return parse_since(text, now).astimezone(UTC) if text else None
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{option}: {text!r} is no time: write 2026-01-02T03:04:05Z, 36h or 7d") from error


async def read_sources(options: Options, population: Population, now: datetime) -> list[LedgerState]:
    """Read every source that the options name into the population, and return what the ledgers say.

    Raises :class:`UsageError` for none.
    """
    named = ("runs", "cluster", "ledger", "audit_log", "tekton_results")
    if not any(getattr(options, name) for name in named):
        raise UsageError(
            "no source of runs: pass --runs FILE, --cluster, --ledger FOLDER, --audit-log FILE or "
            "--tekton-results URL|FILE; docs/audit.md says what each can show"
        )
    if "ledger_key" in options.given and not options.ledger:
        raise UsageError("--ledger-key belongs to --ledger FOLDER")
    if options.ledger and not options.ledger_key:
        raise UsageError("--ledger needs --ledger-key PUB: the key that signs the days of the ledger")
    _refuse_missing(options)
    ledgers = _read_ledgers(options, population, now)
    namespaces = split_names(options.namespace)
    if options.runs:
        read_exports(options.runs, population)
    if options.audit_log:
        try:
            read_audit_log(options.audit_log, population)
        except InputError as error:
            raise UsageError(f"--audit-log: {error}") from error
    files = [one for one in options.tekton_results if not one.startswith(_URLS)]
    if files:
        read_results_files(files, population)
    for url in options.tekton_results:
        if url.startswith(_URLS):
            async with Cluster(_results_access(url, options)) as api:
                await read_results_api(api, namespaces, population)
    if options.cluster:
        async with Cluster(find_access(options.kubeconfig, options.context)) as cluster:
            await read_cluster(cluster, namespaces, population)
    return ledgers


def _refuse_missing(options: Options) -> None:
    """Raise :class:`UsageError` for a path that leads to nothing: no source may be empty for a wrong name."""
    for name in ("runs", "audit_log", "tekton_results", "ledger", "images"):
        for path in getattr(options, name, None) or ():
            if path != "-" and not path.startswith(_URLS) and not Path(path).exists():
                raise UsageError(
                    f"--{name.replace('_', '-')}: {path}: no such file or folder; check the path"
                )


def _read_ledgers(options: Options, population: Population, now: datetime) -> list[LedgerState]:
    if not options.ledger:
        return []
    keys = open_listed_keys(options.ledger_key)
    root = None if options.trusted_root is None else open_trusted_root(options.trusted_root)
    states = []
    for folder in options.ledger:
        states.append(read_ledger(Path(folder), keys, now, root))
        add_ledger(states[-1], folder, population, now)
    return states


def _results_access(url: str, options: Options) -> Access:
    authority = ""
    if options.tekton_results_ca_file:
        authority = read_bytes(Path(options.tekton_results_ca_file), _LARGEST_PAGE).decode(errors="replace")
    token = Path(options.tekton_results_token_file) if options.tekton_results_token_file else None
    return Access(url.rstrip("/"), authority, token_file=token)


class CountersAway(InputError):  # noqa: N818 - what is the case
    """The metrics of Tekton's controller do not answer: whether the numbers agree is not decided."""

    exit_code = 4


async def read_counters(options: Options) -> list[Counters]:
    """Read the counters that the options name. Raises :class:`UsageError`."""
    found = []
    for name in options.counters:
        try:
            if name.startswith(_URLS):
                found.append(await fetch_counters(name))
            else:
                text = read_bytes(Path(name), _LARGEST_PAGE).decode(errors="replace")
                found.append(parse_counters(text, name))
        except InputError as error:
            if name.startswith(_URLS):
                raise CountersAway(f"--counters: {error}; try again, or leave the cross-check out") from error
            raise UsageError(f"--counters: {error}") from error
    return found


@dataclass(frozen=True, slots=True)
class Asked:
    """An open verifier with its stores, which the caller closes, and the criteria in words."""

    verifier: Verifier
    stores: Sequence[Store]

    async def close(self) -> None:
        """Close every store."""
        for one in self.stores:
            await one.close()


def open_verifier(options: Options, settings: Settings, now: datetime, *, fsync: bool = False) -> Asked:
    """Open the stores and the criteria that the options name. Raises :class:`UsageError`.

    With ``fsync`` what folders store survives a power failure.
    """
    urls = list(dict.fromkeys(options.store))
    is_own = not urls and _are_own_runs(options) and own_layout()
    if is_own:
        say(f"looking in {LAYOUT}")
        urls = [LAYOUT]
    if not urls:
        raise UsageError("no store to look for evidence in: pass --store URL")
    criteria = _criteria(options, settings, is_own=is_own)
    revocations = revocations_of(options, settings.config)
    found = replace(store_options(settings.config), fsync=fsync)
    stores = [open_url(url, found) for url in urls]
    verifier = Verifier(criteria, stores, clock=lambda: now, revocations=revocations)
    return Asked(verifier, stores)


def _are_own_runs(options: Options) -> bool:
    """Whether every run is from a file of this folder, for which its own key and layout count."""
    others = ("cluster", "ledger", "audit_log", "tekton_results")
    if not getattr(options, "runs", None) or any(getattr(options, name) for name in others):
        return False
    here = Path.cwd().resolve()
    return all(path != "-" and Path(path).resolve().is_relative_to(here) for path in options.runs)


def _criteria(options: Options, settings: Settings, *, is_own: bool) -> Criteria:
    trusted = named_signers(options)
    if not trusted.keys and trusted.certificate is None and is_own and PUBLIC_KEY.is_file():
        trusted = Trusted([trust_own_key()])
    if not trusted.keys and trusted.certificate is None:
        raise UsageError(f"nobody to trust: {OPTIONS[Missing.SIGNER]}")
    listed = open_listed_keys(trusted.keys, settings.config)
    try:
        return Criteria(
            keys=[one.key for one in listed],
            windows={one.key.keyid: one for one in listed if one != ListedKey(one.key)},
            certificate=trusted.certificate,
            trusted_root=None if options.trusted_root is None else open_trusted_root(options.trusted_root),
            require_log=options.require_log,
            require_timestamp=options.require_timestamp,
            builder_id=options.builder_id,
            build_type=options.build_type,
        )
    except MissingError as error:
        raise UsageError(f"{error}: {OPTIONS[error.missing]}") from error
