"""JMESPath of Kyverno's older engine: the conditions on the predicate of one provenance statement.

Kyverno replaces ``{{…}}`` and ``$(…)`` in every text of a policy before JMESPath reads it. So every character
of a value that is not plain is written as JSON's escape, which JMESPath alone resolves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9 .,:/_+@=-]")


def quoted(value: str) -> str:
    """Return a text as JSON with every character escaped that is not plain."""
    units = value.encode("utf-16-be", "surrogatepass")
    chars = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return '"' + "".join(_NOT_PLAIN.sub(_escaped, chr(code)) for code in chars) + '"'


def _escaped(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def literal(value: Any) -> str:
    """Return a JSON value as JMESPath's literal; a mapping has braces, which Kyverno may take for its own."""
    return f"`{_json(value)}`"


def _json(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_json, value)) + "]"
    return json.dumps(value, allow_nan=False)


def has_mapping(value: Any) -> bool:
    """Whether a value is a mapping or has one in it."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Mapping):
            return True
        if isinstance(one, list):
            waiting += one
    return False


def provenance_conditions(builder_id: str, require: Requirements, fields: Fields) -> list[str]:
    """Return expressions that are all true for provenance that meets the requirements."""
    found = [f"{_path(fields.builder_id)} == {literal(builder_id)}"]
    if require.build_types:
        found.append(f"contains({literal(require.build_types)}, {_path(fields.build_type)})")
    if require.external_parameters is not None:
        conditions = parameter_conditions(require.external_parameters)
        found += [_condition(one, fields.parameters) for one in conditions]
    if require.sources:
        found.append(_sources(require, fields))
    if require.tasks is not None:
        found += _tasks(require.tasks, fields)
    return found


def _condition(condition: Condition, below: Keys) -> str:
    path = _path((*below, *condition.path))
    if isinstance(condition, OnlyNames):
        others = f"keys({path})[?!contains({literal(condition.names)}, @)]"
        return f"type({path}) == 'object' && length({others}) == `0`"
    is_there = f"contains(keys({_path((*below, *condition.path[:-1]))}), {literal(condition.path[-1])})"
    written = [literal(value) for value in condition.values if not has_mapping(value)]
    values = " || ".join(f"{path} == {one}" for one in written) or "`false`"
    return f"{is_there} && ({values})"


def _sources(require: Requirements, fields: Fields) -> str:
    listed = _path(fields.dependencies)
    uri = 'uri || `""`'
    is_git = (
        f"(regex_match({literal(GIT)}, {uri}) || (regex_match({literal(USER_AT_HOST)}, {uri})"
        f" && !regex_match({literal(IMAGE_AT_DIGEST)}, {uri})))"
    )
    allowed = " || ".join(f"regex_match({literal(one)}, {uri})" for one in source_expressions(require))
    is_allowed = f"length({uri}) <= `{LONGEST_URI}` && ({allowed})"
    has_digest = "type(digest) == 'object' && length(digest) > `0`"

    def met(*counted: str, digest: bool) -> str:
        git = " && ".join((*counted, is_git))
        right = " && ".join((git, is_allowed, *([has_digest] if digest else [])))
        number = f"length({listed}[?{git}])"
        return f"{number} > `0` && {number} == length({listed}[?{right}])"

    if fields.predicate_type != SLSA_V1:
        return met(digest=True)
    is_tekton = f"contains({literal(TEKTON_BUILD_TYPES)}, {_path(fields.build_type)})"
    own = met(f"name == {literal(TEKTON_INPUT)}", digest=True)
    return f"({is_tekton} && {own}) || (!{is_tekton} && {met(digest=False)})"


def _tasks(wanted: TasksWanted, fields: Fields) -> list[str]:
    if fields.predicate_type != SLSA_V1:
        return ["`false`"]  # the old format names no resolver
    listed = _path(fields.dependencies)
    is_pinned = "type(digest) == 'object' && length(digest) > `0`"
    resolved, right = [], []
    for kind in TEKTON_KINDS:
        resolver, is_named = _path((*fields.parameters, *resolver_of(kind))), f"name == {literal(kind)}"
        is_resolved = (
            f"(type({resolver}) == 'string' && {resolver} != `\"\"` && length({listed}[?{is_named}]) == `1`)"
        )
        demands = [f"contains({literal(wanted.resolvers)}, {resolver})"] if wanted.resolvers else []
        demands += [f"length({listed}[?{is_named} && {is_pinned}]) == `1`"] if wanted.pinned else []
        resolved.append(is_resolved)
        right.append(f"!{is_resolved} || ({' && '.join(demands) or '`true`'})")
    found = [
        f"contains({literal(TEKTON_BUILD_TYPES)}, {_path(fields.build_type)})",
        " || ".join(resolved),
        *right,
    ]
    if wanted.pinned:
        is_task = f"name == {literal(PIPELINE_TASK)}"
        found.append(f"length({listed}[?{is_task}]) == length({listed}[?{is_task} && {is_pinned}])")
    return found


def _path(keys: Keys) -> str:
    return ".".join(map(quoted, keys))
