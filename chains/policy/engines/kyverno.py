"""Kyverno's ImageValidatingPolicy.

Source: Kyverno 1.19.1, ``pkg/image/verification`` and ``pkg/cel``. A validation names each signer itself, so
that one signer and its builder are compared together. Of several statements of one type by one signer the
engine hands out the last alone. Evidence without a log entry is read from bundles alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from chains.documents.load import read_bytes
from chains.policy.document.format import Mode, Operator
from chains.policy.document.patterns import ImagePattern
from chains.policy.document.policy import NamespacesWanted, Policy
from chains.policy.engines import cel
from chains.policy.engines.cel_report import expressed, needs_report, report_condition
from chains.policy.engines.demands import (
    VOLUMES,
    Limits,
    OneSigner,
    Time,
    Voucher,
    identity_of,
    kyverno_cache,
    label_expressions,
    signers_of_type,
    times_expressed,
    times_of,
    unexpressed,
    vouchers,
)
from chains.policy.engines.generated import Effect, Generated, Limit, metadata
from chains.policy.engines.globs import parts_of, repository_expression
from chains.policy.engines.provenance import EXPRESSED, VERSIONS, value_limits
from chains.policy.engines.re2 import quoted
from chains.policy.opened import OpenedPolicy, located
from chains.statements.statement import SCAI, SLSA_V1

Json = dict[str, Any]
_ACTIONS = {Mode.ENFORCE: "Deny", Mode.WARN: "Warn", Mode.AUDIT: "Audit"}
_BUNDLES = Limit(
    Effect.SETUP,
    "trust",
    "evidence is read from bundles: storage.oci.encoding-format must be sigstore-bundle or both",
)
_LAST = Limit(
    Effect.SETUP,
    "trust",
    "of several statements of one type by one signer the engine sees the last alone: attest an image once",
)
_TUF = Limit(
    Effect.SETUP,
    "trust",
    "the engine opens a TUF repository before it uses the trusted root: Sigstore's, or one that you name in "
    "attestors[].cosign.tuf",
)
_NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def generate(opened: OpenedPolicy, now: datetime) -> Generated:
    """Return the ImageValidatingPolicy of a policy."""
    policy = opened.policy
    limits = [
        *unexpressed(policy, EXPRESSED | expressed(policy.require) | times_expressed(opened), now),
        *value_limits(policy.require),
    ]
    attestors = _Attestors(policy, limits)
    validations = [_provenance(opened, vouchers(opened, now, limits), attestors, now)]
    attestations = [
        {"name": f"provenance{number}", "intoto": {"type": fields.predicate_type}}
        for number, fields in enumerate(VERSIONS)
    ]
    if needs_report(policy.require):
        attestations.append({"name": "report", "intoto": {"type": SCAI}})
        limits += _report_limits(opened, now)
    for number, predicate_type in enumerate(policy.require.predicates):
        attestations.append({"name": f"required{number}", "intoto": {"type": predicate_type}})
        signers = signers_of_type(opened, predicate_type, now, limits)
        validations.append(_required(predicate_type, f"required{number}", signers, attestors))
    spec: Json = {
        "validationActions": [_ACTIONS[policy.mode]],
        "failurePolicy": "Fail",
        "matchConstraints": match_constraints(policy.namespaces),
        **match_conditions(policy.namespaces),
        "matchImageReferences": [{"expression": _matches(pattern)} for pattern in policy.images],
        "validationConfigurations": {
            "mutateDigest": policy.mode is Mode.ENFORCE,
            "verifyDigest": True,
            "required": True,
        },
        "attestors": attestors.written,
        "attestations": attestations,
        "validations": validations,
    }
    document = {
        "apiVersion": "policies.kyverno.io/v1",
        "kind": "ImageValidatingPolicy",
        "metadata": metadata(policy),
        "spec": spec,
    }
    if attestors.has_identity:
        limits.append(_TUF)
    return Generated(policy, [document], (*limits, _BUNDLES, _LAST, *kyverno_cache(policy), VOLUMES))


def _report_limits(opened: OpenedPolicy, now: datetime) -> Limits:
    limits: Limits = []
    if SCAI in opened.by_type:
        signers_of_type(opened, SCAI, now, limits)
    elif any(
        wanted.identity.is_regexp or wanted.issuer.is_regexp
        for signer in opened.trust
        if (wanted := signer.criteria.certificate) is not None
    ):
        told = "a report may have another identity than the provenance, as long as both match the expression"
        limits.append(Limit(Effect.WEAKER, "trust", told))
    return limits


class _Attestors:
    """The signers of a policy as Kyverno names them, each once."""

    def __init__(self, policy: Policy, limits: Limits) -> None:
        self._policy, self._limits = policy, limits
        self._names: dict[OneSigner, list[str]] = {}
        self.written: list[Json] = []
        self.has_identity = False

    def names(self, signer: OneSigner) -> list[str]:
        """Return the expressions for one signer, any of which will do; none if it cannot be written."""
        if signer not in self._names:
            self._names[signer] = []
            for cosign in self._cosign(signer):
                name = f"signer{len(self.written)}"
                self._names[signer].append(f"attestors.{name}")
                self.written.append({"name": name, "cosign": cosign})
        return self._names[signer]

    def _cosign(self, signer: OneSigner) -> list[Json]:
        if signer.key is not None:
            no_log = {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True}
            return [{"key": {"data": signer.key.pem.decode()}, "ctlog": no_log}]
        identity = identity_of(signer, self._limits)
        if identity is None:
            return []
        self.has_identity = True
        root = read_bytes(Path(located(self._policy.trusted_root, self._policy))).decode()
        keyless = {"keyless": {"identities": [identity]}, "trustedRoot": {"value": root}}
        # without the log, the engine demands a timestamp; with nothing said, a log entry
        return [
            {**keyless, "ctlog": {"insecureIgnoreTlog": True}} if one is Time.TIMESTAMP else keyless
            for one in times_of(self._policy.require)
        ]


def _provenance(opened: OpenedPolicy, found: Iterable[Voucher], attestors: _Attestors, now: datetime) -> Json:
    require, ways = opened.policy.require, []
    for voucher in found:
        for number, fields in enumerate(VERSIONS):
            if needs_report(require) and fields.predicate_type != SLSA_V1:
                continue
            attestation = f"attestations.provenance{number}"
            condition = cel.provenance_condition(voucher.builder_id, require, fields, "s")
            for attestor in attestors.names(voucher.signer):
                report = _report(opened, attestor, attestors, now)
                ways.append(_verified(attestation, attestor, "s", condition + report))
    return {
        "expression": _every_image(ways),
        "message": f"policy {opened.policy.name}: no provenance by a trusted signer that meets the policy",
    }


def _report(opened: OpenedPolicy, attestor: str, attestors: _Attestors, now: datetime) -> str:
    """Return what is demanded of the report of the same run, by the same signer or by that of reports."""
    require = opened.policy.require
    if not needs_report(require):
        return ""
    names = [attestor]
    if SCAI in opened.by_type:
        names = [name for one in signers_of_type(opened, SCAI, now, []) for name in attestors.names(one)]
    condition = report_condition(require, "r", "s")
    ways = [_verified("attestations.report", name, "r", condition) for name in names]
    return f" &&\n    ({' || '.join(ways) or 'false'})"


def _verified(attestation: str, attestor: str, name: str, condition: str) -> str:
    """Return that a signer's statement was verified and meets a condition, which calls it ``name``."""
    # the payload is that of the signer that was verified last
    met = f"[extractPayload(image, {attestation})].all({name},\n    {condition})"
    return f"(verifyAttestationSignatures(image, {attestation}, [{attestor}]) > 0 ? {met} : false)"


