"""Private images are looked at with the pull secrets of the workloads that name them, where nothing else shows them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chains.preflight.answer import ImageCheck, State
from chains.preflight.check import Places, check_all
from chains.preflight.inventory import Inventory
from chains.preflight.pulls import MOST_PULLERS, Pulls
from storage.errors import StoreRejected
from storage.record import Findings
from tests.faults.verify.forge import DIGEST, IMAGE, NOW
from tests.unit.chains.admission.test_pulled import AWAY, EMPTY, REFUSED, SEEN, Resolver, Secrets, Shown
from tests.unit.chains.policy.made import REF, document, opened
from tests.unit.chains.preflight.made import workload

Json = Any
Shows = dict[str, Findings | Exception]


def made(kind: str, image: str, namespace: str, pull: str = "pull", name: str = "web") -> Json:
    """Return a workload that names one pull secret."""
    found = workload(kind, image, namespace=namespace, name=name)
    spec = found["spec"] if kind == "Pod" else found["spec"]["template"]["spec"]
    spec["imagePullSecrets"] = [{"name": pull}]
    return found


def checked(
    shows: Shows,
    *items: Json,
    tags: dict[str, str | Exception] | None = None,
    has_pulls: bool = True,
    **spec: Json,
) -> tuple[list[ImageCheck], Shown]:
    inventory, store = Inventory(), Shown(shows)
    for item in items:
        inventory.add(item)
    resolver = Resolver(tags or {})
    pulls = Pulls(Secrets(), resolver.with_keychain) if has_pulls else None  # type: ignore[arg-type]
    places = Places(opened(document(**spec)), [store], resolver, pulls=pulls)
    return asyncio.run(check_all(inventory, places, now=NOW)), store


def states(checks: list[ImageCheck]) -> list[tuple[str, State]]:
    return [(check.uses[0].namespace, check.state) for check in checks]


@pytest.mark.parametrize("hidden", [REFUSED, EMPTY], ids=["refused", "empty"])
def test_each_namespace_gets_what_the_secrets_of_its_own_workloads_show(hidden: Findings | Exception) -> None:
    shows: Shows = {"": hidden, "alice": SEEN, "bob": hidden}
    items = [
        made("Pod", REF, "alice"),
        made("Deployment", REF, "bob"),
        workload("Pod", REF, namespace="carol"),
    ]
    checks, store = checked(shows, *items)
    other = State.FAIL if hidden is EMPTY else State.UNDECIDED
    assert states(checks) == [("alice", State.PASS), ("bob", other), ("carol", other)]
    assert sorted(store.asked) == ["", "alice", "bob"]
    checks, store = checked(shows, *items, has_pulls=False)
    assert states(checks) == [("alice", other), ("bob", other), ("carol", other)]
    assert store.asked == [""]


def test_what_everybody_sees_and_what_is_away_is_looked_at_once() -> None:
    for found, state in ((SEEN, State.PASS), (AWAY, State.UNDECIDED)):
        checks, store = checked({"": found}, made("Pod", REF, "alice"))
        assert (states(checks), store.asked) == ([("alice", state)], [""])


def test_credentials_that_make_the_registry_fail_do_not_make_a_failure_undecided() -> None:
    checks, _ = checked({"": EMPTY, "alice": AWAY}, made("Pod", REF, "alice"))
    assert states(checks) == [("alice", State.FAIL)]


def test_evidence_that_was_removed_from_a_private_registry_is_a_failure() -> None:
    checks, _ = checked({"": REFUSED, "alice": EMPTY}, made("Pod", REF, "alice"))
    assert states(checks) == [("alice", State.FAIL)]
    assert checks[0].reason == "no_evidence"


def test_equal_credentials_are_asked_with_once_and_only_some_pods_are_tried() -> None:
    same = [made("Pod", REF, "alice", pull="pull", name=f"web-{at}") for at in range(9)]
    assert checked({"": REFUSED, "alice": EMPTY}, *same)[1].asked == ["", "alice"]
    others = [made("Pod", REF, "alice", pull=f"pull-{at}", name=f"web-{at}") for at in range(9)]
    inventory = Inventory()
    for item in others:
        inventory.add(item)
    secrets = Secrets()
    resolver = Resolver({})
    places = Places(
        opened(document()),
        [Shown({"": REFUSED, "alice": EMPTY})],
        resolver,
        pulls=Pulls(secrets, resolver.with_keychain),  # type: ignore[arg-type]
    )
    asyncio.run(check_all(inventory, places, now=NOW))
    assert secrets.asked == ["alice"] * MOST_PULLERS


def test_a_private_tag_is_resolved_with_the_secrets_of_the_workload_that_names_it() -> None:
    tags: dict[str, str | Exception] = {"": StoreRejected("401"), "alice": DIGEST}
    (check,), _ = checked({"": REFUSED, "alice": SEEN}, made("Deployment", f"{IMAGE}:1", "alice"), tags=tags)
    assert (check.state, check.digest) == (State.PASS, DIGEST)
    tags["alice"] = StoreRejected("401")
    (check,), _ = checked({"": REFUSED}, made("Deployment", f"{IMAGE}:1", "alice"), tags=tags)
    assert (check.state, check.detail) == (State.UNDECIDED, "the tag cannot be resolved: 401")
