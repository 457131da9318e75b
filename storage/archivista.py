"""The store ``archivista``: in-toto's Archivista, which stores DSSE envelopes by their gitoid.

An image signature has no envelope, and Tekton Chains fails to store it here. This store takes the envelope in
the image signature's bundle, which holds cosign's statement ``https://sigstore.dev/cosign/sign/v1`` about the
image. A search by digest uses Archivista's index of subjects (GraphQL). Archivista cannot search by run.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import orjson

from storage import lean_json
from storage.base import Probe, Store, StoreOptions
from storage.errors import BadContent, StoreError, StoreRejected, StoreUnavailable
from storage.formats.chains_document import MOST_DOCUMENTS, Found
from storage.formats.digest import sha256
from storage.http_client.json_service import WebService
from storage.limits import allowance
from storage.limits.belief import Belief
from storage.record import DSSE_FORMAT, Evidence, Failure, Findings, Receipt, Record, Skipped, Stored
from storage.redacted_url import shown

SCHEME = "archivista:"
_GITOID = re.compile(r"[0-9a-f]{40,64}")
_DIGEST = re.compile(r"[a-z0-9_]{1,40}:[0-9a-f]{2,256}")
_PAGE = 100
"""Envelopes per page of a search."""
_AT_ONCE = 8
"""The number of envelopes that one search downloads at the same time."""
_NOT_FOUND = frozenset({404})
_PERHAPS_NOT_FOUND = frozenset({404, 500})
"""Archivista's file store answers 500 for an envelope that it does not have."""
_QUERY = (
    "query($algo: String!, $digest: String!, $first: Int!, $after: Cursor) { dsses(first: $first, "
    "after: $after, where: {hasStatementWith: {hasSubjectsWith: {hasSubjectDigestsWith: "
    "{algorithm: $algo, value: $digest}}}}) "
    "{ edges { node { gitoidSha256 } } pageInfo { hasNextPage endCursor } } }"
)


