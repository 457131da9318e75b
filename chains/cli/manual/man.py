"""The command ``man``: write the man pages of every command to a folder."""

from __future__ import annotations

from pathlib import Path

import click

from chains import __version__
from chains.cli.arguments import FOLDER, OK, Argument, Options
from chains.cli.commands import Command
from chains.terminal import say


def _man(options: Options) -> int:
    """Write ``man1/`` and ``man7/`` below the folder."""
    from chains.cli.manual.pages import man_pages  # noqa: PLC0415 - imports every command

    folder = Path(options.folder)
    pages = man_pages(click.get_current_context().find_root().command, __version__)
    for name, text in pages.items():
        path = folder / f"man{name[-1]}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    say(f"{len(pages)} man pages are in {folder}; read one with: man -M {folder} chains")
    return OK


man = Command(
    "man", _man, [Argument("folder", "the folder to write man1/ and man7/ to", "FOLDER", type=FOLDER)]
)
