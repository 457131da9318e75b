"""``chains admission`` asked by a real API server: what it lets run, in one cluster for all cases."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chains.admission.authority import new_authority
from chains.cli.main import run as chains
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.doctor.report import DoctorCheck
from chains.doctor.webhook import check_webhook
from chains.policy.document.load import load_policies
from chains.policy.engines.gatekeeper import ProviderAt, generate
from chains.policy.engines.generated import to_yaml
from chains.policy.opened import open_policy
from tests.integration.test_deploy import apply, path_of
from tests.interop.attested import Attested, attest_image
from tests.interop.test_admission import leave, move_evidence
from tests.interop.test_gatekeeper import patient
from tests.testbed.admission import Gatekeeper, Review
from tests.testbed.admission_server import REGISTRATION, AdmissionServer, pod
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.commands import Command, CommandError
from tests.testbed.images import Registry
from tests.testbed.kustomize import build
from tests.testbed.registry_proxy import RegistryProxy, nothing, proxy_in_thread

pytestmark = pytest.mark.server
Json = Any
BUILDER = "https://tekton.dev/chains/v2"
UNKNOWN = "sha256:" + "0" * 64
PROCESSES = 2
DEPLOY = Path(__file__).parents[2] / "deploy" / "admission"


@dataclass(frozen=True)
class Door:
    """The admission server in front of an API server, and an image that passes."""

    server: AdmissionServer
    api: ApiServer
    kubectl: Command
    registry: Registry
    folder: Path
    good: Attested
    proxy: RegistryProxy
    """In front of the registry; its faults are the test's."""

    def namespace(self, mode: str) -> str:
        return f"door-{mode}"

    def create(self, body: Json, mode: str = "enforce", *, dry: bool = False) -> Json:
        """Create a pod or workload. Raises :class:`ApiError` for a denial."""
        group = {"v1": "/api/v1"}.get(body["apiVersion"], f"/apis/{body['apiVersion']}")
        path = f"{group}/namespaces/{self.namespace(mode)}/{body['kind'].lower()}s"
        return self.api.request("POST", path + ("?dryRun=All" if dry else ""), body)

    def denial(self, body: Json, mode: str = "enforce") -> str:
        """Return why an object is denied."""
        with pytest.raises(ApiError) as caught:
            self.create(body, mode)
        assert caught.value.status == 403
        message: str = json.loads(caught.value.text)["message"]
        return message.partition("denied the request: ")[2]

    def apply(self, body: Json, mode: str) -> str:
        """Create an object with kubectl and return the warnings."""
        file = self.folder / f"{body['metadata']['name']}.json"
        file.write_text(json.dumps(body))
        return self.kubectl("-n", self.namespace(mode), "create", "-f", file).stderr

    def image(self, name: str, digest: str = UNKNOWN) -> str:
        return f"{self.registry.host}/{name}@{digest}"

    def attest(self, folder: Path, name: str, data: dict[str, str] | None = None) -> Attested:
        """Push another image, and attest it with the key that the policies trust."""
        folder.mkdir(exist_ok=True)
        for file in (self.good.private_key, self.good.public_key):
            (folder / file.name).write_bytes(file.read_bytes())
        return attest_image(self.registry, folder, name, data=data)


@pytest.fixture(scope="module")
def door(
    api_server: ApiServer,
    kubectl: Command,
    referrers_registry: Registry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Door]:
    with proxy_in_thread(referrers_registry.url) as proxy:
        yield from make_door(api_server, kubectl, referrers_registry, tmp_path_factory.mktemp("door"), proxy)


