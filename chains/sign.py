"""Payloads become records: signed once, in the forms that stores ask for."""

from __future__ import annotations

from chains.payload import Payload
from chains.predicates import simple_signing
from chains.snapshot import RunSnapshot
from signers.base import Signer
from signers.bundle import build_bundle
from signers.dsse import sign_payload
from storage.record import IN_TOTO_PAYLOAD_TYPE, SIMPLE_SIGNING_TYPE, Origin, Record, Subject


def origin_of(run: RunSnapshot) -> Origin:
    """Return where a record of this run comes from."""
    return Origin(run.kind.lower(), run.namespace, run.name, run.uid)


def sign(run: RunSnapshot, payload: Payload, signer: Signer) -> Record:
    """Sign one payload: an envelope and a bundle over it, and for an image signature the raw form too.

    Raises :class:`signers.base.SignerError`. File keys sign deterministically, so the same payload always
    gives the same record.
    """
    envelope = sign_payload(signer, payload.statement, IN_TOTO_PAYLOAD_TYPE)
    bundle = build_bundle(envelope, signer.keyid)
    subjects = tuple(Subject(item.name, dict(item.digest or {})) for item in payload.subjects)
    created = run.status.get("completionTime") or ""
    if payload.image is None:
        return Record(
            origin=origin_of(run),
            subjects=subjects,
            payload=payload.statement,
            payload_type=IN_TOTO_PAYLOAD_TYPE,
            predicate_type=payload.predicate_type,
            bundle=bundle,
            envelope=envelope.to_bytes(),
            created=created,
        )
    simple = simple_signing.build(payload.image)
    return Record(
        origin=origin_of(run),
        subjects=subjects,
        payload=simple,
        payload_type=SIMPLE_SIGNING_TYPE,
        predicate_type=payload.predicate_type,
        bundle=bundle,
        signature=signer.sign(simple),
        created=created,
    )
