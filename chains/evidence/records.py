"""From the evidence of a store to records that can be stored elsewhere. Pure.

Signed bytes do not change. If one of an attestation's two forms is missing, it is made from the other: the
envelope from a bundle that contains it, or the bundle of a key from an envelope.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from chains.errors import EvidenceError
from chains.statements.simple_signing import COSIGN_SIGN, signed_image, signed_reference
from chains.statements.statement import Statement, parse_statement
from signers.errors import FormatError, VerificationError
from signers.formats.bundle import Bundle, build_bundle
from signers.formats.dsse import MAX_ENVELOPE_BYTES, Envelope, verify_envelope
from signers.formats.layer_annotations import BUNDLE_ANNOTATION, MATERIAL_ANNOTATION, TIMESTAMP_ANNOTATION
from signers.keys.public_key import PublicKey
from signers.strict_json import parse_object
from storage.formats.manifests import CERTIFICATE_KEY, CHAIN_KEY
from storage.record import (
    DSSE_FORMAT,
    IN_TOTO_PAYLOAD_TYPE,
    SIMPLE_SIGNING_FORMAT,
    SIMPLE_SIGNING_TYPE,
    Evidence,
    Findings,
    ListedRun,
    Origin,
    Record,
    Skipped,
    Subject,
)

_DAY = len("2026-01-02")
_NOBODY = ListedRun(Origin("", "", "", ""), "")


@dataclass(slots=True)
class FoundAttestation:
    """One signed statement in the forms that were found."""

    envelope: Envelope
    statement: Statement
    dsse: Evidence | None = None
    bundle: Evidence | None = None

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """The evidence that it was read from."""
        return tuple(one for one in (self.dsse, self.bundle) if one is not None)


@dataclass(slots=True)
class Regrouped:
    """Records, and the evidence that could not become one, with the reason."""

    records: list[Record] = field(default_factory=list)
    refused: list[Skipped] = field(default_factory=list)


def regroup(findings: Findings, keys: Sequence[PublicKey] = (), listed: ListedRun = _NOBODY) -> Regrouped:
    """Return the records that the evidence of one run or subject gives.

    Each piece must match its digest, be well-formed, and be signed by one of ``keys`` if there are any.
    ``listed`` describes the run where the evidence does not. What a store could not read is refused too,
    with the store's reason.
    """
    found = Regrouped(refused=list(findings.skipped))
    attestations: dict[tuple[bytes, tuple[bytes, ...]], FoundAttestation] = {}
    signatures: list[tuple[Evidence, Subject]] = []
    for evidence in findings.evidence:
        try:
            _check_digest(evidence)
            if evidence.format == SIMPLE_SIGNING_FORMAT:
                signatures.append((evidence, _signed_image(evidence, keys)))
                continue
            envelope = read_envelope(evidence, keys)
            key = (envelope.payload, tuple(one.sig for one in envelope.signatures))
            if key not in attestations:
                attestations[key] = FoundAttestation(envelope, parse_statement(envelope.payload))
        except (EvidenceError, FormatError, VerificationError) as error:
            found.refused.append(Skipped(evidence.location, evidence.digest, str(error)))
            continue
        if evidence.format == DSSE_FORMAT:
            attestations[key].dsse = evidence
        else:
            attestations[key].bundle = evidence
    left = list(attestations.values())
    for evidence, image in signatures:
        beside = next((one for one in left if _is_about(one, image)), None)
        if beside is not None:
            left.remove(beside)
        found.records.append(_signature_record(evidence, image, beside, listed))
    found.records += [_attestation_record(one, listed) for one in left]
    if findings.snapshot:
        found.records = [replace(one, snapshot=findings.snapshot) for one in found.records]
    return found


def read_envelope(evidence: Evidence, keys: Sequence[PublicKey]) -> Envelope:
    """Return the envelope of a bundle, or the envelope itself, verified if ``keys`` are given.

    Raises :class:`FormatError` or :class:`VerificationError`.
    """
    if evidence.format == DSSE_FORMAT:
        envelope = Envelope.from_bytes(evidence.data)
    else:
        envelope = Bundle.from_bytes(evidence.data).envelope
    if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE:
        raise FormatError(f"expected payload type {IN_TOTO_PAYLOAD_TYPE}, got {envelope.payload_type[:96]!r}")
    if keys:
        verify_envelope(envelope, keys)
    return envelope


def bundle_of(attestation: FoundAttestation) -> bytes:
    """Return the bundle that was found, else one made from the envelope's key; empty if there is neither."""
    if attestation.bundle is not None:
        return attestation.bundle.data
    named = attestation.dsse is not None and attestation.dsse.annotations.get(CERTIFICATE_KEY)
    if named or len(attestation.envelope.signatures) != 1:
        return b""  # a certificate without its log entries makes no bundle
    return build_bundle(attestation.envelope, attestation.envelope.signatures[0].keyid)


