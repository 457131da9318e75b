"""What a revocation list can never do: make an answer better."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.verify.criteria import Criteria
from chains.verify.verdict import Verdict
from tests.faults.verify.forge import (
    BUILDER,
    DIGEST,
    OTHER,
    criteria,
    form_a,
    form_b,
    old_provenance,
    provenance,
    public,
    signer,
    subject,
)
from tests.unit.chains.revocation.made import revoked
from tests.unit.chains.verify.test_revoked import TASK, VERIFIER, ask

Json = Any
KEYS = ("ours", "second", "stranger")
EVIDENCE = [
    form(made, signer(name))
    for name in KEYS
    for form in (form_a, form_b)
    for made in (
        provenance(),
        old_provenance(),
        provenance(subject(OTHER)),
        provenance(builder="https://b.example"),
    )
]
ENTRIES = [
    *({"key": public(name).keyid} for name in KEYS),
    *({"key": public(name).keyid, "since": "2020-01-01T00:00:00Z"} for name in KEYS),
    {"image": DIGEST},
    {"image": f"sha256:{OTHER}"},
    {"builder": BUILDER},
    {"builder": "https://b.example"},
    {"task": f"sha256:{TASK}"},
    {"verifier": VERIFIER},
]
BAD_ORDER = [Verdict.VERIFIED, Verdict.NOT_FOUND, Verdict.INDETERMINATE, Verdict.FAILED]


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    held=st.lists(st.sampled_from(EVIDENCE), max_size=4),
    entries=st.lists(st.sampled_from(ENTRIES), max_size=5, unique_by=lambda one: next(iter(one.items()))),
    wanted=st.sampled_from(
        [
            criteria(keys=[public(), public("second")]),
            criteria(),
            criteria(builder_id=BUILDER),
            criteria(namespace="ci"),
        ]
    ),
)
def test_another_entry_never_makes_an_answer_better(held: Json, entries: Json, wanted: Criteria) -> None:
    before = ask(*held, by=None, criteria_of=wanted)
    for number in range(len(entries) + 1):
        found = ask(*held, by=revoked(*entries[:number]), criteria_of=wanted)
        assert BAD_ORDER.index(found.verdict) >= BAD_ORDER.index(before.verdict)
        before = found
