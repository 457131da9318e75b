"""Sigstore's policy-controller: ClusterImagePolicy, and a TrustRoot where certificates are trusted.

Source: policy-controller 0.13.1, ``pkg/apis`` and ``pkg/webhook``. One key or identity is one authority, any
of which admits. Several policies that match an image must all admit. An authority is asked about one
statement at a time. Evidence is read from tags (``.att``): it verifies no bundle by a key, and none with the
logs of a TrustRoot, because ``ConvertTransparencyLogInstance`` stores a log's id as hexadecimal text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from chains.documents.load import read_bytes
from chains.errors import UsageError
from chains.evidence.key_documents import trust_root
from chains.policy.document.format import Mode
from chains.policy.document.policy import Policy
from chains.policy.engines.demands import (
    VOLUMES,
    Limits,
    OneSigner,
    Voucher,
    identity_of,
    signers_of_type,
    unexpressed,
    vouchers,
)
from chains.policy.engines.generated import Effect, Generated, Limit, document_name, metadata
from chains.policy.engines.globs import policy_controller_glob
from chains.policy.engines.provenance import EXPRESSED, VERSIONS, Fields, value_limits
from chains.policy.engines.rego import provenance_rule
from chains.policy.opened import OpenedPolicy, located

Json = Mapping[str, Any]
_SETUP = (
    Limit(Effect.SETUP, "match", "label each namespace to guard: policy.sigstore.dev/include: true"),
    Limit(
        Effect.SETUP,
        "match.images",
        "registries are compared by case: set no-match-policy: deny in ConfigMap config-policy-controller",
    ),
)
_TAGS = Limit(
    Effect.SETUP,
    "trust",
    "evidence is read from tags: storage.oci.encoding-format must be dsse or both",
)
_TIME = Limit(
    Effect.WEAKER,
    "trust",
    "a certificate's signature counts without a verified time while the certificate is valid, some minutes",
)
_NO_TIME = Limit(
    Effect.STRICTER,
    "trust",
    "the trusted root has no timestamp authority, without which certificates count for some minutes alone",
)


def generate(opened: OpenedPolicy, now: datetime) -> Generated:
    """Return the ClusterImagePolicies of a policy. Raises :class:`chains.errors.UsageError`.

    Each predicate type that must exist is a policy of its own: all of them have to admit the image.
    """
    policy = opened.policy
    limits = [
        *unexpressed(policy, EXPRESSED, now),
        *_unmatched(policy),
        *value_limits(policy.require),
    ]
    globs = _globs(policy, limits)
    writer = _Writer(opened, limits)
    groups = [("", writer.provenance(vouchers(opened, now, limits)))]
    for number, predicate_type in enumerate(policy.require.predicates, 1):
        attestation = {"name": "statement", "predicateType": predicate_type}
        signers = signers_of_type(opened, predicate_type, now, limits)
        found = [authority for one in signers for authority in writer.authorities(one, attestation)]
        groups.append((f"-{number}", found))
    documents = [_policy(policy, suffix, globs, found) for suffix, found in groups] if globs else []
    if writer.has_identity:
        documents.insert(0, _trust_root(policy))
        limits.append(_TIME)
        if not documents[0]["spec"]["sigstoreKeys"]["timestampAuthorities"]:
            limits.append(_NO_TIME)
    return Generated(policy, documents, (*limits, _TAGS, *_SETUP, VOLUMES))


class _Writer:
    """Writes authorities, and remembers whether certificates are trusted."""

    def __init__(self, opened: OpenedPolicy, limits: Limits) -> None:
        self._policy, self._limits = opened.policy, limits
        self._root = {"trustRootRef": f"{document_name(opened.policy)}-root"}
        self.has_identity = False

    def provenance(self, found: Iterable[Voucher]) -> list[Json]:
        """Return the authorities that vouch for provenance of either SLSA version."""
        return [
            authority
            for voucher in found
            for fields in VERSIONS
            for authority in self.authorities(voucher.signer, self._provenance(voucher, fields))
        ]

    def _provenance(self, voucher: Voucher, fields: Fields) -> Json:
        data = provenance_rule(voucher.builder_id, self._policy.require, fields)
        rule = {"type": "rego", "data": data}
        return {"name": "provenance", "predicateType": fields.predicate_type, "policy": rule}

    def authorities(self, signer: OneSigner, attestation: Json) -> list[Json]:
        """Return the authorities for one signer of an attestation, none where it cannot be written."""
        if signer.key is not None:
            key = {"data": signer.key.pem.decode(), "hashAlgorithm": "sha256"}
            return [{"key": key, "attestations": [attestation]}]
        identity = identity_of(signer, self._limits)
        if identity is None:
            return []
        self.has_identity = True
        keyless = {**self._root, "identities": [identity]}
        return [{"keyless": keyless, "rfc3161timestamp": self._root, "attestations": [attestation]}]


def _globs(policy: Policy, limits: Limits) -> list[str]:
    found = []
    for pattern in policy.images:
        glob = policy_controller_glob(pattern)
        if glob is None:
            limits.append(Limit(Effect.WEAKER, "match.images", f"{pattern.text} cannot be written as a glob"))
        else:
            found.append(glob)
    return found


def _unmatched(policy: Policy) -> Limits:
    """Return what of ``match`` and ``mode`` is not expressed."""
    found = []
    if policy.namespaces is not None:
        told = "the engine knows no namespaces of a policy: it is for all namespaces with the label"
        found.append(Limit(Effect.STRICTER, "match.namespaces", told))
    if policy.mode is Mode.AUDIT:
        found.append(Limit(Effect.STRICTER, "mode", "audit becomes warn: whoever applies a pod is told"))
    return found


def _policy(policy: Policy, suffix: str, globs: Sequence[str], authorities: Sequence[Json]) -> Json:
    nobody = {"static": {"action": "fail", "message": "the policy accepts no signer that counts now"}}
    named = [
        {"name": f"authority-{number}", **authority}
        for number, authority in enumerate(authorities or [nobody], 1)
    ]
    return {
        "apiVersion": "policy.sigstore.dev/v1beta1",
        "kind": "ClusterImagePolicy",
        "metadata": metadata(policy, suffix),
        "spec": {
            "images": [{"glob": glob} for glob in globs],
            "authorities": named,
            "mode": "enforce" if policy.mode is Mode.ENFORCE else "warn",
        },
    }


def _trust_root(policy: Policy) -> Json:
    try:
        written = trust_root([read_bytes(Path(located(policy.trusted_root, policy)))])
    except UsageError as error:
        raise UsageError(f"policy {policy.name}: {error}") from error
    root: Json = json.loads(written)
    return {**root, "metadata": metadata(policy, "-root")}
