"""Whoever sees some namespaces gets the answers of a world in which there are no others: from every path there is."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chains.assembly.trust import open_listed_keys
from chains.index.codes import Role, Verdict
from chains.index.database import Place
from chains.index.query.cursor import Cursor, cursor_of
from chains.verify.criteria import Criteria
from chains.web.api.routes import api
from chains.web.api.verify_now import Trusting
from chains.web.application import application
from chains.web.settings import WebSettings
from chains.web.source import Source
from chains.web.viewer import Viewer
from signers.keys.public_key import load_public_keys
from tests.testbed.sigstore_keys import public_pem
from tests.unit.chains.index.query.index import Row, Run, sqlite_index
from tests.unit.chains.web.api.asked import Told, get_all, routes_of
from tests.unit.chains.web.api.beside import beside, write_audit
from tests.unit.chains.web.world import EXAMPLES, World, inside

SHOP = Viewer("alice", ("shop",))
SHARED, BASE, ROCKET, NOWHERE = ("11" * 32, "22" * 32, "33" * 32, "44" * 32)
SECRET_WORDS = (b"secret", b"rocket", b"mallory", ROCKET.encode(), b"5ec2e7")
END = int(datetime(2026, 11, 20, tzinfo=UTC).timestamp())


def row(number: int, namespace: str, name: str, **more: object) -> Row:
    """An attestation of a run; both namespaces build one image from one base."""
    usual: dict[str, object] = {
        "subjects": (
            (f"sha256:{SHARED}", f"registry.example/{name}"),
            *([(f"sha256:{ROCKET}", "rocket")] if name == "rocket" else []),
        ),
        "materials": (
            (f"sha256:{BASE}", Role.DEPENDENCY, "base"),
            ("gitCommit:" + "ab" * 20, Role.SOURCE, f"https://git.example/{name}"),
        ),
        "tasks": (f"task-{name}",),
    }
    uid = f"{'5ec2e7' if namespace == 'secret' else '000000'}{number:02}-0000-4000-8000-000000000000"
    return Row(
        (f"5ec2e7{number:058x}" if namespace == "secret" else f"{number:064x}"),
        Run(
            uid,
            namespace,
            f"build-{name}-{number}",
            pipeline=f"pipeline-{name}",
            sender="mallory" if namespace == "secret" else "bob",
            finished=END + number,
        ),
        "https://slsa.dev/provenance/v1",
        builder=f"https://builder.example/{name}",
        signer=f"SHA256:{name}",
        finished=END + number,
        namespace=namespace,
        **(usual | more),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Place]:
    """An index with another namespace in it, and the same without."""
    own = [row(number, "shop", "shop") for number in range(1, 61)]
    own += [row(number, "shop", "shop", verdict=Verdict.FAILED) for number in range(61, 65)]
    others = [row(number, "secret", "rocket") for number in range(1, 91)]
    others += [row(number, "secret", "rocket", verdict=Verdict.FAILED) for number in range(91, 95)]
    others.append(row(95, "", "rocket"))
    # others' rows before, between and behind the own ones: a number of a row would tell how many there are
    whole = [*others[:50], *own[:20], *others[50:93], *own[20:], *others[93:]]
    found = []
    for name, listed in (("whole", whole), ("own", own)):
        folder = tmp_path_factory.mktemp(name)
        found.append(sqlite_index(folder / "index.db", listed))
    return found[0], found[1]


def paths_of(app_routes: list[str]) -> Iterator[str]:
    """Yield every path of the application with parameters that lead to own things, to others', and nowhere."""
    values = {
        "algorithm": ("sha256",),
        "value": (SHARED, ROCKET, BASE, f"{1:064x}", f"5ec2e7{1:058x}", "ab" * 20),
        "hex": ("ab" * 20, SHARED),
        "uid": ("00000001-0000-4000-8000-000000000000", "5ec2e701-0000-4000-8000-000000000000"),
        "name": ("shop", "secret", "pipeline-shop", "pipeline-rocket", "style.css"),
        "id": ("SHA256:shop", "SHA256:rocket"),
        "text": ("SHA256:shop", "SHA256:rocket"),
        "signer": ("SHA256:shop", "SHA256:rocket"),
        "file": (f"{SHARED}.svg", f"{ROCKET}.svg"),
        "day": ("2026-11-20",),
    }
    for route in app_routes:
        names = re.findall(r"\{([^}:]+)[^}]*\}", route)
        for number in range(max((len(values.get(name, ("x",))) for name in names), default=1)):
            path = route
            for name in names:
                known = values.get(name, ("x",))
                path = re.sub(r"\{" + name + r"[^}]*\}", known[number % len(known)], path)
            yield path
    for query in (
        "",
        "rocket",
        "sender:mallory",
        f"digest:{ROCKET}",
        f"input:{BASE}",
        "namespace:secret",
        "-namespace:shop",
        f"image:sha256:{SHARED}",
        "verdict:failed",
        "name:build-*",
        "5ec2e7000000",
    ):
        for start in ("/search?q=", "/search.json?q=", "/search.csv?q=", "/api/v1/search?limit=5&q="):
            yield start + query.replace(":", "%3A").replace("*", "%2A")
    yield from (
        "/api/v1/gaps?limit=2",
        "/api/v1/gaps?from=2026-11",
        f"/api/v1/lineage/sha256/{SHARED}?depth=9",
    )


