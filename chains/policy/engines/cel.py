"""CEL of Kyverno's engine (cel-go): texts, and the condition on one provenance statement.

An error of an expression is never true there, as everywhere in CEL: ``||`` passes it over, everything else
denies. Checked by Kyverno's own program, never by the engine of our rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from chains.policy.document.policy import Requirements, TasksWanted
from chains.policy.engines.provenance import (
    GIT,
    IMAGE_AT_DIGEST,
    LONGEST_URI,
    PIPELINE_TASK,
    TEKTON_BUILD_TYPES,
    TEKTON_INPUT,
    TEKTON_KINDS,
    USER_AT_HOST,
    Condition,
    Fields,
    Keys,
    OnlyNames,
    parameter_conditions,
    resolver_of,
    source_expressions,
)
from chains.statements.statement import SLSA_V1

_WIDEST = 0xFFFF


def text(value: str) -> str:
    """Return a text as CEL writes it, in ASCII. CEL has no surrogate pairs, other than JSON."""
    return '"' + "".join(map(_char, value)) + '"'


def _char(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if " " <= char <= "~":
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code <= _WIDEST else f"\\U{code:08x}"


def literal(value: Any) -> str:
    """Return a JSON value as CEL writes it."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        members = _members(list(value.values()))
        return "{" + ", ".join(f"{text(key)}: {one}" for key, one in zip(value, members, strict=True)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_members(value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("no JSON value")
    return repr(float(value))


def _members(values: Sequence[Any]) -> list[str]:
    # the engine refuses members of several types in one list, unless no type is known
    is_plain = all(isinstance(value, str) for value in values)
    return [text(value) if is_plain else f"dyn({literal(value)})" for value in values]


def provenance_condition(builder_id: str, require: Requirements, fields: Fields, name: str) -> str:
    """Return the condition on a statement, which the expression calls ``name``.

    Expressed are builder, build types, sources, external parameters and tasks.
    """
    predicate = f"{name}.predicate"
    found = [f"{path(predicate, fields.builder_id)} == {text(builder_id)}"]
    if require.build_types:
        found.append(f"{path(predicate, fields.build_type)} in {literal(require.build_types)}")
    if require.external_parameters is not None:
        conditions = parameter_conditions(require.external_parameters)
        found += [_condition(one, predicate, fields.parameters) for one in conditions]
    if require.sources:
        found.append(_sources(require, fields, predicate))
    if require.tasks is not None:
        found.append(_tasks(require.tasks, fields, predicate))
    return " &&\n    ".join(found)


def _condition(condition: Condition, predicate: str, below: Keys) -> str:
    found = path(predicate, (*below, *condition.path))
    if isinstance(condition, OnlyNames):
        return f"type({found}) == map && {found}.all(k, k in {_names(condition.names)})"
    parent = path(predicate, (*below, *condition.path[:-1]))
    is_there = f"{text(condition.path[-1])} in {parent}"
    return f"{is_there} && {found} in {literal(condition.values)}"


def _names(names: Sequence[str]) -> str:
    # an empty list has no type: a name is in none
    return literal(names) if names else "[dyn(null)]"


def _sources(require: Requirements, fields: Fields, predicate: str) -> str:
    listed = path(predicate, fields.dependencies, "dyn([])")
    is_tekton = f"{path(predicate, fields.build_type)} in {literal(TEKTON_BUILD_TYPES)}"
    is_every = fields.predicate_type == SLSA_V1
    counts = f" && (!({is_tekton}) || (has(d.name) && d.name == {text(TEKTON_INPUT)}))" if is_every else ""
    has_digest = "has(d.digest) && type(d.digest) == map && size(d.digest) > 0"
    digest = f"(!({is_tekton}) || ({has_digest}))" if is_every else f"({has_digest})"
    is_git = (
        f"(d.uri.matches({text(GIT)}) || "
        f"(d.uri.matches({text(USER_AT_HOST)}) && !d.uri.matches({text(IMAGE_AT_DIGEST)})))"
    )
    allowed = " || ".join(f"d.uri.matches({text(one)})" for one in source_expressions(require))
    is_one = f"has(d.uri) && type(d.uri) == string{counts} && {is_git}"
    found = f"{listed}.filter(d, type(d) == map ? {is_one} : false)"
    each = f"size(d.uri) <= {LONGEST_URI} && ({allowed}) && {digest}"
    return f"[{found}].all(git, size(git) > 0 &&\n      git.all(d, {each}))"


def _tasks(wanted: TasksWanted, fields: Fields, predicate: str) -> str:
    if fields.predicate_type != SLSA_V1:
        return "false"  # the old format names no resolver
    listed = path(predicate, fields.dependencies, "dyn([])")
    is_pinned = "(has(d.digest) && type(d.digest) == map && size(d.digest) > 0)"
    resolved, right = [], []
    for kind in TEKTON_KINDS:
        resolver = path(predicate, (*fields.parameters, *resolver_of(kind)))
        named = f"{listed}.filter(d, type(d) == map ? has(d.name) && d.name == {text(kind)} : false)"
        is_resolved = f'(type({resolver}) == string && {resolver} != "" && size({named}) == 1)'
        demands = [f"{resolver} in {literal(wanted.resolvers)}"] if wanted.resolvers else []
        demands += [f"{named}.all(d, {is_pinned})"] if wanted.pinned else []
        resolved.append(is_resolved)
        right.append(f"(!{is_resolved} || ({' && '.join(demands) or 'true'}))")
    found = [
        f"{path(predicate, fields.build_type)} in {literal(TEKTON_BUILD_TYPES)}",
        f"({' || '.join(resolved)})",
    ]
    found += right
    if wanted.pinned:
        is_task = f"(type(d) == map && has(d.name) && d.name == {text(PIPELINE_TASK)})"
        found.append(f"{listed}.all(d, !{is_task} || {is_pinned})")
    return " &&\n    ".join(found)


def path(root: str, keys: Keys, absent: str = "dyn(null)") -> str:
    """Return what a statement has at a path; ``absent`` where it has nothing."""
    return root + "".join(f"[?{text(key)}]" for key in keys) + f".orValue({absent})"
