"""Runs an outside program without a network and without the user's own settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NOWHERE = "http://127.0.0.1:9"


class CommandError(Exception):
    """A program failed. The text ends with what it printed."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with a home folder of its own."""

    name: str
    program: Path
    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that every run gets."""

    def __call__(
        self,
        *args: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run the program with ``args``; raises :class:`CommandError` when it fails, unless ``check`` is false.

        Every address but the loopback one is behind a proxy that does not exist, and nothing of the caller's
        environment counts but PATH. The working folder is the home folder unless ``cwd`` names another.
        """
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.home),
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
        }
        done = subprocess.run(
            [self.program, *args],
            cwd=cwd or self.home,
            env=environment | dict(self.settings) | dict(env or {}),
            timeout=seconds,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if check and done.returncode:
            shown = " ".join(map(str, (self.name, *args)))
            raise CommandError(f"{shown}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done
