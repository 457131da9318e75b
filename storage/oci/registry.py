"""Manifests, blobs and referrers of registries (https://github.com/opencontainers/distribution-spec).

Every body that is fetched by digest is checked against the digest. Small blobs are uploaded without checking
first whether they exist. Uploading a whole blob with one ``POST`` is tried once per registry, and used where
it works.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import quote

import orjson
from cachetools import LRUCache

from storage import lean_json
from storage.base import StoreOptions
from storage.errors import BadContent, StoreRejected, StoreUnavailable
from storage.formats.digest import is_sha256, sha256, sha256_aside
from storage.formats.manifests import MANIFEST_TYPES, OCI_INDEX, Descriptor, Manifest
from storage.formats.reference import Repository
from storage.http_client.answer import Answer
from storage.limits.single_flight import InFlight
from storage.oci.docker_config import DockerCredentials
from storage.oci.lists import (
    LONGEST_WORD,
    Listed,
    Referrers,
    has_tag,
    listed_in,
    next_page,
    repositories_in,
    tags_in,
)
from storage.oci.login import UNAUTHORIZED
from storage.oci.requests import NO_REPOSITORY, RegistryRefused, Request, resolve
from storage.oci.tokens import Keychain
from storage.oci.transport import MOST_REGISTRIES, Transport

BLOB_LIMIT = 64 * 1024 * 1024
"""The largest blob in bytes that is read."""
REFERRER_PAGES = TAG_PAGES = 50
_TAGS = 1000
"""Tags per page of a list."""
KEEPING_SECONDS = 3600.0
"""Seconds for which a registry is not checked again after it had a blob that it accepted."""
_ASK_FIRST = 64 * 1024
"""Bytes from which a blob is uploaded only if the registry does not have it."""
_MOST_UPLOADED = 4096
"""The most uploads that are remembered."""
_ACCEPT = {"Accept": ", ".join(MANIFEST_TYPES)}
_OCTETS = {"Content-Type": "application/octet-stream"}
_NOT_FOUND, _MOVED_ON = 404, 412
_CREATED, _ACCEPTED = 201, 202
_SAYS_NOTHING = frozenset({"application/json", "application/octet-stream", "text/plain"})
_MISSING = frozenset({_NOT_FOUND})
_NO_HEAD = frozenset({405, 501})
_NO_REFERRERS = frozenset({400, 404, 405, 406})
_NO_SINGLE_POST = frozenset({400, 404, 405, 411, 413, 415, 501})
_LENGTH = re.compile(r"[0-9]{1,18}")


class TagMoved(StoreUnavailable):
    """The registry reports that the tag changed between reading and writing it."""


class RegistryClient:
    """A client of the distribution API. Use ``async with`` or call :meth:`close`. Calls may be concurrent.

    Every method raises :class:`StoreUnavailable` and :class:`StoreRejected` as :class:`Transport` does. A
    client with ``shared_with`` shares connections and what is known about registries.
    """

    def __init__(
        self,
        options: StoreOptions,
        keychain: Keychain | None = None,
        shared_with: RegistryClient | None = None,
    ) -> None:
        other = shared_with._transport if shared_with else None
        self._transport: Transport = Transport(options, keychain or DockerCredentials(), other)
        self._single_post: LRUCache[str, bool] = (
            shared_with._single_post if shared_with else LRUCache(MOST_REGISTRIES)
        )
        self._heads: LRUCache[str, bool] = shared_with._heads if shared_with else LRUCache(MOST_REGISTRIES)
        """Whether a registry answers HEAD; absent if unknown."""
        self._keeping: LRUCache[str, float] = (
            shared_with._keeping if shared_with else LRUCache(MOST_REGISTRIES)
        )
        self._uploading: InFlight[tuple[Repository, str], None] = InFlight()
        self._uploaded: LRUCache[tuple[Repository, str], bool] = LRUCache(_MOST_UPLOADED)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. A later call opens new ones."""
        await self._transport.close()

    async def head_manifest(
        self, repository: Repository, reference: str, *, push: bool = False, prompt: bool = False
    ) -> Descriptor | None:
        """Return the descriptor of a tag or digest; None if the registry does not have it.

        ``push`` uses the credentials of a write, so that no second token is needed. ``prompt`` does not wait
        behind uploads. If HEAD is refused, GET is tried, and also after a 404 until the registry has answered
        one HEAD: some registries support only GET, and the answer to HEAD has no text.
        """
        heads = self._heads.get(repository.registry)
        if heads is False:
            return await self._got(repository, reference, push=push, prompt=prompt)
        purpose = f"look up manifest {reference}"
        request = Request(
            repository,
            "HEAD",
            f"manifests/{reference}",
            purpose,
            push=push,
            prompt=prompt,
            headers=_ACCEPT,
            passes=_MISSING,
        )
        try:
            answer = await self._transport.send(request)
        except RegistryRefused as exc:
            if exc.status == UNAUTHORIZED:
                raise
            descriptor = await self._got(repository, reference, push=push, prompt=prompt)
            if exc.status in _NO_HEAD:
                self._heads[repository.registry] = False
            return descriptor
        if answer.status == _NOT_FOUND:
            return None if heads else await self._got(repository, reference, push=push, prompt=prompt)
        self._heads[repository.registry] = True
        digest = answer.headers.get("Docker-Content-Digest", "")
        if is_sha256(reference) and digest and digest != reference:
            raise BadContent(f"{request}: expected digest {reference}, got {digest[:100]}")
        length = answer.headers.get("Content-Length", "")
        media_type = _media_type(answer)
        # An incomplete answer to HEAD: get the manifest itself.
        if not _LENGTH.fullmatch(length) or not media_type or (not digest and not is_sha256(reference)):
            return await self._got(repository, reference, push=push, prompt=prompt)
        return Descriptor(media_type, digest or reference, int(length))

    async def _got(
        self, repository: Repository, reference: str, *, push: bool, prompt: bool
    ) -> Descriptor | None:
        """Return the descriptor by GET."""
        manifest = await self.get_manifest(repository, reference, push=push, prompt=prompt)
        return manifest.descriptor() if manifest else None

    async def get_manifest(
        self, repository: Repository, reference: str, *, push: bool = False, prompt: bool = False
    ) -> Manifest | None:
        """Return the manifest of a tag or digest; see :meth:`head_manifest`."""
        request = Request(
            repository,
            "GET",
            f"manifests/{reference}",
            f"read manifest {reference}",
            push=push,
            prompt=prompt,
            headers=_ACCEPT,
            passes=_MISSING,
        )
        answer = await self._transport.send(request)
        if answer.status == _NOT_FOUND:
            return None
        claimed = answer.headers.get("Docker-Content-Digest", "")
        # By digest: the bytes must have it. By tag: they must have the digest that the registry states.
        expected = reference if is_sha256(reference) else claimed if is_sha256(claimed) else ""
        actual = sha256(answer.body)
        if expected and expected != actual:
            raise BadContent(f"{request}: expected digest {expected}, got bytes with {actual}")
        media_type = _media_type(answer) or await lean_json.aside(
            answer.body, partial(_own_media_type, answer.body)
        )
        return Manifest(media_type, actual, answer.body, answer.headers.get("ETag", ""), answer.hold)

    async def put_manifest(
        self,
        repository: Repository,
        reference: str,
        manifest: Manifest,
        *,
        replaces: str = "",
        prompt: bool = False,
        before_retry: Callable[[], Awaitable[None]] | None = None,
    ) -> Answer:
        """Write a manifest under a tag or its digest.

        ``replaces`` is the etag of the tag's previous content. A registry that supports it refuses the write
        if the tag moved; then :class:`TagMoved` is raised. For ``prompt`` and ``before_retry`` see
        :class:`Request`.
        """
        headers = {"Content-Type": manifest.media_type}
        if replaces:
            headers["If-Match"] = replaces
        request = Request(
            repository,
            "PUT",
            f"manifests/{reference}",
            f"write manifest {reference}",
            push=True,
            prompt=prompt,
            data=manifest.data,
            headers=headers,
            passes=frozenset({_MOVED_ON}) if replaces else frozenset(),
            before_retry=before_retry,
        )
        answer = await self._transport.send(request)
        if answer.status == _MOVED_ON:
            raise TagMoved(f"{request}: the tag was changed at the same time")
        stored = answer.headers.get("Docker-Content-Digest", "")
        # A registry that changes a manifest breaks every reference to its digest.
        if is_sha256(stored) and stored != manifest.digest:
            raise StoreRejected(f"{request}: sent {manifest.digest}, the registry stored {stored}")
        return answer

    async def get_blob(self, repository: Repository, digest: str, limit: int = BLOB_LIMIT) -> bytes | None:
        """Return a blob of at most ``limit`` bytes; None if the registry does not have it."""
        request = Request(
            repository, "GET", f"blobs/{digest}", f"read blob {digest}", limit=limit, passes=_MISSING
        )
        answer = await self._transport.send(request)
        if answer.status == _NOT_FOUND:
            return None
        actual = await sha256_aside(answer.body)
        if actual != digest:
            raise BadContent(f"{request}: expected digest {digest}, got bytes with {actual}")
        return answer.body

    async def put_blob(
        self, repository: Repository, data: bytes, digest: str, *, remember: bool = False
    ) -> None:
        """Upload a blob with a known digest. ``remember`` skips later uploads of the same blob."""
        key = (repository, digest)
        if remember and key not in self._uploaded:
            await self._uploading.run(key, lambda: self.put_blob(repository, data, digest))
            self._uploaded[key] = True
        elif not remember and (len(data) <= _ASK_FIRST or not await self.has_blob(repository, digest)):
            await self._upload(repository, data, digest)

    def forget_blobs(self, repository: Repository) -> None:
        """Forget the remembered uploads to ``repository``, because it reports that one is missing."""
        for key in list(self._uploaded):
            if key[0] == repository:
                self._uploaded.pop(key, None)

    async def referrers(
        self, repository: Repository, digest: str, most: int, *, push: bool = False
    ) -> Referrers | None:
        """List up to ``most`` referrers of a manifest; None if the registry has no referrers API.

        For ``push`` see :meth:`head_manifest`.
        """
        listed: list[Listed] = []
        path = f"referrers/{digest}"
        place = f"the referrers of {digest} in {repository}"
        for _ in range(REFERRER_PAGES):
            answer = await self._referrers_page(repository, path, digest, push=push)
            if answer is None:
                return None
            listed.extend(
                await lean_json.aside(answer.body, partial(listed_in, answer.body, place, most + 1))
            )
            # Stop early: a hostile registry could return pages without end.
            if len(listed) > most:
                return Referrers(tuple(listed), f"there are more than {most} referrers")
            following = next_page(answer.headers.get("Link", ""))
            if following is None:
                return Referrers(tuple(listed))
            path = str(resolve(answer.url, following))
        return Referrers(tuple(listed), f"the registry's list has more than {REFERRER_PAGES} pages")

    async def _referrers_page(
        self, repository: Repository, path: str, digest: str, *, push: bool = False
    ) -> Answer | None:
        """Return one page of the list; None if the answer is not that of a referrers API."""
        request = Request(
            repository,
            "GET",
            path,
            f"list the referrers of {digest}",
            push=push,
            headers={"Accept": OCI_INDEX},
            passes=_NO_REFERRERS,
        )
        answer = await self._transport.send(request)
        return answer if answer.status not in _NO_REFERRERS and _media_type(answer) == OCI_INDEX else None

    async def lists_tag(self, repository: Repository, tag: str, *, push: bool = False) -> bool | None:
        """Whether the registry's list of tags has a tag; None if the list cannot be read."""
        path = f"tags/list?n={_TAGS}"
        for _ in range(TAG_PAGES):
            request = Request(repository, "GET", path, "list the tags", push=push, passes=_MISSING)
            try:
                answer = await self._transport.send(request)
                if answer.status == _NOT_FOUND:
                    return None
                if await lean_json.aside(answer.body, partial(has_tag, answer.body, tag)):
                    return True
            except (StoreRejected, orjson.JSONDecodeError, KeyError, TypeError):
                return None
            following = next_page(answer.headers.get("Link", ""))
            if following is None:
                return False
            path = str(resolve(answer.url, following))
        return None

    async def tags(self, repository: Repository) -> tuple[list[str], str]:
        """Return the tags of a repository, and the reason if they are not all of them, else an empty text.

        Raises :class:`StoreRejected` if the registry does not have the repository or its list is invalid.
        """
        return await self._names(repository, f"tags/list?n={_TAGS}", "tags", tags_in)

    async def repositories(self, registry: str) -> tuple[list[str], str]:
        """Return the repositories of a registry, and the reason if they are not all, else an empty text.

        Not every registry has this list, or gives it to everybody. Raises :class:`StoreRejected` if not.
        """
        catalog = Repository(registry, "_catalog")
        return await self._names(catalog, f"/_catalog?n={_TAGS}", "repositories", repositories_in)

    async def _names(
        self, repository: Repository, path: str, noun: str, read: Callable[[bytes], list[str]]
    ) -> tuple[list[str], str]:
        """Return all pages of a list, at most :data:`TAG_PAGES`."""
        found: list[str] = []
        for _ in range(TAG_PAGES):
            request = Request(repository, "GET", path, f"list the {noun}")
            answer = await self._transport.send(request)
            try:
                found += await lean_json.aside(answer.body, partial(read, answer.body))
            except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
                raise StoreRejected(f"{request}: the answer is no list of {noun}") from exc
            following = next_page(answer.headers.get("Link", ""))
            if following is None:
                return found, ""
            path = str(resolve(answer.url, following))
        return found, f"the registry's list of {noun} has more than {TAG_PAGES} pages"

    async def has_blob(self, repository: Repository, digest: str, *, sure: bool = False) -> bool:
        """Whether a registry has a blob. ``sure`` tries GET before the answer is False."""
        request = Request(
            repository, "HEAD", f"blobs/{digest}", f"look up blob {digest}", push=True, passes=_MISSING
        )
        try:
            if (await self._transport.send(request)).status != _NOT_FOUND:
                return True
        except RegistryRefused as exc:
            if exc.status == UNAUTHORIZED:
                raise
        return sure and await self.get_blob(repository, digest) is not None

    async def check_kept(self, repository: Repository, digests: Iterable[str]) -> None:
        """Check that the registry has blobs that it accepted, unless one such check succeeded within an hour.

        Raises :class:`StoreUnavailable` for a missing blob.
        """
        if (self._keeping.get(repository.registry) or 0.0) > time.monotonic():
            return
        for digest in digests:
            if not await self.has_blob(repository, digest, sure=True):
                raise StoreUnavailable(f"{repository} accepted blob {digest} and does not have it")
            self._keeping[repository.registry] = time.monotonic() + KEEPING_SECONDS

    async def _upload(self, repository: Repository, data: bytes, digest: str) -> None:
        """Upload a blob with one ``POST`` if the registry supports that, else with ``POST`` and ``PUT``."""
        known = self._single_post.get(repository.registry)
        # The trial uses a small blob, because it is sent twice if the registry does not support it.
        single = len(data) <= _ASK_FIRST if known is None else known
        purpose = f"upload blob {digest}"
        if single:
            post = Request(
                repository,
                "POST",
                f"blobs/uploads/?digest={quote(digest, safe='')}",
                purpose,
                push=True,
                data=data,
                headers=_OCTETS,
                passes=_NO_SINGLE_POST,
            )
            answer = await self._transport.send(post)
            # An absent repository says nothing about whether a single POST is supported.
            if NO_REPOSITORY not in {code for code, _ in answer.words}:
                self._single_post[repository.registry] = answer.status == _CREATED
            if answer.status == _CREATED:
                return
        if not single or answer.status != _ACCEPTED:
            post = Request(repository, "POST", "blobs/uploads/", purpose, push=True)
            answer = await self._transport.send(post)
        location = answer.headers.get("Location", "")
        if not location:
            raise StoreRejected(f"{post}: the registry returned no upload location")
        target = str(resolve(answer.url, location))
        # The upload location may have a query of its own, which must be kept.
        mark = "&" if "?" in target else "?"
        put = Request(
            repository,
            "PUT",
            f"{target}{mark}digest={quote(digest, safe='')}",
            purpose,
            push=True,
            data=data,
            headers=_OCTETS,
        )
        try:
            await self._transport.send(put)
        except RegistryRefused:
            # Another writer may have uploaded it in the meantime, and some registries refuse a second upload.
            if not await self.has_blob(repository, digest):
                raise


def _media_type(answer: Answer) -> str:
    """Return the media type in the header; ``""`` for a generic one."""
    media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
    return "" if media_type in _SAYS_NOTHING else media_type


def _own_media_type(data: bytes) -> str:
    """Return the media type in the manifest itself; ``""`` if it has none."""
    try:
        return str(lean_json.loads(data)["mediaType"])[:LONGEST_WORD]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