def _required(predicate_type: str, name: str, signers: Iterable[OneSigner], attestors: _Attestors) -> Json:
    listed = [attestor for one in signers for attestor in attestors.names(one)]
    ways = [f"verifyAttestationSignatures(image, attestations.{name}, [{one}]) > 0" for one in listed]
    return {
        "expression": _every_image(ways),
        "message": f"no verified statement of {predicate_type}",
    }


def _every_image(ways: Sequence[str]) -> str:
    """Return the expression that one of these ways holds for each image; without any, for none."""
    any_of = " ||\n".join(ways) or "false"
    return f"images.all(kind, images[kind].all(image,\n{any_of}))\n"


def match_constraints(wanted: NamespacesWanted | None) -> Json:
    """Return which requests are asked about: pods of the namespaces, as the API server selects them."""
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["pods", "pods/ephemeralcontainers"],
    }
    written: Json = {"resourceRules": [rule]}
    if wanted is None:
        return written
    expressions = label_expressions(wanted)
    if wanted.names and not any("*" in name for name in wanted.names):
        exact = {"key": _NAMESPACE_LABEL, "operator": Operator.IN.value, "values": list(wanted.names)}
        expressions.append(exact)
    selector: Json = {}
    if wanted.labels:
        selector["matchLabels"] = dict(wanted.labels)
    if expressions:
        selector["matchExpressions"] = expressions
    return {**written, "namespaceSelector": selector} if selector else written


def match_conditions(wanted: NamespacesWanted | None) -> Json:
    """Return the condition on names of namespaces that a selector of labels cannot write, if any."""
    if wanted is None or not any("*" in name for name in wanted.names):
        return {}
    names = "|".join(".*".join(map(quoted, name.split("*"))) for name in wanted.names)
    found = cel.text(rf"(?s)\A(?:{names})\z")
    expression = f"request.namespace.matches({found})"
    return {"matchConditions": [{"name": "namespaces", "expression": expression}]}


def _matches(pattern: ImagePattern) -> str:
    """Return the expression for images of a pattern, by the engine's own parser of references."""
    name = "image(ref).registry().lowerAscii() + '/' + image(ref).repository()"
    expression = f"({name}).matches({cel.text(repository_expression(pattern))})"
    digest = parts_of(pattern)[1]
    return f"{expression} && image(ref).digest() == {cel.text(digest)}" if digest else expression
