"""An audit of a world whose holes the test made names exactly those."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.audit_truth import EXPECTED, World, make_world

Json = Any
COUNT, EACH = 360, 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("truth"), COUNT, EACH)


def told(world: World, capsys: pytest.CaptureFixture[str], *more: str) -> Json:
    assert chains(world.arguments("--output", "json", *more)) == 1
    return json.loads(capsys.readouterr().out)


def test_the_audit_names_exactly_the_holes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(world, capsys)
    named = {
        one["uid"] or f"{one['namespace']}/{one['name']}": (one["state"], one["reason"], one["detail"])
        for one in found["runs"]
    }
    assert named == world.expected
    assert found["finished"] == world.finished
    assert found["problems"] == []
    assert [one["problems"] for one in found["sources"]] == [[], []]
    assert len(world.expected) == EACH * len(EXPECTED)
