"""Reads a Sigstore signing configuration: which Fulcio, log and timestamp authority to use now.

Source: sigstore/protobuf-specs ``SigningConfig`` v0.2, JSON form. One service of each kind is chosen: among
those valid now with a supported API version, that of the newest version and the latest start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from signers.errors import FormatError, SignerRejected
from signers.files import read_file
from signers.shapes import SIGNING_CONFIG
from signers.sigstore.trusted_root import Period, read_period
from signers.strict_json import check_shape, member, objects, parse_object

_MEDIA_TYPE = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Services:
    """The chosen URLs; empty where the configuration names no usable service."""

    fulcio: str
    log: str
    log_version: int
    """1 or 2; 0 if there is no log."""
    timestamp: str


def load_signing_config(path: Path, moment: datetime | None = None) -> Services:
    """Return the services that the file names for ``moment``, by default for now.

    Raises :class:`SignerRejected` for a file that cannot be read, :class:`FormatError` for its content.
    """
    what = f"signing config {path}"
    try:
        data = read_file(path, _MAX_BYTES)
    except OSError as error:
        raise SignerRejected(f"{what} cannot be read: {error.strerror}") from error
    content = parse_object(data, what, _MAX_BYTES)
    check_shape(content, SIGNING_CONFIG, what)
    media_type = member(content, "mediaType", str, what)
    if media_type != _MEDIA_TYPE:
        raise FormatError(f"{what}: mediaType is {media_type[:96]!r}: expected {_MEDIA_TYPE}")
    moment = moment or datetime.now(UTC)
    log, version = _newest(content, "rekorTlogUrls", (1, 2), moment, what)
    return Services(
        fulcio=_newest(content, "caUrls", (1,), moment, what)[0],
        log=log,
        log_version=version,
        timestamp=_newest(content, "tsaUrls", (1,), moment, what)[0],
    )


def _newest(
    content: Mapping[str, object], name: str, versions: tuple[int, ...], moment: datetime, what: str
) -> tuple[str, int]:
    """Return URL and API version of the service to use, ``("", 0)`` if none fits."""
    usable: list[tuple[int, datetime, str]] = []
    value = content.get(name, [])
    if not isinstance(value, list):
        raise FormatError(f"{what}: {name} is not an array")
    for service in objects(value, f"{what}: {name}"):
        version = member(service, "majorApiVersion", int, f"{what}: {name}")
        valid: Period = read_period(service.get("validFor"), f"{what}: {name}")
        if version in versions and moment in valid:
            # A service without a start is the oldest, so that any other one is preferred.
            start = valid.start or datetime.min.replace(tzinfo=UTC)
            usable.append((version, start, member(service, "url", str, f"{what}: {name}")))
    if not usable:
        return "", 0
    # Tuples compare in order: the newest API version first, then the latest start.
    version, _, url = max(usable)
    return url, version