def make_door(
    api_server: ApiServer, kubectl: Command, referrers_registry: Registry, folder: Path, proxy: RegistryProxy
) -> Iterator[Door]:
    assert chains(["keys", "generate", str(folder / "lists.key")]) == 0
    revoke(folder, "--builder", "https://old.example.com")
    revocations = {
        "--revocations": folder / "revocations.signed.json",
        "--revocations-key": folder / "lists.pub",
        "--revocations-state": folder / "seen.json",
        "--processes": PROCESSES,
        "--pod-name": "chains-admission-0",
        "--pod-namespace": "chains-admission",
        "--pod-uid": "the-uid-of-the-pod",
    }
    given = [str(word) for option in revocations.items() for word in option]
    for manifest in build(DEPLOY):
        apply(api_server, manifest)
    token = api_server.service_account_token("chains-admission", "chains-admission")
    server = AdmissionServer(folder / "server", api_server, given, token)
    good = attest_image(referrers_registry, folder, "door/good")
    for mode in ("enforce", "warn", "audit"):
        labels = {"door": "true", "env": mode}
        metadata = {"name": f"door-{mode}", "labels": labels}
        api_server.request("POST", "/api/v1/namespaces", {"metadata": metadata})
        server.write_policy(
            f"for-{mode}",
            {
                "match": {
                    "images": [f"{referrers_registry.host}/**", f"{proxy.host}/**"],
                    "namespaces": {"matchLabels": {"env": mode}},
                },
                "mode": mode,
                "cacheSeconds": 300,
                "trust": [
                    {
                        "name": "tekton",
                        "signer": {"keys": [{"ref": str(good.public_key)}]},
                        "builderId": BUILDER,
                        "maxLevel": 2,
                    }
                ],
            },
        )
    further = {
        "free": {"door": "true"},
        "slow": {"door": "slow", "env": "enforce"},
        "told": {"door": "true", "env": "enforce"},
        "pinned": {"door": "true", "pins": "true", "env": "enforce"},
        "changed": {"door": "changed", "env": "enforce"},
    }
    for name, labels in further.items():
        metadata = {"name": f"door-{name}", "labels": labels}
        api_server.request("POST", "/api/v1/namespaces", {"metadata": metadata})
    server.start()
    server.register("validating", "door", {"matchLabels": {"door": "true"}}, timeout=10)
    server.register("validating", "door-slow", {"matchLabels": {"door": "slow"}}, timeout=2)
    server.register("mutating", "door-pins", {"matchLabels": {"pins": "true"}}, timeout=10)
    found = Door(server, api_server, kubectl, referrers_registry, folder, good, proxy)
    try:
        server.wait(lambda: _is_asked(found))
        yield found
        server.unregister()
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()
    finally:
        server.close()


def _is_asked(door: Door) -> bool:
    """Whether the API server knows the webhooks already, of both configurations."""
    body = pod("first", door.image("door/never"))
    return all(
        _is_denied(lambda mode=mode: door.create(body, mode, dry=True)) for mode in ("enforce", "slow")
    )  # type: ignore[misc]


def test_an_attested_image_runs(door: Door) -> None:
    created = door.create(pod("attested", door.good.reference))
    assert created["spec"]["containers"][0]["image"] == door.good.reference


def test_an_image_without_evidence_is_denied_with_what_to_do(door: Door) -> None:
    image = door.image("door/unsigned", door.registry.push_image("door/unsigned"))
    assert door.denial(pod("unsigned", door.good.reference, image)) == (
        f"image {image} (container c1) is denied by policy for-enforce: evidence (no_evidence): expected "
        "provenance by a signer of the policy, got none found; build the image with a pipeline that is attested, "
        f"or ask whoever built it for evidence; to see every check: chains verify --policy POLICY --verbose {image}"
    )


def test_a_wrong_signer_and_a_wrong_builder_are_denied(door: Door, tmp_path: Path) -> None:
    stranger = attest_image(door.registry, tmp_path, "door/stranger")
    assert "evidence (key_unknown)" in door.denial(pod("stranger", stranger.reference))
    other = {"builder.id": "https://elsewhere.example.com/builder"}
    elsewhere = door.attest(tmp_path / "other", "door/elsewhere", other)
    assert "trust (builder_not_trusted)" in door.denial(pod("elsewhere", elsewhere.reference))


def test_evidence_of_another_image_does_not_count(door: Door) -> None:
    twin = door.registry.push_image("door/good", content=b"a twin")
    move_evidence(door.registry, "door/good", door.good, twin, leave)
    assert "(subject_mismatch)" in door.denial(pod("twin", door.image("door/good", twin)))


@pytest.mark.parametrize("place", ["initContainers", "volumes"])
def test_every_place_of_a_pod_that_names_an_image_is_looked_at(door: Door, place: str) -> None:
    image = door.image("door/never")
    items = {
        "initContainers": {"name": "early", "image": image},
        "volumes": {"name": "data", "image": {"reference": image}},
    }
    told = door.denial(pod(f"place-{place.lower()}", door.good.reference, **{place: [items[place]]}))
    shown = {"initContainers": "init container early", "volumes": "volume data"}[place]
    assert told.startswith(f"image {image} ({shown}) is denied by policy for-enforce")


def test_an_ephemeral_container_of_kubectl_debug_is_denied_and_a_good_one_is_added(door: Door) -> None:
    door.create(pod("debugged", door.good.reference))
    name, image = door.namespace("enforce"), door.image("door/never")
    asked = ["-n", name, "debug", "debugged", "--attach=false", "--container"]
    with pytest.raises(CommandError, match=r"\(ephemeral container bad\) is denied by policy for-enforce"):
        door.kubectl(*asked, "bad", "--image", image)
    door.kubectl(*asked, "good", "--image", door.good.reference)
    found = door.api.request("GET", f"/api/v1/namespaces/{name}/pods/debugged")
    assert [one["name"] for one in found["spec"]["ephemeralContainers"]] == ["good"]


