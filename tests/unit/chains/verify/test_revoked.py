"""A revocation list takes evidence and artifacts away, by verified times, and gives nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chains.revocation.revocations import Revocations
from chains.statements.statement import STATEMENT_V1
from chains.statements.vsa import SVR, VSA
from chains.verify.criteria import Criteria
from chains.verify.reasons import Reason
from chains.verify.render import to_text
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from signers.keys.keyset import KeyStatus, ListedKey
from signers.sigstore.trusted_root import TrustedRoot
from storage.base import Store
from storage.record import Evidence
from tests.faults.verify import sigstore
from tests.faults.verify.forge import (
    BUILDER,
    DIGEST,
    HEX,
    IMAGE,
    NOW,
    OTHER,
    Broken,
    Shelf,
    bundle,
    criteria,
    evidence,
    form_a,
    form_b,
    image_signature,
    old_provenance,
    provenance,
    public,
    reasons,
    results,
    signer,
    subject,
    with_payload,
)
from tests.faults.verify.sigstore import IDENTITY, ISSUER, KEY, by_identity, by_key, golden
from tests.unit.chains.policy.summaries import stamped, trusted_root
from tests.unit.chains.revocation.made import revoked

Json = Any
VERIFIER, TASK = "https://verifier.example.com", "c" * 64
KEYID = public().keyid
WANTED = {"san": IDENTITY, "issuer": ISSUER}
BROKEN = Revocations(problems=("revocation list x: is away",))


def ask(
    *held: Evidence | Store,
    by: Revocations | None,
    criteria_of: Criteria | None = None,
    digest: str = DIGEST,
) -> Verification:
    stores = [one for one in held if isinstance(one, Store)]
    pieces = [one for one in held if isinstance(one, Evidence)]
    now = sigstore.NOW if criteria_of and criteria_of.trusted_root else NOW
    verifier = Verifier(
        criteria_of or criteria(), [Shelf(*pieces), *stores], clock=lambda: now, revocations=by
    )
    return asyncio.run(verifier.digest(digest, IMAGE, ref=IMAGE))


def struck(found: Verification) -> str:
    """Return why evidence or the target is revoked."""
    assert found.verdict is Verdict.FAILED
    assert found.exit_code == 1
    (check,) = [one for one in found.checks if one.id == "revocation"]
    assert check.result.value == "fail"
    return check.actual


def time_of(name: str, by: Criteria) -> Any:
    found = ask(golden(name), by=None, criteria_of=by)
    (signed_by,) = [one.signed_by for one in found.attestations if one.used]
    assert signed_by is not None
    return min(one.moment for one in signed_by.times), max(one.moment for one in signed_by.times)


def stamp(moment: Any) -> str:
    return str(moment.isoformat())


# keys


@pytest.mark.parametrize("form", [form_a, form_b])
@pytest.mark.parametrize("statement", [provenance(), old_provenance()])
@pytest.mark.parametrize("since", [None, "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"])
def test_without_a_verified_time_evidence_by_a_revoked_key_fails_whenever_it_was_revoked(
    form: Json, statement: Json, since: str | None
) -> None:
    entry = {"key": KEYID} | ({"since": since} if since else {})
    found = ask(form(statement), by=revoked(entry))
    assert KEYID in struck(found)
    assert reasons(found) == {"key_revoked"}
    assert not any(one.used for one in found.attestations)


@pytest.mark.parametrize("form", ["bundle", "att"])
@pytest.mark.parametrize("version", ["v1", "v2", "unlogged"])
def test_evidence_by_a_key_that_was_revoked_later_counts_by_its_log_or_timestamp(
    form: str, version: str
) -> None:
    name = f"key-{version}"
    first, last = time_of(name, by_key())
    second = timedelta(seconds=1)
    for since, verdict in (
        (last + second, Verdict.VERIFIED),
        (last, Verdict.FAILED),
        (first, Verdict.FAILED),
        (first - second, Verdict.FAILED),
    ):
        entry = {"key": KEY.keyid, "since": stamp(since)}
        found = ask(golden(name, form), by=revoked(entry), criteria_of=by_key())
        assert found.verdict is verdict, (since, to_text(found, verbose=True))
    found = ask(golden(name, form), by=revoked({"key": KEY.keyid}), criteria_of=by_key())
    assert "is revoked: leaked" in struck(found)


def test_a_time_that_nothing_verified_does_not_save_evidence() -> None:
    entry = {"key": KEY.keyid, "since": "2090-01-01T00:00:00Z"}
    without_root = Criteria(keys=[KEY])
    found = ask(golden("key-unlogged"), by=revoked(entry), criteria_of=without_root)
    assert "no verified time says that the signature is older" in struck(found)


def test_a_key_is_revoked_by_a_key_set_and_by_a_list_with_the_same_answer() -> None:
    by_set = criteria(windows={KEYID: ListedKey(public(), status=KeyStatus.REVOKED)})
    one = ask(form_b(provenance()), by=None, criteria_of=by_set)
    two = ask(form_b(provenance()), by=revoked({"key": KEYID}))
    assert (one.verdict, one.exit_code, reasons(one)) == (two.verdict, two.exit_code, reasons(two))
    assert reasons(one) == {"key_revoked"}


@pytest.mark.parametrize("status", list(KeyStatus))
def test_of_a_key_set_and_a_list_the_stricter_counts(status: KeyStatus) -> None:
    first, last = time_of("key-unlogged", by_key())
    window = ListedKey(KEY, status=status, not_before=first)
    listed = by_key(windows={KEY.keyid: window})
    later = revoked({"key": KEY.keyid, "since": stamp(last + timedelta(days=1))})
    found = ask(golden("key-unlogged"), by=later, criteria_of=listed)
    assert found.verdict is (Verdict.FAILED if status is KeyStatus.REVOKED else Verdict.VERIFIED)
    found = ask(golden("key-unlogged"), by=revoked({"key": KEY.keyid}), criteria_of=listed)
    assert found.verdict is Verdict.FAILED


def test_other_evidence_by_a_key_that_counts_is_used_beside_revoked_evidence() -> None:
    both = criteria(keys=[public(), public("second")])
    held = [form_a(provenance()), form_b(provenance(), signer("second"))]
    found = ask(*held, by=revoked({"key": KEYID}), criteria_of=both)
    assert found.verdict is Verdict.VERIFIED
    assert {one.keyid: one.used for one in found.attestations} == {
        KEYID: False,
        public("second").keyid: True,
    }


def test_an_image_signature_by_a_revoked_key_does_not_count() -> None:
    held = [image_signature(), form_b(provenance(), signer("second"))]
    found = ask(*held, by=revoked({"key": KEYID}), criteria_of=criteria(keys=[public(), public("second")]))
    (check,) = [one for one in found.checks if one.id == "image-signature"]
    assert (check.result.value, check.reason) == ("skip", Reason.KEY_REVOKED)
    assert found.verdict is Verdict.VERIFIED


def test_tampering_stays_tampering_whatever_is_revoked() -> None:
    good = form_b(provenance())
    data = with_payload(good.data, lambda statement: statement["subject"].append(subject(OTHER)))
    for by in (None, revoked({"key": KEYID}), BROKEN):
        found = ask(good, evidence(data, good.format), by=by)
        assert found.verdict is Verdict.FAILED
        assert "signature_invalid" in reasons(found)


# certificates


@pytest.mark.parametrize("form", ["bundle", "att"])
@pytest.mark.parametrize("version", ["v1", "v2", "unlogged"])
def test_a_certificate_identity_is_revoked_within_its_window(form: str, version: str) -> None:
    name = f"certificate-{version}"
    first, last = time_of(name, by_identity())
    day = timedelta(days=1)
    for window, verdict in (
        ({}, Verdict.FAILED),
        ({"since": stamp(first)}, Verdict.FAILED),
        ({"since": stamp(first - day)}, Verdict.FAILED),
        ({"since": stamp(last + day)}, Verdict.VERIFIED),
        ({"until": stamp(first)}, Verdict.VERIFIED),
        ({"until": stamp(last + day)}, Verdict.FAILED),
        ({"since": stamp(first - day), "until": stamp(last + day)}, Verdict.FAILED),
        ({"since": stamp(first - 2 * day), "until": stamp(first - day)}, Verdict.VERIFIED),
    ):
        entry = {"identity": WANTED, **window}
        found = ask(golden(name, form), by=revoked(entry), criteria_of=by_identity())
        assert found.verdict is verdict, (window, to_text(found, verbose=True))
        assert reasons(found) == (set() if verdict is Verdict.VERIFIED else {"revoked"})


@pytest.mark.parametrize(
    ("identity", "is_hit"),
    [
        (WANTED, True),
        ({**WANTED, "san": IDENTITY + "x"}, False),
        ({**WANTED, "san": IDENTITY[:-1]}, False),
        ({**WANTED, "issuer": ISSUER + "/"}, False),
        ({"sanRegexp": ".*", "issuerRegexp": ".*"}, True),
        ({"sanRegexp": ".*", "issuer": "https://other.example.com"}, False),
        ({"sanRegexp": "https", "issuerRegexp": ".*"}, False),
    ],
    ids=str,
)
def test_an_identity_is_compared_as_a_whole_and_together_with_its_issuer(
    identity: Json, is_hit: bool
) -> None:
    found = ask(golden("certificate-v2"), by=revoked({"identity": identity}), criteria_of=by_identity())
    assert found.verdict is (Verdict.FAILED if is_hit else Verdict.VERIFIED)


def test_a_certificates_key_can_be_revoked_too() -> None:
    found = ask(golden("certificate-v2"), by=None, criteria_of=by_identity())
    (signed_by,) = [one.signed_by for one in found.attestations]
    assert signed_by is not None
    assert signed_by.certified_keyid.startswith("SHA256:")
    by = revoked({"key": signed_by.certified_keyid})
    found = ask(golden("certificate-v2"), by=by, criteria_of=by_identity())
    assert signed_by.certified_keyid in struck(found)


# artifacts


@pytest.mark.parametrize("since", [None, "2020-01-01T00:00:00Z", "2030-01-01T00:00:00Z"])
def test_a_revoked_image_fails_whatever_its_evidence_says(since: str | None) -> None:
    entry = {"image": DIGEST} | ({"since": since} if since else {})
    by = revoked(entry)
    for held in ([form_b(provenance())], [], [Broken()], [form_a(provenance(), signer("stranger"))]):
        found = ask(*held, by=by)
        assert f"image {DIGEST} is revoked" in struck(found)
        assert struck(found).endswith(": leaked"), "times of evidence say nothing about an image"
        assert "revoked" in reasons(found)
    found = ask(golden("key-v2"), by=by, criteria_of=by_key())
    assert found.verdict is Verdict.FAILED


def test_another_image_of_the_same_statement_is_not_revoked_with_it() -> None:
    both = provenance(subject(), subject(OTHER))
    by = revoked({"image": f"sha256:{OTHER}"})
    assert ask(form_b(both), by=by).verdict is Verdict.VERIFIED
    assert ask(form_b(both), by=by, digest=f"sha256:{OTHER}").verdict is Verdict.FAILED


def test_an_image_is_revoked_by_any_digest_that_its_subject_has() -> None:
    both = provenance({"name": IMAGE, "digest": {"sha256": HEX, "sha512": "d" * 128}})
    by = revoked({"image": "sha512:" + "d" * 128})
    assert ask(form_b(both), by=by).verdict is Verdict.FAILED
    assert ask(form_b(provenance()), by=by).verdict is Verdict.VERIFIED


def test_a_bundle_file_alone_is_about_all_of_its_subjects() -> None:
    data = bundle(provenance(subject(), subject(OTHER)))
    verifier = Verifier(criteria(), clock=lambda: NOW, revocations=revoked({"image": f"sha256:{OTHER}"}))
    assert verifier.judge_bundle(data).verdict is Verdict.FAILED
    assert verifier.judge_bundle(data, digest=DIGEST).verdict is Verdict.VERIFIED
    assert verifier.judge_bundle(data, digest=f"sha256:{OTHER}").verdict is Verdict.FAILED


def test_a_revoked_file_fails_by_any_of_its_digests() -> None:
    blob = b"release"
    data = bundle(provenance(subject(hashlib.sha256(blob).hexdigest())))
    for algorithm in ("sha256", "sha384", "sha512"):
        entry = {"image": f"{algorithm}:{hashlib.new(algorithm, blob).hexdigest()}"}
        verifier = Verifier(criteria(), clock=lambda: NOW, revocations=revoked(entry))
        assert verifier.judge_bundle(data, blob=blob).verdict is Verdict.FAILED
        assert verifier.judge_bundle(data, blob=blob).exit_code == 1


# what statements claim


def built_by(dependencies: Json = ()) -> Json:
    made = provenance()
    made["predicate"]["buildDefinition"]["resolvedDependencies"] = list(dependencies)
    return made


def of_old(materials: Json) -> Json:
    made = old_provenance()
    made["predicate"]["materials"] = list(materials)
    return made


def summary(predicate_type: str) -> Json:
    return {
        "_type": STATEMENT_V1,
        "subject": [subject()],
        "predicateType": predicate_type,
        "predicate": {"verifier": {"id": VERIFIER}, "verificationResult": "PASSED"},
    }


CLAIMS = [
    ("builder", BUILDER, provenance(), None),
    ("builder", BUILDER, old_provenance(), None),
    ("task", f"sha256:{TASK}", built_by([{"name": "task", "digest": {"sha256": TASK}}]), None),
    ("task", f"sha256:{TASK}", built_by([{"name": "pipeline", "digest": {"sha256": TASK}}]), None),
    ("task", f"sha256:{TASK}", built_by([{"name": "pipelineTask", "digest": {"sha256": TASK}}]), None),
    ("task", "sha1:" + "a" * 40, built_by([{"name": "task", "digest": {"sha1": "a" * 40}}]), None),
    ("task", "sha1:" + "a" * 40, built_by([{"name": "task", "digest": {"gitCommit": "a" * 40}}]), None),
    ("task", f"sha256:{TASK}", built_by([{"name": "task", "digest": {"gitCommit": TASK}}]), None),
    ("task", "sha1:" + "a" * 40, built_by([{"name": "task", "digest": {"sha1": "A" * 40}}]), None),
    ("task", f"sha256:{TASK}", of_old([{"uri": "oci://a/b", "digest": {"sha256": TASK}}]), None),
    ("verifier", VERIFIER, summary(VSA), VSA),
    ("verifier", VERIFIER, summary(SVR), SVR),
]


@pytest.mark.parametrize(("kind", "value", "statement", "asked"), CLAIMS)
@pytest.mark.parametrize("form", [form_a, form_b])
def test_what_a_statement_claims_is_revoked_without_a_verified_time(
    kind: str, value: str, statement: Json, asked: str | None, form: Json
) -> None:
    wanted = criteria(predicate_types=[asked] if asked else [])
    assert ask(form(statement), by=None, criteria_of=wanted).verdict is Verdict.VERIFIED
    for since in ({}, {"since": "2030-01-01T00:00:00Z"}):
        found = ask(form(statement), by=revoked({kind: value, **since}), criteria_of=wanted)
        assert f"{kind} {value} is revoked" in struck(found)
        assert reasons(found) == {"revoked"}
    other = value[:-1] + ("b" if value[-1] != "b" else "c")
    assert ask(form(statement), by=revoked({kind: other}), criteria_of=wanted).verdict is Verdict.VERIFIED


def test_a_builder_is_revoked_by_verified_times() -> None:
    first, last = time_of("key-v2", by_key())
    found = ask(golden("key-v2"), by=None, criteria_of=by_key())
    builder = json.loads(found.attestations[0].payload)["predicate"]["runDetails"]["builder"]["id"]
    for since, verdict in ((first, Verdict.FAILED), (last + timedelta(seconds=1), Verdict.VERIFIED)):
        entry = {"builder": builder, "since": stamp(since)}
        found = ask(golden("key-v2"), by=revoked(entry), criteria_of=by_key())
        assert found.verdict is verdict


MOMENT = NOW - timedelta(days=2)


@pytest.mark.parametrize(
    ("kind", "value", "statement", "asked"),
    [CLAIMS[0], CLAIMS[2], CLAIMS[-1]],
    ids=["builder", "task", "verifier"],
)
def test_what_a_statement_claims_is_revoked_by_each_verified_time(
    kind: str, value: str, statement: Json, asked: str | None
) -> None:
    root = TrustedRoot.from_path(Path(trusted_root()))
    wanted = criteria(predicate_types=[asked] if asked else [], trusted_root=root)
    later = MOMENT + timedelta(days=1)
    held = stamped(statement, MOMENT, later, key="ours")

    def ask_now(since: datetime | None) -> Verification:
        entry = {kind: value} | ({"since": since.isoformat()} if since else {})
        verifier = Verifier(wanted, [Shelf(held)], clock=lambda: NOW, revocations=revoked(entry))
        return asyncio.run(verifier.digest(DIGEST, IMAGE, ref=IMAGE))

    assert ask_now(later + timedelta(seconds=1)).verdict is Verdict.VERIFIED
    times = f"; verified times: {MOMENT.isoformat()}, {later.isoformat()}"
    for since in (later, MOMENT):
        assert struck(ask_now(since)).endswith(f": leaked{times}")
    assert struck(ask_now(None)).endswith(" is revoked: leaked")


def test_an_input_that_the_task_named_itself_is_no_task() -> None:
    statement = built_by([{"name": "inputs/result", "digest": {"sha1": "a" * 40}}])
    assert ask(form_b(statement), by=revoked({"task": "sha1:" + "a" * 40})).verdict is Verdict.VERIFIED


@pytest.mark.parametrize(
    "odd",
    [None, 7, "x", [7], [None], [{"name": "task"}], [{"name": "task", "digest": {"sha256": 7}}]],
    ids=repr,
)
def test_odd_dependencies_break_nothing(odd: Json) -> None:
    made = provenance()
    made["predicate"]["buildDefinition"]["resolvedDependencies"] = odd
    found = ask(form_b(made), by=revoked({"task": f"sha256:{TASK}"}))
    assert found.verdict is ask(form_b(made), by=None).verdict
    assert "internal_error" not in reasons(found)


# the list itself


@pytest.mark.parametrize(
    ("held", "verdict", "exit_code"),
    [
        ([form_b(provenance())], Verdict.INDETERMINATE, 4),
        ([], Verdict.INDETERMINATE, 4),
        ([Broken()], Verdict.INDETERMINATE, 4),
        ([form_b(provenance(), signer("stranger"))], Verdict.FAILED, 1),
    ],
    ids=["verified", "nothing", "store away", "wrong"],
)
def test_a_list_that_cannot_be_used_leaves_nothing_verified_and_hides_nothing_wrong(
    held: Json, verdict: Verdict, exit_code: int
) -> None:
    found = ask(*held, by=BROKEN)
    assert (found.verdict, found.exit_code) == (verdict, exit_code)
    assert results(found)["revocation-list"] == "error"
    assert "revocation_list_unusable" in reasons(found)
    assert not any(one.used for one in found.attestations)
    assert "is away" in to_text(found, width=400)


def test_evidence_that_was_not_used_for_the_lists_sake_says_so_and_other_keeps_its_reason() -> None:
    found = ask(form_a(provenance()), form_b(provenance(), signer("stranger")), by=BROKEN)
    good, other = found.attestations
    assert (good.used, good.reason) == (False, None)
    assert good.detail == "it passed every check, but the verdict is not VERIFIED"
    assert other.used is False
    assert other.detail.startswith("signature: expected")


def test_the_summary_says_what_is_wrong_with_the_list() -> None:
    found = ask(form_b(provenance()), by=BROKEN)
    assert found.summary == "revocation_list_unusable: revocation list x: is away"


def test_a_list_that_has_ended_by_the_clock_of_the_verification_is_undecided() -> None:
    by = revoked({"builder": "https://other.example.com"}, expires=NOW.isoformat())
    assert ask(form_b(provenance()), by=by).verdict is Verdict.INDETERMINATE
    later = revoked({"builder": "https://other.example.com"}, expires=(NOW + timedelta(1)).isoformat())
    assert ask(form_b(provenance()), by=later).verdict is Verdict.VERIFIED


def test_a_list_that_strikes_nothing_is_told_with_its_version_and_digest() -> None:
    by = revoked({"key": public("second").keyid}, version=7)
    found = ask(form_b(provenance()), by=by)
    (check,) = [one for one in found.checks if one.id == "revocation-list"]
    assert check.result.value == "pass"
    assert check.actual == f"version 7, 1 entry, {by.lists[0].digest}"
    assert found.verdict is Verdict.VERIFIED


def test_without_a_list_nothing_changes() -> None:
    held = [form_a(provenance()), form_b(provenance(), signer("stranger"))]
    plain = asyncio.run(Verifier(criteria(), [Shelf(*held)], clock=lambda: NOW).digest(DIGEST, IMAGE))
    asked = asyncio.run(
        Verifier(criteria(), [Shelf(*held)], clock=lambda: NOW, revocations=Revocations()).digest(
            DIGEST, IMAGE
        )
    )
    assert plain == asked
    assert not {"revocation", "revocation-list"} & results(plain).keys()


def test_hostile_text_in_a_reason_is_escaped() -> None:
    found = ask(form_b(provenance()), by=revoked({"key": KEYID, "reason": "\x1b[2J\nVERIFIED \u202e"}))
    text = to_text(found, verbose=True, width=400)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert not any(line.startswith("VERIFIED") for line in text.splitlines())
