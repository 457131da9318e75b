"""The documents of the store ``docdb`` as values: Tekton Chains' format, and comparison of two documents."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson

from storage import lean_json
from storage.errors import StoreRejected
from storage.formats.chains_document import SignedDocument

INDEX = ".index"
READ = ("Signed", "Signature", "Cert", "Chain", "Subjects", "Run", "Origin", "Bundle", "Listed", "Names")
"""The fields that are read. ``Object`` is left out: it can be computed from ``Signed`` and is the largest."""
Document = Mapping[str, Any]


def chains_document(signed: SignedDocument) -> dict[str, Any]:
    """Return Chains' six fields. Numbers in ``Object`` are floats, because Go parses JSON numbers so.

    Raises :class:`StoreRejected` for a payload that is not JSON.
    """
    try:
        value = lean_json.loads(signed.payload, lean_json.MOST_PAYLOAD_VALUES)
    except orjson.JSONDecodeError as exc:
        raise StoreRejected("docdb stores JSON payloads only, as tekton chains does") from exc
    return {
        "Name": signed.key,
        "Signed": signed.payload,
        "Signature": base64.b64encode(signed.signature).decode("ascii"),
        "Cert": signed.certificate.decode("utf-8", "replace"),
        "Chain": signed.chain.decode("utf-8", "replace"),
        "Object": _as_go(value),
    }


def signed_document(name: str, document: Document) -> SignedDocument:
    """Parse Chains' document. Raises :class:`KeyError`, :class:`TypeError` or :class:`ValueError`."""
    try:
        signature = base64.b64decode(document["Signature"], validate=True)
    except binascii.Error as exc:
        raise ValueError("Signature is not base64") from exc
    payload = document["Signed"]
    if not isinstance(payload, bytes):
        raise TypeError("Signed is not binary")
    certificate, chain = (str(document.get(field) or "").encode() for field in ("Cert", "Chain"))
    return SignedDocument(name, payload, signature, certificate, chain)


def _as_go(value: Any) -> Any:
    """Return a JSON value with floats in place of integers."""
    if isinstance(value, dict):
        return {key: _as_go(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_go(item) for item in value]
    # bool is a subclass of int in Python.
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def same(stored: Document | None, document: Document) -> bool:
    """Whether two documents are equal, apart from ``Object``, which can be computed from ``Signed``."""
    if stored is None:
        return False
    # Empty values and absent fields are equal, because databases drop empty values.
    fields = (stored.keys() | document.keys()) - {"Object", "Name"}
    return all((stored.get(field) or None) == (document.get(field) or None) for field in fields)


def size_of(value: Any) -> int:
    """Return about how many bytes a value takes in a database."""
    if isinstance(value, Mapping):
        return sum(len(key.encode()) + 1 + size_of(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(1 + size_of(item) for item in value)
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    return len(value) if isinstance(value, bytes) else 8
