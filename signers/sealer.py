"""Signing a payload: an envelope and a bundle, with whatever goes beside the signature.

What a plain key gives is made here, at once. Certificates, timestamps and log entries are
:mod:`signers.sigstore.sealer`'s, so that an installation that wants none of them loads nothing for them.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from signers.base import Signer
from signers.errors import FormatError, VerificationError
from signers.formats.bundle import Bundle, build_bundle
from signers.formats.dsse import Envelope, Signature, pae, sign_payload
from signers.keys.public_key import PublicKey
from signers.strict_json import decode_base64

KEPT_BYTES = 8 * 1024 * 1024
"""What is remembered of the newest seals, so that trying again need not make another log entry."""
AT_ONCE = 100
"""Signatures under way at the same time: Rekor v2 answers after a second, however many ask."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Material:
    """What stands beside a signature, as bytes and JSON; empty where there is none."""

    certificate: bytes = b""
    """The signer's own, DER."""
    timestamp: bytes = b""
    """An RFC 3161 response over the signature, DER."""
    outer_timestamp: bytes = b""
    """One over the whole envelope: what cosign wants where an envelope is stored alone."""
    entry: Mapping[str, object] = field(default_factory=dict)
    """A ``TransparencyLogEntry``."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A signature with all that belongs to it. ``envelope`` and ``bundle`` are empty for bare data."""

    signature: bytes
    envelope: bytes = b""
    bundle: bytes = b""
    certificate: bytes = b""
    """PEM; empty for a plain key."""
    chain: bytes = b""
    """PEM, from the certificate's issuer to the root."""
    annotations: Mapping[str, str] = field(default_factory=dict)
    """What a layer of cosign's form A carries besides signature and certificate."""
    entry_url: str = ""
    """Where the log has it; empty when it is in none."""

    @property
    def size(self) -> int:
        """About as many bytes does it take."""
        return len(self.bundle) + len(self.envelope) + len(self.certificate) + len(self.chain) + 1024


def _name(payload_type: str, payload: bytes, *, log: bool) -> bytes:
    return hashlib.sha256(b"%d %b" % (log, pae(payload_type, payload))).digest()


class Sealer:
    """Seals with one key and nothing beside. Safe for threads."""

    def __init__(self, signer: Signer) -> None:
        self.signer = signer
        self._pool: ThreadPoolExecutor | None = None
        self._kept: OrderedDict[bytes, Sealed] = OrderedDict()
        self._kept_bytes = 0

    @property
    def identity(self) -> str:
        """Who signs, for people: the key's fingerprint, or the certificate's identity and issuer."""
        return self.signer.keyid

    def is_current(self) -> bool:
        """Return whether the key's reference still names this key; may ask a service."""
        return self.signer.is_current()

    def is_local(self, *, log: bool) -> bool:
        """Whether sealing asks nobody, so that :meth:`seal_now` may be called on the event loop."""
        del log
        return not self.signer.remote

    def repeats(self, *, log: bool) -> bool:
        """Whether sealing twice gives equal bytes; where not, what is stored is looked for first."""
        del log
        return self.signer.deterministic

    def seal_now(self, payload: bytes, payload_type: str, *, log: bool = False) -> Sealed:
        """Return envelope and bundle of ``payload``; ``log`` asks for a log entry, where there is a log.

        Blocks where :meth:`is_local` says so. Raises :class:`SignerError`.
        """
        del log
        envelope = sign_payload(self.signer, payload, payload_type)
        bundle = build_bundle(envelope, self.signer.keyid)
        return Sealed(envelope.signatures[0].sig, envelope.to_bytes(), bundle)

    def sign_now(self, data: bytes, *, log: bool = False) -> Sealed:
        """Return a signature over bare ``data``, as cosign's ``.sig`` has it. As :meth:`seal_now` else."""
        del log
        return Sealed(self.signer.sign(data))

    async def seal(self, payload: bytes, payload_type: str, *, log: bool = False) -> Sealed:
        """As :meth:`seal_now`, off the event loop where it blocks; what was sealed lately is given again."""
        if self.is_local(log=log):
            return self.seal_now(payload, payload_type, log=log)
        key = _name(payload_type, payload, log=log)
        return self._kept.get(key) or self._keep(
            key, await self._aside(lambda: self.seal_now(payload, payload_type, log=log))
        )

    async def sign(self, data: bytes, *, log: bool = False) -> Sealed:
        """As :meth:`sign_now`, off the event loop where it blocks; what was signed lately is given again."""
        if self.is_local(log=log):
            return self.sign_now(data, log=log)
        key = _name("", data, log=log)
        return self._kept.get(key) or self._keep(key, await self._aside(lambda: self.sign_now(data, log=log)))

    def _keep(self, key: bytes, sealed: Sealed) -> Sealed:
        """Remember a seal while there is room, and return it."""
        self._kept[key] = sealed
        self._kept_bytes += sealed.size
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            self._kept_bytes -= self._kept.popitem(last=False)[1].size
        return sealed

    async def reopen_bundle(
        self, data: bytes, payload: bytes, payload_type: str, *, log: bool = False
    ) -> Sealed | None:
        """Return what a stored bundle holds, if it is one that :meth:`seal` could have made; else None."""
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
        """Return what a stored signature over ``data`` and its material are, if they are ours; else None.

        For the signature of an ``envelope``, ``data`` is its PAE, and the bundle is built anew.
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
        """Return the sealed form of parts that this sealer could have made.

        Raises :class:`VerificationError` or :class:`FormatError`.
        """
        del log
        if material.certificate:
            raise VerificationError("it is signed with a certificate", "key_unknown")
        PublicKey.from_pem(self.signer.public_pem).verify(signature, data)
        if envelope is None:
            return Sealed(signature)
        return Sealed(signature, envelope.to_bytes(), build_bundle(envelope, envelope.signatures[0].keyid))

    def close(self) -> None:
        """Give the threads back; what is under way ends, and what comes after gets others."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    async def _aside(self, work: Callable[[], T]) -> T:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AT_ONCE, "seal")
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def _reopen_bundle(self, data: bytes, payload: bytes, payload_type: str, *, log: bool) -> Sealed | None:
        try:
            bundle = Bundle.from_bytes(data)
            envelope = bundle.envelope
            if (envelope.payload, envelope.payload_type) != (payload, payload_type):
                return None
            sealed = self.accept(
                pae(payload_type, payload), envelope.signatures[0].sig, material_of(bundle), envelope, log=log
            )
        except (VerificationError, FormatError):
            return None
        # the bytes that are stored, not ours: another encoder may have written them
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
    """Return the envelope of one signature."""
    return Envelope(payload, payload_type, (Signature(keyid, signature),))


def material_of(bundle: Bundle) -> Material:
    """Return what stands beside a bundle's signature; of several, the first."""
    return Material(
        certificate=bundle.certificates[0] if bundle.certificates else b"",
        timestamp=timestamp_of(bundle.timestamps[0]) if bundle.timestamps else b"",
        entry=bundle.log_entries[0] if bundle.log_entries else {},
    )


def timestamp_of(timestamp: Mapping[str, object]) -> bytes:
    """Return the DER of one of a bundle's ``rfc3161Timestamps``. Raises :class:`FormatError`."""
    return decode_base64(str(timestamp.get("signedTimestamp") or ""), "bundle: signedTimestamp")
