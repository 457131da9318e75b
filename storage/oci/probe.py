"""Checks whether evidence can be written to one repository. Leaves nothing behind.

The right to push is tried by opening an upload session and cancelling it
(https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs). The ``DELETE`` that
cancels it is the distribution project's; not every registry supports it.
"""

from __future__ import annotations

import re
from http import HTTPStatus

import orjson

from storage import lean_json
from storage.base import Probe, StoreOptions
from storage.errors import StoreError, StoreUnavailable
from storage.formats.digest import is_sha256
from storage.formats.manifests import MANIFEST_TYPES, OCI_INDEX
from storage.formats.reference import Repository
from storage.oci.docker_config import Credential, DockerCredentials
from storage.oci.requests import RegistryRefused, Request, resolve
from storage.oci.tokens import Keychain
from storage.oci.transport import Transport

_ANY_REFUSAL = frozenset(range(400, 600))
_NO_REFERRERS = frozenset({400, 404, 405, 406})
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NEXT_STEPS: dict[int, str] = {
    HTTPStatus.NOT_FOUND: "create the repository, or give its project to these credentials",
    HTTPStatus.METHOD_NOT_ALLOWED: "the registry takes no writes (read-only or a mirror): name another one",
    HTTPStatus.UNAUTHORIZED: "correct the credentials",
    HTTPStatus.FORBIDDEN: "let these credentials push",
}
_MOUNT = (
    "mount a docker config.json with an entry for the registry and set DOCKER_CONFIG to its folder "
    "(a Secret of type kubernetes.io/dockerconfigjson)"
)


async def probe_repository(
    options: StoreOptions,
    keychain: Keychain | None,
    repository: Repository,
    digest: str = "",
    *,
    bundles: bool = True,
) -> list[Probe]:
    """Try connection and TLS, credentials, the right to push and, with ``bundles``, the referrers API.

    ``digest`` is a manifest in the repository, if one is known. Never raises :class:`StoreError`.
    """
    keychain = keychain or DockerCredentials()
    # A new transport: what earlier requests found out about the registry must not hide a present fault.
    transport = Transport(options, keychain)
    try:
        reached, asked = await _reach(transport, repository)
        probes = [reached]
        if reached.state == "failed":
            return probes
        credential, credentials_probe = await _credentials(keychain, repository, asked)
        probes += [credentials_probe, await _push(transport, repository, credential, asked)]
        if bundles:
            probes.append(await _referrers(transport, repository, digest))
    finally:
        await transport.close()
    return probes


async def _reach(transport: Transport, repository: Repository) -> tuple[Probe, str]:
    """Try to connect. Returns the result and the scheme that the registry asks for."""
    what = f"reach {repository.registry}"
    try:
        scheme, asked = await transport.reach(repository.registry)
    except StoreUnavailable as exc:
        step = "check the name, the network policy, HTTPS_PROXY and that the registry runs"
        return Probe(what, "failed", str(exc), step), ""
    except StoreError as exc:
        return Probe(what, "failed", str(exc), "give its CA in storage.oci.ca-file, or correct its TLS"), ""
    wants = f"asks for {asked} credentials" if asked else "asks for no credentials on GET /v2/"
    if scheme == "https":
        return Probe(what, "ok", f"TLS; {wants}"), asked
    step = "serve it with TLS: others on the network can read the credentials and change what is read"
    return Probe(what, "warning", f"plain HTTP; {wants}", step), asked


async def _credentials(
    keychain: Keychain, repository: Repository, asked: str
) -> tuple[Credential | None, Probe]:
    """Return the first credential that is not anonymous, and the result."""
    what = f"credentials for {repository}"
    try:
        candidates = await keychain.candidates(repository)
    except StoreError as exc:
        return None, Probe(what, "failed", str(exc), "correct the docker configuration")
    for credential in candidates:
        if not credential.is_anonymous:
            user = f", user {credential.username}" if credential.username else ""
            # The user name is shown, the password never.
            return credential, Probe(what, "ok", f"{credential.source}{user}")
    sources = "; ".join(f"{candidate.source} {candidate.unusable}".rstrip() for candidate in candidates)
    if asked:
        return None, Probe(what, "warning", sources, _MOUNT)
    return None, Probe(what, "ok", f"{sources}; the registry asked for none")


