"""The commands ``chains index build|update|stats|export``: an index of evidence that is in stores."""

from __future__ import annotations

import hashlib
from contextlib import AsyncExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chains.assembly.stores import open_url, store_options
from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.assembly.workspace import LAYOUT, Settings, load_settings, own_layout
from chains.cli.arguments import (
    FAILURE,
    FILE,
    FOLDER,
    OK,
    Argument,
    Option,
    Options,
    config,
    output,
    store,
)
from chains.cli.commands import Command, Group
from chains.cli.progress import Progress
from chains.cli.revocations import revocation_options, revocations_of
from chains.cli.tables import write_table
from chains.cli.trust import OPTIONS, trust_own_key
from chains.documents.load import read_bytes
from chains.errors import UsageError
from chains.index.codes import Verdict, word
from chains.index.database import DEFAULT, Place, place_of
from chains.loop import carry_out
from chains.terminal import say, write_json, write_line, write_text
from chains.text import count, rfc3339
from chains.verify.criteria import CertificateWanted, Criteria, MissingError
from signers.keys.keyset import ListedKey

if TYPE_CHECKING:
    from chains.index.ingest import Ingested, Source
    from chains.index.reading import Trust

_EXPORT = "export:"
_TRUST = (
    "key", "certificate_identity", "certificate_identity_regexp", "certificate_oidc_issuer",
    "certificate_oidc_issuer_regexp", "trusted_root", "require_log", "require_timestamp", "builder_id",
    "build_type", "revocations", "revocations_key", "revocations_state", "revocations_min_version",
)  # fmt: skip
_PATHS = ("key", "trusted_root", "revocations", "revocations_key", "revocations_state")
_LARGEST_ROOT = 16 * 1024 * 1024
_MIB = 1024 * 1024


def _build(options: Options) -> int:
    """Build an index anew, and put it in the place of the old one."""
    place = place_of(options.index)
    given = {name: getattr(options, name) for name in _TRUST}
    urls = list(dict.fromkeys(options.store))
    if not urls and own_layout():
        say(f"reading {LAYOUT}")
        urls = [LAYOUT]
    if not urls:
        raise UsageError("no store to index: pass --store URL; for a registry oci://REGISTRY/REPOSITORY")
    if not given["key"] and urls == [LAYOUT]:
        given["key"] = [trust_own_key()]
    for name in _PATHS:
        given[name] = _absolute(given[name])
    from chains.index.target import building  # noqa: PLC0415 - imports SQLAlchemy, which is slow

    return _carry_out(options, building, place, given, urls)


def _update(options: Options) -> int:
    """Add what stores have since to an index, with the trust and the stores of its build."""
    place = place_of(options.index)
    from chains.index.target import remembered, updating  # noqa: PLC0415 - imports SQLAlchemy, which is slow

    given, known = remembered(place)
    return _carry_out(options, updating, place, given, list(dict.fromkeys(options.store)) or known)


def _carry_out(options: Options, opened: Any, place: Place, given: dict[str, Any], urls: list[str]) -> int:
    from chains.index.ingest import ingest  # noqa: PLC0415 - imports SQLAlchemy, which is slow

    settings = load_settings(options.config)
    try:
        trust = _trust(given, settings)
    except MissingError as error:
        raise UsageError(f"{error}: {OPTIONS[error.missing]}") from error
    now = datetime.now(UTC)
    bars = _Bars()

    async def run() -> Ingested:
        async with AsyncExitStack() as stack:
            sources = [await _source(url, settings, stack) for url in urls]
            with opened(place, trust) as target:
                ingested = await ingest(sources, target, trust, now, bars.advance)
                bars.close()
                if ingested.failed:
                    target.keep_old()
                return ingested

    try:
        ingested = carry_out(run())
    finally:
        bars.close()
    _tell(ingested, place, options.output)
    return FAILURE if ingested.failed else OK


async def _source(url: str, settings: Settings, stack: AsyncExitStack) -> Source:
    if url.startswith(_EXPORT):
        from chains.index.exports import Export  # noqa: PLC0415 - needed for an export alone

        return Export(url)
    return await stack.enter_async_context(open_url(url, store_options(settings.config)))