def test_an_update_of_an_object_with_an_old_image_is_not_held_up(door: Door) -> None:
    image = door.image("door/never")
    door.create(pod("old", image), "free")
    path = f"/api/v1/namespaces/{door.namespace('free')}"
    door.api.request("PATCH", path, {"metadata": {"labels": {"env": "enforce"}}}, kind=MERGE)
    other = {"spec": {"containers": [{"name": "c0", "image": door.image("door/other")}]}}

    def change() -> Json:
        query, kind = "?dryRun=All", "application/strategic-merge-patch+json"
        return door.api.request("PATCH", f"{path}/pods/old{query}", other, kind=kind)

    # until the new labels count, the other image is still allowed
    door.server.wait(lambda: _is_denied(change))
    touched = {"metadata": {"labels": {"touched": "yes"}}}
    changed = door.api.request("PATCH", f"{path}/pods/old", touched, kind=MERGE)
    assert changed["metadata"]["labels"] == {"touched": "yes"}


def _is_denied(create: Callable[[], Json]) -> bool:
    try:
        create()
    except ApiError as error:
        return error.status == 403
    return False


def workloads(image: str) -> list[Json]:
    template = {"metadata": {"labels": {"app": "a"}}, "spec": pod("", image, restartPolicy="Always")["spec"]}
    job = {"template": {"spec": pod("", image, restartPolicy="Never")["spec"]}}
    chosen = {"selector": {"matchLabels": {"app": "a"}}, "template": template}
    specs = {
        "apps/v1": {
            "Deployment": chosen,
            "ReplicaSet": chosen,
            "DaemonSet": chosen,
            "StatefulSet": {**chosen, "serviceName": "a"},
        },
        "batch/v1": {"Job": job, "CronJob": {"schedule": "* * * * *", "jobTemplate": {"spec": job}}},
        "v1": {"ReplicationController": {"selector": {"app": "a"}, "template": template}},
    }
    found = [
        {"apiVersion": version, "kind": kind, "metadata": {"name": "workload"}, "spec": spec}
        for version, kinds in specs.items()
        for kind, spec in kinds.items()
    ]
    return [
        *found,
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "workload"}, "template": template},
    ]


def test_every_kind_of_workload_is_denied_or_allowed_as_its_pods_would_be(door: Door) -> None:
    for body in workloads(door.image("door/never")):
        assert "is denied by policy for-enforce" in door.denial(body), body["kind"]
    for body in workloads(door.good.reference):
        assert door.create(body)["metadata"]["name"] == "workload", body["kind"]


def test_a_tag_in_a_pod_is_denied_where_a_policy_enforces_and_a_template_with_one_warns(door: Door) -> None:
    door.registry.push_manifest(
        "door/good",
        door.registry.manifest("door/good", door.good.digest),
        "application/vnd.oci.image.manifest.v1+json",
        "v1",
    )
    tagged = f"{door.registry.host}/door/good:v1"
    told = door.denial(pod("tagged", tagged))
    assert "image (not_pinned): expected a digest: REPOSITORY@sha256:HEX" in told
    deployment = workloads(tagged)[0] | {"metadata": {"name": "tagged"}}
    warned = door.apply(deployment, "enforce")
    assert f"Warning: {tagged} is a tag: each pod gets what it points to then; name the digest" in warned
    # the tag is moved: what it points to now is denied, and a digest beside the tag is what counts
    moved = door.registry.push_image("door/good", tag="v2", content=b"moved")
    assert "(no_evidence)" in door.denial(workloads(f"{door.registry.host}/door/good:v2")[0])
    door.create(pod("both", f"{door.registry.host}/door/good:v2@{door.good.digest}"))
    assert "(no_evidence)" in door.denial(pod("both-moved", f"{door.registry.host}/door/good:v1@{moved}"))


def test_a_tag_of_a_new_pod_is_pinned_by_the_mutating_webhook_and_then_judged(door: Door) -> None:
    good = door.registry.manifest("door/good", door.good.digest)
    door.registry.push_manifest("door/good", good, "application/vnd.oci.image.manifest.v1+json", "pinned")
    tagged, elsewhere = f"{door.registry.host}/door/good:pinned", f"{door.registry.host}/door/good:elsewhere"
    asked = pod("pinned", tagged, initContainers=[{"name": "early", "image": tagged}])
    door.server.wait(lambda: _is_created(lambda: door.create(asked, "pinned", dry=True)))
    spec = door.create(asked, "pinned")["spec"]
    pinned = f"{tagged}@{door.good.digest}"
    assert [one["image"] for one in (*spec["initContainers"], *spec["containers"])] == [pinned, pinned]
    unsigned = door.registry.push_image("door/good", tag="elsewhere", content=b"elsewhere")
    told = door.denial(pod("unsigned", elsewhere), "pinned")
    assert told.startswith(f"image {elsewhere}@{unsigned} (container c0) is denied by policy for-enforce")
    # a tag that does not exist stays one, and is denied as one
    assert "(not_pinned)" in door.denial(pod("unknown", f"{door.registry.host}/door/good:none"), "pinned")


