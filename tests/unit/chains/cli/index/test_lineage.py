"""``chains lineage``: its forms and exit codes, what may be asked, and where it looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from chains.cli.main import run as chains
from chains.index.query import relatives
from tests.unit.chains.lineage.made import COMMIT, attest, digest, run_of

Json = Any
OS, APP, WEB = (f"registry.example.com/shop/{name}" for name in ("os", "app", "web"))
KEY = ("--key", "signing.pub")
STORE = ("--store", "oci-layout:layout")


@pytest.fixture(autouse=True)
def _attested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("signing.key", "other.key"):
        assert chains(["keys", "generate", name]) == 0
    made = (
        run_of("os", OS, git=("https://git.example.com/os.git", COMMIT)),
        run_of("app", APP, made_from=[OS]),
    )
    attest(tmp_path, "oci-layout:layout", *made)
    attest(
        tmp_path, "oci-layout:layout", run_of("web", WEB, made_from=[APP]), key="other.key", form="slsa/v1"
    )
    capsys.readouterr()


def found(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Json:
    assert chains(["lineage", *words, "--output", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_both_directions_are_found_with_their_states_and_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    told = found(capsys, f"{APP}@{digest(APP)}", *KEY, *STORE)
    assert {(one["names"][0], one["distance"], one["state"]) for one in told["madeFrom"]} == {
        (OS, 1, "verified"),
        ("oci://registry.example.com/mirror/alpine", 1, "verified"),
        ("git+https://git.example.com/os.git", 2, "verified"),
    }
    assert [(one["names"], one["state"]) for one in told["wentInto"]] == [([WEB], "claimed")]
    (step,) = [one for one in told["steps"] if one["product"] == digest(WEB)]
    assert (step["roles"], step["signer"], step["run"]) == (["dependency"], None, "taskrun/ci/web")
    assert step["evidence"][0]["store"] == "oci-layout:layout"
    both = found(capsys, digest(APP), *KEY, "--key", "other.pub", *STORE)
    assert {one["state"] for one in (*both["madeFrom"], *both["wentInto"])} == {"verified"}


def test_a_commit_may_be_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    for word in (COMMIT, f"sha1:{COMMIT}", f"gitCommit:{COMMIT}"):
        told = found(capsys, word, *KEY, *STORE)
        assert [one["names"][0] for one in told["wentInto"]] == [OS, APP, WEB]
        assert told["artifact"]["names"] == ["git+https://git.example.com/os.git"]
        assert found(capsys, word, *KEY, *STORE, "--depth", "1")["wentInto"][0]["isCut"] is True


def test_an_index_answers_as_the_stores_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chains(["index", "build", *STORE, *KEY, "--index", "i.db"]) in {0, 1}
    capsys.readouterr()
    for word in (digest(APP), digest(OS), digest(WEB), COMMIT):
        for depth in ("1", "5", "all"):
            by_stores = found(capsys, word, *KEY, *STORE, "--depth", depth)
            by_index = found(capsys, word, "--index", "i.db", "--depth", depth)
            for side in ("madeFrom", "wentInto"):
                assert [_shown(one) for one in by_index[side]] == [_shown(one) for one in by_stores[side]], (
                    word
                )
            ends = [
                {
                    (one["source"], one["product"], *sorted(one["roles"]), one["state"], one["runUid"])
                    for one in told["steps"]
                }
                for told in (by_index, by_stores)
            ]
            assert {end[:-1] for end in ends[0]} == {end[:-1] for end in ends[1]}
            # an index has the run only of a statement that names it: the SLSA v0.2 of WEB has no field for that
            assert ends[0] - ends[1] <= {(digest(APP), digest(WEB), "dependency", "claimed", "")}
            assert {end for end in ends[1] - ends[0] if end[1] != digest(WEB)} == set()
    told = found(capsys, digest(APP), "--index", "i.db")
    assert told["notes"][0].startswith("oci-layout:layout as the index i.db has it, read 20")
    assert {place["store"] for step in told["steps"] for place in step["evidence"]} == {"oci-layout:layout"}
    assert {step["signer"] for step in told["steps"] if step["state"] == "claimed"} == {None}
    found(capsys, digest("nothing"), "--index", "i.db", code=3)
    monkeypatch.setenv("CHAINS_INDEX", "i.db")
    assert found(capsys, digest(APP))["notes"] == told["notes"]
    assert found(capsys, digest(APP), *KEY, *STORE)["notes"] == []


def _shown(one: Json) -> tuple[Json, ...]:
    # an index has names without transport and tag
    return one["digest"], one["distance"], one["state"], one["isCut"]


def test_what_an_index_lacks_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chains(["lineage", digest(APP), "--index", "none.db"]) != 0
    assert "there is no index at none.db" in capsys.readouterr().err
    chains(["index", "build", *STORE, *KEY, "--index", "i.db"])
    capsys.readouterr()
    monkeypatch.setattr(relatives, "MOST", 2)
    told = found(capsys, digest(APP), "--index", "i.db", code=4)
    assert "more than 2 statements are near" in told["problems"][0]["reason"]


def test_every_form_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["lineage", digest(APP), *KEY, *STORE]
    assert chains(words) == 0
    assert capsys.readouterr().out.startswith(
        f"LINEAGE made from 3 artifacts, went into 1: 3 by verified statements, 1 by claims\n  {APP}\n  {digest(APP)}\n"
    )
    assert chains([*words, "--output", "svg"]) == 0
    ET.fromstring(capsys.readouterr().out)
    assert chains([*words, "--output", "dot"]) == 0
    assert capsys.readouterr().out.count(" -> ") == 5


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([digest(APP)], 4),
        ([digest("nothing"), *KEY], 3),
        ([digest(APP), *KEY, "--store", "oci:"], 4),
        ([digest(APP), "--key", "other.pub"], 0),
    ],
)
def test_the_exit_code_says_what_the_page_says(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["lineage", *words, *STORE]) == code


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "is no target"),
        ([f"{APP}:1"], "names a tag"),
        ([digest(APP)], "no store to search: pass --store URL"),
        (
            [digest(APP), *STORE, "--depth", "0"],
            "--depth: expected a number of runs from 1 on, or all, got '0'",
        ),
        ([digest(APP), *STORE, "--depth", "many"], "--depth: expected"),
        ([digest(APP), *STORE, "--depth", "9" * 5000], "--depth: expected"),
        ([digest(APP), *STORE, "--certificate-identity", "x"], "--certificate-oidc-issuer"),
        ([digest(APP), *STORE, "--index", "i.db"], "pass --index or --store"),
        ([digest(APP), *KEY, "--index", "i.db"], "pass --index or --key"),
        (["signing.pub", *STORE], "is a file: name an image with digest, a digest or a commit"),
    ],
)
def test_a_wrong_argument_says_what_is_right(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["lineage", *words]) == 2
    assert message in capsys.readouterr().err


def test_without_a_store_this_folders_layout_or_the_images_repository_is_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chains(["lineage", f"127.0.0.1:1/shop/app@{digest(APP)}", *KEY]) == 4
    assert "looking in oci://127.0.0.1:1/shop/app" in capsys.readouterr().err
    Path(".chains").mkdir()
    Path("layout").rename(".chains/layout")
    assert chains(["lineage", f"{APP}@{digest(APP)}", *KEY]) == 0
    assert "looking in oci-layout:.chains/layout" in capsys.readouterr().err
