"""The port every store implements, and the settings that more than one store reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

from storage.errors import StoreRejected
from storage.limits.circuits import Circuits
from storage.record import Findings, ListedRun, Origin, Record, Stored

BOTH_FORMS = "both"
FORM_A = "dsse"
FORM_B = "sigstore-bundle"


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Settings that more than one store reads; unset ones have the defaults shown."""

    encoding_format: str = BOTH_FORMS
    """``dsse`` (form A), ``sigstore-bundle`` (form B) or ``both``: key ``storage.oci.encoding-format``."""
    repository: str = ""
    """One repository for all ``.att`` and ``.sig`` tags: key ``storage.oci.repository``; empty means the
    subject's own. It may have placeholders, see :mod:`storage.formats.repository_template`. Bundles stay
    beside their image, as with Tekton Chains, unless ``bundles_in_repository``."""
    bundles_in_repository: bool = False
    """Bundles go into ``repository`` too: key ``storage.oci.bundles-in-repository``."""
    insecure: bool = False
    """Plain HTTP or unverified TLS allowed: key ``storage.oci.repository.insecure``."""
    ca_file: str = ""
    """PEM file of further CAs, added to the system's: key ``storage.oci.ca-file``."""
    timeout: float = 30.0
    """Seconds that one request may take."""
    attempts: int = 4
    """Tries of a request that failed for a transient reason."""
    circuits: Circuits | None = field(default=None, repr=False, compare=False)
    """Which hosts answer; without it each request finds out for itself."""
    fsync: bool = False
    """Folders alone: receipts also survive a power cut, for a few milliseconds per flush and record."""
    mongo_server_url: str = field(default="", repr=False)
    """MongoDB alone: server with its password: key ``storage.docdb.mongo-server-url``."""
    mongo_server_url_dir: str = ""
    """MongoDB alone: folder of a file ``MONGO_SERVER_URL``: key ``storage.docdb.mongo-server-url-dir``."""
    mongo_server_url_path: str = ""
    """MongoDB alone: file that holds it, wins over both: key ``storage.docdb.mongo-server-url-path``."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One thing that :meth:`Store.probe` tried: what, how it went, and what to do next where it went wrong.

    No text holds a credential.
    """

    what: str
    state: Literal["ok", "warning", "failed", "skipped"]
    detail: str
    next_step: str = ""


def checked_format(options: StoreOptions) -> None:
    """Raise :class:`StoreRejected` when ``options.encoding_format`` is none that there is."""
    known = (FORM_A, FORM_B, BOTH_FORMS)
    if options.encoding_format not in known:
        named = f"unknown storage.oci.encoding-format {options.encoding_format!r}"
        raise StoreRejected(f"{named}: expected one of {', '.join(known)}")


class Store(ABC):
    """A place for records. Use as ``async with``; calls may run concurrently.

    A receipt from :meth:`put` counts only after :meth:`flush` returned: a store may write its index in
    batches.
    """

    url: str

    def wants(self, form: str) -> bool:
        """Whether the store keeps :data:`FORM_A` or :data:`FORM_B` of records: the other need not be made."""
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
        """Store one record in every form and for every subject this store serves.

        Never raises :class:`StoreError`: each form and subject ends as a receipt or a failure. Storing the
        same record again leaves equal bytes and gives receipts with ``changed`` false.
        """

    @abstractmethod
    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return everything stored about the subject ``digest`` (``sha256:hex``).

        ``reference`` is the subject's repository (``registry/repository``) where the store needs it. Raises
        :class:`StoreUnavailable` when it cannot tell, never an empty answer for that.
        """

    async def lacks(self, digest: str, reference: str) -> bool:
        """Whether :data:`FORM_B` of a record about ``digest`` cannot be stored yet, for want of its subject.

        ``reference`` is the subject's name. False where the store cannot tell: :meth:`put` will.
        """
        del digest, reference
        return False

    def within(self, origin: Origin) -> Store:
        """Return this store to search for what came from ``origin``, whose fields may be empty.

        It differs only where the place of evidence depends on its run; it needs no closing of its own.
        """
        del origin
        return self

    async def find_run(self, uid: str) -> Findings:
        """Return everything stored that came from the run ``uid``, where the store can tell; else nothing."""
        del uid
        return Findings()

    async def platforms(self, digest: str, reference: str) -> tuple[str, ...] | None:
        """Return the digests of the images that the image index ``digest`` in ``reference`` lists.

        Empty for an image of one platform, None from a store that knows no images. Raises
        :class:`SubjectAbsent` when it does not have the image, :class:`StoreUnavailable` when it cannot tell.
        """
        del digest, reference
        return None

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Try what :meth:`put` needs (reach, credentials, the right to write) and leave nothing behind.

        ``places`` are repositories to try, for stores that write beside each subject. Never raises
        :class:`StoreError`: what fails is told. Empty where opening the store was all there is to try.
        """
        del places
        return []

    def list_runs(self, since: str = "", until: str = "") -> AsyncIterator[ListedRun]:
        """Yield the runs that ended at ``since`` or later and before ``until``, each once, in no fixed order.

        Both are RFC 3339 in UTC (``2026-01-02T03:04:05Z``) or empty. A store that only knows days yields all
        runs of the days touched; runs of unknown time come when ``since`` is empty. Raises
        :class:`StoreRejected` where a store cannot list: registries, and the annotations of runs.
        """
        del since, until
        raise StoreRejected(f"{self.url} cannot list its runs: ask for a digest")

    async def flush(self) -> None:  # noqa: B027 - most stores have nothing to flush
        """Make every record put so far findable. Raises :class:`StoreError`; then no receipt since the last
        flush counts."""

    async def close(self) -> None:
        """Flush and release connections and files."""
        await self.flush()
