"""Finds disposition records in stores, and believes those alone that a key for them has signed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from chains.audit.ledger.seal import verify_seal
from chains.audit.retention.record import DispositionRecord, uid_digest
from chains.errors import EvidenceError
from chains.statements.statement import DISPOSITION, parse_statement
from signers.errors import SignerError
from signers.formats.bundle import Bundle, build_bundle
from signers.formats.dsse import Envelope
from signers.keys.keyset import ListedKey
from storage.base import Store
from storage.errors import StoreError
from storage.record import Evidence

if TYPE_CHECKING:
    from chains.revocation.revocations import Revocations
    from signers.sigstore.trusted_root import TrustedRoot


_FOLDERS = frozenset(("file", "oci-layout"))
"""Schemes whose URLs end with a path of this machine."""


@dataclass(frozen=True, slots=True)
class Disposed:
    """A record that counts, and who signed it."""

    record: DispositionRecord
    signer: str

    @property
    def words(self) -> str:
        """When, by whom and why, in one line."""
        one = self.record
        return (
            f"disposed of at {one.decided.strftime('%Y-%m-%dT%H:%M:%SZ')}, approved by {one.approved_by}: "
            f"{one.reason} (signed by {self.signer})"
        )


@dataclass
class Dispositions:
    """The records in some stores. ``keys`` may sign records; none of ``run_keys``, which sign evidence, may.

    A key that ``revocations`` strikes may not, either.
    ``problems`` has each store that did not answer, in words.
    """

    stores: Sequence[Store]
    keys: Sequence[ListedKey]
    now: datetime
    root: TrustedRoot | None = None
    run_keys: AbstractSet[str] = frozenset()
    revocations: Revocations | None = None
    problems: list[str] = field(default_factory=list)

    async def of_run(self, uid: str, types: Collection[str]) -> Disposed | None:
        """Return a record that counts of evidence of a run with one of the predicate types, None without one.

        A record of other evidence of the run, such as its execution report, says nothing about these. Neither
        does one that was copied here: it tells what another store lost.
        """
        async for place, found in self._about(uid_digest(uid)):
            if is_same_store(found.record.store, place) and any(
                one.signed_uid == uid and one.predicate_type in types for one in found.record.pieces
            ):
                return found
        return None

    async def of_piece(self, store: str, digest: str, location: str, uid: str) -> Disposed | None:
        """Return a record that counts of a piece of evidence that was in a store, None without one.

        It names the piece by its digest or location. ``uid`` is the run's, empty if that is not known.
        """
        for subject in filter(None, (digest, uid and uid_digest(uid))):
            async for _, found in self._about(subject):
                if is_same_store(found.record.store, store) and found.record.names(digest, location):
                    return found
        return None

    async def _about(self, subject: str) -> AsyncIterator[tuple[str, Disposed]]:
        """Yield the records about a subject, each with the URL of the store that has it."""
        if not self.keys:
            return
        for store in self.stores:
            if not store.can_delete:
                continue  # a record is stored where the evidence was, so there is none
            try:
                evidence = (await store.find(subject)).evidence
            except StoreError as error:
                self.problems.append(f"{store.url} was not asked for disposition records: {error}")
                continue
            for one in evidence:
                found = self.read(one)
                if found is not None:
                    yield store.url, found

    def read(self, evidence: Evidence) -> Disposed | None:
        """Return the record in a piece of evidence; None for anything else, and if it does not count."""
        if not is_disposition(evidence):
            return None
        try:
            bundle = _bundle_of(evidence)
            seal = verify_seal(bundle, self.keys, self.now, self.root)
            record = DispositionRecord.from_bytes(bundle.envelope.payload)
        except (SignerError, EvidenceError):
            return None
        # a report counts in whole seconds
        decided = record.decided.replace(microsecond=0)
        if seal.keyid in self.run_keys or record.too_early or decided > self.now:
            return None
        times = [seal.moment] if seal.moment is not None else []
        if self.revocations is not None and self.revocations.key(seal.keyid, times) is not None:
            return None
        return Disposed(record, seal.keyid)


def is_same_store(url: str, other: str) -> bool:
    """Whether two URLs name one store; a folder may be named by a relative path."""
    return absolute(url) == absolute(other)


def absolute(url: str) -> str:
    """Return the URL of a store with the whole path of its folder, if it is one."""
    scheme, colon, path = url.partition(":")
    return f"{scheme}:{os.path.realpath(path)}" if colon and scheme in _FOLDERS and path else url


def is_disposition(evidence: Evidence) -> bool:
    """Whether stored bytes are a disposition record, whoever signed it."""
    try:
        return parse_statement(_bundle_of(evidence).envelope.payload).predicate_type == DISPOSITION
    except (SignerError, EvidenceError):
        return False


def _bundle_of(evidence: Evidence) -> Bundle:
    """Return the bundle; an envelope alone becomes one. Raises :class:`SignerError`."""
    if evidence.is_bundle:
        return Bundle.from_bytes(evidence.data)
    envelope = Envelope.from_bytes(evidence.data)
    return Bundle.from_bytes(build_bundle(envelope, next((one.keyid for one in envelope.signatures), "")))
