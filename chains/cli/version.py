"""The command ``version``: which program this is, and what is installed with it."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import chains
from chains.cli.arguments import OK, Options, output
from chains.cli.commands import Command
from chains.extras import packages_of_extras
from chains.tekton.snapshot import API_VERSION
from chains.terminal import write_json, write_line, write_text

SCHEMA = "https://provenance.chains/version/v1"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.ASCII)


def commit() -> str:
    """Return the commit that this program was built from, empty if nothing says it.

    ``git archive`` writes it into the file, and a release is built from such an archive. A checkout does not
    say it, because its files may have been changed.
    """
    try:
        text = (Path(chains.__file__).parent / "commit.txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return text if _COMMIT.fullmatch(text) else ""


def _facts() -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": chains.__version__,
        "commit": commit() or None,
        "python": platform.python_version(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
        "tektonApiVersions": [API_VERSION],
        "extras": {
            name: {
                "installed": all(packages.values()),
                "packages": {package: version or None for package, version in packages.items()},
            }
            for name, packages in packages_of_extras().items()
        },
    }


def _version(options: Options) -> int:
    """Print the version and what is installed."""
    facts = _facts()
    if options.output == "json":
        write_json(facts, indent=True)
        return OK
    write_line(f"chains {facts['version']}")
    write_text(
        "\n".join(
            (
                f"commit: {facts['commit'] or 'unknown (not built from a release)'}",
                f"Python: {facts['python']} on {facts['platform']}",
                f"Tekton: {', '.join(facts['tektonApiVersions'])}",
                f"extras: {_told(facts['extras'])}",
            )
        )
    )
    return OK


def _told(extras: Mapping[str, Any]) -> str:
    """Return the extras that are whole, each with the versions of its packages."""
    lines = [
        f"  {name}: " + ", ".join(f"{package} {version}" for package, version in extra["packages"].items())
        for name, extra in extras.items()
        if extra["installed"]
    ]
    return "\n".join(["", *lines]) if lines else "none"


version = Command("version", _version, [output()])
