"""The store ``grafeas``: Google's Container Analysis over its REST API.

:mod:`storage.grafeas.notes` builds the documents. The URL is
``grafeas://PROJECT[?noteid=…&notehint=…&kmsref=…&endpoint=https://HOST]``; the default endpoint is Google's.
Credentials are Google's application default credentials. No token is sent to an endpoint with plain HTTP,
which suits tests and a local grafeas server without authentication.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from functools import partial
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import orjson
from cachetools import LRUCache

from storage import lean_json
from storage.base import Probe, Store, StoreOptions
from storage.errors import BadContent, StoreError, StoreRejected, StoreUnavailable
from storage.formats.chains_document import MOST_DOCUMENTS, Found, SignedDocument
from storage.formats.digest import is_sha256, sha256
from storage.google.login import GoogleLogin
from storage.grafeas.notes import Json, Layout, uris_of
from storage.http_client.json_service import LARGEST_ANSWER, WebService, json_of
from storage.limits.belief import Belief
from storage.limits.single_flight import InFlight
from storage.record import Evidence, Failure, Findings, Receipt, Record, Skipped, Stored
from storage.redacted_url import shown

ENDPOINT = "https://containeranalysis.googleapis.com"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_PROJECT = re.compile(r"[a-z0-9][a-z0-9.:-]{1,100}")
_PERMISSION = (
    "the account needs roles/containeranalysis.notes.editor, roles/containeranalysis.notes.attacher and "
    "roles/containeranalysis.occurrences.editor"
)
_CONFLICT = 409
_PAGE = "100"
_MOST_BYTES = 128 * 1024 * 1024
"""The most bytes of occurrences about one image."""
_MOST_NOTES = 4096
"""The most notes that are remembered as made."""
_PARAMETERS = ("noteid", "notehint", "kmsref", "endpoint")


def grafeas_url(project: str, **parameters: str) -> str:
    """Return the URL of a store; the module's docstring lists the ``parameters``."""
    query = urlencode({name: value for name, value in parameters.items() if value}, quote_via=quote)
    return f"grafeas://{project}" + (f"?{query}" if query else "")


