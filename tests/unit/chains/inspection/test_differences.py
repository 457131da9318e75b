"""What differs between two builds is told, what cannot matter is not, and who confirmed each side is."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.columns import columns_of
from chains.inspection.difference_text import difference_to_text
from chains.inspection.differences import Difference, compare
from chains.statements.statement import SLSA_V02, SLSA_V1
from chains.text import to_json
from signers.base import Signer
from tests.faults.verify.forge import OTHER, Broken, form_a, provenance, signer, subject
from tests.unit.chains.inspection.made import COMMIT, github_v02, github_v1, page
from tests.unit.chains.inspection.test_page import report
from tests.unit.chains.lineage.test_forms import HOSTILE, hostile

Json = Any
GIT = "git+https://git.example.com/app.git"


def build(**more: Json) -> Json:
    """Return the provenance of a TaskRun from Git, with two steps, two inputs and two parameters."""
    statement = copy.deepcopy(provenance(**more))
    statement["predicate"]["buildDefinition"]["externalParameters"] = {
        "runSpec": {
            "params": [{"name": "a", "value": "1"}, {"name": "b", "value": {"x": "1", "y": ["1", "2"]}}],
            "taskRef": {"name": "build"},
            "serviceAccountName": "builder",
        }
    }
    statement["predicate"]["buildDefinition"]["resolvedDependencies"] = [
        {"name": "task", "uri": "git+https://git.example.com/catalog.git", "digest": {"sha1": "1" * 40}},
        {"uri": "oci://registry.example.com/one", "digest": {"sha256": "2" * 64}},
        {"uri": "oci://registry.example.com/two", "digest": {"sha256": "3" * 64}},
        {"name": "inputs/result", "uri": GIT, "digest": {"sha1": COMMIT}},
        {"name": "inputs/result", "uri": "registry.example.com/base", "digest": {"sha256": "4" * 64}},
    ]
    return statement


def difference(a: Json, b: Json, *, by: Signer | None = None) -> Difference:
    return compare(page(form_a(a)), page(form_a(b, by)))


def told(found: Difference) -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    return [(one.section, one.name, one.a, one.b) for one in found.different]


def definition(statement: Json) -> Json:
    return statement["predicate"]["buildDefinition"]


def spec(statement: Json) -> Json:
    return definition(statement)["externalParameters"]["runSpec"]


CHANGES: dict[str, tuple[Any, tuple[str, str, tuple[str, ...], tuple[str, ...]]]] = {
    "the commit": (
        lambda s: definition(s)["resolvedDependencies"][3]["digest"].update(sha1="d" * 40),
        ("source", GIT, (f"sha1:{COMMIT}",), (f"sha1:{'d' * 40}",)),
    ),
    "a parameter": (
        lambda s: spec(s)["params"][0].update(value="2"),
        ("parameters", "a", ("1",), ("2",)),
    ),
    "an order that has a meaning": (
        lambda s: spec(s)["params"][1]["value"].update(y=["2", "1"]),
        ("parameters", "b", ('{"x":"1","y":["1","2"]}',), ('{"x":"1","y":["2","1"]}',)),
    ),
    "a parameter that is gone": (lambda s: spec(s)["params"].pop(), ("parameters", "b", ('{"x":"1","y":["1","2"]}',), ())),
    "a step's image": (
        lambda s: definition(s)["resolvedDependencies"][1]["digest"].update(sha256="9" * 64),
        ("step images", "oci://registry.example.com/one", (f"sha256:{'2' * 64}",), (f"sha256:{'9' * 64}",)),
    ),
    "an input": (
        lambda s: definition(s)["resolvedDependencies"].pop(),
        ("inputs", "dependency registry.example.com/base", (f"sha256:{'4' * 64}",), ()),
    ),
    "the Task": (
        lambda s: definition(s)["resolvedDependencies"][0]["digest"].update(sha1="7" * 40),
        ("definition", "task build git+https://git.example.com/catalog.git", (f"sha1:{'1' * 40}",), (f"sha1:{'7' * 40}",)),
    ),
    "the builder": (
        lambda s: s["predicate"]["runDetails"]["builder"].update(id="https://other.example"),
        ("builder", "builder", ("https://tekton.dev/chains/v2",), ("https://other.example",)),
    ),
    "the build type": (
        lambda s: definition(s).update(buildType="https://tekton.dev/chains/v2/slsa-tekton"),
        ("builder", "build type", ("https://tekton.dev/chains/v2/slsa",), ("https://tekton.dev/chains/v2/slsa-tekton",)),
    ),
    "the service account": (
        lambda s: spec(s).update(serviceAccountName="admin"),
        ("builder", "service account", ("builder",), ("admin",)),
    ),
    "what was made": (
        lambda s: s["subject"].append({"name": "more", "digest": {"sha256": OTHER}}),
        ("made", "more", (), (f"sha256:{OTHER}",)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_told_alone_and_in_both_directions(name: str) -> None:
    change, expected = CHANGES[name]
    other = build()
    change(other)
    found = difference(build(), other)
    assert told(found) == [expected]
    assert (found.exit_code, found.is_confirmed) == (1, True)
    section, what, a, b = expected
    assert told(difference(other, build())) == [(section, what, b, a)]


def test_times_the_run_and_the_order_of_lists_are_no_difference() -> None:
    other = build(uid="another")
    other["predicate"]["runDetails"]["metadata"] |= {
        "startedOn": "2026-01-01T00:00:00Z",
        "finishedOn": "2026-01-02T00:00:00Z",
    }
    definition(other)["resolvedDependencies"].reverse()
    spec(other)["params"].reverse()
    value = spec(other)["params"][0]["value"]
    spec(other)["params"][0]["value"] = {name: value[name] for name in reversed(value)}
    found = difference(build(), other)
    assert told(found) == []
    assert found.exit_code == 0
    assert difference_to_text(found, 100).startswith("SAME no difference\n  A  VERIFIED ")


@pytest.mark.parametrize("kinds", ["own and tasks", "tasks", "one task"])
def test_results_are_compared_without_the_name_of_the_run(kinds: str) -> None:
    def with_results(run: str, value: str) -> Json:
        names = {
            "own and tasks": [
                f"pipelineRunResults/{run}/a",
                f"taskRunResults/{run}-build/b",
                f"stepResults/{run}-test-0/c",
            ],
            "tasks": [f"taskRunResults/{run}-build/b", f"stepResults/{run}-test-0/c"],
            "one task": [f"taskRunResults/{run}/b", f"stepResults/{run}/c"],
        }[kinds]
        content = base64.b64encode(json.dumps(value).encode()).decode()
        made = build(uid=run)
        made["predicate"]["runDetails"]["byproducts"] = [
            {"name": name, "content": content, "mediaType": "application/json"} for name in names
        ]
        return made

    assert told(difference(with_results("release-x2x2x", "1"), with_results("release-zz9zz", "1"))) == []
    changed = told(difference(with_results("release-x2x2x", "1"), with_results("release-zz9zz", "2")))
    assert {name for _, name, _, _ in changed} == {
        "own and tasks": {"a", "build/b", "step of test-0/c"},
        "tasks": {"build/b", "step of test-0/c"},
        "one task": {"b", "step/c"},
    }[kinds]


@settings(deadline=None)
@given(st.permutations(range(5)), st.permutations(range(2)))
def test_any_order_is_no_difference(dependencies: list[int], parameters: list[int]) -> None:
    other = build()
    listed = definition(other)["resolvedDependencies"]
    definition(other)["resolvedDependencies"] = [listed[number] for number in dependencies]
    spec(other)["params"] = [spec(other)["params"][number] for number in parameters]
    assert told(difference(build(), other)) == []


def test_isolation_signer_and_type_are_compared() -> None:
    a = page(form_a(build()), form_a(report()))
    b = page(form_a(build()), form_a(report(level="partly")))
    assert told(compare(a, b)) == [("isolation", "hermetic level", ("enforced",), ("partly",))]
    without = compare(a, page(form_a(build())))
    assert ("isolation", "hermetic level", ("enforced",), ()) in told(without)
    stranger = page(form_a(build(), signer("stranger")), keys=[_public("stranger")])
    assert [(section, name) for section, name, _, _ in told(compare(page(form_a(build())), stranger))] == [
        ("signer", "provenance")
    ]
    old = compare(page(form_a(github_v1())), page(form_a(github_v02())))
    assert ("type", "provenance", (SLSA_V1,), (SLSA_V02,)) in told(old)
    assert ("source", "git+https://github.com/octo-org/octo-repo") in [
        (section, name) for section, name, _, _ in told(old)
    ]


def _public(name: str) -> Any:
    from tests.faults.verify.forge import public

    return public(name)


def test_both_sides_say_whether_they_were_confirmed() -> None:
    good, claimed = page(form_a(build())), page(form_a(build()), trusts=False)
    found = compare(good, claimed)
    assert (found.exit_code, found.is_confirmed, found.a.verdict, found.b.verdict) == (
        4,
        False,
        "VERIFIED",
        "UNVERIFIED",
    )
    text = difference_to_text(found, 100)
    assert text.startswith("DIFFERENT 1 difference, as claimed: not both sides were confirmed\n")
    assert "nobody was named to confirm it" in text
    assert told(found) == [
        (
            "signer",
            "provenance",
            (good.builds[0].confirmed[0].signer,),
            ("nobody who was confirmed",),
        )
    ]
    both = compare(claimed, claimed)
    assert (both.exit_code, told(both)) == (4, [])


@pytest.mark.parametrize(
    ("held", "code"),
    [([], 3), ([Broken()], 4), ([form_a(build(), signer("stranger"))], 1), ([form_a(build(subject=[subject(OTHER)]))], 1)],
)  # fmt: skip
def test_a_side_without_usable_evidence_is_not_compared(held: list[Json], code: int) -> None:
    for found in (compare(page(form_a(build())), page(*held)), compare(page(*held), page(form_a(build())))):
        assert (found.exit_code, found.is_compared, found.changes) == (code, False, ())
        assert found.to_json()["same"] is None
        assert difference_to_text(found, 100).startswith("NOT COMPARED ")


def test_equal_values_are_listed_only_when_asked_for() -> None:
    found = difference(build(), build())
    assert found.to_json()["changes"] == []
    everything = found.to_json(everything=True)["changes"]
    assert {one["kind"] for one in everything} == {"equal"}
    assert {one["section"] for one in everything} >= {
        "source",
        "parameters",
        "inputs",
        "builder",
        "signer",
        "made",
    }
    assert GIT not in difference_to_text(found, 100)
    assert GIT in difference_to_text(found, 100, everything=True)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_text(name: str) -> None:
    found = compare(page(hostile(HOSTILE[name], 0), trusts=False), page(form_a(build()), trusts=False))
    other = build(builder=HOSTILE[name])
    spec(other)["params"][0] = {"name": HOSTILE[name], "value": HOSTILE[name]}
    for one in (found, difference(build(), other)):
        for width in (40, 100):
            lines = difference_to_text(one, width, everything=True).split("\n")
            assert all(columns_of(line) <= width and line.isprintable() for line in lines)
        written = to_json(one.to_json(everything=True))
        assert written.isprintable()
        json.loads(written)
