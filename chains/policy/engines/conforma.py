"""Conforma: an EnterpriseContractPolicy for each signer, for ``ec validate image`` in a pipeline.

A document has one key or identity, and rule data that names the builders of this very signer: so the pair is
kept. Conforma's own rules read the provenance. Packages of rules are included, no collections: those also
demand what the policy does not.
Source: the schema of conforma/crds of 2026-05 (``api/v1alpha1/policy_spec.json``), the rules and rule data of
conforma/policy at :data:`COMMIT`, and conforma/cli of 2026-08. Neither program is run in a test.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from chains.policy.document.format import Mode
from chains.policy.document.policy import Exemption, Policy
from chains.policy.engines.demands import Limits, OneSigner, identity_of, unexpressed, vouchers
from chains.policy.engines.generated import Effect, Generated, Limit, metadata
from chains.policy.engines.globs import parts_of
from chains.policy.listing import some
from chains.policy.opened import OpenedPolicy
from chains.policy.reasons import Requirement
from chains.verify.criteria import PROVENANCE_TYPES

Json = Mapping[str, Any]
COMMIT = "7211d0329e93fda0a6d6d3d33c3909fc6a7681ca"
"""The commit of conforma/policy whose rules are named here. They are fetched at this commit, no newer one."""
RULES = [
    f"git::https://github.com/conforma/policy//policy/{name}?ref={COMMIT}" for name in ("lib", "release")
]
INCLUDED = ["attestation_type", "slsa_build_build_service", "slsa_provenance_available"]
"""Packages of rules: there is provenance of a PipelineRun, by an accepted builder, of an accepted type."""
_BUILDER_RULES = [
    "slsa_build_build_service.slsa_builder_id_accepted",
    "slsa_build_build_service.slsa_builder_id_found",
]
_IMAGE_URL = re.compile(r"[a-z0-9][a-z0-9.-]*[a-z0-9](?:/[a-z0-9][a-z0-9-]*[a-z0-9]){2,}")
"""What the schema allows in ``imageUrl``: no port, at least two parts of a path."""
_PIPELINES = Limit(
    Effect.STRICTER,
    "provenance",
    "Conforma reads the latest provenance of a PipelineRun in each SLSA version: all of these must pass, and "
    "that of a TaskRun does not count",
)


def generate(opened: OpenedPolicy, now: datetime) -> Generated:
    """Return the EnterpriseContractPolicies of a policy: an image passes by one of them."""
    policy = opened.policy
    expressed = {Requirement.LEVEL, Requirement.BUILD_TYPES, Requirement.LOG}
    predicate = _only_provenance_type(policy)
    if predicate:
        expressed.add(Requirement.PREDICATES)
    limits = unexpressed(replace(policy, exemptions=()), expressed, now)
    builders: dict[OneSigner, list[str]] = {}
    for voucher in vouchers(opened, now, limits):
        own = builders.setdefault(voucher.signer, [])
        if voucher.builder_id not in own:
            own.append(voucher.builder_id)
    written = [(who, ids) for signer, ids in builders.items() if (who := _who(signer, limits))]
    source = _source(policy, predicate, _exemptions(policy, expressed, now, limits))
    suffixes = [""] if len(written) < 2 else [f"-{number}" for number, _ in enumerate(written, 1)]  # noqa: PLR2004
    documents = [
        _document(policy, suffix, who, source, ids)
        for suffix, (who, ids) in zip(suffixes, written or [({}, [])], strict=True)
    ]
    limits += [_PIPELINES, *_narrower(policy, written), *_setup(policy, len(documents))]
    return Generated(policy, documents, limits)


def _only_provenance_type(policy: Policy) -> str:
    """Return the type of provenance that must exist if it is the only demanded statement, else empty."""
    wanted = policy.require.predicates
    return wanted[0] if len(wanted) == 1 and wanted[0] in PROVENANCE_TYPES else ""


def _who(signer: OneSigner, limits: Limits) -> Json | None:
    if signer.key is not None:
        return {"publicKey": signer.key.pem.decode()}
    identity = identity_of(signer, limits)
    return None if identity is None else {"identity": identity}


def _source(policy: Policy, predicate: str, excluded: Sequence[Json]) -> dict[str, Any]:
    data: dict[str, Any] = {"allowed_predicate_types": [predicate] if predicate else list(PROVENANCE_TYPES)}
    if policy.require.build_types:
        data["allowed_provenance_build_types"] = list(dict.fromkeys(policy.require.build_types))
    return {
        "name": "conforma",
        "policy": RULES,
        "ruleData": data,
        "config": {"include": INCLUDED},
        **({"volatileConfig": {"exclude": list(excluded)}} if excluded else {}),
    }


def _document(
    policy: Policy, suffix: str, who: Json, source: Mapping[str, Any], builder_ids: Sequence[str]
) -> Json:
    # an empty list fails a rule of its own: without a signer nobody passes
    data = {"allowed_builder_ids": list(builder_ids), **source["ruleData"]}
    return {
        "apiVersion": "appstudio.redhat.com/v1alpha1",
        "kind": "EnterpriseContractPolicy",
        "metadata": metadata(policy, suffix),
        "spec": {"name": policy.name, **who, "sources": [{**source, "ruleData": data}]},
    }


def _exemptions(
    policy: Policy, expressed: set[Requirement], now: datetime, limits: Limits
) -> list[dict[str, str]]:
    """Return what Conforma excludes until the end of an exemption.

    An exemption from what it does not check at all needs no word.
    """
    checked = {str(one) for one in (*expressed, Requirement.EVIDENCE)}
    found: list[dict[str, str]] = []
    for exemption in policy.exemptions:
        if exemption.is_over(now):
            continue
        left = [rule for rule in exemption.rules if rule in checked]
        where = _where(exemption, limits) if Requirement.TRUST in exemption.rules else {}
        if where is None:
            left.insert(0, Requirement.TRUST.value)
        elif where:
            until, reference = exemption.to_json()["until"], exemption.reference
            found += [
                {"value": rule, **where, "effectiveUntil": until, "reference": reference}
                for rule in _BUILDER_RULES
            ]
        if left:
            told = f"{exemption.image.text} is not exempt from {some(left)}: Conforma cannot say so"
            limits.append(Limit(Effect.STRICTER, "exemptions", told))
    return found


def _where(exemption: Exemption, limits: Limits) -> dict[str, str] | None:
    """Return the images of an exemption as Conforma names them, None where it cannot."""
    repository, digest = parts_of(exemption.image)
    if digest:
        told = f"{exemption.image.text}: Conforma exempts this digest in every repository"
        limits.append(Limit(Effect.WEAKER, "exemptions", told))
        return {"imageDigest": digest}
    return {"imageUrl": repository} if _IMAGE_URL.fullmatch(repository) else None


def _narrower(policy: Policy, written: Sequence[tuple[Json, Sequence[str]]]) -> Limits:
    found = []
    if not policy.require.build_types:
        told = "provenance counts only with a build type that Conforma's rules know as Tekton's"
        found.append(Limit(Effect.STRICTER, "buildTypes", told))
    if not policy.require.log and any("identity" in who for who, _ in written):
        told = "Conforma demands a log entry of evidence by certificates"
        found.append(Limit(Effect.STRICTER, "log", told))
    return found


def _setup(policy: Policy, documents: int) -> Limits:
    images = some([pattern.text for pattern in policy.images])
    namespaces = "" if policy.namespaces is None else ", in the namespaces of the policy alone"
    texts = [("match", f"run ec validate image for images of {images}{namespaces}, each by digest")]
    if documents > 1:
        texts.append(
            (
                "trust",
                f"write the {documents} documents into files of their own: an image passes by one of them",
            )
        )
    log = "never pass --ignore-rekor" if policy.require.log else "pass --ignore-rekor for evidence by keys"
    texts += [
        ("log", f"{log}; the keys of logs and authorities are those of ec sigstore initialize"),
        (
            "evidence",
            "if evidence is in tags, the image needs a signature by the same signer, too, or "
            "--skip-image-sig-check; never pass --skip-att-sig-check or --effective-time",
        ),
    ]
    if policy.mode is not Mode.ENFORCE:
        texts.append(
            ("mode", f"{policy.mode}: pass --strict=false, so that a failure does not end the pipeline")
        )
    return [Limit(Effect.SETUP, what, text) for what, text in texts]
