"""Worlds of runs for the commands about reports, and their command lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from chains.cli.main import run as chains
from tests.audit_truth import World

Json = Any
AT = "2026-11-02T12:00:00Z"


def sources(world: World) -> list[str]:
    """Return the options that name every source of a world."""
    return world.arguments()[1:]


def report(world: World, out: Path, *more: str) -> int:
    """Write the report of a world's October, and return the exit code."""
    period = ("--from", "2026-10-01T00:00:00Z", "--to", "2026-11-02T00:00:00Z")
    return chains(["report", *sources(world), *period, "--at", AT, "--out", str(out), *more])


def check(world: World, out: Path, *more: str) -> int:
    """Compare a report with its sources, and return the exit code."""
    return chains(["report", "check", str(out), *sources(world), *more])


def loaded(out: Path) -> Json:
    """Return the document of a report."""
    return json.loads((out / "report.json").read_bytes())
