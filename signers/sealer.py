"""Seals a payload: makes its envelope and bundle, with the verification material that is configured.

This module seals with a key alone. Certificates, timestamps and log entries are added by
:mod:`signers.sigstore.sealer`, which is imported only where they are configured.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from cachetools import FIFOCache

from signers.base import Signer
from signers.errors import FormatError, VerificationError
from signers.formats.bundle import Bundle, build_bundle
from signers.formats.dsse import Envelope, Signature, pae, sign_payload
from signers.keys.public_key import PublicKey
from signers.strict_json import decode_base64

KEPT_BYTES = 8 * 1024 * 1024
"""The most bytes of recent seals that are kept in memory. A retry then returns the same seal and makes no
second log entry."""
AT_ONCE = 100
"""The number of threads that seal. Rekor v2 answers after about a second whatever the load, so many requests
wait side by side."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Material:
    """The verification material of one signature. A field is empty where there is none."""

    certificate: bytes = b""
    """The signer's certificate, DER."""
    timestamp: bytes = b""
    """An RFC 3161 response over the signature, DER."""
    outer_timestamp: bytes = b""
    """An RFC 3161 response over the whole envelope, DER. Cosign expects this one where an envelope is stored
    outside a bundle."""
    entry: Mapping[str, object] = field(default_factory=dict)
    """A ``TransparencyLogEntry`` as JSON."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A signature with its verification material. ``envelope`` and ``bundle`` are empty for bare data."""

    signature: bytes
    envelope: bytes = b""
    bundle: bytes = b""
    certificate: bytes = b""
    """The signer's certificate, PEM; empty for a key without one."""
    chain: bytes = b""
    """The other certificates, PEM, from the issuer to the root."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """The annotations of an image layer with this signature, besides signature and certificate."""
    entry_url: str = ""
    """The URL of the log entry; empty when there is none."""

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        return len(self.bundle) + len(self.envelope) + len(self.certificate) + len(self.chain) + 1024


def _name(payload_type: str, payload: bytes, *, log: bool) -> bytes:
    """Return the cache key of a payload. ``log`` is part of it: with a log the seal is another one."""
    return hashlib.sha256(b"%d %b" % (log, pae(payload_type, payload))).digest()


class Sealer:
    """Seals with one key and no further verification material. Safe to use from several threads."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self._pool: ThreadPoolExecutor | None = None
        # One that is larger than the limit counts as the limit: it is kept alone.
        self._kept: FIFOCache[bytes, Sealed] = FIFOCache(
            KEPT_BYTES, getsizeof=lambda sealed: min(sealed.size, KEPT_BYTES)
        )

    @property
    def identity(self) -> str:
        """The signer's name for people: the keyid, or identity and issuer of the certificate."""
        return self.signer.keyid

    def is_current(self) -> bool:
        """Return whether the key reference still names this key. May call the key service."""
        return self.signer.is_current()

    def is_local(self, *, log: bool) -> bool:
        """Whether sealing calls no service, so that :meth:`seal_now` may run on the event loop."""
        del log
        return not self.signer.remote

    def repeats(self, *, log: bool) -> bool:
        """Whether equal payloads always give equal bytes.

        If not, the caller looks for a stored seal first.
        """
        del log
        return self.signer.deterministic

    def seal_now(self, payload: bytes, payload_type: str, *, log: bool = False) -> Sealed:
        """Return the envelope and bundle of ``payload``; with ``log`` also a log entry, if there is a log.

        Blocks unless :meth:`is_local`. Raises :class:`SignerUnavailable`, :class:`SignerRejected` or, for a
        payload above the limits, :class:`FormatError`.
        """
        del log
        envelope = sign_payload(self.signer, payload, payload_type)
        bundle = build_bundle(envelope, self.signer.keyid)
        return Sealed(envelope.signatures[0].sig, envelope.to_bytes(), bundle)

    def sign_now(self, data: bytes, *, log: bool = False) -> Sealed:
        """Return a signature over bare ``data``, as cosign's ``.sig`` layers have it.

        Blocks and raises as :meth:`seal_now` does.
        """
        del log
        return Sealed(self.signer.sign(data))

    async def seal(self, payload: bytes, payload_type: str, *, log: bool = False) -> Sealed:
        """Return what :meth:`seal_now` returns, or a recent seal of the same payload.

        Never blocks the loop.
        """
        if self.is_local(log=log):
            return self.seal_now(payload, payload_type, log=log)
        key = _name(payload_type, payload, log=log)
        return self._kept.get(key) or self._keep(
            key, await self._aside(lambda: self.seal_now(payload, payload_type, log=log))
        )

    async def sign(self, data: bytes, *, log: bool = False) -> Sealed:
        """Return what :meth:`sign_now` returns, or a recent seal of the same data. Never blocks the loop."""
        if self.is_local(log=log):
            return self.sign_now(data, log=log)
        key = _name("", data, log=log)
        return self._kept.get(key) or self._keep(key, await self._aside(lambda: self.sign_now(data, log=log)))

    def _keep(self, key: bytes, sealed: Sealed) -> Sealed:
        """Remember a seal, drop the oldest ones above :data:`KEPT_BYTES`, and return it."""
        self._kept[key] = sealed
        return sealed

    async def reopen_bundle(
        self, data: bytes, payload: bytes, payload_type: str, *, log: bool = False
    ) -> Sealed | None:
        """Return the seal that a stored bundle holds if :meth:`seal` could have made it, else None."""
        return await self._aside(lambda: self._reopen_bundle(data, payload, payload_type, log=log))

    async def reopen(
        self,
        data: bytes,
        signature: bytes,
        material: Material,
        *,
        envelope: Envelope | None = None,
        log: bool = False,
    ) -> Sealed | None:
        """Return the seal that a stored signature over ``data`` and its material form; None if not ours.

        If the signature is that of an ``envelope``, ``data`` is its PAE, and the bundle is built again.
        """

        def reopen() -> Sealed | None:
            try:
                return self.accept(data, signature, material, envelope, log=log)
            except (VerificationError, FormatError):
                return None

        return await self._aside(reopen)

    def accept(
        self, data: bytes, signature: bytes, material: Material, envelope: Envelope | None, *, log: bool
    ) -> Sealed:
        """Return the seal that the parts form if this sealer could have made them.

        Raises :class:`VerificationError` or :class:`FormatError`.
        """
        del log
        if material.certificate:
            raise VerificationError("the signature has a certificate, expected a plain key", "key_unknown")
        PublicKey.from_pem(self.signer.public_pem).verify(signature, data)
        if envelope is None:
            return Sealed(signature)
        return Sealed(signature, envelope.to_bytes(), build_bundle(envelope, envelope.signatures[0].keyid))

    def close(self) -> None:
        """Release the threads. Calls under way end normally; later calls start new threads."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    async def _aside(self, work: Callable[[], T]) -> T:
        # The pool is created on first use: a sealer with a local key never needs it.
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AT_ONCE, "seal")
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _reopen_bundle(self, data: bytes, payload: bytes, payload_type: str, *, log: bool) -> Sealed | None:
        try:
            bundle = Bundle.from_bytes(data)
            envelope = bundle.envelope
            # A bundle over another payload is not an error: it belongs to another record.
            if (envelope.payload, envelope.payload_type) != (payload, payload_type):
                return None
            sealed = self.accept(
                pae(payload_type, payload), envelope.signatures[0].sig, material_of(bundle), envelope, log=log
            )
        except (VerificationError, FormatError):
            return None
        # Keep the stored bytes, not bytes built again: another encoder may have written the bundle.
        return Sealed(
            sealed.signature,
            sealed.envelope,
            data,
            sealed.certificate,
            sealed.chain,
            sealed.annotations,
            sealed.entry_url,
        )


def envelope_of(payload: bytes, payload_type: str, keyid: str, signature: bytes) -> Envelope:
    """Return the envelope with this one signature."""
    return Envelope(payload, payload_type, (Signature(keyid, signature),))


def material_of(bundle: Bundle) -> Material:
    """Return the verification material of a bundle; of several log entries or timestamps the first."""
    return Material(
        certificate=bundle.certificates[0] if bundle.certificates else b"",
        timestamp=timestamp_of(bundle.timestamps[0]) if bundle.timestamps else b"",
        entry=bundle.log_entries[0] if bundle.log_entries else {},
    )


def timestamp_of(timestamp: Mapping[str, object]) -> bytes:
    """Return the DER of an element of ``rfc3161Timestamps``. Raises :class:`FormatError`."""
    return decode_base64(str(timestamp.get("signedTimestamp") or ""), "bundle: signedTimestamp")
