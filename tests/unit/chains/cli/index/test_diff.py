"""``chains diff``: a run file, an image and an evidence file are compared, and the exit code says the answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains

Json = Any
ROOT = Path(__file__).parents[5]
DIGEST = "ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
IMAGE = f"registry.example.com/shop/storefront@sha256:{DIGEST}"
TRUSTED = ("--key", ".chains/signing.pub", "--store", "oci-layout:.chains/layout")


@pytest.fixture(autouse=True)
def _attested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "examples" / "taskrun-image.json", "run.json")
    run = Path("run.json").read_text()
    for old, new in (("storefront-image-rn4fw", "other"), ("4b89b640", "11111111"), (DIGEST, "1" * 64)):
        run = run.replace(old, new)
    other = json.loads(run)
    other["spec"]["params"][0]["value"] = "changed"
    other["spec"]["serviceAccountName"] = "admin"
    Path("other.json").write_text(json.dumps(other))
    assert chains(["attest", "run.json", "other.json"]) == 0
    capsys.readouterr()


def compared(capsys: pytest.CaptureFixture[str], *words: str, code: int) -> Json:
    assert chains(["diff", *words, "--output", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_two_runs_differ_in_what_was_changed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(capsys, "run.json", "other.json", code=1)
    assert (found["same"], found["confirmed"], found["exitCode"]) == (False, True, 1)
    assert {(one["section"], one["name"], one["kind"]) for one in found["changes"]} == {
        ("parameters", "image", "changed"),
        ("builder", "service account", "changed"),
        ("made", "registry.example.com/shop/storefront", "changed"),
    }
    assert found["b"]["run"] == "taskrun/ci/other"
    assert chains(["diff", "run.json", "other.json"]) == 1
    assert capsys.readouterr().out.startswith(
        "DIFFERENT 3 differences\n  A  VERIFIED taskrun/ci/storefront-image-rn4fw\n"
    )


def test_a_run_and_its_image_are_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(capsys, "run.json", IMAGE, *TRUSTED, code=0)
    assert (found["same"], found["changes"]) == (True, [])
    assert compared(capsys, IMAGE, IMAGE, *TRUSTED, "--all", code=0)["changes"] != []


def test_without_a_signer_the_differences_are_claims(capsys: pytest.CaptureFixture[str]) -> None:
    store = TRUSTED[2:]
    found = compared(capsys, IMAGE, f"registry.example.com/shop/storefront@sha256:{'1' * 64}", *store, code=4)
    assert (found["confirmed"], found["same"]) == (False, False)
    assert {found["a"]["verdict"], found["b"]["verdict"]} == {"UNVERIFIED"}
    assert compared(capsys, IMAGE, f"sha256:{'2' * 64}", *TRUSTED, code=3)["same"] is None


def test_runs_of_files_with_several_are_picked_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    items = [json.loads(Path(name).read_text()) for name in ("run.json", "other.json")]
    Path("list.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    words = ("list.json", "list.json", "--run", "ci/other")
    assert compared(capsys, *words, code=0)["same"] is True
    assert compared(capsys, *words, "--run-b", "ci/storefront-image-rn4fw", code=1)["same"] is False
    assert chains(["diff", "list.json", "run.json"]) == 2
    assert "name one of them as NAMESPACE/NAME" in capsys.readouterr().err
