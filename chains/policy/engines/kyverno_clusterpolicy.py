"""Kyverno's older ClusterPolicy with ``verifyImages``.

Source: Kyverno 1.19.1, ``pkg/engine/internal/imageverifier.go``. Attestations and rules are demanded all
together. Only the signers of one attestation are alternatives, and conditions do not know which of them
signed. So one builder and one version of provenance can be written, for all of the builder's keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from chains.policy.document.format import Mode
from chains.policy.document.policy import NamespacesWanted, Policy
from chains.policy.engines import jmespath
from chains.policy.engines.demands import (
    VOLUMES,
    Limits,
    OneSigner,
    Voucher,
    kyverno_cache,
    label_expressions,
    signers_of_type,
    unexpressed,
    vouchers,
)
from chains.policy.engines.generated import Effect, Generated, Limit, metadata
from chains.policy.engines.globs import kyverno_references
from chains.policy.engines.provenance import EXPRESSED, VERSIONS, Fields, value_limits
from chains.policy.opened import OpenedPolicy
from chains.statements.statement import SLSA_V02, SLSA_V1

Json = dict[str, Any]
_SETUP = (
    Limit(
        Effect.SETUP,
        "trust",
        "evidence is read from tags: storage.oci.encoding-format must be dsse or both",
    ),
    Limit(
        Effect.SETUP,
        "trust",
        "every statement of a type by a signer has to meet the policy, not one of them: attest an image once",
    ),
    Limit(
        Effect.SETUP,
        "match.images",
        "registries are compared by case, and the default registry must be docker.io: deny other spellings",
    ),
)


def generate(opened: OpenedPolicy, now: datetime) -> Generated:
    """Return the ClusterPolicy of a policy."""
    policy = opened.policy
    limits = [*unexpressed(policy, EXPRESSED, now), *value_limits(policy.require)]
    fields = _version(policy, limits)
    keys, builder = _keys_of_one_builder(vouchers(opened, now, limits), limits)
    if any(jmespath.has_mapping(value) for value in _listed(policy.require.external_parameters)):
        told = "a mapping in a list of values cannot be written and is left out"
        limits.append(Limit(Effect.STRICTER, "require.externalParameters", told))
    conditions = jmespath.provenance_conditions(builder, policy.require, fields) if keys else ["`false`"]
    attestations = [_attestation(fields.predicate_type, keys, conditions)]
    for predicate_type in policy.require.predicates:
        signers = signers_of_type(opened, predicate_type, now, limits)
        own = _only_keys(signers, f"signers of {predicate_type}", limits)
        attestations.append(_attestation(predicate_type, own, [] if own else ["`false`"]))
    images = [
        {
            "type": "Cosign",
            **references,
            "failureAction": "Enforce" if policy.mode is Mode.ENFORCE else "Audit",
            "mutateDigest": policy.mode is Mode.ENFORCE,
            "verifyDigest": True,
            "required": True,
            "attestations": attestations,
        }
        for references in _references(policy, limits)
    ]
    spec: Json = {
        "background": False,
        "webhookConfiguration": {"failurePolicy": "Fail"},
        **({"emitWarning": True} if policy.mode is Mode.WARN else {}),
        "rules": [
            {"name": "provenance", "match": {"any": [_resources(policy.namespaces)]}, "verifyImages": images}
        ],
    }
    document = {
        "apiVersion": "kyverno.io/v1",
        "kind": "ClusterPolicy",
        "metadata": metadata(policy),
        "spec": spec,
    }
    limits += _label_limits(policy.namespaces)
    return Generated(
        policy, [document] if images else [], (*limits, *_SETUP, *kyverno_cache(policy), VOLUMES)
    )


def _version(policy: Policy, limits: Limits) -> Fields:
    """Return the only version of provenance that is written: the one that has to exist, else v1."""
    demanded = [one for one in (SLSA_V1, SLSA_V02) if one in policy.require.predicates]
    chosen = demanded[0] if demanded else SLSA_V1
    other = SLSA_V02 if chosen == SLSA_V1 else SLSA_V1
    limits.append(Limit(Effect.STRICTER, "trust", f"provenance of type {other} is not accepted"))
    return next(fields for fields in VERSIONS if fields.predicate_type == chosen)


def _keys_of_one_builder(found: Sequence[Voucher], limits: Limits) -> tuple[list[str], str]:
    """Return the keys that sign for the first builder, and that builder."""
    keyed = [one for one in found if one.signer.key is not None]
    builder = keyed[0].builder_id if keyed else ""
    for one in found:
        if one.signer.key is None:
            limits.append(Limit(Effect.STRICTER, f"trust {one.trust}", _CERTIFICATES))
        elif one.builder_id != builder:
            told = (
                f"builder {one.builder_id} is left out: all signers are compared with one builder, {builder}"
            )
            limit = Limit(Effect.STRICTER, f"trust {one.trust}", told)
            if limit not in limits:
                limits.append(limit)
    return [_pem(one.signer) for one in keyed if one.builder_id == builder], builder


_CERTIFICATES = "certificates are left out: the engine trusts Sigstore's own root; --for kyverno has them"


def _only_keys(signers: Sequence[OneSigner], what: str, limits: Limits) -> list[str]:
    if any(signer.key is None for signer in signers):
        limits.append(Limit(Effect.STRICTER, what, _CERTIFICATES))
    return [_pem(signer) for signer in signers if signer.key is not None]


def _pem(signer: OneSigner) -> str:
    return signer.key.pem.decode() if signer.key is not None else ""


def _attestation(predicate_type: str, keys: Sequence[str], conditions: Sequence[str]) -> Json:
    entries = [
        {"keys": {"publicKeys": key, "rekor": {"ignoreTlog": True}, "ctlog": {"ignoreSCT": True}}}
        for key in keys
    ]
    listed = [{"key": f"{{{{ {one} }}}}", "operator": "Equals", "value": True} for one in conditions]
    return {
        "type": predicate_type,
        # a set without entries would demand nothing; without a set, conditions decide alone
        **({"attestors": [{"count": 1, "entries": entries}]} if entries else {}),
        **({"conditions": [{"all": listed}]} if listed else {}),
    }


def _references(policy: Policy, limits: Limits) -> list[Json]:
    """Return the images of each pattern apart: what one pattern must skip, another may name."""
    found: list[Json] = []
    for pattern in policy.images:
        written = kyverno_references(pattern)
        if written is None:
            limits.append(Limit(Effect.WEAKER, "match.images", f"{pattern.text} cannot be written"))
            continue
        if not written.is_exact:
            told = f"{pattern.text} covers more repositories than in the policy: * there stands for / too"
            limits.append(Limit(Effect.STRICTER, "match.images", told))
        for names, skipped in written.entries:
            skip = {"skipImageReferences": list(skipped)} if skipped else {}
            found.append({"imageReferences": list(names), **skip})
    return found


def _resources(wanted: NamespacesWanted | None) -> Json:
    resources: Json = {"kinds": ["Pod"], "operations": ["CREATE", "UPDATE"]}
    if wanted is None:
        return {"resources": resources}
    if wanted.names:
        resources["namespaces"] = list(wanted.names)
    selector: Json = {}
    if wanted.labels:
        selector["matchLabels"] = dict(wanted.labels)
    if wanted.conditions:
        selector["matchExpressions"] = label_expressions(wanted)
    if selector:
        resources["namespaceSelector"] = selector
    return {"resources": resources}


def _label_limits(wanted: NamespacesWanted | None) -> Limits:
    texts = [*wanted.names, *(text for pair in wanted.labels.items() for text in pair)] if wanted else []
    names_with_any = [text for text in texts if "?" in text]
    labels = [text for pair in wanted.labels.items() for text in pair if "*" in text] if wanted else []
    if not names_with_any and not labels:
        return []
    told = "the engine takes * and ? in labels, and ? in names, for any characters"
    return [Limit(Effect.STRICTER, "match.namespaces", told)]


def _listed(parameters: Any) -> list[Any]:
    """Return every value of the lists of external parameters, and below."""
    found: list[Any] = []
    waiting = [parameters]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list):
            found += one
    return found
