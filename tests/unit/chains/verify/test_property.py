"""Any change to signed bytes: never VERIFIED with another statement, never an exception."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chains.verify.render import to_text
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from tests.faults.verify.forge import (
    DIGEST,
    NOW,
    Shelf,
    bundle,
    criteria,
    envelope,
    evidence,
    image_signature,
    provenance,
    signer,
)

Json = Any
STATEMENT = provenance()
BUNDLE = bundle(STATEMENT)
ENVELOPE = envelope(STATEMENT).to_bytes()
CRITERIA = criteria()


def ask(data: bytes, form: str) -> list[Verification]:
    """The answers by digest and as a file; a second store has the original, which must not lend its credit."""
    held = evidence(data, form)
    return [
        asyncio.run(Verifier(CRITERIA, [Shelf(held)], clock=lambda: NOW).digest(DIGEST)),
        Verifier(CRITERIA, clock=lambda: NOW).judge_bundle(data, ref="x", form=form.partition("-")[0]),
    ]


def holds(found: Verification) -> None:
    """What must be true of every answer."""
    rendered = found.to_json()
    orjson.dumps(rendered)
    assert to_text(found).startswith(found.verdict.value)
    assert found.exit_code in {0, 1, 3, 4}
    used = [each for each in rendered["attestations"] if each["used"]]
    assert bool(used) == (found.verdict is Verdict.VERIFIED)
    for each in used:
        assert each["verificationResult"]["statement"] == STATEMENT
        assert each["signer"]["keyid"] == signer().keyid
    if found.verdict is Verdict.VERIFIED:
        outcomes = {check.id: check.result.value for check in found.checks}
        assert outcomes["signature"] == "pass"
        assert "fail" not in outcomes.values()
    else:
        assert any(check.reason for check in found.checks)


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from([("bundle-v0.3", BUNDLE), ("dsse", ENVELOPE)]))
def test_a_changed_byte_never_verifies_another_statement(
    data: st.DataObject, held: tuple[str, bytes]
) -> None:
    form, original = held
    position = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255))
    changed = original[:position] + bytes([byte]) + original[position + 1 :]
    for found in ask(changed, form):
        holds(found)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.sampled_from([("bundle-v0.3", BUNDLE), ("dsse", ENVELOPE)]))
def test_cut_repeated_and_moved_pieces_never_verify_another_statement(
    data: st.DataObject, held: tuple[str, bytes]
) -> None:
    form, original = held
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(original))] * 2)))
    times = data.draw(st.integers(0, 3))
    for found in ask(original[:start] + original[start:end] * times + original[end:], form):
        holds(found)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_changed_byte_of_the_signed_payload_is_always_refused(data: st.DataObject) -> None:
    members = json.loads(BUNDLE)
    payload = bytearray(base64.b64decode(members["dsseEnvelope"]["payload"]))
    position = data.draw(st.integers(0, len(payload) - 1))
    payload[position] ^= data.draw(st.integers(1, 255))
    members["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    for found in ask(json.dumps(members).encode(), "bundle-v0.3"):
        assert found.verdict is Verdict.FAILED
        holds(found)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["bundle-v0.3", "dsse", "simplesigning", "", "bundle"]))
@example(b"{", "bundle-v0.3")
@example(b'{"payload":"","payloadType":"","signatures":[]}', "dsse")
def test_any_bytes_end_in_an_answer(data: bytes, form: str) -> None:
    for found in ask(data, form):
        assert found.verdict is not Verdict.VERIFIED
        holds(found)


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_member_of_any_other_kind_never_verifies_another_statement(data: st.DataObject) -> None:
    members = json.loads(BUNDLE)
    holder: Json = members
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(holder[key], dict | list) or not holder[key] or data.draw(st.booleans()):
            break
        holder = holder[key]
    holder[key] = data.draw(JSONS)
    for found in ask(json.dumps(members).encode(), "bundle-v0.3"):
        holds(found)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["_type", "subject", "predicateType", "predicate"]), JSONS, min_size=1)
)
def test_any_statement_that_we_signed_ends_in_an_answer(changes: dict[str, Json]) -> None:
    statement = {**STATEMENT, **changes}
    for form, data in (("bundle-v0.3", bundle(statement)), ("dsse", envelope(statement).to_bytes())):
        for found in ask(data, form):
            orjson.dumps(found.to_json())
            if found.verdict is Verdict.VERIFIED:
                assert {check.id for check in found.checks} >= {"signature", "statement", "predicate-type"}
                assert found.attestations[0].statement is not None


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_changed_byte_of_an_image_signature_never_passes(data: st.DataObject) -> None:
    good = image_signature()
    changed = bytearray(good.data)
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    held = evidence(bytes(changed), "simplesigning", signature=good.signature)
    found = asyncio.run(Verifier(CRITERIA, [Shelf(held)], clock=lambda: NOW).digest(DIGEST))
    assert found.verdict is Verdict.NOT_FOUND
    assert [check.result.value for check in found.checks if check.id == "image-signature"] == ["skip"]