def _absolute(value: Any) -> Any:
    """Return references with the paths of files made absolute, so that an update finds them."""
    if isinstance(value, list | tuple):
        return [_absolute(one) for one in value]
    is_path = isinstance(value, str) and value and Path(value).exists()
    return str(Path(value).absolute()) if is_path else value


def _trust(given: dict[str, Any], settings: Settings) -> Trust:
    from chains.index.reading import Trust  # noqa: PLC0415 - needed where an index is written

    listed = open_listed_keys(given["key"], settings.config) if given["key"] else []
    certificate = CertificateWanted.from_options(*(given[name] for name in _TRUST[1:5]))
    root = given["trusted_root"]
    criteria = Criteria(
        keys=[one.key for one in listed],
        windows={one.key.keyid: one for one in listed if one != ListedKey(one.key)},
        certificate=certificate,
        trusted_root=None if root is None else open_trusted_root(root),
        require_log=given["require_log"],
        require_timestamp=given["require_timestamp"],
        builder_id=given["builder_id"],
        build_type=given["build_type"],
    )
    revocations = revocations_of(Options(**given, given=frozenset()), settings.config)
    if revocations is not None and (problem := revocations.problem(datetime.now(UTC))):
        raise UsageError(f"the revocation list cannot be used: {problem}")
    keys = [
        {
            "pem": one.key.pem.decode(),
            "status": one.status.value,
            "notBefore": one.not_before and one.not_before.isoformat(),
            "notAfter": one.not_after and one.not_after.isoformat(),
        }
        for one in listed
    ]
    told = {
        "keys": sorted(keys, key=lambda one: str(one["pem"])),
        "certificate": certificate.to_json() if certificate else None,
        "trustedRoot": root and hashlib.sha256(read_bytes(Path(root), _LARGEST_ROOT)).hexdigest(),
        "require": criteria.required,
        "builderId": criteria.builder_id,
        "buildType": criteria.build_type,
        "revocations": revocations.digest if revocations else None,
    }
    return Trust(criteria, told, given, revocations)