def asked_everywhere(place: Place, viewer: Viewer, paths: list[str], **more: Any) -> dict[str, Told]:
    return dict(zip(paths, get_all(place, paths, viewer, **more), strict=True))


def every_path(place: Place) -> list[str]:
    app = application(Source(place), WebSettings(place), extend=[api(Trusting())])
    return list(dict.fromkeys(paths_of(routes_of(app))))


def told(answer: Told) -> object:
    """What somebody can tell apart, without the time of a verification and the place of the test's index."""
    body = re.sub(rb'"verifiedAt":"[^"]*"', b"", answer.body)
    return answer.status, body, answer.headers.get("ETag", "") if b"verifiedAt" not in answer.body else ""


def test_every_path_answers_as_if_there_were_no_other_namespaces(
    places: tuple[Place, Place],
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    trusting = Trusting(Criteria(keys=load_public_keys(public_pem(key))))
    paths = every_path(places[0])
    whole = asked_everywhere(places[0], SHOP, paths, trusting=trusting)
    own = asked_everywhere(places[1], SHOP, paths, trusting=trusting)
    for path in paths:
        assert told(whole[path]) == told(own[path]), path
        shown = whole[path].body
        for word in SECRET_WORDS:
            # what was asked for is repeated; nothing else may have the words
            if word.decode() not in path:
                assert word not in shown, (path, word)
    # the test sees something: own things are there, and others' are for who sees everything
    every = asked_everywhere(places[0], Viewer("auditor", None), paths, trusting=trusting)
    assert sum(told(every[path]) != told(whole[path]) for path in paths) > 10
    assert any(b"rocket" in one.body for one in every.values())
    assert sum(one.status == 200 for one in whole.values()) > 20
    assert not [path for path, one in whole.items() if one.status >= 500 and "/verify/" not in path]


@pytest.mark.parametrize(
    ("first", "rows"),
    [
        ("/api/v1/search?limit=9", "results"),
        ("/api/v1/search?limit=9&q=sender%3Abob", "results"),
        ("/api/v1/gaps?limit=1", "runs"),
    ],
)
def test_every_link_to_a_next_page_is_that_of_an_index_without_others(
    places: tuple[Place, Place], first: str, rows: str
) -> None:
    numbers = []
    path: str | None = first
    while path:
        whole, own = (get_all(place, [path], SHOP)[0].json for place in places)
        assert whole == own, path
        numbers.append(len(own[rows]))
        path = own["next"]
    assert numbers == ([9] * 7 + [1] if rows == "results" else [1] * 4)


def test_a_cursor_made_from_a_row_of_others_is_like_one_of_no_row(places: tuple[Place, Place]) -> None:
    filters = ("", "of", "shop")
    told = []
    for name in (f"5ec2e7{9:058x}", "99" * 32):
        cursor = cursor_of(Cursor(END + 30, bytes.fromhex(name)), filters)
        (answer,) = get_all(places[0], [f"/api/v1/search?limit=5&cursor={cursor}"], SHOP)
        told.append([one["digest"] for one in answer.json["results"]])
    assert told[0] == told[1] == [f"sha256:{number:064x}" for number in (30, 29, 28, 27, 26)]


def test_who_sees_nothing_is_told_of_nothing(places: tuple[Place, Place]) -> None:
    paths = every_path(places[0])
    answers = asked_everywhere(places[0], Viewer("bob", ()), paths)
    for path, answer in answers.items():
        for word in (*SECRET_WORDS, b"build-shop", b"registry.example/shop"):
            if word.decode() not in path:
                assert word not in answer.body, (path, word)


def test_a_store_that_is_behind_because_of_others_tells_no_number(places: tuple[Place, Place]) -> None:
    whole, _ = places
    with closing(sqlite3.connect(whole.path)) as connection, connection:
        connection.execute("INSERT INTO unread VALUES (1, 'secret/place', '', 'rocket', 0)")
    try:
        paths = every_path(whole)
        for path, answer in asked_everywhere(whole, SHOP, paths).items():
            if "rocket" not in path and "secret" not in path:
                assert b"secret/place" not in answer.body, path
        (told_all,) = get_all(whole, ["/api/v1/search"])
        assert told_all.json["index"]["stores"][0]["unreadable"] == 1
        (told_shop,) = get_all(whole, ["/api/v1/search"], SHOP)
        assert told_shop.json["index"]["stores"][0]["unreadable"] is None
    finally:
        with closing(sqlite3.connect(whole.path)) as connection, connection:
            connection.execute("DELETE FROM unread")


def test_names_of_policies_are_told_to_who_sees_everything_alone(places: tuple[Place, Place]) -> None:
    whole, _ = places
    told = json.dumps({"policy": "aa" * 32, "documents": {"rocket-policy": "bb" * 32}, "builderId": "b-1"})
    with closing(sqlite3.connect(whole.path)) as connection, connection:
        before = connection.execute("SELECT value FROM meta WHERE key = 'criteria'").fetchall()
        connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('criteria', ?)", (told,))
    try:
        paths = every_path(whole)
        for path, answer in asked_everywhere(whole, SHOP, paths).items():
            assert b"rocket-policy" not in answer.body, path
        (shop,) = get_all(whole, ["/signers"], SHOP)
        assert b"b-1" in shop.body
        (auditor,) = get_all(whole, ["/signers"])
        assert b"rocket-policy" in auditor.body
    finally:
        with closing(sqlite3.connect(whole.path)) as connection, connection:
            connection.execute("DELETE FROM meta WHERE key = 'criteria'")
            connection.executemany("INSERT INTO meta (key, value) VALUES ('criteria', ?)", before)


def test_no_path_tells_a_secret_in_the_url_of_a_store(places: tuple[Place, Place]) -> None:
    whole, _ = places
    with closing(sqlite3.connect(whole.path)) as connection, connection:
        ((before,),) = connection.execute("SELECT url FROM store").fetchall()
        url = "archivista+https://bob:hunter2hunter@archive.example/x?token=topsecretvalue"
        connection.execute("UPDATE store SET url = ?", (url,))
    try:
        answers = asked_everywhere(whole, Viewer("auditor", None), every_path(whole))
        for path, answer in answers.items():
            for secret in (b"hunter2", b"topsecret"):
                assert secret not in answer.body, path
        assert "archive.example" in answers["/search.json?q="].json["index"]["stores"][0]["url"]
    finally:
        with closing(sqlite3.connect(whole.path)) as connection, connection:
            connection.execute("UPDATE store SET url = ?", (before,))


def test_files_about_all_namespaces_are_as_if_they_were_not_given(world: World, tmp_path: Path) -> None:
    settings = replace(beside(world, tmp_path), audits=(), policies=(write_policy(tmp_path),))
    with inside(world.folder):
        paths = every_path(world.place)
        paths += [f"/run/{uid}" for uid in world.uids.values()]
        paths += [f"/run/{uid}/ledger-proof" for uid in world.uids.values()]
        paths += ["/reports/october", "/reports/october/report.json", "/controls", "/ledger/2026-03-04"]
        nobody = Viewer("x", ("nothing",))
        given = asked_everywhere(world.place, nobody, paths, settings=settings)
        without = asked_everywhere(world.place, nobody, paths)
        every = asked_everywhere(world.place, Viewer("auditor", None), paths, settings=settings)
    for path in paths:
        assert told(given[path]) == told(without[path]), path
    assert every["/reports/october/report.json"].status == every["/ledger/2026-03-04"].status == 200
    assert given["/reports/october/report.json"].status == given["/ledger/2026-03-04"].status == 404


def test_an_audit_tells_who_sees_some_namespaces_nothing_of_others(
    places: tuple[Place, Place], tmp_path: Path
) -> None:
    """Not their runs, not their numbers, and not by its exit code that something of theirs is missing."""
    paths = ["/", "/gaps", "/gaps?state=missing", "/namespace/shop", "/namespace/secret", "/api/v1/audit"]
    answers = []
    for name, states in (
        ("whole", [("shop", "skipped"), ("secret", "missing"), ("secret", "unknown")]),
        ("own", [("shop", "skipped")]),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for at in ("2026-11-19T00:00:00Z", "2026-11-20T00:00:00Z"):
            write_audit(folder / f"audit-{at[:10]}.json", states, at)
        settings = WebSettings(places[0], audits=(folder,))
        answers.append(asked_everywhere(places[0], SHOP, paths, settings=settings))
    for path in paths:
        assert told(answers[0][path]) == told(answers[1][path]), path
    assert answers[0]["/api/v1/audit"].json["finished"] == 0
    assert b"build-shop" in answers[0]["/api/v1/audit"].body


def test_a_false_claim_about_a_run_of_others_shows_no_record_and_no_ledger_of_it(
    world: World, tmp_path: Path
) -> None:
    """Somebody writes a statement that nobody trusts: it names the run of others, in a namespace of their own."""
    uid = world.uids["pipelinerun"]
    claim = Row(
        "aa" * 32,
        Run(uid, "mallory", "innocent"),
        "https://in-toto.io/attestation/scai/v0.3",
        verdict=Verdict.FAILED,
        namespace="mallory",
    )
    place = sqlite_index(tmp_path / "index.db", [claim])
    settings = replace(beside(world, tmp_path), records=(world.folder / "pipelinerun.json",))
    paths = [f"/run/{uid}", f"/run/{uid}/ledger-proof", f"/api/v1/run/{uid}"]
    found = asked_everywhere(place, Viewer("mallory", ("mallory",)), paths, settings=settings)
    every = asked_everywhere(place, Viewer("auditor", None), paths, settings=settings)
    assert b"storefront-release" not in found[paths[0]].body
    assert b"storefront-release" in every[paths[0]].body
    assert found[paths[1]].status == 404
    assert found[paths[2]].json["name"] == "innocent"


def test_entries_of_the_ledger_are_shown_without_what_counts_those_of_others(tmp_path: Path) -> None:
    uid = "5f2a1c9e-7b1d-4c1a-9a54-000000000001"
    made = [Row("aa" * 32, Run(uid, "shop", "storefront-build-1"), "x", namespace="shop")]
    place = sqlite_index(tmp_path / "index.db", made)
    keys = open_listed_keys([str(EXAMPLES / "ledger/ledger.pub")])
    settings = WebSettings(place, ledger=EXAMPLES / "ledger", ledger_keys=keys)
    paths = [f"/run/{uid}", f"/run/{uid}/ledger-proof"]
    own, proof = get_all(place, paths, SHOP, settings=settings)
    every, whole = get_all(place, paths, settings=settings)
    numbers = re.compile(rb"entry \d|Head of the log|ledger-proof")
    for answer in (own, every):
        assert b"Inclusion proven" in answer.body
        assert re.search(rb"entry( \d+)?: .*finished", answer.body)
    assert (own.status, numbers.findall(own.body), proof.status) == (200, [], 404)
    assert len(set(numbers.findall(every.body))) >= 3
    assert (whole.status, len(whole.json["entries"])) == (200, len(re.findall(rb"<li>entry \d", every.body)))


def write_policy(folder: Path) -> Path:
    path = folder / "policy.yaml"
    path.write_text(
        "kind: Policy\nname: rocket-policy\nimages: ['registry.example/**']\nsigners: [{keys: [rocket.pub]}]\n"
    )
    return path
