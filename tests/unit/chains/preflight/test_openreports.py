"""Reports for the cluster: what a result says, what stays the same, and how much one report holds."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from chains.cli.main import run as chains
from chains.errors import UsageError
from chains.preflight.inventory import Inventory
from chains.preflight.openreports import (
    MOST_BYTES,
    Report,
    checked_name,
    is_written,
    reports_of,
    unchanged_times,
)
from chains.preflight.report import exit_code
from storage.base import Store
from tests.faults.verify.forge import IMAGE, NOW, Broken, Shelf, evidence, form_b, provenance
from tests.unit.chains.policy.made import REF, document, tekton
from tests.unit.chains.preflight.made import OTHER_REF, checked, inventory_of, workload

Json = Any


def reported(
    *items: Json, stores: tuple[Store, ...] = (), problems: tuple[str, ...] = (), **more: Json
) -> list[Report]:
    checks = checked(inventory_of(*items), *stores, policies=more.pop("policies", ()))
    return reports_of(checks, problems, "chains-preflight", more.pop("now", NOW), **more)


def only(*items: Json, **more: Json) -> Json:
    (report,) = reported(*items, **more)
    (result,) = report.results
    return result


def tampered() -> Store:
    good = form_b(tekton())
    data = json.loads(good.data)
    data["dsseEnvelope"]["payload"] = json.loads(form_b(provenance(uid="uid-2")).data)["dsseEnvelope"][
        "payload"
    ]
    return Shelf(evidence(json.dumps(data).encode(), "bundle-v0.3"))


@pytest.mark.parametrize(
    ("image", "stores", "spec", "result", "severity", "policy"),
    [
        (REF, (), {}, "pass", "info", "production"),
        (OTHER_REF, (), {}, "fail", "high", "production"),
        (OTHER_REF, (), {"mode": "warn"}, "warn", "medium", "production"),
        (OTHER_REF, (), {"mode": "audit"}, "fail", "high", "production"),
        (REF, (Broken(),), {}, "error", "medium", "production"),
        (REF, (tampered(),), {}, "fail", "critical", "production"),
        ("busybox", (), {}, "skip", "info", "preflight"),
        (f"{IMAGE}:2", (), {}, "error", "medium", "preflight"),
    ],
)
def test_each_state_has_its_result(
    image: str, stores: tuple[Store, ...], spec: Json, result: str, severity: str, policy: str
) -> None:
    found = only(workload("Pod", image), stores=stores, policies=[document(**spec)])
    assert (found["result"], found["severity"], found["policy"]) == (result, severity, policy)
    assert found["timestamp"] == {"seconds": int(NOW.timestamp()), "nanos": 0}
    assert found["message"]
    assert found["source"] == "provenance-chains"
    assert ("policyDigest" in found["properties"]) is (policy == "production")


def test_a_result_names_its_object_and_its_containers() -> None:
    item = workload("Deployment", REF, REF)
    item["apiVersion"], item["metadata"]["uid"] = "apps/v1", "u-1"
    found = only(item)
    assert found["resources"] == [
        {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "web", "uid": "u-1"}
    ]
    assert found["properties"]["containers"] == "c0, c1"
    assert found["properties"]["image"] == REF


def test_each_namespace_has_a_report_and_manifests_on_disk_have_none() -> None:
    inventory = inventory_of(*(workload("Pod", REF, namespace=name) for name in ("b", "a")))
    inventory.add(workload("Pod", REF, namespace="c"), "pod.yaml")
    found = reports_of(checked(inventory), [], "n", NOW)
    assert [report.label for report in found] == ["Report/a/n", "Report/b/n"]
    assert found[0].to_json()["scope"] == {"apiVersion": "v1", "kind": "Namespace", "name": "a"}


def test_what_is_not_seen_is_reported_for_the_cluster_or_for_the_namespaces_that_are_looked_at() -> None:
    (whole,) = reported(problems=("Job objects cannot be seen",))
    written = whole.to_json()
    assert (written["kind"], written["metadata"].get("namespace"), "scope" in written) == (
        "ClusterReport", None, False,
    )  # fmt: skip
    assert written["summary"] == {"pass": 0, "fail": 0, "warn": 0, "error": 1, "skip": 0}
    found = reported(workload("Pod", REF), problems=("x",), namespaces=["lab", "shop"])
    assert [(report.label, report.to_json()["summary"]["error"]) for report in found] == [
        ("Report/lab/chains-preflight", 1),
        ("Report/shop/chains-preflight", 1),
    ]


def test_the_order_of_objects_changes_no_report() -> None:
    items = [workload("Pod", REF, OTHER_REF, name=f"p{at}") for at in range(4)]
    assert reported(*items)[0].to_json() == reported(*reversed(items))[0].to_json()


def test_a_result_that_stays_the_same_keeps_its_time() -> None:
    items = [workload("Pod", REF, name=name) for name in ("a", "b")]
    (first,) = reported(*items)
    later = NOW + timedelta(hours=1)
    (again,) = reported(*items, now=later)
    existing = json.loads(json.dumps(first.to_json()))
    assert not is_written(again, existing)
    assert is_written(unchanged_times(again, existing), existing)
    (changed,) = reported(items[0], workload("Pod", OTHER_REF, name="b"), now=later)
    merged = unchanged_times(changed, existing)
    assert not is_written(merged, existing)
    assert [one["timestamp"]["seconds"] for one in merged.results] == [
        int(NOW.timestamp()),
        int(later.timestamp()),
    ]


@pytest.mark.parametrize(
    "odd", [{}, {"results": None}, {"results": [1, {"timestamp": "x"}]}, {"metadata": []}]
)
def test_an_odd_report_in_the_cluster_is_written_again(odd: Json) -> None:
    (report,) = reported(workload("Pod", REF))
    assert unchanged_times(report, odd) == report
    assert not is_written(report, odd)


def test_a_report_holds_no_more_than_an_object_can() -> None:
    items = [workload("Pod", f"{IMAGE}:{'x' * 900}", name=f"{'n' * 240}{at}") for at in range(1000)]
    found = reported(*items)
    assert len(found) > 1
    assert [report.name for report in found[:2]] == ["chains-preflight", "chains-preflight-2"]
    assert all(len(orjson.dumps(report.to_json())) < MOST_BYTES + 5000 for report in found)
    assert sum(len(report.results) for report in found) == 1000


def test_what_objects_and_evidence_say_is_shown_and_not_obeyed() -> None:
    found = only(workload("Pod", f"{IMAGE}:\u202e\x1b<&"))
    assert not {"\u202e", "\x1b"} & set(json.dumps(found, ensure_ascii=False))
    assert len(found["message"]) < 700


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a/b", "a" * 53, "a.b"])
def test_a_name_that_kubernetes_refuses_is_wrong_usage(name: str) -> None:
    with pytest.raises(UsageError, match="--report-name"):
        checked_name(name)
    assert checked_name("a" * 52) == "a" * 52


def test_reports_that_could_not_be_written_count_more_than_images_that_fail() -> None:
    checks = checked(inventory_of(workload("Pod", OTHER_REF)))
    assert exit_code(checks, Inventory()) == 1
    assert exit_code(checks, Inventory(unwritten=True)) == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["pod.yaml", "--write-reports"], "--write-reports belongs to --cluster"),
        (["pod.yaml", "--pull-secrets"], "--pull-secrets belongs to --cluster"),
        (["--cluster", "--dry-run"], "--dry-run belongs to --write-reports"),
        (["--cluster", "--write-reports", "--report-name", "A"], "--report-name 'A'"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["preflight", "policy.json", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_a_time_is_that_of_the_run() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    assert only(workload("Pod", REF), now=moment)["timestamp"] == {"seconds": 1767323045, "nanos": 0}


def test_a_cluster_that_does_not_answer_leaves_everything_undecided_and_reports_untouched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.json").write_text(json.dumps(document()))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    place = {"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "x", "context": {"cluster": "x", "user": "x"}}
    kubeconfig = {"clusters": [place], "contexts": [context], "users": [{"name": "x", "user": {}}]}
    Path("kubeconfig").write_text(json.dumps({**kubeconfig, "current-context": "x", "kind": "Config"}))
    given = ["preflight", "policy.json", "--cluster", "--kubeconfig", "kubeconfig", "--output", "json"]
    for options in ([], ["--write-reports"]):
        assert chains([*given, *options]) == 4
        found = json.loads(capsys.readouterr().out)
        assert found["exitCode"] == 4
        assert found["problems"][0].startswith("the cluster cannot be read whole: GET /api/v1/namespaces")
        told = "reports are not written: they would lack what the cluster did not say"
        assert found["problems"][1:] == ([told] if options else [])
