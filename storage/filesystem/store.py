"""The store in a plain folder, for people and other programs: one file per piece of evidence.

::

    PATH/taskrun-default-build/                             <kind>-<namespace>-<name> of the run
        taskrun-<uid>.slsa.dev-provenance-v1.payload.json       the statement
        taskrun-<uid>.slsa.dev-provenance-v1.envelope.json      DSSE, form A
        taskrun-<uid>.slsa.dev-provenance-v1.bundle.json        Sigstore bundle, form B
        taskrun-<uid>.3d7f1b2c9a10.payload                      an image signature: the signed payload,
        taskrun-<uid>.3d7f1b2c9a10.sig                          the raw signature in base64
        taskrun-<uid>.3d7f1b2c9a10.bundle.json                  and the bundle over the same image
        … .cert.pem, .chain.pem                                 certificates of keyless signatures
    PATH/by-digest/sha256/<hex>/                            symbolic links to the evidence about a subject
    PATH/by-run/<uid>/                                      and to the evidence from a run, with
    PATH/by-run/<uid>/.run.json                                 its kind, namespace, name and end

The short name of a predicate is its URI without the scheme. An image signature has the first twelve hex
digits of its image instead. Every form that the record has is written. A file is never overwritten with other
content; the second content gets a name with a part of its digest. Names consist of letters, digits, ``.``,
``_`` and ``-``. Other characters are replaced, and a part of a digest keeps such names distinct.

All file operations run in threads, so a slow disk does not block the event loop.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import orjson

from storage import lean_json
from storage.base import Store, StoreOptions
from storage.durable import problem, replace_file, sync_folder, write_new
from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.files import read_file
from storage.filesystem.deletion import delete_piece
from storage.filesystem.names import ALGORITHM, FORMATS, HEX, RUN
from storage.formats.digest import sha256
from storage.formats.manifests import CERTIFICATE_KEY, CHAIN_KEY
from storage.formats.names import plain_name
from storage.limits import allowance
from storage.limits.allowance import Allowance
from storage.locks import FOLDER_PROTECTION, Doomed, Protection
from storage.record import (
    Evidence,
    Failure,
    Findings,
    ListedRun,
    Origin,
    Receipt,
    Record,
    Skipped,
    Stored,
)

_MOST_NAMES = 10_000
"""The most files that one search reads."""
_LARGEST_RUN = 64 * 1024
"""The largest ``.run.json`` in bytes."""
_LARGEST_PART = 256 * 1024
"""The largest signature, certificate or chain file in bytes."""


class FileStore(Store):
    """Stores records in the folder ``file:PATH``. The folder is created by the first write."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        path = url.removeprefix("file:")
        # Both file:PATH and file://PATH are accepted.
        if path.startswith("//"):
            path = path.removeprefix("//")  # file:///PATH
        if not path:
            raise StoreRejected(f"unknown store {url!r}: expected file:PATH")
        self.url = url
        self._root = Path(path)
        self._fsync = options.fsync

    async def put(self, record: Record) -> Stored:
        """Store every form that ``record`` has; one receipt per file of evidence. See :meth:`Store.put`."""
        try:
            return Stored(tuple(await asyncio.to_thread(self._put, record)))
        except StoreError as exc:
            transient = isinstance(exc, StoreUnavailable)
            return Stored(failures=(Failure(self.url, "file", "", str(exc), transient),))

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return the evidence about ``digest``, which is ``sha256:hex`` or has another algorithm."""
        del reference
        links = self._digest_links(digest)
        if links is None:
            raise StoreRejected(f"cannot search for {digest[:100]!r}: expected algorithm:hex")
        return await asyncio.to_thread(self._find, links)

    async def find_run(self, uid: str) -> Findings:
        """Return the evidence from the run ``uid``."""
        return await asyncio.to_thread(self._find, self._root / "by-run" / plain_name(uid))

    async def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield the runs in the folder; see :meth:`Store.list_runs`."""
        for run in await asyncio.to_thread(self._list):
            if run.ended_within(since, until):
                yield run

    can_delete = True

    async def delete(self, pieces: Sequence[Doomed]) -> list[str]:
        """Delete files and the links to them; see :meth:`Store.delete`."""
        return await asyncio.to_thread(lambda: [delete_piece(self._root, one) for one in pieces])

    async def protection(self) -> Protection:
        """Return that a folder has no locks."""
        return FOLDER_PROTECTION

    def _list(self) -> list[ListedRun]:
        folder = self._root / "by-run"
        try:
            if not self._root.is_dir():
                raise StoreRejected(f"{self._root} is no folder")
            names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        except OSError as exc:
            raise problem("list", folder, exc) from exc
        return [_run_of(folder / name) or ListedRun(Origin("", "", "", name), "") for name in names]

    def _digest_links(self, digest: str) -> Path | None:
        """Return the folder of links for a digest; None if it is not ``algorithm:hex``."""
        algorithm, _, value = digest.partition(":")
        if not ALGORITHM.fullmatch(algorithm) or not HEX.fullmatch(value):
            return None
        return self._root / "by-digest" / algorithm / value

    def _put(self, record: Record) -> list[Receipt]:
        """Write the files of a record and their links. Raises :class:`StoreError`."""
        origin = record.origin
        folder = self._root / plain_name(f"{origin.kind}-{origin.namespace}-{origin.name}")
        stem = plain_name(f"{origin.kind}-{origin.uid}") + "." + _short_name(record)
        parts = list(_parts(record))
        if not any(suffix in FORMATS for suffix, _ in parts):
            raise StoreRejected("the record has no bundle, envelope or signature")
        receipts = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                written = self._write_all(folder / stem, parts)
            except FileExistsError:
                # Another record of the same run and predicate is there: use a name with a digest of this one.
                mark = hashlib.sha256(b"".join(content for _, content in parts)).hexdigest()[:12]
                written = self._write_all(folder / f"{stem}.{mark}", parts)
            for path, data, changed in written:
                receipts.append(Receipt(self.url, "file", "", os.fspath(path), sha256(data), changed))
            # The links come last: a search must not find evidence that is not completely written.
            self._tell_run(record)
            self._link(record, [path for path, _, _ in written])
            if self._fsync:
                sync_folder(folder)
        except OSError as exc:
            raise problem("store", folder / stem, exc) from exc
        return receipts

    def _write_all(self, stem: Path, parts: list[tuple[str, bytes]]) -> list[tuple[Path, bytes, bool]]:
        """Write the files. Return path, bytes and whether it is new for each that is evidence.

        Raises :class:`FileExistsError` if one of them exists with other content.
        """
        evidence = []
        for suffix, data in parts:
            path = stem.with_name(stem.name + suffix)
            changed = self._write(path, data)
            if suffix in FORMATS:
                evidence.append((path, data, changed))
        return evidence

    def _write(self, path: Path, data: bytes) -> bool:
        """Create a file atomically; return False if it exists with these bytes."""
        if _holds(path, data):
            return False
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        try:
            write_new(os.fspath(temporary), data, fsync=self._fsync)
            path.hardlink_to(temporary)  # unlike a rename, this fails if the name exists
        except FileExistsError:
            if not _holds(path, data):
                raise
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _tell_run(self, record: Record) -> None:
        """Write the file that describes the run, unless it exists."""
        folder = self._root / "by-run" / plain_name(record.origin.uid)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RUN).exists():
            run = asdict(record.origin) | {"created": record.created}
            replace_file(folder / RUN, orjson.dumps(run), fsync=self._fsync)

    def _link(self, record: Record, paths: list[Path]) -> None:
        """Link the files of evidence in the folders of the run and of every subject."""
        folders = [self._root / "by-run" / plain_name(record.origin.uid)]
        for subject in record.subjects:
            for algorithm, value in subject.digest.items():
                links = self._digest_links(f"{algorithm}:{value}")
                if links is not None:
                    folders.append(links)
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            for path in paths:
                _make_link(folder, path)
            if self._fsync:
                sync_folder(folder)

    def _find(self, links: Path) -> Findings:
        """Read the files that a folder of links points to. Links that leave the store are skipped."""
        try:
            if not self._root.is_dir():
                raise StoreRejected(f"{self._root} is no folder")
            names, more = _names(links)
            root = self._root.resolve()
        except OSError as exc:
            raise problem("search", links, exc) from exc
        evidence: list[Evidence] = []
        skipped: list[Skipped] = []
        if more:
            skipped.append(
                Skipped(os.fspath(links), "", f"the files after the first {_MOST_NAMES} were not read")
            )
        allowed = allowance.current()
        for name in names:
            result = _read(links / name, root, allowed)
            if isinstance(result, Evidence):
                # The name of the file begins with <kind>-<uid>.
                uid = Path(result.location).name.partition(".")[0].partition("-")[2]
                run = _run_of(self._root / "by-run" / plain_name(uid))
                evidence.append(replace(result, origin=run.origin, created=run.created) if run else result)
            else:
                skipped.append(result)
        return Findings(tuple(evidence), tuple(skipped))


