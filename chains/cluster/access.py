"""Where an API server is and how to prove who we are: plain values, whatever they were read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is and how to prove who we are.

    ``token_file`` is read again every minute, and at once when the API server does not take its token.
    """

    server: str
    ca_data: str = ""
    insecure: bool = False
    token: str = ""
    token_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    authorize: Callable[[], str] | None = None
    """Gives the value of the Authorization header; it may run a plugin, so it may take seconds."""
    proxy: str = ""
    server_name: str = ""
    """The name in the server's certificate, where it is not the URL's host."""
    headers: tuple[tuple[str, str], ...] = ()
    """Sent with every request: whom to impersonate."""
    source: str = ""
    """Where all this is from, for people."""