def test_an_index_and_its_platforms_have_evidence_of_their_own(door: Door) -> None:
    index = door.registry.push_index("door/index")
    platform = json.loads(door.registry.manifest("door/index", index))["manifests"][0]["digest"]
    for name, digest in (("index", index), ("platform", platform)):
        assert "(no_evidence)" in door.denial(pod(name, door.image("door/index", digest)))


def test_warn_allows_with_a_warning_and_audit_allows_in_silence(door: Door) -> None:
    image = door.image("door/never")
    told = door.apply(pod("warned", image), "warn")
    assert f"Warning: no_evidence: {image[:60]}" in told
    assert all(len(line.removeprefix("Warning: ").encode()) <= 256 for line in told.splitlines())
    assert door.apply(pod("recorded", image), "audit") == ""
    lines = [json.loads(line) for line in door.server.log.read_text().splitlines()]
    (line,) = [one for one in lines if one.get("object") == "Pod door-audit/recorded"]
    assert (line["decision"], line["verdict"], line["policy"]) == ("allow", "NOT_FOUND", "for-audit")


def test_an_image_that_no_policy_is_for_is_denied_as_strictly_as_the_namespace(door: Door) -> None:
    image = f"registry.example.com/other/app@{UNKNOWN}"
    told = door.denial(pod("unmatched", image))
    assert "image (no_policy): expected a policy for the image, got none of the namespace's policies" in told
    assert "Warning: no_policy: " in door.apply(pod("unmatched", image), "warn")
    assert door.apply(pod("unmatched", image), "audit") == ""


def test_a_dry_run_is_answered_and_not_counted(door: Door) -> None:
    def denied() -> float:
        return door.server.metric("chains_admission_reviews_total", decision="deny", webhook="validate")

    before = denied()
    with pytest.raises(ApiError, match="is denied by policy for-enforce"):
        door.create(pod("dry", door.image("door/never")), dry=True)
    assert denied() == before
    door.denial(pod("dry", door.image("door/never")))
    assert denied() == before + 1


def events(door: Door, namespace: str, reason: str, name: str) -> list[Json]:
    """Return the Events about an object, as kubectl gets them."""
    selector = f"involvedObject.name={name},reason={reason}"
    shown = door.kubectl("-n", namespace, "get", "events", "--field-selector", selector, "-o", "json")
    return json.loads(shown.stdout)["items"]  # type: ignore[no-any-return]


def test_a_denial_is_an_event_that_kubectl_gets_and_a_dry_run_is_none(door: Door) -> None:
    unsigned, space = door.image("door/never"), door.namespace("told")
    with pytest.raises(ApiError, match="is denied by policy for-enforce"):
        door.create(pod("told-dry", unsigned), "told", dry=True)
    denials = set[str]()

    def is_told(body: Json, name: str) -> bool:
        # denied again and again: an Event is lost if the API server is too busy for it
        denials.add(door.denial(body, "told")[:1000])
        return events(door, space, "ImageDenied", name) != []

    door.server.wait(lambda: is_told(pod("told", unsigned), "told"))
    for one in events(door, space, "ImageDenied", "told"):
        assert (one["type"], one["source"]) == ("Warning", {"component": "chains-admission"})
        assert one["involvedObject"]["kind"] == "Pod"
        assert one["message"] in denials

    # a pod of a ReplicaSet is told about the ReplicaSet, which exists
    (owner,) = (one for one in workloads(door.good.reference) if one["kind"] == "ReplicaSet")
    uid = door.create({**owner, "metadata": {"name": "told-owner"}}, "told")["metadata"]["uid"]
    body = pod("told-owned", unsigned)
    reference = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "told-owner", "uid": uid}
    body["metadata"]["ownerReferences"] = [{**reference, "controller": True}]
    door.server.wait(lambda: is_told(body, "told-owner"))
    assert {one["involvedObject"]["uid"] for one in events(door, space, "ImageDenied", "told-owner")} == {uid}
    for name in ("told-owned", "told-dry"):
        assert events(door, space, "ImageDenied", name) == []


def test_a_pod_of_one_and_a_half_mebibytes_is_judged(door: Door) -> None:
    padding = {f"padding-{at}": "x" * 100_000 for at in range(2)}
    large = pod("large", *[door.good.reference] * 1)
    large["metadata"]["annotations"] = padding
    large["spec"]["containers"][0]["env"] = [{"name": f"E{at}", "value": "y" * 100_000} for at in range(12)]
    assert len(json.dumps(large)) > 1_400_000
    created = door.create(large)
    touched = door.api.request(
        "PATCH",
        f"/api/v1/namespaces/{door.namespace('enforce')}/pods/large",
        {"metadata": {"labels": {"touched": "yes"}}},
        kind=MERGE,
    )
    assert touched["metadata"]["uid"] == created["metadata"]["uid"]
    large["metadata"]["name"] = "large-bad"
    large["spec"]["containers"].append({"name": "bad", "image": door.image("door/never")})
    assert "(container bad) is denied" in door.denial(large)


