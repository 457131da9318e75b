"""MongoDB for the store ``docdb``: ``mongo://DATABASE/COLLECTION?id_field=name``.

The server's URL, which contains the password, comes from the first of these that is set: the file
``storage.docdb.mongo-server-url-path``, the file ``MONGO_SERVER_URL`` in
``storage.docdb.mongo-server-url-dir``, ``storage.docdb.mongo-server-url``, the environment variable
``MONGO_SERVER_URL``. A file is read again when it changes, so a rotated password needs no restart.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storage.base import StoreOptions
from storage.docdb.blocking import BlockingCollection
from storage.docdb.documents import INDEX, READ, Document
from storage.docdb.store import DocumentStore, parse_collection_url
from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.files import read_file
from storage.formats.chains_document import MOST_DOCUMENTS
from storage.redacted_url import shown

VARIABLE = "MONGO_SERVER_URL"
_EXPECTED = "mongo://DATABASE/COLLECTION?id_field=name"
_ID = "_id"
_ACCESS = frozenset({13, 18, 8000})
"""Unauthorized, AuthenticationFailed, and Atlas' code for both."""
_SHOWN = 200
"""The most characters of the server's message in an error."""
_MOST_URL = 64 * 1024
"""The largest file with a server URL in bytes."""


class MongoStore(DocumentStore):
    """Stores records in a MongoDB collection."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        super().__init__(url, options, MongoCollection(url, options))


class ServerUrl:
    """The source of the server's URL. The URL is a secret and appears in no error."""

    def __init__(self, options: StoreOptions) -> None:
        self._given = options.mongo_server_url
        folder = options.mongo_server_url_dir
        path = options.mongo_server_url_path or (os.path.join(folder, VARIABLE) if folder else "")  # noqa: PTH118
        self._path = Path(path) if path else None
        self._state: tuple[int, ...] = ()
        self._url = ""

    def read(self) -> str:
        """Return the URL. If a file can no longer be read, the last URL stays in use.

        Raises :class:`StoreRejected` if there was none yet.
        """
        if self._path is None:
            url = self._given or os.environ.get(VARIABLE, "")
            if not url:
                raise StoreRejected(
                    "mongo: no server: set storage.docdb.mongo-server-url-path, -dir or storage.docdb."
                    f"mongo-server-url, or the variable {VARIABLE}"
                )
            return url
        try:
            status = self._path.stat()
            state = (status.st_mtime_ns, status.st_ino, status.st_size)
            if state != self._state:
                # An empty file may be a rotation in progress, so the last URL stays.
                self._url = read_file(self._path, _MOST_URL).decode().strip() or self._url
                self._state = state
        except (OSError, UnicodeDecodeError) as exc:
            if not self._url:
                reason = getattr(exc, "strerror", None) or "it is not text"
                raise StoreRejected(
                    f"mongo: the server's URL cannot be read from {self._path}: {reason}"
                ) from None
        if not self._url:
            raise StoreRejected(f"mongo: {self._path} is empty: expected the server's URL")
        return self._url


