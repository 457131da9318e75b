"""What a statement says about its run: units, what is missing, and predicates that nobody would write."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.index.codes import Kind, Level, Outcome, Verdict
from chains.index.names import name_of, source_of
from chains.index.reading import Reader, Unindexable
from chains.index.run_facts import read_provenance, read_report
from chains.lineage.statement_facts import read_facts
from chains.statements.statement import parse_statement
from storage.record import Origin
from tests.unit.chains.index.made import (
    NOW,
    SCAI,
    SLSA,
    UID,
    VSA,
    Signer,
    dsse,
    provenance,
    report,
    statement,
    subject,
    trust,
)

Json = Any
SIGNER = Signer()
TRUST = trust(SIGNER)


def said(members: Json) -> Json:
    import json

    return parse_statement(json.dumps(members).encode())


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("oci://registry.example:5000/shop:1@sha256:" + "a" * 64, "registry.example:5000/shop"),
        ("docker-pullable://registry.example/shop@sha256:aa", "registry.example/shop"),
        ("registry.example:5000/shop", "registry.example:5000/shop"),
        ("alpine:3", "alpine"),
        ("git+https://git.example/a/b.git@refs/heads/main", "https://git.example/a/b"),
        ("git+https://user@git.example/a/b@" + "a" * 40, "https://git.example/a/b"),
        ("https://git.example/a/b.git", "https://git.example/a/b"),
        ("git+ssh://git@git.example/a/b.git?x=1#y", "ssh://git.example/a/b"),
        ("pkg:pypi/requests@2.0", "pkg:pypi/requests@2.0"),
        ("https://example.com/file.tar.gz", "https://example.com/file.tar.gz"),
        ("", ""),
    ],
)
def test_a_name_has_no_transport_digest_tag_or_revision(uri: str, name: str) -> None:
    assert name_of(uri) == name


def test_a_source_is_a_repository_even_if_nothing_in_its_uri_says_so() -> None:
    assert source_of("https://git.example/a/b@main") == "https://git.example/a/b"


@pytest.mark.parametrize(
    ("cpu", "memory", "thousandths", "mebibytes"),
    [
        ("2", "1Gi", 2000 * 600, 1024 * 600),
        ("100m", "1M", 100 * 600, 572),
        ("1e3m", "5e8", 0, 286102),
        (1, "0.5Ki", 600_000, 0),
        ("-1", "x", 0, 0),
        (None, {}, 0, 0),
        ("9" * 30, "1Ei", 2**62, 600 * 2**40),
    ],
)
def test_requests_count_for_the_seconds_that_a_container_ran(
    cpu: Json, memory: Json, thousandths: int, mebibytes: int
) -> None:
    members = report(1)
    members["predicate"]["attributes"][4]["conditions"]["resources"]["requests"] = {
        "cpu": cpu,
        "memory": memory,
    }
    found = read_report(said(members))
    assert found is not None
    assert (found.cpu, found.memory) == (thousandths, mebibytes)


def test_a_report_without_a_pod_leaves_what_only_a_pod_shows_unknown() -> None:
    members = report(1)
    members["predicate"]["attributes"] = members["predicate"]["attributes"][:1]
    found = read_report(said(members))
    assert found is not None
    assert (found.kind, found.outcome, found.level) == (Kind.TASKRUN, Outcome.SUCCEEDED, Level.NONE)
    assert (found.cpu, found.memory, found.pod_wait, found.step_wait, found.steps) == (
        None,
        None,
        None,
        None,
        (),
    )


@pytest.mark.parametrize("kind", ["https://provenance.chains/ledger-day/v1", "other", VSA])
def test_what_names_no_run_is_indexed_without_one_whatever_its_store_says(kind: str) -> None:
    origin = Origin("ledger", "share-0-of-1", "2026-03-02", UID(7))
    entry = Reader(TRUST, NOW).read(
        dsse(SIGNER.envelope(statement(kind, {}, subject("2026-03-02.jsonl"))), "", origin)
    )
    assert (entry.verdict, entry.uid) == (Verdict.VERIFIED, "")


def test_other_attribute_reports_say_nothing_about_a_run() -> None:
    assert (
        read_report(said(statement(SCAI, {"attributes": [{"attribute": "VALID_ENCLAVE"}]}, subject("a"))))
        is None
    )
    assert read_report(said(provenance(1))) is None
    other = said(report(1))
    assert read_provenance(other, read_facts(other)) is None


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.sampled_from(["2026-11-18T09:00:00Z", "1Gi", "step/x", "taskrun/a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Json, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the places of all values in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(found for key, inner in items for found in paths(inner, (*at, key)))]


MADE = [report(1)["predicate"], provenance(1)["predicate"]]
PLACES = [
    (kind, number, path) for number, kind in enumerate((SCAI, SLSA)) for path in paths(MADE[number])[1:]
]


@given(st.sampled_from(PLACES), VALUES)
def test_whatever_stands_where_in_a_predicate_it_is_indexed_or_refused_as_what_it_is(
    place: tuple[str, int, tuple[Any, ...]], value: Json
) -> None:
    kind, number, path = place
    predicate = copy.deepcopy(MADE[number])
    inside = predicate
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    read(statement(kind, predicate, subject("a")))


@given(
    st.sampled_from([SCAI, SLSA, VSA, "https://slsa.dev/provenance/v0.2", "other"]),
    st.dictionaries(st.text(), VALUES, max_size=3),
)
def test_a_predicate_of_anything_is_indexed_or_refused_as_what_it_is(kind: str, predicate: Json) -> None:
    read(statement(kind, predicate, subject("a")))


def read(members: Json) -> None:
    evidence = dsse(SIGNER.envelope(members))
    refused = ""
    try:
        entry = Reader(TRUST, NOW).read(evidence)
        assert entry.facts.products
    except Unindexable as error:
        refused = str(error)
    assert "please report it" not in refused
