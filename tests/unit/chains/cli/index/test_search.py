"""``search``: its exit codes and forms, what it says about what was confirmed, and what an empty answer says."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chains.cli.index.search import search
from chains.cli.main import run as chains
from chains.index.codes import Level, Outcome, Role, Verdict
from chains.index.database import place_of
from chains.index.query.terms import Key
from chains.index.query.values import WORDS
from tests.unit.chains.cli.test_progress import STYLE
from tests.unit.chains.index.query.index import Row, Run, make_index

KEY = "SHA256:2NFhbvt1OGYT6oTvIqS2PhE4HZVaU4eVCjN5cMd7nzE"
IMAGE, OTHER = "ab" * 32, "cd" * 32
COMMIT = "f35c689185a78065ee4e8c1ee6cb65f4c54a9be3"
UIDS = [f"00000000-0000-4000-8000-00000000000{number}" for number in range(4)]
END = 1_790_000_000  # 2026-09-21T14:13:20Z
HOSTILE = "=cmd|' /c calc'!A0\u202e\x1b[31m\x00\ud800 '; DROP TABLE run; --"


def _row(number: int, run: Run, **more: Any) -> Row:
    return Row(
        f"{number:02x}" * 32,
        run,
        "https://slsa.dev/provenance/v1",
        signer=KEY if more.get("verdict", 0) == 0 else "",
        finished=END + number,
        namespace=run.namespace,
        **more,
    )


ROWS = (
    _row(
        1,
        Run(UIDS[0], "shop", "build-1", pipeline="release", level=Level.ENFORCED, node="node-1"),
        subjects=((f"sha256:{IMAGE}", "registry.example/shop/app"),),
        materials=((f"gitCommit:{COMMIT}", Role.SOURCE, "https://git.example/shop"),),
    ),
    _row(
        2,
        Run(UIDS[1], "dev", "build-2", outcome=Outcome.FAILED),
        subjects=((f"sha256:{OTHER}", "registry.example/dev/app"),),
        verdict=Verdict.FAILED,
    ),
    _row(3, Run(UIDS[2], "shop", HOSTILE), subjects=((f"sha256:{OTHER}", HOSTILE),)),
)


@pytest.fixture(autouse=True)
def _indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".chains").mkdir()
    make_index(place_of(".chains/index.db"), ROWS)


def _found(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert chains(["search", "--output", "json", *arguments]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def _digests(found: dict[str, Any]) -> list[str]:
    return [one["digest"][7:9] for one in found["results"]]


@pytest.mark.parametrize(
    ("arguments", "digests"),
    [
        ([], ["03", "02", "01"]),
        (["namespace:shop"], ["03", "01"]),
        (["namespace:shop", "level:enforced"], ["01"]),
        (["namespace:shop level:enforced"], ["01"]),
        (["-namespace:dev"], ["03", "01"]),
        (["-namespace:dev", "-level:enforced"], ["03"]),
        (["--", "-build-1"], ["03", "02"]),
        ([COMMIT], ["01"]),
        ([f"sha256:{IMAGE}"], ["01"]),
        ([OTHER[:12]], ["03", "02"]),
        ([UIDS[1]], ["02"]),
        (["shop/build-1"], ["01"]),
        (["release"], ["01"]),
        (["app"], ["02", "01"]),
        (["verdict:failed"], ["02"]),
        (["from:2026-09-21T14:13:22Z", "to:2026-09-21"], ["03", "02"]),
    ],
    ids=" ".join,
)
def test_what_fits_all_terms_is_found_the_newest_first(
    arguments: list[str], digests: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _digests(_found(capsys, *arguments)) == digests


def test_each_attestation_says_when_and_by_whom_it_was_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    found = _found(capsys, "build-1")
    assert found["words"] == ["a name is build-1"]
    assert (found["count"], found["countIsCut"], found["cursor"]) == (1, False, None)
    assert found["index"] == {
        "place": ".chains/index.db",
        "criteriaDigest": f"sha256:{'ab' * 32}",
        "isWhole": True,
        "stores": [{"url": "file:evidence", "readAt": "2026-09-21T14:13:20Z", "behind": 0, "unreadable": 0}],
    }
    (result,) = found["results"]
    assert result["verdict"] == "verified"
    assert (result["checkedAt"], result["signer"]) == ("2026-09-21T14:13:20Z", KEY)
    assert result["finishedAt"] == "2026-09-21T14:13:21Z"
    assert (result["namespace"], result["pipeline"], result["level"]) == ("shop", "release", "enforced")
    assert result["run"]["uid"] == UIDS[0]
    assert (result["run"]["name"], result["run"]["kind"], result["run"]["node"]) == (
        "build-1",
        "taskrun",
        "node-1",
    )
    assert result["subjects"] == [{"name": "registry.example/shop/app", "digest": f"sha256:{IMAGE}"}]


def test_the_table_says_what_is_not_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["search"]) == 0
    head, newest, failed, first, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["FINISHED", "RUN", "ARTIFACT", "COMMIT", "TYPE", "LEVEL", "CONFIRMED"]
    assert f"at 2026-09-21T14:13:20Z with {KEY}" in newest
    assert "NOT CONFIRMED at 2026-09-21T14:13:20Z: key_unknown" in failed
    assert "shop/build-1" in first
    assert f"registry.example/shop/app@sha256:{IMAGE[:12]}" in first
    assert lines == ["3 attestations", "index: file:evidence read to the end at 2026-09-21T14:13:20Z"]
    assert "valid" not in " ".join((newest, failed, first)).lower()


def test_the_table_fits_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setenv("NO_COLOR", "1")
    assert chains(["search", "shop/build-1"]) == 0
    lines = STYLE.sub("", capsys.readouterr().out).splitlines()
    assert any("registry.example/shop/app@" in line for line in lines)
    assert max(map(len, lines)) <= 70


def test_pages_follow_each_other_until_the_last(capsys: pytest.CaptureFixture[str]) -> None:
    first = _found(capsys, "--limit", "2")
    assert (_digests(first), first["count"]) == (["03", "02"], 3)
    second = _found(capsys, "--limit", "2", "--cursor", first["cursor"])
    assert (_digests(second), second["cursor"], second["count"]) == (["01"], None, 3)


@pytest.mark.parametrize("query", ["namespace:shop", "-namespace:dev"])
def test_the_cursor_of_another_query_is_refused(query: str, capsys: pytest.CaptureFixture[str]) -> None:
    cursor = _found(capsys, "--limit", "1")["cursor"]
    told = _found(capsys, query, f"--cursor={cursor}", code=2)
    assert "the cursor is of another query" in told["error"]


@pytest.mark.parametrize("cursor", ["x", "A" * 43, "\x00", "é" * 43, "A" * 42 + "!"])
def test_a_damaged_cursor_is_refused(cursor: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "the cursor is" in _found(capsys, f"--cursor={cursor}", code=2)["error"]


def test_csv_has_a_line_for_each_attestation_and_no_formula(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["search", "--output", "csv"]) == 0
    written = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(written.out)))
    assert [row["verdict"] for row in rows] == ["verified", "failed", "verified"]
    assert [row["runUid"] for row in rows] == [UIDS[2], UIDS[1], UIDS[0]]
    assert rows[0]["subject"] == "'=cmd|' /c calc'!A0\\u202e\\x1b[31m\\x00\\ud800 '; DROP TABLE run; --"
    assert rows[2]["commit"] == ""
    assert "3 attestations" in written.err


def test_hostile_text_is_shown_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["search", f"run:{UIDS[2]}"]) == 0
    shown = capsys.readouterr().out
    assert shown.isprintable() or "\u202e" not in shown
    assert "\\u202e\\x1b[31m" in shown
    found = _found(capsys, f"run:{UIDS[2]}")
    assert found["results"][0]["run"]["name"] == HOSTILE


def test_nothing_found_says_what_was_searched(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["search", "namespace:shop", "signer:mallory"]) == 3
    assert capsys.readouterr().out.splitlines() == [
        "searched for: namespace is shop, and signer is mallory",
        "nothing found in the index .chains/index.db",
        "compared: namespaces of runs",
        "compared: keys and identities of signatures that verified",
        "nothing in the index has: signer is mallory",
        "evidence that came into the stores later, or lies in other stores, was not searched",
        "index: file:evidence read to the end at 2026-09-21T14:13:20Z",
    ]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "UPDATE store SET parts = 3",
            "index: file:evidence read to the end at 2026-09-21T14:13:20Z, 2 parts behind",
        ),
        ("UPDATE store SET updated = 0", "index: file:evidence never read to the end"),
        ("DELETE FROM store", "the index has read no store"),
    ],
)
def test_nothing_found_in_an_index_that_is_behind_is_no_answer(
    change: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with sqlite3.connect(".chains/index.db") as connection:
        connection.execute(change)
    connection.close()
    assert chains(["search", "nothing-like-it"]) == 4
    assert told in capsys.readouterr().out.splitlines()


def test_what_could_not_be_read_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(".chains/index.db") as connection:
        connection.execute("INSERT INTO unread VALUES (1, 'a/b', '', 'no JSON', 0)")
    connection.close()
    assert chains(["search", "build-1"]) == 0
    assert "1 item could not be read" in capsys.readouterr().out


def test_without_an_index_the_error_says_how_to_build_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["search", "build-1", "--index", "elsewhere.db"]) == 2
    assert "there is no index at elsewhere.db: build it with `chains index build" in capsys.readouterr().err


def test_a_file_that_is_no_index_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes.db").write_text("not a database, and longer than the header of one" * 20)
    assert chains(["search", "--index", "notes.db"]) == 1
    assert "the index notes.db: file is not a database" in capsys.readouterr().err


def test_an_unknown_key_is_an_error_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    told = _found(capsys, "namespce:shop", code=2)
    assert "unknown key namespce:; did you mean namespace:?" in told["error"]


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "ten", "\uff19", "1" * 5000])
def test_a_limit_out_of_range_is_refused(limit: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "imit" in _found(capsys, f"--limit={limit}", code=2)["error"]


def test_each_option_has_a_twin(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".chains/index.db").rename("moved.db")
    monkeypatch.setenv("CHAINS_INDEX", "moved.db")
    monkeypatch.setenv("CHAINS_LIMIT", "1")
    monkeypatch.setenv("CHAINS_OUTPUT", "json")
    assert chains(["search"]) == 0
    assert _digests(json.loads(capsys.readouterr().out)) == ["03"]


def test_a_search_imports_nothing_slow_and_leaves_nothing_behind() -> None:
    code = (
        "import sys; from chains.cli.main import run; code = run(['search', 'build-1', '--output', 'json']); "
        "slow = {'sqlalchemy', 'aiohttp', 'rich', 'cryptography', 'yaml'} & set(sys.modules); "
        "sys.exit(code or sorted(slow) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in Path(".chains").iterdir()) == ["index.db"]


def test_the_page_has_every_key_and_every_word_of_the_language() -> None:
    page = (Path(__file__).parents[5] / "docs" / "evidence-index.md").read_text()
    section = page.partition("## Search")[2].partition("\n## ")[0]
    assert [key for key in Key if f"`{key}:" not in section] == []
    assert [word for words in WORDS.values() for word in words if f"`{word}`" not in section] == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("sig", ["signer:"]),
        ("level:enf", ["level:enforced"]),
        ("verdict:", ["verdict:verified", "verdict:failed", "verdict:indeterminate", "verdict:not-judged"]),
        ("result:", ["result:passed", "result:failed"]),
        ("namespace:s", []),
    ],
)
def test_the_shell_completes_keys_and_their_words(typed: str, offered: list[str]) -> None:
    context = search.make_context("search", [], resilient_parsing=True)
    query = next(one for one in search.params if one.name == "query")
    assert [item.value for item in query.shell_complete(context, typed)] == offered
