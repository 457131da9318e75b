"""Two replicas of ``chains admission`` and the clients of a cluster: kubectl, and Kubernetes' own controllers."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chains.cli.main import run as chains
from tests.interop.attested import Attested, run_of
from tests.testbed.admission_server import REGISTRATION, pod
from tests.testbed.build import binary
from tests.testbed.cluster import ApiServer, install_crds
from tests.testbed.commands import Command, CommandError
from tests.testbed.guarded_cluster import RULES, Guarded, guarded_cluster
from tests.testbed.images import MANIFEST, Registry, digest_of
from tests.testbed.process import Running
from tests.testbed.registry_proxy import nothing

pytestmark = pytest.mark.server
Json = Any
LIST = "-o", "json"


@pytest.fixture(scope="module")
def guarded(
    api_server: ApiServer,
    kubectl: Command,
    referrers_registry: Registry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Guarded]:
    with guarded_cluster(api_server, kubectl, referrers_registry, tmp_path_factory.mktemp("guarded")) as made:
        yield made


@pytest.fixture(scope="module")
def space(guarded: Guarded) -> str:
    """A guarded namespace for cases that create nothing that stays."""
    return guarded.namespace("cases")


def test_an_exemption_ends_at_its_time_though_its_answer_is_kept_for_longer(
    guarded: Guarded, space: str
) -> None:
    unsigned = guarded.image("guarded/exempt", guarded.registry.push_image("guarded/exempt"))
    assert "(no_evidence)" in guarded.refusal(space, unsigned)

    def exempt(until: datetime) -> None:
        one = {
            "image": unsigned,
            "rules": ["evidence"],
            "until": until.isoformat(),
            "reason": "is ported next month",
            "reference": "SEC-1",
        }
        guarded.write_policy([one])

    try:
        exempt(datetime.now(UTC) + timedelta(days=1))
        guarded.replicas[0].wait(lambda: guarded.refusal(space, unsigned) == "")
        until = datetime.now(UTC) + timedelta(seconds=4)
        exempt(until)
        while True:
            asked = datetime.now(UTC)
            refused = guarded.refusal(space, unsigned)
            if "denied by policy" in refused:
                break
            assert refused or asked < until, "it was allowed after its end"
            time.sleep(0.05)
        assert datetime.now(UTC) >= until, "it was refused before its end"
        assert f"an exemption ended at {until:%Y-%m-%dT%H:%M:%SZ}: is ported next month (SEC-1)" in refused
    finally:
        guarded.write_policy()


class Lies:
    """Answers of a registry that are not what was asked for. Each is for one image of its own."""

    def __init__(self, guarded: Guarded, attested: Attested, name: str) -> None:
        self.registry, self.name, self.attested = guarded.registry, name, attested
        self.twin = guarded.registry.push_image(name, content=b"a twin")
        tag = "sha256-{}.att"
        self.good_tag, self.twin_tag = (tag.format(each[7:]) for each in (attested.digest, self.twin))

    def get(self, path: str) -> Json:
        return self.registry.request("GET", path)

    def referrers(self, digest: str) -> str:
        return f"/v2/{self.name}/referrers/{digest}"

    def manifest(self, reference: str) -> str:
        return f"/v2/{self.name}/manifests/{reference}"

    def of_another(self) -> dict[str, str]:
        """The twin's evidence is said to be that of the attested image."""
        return {
            self.referrers(self.twin): self.referrers(self.attested.digest),
            self.manifest(self.twin_tag): self.manifest(self.good_tag),
        }

    def another_image(self) -> dict[str, str]:
        """The twin's digest is answered with the attested image, and its evidence with that one's."""
        return {self.manifest(self.twin): self.manifest(self.attested.digest), **self.of_another()}


