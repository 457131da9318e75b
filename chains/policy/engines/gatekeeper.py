"""Gatekeeper: a Provider that asks ``chains admission``, a ConstraintTemplate, and constraints for a policy.

The policy itself stays with the provider: what evidence must show is decided there, by our own code. The
documents say where it is asked: kinds, namespaces, and what follows from the mode. The template is the same
for all policies; what is written by others stands in parameters, never in Rego.
Source: gatekeeper 3.23.1, ``pkg/target``; its constraint framework of 2026-06, ``pkg/externaldata``.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from cryptography import x509

from chains.errors import UsageError
from chains.policy.document.format import Consequence, Mode, Operator
from chains.policy.document.policy import NamespacesWanted, Policy
from chains.policy.engines.generated import Effect, Generated, Limit, metadata
from chains.policy.opened import OpenedPolicy
from chains.tekton.workloads import WORKLOADS

Json = Mapping[str, Any]
DEFAULT_URL = "https://chains-admission.chains-admission.svc/verify"
KIND = "ChainsImageEvidence"
_PROVIDER = "-check"
"""The end of a Provider's name: others may have Providers, too."""
TIMEOUT_SECONDS = 2
"""Gatekeeper's own webhook has three. Zero means that the provider is never called, and all is denied."""
CACHE_SECONDS = 180
"""For how long Gatekeeper keeps answers unless it is told otherwise."""
_BUILT_IN = ("", "apps", "batch")
_NAMESPACE_GLOB = re.compile(r"\*?[-:a-z0-9]*\*?")
"""What Gatekeeper's own schema allows in ``match.namespaces``."""
_ACTIONS = {Mode.ENFORCE: "deny", Mode.WARN: "warn", Mode.AUDIT: "dryrun"}
_SETUP = (
    Limit(Effect.SETUP, "provider", "chains admission must serve this policy at the Provider's URL"),
    Limit(
        Effect.SETUP,
        "webhook",
        "Gatekeeper's webhook has failurePolicy Ignore unless it is installed with "
        "validatingWebhookFailurePolicy: Fail; without Gatekeeper everything is admitted until then",
    ),
    Limit(
        Effect.SETUP,
        "webhook",
        "namespaces that Gatekeeper's Config excludes, or that have the label "
        "admission.gatekeeper.sh/ignore, are never asked about",
    ),
)


@dataclass(frozen=True, slots=True)
class ProviderAt:
    """Where Gatekeeper reaches the provider, and the PEM of the CA that its certificate is checked with."""

    url: str = DEFAULT_URL
    ca: bytes = b""


def generate(opened: OpenedPolicy, now: datetime, provider: ProviderAt = ProviderAt()) -> Generated:  # noqa: ARG001
    """Return the documents for a policy. Raises :class:`UsageError` for a provider without TLS or CA."""
    policy = opened.policy
    limits = list(_SETUP)
    if policy.cache_seconds < CACHE_SECONDS:
        told = (
            f"Gatekeeper keeps answers for 3 minutes: set --external-data-provider-response-cache-ttl="
            f"{policy.cache_seconds}s"
        )
        limits.append(Limit(Effect.SETUP, "cacheSeconds", told))
    documents = [_provider(policy, provider), _template(), *_constraints(policy, limits)]
    return Generated(policy, documents, limits)


def provider_name(policy: Policy) -> str:
    """Return the name of the Provider that a policy's constraints ask."""
    name: str = metadata(policy, _PROVIDER)["name"]
    return name


def _provider(policy: Policy, provider: ProviderAt) -> Json:
    parts = urlsplit(provider.url)
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(
            f"provider {provider.url!r}: expected https://HOST[:PORT]/PATH, Gatekeeper asks no other"
        )
    try:
        x509.load_pem_x509_certificates(provider.ca)
    except ValueError as error:
        raise UsageError(
            "Gatekeeper checks the provider's certificate: pass --provider-ca with the PEM of its CA"
        ) from error
    query = f"policy={quote(policy.name, safe='')}&timeout={TIMEOUT_SECONDS}s"
    return {
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
        "kind": "Provider",
        "metadata": metadata(policy, _PROVIDER),
        "spec": {
            "url": f"{provider.url}?{query}",
            "timeout": TIMEOUT_SECONDS,
            "caBundle": base64.b64encode(provider.ca).decode(),
        },
    }


