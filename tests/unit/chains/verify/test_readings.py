"""Evidence is read once for all that judge it, and what was read stays what the bytes say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chains.errors import EvidenceError
from chains.verify import readings
from chains.verify.readings import MAX_DEPTH, Readings, Unreadable
from signers.errors import FormatError
from signers.formats.bundle import Bundle
from tests.faults.verify.forge import evidence, form_a, form_b, to_bytes
from tests.unit.chains.policy.made import document, tekton, trust, verdict, wrong

Json = Any


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was parsed: one word for each bundle and statement."""
    read: list[str] = []
    bundle, statement = Bundle.from_bytes, readings.parse_statement

    def of_bundle(data: bytes) -> Bundle:
        read.append("bundle")
        return bundle(data)

    def of_statement(payload: bytes) -> Json:
        read.append("statement")
        return statement(payload)

    monkeypatch.setattr(Bundle, "from_bytes", of_bundle)
    monkeypatch.setattr(readings, "parse_statement", of_statement)
    return read


def test_evidence_is_read_once_for_all_signers_of_a_policy(read: list[str]) -> None:
    entries = [trust(f"entry-{one}", one) for one in ("ours", "second", "third", "fourth")]
    one = tekton()
    assert wrong(verdict(document(trust=entries), form_b(one), form_b(tekton(uid="uid-2")))) == {}
    assert sorted(read) == ["bundle", "bundle", "statement", "statement"]


def test_both_forms_have_one_statement() -> None:
    known, a, b = Readings(), form_a(tekton()), form_b(tekton())
    first, second = (known.statement(known.envelope(one)[0].payload) for one in (a, b))
    assert first is second


def test_bytes_are_read_by_their_format() -> None:
    known, one = Readings(), form_b(tekton())
    assert known.envelope(one)[1] is not None
    with pytest.raises(Unreadable) as refused:
        known.envelope(evidence(one.data, "dsse"))
    assert "payload is missing" in refused.value.check.actual


def test_what_cannot_be_read_stays_unreadable_for_the_same_reason(read: list[str]) -> None:
    known, junk = Readings(), evidence(b'{"verificationMaterial": 1}', "bundle-v0.3")
    told = []
    for _ in range(2):
        with pytest.raises(Unreadable) as refused:
            known.envelope(junk)
        told.append(refused.value.check)
    assert told[0] == told[1]
    assert read == ["bundle"]


def test_a_statement_that_is_refused_is_refused_again() -> None:
    known = Readings()
    for payload, error in ((b'{"a":1,"a":2}', FormatError), (b"{}", EvidenceError)):
        for _ in range(2):
            with pytest.raises(error):
                known.statement(payload)


def test_more_than_the_memory_of_a_search_is_read_again(
    read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readings, "_MOST_BYTES", 0)
    known, one = Readings(), form_b(tekton())
    assert known.envelope(one) == known.envelope(one)
    payload = known.envelope(one)[0].payload
    assert known.statement(payload) == known.statement(payload)
    assert read == ["bundle"] * 3 + ["statement"] * 2


@pytest.mark.parametrize(("more", "is_read"), [(0, True), (1, False)])
def test_the_depth_of_a_statement_has_one_limit_however_many_brackets_it_has(
    more: int, *, is_read: bool
) -> None:
    # the statement, its predicate and the innermost list are levels, too
    deep: Json = []
    for _ in range(MAX_DEPTH - 3 + more):
        deep = [deep]
    for wide in ([], [[]] * 200):
        statement = tekton() | {"predicateType": "https://x.example.com/v1"}
        payload = to_bytes(statement | {"predicate": {"deep": deep, "wide": wide, "text": "[" * 300}})
        if is_read:
            assert Readings().statement(payload).predicate["wide"] == wide
        else:
            with pytest.raises(FormatError, match="more than 128 levels"):
                Readings().statement(payload)
    assert json.loads(payload)
