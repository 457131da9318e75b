"""NetworkPolicies as frozen types, with the defaults that the API server writes
(``SetDefaults_NetworkPolicy``).

Reading is tolerant and never makes a policy stricter than it is: a rule that cannot be read counts as the
widest one, and types or a selector that cannot be read are None.
https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from chains.tekton.raw import Json, mapping_at, parse_time, text_at

INGRESS, EGRESS = "Ingress", "Egress"
_PEERS = {INGRESS: "from", EGRESS: "to"}


@dataclass(frozen=True, slots=True)
class PolicyPort:
    """One port of a rule, as it came; ``last`` equals ``first`` where no ``endPort`` is set."""

    first: Json
    last: Json


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule. ``ports`` is empty for all ports; a port that cannot be read is None in it."""

    names_peers: bool
    ports: tuple[PolicyPort | None, ...]


@dataclass(frozen=True, slots=True)
class LabelExpression:
    """One expression of a selector; ``values`` is None where it is no list."""

    key: str
    operator: str
    values: tuple[Json, ...] | None


@dataclass(frozen=True, slots=True)
class PodSelector:
    """Labels that must be equal, and expressions that must hold. Without either it selects every pod."""

    labels: Mapping[str, Json] = field(default_factory=dict)
    expressions: tuple[LabelExpression, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """One policy.

    ``types`` are the directions it governs, None where they cannot be read; ``selector`` likewise.
    ``is_unchanged``: the API server counts one generation, so its specification never changed.
    """

    name: str
    created: datetime | None
    is_unchanged: bool
    types: tuple[str, ...] | None
    rules: Mapping[str, tuple[PolicyRule, ...]]
    selector: PodSelector | None


def parse_network_policy(raw: Mapping[str, Json]) -> NetworkPolicy:
    """Return a policy of ``networking.k8s.io``."""
    metadata, spec = mapping_at(raw, "metadata"), mapping_at(raw, "spec")
    rules = {direction: _rules(spec, direction) for direction in (INGRESS, EGRESS)}
    return NetworkPolicy(
        text_at(metadata, "name") or "(unnamed)",
        parse_time(text_at(metadata, "creationTimestamp")),
        metadata.get("generation") == 1,
        _types(spec.get("policyTypes"), has_egress=bool(rules[EGRESS])),
        rules,
        _selector(spec.get("podSelector")),
    )


def _types(raw: Json, *, has_egress: bool) -> tuple[str, ...] | None:
    """Return the directions; by default ingress, and egress too for a policy with rules for it."""
    if raw is None or raw == []:
        return (INGRESS, EGRESS) if has_egress else (INGRESS,)
    if not isinstance(raw, list) or any(item not in (INGRESS, EGRESS) for item in raw):
        return None
    return tuple(raw)


def _rules(spec: Mapping[str, Json], direction: str) -> tuple[PolicyRule, ...]:
    raw = spec.get(direction.lower())
    # what is no list is read as one rule, and what is no rule as the widest one
    items = raw if isinstance(raw, list) else [] if raw is None else [raw]
    return tuple(_rule(item if isinstance(item, Mapping) else {}, direction) for item in items)


def _rule(raw: Mapping[str, Json], direction: str) -> PolicyRule:
    ports = raw.get("ports")
    return PolicyRule(
        bool(raw.get(_PEERS[direction])),
        tuple(
            PolicyPort(port.get("port"), port.get("endPort", port.get("port")))
            if isinstance(port, Mapping)
            else None
            for port in (ports if isinstance(ports, list) else ())
        ),
    )


def _selector(raw: Json) -> PodSelector | None:
    if raw is None:
        return PodSelector()
    if not isinstance(raw, Mapping) or set(raw) - {"matchLabels", "matchExpressions"}:
        return None
    labels, expressions = raw.get("matchLabels") or {}, raw.get("matchExpressions") or []
    if not isinstance(labels, Mapping) or not isinstance(expressions, list):
        return None
    return PodSelector(labels, tuple(map(_expression, expressions)))


def _expression(raw: Json) -> LabelExpression:
    values = mapping_at(raw).get("values") or []
    return LabelExpression(
        text_at(raw, "key"), text_at(raw, "operator"), tuple(values) if isinstance(values, list) else None
    )
