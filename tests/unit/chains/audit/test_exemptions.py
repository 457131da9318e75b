"""Exemptions of policies in a ledger: what is noted, what counts once it is signed, and which runs it covers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chains.audit.exemptions import MOST, WITHDRAWN, changes, covering, entries_of, signed_exemptions
from chains.audit.ledger.entries import Exemption
from chains.audit.ledger.lines import parse_entry, write_entry
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.writer import LogWriter
from chains.cli.main import run as chains
from chains.policy.document.load import load_text
from chains.policy.document.policy import Policy
from signers.keys.public_key import PublicKey
from storage.formats.reference import parse_image
from tests.audit_truth import task_run, uid_of
from tests.unit.chains.audit.ledger.made import ORIGIN, Clock, close_due, listed, sealer_of
from tests.unit.chains.controller.test_ledger import Flow, kept, parts_in

Json = Any
NOW = datetime(2026, 12, 1, tzinfo=UTC)
DIGEST = f"sha256:{2:064x}"
IMAGE = parse_image(f"registry.example/app@{DIGEST}")


def policy_text(exemptions: Json) -> bytes:
    pem = PublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key()).pem.decode()
    return json.dumps(
        {
            "apiVersion": "provenance.chains/v1", "kind": "Policy", "metadata": {"name": "prod"},
            "spec": {
                "match": {"images": ["registry.example/**"]},
                "trust": [{"name": "us", "signer": {"keys": [{"pem": pem}]}, "builderId": "https://b/x", "maxLevel": 3}],
                "require": {"level": 2},
                "exemptions": exemptions,
            },
        }
    ).encode()  # fmt: skip


def exemption(**more: Json) -> Json:
    return {
        "image": f"registry.example/app@{DIGEST}", "rules": ["evidence", "level"], "until": "2999-01-01T00:00:00Z",
        "reason": "old build", "reference": "SEC-12", **more,
    }  # fmt: skip


def policies(*exemptions: Json) -> tuple[Policy, ...]:
    return load_text(policy_text(list(exemptions)))


def test_an_entry_says_who_why_until_when_and_of_which_policy() -> None:
    (policy,) = policies(exemption(), exemption(until="2026-11-30T00:00:00Z", rules=["level"]))
    (one,) = entries_of([policy], NOW)
    assert one.what == f"registry.example/app@{DIGEST} is exempt from evidence,level of prod"
    assert one.by == f"SEC-12 (policy {policy.digest})"
    assert (one.reason, one.until) == ("old build", "2999-01-01T00:00:00.000000Z")
    assert parse_entry(write_entry(one)) == one


def test_hostile_reasons_are_escaped_and_too_many_are_counted() -> None:
    (one,) = entries_of(policies(exemption(reason="\x1b[2J\u202e ghp_" + "a" * 36)), NOW)
    assert "\x1b" not in one.reason
    assert "ghp_" not in one.reason
    (policy,) = policies(exemption())
    many = replace(policy, exemptions=policy.exemptions * (MOST + 5))
    found = entries_of([many], NOW)
    assert (len(found), found[-1].what) == (MOST + 1, "5 more exemptions")


def test_only_news_is_noted_and_a_withdrawn_exemption_ends() -> None:
    before = entries_of(policies(exemption()), NOW)
    later = NOW + timedelta(days=1)
    same = [replace(one, at=later) for one in before]
    assert list(changes(before, same, later)) == []
    (changed,) = changes(before, [replace(same[0], reason="older build")], later)
    assert changed.reason == "older build"
    (ended,) = changes(before, [], later)
    assert (ended.what, ended.reason, ended.until) == (
        before[0].what,
        WITHDRAWN,
        "2026-12-02T00:00:00.000000Z",
    )
    (one,) = signed_exemptions([*before, ended], NOW + timedelta(days=9))
    assert (one.since, one.until) == (NOW, later)


@pytest.mark.parametrize(
    ("images", "rules", "ended", "until", "is_covered"),
    [
        ([IMAGE], ("evidence",), "2026-12-01T01:00:00Z", "2999-01-01T00:00:00Z", True),
        ([IMAGE], (), "2026-11-01T00:00:00Z", "2999-01-01T00:00:00Z", True),
        ([IMAGE], ("log",), "2026-12-01T01:00:00Z", "2999-01-01T00:00:00Z", False),
        ([IMAGE], ("evidence",), "2026-12-03T00:00:00Z", "2026-12-02T00:00:00Z", False),
        (
            [parse_image(f"registry.example/other@{DIGEST}")],
            (),
            "2026-12-01T01:00:00Z",
            "2999-01-01T00:00:00Z",
            False,
        ),
        ([], (), "2026-12-01T01:00:00Z", "2999-01-01T00:00:00Z", False),
    ],
    ids=["covered", "noted-later", "other-rule", "over-before-the-run", "other-image", "no-image"],
)
def test_an_exemption_covers_its_image_and_rules_while_it_counts(
    images: Sequence[Any], rules: tuple[str, ...], ended: str, until: str, is_covered: bool
) -> None:
    found = signed_exemptions(entries_of(policies(exemption(until=until)), NOW), NOW + timedelta(days=30))
    told = covering(found, images, rules, ended, NOW + timedelta(days=9))
    assert bool(told) == is_covered
    assert not told or "old build (SEC-12 (policy sha256:" in told


def test_what_is_not_signed_or_has_another_form_covers_nothing() -> None:
    entries = entries_of(policies(exemption()), NOW)
    assert signed_exemptions(entries, None) == []
    assert signed_exemptions(entries, NOW) == []
    strange = [
        replace(entries[0], what=what)
        for what in ("everything", "** is exempt", "app:v1 is exempt from x of y")
    ]
    assert signed_exemptions([*strange, replace(entries[0], until="soon")], NOW + timedelta(days=1)) == []


def notes(folder: Path) -> list[Exemption]:
    lines = [
        line
        for file in sorted(folder.glob("ledger/share-0-of-1/????-??-??.jsonl"))
        for line in file.read_bytes().splitlines()
    ]
    return [one for one in map(parse_entry, lines) if isinstance(one, Exemption)]


def test_the_controller_notes_exemptions_and_what_becomes_of_them(tmp_path: Path) -> None:
    path = tmp_path / "policy.json"
    path.write_bytes(policy_text([exemption()]))

    async def run() -> list[int]:
        counted = []
        async with kept() as (keeper, _):
            parts = parts_in(tmp_path)
            parts = replace(parts, settings=replace(parts.settings, policies=str(path)))
            keeper.take(Flow(parts, {}, sealer_of(tmp_path, "runs")))
            for data in (
                None,
                None,
                b"{}",
                policy_text([exemption(), exemption(rules=["level"])]),
                policy_text([]),
            ):
                if data is not None:
                    path.write_bytes(data)
                await keeper.look()
                counted.append(len(notes(tmp_path)))
        return counted

    # a file that is no policy changes nothing; the text of a policy changes its digest, so both are news
    assert asyncio.run(run()) == [1, 1, 1, 3, 5]
    found = notes(tmp_path)
    assert [one.reason for one in found] == ["old build"] * 3 + [WITHDRAWN] * 2


@pytest.mark.parametrize("is_closed", [True, False])
def test_an_audit_shows_the_runs_that_a_signed_exemption_covers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_closed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    assert chains(["keys", "generate", "e.key"]) == 0
    Path("runs.json").write_text(json.dumps([task_run(1), task_run(2)]))
    Path("attested.json").write_text(json.dumps([task_run(2)]))
    assert chains(["attest", "attested.json", "--store", "file:store", "--key", "e.key"]) == 0
    clock = Clock()
    writer = LogWriter(Path("ledger/share-0-of-1"), ORIGIN, clock)
    assert writer.append(entries_of(policies(exemption()), clock.now)) == [None]
    clock.move(days=1)
    sealer = sealer_of(tmp_path)
    if is_closed:
        close_due(writer, sealer, clock.now)
    writer.close()
    Path("ledger.pub").write_bytes(sealer.signer.public_pem)
    assert read_ledger(Path("ledger"), listed(sealer), clock.now).is_sound
    capsys.readouterr()
    words = ["audit", "--runs", "runs.json", "--store", "file:store", "--key", "e.pub", "--ledger", "ledger",
             "--ledger-key", "ledger.pub", "--all"]  # fmt: skip
    assert chains([*words, "--output", "json"]) == 1
    runs = {one["uid"]: one for one in json.loads(capsys.readouterr().out)["runs"]}
    assert {uid: one["state"] for uid, one in runs.items()} == {uid_of(1): "missing", uid_of(2): "evidenced"}
    told = runs[uid_of(1)]["exemption"]
    assert (told is not None) == is_closed
    assert told is None or "is exempt from evidence, level of policy prod" in told
    assert runs[uid_of(2)]["exemption"] is None
    assert chains(words) == 1
    assert ("exemption: registry.example/app" in capsys.readouterr().out) == is_closed
