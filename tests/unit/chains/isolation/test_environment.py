"""The environment of a container as the kubelet makes it, and what of it stays unknown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from chains.isolation.environment import Environment, Value
from chains.isolation.pod import doubt
from chains.tekton.container import parse_container
from chains.tekton.network_policy import parse_network_policy
from chains.tekton.raw import parse_time

Json = Any
BEGAN = "2026-01-02T03:04:05Z"
CHANGED = "its generation is not 1, so it may have been changed after the pod was created"
BEFORE, AFTER = "2026-01-02T03:04:04Z", "2026-01-02T03:04:06Z"


def variable(name: str, env: list[Json], sources: Json = None) -> Value | None:
    return Environment(parse_container({"env": env, "envFrom": sources or []})).get(name)


def text(value: str) -> Value:
    return Value(value)


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ([], None),
        ([{"name": "A"}], text("")),
        ([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}], text("2")),
        ([{"name": "B", "value": "b"}, {"name": "A", "value": "<$(B)>"}], text("<b>")),
        ([{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}], text("12")),
        ([{"name": "A", "value": "$$(B)"}], text("$(B)")),
        ([{"name": "A", "value": "$$$$"}], text("$$")),
        ([{"name": "A", "value": "$(B"}], text("$(B")),
        ([{"name": "B", "value": "b"}, {"name": "C", "value": "c"}, {"name": "A", "value": "$(B)$(C)"}], text("bc")),
        ([{"name": "B", "value": "b"}, {"name": "A", "value": ")$(B))"}], text(")b)")),
        ([{"name": "B", "value": "b"}, {"name": "A", "value": "$(B)$(B"}], text("b$(B")),
        ([{"name": "A", "value": "$B $"}], text("$B $")),
        ([{"name": "A", "value": "x$(C)"}], Value(None, "it refers to C, which is not known")),
        ([{"name": "A", "value": "$(B)"}, {"name": "B", "value": "late"}], Value(None, "it refers to B, which is not known")),
        ([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}], Value(None, "its value comes from a reference")),
        ([{"name": "A", "value": "1", "valueFrom": {}}], text("1")),
    ],
)  # fmt: skip
def test_variables_are_those_of_kubernetes(env: list[Json], expected: Value | None) -> None:
    assert variable("A", env) == expected


def unrecorded(start: str, source: str) -> Value:
    why = f"{source}, and what that held when the container started is not recorded"
    return Value(None, f"{start}{why}")


def test_a_source_leaves_open_what_it_may_set_and_env_wins_over_it() -> None:
    sources = [{"configMapRef": {"name": "one"}}, {"prefix": "P_", "secretRef": {"name": "two"}}]
    own = [{"name": "P_B", "value": "own"}, {"name": "C", "value": ""}]
    from_one = unrecorded("envFrom: ", "ConfigMap one")
    assert variable("A", own, sources) == from_one
    assert variable("P_A", own, sources) == from_one
    assert variable("P_A", own, sources[1:]) == unrecorded("envFrom: ", "Secret two")
    assert variable("A", own, sources[1:]) is None
    assert (variable("P_B", own, sources), variable("C", own, sources)) == (text("own"), text(""))
    odd = Value(None, "envFrom: a source that is not known")
    assert variable("A", [], [{"prefix": "", "volumeRef": {"name": "new"}}]) == odd


def test_references_to_keys_are_not_known_and_win_over_what_came_before() -> None:
    keys = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "two", "key": "k"}}},
        {"name": "C", "value": "before"},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "no", "optional": True}}},
        {"name": "D", "value": "$(A)"},
    ]
    assert {name: variable(name, keys) for name in "ABCD"} == {
        "A": unrecorded("its value comes from ", "ConfigMap one"),
        "B": unrecorded("its value comes from ", "Secret two"),
        "C": unrecorded("its value comes from ", "ConfigMap one"),
        "D": Value(None, "it refers to A, which is not known"),
    }


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ({"metadata": {"creationTimestamp": BEFORE, "generation": 1}}, ""),
        ({"metadata": {"creationTimestamp": BEFORE}}, CHANGED),
        ({"metadata": {"creationTimestamp": BEFORE, "generation": 2}}, CHANGED),
        ({"metadata": {"creationTimestamp": BEFORE, "managedFields": [{"time": BEFORE}]}}, CHANGED),
        ({"immutable": True, "metadata": {"creationTimestamp": BEFORE}}, CHANGED),
        ({"metadata": {"creationTimestamp": BEGAN, "generation": 1}}, ""),
        ({"metadata": {"creationTimestamp": AFTER, "generation": 1}}, "it was created after the pod"),
        ({"metadata": {"generation": 1}}, "when it was created is not known"),
        ({"metadata": {"creationTimestamp": "soon", "generation": 1}}, "when it was created is not known"),
        (5, "when it was created is not known"),
    ],
)
def test_an_object_is_believed_where_it_cannot_have_changed_since(item: Json, reason: str) -> None:
    policy = parse_network_policy(item)
    assert doubt(policy, parse_time(BEGAN)) == reason
    assert doubt(policy, None) == "when it was created is not known"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        (BEGAN, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T04:04:05+01:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("soon", None),
        ("", None),
    ],
)
def test_a_time_without_a_zone_is_utc_and_one_with_a_zone_is_its_own(
    text: str, moment: datetime | None
) -> None:
    assert parse_time(text) == moment


KIB = 1024
TOO_LONG = Value(None, "the environment is longer than one that is read")


@pytest.mark.parametrize(
    ("half", "more", "is_read"), [(64 * KIB, "", True), (64 * KIB, "x", False), (64 * KIB - 1, "xx", True)]
)
def test_a_variable_is_as_long_as_linux_takes_it(half: int, more: str, is_read: bool) -> None:
    """All that it refers to counts; what is longer cannot be in an environment."""
    env = [{"name": "B", "value": "b" * half}, {"name": "A", "value": "$(B)$(B)" + more}]
    assert variable("A", env) == (text("b" * half * 2 + more) if is_read else TOO_LONG)
    assert variable("A", [{"name": "A", "value": "b" * 2 * half + more}]) == (
        text("b" * half * 2 + more) if is_read else TOO_LONG
    )


def test_all_variables_together_are_read_to_a_bound_and_none_beyond_it() -> None:
    env = [{"name": f"N{number}", "value": "x" * 128 * KIB} for number in range(8)]
    assert variable("N7", env) == text("x" * 128 * KIB)
    assert variable("N8", [*env, {"name": "N8", "value": "x"}]) == TOO_LONG
    assert variable("N8", [*env[1:], {"name": "N8", "value": "x" * 128 * KIB}]) == text("x" * 128 * KIB)
    assert variable("N8", [*env, {"name": "N8", "value": ""}]) == text("")
