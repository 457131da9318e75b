"""Workloads made to order, and the answers about them, for the tests of preflight."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from chains.preflight.answer import ImageCheck
from chains.preflight.check import Places, check_all
from chains.preflight.inventory import Inventory
from chains.tekton.workloads import POD_SPECS
from storage.base import Store
from storage.errors import StoreUnavailable
from tests.faults.verify.forge import DIGEST, IMAGE, NOW, OTHER, Shelf, form_b
from tests.unit.chains.policy.made import document, opened, tekton

Json = Any
OTHER_REF = f"{IMAGE}@sha256:{OTHER}"


class Tags:
    """A registry with one tag; it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, reference: str) -> str:
        self.asked.append(reference)
        if not reference.endswith(":1"):
            raise StoreUnavailable("registry.example.com answered 503")
        return DIGEST


def pod_spec(*images: Json) -> Json:
    return {"containers": [{"name": f"c{at}", "image": image} for at, image in enumerate(images)]}


def workload(kind: str, *images: Json, namespace: str = "shop", name: str = "web") -> Json:
    made: Json = {"kind": kind, "metadata": {"name": name, "namespace": namespace}}
    place = made
    *above, last = POD_SPECS[kind]
    for key in above:
        place = place.setdefault(key, {})
    place[last] = pod_spec(*images)
    return made


def checked(
    inventory: Inventory,
    *stores: Store,
    tags: Tags | None = None,
    policies: Sequence[Json] = (),
    **more: Json,
) -> list[ImageCheck]:
    asked = opened(*(policies or [document()]))
    held = stores or [Shelf(form_b(tekton()))]
    return asyncio.run(check_all(inventory, Places(asked, held, tags or Tags(), held), now=NOW, **more))


def inventory_of(*items: Json) -> Inventory:
    inventory = Inventory()
    for item in items:
        inventory.add(item)
    return inventory
