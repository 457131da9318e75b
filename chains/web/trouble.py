"""What a viewer is told about an error of the server: no path, no database, nothing of its files."""

from __future__ import annotations

import logging

from aiohttp import web

from chains.errors import ChainsError
from chains.index.errors import IndexAbsent
from chains.text import told
from chains.web.viewer import LOCAL, VIEWER

_log = logging.getLogger("chains.web")


def of_index(error: ChainsError) -> str:
    """Return what is the matter with the index."""
    if isinstance(error, IndexAbsent):
        return "the index is not built: chains index build makes one"
    return "the index cannot be read now, so nothing was searched"


def told_to(request: web.Request, error: ChainsError, words: str) -> str:
    """Return ``words`` for the viewer of a request, and write the error to the log.

    The user of this machine is told the error itself: it names a file of their own.
    """
    write(error)
    return told(str(error)) if request.get(VIEWER) is LOCAL else words


def write(error: ChainsError) -> None:
    """Write an error of the server to the log."""
    _log.error("an answer could not be made", extra={"reason": told(str(error))})
