"""How to reach an API server and authenticate to it, as plain values, wherever they were read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the API server and authenticate to it.

    ``token_file`` is read again every minute, and at once when the API server refuses its token.
    """

    server: str
    ca_data: str = ""
    insecure: bool = False
    token: str = ""
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    authorize: Callable[[], str] | None = None
    """Returns the value of the Authorization header. It may run a plugin, so it may take seconds."""
    proxy: str = ""
    server_name: str = ""
    """The name in the server's certificate, if it is not the host in the URL."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers of every request: the user to impersonate."""
    source: str = ""
    """The source of these values, for people."""
