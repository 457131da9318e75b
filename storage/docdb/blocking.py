"""Collections whose client library blocks: its calls run in threads, several documents with one request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from storage.docdb.documents import Document, same
from storage.errors import StoreError
from storage.threads import Blocking


class BlockingCollection(ABC):
    """A :class:`storage.docdb.store.Collection` made of calls that block and raise what the library raises.

    These databases find a document by its index alone.
    """

    marks: Document = MappingProxyType({})

    def __init__(self) -> None:
        self._threads = Blocking("docdb", self.explain)

    @abstractmethod
    def read(self, names: Sequence[str]) -> Mapping[str, Document]:
        """Return those of these documents that are there, by name, with one request."""

    @abstractmethod
    def write(self, documents: Sequence[Document]) -> None:
        """Make or replace documents, in this order or all together, with one request."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Delete a document, if it is there."""

    @abstractmethod
    def search(self, field: str, value: str) -> list[str]:
        """Return the names of the documents whose index has ``value`` as or in ``field``."""

    def signed(self, digest: str) -> list[str]:
        """Return the names of Chains' documents about ``digest``, where the database can tell."""
        del digest
        return []

    @abstractmethod
    def list_names(self) -> list[str]:
        """Return the names of all documents."""

    @abstractmethod
    def explain(self, error: Exception, action: str) -> StoreError:
        """Return the port's error for what the library raised."""

    @abstractmethod
    def disconnect(self) -> None:
        """Release connections; a later call opens them again."""

    async def get(self, names: Sequence[str], action: str) -> dict[str, Document]:
        """Return those of these documents that are there, by name."""
        return dict(await self._threads.run(action, lambda: self.read(names))) if names else {}

    async def replace(self, documents: Sequence[Document], action: str) -> set[str]:
        """Make or replace documents; return the names of those that were not there with these values."""

        def work() -> set[str]:
            there = self.read([str(one["Name"]) for one in documents])
            wanted = [one for one in documents if not same(there.get(str(one["Name"])), one)]
            if wanted:
                self.write(wanted)
            return {str(one["Name"]) for one in wanted}

        return await self._threads.run(action, work)

    async def lead(self, name: str, digests: Sequence[str], run: str, action: str) -> list[str]:
        """Do nothing: the index is searched itself."""
        del name, digests, run, action
        return []

    async def delete(self, name: str, action: str) -> None:
        """Delete a document, if it is there."""
        await self._threads.run(action, lambda: self.remove(name))

    async def about(self, digest: str, action: str) -> list[str]:
        """Return the names of documents about ``digest``."""
        return await self._threads.run(
            action, lambda: [*self.search("Subjects", digest), *self.signed(digest)]
        )

    async def of_run(self, run: str, action: str) -> list[str]:
        """Return the names of documents that ours say came from ``run``."""
        return await self._threads.run(action, lambda: self.search("Run", run))

    async def rest(self, digest: str, run: str, found: Sequence[Document], action: str) -> list[str]:
        """Return nothing: a search finds all."""
        del digest, run, found, action
        return []

    async def names(self, action: str) -> list[str]:
        """Return the names of all documents."""
        return await self._threads.run(action, self.list_names)

    async def close(self) -> None:
        """Release threads and connections; a later call opens them again."""
        await self._threads.close()
        self.disconnect()
