"""Whether a registry lists what was written: a receipt for a bundle means that readers find it.

Readers ask the referrers API and read the index under the tag ``sha256-<hex>``
(https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers). Some registries
answer the API with an empty index and take a manifest as if it had no subject; others say ``OCI-Subject``
and list nothing. So the list itself is looked at after a write. A repository that showed one entry is
believed for a while, longer where its answers carry ``OCI-Subject``; one that did not gets the index instead.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from storage.formats.reference import Repository
from storage.limits.bounded import Bounded
from storage.limits.single_flight import InFlight
from storage.oci.registry import RegistryClient

SHOWN_FOR, TOLD_FOR = 60.0, 3600.0
"""Seconds that a repository which showed an entry is believed; the longer where it says ``OCI-Subject``."""
NOT_SHOWN_FOR = 3600.0
"""Seconds after which one that did not is asked again: it may have been upgraded."""
PAUSES = (0.1, 0.4, 1.0)
"""Before further looks at the list of a registry that said ``OCI-Subject``: some list a little later."""
MOST_REPOSITORIES = 4096
MOST_LISTED = 10_000
MOST_GOOD = 4096
"""Manifests remembered as listed, so that a repeated call does not ask again."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    shows: bool
    told: bool
    until: float


class Listings:
    """What is known of repositories; one ``shared_with`` another shares it."""

    def __init__(self, client: RegistryClient, shared_with: Listings | None = None) -> None:
        self._client = client
        self._known: Bounded[Repository, _Verdict] = (
            shared_with._known if shared_with else Bounded(MOST_REPOSITORIES)
        )
        self._good: Bounded[tuple[Repository, str], bool] = (
            shared_with._good if shared_with else Bounded(MOST_GOOD)
        )
        self._proving: InFlight[Repository, bool] = InFlight()
        self._looking: InFlight[tuple[Repository, str], frozenset[str] | None] = InFlight()

    async def shows(
        self, repository: Repository, subject: str, digest: str, *, told: bool, written: bool
    ) -> bool:
        """Whether the referrers API lists the manifest ``digest`` of ``subject``, both ``sha256:hex``.

        ``told`` when the answer to the write carried ``OCI-Subject``; not ``written`` when the manifest was
        there before, which says nothing about how it was taken. Raises :class:`StoreError`.
        """
        shown = await self._shows(repository, subject, digest, told=told, written=written)
        if shown:
            self._good.put((repository, digest), True)
        return shown

    async def _shows(
        self, repository: Repository, subject: str, digest: str, *, told: bool, written: bool
    ) -> bool:
        known = self._known.get(repository)
        if known is not None and known.until > time.monotonic():
            if not known.shows:
                return False
            if written and (told or not known.told):
                return True
        if written:
            return await self._proving.run(repository, lambda: self._prove(repository, subject, digest, told))
        if (repository, digest) in self._good:
            return True
        listed = await self._looking.run((repository, subject), lambda: self._listed(repository, subject))
        return listed is not None and digest in listed

    async def _prove(self, repository: Repository, subject: str, digest: str, told: bool) -> bool:
        listed = await self._listed(repository, subject)
        for pause in PAUSES if told else ():
            if listed is None or digest in listed:
                break
            await asyncio.sleep(pause)
            listed = await self._listed(repository, subject)
        shows = listed is not None and digest in listed
        life = NOT_SHOWN_FOR if not shows else TOLD_FOR if told else SHOWN_FOR
        self._known.put(repository, _Verdict(shows, told, time.monotonic() + life))
        return shows

    async def _listed(self, repository: Repository, subject: str) -> frozenset[str] | None:
        page = await self._client.referrers(repository, subject, MOST_LISTED, push=True)
        if page is None:
            return None
        return frozenset(entry.digest for entry in page.descriptors)
