"""Preflight against a real API server and a real registry: reports in the cluster, and images of platforms."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from chains.cli.main import run as chains
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.cluster.errors import ClusterUnavailable
from chains.preflight import openreports
from chains.preflight.answer import ImageCheck, State
from chains.preflight.cluster_reports import Written, write_reports
from chains.preflight.openreports import Report, labels_of, reports_of
from chains.tekton.workloads import Use, UseKind, Workload
from tests.bench.preflight import measured
from tests.interop.attested import run_of, slug
from tests.testbed.cluster import ApiError, ApiServer, definitions_of, install_crds
from tests.testbed.images import Registry
from tests.unit.chains.policy.made import document

pytestmark = pytest.mark.server
Json = Any
PAGE = (Path(__file__).parents[2] / "docs" / "policy.md").read_text()
REPORTS = "/apis/openreports.io/v1alpha1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PACKAGE = "github.com/openreports/reports-api"
MANAGER = "provenance-chains-preflight"


def definitions() -> list[Json]:
    return definitions_of("openreports", PACKAGE, "config/crd")


@pytest.fixture
def without_crds(api_server: ApiServer) -> None:
    """See to it that the cluster has no reports, in whatever order tests run."""
    for definition in definitions():
        with suppress(ApiError):
            api_server.request("DELETE", f"{CRDS}/{definition['metadata']['name']}")
    deadline = time.monotonic() + 60
    while True:
        try:
            api_server.request("GET", f"{REPORTS}/reports")
        except ApiError as error:
            if error.status == 404:
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def cluster(api_server: ApiServer) -> ApiServer:
    """The API server, which serves the project's own CRDs."""
    known = api_server.request("GET", CRDS)["items"]
    if all(one["metadata"]["name"] != "reports.openreports.io" for one in known):
        served = [f"openreports.io/v1alpha1/{one}" for one in ("reports", "clusterreports")]
        install_crds(api_server, definitions(), served)
    return api_server


