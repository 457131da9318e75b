"""The documents of the store ``docdb`` as values: Tekton Chains' own, and how two of them compare."""

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
"""The fields that are read: all but ``Object``, which follows from ``Signed`` and takes most of the room."""
Document = Mapping[str, Any]


def chains_document(signed: SignedDocument) -> dict[str, Any]:
    """Return Chains' six fields; every number in ``Object`` is a float, as Go reads JSON.

    Raises :class:`StoreRejected` for a payload that is no JSON.
    """
    try:
        value = lean_json.loads(signed.payload, lean_json.MOST_PAYLOAD_VALUES)
    except orjson.JSONDecodeError as exc:
        raise StoreRejected("docdb takes JSON payloads only, as tekton chains does") from exc
    return {
        "Name": signed.key,
        "Signed": signed.payload,
        "Signature": base64.b64encode(signed.signature).decode("ascii"),
        "Cert": signed.certificate.decode("utf-8", "replace"),
        "Chain": signed.chain.decode("utf-8", "replace"),
        "Object": _as_go(value),
    }


def signed_document(name: str, document: Document) -> SignedDocument:
    """Read Chains' document. Raises :class:`ValueError` and its like for what is none."""
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
    if isinstance(value, dict):
        return {key: _as_go(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_go(one) for one in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def same(there: Document | None, document: Document) -> bool:
    """Whether two documents are equal: all but ``Object``, which follows from ``Signed``."""
    if there is None:
        return False
    fields = (there.keys() | document.keys()) - {"Object", "Name"}
    return all((there.get(field) or None) == (document.get(field) or None) for field in fields)


def size_of(value: Any) -> int:
    """Return about how many bytes a value takes in a database."""
    if isinstance(value, Mapping):
        return sum(len(key.encode()) + 1 + size_of(one) for key, one in value.items())
    if isinstance(value, list):
        return sum(1 + size_of(one) for one in value)
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    return len(value) if isinstance(value, bytes) else 8
