"""Kubernetes Events with stable reasons, told where users look: at the run, or at the configuration.

``AttestationFailed``  a run is marked as failed; the message says why
``RunQuarantined``     a run broke the controller itself several times, or cannot be read: put aside as failed
``RunLost``            a finished run was deleted before it was attested
``ConfigRefused``      the newest configuration or key is not in force; the last good one is
``StoreUnavailable``   a store of the configuration cannot be opened; the others work on
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError
from chains.text import told

COMPONENT = "tekton-chains-controller"
_LONGEST = 1000
_log = logging.getLogger("chains.event")


async def write_event(cluster: Cluster, about: Mapping[str, str], reason: str, message: str) -> None:
    """Write a warning about an object, given as a reference: apiVersion, kind, namespace, name and uid.

    ``message`` is shown on terminals and is written as :func:`told` text. Never raises: a cluster that
    refuses it loses nothing else.
    """
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {
        "metadata": {"generateName": f"{about['name'][:200]}.", "namespace": about["namespace"]},
        "type": "Warning",
        "reason": reason,
        "message": told(message[:_LONGEST])[:_LONGEST],
        "source": {"component": COMPONENT},
        "involvedObject": dict(about),
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        await cluster.create(f"/api/v1/namespaces/{about['namespace']}/events", body)
    except ClusterError as error:
        _log.warning(
            "the event was not written",
            extra={"object": f"{about['kind'].lower()}/{about['name']}", "reason": str(error)},
        )
