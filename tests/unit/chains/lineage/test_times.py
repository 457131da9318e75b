"""Times: what is verified and what is only stated, periods, and what is older than the compromise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

import pytest

from chains.lineage.blast_radius import Window
from chains.lineage.signing import Searched, Trust
from chains.lineage.wanted import Wanted, dependency_wanted
from signers.formats.bundle import build_bundle
from signers.sigstore.trusted_root import TrustedRoot
from storage.record import Evidence
from tests.faults.verify.forge import envelope, evidence, public, signer, subject
from tests.testbed.forged_sigstore import Instance, encoded
from tests.testbed.forged_timestamps import Stamp
from tests.unit.chains.lineage.made import Json, Whole, asked, states

COMPROMISE = datetime(2025, 6, 3, tzinfo=UTC)
OLDER, NEWER = datetime(2025, 6, 2, tzinfo=UTC), datetime(2025, 6, 4, tzinfo=UTC)
ROOT_IMAGE = "0" * 64


@cache
def instance() -> Instance:
    return Instance.new()


@cache
def root() -> TrustedRoot:
    return TrustedRoot.from_bytes(json.dumps(instance().trusted_root(Instance.new())).encode())


def made(
    number: int,
    *,
    made_from: Sequence[int] = (0,),
    stamped: datetime | None = None,
    stated: str = "",
    key: str = "ours",
    stamp_of: Instance | None = None,
) -> Evidence:
    """Return provenance of image ``number`` from other images, with a timestamp if one is given."""
    dependencies = [
        {"uri": f"registry.example.com/{one}", "digest": {"sha256": f"{one}" * 64}} for one in made_from
    ]
    metadata: Json = {"invocationId": f"uid-{number}"} | ({"finishedOn": stated} if stated else {})
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject(f"{number}" * 64, f"image-{number}")],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://example.com/build",
                "externalParameters": {},
                "resolvedDependencies": dependencies,
            },
            "runDetails": {"builder": {"id": "https://example.com"}, "metadata": metadata},
        },
    }
    by = signer(key)
    signed = envelope(statement, by)
    stamps = []
    if stamped is not None:
        response = (stamp_of or instance()).timestamp(signed.signatures[0].sig, Stamp(stamped))
        stamps.append({"signedTimestamp": encoded(response)})
    return evidence(build_bundle(signed, by.keyid, timestamps=stamps), "bundle-v0.3")


def of_key(*held: Evidence, trust: Trust | None = None, window: Window = Window()) -> dict[str, str]:  # noqa: B008
    wanted = Wanted(Searched([public()]))
    return states(asked(wanted, Whole(*held), trust=trust or Trust(root=root()), window=window))


def test_what_a_verified_time_shows_to_be_older_than_the_compromise_is_told_apart() -> None:
    held = made(1, stamped=OLDER), made(2, stamped=NEWER), made(3), made(4, stated="2025-06-01T00:00:00Z")
    found = of_key(*held, window=Window(since=COMPROMISE))
    assert found == {"image-1": "before", "image-2": "verified", "image-3": "verified", "image-4": "verified"}


def test_without_a_trusted_root_no_time_is_verified_and_nothing_is_older() -> None:
    held = made(1, stamped=OLDER), made(2, stamped=NEWER)
    found = of_key(*held, trust=Trust(), window=Window(since=COMPROMISE))
    assert set(found.values()) == {"verified"}


def test_a_timestamp_by_a_stranger_makes_nothing_older() -> None:
    """A wrong timestamp takes the time away; the signature of the key stays what it is."""
    found = of_key(made(1, stamped=OLDER, stamp_of=Instance.new()), window=Window(since=COMPROMISE))
    assert found == {"image-1": "verified"}


@pytest.mark.parametrize("moments", [(NEWER, OLDER), (OLDER, NEWER)])
def test_the_earliest_verified_time_of_all_copies_counts(moments: tuple[datetime, datetime]) -> None:
    wanted = Wanted(Searched([public()]))
    by = signer()
    signed = envelope(
        json.loads(
            '{"_type":"https://in-toto.io/Statement/v1","predicateType":"a","subject":'
            '[{"name":"image-1","digest":{"sha256":"' + "1" * 64 + '"}}],"predicate":{}}'
        )
    )
    copies = []
    for moment in moments:
        stamp = {"signedTimestamp": encoded(instance().timestamp(signed.signatures[0].sig, Stamp(moment)))}
        copies.append(evidence(build_bundle(signed, by.keyid, timestamps=[stamp]), "bundle-v0.3"))
    found = asked(wanted, Whole(*copies), trust=Trust(root=root()), window=Window(since=COMPROMISE))
    assert states(found) == {"image-1": "before"}
    assert len(found.collected.claims) == 1


def test_what_was_made_of_something_touched_before_the_compromise_is_older_too() -> None:
    """Its input existed then, with these very bytes."""
    held = made(1), made(2, made_from=[1], stamped=OLDER), made(3, made_from=[1], stamped=NEWER)
    wanted = Wanted(dependencies=[dependency_wanted(f"sha256:{ROOT_IMAGE}")])
    found = asked(wanted, Whole(*held), trust=Trust([public()], root=root()), window=Window(since=COMPROMISE))
    assert states(found) == {"image-1": "verified", "image-2": "before", "image-3": "verified"}


def test_an_artifact_that_another_way_leads_to_is_touched_by_that_way() -> None:
    held = made(1, stamped=OLDER), made(2), made(3, made_from=[1, 2])
    found = of_key(*held, window=Window(since=COMPROMISE))
    assert found == {"image-1": "before", "image-2": "verified", "image-3": "verified"}


def test_only_what_was_touched_before_leads_to_what_is_older() -> None:
    stranger = made(3, made_from=[1], key="stranger")
    found = of_key(made(1, stamped=OLDER), stranger, window=Window(since=COMPROMISE))
    assert found == {"image-1": "before", "image-3": "before"}


@pytest.mark.parametrize(
    ("window", "images"),
    [
        (Window(start=COMPROMISE), {"image-2", "image-3", "image-5"}),
        (Window(end=COMPROMISE), {"image-1", "image-3", "image-4"}),
        (Window(start=OLDER, end=NEWER), {"image-1", "image-3"}),
        (Window(), {"image-1", "image-2", "image-3", "image-4", "image-5"}),
    ],
)
def test_a_period_selects_by_verified_time_else_by_stated_time_and_keeps_what_has_none(
    window: Window, images: set[str]
) -> None:
    held = (
        made(1, stamped=OLDER, stated="2030-01-01T00:00:00Z"),
        made(2, stamped=NEWER, stated="2020-01-01T00:00:00Z"),
        made(3),
        made(4, stated="2025-06-01T00:00:00Z"),
        made(5, stated="2025-06-05T00:00:00+02:00"),
    )
    assert of_key(*held, window=window).keys() == images


def test_what_a_period_leaves_out_is_counted_by_the_kind_of_its_time() -> None:
    held = made(1, stamped=OLDER), made(4, stated="2025-06-01T00:00:00Z"), made(5)
    wanted = Wanted(Searched([public()]))
    found = asked(wanted, Whole(*held), trust=Trust(root=root()), window=Window(start=COMPROMISE))
    assert (states(found), found.matching, found.left_out) == ({"image-5": "verified"}, 3, (1, 1))


def test_a_period_selects_what_matches_and_not_what_was_made_of_it() -> None:
    held = made(1, stamped=OLDER), made(2, made_from=[1], stamped=NEWER, key="stranger")
    assert of_key(*held, window=Window(end=COMPROMISE)) == {"image-1": "verified", "image-2": "claimed"}


@pytest.mark.parametrize(
    "text", ["yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1" * 5000]
)
def test_a_time_that_is_none_is_no_time(text: str) -> None:
    found = of_key(made(1, stated=text), window=Window(start=COMPROMISE))
    assert found == {"image-1": "verified"}


def test_a_period_begins_with_its_first_moment_and_ends_before_its_last_one() -> None:
    held = made(1, stamped=OLDER), made(2, stamped=NEWER)
    assert of_key(*held, window=Window(start=NEWER)).keys() == {"image-2"}
    assert of_key(*held, window=Window(end=NEWER)).keys() == {"image-1"}


def test_the_moment_of_the_compromise_is_not_before_it() -> None:
    assert of_key(made(1, stamped=OLDER), window=Window(since=OLDER)) == {"image-1": "verified"}


def test_a_wrong_timestamp_makes_a_statement_of_somebody_trusted_a_claim_as_verify_does() -> None:
    wanted = Wanted(dependencies=[dependency_wanted(f"sha256:{ROOT_IMAGE}")])
    trust = Trust([public()], root=root())
    held = made(1, stamped=OLDER, stamp_of=Instance.new()), made(2, stamped=OLDER)
    assert states(asked(wanted, Whole(*held), trust=trust)) == {"image-1": "claimed", "image-2": "verified"}


def test_the_time_that_a_store_states_counts_where_the_statement_has_none() -> None:
    told = {"created": "2025-06-01T00:00:00Z"}
    held = replace(made(1), **told), replace(made(2, stated="2025-06-05T00:00:00Z"), **told)
    found = asked(Wanted(Searched([public()])), Whole(*held), window=Window(start=COMPROMISE))
    assert (states(found), found.left_out) == ({"image-2": "verified"}, (0, 1))
