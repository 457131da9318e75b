"""Everything that a verification says, word for word, for what may lie in a store together.

``tests/golden/verdicts/NAME.txt`` has the answer to each case: verdict and summary, the checks, what was looked at
and what was left. A line that changes there is a line that users read, and a code that their policies count:
``python -m tests.unit.chains.verify.test_conclusions`` writes them anew, to be read before they are committed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from chains.attest.payloads import EXECUTION_REPORT, PROVENANCE, build_payloads
from chains.attest.sign import sign
from chains.config.parse import parse_config
from chains.statements import simple_signing
from chains.statements.statement import SCAI
from chains.tekton.image_name import ImageDigest
from chains.tekton.snapshot import take_snapshot
from chains.verify.conclude import undecided
from chains.verify.criteria import Criteria
from chains.verify.examining import every
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Check, Target, Verdict, Verification
from chains.verify.verifier import Verifier
from signers.keys.keyset import KeyStatus, ListedKey
from storage.base import Store
from storage.record import Evidence, SkipKind, Skipped
from tests.faults.verify.forge import (
    BUILD_TYPE,
    BUILDER,
    DIGEST,
    HEX,
    IMAGE,
    NOW,
    OTHER,
    Broken,
    Shelf,
    altered,
    bundle,
    criteria,
    envelope,
    evidence,
    form_a,
    form_b,
    image_bundle,
    image_signature,
    old_provenance,
    provenance,
    public,
    signer,
    subject,
    with_payload,
)
from tests.faults.verify.forged_cases import BY_IDENTITY, BY_KEY, criteria_of, file, layer, layer_of_cosign
from tests.unit.chains.verify.test_blob import BLOB, message
from tests.unit.chains.verify.test_hermetic import report
from tests.unit.chains.verify.test_replaced_sidecars import sidecar, stopped, task
from tests.unit.chains.verify.test_runs import config, raw, signed

Json = Any
GOLDEN = Path(__file__).parents[3] / "golden" / "verdicts"
Case = Callable[[], tuple[Verification, dict[str, Evidence]]]
CASES: dict[str, Case] = {}


def told(found: Verification, named: dict[str, Evidence]) -> str:
    """All that it says, with names in the place of keys and digests that are others each time."""
    lines = [
        f"{found.verdict.value}: {found.summary}",
        f"asked {found.target.to_json()} at {found.verified_at.isoformat()} in {', '.join(found.stores)}",
        f"  {found.criteria.signers}",
    ]
    for check in found.checks:
        reason = check.reason.value if check.reason else "-"
        lines.append(f"check {check.id}: {check.result.value} {reason} {check.attestation}".rstrip())
        lines += [f"  expected {check.expected}", f"  actual {check.actual}"]
    for each in found.attestations:
        reason = each.reason.value if each.reason else "-"
        kind = each.statement.predicate_type if each.statement else "not verified"
        lines.append(f"found {each.digest} {'used' if each.used else 'unused'} {reason}")
        lines.append(f"  in {each.source} as {each.format} at {each.location}")
        payload = "with payload" if each.payload else "without payload"
        lines.append(f"  {kind} of {each.run_uid or '-'} by {each.signed_by or '-'}, {payload}")
        lines.append(
            f"  {'image signature' if each.is_image_signature else 'attestation'}: {each.detail or '-'}"
        )
        if each.signed_by:
            lines.append(f"  key {each.keyid!r}, {json.dumps(each.signed_by.signature_to_json())}")
    for left in found.skipped:
        lines += [f"left {left.digest} {left.reason.value} at {left.location}", f"  {left.detail}"]
    text = "\n".join(lines) + "\n"
    for name, one in named.items():
        read = hashlib.sha256(one.data).hexdigest()
        if read not in one.digest:
            text = text.replace(f"sha256:{read}", f"<{name} as read>").replace(read[:12], f"<{name} as read>")
        text = text.replace(one.digest, f"<{name}>").replace(one.digest[7:19], f"<{name}>")
    if found.target.uid:
        text = text.replace(found.target.digest["sha256"], "0" * 64)
    snapshots = dict.fromkeys(re.findall(r"snapshot sha256:([0-9a-f]{64})", text))
    for number, digest in enumerate(snapshots, 1):
        text = text.replace(f"sha256:{digest}", f"<{number}>")
    for name in ("ours", "stranger", "second"):
        text = text.replace(public(name).keyid, f"<key {name}>")
    return text


def asked(
    *held: Evidence | Store, digest: str = DIGEST, by: Criteria | None = None, now: datetime = NOW
) -> Verification:
    pieces = [one for one in held if isinstance(one, Evidence)]
    stores: list[Store] = [Shelf(*pieces)] if pieces else []
    stores += [one for one in held if isinstance(one, Store)]
    return asyncio.run(Verifier(by or criteria(), stores, clock=lambda: now).digest(digest, IMAGE, ref=IMAGE))


def case(function: Callable[[], tuple[Verification, dict[str, Evidence]]]) -> Case:
    CASES[function.__name__.replace("_", "-")] = function
    return function


def of(
    *stores: Store, by: Criteria | None = None, digest: str = DIGEST, **named: Evidence
) -> tuple[Verification, dict[str, Evidence]]:
    return asked(*named.values(), *stores, by=by, digest=digest), named


@case
def one_good_provenance() -> Any:
    return of(good=form_b(provenance()))


@case
def both_forms_and_an_image_signature() -> Any:
    return of(
        bundle=form_b(provenance()),
        layer=form_a(provenance()),
        signature=image_signature(),
        sign_v1=image_bundle(),
    )


@case
def several_of_several_kinds() -> Any:
    return of(
        v1=form_b(provenance()),
        v02=form_a(old_provenance()),
        second=form_b(provenance(uid="uid-2"), signer("second")),
        by=criteria(keys=[public(), public("second")]),
    )


@case
def nothing() -> Any:
    return of(Shelf())


@case
def nothing_but_image_signatures() -> Any:
    return of(
        stranger=image_signature(by=signer("stranger")), ours=image_signature(), other=image_signature(OTHER)
    )


@case
def only_an_image_signature_by_a_stranger() -> Any:
    return of(stranger=image_signature(by=signer("stranger")))


@case
def nothing_but_items_that_are_none() -> Any:
    return of(Shelf(skipped=[Skipped("shelf:x", "sha256:" + "9" * 64, "not an attestation")]))


@case
def nothing_but_items_of_others() -> Any:
    items = [
        Skipped(
            f"shelf:{one}",
            f"sha256:{one * 64}",
            "is no evidence that we know of another tool",
            SkipKind.FOREIGN,
        )
        for one in "89"
    ]
    return of(Shelf(image_signature(), skipped=items))


@case
def a_message_signature() -> Any:
    def message(members: Json) -> None:
        del members["dsseEnvelope"]
        members["messageSignature"] = {"signature": "AAAA"}

    return of(message=evidence(altered(bundle(provenance()), message)))


@case
def bytes_that_are_not_those_of_their_digest() -> Any:
    held = form_b(provenance())
    moved = replace(held, digest="sha256:" + "7" * 64)
    return of(moved=moved)


@case
def unreadable_and_good() -> Any:
    return of(unreadable=evidence(b"{", "dsse", "oci-att"), good=form_b(provenance()))


@case
def unreadable_alone() -> Any:
    return of(unreadable=evidence(b"{", "bundle-v0.3", "oci-referrer"), kind=evidence(b"x", "text", "file"))


@case
def a_stranger_alone() -> Any:
    return of(bundle=form_b(provenance(), signer("stranger")), layer=form_a(provenance(), signer("stranger")))


@case
def a_stranger_beside_ours() -> Any:
    return of(stranger=form_b(provenance(), signer("stranger")), good=form_b(provenance()))


@case
def changed_after_signing_beside_ours() -> Any:
    good = form_b(provenance())
    forged = with_payload(good.data, lambda statement: statement["subject"].append(subject(OTHER)))
    return of(good=good, forged=evidence(forged, "bundle-v0.3", "oci-referrer"))


@case
def a_layer_that_names_our_key_falsely() -> Any:
    made = envelope(provenance(), signer("stranger"))
    named = replace(made, signatures=(replace(made.signatures[0], keyid=public().keyid),))
    return of(forged=evidence(named.to_bytes(), "dsse", "oci-att"))


@case
def about_something_else() -> Any:
    others = [subject(OTHER, f"registry.example.com/{number}") for number in range(6)]
    return of(
        one=form_b(provenance(subject(OTHER))),
        six=form_b(provenance(*others)),
        sha512=form_b(provenance(subject("a" * 128, algorithm="sha512"))),
    )


@case
def another_payload_type() -> Any:
    return of(other=evidence(bundle(provenance(), payload_type="application/json")))


@case
def no_statement() -> Any:
    return of(
        text=evidence(bundle(b"no json")),
        twice=evidence(bundle(b'{"_type": "a", "_type": "b"}')),
        spelled=evidence(bundle(provenance(Subject=[]))),
        inner=evidence(bundle(provenance({"Name": "x", **subject()}))),
        deep=evidence(bundle(provenance(predicate=nested(200)))),
    )


def nested(levels: int) -> Json:
    found: Json = {}
    for _ in range(levels):
        found = {"a": found}
    return found


@case
def another_type_builder_and_build_type() -> Any:
    by = criteria(builder_id="https://other", build_type="https://kind")
    return of(
        kind=form_b(provenance(predicateType="https://example.com/other/v1")),
        builder=form_b(provenance(uid="uid-2")),
        bare=form_b(provenance(predicate={})),
        by=by,
    )


@case
def the_type_builder_and_build_type_asked_for() -> Any:
    by = criteria(
        builder_id=BUILDER, build_type=BUILD_TYPE, predicate_types=["https://slsa.dev/provenance/v1", SCAI]
    )
    return of(v1=form_b(provenance()), v02=form_b(old_provenance()), by=by)


@case
def a_hint_that_is_not_the_keyid() -> Any:
    def other(members: Json) -> None:
        members["verificationMaterial"]["publicKey"]["hint"] = "another"

    return of(hint=evidence(altered(bundle(provenance()), other), "bundle-v0.3", "oci-referrer"))


@case
def image_signatures_of_other_images() -> Any:
    payload = b'{"critical":{"type":"x","image":{"docker-manifest-digest":"sha256:1"}}}'
    by = signer()
    return of(
        kind=evidence(payload, "simplesigning", "oci-sig", signature=by.sign(payload)),
        text=evidence(b"text", "simplesigning", "oci-sig", signature=by.sign(b"text")),
        other=image_signature(OTHER),
        sign_v1=image_bundle(OTHER),
        stranger=image_bundle(by=signer("stranger")),
    )


@case
def image_signatures_that_lack_what_they_are_for() -> Any:
    kind = "cosign container image signature"
    written = (
        {},
        {"critical": 1},
        {"critical": {"type": 1}},
        {"critical": {"type": "y" * 65}},
        {"critical": {"type": kind}},
        {"critical": {"type": kind, "image": {}}},
        {"critical": {"type": kind, "image": {"docker-manifest-digest": f"sha256:{HEX}:{HEX}"}}},
        {"critical": {"type": kind, "image": {"docker-manifest-digest": f"sha512:{HEX}"}}},
        {"critical": {"type": kind, "image": {"docker-manifest-digest": HEX}}},
    )
    named = {}
    for number, one in enumerate(written):
        data = json.dumps(one).encode()
        named[f"n{number}"] = evidence(data, "simplesigning", "oci-sig", signature=signer().sign(data))
    return of(**named)


@case
def an_image_signature_about_two_images() -> Any:
    statement = json.loads(simple_signing.build_statement(ImageDigest(IMAGE, OTHER)).to_bytes())
    statement["subject"] += [
        {"name": "x", "digest": {"sha512": "a" * 128}},
        {"name": "y", "digest": {"sha256": "b" * 64}},
    ]
    return of(two=form_b(statement))


@case
def what_calls_itself_an_image_signature_and_is_no_statement() -> Any:
    stranger = signer("stranger")
    signed = simple_signing.build_statement(ImageDigest(IMAGE, HEX)).to_bytes()
    return of(
        text=form_b(b"no json", stranger),
        other=evidence(bundle(signed, stranger, "application/json")),
        keyless=evidence(keyless_with(signed), "bundle-v0.3", "oci-referrer"),
    )


def keyless_with(payload: bytes) -> bytes:
    """A bundle with a certificate that nobody asks for, and this payload in its envelope."""
    members = json.loads(file("honest-v2").read_bytes())
    members["dsseEnvelope"]["payload"] = b64encode(payload).decode()
    return json.dumps(members).encode()


@case
def a_store_that_does_not_answer_and_nothing() -> Any:
    return of(Broken())


@case
def a_store_that_does_not_answer_beside_ours() -> Any:
    return of(Broken(), good=form_b(provenance()))


@case
def a_store_that_does_not_answer_beside_a_stranger() -> Any:
    return of(Broken(), stranger=form_b(provenance(), signer("stranger")))


@case
def what_breaks_us() -> Any:
    return poisoned(stranger=form_b(provenance(), signer("stranger")))


@case
def what_breaks_us_beside_bytes_that_are_others() -> Any:
    return poisoned(moved=replace(form_b(provenance()), digest="sha256:" + "7" * 64))


def poisoned(**named: Evidence) -> Any:
    """Evidence beside a piece that raises where it is judged."""
    poison = form_a(provenance())
    judge = every.examine

    def examine(one: Evidence, *rest: Any, **more: Any) -> Any:
        if one is poison:
            raise ZeroDivisionError("boom")
        return judge(one, *rest, **more)

    every.examine = examine
    try:
        return of(poison=poison, **named)
    finally:
        every.examine = judge


@case
def keys_that_count_no_more() -> Any:
    keys = {"ours": {"status": KeyStatus.REVOKED}, "second": {"not_after": NOW.replace(year=2025)}}
    windows = {public(name).keyid: ListedKey(public(name), **more) for name, more in keys.items()}
    return of(
        revoked=form_b(provenance()),
        ended=form_b(provenance(uid="uid-2"), signer("second")),
        by=criteria(keys=[public(), public("second")], windows=windows),
    )


@case
def keys_within_their_time() -> Any:
    windows = {public().keyid: ListedKey(public(), NOW.replace(year=2025), NOW.replace(year=2027))}
    return of(good=form_b(provenance()), by=criteria(windows=windows))


@case
def hermetic_and_proven() -> Any:
    return of(v1=form_b(provenance()), report=form_b(report()), by=criteria(require_hermetic=True))


@case
def hermetic_and_not_proven() -> Any:
    return of(
        v1=form_b(provenance()),
        level=form_b(report("partly")),
        other=form_b(report(uid="uid-2")),
        by=criteria(require_hermetic=True),
    )


@case
def hermetic_and_not_every_store_answered() -> Any:
    return of(Broken(), v1=form_b(provenance()), by=criteria(require_hermetic=True))


@case
def hermetic_and_nothing_verified() -> Any:
    return of(
        v1=form_b(provenance(subject(OTHER))), report=form_b(report()), by=criteria(require_hermetic=True)
    )


def file_of(data: bytes, by: Criteria | None = None) -> tuple[Verification, dict[str, Evidence]]:
    return Verifier(by or criteria(), clock=lambda: NOW).judge_bundle(data, ref="one.json"), {
        "file": evidence(data)
    }


@case
def a_file_alone() -> Any:
    return file_of(bundle(provenance(subject(), subject(OTHER, ""))))


@case
def a_file_with_an_image_signature_alone() -> Any:
    return file_of(image_bundle().data)


@case
def a_file_with_an_image_signature_by_a_stranger() -> Any:
    return file_of(image_bundle(by=signer("stranger")).data)


@case
def a_bundle_that_hints_at_nobody() -> Any:
    def nobody(members: Json) -> None:
        members["verificationMaterial"]["publicKey"]["hint"] = ""

    return of(hint=evidence(altered(bundle(provenance()), nobody), "bundle-v0.3", "oci-referrer"))


@case
def a_file_with_a_report_alone() -> Any:
    return file_of(bundle(report()), criteria(predicate_types=[SCAI], require_hermetic=True))


def blob_of(
    data: bytes, by: Criteria | None = None, blob: bytes = BLOB
) -> tuple[Verification, dict[str, Evidence]]:
    """What is said of a file for which ``data`` is the bundle."""
    found = Verifier(by or criteria(), clock=lambda: NOW).judge_bundle(data, ref="one.json", blob=blob)
    return found, {"file": evidence(data)}


def hashed(name: str, kind: str) -> Json:
    return {"algorithm": name, "digest": b64encode(hashlib.new(kind, BLOB).digest()).decode()}


for _name, _made in {
    "a-file-signed-by-itself": {},
    "a-file-signed-by-itself-without-a-digest": {"digest": None},
    "a-file-signed-by-itself-with-sha384": {"digest": hashed("SHA2_384", "sha384")},
    "a-file-signed-by-itself-with-sha512": {"digest": hashed("SHA2_512", "sha512")},
    "a-file-signed-by-itself-with-another-digest": {"digest": hashed("SHA2_256", "sha512")},
    "a-file-signed-by-itself-with-an-unknown-digest": {"digest": hashed("SHA1", "sha1")},
    "a-file-signed-by-a-stranger": {"by": "stranger"},
    "a-file-that-names-our-key-falsely": {"by": "stranger", "hint": public().keyid},
}.items():
    CASES[_name] = lambda made=_made: blob_of(message(**made))
CASES["a-file-signed-by-itself-and-asked-for-a-builder"] = lambda: blob_of(
    message(), criteria(builder_id=BUILDER)
)
CASES["a-file-that-a-statement-is-about"] = lambda: blob_of(
    bundle(provenance(subject(hashlib.sha256(BLOB).hexdigest(), "file")))
)
CASES["a-file-with-an-envelope-that-is-none"] = lambda: blob_of(b"{")


def run_of(
    *held: str, run: Json = None, other: Json = None, stores: tuple[Store, ...] = (), **by: Json
) -> tuple[Verification, dict[str, Evidence]]:
    """What is said of a run for which ``held`` was signed; ``other`` is the run that it was signed for."""
    snapshot = take_snapshot(run or raw())
    of_other = take_snapshot(other) if other else snapshot
    named = {}
    for each in held:
        kind, _, form = each.partition(" ")
        for number, one in enumerate(signed(of_other, config(form or "slsa/v2alpha4"), only=kind)):
            named[f"{kind}{number or ''}"] = one
    shelves = [Shelf(*named.values()), *stores]
    return asyncio.run(Verifier(criteria(**by), shelves, clock=lambda: NOW).run(snapshot)), named


def run_with(run: Json = None, **of_runs: tuple[Json, str]) -> tuple[Verification, dict[str, Evidence]]:
    """What is said of a run beside which evidence of several runs lies: name to run and kind."""
    named = {}
    for name, (signed_for, asked_for) in of_runs.items():
        kind, _, form = asked_for.partition(" ")
        made = signed(take_snapshot(signed_for), config(form or "slsa/v2alpha4"), only=kind)
        named[name] = made[0]
    snapshot = take_snapshot(run or raw())
    found = asyncio.run(Verifier(criteria(), [Shelf(*named.values())], clock=lambda: NOW).run(snapshot))
    return found, named


def without_image() -> Json:
    return raw(image=False)


@case
def a_run_with_all_of_its_evidence() -> Any:
    return run_of(PROVENANCE, EXECUTION_REPORT, "image-signature")


@case
def a_run_with_provenance_alone() -> Any:
    return run_of(PROVENANCE)


@case
def a_run_with_old_provenance_alone() -> Any:
    return run_of(f"{PROVENANCE} in-toto")


@case
def a_run_with_old_provenance_and_report() -> Any:
    return run_of(f"{PROVENANCE} in-toto", EXECUTION_REPORT)


@case
def a_run_with_a_report_alone_that_made_something() -> Any:
    return run_of(EXECUTION_REPORT)


@case
def a_run_with_a_report_alone_that_made_nothing() -> Any:
    return run_of(EXECUTION_REPORT, run=without_image())


@case
def a_run_that_made_nothing_and_is_asked_for_provenance() -> Any:
    return run_of(EXECUTION_REPORT, run=without_image(), builder_id="https://builder")


@case
def a_run_that_was_changed_afterwards() -> Any:
    changed = raw()
    changed["spec"]["params"][0]["value"] = "https://evil.example.com/x"
    return run_of(PROVENANCE, EXECUTION_REPORT, run=changed, other=raw())


@case
def a_run_that_was_changed_afterwards_with_old_provenance() -> Any:
    changed = raw()
    changed["metadata"]["labels"]["app"] = "y"
    return run_of(f"{PROVENANCE} in-toto", EXECUTION_REPORT, run=changed, other=raw())


@case
def a_run_with_the_evidence_of_another_run() -> Any:
    return run_of(PROVENANCE, EXECUTION_REPORT, other=raw("other", uid="uid-2"))


@case
def a_run_with_evidence_of_another_that_made_nothing() -> Any:
    return run_of(EXECUTION_REPORT, run=without_image(), other=raw("other", uid="uid-2", image=False))


@case
def a_run_with_its_provenance_and_the_report_of_another_run() -> Any:
    return run_with(provenance=(raw(), PROVENANCE), report=(raw("other", uid="uid-2"), EXECUTION_REPORT))


@case
def a_run_with_provenance_that_tells_no_run_and_the_report_of_another_run() -> Any:
    return run_with(
        provenance=(raw(), f"{PROVENANCE} in-toto"), report=(raw("other", uid="uid-2"), EXECUTION_REPORT)
    )


@case
def a_run_that_made_nothing_with_its_report_and_the_provenance_of_what_it_was() -> Any:
    before = without_image()
    before["spec"]["params"][0]["value"] = "https://git.example.com/y"
    return run_with(
        without_image(), provenance=(before, PROVENANCE), report=(without_image(), EXECUTION_REPORT)
    )


@case
def a_run_with_two_reports_of_its_own_and_one_by_a_stranger() -> Any:
    found, named = run_of(PROVENANCE, EXECUTION_REPORT)
    del found
    stranger = form_b(report(uid="uid-1"), signer("stranger"))
    copy = replace(named[EXECUTION_REPORT], source="oci-referrer", location="elsewhere")
    held = [*named.values(), stranger, copy]
    criteria_ = criteria(require_hermetic=True)
    snapshot = take_snapshot(raw())
    again = asyncio.run(Verifier(criteria_, [Shelf(*held)], clock=lambda: NOW).run(snapshot))
    return again, named | {"stranger": stranger}


@case
def a_run_that_made_nothing_with_a_report_by_a_revoked_key_before_its_own() -> Any:
    snapshot = take_snapshot(without_image())
    (payload,) = (
        one for one in build_payloads(snapshot, parse_config(config())) if one.kind == EXECUTION_REPORT
    )
    named = {
        name: evidence(sign(snapshot, payload, signer(by)).bundle)
        for name, by in (("revoked", "second"), ("own", "ours"))
    }
    windows = {public("second").keyid: ListedKey(public("second"), status=KeyStatus.REVOKED)}
    by = criteria(keys=[public(), public("second")], windows=windows)
    return asyncio.run(Verifier(by, [Shelf(*named.values())], clock=lambda: NOW).run(snapshot)), named


@case
def a_run_that_made_nothing_and_is_asked_to_be_hermetic() -> Any:
    return run_of(EXECUTION_REPORT, run=without_image(), require_hermetic=True)


def replaced(report_by: str) -> Any:
    """Evidence that was made when Tekton had replaced a sidecar, for an export from before that."""
    now, late = take_snapshot(task(sidecar())), take_snapshot(task(stopped()))
    named = {}
    for payload in build_payloads(late, parse_config(config())):
        by = report_by if payload.kind == EXECUTION_REPORT else "ours"
        named[payload.kind] = evidence(sign(late, payload, signer(by)).bundle)
    windows = {public("second").keyid: ListedKey(public("second"), status=KeyStatus.REVOKED)}
    by_keys = criteria(keys=[public(), public("second")], windows=windows)
    return asyncio.run(Verifier(by_keys, [Shelf(*named.values())], clock=lambda: NOW).run(now)), named


@case
def a_run_whose_report_tells_of_a_replaced_sidecar() -> Any:
    return replaced("ours")


@case
def a_run_whose_report_of_a_replaced_sidecar_is_by_a_revoked_key() -> Any:
    return replaced("second")


@case
def a_run_whose_report_of_a_replaced_sidecar_is_by_a_stranger() -> Any:
    return replaced("stranger")


@case
def a_run_without_evidence() -> Any:
    return run_of()


@case
def a_run_whose_store_does_not_answer() -> Any:
    return run_of(stores=(Broken(),))


@case
def a_run_asked_for_its_report() -> Any:
    return run_of(PROVENANCE, EXECUTION_REPORT, predicate_types=[SCAI])


@case
def a_run_asked_to_be_hermetic() -> Any:
    return run_of(PROVENANCE, EXECUTION_REPORT, require_hermetic=True)


def forged(name: str, asked_by: tuple[str, ...], form: str = "bundle", **more: Json) -> Case:
    def work() -> Any:
        members = json.loads(file(name).read_bytes())
        one = evidence(file(name).read_bytes(), "bundle-v0.3", "oci-referrer")
        if form != "bundle":
            one = layer(members) if form == "layer" else layer_of_cosign(members)
        return of(it=one, by=replace(criteria_of(asked_by), **more))

    return work


for _form, _name, _asked in (
    ("bundle", "honest-v2", BY_IDENTITY),
    ("bundle", "honest-v1", BY_IDENTITY),
    ("layer", "honest-two-logs", BY_IDENTITY),
    ("cosign", "honest-v1", BY_IDENTITY),
    ("bundle", "honest-key-v2", BY_KEY),
    ("bundle", "honest-key-alone", BY_KEY),
    ("bundle", "identity-of-another", BY_IDENTITY),
    ("bundle", "issuer-of-another", BY_IDENTITY),
    ("bundle", "issuer-missing", BY_IDENTITY),
    ("bundle", "identity-not-asked-for", BY_KEY),
    ("bundle", "certificate-unreadable", BY_IDENTITY),
    ("bundle", "certificate-of-another-authority", BY_IDENTITY),
    ("bundle", "certificate-of-another-key", BY_IDENTITY),
    ("bundle", "certificate-of-an-ended-authority", BY_IDENTITY),
    ("bundle", "timestamp-of-another-signature", BY_IDENTITY),
    ("bundle", "timestamp-after-the-certificate", BY_IDENTITY),
    ("bundle", "neither-log-nor-time", BY_IDENTITY),
    ("bundle", "log-time-in-the-future", BY_IDENTITY),
    ("bundle", "entry-of-another-signature", BY_IDENTITY),
    ("bundle", "key-entry-of-another", BY_KEY),
    ("bundle", "payload-changed-key", BY_KEY),
    ("layer", "honest-key-v2", BY_IDENTITY),
):
    CASES[f"{_form}-{_name}"] = forged(_name, _asked, _form)
CASES["bundle-entry-missing-and-asked-for"] = forged("entry-missing", BY_IDENTITY, require_log=True)
CASES["bundle-timestamp-missing-and-asked-for"] = forged("honest-v1", BY_IDENTITY, require_timestamp=True)
CASES["bundle-honest-key-v2-without-a-root"] = forged("honest-key-v2", BY_KEY, trusted_root=None)
CASES["layer-honest-v2-without-a-root"] = forged("honest-v2", BY_KEY, "layer", trusted_root=None)
CASES["cosign-honest-key-v1-without-a-root"] = forged("honest-key-v1", BY_KEY, "cosign", trusted_root=None)
CASES["layer-honest-key-v2-without-a-root"] = forged("honest-key-v2", BY_KEY, "layer", trusted_root=None)


@pytest.mark.parametrize("name", CASES)
def test_what_is_said_is_what_is_written_down(name: str) -> None:
    assert told(*CASES[name]()) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_every_written_answer_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


def test_a_target_that_could_not_be_looked_for_is_undecided() -> None:
    target = Target(IMAGE, {"sha256": HEX})
    check = Check("target", Result.ERROR, "a target", "no such thing", Reason.TARGET_UNREADABLE)
    asked_for = criteria()
    found = undecided(target, check, asked_for, ("a:", "b:"), NOW)
    assert found == Verification(
        Verdict.INDETERMINATE, "no such thing", NOW, target, asked_for, ("a:", "b:"), (check,)
    )
    assert (found.exit_code, found.attestations, found.skipped) == (4, (), ())


def test_an_image_signature_says_which_image_it_is_for() -> None:
    """The cases above lean on it: what they sign is what an image's signature is."""
    payload = json.loads(image_signature().data)
    assert payload["critical"]["image"] == {"docker-manifest-digest": f"sha256:{HEX}"}


if __name__ == "__main__":
    for old in GOLDEN.glob("*.txt"):
        old.unlink()
    for name, work in CASES.items():
        (GOLDEN / f"{name}.txt").write_text(told(*work()), encoding="utf-8")
