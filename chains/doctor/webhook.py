"""The check of ``chains doctor`` of the admission webhook: whether anybody answers the API server."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography import x509

from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterError, ObjectGone
from chains.doctor.report import DoctorCheck
from chains.tekton.raw import Json, mapping_at, objects_at, text_at
from chains.text import count, rfc3339

CONFIGURATION = "chains-admission"
_KIND = "validatingwebhookconfiguration"
_PATH = f"/apis/admissionregistration.k8s.io/v1/{_KIND}s/{CONFIGURATION}"
_OPEN = f"kubectl delete {_KIND} {CONFIGURATION} opens the cluster at once; then docs/admission.md"
_NAME = "admission webhook"


async def check_webhook(cluster: Cluster) -> DoctorCheck:
    """Check that the webhook's service has a replica that is ready, and that its CA has not ended.

    Without the webhook, or without the right to read it, the check is skipped.
    """
    try:
        found = await cluster.get(_PATH)
    except ObjectGone:
        return DoctorCheck(_NAME, "skipped", f"there is no {_KIND} {CONFIGURATION}")
    except ClusterError as error:
        return DoctorCheck(_NAME, "skipped", f"unknown: {error}", "ask with an account that may read it")
    told = []
    for webhook in objects_at(found, "webhooks"):
        name = text_at(webhook, "name")
        try:
            problem, state = await _problem(cluster, webhook)
        except ClusterError as error:
            return DoctorCheck(_NAME, "warning", f"{name}: the replicas cannot be seen: {error}")
        if problem:
            closes = text_at(webhook, "failurePolicy") != "Ignore"
            effect = "nothing that it is asked about is created" if closes else "it is left out"
            return DoctorCheck(
                _NAME,
                "failed" if closes else "warning",
                f"{name}: {problem}: {effect}",
                _OPEN if closes else "",
            )
        told.append(f"{name}: {state}")
    return DoctorCheck(_NAME, "ok", "; ".join(told) or "it asks about nothing")


async def _problem(cluster: Cluster, webhook: Mapping[str, Json]) -> tuple[str, str]:
    """Return why nobody answers, empty if somebody does, and what was found. Raises :class:`ClusterError`."""
    client = mapping_at(webhook, "clientConfig")
    ends = _end_of(text_at(client, "caBundle"))
    if ends is None:
        return "its caBundle has no CA", ""
    if ends <= datetime.now(UTC):
        return f"the CA in its caBundle ended at {rfc3339(ends)}", ""
    service = mapping_at(client, "service")
    if not service:
        return "", f"at {text_at(client, 'url')}, which is not tried"
    namespace, name = text_at(service, "namespace"), text_at(service, "name")
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    ready = 0
    async for item in cluster.list(path, f"kubernetes.io/service-name={name}"):
        # an endpoint without the condition counts as ready (discovery/v1)
        conditions = [mapping_at(one, "conditions") for one in objects_at(item, "endpoints")]
        ready += sum(one.get("ready") is not False for one in conditions)
    if not ready:
        return f"no replica of {namespace}/{name} is ready", ""
    return "", f"{count(ready, 'replica')} ready"


def _end_of(bundle: str) -> datetime | None:
    """Return when the last CA of a bundle ends, None if it has none."""
    try:
        found = x509.load_pem_x509_certificates(base64.b64decode(bundle, validate=True))
    except (binascii.Error, ValueError):
        return None
    return max(one.not_valid_after_utc for one in found)
