"""Undoes the steps of a journal, the last one first. Each can be undone again without harm."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from typing import Any

from drill.errors import KubectlError, UndecidedError
from drill.journal import Journal
from drill.kubectl import Kubectl
from drill.limit import LABEL
from drill.text import safe

Json = Any
HOOK_SECONDS = 120
PAUSE = 2.0
KEPT = ("name", "namespace", "labels", "annotations")
"""What of an object's metadata an object of the same name gets."""


def undo(journal: Journal, kubectl: Kubectl, *, seconds: float, down_to: int = 0) -> None:
    """Undo all steps but the first ``down_to``.

    An API server that does not answer is asked again for ``seconds``. Raises the last error after that; the
    step stays in the state file.
    """
    deadline = time.monotonic() + seconds
    while len(journal.steps) > down_to:
        step = journal.steps[-1]
        try:
            _undo(step, kubectl)
        except (KubectlError, UndecidedError):
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
            continue
        journal.drop(step)


def _undo(step: Json, kubectl: Kubectl) -> None:
    does: dict[str, Callable[[], None]] = {
        "delete": lambda: kubectl.delete(step["kind"], step["name"], namespace=step["namespace"]),
        "put-back": lambda: _put_back(step["object"], kubectl),
        "restore-secret": lambda: _restore_secret(step, kubectl),
        "delete-runs": lambda: _delete_runs(step, kubectl),
        "run": lambda: run_hook(step["command"], step["scenario"]),
    }
    does[step["do"]]()


def _delete_runs(step: Json, kubectl: Kubectl) -> None:
    selector = f"{LABEL}={step['name']}"
    for each in kubectl.get("taskruns", namespace=step["namespace"], selector=selector)["items"]:
        kubectl.delete("taskrun", each["metadata"]["name"], namespace=step["namespace"])


def _put_back(thing: Json, kubectl: Kubectl) -> None:
    kind, metadata = thing["kind"].lower(), thing["metadata"]
    if not kubectl.has(kind, metadata["name"], namespace=metadata["namespace"]):
        kubectl.create(without_identity(thing))
    elif "spec" in thing:
        kubectl.replace(without_identity(thing))


def without_identity(thing: Json) -> Json:
    """Return an object as it can be created again: without UID, version and status."""
    metadata = {key: value for key, value in thing["metadata"].items() if key in KEPT}
    return {key: value for key, value in thing.items() if key != "status"} | {"metadata": metadata}


def _restore_secret(step: Json, kubectl: Kubectl) -> None:
    namespace, name, backup = step["namespace"], step["name"], step["backup"]
    if not kubectl.has("secret", backup, namespace=namespace):
        return  # it was not changed yet, or is restored already
    kept = kubectl.get("secret", backup, namespace=namespace)
    current = kubectl.get("secret", name, namespace=namespace)
    if current.get("data") != kept.get("data"):
        kubectl.replace(without_identity(current) | {"data": kept.get("data", {})})
    kubectl.delete("secret", backup, namespace=namespace)


def run_hook(command: str, scenario: str) -> None:
    """Run a command of the user's. Raises :class:`UndecidedError` if it fails."""
    try:
        done = subprocess.run(
            ["sh", "-c", command], env=os.environ | {"GAMEDAY_SCENARIO": scenario}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=HOOK_SECONDS, check=False, start_new_session=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UndecidedError(
            f"{scenario}: the command {command!r} has not ended after {HOOK_SECONDS} s"
        ) from None
    if done.returncode:
        told = safe((done.stderr or done.stdout).strip())
        raise UndecidedError(f"{scenario}: the command {command!r} ended with {done.returncode}: {told}")
