"""What holds for all summaries, forged, hostile or of verifiers nobody used."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.errors import EvidenceError
from chains.policy.verdict import PolicyVerdict
from chains.statements.statement import STATEMENT_V1, Statement, parse_statement
from chains.statements.vsa import VSA, read_vsa
from chains.verify.verdict import Verdict
from storage.record import Evidence
from tests.faults.verify.forge import OTHER, envelope, evidence, form_b, signer, to_bytes, with_payload
from tests.unit.chains.policy.made import document, verdict, wrong
from tests.unit.chains.policy.summaries import POLICY, VERIFIER, accepted, door, failed, held, vsa
from tests.unit.chains.policy.test_property import EVIDENCE, REQUIREMENTS

Json = Any
_SUBSETS = st.lists(st.sampled_from(range(len(EVIDENCE))), unique=True)
_CHOSEN = st.lists(st.sampled_from(range(len(REQUIREMENTS))), unique=True, max_size=3)
_SUMMARIES = [
    held(vsa()),
    held(vsa(verifiedLevels=["SLSA_BUILD_LEVEL_3"])),
    held(vsa(), "stranger"),
    held(failed()),
    held(vsa(verifier={"id": VERIFIER + "/2"})),
]
_HELD = st.lists(st.sampled_from(range(len(_SUMMARIES))), unique=True)


def _required(chosen: list[int]) -> dict[str, Json]:
    merged: dict[str, Json] = {}
    for at in chosen:
        merged.update(REQUIREMENTS[at])
    return merged


def _told(found: PolicyVerdict) -> tuple[object, ...]:
    return found.verdict, found.decision, found.level, found.trust, found.basis, wrong(found)


@settings(max_examples=60, deadline=None)
@given(_SUBSETS, _HELD, _CHOSEN)
def test_accepting_a_verifier_whom_nobody_used_changes_nothing(
    built: list[int], summaries: list[int], chosen: list[int]
) -> None:
    pieces = [EVIDENCE[at] for at in built] + [_SUMMARIES[at] for at in summaries]
    require = _required(chosen)
    plain = verdict(document(require=require), *pieces)
    other = verdict(document(require=require, accept={"vsa": [accepted("nobody", "unused")]}), *pieces)
    assert _told(plain) == _told(other)


@settings(max_examples=60, deadline=None)
@given(_SUBSETS, _HELD, _CHOSEN, st.sampled_from(range(len(REQUIREMENTS))))
def test_one_more_requirement_never_passes_more_with_summaries(
    built: list[int], summaries: list[int], chosen: list[int], more: int
) -> None:
    pieces = [EVIDENCE[at] for at in built] + [_SUMMARIES[at] for at in summaries]
    require, accept = _required(chosen), {"vsa": [accepted()]}
    if next(iter(REQUIREMENTS[more])) in require:
        return
    stricter = verdict(document(require=require | REQUIREMENTS[more], accept=accept), *pieces)
    if stricter.verdict is Verdict.VERIFIED:
        assert verdict(document(require=require, accept=accept), *pieces).verdict is Verdict.VERIFIED


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(len(_SUMMARIES))), _SUBSETS)
def test_the_order_of_summaries_never_changes_an_answer(order: list[int], built: list[int]) -> None:
    pieces = [EVIDENCE[at] for at in built]
    policy = document(accept={"vsa": [accepted()]}, require={"hermetic": "enforced"})
    first = verdict(policy, *_SUMMARIES, *pieces)
    second = verdict(policy, *pieces, *(_SUMMARIES[at] for at in order))
    assert _told(first) == _told(second)


def _set(*path: str, value: Json) -> Callable[[Json], None]:
    def change(statement: Json) -> None:
        target = statement
        for name in path[:-1]:
            target = target[name]
        target[path[-1]] = value

    return change


BREAKING: dict[str, Callable[[Json], None]] = {
    "image": _set("subject", value=vsa(OTHER)["subject"]),
    "type": _set("predicateType", value=VSA + "x"),
    "verifier": _set("predicate", "verifier", "id", value=VERIFIER + "/"),
    "place": _set("predicate", "resourceUri", value="registry.example.com/team/other"),
    "policy": _set("predicate", "policy", "uri", value=POLICY + "/"),
    "version": _set("predicate", "policy", "digest", value={"sha256": "ab" * 31 + "ac"}),
    "result": _set("predicate", "verificationResult", value="FAILED"),
    "level": _set("predicate", "verifiedLevels", value=["SLSA_BUILD_LEVEL_1"]),
    "future": _set("predicate", "timeVerified", value="2027-01-01T00:00:00Z"),
}


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(BREAKING)), unique=True, max_size=3),
    st.sampled_from(["verifier", "stranger", "ours"]),
    st.booleans(),
)
def test_a_forged_summary_never_passes(changes: list[str], key: str, after_signing: bool) -> None:
    """Only the summary that nobody changed passes, and only by the verifier's own key."""

    def change(statement: Json) -> None:
        for name in changes:
            BREAKING[name](statement)

    if after_signing:
        piece = evidence(with_payload(held(vsa(), key).data, change))
    else:
        statement = vsa()
        change(statement)
        piece = held(statement, key)
    found = verdict(door(), piece)
    is_right = key == "verifier" and not changes
    # re-encoding a payload changes its bytes only where something in it changed
    assert (found.verdict is Verdict.VERIFIED) is is_right


