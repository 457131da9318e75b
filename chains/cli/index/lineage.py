"""The command ``lineage``: what an artifact was made from, and what was made from it."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from chains.assembly.registry_tags import RegistryTags
from chains.assembly.stores import open_url, store_options
from chains.assembly.workspace import LAYOUT, Settings, load_settings, own_layout
from chains.cli.arguments import FILE, Argument, Option, Options, config, store
from chains.cli.commands import Command
from chains.cli.policies.blast_radius import Bars, trust_of, trust_options
from chains.cli.trust import OPTIONS
from chains.columns import fitted
from chains.errors import UsageError
from chains.index.database import place_of
from chains.inspection.page_text import WIDTH
from chains.lineage.ancestry import UNBOUNDED, Ancestry, ancestry
from chains.lineage.collect import collect
from chains.lineage.family_drawing import draw_family
from chains.lineage.family_tree import summary, to_json, tree
from chains.lineage.layered import to_dot, to_svg
from chains.lineage.signing import Judge, Searched, Trust
from chains.lineage.wanted import Wanted, dependency_wanted, names_of
from chains.loop import carry_out
from chains.terminal import say, terminal_width, write_json, write_text
from chains.verify.criteria import MissingError
from chains.verify.targets import DigestTarget, TagTarget, parse_target, resolved_image

_FORMS = ("text", "json", "dot", "svg")
_COMMIT = re.compile(r"(?:(?:sha1|gitCommit):)?([0-9a-f]{40})", re.ASCII)
_DEPTH = 5
_OF_STORES = (
    "store", "key", "certificate_identity", "certificate_identity_regexp", "certificate_oidc_issuer",
    "certificate_oidc_issuer_regexp", "trusted_root",
)  # fmt: skip


def _lineage(options: Options) -> int:
    """Search the stores, and print the lineage of the artifact."""
    settings = load_settings(options.config)
    depth = _depth(options.depth)
    try:
        trust = trust_of(options.key, options, settings)
    except MissingError as error:
        raise UsageError(f"{error}: {OPTIONS[error.missing]}") from error
    bars = Bars()
    try:
        found = carry_out(_found(options, settings, depth, trust, bars))
    finally:
        bars.close()
    _show(found, options.output)
    return found.exit_code


async def _found(options: Options, settings: Settings, depth: int, trust: Trust, bars: Bars) -> Ancestry:
    digest, repository = await _artifact(options, settings)
    if _asks_index(options):
        from chains.index.query.relatives import collect_relatives  # noqa: PLC0415 - needed with --index alone

        # an index is built with somebody to trust
        near = collect_relatives(place_of(options.index), names_of(digest), depth)
        return ancestry(near, digest, depth, is_trusting=True)
    urls = _urls(options, repository)
    found = store_options(settings.config)
    judge = Judge(trust, Searched(), datetime.now(UTC))
    wanted = Wanted(dependencies=[dependency_wanted(digest)])
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_url(url, found)) for url in urls]
        collected = await collect(stores, wanted, judge, bars.advance, keeps_inputs=True)
    return ancestry(collected, digest, depth, is_trusting=trust.is_given)


def _asks_index(options: Options) -> bool:
    """Whether an index answers. Raises :class:`UsageError` for what only stores can be asked with."""
    if options.index is None:
        return False
    clash = next((name for name in _OF_STORES if name in options.given), None)
    if clash is None:
        return True
    if "index" in options.given:
        name = clash.replace("_", "-")
        raise UsageError(f"pass --index or --{name}: an index has the stores and the trust of its build")
    return False  # the option replaces what the environment says


async def _artifact(options: Options, settings: Settings) -> tuple[str, str]:
    """Return the digest that the argument names, and its repository if it has one.

    Raises :class:`UsageError` for anything else.
    """
    commit = _COMMIT.fullmatch(options.image)
    if commit is not None:
        return f"sha1:{commit[1]}", ""
    target = parse_target(options.image, resolve=options.resolve)
    if isinstance(target, DigestTarget):
        return target.digest, target.reference
    if isinstance(target, TagTarget):
        image = await resolved_image(target.ref, RegistryTags(store_options(settings.config)))
        return image.digest, str(image.repository)
    raise UsageError(f"{target.ref} is a file: name an image with digest, a digest or a commit")


def _depth(text: str) -> int:
    if text == "all":
        return UNBOUNDED
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) < len(str(UNBOUNDED))):
        raise UsageError(f"--depth: expected a number of runs from 1 on, or all, got {text!r}")
    return int(text)


def _urls(options: Options, repository: str) -> list[str]:
    """Return the stores to search: those of the options, this folder's, or the image's own repository."""
    if options.store:
        return list(dict.fromkeys(options.store))
    if own_layout():
        found = LAYOUT
    elif repository:
        found = f"oci://{repository}"
    else:
        raise UsageError("no store to search: pass --store URL; for a registry oci://REGISTRY/REPOSITORY")
    say(f"looking in {found}")
    return [found]


def _show(found: Ancestry, form: str) -> None:
    if form == "json":
        write_json(to_json(found), indent=True)
        return
    if form == "text":
        width = min(terminal_width() or WIDTH, WIDTH)
        write_text("\n".join(part for line in tree(found) for part in fitted(line, width)))
        return
    drawing = draw_family(found)
    if drawing.is_cut:
        say(f"warning: {drawing.description}")
    write_text(to_dot(drawing) if form == "dot" else to_svg(drawing))
    say(summary(found))


lineage = Command(
    "lineage",
    _lineage,
    [
        Argument("image", "an image with digest, a digest, or a git commit", "IMAGE"),
        store("search all of this store (default: .chains/layout, else the image's repository)"),
        Option(
            "--index",
            "ask this index in place of stores: a file or postgresql://…",
            default=None,
            metavar="FILE|URL",
            type=FILE,
        ),
        Option(
            "--depth",
            f"how many runs away, or all (default: {_DEPTH})",
            default=str(_DEPTH),
            metavar="NUMBER",
        ),
        *trust_options("--key"),
        config("a chains-config, for its registry settings"),
        Option("--resolve", "resolve a tag to its digest once", flag=True),
        Option("--output", ", ".join(_FORMS), default="text", choices=_FORMS),
    ],
)