class ArchivistaStore(Store):
    """Stores the envelopes of records on the server of ``archivista:https://HOST``."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        server = url.removeprefix(SCHEME)
        try:
            parts = urlsplit(server)
            sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc
        except ValueError:
            sound = False
        if not sound:
            raise StoreRejected(
                "unknown store archivista: expected archivista:https://HOST, without a password"
            )
        self.url = shown(url)
        self._index_works = Belief()
        self._service = WebService(server, options, "the server, or a proxy before it, asks for a login")

    async def put(self, record: Record) -> Stored:
        """Upload the envelope, read it back, and check that a search finds it; see :meth:`Store.put`."""
        try:
            envelope = record.envelope or _envelope_in(record.bundle)
            if not envelope:
                raise StoreRejected("archivista stores dsse envelopes only, and the record has none")
            receipt = await self._put(envelope)
            await self._check_index(record, envelope)
        except StoreError as error:
            transient = isinstance(error, StoreUnavailable)
            return Stored(failures=(Failure(self.url, "envelope", "", str(error), transient),))
        return Stored((receipt,))

    async def _put(self, envelope: bytes) -> Receipt:
        gitoid = gitoid_of(envelope)
        # Uploading an existing envelope would be harmless, but the receipt must say whether it is new.
        changed = await self._get(gitoid, _PERHAPS_NOT_FOUND) != envelope
        if changed:
            answer = await self._service.json("POST", "upload", f"upload to {self.url}", data=envelope)
            returned = str(answer.get("gitoid", ""))
            if returned != gitoid:
                raise StoreRejected(f"upload to {self.url}: expected gitoid {gitoid}, got {returned[:80]!r}")
            if await self._get(gitoid) != envelope:
                raise StoreUnavailable(f"upload to {self.url}: gitoid {gitoid} returns other bytes")
        return Receipt(self.url, "envelope", "", f"{self.url}#{gitoid}", sha256(envelope), changed)

    async def _check_index(self, record: Record, envelope: bytes) -> None:
        """Check once an hour that a search finds what was stored: a server can run without its index."""
        if self._index_works:
            return
        digests = (f"{kind}:{value}" for subject in record.subjects for kind, value in subject.digest.items())
        digest = next((candidate for candidate in digests if _DIGEST.fullmatch(candidate)), "")
        if not digest:
            return
        gitoid = gitoid_of(envelope)
        if gitoid not in await self._gitoids(digest):
            raise StoreUnavailable(
                f"upload to {self.url}: gitoid {gitoid} is stored, but a search for {digest} does not "
                "find it: check that the server has its database"
            )
        self._index_works.seen()

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return the envelopes whose statements have the subject ``digest`` (``algorithm:hex``)."""
        del reference
        if not _DIGEST.fullmatch(digest):
            raise StoreRejected(f"cannot search for {digest[:100]!r}: expected algorithm:hex")
        collected, gitoids = Found(), await self._gitoids(digest)
        # A batch at a time, so that no more envelopes are in memory than the allowance permits.
        many = min(_AT_ONCE, allowance.current().at_once)
        for start in range(0, len(gitoids), many):
            part = gitoids[start : start + many]
            ended = await asyncio.gather(*(self._piece(gitoid) for gitoid in part), return_exceptions=True)
            for result in ended:
                if isinstance(result, BaseException):
                    raise result
                collected.add([result])
        return collected.findings()

    async def _piece(self, gitoid: str) -> Evidence | Skipped:
        """Download one envelope and check that its bytes have the gitoid."""
        where = f"{self.url}#{gitoid}"
        try:
            data = await self._get(gitoid)
        except BadContent as exc:
            return Skipped(where, "", str(exc))
        if data is None:
            return Skipped(where, "", "the index lists it, but the server does not have it")
        if gitoid_of(data) != gitoid:
            return Skipped(where, sha256(data), "its bytes do not have this gitoid")
        return Evidence("archivista", where, sha256(data), DSSE_FORMAT, data)

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Request an envelope that does not exist.

        A write cannot be tried, because nothing can be deleted.
        """
        del places
        try:
            await self._get(gitoid_of(b"provenance-chains-probe"), _PERHAPS_NOT_FOUND)
        except StoreError as error:
            return [Probe("reach", "failed", str(error), "correct storage.archivista.url")]
        return [Probe("reach", "ok", f"{self.url} answers; whether it takes envelopes is not tried")]

    async def close(self) -> None:
        """Close every connection."""
        await self._service.close()

    async def _gitoids(self, digest: str) -> list[str]:
        """Return the gitoids that the index has for a digest, page by page."""
        algorithm, _, value = digest.partition(":")
        gitoids: list[str] = []
        after = None
        while True:
            asked = {"algo": algorithm, "digest": value, "first": _PAGE, "after": after}
            body = orjson.dumps({"query": _QUERY, "variables": asked})
            answer = await self._service.json("POST", "query", f"search {self.url}", data=body)
            # GraphQL reports errors with status 200.
            if answer.get("errors"):
                raise StoreUnavailable(f"search {self.url}: {str(answer['errors'])[:200]}")
            try:
                page = answer["data"]["dsses"]
                named = [str(edge["node"]["gitoidSha256"]) for edge in page["edges"]]
                more = page["pageInfo"]
                after = more["endCursor"] if more["hasNextPage"] else None
            except (KeyError, TypeError) as exc:
                raise StoreRejected(f"search {self.url}: the answer has not the expected form") from exc
            # A gitoid becomes a part of a path, so anything else is ignored.
            gitoids += [gitoid for gitoid in named if _GITOID.fullmatch(gitoid)]
            if after is None:
                return gitoids
            if len(gitoids) > MOST_DOCUMENTS:
                raise StoreRejected(f"search {self.url}: more than {MOST_DOCUMENTS} envelopes")

    async def _get(self, gitoid: str, missing: frozenset[int] = _NOT_FOUND) -> bytes | None:
        """Return the envelope of a gitoid; None for one of the statuses in ``missing``."""
        purpose = f"download from {self.url}"
        limit = allowance.current().largest
        answer = await self._service.send("GET", f"download/{gitoid}", purpose, passes=missing, limit=limit)
        return None if answer.status in missing or not answer.body else answer.body


def gitoid_of(data: bytes) -> str:
    """Return the SHA-256 gitoid of type blob, in hex, which is Archivista's name for an envelope."""
    return hashlib.sha256(b"blob %d\0" % len(data) + data).hexdigest()


def _envelope_in(bundle: bytes) -> bytes:
    """Return the envelope of a bundle; empty if it has none."""
    try:
        envelope = lean_json.loads(bundle, lean_json.FEW_VALUES).get("dsseEnvelope")
    except (orjson.JSONDecodeError, AttributeError):
        return b""
    # Re-encoding is safe here: the signature covers the PAE and not the envelope's JSON.
    return orjson.dumps(envelope) if isinstance(envelope, dict) else b""