@settings(max_examples=40, deadline=None)
@given(_HELD, st.lists(st.sampled_from(sorted(BREAKING)), unique=True, min_size=1, max_size=2))
def test_a_forged_summary_helps_no_other_evidence(summaries: list[int], changes: list[str]) -> None:
    statement = vsa()
    for name in changes:
        BREAKING[name](statement)
    policy = door(require={"level": 3})
    before = verdict(policy, *(_SUMMARIES[at] for at in summaries))
    after = verdict(policy, *(_SUMMARIES[at] for at in summaries), held(statement))
    if after.verdict is Verdict.VERIFIED:
        assert before.verdict is Verdict.VERIFIED


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 80), 1 << 80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcde", max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
_NAMES = [
    ("verifier",),
    ("verifier", "id"),
    ("resourceUri",),
    ("policy",),
    ("policy", "uri"),
    ("policy", "digest"),
    ("policy", "digest", "sha256"),
    ("verificationResult",),
    ("verifiedLevels",),
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(_NAMES), _JSON)
def test_a_member_of_any_other_value_never_passes(path: tuple[str, ...], value: Json) -> None:
    statement = vsa()
    _set("predicate", *path, value=value)(statement)
    assert verdict(door(), held(statement)).verdict is not Verdict.VERIFIED


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*vsa()["predicate"], "policyLevel"]), _JSON))
def test_no_predicate_makes_the_reader_raise_anything_of_its_own(members: dict[str, Json]) -> None:
    predicate = vsa()["predicate"] | members
    try:
        claims = read_vsa(Statement(STATEMENT_V1, (), VSA, predicate))
    except EvidenceError:
        return
    assert 0 <= claims.build_level <= 9
    claims.states("SLSA_BUILD_LEVEL_3")


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from([*vsa()["predicate"]]), _JSON, min_size=1))
def test_members_that_are_missing_or_wrong_are_judged_without_an_error(members: dict[str, Json]) -> None:
    found = verdict(door(), held(vsa(**members)))
    assert all(check.reason is None or check.reason.value != "internal_error" for check in found.checks)
    if set(members) & {"verifier", "resourceUri", "policy", "verificationResult", "verifiedLevels"}:
        assert found.verdict is not Verdict.VERIFIED


def raw(old: str, new: str) -> Evidence:
    """Return a summary that the verifier signed over these very bytes."""
    text = to_bytes(vsa()).decode()
    assert old in text
    return evidence(
        envelope(text.replace(old, new, 1).encode(), signer("verifier")).to_bytes(), "dsse", "oci-att"
    )


