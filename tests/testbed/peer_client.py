"""Talks to ``tests/testbed/peer``: Tekton Chains' own formatter as a program."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import orjson

Json = Any


class Peer:
    """The running program. It reads one request and writes one answer per line."""

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


class PeerStores:
    """``tests/testbed/peerstores``: Tekton Chains' own storage backends as a program."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary

    def store(self, backend: str, config: dict[str, str], run: Json, items: list[Json], **env: str) -> Json:
        """Let a backend store a payload as Chains would; returns ``{"requests"}`` for grafeas."""
        return self._ask("store", backend, config, run, items, env)

    def retrieve(
        self, backend: str, config: dict[str, str], run: Json, items: list[Json], **env: str
    ) -> Json:
        """Return ``{"payloads", "signatures"}``, one mapping per item."""
        return self._ask("retrieve", backend, config, run, items, env)

    def _ask(
        self, do: str, backend: str, config: dict[str, str], run: Json, items: list[Json], env: dict[str, str]
    ) -> Json:
        request = {"do": do, "backend": backend, "config": config, "run": run, "items": items}
        done = subprocess.run(
            [self._binary],
            input=orjson.dumps(request),
            capture_output=True,
            env={"HOME": "/nonexistent", **env},
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:]
        return json.loads(done.stdout)


def schema(binary: Path) -> Json:
    """Return the fields of Tekton's run types, as the Go types have them."""
    return json.loads(subprocess.check_output([str(binary), "schema"]))["structs"]
