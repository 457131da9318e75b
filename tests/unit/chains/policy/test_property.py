"""What holds for all policies and evidence."""

from __future__ import annotations

from itertools import permutations
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from chains.policy.verdict import Decision
from chains.verify.verdict import Verdict
from tests.faults.verify.forge import BUILDER, IMAGE, form_a, form_b, signer
from tests.unit.chains.policy.made import STOREFRONT, decided, document, git_input, report, tekton, verdict

Json = Any
EVIDENCE = [
    form_b(tekton(dependencies=[git_input()])),
    form_a(tekton(uid="uid-2", builder=BUILDER + "/other")),
    form_b(tekton(uid="uid-3"), signer("stranger")),
    form_b(report()),
    form_b(report(level="partly", uid="uid-2")),
]
REQUIREMENTS: list[dict[str, Json]] = [
    {"level": 2},
    {"level": 3},
    {"sources": [STOREFRONT]},
    {"sources": ["https://git.example.com/other/app"]},
    {"hermetic": "enforced"},
    {"outcome": "failed"},
    {"namespaces": ["ci"]},
    {"externalParameters": {}},
    {"predicates": ["https://in-toto.io/attestation/scai/v0.3"]},
    {"predicates": ["https://example.com/none/v1"]},
    {"everyStore": True},
    {"rejectedHints": False},
]
_SUBSETS = st.lists(st.sampled_from(range(len(EVIDENCE))), unique=True)
_CHOSEN = st.lists(st.sampled_from(range(len(REQUIREMENTS))), unique=True, max_size=4)


def _required(chosen: list[int]) -> dict[str, Json]:
    merged: dict[str, Json] = {}
    for at in chosen:
        merged.update(REQUIREMENTS[at])
    return merged


@settings(max_examples=60, deadline=None)
@given(_SUBSETS, _CHOSEN, st.sampled_from(range(len(REQUIREMENTS))))
def test_one_more_requirement_never_passes_more(held: list[int], chosen: list[int], more: int) -> None:
    pieces = [EVIDENCE[at] for at in held]
    require = _required(chosen)
    name = next(iter(REQUIREMENTS[more]))
    if name in require:
        return
    fewer = verdict(document(require=require), *pieces)
    stricter = verdict(document(require=require | REQUIREMENTS[more]), *pieces)
    if stricter.verdict is Verdict.VERIFIED:
        assert fewer.verdict is Verdict.VERIFIED


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(len(EVIDENCE))), _CHOSEN)
def test_the_order_of_evidence_never_changes_an_answer(order: list[int], chosen: list[int]) -> None:
    written = document(require=_required(chosen))
    first = verdict(written, *EVIDENCE)
    second = verdict(written, *(EVIDENCE[at] for at in order))
    assert (first.verdict, first.level) == (second.verdict, second.level)
    assert [(check.id, check.result) for check in first.checks] == [
        (check.id, check.result) for check in second.checks
    ]


def test_the_order_of_documents_never_changes_an_answer() -> None:
    documents = [
        document("one", require={"level": 3}, mode="warn"),
        document("two", require={"level": 2}),
        document("three", require={"outcome": "failed"}),
    ]
    answers = [decided(list(order), *EVIDENCE) for order in permutations(documents)]
    assert all(found is not None for found in answers)
    assert len({tuple(one.policy for one in found.verdicts) for found in answers if found}) == 1
    assert {found.strictest.decision for found in answers if found} == {Decision.DENY}


@settings(max_examples=30, deadline=None)
@given(_SUBSETS, _CHOSEN)
def test_an_exemption_of_another_image_changes_nothing(held: list[int], chosen: list[int]) -> None:
    exempt = {
        "image": IMAGE + "-other",
        "rules": ["level", "hermetic", "outcome", "predicates", "trust", "sources"],
        "until": "2027-01-01T00:00:00Z",
        "reason": "r",
        "reference": "t",
    }
    pieces = [EVIDENCE[at] for at in held]
    plain = verdict(document(require=_required(chosen)), *pieces)
    other = verdict(document(require=_required(chosen), exemptions=[exempt]), *pieces)
    assert (plain.verdict, plain.decision) == (other.verdict, other.decision)