PASSED = '"verificationResult": "PASSED"'
LEVELS = '"verifiedLevels": ["SLSA_BUILD_LEVEL_2", "TEKTON_HERMETIC_ENFORCED"]'
HOSTILE = {
    "a result twice": raw(PASSED, '"verificationResult": "FAILED", ' + PASSED),
    "a result twice, the other way round": raw(PASSED, PASSED + ', "verificationResult": "FAILED"'),
    "a predicate twice": raw('"predicate": {', '"predicate": {}, "predicate": {'),
    "a result that Go would read, too": raw(PASSED, PASSED + ', "VerificationResult": "FAILED"'),
    "levels that Go would read, too": raw(LEVELS, LEVELS + ', "verifiedlevels": ["SLSA_BUILD_LEVEL_0"]'),
    "a verifier that protobuf would read, too": raw('"resourceUri":', '"resource_uri": "x", "resourceUri":'),
    "a lone surrogate": raw("SLSA_BUILD_LEVEL_2", "SLSA_BUILD_LEVEL_2\\ud800"),
    "a lone surrogate in a member nobody reads": raw(PASSED, '"x": "\\udfff", ' + PASSED),
    "a number of 5,000 digits": raw(PASSED, '"dependencyLevels": {"a": ' + "9" * 5000 + "}, " + PASSED),
    "100,000 levels of lists": raw(PASSED, '"x": ' + "[" * 100_000 + "]" * 100_000 + ", " + PASSED),
    "200 levels of lists": raw(PASSED, '"x": ' + "[" * 200 + "]" * 200 + ", " + PASSED),
    "no JSON": raw(PASSED, PASSED + ","),
    "not a number": raw(PASSED, '"x": NaN, ' + PASSED),
    "a level with digits of another script": raw(
        "SLSA_BUILD_LEVEL_2", "SLSA_BUILD_LEVEL_\N{ARABIC-INDIC DIGIT THREE}"
    ),
    "a level with 4,000 digits": raw("SLSA_BUILD_LEVEL_2", "SLSA_BUILD_LEVEL_" + "3" * 4000),
    "a result with a space": raw("PASSED", "PASSED "),
    "a result in lower case": raw("PASSED", "passed"),
    "a level in a list": raw('["SLSA_BUILD_LEVEL_2"', '[["SLSA_BUILD_LEVEL_2"]'),
    "levels as one text": raw(LEVELS, '"verifiedLevels": "SLSA_BUILD_LEVEL_2"'),
    "a digest that is a text": raw('{"sha256": "' + "ab" * 32 + '"}', '"sha256:' + "ab" * 32 + '"'),
    "a digest in upper case": raw("ab" * 32, "AB" * 32),
    "an empty verifier": raw(VERIFIER, ""),
    "a verifier with a line break": raw(VERIFIER, VERIFIER + "\\n"),
    "a place with a null byte": raw("@sha256:", "\\u0000@sha256:"),
    "a time of year 0": raw("2026-10-05T08:00:00Z", "0000-10-05T08:00:00Z"),
    "a time with digits of another script": raw("2026", "\N{ARABIC-INDIC DIGIT TWO}026"),
    "a time without zone": raw("08:00:00Z", "08:00:00"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_summary_by_the_verifiers_own_key_never_passes(name: str) -> None:
    found = verdict(door(), HOSTILE[name])
    assert found.verdict is not Verdict.VERIFIED
    assert len(wrong(found)) >= 1
    # nor does it end the judgement of the right one beside it
    assert verdict(door(), HOSTILE[name], held(vsa())).verdict is Verdict.VERIFIED


@pytest.mark.parametrize(
    "extra",
    [
        '"https://example.com/extension": {"PASSED": false}, ',
        '"dependencyLevels": {"SLSA_BUILD_LEVEL_1": 184467440737095516160}, ',
        '"policyLevel": "none", ',
    ],
)
def test_what_a_summary_says_beside_what_is_read_changes_nothing(extra: str) -> None:
    assert verdict(door(), raw(PASSED, extra + PASSED)).verdict is Verdict.VERIFIED


def test_a_hundred_thousand_levels_are_read_in_one_pass() -> None:
    levels = [f"COMPANY_{number}" for number in range(100_000)] + ["SLSA_BUILD_LEVEL_2"]
    found = verdict(
        door(accepted(verifiedLevels=["COMPANY_99999"])),
        form_b(vsa(verifiedLevels=levels), signer("verifier")),
    )
    assert found.verdict is Verdict.VERIFIED
    assert len(json.dumps(found.to_json()["checks"])) < 10_000


def test_our_own_summary_is_read_as_it_was_written() -> None:
    claims = read_vsa(parse_statement(to_bytes(vsa())))
    assert (claims.verifier_id, claims.policy_uri, claims.is_passed, claims.build_level) == (
        VERIFIER,
        POLICY,
        True,
        2,
    )
