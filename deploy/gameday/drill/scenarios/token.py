"""The controller's token becomes invalid: its account is deleted and created again."""

from __future__ import annotations

from typing import Any

from drill.errors import UndecidedError
from drill.game import Game
from drill.limit import Touch
from drill.scenarios.base import Scenario
from drill.undo import without_identity

Json = Any


class TokenRotated(Scenario):
    """All tokens of the account are refused from then on; the pods get new ones when they start again."""

    name = "token"
    breaks = (
        "the controller's service account is replaced by one of the same name, so that its tokens are invalid"
    )

    def touches(self, game: Game) -> list[Touch]:
        """Return the account and the pods."""
        account, namespace = _account(game), game.options.system_namespace
        return [
            Touch("delete", "serviceaccount", namespace, account),
            Touch("create", "serviceaccount", namespace, account, "the same again"),
            *(
                Touch("delete", "pod", namespace, each, "so that it gets a new token")
                for each in game.names_of_pods()
            ),
        ]

    def inject(self, game: Game) -> None:
        """Replace the account, then the pods, as the runbook of the token does."""
        account, namespace = _account(game), game.options.system_namespace
        before = game.kubectl.get("serviceaccount", account, namespace=namespace)
        game.note({"do": "put-back", "object": without_identity(before)})
        game.kubectl.delete("serviceaccount", account, namespace=namespace)
        game.kubectl.create(without_identity(before))
        for each in game.names_of_pods():
            game.kubectl.delete("pod", each, namespace=namespace)


def _account(game: Game) -> str:
    accounts = {str(each["spec"].get("serviceAccountName", "default")) for each in game.pods()}
    if len(accounts) > 1 or "default" in accounts:
        raise UndecidedError(
            f"token: the controller's pods use {sorted(accounts)}, expected one account of their own"
        )
    return accounts.pop()