@pytest.mark.parametrize("status", [429, 500])
def test_a_registry_that_refuses_is_undecided_and_the_mode_decides(
    door: Door, status: int, tmp_path: Path
) -> None:
    attested = door.attest(tmp_path, f"door/away-{status}")
    body = pod(f"away-{status}", f"{door.proxy.host}/door/away-{status}@{attested.digest}")

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    door.proxy.fault = refuse
    try:
        assert "evidence (store_unavailable)" in door.denial(body)
        assert "Warning: store_unavailable: " in door.apply(body, "warn")
    finally:
        door.proxy.fault = nothing
    door.server.wait(lambda: _is_created(lambda: door.create(body, dry=True)))


def test_a_silent_registry_lets_nothing_in_and_the_next_request_finds_the_answer(
    door: Door, tmp_path: Path
) -> None:
    attested = door.attest(tmp_path, "door/silent")
    body = pod("silent", f"{door.proxy.host}/door/silent@{attested.digest}")
    release = threading.Event()

    async def hold(_: web.Request) -> None:
        while not release.is_set():  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(0.05)

    door.proxy.fault = hold
    try:
        with pytest.raises(ApiError) as caught:
            door.create(body, "slow")
    finally:
        release.set()
        door.proxy.fault = nothing
    # ours is sent half a second before the API server gives up; on a busy machine it may be too late for both
    assert "the evidence was not found in time" in caught.value.text or caught.value.status == 500
    door.server.wait(lambda: _is_created(lambda: door.create(body, dry=True)))


def test_a_policy_broken_while_running_changes_nothing_and_a_good_change_counts(door: Door) -> None:
    file = door.server.policies / "for-enforce.json"
    good = file.read_text()
    file.write_text(good.replace('"enforce"', '"enforced"', 1).replace('"mode": "enforce"', '"mode": "hard"'))
    door.server.wait(lambda: door.server.metric("chains_admission_policies_refused") == PROCESSES)
    place = ("chains-admission", "PoliciesRefused", "chains-admission-0")
    door.server.wait(lambda: events(door, *place) != [])
    assert {one["involvedObject"]["uid"] for one in events(door, *place)} == {"the-uid-of-the-pod"}
    assert all("the newest policies are refused: " in one["message"] for one in events(door, *place))
    assert door.server.ask("/readyz")[0] == 200
    assert "denied by policy for-enforce" in door.denial(pod("kept", door.image("door/never")))
    door.create(pod("kept", door.good.reference))
    file.write_text(good)
    door.server.wait(lambda: door.server.metric("chains_admission_policies_refused") == 0)
    door.server.write_policy(
        "frozen",
        {
            "match": {"images": [f"{door.registry.host}/**"], "namespaces": {"names": ["door-enforce"]}},
            "trust": [
                {
                    "name": "nobody",
                    "signer": {"keys": [{"ref": str(door.good.public_key)}]},
                    "builderId": "https://nobody.example.com",
                    "maxLevel": 1,
                }
            ],
        },
    )
    policies = "chains_admission_policies"
    door.server.wait(lambda: door.server.metric(policies) == 4 * PROCESSES)
    assert "denied by policy frozen: trust (builder_not_trusted)" in door.denial(
        pod("frozen", door.good.reference)
    )
    (door.server.policies / "frozen.json").unlink()
    door.server.wait(lambda: door.server.metric(policies) == 3 * PROCESSES)
    door.create(pod("frozen", door.good.reference))


def test_a_revoked_image_is_denied_within_seconds_and_an_old_list_decides_nothing(
    door: Door, tmp_path: Path
) -> None:
    attested = door.attest(tmp_path, "door/revoked")
    body = pod("revoked", attested.reference)
    door.create(body)
    signed = door.folder / "revocations.signed.json"
    old = signed.read_bytes()
    (before,) = set(door.server.digests())
    revoke(door.folder, "--image", attested.digest)
    body["metadata"]["name"] = "revoked-again"
    changed = wait_for_other_policies(door, before)
    assert "(revoked)" in door.denial(body)
    newest = signed.read_bytes()
    signed.write_bytes(old)
    unusable = wait_for_other_policies(door, changed)
    good = pod("old-list", door.good.reference)
    assert "(revocation_list_unusable)" in door.denial(good)
    signed.write_bytes(newest)
    assert wait_for_other_policies(door, unusable) == changed
    door.create(good)


def wait_for_other_policies(door: Door, before: str) -> str:
    """Wait until all processes have other policies in force, the same in all, and return their digest."""
    found: list[str] = []

    def is_changed() -> bool:
        found[:] = door.server.digests()
        return len(found) == PROCESSES and len(set(found)) == 1 and found[0] != before

    door.server.wait(is_changed)
    return found[0]


