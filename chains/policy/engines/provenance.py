"""What provenance of each SLSA version must show, as data that every target writes in its own language."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chains.policy.document.patterns import path_matches
from chains.policy.document.policy import Requirements
from chains.policy.document.sources import SourceAllowed
from chains.policy.engines.demands import Limits
from chains.policy.engines.generated import Effect, Limit
from chains.policy.engines.re2 import quoted
from chains.policy.parameters import ANY
from chains.policy.reasons import Requirement
from chains.statements import slsa_v1
from chains.statements.statement import SLSA_V02, SLSA_V1

Keys = tuple[str, ...]
LONGEST_URI = 2048
"""Characters of a source's URI; a longer one has no canonical spelling."""
EXPRESSED = frozenset(
    {
        Requirement.PREDICATES,
        Requirement.LEVEL,
        Requirement.BUILD_TYPES,
        Requirement.SOURCES,
        Requirement.EXTERNAL_PARAMETERS,
        Requirement.TASKS,
    }
)
"""What engines compare that see one provenance statement, and further statements by their type."""
_EXACT = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Fields:
    """Where a SLSA version has its fields, as paths from the predicate."""

    predicate_type: str
    builder_id: Keys
    build_type: Keys
    parameters: Keys
    dependencies: Keys


VERSIONS = (
    Fields(
        SLSA_V1,
        ("runDetails", "builder", "id"),
        ("buildDefinition", "buildType"),
        ("buildDefinition", "externalParameters"),
        ("buildDefinition", "resolvedDependencies"),
    ),
    Fields(SLSA_V02, ("builder", "id"), ("buildType",), ("invocation", "parameters"), ("materials",)),
)
TEKTON_BUILD_TYPES = slsa_v1.BUILD_TYPES
TEKTON_INPUT = slsa_v1.INPUT
TEKTON_KINDS = ("task", "pipeline")
"""What a run brings from elsewhere: names of dependencies, and with ``Ref`` those of its specification."""
PIPELINE_TASK = "pipelineTask"


def resolver_of(kind: str) -> Keys:
    """Return where a run's external parameters name the resolver of its task or pipeline."""
    return ("runSpec", f"{kind}Ref", "resolver")


GIT = r"(?is)\A\W*(?:git[+:@]|ssh(?:\+git)?:)|\.git\W*(?:[@?#].*)?\z"
"""Finds a git repository, however it is spelled: with the next one, at least what ``git_sources`` finds."""
USER_AT_HOST = r"(?i)\A[^\w@]*[a-z0-9._-]+@[a-z0-9.-]+:"
IMAGE_AT_DIGEST = r"\A[^\w@]*[A-Za-z0-9._-]+@[sS][hH][aA][0-9]+:"
"""An image by digest without a registry looks like ``user@host:path`` and is no repository."""


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value at a path must be one of these JSON values."""

    path: Keys
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class OnlyNames:
    """The value at a path must be a mapping with no other names than these."""

    path: Keys
    names: tuple[str, ...]


Condition = OneOf | OnlyNames


def parameter_conditions(wanted: Mapping[str, Any]) -> list[Condition]:
    """Return the conditions on external parameters, as paths below them.

    The same as ``chains.policy.parameters.difference``: a mapping lists all names there may be, a name with
    any value may be absent, every other must be there. Values that no engine compares are left out.
    """
    found: list[Condition] = []
    waiting: list[tuple[Keys, Mapping[str, Any]]] = [((), wanted)]
    while waiting:
        path, names = waiting.pop()
        found.append(OnlyNames(path, tuple(names)))
        for name, value in names.items():
            inner = (*path, name)
            if isinstance(value, Mapping):
                waiting.append((inner, value))
            elif value != ANY:
                listed = value if isinstance(value, list) else [value]
                found.append(OneOf(inner, tuple(one for one in listed if not _Kinds.of(one).is_foreign)))
    return found


def value_limits(require: Requirements) -> Limits:
    """Return what engines compare otherwise in the values of external parameters."""
    kinds = _Kinds.of(require.external_parameters)
    found = []
    if kinds.is_foreign:
        told = "values that engines cannot compare exactly, such as numbers beyond 2^53, are left out"
        found.append(Limit(Effect.STRICTER, "require.externalParameters", told))
    if kinds.has_number:
        told = "the engine takes 1 and 1.0 for the same number"
        found.append(Limit(Effect.WEAKER, "require.externalParameters", told))
    return found


@dataclass(slots=True)
class _Kinds:
    """What a value of a policy has in it that engines compare otherwise."""

    has_number: bool = False
    is_foreign: bool = False

    @classmethod
    def of(cls, value: Any) -> _Kinds:
        """Look at a value and everything below it."""
        found, waiting = cls(), [value]
        while waiting:
            one = waiting.pop()
            if isinstance(one, Mapping):
                waiting += one.values()
            elif isinstance(one, list):
                waiting += one
            elif isinstance(one, int) and not isinstance(one, bool):
                found.has_number = True
                found.is_foreign |= abs(one) > _EXACT
            elif isinstance(one, float):
                found.has_number = True
                found.is_foreign |= not math.isfinite(one)
            elif one is not None and not isinstance(one, bool | str):
                found.is_foreign = True
        return found


def json_text(value: Any) -> str:
    """Return a JSON value in ASCII."""
    return json.dumps(value, allow_nan=False)


def source_expressions(require: Requirements) -> list[str]:
    """Return expressions for RE2. A URI that one of them matches is of an allowed source."""
    return list(map(source_expression, require.sources))


def source_expression(source: SourceAllowed) -> str:
    """Return an expression for all spellings of one repository that ``sources.canonical`` takes for it."""
    scheme, _, rest = source.uri.removeprefix("git+").partition("://")
    host, slash, path = rest.partition("/")
    own = "" if _has_port(host) else f"(?::{_PORTS[scheme]})?"
    place = rf"(?:[A-Za-z0-9._~:%+-]*@)?(?i:{quoted(host)}){own}"
    name = rf"{quoted(slash + path)}(?:/*\.git)?/*"
    spellings = rf"(?:git\+)?(?i:{scheme})://{place}{name}"
    if scheme == "ssh" and own:
        scp = rf"(?:[A-Za-z0-9._-]+@)?(?i:{quoted(host)}):{quoted(path)}(?:/*\.git)?/*"
        # after the colon of user@host:path there is no other one
        return rf"(?s)\A(?:{spellings}{_refs(source.refs)}|(?:git\+)?{scp}{_refs(source.refs, '[^:]')})\z"
    return rf"(?s)\A{spellings}{_refs(source.refs)}\z"


_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}


def _has_port(host: str) -> bool:
    return host.rpartition("]")[2].find(":") >= 0


def _refs(refs: Sequence[str], char: str = ".") -> str:
    if not refs:
        return f"(?:@{char}*)?"
    inner = "|".join(_ref(ref, char) for ref in refs)
    is_optional = any(path_matches(ref, "") for ref in refs)
    return f"(?:@(?:{inner}))" + ("?" if is_optional else "")


def _ref(pattern: str, char: str) -> str:
    other = "[^/]" if char == "." else "[^/:]"
    parts = []
    for part in pattern.split("/"):
        if part == "**":
            parts.append(f"{char}*")
        else:
            parts.append(f"{other}*".join(map(quoted, part.split("*"))))
    return "/".join(parts)