class _Bars:
    """A progress bar for each store, one after the other."""

    def __init__(self) -> None:
        self._url = ""
        self._bar: Progress | None = None

    def advance(self, url: str, total: int, failed: bool) -> None:
        """Count a part of a store."""
        if self._bar is None or url != self._url:
            self.close()
            self._url, self._bar = url, Progress(total, "parts of the store", is_timed=True)
        self._bar.advance(failed=failed)

    def close(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _tell(ingested: Ingested, place: Place, form: str) -> None:
    new = {word(verdict): ingested.new[verdict] for verdict in Verdict}
    for note in ingested.notes:
        say(f"note: {note}")
    for url, reason in ingested.failed.items():
        say(f"error: {url} was not read to the end: {reason}; run it again to go on")
    if form == "json":
        write_json(
            {
                "index": str(place),
                "pieces": ingested.pieces,
                "known": ingested.known,
                "new": new,
                "unread": ingested.unread,
                "failed": ingested.failed,
                "notes": ingested.notes,
            },
            indent=True,
        )
        return
    told = ", ".join(f"{number} {name}" for name, number in new.items())
    write_line(f"{place}: {count(sum(new.values()), 'new statement')} ({told})")
    write_line(f"{count(ingested.pieces, 'piece')} of evidence, {ingested.known} known before")
    if ingested.unread:
        write_line(f"{ingested.unread} could not be read: chains index stats --unread lists them")


def _stats(options: Options) -> int:
    """Print what the index has, how large it is, and how far behind its stores."""
    from chains.index.stats import stats, unread_of  # noqa: PLC0415 - imports SQLAlchemy, which is slow

    place = place_of(options.index)
    if options.unread:
        listed = unread_of(place)
        if options.output == "json":
            write_json(
                [{"store": url, "location": at, "reason": why} for url, at, why in listed], indent=True
            )
        else:
            write_table(("STORE", "PLACE", "REASON"), listed)
        return OK
    found = stats(place)
    if options.output == "json":
        stores = [asdict(one) | {"behind": one.behind, "updated": _time(one.updated)} for one in found.stores]
        told = asdict(found) | {"stores": stores, "newest": _time(found.newest), "index": str(place)}
        write_json(told, indent=True)
        return OK
    write_line(f"{place}: {count(found.attestations, 'statement')} about {count(found.runs, 'run')}")
    write_line(
        f"{found.size / _MIB:.1f} MiB; the latest run ended at {_time(found.newest) or 'an unknown time'}"
    )
    write_line("")
    names = list(found.verdicts)
    rows = [(name, *(str(by[one]) for one in names)) for name, by in found.types.items()]
    rows.append(("all", *(str(found.verdicts[one]) for one in names)))
    write_table(("PREDICATE TYPE", *(name.upper() for name in names)), rows)
    write_line("")
    write_table(
        ("STORE", "COPIES", "UNREAD", "BEHIND", "UPDATED"),
        [
            (one.url, str(one.copies), str(one.unread), str(one.behind), _time(one.updated) or "never")
            for one in found.stores
        ],
    )
    return OK


def _export(options: Options) -> int:
    """Write every statement of the index for other programs."""
    from chains.index.export import to_csv, to_json_lines, write_parquet  # noqa: PLC0415 - imports SQLAlchemy

    place, is_parquet = place_of(options.index), options.output == "parquet"
    if is_parquet != bool(options.folder):
        raise UsageError("parquet is written to a FOLDER, json and csv to standard output")
    if is_parquet:
        written = write_parquet(place, Path(options.folder))
        write_line(f"{options.folder}: {count(written, 'statement')}")
        return OK
    for line in to_csv(place) if options.output == "csv" else to_json_lines(place):
        write_text(line)
    return OK


def _time(seconds: int) -> str | None:
    return rfc3339(datetime.fromtimestamp(seconds, UTC)) if seconds else None


def _index() -> Option:
    text = f"the index: a file, or postgresql://… (default: {DEFAULT})"
    return Option("--index", text, default=DEFAULT, metavar="FILE|URL", twin="CHAINS_INDEX")


def _trust_options() -> list[Option]:
    options = [
        Option(
            "--key",
            "a public key, certificate, key set or JWKS to trust, named as for verify --key; may be repeated",
            twin="CHAINS_PUBLIC_KEY",
            repeatable=True,
            metavar="PUB",
            type=FILE,
        )
    ]
    for name, what in (("identity", "an identity to trust"), ("oidc-issuer", "its OIDC issuer")):
        text = f"{what}, as a regular expression that matches all of it"
        options += [
            Option(f"--certificate-{name}", f"{what}, exactly", default=None, metavar="NAME"),
            Option(f"--certificate-{name}-regexp", text, default=None, metavar="REGEXP"),
        ]
    root = "a trusted_root.json, for certificates, log entries and verified times"
    return [
        *options,
        Option("--trusted-root", root, default=None, metavar="FILE", type=FILE),
        Option("--require-log", "require an entry in a transparency log", flag=True),
        Option("--require-timestamp", "require an RFC 3161 timestamp", flag=True),
        Option("--builder-id", "require this builder of provenance", default=None, metavar="URI"),
        Option("--build-type", "require this build type of provenance", default=None, metavar="URI"),
    ]


_CONFIG = "a chains-config, for its registry settings"
index = Group(
    "index",
    [
        Command(
            "build",
            _build,
            [
                _index(),
                store("index this store, or export:FOLDER that chains export wrote"),
                *_trust_options(),
                *revocation_options(),
                config(_CONFIG),
                output(),
            ],
            text="build an index of the evidence in stores anew",
        ),
        Command(
            "update",
            _update,
            [
                _index(),
                store("add this store, or export:FOLDER (default: those that were indexed before)"),
                config(_CONFIG),
                output(),
            ],
            text="add what stores have since, with the trust of the build",
        ),
        Command(
            "stats",
            _stats,
            [
                _index(),
                Option("--unread", "list what could not be read, with the reason", flag=True),
                output(),
            ],
            text="say what the index has and how far behind it is",
        ),
        Command(
            "export",
            _export,
            [
                Argument("folder", "a new folder, for parquet", "FOLDER", many="?", type=FOLDER),
                _index(),
                Option(
                    "--output",
                    "json (one object a line), csv, or parquet (a file for each day; extra parquet)",
                    default="json",
                    choices=["json", "csv", "parquet"],
                ),
            ],
            text="write every statement of the index for other programs",
        ),
    ],
)
