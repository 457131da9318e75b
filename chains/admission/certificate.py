"""The server's certificate: read from files, and again when they change, without a break.

Each change makes a fresh context, and connections that begin later get it. ``load_cert_chain`` on a context
in use is not safe: it keeps a certificate of another key type beside the new one, and a failed load has
already dropped the old one.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from chains.documents.load import read_bytes
from chains.errors import InputError
from chains.text import told

INTERVAL = 2.0
"""Seconds between two looks at the files."""
_LARGEST = 1 << 20
CERTIFICATE, KEY = "tls.crt", "tls.key"
"""The files of a Secret of the type ``kubernetes.io/tls``."""
_log = logging.getLogger("chains.admission")


class Certificate:
    """Keeps :attr:`context` usable for a server, with the newest good certificate of a folder.

    ``client_ca`` is a file with the CAs of client certificates; with it, clients have to present one. Raises
    :class:`InputError` if there is no good certificate at the start.
    """

    def __init__(
        self, folder: Path, client_ca: Path | None = None, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._folder, self._client_ca, self._on_change = folder, client_ca, on_change
        self._seen = self._read()
        self._current, self.expires = self._load(self._seen)
        self.refused = ""
        """Why the newest certificate is not in use, empty if it is."""
        # the listener keeps this context, which says whether clients need certificates; each connection is
        # given the certificate and the client CAs of the current one
        self.context = self._load(self._seen)[0]
        self.context.sni_callback = self._swap

    def _swap(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        connection.context = self._current

    async def look(self) -> None:
        """Look once, and use a new certificate if it is good. Never raises."""
        try:
            found = await asyncio.to_thread(self._read)
            if found == self._seen and not self.refused:
                return
            self._current, self.expires = await asyncio.to_thread(self._load, found)
        except InputError as error:
            if str(error) != self.refused:
                _log.error(
                    "the newest certificate is refused; the last good one is used",
                    extra={"reason": told(str(error))},
                )
            self.refused = str(error)
        else:
            self._seen, self.refused = found, ""
            _log.info("a new certificate is in use", extra={"expires": self.expires})
        self._on_change()

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.look()

    def _read(self) -> tuple[bytes, ...]:
        files = [
            self._folder / CERTIFICATE,
            self._folder / KEY,
            *([self._client_ca] if self._client_ca else []),
        ]
        return tuple(read_bytes(file, _LARGEST) for file in files)

    def _load(self, seen: tuple[bytes, ...]) -> tuple[ssl.SSLContext, float]:
        """Return a context with the certificate, and when it ends, in seconds since 1970."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self._folder / CERTIFICATE, self._folder / KEY)
            if self._client_ca is not None:
                context.load_verify_locations(cadata=seen[2].decode("ascii"))
                context.verify_mode = ssl.CERT_REQUIRED
            expires = x509.load_pem_x509_certificate(seen[0]).not_valid_after_utc.timestamp()
        except (OSError, ValueError) as error:
            told_why = getattr(error, "reason", None) or error
            raise InputError(f"{self._folder}: the certificate cannot be used: {told_why}") from error
        return context, expires
