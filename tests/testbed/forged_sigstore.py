"""A Sigstore instance without servers. All of its keys are available, so it can make any wrong evidence.

Its valid evidence equals that of the real services; ``tests/interop/test_forged_evidence.py`` has stock
cosign verify it. Everything else is wrong evidence that a verifier must detect.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.testbed.certificates import NO_USAGE
from tests.testbed.ct_log import SHA256_ECDSA, der, promise
from tests.testbed.forged_timestamps import Stamp, make_authority, make_root, stamp
from tests.testbed.rekor_v1 import merkle
from tests.testbed.sigstore_keys import Authority, SigstoreKeys, authority_of, log_of, make_keys, trusted_root

Json = Any
NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
"""The beginning of valid certificates, which last ten minutes. It is fixed, so the evidence is never from the
future."""
ENDED = {"start": "2025-01-01T00:00:00Z", "end": "2025-02-01T00:00:00Z"}
"""The time of authorities and logs that are in the trusted root but no longer count."""
IDENTITY = "https://kubernetes.io/namespaces/tekton-chains/serviceaccounts/tekton-chains-controller"
ISSUER = "https://kubernetes.default.svc"
V1, V2 = "rekor-v1.example", "rekor.example"
_ISSUER_V1 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
_ISSUER_V2 = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_OCTET_STRING, _UTF8_STRING = 0x04, 0x0C


def private_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key."""
    return ec.generate_private_key(ec.SECP256R1())


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Return the signature over ``data``."""
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public half in DER."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def encoded(data: bytes) -> str:
    """Return ``data`` in base64."""
    return base64.b64encode(data).decode()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The content of a certificate; the defaults are valid."""

    identity: str = IDENTITY
    issuer: str = ISSUER
    old_issuer: str = ""
    usages: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.CODE_SIGNING,)
    may_sign: bool = True
    has_usage: bool = True
    """Whether it has a key usage extension."""
    names: int = 1
    alternatives: tuple[x509.GeneralName, ...] = ()
    """Names of other kinds instead of the identity."""
    issuer_der: bytes = b""
    """The issuer extension, for one that is not text."""
    start: datetime = NOW
    is_authority: bool = False
    is_logged: bool = True
    promised_for: str = ""
    """The identity in the certificate that the log signed, if it is another one."""
    sct_key: ec.EllipticCurvePrivateKey | None = None
    """The key of the promise, if it is not the log's."""
    promised_by: tuple[ec.EllipticCurvePrivateKey, ...] = ()
    """Other logs whose promises come first."""
    extension: x509.UnrecognizedExtension | None = None
    """A further critical extension."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How a log entry is made; the defaults are valid."""

    host: str = V2
    origin: str = ""
    signed_as: str = ""
    """The name in the checkpoint's signature, if it is not the log's."""
    key: ec.EllipticCurvePrivateKey | None = None
    """The key of checkpoint and promise, if it is not the log's."""
    moment: datetime = NOW + timedelta(minutes=1)
    kind: str = ""
    """The kind stated in the bundle, if it is wrong."""


