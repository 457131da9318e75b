"""An update notices what is gone: it ends as a fresh build does, and a store that is not read whole removes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.index.codes import Level, Verdict, clean, place_parts
from chains.index.database import Place
from chains.index.upkeep.gone import Seen
from storage.errors import StoreUnavailable
from storage.record import Evidence, Skipped
from tests.unit.chains.index.made import (
    LATER,
    SLSA,
    VSA,
    Held,
    Signer,
    about,
    built,
    bundle,
    content,
    dsse,
    file_at,
    provenance,
    report,
    rows,
    statement,
    subject,
    trust,
    updated,
)

OWN, STRANGER = Signer(), Signer()
TRUST = trust(OWN)


def evidence() -> list[Evidence]:
    """Return the evidence of three runs and a summary, in both forms."""
    vsa = {
        "verifier": {"id": "https://verifier.example"},
        "timeVerified": "2026-11-18T10:00:00Z",
        "resourceUri": "registry.example/shop/app",
        "policy": {"uri": "https://policy.example"},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_2"],
    }
    made = [
        OWN.envelope(provenance(1)),
        OWN.envelope(report(1)),
        OWN.envelope(report(1, level="partly")),
        OWN.envelope(provenance(2)),
        STRANGER.envelope(report(2)),
        STRANGER.envelope(provenance(3, image="registry.example/shop/other")),
        OWN.envelope(statement(VSA, vsa, subject("registry.example/shop/app"))),
    ]
    return [make(one) for one in made for make in (dsse, bundle)]


def without_times(place: Place) -> dict[str, list[tuple[object, ...]]]:
    """Return what an index has but for when it was checked, and orphaned notes."""
    found = content(place)
    return {name: some for name, some in found.items() if name not in {"store", "unread"}}


def test_a_statement_whose_last_copy_is_gone_is_removed_and_counted(tmp_path: Path) -> None:
    place, store = file_at(tmp_path / "index.db"), Held(*evidence())
    built(place, TRUST, store)
    other = "sha256:" + subject("registry.example/shop/other")["digest"]["sha256"]
    store.held = [one for one in store.held if other not in about(one)]
    ingested = updated(place, TRUST, store)
    assert (ingested.removed, ingested.removed_copies, ingested.failed) == (1, 2, {})
    assert {one["name"] for one in rows(place, "subject")} == {"registry.example/shop/app"}
    assert rows(place, "attestation", verdict=int(Verdict.FAILED), predicate=SLSA) == []
    assert "registry.example/shop/other" not in {one["name"] for one in rows(place, "named")}


def test_a_statement_with_another_copy_stays(tmp_path: Path) -> None:
    place, store = file_at(tmp_path / "index.db"), Held(*evidence())
    built(place, TRUST, store)
    before = rows(place, "attestation")
    store.held = store.held[1:]
    ingested = updated(place, TRUST, store)
    assert (ingested.removed, ingested.removed_copies) == (0, 1)
    assert len(rows(place, "attestation")) == len(before)
    assert len(rows(place, "location")) == len(store.held)


def test_what_a_removed_report_said_about_its_run_is_forgotten(tmp_path: Path) -> None:
    place = file_at(tmp_path / "index.db")
    said, told = (dsse(OWN.envelope(report(1, level=level))) for level in ("enforced", "partly"))
    for gone, left, level in ((said, told, Level.PARTLY), (told, said, Level.ENFORCED)):
        store = Held(said, told, dsse(OWN.envelope(provenance(1))))
        built(place, TRUST, store)
        store.held.remove(gone)
        updated(place, TRUST, store)
        (run,) = rows(place, "run")
        assert run["level"] == level
        assert {one["level"] for one in rows(place, "attestation")} == {level}
        assert left in store.held


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_an_update_after_any_change_ends_as_a_fresh_build(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("index")
    everything = evidence()
    some = st.lists(st.sampled_from(range(len(everything))), unique=True)
    first, second = Held(url="held:1"), Held(url="held:2")
    place, fresh = file_at(folder / "index.db"), file_at(folder / "fresh.db")
    for number in range(3):
        for store in (first, second):
            store.held = [everything[one] for one in data.draw(some)]
        ingested = (updated if number else built)(place, TRUST, first, second)
        assert ingested.failed == {}
        assert not any("stay" in note for note in ingested.notes)
    built(fresh, TRUST, first, second)
    assert without_times(place) == without_times(fresh)


def test_a_store_that_fails_removes_nothing(tmp_path: Path) -> None:
    place, store = file_at(tmp_path / "index.db"), Held(*evidence())
    built(place, TRUST, store)
    before = without_times(place)
    store.held = store.held[:1]
    store.error = StoreUnavailable("it does not answer")
    assert updated(place, TRUST, store).removed_copies == 0
    assert without_times(place) == before


def test_while_one_store_fails_nothing_is_removed_from_another(tmp_path: Path) -> None:
    place = file_at(tmp_path / "index.db")
    first, second = Held(*evidence(), url="held:1"), Held(url="held:2")
    built(place, TRUST, first, second)
    before = without_times(place)
    first.held, second.error = [], StoreUnavailable("it does not answer")
    ingested = updated(place, TRUST, first, second)
    assert ingested.removed_copies == 0
    assert "not all stores of the index were read" in " ".join(ingested.notes)
    assert without_times(place) == before
    # neither if the update is about one of the stores alone
    assert updated(place, TRUST, first).removed_copies == 0
    second.error = None
    assert updated(place, TRUST, first, second).removed == 7


def test_a_store_that_cannot_list_everything_removes_nothing(tmp_path: Path) -> None:
    place, store = file_at(tmp_path / "index.db"), Held(*evidence(), unseen="cannot list all")
    built(place, TRUST, store)
    store.held = []
    assert updated(place, TRUST, store).removed_copies == 0
    assert len(rows(place, "attestation")) == 7


def test_evidence_that_cannot_be_read_this_time_is_not_gone(tmp_path: Path) -> None:
    place, store = file_at(tmp_path / "index.db"), Held(*evidence())
    built(place, TRUST, store)
    broken, *store.held, lost = store.held
    store.skipped = [Skipped(broken.location, "", "input/output error")]
    # of the other place it is known that nothing lies there
    ingested = updated(place, TRUST, store)
    assert (ingested.removed, ingested.removed_copies, ingested.unread) == (0, 1, 1)
    left = {bytes(one["digest"]).hex() for one in rows(place, "location")}
    assert broken.digest.removeprefix("sha256:") in left
    assert lost.digest.removeprefix("sha256:") not in left


def test_something_new_that_cannot_be_read_may_hold_what_is_missing(tmp_path: Path) -> None:
    place, store = file_at(tmp_path / "index.db"), Held(*evidence())
    built(place, TRUST, store)
    store.held = store.held[2:]
    store.skipped = [Skipped("a folder of evidence", "", "permission denied")]
    assert updated(place, TRUST, store).removed_copies == 0
    # the same that was there before the evidence was gone does not keep it for ever
    assert updated(place, TRUST, store, now=LATER).removed_copies == 2


def test_a_store_that_does_not_answer_a_second_question_leaves_rows_as_they_are(tmp_path: Path) -> None:
    place, store = file_at(tmp_path / "index.db"), Held(*evidence())
    built(place, TRUST, store)
    before = without_times(place)
    store.held = store.held[1:]
    store.find_error = StoreUnavailable("it does not answer")
    ingested = updated(place, TRUST, store)
    assert ingested.removed_copies == 0
    assert "statements stay as they were: held:: it does not answer" in ingested.notes[-1]
    assert without_times(place) == before
    store.find_error = None
    assert updated(place, TRUST, store).removed_copies == 1


def test_evidence_that_was_replaced_at_its_place_is_gone_and_the_new_one_is_there(tmp_path: Path) -> None:
    place, store = file_at(tmp_path / "index.db"), Held(dsse(OWN.envelope(report(1)), "here"))
    built(place, TRUST, store)
    store.held = [replace(dsse(OWN.envelope(report(1, level="partly"))), location="here")]
    ingested = updated(place, TRUST, store)
    assert (ingested.removed, ingested.removed_copies, ingested.new[Verdict.VERIFIED]) == (1, 1, 1)
    assert [one["level"] for one in rows(place, "attestation")] == [Level.PARTLY]


def test_places_with_odd_and_long_names_are_found_again(tmp_path: Path) -> None:
    names = (
        "a" * 5000 + "/b",
        "nul\x00/lone\ud800",
        "back\\slash/\u202e",
        f"x@sha256:{'a' * 64}",
        "c" * 3000,
    )
    odd = [dsse(OWN.envelope(report(number)), name) for number, name in enumerate(names)]
    place, store = file_at(tmp_path / "index.db"), Held(*odd)
    built(place, TRUST, store)
    assert updated(place, TRUST, store).removed_copies == 0
    assert len(rows(place, "location")) == len(odd)


@pytest.mark.parametrize(
    "folder",
    ["layout", "back\\slash", "nul\x00", "a" * 3000, "b" * 350],
    ids=["plain", "backslash", "nul", "cut", "long"],
)
def test_places_that_a_store_knows_to_be_unchanged_are_found_again(folder: str) -> None:
    seen, digest = Seen(), "ab" * 32
    seen.whole(f"{folder}@sha256:{digest}")
    kept, end = place_parts(f"{folder}@sha256:{digest}", b"another digest")
    assert seen.has(b"another digest", clean(kept), end)
    assert seen.has(bytes.fromhex(digest), clean(kept), b"")
    assert seen.has(b"x", clean(kept), end + b"\x01" * 32)
    assert not seen.has(b"another digest", clean(kept), b"\x01" * 32)
    assert not seen.has(b"another digest", "elsewhere@sha256:", end)
