"""The images that run in a cluster, in the namespaces that policies are for.

A container that names a digest runs that digest. One that names a tag runs what the container runtime
reports. Pods are told by the object that controls them, so that a Deployment of a thousand pods is one
workload: memory grows with workloads and not with pods.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chains.cluster.client import Cluster
from chains.documents.decode import UNREADABLE
from chains.errors import ChainsError
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy
from chains.preflight.answer import ImageCheck
from chains.preflight.inventory import Inventory
from chains.tekton.raw import Json, mapping_at, text_at
from chains.tekton.workloads import Use, UseKind, Workload, uses_of

MOST_USES = 100_000
"""Images of workloads that one round looks at: about 80 MB."""
MOST_IMAGES = 50_000
"""Different images that one round looks at: their answers take 200 MB and, at 20 in a second, 42 minutes."""
_ENDED = ("Succeeded", "Failed")
_VOLUME = "volume "
_BREATH = 50
"""Pods that are read before other work of the event loop goes on."""


class TooManyImagesError(ChainsError):
    """More images run than one round can look at."""


@dataclass(slots=True)
class Running:
    """What runs. ``inventory`` is for :func:`chains.preflight.check.check_all`."""

    policies: Sequence[OpenedPolicy]
    inventory: Inventory = field(default_factory=Inventory)
    pods: int = 0
    _uses: dict[Use, None] = field(default_factory=dict)
    _images: set[str] = field(default_factory=set)
    _owners: dict[Workload, Workload] = field(default_factory=dict)

    def add(self, pod: Mapping[str, Json]) -> None:
        """Add a pod that has not ended, if a policy is for its namespace.

        Raises :class:`TooManyImagesError`.
        """
        namespace = self._namespace(text_at(pod, "metadata", "namespace"))
        if namespace is None or text_at(pod, "status", "phase") in _ENDED:
            return
        if not any(one.policy.is_for(namespace) for one in self.policies):
            return
        self.pods += 1
        owner = _owner(pod)
        uses = list(uses_of(pod))
        pinned = {use.container for use in uses if use.kind is UseKind.DESIRED and "@" in use.image}
        started = {use.container for use in uses if use.kind is UseKind.RUNNING and use.image}
        for use in uses:
            if not use.image:
                self.inventory.tell(f"{use.name}: {use.problem or 'a container has no image'}")
            elif use.kind is UseKind.DESIRED and "@" in use.image:
                self._keep(replace(use, workload=owner))
            elif use.container not in pinned and (
                use.container in started or use.container.startswith(_VOLUME)
            ):
                # preflight needs the pod itself, to find the index of which a platform's image runs
                self._owners[use.workload] = owner
                self._keep(use)

    def _keep(self, use: Use) -> None:
        if use in self._uses:
            return
        self._images.add(use.image)
        if len(self._uses) == MOST_USES or len(self._images) > MOST_IMAGES:
            raise TooManyImagesError(
                f"more than {MOST_USES:,} images of workloads, or {MOST_IMAGES:,} different ones, run where "
                "policies apply: let policies be for fewer namespaces, or use chains preflight for each"
            )
        self._uses[use] = None

    def _namespace(self, name: str) -> Namespace | None:
        """Return a namespace; None if it is younger than the list of namespaces: the next round sees it."""
        if not needs_labels(self.policies):
            return Namespace(name, None)
        return self.inventory.namespaces.get(name)

    @property
    def has_tags(self) -> bool:
        """Whether a container that names a tag runs: its image may be one that an index lists."""
        return bool(self._owners)

    def close(self) -> None:
        """Give everything that was added to the inventory."""
        self.inventory.uses.extend(self._uses)

    def told(self, checks: Sequence[ImageCheck]) -> Iterator[ImageCheck]:
        """Give the checks about images that run, with the workloads in the place of their pods.

        What a tag means now says nothing about a container that runs already.
        """
        for check in checks:
            if all(_is_tag_of_container(use) for use in check.uses):
                continue
            own = (replace(use, workload=self._owners.get(use.workload, use.workload)) for use in check.uses)
            yield replace(check, uses=tuple(dict.fromkeys(own)))


def needs_labels(policies: Sequence[OpenedPolicy]) -> bool:
    """Whether a policy chooses namespaces by their labels."""
    wanted = (opened.policy.namespaces for opened in policies)
    return any(one is not None and (one.labels or one.conditions) for one in wanted)


async def running_in(cluster: Cluster, policies: Sequence[OpenedPolicy]) -> Running:
    """Return what runs in a cluster. Needs ``list`` on pods, and on namespaces if a policy asks for labels.

    Raises :class:`chains.cluster.errors.ClusterError` and :class:`TooManyImagesError`: a list that is cut is
    no list.
    """
    found = Running(policies)
    if needs_labels(policies):
        async for metadata in cluster.list_metadata("/api/v1/namespaces"):
            found.inventory.add({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata})
    seen = 0
    async for item in cluster.list("/api/v1/pods", outlines=True):
        pod = {**item, "kind": "Pod", "apiVersion": "v1"}
        if UNREADABLE in item:
            found.inventory.tell(f"{Workload.of(pod).label}: cannot be read: {item[UNREADABLE]}")
        else:
            found.add(pod)
        seen += 1
        if seen % _BREATH == 0:
            await asyncio.sleep(0)
    found.close()
    return found


def _is_tag_of_container(use: Use) -> bool:
    return use.kind is UseKind.DESIRED and "@" not in use.image and not use.container.startswith(_VOLUME)


def _owner(pod: Mapping[str, Json]) -> Workload:
    """Return the object that controls a pod, or the pod."""
    own = Workload.of(pod)
    references = mapping_at(pod, "metadata").get("ownerReferences")
    for one in references if isinstance(references, list) else ():
        if isinstance(one, Mapping) and one.get("controller") is True:
            metadata = {"namespace": own.namespace, "name": one.get("name"), "uid": one.get("uid")}
            return Workload.of(
                {"kind": one.get("kind"), "apiVersion": one.get("apiVersion"), "metadata": metadata}
            )
    return own
