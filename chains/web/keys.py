"""Where the parts of the application find each other."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from chains.web.files.beside import Files
from chains.web.settings import WebSettings
from chains.web.source import Source

SOURCE: Final = web.AppKey("source", Source)
"""The index and the stores: pages and API ask it."""
SETTINGS: Final = web.AppKey("settings", WebSettings)
HEALTH: Final = web.AppKey("health", web.Application)
"""The application of the health port, for the process that serves both."""
FILES: Final = web.AppKey("files", Files)
"""What is read from files beside the index."""
API: Final = web.AppKey("api", str)
"""The path below which the API is; not there without it."""
LOGOUT: Final = web.AppKey("logout", str)
"""The path to which a form is sent that ends a login; not there without logins."""
