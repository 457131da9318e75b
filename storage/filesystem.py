"""The store in a plain folder, for people and other programs to read: one file for each piece of evidence.

::

    PATH/taskrun-default-build/                             <kind>-<namespace>-<name> of the run
        taskrun-<uid>.slsa.dev-provenance-v1.payload.json       the statement
        taskrun-<uid>.slsa.dev-provenance-v1.envelope.json      DSSE, form A
        taskrun-<uid>.slsa.dev-provenance-v1.bundle.json        Sigstore bundle, form B
        taskrun-<uid>.3d7f1b2c9a10.payload                      an image signature: what was signed,
        taskrun-<uid>.3d7f1b2c9a10.sig                          the raw signature in base64
        taskrun-<uid>.3d7f1b2c9a10.bundle.json                  and the bundle over the same image
        … .cert.pem, .chain.pem                                 beside any of them, for keyless signatures
    PATH/by-digest/sha256/<hex>/                            symbolic links to the evidence about a subject
    PATH/by-run/<uid>/                                      and to the evidence from a run, with
    PATH/by-run/<uid>/.run.json                                 its kind, namespace, name and end

The predicate's short name is its URI without the scheme; an image signature has the first twelve hex digits
of its image instead. Whatever the record has is written, in both forms. A file is never written over by
another content: the second one gets a part of a digest into its name. Names hold letters, digits, ``.``,
``_`` and ``-``; others are replaced, and a part of a digest keeps such names apart.

Every call works in a thread, so a slow disk holds nothing else up.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import orjson

from storage import lean_json
from storage.base import Store, StoreOptions
from storage.durable import problem, replace_file, sync_folder, write_new
from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.files import read_file
from storage.formats.digest import sha256
from storage.formats.manifests import CERTIFICATE_KEY, CHAIN_KEY
from storage.formats.names import plain_name
from storage.limits import allowance
from storage.limits.allowance import Allowance
from storage.record import Evidence, Failure, Findings, ListedRun, Origin, Receipt, Record, Skipped, Stored

FORMATS = {".bundle.json": "bundle-v0.3", ".envelope.json": "dsse", ".sig": "simplesigning"}
_HEX = re.compile(r"[0-9a-f]{2,256}")
_ALGORITHM = re.compile(r"[A-Za-z0-9_]{1,40}")
_RUN = ".run.json"
_MOST_NAMES = 10_000
"""Files that one search reads."""
_LARGEST_RUN = 64 * 1024
_LARGEST_PART = 256 * 1024
"""Bytes of a signature, certificate or chain beside evidence."""


class FileStore(Store):
    """Stores records in the folder at the URL's path, which is made when it is first written to."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        path = url.removeprefix("file:")
        if path.startswith("//"):
            path = path.removeprefix("//")  # file:///PATH
        if not path:
            raise StoreRejected(f"unknown store {url!r}: expected file:PATH")
        self.url = url
        self._root = Path(path)
        self._fsync = options.fsync

    async def put(self, record: Record) -> Stored:
        """Store whatever ``record`` has; one receipt for each file of evidence. See :meth:`Store.put`."""
        try:
            return Stored(tuple(await asyncio.to_thread(self._put, record)))
        except StoreError as exc:
            transient = isinstance(exc, StoreUnavailable)
            return Stored(failures=(Failure(self.url, "file", "", str(exc), transient),))

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return what the folder has about ``digest``, ``sha256:hex`` or another algorithm's."""
        del reference
        links = self._digest_links(digest)
        if links is None:
            raise StoreRejected(f"cannot look for {digest[:100]!r}: expected algorithm:hex")
        return await asyncio.to_thread(self._find, links)

    async def find_run(self, uid: str) -> Findings:
        """Return what came from the run ``uid``."""
        return await asyncio.to_thread(self._find, self._root / "by-run" / plain_name(uid))

    async def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield the runs of the folder; see :meth:`Store.list_runs`."""
        for run in await asyncio.to_thread(self._list):
            if run.ended_within(since, until):
                yield run

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
        algorithm, _, value = digest.partition(":")
        if not _ALGORITHM.fullmatch(algorithm) or not _HEX.fullmatch(value):
            return None
        return self._root / "by-digest" / algorithm / value

    def _put(self, record: Record) -> list[Receipt]:
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
                mark = hashlib.sha256(b"".join(content for _, content in parts)).hexdigest()[:12]
                written = self._write_all(folder / f"{stem}.{mark}", parts)
            for path, data, changed in written:
                receipts.append(Receipt(self.url, "file", "", os.fspath(path), sha256(data), changed))
            self._tell_run(record)
            self._link(record, [path for path, _, _ in written])
            if self._fsync:
                sync_folder(folder)
        except OSError as exc:
            raise problem("store", folder / stem, exc) from exc
        return receipts

    def _write_all(self, stem: Path, parts: list[tuple[str, bytes]]) -> list[tuple[Path, bytes, bool]]:
        """Write the files and return those that are evidence, with whether they are new.

        Raises :class:`FileExistsError` when one of them exists with another content.
        """
        evidence = []
        for suffix, data in parts:
            path = stem.with_name(stem.name + suffix)
            changed = self._write(path, data)
            if suffix in FORMATS:
                evidence.append((path, data, changed))
        return evidence

    def _write(self, path: Path, data: bytes) -> bool:
        """Make a file, whole from the first moment; False when it is there with these bytes."""
        if _holds(path, data):
            return False
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        try:
            write_new(os.fspath(temporary), data, fsync=self._fsync)
            path.hardlink_to(temporary)  # unlike a rename it fails when the name is taken
        except FileExistsError:
            if not _holds(path, data):
                raise
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _tell_run(self, record: Record) -> None:
        folder = self._root / "by-run" / plain_name(record.origin.uid)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / _RUN).exists():
            run = asdict(record.origin) | {"created": record.created}
            replace_file(folder / _RUN, orjson.dumps(run), fsync=self._fsync)

    def _link(self, record: Record, paths: list[Path]) -> None:
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
        """Read the files that a folder of links leads to; links out of the store lead nowhere."""
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
            skipped.append(Skipped(os.fspath(links), "", f"it has more than {_MOST_NAMES} files: not read"))
        allowed = allowance.current()
        for name in names:
            found = _read(links / name, root, allowed)
            if isinstance(found, Evidence):
                uid = Path(found.location).name.partition(".")[0].partition("-")[2]
                run = _run_of(self._root / "by-run" / plain_name(uid))
                evidence.append(replace(found, origin=run.origin, created=run.created) if run else found)
            else:
                skipped.append(found)
        return Findings(tuple(evidence), tuple(skipped))


def _holds(path: Path, data: bytes) -> bool:
    try:
        return read_file(path, len(data), follow=False) == data
    except OSError:
        return False


def _run_of(folder: Path) -> ListedRun | None:
    try:
        path = folder / _RUN
        run = lean_json.loads(read_file(path, _LARGEST_RUN, follow=False))
        origin = Origin(str(run["kind"]), str(run["namespace"]), str(run["name"]), str(run["uid"]))
        return ListedRun(origin, str(run["created"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def _short_name(record: Record) -> str:
    if record.is_image_signature:
        value = next((one.digest["sha256"] for one in record.subjects if "sha256" in one.digest), "image")
        return plain_name(value[:12])
    uri = record.predicate_type.partition("://")[2] or record.predicate_type
    return plain_name(uri.replace("/", "-") or "statement")


def _parts(record: Record) -> Iterator[tuple[str, bytes]]:
    """Yield suffix and content of each file, what others explain first."""
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
    target = os.path.relpath(path, folder)
    for name in (path.name, f"{hashlib.sha256(target.encode()).hexdigest()[:12]}.{path.name}"):
        link = folder / name
        try:
            link.symlink_to(target)
        except FileExistsError:
            if link.is_symlink() and os.fspath(link.readlink()) != target:
                continue  # a file of that name from another run
        return


def _names(links: Path) -> tuple[list[str], bool]:
    """Return the names of evidence in a folder, and whether there are more than are read."""
    if not links.is_dir():
        return [], False
    with os.scandir(links) as found:
        names = [entry.name for entry in islice(found, _MOST_NAMES + 2) if entry.name != _RUN]
    return sorted(names)[:_MOST_NAMES], len(names) > _MOST_NAMES


def _read(link: Path, root: Path, allowed: Allowance) -> Evidence | Skipped:
    """Read one file of evidence, and what belongs to it beside it."""
    try:
        path = link.resolve(strict=True)
        suffix = next((suffix for suffix in FORMATS if path.name.endswith(suffix)), "")
        if not suffix or not path.is_relative_to(root):
            return Skipped(os.fspath(link), "", "it leads to no evidence of this store")
        main = path.with_name(path.name.removesuffix(suffix) + ".payload") if suffix == ".sig" else path
        # no link is followed any more: what is read is in the store
        size = main.lstat().st_size
        if reason := allowed.take(size):
            return Skipped(os.fspath(link), "", reason)
        data = read_file(main, size, follow=False)
        signature = b""
        if suffix == ".sig":
            signature = base64.b64decode(read_file(path, _LARGEST_PART, follow=False), validate=True)
        stem = path.name.removesuffix(suffix)
        annotations = {
            key: read_file(beside, _LARGEST_PART, follow=False).decode("ascii", "replace")
            for key, name in ((CERTIFICATE_KEY, "cert"), (CHAIN_KEY, "chain"))
            if (beside := path.with_name(f"{stem}.{name}.pem")).is_file()
        }
    except RuntimeError:  # how older Pythons call a loop of links
        return Skipped(os.fspath(link), "", "cannot be read: its links lead in a circle")
    except OSError as exc:
        return Skipped(os.fspath(link), "", f"cannot be read: {exc.strerror}")
    except (binascii.Error, ValueError):
        return Skipped(os.fspath(link), "", "it is not base64")
    digest = sha256(data)
    data = allowed.kept(digest, data)
    return Evidence("file", os.fspath(path), digest, FORMATS[suffix], data, signature, annotations)
