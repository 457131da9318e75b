"""What cannot be read: it is told, and the answer is never that nothing is touched."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from chains.lineage import graph
from chains.lineage.signing import Searched
from chains.lineage.wanted import Wanted, dependency_wanted
from storage.errors import StoreUnavailable
from storage.parts import Part
from storage.record import Evidence, SkipKind, Skipped
from tests.faults.verify.forge import evidence, form_a, image_signature, provenance, public, subject
from tests.unit.chains.lineage.made import Whole, asked, states

KEY = Wanted(Searched([public()]))
NOBODY = Wanted(Searched([public("nobody")]))


def test_a_store_that_ends_in_the_middle_keeps_what_it_gave_and_makes_the_answer_undecided() -> None:
    found = asked(KEY, Whole(form_a(provenance()), error=StoreUnavailable("it answered 503")))
    assert (found.exit_code, found.touched) == (4, 1)
    assert [(one.store, one.reason) for one in found.collected.problems] == [("whole:", "it answered 503")]
    assert asked(NOBODY, Whole(error=StoreUnavailable("away"))).exit_code == 4


class Defective(Whole):
    """A store with a defect of its own."""

    async def scan(self) -> AsyncIterator[Part]:
        yield Part(self._findings, 1)
        raise RecursionError("of ours")


def test_a_defect_of_one_store_hides_no_other_and_makes_the_answer_undecided() -> None:
    found = asked(NOBODY, Defective(form_a(provenance()), url="first:"), Whole(form_a(provenance())))
    assert (found.exit_code, found.collected.pieces) == (4, 2)
    (problem,) = found.collected.problems
    assert (problem.store, problem.reason) == (
        "first:",
        "unexpected RecursionError: of ours; please report it",
    )


def test_one_store_that_fails_hides_no_other() -> None:
    found = asked(KEY, Whole(error=StoreUnavailable("away"), url="first:"), Whole(form_a(provenance())))
    assert (found.exit_code, found.touched) == (4, 1)


@pytest.mark.parametrize("url", ["oci:", "archivista:http://localhost:1", "kafka://localhost:1/topic"])
def test_a_store_that_cannot_list_says_so(url: str) -> None:
    found = asked(KEY, url)
    assert found.exit_code == 4
    assert "cannot list" in found.collected.problems[0].reason


def test_a_folder_that_is_not_there_is_not_empty(tmp_path: Path) -> None:
    for url in (f"oci-layout:{tmp_path / 'gone'}", f"file:{tmp_path / 'gone'}"):
        assert asked(KEY, url).exit_code == 4


def changed_digest() -> Evidence:
    return replace(form_a(provenance()), digest="sha256:" + "0" * 64)


BROKEN = {
    "no JSON": evidence(b"{", "dsse"),
    "no envelope": evidence(b"{}", "dsse"),
    "no bundle": evidence(b'{"verificationMaterial": {}}', "bundle-v0.3"),
    "an unknown format": evidence(b"{}", "msgpack"),
    "no statement": form_a({"hello": "world"}),
    "two readings": form_a(
        b'{"_type":"https://in-toto.io/Statement/v1","_TYPE":"x","predicateType":"a","subject":[]}'
    ),
    "too deep": form_a(provenance(extra={"a": json.loads("[" * 130 + "]" * 130)})),
    "a subject without digest": form_a(provenance(subject=[{"name": "a"}])),
    "a subject with a digest that is too long": form_a(provenance(subject=[subject("ab" * 200)])),
    "bytes that changed": changed_digest(),
    "an image signature without image": image_signature(value="0"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_evidence_that_is_broken_is_told_and_hides_no_other(what: str) -> None:
    good = form_a(provenance(subject("1" * 64)))
    found = asked(KEY, Whole(BROKEN[what], good))
    assert (found.exit_code, found.touched, found.collected.unread) == (4, 1, 1)
    assert asked(NOBODY, Whole(BROKEN[what])).exit_code == 4


def test_what_the_store_could_not_read_is_told_and_what_is_something_else_is_not() -> None:
    skipped = (
        Skipped("here", "", "too large"),
        Skipped("there", "", "an SBOM", SkipKind.FOREIGN),
    )
    found = asked(NOBODY, Whole(form_a(provenance()), skipped=skipped))
    assert found.exit_code == 4
    assert [one.location for one in found.collected.problems] == ["here"]
    foreign = asked(NOBODY, Whole(form_a(provenance()), skipped=skipped[1:]))
    assert foreign.exit_code == 0


def test_many_problems_are_counted_to_the_end_and_the_first_are_kept() -> None:
    skipped = tuple(Skipped(f"place {number}", "", "too large") for number in range(1200))
    collected = asked(NOBODY, Whole(skipped=skipped)).collected
    assert (collected.unread, len(collected.problems)) == (1200, 1000)


def test_statements_beyond_the_limit_are_left_out_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "MOST_LINKS", 2)
    held = [form_a(provenance(subject(f"{number}" * 64, f"image-{number}"))) for number in range(1, 5)]
    found = asked(KEY, Whole(*held))
    assert (found.exit_code, found.collected.unread) == (4, 1)
    assert states(found).keys() == {"image-1", "image-2"}
    assert "the rest was left out" in found.collected.problems[0].reason


@pytest.mark.parametrize("limit", ["MOST_ENDS", "MOST_ARTIFACTS"])
def test_a_statement_of_too_many_inputs_is_left_out_and_a_small_one_still_fits(
    limit: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graph, limit, 10)
    many = provenance(subject("1" * 64, "many"))
    many["predicate"]["buildDefinition"]["resolvedDependencies"] = [
        {"uri": f"a{number}", "digest": {"sha256": f"{number:064x}"}} for number in range(20)
    ]
    found = asked(KEY, Whole(form_a(many), form_a(provenance(subject("2" * 64, "few")))))
    assert states(found) == {"few": "verified"}
    assert found.exit_code == 4


def test_a_hundred_thousand_dependencies_are_one_statement() -> None:
    many = provenance(subject("1" * 64, "many"))
    many["predicate"]["buildDefinition"]["resolvedDependencies"] = [
        {"uri": f"a{number}", "digest": {"sha256": f"{number:064x}"}} for number in range(100_000)
    ]
    found = asked(Wanted(dependencies=[dependency_wanted(f"sha256:{99_999:064x}")]), Whole(form_a(many)))
    assert (states(found), found.exit_code) == ({"many": "claimed"}, 1)
    assert found.collected.graph.artifact_count == 100_001
