"""What ``inspect`` and ``diff`` have in common: the options of ``verify``, and a page for each target."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from chains.assembly.registry_tags import RegistryTags
from chains.assembly.stores import open_url, store_options
from chains.assembly.workspace import LAYOUT, Settings, own_layout
from chains.cli.arguments import Option, Options, namespace_options, output
from chains.cli.revocations import revocations_of
from chains.cli.trust import OPTIONS, names_somebody, where_to_look, whom_to_trust
from chains.cli.verify import criteria_of, question_options, read_blob
from chains.errors import UsageError
from chains.inspection.contents import Inspector
from chains.inspection.named_run import RunName, parse_run_name
from chains.inspection.page import Page, page_of
from chains.terminal import say
from chains.verify.criteria import Criteria, MissingError
from chains.verify.targets import ParsedTarget, parse_target
from storage.record import Origin

_DEMANDS = (
    "require_log", "require_timestamp", "trusted_root", "predicate_type", "builder_id", "build_type",
    "require", "namespace", "task_ref", "pipeline_ref", "source", "revocations",
)  # fmt: skip


def evidence_options() -> list[Option]:
    """Return the options that say who is trusted, what is demanded and where evidence is."""
    return [
        *question_options(),
        *namespace_options(),
        Option("--resolve", "take targets as images, and resolve a tag to its digest once", flag=True),
        Option("--run", "the run to show, if a file holds several", metavar="NAMESPACE/NAME"),
        output(),
    ]


async def inspected(
    words: Sequence[str], options: Options, settings: Settings, runs: Sequence[str]
) -> list[Page]:
    """Return a page for each target; ``runs`` picks the run of each file that holds several.

    Raises :class:`UsageError` for what is no target or contradicts itself.
    """
    if options.policy is not None:
        from chains.cli.index.by_policy import pages_by_policy  # noqa: PLC0415 - policies are needed with --policy alone

        return await pages_by_policy(words, options, settings)
    for name in ("for_namespace", "namespace_label"):
        if name in options.given:
            raise UsageError(f"--{name.replace('_', '-')} belongs to --policy FILE")
    if options.digest == "":
        raise UsageError("--digest is empty: pass sha256: and 64 hex digits, or leave it out")
    if options.digest and options.blob:
        raise UsageError("pass --digest or --blob: the file's digest is computed from it")
    targets = [parse_run_name(word) or parse_target(word, resolve=options.resolve) for word in words]
    try:
        return [
            await _by_criteria(target, run, options, settings)
            for target, run in zip(targets, runs, strict=True)
        ]
    except MissingError as error:
        raise UsageError(f"{error}: {OPTIONS[error.missing]}") from error


async def _by_criteria(
    target: ParsedTarget | RunName, run: str, options: Options, settings: Settings
) -> Page:
    criteria = _criteria(options, settings, target)
    found = store_options(settings.config)
    urls = list(dict.fromkeys(_urls(options, target)))
    if not options.store and LAYOUT in urls:
        say(f"looking in {LAYOUT}")
    now = datetime.now(UTC)
    stores = [open_url(url, found) for url in urls]
    origin = Origin("", options.namespace or "", "", "")
    inspector = Inspector(
        criteria,
        stores=[store.within(origin) for store in stores],
        resolver=RegistryTags(found),
        clock=lambda: now,
        revocations=revocations_of(options, settings.config),
    )
    try:
        if isinstance(target, RunName):
            answer = await inspector.named_run(target)
        else:
            answer = await inspector.parsed_target(
                target,
                digest=options.digest or "",
                run=run,
                blob=None if options.blob is None else read_blob(options.blob),
            )
    finally:
        for store in stores:
            await store.close()
    return page_of(answer, inspector.contents(answer))


def _urls(options: Options, target: ParsedTarget | RunName) -> list[str]:
    """Return the stores to search. Raises :class:`UsageError` for none."""
    if not isinstance(target, RunName):
        return where_to_look(options, target)
    if options.store:
        return list(options.store)
    if own_layout():
        return [LAYOUT]
    raise UsageError(f"{target.ref}: no store to look for evidence in: pass --store URL")


def _criteria(options: Options, settings: Settings, target: ParsedTarget | RunName) -> Criteria | None:
    """Return what is demanded, None where nobody is trusted. Raises :class:`UsageError` for demands alone."""
    targets = [] if isinstance(target, RunName) else [target]
    if names_somebody(options, targets):
        return criteria_of(options, settings, whom_to_trust(options, targets))
    asked = next((name for name in _DEMANDS if getattr(options, name)), None)
    if asked is not None:
        name = asked.replace("_", "-")
        raise UsageError(
            f"--{name} is compared with evidence that somebody trusted signed: pass --key PUB or an identity"
        )
    return None
