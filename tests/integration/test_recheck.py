"""Re-check on a real API server and a real registry: two replicas, one cluster, from admission to the end of trust."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.recheck.events import FAILS, PASSES
from chains.recheck.rounds import LEASE
from tests.integration.test_admission import BUILDER, revoke
from tests.integration.test_deploy import apply, path_of
from tests.integration.test_preflight import REPORTS, cluster
from tests.interop.attested import Attested, attest_image
from tests.testbed.admission_server import AdmissionServer, pod
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.images import Registry
from tests.testbed.kustomize import build

__all__ = ["cluster"]
pytestmark = pytest.mark.server
Json = Any
ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
OVERLAY = ROOT / "deploy" / "overlays" / "admission-recheck-reports"
SPACE, OTHER = "recheck", "recheck-free"


@dataclass(frozen=True)
class Cluster:
    """Two replicas that verify again what runs, and three images that pass."""

    api: ApiServer
    registry: Registry
    folder: Path
    replicas: list[AdmissionServer]
    fine: Attested
    keyed: Attested
    """Signed with a key of its own."""
    emptied: Attested
    """Its evidence is in one tag."""

    def create(self, body: Json, namespace: str = SPACE) -> Json:
        group = {"v1": "/api/v1"}.get(body["apiVersion"], f"/apis/{body['apiVersion']}")
        return self.api.request("POST", f"{group}/namespaces/{namespace}/{body['kind'].lower()}s", body)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum over both replicas; one that does no rounds counts no images."""
        return sum(one.metric(f"chains_recheck_{name}", **labels) for one in self.running)

    @property
    def running(self) -> list[AdmissionServer]:
        return [one for one in self.replicas if one.process is not None and one.process.poll() is None]

    def states(self) -> dict[str, float]:
        return {
            state: self.metric("images", state=state) for state in ("passes", "fails", "undecided", "skipped")
        }

    def leaders(self) -> list[AdmissionServer]:
        return [one for one in self.running if one.metric("chains_recheck_leads") == 1]

    def events(self) -> list[tuple[str, str, str]]:
        """Return kind, name and reason of every Event of re-check."""
        found = self.api.request("GET", "/api/v1/events")["items"]
        return sorted(
            (one["involvedObject"]["kind"], one["involvedObject"]["name"], one["reason"])
            for one in found
            if one["source"].get("component") == "chains-recheck"
        )

    def rounds(self, number: int = 2) -> None:
        """Wait for the ends of further rounds: what the first one of them saw may be older."""
        for _ in range(number):
            before = self.lines("a round of re-check is complete")
            self.wait(lambda before=before: self.lines("a round of re-check is complete") > before)  # type: ignore[misc]

    def lines(self, message: str) -> int:
        return sum(one.log.read_text().count(f'"{message}"') for one in self.replicas)

    def wait(self, condition: Callable[[], bool]) -> None:
        try:
            self.replicas[0].wait(condition)
        except AssertionError as error:
            tail = self.replicas[1].log.read_text()[-3000:]
            raise AssertionError(f"{error}\nand that of the other replica\n{tail}") from None

    def results(self) -> list[tuple[str, str, str, str]]:
        (report,) = self.api.request("GET", f"{REPORTS}/namespaces/{SPACE}/reports")["items"]
        assert report["metadata"]["name"] == "chains-recheck"
        return [
            (
                one["resources"][0]["kind"],
                one["resources"][0]["name"],
                one["result"],
                one["properties"].get("reason", ""),
            )
            for one in report["results"]
        ]

    def shows(self, runbook: str) -> None:
        """Wait until every symptom of a runbook is seen."""
        text = (RUNBOOKS / f"{runbook}.md").read_text()
        rows = re.findall(
            r"^\| (\w+) \| (.+) \|$", text.partition("## Symptoms")[2].partition("\n## ")[0], re.MULTILINE
        )
        assert len(rows) > 2
        for where, what in rows[1:]:
            quoted = re.search("`([^`]+)`", what)
            assert quoted is not None, what
            self.wait(lambda where=where, told=quoted[1]: self._sees(where, told))  # type: ignore[misc]

    def _sees(self, where: str, told: str) -> bool:
        if where == "metric":
            name, _, labels = told.rstrip("}").partition("{")
            given = dict(re.findall(r'(\w+)="([^"]+)"', labels))
            return sum(one.metric(name, **given) for one in self.running) > 0
        if where == "log":
            return self.lines(told) > 0
        assert where == "Event"
        return told in {reason for *_, reason in self.events()}


