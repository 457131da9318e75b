"""Kubernetes Events with stable reasons. The controller writes them to the run or to the configuration:

``AttestationFailed``  a run is marked as failed; the message says why
``RunQuarantined``     a run crashed the controller several times, or cannot be read; it is marked as failed
``RunLost``            a finished run was deleted before it was attested
``ConfigRefused``      the newest configuration or key is not in force; the last valid one is
``StoreUnavailable``   a store of the configuration cannot be opened; the others are used

:mod:`chains.recheck.events` has its own, written to workloads.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError
from chains.text import told

COMPONENT = "tekton-chains-controller"
_LONGEST = 1000
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_log = logging.getLogger("chains.event")


def prefix_of(name: str) -> str:
    """Return what the name of an Event about an object of this name begins with.

    The name of a pod's owner is any text, which whoever creates the pod writes.
    """
    found = name[:200].rstrip(".-")
    return found if _NAME.fullmatch(found) else "object"


async def write_event(cluster: Cluster, about: Mapping[str, str], reason: str, message: str) -> None:
    """Write a warning about an object, given as a reference: apiVersion, kind, namespace, name and uid.

    ``message`` is shown on terminals, so it is written as :func:`told` returns it. Never raises: if the
    cluster refuses the Event, only the Event is lost.
    """
    body = event_of(about, reason, message)
    try:
        await cluster.create(f"/api/v1/namespaces/{about['namespace']}/events", body)
    except ClusterError as error:
        _log.warning(
            "the event was not written",
            extra={"object": f"{about['kind'].lower()}/{about['name']}", "reason": str(error)},
        )


def event_of(
    about: Mapping[str, str],
    reason: str,
    message: str,
    *,
    component: str = COMPONENT,
    is_warning: bool = True,
    name: str = "",
) -> dict[str, Any]:
    """Return an Event about an object. Without a ``name`` the API server chooses one."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    chosen = {"name": name} if name else {"generateName": f"{prefix_of(about['name'])}."}
    return {
        "metadata": {**chosen, "namespace": about["namespace"]},
        "type": "Warning" if is_warning else "Normal",
        "reason": reason,
        # cut first, so that masking takes little time, and cut again, because escapes are longer
        "message": told(message[:_LONGEST])[:_LONGEST],
        "source": {"component": component},
        "involvedObject": dict(about),
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
