"""Asks ``chains audit`` what became of the runs. A mark is never evidence."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drill.errors import UndecidedError
from drill.runs import Run
from drill.text import safe

Json = Any
SECONDS = 300
EVIDENCED = "evidenced"
UNDECIDED = frozenset({"unknown", "skipped", "disposed"})
"""States of an audit that say neither that there is evidence nor that there is none."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What an audit says about a run."""

    state: str
    words: str


def audit(chains: str, options: Sequence[str], runs: Sequence[Run]) -> dict[str, Finding]:
    """Return what ``chains audit`` says, by UID. Raises :class:`UndecidedError` if it cannot be asked."""
    with tempfile.TemporaryDirectory(prefix="gameday-") as folder:
        file = Path(folder) / "runs.json"
        items = [{"apiVersion": "tekton.dev/v1", "kind": "TaskRun", **each.seen} for each in runs]
        file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
        command = [chains, "audit", "--runs", str(file), "--all", "--output", "json", *options]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError:
            raise UndecidedError(f"cannot run {chains}: install it, or name it with --chains") from None
        except subprocess.TimeoutExpired:
            raise UndecidedError(f"chains audit has not ended after {SECONDS} s") from None
    try:
        found = {
            str(each["uid"]): Finding(each["state"], safe(f"{each['words']}{_detail(each)}"))
            for each in json.loads(done.stdout)["runs"]
        }
    except (ValueError, KeyError, TypeError):
        told = safe(done.stderr.strip()) or f"exit code {done.returncode}"
        raise UndecidedError(f"chains audit says nothing about the runs: {told}") from None
    return found


def _detail(row: Json) -> str:
    return f": {row['detail']}" if row.get("detail") else ""
