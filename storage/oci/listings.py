"""Checks whether a registry lists what was written. A receipt for a bundle means that readers find it.

Readers use the referrers API and the index under the tag ``sha256-<hex>``
(https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers). Some registries
answer the API with an empty index and store a manifest as if it had no subject. Others send ``OCI-Subject``
and list nothing. So the list itself is read after a write. The result is remembered per repository for a
while. A repository whose API does not list the manifest gets the index instead.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from cachetools import LRUCache

from storage.formats.reference import Repository
from storage.limits.single_flight import InFlight
from storage.oci.registry import RegistryClient

SHOWN_FOR, TOLD_FOR = 60.0, 3600.0
"""Seconds for which a repository that listed an entry is not checked again; longer if it sends
``OCI-Subject``."""
NOT_SHOWN_FOR = 3600.0
"""Seconds after which a repository that did not list its entry is checked again. It may have been
upgraded."""
PAUSES = (0.1, 0.4, 1.0)
"""Seconds before the list is read again if the registry sent ``OCI-Subject``. Some registries list with a
delay."""
MOST_REPOSITORIES = 4096
"""The most repositories that are remembered."""
MOST_LISTED = 10_000
"""The most entries of a list that are read."""
MOST_GOOD = 4096
"""The most manifests that are remembered as listed, so that a repeated call does not check them again."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """The result of a check.

    ``shows``: the API lists new manifests. ``told``: the registry sent ``OCI-Subject``. It counts until the
    monotonic time ``until``.
    """

    shows: bool
    told: bool
    until: float


class Listings:
    """What is known about repositories. Instances with ``shared_with`` share it."""

    def __init__(self, client: RegistryClient, shared_with: Listings | None = None) -> None:
        self._client = client
        self._known: LRUCache[Repository, _Verdict] = (
            shared_with._known if shared_with else LRUCache(MOST_REPOSITORIES)
        )
        self._good: LRUCache[tuple[Repository, str], bool] = (
            shared_with._good if shared_with else LRUCache(MOST_GOOD)
        )
        self._proving: InFlight[Repository, bool] = InFlight()
        self._looking: InFlight[tuple[Repository, str], frozenset[str] | None] = InFlight()

    async def shows(
        self, repository: Repository, subject: str, digest: str, *, told: bool, written: bool
    ) -> bool:
        """Whether the referrers API lists the manifest ``digest`` of ``subject``, both ``sha256:hex``.

        ``told``: the answer to the write had ``OCI-Subject``. ``written`` is False if the manifest existed
        before; then its listing says nothing about new ones. Raises :class:`StoreError`.
        """
        shown = await self._shows(repository, subject, digest, told=told, written=written)
        if shown:
            self._good[repository, digest] = True
        return shown

    async def _shows(
        self, repository: Repository, subject: str, digest: str, *, told: bool, written: bool
    ) -> bool:
        known = self._known.get(repository)
        if known is not None and known.until > time.monotonic():
            if not known.shows:
                return False
            # A registry that sent OCI-Subject before and does not now has changed: check again.
            if written and (told or not known.told):
                return True
        if written:
            return await self._proving.run(repository, lambda: self._prove(repository, subject, digest, told))
        if (repository, digest) in self._good:
            return True
        listed = await self._looking.run((repository, subject), lambda: self._listed(repository, subject))
        return listed is not None and digest in listed

    async def _prove(self, repository: Repository, subject: str, digest: str, told: bool) -> bool:
        """Read the list after a write, several times if ``told``, and remember the result."""
        listed = await self._listed(repository, subject)
        # Only a registry that says it understood the subject is given time to update its list.
        for pause in PAUSES if told else ():
            if listed is None or digest in listed:
                break
            await asyncio.sleep(pause)
            listed = await self._listed(repository, subject)
        shows = listed is not None and digest in listed
        life = NOT_SHOWN_FOR if not shows else TOLD_FOR if told else SHOWN_FOR
        self._known[repository] = _Verdict(shows, told, time.monotonic() + life)
        return shows

    async def _listed(self, repository: Repository, subject: str) -> frozenset[str] | None:
        """Return the digests that the API lists; None if there is no API."""
        page = await self._client.referrers(repository, subject, MOST_LISTED, push=True)
        if page is None:
            return None
        return frozenset(entry.digest for entry in page.descriptors)