class GrafeasStore(Store):
    """Stores records as occurrences about their images."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        parts = urlsplit(url)
        parameters = dict(parse_qsl(parts.query))
        if (
            not _PROJECT.fullmatch(parts.netloc)
            or parts.path.strip("/")
            or set(parameters) - set(_PARAMETERS)
        ):
            raise StoreRejected(f"unknown store {shown(url)[:100]!r}: expected grafeas://PROJECT")
        endpoint = parameters.get("endpoint", ENDPOINT)
        if urlsplit(endpoint).scheme not in {"http", "https"}:
            raise StoreRejected("grafeas: endpoint: expected https://HOST")
        self.url = f"grafeas://{parts.netloc}"
        self._layout = Layout(
            parts.netloc,
            parameters.get("noteid", ""),
            parameters.get("notehint", ""),
            parameters.get("kmsref", ""),
        )
        self._project = f"v1/projects/{parts.netloc}"
        self._login = GoogleLogin(self.url, _PERMISSION, _SCOPE)
        login = {"headers": self._login.headers} if endpoint.startswith("https:") else {}
        self._service = WebService(endpoint, options, _PERMISSION, **login)
        self._lists = Belief()
        """Whether a search, which readers use, was seen to find what was written."""
        self._notes: LRUCache[str, bool] = LRUCache(_MOST_NOTES)
        self._making: InFlight[str, tuple[str, bool]] = InFlight()

    async def put(self, record: Record) -> Stored:
        """Make one occurrence per subject; see :meth:`Store.put`."""
        uris = uris_of(record)
        if not uris:
            reason = "no subject has a sha256 digest, which a grafeas occurrence needs"
            return Stored(skipped=(Failure(self.url, "occurrence", "", reason),))
        try:
            await self._make_note(record)
        except StoreError as error:
            return Stored(failures=tuple(self._failure(uri, error) for uri in uris))
        results = await asyncio.gather(*(self._put(record, uri) for uri in uris))
        return Stored(
            tuple(result for result in results if isinstance(result, Receipt)),
            tuple(result for result in results if isinstance(result, Failure)),
        )

    def _failure(self, uri: str, error: StoreError) -> Failure:
        subject = uri.rpartition("@")[2]
        return Failure(self.url, "occurrence", subject, str(error), isinstance(error, StoreUnavailable))

    async def _make_note(self, record: Record) -> None:
        """Make the note of a record unless it exists."""
        name = self._layout.note_name(record)
        if name in self._notes:
            return
        await self._service.send(
            "POST",
            f"{self._project}/notes",
            f"make note {name} in {self.url}",
            query={"noteId": name},
            data=orjson.dumps(self._layout.note(record)),
            # 409: the note exists already.
            passes=frozenset({_CONFLICT}),
        )
        self._notes[name] = True

    async def _put(self, record: Record, uri: str) -> Receipt | Failure:
        """Make the occurrence about one subject."""
        try:
            wanted = self._layout.occurrence(record, uri)
            # The service assigns the names, so concurrent equal requests would each create an occurrence.
            key = sha256(orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS))
            name, changed = await self._making.run(key, lambda: self._make(wanted))
        except StoreError as error:
            return self._failure(uri, error)
        digest = sha256(record.signature or record.envelope)
        where = f"{self.url}#{name}"
        return Receipt(self.url, "occurrence", uri.rpartition("@")[2], where, digest, changed)

    async def _make(self, wanted: Json) -> tuple[str, bool]:
        """Return the name of an occurrence with these contents, and whether it is new."""
        there = await self._same(wanted)
        if there is not None:
            return there, False
        name = await self._create(wanted)
        limit = LARGEST_ANSWER + 2 * len(orjson.dumps(wanted))
        got = await self._service.json("GET", f"v1/{name}", f"read occurrence {name}", limit=limit)
        if not _equal(got, wanted):
            raise StoreUnavailable(f"write occurrence {name}: other bytes came back")
        # Checked once an hour: a service may store occurrences that its search does not find.
        if not self._lists:
            if await self._same(wanted) is None:
                raise StoreUnavailable(f"write occurrence {name}: a search does not find it")
            self._lists.seen()
        return name, True

    async def _create(self, wanted: Json) -> str:
        """Create an occurrence and return its name."""
        answer = await self._service.json(
            "POST",
            f"{self._project}/occurrences",
            f"make occurrence about {wanted['resourceUri'][:200]} in {self.url}",
            data=orjson.dumps(wanted),
        )
        name = str(answer.get("name", ""))
        if not re.fullmatch(r"projects/[^/\s]+/occurrences/[^/\s]+", name):
            raise BadContent(f"make occurrence in {self.url}: the answer has no name of an occurrence")
        return name

    async def _same(self, wanted: Json) -> str | None:
        """Return the name of an occurrence with the same envelope; None if there is none."""
        for occurrence in await self._occurrences(wanted["resourceUri"]):
            if _equal(occurrence, wanted):
                return str(occurrence["name"])
        return None

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return the occurrences about ``reference@digest``, Chains' included.

        Raises :class:`StoreRejected` without a reference: the service searches by the full name of the image.
        """
        if not is_sha256(digest) or not reference:
            raise StoreRejected(f"{self.url} finds evidence by NAME@sha256:HEX only: pass the image's name")
        collected = Found()
        for occurrence in await self._occurrences(f"{reference}@{digest}"):
            collected.add([self._read(occurrence)])
        return collected.findings()

    def _read(self, occurrence: Json) -> Evidence | Skipped:
        """Return the envelope of an occurrence as evidence."""
        where = f"{self.url}#{occurrence.get('name', '')}"
        try:
            envelope = occurrence["envelope"]
            payload = base64.b64decode(envelope["payload"], validate=True)
            (signature,) = (base64.b64decode(entry["sig"], validate=True) for entry in envelope["signatures"])
        except (KeyError, TypeError, ValueError, binascii.Error):
            return Skipped(where, "", "it has no envelope with one signature")
        return SignedDocument("", payload, signature).evidence("grafeas", where)

    async def _occurrences(self, uri: str) -> list[Json]:
        """Return all occurrences about an image, page by page."""
        matching: list[Json] = []
        query = {"filter": f"resourceUrl={orjson.dumps(uri).decode()}", "pageSize": _PAGE}
        purpose, left = f"search {self.url}", _MOST_BYTES
        while True:
            page_of = await self._service.send(
                "GET", f"{self._project}/occurrences", purpose, query=query, limit=left
            )
            left -= len(page_of.body)
            answer = await lean_json.aside(page_of.body, partial(json_of, page_of, purpose))
            page = answer.get("occurrences") or []
            # Filter again: a service that ignores the filter would return occurrences of other images.
            matching += [
                occurrence
                for occurrence in page
                if isinstance(occurrence, dict) and occurrence.get("resourceUri") == uri
            ]
            if not answer.get("nextPageToken"):
                return matching
            if len(matching) > MOST_DOCUMENTS:
                raise StoreRejected(f"search {self.url}: more than {MOST_DOCUMENTS} occurrences")
            query["pageToken"] = str(answer["nextPageToken"])

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """List one occurrence. A write cannot be tried, because others would see the occurrence."""
        del places
        try:
            answer = await self._service.send(
                "GET",
                f"{self._project}/occurrences",
                f"reach {self.url}",
                query={"pageSize": "1"},
                limit=_MOST_BYTES,
            )
            json_of(answer, f"reach {self.url}")
        except StoreError as error:
            return [Probe("reach", "failed", str(error), _PERMISSION)]
        return [Probe("reach", "ok", f"{self.url} can be read; whether it can be written is not tried")]

    async def close(self) -> None:
        """Close every connection."""
        await self._service.close()
        await self._login.close()


def _equal(there: Json, wanted: Json) -> bool:
    """Whether two occurrences have the same note, image and envelope."""

    def shown(occurrence: Json) -> Iterable[object]:
        envelope = occurrence.get("envelope") or {}
        signatures = [entry.get("sig") for entry in envelope.get("signatures") or []]
        return occurrence.get("noteName"), occurrence.get("resourceUri"), envelope.get("payload"), signatures

    return shown(there) == shown(wanted)
