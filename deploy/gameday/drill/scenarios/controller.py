"""The controller ends: orderly, or without a chance to say a word."""

from __future__ import annotations

from drill.game import Game
from drill.limit import Touch
from drill.scenarios.base import Scenario


class ControllerStopped(Scenario):
    """One pod is deleted, as a drained node does it."""

    name = "stop"
    breaks = "one pod of the controller is deleted and has its grace period"

    def touches(self, game: Game) -> list[Touch]:
        """Return the pod."""
        pod = game.names_of_pods()[0]
        return [Touch("delete", "pod", game.options.system_namespace, pod, "its owner makes a new one")]

    def inject(self, game: Game) -> None:
        """Delete it."""
        game.kubectl.delete("pod", game.names_of_pods()[0], namespace=game.options.system_namespace)


class ControllerKilled(Scenario):
    """All pods are deleted without a grace period, as a power failure does it."""

    name = "kill"
    breaks = "all pods of the controller are killed at once"

    def touches(self, game: Game) -> list[Touch]:
        """Return the pods."""
        return [
            Touch("delete", "pod", game.options.system_namespace, each, "its owner makes a new one")
            for each in game.names_of_pods()
        ]

    def inject(self, game: Game) -> None:
        """Delete them."""
        for each in game.names_of_pods():
            game.kubectl.delete("pod", each, namespace=game.options.system_namespace, at_once=True)
