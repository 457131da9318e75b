"""The commands ``revoke``: write a revocation list, sign it, and show what it says."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from chains.assembly.trust import open_listed_keys
from chains.assembly.workspace import load_settings, open_key
from chains.cli.arguments import FILE, OK, Argument, Option, Options, config, output, password_file
from chains.cli.commands import Command, Group
from chains.cli.revocations import revocations_key
from chains.columns import table
from chains.documents.load import read_bytes
from chains.errors import InputError, UsageError
from chains.revocation.document import LARGEST, RevocationList, parse_list, read_time, write_list
from chains.revocation.entry import Entry, Identity, Kind, Name, check_name, check_value, in_order
from chains.revocation.envelope import is_signed, read_envelope, sign_list, verify_list
from chains.revocation.errors import RevocationError
from chains.terminal import say, terminal_width, write_json, write_line, write_text
from chains.text import count, plain, rfc3339
from signers.errors import FormatError
from signers.formats.dsse import MAX_ENVELOPE_BYTES
from storage.durable import replace_file

_PATIENCE, _PAUSE = 10.0, 0.02
"""Seconds for which another addition is waited for, and between two looks."""
_EXACT = (Kind.IMAGE, Kind.BUILDER, Kind.VERIFIER, Kind.TASK)
_IDENTITY = ("identity", "identity_regexp", "issuer", "issuer_regexp")


def _add(options: Options) -> int:
    """Add entries to a list and give it the next version."""
    with _alone(Path(options.file)):
        return _add_alone(options, Path(options.file))


def _add_alone(options: Options, path: Path) -> int:
    now = datetime.now(UTC).replace(microsecond=0)
    before = _document(path, options, now) if os.path.lexists(path) else None
    new = list(_entries(options))
    if not new and options.expires is None:
        raise UsageError(
            "nothing to add: pass --key, --identity, --image, --builder, --verifier or --task, or --expires"
        )
    entries = list(before.entries) if before else []
    for entry in new:
        _put(entries, entry)
    expires = _time(options, "expires") or (before.expires if before else None)
    if expires is not None and expires <= now:
        raise UsageError(f"the list would end at {rfc3339(expires)}, which is past: pass a later --expires")
    version = before.version + 1 if before else 1
    made = RevocationList(version, now, in_order(entries), expires)
    data = write_list(made)
    try:
        parse_list(data)
    except FormatError as error:
        raise UsageError(f"{options.file}: {error}") from error
    _write(path, data)
    say(
        f"{plain(options.file)} has version {version} and {count(len(made.entries), 'entry', 'entries')}; "
        "no reader takes it before chains revoke sign"
    )
    return OK


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the folder of a list: of two additions at the same time, neither is lost.

    Raises :class:`InputError`, also if another program holds it for too long.
    """
    try:
        handle = os.open(path.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        end = time.monotonic() + _PATIENCE
        while not _is_locked(handle):
            if time.monotonic() > end:
                raise InputError(
                    f"{path}: another program has changed lists in this folder for {_PATIENCE:g} s; try again"
                )
            time.sleep(_PAUSE)
        yield
    finally:
        os.close(handle)


def _is_locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _put(entries: list[Entry], new: Entry) -> None:
    """Add an entry, or put it in the place of narrower ones. Raises :class:`UsageError` for no news."""
    same = [
        one for one in entries if (one.kind, one.value, one.identity) == (new.kind, new.value, new.identity)
    ]
    stronger = next((one for one in same if one.covers(new)), None)
    if stronger is not None:
        raise UsageError(
            f"{plain(str(stronger))}: it is listed already; a list is never made weaker, so only an earlier "
            "--since, or none, changes an entry"
        )
    for one in same:
        if new.covers(one):
            entries.remove(one)
    entries.append(new)


def _entries(options: Options) -> Iterator[Entry]:
    since, until = _time(options, "since"), _time(options, "until")
    values = [(Kind.KEY, keyid) for word in options.key for keyid in _keyids(word)]
    values += [(kind, value) for kind in _EXACT for value in getattr(options, kind.value)]
    # a digest is the same image in every repository
    values = [(kind, value.rpartition("@")[2] if kind is Kind.IMAGE else value) for kind, value in values]
    identity = _identity(options)
    if not values and identity is None:
        for name in ("since", "until", "reason"):
            if name in options.given:
                raise UsageError(f"--{name} belongs to an entry: pass --key, --identity, --image, …")
        return
    if not options.reason:
        raise UsageError("--reason is missing: a list says why")
    if until is not None and (values or identity is None):
        raise UsageError("--until is for --identity alone: what else is revoked stays revoked")
    if since is not None and until is not None and until <= since:
        raise UsageError("--until is not after --since")
    for kind, value in dict.fromkeys(values):
        try:
            yield Entry(kind, check_value(kind, value), options.reason, since)
        except FormatError as error:
            raise UsageError(f"--{error}") from error
    if identity is not None:
        yield Entry(Kind.IDENTITY, "", options.reason, since, until, identity)


def _keyids(word: str) -> list[str]:
    return [word] if word.startswith("SHA256:") else [one.key.keyid for one in open_listed_keys([word])]


def _identity(options: Options) -> Identity | None:
    given = {name: getattr(options, name) for name in _IDENTITY}
    if all(value is None for value in given.values()):
        return None
    names = []
    for exact in ("identity", "issuer"):
        value, expression = given[exact], given[f"{exact}_regexp"]
        if (value is None) == (expression is None):
            raise UsageError(
                f"an identity is revoked together with its issuer: pass one of --{exact} and --{exact}-regexp"
            )
        try:
            name = Name(value, False) if value is not None else Name(expression, True)
            names.append(check_name(name, f"--{exact}" + ("-regexp" if name.is_regexp else "")))
        except FormatError as error:
            raise UsageError(str(error)) from error
    return Identity(*names)


def _time(options: Options, name: str) -> datetime | None:
    text = getattr(options, name)
    if text is None:
        return None
    moment = read_time(text)
    if moment is None:
        raise UsageError(f"--{name}: expected a time such as 2026-01-31T00:00:00Z, got {text!r}")
    return moment


def _document(path: Path, options: Options, now: datetime) -> RevocationList:
    """Return the list in a file. A signed one has to be verified: what is added to is signed again."""
    data = read_bytes(path, MAX_ENVELOPE_BYTES)
    try:
        if not is_signed(data):
            return parse_list(data, str(path))
        if not options.revocations_key:
            raise UsageError(
                f"{path} is signed: pass --revocations-key PUB, so that nobody else's change is signed again"
            )
        return verify_list(data, open_listed_keys(options.revocations_key), now)[0]
    except (FormatError, RevocationError) as error:
        raise InputError(f"{path}: {error}") from error


def _sign(options: Options) -> int:
    """Sign the list in a file."""
    path = Path(options.file)
    data = read_bytes(path, LARGEST)
    settings = load_settings(options.config)
    try:
        if is_signed(data):
            raise UsageError(f"{path} is signed already: add to it, or sign the document that it was made of")
        found = parse_list(data, str(path))
        if found.is_over(datetime.now(UTC)):
            raise UsageError(f"{path} has ended: chains revoke add {path} --expires TIME")
        target = Path(options.to) if options.to else path
        _refuse_fork(target, found)
        signer = open_key(options.key, settings.config, password_file=options.password_file)
        signed = sign_list(data, signer)
    except FormatError as error:
        raise InputError(f"{path}: {error}") from error
    _write(target, signed)
    say(f"signed version {found.version} with {signer.keyid}: {plain(str(target))}")
    return OK


def _refuse_fork(target: Path, found: RevocationList) -> None:
    """Raise :class:`UsageError` for a list that readers of the signed one would refuse."""
    if not os.path.lexists(target):
        return
    data = read_bytes(target, MAX_ENVELOPE_BYTES)
    if not is_signed(data):
        return
    try:
        before = parse_list(read_envelope(data).payload, str(target))
    except RevocationError as error:
        raise UsageError(f"{target} is in the way: {error}") from error
    if found.version <= before.version and found.digest != before.digest:
        raise UsageError(
            f"{target} has version {before.version} already, with other content: readers refuse a second "
            f"list of version {found.version}; raise the version, as chains revoke add does"
        )


def _show(options: Options) -> int:
    """Print what a list says, and whether a given key signed it."""
    path = Path(options.file)
    data = read_bytes(path, MAX_ENVELOPE_BYTES)
    now = datetime.now(UTC)
    keyid = None
    try:
        signed = is_signed(data)
        if options.revocations_key:
            found, keyid = verify_list(data, open_listed_keys(options.revocations_key), now)
        else:
            found = parse_list(read_envelope(data).payload if signed else data, str(path))
    except (FormatError, RevocationError) as error:
        raise InputError(f"{path}: {error}") from error
    if options.output == "json":
        write_json(_to_json(found, is_signed=signed, keyid=keyid), indent=True)
        return OK
    state = (
        f"signed by {keyid}"
        if keyid
        else "signed, not verified: no --revocations-key"
        if signed
        else "not signed"
    )
    end = f", ends {rfc3339(found.expires)}" if found.expires else ""
    over = " (over)" if found.is_over(now) else ""
    write_line(f"version {found.version}, issued {rfc3339(found.issued)}{end}{over}, {state}")
    write_line(found.digest)
    rows = [
        (
            one.kind.value,
            plain(one.name),
            rfc3339(one.since) if one.since else "always",
            rfc3339(one.until) if one.until else "",
            plain(one.reason),
        )
        for one in found.entries
    ]
    if rows:
        write_text(table(("WHAT", "NAME", "SINCE", "UNTIL", "REASON"), rows, terminal_width()))
    return OK


def _to_json(found: RevocationList, *, is_signed: bool, keyid: str | None) -> dict[str, object]:
    return {
        "version": found.version,
        "issued": rfc3339(found.issued),
        "expires": rfc3339(found.expires) if found.expires else None,
        "digest": found.digest,
        "signed": is_signed,
        "signer": keyid,
        "entries": [entry.to_json() for entry in found.entries],
    }


def _write(path: Path, data: bytes) -> None:
    try:
        replace_file(path.resolve(), data, fsync=True)  # a link keeps leading to the file
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error


_FILE = Argument("file", "a revocation list", "FILE", type=FILE)


def _what_options() -> list[Option]:
    def what(name: str, text: str, metavar: str, **more: object) -> Option:
        twin = "CHAINS_REVOKE_" + name.lstrip("-").replace("-", "_").upper()
        return Option(name, text, twin=twin, metavar=metavar, **more)  # type: ignore[arg-type]

    several: dict[str, object] = {"repeatable": True}
    one: dict[str, object] = {"default": None}
    return [
        what("--key", "revoke this key: its id, SHA256:…, or a file with it", "KEY", type=FILE, **several),
        what("--identity", "revoke certificates of this identity", "NAME", **one),
        what(
            "--identity-regexp", "the same, for all identities that this matches as a whole", "REGEXP", **one
        ),
        what("--issuer", "the issuer of that identity", "NAME", **one),
        what("--issuer-regexp", "the same, as a regular expression for all of it", "REGEXP", **one),
        what(
            "--image", "revoke the image with this digest, wherever it lies", "[NAME@]sha256:HEX", **several
        ),
        what("--builder", "revoke the builder of this id", "URI", **several),
        what("--verifier", "revoke the verifier of this id", "URI", **several),
        what("--task", "revoke the Task or Pipeline with this digest", "ALGORITHM:HEX", **several),
        what("--since", "evidence with a verified time before this may count", "TIME", **one),
        what("--until", "when the identity was in good hands again", "TIME", **one),
        what("--reason", "why; everybody who reads an answer sees it", "TEXT", **one),
        what("--expires", "when the list ends, and readers need a newer one", "TIME", **one),
    ]


revoke = Group(
    "revoke",
    [
        Command(
            "add",
            _add,
            [_FILE, *_what_options(), revocations_key()],
            text="add to a revocation list, or begin one",
        ),
        Command(
            "sign",
            _sign,
            [
                _FILE,
                Option(
                    "--key", "the key that signs: a file or a key service's key", metavar="KEY", type=FILE
                ),
                Option(
                    "--to",
                    "write the signed list here (default: in place of the document)",
                    twin="CHAINS_REVOKE_TO",
                    metavar="FILE",
                    type=FILE,
                    default=None,
                ),
                password_file(),
                config("a chains-config, for its login to a key service"),
            ],
            text="sign a revocation list",
        ),
        Command(
            "show", _show, [_FILE, revocations_key(), output()], text="print what a revocation list says"
        ),
    ],
)
