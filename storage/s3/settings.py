"""Parses store URLs ``s3://BUCKET[/PREFIX][?setting=value&…]``, and the rules of retention in them.

Settings: ``region``, ``endpoint``, ``addressing-style`` (``auto``, ``path``, ``virtual``), ``ca-file``,
``sse`` (``AES256``, ``aws:kms``), ``sse-kms-key-id``, ``object-lock`` (``governance``, ``compliance``),
``retain-days``, ``legal-hold`` and ``snapshots`` (``true``, ``false``). Whatever is not set is taken from the
sources of the AWS SDK: environment, shared files, web identity, instance role. Proxies come from the
environment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from storage.errors import StoreRejected
from storage.redacted_url import shown

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(?:/[A-Za-z0-9!_.*'()-]+)*")
_LONGEST_PREFIX = 200
"""The longest prefix in characters. The longest key then stays below S3's limit of 1024 bytes."""
_MOST_DAYS = 36_500
"""The longest retention: a hundred years."""
_CHOICES = {
    "addressing_style": ("auto", "path", "virtual"),
    "sse": ("", "AES256", "aws:kms"),
    "object_lock": ("", "governance", "compliance"),
    "snapshots": ("true", "false"),
}


@dataclass(frozen=True, slots=True)
class Lock:
    """The protection of one object: ``mode`` (``GOVERNANCE``, ``COMPLIANCE`` or ``""``), days, legal hold."""

    mode: str
    days: int
    hold: bool


@dataclass(frozen=True, slots=True)
class S3Settings:
    """One bucket and prefix. The fields after ``prefix`` are the settings of the URL."""

    bucket: str
    prefix: str = ""
    region: str = ""
    endpoint: str = ""
    addressing_style: str = "auto"
    ca_file: str = ""
    sse: str = ""
    sse_kms_key_id: str = ""
    object_lock: str = ""
    retain_days: str = ""
    """``DAYS``, or ``PATTERN=DAYS`` for namespaces, separated by commas. The first match counts."""
    legal_hold: str = ""
    """Patterns of namespaces, separated by commas; ``*`` matches all."""
    snapshots: str = "true"

    def __post_init__(self) -> None:
        """Check every value. Raises :class:`StoreRejected` with what was expected."""
        if not _BUCKET.fullmatch(self.bucket):
            raise StoreRejected(
                f"{self.bucket[:100]!r} is not the name of a bucket: expected s3://BUCKET[/PREFIX]"
            )
        if self.prefix and (not _PREFIX.fullmatch(self.prefix) or len(self.prefix) > _LONGEST_PREFIX):
            raise StoreRejected(
                f"prefix {self.prefix[:100]!r}: expected at most {_LONGEST_PREFIX} letters, digits, "
                "! _ . * ' ( ) - and single slashes"
            )
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                words = ", ".join(word or "nothing" for word in known)
                shown = name.replace("_", "-")
                raise StoreRejected(f"{shown} {getattr(self, name)[:40]!r}: expected one of {words}")
        if self.sse_kms_key_id and self.sse != "aws:kms":
            raise StoreRejected("sse-kms-key-id needs sse aws:kms")
        if self.endpoint:
            _check_endpoint(self.endpoint)
        rules = self._rules()
        # Either setting alone would silently lock nothing.
        if self.object_lock and not rules:
            raise StoreRejected("object-lock needs retain-days, such as 365 or prod-*=2555,*=365")
        if rules and not self.object_lock:
            raise StoreRejected("retain-days needs object-lock, governance or compliance")

    @property
    def url(self) -> str:
        """``s3://BUCKET[/PREFIX]``, the name of the store in receipts and messages."""
        return f"s3://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    @property
    def root(self) -> str:
        """The beginning of every key."""
        return f"{self.prefix}/" if self.prefix else ""

    @property
    def locks(self) -> bool:
        """Whether any object may be locked. The bucket must then support it."""
        return bool(self.object_lock or self.legal_hold)

    def lock_for(self, namespace: str) -> Lock | None:
        """Return the protection of objects from ``namespace``; None if there is none."""
        # The rules are few, so they are parsed again for each namespace instead of being stored.
        days = next((days for pattern, days in self._rules() if fnmatchcase(namespace, pattern)), 0)
        patterns = (pattern.strip() for pattern in self.legal_hold.split(","))
        hold = any(fnmatchcase(namespace, pattern) for pattern in patterns if pattern)
        if not days and not hold:
            return None
        return Lock(self.object_lock.upper() if days else "", days, hold)

    def _rules(self) -> list[tuple[str, int]]:
        """Return the patterns of ``retain_days`` with their days. Raises :class:`StoreRejected`."""
        rules = []
        for part in filter(None, (part.strip() for part in self.retain_days.split(","))):
            pattern, equals, days = part.rpartition("=")
            if not days.isascii() or not days.isdecimal() or not int(days) <= _MOST_DAYS:
                raise StoreRejected(
                    f"retain-days {part[:60]!r}: expected DAYS or PATTERN=DAYS, at most {_MOST_DAYS} days"
                )
            rules.append((pattern.strip() if equals else "*", int(days)))
        return rules


def parse_s3_url(url: str) -> S3Settings:
    """Parse an ``s3:`` URL. Raises :class:`StoreRejected`."""
    try:
        parts = urlsplit(url)
    except ValueError as exc:
        raise StoreRejected(f"{shown(url)[:100]!r} is not a URL: expected s3://BUCKET[/PREFIX]") from exc
    if "@" in parts.netloc:
        raise StoreRejected("an s3: URL must not contain credentials: configure them for the AWS SDK")
    if parts.scheme != "s3" or not parts.netloc or parts.fragment:
        raise StoreRejected(f"unknown store {shown(url)[:100]!r}: expected s3://BUCKET[/PREFIX]")
    known = {field.name.replace("_", "-"): field.name for field in fields(S3Settings)[2:]}
    given = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            raise StoreRejected(f"unknown setting {name[:40]!r}: expected one of {', '.join(known)}")
        given[known[name]] = value
    return S3Settings(parts.netloc, parts.path.strip("/"), **given)


def s3_url(bucket: str, prefix: str, settings: dict[str, str]) -> str:
    """Return the URL with the ``settings`` that are not empty; :func:`parse_s3_url` reads it."""
    query = urlencode(
        {name: value for name, value in settings.items() if value}, quote_via=quote, errors="replace"
    )
    path = prefix.strip("/")
    return f"s3://{bucket}" + (f"/{path}" if path else "") + (f"?{query}" if query else "")


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or "@" in endpoint:
        raise StoreRejected("endpoint: expected https://HOST[:PORT], without a user or password")