class MongoCollection(BlockingCollection):
    """A collection on the server that the URL names at the time of the call."""

    source = "mongo"
    largest = 16 * 1024 * 1024 - 16 * 1024

    def __init__(self, url: str, options: StoreOptions) -> None:
        super().__init__()
        parsed = parse_collection_url(url, _EXPECTED, ("id_field", "revision_field"))
        if not parsed.path or "/" in parsed.path:
            raise StoreRejected(f"storage.docdb.url {shown(url)[:100]!r}: expected {_EXPECTED}")
        self._database, self._name = parsed.host, parsed.path
        self._id_field = parsed.parameters.get("id_field", "") or _ID
        self._server, self._options = ServerUrl(options), options
        self._server.read()
        self._making = threading.Lock()
        self._connected = ""
        self._clients: list[Any] = []

    def read(self, names: Sequence[str]) -> Mapping[str, Document]:
        """Return the documents with these ``_id`` values."""
        documents = self._made().find({_ID: {"$in": list(names)}}, dict.fromkeys(READ, True))
        return {str(document.pop(_ID)): document for document in documents}

    def write(self, documents: Sequence[Document]) -> None:
        """Write each document as docstore's ``Put`` does."""
        from pymongo import ReplaceOne  # noqa: PLC0415

        self._made().bulk_write(
            [
                ReplaceOne({_ID: document["Name"]}, self._stored(document), upsert=True)
                for document in documents
            ]
        )

    def _stored(self, document: Document) -> dict[str, Any]:
        """Return a document as docstore stores it:

        ``_id`` is the name, and ``id_field`` itself is left out.
        """
        values = {key: value for key, value in document.items() if key != self._id_field}
        return {_ID: document["Name"], **values}

    def remove(self, name: str) -> None:
        """Delete a document if it exists."""
        self._made().delete_one({_ID: name})

    def search(self, field: str, value: str) -> list[str]:
        """Search our index documents. Indexes on ``Subjects`` and ``Run`` make this fast."""
        names = self._names({field: value})
        return [name.removesuffix(INDEX) for name in names if name.endswith(INDEX)]

    def signed(self, digest: str) -> list[str]:
        """Search the statements that Chains stores as ``Object``."""
        algorithm, _, value = digest.partition(":")
        # The algorithm becomes a part of a field path, so dots and dollar signs must not pass.
        if not algorithm.isalnum():
            return []
        return self._names({f"Object.subject.digest.{algorithm}": value})

    def list_names(self) -> list[str]:
        """Return the names of all documents."""
        return [str(document[_ID]) for document in self._made().find({}, {_ID: True})]

    def _names(self, query: dict[str, str]) -> list[str]:
        """Return the names of the documents that match a query, at most one more than a search reads."""
        documents = self._made().find(query, {_ID: True}, limit=MOST_DOCUMENTS + 1)
        return [str(document[_ID]) for document in documents]

    def explain(self, error: Exception, action: str) -> StoreError:
        """Return the :class:`StoreError` for an exception of pymongo.

        Messages of errors about the URL are not repeated, because they can contain its password.
        """
        from pymongo import errors  # noqa: PLC0415

        if isinstance(error, errors.OperationFailure):
            code = error.code or 0
            if code in _ACCESS:
                return StoreRejected(
                    f"{action}: {code}: not allowed: the user needs the role readWrite on {self._database}"
                )
            message = str((error.details or {}).get("errmsg", ""))[:_SHOWN]
            # The server labels errors after which the same write may be repeated.
            later = error.has_error_label("RetryableWriteError") or error.timeout
            return (StoreUnavailable if later else StoreRejected)(f"{action}: {code}: {message}")
        if isinstance(error, errors.ConnectionFailure | errors.InvalidOperation | OSError):
            return StoreUnavailable(f"{action}: the server cannot be reached ({type(error).__name__})")
        if isinstance(error, errors.ConfigurationError | errors.InvalidURI):
            return StoreRejected(f"{action}: the server's URL is wrong ({type(error).__name__})")
        return StoreRejected(f"{action}: {type(error).__name__}")

    def disconnect(self) -> None:
        """Close all connections."""
        with self._making:
            clients, self._clients, self._connected = self._clients, [], ""
        for client in clients:
            client.close()

    def _made(self) -> Any:
        """Return the collection.

        A new URL opens a new client; the previous one stays open for calls under way.
        """
        with self._making:
            # The URL is checked for every call, because a file with a rotated password may have changed.
            url = self._server.read()
            if url != self._connected:
                self._clients.append(self._connect(url))
                self._connected = url
                if len(self._clients) > 2:  # noqa: PLR2004 - calls may still use the previous client
                    self._clients.pop(0).close()
            return self._clients[-1][self._database][self._name]

    def _connect(self, url: str) -> Any:
        try:
            from pymongo import MongoClient  # noqa: PLC0415
        except ImportError as exc:
            raise StoreRejected(f"{exc}: install provenance-chains with its extra mongo") from exc
        milliseconds = int(self._options.timeout * 1000)
        return MongoClient(
            url,
            appname="provenance-chains",
            w="majority",
            serverSelectionTimeoutMS=milliseconds,
            timeoutMS=milliseconds,
        )
