"""``chains get``, ``copy`` and ``export`` on folders and layouts, through the command line."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.evidence.records import regroup
from storage.base import FORM_A, FORM_B, StoreOptions
from storage.errors import StoreUnavailable
from storage.filesystem.store import FileStore
from storage.open import open_store
from storage.record import Evidence, Findings, ListedRun, Origin, Record
from tests.unit.storage import records

Json = Any
ROOT = Path(__file__).parents[4]
KILLED = """
import os, signal, sys
from chains.cli import main
from chains.evidence import copying

class Journal(copying.Journal):
    def add(self, uids):
        super().add(uids)
        if len(self._path.read_text().splitlines()) >= 32:
            os.kill(os.getpid(), signal.SIGKILL)

copying.Journal = Journal
sys.exit(main.run(sys.argv[1:]))
"""
"""A command that is killed when 32 runs or more are written down as done."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("key.pub").write_bytes(records.public_key_pem())
    return tmp_path


def fill(url: str, *made: Record, **options: Any) -> None:
    async def work() -> None:
        async with open_store(url, StoreOptions(**options)) as store:
            for record in made:
                assert not (await store.put(record)).failures

    asyncio.run(work())


def runs(count: int) -> list[Record]:
    return [
        record
        for number in range(1, count + 1)
        for record in records.records_of_run(
            records.subject(f"registry.example/app{number}", b"%d" % number), number
        )
    ]


def asked(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Json:
    assert chains([*words, "--output", "json"]) == code
    return json.loads(capsys.readouterr().out)


def files(folder: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


def test_evidence_is_printed_by_digest_run_name_and_time(capsys: pytest.CaptureFixture[str]) -> None:
    made = runs(2)
    fill("file:store", *made)
    digest = made[0].subjects[0].digest["sha256"]
    for target in (f"sha256:{digest}", f"registry.example/app@sha256:{digest}", made[0].origin.uid):
        found = asked(capsys, "get", target, "--store", "file:store")["evidence"]
        assert {one["run"]["uid"] for one in found} == {made[0].origin.uid}
        assert sorted(one["data"] for one in found if one["format"] == "bundle-v0.3") == sorted(
            record.bundle.decode() for record in made[:3]
        )
        assert {one.get("predicateType") for one in found} >= {records.PROVENANCE, records.REPORT}
    for words in (
        ["default/build"],
        ["taskrun/default/build"],
        [],
        ["--namespace", "default"],
        ["--since", "2026-01-01"],
    ):
        assert len(asked(capsys, "get", *words, "--store", "file:store")["evidence"]) == 12
    for words in (["other/build"], ["pipelinerun/default/build"], ["--name", "x"], ["--until", "2026-01-01"]):
        assert asked(capsys, "get", *words, "--store", "file:store", code=3)["evidence"] == []
    assert chains(["get", made[0].origin.uid, "--store", "file:store"]) == 0
    text = capsys.readouterr().out
    assert "taskrun/default/build" in text
    assert text.endswith("6 pieces of evidence\n")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["what is this"], "expected sha256:HEX"),
        (["--since", "yesterday"], "no time"),
        (["--store", "oci:"], "cannot list its runs"),
        (["--store", "s4:x"], "unknown store"),
    ],
)
def test_what_cannot_be_looked_for_is_told(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    fill("file:store", *runs(1))
    store = [] if "--store" in words else ["--store", "file:store"]
    assert chains(["get", *words, *store]) in {1, 2}
    assert reason in capsys.readouterr().err


def test_a_store_that_is_none_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["get", "--store", "nosuch"], ["copy", "nosuch", "file:x"], ["copy", "oci:", "nosuch"]):
        assert chains(arguments) == 2
        assert "store nosuch: unknown store 'nosuch'" in capsys.readouterr().err


def test_without_a_store_there_is_nothing_to_look_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["get"]) == 2
    assert "pass --store" in capsys.readouterr().err


