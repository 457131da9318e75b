"""Google's application default credentials as headers, for requests that do not use Google's clients."""

from __future__ import annotations

import asyncio
from typing import Any

from storage.errors import StoreRejected
from storage.google.errors import explain_google
from storage.threads import Blocking


class GoogleLogin:
    """Credentials that renew themselves. Errors name ``where`` and the ``permission`` that is needed."""

    def __init__(self, where: str, permission: str, scope: str) -> None:
        self._where, self._scope = where, scope
        self._threads = Blocking("google", lambda error, action: explain_google(error, action, permission))
        self._credentials: Any = None
        self._renewing = asyncio.Lock()

    async def headers(self) -> dict[str, str]:
        """Return the headers that authenticate a request. Raises :class:`StoreError`."""
        if not self._is_valid():
            # One renewal for all requests that wait for it.
            async with self._renewing:
                if not self._is_valid():
                    await self._threads.run(f"log in to {self._where}", self._renew)
        headers: dict[str, str] = {}
        self._credentials.apply(headers)
        return headers

    def _is_valid(self) -> bool:
        return self._credentials is not None and bool(self._credentials.valid)

    def _renew(self) -> None:
        """Load or refresh the credentials. Blocks."""
        try:
            import google.auth  # noqa: PLC0415 - loaded where it is used
            from google.auth.transport.requests import Request  # noqa: PLC0415
        except ImportError as exc:
            raise StoreRejected(f"{exc}: install provenance-chains with its extra gcp") from exc
        if self._credentials is None:
            self._credentials, _ = google.auth.default(scopes=[self._scope])
        if not self._credentials.valid:
            self._credentials.refresh(Request())

    async def close(self) -> None:
        """Release the threads. A later call starts new ones."""
        await self._threads.close()