@dataclass(slots=True)
class Instance:
    """All secrets of an instance, of another one with the same URLs, and of its expired parts."""

    fulcio: Authority
    tsa_root: Authority
    tsa: Authority
    ct: ec.EllipticCurvePrivateKey = field(default_factory=private_key)
    logs: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)

    @classmethod
    def new(cls) -> Instance:
        """Return an instance with new keys."""
        root = make_root(NOW)
        logs = {V1: private_key(), V2: private_key()}
        return cls(make_keys(NOW).fulcio, root, make_authority(root, NOW), logs=logs)

    def trusted_root(self, ended: Instance, *others: Authority) -> Json:
        """Return the trusted root, with all of ``ended`` for the time until it ended.

        ``others`` are timestamp authorities that do not belong there.
        """
        keys = SigstoreKeys(self.fulcio, self.tsa, self.ct, self.logs[V2])
        found = trusted_root(
            keys, "https://fulcio.example", f"https://{V2}", "https://ct.example", "https://tsa.example"
        )
        found["tlogs"].append(log_of(self.logs[V1], f"https://{V1}"))
        for host in (V2, V1):
            found["tlogs"].append(log_of(ended.logs[host], f"https://{host}"))
        found["ctlogs"].append(log_of(ended.ct, "https://ct.example"))
        for one in (*found["tlogs"][2:], *found["ctlogs"][1:]):
            one["publicKey"]["validFor"] = ENDED
        for name, authority in (
            ("certificateAuthorities", ended.fulcio),
            ("timestampAuthorities", ended.tsa),
        ):
            found[name].append({**authority_of(authority, "https://ended.example"), "validFor": ENDED})
        found["timestampAuthorities"] += [authority_of(one, "https://bad.example") for one in others]
        return found

    def certificate(self, key: ec.EllipticCurvePrivateKey, wanted: Wanted | None = None) -> bytes:
        """Return a certificate for ``key`` in DER, its certificate timestamp embedded."""
        wanted = wanted or Wanted()
        serial, chain = x509.random_serial_number(), self.fulcio.chain

        def build(identity: str, *last: tuple[x509.ExtensionType, bool]) -> bytes:
            builder = _builder(wanted, identity, serial, chain[0].subject).public_key(key.public_key())
            for extension, is_critical in last:
                builder = builder.add_extension(extension, critical=is_critical)
            return builder.sign(self.fulcio.key, hashes.SHA256()).public_bytes(Encoding.DER)

        if not wanted.is_logged:
            return build(wanted.identity)
        precertificate = build(wanted.promised_for or wanted.identity, (x509.PrecertPoison(), True))
        issuer = chain[0].public_bytes(Encoding.DER)
        answers = []
        for log in (*wanted.promised_by, self.ct):
            signs = wanted.sct_key or log
            answers.append(promise(signs, precertificate, issuer, wanted.start.timestamp()))
            answers[-1]["id"] = encoded(hashlib.sha256(spki(log)).digest())
        return build(wanted.identity, (x509.UnrecognizedExtension(_SCT_LIST, _sct_list(answers)), False))

    def timestamp(self, data: bytes, wanted: Stamp | None = None) -> bytes:
        """Return a timestamp response in DER."""
        return stamp(self.tsa, data, wanted or Stamp(NOW + timedelta(minutes=1)))

    def entry(self, body: Json | bytes, wanted: Entry | None = None) -> Json:
        """Return the ``TransparencyLogEntry`` of a body, the third of five in its tree."""
        wanted = wanted or Entry()
        text = (
            body
            if isinstance(body, bytes)
            else json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        )
        kind = {"kind": "hashedrekord", "version": "0.0.2"} if isinstance(body, bytes) else {
            "kind": body["kind"], "version": body["apiVersion"]}  # fmt: skip
        log_key, is_v1 = self.logs[wanted.host], wanted.host == V1
        log_id, key = hashlib.sha256(spki(log_key)).digest(), wanted.key or log_key
        level = [hashlib.sha256(b"\0" + one).digest() for one in (b"a", b"b", text, b"d", b"e")]
        root, path = merkle(level, 2)
        note = f"{wanted.origin or wanted.host + (' - 42' if is_v1 else '')}\n{len(level)}\n{encoded(root)}\n"
        signature = encoded(log_id[:4] + sign(key, note.encode()))
        entry = {
            "logIndex": "1002" if is_v1 else "2",
            "logId": {"keyId": encoded(log_id)},
            "kindVersion": {**kind, "kind": wanted.kind or kind["kind"]},
            "integratedTime": str(int(wanted.moment.timestamp())) if is_v1 else "0",
            "inclusionProof": {
                "logIndex": "2",
                "rootHash": encoded(root),
                "treeSize": str(len(level)),
                "hashes": [encoded(one) for one in path],
                "checkpoint": {
                    "envelope": f"{note}\n\N{EM DASH} {wanted.signed_as or wanted.host} {signature}\n"
                },
            },
            "canonicalizedBody": encoded(text),
        }
        if is_v1:
            entry["inclusionPromise"] = {"signedEntryTimestamp": encoded(sign(key, _promised(entry)))}
        return entry


