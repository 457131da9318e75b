"""The environment of a container as the kubelet makes it, and what of it stays unknown."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from chains.beside import Beside, doubt
from chains.hermetic_environment import Environment, Value

Json = Any
BEGAN = "2026-01-02T03:04:05Z"
POD = {"metadata": {"creationTimestamp": BEGAN}}
BEFORE, AFTER = "2026-01-02T03:04:04Z", "2026-01-02T03:04:06Z"


def known(**data: str) -> Json:
    return {"immutable": True, "metadata": {"creationTimestamp": BEFORE}, "data": data}


def secret(**data: str) -> Json:
    return known(**{name: b64encode(value.encode()).decode() for name, value in data.items()})


def variable(name: str, env: list[Json], sources: Json = None, **beside: Json) -> Value | None:
    container = {"env": env, "envFrom": sources or []}
    return Environment(container, Beside(pod=POD, **beside)).get(name)


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
        ([{"name": "A", "value": "$B $"}], text("$B $")),
        ([{"name": "A", "value": "x$(C)"}], Value(None, "it refers to C, which is not known")),
        ([{"name": "A", "value": "$(B)"}, {"name": "B", "value": "late"}], Value(None, "it refers to B, which is not known")),
        ([{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}], Value(None, "its value comes from a reference")),
        ([{"name": "A", "value": "1", "valueFrom": {}}], text("1")),
    ],
)  # fmt: skip
def test_variables_are_those_of_kubernetes(env: list[Json], expected: Value | None) -> None:
    assert variable("A", env) == expected


def test_what_env_sets_wins_over_what_it_is_taken_from() -> None:
    sources = [{"configMapRef": {"name": "one"}}, {"prefix": "P_", "secretRef": {"name": "two"}}]
    beside = {"config_maps": {"one": known(A="map", B="map")}, "secrets": {"two": secret(A="secret")}}
    env = [{"name": "B", "value": "own"}]
    found = {name: variable(name, env, sources, **beside) for name in ("A", "B", "P_A", "P_B")}
    assert found == {"A": text("map"), "B": text("own"), "P_A": text("secret"), "P_B": None}


def test_a_source_that_is_gone_leaves_open_what_it_may_set_and_nothing_else() -> None:
    sources = [
        {"configMapRef": {"name": "one"}},
        {"prefix": "P_", "secretRef": {"name": "gone", "optional": True}},
    ]
    beside = {"config_maps": {"one": known(A="map", P_A="map")}}
    why = "envFrom: Secret gone is gone"
    assert variable("A", [], sources, **beside) == text("map")
    assert variable("P_A", [], sources, **beside) == Value(None, why)
    assert variable("P_B", [], sources, **beside) == Value(None, why)
    assert variable("P_B", [{"name": "P_B", "value": "own"}], sources, **beside) == text("own")
    assert variable("C", [], sources, **beside) is None


def test_references_to_keys_are_followed_where_their_objects_are_known() -> None:
    keys = [
        {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "k"}}},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "two", "key": "k"}}},
        {"name": "C", "value": "before"},
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "one", "key": "no", "optional": True}}},
        {"name": "D", "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "k"}}},
    ]
    beside = {"config_maps": {"one": known(k="1")}, "secrets": {"two": secret(k="2")}}
    found = {name: variable(name, keys, **beside) for name in "ABCD"}
    gone = Value(None, "its value comes from a reference: ConfigMap gone is gone")
    assert found == {"A": text("1"), "B": text("2"), "C": text("before"), "D": gone}


def test_a_secret_that_is_no_text_is_unknown() -> None:
    env = [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]
    for data in ("no base64!", b64encode(b"\xff").decode()):
        assert variable("A", env, secrets={"s": known(k=data)}) == Value(None, "its value is no text")
    plain = {**known(), "stringData": {"k": "plain"}}
    assert variable("A", env, secrets={"s": plain}) == text("plain")


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (known(), ""),
        ({"metadata": {"creationTimestamp": BEFORE, "generation": 1}}, ""),
        ({"metadata": {"creationTimestamp": BEFORE, "managedFields": [{"time": BEGAN}]}}, ""),
        ({"metadata": {"creationTimestamp": BEFORE, "managedFields": [{"time": AFTER}]}}, "it was changed after the pod was created"),
        ({"metadata": {"creationTimestamp": BEFORE, "managedFields": [{"time": BEFORE}, {}]}}, "it is not immutable, and nothing tells when it was last changed"),
        ({"metadata": {"creationTimestamp": BEFORE}}, "it is not immutable, and nothing tells when it was last changed"),
        ({"metadata": {"creationTimestamp": BEFORE, "generation": 2}}, "it is not immutable, and nothing tells when it was last changed"),
        ({"immutable": True, "metadata": {"creationTimestamp": AFTER}}, "it was created after the pod"),
        ({"immutable": True}, "when it was created is not known"),
        ({"immutable": True, "metadata": {"creationTimestamp": "soon"}}, "when it was created is not known"),
        (5, "when it was created is not known"),
    ],
)  # fmt: skip
def test_an_object_is_believed_where_it_cannot_have_changed_since(item: Json, reason: str) -> None:
    assert doubt(item, BEGAN) == reason
    assert doubt(item, "") == "when it was created is not known"
    env = [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]
    if isinstance(item, dict):
        found = variable("A", env, config_maps={"m": {**item, "data": {"k": "1"}}})
        assert found == (
            Value(None, f"its value comes from a reference: ConfigMap m: {reason}") if reason else text("1")
        )