@pytest.mark.parametrize("lie", ["of_another", "another_image"])
def test_a_registry_that_gives_evidence_of_another_image_lets_nothing_in(
    guarded: Guarded, space: str, tmp_path: Path, lie: str
) -> None:
    name = f"guarded/lie-{lie.replace('_', '-')}"
    lies = Lies(guarded, guarded.attest(tmp_path, name), name)
    swapped: dict[str, str] = getattr(lies, lie)()
    told: list[str] = []

    async def swap(request: web.Request) -> web.StreamResponse | None:
        if (other := swapped.get(request.path)) is None:
            return None
        told.append(request.path)
        found = await asyncio.to_thread(lies.get, other)
        kept = {
            key: found.headers[key]
            for key in ("Content-Type", "Docker-Content-Digest")
            if key in found.headers
        }
        return web.Response(status=found.status, body=found.body, headers=kept)

    guarded.proxy.fault = swap
    try:
        refused = guarded.refusal(space, f"{guarded.proxy.host}/{name}@{lies.twin}")
    finally:
        guarded.proxy.fault = nothing
    assert "denied by policy guarded: evidence (" in refused
    assert "(subject_mismatch)" in refused or lie == "another_image"
    assert told, "the registry was not asked where it lies"
    assert guarded.refusal(space, f"{guarded.proxy.host}/{name}@{lies.attested.digest}") == ""


@pytest.mark.parametrize("part", ["manifests", "blobs", "referrers"])
def test_a_registry_that_gives_other_bytes_than_their_digest_says_lets_nothing_in(
    guarded: Guarded, space: str, tmp_path: Path, part: str
) -> None:
    name = f"guarded/bytes-{part}"
    # bundles are found through referrers alone
    attested = guarded.attest(tmp_path, name, encoding="sigstore-bundle")
    image = f"{guarded.proxy.host}/{name}@{attested.digest}"
    changed: list[str] = []

    def change(request: web.Request, body: bytes) -> bytes:
        # what is asked for by a tag has no digest that could be wrong: the evidence under it is changed instead
        if f"/{part}/" not in request.path or request.method != "GET" or not body:
            return body
        changed.append(request.path)
        if part == "referrers":
            listed = json.loads(body)
            for one in listed["manifests"]:
                one["digest"] = digest_of(one["digest"].encode())
            return json.dumps(listed).encode()
        return body.replace(b"a", b"b")

    guarded.proxy.change = change
    try:
        refused = guarded.refusal(space, image)
    finally:
        guarded.proxy.change = lambda _, body: body
    assert changed, guarded.proxy.seen[-10:]
    assert "denied by policy guarded: evidence (" in refused
    guarded.replicas[0].wait(lambda: guarded.refusal(space, image) == "")


def test_a_tag_is_pinned_to_what_a_registry_says_and_that_is_judged(guarded: Guarded, tmp_path: Path) -> None:
    space, name = guarded.namespace("lying-tags", "pins"), "guarded/tags"
    attested = guarded.attest(tmp_path, name)
    unsigned = guarded.registry.push_image(name, tag="v1", content=b"unsigned")
    image = f"{guarded.proxy.host}/{name}:v1"
    said = ""

    async def say(request: web.Request) -> web.StreamResponse | None:
        if request.path != f"/v2/{name}/manifests/v1":
            return None
        body = guarded.registry.manifest(name, unsigned)
        kind = {"Content-Type": MANIFEST, "Docker-Content-Digest": said, "Content-Length": str(len(body))}
        return web.Response(body=b"" if request.method == "HEAD" else body, headers=kind)

    guarded.proxy.fault = say
    try:
        # no digest at all: the tag stays, and is refused as one
        said = "sha256:short"
        assert "(not_pinned)" in guarded.refusal(space, image)
        # the digest of a good image for a bad one: the pod gets the good one, whatever the registry sends later
        said = attested.digest
        guarded.replicas[0].wait(lambda: guarded.refusal(space, image) == "")
        spec = guarded.create(space, pod("lied-to", image))["spec"]
        assert spec["containers"][0]["image"] == f"{image}@{attested.digest}"
    finally:
        guarded.proxy.fault = nothing


