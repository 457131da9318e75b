"""Deletes evidence from a folder: its file, what belongs to it alone, and the links to it."""

from __future__ import annotations

import os
from pathlib import Path

from storage.durable import problem, sync_folder
from storage.files import read_file
from storage.filesystem.names import ALGORITHM, FORMATS, HEX, RUN
from storage.formats.digest import sha256
from storage.formats.names import plain_name
from storage.locks import Doomed


def delete_piece(root: Path, piece: Doomed) -> str:
    """Delete a file of evidence, what belongs to it alone, and the links to it. Return why it is still there.

    Links go first, so that no search finds a link to nothing. A later call goes on where one was killed.
    """
    path = Path(piece.location)
    suffix = next((suffix for suffix in FORMATS if path.name.endswith(suffix)), "")
    try:
        root = root.resolve()
        parent = path.parent.resolve()
        if not suffix or parent.parent != root or parent.name in {"by-run", "by-digest"}:
            return f"{piece.location}: it is no evidence of {root}"
        path = parent / path.name
        if reason := _is_other(path, suffix, piece.digest):
            return reason
        _unlink_links(root, path, piece)
        path.unlink(missing_ok=True)
        stem = path.name.removesuffix(suffix)
        if suffix == ".sig":
            path.with_name(f"{stem}.payload").unlink(missing_ok=True)
        if not any(path.with_name(stem + other).exists() for other in FORMATS):
            for name in (".payload.json", ".payload", ".cert.pem", ".chain.pem"):
                path.with_name(stem + name).unlink(missing_ok=True)
        if parent.exists():
            sync_folder(parent)
        if parent.exists() and not any(parent.iterdir()):
            parent.rmdir()
    except OSError as exc:
        return str(problem("delete", path, exc))
    return ""


def _is_other(path: Path, suffix: str, digest: str) -> str:
    """Return why a file is not the evidence with this digest, empty if it is, or if there is none."""
    main = path.with_name(path.name.removesuffix(suffix) + ".payload") if suffix == ".sig" else path
    try:
        actual = sha256(read_file(main, main.lstat().st_size, follow=False))
    except FileNotFoundError:
        return ""
    return "" if actual == digest else f"{path}: expected {digest}, got {actual}: it was replaced, and stays"


def _unlink_links(root: Path, path: Path, piece: Doomed) -> None:
    """Remove the links that lead to a file, and folders of links that are empty then."""
    folders = [root / "by-run" / plain_name(piece.uid)] if piece.uid else []
    for subject in piece.about:
        algorithm, _, value = subject.partition(":")
        if ALGORITHM.fullmatch(algorithm) and HEX.fullmatch(value):
            folders.append(root / "by-digest" / algorithm / value)
    for folder in folders:
        if not folder.is_dir():
            continue
        target = os.path.relpath(path, folder)
        for link in folder.iterdir():
            if link.is_symlink() and os.fspath(link.readlink()) == target:
                link.unlink(missing_ok=True)
        if {one.name for one in folder.iterdir()} <= {RUN}:
            (folder / RUN).unlink(missing_ok=True)
            folder.rmdir()