def revoke(folder: Path, *entry: str) -> None:
    """Add an entry to the list that the server reads, and sign it."""
    document, signed = str(folder / "revocations.json"), str(folder / "revocations.signed.json")
    assert chains(["revoke", "add", document, *entry, "--reason", "INC-1"]) == 0
    assert chains(["revoke", "sign", document, "--key", str(folder / "lists.key"), "--to", signed]) == 0


def test_a_certificate_is_renewed_without_a_new_process(door: Door) -> None:
    before = door.server.metric("chains_admission_certificate_expires_seconds")
    assert before > 0
    key = (door.server.tls / "tls.key").read_text()
    (door.server.tls / "tls.key").write_text("no key")
    door.server.wait(lambda: door.server.metric("chains_admission_certificate_refused") == PROCESSES)
    door.create(pod("old-certificate", door.good.reference))
    (door.server.tls / "tls.key").write_text(key)
    door.server.wait(lambda: door.server.metric("chains_admission_certificate_refused") == 0)
    (door.server.tls / "tls.crt").unlink()
    door.server.wait(lambda: door.server.metric("chains_admission_certificate_refused") == PROCESSES)
    door.server.renew(door.server.certificates)
    door.server.wait(lambda: door.server.metric("chains_admission_certificate_refused") == 0)
    door.create(pod("put-back", door.good.reference))


def test_a_ca_is_changed_under_load_without_a_failed_request(door: Door) -> None:
    old, new = door.server.certificates, door.server.new_certificates()
    stop, failed, done = threading.Event(), list[str](), list[int]()

    def ask() -> None:
        while not stop.is_set():
            try:
                door.create(pod("under-load", door.good.reference), dry=True)
                done.append(1)
            except ApiError as error:
                failed.append(error.text)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        # a namespace that only the changed configuration is for says when the API server knows both CAs
        both = {"matchExpressions": [{"key": "door", "operator": "In", "values": ["true", "changed"]}]}
        door.server.trust(old, new, selector=both)
        body = pod("changed", door.image("door/never"))
        door.server.wait(lambda: _is_denied(lambda: door.create(body, "changed", dry=True)))
        door.server.renew(new)
        door.server.wait(
            lambda: (
                door.server.metric("chains_admission_certificate_expires_seconds") == PROCESSES * new.expires
            )
        )
        door.server.trust(new)
        before = len(done)
        door.server.wait(lambda: len(done) > before + 40)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    assert failed == []


def test_two_hundred_pods_at_once_are_each_answered(door: Door, tmp_path: Path) -> None:
    attested = door.attest(tmp_path, "door/many")
    good, bad = attested.reference, door.image("door/many-unsigned")
    with ThreadPoolExecutor(50) as pool:
        denied = pool.map(
            lambda at: _is_denied(lambda: door.create(pod(f"many-{at}", bad if at % 2 else good), dry=True)),
            range(200),
        )
    assert list(denied) == [bool(at % 2) for at in range(200)]


def _is_created(create: Callable[[], Json]) -> bool:
    try:
        create()
    except ApiError:
        return False
    return True


def test_gatekeeper_gets_the_same_answers_from_the_same_server(
    door: Door, gatekeeper: Gatekeeper, tmp_path: Path
) -> None:
    stranger = attest_image(door.registry, tmp_path, "door/gatekeeper")
    policies = load_policies(door.server.policies)
    ca = door.server.certificates.ca_file.read_bytes()
    at = ProviderAt(f"https://127.0.0.1:{door.server.ports[0]}/verify", ca)
    now = datetime.now(UTC)
    text = patient(to_yaml([generate(open_policy(policy), now, at) for policy in policies], "gatekeeper"))
    images = [door.good.reference, stranger.reference, door.image("door/never"), "nginx:1.27"]
    reviews = [
        {
            "request": {
                "uid": "1",
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": "shop",
                "operation": "CREATE",
                "object": pod("asked", image),
            },
            "namespace": {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": "shop", "labels": {"env": mode}},
            },
        }
        for image in images
        for mode in ("enforce", "warn", "audit")
    ]
    before = door.server.metric("chains_admission_seconds_count", webhook="verify")
    told = gatekeeper.review(text, reviews)
    asked = door.server.metric("chains_admission_seconds_count", webhook="verify")
    assert asked - before == len(reviews)
    assert told[0:3] == [Review(True, (), (), ())] * 3
    assert told[9:] == [Review(True, (), (), ())] * 3
    for enforced, warned, audited, reason in (
        (*told[3:6], "evidence (key_unknown)"),
        (*told[6:9], "evidence (no_evidence)"),
    ):
        assert not enforced.allowed
        assert reason in enforced.denials[0]
        assert warned.allowed
        assert reason in warned.warnings[0]
        assert audited.allowed
        assert reason in audited.dryrun[0]


