"""Rego for engines that ask it about one statement at a time.

CUE is no choice: policy-controller unifies it with the statement and asks for no concrete value, so that a
statement *without* the field passes. A rule in Rego about a field that is absent is undefined, and denies.
"""

from __future__ import annotations

import json

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
    json_text,
    parameter_conditions,
    resolver_of,
    source_expressions,
)
from chains.statements.statement import SLSA_V1

_HEAD = """\
package sigstore

import rego.v1

default isCompliant := false

isCompliant if {
"""
_DEPENDENCIES = """
dependencies := [one | some one in %(dependencies)s; is_array(%(dependencies)s); is_object(one)]
"""
_SOURCES = """
git := [one | some one in dependencies; counts(one); is_git(one.uri)]

is_git(uri) if regex.match(%(git)s, uri)

is_git(uri) if {
    regex.match(%(user_at_host)s, uri)
    not regex.match(%(image_at_digest)s, uri)
}

sources if {
    count(git) > 0
    every one in git {
        is_allowed(one)
        has_digest(one)
    }
}

is_allowed(one) if {
    count(one.uri) <= %(longest)d
    some expression in %(allowed)s
    regex.match(expression, one.uri)
}
"""
_TEKTON_ALONE = """
counts(one) if is_object(one)

has_digest(one) if {
    is_object(one.digest)
    count(one.digest) > 0
}
"""
_EVERY_BUILDER = """
is_tekton if %(build_type)s in %(tekton)s

counts(one) if {
    is_object(one)
    not is_tekton
}

counts(one) if {
    is_tekton
    one.name == %(input)s
}

has_digest(one) if {
    is_object(one)
    not is_tekton
}

has_digest(one) if {
    is_object(one.digest)
    count(one.digest) > 0
}
"""

_TASKS = """
tasks if {
%(rule)s}

named[name] := [one | some one in dependencies; one.name == name] if some name in %(names)s

%(resolvers)s
resolved contains kind if {
    some kind, value in resolver
    is_string(value)
    value != ""
    count(named[kind]) == 1
}

is_pinned(one) if {
    is_object(one.digest)
    count(one.digest) > 0
}
"""


def provenance_rule(builder_id: str, require: Requirements, fields: Fields) -> str:
    """Return the module ``sigstore``; ``isCompliant`` is true for provenance that meets the requirements.

    Expressed are builder, build types, sources, external parameters and tasks.
    """
    lines = [f"{_path(fields.builder_id)} == {_text(builder_id)}"]
    if require.build_types:
        lines.append(f"{_path(fields.build_type)} in {json_text(list(require.build_types))}")
    if require.external_parameters is not None:
        conditions = parameter_conditions(require.external_parameters)
        lines += [line for condition in conditions for line in _condition(condition, fields.parameters)]
    if require.sources:
        lines.append("sources")
    if require.tasks is not None:
        lines.append("tasks")
    module = _HEAD + "".join(f"    {line}\n" for line in lines) + "}\n"
    if require.sources or require.tasks is not None:
        module += _DEPENDENCIES % {"dependencies": _path(fields.dependencies)}
    if require.sources:
        module += _sources(require, fields)
    return module + (_tasks(require.tasks, fields) if require.tasks is not None else "")


def _sources(require: Requirements, fields: Fields) -> str:
    # the old format is Tekton's alone
    rest = _EVERY_BUILDER if fields.predicate_type == SLSA_V1 else _TEKTON_ALONE
    return (_SOURCES + rest) % {
        "git": _text(GIT),
        "user_at_host": _text(USER_AT_HOST),
        "image_at_digest": _text(IMAGE_AT_DIGEST),
        "longest": LONGEST_URI,
        "allowed": json_text(source_expressions(require)),
        "build_type": _path(fields.build_type),
        "tekton": json_text(list(TEKTON_BUILD_TYPES)),
        "input": _text(TEKTON_INPUT),
    }


def _tasks(wanted: TasksWanted, fields: Fields) -> str:
    if fields.predicate_type != SLSA_V1:
        # the old format names no resolver
        return "\ntasks if false\n"
    each = []
    if wanted.resolvers:
        each.append(f"resolver[kind] in {json_text(list(wanted.resolvers))}")
    if wanted.pinned:
        each.append("is_pinned(named[kind][0])")
    lines = [f"{_path(fields.build_type)} in {json_text(list(TEKTON_BUILD_TYPES))}", "count(resolved) > 0"]
    if each:
        lines.append(f"every kind in resolved {{ {'; '.join(each)} }}")
    if wanted.pinned:
        lines.append(f"every one in named[{_text(PIPELINE_TASK)}] {{ is_pinned(one) }}")
    resolvers = "".join(
        f"resolver[{_text(kind)}] := {_path((*fields.parameters, *resolver_of(kind)))}\n"
        for kind in TEKTON_KINDS
    )
    rule = "".join(f"    {line}\n" for line in lines)
    return _TASKS % {"rule": rule, "resolvers": resolvers, "names": json_text([*TEKTON_KINDS, PIPELINE_TASK])}


def _condition(condition: Condition, below: Keys) -> list[str]:
    path = _path((*below, *condition.path))
    if isinstance(condition, OnlyNames):
        names = f"{{{', '.join(map(_text, condition.names))}}}" if condition.names else "set()"
        return [f"is_object({path})", f"object.keys({path}) - {names} == set()"]
    return [f"{path} in {json_text(list(condition.values))}"]


def _path(keys: Keys) -> str:
    return "input.predicate" + "".join(f"[{_text(key)}]" for key in keys)


def _text(value: str) -> str:
    return json.dumps(value)
