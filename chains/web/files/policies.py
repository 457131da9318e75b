"""Policy files as they are shown: what each demands, for which images, and what it exempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chains.errors import ChainsError
from chains.policy.document.load import load_policies
from chains.policy.document.policy import Policy

LARGEST = 1024 * 1024
"""Bytes of a file whose text is shown."""


@dataclass(frozen=True, slots=True)
class ShownPolicies:
    """The policies, their files' texts by name, and what could not be read."""

    policies: tuple[Policy, ...]
    texts: dict[str, str]
    problems: tuple[str, ...]


def read_policies(paths: Sequence[Path]) -> ShownPolicies:
    """Read the policies of files and folders."""
    policies: list[Policy] = []
    problems: list[str] = []
    texts: dict[str, str] = {}
    for path in paths:
        try:
            policies += load_policies(path)
        except ChainsError as error:
            problems += [str(line) for line in error.lines]
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            if (
                file.suffix in {".yaml", ".yml", ".json"}
                and file.is_file()
                and file.stat().st_size <= LARGEST
            ):
                texts[file.name] = file.read_text(errors="replace")
    return ShownPolicies(tuple(policies), texts, tuple(problems))
