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
MOST_BUSY = 1.0
"""Seconds of processor time within which ``/livez`` is answered, whatever else is in work."""
TWO_SHARES = ("--replicas", "2", "--pod-name", "tekton-chains-controller-0", "--lease-seconds", "60")
"""One replica that has to keep Leases: its own, and that of one that never comes."""


@pytest.mark.timeout(700)
def test_large_runs_and_hostile_registries_at_once_cost_neither_memory_nor_answers_nor_leases(
    controller: Callable[..., Running],
) -> None:
    running = controller(**{key.replace(".", "_"): value for key, value in CONFIG.items()})
    running.options = TWO_SHARES
    try:
        with hostile_registry() as host:
            due = start(running, host, ATTACK)
            found = watch(running, due, seconds=600)
    finally:
        remove(running)
    assert found.unmarked == set()
    assert found.peak <= MOST_MIB, f"{found.peak:.0f} MiB"
    assert found.busiest < MOST_BUSY, f"{found.busiest:.2f} s of processor time for an answer"
    assert 0 < found.stalest < 1, "a Lease was held, and renewed in time"
    assert "share is lost" not in running.log.read_text()
