"""The port that every store implements, and the settings that several stores read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Literal, Self

from storage.errors import StoreRejected
from storage.limits.circuits import Circuits
from storage.locks import Doomed, LockState, ObjectLock, Protection, Removed
from storage.parts import Part, read_each
from storage.record import Evidence, Findings, ListedRun, Origin, Platform, Record, Stored

BOTH_FORMS = "both"
FORM_A = "dsse"
FORM_B = "sigstore-bundle"


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Settings that several stores read, with their defaults."""

    encoding_format: str = BOTH_FORMS
    """``dsse`` (form A), ``sigstore-bundle`` (form B) or ``both``. Key ``storage.oci.encoding-format``."""
    repository: str = ""
    """One repository for all ``.att`` and ``.sig`` tags; empty means the subject's own. It may have
    placeholders, see :mod:`storage.formats.repository_template`. Bundles stay in the image's repository, as
    Tekton Chains does it, unless ``bundles_in_repository`` is set. Key ``storage.oci.repository``."""
    bundles_in_repository: bool = False
    """Whether bundles are stored in ``repository`` too. Key ``storage.oci.bundles-in-repository``."""
    insecure: bool = False
    """Whether plain HTTP and unverified TLS are allowed. Key ``storage.oci.repository.insecure``."""
    ca_file: str = ""
    """A PEM file with CAs that are trusted in addition to the system's. Key ``storage.oci.ca-file``."""
    timeout: float = 30.0
    """The time limit of one request in seconds."""
    attempts: int = 4
    """How often a request is sent in all if it fails for a transient reason."""
    circuits: Circuits | None = field(default=None, repr=False, compare=False)
    """The shared state of hosts that do not answer. Without it every request waits for its own timeout."""
    fsync: bool = False
    """Folders only: receipts also survive a power failure. Costs a few milliseconds per flush and record."""
    mongo_server_url: str = field(default="", repr=False)
    """MongoDB only: server URL with password. Key ``storage.docdb.mongo-server-url``."""
    mongo_server_url_dir: str = ""
    """MongoDB only: folder with a file ``MONGO_SERVER_URL``. Key ``storage.docdb.mongo-server-url-dir``."""
    mongo_server_url_path: str = ""
    """MongoDB only: file with the server URL; takes precedence over the other two. Key
    ``storage.docdb.mongo-server-url-path``."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of one trial by :meth:`Store.probe`, with the next step if it failed.

    No text contains a credential.
    """

    what: str
    state: Literal["ok", "warning", "failed", "skipped"]
    detail: str
    next_step: str = ""


def checked_format(options: StoreOptions) -> None:
    """Raise :class:`StoreRejected` if ``options.encoding_format`` is unknown."""
    known = (FORM_A, FORM_B, BOTH_FORMS)
    if options.encoding_format not in known:
        named = f"unknown storage.oci.encoding-format {options.encoding_format!r}"
        raise StoreRejected(f"{named}: expected one of {', '.join(known)}")


async def _nothing() -> AsyncIterator[Removed]:
    nothing: tuple[Removed, ...] = ()
    for one in nothing:
        yield one


