"""The first policy that ``policy init`` writes from evidence that somebody else chose."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chains.policy.answer import answer
from chains.policy.authoring.starter import starting_policy
from chains.policy.document.load import parse_policies
from chains.policy.document.patterns import read_image
from chains.policy.opened import open_policy
from chains.statements.statement import SLSA_V1
from chains.verify.verdict import Verdict
from tests.faults.verify.forge import NOW, Shelf, ask, criteria, form_b, public
from tests.unit.chains.policy.made import REF, git_input, report, tekton, wrong

Json = Any
HOSTILE = "none)\n  mode: audit\n  exemptions: []\n  # \x1b[2J \U0001f600 \u2028 \x85"


def test_evidence_writes_no_line_of_its_own_into_a_first_policy() -> None:
    external = {"buildConfigSource": {"repository": HOSTILE, HOSTILE: "x"}, HOSTILE: {"a": 1}}
    built = tekton(builder="https://b.example/" + "x", external=external, dependencies=[git_input()])
    told = report(level=HOSTILE)
    by = criteria(predicate_types=(SLSA_V1, told["predicateType"]))
    verified = ask(form_b(built), form_b(told), by=by)
    assert verified.verdict is Verdict.VERIFIED
    written = starting_policy("first", read_image(REF), verified, [public()])
    assert "exemptions: []" not in [line.strip() for line in written.splitlines()]
    assert all(" " <= char < "\x7f" or char == "\n" for char in written)
    read = parse_policies(written.encode(), "policy.yaml")
    assert not read.errors, read.errors
    (policy,) = read.policies
    assert policy.exemptions == ()
    assert policy.require.external_parameters == {
        "buildConfigSource": {"repository": HOSTILE, HOSTILE: "any"},
        HOSTILE: "any",
    }


def _first_policy(built: Json) -> str:
    told = report()
    by = criteria(predicate_types=(SLSA_V1, told["predicateType"]))
    verified = ask(form_b(built), form_b(told), by=by)
    return starting_policy("first", read_image(REF), verified, [public()])


LONG = "n" * 100_000


@pytest.mark.parametrize(
    ("external", "wanted"),
    [
        ({}, {}),
        ({LONG: 1, "short": 2}, {LONG: "any", "short": "any"}),
        (
            {"buildConfigSource": {"repository": "https://git.example.com/" + LONG, LONG: 1}},
            {"buildConfigSource": {"repository": "https://git.example.com/" + LONG, LONG: "any"}},
        ),
        ({"buildConfigSource": {"repository": "any"}}, {"buildConfigSource": {"repository": ["any"]}}),
        ({"": 1, "any": 2, "<<": 3, "y": 4, "? a": 5}, dict.fromkeys(["", "any", "<<", "y", "? a"], "any")),
    ],
    ids=["none", "long name", "long repository", "the word any", "odd names"],
)
def test_a_first_policy_is_read_and_passed_by_its_own_evidence(external: Json, wanted: Json) -> None:
    built = tekton(external=external)
    written = _first_policy(built).replace("mode: audit", "mode: enforce")
    (policy,) = parse_policies(written.encode(), "policy.yaml").policies
    assert policy.require.external_parameters == wanted
    assert policy.mode == "enforce"
    (by,) = [open_policy(policy)]
    held = [Shelf(form_b(built), form_b(report()))]
    found = asyncio.run(answer([by], read_image(REF), stores=held, now=NOW))
    assert found is not None
    assert wrong(found.strictest) == {}


def test_the_word_any_of_evidence_allows_no_other_repository() -> None:
    written = _first_policy(tekton(external={"buildConfigSource": {"repository": "any"}}))
    (policy,) = parse_policies(written.encode(), "policy.yaml").policies
    other = tekton(external={"buildConfigSource": {"repository": "https://evil.example.com"}})
    held = [Shelf(form_b(other), form_b(report()))]
    found = asyncio.run(answer([open_policy(policy)], read_image(REF), stores=held, now=NOW))
    assert found is not None
    assert wrong(found.strictest) == {"externalParameters": "parameter_not_allowed"}


@pytest.mark.parametrize(
    "built",
    [
        tekton(builder="https://b.example.com/" + LONG),
        tekton(build_type="https://b.example.com/" + LONG),
        tekton(external={f"p{number}": 1 for number in range(10_001)}),
    ],
    ids=["builder", "build type", "parameters"],
)
def test_no_first_policy_is_written_that_cannot_be_read(built: Json) -> None:
    with pytest.raises(ValueError, match=r"its evidence names what a policy cannot hold: .*expected"):
        _first_policy(built)
