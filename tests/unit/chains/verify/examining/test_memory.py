"""What is remembered of evidence gives the same answers, within its limit, and nothing that time changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from chains.verify.criteria import Criteria
from chains.verify.evidence import Examined, examine
from chains.verify.examining import every, memory
from chains.verify.examining.memory import Examinations
from chains.verify.reasons import Reason, Result
from chains.verify.subject import DigestWanted
from chains.verify.verdict import Check, Verdict, Verification
from chains.verify.verifier import Verifier
from signers.keys.keyset import ListedKey
from storage.record import Evidence
from tests.faults.verify import sigstore
from tests.faults.verify.forge import (
    DIGEST,
    HEX,
    IMAGE,
    NOW,
    OTHER,
    Shelf,
    criteria,
    form_a,
    form_b,
    image_signature,
    provenance,
    public,
    signer,
    subject,
)
from tests.unit.chains.revocation.made import revoked

Json = Any


@pytest.fixture(autouse=True)
def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The digests of evidence that was examined and not remembered, with an empty memory."""
    monkeypatch.setattr(every, "KNOWN", Examinations())
    seen: list[str] = []

    def noted(one: Evidence, *given: Any, **more: Any) -> Examined:
        seen.append(one.digest)
        return examine(one, *given, **more)

    monkeypatch.setattr(every, "examine", noted)
    return seen


def ask(
    by: Criteria, *held: Evidence, digest: str = DIGEST, now: datetime = NOW, revocations: Json = None
) -> Verification:
    verifier = Verifier(by, [Shelf(*held)], clock=lambda: now, revocations=revocations)
    return asyncio.run(verifier.digest(digest, IMAGE))


def test_evidence_that_comes_again_is_examined_once_and_judged_alike(examined: list[str]) -> None:
    by = criteria()
    held = [
        form_a(provenance()),
        form_b(provenance()),
        image_signature(),
        form_b(provenance(), signer("stranger")),
    ]
    first = ask(by, *held)
    assert len(examined) == 4
    assert ask(by, *held) == first
    assert len(examined) == 4
    elsewhere = [replace(one, location=f"other:{one.location}") for one in held]
    found = ask(by, *elsewhere)
    assert len(examined) == 4
    assert [one.location for one in found.attestations] == [
        f"other:{one.location}" for one in first.attestations
    ]
    assert [replace(one, location="") for one in found.attestations] == [
        replace(one, location="") for one in first.attestations
    ]


def test_what_several_places_have_is_examined_once_and_again_if_they_say_other_things_beside_it(
    examined: list[str],
) -> None:
    # nothing is remembered between questions here, see below
    by, one = criteria(trusted_root=sigstore.by_key().trusted_root), form_b(provenance())
    copy = replace(one, location="another:place")
    found = ask(by, one, copy)
    assert [each.location for each in found.attestations] == [one.location, copy.location]
    assert len(examined) == 1
    ask(by, one, replace(copy, annotations={"note": "another"}))
    assert len(examined) == 3


def test_other_bytes_under_a_known_digest_are_examined_and_refused(examined: list[str]) -> None:
    by, one = criteria(), form_b(provenance())
    assert ask(by, one).verdict is Verdict.VERIFIED
    changed = replace(one, data=form_b(provenance(), signer("stranger")).data)
    found = ask(by, changed)
    assert found.verdict is Verdict.FAILED
    assert [left.reason for left in found.skipped] == [Reason.DIGEST_MISMATCH]
    wrongly_named = replace(one, digest="sha256:" + OTHER)
    assert [left.reason for left in ask(by, wrongly_named).skipped] == [Reason.DIGEST_MISMATCH]
    assert len(examined) == 3


def test_nothing_is_remembered_for_other_criteria_or_another_target(examined: list[str]) -> None:
    one = form_b(provenance())
    assert ask(criteria(), one).verdict is Verdict.VERIFIED
    assert ask(criteria(keys=[public("second")]), one).verdict is Verdict.FAILED
    by = criteria()
    assert ask(by, one).verdict is Verdict.VERIFIED
    assert ask(by, one, digest="sha256:" + OTHER).verdict is Verdict.FAILED
    assert len(examined) == 4


