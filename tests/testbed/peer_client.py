"""Talks to ``tests/testbed/peer``: Tekton Chains' own formatter as a program."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import orjson

Json = Any


class Peer:
    """The running program; one request and one answer a line."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen([str(binary)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, run: Json, children: list[Json], format_name: str, config: dict[str, str]) -> Json:
        """Return ``{"statement", "images", "error"}`` for a run."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"run": run, "children": children, "format": format_name, "config": config}
        self._process.stdin.write(orjson.dumps(request) + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """End the program."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


def schema(binary: Path) -> Json:
    """Return the fields of Tekton's run types, as the Go types have them."""
    return json.loads(subprocess.check_output([str(binary), "schema"]))["structs"]