def _check_digest(evidence: Evidence) -> None:
    if evidence.digest != "sha256:" + hashlib.sha256(evidence.data).hexdigest():
        raise EvidenceError("its bytes are not those of its digest")


def _signed_image(evidence: Evidence, keys: Sequence[PublicKey]) -> Subject:
    payload = parse_object(evidence.data, "payload", MAX_ENVELOPE_BYTES)
    image, name = signed_image(payload), signed_reference(payload)
    algorithm, _, value = image.partition(":")
    if algorithm != "sha256" or not value:
        raise FormatError(f"payload: expected an image's sha256 digest, got {image[:96]!r}")
    if not evidence.signature:
        raise EvidenceError("it has no signature")
    if keys and not any(_made_by(key, evidence) for key in keys):
        raise VerificationError("no given key made this signature", "signature_invalid")
    return Subject(name, {"sha256": value})


def _made_by(key: PublicKey, evidence: Evidence) -> bool:
    try:
        key.verify(evidence.signature, evidence.data)
    except VerificationError:
        return False
    return True


def _is_about(attestation: FoundAttestation, image: Subject) -> bool:
    statement = attestation.statement
    return (
        attestation.bundle is not None
        and statement.predicate_type == COSIGN_SIGN
        and any((one.digest or {}).get("sha256") == image.digest["sha256"] for one in statement.subjects)
    )


def _attestation_record(attestation: FoundAttestation, listed: ListedRun) -> Record:
    statement, envelope = attestation.statement, attestation.envelope
    annotations = attestation.dsse.annotations if attestation.dsse is not None else {}
    return Record(
        origin=_origin(attestation.evidence, listed, statement),
        subjects=tuple(Subject(one.name, dict(one.digest or {})) for one in statement.subjects),
        payload=envelope.payload,
        payload_type=envelope.payload_type,
        predicate_type=statement.predicate_type,
        bundle=bundle_of(attestation),
        envelope=attestation.dsse.data if attestation.dsse is not None else envelope.to_bytes(),
        created=_created(attestation.evidence, listed, statement),
        annotations=_material(annotations),
        certificate=annotations.get(CERTIFICATE_KEY, "").encode(),
        chain=annotations.get(CHAIN_KEY, "").encode(),
    )


def _signature_record(
    evidence: Evidence, image: Subject, beside: FoundAttestation | None, listed: ListedRun
) -> Record:
    pieces = (evidence, *(beside.evidence if beside is not None else ()))
    return Record(
        origin=_origin(pieces, listed, None),
        subjects=(image,),
        payload=evidence.data,
        payload_type=SIMPLE_SIGNING_TYPE,
        predicate_type=COSIGN_SIGN,
        bundle=bundle_of(beside) if beside is not None else b"",
        signature=evidence.signature,
        created=_created(pieces, listed, None),
        annotations=_material(evidence.annotations),
        certificate=evidence.annotations.get(CERTIFICATE_KEY, "").encode(),
        chain=evidence.annotations.get(CHAIN_KEY, "").encode(),
    )


def _material(annotations: Mapping[str, str]) -> dict[str, str]:
    """Return the timestamp and log entry of a layer, without the annotations that stores write."""
    wanted = (TIMESTAMP_ANNOTATION, MATERIAL_ANNOTATION, BUNDLE_ANNOTATION)
    return {name: annotations[name] for name in wanted if name in annotations}


def _origin(pieces: Iterable[Evidence], listed: ListedRun, statement: Statement | None) -> Origin:
    """Return the run's origin from what the store says; a SLSA v1 statement has the UID."""
    known = [one.origin for one in pieces if one.origin is not None] + [listed.origin]
    kind, namespace, name, uid = (
        next((value for one in known if (value := getattr(one, part))), "")
        for part in ("kind", "namespace", "name", "uid")
    )
    return Origin(kind, namespace, name, uid or _metadata(statement, "invocationId"))


def _created(pieces: Iterable[Evidence], listed: ListedRun, statement: Statement | None) -> str:
    known = [*(one.created for one in pieces), listed.created]
    times = [one for one in known if len(one) > _DAY] + [_metadata(statement, "finishedOn")] + known
    return next((one for one in times if one), "")


def _metadata(statement: Statement | None, name: str) -> str:
    """Return a member of a SLSA statement's metadata: v1 ``runDetails.metadata``, v0.2 ``metadata``."""
    predicate = statement.predicate if statement is not None else {}
    details = predicate.get("runDetails")
    metadata = details.get("metadata") if isinstance(details, dict) else predicate.get("metadata")
    if not isinstance(metadata, dict):
        return ""
    value = metadata.get(name) or (metadata.get("buildFinishedOn") if name == "finishedOn" else "")
    return value if isinstance(value, str) else ""