def test_criteria_do_not_change_with_the_list_that_they_were_made_from() -> None:
    keys, types = [public()], ["https://slsa.dev/provenance/v1"]
    by, one = Criteria(keys, types), form_b(provenance())
    assert ask(by, one).verdict is Verdict.VERIFIED
    keys.clear()
    types.clear()
    assert ask(by, one).verdict is Verdict.VERIFIED
    assert by == Criteria([public()], ["https://slsa.dev/provenance/v1"])


def test_windows_and_revocations_are_judged_each_time(examined: list[str]) -> None:
    own, one = public(), form_b(provenance())
    by = criteria(windows={own.keyid: ListedKey(own, not_after=NOW)})
    assert ask(by, one).verdict is Verdict.VERIFIED
    late = ask(by, one, now=NOW + timedelta(days=1))
    assert (late.verdict, late.attestations[0].reason) == (Verdict.FAILED, Reason.KEY_OUTSIDE_WINDOW)
    assert ask(by, one).verdict is Verdict.VERIFIED
    struck = ask(by, one, revocations=revoked({"key": own.keyid}))
    assert (struck.verdict, struck.attestations[0].reason) == (Verdict.FAILED, Reason.KEY_REVOKED)
    assert ask(by, one).verdict is Verdict.VERIFIED
    assert len(examined) == 1


def test_a_verified_time_that_has_passed_stays_passed_and_an_earlier_clock_asks_again(
    examined: list[str],
) -> None:
    by, one = sigstore.by_key(), sigstore.golden("key-v2", "bundle")
    first = ask(by, one, now=sigstore.NOW)
    assert first.verdict is Verdict.VERIFIED
    assert ask(by, one, now=sigstore.NOW + timedelta(days=1)).verdict is Verdict.VERIFIED
    assert len(examined) == 1
    early = ask(by, one, now=sigstore.NOW - timedelta(days=4000))
    assert early.verdict is Verdict.INDETERMINATE
    assert len(examined) == 2
    assert ask(by, one, now=sigstore.NOW).verdict is Verdict.VERIFIED


def test_what_depends_on_the_time_of_the_question_is_not_remembered(examined: list[str]) -> None:
    # without a verified time, a log entry is judged by the time of the question
    by, one = criteria(trusted_root=sigstore.by_key().trusted_root), form_b(provenance())
    for number in (1, 2):
        assert ask(by, one).verdict is Verdict.VERIFIED
        assert len(examined) == number


def test_so_many_bytes_are_remembered_and_no_more() -> None:
    by, pieces = criteria(), [form_b(provenance(uid=f"uid-{number:02}")) for number in range(12)]
    made = [examine(one, by, DigestWanted({"sha256": HEX}), now=NOW) for one in pieces]
    (size,) = {memory._size(one) for one in made}
    known = Examinations(3 * size + 1)
    for number, one in enumerate(made):
        known.keep(number, one, by, NOW)
        assert len(known) == min(number + 1, 3)
        assert known.find(number, pieces[number], by, NOW) == one
        assert known._left == 3 * size + 1 - size * len(known)
    kept = [number for number, one in enumerate(pieces) if known.find(number, one, by, NOW)]
    assert len(kept) == 3
    known.keep(kept[0], made[kept[0]], by, NOW)  # the same again takes no more room
    assert [number for number, one in enumerate(pieces) if known.find(number, one, by, NOW)] == kept
    assert (len(known), known._left) == (3, 1)
    known.clear()
    assert (len(known), known._left) == (0, 3 * size + 1)


def test_images_that_are_asked_about_in_turn_find_a_part_of_a_memory_that_is_too_small() -> None:
    by, pieces = criteria(), [form_b(provenance(uid=f"uid-{number:02}")) for number in range(20)]
    made = [examine(one, by, DigestWanted({"sha256": HEX}), now=NOW) for one in pieces]
    known = Examinations(16 * memory._size(made[0]))
    found = 0
    for number in [*range(20)] * 20:
        if known.find(number, pieces[number], by, NOW):
            found += 1
        else:
            known.keep(number, made[number], by, NOW)
    assert found > 100


