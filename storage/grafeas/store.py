"""The store ``grafeas``: Google's Container Analysis, by its REST API; the layout is in
:mod:`storage.grafeas.notes`.

``grafeas://PROJECT[?noteid=…&notehint=…&kmsref=…&endpoint=https://HOST]``; without ``endpoint`` Google's
own. Credentials are Google's application default; to an endpoint that is plain HTTP no token is sent, so
that works for tests and for a grafeas server next door that asks for none.
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

from storage import lean_json
from storage.base import Probe, Store, StoreOptions
from storage.errors import BadContent, StoreError, StoreRejected, StoreUnavailable
from storage.formats.chains_document import MOST_DOCUMENTS, Found, SignedDocument
from storage.formats.digest import is_sha256, sha256
from storage.google.login import GoogleLogin
from storage.grafeas.notes import Json, Layout, uris_of
from storage.http_client.json_service import LARGEST_ANSWER, WebService, json_of
from storage.limits.belief import Belief
from storage.limits.bounded import Bounded
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
"""Of the occurrences about one image."""
_MOST_NOTES = 4096
_PARAMETERS = ("noteid", "notehint", "kmsref", "endpoint")


def grafeas_url(project: str, **parameters: str) -> str:
    """Return the URL of a store; ``parameters`` are those of the module's own documentation."""
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
        """That a search, which is how readers ask, finds what was written."""
        self._notes: Bounded[str, bool] = Bounded(_MOST_NOTES)
        self._making: InFlight[str, tuple[str, bool]] = InFlight()

    async def put(self, record: Record) -> Stored:
        """Make one occurrence for each subject; see :meth:`Store.put`."""
        uris = uris_of(record)
        if not uris:
            reason = "no subject with a sha256 digest, which grafeas names occurrences by"
            return Stored(skipped=(Failure(self.url, "occurrence", "", reason),))
        try:
            await self._make_note(record)
        except StoreError as error:
            return Stored(failures=tuple(self._failure(uri, error) for uri in uris))
        told = await asyncio.gather(*(self._put(record, uri) for uri in uris))
        return Stored(
            tuple(one for one in told if isinstance(one, Receipt)),
            tuple(one for one in told if isinstance(one, Failure)),
        )

    def _failure(self, uri: str, error: StoreError) -> Failure:
        subject = uri.rpartition("@")[2]
        return Failure(self.url, "occurrence", subject, str(error), isinstance(error, StoreUnavailable))

    async def _make_note(self, record: Record) -> None:
        name = self._layout.note_name(record)
        if name in self._notes:
            return
        await self._service.send(
            "POST",
            f"{self._project}/notes",
            f"make note {name} in {self.url}",
            query={"noteId": name},
            data=orjson.dumps(self._layout.note(record)),
            passes=frozenset({_CONFLICT}),
        )
        self._notes.put(name, True)

    async def _put(self, record: Record, uri: str) -> Receipt | Failure:
        try:
            wanted = self._layout.occurrence(record, uri)
            # the service names occurrences itself, so equal ones at the same time would all be made
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
        if not self._lists:
            if await self._same(wanted) is None:
                raise StoreUnavailable(f"write occurrence {name}: a search does not find it")
            self._lists.seen()
        return name, True

    async def _create(self, wanted: Json) -> str:
        answer = await self._service.json(
            "POST",
            f"{self._project}/occurrences",
            f"make occurrence about {wanted['resourceUri'][:200]} in {self.url}",
            data=orjson.dumps(wanted),
        )
        name = str(answer.get("name", ""))
        if not re.fullmatch(r"projects/[^/\s]+/occurrences/[^/\s]+", name):
            raise BadContent(f"make occurrence in {self.url}: the answer names none")
        return name

    async def _same(self, wanted: Json) -> str | None:
        """Return the name of an occurrence with the same envelope, None without one."""
        for one in await self._occurrences(wanted["resourceUri"]):
            if _equal(one, wanted):
                return str(one["name"])
        return None

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return the occurrences about ``reference@digest``, Chains' and ours.

        Raises :class:`StoreRejected` without a reference: the service finds them by the image's full name.
        """
        if not is_sha256(digest) or not reference:
            raise StoreRejected(f"{self.url} finds evidence by NAME@sha256:HEX alone: pass the image's name")
        found = Found()
        for one in await self._occurrences(f"{reference}@{digest}"):
            found.add([self._read(one)])
        return found.findings()

    def _read(self, occurrence: Json) -> Evidence | Skipped:
        where = f"{self.url}#{occurrence.get('name', '')}"
        try:
            envelope = occurrence["envelope"]
            payload = base64.b64decode(envelope["payload"], validate=True)
            (signature,) = (base64.b64decode(one["sig"], validate=True) for one in envelope["signatures"])
        except (KeyError, TypeError, ValueError, binascii.Error):
            return Skipped(where, "", "it has no envelope with one signature")
        return SignedDocument("", payload, signature).evidence("grafeas", where)

    async def _occurrences(self, uri: str) -> list[Json]:
        found: list[Json] = []
        query = {"filter": f"resourceUrl={orjson.dumps(uri).decode()}", "pageSize": _PAGE}
        purpose, left = f"search {self.url}", _MOST_BYTES
        while True:
            page_of = await self._service.send(
                "GET", f"{self._project}/occurrences", purpose, query=query, limit=left
            )
            left -= len(page_of.body)
            answer = await lean_json.aside(page_of.body, partial(json_of, page_of, purpose))
            page = answer.get("occurrences") or []
            # a service that knows no such filter must not pass for one that found everything
            found += [one for one in page if isinstance(one, dict) and one.get("resourceUri") == uri]
            if not answer.get("nextPageToken"):
                return found
            if len(found) > MOST_DOCUMENTS:
                raise StoreRejected(f"search {self.url}: more than {MOST_DOCUMENTS} occurrences")
            query["pageToken"] = str(answer["nextPageToken"])

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """List one occurrence; an occurrence cannot be tried without being seen by others."""
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
    """Whether an occurrence has the note, image and envelope that were wanted."""

    def shown(one: Json) -> Iterable[object]:
        envelope = one.get("envelope") or {}
        signatures = [each.get("sig") for each in envelope.get("signatures") or []]
        return one.get("noteName"), one.get("resourceUri"), envelope.get("payload"), signatures

    return shown(there) == shown(wanted)