def test_the_shipped_webhooks_are_taken_with_a_ca_in_place_of_the_placeholder_alone(door: Door) -> None:
    ca = base64.b64encode(door.server.certificates.ca_file.read_bytes()).decode()
    for manifest in build(DEPLOY / "webhooks"):
        path = f"{path_of(door.api, manifest)}?fieldManager=test&fieldValidation=Strict&dryRun=All"
        with pytest.raises(ApiError, match="illegal base64 data"):
            door.api.request("PATCH", path, manifest, kind="application/apply-patch+yaml")
        filled = json.loads(json.dumps(manifest).replace("CA_BUNDLE", ca))
        taken = door.api.request("PATCH", path, filled, kind="application/apply-patch+yaml")
        assert taken["webhooks"][0]["clientConfig"]["caBundle"] == ca


def test_the_webhooks_of_cert_manager_are_taken_before_it_has_written_their_ca(door: Door) -> None:
    for manifest in build(DEPLOY / "cert-manager" / "webhooks"):
        path = f"{path_of(door.api, manifest)}?fieldManager=test&fieldValidation=Strict&dryRun=All"
        taken = door.api.request("PATCH", path, manifest, kind="application/apply-patch+yaml")
        assert taken["metadata"]["annotations"] == manifest["metadata"]["annotations"]
        assert "caBundle" not in taken["webhooks"][0]["clientConfig"]


def test_the_shipped_pod_is_admitted_where_pod_security_is_restricted(door: Door) -> None:
    (workload,) = (each for each in build(DEPLOY) if each["kind"] == "Deployment")
    template = {**workload["spec"]["template"], "metadata": {"name": "probe"}}
    path = "/api/v1/namespaces/chains-admission/pods?dryRun=All&fieldValidation=Strict"
    door.api.request("POST", path, {"apiVersion": "v1", "kind": "Pod", **template})


class Certificates:
    """The shipped account that renews certificates, with configurations that are asked about nothing."""

    def __init__(self, door: Door, folder: Path) -> None:
        self.door = door
        for manifest in build(DEPLOY / "certificates"):
            apply(door.api, manifest)
        token = door.api.service_account_token("chains-admission", "chains-admission-certificates")
        self.kubeconfig = door.api.kubeconfig(folder, token)
        self.stranger = door.server.certificates.ca_file.read_bytes()
        for manifest in build(DEPLOY / "webhooks"):
            (webhook,) = manifest["webhooks"]
            webhook["namespaceSelector"] = {"matchLabels": {"nobody": "has-this"}}
            webhook["clientConfig"]["caBundle"] = base64.b64encode(self.stranger).decode()
            apply(door.api, manifest)

    def renew(self, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str]:
        capsys.readouterr()
        words = [
            "admission-certificates",
            "--kubeconfig",
            str(self.kubeconfig),
            "--pause-seconds",
            "0",
            *options,
        ]
        assert chains(words) == 0
        told = capsys.readouterr()
        return told.out.strip(), told.err

    def secret(self, name: str) -> Json:
        return self.door.api.request(
            "GET", f"/api/v1/namespaces/chains-admission/secrets/chains-admission-{name}"
        )

    def pair(self, name: str) -> tuple[bytes, bytes]:
        data = self.secret(name)["data"]
        return base64.b64decode(data["tls.crt"]), base64.b64decode(data["tls.key"])

    def bundles(self) -> list[bytes]:
        """Return what the webhooks trust."""
        found = [
            self.door.api.request("GET", f"{REGISTRATION}/{kind}webhookconfigurations/chains-admission")
            for kind in ("validating", "mutating")
        ]
        return [base64.b64decode(each["webhooks"][0]["clientConfig"]["caBundle"]) for each in found]

    def patch(self, name: str, body: Json) -> None:
        path = f"/api/v1/namespaces/chains-admission/secrets/chains-admission-{name}"
        self.door.api.request("PATCH", path, body, kind=MERGE)

    def close(self) -> None:
        for kind in ("validating", "mutating"):
            self.door.api.request("DELETE", f"{REGISTRATION}/{kind}webhookconfigurations/chains-admission")


