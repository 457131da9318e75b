"""Runs of one tenant that name silent registries keep nobody else's runs waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration.test_controller import Running, controller, finished
from tests.integration.test_controller_runs import RUNS
from tests.testbed.images import Registry
from tests.testbed.silent_hosts import WAYS, silent_hosts

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any
ATTACK = 128
"""Runs of the attacker, twice the workers."""
VICTIMS = 5
PROMPT = 5.0
"""Seconds in which another tenant's run is marked."""
CONFIG = {"artifacts_taskrun_format": "slsa/v2alpha4", "artifacts_taskrun_storage": "oci"}
SIGNED = "chains.tekton.dev/signed"
DIGEST = "sha256:" + "cd" * 32


def fresh(namespace: str, name: str, image: str, digest: str) -> Json:
    run = finished(namespace, name, image, digest)
    run["status"]["completionTime"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return run


def attack(running: Running, registries: list[str]) -> str:
    """Let somebody else's runs, each with another registry, end all at once; return their namespace."""
    namespace = running.server.create_namespace(f"{running.namespace}-attacker")
    running.watched = (*running.watched, namespace)

    def create(number: int) -> None:
        image = f"{registries[number]}/team/app"
        running.server.create_run(fresh(namespace, f"attack-{number}", image, DIGEST))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(len(registries))))
    return namespace


def value(running: Running, name: str) -> float:
    lines = running.ask("/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def marked(running: Running, namespace: str) -> dict[str, str]:
    found = running.server.request("GET", f"{RUNS}/{namespace}/taskruns")["items"]
    return {
        run["metadata"]["name"]: run["metadata"]["annotations"][SIGNED]
        for run in found
        if SIGNED in run["metadata"].get("annotations", {})
    }


def prompt(running: Running, registry: Registry, image: str, digest: str, name: str) -> float:
    """Let a run of another tenant end and return the seconds until its mark."""
    running.server.create_run(fresh(running.namespace, name, f"{registry.host}/{image}", digest))
    begun = time.monotonic()
    running.wait(lambda: running.signed(name) != "", seconds=60)
    assert running.signed(name) == "true"
    return time.monotonic() - begun


@pytest.mark.parametrize("way", [*WAYS, "one host", "names of one host"])
def test_another_tenants_run_is_marked_in_five_seconds(
    controller: Callable[..., Running], referrers_registry: Registry, way: str
) -> None:
    running = controller(**CONFIG)
    digest = referrers_registry.push_image(running.namespace)
    count = 2 * ATTACK if way == "accepts" else ATTACK
    with silent_hosts(way if way in WAYS else "accepts") as hosts:
        registries = hosts.names(count)
        if way == "one host":
            registries = registries[:1] * count
        elif way == "names of one host":
            registries = hosts.spellings(count)
        attacker = attack(running, registries)
        running.start()
        # every worker is held, and what waits is more than that
        running.wait(lambda: value(running, "chains_backlog_runs") >= count / 4, seconds=60)
        took = [
            prompt(running, referrers_registry, running.namespace, digest, f"victim-{number}")
            for number in range(VICTIMS)
        ]
        assert max(took) < PROMPT, took
        assert marked(running, attacker) == {}, "the attack goes on, and nothing is given up"
        running.wait(lambda: value(running, "chains_silent_hosts") > 0)


def test_what_waits_for_the_registry_of_all_is_not_given_up_and_goes_on_as_soon_as_it_answers(
    controller: Callable[..., Running],
) -> None:
    running = controller(**CONFIG, storage_oci_encoding__format="dsse")
    with silent_hosts("accepts") as hosts:
        registry = hosts.names(1)[0]
        other = attack(running, [registry] * 40)
        for number in range(40):
            running.server.create_run(
                fresh(running.namespace, f"run-{number}", f"{registry}/team/app", DIGEST)
            )
        running.start()
        running.wait(lambda: value(running, "chains_silent_hosts") >= 1, seconds=60)
        running.wait(lambda: value(running, "chains_slow_runs") >= 70, seconds=120)
        assert marked(running, other) == marked(running, running.namespace) == {}
        hosts.heals = True
        # it takes no uploads, so what is woken fails for good
        running.wait(lambda: len(marked(running, other)) == 40, seconds=90)
        running.wait(lambda: len(marked(running, running.namespace)) == 40, seconds=30)
        assert set(marked(running, other).values()) == {"failed"}
