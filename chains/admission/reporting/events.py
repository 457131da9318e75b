"""Events about what was denied, and about policies that cannot be used.

``ImageDenied``      the policies do not allow an image; the message is that of the denial
``PoliciesRefused``  the newest policies are not in force; written about the server's own pod

The same is told once in ten minutes of the clock, by whichever process of whichever replica comes first: the
name of an Event is made of what it says, and the API server has each name once. Events are written in the
background: they neither delay an answer nor change it. Their number is bounded, whoever reaches the port.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from cachetools import LRUCache

from chains.admission.reporting.metrics import Metrics
from chains.admission.review import Review
from chains.admission.validate import Validated
from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ObjectChanged
from chains.cluster.events import event_of
from chains.policy.verdict import Decision
from chains.tekton.raw import mapping_at, objects_at, text_at

COMPONENT = "chains-admission"
DENIED, REFUSED = "ImageDenied", "PoliciesRefused"
PERIOD = 600
"""Seconds in which the same denial is told once."""
MOST_OF_NAMESPACE, MOST = 20, 60
"""Denials that one process tells in a minute, about one namespace and in all."""
_MOST_REMEMBERED = 10_000
_END_SECONDS = 2.0
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._:/]{0,252}", re.ASCII)
"""A part of a reference to an object. Whoever reaches the webhook writes it."""
_log = logging.getLogger("chains.admission")
About = dict[str, str]


class Events:
    """Writes Events in the background. Without a cluster, none are written. Use from one event loop.

    ``pod`` is the server's own pod as an Event refers to it, empty if it is not known. ``now`` returns the
    time of day in seconds: all processes share the same ten minutes.
    """

    def __init__(
        self,
        cluster: Cluster | None,
        metrics: Metrics,
        pod: Mapping[str, str] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._cluster, self._metrics, self._pod, self._now = cluster, metrics, dict(pod or {}), now
        self._seen: LRUCache[str, bool] = LRUCache(_MOST_REMEMBERED)
        self._minute, self._counts = 0, Counter[str]()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused = self._trouble = ""

    def denied(self, review: Review, found: Validated) -> None:
        """Tell about a request that policies denied; never about a dry run. Never raises."""
        if review.is_dry_run or found.decision is not Decision.DENY or not found.judged:
            return  # without a judgement, the server itself could not answer
        try:
            about = _about(review)
            if about is not None:
                self._tell(about, DENIED, found.answer.message, *_denials(found))
        except Exception:  # noqa: BLE001 - the answer is ready, and no Event is worth losing it
            self._metrics.events.labels("failed").inc()
            _log.exception("an event was not written")

    def policies(self, refused: str) -> None:
        """Tell why the newest policies are refused, once; ``refused`` is empty if they are not.

        Called at each look at the policies.
        """
        is_new, self._refused = refused != self._refused, refused
        if refused and is_new and self._pod:
            self._tell(self._pod, REFUSED, f"the newest policies are refused: {refused}", refused)

    def _tell(self, about: Mapping[str, str], reason: str, message: str, *same: str) -> None:
        """Start to write an Event; ``same`` is what makes it the same as another about the object."""
        if self._cluster is None:
            return
        now = int(self._now())
        told = "\0".join((str(now // PERIOD), reason, *about.values(), *same))
        name = f"{COMPONENT}.{hashlib.sha256(told.encode(errors='replace')).hexdigest()[:32]}"
        if name in self._seen:
            self._metrics.events.labels("known").inc()
            return
        if not self._has_room(about["namespace"] if reason == DENIED else "", now // 60):
            self._metrics.events.labels("left_out").inc()
            return
        self._seen[name] = True
        body = event_of(about, reason, message, component=COMPONENT, name=name)
        path = f"/api/v1/namespaces/{about['namespace']}/events"
        task = asyncio.get_running_loop().create_task(self._write(self._cluster, path, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _has_room(self, namespace: str, minute: int) -> bool:
        """Whether one more may be written in this minute, and count it; no namespace for refused policies."""
        if minute != self._minute:
            self._minute, self._counts = minute, Counter()
        if (namespace and self._counts.total() >= MOST) or self._counts[namespace] >= MOST_OF_NAMESPACE:
            return False
        self._counts[namespace] += 1
        return True

    async def _write(self, cluster: Cluster, path: str, body: dict[str, Any]) -> None:
        outcome, trouble = "written", ""
        try:
            await cluster.create(path, body)
        except ObjectChanged:
            outcome = "known"  # another process was first
        except ClusterError as error:
            outcome, trouble = "failed", str(error)
            self._seen.pop(body["metadata"]["name"], None)
            if body["reason"] == REFUSED:
                self._refused = ""  # the next look at the policies tries again
        self._metrics.events.labels(outcome).inc()
        if trouble and trouble != self._trouble:
            _log.warning("an event was not written", extra={"event": body["reason"], "reason": trouble})
        self._trouble = trouble

    async def close(self) -> None:
        """Let what is under way end within two seconds, and end the rest."""
        tasks = set(self._tasks)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=_END_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


def _denials(found: Validated) -> list[str]:
    """Return what a denial says, without what differs between two attempts."""
    return sorted(
        "\0".join((one.image, one.where, one.ruling.reason, *one.ruling.policies))
        for one in found.judged
        if one.ruling.decision is Decision.DENY
    )


def _about(review: Review) -> About | None:
    """Return what an Event about a request refers to, None if the request names nothing that it could be.

    That is the controller of a new object, such as the ReplicaSet whose pods are denied, or the object
    itself. A new object has no lasting uid, and perhaps no name yet.
    """
    if not _NAMESPACE.fullmatch(review.namespace):
        return None
    metadata = mapping_at(review.object, "metadata")
    is_new = review.operation == "CREATE"
    owners = objects_at(metadata, "ownerReferences") if is_new else ()
    found = [
        _reference(owner, text_at(owner, "kind"), text_at(owner, "name"), text_at(owner, "uid"))
        for owner in owners
        if owner.get("controller") is True
    ]
    name = review.name or text_at(metadata, "name") or text_at(metadata, "generateName").rstrip("-.")
    found.append(_reference(review.object, review.kind, name, "" if is_new else text_at(metadata, "uid")))
    for about in found:
        if about is not None:
            return {**about, "namespace": review.namespace}
    return None


def _reference(item: object, kind: str, name: str, uid: str) -> About | None:
    version = text_at(item, "apiVersion")
    if not all(_WORD.fullmatch(part) for part in (version, kind, name)):
        return None
    found = {"apiVersion": version, "kind": kind, "name": name}
    return {**found, "uid": uid} if _WORD.fullmatch(uid) else found
