"""``verify --policy`` and the commands ``policy``, and the page that teaches them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.policy.reasons import PolicyReason, Requirement
from tests.unit.chains.policy.made import document

Json = Any
ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs" / "policy.md").read_text()
DIGEST = "sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
IMAGE = f"registry.example.com/shop/storefront@{DIGEST}"
STORE = ("--store", "oci-layout:.chains/layout")


@pytest.fixture(autouse=True)
def _attested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Stand in a folder with a policy that was written from the evidence of the example."""
    monkeypatch.chdir(tmp_path)
    assert chains(["attest", str(ROOT / "examples" / "taskrun-image.json")]) == 0
    capsys.readouterr()
    assert chains(["policy", "init", IMAGE, "--key", ".chains/signing.pub", *STORE]) == 0
    Path("policy.yaml").write_text(capsys.readouterr().out)


def change(old: str, new: str, path: str = "other.yaml") -> str:
    text = Path("policy.yaml").read_text()
    assert old in text
    Path(path).write_text(text.replace(old, new))
    return path


def test_the_page_is_true_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "page"
    folder.mkdir()
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (folder / "use.py").write_text(f"IMAGE = {IMAGE!r}\n{block}")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{shell}\npython use.py\n"],
        cwd=folder,
        env={**os.environ, "PATH": path, "EXAMPLES": str(ROOT / "examples"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr + told.stdout
    assert told.stdout.endswith("VERIFIED\n")
    assert "2 cases, 0 failed" in told.stdout
    assert "1 image, 1 changed" not in told.stdout


def test_the_page_tells_every_reason_and_requirement() -> None:
    for reason in PolicyReason:
        if reason is not PolicyReason.RULE_FAILED:
            assert f"`{reason.value}`" in PAGE, reason
    for requirement in Requirement:
        assert requirement.value.partition(".")[0] in PAGE


def test_the_document_of_the_page_is_right(tmp_path: Path) -> None:
    block = next(one for one in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    from chains.policy.document.load import parse_policies

    read = parse_policies(block.encode(), "policy.yaml")
    assert not read.problems
    assert read.policies[0].name == "production"


def test_the_answer_leads_with_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    path = change("level: 2", "level: 3")
    capsys.readouterr()
    assert chains(["verify", "--policy", path, *STORE, IMAGE]) == 1
    told = capsys.readouterr().out
    assert told.startswith("FAILED  registry.example.com/shop/storefront@")
    assert "do:       build with a builder that is trusted up to the level that is demanded" in told
    assert "\n\n" not in told


def test_json_has_each_check_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    path = change("level: 2", "level: 3")
    assert chains(["verify", "--policy", path, *STORE, IMAGE, "--output", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["decision"], found["exitCode"]) == ("FAILED", "allow", 1)
    (check,) = [check for check in found["checks"] if check["result"] == "fail"]
    assert (check["id"], check["reason"]) == ("level", "level_too_low")


def test_several_images_have_the_worst_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    missing = IMAGE.replace(DIGEST, "sha256:" + "0" * 64)
    assert chains(["verify", "--policy", "policy.yaml", *STORE, IMAGE, missing, "--output", "json"]) == 3
    assert [one["verdict"] for one in json.loads(capsys.readouterr().out)["results"]] == [
        "VERIFIED",
        "NOT_FOUND",
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--policy", "policy.yaml", "--key", "x", IMAGE], "pass --policy or --key"),
        (["--policy", "policy.yaml", "--builder-id", "x", IMAGE], "pass --policy or --builder-id"),
        (["--policy", "policy.yaml", "registry.example.com/shop/storefront:1"], "names a tag"),
        (["--policy", "policy.yaml", "run.json"], "names no registry"),
        (["--policy", "missing.yaml", IMAGE], "No such file"),
        (["--policy", "policy.yaml", f"registry.example.com/other@{DIGEST}"], "no policy is for"),
        (["--policy", "policy.yaml", "--namespace-label", "a=b", IMAGE], "belongs to --for-namespace"),
        (["--policy", "policy.yaml", "--for-namespace", "a", "--namespace-label", "b", IMAGE], "NAME=VALUE"),
        (["--allow-unmatched", "--key", "x", IMAGE], "belongs to --policy"),
    ],
)
def test_wrong_usage_is_told_with_the_next_step(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = chains(["verify", *arguments, *STORE])
    assert code in {1, 2}
    assert told in capsys.readouterr().err


def test_an_unmatched_image_is_allowed_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    other = f"registry.example.com/other@{DIGEST}"
    assert chains(["verify", "--policy", "policy.yaml", "--allow-unmatched", *STORE, other]) == 0
    assert "no policy is for registry.example.com/other" in capsys.readouterr().err


def test_an_option_of_the_environment_is_no_clash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINS_PUBLIC_KEY", "missing.pub")
    assert chains(["verify", "--policy", "policy.yaml", *STORE, IMAGE]) == 0


def test_a_broken_policy_is_told_with_all_its_problems(capsys: pytest.CaptureFixture[str]) -> None:
    path = change("mode: audit", "mod: audit\n  ruels: []")
    assert chains(["verify", "--policy", path, *STORE, IMAGE]) == 2
    told = capsys.readouterr().err
    assert "did you mean 'mode'?" in told
    assert "did you mean 'rules'?" in told
    assert "other.yaml:10:3: error" in told


def test_lint_prints_places_and_ends_with_one_for_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["policy", "lint", "policy.yaml"]) == 0
    path = change("maxLevel: 2", "maxLevel: 4")
    capsys.readouterr()
    assert chains(["policy", "lint", path, "--output", "json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert (problem["code"], problem["path"], problem["severity"]) == (
        "wrong_type",
        "spec.trust[0].maxLevel",
        "error",
    )
    assert problem["line"] > 10


LINT: list[tuple[Json, str]] = [
    ({"require": {}}, "any_run"),
    ({"require": {"level": 3, "namespaces": ["a"]}}, "level_out_of_reach"),
    ({"missing": "warn"}, "missing_warns"),
    ({"unavailable": "warn"}, "unavailable_warns"),
    ({"rules": [{"name": "a", "cel": "image.ref == '' || true", "message": "m"}]}, "or_true"),
    (
        {"rules": [{"name": "a", "cel": "attestations.all(a, a.digest != '')", "message": "m"}]},
        "all_of_nothing",
    ),
    ({"rules": [{"name": "a", "cel": "unknown == 1", "message": "m"}]}, "rule"),
    (
        {
            "trust": [
                {"name": "a", "signer": {"keys": [{"ref": "missing.pub"}]}, "builderId": "a:b", "maxLevel": 1}
            ]
        },
        "key",
    ),
    (
        {
            "exemptions": [
                {
                    "image": "registry.example.com/team/app",
                    "rules": ["trust"],
                    "until": "2020-01-01T00:00:00Z",
                    "reason": "r",
                    "reference": "t",
                }
            ]
        },
        "exemption_expired",
    ),
]


@pytest.mark.parametrize(("part", "code"), LINT)
def test_lint_finds_likely_mistakes(part: Json, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("linted.json").write_text(json.dumps(document(**part)))
    chains(["policy", "lint", "linted.json", "--output", "json"])
    found = json.loads(capsys.readouterr().out)["problems"]
    assert code in {problem["code"] for problem in found}
    assert all(problem["line"] for problem in found)


@pytest.mark.parametrize(
    ("images", "code"),
    [(["**"], "matches_all"), (["shop/**"], "never_matches"), (["*.example.com/**"], "any_registry")],
)
def test_lint_looks_at_patterns(images: list[str], code: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("linted.json").write_text(json.dumps(document(images=images)))
    assert chains(["policy", "lint", "linted.json"]) == 0
    assert f"({code})" in capsys.readouterr().out


def test_or_true_within_a_text_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    rules = [{"name": "a", "cel": "image.ref != '|| true'", "message": "m"}]
    Path("linted.json").write_text(json.dumps(document(rules=rules)))
    assert chains(["policy", "lint", "linted.json"]) == 0
    assert "or_true" not in capsys.readouterr().out


def test_cases_that_fail_end_with_one_and_are_in_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    case = {
        "apiVersion": "provenance.chains/v1",
        "kind": "PolicyCase",
        "metadata": {"name": "<evil>&\u001b[31m"},
        "spec": {
            "image": IMAGE,
            "stores": ["oci-layout:.chains/layout"],
            "expect": {"verdict": "FAILED", "reasons": ["level_too_low"]},
        },
    }
    Path("case.yaml").write_text(json.dumps(case))
    assert chains(["policy", "test", "policy.yaml", "case.yaml", "--junit", "out.xml"]) == 1
    told = capsys.readouterr().out
    assert "verdict: expected FAILED, got VERIFIED" in told
    assert "reasons: expected level_too_low, got none" in told
    assert "\x1b" not in told
    report = Path("out.xml").read_text()
    assert "&lt;evil&gt;&amp;" in report
    assert "\x1b" not in report


def test_a_case_that_is_wrong_is_told_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    Path("case.yaml").write_text("kind: PolicyCase\nmetadata: {name: x}\nspec: {imgae: x}\n")
    assert chains(["policy", "test", "policy.yaml", "case.yaml"]) == 2
    assert (
        "case.yaml:3:8: error: spec.imgae: unknown name 'imgae': did you mean 'image'?"
        in capsys.readouterr().err
    )


def test_labels_that_are_not_given_leave_no_policy_out(capsys: pytest.CaptureFixture[str]) -> None:
    written = document(images=[IMAGE.partition("@")[0]])
    written["spec"]["match"]["namespaces"] = {"matchLabels": {"env": "prod"}}
    Path("labels.json").write_text(json.dumps(written))
    command = ["policy", "explain", "labels.json", IMAGE, "--for-namespace", "shop"]
    for labels, code in (([], 0), (["env=prod"], 0), (["env=test"], 1), (["team=a"], 1)):
        given = [word for one in labels for word in ("--namespace-label", one)]
        assert chains([*command, *given]) == code, capsys.readouterr()


def test_explain_says_why_a_policy_is_not_for_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["policy", "explain", "policy.yaml", "registry.example.com/other"]) == 1
    assert "none of its patterns matches" in capsys.readouterr().out


def test_diff_ends_with_one_where_an_image_is_denied_that_was_not(capsys: pytest.CaptureFixture[str]) -> None:
    path = change("mode: audit", "mode: enforce")
    text = Path(path).read_text().replace("level: 2", "level: 3")
    Path(path).write_text(text)
    Path("images.txt").write_text(IMAGE + "\n")
    assert chains(["policy", "diff", "policy.yaml", path, "--images-from", "images.txt", *STORE]) == 1
    told = capsys.readouterr().out
    assert "VERIFIED, allow" in told
    assert "FAILED, deny" in told
    assert "level_too_low" in told


def test_init_writes_nothing_from_what_was_not_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["keys", "generate", "other.key"]) == 0
    capsys.readouterr()
    assert chains(["policy", "init", IMAGE, "--key", "other.pub", *STORE]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "no verified provenance" in told.err
