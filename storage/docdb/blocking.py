"""Base class for collections whose client library blocks. Calls run in threads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from storage.docdb.documents import Document, same
from storage.errors import StoreError
from storage.threads import Blocking


class BlockingCollection(ABC):
    """A :class:`storage.docdb.store.Collection` made of methods that block and raise the library's errors.

    These databases have an index, so a search needs nothing besides the documents themselves.
    """

    marks: Document = MappingProxyType({})

    def __init__(self) -> None:
        self._threads = Blocking("docdb", self.explain)

    @abstractmethod
    def read(self, names: Sequence[str]) -> Mapping[str, Document]:
        """Return those of the documents that exist, by name, with one request."""

    @abstractmethod
    def write(self, documents: Sequence[Document]) -> None:
        """Create or replace documents with one request, in this order or all at once."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a document if it exists."""

    @abstractmethod
    def search(self, field: str, value: str) -> list[str]:
        """Return the names of the documents whose index document has ``value`` in ``field``."""

    def signed(self, digest: str) -> list[str]:
        """Return the names of Chains' documents about ``digest``, if the database can search them."""
        del digest
        return []

    @abstractmethod
    def list_names(self) -> list[str]:
        """Return the names of all documents."""

    @abstractmethod
    def explain(self, error: Exception, action: str) -> StoreError:
        """Return the :class:`StoreError` for an exception of the library."""

    @abstractmethod
    def disconnect(self) -> None:
        """Release connections. A later call opens new ones."""

    async def get(self, names: Sequence[str], action: str) -> dict[str, Document]:
        """Return those of the documents that exist, by name."""
        return dict(await self._threads.run(action, lambda: self.read(names))) if names else {}

    async def replace(self, documents: Sequence[Document], action: str) -> set[str]:
        """Create or replace documents; return the names of those that changed."""

        def work() -> set[str]:
            stored = self.read([str(document["Name"]) for document in documents])
            wanted = [
                document for document in documents if not same(stored.get(str(document["Name"])), document)
            ]
            if wanted:
                # Only what differs is written, so a repeated call changes nothing.
                self.write(wanted)
            return {str(document["Name"]) for document in wanted}

        return await self._threads.run(action, work)

    async def lead(self, name: str, digests: Sequence[str], run: str, action: str) -> list[str]:
        """Do nothing: these databases search the index documents directly."""
        del name, digests, run, action
        return []

    async def delete(self, name: str, action: str) -> None:
        """Delete a document if it exists."""
        await self._threads.run(action, lambda: self.remove(name))

    async def about(self, digest: str, action: str) -> list[str]:
        """Return the names of documents about ``digest``."""
        return await self._threads.run(
            action, lambda: [*self.search("Subjects", digest), *self.signed(digest)]
        )

    async def of_run(self, run: str, action: str) -> list[str]:
        """Return the names of documents whose index documents name the run ``run``."""
        return await self._threads.run(action, lambda: self.search("Run", run))

    async def rest(self, digest: str, run: str, indexes: Sequence[Document], action: str) -> list[str]:
        """Return nothing: a search misses nothing."""
        del digest, run, indexes, action
        return []

    async def names(self, action: str) -> list[str]:
        """Return the names of all documents."""
        return await self._threads.run(action, self.list_names)

    async def close(self) -> None:
        """Release threads and connections. A later call opens new ones."""
        await self._threads.close()
        self.disconnect()
