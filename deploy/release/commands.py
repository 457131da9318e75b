"""Runs other programs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.release.errors import ReleaseError

SECONDS = 1800


def run(command: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a command and return its standard output.

    Raises :class:`ReleaseError` with the end of its output if it fails, is missing or takes half an hour.
    """
    shown = " ".join(map(str, command[:6]))
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            timeout=SECONDS,
            text=True,
            capture_output=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ReleaseError(f"{shown}: {error}") from error
    if done.returncode:
        raise ReleaseError(f"{shown}: exit {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout
