"""The command line of the index: build once with whom to trust, then update with nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from chains.cli.main import run as main
from chains.cli.progress import pace
from signers.keys.keyfile import generate_key, write_key_pair
from tests.unit.chains.index.made import file_at, rows
from tests.unit.chains.lineage.made import COMMIT, attest, digest, run_of

APP = "registry.example.com/shop/app"


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with keys, a layout with the evidence of two runs, by two keys, and one run more in a folder."""
    folder = tmp_path_factory.mktemp("evidence")
    for name in ("own", "other"):
        write_key_pair(folder / f"{name}.key", generate_key("ecdsa-p256"))
    layout = f"oci-layout:{folder / 'layout'}"
    attest(folder, layout, run_of("app", APP, git=("https://git.example.com/app.git", COMMIT)), key="own.key")
    attest(folder, layout, run_of("odd", f"{APP}-odd"), key="other.key")
    attest(folder, f"file:{folder / 'files'}", run_of("more", f"{APP}-more"), key="own.key")
    return folder


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CHAINS_PUBLIC_KEY", "CHAINS_STORE", "CHAINS_INDEX"):
        monkeypatch.delenv(name, raising=False)


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_an_index_is_built_and_updated(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = f"oci-layout:{evidence / 'layout'}"
    assert (
        main(["index", "build", "--key", str(evidence / "own.pub"), "--store", layout, "--output", "json"])
        == 0
    )
    assert told(capsys) == {
        "index": ".chains/index.db",
        "pieces": 12,
        "known": 0,
        "new": {"verified": 4, "failed": 4, "indeterminate": 0},
        "unread": 0,
        "removed": 0,
        "removedCopies": 0,
        "failed": {},
        "notes": [],
    }
    assert main(["index", "update", "--output", "json"]) == 0
    assert told(capsys)["new"] == {"verified": 0, "failed": 0, "indeterminate": 0}
    assert main(["index", "update", "--store", f"file:{evidence / 'files'}"]) == 0
    assert "4 new statements (4 verified, 0 failed, 0 indeterminate)" in capsys.readouterr().out


def test_stats_count_by_type_verdict_and_store(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout, files = f"oci-layout:{evidence / 'layout'}", f"file:{evidence / 'files'}"
    assert (
        main(["index", "build", "--key", str(evidence / "own.pub"), "--store", layout, "--store", files]) == 0
    )
    capsys.readouterr()
    assert main(["index", "stats", "--output", "json"]) == 0
    found = told(capsys)
    assert found["attestations"] == 12
    assert found["verdicts"] == {"verified": 8, "failed": 4, "indeterminate": 0}
    assert found["types"] == {
        "https://in-toto.io/attestation/scai/v0.3": {"verified": 2, "failed": 1, "indeterminate": 0},
        "https://sigstore.dev/cosign/sign/v1": {"verified": 4, "failed": 2, "indeterminate": 0},
        "https://slsa.dev/provenance/v1": {"verified": 2, "failed": 1, "indeterminate": 0},
    }
    assert [(one["url"], one["copies"], one["unread"], one["behind"]) for one in found["stores"]] == [
        (layout, 12, 0, 0),
        (files, 6, 0, 0),
    ]  # type: ignore[attr-defined]
    assert found["runs"] == 3
    assert found["newest"] == "2026-11-18T09:15:11Z"
    assert found["size"] == Path(".chains/index.db").stat().st_size
    assert main(["index", "stats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == ".chains/index.db: 12 statements about 3 runs"
    assert ["all", "8", "4", "0"] in [line.split() for line in lines]


def test_an_index_is_exported(evidence: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    layout = f"oci-layout:{evidence / 'layout'}"
    assert main(["index", "build", "--key", str(evidence / "own.pub"), "--store", layout]) == 0
    capsys.readouterr()
    assert main(["index", "export"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["verdict"] for line in lines].count("verified") == 4
    assert main(["index", "export", "--output", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(lines)
    assert main(["index", "export", "days", "--output", "parquet"]) == 0
    assert capsys.readouterr().out == "days: 8 statements\n"
    assert (tmp_path / "days" / "day=2026-11-18" / "statements.parquet").is_file()
    assert main(["index", "export", "--output", "parquet"]) == 2
    assert main(["index", "export", "days"]) == 2
    assert "parquet is written to a FOLDER, json and csv to standard output" in capsys.readouterr().err


def policy_file(folder: Path, key: Path, **require: object) -> Path:
    """Return a policy for the image of the first run alone."""
    written = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": "shop"},
        "spec": {
            "match": {"images": [APP]},
            "trust": [
                {
                    "name": "ci",
                    "signer": {"keys": [{"pem": key.read_text()}]},
                    "builderId": "https://ci.example.com/tekton",
                    "maxLevel": 2,
                }
            ],
            "require": require,
        },
    }
    path = folder / "policy.yaml"
    path.write_text(json.dumps(written))
    return path


@pytest.mark.parametrize(("level", "code"), [(2, 0), (3, 1)])
def test_an_index_by_policies_says_what_verify_says(
    level: int, code: int, evidence: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    layout = f"oci-layout:{evidence / 'layout'}"
    policy = policy_file(tmp_path, evidence / "own.pub", level=level)
    image = f"{APP}@{digest(APP)}"
    assert main(["verify", "--policy", str(policy), "--store", layout, image, "--output", "json"]) == code
    said = told(capsys)
    assert main(["index", "build", "--policy", str(policy), "--store", layout, "--output", "json"]) == 0
    good, bad = (4, 0) if code == 0 else (0, 4)
    # the other run is about an image that no policy is for
    assert told(capsys)["new"] == {"verified": good, "failed": bad, "indeterminate": 0, "not-judged": 4}
    assert main(["search", "policy:shop", "--output", "json"]) == 0
    results = told(capsys)["results"]
    assert {(one["verdict"], one["policy"]["digest"]) for one in results} == {  # type: ignore[attr-defined]
        (str(said["verdict"]).lower(), said["policy"]["digest"])  # type: ignore[index]
    }
    assert main(["search", "verdict:not-judged"]) == 0
    assert "NOT JUDGED" in (shown := capsys.readouterr().out)
    assert f"no_policy: no policy is for {APP}-odd@" in shown
    assert main(["index", "stats"]) == 0
    assert ["all", str(good), str(bad), "0", "4"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]
    assert main(["index", "update", "--output", "json"]) == 0
    assert told(capsys)["new"] == {"verified": 0, "failed": 0, "indeterminate": 0}
    # a policy that says something else cannot go on
    policy_file(tmp_path, evidence / "other.pub")
    assert main(["index", "update"]) == 2
    assert "was built with other keys or demands" in capsys.readouterr().err


def test_a_policy_and_criteria_exclude_each_other(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = policy_file(Path(), evidence / "own.pub")
    layout, key = f"oci-layout:{evidence / 'layout'}", str(evidence / "own.pub")
    given = ["index", "build", "--store", layout, "--policy", str(policy)]
    assert main([*given, "--key", key]) == 2
    assert "pass --policy or --key" in capsys.readouterr().err
    assert main(["index", "build", "--store", layout, "--key", key]) == 0
    assert main(["index", "update", "--policy", str(policy)]) == 2
    assert "was built without policies" in capsys.readouterr().err


def test_an_export_answers_policies(
    evidence: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    layout, key = f"oci-layout:{evidence / 'layout'}", str(evidence / "own.pub")
    assert main(["export", "pack", "--store", layout, "--key", key]) == 1  # the other key
    policy = policy_file(tmp_path, evidence / "own.pub", level=2)
    capsys.readouterr()
    given = ["index", "build", "--policy", str(policy), "--store", "export:pack", "--output", "json"]
    assert main(given) == 0
    assert told(capsys)["new"] == {"verified": 3, "failed": 0, "indeterminate": 0}


def test_what_could_not_be_read_is_listed(
    evidence: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "bundles.jsonl").write_bytes(b"no bundle\n{}\n" + b"x" * 100)
    assert main(["index", "build", "--key", str(evidence / "own.pub"), "--store", "export:pack"]) == 0
    assert "3 could not be read: chains index stats --unread lists them" in capsys.readouterr().out
    assert main(["index", "stats", "--unread", "--output", "json"]) == 0
    assert [one["location"] for one in json.loads(capsys.readouterr().out)] == [
        f"pack/bundles.jsonl:{n}" for n in (1, 2, 3)
    ]


def test_every_command_of_the_page_runs(
    evidence: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The blocks of shell of docs/evidence-index.md, in their order, in an empty folder."""
    root = Path(__file__).parents[4]
    blocks = re.findall(r"```sh\n(.*?)```", (root / "docs" / "evidence-index.md").read_text(), re.DOTALL)
    script = "set -euo pipefail\n" + "".join(blocks)
    ended = subprocess.run(
        ["bash", "-c", script],
        env=os.environ
        | {"EXAMPLES": str(root / "examples"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "28 new statements (28 verified, 0 failed, 0 indeterminate)" in ended.stdout


def test_an_export_is_indexed(evidence: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    layout, key = f"oci-layout:{evidence / 'layout'}", str(evidence / "own.pub")
    assert main(["export", "pack", "--store", layout, "--key", key]) == 1  # the other key
    capsys.readouterr()
    assert main(["index", "build", "--key", key, "--store", "export:pack", "--output", "json"]) == 0
    found = told(capsys)
    assert found["new"] == {"verified": 3, "failed": 0, "indeterminate": 0}
    from chains.index.database import place_of

    (run,) = rows(place_of(".chains/index.db"), "run")
    assert (run["name"], run["repository"]) == ("app", "https://git.example.com/app")


def test_a_store_that_is_not_there_fails_and_leaves_no_index(
    evidence: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key = str(evidence / "own.pub")
    assert main(["index", "build", "--key", key, "--store", "export:nothing"]) == 1
    assert (
        "error: export:nothing was not read to the end: nothing/bundles.jsonl is not there"
        in capsys.readouterr().err
    )
    assert main(["index", "update"]) == 2
    assert "there is no index" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["build"], "no store to index: pass --store URL"),
        (["build", "--store", "oci-layout:x"], "nobody to trust: pass --key PUB"),
        (["build", "--store", "oci-layout:x", "--certificate-identity", "a"], "pass --certificate-identity"),
        (["build", "--store", "oci-layout:x", "--revocations-key", "a.pub"], "belongs to --revocations FILE"),
        (["update"], "there is no index at .chains/index.db: build it with `chains index build`"),
        (["update", "--index", "mysql://x"], "expected a file, sqlite:///FILE or postgresql://"),
    ],
)
def test_what_is_missing_is_a_usage_error(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_another_key_in_the_file_of_the_build_is_refused(
    evidence: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key = tmp_path / "trusted.pub"
    key.write_bytes((evidence / "own.pub").read_bytes())
    assert (
        main(["index", "build", "--key", "trusted.pub", "--store", f"oci-layout:{evidence / 'layout'}"]) == 0
    )
    key.write_bytes((evidence / "other.pub").read_bytes())
    assert main(["index", "update"]) == 2
    assert "was built with other keys or demands" in capsys.readouterr().err


def test_the_rate_and_the_time_that_is_left_are_shown_after_a_second() -> None:
    assert pace(10, 100, 0.5) == ""
    assert pace(0, 100, 5) == ""
    assert pace(100, 1000, 2) == ", 50/s, 18 s left"
    assert pace(100, 1_000_000, 1) == ", 100/s, 2 h 46 min left"
    assert pace(100, 50, 1) == ", 100/s, 0 s left"


def test_what_a_revocation_list_names_is_not_verified_and_a_new_list_needs_a_new_build(
    evidence: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert main(["keys", "generate", "lists.pem"]) == 0

    def revoke(*words: str) -> None:
        assert main(["revoke", "add", "draft.json", "--reason", "leaked", *words]) == 0
        assert main(["revoke", "sign", "draft.json", "--key", "lists.pem", "--to", "list.json"]) == 0

    revoke("--image", "sha256:" + "1" * 64)
    trust = ["--key", str(evidence / "own.pub"), "--key", str(evidence / "other.pub")]
    listed = ["--revocations", "list.json", "--revocations-key", "lists.pub"]
    build = ["index", "build", "--store", f"oci-layout:{evidence / 'layout'}", *trust, *listed]
    assert main(build) == 0
    assert "(8 verified, 0 failed, 0 indeterminate)" in capsys.readouterr().out
    assert main(["index", "update"]) == 0
    revoke("--key", str(evidence / "other.pub"))
    assert main(["index", "update"]) == 2
    assert "was built with other keys or demands" in capsys.readouterr().err
    assert main(build) == 0
    assert "(4 verified, 4 failed, 0 indeterminate)" in capsys.readouterr().out
    from chains.index.database import place_of

    failed = rows(place_of(".chains/index.db"), "attestation", verdict=1)
    assert {one["reason"] for one in failed} == {"key_revoked"}
    assert main(["index", "build", "--store", "oci-layout:x", *trust, "--revocations", "list.json"]) == 2
    assert "--revocations needs --revocations-key" in capsys.readouterr().err


def test_runs_that_are_named_line_by_line_are_added(
    evidence: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layout, own = f"oci-layout:{evidence / 'layout'}", str(evidence / "own.pub")
    Path("empty").mkdir()
    # built while there is nothing, so that all evidence is new
    assert main(["index", "build", "--key", own, "--store", f"file:{Path('empty').absolute()}"]) == 0
    assert main(["index", "update", "--store", f"file:{evidence / 'files'}"]) == 0
    assert main(["index", "build", "--key", own, "--store", layout, "--index", "other.db"]) == 0
    (app,) = (one for one in rows(file_at(Path("other.db")), "run") if one["name"] == "app")
    uid = bytes(app["uid"]).hex()
    uid = f"{uid[:8]}-{uid[8:12]}-{uid[12:16]}-{uid[16:20]}-{uid[20:]}"
    shutil.copytree(evidence / "files", "empty", symlinks=True, dirs_exist_ok=True)
    lines = [
        {"runs": [{"uid": "unknown", "copies": []}]},
        {"runs": [{"uid": uid, "copies": [[digest(APP), "registry.example.com/elsewhere@sha256:x"]]}]},
        {"runs": [{"uid": "unknown", "copies": [[digest(f"{APP}-more"), "somewhere"]]}]},
        {"runs": "none"},
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in lines) + "no json\n"
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(text.encode())))
    capsys.readouterr()
    assert main(["index", "feed"]) == 0
    nothing, elsewhere, found, *wrong = map(json.loads, capsys.readouterr().out.splitlines())
    assert (nothing["fed"], nothing["pieces"]) == (1, 0)
    # this run's evidence lies in a store that is not in the index
    assert (elsewhere["fed"], elsewhere["pieces"]) == (1, 0)
    # the same statements in another folder of the index: nothing new but their places
    assert (found["fed"], found["pieces"], found["new"]) == (1, 12, {})
    assert [one["error"] for one in wrong] == ["expected a line with runs, each with uid and copies"] * 2
    assert main(["index", "update", "--output", "json"]) == 0
    assert told(capsys)["new"] == {"verified": 0, "failed": 0, "indeterminate": 0}


def test_feeding_an_index_that_is_not_there_is_an_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(b'{"runs": []}\n')))
    assert main(["index", "feed"]) == 0
    assert "there is no index at .chains/index.db" in json.loads(capsys.readouterr().out)["error"]