class Store(ABC):
    """A place for records. Use it with ``async with``. Methods may run concurrently.

    A receipt from :meth:`put` is valid only after :meth:`flush` returned, because a store may write its index
    in batches.
    """

    url: str
    unseen: str = ""
    """What :meth:`scan` cannot find although the store has it, in words; empty if it finds everything."""

    def wants(self, form: str) -> bool:
        """Whether the store keeps :data:`FORM_A` or :data:`FORM_B`.

        A form that no store wants is not made.
        """
        del form
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @abstractmethod
    async def put(self, record: Record) -> Stored:
        """Store one record, in every form and for every subject that this store serves.

        Never raises :class:`StoreError`: every form and subject ends as a receipt or a failure. Storing the
        same record again leaves equal bytes and returns receipts with ``changed`` false.
        """

    @abstractmethod
    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return everything that is stored about the subject ``digest`` (``sha256:hex``).

        ``reference`` is the subject's repository (``registry/repository``), for stores that need it. Raises
        :class:`StoreUnavailable` if the store cannot answer; it never returns an empty result instead.
        """

    async def lacks(self, digest: str, reference: str) -> bool:
        """Whether :data:`FORM_B` for ``digest`` cannot be stored yet because its subject is absent.

        ``reference`` is the subject's name. Returns False if the store cannot tell; :meth:`put` then finds
        out.
        """
        del digest, reference
        return False

    def within(self, origin: Origin) -> Store:
        """Return this store for a search for evidence from ``origin``, whose fields may be empty.

        The result differs from this store only if the place of evidence depends on the run. It must not be
        closed separately.
        """
        del origin
        return self

    async def find_run(self, uid: str) -> Findings:
        """Return everything stored from the run ``uid``; nothing if the store cannot search by run."""
        del uid
        return Findings()

    async def platforms(self, digest: str, reference: str) -> tuple[Platform, ...] | None:
        """Return the images that the image index ``digest`` in ``reference`` lists.

        The result is empty for an image of one platform, and None from a store without images. Raises
        :class:`SubjectAbsent` if the store does not have the image, :class:`StoreUnavailable` if it cannot
        answer.
        """
        del digest, reference
        return None

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Try everything :meth:`put` needs (connection, credentials, write access) and leave nothing behind.

        ``places`` are repositories to try, for stores that write next to each subject. Never raises
        :class:`StoreError`: the result reports what fails. It is empty if there is nothing to try besides
        opening the store.
        """
        del places
        return []

    def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield each run that ended at or after ``since`` and before ``until`` once, in no fixed order.

        Both are RFC 3339 times in UTC (``2026-01-02T03:04:05Z``) or empty. A store that knows only the day of
        a run yields all runs of the days in that period. Runs with an unknown end are included if ``since``
        is empty. Raises :class:`StoreRejected` if the store cannot list runs (registries, annotations).
        """
        del since, until
        raise StoreRejected(f"{self.url} cannot list its runs: ask for a digest")

    async def scan(self) -> AsyncIterator[Part]:
        """Yield all evidence of the store in parts, each of one run or artifact, in no fixed order.

        The same evidence may be in several parts. What cannot be read is listed as skipped. Raises
        :class:`StoreRejected` if the store cannot list what it has, :class:`StoreUnavailable` if it does not
        answer; parts that were yielded before are right, but not everything.
        """
        uids = [run.origin.uid async for run in self.list_runs()]
        async for part in read_each(uids, self.find_run):
            yield part

    def scan_new(self, is_known: Callable[[str], bool]) -> AsyncIterator[Part]:
        """Yield all evidence as :meth:`scan` does, as far as the caller does not know it.

        ``is_known`` says of a location whether everything there was read before. Only a store that can tell
        without reading that nothing at a location has changed leaves it out; the part is then empty.
        """
        del is_known
        return self.scan()

    async def protection(self) -> Protection:
        """Return how the store as a whole protects what it has. Raises :class:`StoreError`."""
        return Protection(LockState.UNKNOWN, "this program cannot ask this store for locks")

    async def locks(self, evidence: Evidence, subjects: Sequence[str] = ()) -> tuple[ObjectLock, ...]:
        """Return every object that a piece of evidence consists of or is found by, with its lock.

        ``subjects`` are ``algorithm:hex`` of what the evidence is about: a store may have objects that lead
        from them to it. Locks are read from the store now. Raises :class:`StoreError`.
        """
        del subjects
        found = await self.protection()
        return (ObjectLock(evidence.location, state=found.state, detail=found.detail),)

    async def lengthen(self, lock: ObjectLock, mode: str, until: datetime | None, *, hold: bool) -> None:
        """Lock an object in this mode until this time, and with ``hold`` set a legal hold; None: no change.

        A lock never becomes shorter or weaker, and no legal hold is lifted. Raises :class:`StoreError`.
        """
        del lock, mode, until, hold
        raise StoreRejected(f"{self.url} has no locks that this program can set")

    can_delete = False
    """Whether :meth:`delete` can delete evidence."""

    async def delete(self, pieces: Sequence[Doomed]) -> list[str]:
        """Delete evidence with everything that belongs or leads to it. Return why each is still there.

        The reason is empty for a piece that is gone, also if it was gone before: what an earlier call left
        undone is done. A lock is never lifted; a piece of which an object is locked stays whole. Never raises
        :class:`StoreError`. Only who wrote and stored a record of it before may call this.
        """
        return [f"{self.url}: evidence here cannot be deleted by this program"] * len(pieces)

    def removed(self) -> AsyncIterator[Removed]:
        """Yield the evidence that was deleted, as far as the store still knows that; nothing if it does not.

        Raises :class:`StoreError`.
        """
        return _nothing()

    async def flush(self) -> None:  # noqa: B027 - most stores have nothing to flush
        """Make every record put so far findable.

        Raises :class:`StoreError`; then no receipt since the last flush is valid.
        """

    async def close(self) -> None:
        """Flush, then release connections and files."""
        await self.flush()
