"""A signed report: its statement beside the files and in the store, and ``verify`` of it."""

from __future__ import annotations

import json
import shutil
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from chains.cli.main import run as chains
from chains.report.statement import PREDICATE
from signers.keys.keyfile import open_keyfile
from signers.sealer import Sealer
from storage.record import IN_TOTO_PAYLOAD_TYPE
from tests.audit_truth import World
from tests.unit.chains.cli.reports.worlds import check, loaded, report, sources
from tests.unit.chains.report.made import small_world


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return small_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def out(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "october"
    assert report(world, folder, "--formats", "csv", "--signing-key", str(world.folder / "good.key")) == 1
    return folder


def verify(world: World, target: Path, *more: str) -> int:
    return chains(["verify", str(target), "--key", str(world.folder / "good.pub"), *more])


def statement(out: Path) -> dict:
    bundle = json.loads((out / "report.bundle.json").read_bytes())
    return json.loads(b64decode(bundle["dsseEnvelope"]["payload"]))


def rename_in_sums(out: Path, name: str, other: str) -> None:
    sums = out / "SHA256SUMS"
    sums.write_text(sums.read_text().replace(f"  {name}\n", f"  {other}\n"))


def instead_of_sums(out: Path) -> Path:
    (out / "SHA256SUMS").unlink()
    return out / "SHA256SUMS"


def other_payload(out: Path) -> None:
    """Put a bundle beside the report whose signature is over something else."""
    bundle = json.loads((out / "report.bundle.json").read_bytes())
    bundle["dsseEnvelope"]["payload"] = b64encode(b"{}").decode()
    (out / "report.2.bundle.json").write_text(json.dumps(bundle))


def test_the_statement_is_about_every_file(out: Path) -> None:
    found = statement(out)
    assert found["predicateType"] == PREDICATE == "https://provenance.chains/period-report/v1"
    lines = dict(reversed(line.split("  ")) for line in (out / "SHA256SUMS").read_text().splitlines())
    del lines["report.bundle.json"]
    assert {one["name"]: one["digest"]["sha256"] for one in found["subject"]} == lines
    whole = loaded(out)
    assert found["predicate"]["counts"] == whole["counts"]
    assert found["predicate"]["population"]["digest"] == whole["population"]["digest"]
    assert found["predicate"]["at"] == whole["scope"]["at"]


def test_a_report_verifies_as_a_folder_and_as_its_document(world: World, out: Path) -> None:
    assert verify(world, out) == 0
    assert verify(world, out / "report.json") == 0


def test_the_statement_is_found_in_the_store(world: World, out: Path, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "copy")
    (tmp_path / "copy" / "report.bundle.json").unlink()
    (tmp_path / "copy" / "SHA256SUMS").unlink()
    layout = f"oci-layout:{world.folder / 'layout'}"
    assert verify(world, tmp_path / "copy", "--store", layout) == 0
    assert verify(world, tmp_path / "copy") == 3


def test_a_stranger_signed_nothing(world: World, out: Path) -> None:
    assert chains(["verify", str(out), "--key", str(world.folder / "bad.pub")]) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda out: (out / "runs.csv").write_text("x"), "runs.csv is not the file that was signed"),
        (lambda out: (out / "runs.csv").unlink(), "runs.csv is missing"),
        (lambda out: (out / "report.pdf").write_text("x"), "report.pdf was not signed"),
        (lambda out: (out / "SHA256SUMS").write_text("00  runs.csv\n"), "another checksum of runs.csv"),
        (lambda out: (out / "SHA256SUMS").write_text(""), "SHA256SUMS has no checksum of runs.csv"),
        (lambda out: rename_in_sums(out, "runs.csv", "../runs.csv"), "another checksum of ../runs.csv"),
        (lambda out: rename_in_sums(out, "runs.csv", "x" * 300), "another checksum of xxx"),
        (lambda out: instead_of_sums(out).mkdir(), "SHA256SUMS is no file"),
        (lambda out: instead_of_sums(out).symlink_to("nowhere"), "SHA256SUMS is no file"),
        (lambda out: shutil.copy(out / "runs.csv", out / "report.json"), "report.json is not the file"),
        (lambda out: (out / "report.2.bundle.json").write_text("x"), "report.2.bundle.json is no signature"),
        (other_payload, "report.2.bundle.json is no signature"),
    ],
)
def test_a_file_that_is_not_the_signed_one_is_named(
    world: World, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change, told: str
) -> None:
    shutil.copytree(out, tmp_path / "copy")
    change(tmp_path / "copy")
    assert verify(world, tmp_path / "copy", "--output", "json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "FAILED"
    assert told in found["summary"]
    assert [one["result"] for one in found["checks"] if one["id"] == "files"] == ["fail"]
    assert not any(one["used"] for one in found["attestations"])


def test_the_signature_of_a_second_signer_may_lie_beside_the_first(
    world: World, out: Path, tmp_path: Path
) -> None:
    shutil.copytree(out, tmp_path / "copy")
    bundle = json.loads((out / "report.bundle.json").read_bytes())
    payload = b64decode(bundle["dsseEnvelope"]["payload"])
    second = Sealer(open_keyfile(str(world.folder / "bad.key"))).seal_now(payload, IN_TOTO_PAYLOAD_TYPE)
    (tmp_path / "copy" / "report.2.bundle.json").write_bytes(second.bundle)
    assert verify(world, tmp_path / "copy") == 0
    assert chains(["verify", str(tmp_path / "copy"), "--key", str(world.folder / "bad.pub")]) == 0


def test_a_report_and_an_image_are_verified_apart(
    world: World, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(world, out, str(world.folder / "runs.json")) == 2
    assert "verified apart" in capsys.readouterr().err


def test_a_stored_report_is_no_evidence_without_a_run(
    world: World, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # the store has the statement of the first report now
    assert report(world, tmp_path / "again", "--formats", "csv") == 1
    assert (tmp_path / "again" / "report.json").read_bytes() == (out / "report.json").read_bytes()
    assert loaded(tmp_path / "again")["population"]["evidenceWithoutRun"] == []
    assert check(world, out) == 0
    capsys.readouterr()
    assert chains(["audit", *sources(world), "--output", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["evidenceWithoutRun"] == []