def body_v2(signature: bytes, data: bytes, verifier: Json) -> Json:
    """Return a hashedrekord of Rekor v2."""
    return {
        "apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
            "data": {"algorithm": "SHA2_256", "digest": encoded(hashlib.sha256(data).digest())},
            "signature": {"content": encoded(signature), "verifier": {"keyDetails": "PKIX_ECDSA_P256_SHA_256", **verifier}},
        }},
    }  # fmt: skip


def body_v1(signature: bytes, envelope: Json, pem: bytes, kind: str = "dsse") -> Json:
    """Return a ``dsse`` or ``intoto`` entry of Rekor v1 about an envelope."""
    payload = _hash(base64.b64decode(envelope["payload"]))
    if kind == "intoto":
        twice = encoded(encoded(signature).encode())
        signed = {
            "payloadType": envelope["payloadType"],
            "signatures": [{"publicKey": encoded(pem), "sig": twice}],
        }
        content = {"envelope": signed, "hash": _hash(b"envelope"), "payloadHash": payload}
        return {"apiVersion": "0.0.2", "kind": kind, "spec": {"content": content}}
    signatures = [{"signature": encoded(signature), "verifier": encoded(pem)}]
    spec = {
        "envelopeHash": _hash(json.dumps(envelope).encode()),
        "payloadHash": payload,
        "signatures": signatures,
    }
    return {"apiVersion": "0.0.1", "kind": kind, "spec": spec}


def pem_of(certificate: bytes) -> bytes:
    """Return a certificate's PEM."""
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)


def _promised(entry: Json) -> bytes:
    content = {
        "body": entry["canonicalizedBody"],
        "integratedTime": int(entry["integratedTime"]),
        "logID": base64.b64decode(entry["logId"]["keyId"]).hex(),
        "logIndex": int(entry["logIndex"]),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _hash(data: bytes) -> Json:
    return {"algorithm": "sha256", "value": hashlib.sha256(data).hexdigest()}


def _builder(wanted: Wanted, identity: str, serial: int, issuer: x509.Name) -> x509.CertificateBuilder:
    uris = [x509.UniformResourceIdentifier(f"{identity}{'x' * more}") for more in range(wanted.names)]
    names: list[x509.GeneralName] = [*wanted.alternatives] or [*uris]
    issuer_der = wanted.issuer_der or der(_UTF8_STRING, wanted.issuer.encode())
    may_sign = {"digital_signature": wanted.may_sign, "key_agreement": not wanted.may_sign}
    found: Sequence[tuple[x509.ExtensionType, bool] | None] = [
        (x509.KeyUsage(**NO_USAGE | may_sign), True) if wanted.has_usage else None,
        (x509.ExtendedKeyUsage(wanted.usages), False) if wanted.usages else None,
        (x509.SubjectAlternativeName(names), True) if names else None,
        (x509.UnrecognizedExtension(_ISSUER_V1, wanted.old_issuer.encode()), False) if wanted.old_issuer else None,
        (x509.UnrecognizedExtension(_ISSUER_V2, issuer_der), False)
        if wanted.issuer else None,
        (x509.BasicConstraints(ca=True, path_length=None), True) if wanted.is_authority else None,
        (wanted.extension, True) if wanted.extension else None,
    ]  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer)
        .serial_number(serial)
        .not_valid_before(wanted.start)
        .not_valid_after(wanted.start + timedelta(minutes=10))
    )
    for one in found:
        builder = builder.add_extension(one[0], critical=one[1]) if one else builder
    return builder


def _sct_list(answers: Sequence[dict[str, object]]) -> bytes:
    """Return the extension of RFC 6962 section 3.3 with the timestamps of logs' answers."""
    listed = b""
    for answer in answers:
        signature = base64.b64decode(str(answer["signature"]))
        assert signature.startswith(SHA256_ECDSA)
        moment = int(str(answer["timestamp"])).to_bytes(8, "big")
        sct = b"\x00" + base64.b64decode(str(answer["id"])) + moment + b"\x00\x00" + signature
        listed += len(sct).to_bytes(2, "big") + sct
    return der(_OCTET_STRING, len(listed).to_bytes(2, "big") + listed)
