"""Events about workloads whose images do not pass, or pass again.

``ImageDoesNotPass``  a warning: an image that runs does not pass the policies, or no longer
``ImagePasses``       an image that did not pass does again

The name of a warning is made of the workload and the image. So a process that was started again, and
remembers nothing, writes no second one for as long as the API server keeps the first: an hour by default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ClusterForbidden, ObjectChanged, ObjectGone
from chains.cluster.events import event_of, prefix_of
from chains.recheck.standing import Change, Standings
from chains.tekton.workloads import Workload
from chains.text import rfc3339

COMPONENT = "chains-recheck"
FAILS, PASSES = "ImageDoesNotPass", "ImagePasses"
MOST_EVENTS = 500
"""Events of one round. What is left is told by the next one."""
_TERMINATED = "because it is being terminated"


@dataclass(slots=True)
class Told:
    """What became of a round's Events. ``failure`` is the first reason why some were not written."""

    written: int = 0
    known: int = 0
    left: int = 0
    failed: int = 0
    failure: ClusterError | None = None


async def tell(
    cluster: Cluster, changes: Iterable[Change], standings: Standings, may_go_on: Callable[[], bool]
) -> Told:
    """Write an Event for each workload of each change, while ``may_go_on`` says so. Never raises for that.

    What is not written is not remembered as told, so the next round tries again.
    """
    done = Told()
    for change in changes:
        for workload in change.workloads:
            if done.written + done.failed >= MOST_EVENTS or not may_go_on():
                done.left += 1
                continue
            try:
                is_new = await _write(cluster, change, workload)
            except ObjectGone:
                continue  # the namespace is gone, and its workloads are
            except ClusterError as error:
                if not (isinstance(error, ClusterForbidden) and _TERMINATED in str(error)):
                    done.failed += 1
                    done.failure = done.failure or error
                continue
            done.written += is_new
            done.known += not is_new
            standings.tell(change, workload)
    return done


async def _write(cluster: Cluster, change: Change, workload: Workload) -> bool:
    """Write one Event; False if the API server has it already. Raises :class:`ClusterError`."""
    about = {
        "apiVersion": workload.api_version,
        "kind": workload.kind,
        "namespace": workload.namespace,
        "name": workload.name,
        "uid": workload.uid,
    }
    path = f"/api/v1/namespaces/{workload.namespace}/events"
    reason, message = (FAILS if change.fails else PASSES), _message(change)
    if change.fails:
        named = event_of(about, reason, message, component=COMPONENT, name=_name(change, workload))
        try:
            await cluster.create(path, named)
        except ObjectChanged:
            if not change.has_passed:
                return False
        else:
            return True
    # the image passed in between, so the Event that exists is about an earlier failure
    await cluster.create(path, event_of(about, reason, message, component=COMPONENT, is_warning=change.fails))
    return True


def _name(change: Change, workload: Workload) -> str:
    told = "\0".join((workload.kind, workload.name, workload.uid, change.key.image))
    return f"{prefix_of(workload.name)}.{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def _message(change: Change) -> str:
    check = change.check
    policy = f"policy {check.verdict.policy}" if check.verdict else "the policies"
    if not change.fails:
        return f"image {check.image} passes {policy} again; it did not since {rfc3339(change.since)}"
    verb = "no longer passes" if change.has_passed else "does not pass"
    why = f"{check.reason}: {check.explanation}" if check.reason else check.explanation
    return f"running image {check.image} {verb} {policy}: {why}"
