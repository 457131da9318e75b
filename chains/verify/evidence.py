"""The trust rules: one piece of evidence is judged, without input or output.

Bytes from a store go in, checks come out in the order of the steps below. Only the criteria say who is
trusted. A keyid, a hint, an annotation, or the place where evidence was found prove nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from chains.errors import EvidenceError
from chains.statements.claims import build_type, builder_id, resolved, sources
from chains.statements.simple_signing import COSIGN_SIGN, KIND, signed_image
from chains.statements.statement import Statement
from chains.verify.criteria import Criteria
from chains.verify.fixed_names import SIMPLE_SIGNING as SIMPLE_SIGNING_NAMES
from chains.verify.material import Signing
from chains.verify.readings import Readings, Unreadable, message_bundle
from chains.verify.reasons import WRONG, Reason, Result
from chains.verify.signature import judge
from chains.verify.signed_by import SignedBy
from chains.verify.subject import Authentic, BlobWanted, Wanted
from chains.verify.verdict import Check
from chains.verify.wanted_run import ReferenceWanted
from signers.errors import FormatError
from signers.formats.bundle import Bundle, MessageSignature
from signers.formats.dsse import (
    MAX_ENVELOPE_BYTES,
    Envelope,
    Signature,
    pae,
)
from signers.strict_json import check_shape, parse_object
from storage.record import IN_TOTO_PAYLOAD_TYPE, SIMPLE_SIGNING_FORMAT, Evidence

_NAMED = 4
OF_PROVENANCE = frozenset({"predicate-type", "builder", "build-type", "task-ref", "pipeline-ref", "source"})
"""Checks that an execution report does not have to pass if there is provenance too."""
_LARGEST_CLAIM = 64 * 1024
"""Bytes of the largest payload that is read although nobody trusted signed it."""
_MESSAGE_DIGESTS = {"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}


@dataclass(frozen=True, slots=True)
class Examined:
    """One piece of evidence with its checks. The first failed check is why it cannot be used.

    ``is_tampered``: it names a trusted key that did not make its signature. ``is_image_signature``: it says
    that an image was signed, and nothing about how it was made.
    """

    evidence: Evidence
    digest: str
    checks: tuple[Check, ...]
    authentic: Authentic | None = None
    signed_by: SignedBy | None = None
    is_tampered: bool = False
    is_image_signature: bool = False
    is_message: bool = False
    """Whether it is a signature over the given file itself, without a statement."""
    failed: Check | None = field(init=False, repr=False, compare=False)
    """The first check that failed or could not be made."""

    def __post_init__(self) -> None:
        failed = None
        for check in self.checks:
            if check.result in WRONG:
                failed = check
                break
        object.__setattr__(self, "failed", failed)

    @property
    def is_usable(self) -> bool:
        """Whether somebody of the criteria signed it and no check failed."""
        return self.signed_by is not None and self.failed is None

    @property
    def run_uid(self) -> str:
        """The UID of the run that its statement names, empty where nobody trusted signed it."""
        return self.authentic.run_uid if self.authentic else ""

    def at(self, evidence: Evidence) -> Examined:
        """Return the same about equal evidence of another place."""
        if evidence is self.evidence:
            return self
        # replace() takes three times as long, and this is done for every piece that is remembered
        return Examined(
            evidence,
            self.digest,
            self.checks,
            self.authentic,
            self.signed_by,
            self.is_tampered,
            self.is_image_signature,
            self.is_message,
        )


def examine(
    evidence: Evidence,
    criteria: Criteria,
    wanted: Wanted,
    *,
    now: datetime,
    is_alone: bool = False,
    readings: Readings | None = None,
    passed_over: frozenset[str] = frozenset(),
) -> Examined:
    """Judge one piece of evidence. Never raises because of evidence.

    ``readings`` has what was read before, where the same evidence is judged by several criteria.
    ``passed_over`` are keys whose signatures do not count, where an envelope may have another one.

    1. The bytes have the digest that the store names. (The search for them is the caller's part of step 1.)
    2. They are one envelope or bundle that every parser reads alike.
    3. The payload type is exactly ``application/vnd.in-toto+json``.
    4. A key of the criteria, or one that a certificate of the criteria's identity certifies, made a signature
       over the PAE of the payload; with a trusted root, its log entries and timestamps hold.
    5. The payload is one in-toto statement that every parser reads alike.
    6. It is about the wanted artifact or run, compared by digest only.
    7. Its predicate type is exactly one of those demanded.
    8. Its builder, build type, task or pipeline reference and source are those demanded.
    9. A bundle's key hint is its envelope's keyid.

    Step 10, which attestation is used, is the caller's. Up to step 5 a failed step ends the examination.
    Image signatures are marked as such, except if one piece of evidence ``is_alone`` and has to be an
    attestation.
    """
    digest = "sha256:" + hashlib.sha256(evidence.data).hexdigest()
    # step 1: the bytes
    if evidence.digest != digest:
        check = _fail("digest", f"bytes with {evidence.digest}", digest, Reason.DIGEST_MISMATCH)
        return Examined(evidence, digest, (check,))
    if evidence.format == SIMPLE_SIGNING_FORMAT:
        return _examine_simple_signing(evidence, digest, criteria, wanted, now)
    readings = readings or Readings()
    try:
        if isinstance(wanted, BlobWanted) and (bundle := message_bundle(evidence)) is not None:
            return _examine_message(evidence, digest, bundle, criteria, wanted, now)
        return _examine_attestation(
            evidence, readings, criteria, wanted, now, is_alone=is_alone, passed_over=passed_over
        )
    except Unreadable as stop:
        return Examined(evidence, digest, (stop.check,))


def _examine_attestation(
    evidence: Evidence,
    readings: Readings,
    criteria: Criteria,
    wanted: Wanted,
    now: datetime,
    *,
    is_alone: bool,
    passed_over: frozenset[str],
) -> Examined:
    digest = evidence.digest
    # step 2: the form
    envelope, bundle = readings.envelope(evidence)
    # step 3: the payload type; reported after step 4, since an altered type breaks the signature too
    is_in_toto = envelope.payload_type == IN_TOTO_PAYLOAD_TYPE
    # step 4: the signature
    signed = pae(envelope.payload_type, envelope.payload)
    signing = Signing(signed, envelope.signatures, envelope, bundle, evidence.data, evidence.annotations)
    judged = judge(signing, criteria, now, passed_over)
    signed_by = judged.signed_by
    if signed_by is None:
        is_told_apart = not is_alone and is_in_toto and not judged.is_keyless_unasked
        return Examined(
            evidence,
            digest,
            judged.checks,
            is_tampered=judged.is_tampered,
            is_image_signature=is_told_apart and _claims_image_signature(envelope.payload),
        )
    checks = list(judged.checks)
    checks.append(
        _equal("payload-type", IN_TOTO_PAYLOAD_TYPE, envelope.payload_type, Reason.PAYLOAD_TYPE_MISMATCH)
    )
    if not is_in_toto:
        return Examined(evidence, digest, tuple(checks), signed_by=signed_by)
    # step 5: the statement
    try:
        statement = readings.statement(envelope.payload)
    except (FormatError, EvidenceError) as error:
        checks.append(_fail("statement", "one in-toto statement", str(error), Reason.STATEMENT_INVALID))
        return Examined(evidence, digest, tuple(checks), signed_by=signed_by)
    checks.append(Check("statement", Result.PASS, "one in-toto statement", statement.type))
    found = Authentic(statement, envelope.payload)
    is_image_signature = (
        statement.predicate_type == COSIGN_SIGN and COSIGN_SIGN not in criteria.wanted_types and not is_alone
    )
    if is_image_signature:
        checks.append(_match_image(wanted, [one.digest or {} for one in statement.subjects]))
    else:
        # step 6: the subject
        checks += wanted.match(found)
        # step 7: the predicate type
        checks.append(_check_type(statement, criteria))
        # step 8: the builder
        checks += _check_builder(statement, criteria)
    # step 9: the rest of the bundle
    checks += _check_bundle(bundle, envelope)
    return Examined(
        evidence,
        digest,
        tuple(checks),
        authentic=found,
        signed_by=signed_by,
        is_image_signature=is_image_signature,
    )


def _examine_message(
    evidence: Evidence, digest: str, bundle: Bundle, criteria: Criteria, wanted: BlobWanted, now: datetime
) -> Examined:
    """Judge a signature over the file itself, which says who signed it and nothing else.

    The bundle's digest is a hint for finding the file (``sigstore_bundle.proto``). The digest of another file
    is refused, as other clients do. Criteria that only a statement can satisfy are refused too.
    """
    content = bundle.content
    if not isinstance(content, MessageSignature):
        raise TypeError("a bundle without a message signature")
    if criteria.asks_for_statement:
        actual = "a signature over the file, which has no statement to say what is demanded"
        raise Unreadable(_fail("format", "a DSSE envelope", actual, Reason.NOT_AN_ATTESTATION))
    signatures = (Signature(bundle.key_hint or "", content.signature),)
    signing = Signing(wanted.data, signatures, None, bundle, evidence.data, evidence.annotations)
    judged = judge(signing, criteria, now)
    checks = [*judged.checks, _check_message_digest(content, wanted)]
    return Examined(
        evidence,
        digest,
        tuple(checks),
        signed_by=judged.signed_by,
        is_tampered=judged.is_tampered,
        is_message=True,
    )


def _check_message_digest(content: MessageSignature, wanted: BlobWanted) -> Check:
    expected = f"the file's sha256:{wanted.digest['sha256']}"
    if not content.digest_algorithm:  # cosign writes no digest for Ed25519
        return Check("subject", Result.PASS, expected, "the bytes that the signature is over")
    name = _MESSAGE_DIGESTS.get(content.digest_algorithm)
    if name is None:
        actual = f"a digest by {content.digest_algorithm}"
        return _fail("subject", expected, actual, Reason.SUBJECT_MISMATCH)
    expected = f"the file's {name}:{wanted.digest[name]}"
    actual = f"{name}:{content.digest.hex()}"
    if content.digest.hex() != wanted.digest[name]:
        return _fail("subject", expected, actual, Reason.SUBJECT_MISMATCH)
    return Check("subject", Result.PASS, expected, actual)


def _claims_image_signature(payload: bytes) -> bool:
    """Whether an unverified payload claims to be an image signature. It only decides how a failure is shown.

    A large payload is not read, because an image signature is small.
    """
    try:
        return parse_object(payload, "statement", _LARGEST_CLAIM).get("predicateType") == COSIGN_SIGN
    except FormatError:
        return False


def _check_type(statement: Statement, criteria: Criteria) -> Check:
    matches = statement.predicate_type in criteria.wanted_types
    return Check(
        "predicate-type",
        Result.PASS if matches else Result.FAIL,
        " or ".join(criteria.wanted_types),
        statement.predicate_type,
        None if matches else Reason.PREDICATE_TYPE_MISMATCH,
    )


def _check_builder(statement: Statement, criteria: Criteria) -> list[Check]:
    asked = (
        ("builder", criteria.builder_id, builder_id(statement), Reason.BUILDER_NOT_TRUSTED),
        ("build-type", criteria.build_type, build_type(statement), Reason.BUILD_TYPE_MISMATCH),
    )
    found = [
        _equal(name, wanted, actual, reason) for name, wanted, actual, reason in asked if wanted is not None
    ]
    references = (
        ("task", criteria.task_ref, Reason.TASK_REF_MISMATCH),
        ("pipeline", criteria.pipeline_ref, Reason.PIPELINE_REF_MISMATCH),
    )
    more = [*(_check_reference(statement, *each) for each in references), _check_source(statement, criteria)]
    return [*found, *(check for check in more if check is not None)]


def _check_reference(
    statement: Statement, kind: str, wanted: ReferenceWanted | None, reason: Reason
) -> Check | None:
    if wanted is None:
        return None
    actual = resolved(statement, kind)
    fits = (
        actual is not None
        and actual.resolver == wanted.resolver
        and actual.digest.get(wanted.algorithm) == wanted.hex
        and wanted.path in {"", actual.path}
    )
    told = f"no {kind} that a resolver brought" if actual is None else str(actual)
    expected = str(wanted)
    result = Result.PASS if fits else Result.FAIL
    return Check(f"{kind}-ref", result, expected, expected if fits else told, None if fits else reason)


def _check_source(statement: Statement, criteria: Criteria) -> Check | None:
    wanted = criteria.source
    if wanted is None:
        return None
    known = sources(statement)
    if any(wanted.fits(*source) for source in known):
        return Check("source", Result.PASS, str(wanted), str(wanted))
    told = ", ".join(
        f"{uri}@{'+'.join(f'{name}:{value}' for name, value in digest.items())}"
        for uri, digest in known[:_NAMED]
    )
    more = f" and {len(known) - _NAMED} more" if len(known) > _NAMED else ""
    return _fail("source", str(wanted), told + more or "no source", Reason.SOURCE_MISMATCH)


def _check_bundle(bundle: Bundle | None, envelope: Envelope) -> list[Check]:
    if bundle is None:
        return []
    keyid, hint = envelope.signatures[0].keyid, bundle.key_hint or ""
    if keyid and hint and keyid != hint:
        expected = f"hint {keyid!r}, the envelope's keyid"
        return [_fail("key-hint", expected, repr(hint), Reason.KEY_HINT_MISMATCH)]
    return []


def _examine_simple_signing(
    evidence: Evidence, digest: str, criteria: Criteria, wanted: Wanted, now: datetime
) -> Examined:
    """Judge a raw signature over a simple-signing payload: first who signed, then what the payload says."""
    signatures = (Signature("", evidence.signature),)
    signing = Signing(evidence.data, signatures, None, None, evidence.data, evidence.annotations)
    judged = judge(signing, criteria, now)
    if judged.signed_by is None:
        # listed, but no reason to fail: an image signature is no attestation
        return Examined(evidence, digest, judged.checks, is_image_signature=True)
    checks = list(judged.checks)
    try:
        image = _signed_image(evidence.data)
    except FormatError as error:
        checks.append(_fail("statement", "a simple-signing payload", str(error), Reason.STATEMENT_INVALID))
    else:
        algorithm, _, value = image.partition(":")
        checks.append(_match_image(wanted, [{algorithm: value}]))
    return Examined(evidence, digest, tuple(checks), signed_by=judged.signed_by, is_image_signature=True)


def _signed_image(data: bytes) -> str:
    """Return the manifest digest of a simple-signing payload. Raises :class:`FormatError`."""
    payload = parse_object(data, "payload", MAX_ENVELOPE_BYTES)
    check_shape(payload, SIMPLE_SIGNING_NAMES, "payload")
    return signed_image(payload, kind=KIND)


def _match_image(wanted: Wanted, digests: Sequence[Mapping[str, str]]) -> Check:
    matches = any(wanted.is_image(digest.get("sha256", "")) for digest in digests)
    return Check(
        "subject",
        Result.PASS if matches else Result.FAIL,
        "the image asked for",
        " or ".join(f"{name}:{value}" for digest in digests for name, value in digest.items()),
        None if matches else Reason.SUBJECT_MISMATCH,
    )


def _fail(check: str, expected: str, actual: str, reason: Reason) -> Check:
    return Check(check, Result.FAIL, expected, actual, reason)


def _equal(check: str, expected: str, actual: str, reason: Reason) -> Check:
    if actual == expected:
        return Check(check, Result.PASS, expected, actual)
    return Check(check, Result.FAIL, expected, actual or "none", reason)
