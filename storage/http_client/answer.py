"""One HTTP answer: status, headers and body, and the error codes and messages in the body."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass, field
from typing import Any

import orjson
from multidict import CIMultiDictProxy
from yarl import URL

from storage import lean_json
from storage.limits.pool import Hold

ERROR_TEXT = 256
"""The most characters of an answer that an error repeats."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and the whole body."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    url: URL
    address: str = ""
    """The address of the server; empty if a proxy answered."""
    hold: Hold | None = field(default=None, repr=False, compare=False)
    """The memory reserved for the body in :data:`storage.http_client.exchange.BODIES`. Keep it as long as the
    body."""

    @property
    def retry_after(self) -> float:
        """The seconds that the ``Retry-After`` header asks for; 0 without one."""
        value = self.headers.get("Retry-After", "")
        # Retry-After is a number of seconds or an HTTP date (RFC 9110, section 10.2.3).
        if value.isdecimal():
            return float(value)
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except (TypeError, ValueError):
            return 0.0

    @property
    def words(self) -> list[tuple[str, str]]:
        """The codes and messages in the answer's body. They are foreign text."""
        try:
            document = lean_json.loads(self.body, lean_json.FEW_VALUES)
        except orjson.JSONDecodeError:
            plain = self.headers.get("Content-Type", "").partition(";")[0].strip() == "text/plain"
            return [("", self.body[:ERROR_TEXT].decode("utf-8", "replace").strip())] if plain else []
        return _words(document)

    @property
    def text(self) -> str:
        """Status and messages on one line, fit for an error."""
        messages = "; ".join(": ".join(word for word in words if word) for words in self.words)[:ERROR_TEXT]
        return f"answered {self.status} {''.join(c if c.isprintable() else ' ' for c in messages)}".rstrip()


def _words(document: object) -> list[tuple[str, str]]:
    """Return codes and messages of an error as registries, proxies and clouds write them."""
    if not isinstance(document, dict):
        return []
    errors = document.get("errors")
    if isinstance(errors, list):
        return [_word(entry) for entry in errors if isinstance(entry, dict)]
    error = document.get("error")
    return [_word(error if isinstance(error, dict) else document)]


def _word(entry: dict[str, Any]) -> tuple[str, str]:
    """Return code and message of one error."""
    message = str(entry.get("message") or "")
    detail = entry.get("detail")
    if isinstance(detail, dict):
        detail = detail.get("message") or detail.get("description")
    if isinstance(detail, str) and detail and detail not in message:
        message = f"{message} ({detail})" if message else detail
    code = entry.get("code")
    # Google's errors have the HTTP status as number in "code" and the name in "status".
    return str((entry.get("status") if isinstance(code, int) else code) or ""), message
