"""Harmless TaskRuns in a namespace of their own: they wait for some seconds and name an image that exists."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from drill.errors import KubectlError
from drill.kubectl import Kubectl
from drill.limit import LABEL

Json = Any
MARK = "chains.tekton.dev/signed"
PAUSE = 0.5
CODE = (
    "import sys, time; time.sleep(float(sys.argv[1])); "
    "[open(path, 'w').write(text) for path, text in zip(sys.argv[2::2], sys.argv[3::2])]"
)


@dataclass
class Run:
    """A run as it was last seen. Times are those of this machine's monotonic clock; 0 is not yet."""

    name: str
    uid: str
    seen: Json = field(repr=False)
    ended: float = 0
    marked: float = 0
    is_gone: bool = False

    @property
    def mark(self) -> str:
        """Return what the controller wrote: ``true``, ``failed``, ``skipped``, or nothing yet."""
        return str(self.seen["metadata"].get("annotations", {}).get(MARK, ""))


@dataclass
class Runs:
    """The runs of one scenario."""

    kubectl: Kubectl
    namespace: str
    scenario: str
    game: str
    step_image: str
    image: str
    found: dict[str, Run] = field(default_factory=dict)

    def create(self, seconds: float) -> None:
        """Create one more, which takes ``seconds``."""
        name = f"gameday-{self.game}-{self.scenario}-{len(self.found)}"
        created = self.kubectl.create(
            task_run(self.namespace, name, self.game, self.step_image, self.image, seconds)
        )
        self.found[name] = Run(name, created["metadata"]["uid"], created)

    def look(self) -> None:
        """Read them once. An API server that does not answer changes nothing."""
        try:
            items = self.kubectl.get("taskruns", namespace=self.namespace, selector=f"{LABEL}={self.game}")[
                "items"
            ]
        except KubectlError:
            return
        now, there = time.monotonic(), {each["metadata"]["uid"]: each for each in items}
        for run in self.found.values():
            run.is_gone = run.uid not in there
            run.seen = there.get(run.uid, run.seen)
            if not run.ended and run.seen.get("status", {}).get("completionTime"):
                run.ended = now
            if not run.marked and run.mark:
                run.marked = now

    def wait(self, *, until: str, deadline: float, least: int = 0) -> bool:
        """Look until ``least`` runs (all without it) are ``ended`` or ``marked``; False after the deadline.

        A run that is gone will not be marked any more, so nobody waits for it.
        """
        while True:
            self.look()
            done = sum(bool(getattr(each, until)) or each.is_gone for each in self.found.values())
            if done >= (least or len(self.found)):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(PAUSE)


def task_run(namespace: str, name: str, game: str, step_image: str, image: str, seconds: float) -> Json:
    """Return a TaskRun that waits and then names the image, if there is one, as what it built."""
    repository, _, digest = image.partition("@")
    values = {"IMAGE_URL": repository, "IMAGE_DIGEST": digest} if image else {}
    given = {"seconds": f"{seconds:g}", **values}
    words = [word for key in values for word in (f"$(results.{key}.path)", f"$(params.{key})")]
    step = {
        "name": "wait", "image": step_image, "command": ["python3", "-c", CODE],
        "args": ["$(params.seconds)", *words],
    }  # fmt: skip
    user = {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532}
    return {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": name, "namespace": namespace, "labels": {LABEL: game}},
        "spec": {
            "params": [{"name": key, "value": value} for key, value in given.items()],
            "podTemplate": {"securityContext": {**user, "seccompProfile": {"type": "RuntimeDefault"}}},
            "taskSpec": {
                "description": "does nothing: a game day of Chains watches what becomes of its evidence",
                "params": [{"name": key, "type": "string"} for key in given],
                "results": [{"name": key} for key in values],
                "steps": [step],
            },
        },
    }  # fmt: skip