def test_a_tag_that_is_moved_after_admission_changes_nothing_for_the_pod(
    guarded: Guarded, tmp_path: Path
) -> None:
    space, name = guarded.namespace("moved", "pins"), "guarded/moved"
    attested = guarded.attest(tmp_path, name)
    good = guarded.registry.manifest(name, attested.digest)
    guarded.registry.push_manifest(name, good, MANIFEST, "latest")
    image = f"{guarded.registry.host}/{name}:latest"
    assert "created" in guarded.kubectl("-n", space, "run", "early", "--image", image).stdout
    moved = guarded.registry.push_image(name, tag="latest", content=b"moved")
    shown = guarded.kubectl("-n", space, "get", "pod", "early", "-o", "jsonpath={.spec.containers[0].image}")
    assert shown.stdout == f"{image}@{attested.digest}"
    # the digest of a tag is kept for seconds: until then, a new pod gets the old image, by its digest
    guarded.replicas[0].wait(lambda: f"{image}@{moved}" in guarded.refusal(space, image))
    assert guarded.refusal(space, f"{image}@{attested.digest}") == ""


def test_an_attested_index_passes_and_the_digests_of_its_platforms_need_evidence_of_their_own(
    guarded: Guarded, space: str, tmp_path: Path
) -> None:
    for attach in ("false", "true"):
        name = f"guarded/index-{attach}"
        index = guarded.registry.push_index(name)
        platforms = [
            each["digest"] for each in json.loads(guarded.registry.manifest(name, index))["manifests"]
        ]
        attest_digest(guarded, tmp_path / attach, name, index, {"storage.oci.attach-to-platforms": attach})
        assert guarded.refusal(space, guarded.image(name, index)) == ""
        refused = [guarded.refusal(space, guarded.image(name, digest)) for digest in platforms]
        assert len(refused) == 2
        if attach == "true":
            assert refused == ["", ""]
        else:
            assert all("(no_evidence)" in each for each in refused)


def attest_digest(guarded: Guarded, folder: Path, name: str, digest: str, data: dict[str, str]) -> None:
    """Attest a run that built this digest with the key of the good image."""
    folder.mkdir()
    run, config = folder / "run.json", folder / "config.json"
    run.write_text(json.dumps(run_of(f"{guarded.registry.host}/{name}", digest, name.replace("/", "-"))))
    config.write_text(
        json.dumps({"artifacts.taskrun.format": "slsa/v2alpha4", "artifacts.taskrun.storage": "oci", **data})
    )
    words = ["attest", str(run), "--config", str(config), "--key", str(guarded.good.private_key)]
    assert chains([*words, "--store", "oci:"]) == 0


def test_a_registry_that_is_down_lets_nothing_in(guarded: Guarded, space: str) -> None:
    refused = guarded.refusal(space, f"{guarded.closed}/guarded/good@{guarded.good.digest}")
    assert "denied by policy guarded: evidence (store_unavailable)" in refused


def test_a_registry_that_takes_five_seconds_is_too_slow_for_a_request_and_not_for_a_later_one(
    guarded: Guarded, tmp_path: Path
) -> None:
    space = guarded.namespace("slow", "slow")
    attested = guarded.attest(tmp_path, "guarded/slow")
    image = f"{guarded.proxy.host}/guarded/slow@{attested.digest}"

    async def wait(_: web.Request) -> None:
        await asyncio.sleep(5)

    guarded.proxy.fault = wait
    try:
        refused = guarded.refusal(space, image)
    finally:
        guarded.proxy.fault = nothing
    # ours is sent half a second before the API server gives up; on a busy machine it may be too late for both
    assert "the evidence was not found in time" in refused or "failed calling webhook" in refused
    guarded.replicas[0].wait(lambda: guarded.refusal(space, image) == "")


@pytest.fixture
def others(guarded: Guarded) -> Iterator[list[tuple[str, str, str]]]:
    """Group, plural and kind of what other projects define; afterwards other tests find no trace of it."""
    kinds = {"services": "Service", "rollouts": "Rollout", "clonesets": "CloneSet"}
    names = [(group, plural, kinds[plural]) for group, plural in RULES]
    served = [f"{group}/v1/{plural}" for group, plural in RULES]
    install_crds(guarded.api, [definition(*one) for one in names], served)
    yield names
    for group, plural, _ in names:
        path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{group}"
        guarded.api.request("DELETE", path)


