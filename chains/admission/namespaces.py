"""The labels of namespaces, read from the API server and kept for a few seconds."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable

from cachetools import TTLCache

from chains.admission.policies import PolicySet
from chains.cluster.client import METADATA_ONLY, Cluster
from chains.cluster.errors import ClusterError
from chains.policy.document.policy import Namespace
from chains.tekton.raw import mapping_at
from storage.limits.single_flight import InFlight

SECONDS = 5.0
"""After how many seconds a change of a namespace's labels counts, at the latest."""
_MOST = 10_000
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
"""A namespace's name. Whoever reaches the webhook writes it, and it becomes part of a path."""
_log = logging.getLogger("chains.admission")


class Namespaces:
    """Looks up namespaces. Without a cluster, no labels are known."""

    def __init__(self, cluster: Cluster | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster = cluster
        self._kept: TTLCache[str, Namespace] = TTLCache(_MOST, SECONDS, clock)
        self._running: InFlight[str, Namespace] = InFlight()
        self.trouble = ""
        """Why the last look-up failed, empty if it did not."""

    async def get(self, name: str) -> Namespace:
        """Return a namespace. Its labels are None if they cannot be read. Never raises for that."""
        kept = self._kept.get(name)
        return kept if kept is not None else await self._running.run(name, lambda: self._find(name))

    async def of_request(self, policies: PolicySet, name: str, deadline: float) -> Namespace | None:
        """Return the namespace of a request; its labels if a policy asks for them and they are read in time.

        A request without a namespace gets None: all policies count. ``deadline`` is a time of the event loop.
        """
        if not name:
            return None
        if not policies.needs_labels:
            return Namespace(name, None)
        try:
            async with asyncio.timeout_at(deadline):
                return await self.get(name)
        except TimeoutError:
            return Namespace(name, None)

    async def _find(self, name: str) -> Namespace:
        if self._cluster is None or not _NAME.fullmatch(name):
            return Namespace(name, None)
        try:
            found = await self._cluster.get(f"/api/v1/namespaces/{name}", accept=METADATA_ONLY)
        except ClusterError as error:
            if str(error) != self.trouble:
                _log.warning(
                    "a namespace cannot be read: policies that choose by labels count",
                    extra={"namespace": name, "reason": str(error)},
                )
            self.trouble = str(error)
            return Namespace(name, None)
        self.trouble = ""
        labels = mapping_at(found, "metadata", "labels")
        namespace = Namespace(name, {key: value for key, value in labels.items() if isinstance(value, str)})
        self._kept[name] = namespace
        return namespace
