"""A set of public keys in the forms that other verifiers read. Pure: keys in, one document out.

Verifiers that know no time windows get the keys that count now. Revoked keys are left out, and keys outside
their window that are not retired. The key set has all keys.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from chains.errors import UsageError
from chains.statements.statement import SLSA_V1
from signers.errors import FormatError
from signers.keys.keyset import ListedKey, write_keyset
from signers.sigstore.trusted_root import MAX_BYTES, Authority, Log, TrustedRoot
from signers.strict_json import parse_object

CONFIG_MAP = "chains-public-keys"
_ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
_ROOT_LISTS = ("tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities")
_LABELS = {"app.kubernetes.io/part-of": "tekton-chains"}


@dataclass(frozen=True, slots=True)
class Where:
    """The names in the documents, apart from keys.

    ``namespace`` is that of the ConfigMap, ``images`` a glob of a policy's images, ``form`` how their
    evidence is stored: ``dsse`` or ``sigstore-bundle``.
    """

    namespace: str = "tekton-chains"
    images: str = "**"
    form: str = "dsse"


def counting(keys: Sequence[ListedKey], now: datetime) -> list[ListedKey]:
    """Return the keys that count now, without a trusted time. Raises :class:`UsageError` for none."""
    found = [key for key in keys if not key.problem(now)]
    if not found:
        raise UsageError("no key counts now: all are revoked or outside their time; --format keyset has them")
    return found


def export_keys(form: str, keys: Sequence[ListedKey], where: Where, now: datetime) -> bytes:
    """Return the document in a format. All but ``pem`` are JSON, so also YAML. Raises :class:`UsageError`."""
    if form == "keyset":
        return write_keyset(keys)
    usable = counting(keys, now)
    if form == "pem":
        return _pem(usable)
    if form == "configmap":
        return _json(_config_map(keys, usable, where.namespace))
    if form == "policy-controller":
        if where.form != "dsse":
            raise UsageError("policy-controller reads key-signed evidence in the form dsse alone")
        return _json(_cluster_image_policy(usable, where.images))
    return _json(_cluster_policy(usable, where))


def merge_trusted_roots(roots: Sequence[bytes]) -> bytes:
    """Return one trusted root with the logs and authorities of all, each once. Raises :class:`UsageError`.

    Sigstore's trusted root has no field for the keys of signers: verifiers get them separately.
    """
    merged: dict[str, Any] = {"mediaType": _ROOT_TYPE} | {name: [] for name in _ROOT_LISTS}
    try:
        for data in roots:
            TrustedRoot.from_bytes(data)
            root: dict[str, Any] = parse_object(data, "trusted root", MAX_BYTES)
            for name in _ROOT_LISTS:
                merged[name] += [one for one in root.get(name) or [] if one not in merged[name]]
        written = _json(merged)
        TrustedRoot.from_bytes(written)
    except FormatError as error:
        raise UsageError(f"--trusted-root: {error}") from error
    return written


def trust_root(roots: Sequence[bytes]) -> bytes:
    """Return policy-controller's TrustRoot with the logs and authorities of all. Raises :class:`UsageError`.

    Source: ``policy.sigstore.dev/v1alpha1`` ``SigstoreKeys``. It has no times. Logs and
    authorities that have ended are in it too, because evidence from before stays valid. It identifies a log
    by the SHA-256 of its key, so a log with another id, as Rekor v2 may have, is left out.
    """
    root = TrustedRoot.from_bytes(merge_trusted_roots(roots))
    keys = {
        "certificateAuthorities": [_authority(one) for one in root.certificate_authorities],
        "tLogs": [_log(one) for one in root.logs if _is_known_by_key(one)],
        "ctLogs": [_log(one) for one in root.ct_logs if _is_known_by_key(one)],
        "timestampAuthorities": [_authority(one) for one in root.timestamp_authorities],
    }
    if not keys["certificateAuthorities"] and not keys["timestampAuthorities"]:
        raise UsageError("--trusted-root: has no authority, and a TrustRoot without one is refused")
    return _json(_object("policy.sigstore.dev/v1alpha1", "TrustRoot", {"sigstoreKeys": keys}))


def _authority(authority: Authority) -> Mapping[str, Any]:
    if not authority.url:
        raise UsageError("--trusted-root: an authority has no uri, and a TrustRoot needs it; add it there")
    subject = authority.chain[-1].subject
    return {
        # the schema requires both; policy-controller reads neither
        "subject": {
            "organization": _part(subject, NameOID.ORGANIZATION_NAME) or "sigstore",
            "commonName": _part(subject, NameOID.COMMON_NAME) or authority.url,
        },
        "uri": authority.url,
        "certChain": _base64(b"".join(one.public_bytes(Encoding.PEM) for one in authority.chain)),
    }


def _part(name: x509.Name, kind: x509.ObjectIdentifier) -> str:
    return next((str(one.value) for one in name.get_attributes_for_oid(kind)), "")


def _log(log: Log) -> Mapping[str, Any]:
    pem = log.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {"baseURL": log.url, "hashAlgorithm": "sha-256", "publicKey": _base64(pem)}


def _is_known_by_key(log: Log) -> bool:
    spki = log.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest() == log.log_id


def _base64(data: bytes) -> str:
    return b64encode(data).decode()


def _pem(keys: Sequence[ListedKey]) -> bytes:
    return b"".join(key.key.pem.rstrip() + b"\n" for key in keys)


def _config_map(keys: Sequence[ListedKey], usable: Sequence[ListedKey], namespace: str) -> Mapping[str, Any]:
    """Return the ConfigMap, and the Role that lets every authenticated account read it."""
    metadata = {"name": CONFIG_MAP, "namespace": namespace, "labels": _LABELS}
    rule = {
        "apiGroups": [""],
        "resources": ["configmaps"],
        "resourceNames": [CONFIG_MAP],
        "verbs": ["get", "list", "watch"],
    }
    rbac = "rbac.authorization.k8s.io"
    items = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {"chains.pub": _pem(usable).decode(), "keyset.json": write_keyset(keys).decode()},
        },
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": [rule]},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": CONFIG_MAP},
            "subjects": [{"apiGroup": rbac, "kind": "Group", "name": "system:authenticated"}],
        },
    ]
    return {"apiVersion": "v1", "kind": "List", "items": items}


def _cluster_image_policy(keys: Sequence[ListedKey], images: str) -> Mapping[str, Any]:
    """Return policy-controller's policy, which demands provenance by one of the keys."""
    authorities = [
        {
            "name": f"chains-{number}",
            "key": {"data": key.key.pem.decode(), "hashAlgorithm": "sha256"},
            "attestations": [{"name": "provenance", "predicateType": SLSA_V1}],
        }
        for number, key in enumerate(keys, 1)
    ]
    spec = {"images": [{"glob": images}], "authorities": authorities}
    return _object("policy.sigstore.dev/v1beta1", "ClusterImagePolicy", spec)


def _cluster_policy(keys: Sequence[ListedKey], where: Where) -> Mapping[str, Any]:
    """Return Kyverno's policy, which demands provenance by at least one of the keys."""
    entries = [
        {
            "keys": {
                "publicKeys": key.key.pem.decode(),
                "rekor": {"ignoreTlog": True},
                "ctlog": {"ignoreSCT": True},
            }
        }
        for key in keys
    ]
    verify = {
        "type": "Cosign" if where.form == "dsse" else "SigstoreBundle",
        "imageReferences": ["*" if where.images == "**" else where.images],
        "failureAction": "Enforce",
        "mutateDigest": False,
        "attestations": [{"type": SLSA_V1, "attestors": [{"count": 1, "entries": entries}]}],
    }
    pods = {"any": [{"resources": {"kinds": ["Pod"]}}]}
    rule = {"name": "provenance", "match": pods, "verifyImages": [verify]}
    spec = {"background": False, "webhookConfiguration": {"failurePolicy": "Fail"}, "rules": [rule]}
    return _object("kyverno.io/v1", "ClusterPolicy", spec)


def _object(version: str, kind: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": CONFIG_MAP}, "spec": spec}


def _json(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)
