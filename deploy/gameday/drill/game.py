"""What every scenario knows: the cluster, the options, the pods of the controller."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drill.errors import UndecidedError, UsageError
from drill.journal import Journal
from drill.kubectl import Kubectl

Json = Any


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a game day; ``docs/runbooks/gamedays.md`` explains them."""

    namespace: str
    existing_namespace: bool
    system_namespace: str
    selector: str
    only: tuple[str, ...]
    runs: int
    most_runs: int
    run_seconds: float
    hold: float
    timeout: float
    image: str
    step_image: str
    addresses: dict[str, tuple[str, int]]
    cut_with: str
    restore_with: str
    new_key: Path | None
    new_public_key: Path | None
    new_registry_config: Path | None
    chains: str
    audit: tuple[str, ...]
    output: str
    dry_run: bool
    yes: bool
    state: Path


@dataclass
class Game:
    """One game day."""

    options: Options
    kubectl: Kubectl
    journal: Journal | None
    """None at a dry run."""
    name: str
    """Part of the names of its runs."""

    def pods(self) -> list[Json]:
        """Return the controller's pods. Raises :class:`UndecidedError` if there are none."""
        found: list[Json] = self.kubectl.get(
            "pods", namespace=self.options.system_namespace, selector=self.options.selector
        )["items"]
        pods = [each for each in found if not each["metadata"].get("deletionTimestamp")]
        if not pods:
            raise UndecidedError(
                f"no pod in namespace {self.options.system_namespace} has the labels "
                f"{self.options.selector}: name the controller's with --system-namespace and --selector"
            )
        return pods

    def names_of_pods(self) -> list[str]:
        """Return the names of the controller's pods."""
        return [each["metadata"]["name"] for each in self.pods()]

    def config(self) -> dict[str, str]:
        """Return the data of ``chains-config``."""
        namespace = self.options.system_namespace
        data: dict[str, str] = self.kubectl.get("configmap", "chains-config", namespace=namespace).get(
            "data", {}
        )
        return data

    def note(self, step: Json) -> None:
        """Write down how to undo what is done next."""
        self.written().add(step)

    def written(self) -> Journal:
        """Return the state file. Raises :class:`UsageError` at a dry run, which has none."""
        if self.journal is None:
            raise UsageError("a dry run writes nothing")
        return self.journal

    def deadline(self) -> float:
        """Return the time of the monotonic clock when a wait that begins now has taken too long."""
        return time.monotonic() + self.options.timeout
