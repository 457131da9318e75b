"""Firestore for the store ``docdb``.

The URL is ``firestore://projects/PROJECT/databases/DATABASE/documents/COLLECTION?name_field=Name``.
Credentials are Google's application default credentials. ``FIRESTORE_EMULATOR_HOST`` names a test server.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from storage.base import StoreOptions
from storage.docdb.blocking import BlockingCollection
from storage.docdb.documents import INDEX, READ, Document
from storage.docdb.store import DocumentStore, parse_collection_url
from storage.errors import StoreError, StoreRejected
from storage.formats.chains_document import MOST_DOCUMENTS
from storage.google.errors import explain_google
from storage.redacted_url import shown

_EXPECTED = "firestore://projects/PROJECT/databases/(default)/documents/COLLECTION?name_field=Name"
_PATH = re.compile(r"projects/([^/]+)/databases/([^/]+)/documents/([^/]+(?:/[^/]+/[^/]+)*)")
_PERMISSION = "datastore.entities.create, .update, .get, .list and .delete (roles/datastore.user)"


class FirestoreStore(DocumentStore):
    """Stores records in a Firestore collection."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        super().__init__(url, options, FirestoreCollection(url, options))


class FirestoreCollection(BlockingCollection):
    """A collection. The id of a document is its ``name_field``, which is not stored as a field."""

    source = "firestore"
    largest = 1024 * 1024 - 4 * 1024

    def __init__(self, url: str, options: StoreOptions) -> None:
        super().__init__()
        parsed = parse_collection_url(url, _EXPECTED, ("name_field", "revision_field"))
        match = _PATH.fullmatch(f"{parsed.host}/{parsed.path}")
        self._name_field = parsed.parameters.get("name_field", "")
        if match is None or not self._name_field:
            raise StoreRejected(f"storage.docdb.url {shown(url)[:100]!r}: expected {_EXPECTED}")
        self._project, self._database, self._path = match.groups()
        self._options = options
        self._making = threading.Lock()
        self._client: Any = None

    def read(self, names: Sequence[str]) -> Mapping[str, Document]:
        """Return the documents with these ids."""
        collection = self._made()
        snapshots = self._client.get_all(
            [collection.document(name) for name in names], list(READ), **self._bounds()
        )
        return {snapshot.id: snapshot.to_dict() for snapshot in snapshots if snapshot.exists}

    def write(self, documents: Sequence[Document]) -> None:
        """Write documents as docstore's ``Put`` does, all of them or none."""
        collection = self._made()
        batch = self._client.batch()
        for document in documents:
            values = {key: value for key, value in document.items() if key != self._name_field}
            batch.set(collection.document(document["Name"]), values)
        batch.commit(**self._bounds())

    def remove(self, name: str) -> None:
        """Delete a document if it exists."""
        self._made().document(name).delete(**self._bounds())

    def search(self, field: str, value: str) -> list[str]:
        """Search our index documents. Firestore indexes every field by itself."""
        from google.cloud.firestore_v1.base_query import FieldFilter  # noqa: PLC0415

        operator = "array_contains" if field == "Subjects" else "=="
        query = self._made().where(filter=FieldFilter(field, operator, value)).select([field])
        snapshots = query.limit(MOST_DOCUMENTS + 1).stream(**self._bounds())
        return [snapshot.id.removesuffix(INDEX) for snapshot in snapshots if snapshot.id.endswith(INDEX)]

    def list_names(self) -> list[str]:
        """Return the names of all documents."""
        return [snapshot.id for snapshot in self._made().select([]).stream(**self._bounds())]

    def explain(self, error: Exception, action: str) -> StoreError:
        """Return the :class:`StoreError` for an exception of Google's client."""
        return explain_google(error, action, _PERMISSION)

    def disconnect(self) -> None:
        """Close all connections."""
        with self._making:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _bounds(self) -> dict[str, Any]:
        """Return the time limits of a request and of its retries."""
        from google.api_core.retry import Retry  # noqa: PLC0415

        return {"timeout": self._options.timeout, "retry": Retry(timeout=self._options.timeout)}

    def _made(self) -> Any:
        """Return the collection; the first call connects."""
        with self._making:
            if self._client is None:
                try:
                    from google.cloud import firestore  # noqa: PLC0415 - takes a second
                except ImportError as exc:
                    raise StoreRejected(f"{exc}: install provenance-chains with its extra gcp") from exc
                self._client = firestore.Client(project=self._project, database=self._database)
            return self._client.collection(*self._path.split("/"))