@cache
def template_rego() -> str:
    """Return the template's rules."""
    return Path(__file__).with_suffix(".rego").read_text("utf-8")


def _template() -> Json:
    text = {"type": "string"}
    kinds = {"type": "string", "enum": ["failed", "missing", "undecided"]}
    properties = {
        "provider": {**text, "description": "the Provider that is asked"},
        "policy": {**text, "description": "the policy that must answer"},
        "policyDigests": {
            "type": "array",
            "items": text,
            "description": "digests of policy files, one of which must have answered; none is any",
        },
        "report": {
            "type": "array",
            "items": kinds,
            "minItems": 1,
            "description": "what this constraint reports; without it all",
        },
    }
    schema = {"type": "object", "required": ["provider", "policy"], "properties": properties}
    return {
        "apiVersion": "templates.gatekeeper.sh/v1",
        "kind": "ConstraintTemplate",
        "metadata": {"name": KIND.lower()},
        "spec": {
            "crd": {"spec": {"names": {"kind": KIND}, "validation": {"openAPIV3Schema": schema}}},
            "targets": [{"target": "admission.k8s.gatekeeper.sh", "rego": template_rego()}],
        },
    }


def _constraints(policy: Policy, limits: list[Limit]) -> list[Json]:
    """Return a constraint by the policy's mode, and one that warns where the policy only warns."""
    match = {"kinds": _kinds(), **_namespaces(policy.namespaces, limits)}
    only_warned = [
        name
        for name, consequence in (("missing", policy.missing), ("undecided", policy.unavailable))
        if policy.mode is Mode.ENFORCE and consequence is Consequence.WARN
    ]
    rest = [name for name in ("failed", "missing", "undecided") if name not in only_warned]
    if not only_warned:
        return [_constraint(policy, "", _ACTIONS[policy.mode], match)]
    return [
        _constraint(policy, "", _ACTIONS[policy.mode], match, rest),
        _constraint(policy, "-warn", "warn", match, only_warned),
    ]


def _constraint(policy: Policy, suffix: str, action: str, match: Json, report: Sequence[str] = ()) -> Json:
    parameters: dict[str, Any] = {"provider": provider_name(policy), "policy": policy.name}
    if report:
        parameters["report"] = list(report)
    return {
        "apiVersion": "constraints.gatekeeper.sh/v1beta1",
        "kind": KIND,
        "metadata": metadata(policy, suffix),
        "spec": {"enforcementAction": action, "match": match, "parameters": parameters},
    }


def _kinds() -> list[Json]:
    """Return the kinds of Kubernetes itself that have a pod's specification."""
    return [
        {"apiGroups": [group], "kinds": [kind for own, kind in WORKLOADS if own == group]}
        for group in _BUILT_IN
    ]


def _namespaces(wanted: NamespacesWanted | None, limits: list[Limit]) -> dict[str, Any]:
    if wanted is None:
        return {}
    found: dict[str, Any] = {}
    if wanted.names:
        odd = [name for name in wanted.names if _NAMESPACE_GLOB.fullmatch(name) is None]
        if odd:
            told = f"{', '.join(odd)} cannot be written for Gatekeeper: the constraint is for all names"
            limits.append(Limit(Effect.STRICTER, "match.namespaces.names", told))
        else:
            found["namespaces"] = list(wanted.names)
    selector: dict[str, Any] = {}
    if wanted.labels:
        selector["matchLabels"] = dict(wanted.labels)
    if wanted.conditions:
        selector["matchExpressions"] = [
            {
                "key": one.key,
                "operator": one.operator.value,
                **({"values": list(one.values)} if one.operator in {Operator.IN, Operator.NOT_IN} else {}),
            }
            for one in wanted.conditions
        ]
    if selector:
        found["namespaceSelector"] = selector
    return found