def test_kinds_of_others_are_judged_by_the_list_of_kinds(
    guarded: Guarded, space: str, others: list[tuple[str, str, str]]
) -> None:
    def made(group: str, kind: str, name: str, image: str) -> Json:
        template = {"metadata": {"labels": {"app": "a"}}, "spec": pod("", image)["spec"]}
        return {
            "apiVersion": f"{group}/v1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template},
        }

    unsigned = guarded.image("guarded/never")
    for group, plural, kind in others:
        with pytest.raises(CommandError, match=r"\(container c0\) is denied by policy guarded"):
            guarded.apply(space, made(group, kind, "bad", unsigned))
        assert "created" in guarded.apply(space, made(group, kind, "good", guarded.good.reference))
        patch = json.dumps(
            [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": unsigned}]
        )
        words = ("-n", space, "patch", f"{plural}.{group}", "good", "--type", "json", "-p", patch)
        with pytest.raises(CommandError, match=r"\(container c0\) is denied by policy guarded"):
            guarded.kubectl(*words)


def definition(group: str, plural: str, kind: str) -> Json:
    """Return a definition of a kind of another project, for the parts that its webhook is asked about."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [version],
        },
    }


class Load:
    """Dry runs of a good and of an unsigned image by some threads, until the end of the block."""

    def __init__(self, guarded: Guarded, space: str, threads: int = 4) -> None:
        self.guarded, self.space = guarded, space
        self.stop = threading.Event()
        self.allowed, self.failed = list[float](), list[str]()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def _ask(self) -> None:
        unsigned, good = self.guarded.image("guarded/never"), self.guarded.good.reference
        while not self.stop.is_set():
            refused = self.guarded.refusal(self.space, good, name="good")
            if refused:
                self.failed.append(refused)
            else:
                self.allowed.append(time.monotonic())
            refused = self.guarded.refusal(self.space, unsigned, name="unsigned")
            if "denied by policy guarded" not in refused:
                self.failed.append(refused or "an unsigned image was allowed")

    def more(self, count: int = 20) -> None:
        """Wait until this many further requests were allowed."""
        before = len(self.allowed)
        self.guarded.replicas[0].wait(lambda: len(self.allowed) >= before + count)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(100)


def test_a_replica_that_ends_as_in_a_rollout_fails_no_request(guarded: Guarded, space: str) -> None:
    replica = guarded.replicas[0]
    guarded.ask_both()
    with Load(guarded, space) as load:
        load.more()
        assert replica.stop() == 0
        load.more()
        replica.start()
        guarded.ask_both()
        load.more()
    assert load.failed == []


def test_a_replica_that_is_killed_fails_at_most_the_requests_on_its_connections(
    guarded: Guarded, space: str
) -> None:
    guarded.ask_both()
    named = [
        (f"pod-{at}", guarded.image("guarded/never") if at % 3 == 2 else guarded.good.reference)
        for at in range(90)
    ]
    items = [pod(name, image) for name, image in named]
    file = guarded.folder / "pods.json"
    file.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    home = guarded.namespace("killed")
    with Load(guarded, space) as load:
        load.more()
        with subprocess.Popen(
            [binary("kubectl"), "-n", home, "create", "-f", file],
            env={"HOME": str(guarded.folder), **guarded.kubectl.settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as creating:
            assert creating.stdout is not None
            assert "created" in creating.stdout.readline()
            # the API server keeps its connections, maybe all of them to one replica
            killed = max(guarded.replicas, key=lambda each: guarded.balancer.connections[each.ports[0]])
            before = guarded.balancer.ended[killed.ports[0]]
            assert killed.process is not None
            killed.process.kill()
            killed.process.wait(60)
            _, refused = creating.communicate(timeout=300)
        load.more()
    lines = refused.splitlines()
    denied = [line for line in lines if "denied by policy guarded" in line]
    failed = [line for line in lines if "failed calling webhook" in line]
    assert len(denied) + len(failed) == len(lines), refused
    assert all("failed calling webhook" in each for each in load.failed), load.failed
    # the API server tries no request again: those that the replica had fail, and no other
    assert len(failed) + len(load.failed) <= guarded.balancer.ended[killed.ports[0]] - before
    # what was created is good, and what was not can be created now
    there = guarded.api.request("GET", f"/api/v1/namespaces/{home}/pods")["items"]
    assert {each["spec"]["containers"][0]["image"] for each in there} == {guarded.good.reference}
    for name, image in named:
        if image == guarded.good.reference and name not in {each["metadata"]["name"] for each in there}:
            guarded.create(home, pod(name, image))
    assert len(guarded.api.request("GET", f"/api/v1/namespaces/{home}/pods")["items"]) == 60
    killed.start()
    guarded.ask_both()


def test_a_deployment_is_scaled_by_its_controller_until_the_key_of_its_image_is_revoked(
    guarded: Guarded, kube_controller_manager: Running
) -> None:
    home, kubectl = guarded.namespace("scaled"), guarded.kubectl
    revoked = guarded.other

    def pods(image: str) -> list[Json]:
        items = guarded.api.request("GET", f"/api/v1/namespaces/{home}/pods")["items"]
        return [each for each in items if each["spec"]["containers"][0]["image"] == image]

    def wait(condition: Callable[[], bool]) -> None:
        guarded.replicas[0].wait(condition)

    words = ("create", "deployment", "web", "--image", revoked.reference, "--replicas", "2")
    kubectl("-n", home, *words)
    wait(lambda: len(pods(revoked.reference)) == 2)
    kubectl("-n", home, "scale", "deployment/web", "--replicas", "4")
    wait(lambda: len(pods(revoked.reference)) == 4)
    owners = {each["metadata"]["ownerReferences"][0]["kind"] for each in pods(revoked.reference)}
    managers = {
        each["metadata"]["managedFields"][0]["manager"].rpartition("-")[0] for each in pods(revoked.reference)
    }
    assert (owners, managers) == ({"ReplicaSet"}, {"kube-controller-manager"})

    before = guarded.digests()
    guarded.revoke("--key", str(revoked.public_key))
    guarded.wait_for_other_policies(before)
    kubectl("-n", home, "scale", "deployment/web", "--replicas", "6")

    def events(kind: str, reason: str) -> list[str]:
        selector = f"involvedObject.kind={kind},reason={reason}"
        shown = kubectl("-n", home, "get", "events", "--field-selector", selector, *LIST)
        return [each["message"] for each in json.loads(shown.stdout)["items"]]

    wait(lambda: events("ReplicaSet", "FailedCreate") != [])
    assert "is denied by policy guarded: evidence (key_revoked)" in events("ReplicaSet", "FailedCreate")[0]
    wait(lambda: events("ReplicaSet", "ImageDenied") != [])

    def failure() -> list[Json]:
        found = guarded.api.request("GET", f"/apis/apps/v1/namespaces/{home}/deployments/web")
        conditions = found.get("status", {}).get("conditions", ())
        return [each for each in conditions if each["type"] == "ReplicaFailure"]

    wait(lambda: [each["status"] for each in failure()] == ["True"])
    assert "key_revoked" in failure()[0]["message"]
    # what runs stays, and nothing was added
    assert len(pods(revoked.reference)) == 4

    # another image is rolled out by the controller, and the revoked one is no way back
    kubectl("-n", home, "set", "image", "deployment/web", f"*={guarded.good.reference}")
    wait(lambda: pods(guarded.good.reference) != [])
    with pytest.raises(CommandError, match=r"is denied by policy guarded: evidence \(key_revoked\)"):
        kubectl("-n", home, "rollout", "undo", "deployment/web")


def test_configurations_are_removed_before_the_server_and_no_request_fails(
    guarded: Guarded, space: str
) -> None:
    """The order of ``docs/admission.md``; the other order locks out, see ``test_runbooks_admission.py``."""
    first, _ = guarded.replicas
    good, failed = guarded.good.reference, list[str]()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            if refused := guarded.refusal(space, good):
                failed.append(refused)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        names = [each.rpartition("/")[2] for each in first.registered]
        kinds = "validatingwebhookconfigurations,mutatingwebhookconfigurations"
        guarded.kubectl("delete", kinds, *names, "--ignore-not-found")
        unsigned = guarded.image("guarded/never")
        first.wait(lambda: guarded.refusal(space, unsigned) == "")
        guarded.stop()
        for _ in range(20):
            assert guarded.refusal(space, unsigned) == ""
    finally:
        stop.set()
        for thread in threads:
            thread.join(100)
    assert failed == []
    left = [guarded.api.request("GET", f"{REGISTRATION}/{kind}")["items"] for kind in kinds.split(",")]
    assert not {each["metadata"]["name"] for items in left for each in items} & set(names)
