"""An audit of a world whose holes the test made names exactly those."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.audit_truth import EXPECTED, GAP, World, make_world

Json = Any
ROOT = Path(__file__).parents[4]
COUNT, EACH = 360, 3


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("truth"), COUNT, EACH)


def told(world: World, capsys: pytest.CaptureFixture[str], *more: str) -> Json:
    assert chains(world.arguments("--output", "json", *more)) == 1
    return json.loads(capsys.readouterr().out)


def test_the_audit_names_exactly_the_holes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    # the ledger ends on that day, and what is after it is a gap, too
    found = told(world, capsys, "--to", "2026-11-02T00:00:00Z")
    named = {
        one["uid"] or f"{one['namespace']}/{one['name']}": (one["state"], one["reason"], one["detail"])
        for one in found["runs"]
    }
    assert named == world.expected
    holes = EACH * len(EXPECTED) - EACH  # without those that are skipped
    assert found["finished"] == world.finished
    assert found["problems"] == []
    assert [one["problems"] for one in found["sources"]] == [[], [], []]
    assert [(one["from"], one["until"]) for one in found["gaps"]] == [GAP]
    assert found["coverage"]["least"] == (world.finished - holes) / world.finished
    assert found["coverage"]["most"] == (world.finished - holes + EACH) / world.finished
    assert len(world.expected) == EACH * len(EXPECTED)


def test_a_plain_recount_agrees(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The script of the examples shares no code with the audit."""
    script = ROOT / "examples" / "recount.py"
    assert "chains" not in re.findall(r"^(?:import|from) (\w+)", script.read_text(), re.MULTILINE)
    where = world.folder
    words = [str(where / name) for name in ("runs.json", "log", "layout", "good.pub")]
    counted = json.loads(subprocess.check_output([sys.executable, str(script), *words], text=True))
    known = [one for one in told(world, capsys, "--all")["runs"] if one["finished"] and one["uid"]]
    assert counted["finished"] == len(known)
    assert counted["evidenced"] == sorted(one["uid"] for one in known if one["state"] == "evidenced")
    assert counted["others"] == sorted(one["uid"] for one in known if one["state"] != "evidenced")
    assert len(counted["others"]) == EACH * (len(EXPECTED) - 2)
