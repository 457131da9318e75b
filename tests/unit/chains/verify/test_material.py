"""What stands beside a signature is told as checks: each entry and each time holds, or ends the judgement."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chains.verify.criteria import Criteria
from chains.verify.material import Refused, Signing, check_material, not_checked, read_material
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Check
from signers.errors import FormatError
from signers.formats.bundle import Bundle
from signers.formats.dsse import pae
from signers.formats.layer_annotations import BUNDLE_ANNOTATION, MATERIAL_ANNOTATION, TIMESTAMP_ANNOTATION
from signers.keys.public_key import PublicKey
from signers.sigstore.certificate import read_certificate
from signers.sigstore.log_entry import Logged
from signers.sigstore.signed import Signed
from signers.sigstore.trusted_root import TrustedRoot
from signers.sigstore.verification_material import VerificationMaterial, VerifiedTime
from tests.faults.verify.forged_cases import BY_IDENTITY, criteria_of, file, layer
from tests.testbed.forged_evidence import Forger

Json = Any
NOW = datetime(2026, 10, 5, 9, 0, tzinfo=UTC)
TIMES = "timestamps over this signature by a trusted authority"
ENTRIES = "entries of this signature in a trusted log"
MATERIAL = "certificate, log entries and timestamps that can be read"
ROOTED = criteria_of(BY_IDENTITY)
ROOTLESS = replace(ROOTED, trusted_root=None, certificate=None, keys=[
    PublicKey.from_pem(file("honest-v2").with_name("key.pub").read_bytes())
])  # fmt: skip


def signing_of(name: str) -> Signing:
    bundle = Bundle.from_bytes(file(name).read_bytes())
    envelope = bundle.envelope
    data = pae(envelope.payload_type, envelope.payload)
    return Signing(data, envelope.signatures, envelope, bundle, file(name).read_bytes(), {})


def signed_of(signing: Signing) -> Signed:
    assert signing.bundle is not None
    der = signing.bundle.certificates[0]
    key = PublicKey.from_key(read_certificate(der).public_key(), "key")
    return Signed(signing.data, signing.signatures[0].sig, key, der, signing.envelope)


def checked(
    name: str, criteria: Criteria = ROOTED, now: datetime = NOW
) -> tuple[list[Check], list[VerifiedTime], list[Logged]]:
    signing = signing_of(name)
    return check_material(read_material(signing), signed_of(signing), signing.whole, criteria, now)


def refused(name: str, criteria: Criteria = ROOTED, now: datetime = NOW) -> Check:
    with pytest.raises(Refused) as caught:
        checked(name, criteria, now)
    assert str(caught.value) == caught.value.check.id
    return caught.value.check


def passed(check: str, expected: str, actual: str) -> Check:
    return Check(check, Result.PASS, expected, actual)


def of(entries: list[Logged]) -> str:
    return ", ".join(f"index {one.index} of {one.url}" for one in entries)


def test_what_holds_is_told_and_returned() -> None:
    checks, times, entries = checked("honest-v2")
    assert [one.source for one in times] == ["TimestampAuthority"]
    assert len(entries) == 1
    assert entries[0].time is None, "Rekor v2 tells no time"
    assert checks == [
        passed("timestamp", TIMES, times[0].moment.isoformat()),
        passed("transparency-log", ENTRIES, of(entries)),
    ]
    assert times[0].uri == "https://tsa.example"


def test_a_log_of_the_old_kind_tells_a_time_of_its_own() -> None:
    checks, times, entries = checked("honest-v1")
    assert [(one.source, one.uri, one.moment) for one in times] == [("Tlog", entries[0].url, entries[0].time)]
    assert checks == [passed("transparency-log", ENTRIES, of(entries))]


def test_entries_and_times_of_several_are_all_told() -> None:
    checks, times, entries = checked("honest-two-logs")
    assert [one.source for one in times] == ["TimestampAuthority", "Tlog"]
    assert len(entries) == 2
    assert checks == [
        passed("timestamp", TIMES, times[0].moment.isoformat()),
        passed("transparency-log", ENTRIES, of(entries)),
    ]
    checks, times, entries = checked("timestamp-outside-beside-a-good-one")
    assert len(times) == 2
    assert checks[0].actual == f"{times[0].moment.isoformat()}, {times[1].moment.isoformat()}"


def test_without_a_trusted_root_nothing_can_be_verified() -> None:
    for name in ("honest-v2", "timestamp-changed", "entry-empty"):
        assert checked(name, ROOTLESS) == ([], [], [])


@pytest.mark.parametrize(
    ("name", "check", "reason", "words"),
    [
        ("timestamp-of-another-signature", "timestamp", Reason.TIMESTAMP_INVALID, "the timestamp is over another signature"),
        ("timestamp-of-another-beside-a-good-one", "timestamp", Reason.TIMESTAMP_INVALID, "the timestamp is over another signature"),
        ("timestamp-of-another-authority", "timestamp", Reason.TIMESTAMP_INVALID, "no authority of the trusted root made the timestamp"),
        ("timestamp-of-an-ended-authority", "timestamp", Reason.TIMESTAMP_INVALID, "no authority of the trusted root made the timestamp"),
        ("timestamps-too-many", "timestamp", Reason.TIMESTAMP_INVALID, "the signature has 17 timestamps, at most 16 are read"),
        ("entry-of-another-signature", "transparency-log", Reason.TLOG_INVALID, ""),
        ("entry-beside-one-of-another", "transparency-log", Reason.TLOG_INVALID, ""),
        ("entry-of-an-ended-log", "transparency-log", Reason.TLOG_INVALID, "is not trusted for entries of"),
        ("entries-too-many", "transparency-log", Reason.TLOG_INVALID, "the signature has 17 log entries, at most 16 are read"),
        ("promise-by-another-key", "transparency-log", Reason.TLOG_INVALID, "did not sign this"),
    ],
)  # fmt: skip
def test_what_is_there_and_wrong_ends_the_judgement(
    name: str, check: str, reason: Reason, words: str
) -> None:
    found = refused(name)
    expected = TIMES if check == "timestamp" else ENTRIES
    assert (found.id, found.result, found.expected, found.reason) == (check, Result.FAIL, expected, reason)
    assert words in found.actual
    assert found.actual not in {"", "None"}


def test_an_entry_that_no_time_is_known_of_has_to_be_of_a_log_in_force_now() -> None:
    plain = signing_of("honest-v2")
    assert plain.bundle is not None
    untimed = replace(plain, bundle=replace(plain.bundle, timestamps=()))
    material, signed = read_material(untimed), signed_of(plain)
    checks, times, _ = check_material(material, signed, plain.whole, ROOTED, NOW)
    assert ([one.id for one in checks], times) == (["transparency-log"], [])
    before = datetime(1999, 1, 1, tzinfo=UTC)
    with pytest.raises(Refused) as caught:
        check_material(material, signed, plain.whole, ROOTED, before)
    assert caught.value.check.reason is Reason.TLOG_INVALID
    assert f"is not trusted for entries of {before.isoformat()}" in caught.value.check.actual


@pytest.mark.parametrize(
    ("name", "demanded", "missing"),
    [
        ("honest-v2", {"require_timestamp": True, "require_log": True}, ""),
        ("honest-v1", {"require_log": True}, ""),
        ("honest-v1", {"require_timestamp": True}, "timestamp"),
        ("honest-unlogged", {"require_timestamp": True}, ""),
        ("honest-unlogged", {"require_log": True}, "transparency-log"),
        ("honest-unlogged", {}, ""),
    ],
)
def test_what_is_demanded_has_to_be_there(name: str, demanded: Json, missing: str) -> None:
    criteria = replace(ROOTED, **demanded)
    if not missing:
        checked(name, criteria)
        return
    expected, reason = {
        "timestamp": (TIMES, Reason.TIMESTAMP_MISSING),
        "transparency-log": (ENTRIES, Reason.TLOG_MISSING),
    }[missing]
    assert refused(name, criteria) == Check(missing, Result.FAIL, expected, "none", reason)


def test_a_time_that_has_not_passed_yet_decides_nothing() -> None:
    _, (time,), _ = checked("honest-v1")
    skew = timedelta(minutes=5)
    checked("honest-v1", now=time.moment - skew)
    now = time.moment - skew - timedelta(seconds=1)
    told = f"{time.moment.isoformat()}, and it is {now.isoformat()} here"
    assert refused("honest-v1", now=now) == Check(
        "timestamp", Result.ERROR, "a time that has passed", told, Reason.TIME_IN_FUTURE
    )


def in_form_a(name: str, **annotations: str) -> Signing:
    """The same in form A, with these annotations beside it."""
    signing, held = signing_of(name), layer(json.loads(file(name).read_bytes()))
    return replace(signing, bundle=None, whole=held.data, annotations={**held.annotations, **annotations})


def test_material_is_read_from_the_bundle_or_else_from_the_layers_annotations() -> None:
    bundled = read_material(signing_of("honest-v2"))
    layered = read_material(in_form_a("honest-v2"))
    assert (layered.certificate, layered.entries, layered.timestamps) == (
        bundled.certificate, bundled.entries, bundled.timestamps,
    )  # fmt: skip
    assert (bundled.needs_proof, layered.needs_proof) == (True, False)
    assert read_material(replace(signing_of("honest-v2"), bundle=None)) == VerificationMaterial(
        needs_proof=False
    )
    told = json.dumps({"SignedRFC3161Timestamp": "AAAA"})
    stamped = {TIMESTAMP_ANNOTATION: told}
    over_all = read_material(in_form_a("honest-v2", **stamped))
    assert over_all.outer_timestamps == (b"\0\0\0",), "over the envelope, where there is one"
    bare = read_material(replace(in_form_a("honest-v2", **stamped), envelope=None))
    assert bare.outer_timestamps == ()
    assert b"\0\0\0" in bare.timestamps


def test_a_timestamp_over_all_that_lies_in_the_store_is_compared_with_that() -> None:
    forger = Forger()
    root = TrustedRoot.from_bytes(json.dumps(forger.root).encode())
    criteria, signed = replace(ROOTED, trusted_root=root), signed_of(signing_of("honest-v2"))
    material = VerificationMaterial(outer_timestamps=(forger.us.timestamp(b"whole"),))
    _, times, _ = check_material(material, signed, b"whole", criteria, NOW)
    assert [one.source for one in times] == ["TimestampAuthority"]
    with pytest.raises(Refused) as caught:
        check_material(material, signed, b"another", criteria, NOW)
    assert caught.value.check.actual == "the timestamp is over another signature"


def test_material_that_cannot_be_read_is_refused_and_says_why() -> None:
    for beside in ({MATERIAL_ANNOTATION: "{"}, {BUNDLE_ANNOTATION: "[]"}):
        signing = in_form_a("honest-v2", **beside)
        with pytest.raises(FormatError) as why:
            VerificationMaterial.from_annotations(signing.annotations, is_envelope=True)
        with pytest.raises(Refused) as caught:
            read_material(signing)
        assert caught.value.check == Check(
            "verification-material", Result.FAIL, MATERIAL, str(why.value), Reason.MATERIAL_INVALID
        )
        assert str(caught.value) == "verification-material"


def skipped(check: str, number: int) -> Check:
    told = f"{number} found, not checked: no trusted root was given"
    return Check(check, Result.SKIP, "entries that are checked", told, Reason.NOT_CHECKED)


def test_what_was_not_looked_at_is_counted() -> None:
    assert not_checked(signing_of("honest-two-logs")) == [
        skipped("transparency-log", 2),
        skipped("timestamp", 1),
    ]
    assert not_checked(signing_of("honest-v1")) == [skipped("transparency-log", 1)]
    assert not_checked(signing_of("honest-unlogged")) == [skipped("timestamp", 1)]
    assert not_checked(signing_of("honest-key-alone")) == []
    bare = replace(signing_of("honest-v2"), bundle=None)
    for beside, expected in (
        ({}, []),
        ({BUNDLE_ANNOTATION: ""}, []),
        ({BUNDLE_ANNOTATION: "x"}, [skipped("transparency-log", 1)]),
        ({MATERIAL_ANNOTATION: "x"}, [skipped("transparency-log", 1)]),
        ({BUNDLE_ANNOTATION: "x", MATERIAL_ANNOTATION: "x"}, [skipped("transparency-log", 2)]),
        ({TIMESTAMP_ANNOTATION: "x"}, [skipped("timestamp", 1)]),
    ):
        assert not_checked(replace(bare, annotations=beside)) == expected