class Place:
    """Two namespaces with pods, an account with a role, a registry with evidence about some images, a policy."""

    def __init__(self, server: ApiServer, registry: Registry, folder: Path, name: str) -> None:
        self.server, self.registry, self.folder, self.name = server, registry, folder, name
        self.spaces = [f"{name}-{letter}" for letter in "ab"]
        for space in self.spaces:
            server.create_namespace(space)
        self.token = server.service_account_token(self.spaces[0], "preflight")
        self.kubeconfig = server.kubeconfig(folder, self.token)
        self.repository = f"{registry.host}/{name}"
        self.images = [registry.push_image(name, content=text) for text in (b"good", b"unsigned")]
        self.attest(self.images[0])
        self.write_policy()

    def attest(self, digest: str, **config: str) -> None:
        key = self.folder / "signing.key"
        if not key.exists():
            assert chains(["keys", "generate", str(key)]) == 0
        (self.folder / "run.json").write_text(json.dumps(run_of(self.repository, digest)))
        (self.folder / "config.json").write_text(json.dumps({"artifacts.taskrun.storage": "oci"} | config))
        given = ["--key", str(key), "--store", "oci:", "--config", str(self.folder / "config.json")]
        assert chains(["attest", str(self.folder / "run.json"), *given]) == 0

    def write_policy(self, **spec: Json) -> None:
        entry = {
            "name": "ours",
            "signer": {"keys": [{"ref": "signing.pub"}]},
            "builderId": "https://tekton.dev/chains/v2",
            "maxLevel": 2,
        }
        written = document(images=[self.repository], trust=[entry], **spec)
        (self.folder / "policy.json").write_text(json.dumps(written))

    def grant(self, *, without: str = "") -> None:
        """Bind the role of the page, without a verb for reports."""
        (block,) = re.findall(r"^```yaml\n(.*?kind: ClusterRole\n.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
        role = yaml.safe_load(block.rpartition("```yaml\n")[2])
        role["metadata"]["name"] = self.name
        for rule in role["rules"]:
            if rule["apiGroups"] == ["openreports.io"]:
                rule["verbs"] = [verb for verb in rule["verbs"] if verb != without]
        api = "/apis/rbac.authorization.k8s.io/v1"
        for kind in ("clusterrolebindings", "clusterroles"):
            with suppress(ApiError):
                self.server.request("DELETE", f"{api}/{kind}/{self.name}")
        self.server.request("POST", f"{api}/clusterroles", role)
        subject = {"kind": "ServiceAccount", "namespace": self.spaces[0], "name": "preflight"}
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": self.name}
        binding = {"metadata": {"name": self.name}, "roleRef": reference, "subjects": [subject]}
        self.server.request("POST", f"{api}/clusterrolebindings", binding)
        for verb in ("list", "create", "patch", "delete"):
            self.wait_until_allowed(verb, "openreports.io", "reports", is_allowed=verb != without)
        self.wait_until_allowed("list", "batch", "jobs", is_allowed=True)

    def wait_until_allowed(self, verb: str, group: str, resource: str, *, is_allowed: bool) -> None:
        """Wait until the API server has read a change of the roles."""
        asked = {
            "spec": {
                "user": f"system:serviceaccount:{self.spaces[0]}:preflight",
                "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "namespace": self.spaces[0]},
            }
        }  # fmt: skip
        deadline = time.monotonic() + 60
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        while self.server.request("POST", path, asked)["status"]["allowed"] is not is_allowed:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def create_pod(self, space: str, name: str, *images: str, running: str = "") -> Json:
        containers = [{"name": f"c{at}", "image": image} for at, image in enumerate(images)]
        path = f"/api/v1/namespaces/{space}/pods"
        pod = self.server.request(
            "POST", path, {"metadata": {"name": name}, "spec": {"containers": containers}}
        )
        if running:
            status = {"containerStatuses": [{"name": "c0", "imageID": running, "image": "", "ready": True, "restartCount": 0}]}  # fmt: skip
            kind = "application/merge-patch+json"
            self.server.request("PATCH", f"{path}/{name}/status", {"status": status}, kind=kind)
        return pod

    def preflight(self, *options: str, namespaces: str | None = None) -> tuple[str, ...]:
        where = ["-n", namespaces if namespaces is not None else ",".join(self.spaces)]
        given = ["--cluster", "--kubeconfig", str(self.kubeconfig), *(where if where[1] else [])]
        return ("preflight", str(self.folder / "policy.json"), *given, *options)

    def reports(self, space: str) -> list[Json]:
        return list(self.server.request("GET", f"{REPORTS}/namespaces/{space}/reports")["items"])


@pytest.fixture
def place(
    cluster: ApiServer, referrers_registry: Registry, tmp_path: Path, request: pytest.FixtureRequest
) -> Place:
    made = Place(cluster, referrers_registry, tmp_path, slug(request)[:40].strip("-"))
    made.grant()
    return made


def results(report: Json) -> list[tuple[str, str, str, str]]:
    return [
        (
            one["resources"][0]["name"],
            one["properties"]["image"].rpartition("@")[2],
            one["result"],
            one["rule"],
        )
        for one in report["results"]
    ]


def test_reports_are_written_once_and_follow_the_cluster(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    good, unsigned = (f"{place.repository}@{digest}" for digest in place.images)
    first, second = place.spaces
    pod = place.create_pod(first, "web", good, running=good)
    place.create_pod(first, "debug", unsigned)
    place.create_pod(second, "job", "registry.example.com/elsewhere:1")
    capsys.readouterr()

    # a dry run checks everything and writes nothing
    assert chains([*place.preflight("--write-reports", "--dry-run", "--output", "json")]) == 1
    told = json.loads(capsys.readouterr().out)["reports"]
    labels = [f"Report/{space}/chains-preflight" for space in place.spaces]
    assert told == {
        "dryRun": True,
        "written": labels,
        "removed": [],
        "skipped": [],
        "unchanged": 0,
        "failure": None,
    }
    assert place.reports(first) == []

    assert chains([*place.preflight("--write-reports")]) == 1
    assert "openreports.io/v1alpha1: 2 reports written, 0 removed, 0 unchanged" in capsys.readouterr().err
    (report,) = place.reports(first)
    assert report["summary"] == {"pass": 1, "fail": 1, "warn": 0, "error": 0, "skip": 0}
    assert (report["source"], report["scope"]) == (
        "provenance-chains",
        {"apiVersion": "v1", "kind": "Namespace", "name": first},
    )
    assert results(report) == [
        ("debug", place.images[1], "fail", "evidence"),
        ("web", place.images[0], "pass", "image"),
    ]
    passed = report["results"][1]
    assert passed["resources"] == [
        {"apiVersion": "v1", "kind": "Pod", "namespace": first, "name": "web", "uid": pod["metadata"]["uid"]}
    ]
    assert (passed["policy"], passed["severity"], passed["source"]) == (
        "production",
        "info",
        "provenance-chains",
    )
    assert passed["properties"]["policyDigest"].startswith("sha256:")
    assert abs(passed["timestamp"]["seconds"] - time.time()) < 600
    assert report["results"][0]["severity"] == "high"
    assert [one["manager"] for one in report["metadata"]["managedFields"]] == [MANAGER]
    assert report["metadata"]["managedFields"][0]["operation"] == "Apply"
    (other,) = place.reports(second)
    assert results(other) == [("job", "registry.example.com/elsewhere:1", "skip", "image")]

    # the same answers: not one write
    assert chains([*place.preflight("--write-reports")]) == 1
    assert "0 reports written, 0 removed, 2 unchanged" in capsys.readouterr().err
    assert [place.reports(space)[0] for space in place.spaces] == [report, other]

    # one answer changes: its report is written, the other results keep their time; stale results are gone
    place.server.request("DELETE", f"/api/v1/namespaces/{first}/pods/debug", {"gracePeriodSeconds": 0})
    place.create_pod(first, "zeta", unsigned)
    late = report["results"][1]["timestamp"]["seconds"] + 1000
    monkeypatch.setattr(openreports, "_timestamp", lambda _: {"seconds": late, "nanos": 0})
    assert chains([*place.preflight("--write-reports")]) == 1
    assert "1 report written, 0 removed, 1 unchanged" in capsys.readouterr().err
    (changed,) = place.reports(first)
    assert results(changed) == [
        ("web", place.images[0], "pass", "image"),
        ("zeta", place.images[1], "fail", "evidence"),
    ]
    assert changed["results"][0] == passed
    assert changed["results"][1]["timestamp"]["seconds"] == late

    # a namespace without images keeps no report; a report of somebody else stays
    place.server.request(
        "POST", f"{REPORTS}/namespaces/{second}/reports", {"apiVersion": "openreports.io/v1alpha1", "kind": "Report", "metadata": {"name": "theirs"}}
    )  # fmt: skip
    place.server.request("DELETE", f"/api/v1/namespaces/{second}/pods/job", {"gracePeriodSeconds": 0})
    assert chains([*place.preflight("--write-reports", "--report-name", "another", namespaces=first)]) == 1
    capsys.readouterr()
    assert chains([*place.preflight("--write-reports")]) == 1
    assert "0 reports written, 1 removed, 1 unchanged" in capsys.readouterr().err
    assert [one["metadata"]["name"] for one in place.reports(second)] == ["theirs"]
    assert [one["metadata"]["name"] for one in place.reports(first)] == ["another", "chains-preflight"]


def test_a_report_of_another_owner_is_not_taken_over(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    good = f"{place.repository}@{place.images[0]}"
    for space in place.spaces:
        place.create_pod(space, "web", good)
    theirs = {
        "apiVersion": "openreports.io/v1alpha1",
        "kind": "Report",
        "metadata": {"name": "chains-preflight"},
        "source": "somebody else",
        "results": [],
    }
    place.server.request("POST", f"{REPORTS}/namespaces/{place.spaces[1]}/reports", theirs)
    capsys.readouterr()
    assert chains([*place.preflight("--write-reports")]) == 4
    told = capsys.readouterr().err
    assert "reports cannot be written, and nothing was: PATCH" in told
    assert "conflict" in told
    assert place.reports(place.spaces[0]) == []


@pytest.mark.parametrize("verb", ["list", "create", "patch", "delete"])
def test_without_a_right_nothing_is_written_and_that_is_told(
    verb: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    good = f"{place.repository}@{place.images[0]}"
    first, second = place.spaces
    place.create_pod(first, "web", good)
    if verb == "delete":
        place.create_pod(second, "job", good)
        assert chains([*place.preflight("--write-reports")]) == 0
        place.server.request("DELETE", f"/api/v1/namespaces/{second}/pods/job", {"gracePeriodSeconds": 0})
        place.create_pod(first, "more", good)
    before = [place.reports(space) for space in place.spaces]
    place.grant(without=verb)
    capsys.readouterr()
    assert chains([*place.preflight("--write-reports", "--output", "json")]) == 4
    found = json.loads(capsys.readouterr().out)
    assert found["exitCode"] == 4
    assert found["reports"]["failure"].startswith("reports cannot be written, and nothing was: ")
    assert "403" in found["reports"]["failure"]
    assert found["problems"] == [found["reports"]["failure"]]
    assert [place.reports(space) for space in place.spaces] == before


def test_the_whole_cluster_gets_a_report_about_what_is_not_seen(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other tests use the same cluster: their namespaces are reported, too."""
    place.create_pod(place.spaces[0], "web", f"{place.repository}@{place.images[0]}")
    name = place.name[-30:].strip("-")
    capsys.readouterr()
    code = chains([*place.preflight("--write-reports", "--report-name", name, namespaces="")])
    assert "written" in capsys.readouterr().err
    assert code in {0, 4}
    assert [one["metadata"]["name"] for one in place.reports(place.spaces[0])] == [name]
    # the account loses the right to see a kind
    role = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{place.name}"
    rules = [rule for rule in place.server.request("GET", role)["rules"] if rule["apiGroups"] != ["batch"]]
    kind = "application/merge-patch+json"
    place.server.request("PATCH", role, {"rules": rules}, kind=kind)
    place.wait_until_allowed("list", "batch", "jobs", is_allowed=False)
    assert chains([*place.preflight("--write-reports", "--report-name", name, namespaces="")]) == 4
    report = place.server.request("GET", f"{REPORTS}/clusterreports/{name}")
    assert report["summary"]["error"] >= 2
    unseen = [one for one in report["results"] if "batch" in one["message"]]
    assert [(one["policy"], one["rule"], one["result"]) for one in unseen] == [
        ("preflight", "inventory", "error")
    ] * 2
    # it is seen again: the report is removed where nothing else is wrong
    place.grant()
    code = chains([*place.preflight("--write-reports", "--report-name", name, namespaces="")])
    left = [
        one["metadata"]["name"] for one in place.server.request("GET", f"{REPORTS}/clusterreports")["items"]
    ]
    assert (name in left) is (code == 4)


def test_results_that_one_object_cannot_hold_are_split(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (first, _), good = place.spaces, f"{place.repository}@{place.images[0]}"
    for at in range(5):
        place.create_pod(first, f"p{at}", good)
    monkeypatch.setattr(openreports, "MOST_BYTES", 10)
    assert chains([*place.preflight("--write-reports")]) == 0
    found = place.reports(first)
    names = [one["metadata"]["name"] for one in found]
    assert names == ["chains-preflight", *(f"chains-preflight-{at}" for at in range(2, 6))]
    assert [name for one in found for name, *_ in results(one)] == [f"p{at}" for at in range(5)]
    monkeypatch.undo()
    capsys.readouterr()
    assert chains([*place.preflight("--write-reports")]) == 0
    assert "1 report written, 4 removed, 0 unchanged" in capsys.readouterr().err
    (whole,) = place.reports(first)
    assert whole["summary"]["pass"] == 5


def test_a_report_of_the_largest_size_is_taken_by_the_api_server(place: Place) -> None:
    (space, _), digest = place.spaces, f"sha256:{'a' * 64}"
    image = f"{place.repository}@{digest}"
    checks = [
        ImageCheck(
            image, digest, State.UNDECIDED, (Use(image, UseKind.DESIRED, workload, "c"),), None, "x" * 600
        )
        for workload in (Workload("Pod", space, f"p{at}", "v1", str(at)) for at in range(2000))
    ]
    reports = reports_of(checks, [], "large", datetime.now(UTC))
    sizes = [len(orjson.dumps(report.to_json())) for report in reports]
    assert len(sizes) == 3
    assert min(sizes[:2]) > 990_000

    async def write() -> Written:
        async with Cluster(find_access(str(place.kubeconfig), "")) as cluster:
            return await write_reports(cluster, reports, "large", [space], dry_run=False)

    done = asyncio.run(write())
    assert (done.failure, len(done.written)) == ("", len(reports))
    assert sum(len(one["results"]) for one in place.reports(space)) == 2000
    assert asyncio.run(write()).unchanged == len(reports)


def test_reports_that_are_written_in_part_are_told_one_by_one(place: Place) -> None:
    class FailsLate(Cluster):
        """The API server takes the trials and the first report, and is then away."""

        async def apply(self, path: str, body: Json, **more: Json) -> None:
            if not more["dry_run"] and f"/{place.spaces[1]}/" in path:
                raise ClusterUnavailable(f"PATCH {path}: 503")
            await super().apply(path, body, **more)

    reports = [Report(space, "late", labels_of("late"), ()) for space in place.spaces]

    async def write() -> Written:
        async with FailsLate(find_access(str(place.kubeconfig), "")) as cluster:
            return await write_reports(cluster, reports, "late", place.spaces, dry_run=False)

    done = asyncio.run(write())
    assert done.written == [f"Report/{place.spaces[0]}/late"]
    assert done.failure.startswith(
        f"reports are written in part, without Report/{place.spaces[1]}/late: PATCH"
    )
    assert [len(place.reports(space)) for space in place.spaces] == [1, 0]


def test_a_namespace_that_is_not_there_is_told_and_does_not_pass(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert chains([*place.preflight(namespaces=place.spaces[0])]) == 0
    capsys.readouterr()
    assert chains([*place.preflight(namespaces="prodution")]) == 4
    assert "namespace prodution is not in the cluster, so nothing was looked at" in capsys.readouterr().err


def test_a_namespace_that_is_going_is_told_and_stops_nothing(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    for space in place.spaces:
        place.create_pod(space, "web", f"{place.repository}@{place.images[0]}")
    going = place.spaces[1]
    # nothing finishes the deletion here, so the namespace stays in this state
    place.server.request("DELETE", f"/api/v1/namespaces/{going}")
    capsys.readouterr()
    assert chains([*place.preflight("--write-reports", "--output", "json")]) == 0
    told = json.loads(capsys.readouterr().out)["reports"]
    assert told["written"] == [f"Report/{place.spaces[0]}/chains-preflight"]
    assert told["skipped"] == [f"Report/{going}/chains-preflight"]
    assert [len(place.reports(space)) for space in place.spaces] == [1, 0]


def test_a_cluster_without_the_crds_is_told(
    api_server: ApiServer,
    without_crds: None,
    referrers_registry: Registry,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del without_crds
    place = Place(api_server, referrers_registry, tmp_path, slug(request)[:40].strip("-"))
    place.grant()
    place.create_pod(place.spaces[0], "web", f"{place.repository}@{place.images[1]}")
    capsys.readouterr()
    assert chains([*place.preflight()]) == 1
    capsys.readouterr()
    assert chains([*place.preflight("--write-reports")]) == 4
    assert "the cluster does not serve openreports.io/v1alpha1: install the CRDs" in capsys.readouterr().err


def test_the_images_of_platforms_are_looked_at_in_a_real_registry(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    amd, arm = (
        place.registry.push_image(place.name, platform=one, content=b"m") for one in ("amd64", "arm64")
    )
    index = place.registry.push_index(place.name, [amd, arm], tag="multi")
    first, _ = place.spaces
    tag, running = f"{place.repository}:multi", f"{place.repository}@{amd}"
    place.create_pod(first, "web", tag, running=running)

    def answered(code: int) -> Json:
        capsys.readouterr()
        assert chains([*place.preflight("--output", "json", namespaces=first)]) == code
        (image,) = json.loads(capsys.readouterr().out)["images"]
        assert (image["image"], image["digest"]) == (tag, index)
        assert [use["image"] for use in image["uses"]] == [tag, running]
        return image["state"], [(one["platform"], one["digest"], one["state"]) for one in image["platforms"]]

    nothing = [("linux/amd64", amd, "fail"), ("linux/arm64", arm, "fail")]
    assert answered(1) == ("fail", nothing)
    place.attest(amd)
    assert answered(1) == ("fail", [("linux/amd64", amd, "pass"), nothing[1]])
    place.attest(index)
    assert answered(0) == ("pass", [("linux/amd64", amd, "pass"), nothing[1]])
    assert chains([*place.preflight("--verbose", namespaces=first)]) == 0
    assert (
        "by their own digests alone: linux/arm64 fail; the index passes for them" in capsys.readouterr().out
    )
    # one behaviour: verify says the same about each digest
    policy = ["verify", "--policy", str(place.folder / "policy.json")]
    codes = [chains([*policy, f"{place.repository}@{digest}"]) for digest in (index, amd, arm)]
    assert codes == [0, 0, 3]
    place.attest(index, **{"storage.oci.attach-to-platforms": "true"})
    assert answered(0) == ("pass", [("linux/amd64", amd, "pass"), ("linux/arm64", arm, "pass")])
    assert chains([*policy, f"{place.repository}@{arm}"]) == 0


@pytest.mark.parametrize(("case", "listed"), [("file", 0), ("indexes", 2)])
def test_each_digest_is_verified_once_and_nothing_is_asked_twice(case: str, listed: int) -> None:
    (result,) = measured(case, 60, 20)
    assert result.twice == []
    assert result.printed == "20 images of 120 uses: 20 pass, 0 fail, 0 undecided, 0 skip"
    manifests = [one for one in result.requests if one.startswith("GET ") and "/manifests/sha256:" in one]
    # the manifest that is named, which may be an index, those of the three bundles that refer to it, and the
    # manifest that runs where it is another
    assert len(manifests) == 20 * (5 if listed else 4)
    lists = [one for one in result.requests if "/referrers/" in one]
    assert len(lists) == 20 * (1 + listed)
