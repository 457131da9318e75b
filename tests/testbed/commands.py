"""Runs an external program without network access and without the user's settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NOWHERE = "http://127.0.0.1:9"


class CommandError(Exception):
    """A program failed. The text ends with its output."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program with its own home folder."""

    name: str
    program: Path
    home: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables for every run."""

    def __call__(
        self,
        *args: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        seconds: float = 60,
        text: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the program with ``args``. Raises :class:`CommandError` if it fails and ``check`` is true.

        All addresses except loopback go through a proxy that does not exist. Of the caller's environment only
        PATH is used. The working folder is the home folder unless ``cwd`` is given. ``text`` is the input, which
        is empty without it.
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
            input=text or "",
            capture_output=True,
            check=False,
        )
        if check and done.returncode:
            shown = " ".join(map(str, (self.name, *args)))
            raise CommandError(f"{shown}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done
