"""Audits with real servers: the audit log of a real API server, packs in the hands of stock cosign, many runs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from chains.cli.main import run as chains
from tests.audit_truth import EXPECTED, GAP, make_world, task_run, with_metadata
from tests.testbed import cluster
from tests.testbed.cluster import MERGE, ApiServer
from tests.testbed.commands import CommandError
from tests.testbed.cosign import Cosign

pytestmark = pytest.mark.server
Json = Any
ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "audit.md").read_text()
RUNS = "/apis/tekton.dev/v1/namespaces/{}/taskruns"


def told(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> Json:
    capsys.readouterr()
    assert chains([*words, "--output", "json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.mark.timeout(900)
def test_of_thousands_of_runs_exactly_the_holes_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``CHAINS_AUDIT_RUNS`` takes another number of them, which changes nothing but the time."""
    count = int(os.environ.get("CHAINS_AUDIT_RUNS", "5000"))
    world = make_world(tmp_path, count, 20, reports=False)
    found = told(capsys, 1, *world.arguments())
    named = {
        one["uid"] or f"{one['namespace']}/{one['name']}": (one["state"], one["reason"], one["detail"])
        for one in found["runs"]
    }
    assert named == world.expected
    assert len(named) == 20 * len(EXPECTED)
    assert found["finished"] == world.finished
    assert found["counts"]["evidenced"] == world.finished - 20 * (len(EXPECTED) - 1)


def test_stock_cosign_verifies_the_packs_of_a_sample(
    cosign: Cosign, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    world = make_world(tmp_path, 60, 1)
    taken = ("--n", "3", "--seed", "s", "--folder", str(tmp_path / "packs"))
    _, *words = world.arguments(*taken, "--to", "2026-11-01T00:00:00Z")  # before the gap
    items = told(capsys, 0, "audit", "sample", *words)["items"]
    assert [one["state"] for one in items] == ["evidenced"] * 3
    for one in items:
        pack = tmp_path / "packs" / one["folder"]
        index = [json.loads(line) for line in (pack / "index.jsonl").read_text().splitlines()]
        for line, entry in zip((pack / "bundles.jsonl").read_bytes().splitlines(), index, strict=True):
            (tmp_path / "bundle.json").write_bytes(line)
            check = ("verify-blob-attestation", "--bundle", "bundle.json", "--key", str(pack / "keys/key-1.pub"),
                     "--insecure-ignore-tlog=true", "--type", entry["predicateType"], "--digestAlg", "sha256")  # fmt: skip
            cosign(*check, "--digest", entry["subjects"][0]["digest"]["sha256"], cwd=tmp_path)
            with pytest.raises(CommandError):
                cosign(*check, "--digest", "cd" * 32, cwd=tmp_path)


def test_an_audit_shows_what_its_runbooks_tell(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    world = make_world(tmp_path, 60, 1)
    path = tmp_path / "audit.prom"

    def audit(code: int, *words: str) -> dict[str, float]:
        told(capsys, code, *words, "--metrics-file", str(path))
        families = text_string_to_metric_families(path.read_text())
        return {
            sample.name + sample.labels.get("state", sample.labels.get("bound", "")): sample.value
            for family in families
            for sample in family.samples
        }

    def written(page: str) -> set[str]:
        text = (ROOT / "docs" / "runbooks" / f"{page}.md").read_text()
        return set(re.findall(r"`(chains_audit_[a-z_]+)", text.partition("## How")[0]))

    found = audit(1, *world.arguments())
    missing = written("ChainsAuditIncomplete")
    assert missing == {
        "chains_audit_runs",
        "chains_audit_oldest_unproven_timestamp_seconds",
        "chains_audit_exit_code",
    }
    assert found["chains_audit_runsmissing"] > 0
    assert found["chains_audit_exit_code"] == 1
    assert (
        found["chains_audit_timestamp_seconds"] > found["chains_audit_oldest_unproven_timestamp_seconds"] > 0
    )
    # the same world without what is wrong in it, but with the gap
    found = audit(4, *world.arguments("--from", GAP[0], "--to", "2026-11-02T00:00:00Z"))
    assert written("ChainsAuditUndecided") == {
        "chains_audit_exit_code",
        "chains_audit_runs",
        "chains_audit_gaps",
    }
    assert (found["chains_audit_exit_code"], found["chains_audit_gaps"]) == (4, 1)
    assert found["chains_audit_runsunknown"] == 1
    before = path.read_text()
    assert chains(world.arguments("--metrics-file", str(path), "--from", "never")) == 2
    assert written("ChainsAuditOld") == {"chains_audit_timestamp_seconds"}
    assert path.read_text() == before


@pytest.fixture(scope="module")
def logging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiServer, Path]]:
    """An API server with the audit policy of the page, and a second log in which one namespace has Metadata."""
    tmp = tmp_path_factory.mktemp("logging")
    policy = yaml.safe_load(PAGE.partition("```yaml\n")[2].partition("```")[0])
    low = {"level": "Metadata", "namespaces": ["low"], "resources": [{"group": "tekton.dev"}]}
    policy["rules"].insert(0, low)
    (tmp / "policy.yaml").write_text(json.dumps(policy))
    words = ("--audit-policy-file", tmp / "policy.yaml", "--audit-log-path", tmp / "audit.log")
    with cluster.api_server(tmp, *words) as server:
        for name in ("build", "low"):
            server.create_namespace(name)
        yield server, tmp / "audit.log"