def test_what_is_too_large_is_not_remembered() -> None:
    by = criteria()
    large = form_b(provenance(*(subject() for _ in range(1000)), predicate={"x": "y" * memory.LARGEST}))
    made = examine(large, by, DigestWanted({"sha256": HEX}), now=NOW)
    known = Examinations()
    known.keep(1, made, by, NOW)
    assert len(known) == 0
    small = Examinations(100)
    small.keep(1, examine(form_b(provenance()), by, DigestWanted({"sha256": HEX}), now=NOW), by, NOW)
    assert len(small) == 0


def test_what_a_store_says_beside_evidence_counts_and_is_not_remembered_if_it_is_long() -> None:
    """An annotation is a part of the key, and may have megabytes."""
    by, known = criteria(), Examinations()

    def kept(number: int, **beside: Any) -> bool:
        one = replace(form_b(provenance()), **beside)
        known.keep(number, examine(one, by, DigestWanted({"sha256": HEX}), now=NOW), by, NOW)
        return known.find(number, one, by, NOW) is not None

    assert kept(1)
    plain = memory.MOST_BYTES - known._left
    assert kept(2, annotations={"note": "x" * 1000}, signature=b"y" * 100)
    assert memory.MOST_BYTES - known._left >= 2 * plain + 1104
    assert not kept(3, annotations={"note": "x" * memory.LONGEST})
    assert not kept(4, signature=b"x" * (memory.LONGEST + 1))
    assert not kept(5, annotations={f"{number}": "" for number in range(1000)})
    assert len(known) == 2


def test_the_bytes_of_evidence_are_not_held() -> None:
    by, one = criteria(), form_b(provenance())
    known = Examinations()
    known.keep(1, examine(one, by, DigestWanted({"sha256": HEX}), now=NOW), by, NOW)
    (kept,) = known._kept.values()
    assert kept.examined.evidence.data == b""
    assert kept.criteria is by


def test_the_estimate_of_memory_counts_payload_values_checks_and_what_comes_beside_it() -> None:
    by, wanted = criteria(), DigestWanted({"sha256": HEX})

    def of(text: str, **beside: Any) -> Examined:
        one = replace(form_b(provenance(predicate={"x": text})), **beside)
        return examine(one, by, wanted, now=NOW)

    plain = of("")
    size = memory._size(plain)
    assert memory._size(of("x" * 100)) == size + 2 * 100
    assert memory._size(of("", annotations={"note": "12345"})) == size + 256 + 4 * 9
    further = Check("further", Result.PASS, "x" * 10, "y" * 20)
    assert memory._size(replace(plain, checks=(*plain.checks, further))) == size + 160 + 30
    nothing = replace(plain, authentic=None, checks=(), evidence=memory._NOTHING)
    assert memory._size(nothing) == 1024 + 120


def test_what_is_exactly_as_large_as_it_may_be_is_remembered() -> None:
    by, wanted = criteria(), DigestWanted({"sha256": HEX})
    one = form_b(provenance())
    made = examine(one, by, wanted, now=NOW)
    known = Examinations(2 * memory._size(made))
    for number in (1, 2):
        known.keep(number, made, by, NOW)
    assert (len(known), known._left) == (2, 0)
    alone = Examinations(memory._size(made))
    alone.keep(1, made, by, NOW)
    assert len(alone) == 1
    beside = replace(one, signature=b"x" * memory.LONGEST)
    known = Examinations()
    known.keep(1, examine(beside, by, wanted, now=NOW), by, NOW)
    assert len(known) == 1
    assert made.authentic is not None
    for longer, kept in ((0, 2), (1, 2)):
        payload = b"1" * (memory.LARGEST + longer)
        known.keep(2 + longer, replace(made, authentic=replace(made.authentic, payload=payload)), by, NOW)
        assert len(known) == kept


def test_an_examination_counts_from_its_own_time_on() -> None:
    by, one = sigstore.by_key(), sigstore.golden("key-v2", "bundle")
    known = Examinations()
    made = examine(one, by, DigestWanted({"sha256": HEX}), now=sigstore.NOW)
    known.keep(1, made, by, sigstore.NOW)
    assert known.find(1, one, by, sigstore.NOW) == made
    assert known.find(1, one, by, sigstore.NOW - timedelta(seconds=1)) is None