def _holds(path: Path, data: bytes) -> bool:
    """Whether the file exists with exactly these bytes."""
    try:
        return read_file(path, len(data), follow=False) == data
    except OSError:
        return False


def _run_of(folder: Path) -> ListedRun | None:
    """Return the run that a folder's ``.run.json`` describes; None if it cannot be read."""
    try:
        path = folder / RUN
        run = lean_json.loads(read_file(path, _LARGEST_RUN, follow=False))
        origin = Origin(str(run["kind"]), str(run["namespace"]), str(run["name"]), str(run["uid"]))
        return ListedRun(origin, str(run["created"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _short_name(record: Record) -> str:
    """Return the part of a file's name that says what the record is about."""
    if record.is_image_signature:
        value = next(
            (subject.digest["sha256"] for subject in record.subjects if "sha256" in subject.digest), "image"
        )
        return plain_name(value[:12])
    uri = record.predicate_type.partition("://")[2] or record.predicate_type
    return plain_name(uri.replace("/", "-") or "statement")


def _parts(record: Record) -> Iterator[tuple[str, bytes]]:
    """Yield suffix and content of each file; evidence comes after the files that belong to it."""
    if record.is_image_signature:
        yield ".payload", record.payload
    else:
        yield ".payload.json", record.payload
    if record.certificate:
        yield ".cert.pem", record.certificate
    if record.chain:
        yield ".chain.pem", record.chain
    if record.is_image_signature and record.signature:
        yield ".sig", base64.b64encode(record.signature)
    if record.envelope:
        yield ".envelope.json", record.envelope
    if record.bundle:
        yield ".bundle.json", record.bundle


def _make_link(folder: Path, path: Path) -> None:
    """Link to a file; if a file of another run has the same name, under a name with a digest."""
    target = os.path.relpath(path, folder)
    for name in (path.name, f"{hashlib.sha256(target.encode()).hexdigest()[:12]}.{path.name}"):
        link = folder / name
        try:
            link.symlink_to(target)
        except FileExistsError:
            if link.is_symlink() and os.fspath(link.readlink()) != target:
                continue  # the link belongs to a file with the same name from another run
        return


def _names(links: Path) -> tuple[list[str], bool]:
    """Return the names of evidence in a folder, and whether there are more than are read."""
    if not links.is_dir():
        return [], False
    with os.scandir(links) as entries:
        # Two more than the limit: one for .run.json, and one to see that there are more.
        names = [entry.name for entry in islice(entries, _MOST_NAMES + 2) if entry.name != RUN]
    return sorted(names)[:_MOST_NAMES], len(names) > _MOST_NAMES


def _read(link: Path, root: Path, allowed: Allowance) -> Evidence | Skipped:
    """Read one file of evidence, with the signature and certificates that belong to it."""
    try:
        path = link.resolve(strict=True)
        suffix = next((suffix for suffix in FORMATS if path.name.endswith(suffix)), "")
        if not suffix or not path.is_relative_to(root):
            return Skipped(os.fspath(link), "", "its target is not evidence in this store")
        # The evidence of a .sig file is the payload next to it.
        main = path.with_name(path.name.removesuffix(suffix) + ".payload") if suffix == ".sig" else path
        # The path is resolved and inside the store, so from here on no link is followed.
        size = main.lstat().st_size
        # Reserve the bytes before they are read.
        if reason := allowed.take(size):
            return Skipped(os.fspath(link), "", reason)
        data = read_file(main, size, follow=False)
        signature = b""
        if suffix == ".sig":
            signature = base64.b64decode(read_file(path, _LARGEST_PART, follow=False), validate=True)
        stem = path.name.removesuffix(suffix)
        annotations = {
            key: read_file(certificate_file, _LARGEST_PART, follow=False).decode("ascii", "replace")
            for key, name in ((CERTIFICATE_KEY, "cert"), (CHAIN_KEY, "chain"))
            if (certificate_file := path.with_name(f"{stem}.{name}.pem")).is_file()
        }
    except RuntimeError:  # raised by Python before 3.13 for a loop of links
        return Skipped(os.fspath(link), "", "cannot be read: its links form a loop")
    except OSError as exc:
        return Skipped(os.fspath(link), "", f"cannot be read: {exc.strerror}")
    except (binascii.Error, ValueError):
        return Skipped(os.fspath(link), "", "it is not base64")
    digest = sha256(data)
    data = allowed.kept(digest, data)
    return Evidence("file", os.fspath(path), digest, FORMATS[suffix], data, signature, annotations)
