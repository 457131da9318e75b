"""``chains audit sample``: anybody can repeat the choice, and each run has a pack of the evidence that counts."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chains.audit.population.known import KnownRun
from chains.audit.sample import choose
from chains.cli.main import run as chains
from tests.audit_truth import GAP, World, make_world, time_of, uid_of

Json = Any


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("sampled"), 40, 1)


def sample(world: World, capsys: pytest.CaptureFixture[str], *more: str) -> Json:
    _, *words = world.arguments(*more)
    capsys.readouterr()
    code = chains(["audit", "sample", *words, "--output", "json"])
    told = json.loads(capsys.readouterr().out)
    assert told["exitCode"] == code
    return told


def place(seed: str, uid: str) -> str:
    return hashlib.sha256(f"{seed}{uid}".encode()).hexdigest()


def test_the_choice_is_that_of_the_seed_and_of_nobody_else(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    chains(world.arguments("--output", "json", "--all"))
    finished = [
        one["uid"] for one in json.loads(capsys.readouterr().out)["runs"] if one["finished"] and one["uid"]
    ]
    told = sample(world, capsys, "--n", "7", "--seed", "dice: 3 1 6")
    assert told["population"] == len(finished)
    assert (
        told["populationDigest"]
        == "sha256:" + hashlib.sha256("".join(f"{uid}\n" for uid in sorted(finished)).encode()).hexdigest()
    )
    expected = sorted(finished, key=lambda uid: place("dice: 3 1 6", uid))[:7]
    assert [one["uid"] for one in told["items"]] == expected
    assert [one["order"] for one in told["items"]] == [place("dice: 3 1 6", uid) for uid in expected]
    assert told["seed"] == "dice: 3 1 6"
    other = sample(world, capsys, "--n", "7", "--seed", "dice: 3 1 5")
    assert [one["uid"] for one in other["items"]] != expected


def test_a_sample_can_be_spread_over_namespaces() -> None:
    runs = [
        KnownRun("TaskRun", "big" if number else "small", f"r{number}", uid_of(number))
        for number in range(50)
    ]
    chosen = choose(runs, 4, "s", "namespace")
    assert [run.namespace for run in chosen[:2]].count("small") == 1
    assert [run.namespace for run in chosen].count("big") == 3
    big = sorted((run for run in runs if run.namespace == "big"), key=lambda run: place("s", run.uid))
    assert [run for run in chosen if run.namespace == "big"] == big[:3]
    assert choose(runs, 100, "s", "namespace") != choose(runs, 100, "s")
    assert len(choose(runs, 100, "s", "namespace")) == 50
    assert choose([], 5, "s", "namespace") == []


def test_each_run_has_a_pack_and_a_verdict(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "packs"
    told = sample(world, capsys, "--n", "40", "--seed", "s", "--folder", str(folder))
    assert told["exitCode"] == 1
    # one run vanished in a gap, and the missing child has no UID; a run without evidence has an empty pack
    states = {one["uid"]: one["state"] for one in told["items"]}
    named = {uid: state for uid, (state, *_) in world.expected.items() if uid in states}
    assert {uid: state for uid, state in states.items() if state != "evidenced"} == named
    for one in told["items"]:
        place = folder / one["folder"]
        verdict = json.loads((place / "verification.json").read_text())
        assert verdict["run"]["state"] == one["state"]
        lines = (place / "index.jsonl").read_text().splitlines()
        # provenance and report, or without a record to compare the provenance alone
        assert len(lines) == one["bundles"] == {"verified": 2, "verified_by_uid": 1}.get(one["reason"], 0)
        assert {json.loads(line)["run"]["uid"] for line in lines} <= {one["uid"]}
    assert json.loads((folder / "sample.json").read_text())["items"] == told["items"]
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_a_sample_of_sources_that_are_not_whole_is_undecided(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    taken = ("--n", "1", "--seed", "s")
    # the one run that ended in this second is evidenced, and the gap is later
    second = ("--from", time_of(1, 9), "--to", time_of(1, 10))
    told = sample(world, capsys, *taken, *second)
    assert (told["items"][0]["state"], told["undecided"], told["exitCode"]) == ("evidenced", [], 0)
    (tmp_path / "broken.json").write_text("{")
    told = sample(world, capsys, *taken, *second, "--runs", str(tmp_path / "broken.json"))
    assert (len(told["undecided"]), told["exitCode"]) == (1, 4)
    assert "broken.json" in told["undecided"][0]


def test_a_gap_in_the_period_of_a_sample_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    told = sample(world, capsys, "--n", "1", "--seed", "s", "--from", GAP[0], "--to", "2026-11-02T00:00:00Z")
    assert told["exitCode"] == 4
    assert [one.partition(" (")[0] for one in told["undecided"]] == ["gap of ledger"]


def test_a_bundle_of_a_pack_is_verified_with_its_key_alone(
    world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "packs"
    told = sample(world, capsys, "--n", "40", "--seed", "s", "--folder", str(folder))
    one = next(item for item in told["items"] if item["state"] == "evidenced")
    pack = folder / one["folder"]
    line = json.loads((pack / "index.jsonl").read_text().splitlines()[0])
    (tmp_path / "bundle.json").write_bytes((pack / "bundles.jsonl").read_bytes().splitlines()[0])
    digest = line["subjects"][0]["digest"]["sha256"]
    words = [
        "verify",
        str(tmp_path / "bundle.json"),
        "--key",
        str(pack / "keys/key-1.pub"),
        "--digest",
        f"sha256:{digest}",
    ]
    assert chains(words) == 0
    assert json.loads((pack / "run.json").read_text())["metadata"]["uid"] == one["uid"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ((), "no seed"),
        (("--seed", "s", "--n", "0"), "--n"),
        (("--seed", "s", "--by", "mood"), "invalid choice"),
    ],
    ids=["seed", "n", "by"],
)
def test_wrong_usage_of_a_sample_is_told(
    world: World, more: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, *words = world.arguments(*more)
    assert chains(["audit", "sample", *words]) == 2
    assert told in capsys.readouterr().err


def test_packs_are_never_mixed(world: World, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "old").write_text("")
    _, *words = world.arguments("--seed", "s", "--folder", str(tmp_path))
    assert chains(["audit", "sample", *words]) == 2
    assert "is not empty" in capsys.readouterr().err
