"""Parses URIs of keys on PKCS #11 tokens (RFC 7512), and reads their PINs.

Example: ``pkcs11:token=T;object=O?module-path=/usr/lib/softhsm/libsofthsm2.so``. Path attributes: ``token``,
``manufacturer``, ``model``, ``serial``, ``slot-id``, ``object``, ``id`` and ``type=private``. Query
attributes: ``module-path`` and ``pin-source`` (the path or ``file:`` URI of a file). ``pin-value`` is
refused, because references appear in logs and process lists. The default of ``pin-source`` is the environment
variable ``CHAINS_PKCS11_PIN`` or ``COSIGN_PKCS11_PIN``, that of ``module-path`` is
``CHAINS_PKCS11_MODULE_PATH`` or ``COSIGN_PKCS11_MODULE_PATH``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from pkcs11 import Attribute

from signers.errors import SignerRejected
from signers.files import read_file

_FORM = "pkcs11:token=TOKEN;object=KEY?module-path=/PATH/TO/MODULE.so&pin-source=/PATH/TO/PIN"
_NAMES = frozenset(("token", "manufacturer", "model", "serial", "slot-id", "object", "id", "type"))
_MAX_PIN = 4096
"""The largest PIN file in bytes."""
_SPLIT = re.compile("[;&]")
_PIN, _MODULE = "PKCS11_PIN", "PKCS11_MODULE_PATH"


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed reference. ``token`` and ``key`` are the attributes that the token and the key must have."""

    module: str
    token: Mapping[str, str]
    key: Mapping[Attribute, Any]
    pin_source: str


def _variable(name: str) -> str:
    """Return the environment variable with our prefix, else with cosign's, else empty."""
    return os.environ.get(f"CHAINS_{name}") or os.environ.get(f"COSIGN_{name}") or ""


def read_pin(source: str) -> str:
    """Return the PIN from a file or the environment; empty if there is none.

    Raises :class:`SignerRejected` for a file that cannot be read.
    """
    if not source:
        return _variable(_PIN)
    path = Path(source)
    try:
        return read_file(path, _MAX_PIN).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise SignerRejected(f"pkcs11: the PIN file {path} cannot be read: {reason}") from exc


def parse_uri(reference: str) -> Location:
    """Parse a ``pkcs11:`` URI. Raises :class:`SignerRejected`, whose text does not repeat the URI."""
    path, _, query = reference.removeprefix("pkcs11:").partition("?")
    attributes = _pairs(path, _NAMES)
    query_attributes = _pairs(query, frozenset(("module-path", "pin-source", "pin-value")))
    if "pin-value" in query_attributes:
        raise SignerRejected(
            "pkcs11: a PIN in the reference is refused, because references are logged: name a file with "
            f"pin-source, or set CHAINS_{_PIN}"
        )
    if attributes.pop("type", b"private") != b"private":
        raise SignerRejected(
            "pkcs11: the reference must name a private key: leave out type, or use type=private"
        )
    key: dict[Attribute, Any] = {}
    if "object" in attributes:
        key[Attribute.LABEL] = _text(attributes.pop("object"))
    if "id" in attributes:
        key[Attribute.ID] = attributes.pop("id")
    if not key:
        raise SignerRejected(f"pkcs11: the reference names no key: give object or id, as in {_FORM}")
    module = _text(query_attributes.get("module-path", b"")) or _variable(_MODULE)
    if not module:
        raise SignerRejected(f"pkcs11: no module: give module-path, or set CHAINS_{_MODULE}")
    if not Path(module).is_file():
        raise SignerRejected(f"pkcs11: there is no module {module}: install it, or correct module-path")
    source = _text(query_attributes.get("pin-source", b""))
    # RFC 7512, section 2.4: a leading "|" runs a command, which is never done here.
    if source.startswith("|"):
        raise SignerRejected("pkcs11: pin-source names a command: name a file")
    source = re.sub(r"^file:(?://)?", "", source)
    return Location(module, {name: _text(value) for name, value in attributes.items()}, key, source)


def _pairs(text: str, known: frozenset[str]) -> dict[str, bytes]:
    """Return the attributes of a part of the URI. Raises :class:`SignerRejected` for unknown ones."""
    attributes: dict[str, bytes] = {}
    for part in filter(None, _SPLIT.split(text)):
        name, equals, value = part.partition("=")
        if not equals or name not in known or name in attributes:
            raise SignerRejected(
                f"pkcs11: the reference has an unknown, doubled or empty part: expected {_FORM}"
            )
        attributes[name] = unquote_to_bytes(value)
    return attributes


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise SignerRejected("pkcs11: a part of the reference is not UTF-8") from exc
