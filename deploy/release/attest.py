"""Signs the statements about artifacts with this project's own signers, and stores them in its own stores."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from chains import Statement
from chains.assembly.workspace import load_settings, open_sealers_for
from chains.config.parse import is_keyless
from chains.terminal import say
from deploy.release.artifacts import Artifact
from deploy.release.errors import ReleaseError
from deploy.release.source import Source
from signers import SignerError
from signers.sealer import Sealer
from storage import Record, StoreError, open_store
from storage.record import IN_TOTO_PAYLOAD_TYPE, Origin, Subject

EVIDENCE = "evidence"
"""The OCI image layout with all attestations, beside the artifacts."""
KIND = "release"
"""The kind of their origin in stores, where runs have ``taskrun``."""


class Attestor:
    """The signer of a release: one key. A configuration of the controller may add a log and timestamps."""

    def __init__(self, key: str, config: str = "", password_file: str = "") -> None:
        settings = load_settings(config)
        if not key and not settings.given:
            raise ReleaseError("nobody signs: pass --key REF, or --config FILE of a set-up with a key")
        if not key and is_keyless(settings.config):
            raise ReleaseError("keyless signing has no public key to publish: pass --key REF")
        found = open_sealers_for(settings.config, key, password_file, tell=say)
        sealers: list[Sealer] = list({one.identity: one for one in found.values()}.values())
        if len(sealers) != 1:
            raise ReleaseError(f"{len(sealers)} signers: a release has one, pass --key REF")
        self._sealer = sealers[0]
        log = settings.config.transparency
        self._log = log.enabled and not log.manual

    @property
    def identity(self) -> str:
        """The fingerprint of the key."""
        return self._sealer.identity

    def sign(self, statement: Statement, artifact: Artifact, source: Source) -> Record:
        """Return the signed statement as stores take it. Raises :class:`ReleaseError`."""
        payload = statement.to_bytes()
        try:
            sealed = self._sealer.seal_now(payload, IN_TOTO_PAYLOAD_TYPE, log=self._log)
        except SignerError as error:
            raise ReleaseError(
                f"{artifact.name}: {statement.predicate_type} cannot be signed: {error}"
            ) from error
        return Record(
            origin=Origin(KIND, "", source.version, str(UUID(bytes=hashlib.sha256(payload).digest()[:16]))),
            subjects=tuple(Subject(one.name, dict(one.digest or {})) for one in statement.subjects),
            payload=payload,
            payload_type=IN_TOTO_PAYLOAD_TYPE,
            predicate_type=statement.predicate_type,
            bundle=sealed.bundle,
            envelope=sealed.envelope,
            created=source.moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            certificate=sealed.certificate,
            chain=sealed.chain,
            annotations=sealed.annotations,
        )

    def public_pem(self) -> bytes:
        """Return the public key."""
        return self._sealer.signer.public_pem

    def close(self) -> None:
        """Release the signer."""
        self._sealer.close()


def store(records: Sequence[Record], folder: Path) -> None:
    """Put all records into the layout ``evidence/`` of the release. Raises :class:`ReleaseError`."""
    asyncio.run(_store(records, folder / EVIDENCE))


async def _store(records: Sequence[Record], path: Path) -> None:
    async with open_store(f"oci-layout:{path}") as opened:
        try:
            for record in records:
                stored = await opened.put(record)
                for failure in stored.failures:
                    raise ReleaseError(f"{opened.url}: {failure.reason}")
            await opened.flush()
        except StoreError as error:
            raise ReleaseError(f"{opened.url}: {error}") from error
