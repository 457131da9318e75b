"""Runs cosign, the outside verifier, without a network and without the user's own settings."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

NOWHERE = "http://127.0.0.1:9"


class CosignError(Exception):
    """cosign said no. The text ends with what it printed."""


@dataclass(frozen=True, slots=True)
class Cosign:
    """The cosign program with a home folder of its own."""

    program: Path
    home: Path

    def __call__(
        self,
        *args: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        seconds: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``cosign ARGS``; raises :class:`CosignError` when it fails, unless ``check`` is false.

        Every address but the loopback one is behind a proxy that does not exist, keys have an empty password,
        and nothing of the caller's environment counts but PATH.
        """
        settings = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.home),
            "COSIGN_PASSWORD": "",
            "SIGSTORE_NO_CACHE": "true",
            "HTTP_PROXY": NOWHERE,
            "HTTPS_PROXY": NOWHERE,
        }
        done = subprocess.run(
            [self.program, *args],
            cwd=cwd or self.home,
            env=settings | dict(env or {}),
            timeout=seconds,
            text=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if check and done.returncode:
            raise CosignError(f"cosign {' '.join(map(str, args))}: exit {done.returncode}\n{done.stderr}")
        return done
