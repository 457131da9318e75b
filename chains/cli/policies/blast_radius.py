"""The command ``blast-radius``: what a key, a builder, an image, a Task or a commit has touched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from chains.assembly.stores import open_url, store_options
from chains.assembly.trust import open_listed_keys, open_public_keys, open_trusted_root
from chains.assembly.workspace import LAYOUT, Settings, load_settings, own_layout
from chains.cli.arguments import FILE, Option, Options, config, store
from chains.cli.commands import Command
from chains.cli.progress import Progress
from chains.cli.tables import write_table
from chains.cli.trust import OPTIONS
from chains.config.selection import parse_since
from chains.errors import UsageError
from chains.lineage.blast_radius import BlastRadius, Touched, Window
from chains.lineage.blast_radius import blast_radius as answer
from chains.lineage.collect import collect
from chains.lineage.drawing import draw
from chains.lineage.layered import to_dot, to_svg
from chains.lineage.report import because, to_csv, to_json
from chains.lineage.signing import Judge, Searched, Trust
from chains.lineage.summary import summary
from chains.lineage.wanted import (
    Wanted,
    commit_wanted,
    dependency_wanted,
    is_keyid,
    step_image_wanted,
    task_wanted,
)
from chains.loop import carry_out
from chains.terminal import say, write_json, write_line, write_text
from chains.text import excerpt, rfc3339
from chains.verify.criteria import CertificateWanted, Missing, MissingError, NameWanted

MOST_ROWS = 1000
"""Artifacts in the table. JSON and CSV have all of them."""
_LONGEST = 300
"""Characters of a cell of the table."""
_FORMS = ("text", "json", "csv", "dot", "svg")


def _blast_radius(options: Options) -> int:
    """Search the stores, and print every artifact whose evidence is touched."""
    settings = load_settings(options.config)
    now = datetime.now(UTC)
    window = _window(options, now)
    urls = _urls(options)
    try:
        trust = trust_of(options.trusted_key, options, settings)
        wanted = _wanted(options, settings)
        judge = Judge(trust, wanted.signers, now)
    except MissingError as error:
        raise UsageError(f"{error}: {OPTIONS[error.missing]}") from error
    bars = Bars()

    async def run() -> BlastRadius:
        found = store_options(settings.config)
        async with AsyncExitStack() as stack:
            stores = [await stack.enter_async_context(open_url(url, found)) for url in urls]
            return answer(await collect(stores, wanted, judge, bars.advance), wanted, window)

    try:
        found = carry_out(run())
    finally:
        bars.close()
    _show(found, options.output, trust)
    return found.exit_code


class Bars:
    """A progress bar for each store, one after the other."""

    def __init__(self) -> None:
        self._url = ""
        self._bar: Progress | None = None

    def advance(self, url: str, total: int, failed: bool) -> None:
        """Count a part of a store."""
        if self._bar is None or url != self._url:
            self.close()
            self._url, self._bar = url, Progress(total, "parts of the store")
        self._bar.advance(failed=failed)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.close()


def _urls(options: Options) -> list[str]:
    if options.store:
        return list(dict.fromkeys(options.store))
    if not own_layout():
        raise UsageError("no store to search: pass --store URL; for a registry oci://REGISTRY/REPOSITORY")
    say(f"looking in {LAYOUT}")
    return [LAYOUT]


def _window(options: Options, now: datetime) -> Window:
    times = {name: _moment(getattr(options, name), f"--{name}", now) for name in ("from", "to", "since")}
    if times["from"] and times["to"] and times["from"] >= times["to"]:
        raise UsageError("--from is not before --to: no time is between them")
    return Window(times["from"], times["to"], times["since"])


def _moment(text: str, option: str, now: datetime) -> datetime | None:
    try:
        return parse_since(text, now).astimezone(UTC) if text else None
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{option}: {text!r} is no time: write 2026-01-02T03:04:05Z, 36h or 7d") from error


def trust_of(trusted: Sequence[str], options: Options, settings: Settings) -> Trust:
    """Return who is trusted: these keys, and the identity of the options. Raises :class:`UsageError`."""
    keys = open_public_keys(trusted, settings.config) if trusted else []
    certificate = CertificateWanted.from_options(
        options.certificate_identity,
        options.certificate_identity_regexp,
        options.certificate_oidc_issuer,
        options.certificate_oidc_issuer_regexp,
    )
    root = None if options.trusted_root is None else open_trusted_root(options.trusted_root)
    if certificate is not None and root is None:
        raise MissingError("certificates are verified with a trusted root", Missing.TRUSTED_ROOT)
    return Trust(keys, certificate, root)


def _wanted(options: Options, settings: Settings) -> Wanted:
    keyids = [keyid for text in options.key if (keyid := is_keyid(text))]
    files = [text for text in options.key if not is_keyid(text)]
    listed = open_listed_keys(files, settings.config, private=True) if files else []
    return Wanted(
        Searched([one.key for one in listed], keyids, _identities(options)),
        list(options.builder),
        [step_image_wanted(text) for text in options.step_image],
        [task_wanted(text) for text in options.task],
        [commit_wanted(text) for text in options.commit],
        [dependency_wanted(text) for text in options.dependency],
    )


def _identities(options: Options) -> list[CertificateWanted]:
    names = [NameWanted(text) for text in options.identity]
    names += [NameWanted(text, is_regexp=True) for text in options.identity_regexp]
    given = [
        NameWanted(text, is_regexp=is_regexp)
        for text, is_regexp in ((options.issuer, False), (options.issuer_regexp, True))
        if text is not None
    ]
    if not names and not given:
        return []
    if not names or len(given) != 1:
        raise UsageError(
            "an identity counts together with its issuer alone: pass --identity or --identity-regexp, with "
            "one of --issuer and --issuer-regexp"
        )
    return [CertificateWanted(name, given[0]) for name in names]


def _show(found: BlastRadius, form: str, trust: Trust) -> None:
    """Write the answer; what is no part of a file in the form goes to standard error."""
    lines = list(summary(found, trust))
    if form == "json":
        write_json(to_json(found) | {"summary": lines}, indent=True)
        return
    if form == "text":
        for line in lines:
            write_line(line)
        _show_table(found)
        return
    if form == "csv":
        for line in to_csv(found):
            write_text(line)
    else:
        drawing = draw(found)
        if drawing.is_cut:
            say(f"warning: {drawing.description}")
        write_text(to_dot(drawing) if form == "dot" else to_svg(drawing))
    for line in lines:
        say(line)


def _show_table(found: BlastRadius) -> None:
    if not found.artifacts:
        return
    write_line("")
    rows = [_row(one, found) for one in found.artifacts[:MOST_ROWS]]
    write_table(("ARTIFACT", "STATE", "RUNS", "TIME", "WHY"), rows)
    left = len(found.artifacts) - MOST_ROWS
    if left > 0:
        write_line(f"and {left} more: --output json and csv have all of them")


def _row(one: Touched, found: BlastRadius) -> tuple[str, ...]:
    claim = found.collected.claims[one.claim]
    if claim.moment is not None:
        time = f"{rfc3339(claim.moment)} verified"
    else:
        time = f"{rfc3339(claim.stated)} stated" if claim.stated is not None else "none"
    name = excerpt(one.names[0], _LONGEST) if one.names else ""
    more = f" and {len(one.through) - 1} more" if one.through[1:] else ""
    why = excerpt(because(one), _LONGEST) or (f"made from {one.through[0]}{more}" if one.through else "")
    return (f"{name}@{one.digest}" if name else one.digest, one.state.value, str(one.distance), time, why)


_TWIN = "CHAINS_BLAST_RADIUS_"


def _asked(name: str, text: str, metavar: str) -> Option:
    twin = _TWIN + name.lstrip("-").replace("-", "_").upper()
    return Option(name, f"{text}; may be repeated", metavar=metavar, twin=twin, repeatable=True)


def _named(name: str, text: str, metavar: str) -> Option:
    twin = _TWIN + name.lstrip("-").replace("-", "_").upper()
    return Option(name, text, metavar=metavar, twin=twin, default=None)


def _times() -> Iterator[Option]:
    when = "TIME|36h|7d"
    for name, text in (
        ("--from", "only statements that match from this time on: verified time, else stated time"),
        ("--to", "only statements that match before this time"),
        ("--since", "the compromise: what verified times show to be older is told apart"),
    ):
        yield Option(name, text, metavar=when, twin=_TWIN + name.lstrip("-").upper())


def trust_options(key: str = "--trusted-key") -> Iterator[Option]:
    """Yield the options that say who is trusted; ``key`` is the name of the first."""
    yield Option(
        key,
        "a public key to trust, so that verified statements are told from claims",
        twin="CHAINS_PUBLIC_KEY",
        repeatable=True,
        metavar="PUB",
        type=FILE,
    )
    for name, what in (("identity", "an identity to trust"), ("oidc-issuer", "its OIDC issuer")):
        yield Option(f"--certificate-{name}", f"{what}, exactly", default=None, metavar="NAME")
        yield Option(
            f"--certificate-{name}-regexp",
            f"{what}, as a regular expression that matches all of it",
            default=None,
            metavar="REGEXP",
        )
    yield Option(
        "--trusted-root",
        "a trusted_root.json, for certificates and verified times",
        default=None,
        metavar="FILE",
        type=FILE,
    )


blast_radius = Command(
    "blast-radius",
    _blast_radius,
    [
        _asked(
            "--key", "a key: a file, a key set, a key service's key, or its id SHA256:… or keyid:TEXT", "KEY"
        ),
        _asked("--identity", "a certificate's identity, exactly", "NAME"),
        _asked("--identity-regexp", "the same as a regular expression that matches all of it", "REGEXP"),
        _named("--issuer", "the OIDC issuer of the identities, exactly", "NAME"),
        _named("--issuer-regexp", "the same as a regular expression that matches all of it", "REGEXP"),
        _asked("--builder", "a builder's id", "URI"),
        _asked("--step-image", "an image that steps ran in, by digest or repository", "IMAGE"),
        _asked(
            "--task", "a Task or Pipeline: a digest, a name, a path, or the reference of a bundle", "TASK"
        ),
        _asked("--commit", "a git commit, of any repository or of this one", "[REPOSITORY@]SHA"),
        _asked("--dependency", "any input: a digest, or a URI in which * is anything", "DIGEST|URI"),
        *_times(),
        store("search all of this store"),
        *trust_options(),
        config("a chains-config, for its registry settings"),
        Option("--output", ", ".join(_FORMS), default="text", choices=_FORMS),
    ],
)
