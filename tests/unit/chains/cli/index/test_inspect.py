"""``chains inspect``: one page from run files, stores and evidence files, and what a wrong argument says."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains

Json = Any
ROOT = Path(__file__).parents[5]
GOLDEN = ROOT / "tests" / "golden" / "pages"
DIGEST = "sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
IMAGE = f"registry.example.com/shop/storefront@{DIGEST}"
STORE = ("--store", "oci-layout:.chains/layout")
KEY = ("--key", ".chains/signing.pub")


@pytest.fixture(autouse=True)
def _attested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "examples" / "taskrun-image.json", "run.json")
    assert chains(["attest", "run.json"]) == 0
    capsys.readouterr()


def told(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert chains(["inspect", *words]) == code
    return capsys.readouterr().out


def page(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Json:
    return json.loads(told(capsys, *words, "--output", "json", code=code))


def stable(text: str) -> str:
    """Replace what differs in each run: the key, the time, and the digests of signed evidence."""
    text = re.sub(r"SHA256:[A-Za-z0-9+/]{43}", f"SHA256:{'k' * 43}", text)
    text = re.sub(r"((?:verified|asked) at +)\S+", r"\g<1>2026-01-02T03:04:05Z", text)
    lines, known = [], dict[str, int]()
    for line in text.split("\n"):
        if ".chains/layout@sha256:" in line or re.fullmatch(r" {6}sha256:[0-9a-f]{64}", line):
            found = re.search(r"[0-9a-f]{64}", line)
            assert found
            number = known.setdefault(found[0], len(known) + 1)
            lines.append(line.replace(found[0], f"{number:064x}"))
        else:
            lines.append(line)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a-run", ["run.json"]),
        ("an-image-that-nobody-confirms", [IMAGE, *STORE]),
    ],
)
def test_a_page_is_word_for_word_as_it_was(
    name: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """To write them anew, delete the file and run the test twice; read them before you commit them."""
    code = 4 if name.startswith("an-image") else 0
    found = stable(told(capsys, *words, code=code))
    path = GOLDEN / f"{name}.txt"
    if not path.exists():
        path.write_text(found)
        pytest.fail(f"{path} was written")
    assert found == path.read_text()


def test_a_run_an_image_and_a_file_tell_the_same_of_one_build(capsys: pytest.CaptureFixture[str]) -> None:
    of_run = page(capsys, "run.json")
    of_image = page(capsys, IMAGE, *KEY, *STORE)
    assert (of_run["verdict"], of_image["verdict"]) == ("VERIFIED", "VERIFIED")
    (run,), (image,) = of_run["builds"], of_image["builds"]
    for name in (
        "run",
        "runUid",
        "builder",
        "sources",
        "definitions",
        "parameters",
        "results",
        "hermeticLevel",
        "inputs",
    ):
        assert run["facts"][name] == image["facts"][name], name
    assert run["facts"]["created"] == "2026-11-18T09:12:41Z"
    assert image["facts"]["created"] == ""
    assert [step["seconds"] for step in run["facts"]["steps"][:3]] == [9.0, 86.0, 20.0]
    assert [step["seconds"] for step in image["facts"]["steps"][:3]] == [None] * 3
    assert [wait["seconds"] for wait in run["waits"]] == [0.0, 35.0, 150.0]
    assert chains(["get", IMAGE, *STORE, "--output", "json"]) == 0
    evidence = json.loads(capsys.readouterr().out)["evidence"]
    told_by: dict[str, Json] = {}
    for one in evidence:
        if one["format"] == "bundle-v0.3":
            Path("file.json").write_text(one["data"])
            found = page(capsys, "file.json", *KEY)
            if found["builds"]:
                told_by[one["predicateType"]] = found["builds"][0]["facts"]
    assert len(told_by) == 2
    provenance = told_by["https://slsa.dev/provenance/v1"]
    report = told_by["https://in-toto.io/attestation/scai/v0.3"]
    assert provenance["parameters"] == image["facts"]["parameters"]
    assert report["steps"] == image["facts"]["steps"]


def test_a_run_that_was_changed_afterwards_shows_nothing_of_its_own_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = json.loads(Path("run.json").read_text())
    run["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    Path("changed.json").write_text(json.dumps(run))
    text = told(capsys, "changed.json", code=1)
    assert text.startswith("FAILED taskrun/ci/storefront-image-rn4fw\n")
    assert "2020" not in text
    assert "BUILD" not in text


def test_a_wrong_key_shows_no_contents(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["keys", "generate", "other.key"]) == 0
    capsys.readouterr()
    text = told(capsys, IMAGE, "--key", "other.pub", *STORE, code=1)
    assert text.startswith("FAILED registry.example.com/shop/storefront@")
    assert "key_unknown" in text
    assert "git.example.com" not in text


def test_what_is_demanded_is_compared_as_verify_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(capsys, IMAGE, *KEY, *STORE, "--builder-id", "https://other.example", code=1).startswith(
        "FAILED "
    )
    assert told(capsys, "run.json", "--require", "hermetic", code=1).startswith("FAILED ")
    found = page(capsys, IMAGE, *KEY, *STORE, "--namespace", "ci")
    assert "namespace" in found["passed"]


def write_policy(capsys: pytest.CaptureFixture[str], old: str, new: str) -> None:
    assert chains(["policy", "init", IMAGE, *KEY, *STORE]) == 0
    text = capsys.readouterr().out.replace("mode: audit", "mode: enforce")
    assert old in text
    Path("policy.yaml").write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("level", "code", "decision", "failed"), [(2, 0, "allow", []), (3, 1, "deny", ["level"])]
)
def test_a_policy_decides_and_what_its_signers_signed_is_shown(
    level: int, code: int, decision: str, failed: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    write_policy(capsys, "    level: 2", f"    level: {level}")
    found = page(capsys, IMAGE, "--policy", "policy.yaml", *STORE, code=code)
    (build,) = found["builds"]
    assert build["facts"]["hermeticLevel"] == "not-requested"
    assert found["policy"] == f"first ({decision}, mode enforce)"
    assert [one["check"] for one in found["failed"]] == failed


def test_a_policy_that_trusts_somebody_else_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["keys", "generate", "other.key"]) == 0
    capsys.readouterr()
    ours, other = (
        "".join(f"          {line}\n" for line in Path(name).read_text().splitlines())
        for name in (".chains/signing.pub", "other.pub")
    )
    write_policy(capsys, ours, other)
    found = page(capsys, IMAGE, "--policy", "policy.yaml", *STORE, code=1)
    assert found["verdict"] == "FAILED"
    assert found["builds"] == []


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["README.md"], 2, "is no target"),
        (["nothing.json"], 2, "nothing.json: no such file"),
        (["list.json", "--run", "a/b"], 2, "holds no run a/b"),
        (["list.json", *STORE], 2, "name one of them as NAMESPACE/NAME: taskrun/ci/a, taskrun/ci/b"),
        (["registry.example.com/shop/storefront:latest"], 2, "names a tag"),
        ([DIGEST], 2, "no store to look for evidence in: pass --store URL"),
        (["."], 2, "is a folder: name the files in it"),
        (
            [IMAGE, *STORE, "--builder-id", "x"],
            2,
            "--builder-id is compared with evidence that somebody trusted",
        ),
        ([IMAGE, *STORE, "--for-namespace", "x"], 2, "--for-namespace belongs to --policy FILE"),
        ([IMAGE, *STORE, "--certificate-identity", "x"], 2, "--certificate-oidc-issuer"),
        ([IMAGE, *STORE, *KEY, "--policy", "p.yaml"], 2, "pass --policy or --key"),
    ],
)
def test_a_wrong_argument_says_what_is_right(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.json").write_text("{}")
    run = json.loads(Path("run.json").read_text())
    items = [{**run, "metadata": {**run["metadata"], "name": name, "uid": name}} for name in ("a", "b")]
    Path("list.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    assert chains(["inspect", *words]) == code
    assert message in capsys.readouterr().err


def test_a_file_that_is_no_evidence_says_what_is_expected(capsys: pytest.CaptureFixture[str]) -> None:
    for text, reason in (("{}", "expected an object with kind and name"), ("not json: [", "not YAML")):
        Path("other.json").write_text(text)
        shown = told(capsys, "other.json", code=4)
        assert shown.startswith("INDETERMINATE other.json\n")
        assert reason in " ".join(shown.split())


def test_one_run_of_a_file_is_picked_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    run = json.loads(Path("run.json").read_text())
    other = {**run, "metadata": {**run["metadata"], "name": "other", "uid": "other"}}
    Path("list.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [other, run]}))
    assert page(capsys, "list.json", "--run", "ci/storefront-image-rn4fw")["verdict"] == "VERIFIED"
    assert chains(["inspect", "list.json", "--run", "ci/none"]) == 2
    assert "holds no run ci/none" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["slsa/v1", "slsa/v2alpha3", "slsa/v2alpha4"])
@pytest.mark.parametrize("build_type", ["slsa", "slsa-tekton"])
def test_each_run_of_a_matrix_has_its_own_times(
    form: str, build_type: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "examples" / "pipelinerun.json", "pipeline.json")
    kind = f"https://tekton.dev/chains/v2/{build_type}"
    settings = {"artifacts.pipelinerun.format": form, "builddefinition.buildtype": kind}
    Path("config.json").write_text(json.dumps(settings))
    words = ["pipeline.json", "--config", "config.json", "--key", ".chains/signing.key", "--store", "file:p"]
    assert chains(["attest", *words]) == 0
    capsys.readouterr()
    (build,) = page(capsys, "pipeline.json", "--store", "file:p")["builds"]
    facts = build["facts"]
    steps = {(step["task"], step["name"], step["seconds"]) for step in facts["steps"]}
    assert len(facts["steps"]) == len(steps) == 9
    assert {("test", "test", 81.0), ("test", "test", 104.0), ("build", "index", 9.0)} < steps
    assert len(facts["hermeticChildren"]) == 8
    assert (facts["run"], facts["outcome"]) == ("pipelinerun/ci/storefront-release-4kjcq", "succeeded")
    assert [one["uri"] for one in facts["sources"]] == ["git+https://git.example.com/shop/storefront.git"]


@pytest.mark.parametrize(
    "name", ["4b89b640-f58e-4166-9502-7d044c8a9d83", "taskrun/ci/storefront-image-rn4fw"]
)
def test_a_run_is_found_by_its_uid_and_by_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    by_name, by_image = page(capsys, name, *KEY), page(capsys, IMAGE, *KEY, *STORE)
    assert by_name["verdict"] == "VERIFIED"
    assert by_name["builds"] == by_image["builds"]
    assert page(capsys, name, code=4)["verdict"] == "UNVERIFIED"
    Path("empty").mkdir()
    assert page(capsys, name, *KEY, "--store", "file:empty", code=3)["verdict"] == "NOT_FOUND"
    assert page(capsys, name, *KEY, "--store", "oci:", code=4)["verdict"] == "INDETERMINATE"
    assert page(capsys, name, *KEY, *STORE, "--store", "file:empty")["builds"] == by_name["builds"]


def test_a_named_run_that_made_nothing_is_vouched_for_by_its_report(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(ROOT / "examples" / "taskrun-failed.json", "failed.json")
    assert chains(["attest", "failed.json"]) == 0
    capsys.readouterr()
    (build,) = page(capsys, "taskrun/ci/checkout-ui-image-nr5c7", *KEY)["builds"]
    assert build["facts"]["outcome"] == "failed"


def test_a_name_that_two_runs_have_is_asked_for_by_uid(capsys: pytest.CaptureFixture[str]) -> None:
    run = json.loads(Path("run.json").read_text())
    run["metadata"]["uid"] = "11111111-2222-4333-8444-555555555555"
    Path("again.json").write_text(json.dumps(run))
    assert chains(["attest", "again.json"]) == 0
    capsys.readouterr()
    assert chains(["inspect", "taskrun/ci/storefront-image-rn4fw", *KEY]) == 2
    assert "2 runs have this name; name one by its UID: " in capsys.readouterr().err
    assert (
        page(capsys, run["metadata"]["uid"], *KEY)["builds"][0]["facts"]["runUid"] == run["metadata"]["uid"]
    )


def test_no_evidence_and_a_store_that_is_away_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    assert told(capsys, IMAGE, "--store", "file:empty", code=3).startswith("NOT_FOUND ")
    assert told(capsys, IMAGE, *KEY, "--store", "file:empty", code=3).startswith("NOT_FOUND ")
    away = "oci://127.0.0.1:1/nothing"
    text = told(capsys, IMAGE, *KEY, "--store", away, code=4)
    assert text.startswith("INDETERMINATE ")
    assert "check failed     store (store_unavailable)" in text
