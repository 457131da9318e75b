"""The targets that policies are generated for, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from chains.policy.engines import (
    admission_policy,
    conforma,
    gatekeeper,
    kyverno,
    kyverno_clusterpolicy,
    policy_controller,
)
from chains.policy.engines.generated import Generated
from chains.policy.opened import OpenedPolicy

TARGETS: Mapping[str, Callable[[OpenedPolicy, datetime], Generated]] = {
    "policy-controller": policy_controller.generate,
    "kyverno": kyverno.generate,
    "kyverno-clusterpolicy": kyverno_clusterpolicy.generate,
    "gatekeeper": gatekeeper.generate,
    "conforma": conforma.generate,
    "validatingadmissionpolicy-note": admission_policy.generate,
}
"""Each returns documents for one engine, and everything of the policy that they do not express."""