@pytest.fixture(scope="module")
def place(
    api_server: ApiServer, referrers_registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("recheck")
    assert chains(["keys", "generate", str(folder / "lists.key")]) == 0
    revoke(folder, "--builder", "https://old.example.com")
    manifests = build(OVERLAY)
    for manifest in manifests:
        apply(api_server, manifest)
    token = api_server.service_account_token("chains-admission", "chains-admission")
    given = [
        "--revocations", str(folder / "revocations.signed.json"),
        "--revocations-key", str(folder / "lists.pub"),
        "--recheck", "1s", "--recheck-reports",
    ]  # fmt: skip
    replicas = [AdmissionServer(folder / f"replica-{at}", api_server, given, token) for at in range(2)]
    made = [
        attest_image(referrers_registry, folder / name, f"recheck/{name}", encoding="dsse")
        for name in ("fine", "keyed", "emptied")
    ]
    for replica in replicas:
        replica.write_policy(
            "running",
            {
                "match": {
                    "images": [f"{referrers_registry.host}/recheck/**"],
                    "namespaces": {"matchLabels": {"recheck": "true"}},
                },
                "trust": [
                    {
                        "name": "tekton",
                        "signer": {"keys": [{"ref": str(one.public_key)} for one in made]},
                        "builderId": BUILDER,
                        "maxLevel": 2,
                    }
                ],
            },
        )
    for name, labels in ((SPACE, {"recheck": "true"}), (OTHER, {})):
        api_server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    try:
        yield Cluster(api_server, referrers_registry, folder, replicas, *made)
        for replica in replicas:
            assert "Traceback" not in replica.log.read_text()
    finally:
        for replica in replicas:
            replica.close()
        for manifest in manifests:
            if manifest["kind"] in {"ClusterRole", "ClusterRoleBinding"}:
                with suppress(ApiError):
                    api_server.request("DELETE", path_of(api_server, manifest))


def owned_by(owner: Json, body: Json) -> Json:
    """Return a pod that a controller made."""
    metadata = owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    body["metadata"]["ownerReferences"] = [reference]
    return body


def replica_set(name: str, image: str) -> Json:
    template = {"metadata": {"labels": {"app": name}}, "spec": pod("", image)["spec"]}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": spec}


def test_what_runs_is_told_when_it_no_longer_passes_by_one_replica_and_once(
    cluster: ApiServer, place: Cluster
) -> None:
    first, second = place.replicas
    for replica in place.replicas:
        replica.start()
    first.register("validating", "recheck", {"matchLabels": {"recheck": "true"}}, timeout=10)
    never = place.registry.push_image("recheck/never")
    unattested = pod("never", f"{place.registry.host}/recheck/never@{never}")

    # the door is closed, and what passes is admitted
    def is_denied() -> bool:
        try:
            place.api.request("POST", f"/api/v1/namespaces/{SPACE}/pods?dryRun=All", unattested)
        except ApiError as error:
            return error.status == 403
        return False

    first.wait(is_denied)
    place.create(pod("fine", place.fine.reference))
    web = place.create(replica_set("web", place.keyed.reference))
    for number in range(3):
        place.create(owned_by(web, pod(f"web-{number}", place.keyed.reference)))
    place.create(pod("emptied", place.emptied.reference))
    # no policy is for this namespace
    place.create(unattested, OTHER)
    place.wait(lambda: place.states() == {"passes": 3, "fails": 0, "undecided": 0, "skipped": 0})
    place.rounds()
    assert len(place.leaders()) == 1
    assert place.events() == []
    passed = [("Pod", "emptied", "pass", ""), ("Pod", "fine", "pass", ""), ("ReplicaSet", "web", "pass", "")]
    assert place.results() == passed

    # a key is revoked, and the evidence of another image is deleted
    kept = delete_evidence(place)
    revoke(place.folder, "--key", str(place.keyed.public_key))
    place.wait(lambda: place.states() == {"passes": 1, "fails": 2, "undecided": 0, "skipped": 0})
    place.rounds()
    told = [("Pod", "emptied", FAILS), ("ReplicaSet", "web", FAILS)]
    assert place.events() == told
    assert place.results() == [
        ("Pod", "emptied", "fail", "no_evidence"),
        ("Pod", "fine", "pass", ""),
        ("ReplicaSet", "web", "fail", "key_revoked"),
    ]
    place.shows("ChainsImageFails")
    messages = {
        one["involvedObject"]["name"]: one["message"]
        for one in place.api.request("GET", f"/api/v1/namespaces/{SPACE}/events")["items"]
    }
    assert messages["emptied"].startswith(
        f"running image {place.emptied.reference} no longer passes policy running: no_evidence: "
    )
    assert "no longer passes policy running: key_revoked: " in messages["web"]

    # the replica that did the rounds ends at once: the other one goes on, and tells nothing twice
    (leader,) = place.leaders()
    other = second if leader is first else first
    assert leader.stop() == 0
    place.wait(lambda: place.leaders() == [other])
    place.wait(lambda: place.states() == {"passes": 1, "fails": 2, "undecided": 0, "skipped": 0})
    place.rounds()
    assert place.events() == told
    lease = place.api.request(
        "GET", f"/apis/coordination.k8s.io/v1/namespaces/chains-admission/leases/{LEASE}"
    )
    assert lease["spec"]["leaseTransitions"] == 1

    # the evidence is back
    tag, manifest = kept
    place.registry.push_manifest(
        "recheck/emptied", manifest, "application/vnd.oci.image.manifest.v1+json", tag
    )
    place.wait(lambda: ("Pod", "emptied", PASSES) in place.events())
    assert place.events() == [told[0], ("Pod", "emptied", PASSES), told[1]]
    place.wait(lambda: place.states() == {"passes": 2, "fails": 1, "undecided": 0, "skipped": 0})

    # without the right to create Events a failure is counted and reported, and its Event comes later
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/chains-admission"
    rules = place.api.request("GET", role)["rules"]
    others = [rule for rule in rules if rule["resources"] != ["events"]]
    assert len(others) == len(rules) - 1
    place.api.request("PATCH", role, {"rules": others}, kind=MERGE)
    wait_for_right(place, is_allowed=False)
    delete_evidence(place)
    place.wait(lambda: place.metric("right_missing", right="create events") == 1)
    place.wait(lambda: place.states() == {"passes": 1, "fails": 2, "undecided": 0, "skipped": 0})
    assert place.metric("events_untold") == 1
    assert len(place.events()) == 3
    place.api.request("PATCH", role, {"rules": rules}, kind=MERGE)
    place.wait(lambda: place.metric("right_missing", right="create events") == 0)
    place.rounds()
    assert place.events() == [told[0], told[0], ("Pod", "emptied", PASSES), told[1]]

    # without the rights to list nothing is known anew, which is told; what was known stays
    binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/chains-recheck"
    found = place.api.request("GET", binding)
    place.api.request("DELETE", binding)
    place.shows("ChainsRecheckIncomplete")
    assert place.states() == {"passes": 1, "fails": 2, "undecided": 0, "skipped": 0}
    failures = [json.loads(line) for line in other.log.read_text().splitlines() if "round failed" in line]
    assert [one["reason"].partition(":")[0] for one in failures] == [
        "the account lacks the right to list namespaces"
    ]
    found["metadata"] = {"name": found["metadata"]["name"]}
    place.api.request("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", found)
    place.wait(lambda: place.metric("right_missing") == 0)
    place.rounds()
    assert len(place.events()) == 4
    assert first.unregister() is None
    assert other.stop() == 0


def test_a_changed_policy_or_revocation_list_is_not_waited_for_until_the_next_round(
    place: Cluster, tmp_path: Path
) -> None:
    assert chains(["keys", "generate", str(tmp_path / "lists.key")]) == 0
    revoke(tmp_path, "--builder", "https://old.example.com")
    given = [
        "--revocations", str(tmp_path / "revocations.signed.json"), "--revocations-key", str(tmp_path / "lists.pub"),
        "--recheck", "1h", "--recheck-namespace", OTHER,
    ]  # fmt: skip
    server = AdmissionServer(tmp_path / "server", place.api, given)
    complete = "a round of re-check is complete"
    try:
        written = json.loads((place.replicas[0].policies / "running.json").read_text())["spec"]
        server.write_policy("running", written)
        server.start()
        server.wait(lambda: server.log.read_text().count(complete) == 1)
        server.write_policy("running", {**written, "mode": "audit"})
        server.wait(lambda: server.log.read_text().count(complete) == 2)
        revoke(tmp_path, "--builder", "https://older.example.com")
        server.wait(lambda: server.log.read_text().count(complete) >= 3)
        assert server.log.read_text().count("a round of re-check begins early") >= 2
        assert server.stop() == 0
    finally:
        server.close()


def wait_for_right(place: Cluster, *, is_allowed: bool) -> None:
    """Wait until the API server has read a change of the role."""
    attributes = {"verb": "create", "group": "", "resource": "events", "namespace": SPACE}
    user = "system:serviceaccount:chains-admission:chains-admission"
    asked = {"spec": {"user": user, "resourceAttributes": attributes}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    place.wait(lambda: place.api.request("POST", path, asked)["status"]["allowed"] is is_allowed)


def delete_evidence(place: Cluster) -> tuple[str, bytes]:
    """Delete the tag with the evidence of one image, and return its name and manifest."""
    name = f"{place.emptied.digest.replace(':', '-')}.att"
    manifest = place.registry.manifest("recheck/emptied", name)
    assert place.registry.request("DELETE", f"/v2/recheck/emptied/manifests/{name}").status < 300
    return name, manifest
