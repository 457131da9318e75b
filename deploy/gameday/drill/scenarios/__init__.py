"""The faults, in the order in which they are played."""

from __future__ import annotations

from drill.scenarios.base import Scenario
from drill.scenarios.connections import ApiServerLost, KeyServiceLost, LogLost, RegistryLost
from drill.scenarios.controller import ControllerKilled, ControllerStopped
from drill.scenarios.secrets import CredentialRotated, KeyRotated
from drill.scenarios.token import TokenRotated

SCENARIOS: dict[str, Scenario] = {
    each.name: each
    for each in (
        ControllerStopped(), ControllerKilled(), TokenRotated(), KeyRotated(), CredentialRotated(),
        RegistryLost(), ApiServerLost(), KeyServiceLost(), LogLost(),
    )
}  # fmt: skip