def run_named(name: str) -> Json:
    run = with_metadata(task_run(2), name=name, namespace="build")
    run["metadata"].pop("creationTimestamp")
    return run


def test_the_log_of_a_real_api_server_names_every_run_of_its_life(
    logging: tuple[ApiServer, Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, log = logging
    monkeypatch.chdir(tmp_path)
    kept = server.create_run(run_named("kept"))
    generated = run_named("")
    generated["metadata"] |= {"generateName": "made-"}
    generated["metadata"].pop("name")
    made = server.create_run(generated)
    path = RUNS.format("build")
    server.request(
        "POST",
        f"{path}?dryRun=All",
        {name: value for name, value in run_named("dry").items() if name != "status"},
    )
    server.request("DELETE", f"{path}/{made['metadata']['name']}")
    held = server.create_run(run_named("held"))
    for finalizers in (["chains.tekton.dev/taskrun"], []):
        server.request("PATCH", f"{path}/held", {"metadata": {"finalizers": finalizers}}, kind=MERGE)
    begun = server.create_run({name: value for name, value in run_named("begun").items() if name != "status"})
    server.request("DELETE", f"{path}/begun")
    server.create_run(with_metadata(run_named("one-of-many"), labels={"many": "true"}))
    server.request("DELETE", f"{path}?labelSelector=many%3Dtrue")

    (tmp_path / "kept.json").write_text(json.dumps(kept))
    assert chains(["attest", "kept.json"]) == 0
    words = ("audit", "--store", "oci-layout:.chains/layout", "--key", ".chains/signing.pub")
    found = told(capsys, 1, *words, "--audit-log", str(log), "--all")
    reasons = {one["name"]: (one["state"], one["reason"]) for one in found["runs"]}
    assert reasons == {
        "kept": ("evidenced", "verified"),
        made["metadata"]["name"]: ("missing", "deleted_without_evidence"),
        "held": ("missing", "finalizer_stripped"),
        "begun": ("open", "deleted_before_end"),
        "one-of-many": ("missing", "deleted_without_evidence"),
    }
    uids = {one["name"]: one["uid"] for one in found["runs"]}
    assert {uids[name] for name in ("kept", made["metadata"]["name"], "held", "begun")} == {
        one["metadata"]["uid"] for one in (kept, made, held, begun)
    }
    (source,) = found["sources"]
    assert (source["problems"], source["finished"]) == ([], 4)
    assert "by admin" in next(one["words"] for one in found["runs"] if one["name"] == "one-of-many")

    # the cluster has what is left, and contradicts the log in nothing
    kubeconfig = str(server.kubeconfig(tmp_path))
    found = told(
        capsys, 1, *words, "--audit-log", str(log), "--cluster", "--kubeconfig", kubeconfig, "-n", "build"
    )
    assert [one["runs"] for one in found["sources"]] == [5, 2]
    assert found["differences"] == []


def test_a_log_of_a_real_api_server_that_hides_names_is_refused(
    logging: tuple[ApiServer, Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, log = logging
    monkeypatch.chdir(tmp_path)
    hidden = with_metadata(run_named(""), generateName="made-", namespace="low")
    hidden["metadata"].pop("name")
    server.create_run(hidden)
    assert chains(["keys", "generate", "signing.key"]) == 0
    words = ["audit", "--store", "oci-layout:layout", "--key", "signing.pub", "--audit-log", str(log)]
    assert chains(words) == 2
    assert (
        "a create of taskruns was logged at level Metadata, expected RequestResponse"
        in capsys.readouterr().err
    )
