"""Tenants who make everything large take the controller no more memory than it may have."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench.hostile import MOST_MIB
from tests.bench.hostile_controller import CONFIG, Attack, remove, start, watch
from tests.integration.test_controller import Running, controller
from tests.testbed.hostile import hostile_registry

__all__ = ["controller"]
pytestmark = pytest.mark.server
ATTACK = Attack(registries=18, large=5, families=1, children=4)


def test_large_runs_and_hostile_registries_at_once_stay_within_256_mib(
    controller: Callable[..., Running],
) -> None:
    running = controller(**{key.replace(".", "_"): value for key, value in CONFIG.items()})
    try:
        with hostile_registry() as host:
            due = start(running, host, ATTACK)
            found = watch(running, due, seconds=240)
    finally:
        remove(running)
    assert found.unmarked == set()
    assert found.peak <= MOST_MIB, f"{found.peak:.0f} MiB"
