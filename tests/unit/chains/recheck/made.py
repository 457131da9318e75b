"""Pods made to order, and the checks of a round over them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from chains.preflight.answer import ImageCheck
from chains.preflight.check import Places, check_all
from chains.recheck.pods import Running
from chains.tekton.workloads import Workload
from storage.base import Store
from tests.faults.verify.forge import NOW, Shelf, form_b
from tests.unit.chains.policy.made import document, opened, tekton
from tests.unit.chains.preflight.made import Tags

Json = Any
OWNER = Workload("ReplicaSet", "shop", "web-1", "apps/v1", "u-1")
HOUR = timedelta(hours=1)


def pod(
    *images: Json,
    name: str = "web-1-x",
    namespace: str = "shop",
    owner: Workload | None = OWNER,
    running: Sequence[str] = (),
    phase: str = "Running",
    **spec: Json,
) -> Json:
    """Return a pod as the API server lists it, with what runs in its first containers."""
    metadata: Json = {"name": name, "namespace": namespace, "uid": f"uid-of-{name}"}
    if owner is not None:
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner.api_version,
                "kind": owner.kind,
                "name": owner.name,
                "uid": owner.uid,
                "controller": True,
            }
        ]
    containers = [{"name": f"c{at}", "image": image} for at, image in enumerate(images)]
    statuses = [{"name": f"c{at}", "imageID": image} for at, image in enumerate(running)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": containers, **spec},
        "status": {"phase": phase, "containerStatuses": statuses},
    }


def running_of(*pods: Json, policies: Sequence[Json] = ()) -> Running:
    found = Running(opened(*(policies or [document()])))
    for one in pods:
        found.add(one)
    found.close()
    return found


def checks_of(
    *pods: Json,
    stores: Sequence[Store] = (),
    tags: Tags | None = None,
    policies: Sequence[Json] = (),
    now: datetime = NOW,
) -> list[ImageCheck]:
    """Return what one round says about pods."""
    running = running_of(*pods, policies=policies)
    held = stores or [Shelf(form_b(tekton()))]
    places = Places(running.policies, held, tags or Tags(), held)
    return list(running.told(asyncio.run(check_all(running.inventory, places, now=now))))