async def _push(
    transport: Transport, repository: Repository, credential: Credential | None, asked: str
) -> Probe:
    """Open an upload session and cancel it."""
    what = f"push to {repository}"
    begin = Request(repository, "POST", "blobs/uploads/", "begin an upload", push=True)
    try:
        answer = await transport.send(begin)
    except RegistryRefused as exc:
        step = _NEXT_STEPS.get(exc.status, "see the registry's own log")
        return Probe(what, "failed", str(exc), _MOUNT if credential is None and asked else step)
    except StoreUnavailable as exc:
        return Probe(what, "failed", str(exc), "try again when the registry answers")
    except StoreError as exc:
        return Probe(what, "failed", str(exc), _MOUNT if credential is None and asked else "see the reason")
    location = answer.headers.get("Location", "")
    left = "an empty upload session remains, which the registry removes by itself"
    if not location:
        return Probe(
            what, "failed", "the registry returned no upload location", "check that it supports the OCI API"
        )
    try:
        # Cancel the session, so that nothing remains.
        cancel = Request(
            repository,
            "DELETE",
            str(resolve(answer.url, location)),
            "cancel the upload",
            push=True,
            passes=_ANY_REFUSAL,
        )
        status = (await transport.send(cancel)).status
    except StoreError:
        status = 0
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Probe(what, "ok", "an upload was begun and cancelled")
    return Probe(what, "ok", f"an upload was begun; the registry cannot cancel it: {left}")


async def _referrers(transport: Transport, repository: Repository, digest: str) -> Probe:
    """Try the referrers API."""
    what = f"referrers of {repository}"
    try:
        digest = digest or await _some_digest(transport, repository)
    except StoreError as exc:
        return Probe(what, "failed", str(exc), "let these credentials pull")
    if not digest:
        detail = "the repository has no tagged image, and some registries answer only for existing images"
        return Probe(what, "skipped", detail, "pass --image with @sha256:DIGEST of an existing image")
    ask = Request(
        repository,
        "GET",
        f"referrers/{digest}",
        "list referrers",
        headers={"Accept": OCI_INDEX},
        passes=_NO_REFERRERS,
    )
    try:
        answer = await transport.send(ask)
    except StoreError as exc:
        return Probe(what, "failed", str(exc), "let these credentials pull")
    # Some registries answer 200 with a page that is not an index, so the type decides.
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    if answer.status == HTTPStatus.OK and kind == OCI_INDEX:
        return Probe(what, "ok", "the registry has the referrers API")
    return Probe(
        what, "ok", "the registry has no referrers API: bundles are listed under the tag sha256-DIGEST"
    )


async def _some_digest(transport: Transport, repository: Repository) -> str:
    """Return the digest of the first tag that the repository lists; empty if it has none."""
    listed = await transport.send(
        Request(repository, "GET", "tags/list?n=1", "list tags", passes=_ANY_REFUSAL - {401, 403})
    )
    try:
        # "tags" may be null for an empty repository.
        tag = str((lean_json.loads(listed.body, lean_json.FEW_VALUES).get("tags") or [""])[0])
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        tag = ""
    if listed.status != HTTPStatus.OK or not _TAG.fullmatch(tag):
        return ""
    headers = {"Accept": ", ".join(MANIFEST_TYPES)}
    answer = await transport.send(
        Request(
            repository, "HEAD", f"manifests/{tag}", "look up a tag", headers=headers, passes=_NO_REFERRERS
        )
    )
    digest = answer.headers.get("Docker-Content-Digest", "")
    return digest if is_sha256(digest) else ""
