"""Rekor v1: ``dsse`` entries for envelopes, ``hashedrekord`` entries for other signatures.

Source: sigstore/rekor ``openapi.yaml`` and its types ``dsse`` 0.0.1 and ``hashedrekord`` 0.0.1. The whole
envelope is sent to the log, which stores its hashes and the signature. Entries have a signed time.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from signers.errors import FormatError, SignerRejected, SignerUnavailable, VerificationError
from signers.keys.public_key import PublicKey
from signers.sigstore.log_entry import check_body, parse_body, verify_promise
from signers.sigstore.service import MAX_ANSWER_VALUES, Reply, Service, expect_success, without_user
from signers.sigstore.signed import Signed
from signers.sigstore.transparency import (
    LogEntry,
    TransparencyLog,
    number,
    verify_inclusion,
)
from signers.sigstore.trusted_root import TrustedRoot
from signers.strict_json import expect_few

PATH = "/api/v1/log/entries"
_LARGE = 1024 * 1024
"""The size in bytes above which 502 is taken for a refusal: load balancers answer it to requests that are too
large, and a retry would fail again."""


class RekorV1(TransparencyLog):
    """A Rekor v1 log at ``url``. With ``root`` its answers are verified with the log's key."""

    refuses_equal = False

    def __init__(self, url: str, root: TrustedRoot | None = None, *, timeout: float = 30.0) -> None:
        self.url = url.rstrip("/")
        self._root = root
        self._service = Service(url, "transparency log", timeout=timeout)

    def check_key(self, key: PublicKey) -> None:
        """Return: Rekor v1 accepts every supported key."""

    def add(self, signed: Signed) -> LogEntry:
        """Add an entry, or fetch the equal one that exists; see :meth:`TransparencyLog.add`."""
        proposed = propose(signed)
        reply = self._service.post_json(PATH, proposed)
        # Rekor v1 answers 409 if it has an equal entry: use that one, a retry must not make a second entry.
        if reply.status == HTTPStatus.CONFLICT:
            reply = self._equal_entry(reply)
        # 502 alone would count as transient, and an entry that is too large would be retried forever.
        too_large = {HTTPStatus.BAD_GATEWAY, HTTPStatus.REQUEST_ENTITY_TOO_LARGE}
        if reply.status in too_large and len(orjson.dumps(proposed)) > _LARGE:
            raise SignerRejected(
                f"{reply.where} answered {reply.status} to an entry of more than {_LARGE} bytes: use a "
                "rekor v2 log, which takes the hash alone"
            )
        answer = expect_success(reply).json
        try:
            return self.check(entry_of(answer), signed)
        except (VerificationError, FormatError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise SignerUnavailable(f"{reply.where}: its answer does not verify: {error}") from error

    def check(self, content: Mapping[str, Any], signed: Signed) -> LogEntry:
        """Return the verified entry; see :meth:`TransparencyLog.check`."""
        check_entry(content, signed, self._root)
        index = number(content, "logIndex")
        return LogEntry(content, index, f"{without_user(self.url)}{PATH}?logIndex={index}")

    def _equal_entry(self, conflict: Reply) -> Reply:
        """Fetch the entry that a 409 answer names in its ``Location`` header."""
        # Only the path is used: the answer must not direct the request to another host.
        location = urlsplit(conflict.headers.get("Location", "")).path
        if not location.startswith(PATH):
            raise SignerUnavailable(
                f"{conflict.where} has this entry already, but its answer has no location of it"
            )
        return self._service.request("GET", location, headers={"Accept": "application/json"})


def propose(signed: Signed) -> dict[str, Any]:
    """Return the request for a new entry: ``dsse`` for an envelope, ``hashedrekord`` for other data."""
    verifier = b64encode(_pem(signed)).decode()
    if signed.envelope is not None:
        envelope = signed.envelope.to_bytes().decode()
        content = {"envelope": envelope, "verifiers": [verifier]}
        return {"apiVersion": "0.0.1", "kind": "dsse", "spec": {"proposedContent": content}}
    signature = {"content": b64encode(signed.signature).decode(), "publicKey": {"content": verifier}}
    digest = {"algorithm": "sha256", "value": hashlib.sha256(signed.data).hexdigest()}
    spec = {"data": {"hash": digest}, "signature": signature}
    return {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}


def entry_of(answer: dict[str, Any]) -> dict[str, Any]:
    """Return a log's answer with one entry as a ``TransparencyLogEntry``.

    Hexadecimal becomes base64 and numbers become text, as in protobuf's JSON form.
    """
    # The answer is an object with one member, whose name is the UUID of the entry.
    (entry,) = answer.values()
    verification = entry["verification"]
    proof = verification["inclusionProof"]
    body = entry["body"]
    data = _decode(body)
    expect_few(data, "the body of the log entry", MAX_ANSWER_VALUES)
    kind = orjson.loads(data)
    return {
        "logIndex": str(entry["logIndex"]),
        "logId": {"keyId": _hex(entry["logID"])},
        "kindVersion": {"kind": kind["kind"], "version": kind["apiVersion"]},
        "integratedTime": str(entry["integratedTime"]),
        "inclusionPromise": {"signedEntryTimestamp": verification["signedEntryTimestamp"]},
        "inclusionProof": {
            "logIndex": str(proof["logIndex"]),
            "rootHash": _hex(proof["rootHash"]),
            "treeSize": str(proof["treeSize"]),
            "hashes": [_hex(digest) for digest in proof["hashes"]],
            "checkpoint": {"envelope": proof["checkpoint"]},
        },
        "canonicalizedBody": body,
    }


def check_entry(content: Mapping[str, Any], signed: Signed, root: TrustedRoot | None) -> None:
    """Return if the entry proves that this signature is in the log. Raises :class:`VerificationError`."""
    body = parse_body(verify_inclusion(content, root))
    # Without a trusted root there is no key of the log, so only the hashes of the proof can be checked.
    if root is not None:
        verify_promise(content, root)
    check_body(body, signed)


def _pem(signed: Signed) -> bytes:
    if not signed.certificate:
        return signed.key.pem
    return x509.load_der_x509_certificate(signed.certificate).public_bytes(Encoding.PEM)


def _decode(text: str) -> bytes:
    return b64decode(text, validate=True)


def _hex(text: str) -> str:
    return b64encode(bytes.fromhex(text)).decode()