def test_certificates_are_made_and_renewed_by_the_shipped_account_in_an_order_without_a_gap(
    door: Door, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Certificates(door, tmp_path)
    try:
        assert made.renew(capsys)[0] == "certificates were written"
        authority, leaf = made.pair("ca"), made.pair("tls")
        assert made.bundles() == [made.stranger + authority[0]] * 2, "the old CA is still trusted"
        assert made.renew(capsys) == ("nothing to do", "")

        # the certificate has been in use for a while: the other CA goes
        made.patch("tls", {"metadata": {"annotations": {"provenance.chains/issued": "2026-01-01T00:00:00Z"}}})
        assert "trusts the CA alone" in made.renew(capsys)[1]
        assert made.bundles() == [authority[0]] * 2
        assert made.renew(capsys) == ("nothing to do", "")

        # a certificate that ends is replaced by the same CA
        renewed = made.renew(capsys, "--days", "3000")[1]
        assert "the certificate ends: a new certificate is in the Secret chains-admission-tls" in renewed
        assert made.pair("ca") == authority
        assert made.pair("tls") != leaf
        assert made.bundles() == [authority[0]] * 2

        # a CA that is lost is replaced, and trusted before its certificate is there
        made.patch("ca", {"data": {"tls.key": ""}})
        told = made.renew(capsys)[1]
        steps = [
            "a new CA is in the Secret",
            "trusts the CA",
            "waiting 0 s",
            "a new certificate is in the Secret",
        ]
        places = [told.index(step) for step in steps]
        assert places == sorted(places)
        assert made.bundles() == [authority[0] + made.pair("ca")[0]] * 2

        # and a server uses what is in the Secret
        certificate, key = made.pair("tls")
        server = AdmissionServer(tmp_path / "server", door.api)
        (server.tls / "tls.crt").write_bytes(certificate)
        (server.tls / "tls.key").write_bytes(key)
        server.write_policy(
            "policy", json.loads((door.server.policies / "for-audit.json").read_text())["spec"]
        )
        try:
            server.start()
            context = ssl.create_default_context(cadata=made.bundles()[0].decode())
            with (
                socket.create_connection(("127.0.0.1", server.ports[0])) as plain_socket,
                context.wrap_socket(
                    plain_socket, server_hostname="chains-admission.chains-admission.svc"
                ) as tls,
            ):
                assert tls.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(certificate.decode())
        finally:
            server.close()

        # a Secret of someone else's is left alone
        made.patch("tls", {"metadata": {"labels": {"app": "other"}}})
        assert chains(["admission-certificates", "--kubeconfig", str(made.kubeconfig)]) == 2
        assert made.pair("tls") == (certificate, key)
    finally:
        made.close()


def test_doctor_says_that_nobody_answers_and_how_to_open_the_cluster(door: Door, tmp_path: Path) -> None:
    access = find_access(str(door.api.kubeconfig(tmp_path)))

    def examined() -> DoctorCheck:
        async def ask() -> DoctorCheck:
            async with Cluster(access) as cluster:
                return await check_webhook(cluster)

        return asyncio.run(ask())

    def endpoints(ready: bool) -> None:
        slices = "/apis/discovery.k8s.io/v1/namespaces/chains-admission/endpointslices/door"
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "door", "labels": {"kubernetes.io/service-name": "chains-admission"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}],
        }
        query = "?fieldManager=test&force=true"
        door.api.request("PATCH", slices + query, body, kind="application/apply-patch+yaml")

    assert examined().state == "skipped"
    (tmp_path / "made").mkdir()
    made = Certificates(door, tmp_path / "made")
    try:
        closed = examined()
        assert (closed.state, closed.name) == ("failed", "admission webhook")
        assert "no replica of chains-admission/chains-admission is ready" in closed.detail
        assert closed.next_step.startswith(
            "kubectl delete validatingwebhookconfiguration chains-admission opens"
        )
        endpoints(ready=False)
        assert examined().state == "failed"
        endpoints(ready=True)
        good = examined()
        assert (good.state, good.detail) == ("ok", "images.admission.provenance.chains: 1 replica ready")
        path = f"{REGISTRATION}/validatingwebhookconfigurations/chains-admission"
        ended = new_authority(datetime(2010, 1, 1, tzinfo=UTC)).certificate
        patch = [
            {
                "op": "replace",
                "path": "/webhooks/0/clientConfig/caBundle",
                "value": base64.b64encode(ended).decode(),
            }
        ]
        door.api.request("PATCH", path, patch, kind="application/json-patch+json")
        assert "the CA in its caBundle ended at 2019-12-30T00:00:00Z" in examined().detail
    finally:
        made.close()


def test_all_processes_end_if_one_does(api_server: ApiServer, tmp_path: Path, door: Door) -> None:
    server = AdmissionServer(tmp_path / "server", api_server, ("--processes", "2"))
    server.write_policy("policy", json.loads((door.server.policies / "for-audit.json").read_text())["spec"])
    try:
        server.start()
        assert server.process is not None
        children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        assert len(children) == 2
        os.kill(int(children[0]), signal.SIGKILL)
        assert server.process.wait(60) == 1
        assert not Path(f"/proc/{children[1]}").exists()
        log = server.log.read_text()
        assert '"message":"a process ended","number":0,"code":-9' in log
        assert "Traceback" not in log
    finally:
        server.close()


def test_a_server_without_good_policies_lives_is_not_ready_and_takes_them_when_they_come(
    api_server: ApiServer, tmp_path: Path, door: Door
) -> None:
    server = AdmissionServer(tmp_path / "server", api_server)
    try:
        server.start(ready=False)
        status, _ = server.ask("/readyz")
        assert status == 503
        spec = json.loads((door.server.policies / "for-audit.json").read_text())["spec"]
        server.write_policy("policy", spec)
        server.wait(lambda: server.ask("/readyz")[0] == 200)
        assert server.stop() == 0
    finally:
        server.close()
