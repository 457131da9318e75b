"""Certificates of the webhook without cert-manager: made, renewed and trusted in an order that has no gap.

The CA and its key are in a Secret that no server has. The certificate is in another one, which the servers
mount. At each step the API server trusts the certificate that the servers present:

1. a new CA is stored, then trusted beside the old one in every webhook;
2. after a while in which every API server learns of it, the new certificate is stored;
3. the old CA goes when the certificate has been in use for longer than any server needs to read it.

A run that ends early leaves a state from which the next one goes on.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from chains.admission.authority import Pair, certificates_of, plan
from chains.cluster.client import Cluster
from chains.cluster.errors import ObjectGone
from chains.errors import UsageError
from chains.tekton.raw import Json, mapping_at, objects_at, parse_time, text_at
from chains.text import rfc3339

KINDS = ("validatingwebhookconfigurations", "mutatingwebhookconfigurations")
_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1"
_ISSUED = "provenance.chains/issued"
"""The annotation of a Secret that says when its certificate was written."""
_LONGEST_READ = timedelta(hours=1)
"""After this time, every server has read a new certificate from its mount. A kubelet needs two minutes."""
_LABELS = {"app": "chains-admission"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where certificates are kept and used.

    ``days`` is how long a certificate is valid, ``pause`` for how many seconds a CA is trusted before a new
    certificate takes the place of an old one.
    """

    namespace: str
    service: str
    secret: str
    authority_secret: str
    configuration: str
    days: int
    pause: float

    @property
    def names(self) -> list[str]:
        """The names by which the API server, and others in the cluster, call the service."""
        name = f"{self.service}.{self.namespace}.svc"
        return [name, f"{self.service}.{self.namespace}", f"{name}.cluster.local"]


async def renew(
    cluster: Cluster,
    wanted: Wanted,
    tell: Callable[[str], None],
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> bool:
    """Make or renew what needs it, and let the webhooks trust it. Returns whether anything was written.

    ``tell`` gets a sentence for each thing that was done. Raises :class:`ClusterError`: another run may have
    written at the same time, and running it again goes on; and :class:`UsageError` for a Secret of someone
    else's.
    """
    ca = await _secret(cluster, wanted, wanted.authority_secret)
    server = await _secret(cluster, wanted, wanted.secret)
    planned = plan(_pair(ca), _pair(server), wanted.names, now(), wanted.days)
    authority = planned.authority.certificate
    if planned.is_new_authority:
        await _write(cluster, wanted, wanted.authority_secret, ca, planned.authority, now())
        tell(f"{planned.why}: a new CA is in the Secret {wanted.authority_secret}")
    is_new = await _trust(cluster, wanted, authority, tell)
    if planned.is_new_leaf:
        if server is not None:
            tell(f"waiting {wanted.pause:g} s until every API server trusts the CA")
            await sleep(wanted.pause)
        await _write(cluster, wanted, wanted.secret, server, planned.leaf, now())
        tell(f"{planned.why}: a new certificate is in the Secret {wanted.secret}")
        return True
    issued = parse_time(text_at(server, "metadata", "annotations", _ISSUED))
    if issued is not None and now() - issued >= _LONGEST_READ:
        is_new |= await _trust(cluster, wanted, authority, tell, alone=True)
    return is_new


async def _secret(cluster: Cluster, wanted: Wanted, name: str) -> dict[str, Any] | None:
    """Return a Secret, None if there is none. Raises :class:`UsageError` for one that is not ours."""
    try:
        found = await cluster.get(f"/api/v1/namespaces/{wanted.namespace}/secrets/{name}")
    except ObjectGone:
        return None
    if mapping_at(found, "metadata", "labels").get("app") != _LABELS["app"]:
        raise UsageError(
            f"the Secret {wanted.namespace}/{name} was made by someone else: it has no label "
            f"app={_LABELS['app']}; name another, or delete it"
        )
    return found


def _pair(secret: Mapping[str, Json] | None) -> Pair | None:
    if secret is None:
        return None
    try:
        certificate, key = (
            base64.b64decode(text_at(secret, "data", name), validate=True) for name in ("tls.crt", "tls.key")
        )
    except (binascii.Error, ValueError):
        return None
    return Pair(certificate, key) if certificate and key else None


async def _write(
    cluster: Cluster, wanted: Wanted, name: str, old: Mapping[str, Json] | None, pair: Pair, now: datetime
) -> None:
    """Write a Secret, in place of the version that was read alone. Raises :class:`ClusterError`."""
    data = {
        "tls.crt": base64.b64encode(pair.certificate).decode(),
        "tls.key": base64.b64encode(pair.key).decode(),
    }
    metadata: dict[str, Any] = {"annotations": {_ISSUED: rfc3339(now)}, "labels": _LABELS}
    path = f"/api/v1/namespaces/{wanted.namespace}/secrets"
    if old is None:
        body = {"type": "kubernetes.io/tls", "metadata": {**metadata, "name": name}, "data": data}
        await cluster.create(path, body)
        return
    metadata["resourceVersion"] = text_at(old, "metadata", "resourceVersion")
    await cluster.patch(f"{path}/{name}", {"metadata": metadata, "data": data})


async def _trust(
    cluster: Cluster, wanted: Wanted, authority: bytes, tell: Callable[[str], None], *, alone: bool = False
) -> bool:
    """Let every webhook of our service trust a CA, beside others or alone; return whether that was new."""
    is_new = False
    for kind in KINDS:
        path = f"{_CONFIGURATIONS}/{kind}/{wanted.configuration}"
        try:
            found = await cluster.get(path)
        except ObjectGone:
            continue
        webhooks = [dict(one) for one in objects_at(found, "webhooks")]
        changed = 0
        for webhook in webhooks:
            client = mapping_at(webhook, "clientConfig")
            service = (text_at(client, "service", "namespace"), text_at(client, "service", "name"))
            bundle = _bundle(text_at(client, "caBundle"), authority, alone=alone)
            if service == (wanted.namespace, wanted.service) and bundle is not None:
                webhook["clientConfig"] = {**client, "caBundle": base64.b64encode(bundle).decode()}
                changed += 1
        if changed:
            # the list is written as a whole, and only in place of the version that was read
            version = text_at(found, "metadata", "resourceVersion")
            await cluster.patch(path, {"metadata": {"resourceVersion": version}, "webhooks": webhooks})
            done = "trusts the CA alone" if alone else "trusts the CA"
            tell(f"{kind.removesuffix('s')} {wanted.configuration} {done}")
            is_new = True
    return is_new


def _bundle(text: str, authority: bytes, *, alone: bool) -> bytes | None:
    """Return the bundle with a CA in it, None if it is as it should be."""
    (own,) = certificates_of(authority)
    try:
        found = certificates_of(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        found = []
    wanted: Iterable[bytes] = [own] if alone else [*(one for one in found if one != own), own]
    if (found == [own]) if alone else (own in found):
        return None
    return b"".join(wanted)
