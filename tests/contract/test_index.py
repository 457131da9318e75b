"""The index in every database: what it has of verified and other evidence, and that it is the same however it came about."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from chains.errors import UsageError
from chains.index import export as exporting
from chains.index import ingest as ingesting
from chains.index import target as targets
from chains.index.codes import Kind, Level, Outcome, Role, Verdict, original, uid_bytes
from chains.index.database import Place, place_of
from chains.index.errors import IndexAbsent, IndexUnavailable
from chains.index.ingest import Ingested, ingest
from chains.index.query.answer import ask
from chains.index.query.parse import parse
from chains.index.query.relatives import collect_relatives
from chains.index.reading import Trust
from chains.index.sharing import sharing
from chains.index.upkeep.shard import Shard
from chains.lineage.ancestry import Ancestry, ancestry
from chains.lineage.family_tree import to_json as as_json
from chains.lineage.signing import Trust as Judged
from chains.verify.criteria import CertificateWanted, Criteria, NameWanted
from signers.keys.keyfile import generate_key, write_key_pair
from signers.keys.public_key import load_public_keys
from storage.errors import StoreUnavailable
from storage.record import SIMPLE_SIGNING_FORMAT, Evidence, Origin, Skipped
from tests.faults.verify import sigstore
from tests.testbed import postgres
from tests.unit.chains.index.made import (
    LATER,
    NOW,
    UID,
    VSA,
    Held,
    Signer,
    built,
    bundle,
    content,
    dsse,
    file_at,
    found,
    provenance,
    report,
    rows,
    statement,
    subject,
    trust,
    updated,
)
from tests.unit.chains.lineage.made import Whole, attest, family, run_of

OWN, STRANGER = Signer(), Signer()
TRUST = trust(OWN)
STRANGE = CertificateWanted(NameWanted("https://other.example"), NameWanted(sigstore.ISSUER))


class Servers:
    """Servers of PostgreSQL, started when a test needs one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._started: dict[str, postgres.Postgres] = {}

    def of(self, version: str) -> postgres.Postgres:
        if version not in self._started:
            self._started[version] = self._stack.enter_context(postgres.postgres(version, self._folder))
        return self._started[version]

    def stop(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def postgres_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    servers = Servers(tmp_path_factory.mktemp("postgres"))
    yield servers
    servers.stop()


POSTGRES = [pytest.param(version, marks=pytest.mark.server) for version in postgres.VERSIONS]


def database(request: pytest.FixtureRequest, version: str) -> tuple[postgres.Postgres, Place]:
    if version == "debian" and not postgres.is_installed() and not os.environ.get("CI"):
        pytest.skip("Debian's PostgreSQL is not installed")
    server = request.getfixturevalue("postgres_servers").of(version)
    return server, place_of(server.emptied())


@pytest.fixture(params=["sqlite", *POSTGRES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database of its own."""
    return (
        file_at(tmp_path / "index.db") if request.param == "sqlite" else database(request, request.param)[1]
    )


def signature(payload: object, place: str) -> Evidence:
    """Return an image signature in the older form."""
    data = json.dumps(payload).encode()
    one = found(data, SIMPLE_SIGNING_FORMAT, place)
    return replace(one, signature=b"no signature")


def two_runs() -> list[Evidence]:
    """Return the evidence of two runs, one of which a stranger signed, in both forms."""
    first = [OWN.envelope(one) for one in (provenance(1), report(1))]
    second = [STRANGER.envelope(one) for one in (provenance(2), report(2))]
    envelopes = [*first, *second]
    return [make(one) for one in envelopes for make in (dsse, bundle)]


def test_a_verified_statement_is_indexed_with_its_signer_and_all_that_it_says_about_its_run(
    place: Place,
) -> None:
    ingested = built(place, TRUST, Whole(*two_runs()))
    assert (ingested.pieces, ingested.unread, ingested.new) == (
        8,
        0,
        {Verdict.VERIFIED: 2, Verdict.FAILED: 2},
    )
    (said,) = rows(place, "attestation", signer=OWN.key.keyid, predicate="https://slsa.dev/provenance/v1")
    assert said["verdict"] == Verdict.VERIFIED
    assert (said["reason"], said["detail"]) == (None, None)
    assert said["checked"] == int(NOW.timestamp())
    # what only the report says, too
    assert (said["namespace"], said["level"], said["outcome"]) == ("ci", Level.ENFORCED, Outcome.SUCCEEDED)
    (reported,) = rows(
        place, "attestation", signer=OWN.key.keyid, predicate="https://in-toto.io/attestation/scai/v0.3"
    )
    # what only the provenance says, too
    assert reported["pipeline"] == "release"
    assert reported["builder"] == "https://ci.example/tekton"
    assert reported["repository"] == "https://git.example/shop"
    (run,) = rows(place, "run", verdict=0)
    assert bytes(run.pop("uid")) == uid_bytes(UID(1))
    assert bytes(run.pop("commit")) == bytes.fromhex("a" * 40)
    run.pop("id")
    assert run == {
        "verdict": 0,
        "report": reported["id"],
        "provenance": said["id"],
        "kind": Kind.TASKRUN,
        "namespace": "ci",
        "name": "run-1",
        "pipeline": "release",
        "task": None,
        "builder": "https://ci.example/tekton",
        "repository": "https://git.example/shop",
        "trigger": "github/push",
        "sender": "alice",
        "account": "builder",
        "node": "node-7",
        "outcome": Outcome.SUCCEEDED,
        "reason": "Succeeded",
        "created": None,
        "started": 1794992400,
        "finished": 1794993311,
        "pod_wait": 5,
        "step_wait": 10,
        "retries": 1,
        "cpu": 300_000,
        "memory": 614_400,
        "spot_wish": True,
        "level": Level.ENFORCED,
        "level_reason": "no network",
    }
    (step,) = rows(place, "step")
    assert bytes(step.pop("digest")) == bytes.fromhex("b" * 64)
    assert step == {
        "run": step["run"],
        "position": 0,
        "name": "build",
        "image": "registry.example/tools/builder",
        "exit_code": 0,
        "ended_as": "Completed",
        "started": 1794992415,
        "finished": 1794993015,
    }


def test_what_was_made_and_used_is_found_by_digest_and_by_name(place: Place) -> None:
    built(place, TRUST, Whole(dsse(OWN.envelope(provenance(1)))))
    (made,) = rows(place, "subject")
    assert bytes(made["digest"]) == hashlib.sha256(b"registry.example/shop/app").digest()
    assert (made["name"], made["algorithm"]) == ("registry.example/shop/app", "sha256")
    assert [one["finished"] for one in rows(place, "used")] == [1794993311] * 4
    used = {
        (bytes(one["digest"]).hex(), one["algorithm"], one["role"], one["name"])
        for one in rows(place, "material")
    }
    assert used == {
        ("a" * 40, "sha1", Role.SOURCE, "https://git.example/shop"),
        ("b" * 64, "sha256", Role.STEP_IMAGE, "registry.example/tools/builder"),
    }
    assert {(one["name"], one["role"]) for one in rows(place, "named")} == {
        ("registry.example/shop/app", Role.SUBJECT),
        ("https://git.example/shop", Role.SOURCE),
        ("registry.example/tools/builder", Role.STEP_IMAGE),
        ("release", Role.TASK),
    }


def test_what_did_not_verify_is_indexed_with_the_reason_and_says_nothing_about_a_run(place: Place) -> None:
    built(place, TRUST, Whole(*two_runs()))
    failed = rows(place, "attestation", verdict=int(Verdict.FAILED))
    assert {(one["signer"], one["reason"]) for one in failed} == {(None, "key_unknown")}
    assert all(OWN.key.keyid in one["detail"] for one in failed)
    (run,) = rows(place, "run", verdict=int(Verdict.FAILED))
    assert (run["name"], run["level"], run["outcome"], run["report"], run["provenance"]) == (
        "run-2",
        0,
        0,
        None,
        None,
    )
    assert len(rows(place, "step")) == 1


def test_a_stranger_cannot_change_what_is_known_about_a_run(place: Place) -> None:
    honest = dsse(OWN.envelope(report(1, level="partly", outcome="failed")))
    forged = [
        dsse(STRANGER.envelope(report(1, level="enforced", namespace="other", name="nice"))),
        dsse(STRANGER.envelope(provenance(1, pipeline="nice", builder="https://nice.example"))),
    ]
    for order in ([honest, *forged], [*forged, honest]):
        built(place, TRUST, *(Whole(one, url=f"whole:{number}") for number, one in enumerate(order)))
        (run,) = rows(place, "run")
        assert (run["verdict"], run["level"], run["outcome"]) == (
            Verdict.VERIFIED,
            Level.PARTLY,
            Outcome.FAILED,
        )
        assert (run["namespace"], run["name"], run["pipeline"], run["builder"]) == ("ci", "run-1", None, None)
        (said,) = rows(place, "attestation", verdict=0)
        assert (said["namespace"], said["pipeline"], said["level"]) == ("ci", None, Level.PARTLY)


def test_changed_bytes_and_what_is_no_statement_are_kept_with_the_reason_until_they_are_gone(
    place: Place,
) -> None:
    good = dsse(OWN.envelope(report(1)))
    bad = [
        replace(dsse(OWN.envelope(report(2)), "changed"), data=b"other bytes"),
        found(b"{}", "dsse", "empty"),
        found(b"\xff", "bundle-v0.3", "no bundle"),
        dsse(OWN.envelope({}, b"no JSON"), "no statement"),
        replace(good, location="no digest", digest="md5:00"),
    ]
    skipped = Skipped("lost", "sha256:00", "no blob")
    ingested = built(place, TRUST, Whole(good, *bad, skipped=[skipped]))
    assert ingested.unread == 6
    assert {one["location"]: one["reason"] for one in rows(place, "unread")}.keys() == {
        "changed", "empty", "no bundle", "no statement", "no digest", "lost"
    }  # fmt: skip
    assert len(rows(place, "attestation")) == 1
    updated(place, TRUST, Whole(good, bad[1]), now=LATER)
    assert {one["location"] for one in rows(place, "unread")} == {"empty"}


def test_a_better_copy_found_later_makes_a_statement_verified(place: Place) -> None:
    envelope = OWN.envelope(report(1))
    worse, better = bundle(envelope, "a", hint="another"), dsse(envelope, "b")
    built(place, TRUST, Whole(worse, url="whole:1"))
    assert [one["reason"] for one in rows(place, "attestation")] == ["key_hint_mismatch"]
    updated(place, TRUST, Whole(better, url="whole:2"), now=LATER)
    (said,) = rows(place, "attestation")
    assert (said["verdict"], said["reason"], said["signer"]) == (Verdict.VERIFIED, None, OWN.key.keyid)
    assert {(one["namespace"] or "all", one["verdict"], one["n"]) for one in rows(place, "day")} == {
        ("ci", 0, 1),
        ("all", 0, 1),
    }
    incremental = content(place)
    built(place, TRUST, Whole(worse, url="whole:1"), Whole(better, url="whole:2"), now=LATER)
    assert _without_times(content(place)) == _without_times(incremental)


def _without_times(shown: dict[str, list[tuple[object, ...]]]) -> dict[str, list[tuple[object, ...]]]:
    """Leave out the tables that say when a store was read."""
    return {name: found for name, found in shown.items() if name not in {"store", "unread"}}


@pytest.mark.parametrize("pieces", [1, 3])
def test_an_index_is_the_same_whatever_a_transaction_has_and_in_whatever_order_evidence_comes(
    place: Place, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = OWN.envelope(report(1, finished="2026-11-17T00:00:00Z", level="partly", name="before"))
    evidence = [*two_runs(), dsse(older)]
    built(place, TRUST, Whole(*evidence))
    expected = content(place)
    monkeypatch.setattr(ingesting, "MOST_PIECES", pieces)
    for order in (evidence, evidence[::-1], evidence[3:] + evidence[:3]):
        built(place, TRUST, _OneByOne(order))
        assert _without_times(content(place)) == _without_times(expected)


class _OneByOne(Whole):
    """A store whose parts have one piece of evidence each."""

    def __init__(self, evidence: list[Evidence], error: StoreUnavailable | None = None) -> None:
        super().__init__(url="whole:")
        self._one_by_one = evidence
        self._stopped = error

    async def scan(self):  # type: ignore[no-untyped-def,override]
        for one in self._one_by_one:
            async for part in Whole(one).scan():
                yield replace(part, total=len(self._one_by_one))
        if self._stopped is not None:
            raise self._stopped


def test_an_update_reads_only_what_is_new_and_ends_as_a_fresh_build(place: Place) -> None:
    evidence = two_runs()
    built(place, TRUST, Whole(*evidence[:3]))
    ingested = updated(place, TRUST, Whole(*evidence))
    assert (ingested.pieces, ingested.known) == (8, 3)
    assert sum(ingested.new.values()) == 2
    after = content(place)
    again = updated(place, TRUST, Whole(*evidence))
    assert (again.known, again.new) == (8, {})
    assert content(place) == after
    built(place, TRUST, Whole(*evidence))
    assert content(place) == after


def test_the_same_statement_in_two_stores_is_one_row_with_all_of_its_places(place: Place) -> None:
    envelope = OWN.envelope(report(1))
    built(
        place,
        TRUST,
        Whole(dsse(envelope, "here"), url="whole:1"),
        Whole(dsse(envelope, "there"), bundle(envelope, "there"), url="whole:2"),
    )
    assert len(rows(place, "attestation")) == 1
    assert sorted((one["store"], one["form"]) for one in rows(place, "location")) == [
        (1, "dsse"),
        (2, "bundle-v0.3"),
        (2, "dsse"),
    ]
    assert [(one["url"], one["parts"], one["read"]) for one in rows(place, "store")] == [
        ("whole:1", 1, 1),
        ("whole:2", 1, 1),
    ]


def test_a_store_that_does_not_answer_leaves_the_old_index_and_the_next_build_goes_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingesting, "MOST_PIECES", 2)
    evidence = two_runs()
    built(place, TRUST, Whole(evidence[0]))
    old = content(place)
    away = built(place, TRUST, _OneByOne(evidence, StoreUnavailable("it is away")))
    assert away.failed == {"whole:": "it is away"}
    assert content(place) == old
    again = built(place, TRUST, _OneByOne(evidence))
    assert (again.pieces, again.known) == (8, 8)
    whole = content(place)
    assert len(whole["attestation"]) == 4
    built(place, TRUST, _OneByOne(evidence))
    assert content(place) == whole


def test_what_was_begun_with_other_trust_is_thrown_away(place: Place) -> None:
    evidence = two_runs()
    built(place, TRUST, _OneByOne(evidence, StoreUnavailable("it is away")))
    built(place, trust(STRANGER), _OneByOne(evidence))
    assert {one["signer"] for one in rows(place, "attestation", verdict=0)} == {STRANGER.key.keyid}


def test_an_index_is_updated_only_with_the_trust_of_its_build(place: Place) -> None:
    with pytest.raises(IndexAbsent, match="there is no index"):
        updated(place, TRUST, Whole())
    built(place, TRUST, Whole())
    with pytest.raises(UsageError, match="built with other keys or demands"):
        updated(place, trust(STRANGER), Whole())


def test_verification_summaries_say_who_decided_what(place: Place) -> None:
    predicate = {
        "verifier": {"id": "https://verifier.example"},
        "timeVerified": "2026-11-18T10:00:00Z",
        "resourceUri": "registry.example/shop/app",
        "policy": {"uri": "https://policy.example/v1", "digest": {"sha256": "d" * 64}},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3", "HERMETIC"],
    }
    broken = predicate | {"verificationResult": "MAYBE"}
    summaries = [statement(VSA, one, subject("registry.example/shop/app")) for one in (predicate, broken)]
    built(place, TRUST, Whole(*(dsse(OWN.envelope(one)) for one in summaries)))
    (said,) = rows(place, "summary")
    assert bytes(said.pop("policy_digest")).hex() == "d" * 64
    assert said.pop("attestation") in {one["id"] for one in rows(place, "attestation")}
    assert said == {
        "verifier": "https://verifier.example",
        "resource": "registry.example/shop/app",
        "policy": "https://policy.example/v1",
        "passed": True,
        "levels": "SLSA_BUILD_LEVEL_3 HERMETIC",
        "verified": 1794996000,
    }
    assert len(rows(place, "attestation", verdict=0)) == 2


def test_two_signatures_of_one_image_at_one_place_are_two_statements(place: Place) -> None:
    image = {
        "critical": {
            "identity": {"docker-reference": "registry.example/a"},
            "image": {"docker-manifest-digest": "sha256:" + "e" * 64},
            "type": "cosign container image signature",
        }
    }
    one = signature(image, "a.sig")
    built(place, TRUST, Whole(one, replace(one, signature=b"another")))
    assert len(rows(place, "attestation", verdict=int(Verdict.FAILED))) == 2
    assert len(rows(place, "location")) == 2
    again = updated(
        place, TRUST, Whole(one, replace(one, signature=b"another"), replace(one, signature=b"third"))
    )
    assert (again.known, again.new) == (2, {Verdict.FAILED: 1})


@pytest.mark.parametrize(
    ("name", "form", "logs", "times"),
    [
        ("certificate-v2", "bundle", 1, 1),
        ("certificate-v1", "bundle", 1, 1),
        ("certificate-unlogged", "bundle", 0, 1),
        ("certificate-v2", "att", 1, 1),
        ("certificate-v1", "sig", 1, 1),
    ],
)
def test_verified_times_and_log_entries_of_certificates_are_kept(
    place: Place, name: str, form: str, logs: int, times: int
) -> None:
    """Evidence of a real Sigstore instance; without the trusted root's authority nothing of it is verified."""
    trusted = Trust(sigstore.by_identity(), {}, {})
    one = sigstore.golden(name, form)
    built(place, trusted, Whole(one), now=sigstore.NOW)
    (said,) = rows(place, "attestation")
    assert (said["verdict"], said["reason"], said["detail"]) == (Verdict.VERIFIED, None, None)
    assert said["signer"] == f"{sigstore.IDENTITY} (issuer {sigstore.ISSUER})"
    kept = rows(place, "verified_time")
    assert len(kept) == times
    assert all(abs(moment["time"] - sigstore.NOW.timestamp()) < 600 for moment in kept)
    assert all(moment["authority"].startswith("http") for moment in kept)
    logged = rows(place, "log_entry")
    assert [entry["attestation"] for entry in logged] == [said["id"]] * logs
    assert all(entry["log_index"] >= 0 and entry["authority"].startswith("http") for entry in logged)
    built(
        place,
        Trust(sigstore.by_identity(certificate=STRANGE), {"other": 1}, {}),
        Whole(one),
        now=sigstore.NOW,
    )
    assert {(one["verdict"], one["reason"], one["signer"]) for one in rows(place, "attestation")} == {
        (Verdict.FAILED, "identity_mismatch", None)
    }
    assert rows(place, "verified_time") == rows(place, "log_entry") == []


HOSTILE = "'\"; DROP TABLE run; -- \0 \\u0000 \u202e \x1b[31m =1+1 \U0001f600"


def test_hostile_text_is_kept_and_changes_nothing_else(place: Place) -> None:
    long = "x" * 1_000_000
    named = provenance(1, image=HOSTILE, pipeline=HOSTILE + long, builder=HOSTILE)
    origin = Origin("taskrun", "\ud800" + HOSTILE, "name" + HOSTILE, UID(1))
    evidence = [
        dsse(OWN.envelope(named), "place \udfff" + HOSTILE + long, origin),
        dsse(OWN.envelope(report(2, name=HOSTILE, namespace=HOSTILE))),
        dsse(STRANGER.envelope(named), "\0"),
    ]
    built(place, TRUST, Whole(*evidence, skipped=[Skipped("\0\ud800" + long, "\0", "\0\ud800")]))
    (made,) = {one["name"] for one in rows(place, "subject") if one["name"].startswith("'")}
    assert original(made) == HOSTILE
    namespaces = {one["namespace"] for one in rows(place, "run")}
    # the run without a report has none: what its store says is not indexed
    assert {one and original(one) for one in namespaces} == {None, HOSTILE}
    assert [original(one["url"]) for one in rows(place, "store")] == ["whole:"]
    after = content(place)
    assert updated(place, TRUST, Whole(*evidence)).known == 3
    built(place, TRUST, Whole(*evidence, skipped=[Skipped("\0\ud800" + long, "\0", "\0\ud800")]))
    assert content(place) == after


def test_an_export_has_every_statement_and_is_read_back(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "_PAGE", 3)
    older = dsse(OWN.envelope(report(3, image="=HYPERLINK(1)", name="@run", finished="2026-11-17T00:00:00Z")))
    timeless = dsse(OWN.envelope(statement("https://example.com/odd", {}, subject(HOSTILE))))
    built(place, TRUST, Whole(*two_runs(), older, timeless))
    lines = [json.loads(line) for line in exporting.to_json_lines(place)]
    assert [(one["finishedAt"], one["runName"], one["verdict"]) for one in lines[:2]] == [
        (None, None, "verified"),
        ("2026-11-17T00:00:00Z", "@run", "verified"),
    ]
    assert len({one["digest"] for one in lines}) == len(lines) == 6
    assert [one["subjects"][0].rpartition("@")[0] for one in lines][:2] == [HOSTILE, "=HYPERLINK(1)"]
    assert exporting.write_parquet(place, tmp_path / "days") == 6
    rows_by_day = duckdb.sql(
        f"SELECT day, digest, verdict, level, subjects, epoch(checkedAt), requestedCpu FROM read_parquet('{tmp_path}/days/*/*.parquet', hive_partitioning = true)"
    ).fetchall()
    by_digest = {one["digest"]: one for one in lines}
    assert {day for day, *_ in rows_by_day} == {"unknown", "2026-11-17", "2026-11-18"}
    for day, digest, verdict, level, subjects, checked, cpu in rows_by_day:
        one = by_digest.pop(digest)
        assert (verdict, level, subjects, cpu) == (
            one["verdict"],
            one["level"],
            one["subjects"],
            one["requestedCpu"],
        )
        assert checked == NOW.timestamp()
        assert (one["finishedAt"] or "unknown").startswith(day)
    assert not by_digest
    with pytest.raises(UsageError, match="is there already: name a new folder"):
        exporting.write_parquet(place, tmp_path / "days")
    table = list(csv.DictReader("\n".join(exporting.to_csv(place)).splitlines()))
    assert len(table) == 6
    assert table[1]["subjects"].startswith("'=HYPERLINK(1)@sha256:")
    assert table[1]["runName"] == "'@run"
    assert not [cell for row in table for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]


def test_a_second_writer_is_told_to_wait(place: Place) -> None:
    from chains.index.target import building, updating

    built(place, TRUST, Whole())
    for opened in (building, updating):
        with opened(place, TRUST) as first:
            first.write(lambda writer: writer.store("whole:"))
            first.keep_old()
            with pytest.raises(IndexUnavailable, match="another process writes it; try again"):
                updated(place, TRUST, Whole())
            with pytest.raises(IndexUnavailable, match="another process writes it; try again"):
                built(place, TRUST, Whole())
    assert rows(place, "attestation") == []


class _Interrupted(_OneByOne):
    """A store in the middle of whose reading something happens to the server of the index."""

    def __init__(self, evidence: list[Evidence], happens: Callable[[], None]) -> None:
        super().__init__(evidence)
        self._happens = happens

    async def scan(self):  # type: ignore[no-untyped-def,override]
        number = 0
        async for part in super().scan():
            if number == len(self._one_by_one) // 2:
                self._happens()
            number += 1
            yield part


@pytest.mark.parametrize("version", POSTGRES)
def test_a_server_that_is_restarted_during_a_build_loses_no_row(
    version: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, place = database(request, version)
    monkeypatch.setattr(ingesting, "MOST_PIECES", 1)
    evidence = two_runs()
    built(place, TRUST, _OneByOne(evidence))
    whole = content(place)

    def restart() -> None:
        server.stop()
        server.start()

    built(place, TRUST, _Interrupted(evidence, restart))
    assert content(place) == whole
    # a server that stays away: the old index is there when it is back, and the next build goes on
    monkeypatch.setattr(targets, "RETRY_SECONDS", 0)
    with pytest.raises(IndexUnavailable, match=r"the index postgresql://postgres@127\.0\.0\.1:"):
        built(place, TRUST, _Interrupted(evidence, server.stop))
    server.start()
    assert content(place) == whole
    assert built(place, TRUST, _OneByOne(evidence)).known >= 3
    assert content(place) == whole


@pytest.mark.parametrize(
    "name",
    [
        "layout",
        "file",
        pytest.param("s3", marks=pytest.mark.server),
        pytest.param("oci", marks=pytest.mark.server),
    ],
)
def test_what_the_flow_stores_is_indexed_from_every_store(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both forms of provenance, execution report and image signature; what the store has of the run itself, too."""
    write_key_pair(tmp_path / "signing.key", generate_key("ecdsa-p256"))
    write, read, image = _store(name, tmp_path, request, monkeypatch)
    made = run_of("app", image, git=("https://git.example.com/app.git", "a" * 40))
    made["metadata"]["creationTimestamp"] = "2026-11-18T08:59:00Z"
    attest(tmp_path, write, made)
    trusted = Trust(Criteria(keys=load_public_keys((tmp_path / "signing.pub").read_bytes())), {}, {})
    place = file_at(tmp_path / "index.db")
    ingested = built(place, trusted, read)
    assert (ingested.failed, ingested.unread, set(ingested.new)) == ({}, 0, {Verdict.VERIFIED})
    assert {one["predicate"] for one in rows(place, "attestation")} == {
        "https://slsa.dev/provenance/v1",
        "https://in-toto.io/attestation/scai/v0.3",
        "https://sigstore.dev/cosign/sign/v1",
    }
    (run,) = rows(place, "run")
    assert (run["namespace"], run["name"], run["outcome"]) == ("ci", "app", Outcome.SUCCEEDED)
    assert run["repository"] == "https://git.example.com/app"
    assert run["created"] == (1794992340 if name == "s3" else None)
    assert {one["name"] for one in rows(place, "subject")} == {image.partition("@")[0]}
    again = updated(place, trusted, read)
    assert (again.known, again.new) == (again.pieces, {})
    # a layout says by digests that nothing has changed, so that nothing is read
    assert again.pieces == (0 if name == "layout" else ingested.pieces)
    assert [(one["parts"], one["read"]) for one in rows(place, "store")] == [
        (one["parts"], one["parts"]) for one in rows(place, "store")
    ]
    take_back = None if name == "oci" else _taken_back(name, tmp_path, read, request)
    attest(tmp_path, write, run_of("again", image))
    assert updated(place, trusted, read).new[Verdict.VERIFIED] >= 2
    after = content(place)
    built(place, trusted, read)
    for table in ("attestation", "run", "part", "used", "named", "day"):
        assert content(place)[table] == after[table]
    if take_back is None:  # a registry cannot list all that it has, so that nothing is known to be gone
        return
    take_back()
    ingested = updated(place, trusted, read)
    assert (ingested.failed, ingested.removed > 0) == ({}, True), ingested.notes
    after = content(place)
    assert {one["name"] for one in rows(place, "run")} == {"app"}
    built(place, trusted, read)
    assert {key: rows_ for key, rows_ in content(place).items() if key != "store"} == {
        key: rows_ for key, rows_ in after.items() if key != "store"
    }


def _taken_back(name: str, folder: Path, url: str, request: pytest.FixtureRequest) -> Callable[[], object]:
    """Return what removes from a store all that is written to it from now on, behind its back."""
    if name == "layout":
        path = folder / "layout" / "index.json"
        kept = path.read_bytes()
        return lambda: path.write_bytes(kept)
    if name == "file":
        files = set((folder / "files").rglob("*"))

        def unlink() -> None:
            for path in sorted(set((folder / "files").rglob("*")) - files, reverse=True):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()

        return unlink
    client, bucket = request.getfixturevalue("s3_server").client, url.split("/")[2]
    keys = _keys(client, bucket)
    return lambda: [client.delete_object(Bucket=bucket, Key=key) for key in _keys(client, bucket) - keys]


def _keys(client: Any, bucket: str) -> set[str]:
    return {one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]}


def test_what_could_not_be_read_in_a_layout_is_read_again(tmp_path: Path) -> None:
    write_key_pair(tmp_path / "signing.key", generate_key("ecdsa-p256"))
    layout = f"oci-layout:{tmp_path / 'layout'}"
    attest(tmp_path, layout, run_of("app", "registry.example.com/shop/app"))
    trusted = Trust(Criteria(keys=load_public_keys((tmp_path / "signing.pub").read_bytes())), {}, {})
    fresh, place = file_at(tmp_path / "fresh.db"), file_at(tmp_path / "index.db")
    built(fresh, trusted, layout)
    blobs = {bytes(one["digest"]).hex() for one in rows(fresh, "location")}
    blob = next(path for path in (tmp_path / "layout" / "blobs" / "sha256").iterdir() if path.name in blobs)
    kept = blob.read_bytes()
    blob.write_bytes(b"changed")
    assert built(place, trusted, layout).unread >= 1
    assert updated(place, trusted, layout).unread >= 1
    blob.write_bytes(kept)
    assert updated(place, trusted, layout, now=LATER).unread == 0
    assert rows(place, "unread") == []
    assert content(place)["location"] == content(fresh)["location"]
    assert {one["verdict"] for one in rows(place, "attestation")} == {Verdict.VERIFIED}


def _store(
    name: str, folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, str, str]:
    """Return the URL to write to, the one to read from, and an image that the store takes evidence about."""
    image = "registry.example.com/shop/app"
    if name == "layout":
        url = f"oci-layout:{folder / 'layout'}"
    elif name == "file":
        url = f"file:{folder / 'files'}"
    elif name == "s3":
        server = request.getfixturevalue("s3_server")
        for key, value in server.environ().items():
            monkeypatch.setenv(key, value)
        url = f"s3://{server.make_bucket('index-of-runs')}/evidence"
    else:
        registry = request.getfixturevalue("referrers_registry")
        pushed = registry.push_image("index/app", tag="1")
        return "oci:", f"oci://{registry.host}/index/app", f"{registry.host}/index/app@{pushed}"
    return url, url, image


def test_the_lineage_of_an_index_is_that_of_its_stores(place: Place) -> None:
    def made(product: str, *inputs: str) -> dict[str, object]:
        listed = [{"uri": HOSTILE, **subject(one)} for one in (*inputs, HOSTILE)]
        predicate = {"buildDefinition": {"resolvedDependencies": listed}}
        return statement("https://slsa.dev/provenance/v1", predicate, subject(product))

    links = [("b", "a"), ("c", "b"), ("a", "c"), ("d", "c", "a"), ("e", "d"), (HOSTILE, "e")]
    signers = [OWN, OWN, STRANGER, OWN, STRANGER, OWN]
    evidence = [dsse(one.envelope(made(*link))) for one, link in zip(signers, links, strict=True)]
    evidence.append(dsse(OWN.envelope(statement("https://example.com/odd", {}, subject("e")))))
    built(place, TRUST, Whole(*evidence))
    trusted = Judged(list(TRUST.criteria.keys))
    for name in ("a", "c", "e", HOSTILE, "nothing"):
        digest = f"sha256:{subject(name)['digest']['sha256']}"
        for depth in (1, 2, 9):
            by_index = ancestry(collect_relatives(place, [digest], depth), digest, depth, is_trusting=True)
            by_store = family(digest, Whole(*evidence), trust=trusted, depth=depth)
            assert shown(by_index) == shown(by_store), (name, depth)


def shown(found: Ancestry) -> object:
    told = as_json(found)
    return (
        [
            [(one["digest"], one["distance"], one["state"], one["isCut"]) for one in told[side]]
            for side in ("madeFrom", "wentInto")
        ],
        sorted(
            (one["source"], one["product"], *one["roles"], one["state"], one["signer"] or "")
            for one in told["steps"]
        ),
        found.exit_code,
    )


def test_an_index_never_takes_the_place_of_another_file(tmp_path: Path) -> None:
    kept = tmp_path / "runs.json"
    kept.write_text("{}")
    with pytest.raises(UsageError, match="is there and is no index"):
        built(place_of(str(kept)), TRUST, Whole())
    assert kept.read_text() == "{}"
    assert [one.name for one in tmp_path.iterdir()] == ["runs.json"]
    with pytest.raises(UsageError, match="is a folder"):
        built(place_of(str(tmp_path)), TRUST, Whole())
    kept.write_text("")
    built(place_of(str(kept)), TRUST, Whole())
    assert kept.read_bytes().startswith(b"SQLite format 3")


V02 = "https://slsa.dev/provenance/v0.2"
PROD = Origin("taskrun", "prod", "deploy", UID(1))
"""What somebody with write access to a store says about evidence: it belongs to a run of production."""


def words_of_others() -> list[Evidence]:
    """Return verified statements that name no run, which a store gives to a run."""
    other = "registry.example/other"
    told = {
        "builder": {"id": "https://other.example/"},
        "invocation": {"environment": {"labels": {"tekton.dev/pipeline": "other"}}},
        "materials": [{"uri": "git+https://other.example/x", "digest": {"sha1": "b" * 40}}],
    }
    nameless = provenance(1, image=other, pipeline="nameless", builder="https://other.example/")
    del nameless["predicate"]["runDetails"]["metadata"]["invocationId"]
    said = [
        statement("https://sigstore.dev/cosign/sign/v1", {}, subject(other)),
        statement(VSA, {"verificationResult": "PASSED"}, subject(other)),
        nameless,
        # eight, so that digests above and below those of the run's own statements are among them
        *(statement(V02, told, subject(f"{other}-{number}")) for number in range(8)),
    ]
    return [dsse(OWN.envelope(one), f"place {number}", PROD) for number, one in enumerate(said)]


def test_what_a_store_says_about_the_run_of_a_statement_counts_nothing(place: Place) -> None:
    honest = [
        dsse(OWN.envelope(provenance(1))),
        dsse(OWN.envelope(report(1, namespace="prod", name="deploy"))),
    ]
    others = words_of_others()
    built(place, TRUST, Whole(*honest))
    alone = content(place)
    contents = []
    for first, second in ((honest, others), (others, honest)):
        built(place, TRUST, Whole(*first, url="whole:1"))
        updated(place, TRUST, Whole(*second, url="whole:2"))
        contents.append(_without_times(content(place)) | {"location": []})
        shared = ("run", "namespace", "pipeline", "builder", "repository", "level", "outcome")
        (image,) = rows(place, "attestation", predicate="https://sigstore.dev/cosign/sign/v1")
        (summary,) = rows(place, "attestation", predicate=VSA)
        for one in (image, summary):
            assert [one[name] for name in shared] == [None, None, None, None, None, 0, 0]
            assert (one["verdict"], one["signer"]) == (Verdict.VERIFIED, OWN.key.keyid)
        old = rows(place, "attestation", predicate=V02)
        # what they sign themselves
        assert [[one[name] for name in shared] for one in old] == [
            [None, None, "other", "https://other.example/", "https://other.example/x", 0, 0]
        ] * 8
        (nameless,) = rows(place, "attestation", pipeline="nameless")
        assert (nameless["run"], nameless["namespace"], nameless["level"]) == (None, None, 0)
        assert content(place)["run"] == alone["run"]
        # the days count them for no namespace
        assert {one["n"] for one in rows(place, "day", namespace="prod")} == {1}
        assert sum(one["n"] for one in rows(place, "day", namespace="prod")) == 2
        assert sum(one["n"] for one in rows(place, "day", namespace=0)) == 13
    assert contents[0] == contents[1]


def test_an_image_signature_that_a_store_gives_to_a_run_is_found_by_its_image_alone(place: Place) -> None:
    honest = [
        dsse(OWN.envelope(provenance(1))),
        dsse(OWN.envelope(report(1, namespace="prod", name="deploy"))),
    ]
    built(place, TRUST, Whole(*honest, *words_of_others()))

    def types(text: str, namespaces: Sequence[str] | None = None) -> list[str]:
        answer = ask(place, parse(text), NOW, namespaces=namespaces)
        assert answer.count.number == len(answer.hits)
        return sorted(hit.predicate.removeprefix("https://") for hit in answer.hits)

    own = ["in-toto.io/attestation/scai/v0.3", "slsa.dev/provenance/v1"]
    for text in (
        "namespace:prod",
        "namespace:prod level:enforced verdict:verified",
        "level:enforced",
        "outcome:succeeded",
        f"run:{UID(1)}",
        "run:prod/deploy",
        "name:deploy",
        "name:prod",
        "sender:alice",
        "account:builder",
        "node:node-7",
        "trigger:github/push",
        "pipeline:release",
        "builder:https://ci.example/tekton",
    ):
        assert types(text) == own, text
    assert types("", ["prod"]) == own
    digest = subject("registry.example/other")["digest"]["sha256"]
    of_image = ["sigstore.dev/cosign/sign/v1", "slsa.dev/provenance/v1", "slsa.dev/verification_summary/v1"]
    assert types(f"digest:sha256:{digest}") == of_image
    assert types(f"digest:sha256:{digest} verdict:verified") == of_image
    assert types(f"digest:sha256:{digest}", ["prod"]) == []
    assert types("pipeline:other") == ["slsa.dev/provenance/v0.2"] * 8
    hits = ask(place, parse(f"digest:sha256:{digest}"), NOW).hits
    assert [(hit.run, hit.namespace, hit.level) for hit in hits] == [(None, "", Level.NONE)] * 3
    lines = [json.loads(line) for line in exporting.to_json_lines(place)]
    assert sorted((one["predicateType"], one["runUid"]) for one in lines if one["namespace"] == "prod") == [
        (f"https://{one}", UID(1)) for one in own
    ]
    assert len([one for one in lines if one["runUid"] is None and one["runName"] is None]) == 11


def test_a_run_that_only_a_store_names_is_no_run_of_the_index(place: Place) -> None:
    built(place, TRUST, Whole(*words_of_others()))
    assert rows(place, "run") == []
    assert {one["namespace"] for one in rows(place, "attestation")} == {None}


def test_a_store_says_neither_namespace_nor_name_of_a_run_that_has_no_report(place: Place) -> None:
    built(
        place,
        TRUST,
        Whole(
            dsse(OWN.envelope(provenance(1)), "a", PROD),
            dsse(STRANGER.envelope(provenance(2)), "b", replace(PROD, uid=UID(2))),
        ),
    )
    assert [
        (one["verdict"], one["kind"], one["namespace"], one["name"], one["pipeline"])
        for one in sorted(rows(place, "run"), key=lambda one: bytes(one["uid"]))
    ] == [
        (Verdict.VERIFIED, Kind.OTHER, None, None, "release"),
        (Verdict.FAILED, Kind.OTHER, None, None, None),
    ]
    assert {(one["verdict"], one["namespace"]) for one in rows(place, "attestation")} == {
        (Verdict.VERIFIED, None),
        (Verdict.FAILED, None),
    }
    assert {one["namespace"] for one in rows(place, "day")} == {0}


def _shared(place: Place, shard: Shard, *sources: Held, is_build: bool) -> Ingested:
    async def work() -> Ingested:
        with sharing(place, TRUST, shard, is_build=is_build) as target:
            return await ingest(sources, target, TRUST, NOW, lambda *_: None, shard)

    return asyncio.run(work())


def _in_parts(place: Place, *sources: Held, is_build: bool, total: int = 3) -> list[Ingested]:
    """Write an index by several parts at the same time."""
    with ThreadPoolExecutor(total) as threads:
        begun = [
            threads.submit(_shared, place, Shard(number, total), *sources, is_build=is_build)
            for number in range(total)
        ]
        return [one.result() for one in begun]


@pytest.mark.parametrize("version", POSTGRES)
def test_parts_that_are_read_side_by_side_make_the_index_that_one_process_makes(
    version: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place, fresh = database(request, version)[1], file_at(tmp_path / "fresh.db")
    made = [OWN.envelope(one) for number in range(1, 13) for one in (provenance(number), report(number))]
    made += [STRANGER.envelope(report(number)) for number in range(1, 4)]
    first, second = Held(*map(dsse, made), url="held:1"), Held(*map(bundle, made[::2]), url="held:2")
    first.skipped = [Skipped(f"no evidence {number}", "", "odd") for number in range(5)]
    ingested = _in_parts(place, first, second, is_build=True)
    # each piece was verified by one part alone
    assert sum(one.pieces for one in ingested) == len(first.held) + len(second.held)
    assert all(one.pieces for one in ingested)
    assert sum(one.unread for one in ingested) == 5
    built(fresh, TRUST, first, second)
    assert _lasting(place) == _lasting(fresh)
    assert [one["read"] for one in rows(place, "store")] == [one["parts"] for one in rows(place, "store")]
    assert all(one["updated"] for one in rows(place, "store"))
    # an update in parts
    more = [OWN.envelope(one) for number in range(13, 19) for one in (provenance(number), report(number))]
    first.held += map(dsse, more)
    second.held += map(bundle, more)
    new = _in_parts(place, first, second, is_build=False)
    assert sum(one.new.total() for one in new) == len(more)
    built(fresh, TRUST, first, second)
    assert _lasting(place) == _lasting(fresh)
    # a part that is read again, after the others have ended, changes nothing
    assert _shared(place, Shard(1, 3), first, second, is_build=False).new == {}
    assert _lasting(place) == _lasting(fresh)


@pytest.mark.parametrize("version", POSTGRES[-1:])
def test_while_one_part_has_failed_the_old_index_stays(version: str, request: pytest.FixtureRequest) -> None:
    place = database(request, version)[1]
    old, store = Held(dsse(OWN.envelope(report(1)))), Held(*two_runs())
    built(place, TRUST, old)
    for number in (0, 2):
        _shared(place, Shard(number, 3), store, is_build=True)
    assert len(rows(place, "attestation")) == 1
    _shared(place, Shard(1, 3), store, is_build=True)
    assert len(rows(place, "attestation")) == 4


def test_an_index_in_a_file_has_no_parts(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="which need PostgreSQL"),
        sharing(file_at(tmp_path / "index.db"), TRUST, Shard(0, 2), is_build=True),
    ):
        pass


def _lasting(place: Place) -> dict[str, object]:
    return {name: found for name, found in content(place).items() if name not in {"store", "unread", "meta"}}
