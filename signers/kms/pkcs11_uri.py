"""URIs of keys on PKCS #11 tokens (RFC 7512), and their PINs.

Such as ``pkcs11:token=T;object=O?module-path=/usr/lib/softhsm/libsofthsm2.so``. Of the path are known
``token``, ``manufacturer``, ``model``, ``serial``, ``slot-id``, ``object``, ``id`` and ``type=private``; of
the query ``module-path`` and ``pin-source`` (a file's path or ``file:`` URI). A ``pin-value`` is refused:
references end up in logs and process lists. Without ``pin-source`` the PIN is ``CHAINS_PKCS11_PIN`` or
``COSIGN_PKCS11_PIN``, without ``module-path`` the module is ``CHAINS_PKCS11_MODULE_PATH`` or
``COSIGN_PKCS11_MODULE_PATH``.
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
_SPLIT = re.compile("[;&]")
_PIN, _MODULE = "PKCS11_PIN", "PKCS11_MODULE_PATH"


@dataclass(frozen=True, slots=True)
class Location:
    """A parsed reference; ``token`` and ``key`` are what their objects must have."""

    module: str
    token: Mapping[str, str]
    key: Mapping[Attribute, Any]
    pin_source: str


def _variable(name: str) -> str:
    return os.environ.get(f"CHAINS_{name}") or os.environ.get(f"COSIGN_{name}") or ""


def read_pin(source: str) -> str:
    """Return the PIN of a file, or of the environment; empty for none. Raises :class:`SignerRejected`."""
    if not source:
        return _variable(_PIN)
    path = Path(source)
    try:
        return read_file(path, _MAX_PIN).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
        raise SignerRejected(f"pkcs11: the PIN's file {path} cannot be read: {reason}") from exc


def parse_uri(reference: str) -> Location:
    """Read a ``pkcs11:`` URI. Raises :class:`SignerRejected`, which does not repeat it."""
    path, _, query = reference.removeprefix("pkcs11:").partition("?")
    found = _pairs(path, _NAMES)
    asked = _pairs(query, frozenset(("module-path", "pin-source", "pin-value")))
    if "pin-value" in asked:
        raise SignerRejected(
            "pkcs11: a PIN in the reference is refused, as references are logged: name a file with "
            "pin-source, or "
            f"set CHAINS_{_PIN}"
        )
    if found.pop("type", b"private") != b"private":
        raise SignerRejected(
            "pkcs11: the reference must name a private key: leave out type, or use type=private"
        )
    key: dict[Attribute, Any] = {}
    if "object" in found:
        key[Attribute.LABEL] = _text(found.pop("object"))
    if "id" in found:
        key[Attribute.ID] = found.pop("id")
    if not key:
        raise SignerRejected(f"pkcs11: the reference names no key: give object or id, as in {_FORM}")
    module = _text(asked.get("module-path", b"")) or _variable(_MODULE)
    if not module:
        raise SignerRejected(f"pkcs11: no module: give module-path, or set CHAINS_{_MODULE}")
    if not Path(module).is_file():
        raise SignerRejected(f"pkcs11: there is no module {module}: install it, or correct module-path")
    source = _text(asked.get("pin-source", b""))
    if source.startswith("|"):
        raise SignerRejected("pkcs11: pin-source names a command: name a file")
    source = re.sub(r"^file:(?://)?", "", source)
    return Location(module, {name: _text(value) for name, value in found.items()}, key, source)


def _pairs(text: str, known: frozenset[str]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in filter(None, _SPLIT.split(text)):
        name, equals, value = part.partition("=")
        if not equals or name not in known or name in found:
            raise SignerRejected(
                f"pkcs11: the reference has an unknown, doubled or empty part: expected {_FORM}"
            )
        found[name] = unquote_to_bytes(value)
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise SignerRejected("pkcs11: a part of the reference is not UTF-8") from exc
