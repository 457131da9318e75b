"""External parameters of a build, compared with those that a policy lists. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from chains.policy.listing import NAMED, some
from chains.policy.reasons import PolicyReason
from chains.statements.statement import SLSA_V02, SLSA_V1, Statement
from chains.text import excerpt

_LONG_NUMBER = re.compile(rb"\d{19}")
ANY = "any"
"""A listed external parameter that may have every value."""


def parameters_of(statement: Statement, payload: bytes) -> Mapping[str, Any] | None:
    """Return what the build was asked for: ``externalParameters``, or in v0.2 ``invocation.parameters``.

    The ``payload`` of the statement is read again where it may have whole numbers beyond 64 bits: the
    statement has them rounded, so that two of them could be taken for one.
    """
    if _LONG_NUMBER.search(payload):
        statement = replace(statement, predicate=json.loads(payload)["predicate"])
    if statement.predicate_type == SLSA_V1:
        definition = statement.predicate.get("buildDefinition")
        found = definition.get("externalParameters") if isinstance(definition, Mapping) else None
    elif statement.predicate_type == SLSA_V02:
        invocation = statement.predicate.get("invocation")
        found = invocation.get("parameters") if isinstance(invocation, Mapping) else None
    else:
        found = None
    return found if isinstance(found, Mapping) else None


def difference(wanted: Any, actual: Any, path: str = "") -> tuple[PolicyReason, str] | None:
    """Return how a parameter differs from what is allowed, None where it does not.

    ``any`` allows every value. A mapping lists all names there may be, a list all values, and anything else
    is the only value. The depth is that of the policy, which is bounded.
    """
    if wanted == ANY:
        return None
    if isinstance(wanted, Mapping):
        if isinstance(actual, Mapping):
            return _names_differ(wanted, actual, path)
        return PolicyReason.PARAMETER_NOT_ALLOWED, f"{path} is {_value(actual)}, expected a mapping"
    allowed = wanted if isinstance(wanted, list) else [wanted]
    if any(_is_equal(one, actual) for one in allowed):
        return None
    told = " or ".join(_value(one) for one in allowed[:NAMED]) or "nothing"
    return PolicyReason.PARAMETER_NOT_ALLOWED, f"{path} is {_value(actual)}, expected {told}"


def _names_differ(
    wanted: Mapping[str, Any], actual: Mapping[str, Any], path: str
) -> tuple[PolicyReason, str] | None:
    unknown = [name for name in actual if name not in wanted]
    if unknown:
        where = f" in {path}" if path else ""
        return PolicyReason.PARAMETER_UNKNOWN, f"not listed{where}: {some(unknown)}"
    for name, value in wanted.items():
        inner = f"{path}.{name}" if path else name
        if name in actual:
            problem = difference(value, actual[name], inner)
            if problem is not None:
                return problem
        elif value != ANY:
            return PolicyReason.PARAMETER_NOT_ALLOWED, f"{inner} is missing, expected {_value(value)}"
    return None


def _is_equal(wanted: Any, actual: Any) -> bool:
    """Whether two JSON values are equal; Python holds 1, 1.0 and True for the same, JSON does not."""
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        return wanted.keys() == actual.keys() and all(
            _is_equal(wanted[name], actual[name]) for name in wanted
        )
    if isinstance(wanted, list) and isinstance(actual, list):
        return len(wanted) == len(actual) and all(map(_is_equal, wanted, actual))
    return type(wanted) is type(actual) and bool(wanted == actual)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list) else excerpt(repr(value), 200)