@pytest.mark.parametrize(("source", "destination"), [("oci-layout", "file"), ("file", "oci-layout")])
def test_a_copy_is_the_same_as_if_it_was_stored_there(
    source: str, destination: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = runs(3)
    fill(f"{source}:a", *made)
    fill(f"{destination}:expected", *made)
    counts = asked(capsys, "copy", f"{source}:a", f"{destination}:b", "--key", "key.pub")
    assert (counts["runs"], counts["copied"], counts["failed"], counts["refused"]) == (3, 9, 0, 0)
    assert files("b") == files("expected") if destination == "file" else _same_layout()
    again = asked(capsys, "copy", f"{source}:a", f"{destination}:b")
    assert (again["copied"], again["unchanged"]) == (0, 9)


def _same_layout() -> bool:
    """Whether two layouts have the same bundles and envelopes: a tag's layers may be in another order."""

    def contents(folder: str) -> set[bytes]:
        blobs = [path.read_bytes() for path in Path(folder, "blobs", "sha256").iterdir()]
        return {data for data in blobs if not data.startswith((b'{"schemaVersion', b'{"architecture'))}

    return contents("b") == contents("expected")


def test_a_copy_that_was_stopped_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill("file:a", *runs(40))
    find_run, asked_for = FileStore.find_run, []

    async def failing(self: FileStore, uid: str) -> Findings:
        asked_for.append(uid)
        if len(asked_for) == 30:
            raise StoreUnavailable("the network is gone")
        return await find_run(self, uid)

    monkeypatch.setattr(FileStore, "find_run", failing)
    assert chains(["copy", "file:a", "file:b", "--journal", "done"]) == 1
    assert "the network is gone" in capsys.readouterr().err
    before = len(Path("done").read_text().splitlines())
    assert 16 <= before < 40
    asked_for.clear()
    monkeypatch.setattr(FileStore, "find_run", find_run)
    counts = asked(capsys, "copy", "file:a", "file:b", "--journal", "done")
    assert (counts["before"], counts["runs"]) == (before, 40 - before)
    assert counts["failed"] == counts["refused"] == 0
    assert files("a") == files("b")
    counts = asked(capsys, "copy", "file:a", "file:b", "--journal", "done")
    assert (counts["before"], counts["runs"]) == (40, 0)


def test_a_copy_that_was_killed_goes_on_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    made = runs(160)
    fill("file:a", *made)
    words = ["copy", "file:a", "oci-layout:b", "--journal", "done", "--key", "key.pub"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *words],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL, "it was over before it was killed"
    before = len(set(lines("done")) & {record.origin.uid for record in made})
    assert 32 <= before < 160
    counts = asked(capsys, *words)
    assert (counts["failed"], counts["refused"]) == (0, 0)
    assert counts["runs"] + counts["before"] == 160
    assert counts["before"] >= before - 1  # the last line may be half a line
    fill("oci-layout:expected", *made)
    assert _same_layout()
    again = asked(capsys, "copy", "file:a", "oci-layout:b")
    assert (again["copied"], again["unchanged"]) == (0, 480)


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def test_what_was_changed_or_not_signed_is_not_copied(capsys: pytest.CaptureFixture[str]) -> None:
    made = runs(1)
    fill("file:a", *made)
    (path,) = Path("a").glob("*/*provenance*.envelope.json")
    path.write_bytes(path.read_bytes().replace(b'"sig":"', b'"sig":"AAAA'))
    counts = asked(capsys, "copy", "file:a", "file:b", "--key", "key.pub", code=1)
    assert (counts["copied"], counts["refused"]) == (3, 1)  # the bundle of the same statement is whole
    assert counts["reasons"][0]["location"].endswith(".envelope.json")
    chains(["keys", "generate", "other"])
    capsys.readouterr()
    counts = asked(capsys, "copy", "file:a", "file:c", "--key", "other.pub", code=1)
    assert (counts["copied"], counts["refused"]) == (0, 6)
    assert not Path("c").exists()


def test_what_the_destination_does_not_take_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    fill("file:a", *runs(1))
    counts = asked(capsys, "copy", "file:a", "file:key.pub/inside", "--journal", "done", code=1)
    assert (counts["copied"], counts["failed"]) == (0, 3)
    assert "cannot store" in counts["reasons"][0]["reason"]
    assert not Path("done").exists()


def test_targets_alone_are_copied(capsys: pytest.CaptureFixture[str]) -> None:
    made = runs(2)
    fill("oci-layout:a", *made)
    digest = f"sha256:{made[0].subjects[0].digest['sha256']}"
    assert asked(capsys, "copy", "oci-layout:a", "file:b", digest)["copied"] == 3
    assert asked(capsys, "get", "--store", "file:b", made[3].origin.uid, code=3)["evidence"] == []


@pytest.mark.parametrize(("form", "copied"), [(FORM_A, 3), (FORM_B, 3)])
def test_the_form_that_is_missing_is_made_from_the_other(
    form: str, copied: int, capsys: pytest.CaptureFixture[str]
) -> None:
    made = records.records_of_run(records.subject())
    fill("oci-layout:a", *made, encoding_format=form)
    assert asked(capsys, "copy", "oci-layout:a", "file:b")["copied"] == copied
    found = asked(capsys, "get", "--store", "file:b")["evidence"]
    assert {record.envelope.decode() for record in made[:2]} <= {one["data"] for one in found}
    assert {record.bundle.decode() for record in made[:2]} <= {one["data"] for one in found}


def test_a_pack_has_bundles_keys_and_sums(capsys: pytest.CaptureFixture[str]) -> None:
    made = runs(2)
    fill("oci-layout:a", *made)
    Path("root.json").write_text('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    told = asked(
        capsys, "export", "pack", "--store", "oci-layout:a", "--key", "key.pub", "--trusted-root", "root.json"
    )
    assert (told["bundles"], told["refused"]) == (6, [])
    lines = Path("pack/bundles.jsonl").read_bytes().splitlines()
    assert sorted(lines) == sorted(record.bundle for record in made)
    index = [json.loads(line) for line in Path("pack/index.jsonl").read_bytes().splitlines()]
    assert [one["sha256"] for one in index] == [hashlib.sha256(line).hexdigest() for line in lines]
    assert Path("pack/keys/key-1.pub").read_bytes() == records.public_key_pem()
    assert Path("pack/trusted_root.json").read_bytes() == Path("root.json").read_bytes()
    sums = dict(reversed(line.split("  ")) for line in Path("pack/SHA256SUMS").read_text().splitlines())
    assert set(sums) == set(files("pack")) - {"SHA256SUMS"}
    assert all(
        hashlib.sha256(data).hexdigest() == sums[name] for name, data in files("pack").items() if name in sums
    )
    assert chains(["export", "pack", "--store", "oci-layout:a", "--key", "key.pub"]) == 2
    assert "is not empty" in capsys.readouterr().err
    again = asked(capsys, "export", "empty", "x/y", "--store", "oci-layout:a", "--key", "key.pub", code=3)
    assert again["bundles"] == 0


def test_a_pack_leaves_out_what_has_no_bundle_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    fill("oci-layout:a", *records.records_of_run(records.subject()), encoding_format=FORM_A)
    told = asked(capsys, "export", "pack", "--store", "oci-layout:a", "--key", "key.pub", code=1)
    assert told["bundles"] == 2
    assert [one["reason"] for one in told["refused"]] == ["it has no bundle, and none can be made"]


def evidence_of(record: Record, form: str = "bundle-v0.3", **changes: Any) -> Evidence:
    data = record.bundle if form == "bundle-v0.3" else record.envelope
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return replace(Evidence("file", "here", digest, form, data), **changes)


def test_a_run_is_put_together_from_what_is_known() -> None:
    record = records.attestation(records.subject())
    origin = Origin("taskrun", "", "", "the-uid")
    listed = ListedRun(Origin("", "ci", "build", ""), "2026-01-02")
    (found,) = regroup(Findings((evidence_of(record, origin=origin),)), (), listed).records
    assert found.origin == Origin("taskrun", "ci", "build", "the-uid")
    assert found.created == "2026-01-02"
    assert (found.bundle, found.envelope, found.payload) == (record.bundle, record.envelope, record.payload)


def test_slsa_tells_uid_and_end_where_the_store_does_not() -> None:
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": records.PROVENANCE,
                 "subject": [{"name": "x", "digest": {"sha256": "ab" * 32}}],
                 "predicate": {"runDetails": {"metadata": {"invocationId": "u", "finishedOn": "2026-01-02T03:04:05Z"}}}}  # fmt: skip
    from signers.formats.dsse import sign_payload
    from signers.keys.keyfile import generate_key, open_keyfile, write_key_pair

    write_key_pair(Path("k"), generate_key())
    envelope = sign_payload(open_keyfile("k"), json.dumps(statement).encode(), "application/vnd.in-toto+json")
    data = envelope.to_bytes()
    one = Evidence("file", "here", "sha256:" + hashlib.sha256(data).hexdigest(), "dsse", data)
    (found,) = regroup(Findings((one,))).records
    assert (found.origin.uid, found.created) == ("u", "2026-01-02T03:04:05Z")
    assert found.bundle


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"digest": "sha256:" + "0" * 64}, "not those of its digest"),
        ({"data": b"{}", "digest": "sha256:" + hashlib.sha256(b"{}").hexdigest()}, "bundle"),
        ({"format": "dsse"}, "envelope"),
        ({"format": "simplesigning"}, "payload"),
    ],
)
def test_what_is_not_well_formed_becomes_no_record(changes: dict[str, Any], reason: str) -> None:
    found = regroup(Findings((evidence_of(records.attestation(records.subject()), **changes),)))
    assert found.records == []
    assert reason in found.refused[0].reason


def test_two_people_s_signatures_stay_two_records() -> None:
    first = records.attestation(records.subject())
    other = first.envelope.replace(b'"sig":"', b'"sig":"AAAA')
    second = Evidence("file", "there", "sha256:" + hashlib.sha256(other).hexdigest(), "dsse", other)
    found = regroup(Findings((evidence_of(first), evidence_of(first, "dsse"), second)))
    assert len(found.records) == 2
