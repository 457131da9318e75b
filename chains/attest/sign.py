"""From payloads to records: signed once, in the forms that stores keep."""

from __future__ import annotations

from chains.attest.payloads import Payload
from chains.statements import simple_signing
from chains.tekton.snapshot import RunSnapshot, origin_of
from signers.base import Signer
from signers.sealer import Sealed, Sealer
from storage.record import IN_TOTO_PAYLOAD_TYPE, SIMPLE_SIGNING_TYPE, Record, Subject


def sign(run: RunSnapshot, payload: Payload, signer: Signer | Sealer) -> Record:
    """Sign one payload: an envelope and a bundle over it, and for an image signature the raw form too.

    Raises :class:`signers.errors.SignerError`. File keys sign deterministically, so the same payload always
    gives the same record.
    """
    sealer = signer if isinstance(signer, Sealer) else Sealer(signer)
    sealed = sealer.seal_now(payload.statement, IN_TOTO_PAYLOAD_TYPE)
    if payload.image is None:
        return record_of(run, payload, sealed)
    simple = simple_signing.build(payload.image)
    return record_of(run, payload, sealed, simple, sealer.sign_now(simple))


def record_of(
    run: RunSnapshot, payload: Payload, sealed: Sealed | None, simple: bytes = b"", raw: Sealed | None = None
) -> Record:
    """Return the record of a sealed payload. ``raw`` is an image's signature over ``simple``.

    Either of an image's two signatures may be missing; then the record lacks that form.
    """
    subjects = tuple(Subject(item.name, dict(item.digest or {})) for item in payload.subjects)
    created = run.status.get("completionTime") or ""
    bundle = sealed.bundle if sealed is not None else b""
    material = (sealed if payload.image is None else raw) or Sealed(b"")
    if payload.image is None:
        return Record(
            origin=origin_of(run),
            subjects=subjects,
            payload=payload.statement,
            payload_type=IN_TOTO_PAYLOAD_TYPE,
            predicate_type=payload.predicate_type,
            bundle=bundle,
            envelope=material.envelope,
            created=created,
            certificate=material.certificate,
            chain=material.chain,
            annotations=material.annotations,
            snapshot=run.data,
        )
    return Record(
        origin=origin_of(run),
        subjects=subjects,
        payload=simple,
        payload_type=SIMPLE_SIGNING_TYPE,
        predicate_type=payload.predicate_type,
        bundle=bundle,
        signature=material.signature,
        created=created,
        certificate=material.certificate,
        chain=material.chain,
        annotations=material.annotations,
        snapshot=run.data,
    )
