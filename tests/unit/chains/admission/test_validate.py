"""What is answered to a review: the mode of the policies decides, and what is unknown is never allowed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from chains.admission.images import MOST_IMAGES
from chains.admission.namespaces import Namespaces
from chains.cluster.errors import ClusterUnavailable
from chains.policy.verdict import Decision
from storage.base import Store
from storage.record import Findings, Record, Stored
from tests.faults.verify.forge import Broken, Shelf, form_b, signer
from tests.unit.chains.admission.made import IMAGE, OTHER_REF, REF, Made, deployment, document, pod, review
from tests.unit.chains.policy.made import tekton

Json = Any
TAG = f"{IMAGE}:1"


class Silent(Store):
    """A store that does not answer before ``release`` is set."""

    url = "silent:"

    def __init__(self) -> None:
        self.asked = 0
        self.release = asyncio.Event()

    async def put(self, record: Record) -> Stored:
        raise NotImplementedError

    async def find(self, digest: str, reference: str = "") -> Findings:
        self.asked += 1
        await self.release.wait()
        return Findings((form_b(tekton()),), ())


def test_a_verified_image_is_allowed_and_the_audit_log_says_by_what(tmp_path: Path) -> None:
    made = Made(tmp_path, document())
    found = made.answer(pod(REF))
    assert found.answer.allowed
    assert found.answer.warnings == []
    assert made.policies.current is not None
    assert found.answer.annotations["decision"] == "allow"
    assert found.answer.annotations["policies"] == made.policies.current.digest
    assert json.loads(found.answer.annotations["images"]) == [
        {"image": REF, "decision": "allow", "verdict": "VERIFIED", "policy": "production"}
    ]


@pytest.mark.parametrize(
    ("spec", "decision", "warns"),
    [
        ({}, Decision.DENY, False),
        ({"mode": "warn"}, Decision.WARN, True),
        ({"mode": "audit"}, Decision.ALLOW, False),
    ],
)
def test_the_mode_decides_about_an_image_of_another_signer(
    tmp_path: Path, spec: Json, decision: Decision, warns: bool
) -> None:
    made = Made(tmp_path, document(**spec), stores=[Shelf(form_b(tekton(), signer("stranger")))])
    found = made.answer(pod(REF))
    assert (found.decision, found.answer.allowed) == (decision, decision is not Decision.DENY)
    assert [line.startswith(f"key_unknown: {IMAGE}") for line in found.answer.warnings] == [True] * warns
    (image,) = json.loads(found.answer.annotations["images"])
    assert (image["verdict"], image["reason"], image["decision"]) == ("FAILED", "key_unknown", decision)


@pytest.mark.parametrize(
    ("spec", "decision"),
    [
        ({}, Decision.DENY),
        ({"unavailable": "warn"}, Decision.WARN),
        ({"mode": "warn"}, Decision.WARN),
        ({"mode": "audit"}, Decision.ALLOW),
        ({"missing": "warn"}, Decision.DENY),
    ],
)
def test_a_store_that_is_away_is_undecided_and_unavailable_decides(
    tmp_path: Path, spec: Json, decision: Decision
) -> None:
    found = Made(tmp_path, document(**spec), stores=[Broken()]).answer(pod(REF))
    assert found.decision is decision
    assert found.judged[0].ruling.verdict == "INDETERMINATE"
    assert "answered 503" in found.judged[0].ruling.actual


@pytest.mark.parametrize(
    ("spec", "decision"),
    [({}, Decision.DENY), ({"unavailable": "warn"}, Decision.WARN), ({"mode": "audit"}, Decision.ALLOW)],
)
def test_a_store_that_is_silent_is_undecided_at_the_deadline(
    tmp_path: Path, spec: Json, decision: Decision
) -> None:
    made = Made(tmp_path, document(**spec), stores=[Silent()])
    (found,) = made.validate(review(pod(REF)), seconds=0.05)
    assert found.decision is decision
    assert found.judged[0].ruling.actual.endswith("the evidence was not found in time")


def test_the_strictest_policy_counts(tmp_path: Path) -> None:
    strict = document("b-strict", require={"level": 3})
    found = Made(tmp_path, document("a-loose", mode="audit"), strict).answer(pod(REF))
    assert found.decision is Decision.DENY
    assert found.answer.message.startswith(
        f"image {REF} (container c0) is denied by policy b-strict: level (level_too_low): expected"
    )


def test_a_tag_of_a_pod_is_denied_without_a_look_at_the_registry_where_a_policy_enforces(
    tmp_path: Path,
) -> None:
    made = Made(tmp_path, document())
    found = made.answer(pod(TAG))
    assert found.answer.message == (
        f"image {TAG} (container c0) is denied by policy production: image (not_pinned): expected a digest: "
        "REPOSITORY@sha256:HEX, got a tag, which can be moved before the image is pulled; name the image by "
        "digest, or let the mutating webhook pin it"
    )
    assert made.registry.asked == []


@pytest.mark.parametrize(("mode", "is_good"), [("warn", True), ("warn", False), ("audit", True)])
def test_a_tag_is_judged_by_what_it_is_now_where_no_policy_enforces(
    tmp_path: Path, mode: str, is_good: bool
) -> None:
    stores = [Shelf(form_b(tekton()))] if is_good else [Shelf()]
    made = Made(tmp_path, document(mode=mode), stores=stores)
    found = made.answer(pod(TAG))
    assert made.registry.asked == [TAG]
    assert found.decision is (Decision.ALLOW if is_good else Decision.WARN)
    (image,) = json.loads(found.answer.annotations["images"])
    assert image["digest"] == REF.partition("@")[2]


def test_a_tag_in_a_template_warns_and_is_denied_if_its_image_would_be(tmp_path: Path) -> None:
    found = Made(tmp_path, document()).answer(deployment(TAG))
    assert found.answer.allowed
    assert found.answer.warnings == [f"{TAG} is a tag: each pod gets what it points to then; name the digest"]
    denied = Made(tmp_path, document(), stores=[Shelf()]).answer(deployment(TAG))
    assert not denied.answer.allowed


def test_a_tag_that_cannot_be_resolved_is_undecided(tmp_path: Path) -> None:
    found = Made(tmp_path, document()).answer(deployment(f"{IMAGE}:2"))
    assert found.judged[0].ruling.reason == "tag_not_resolved"
    assert found.decision is Decision.DENY
    loose = Made(tmp_path, document(unavailable="warn")).answer(deployment(f"{IMAGE}:2"))
    assert loose.decision is Decision.WARN
    refused = Made(tmp_path, document(unavailable="warn")).answer(deployment(f"{IMAGE}:refused"))
    assert refused.decision is Decision.DENY


@pytest.mark.parametrize(
    "image",
    [
        "registry.example.com/UPPER@x",
        f"oci://{REF}",
        f"docker://{REF}",
        f"pkg:oci/app@{REF.partition('@')[2]}?repository_url={IMAGE}",
        f" {REF}",
        f"{REF}\n",
        f"{IMAGE}@sha512:{'0' * 128}",
        f"sha256:{'a' * 64}",
        "sha256:3f5ef9",
        f"sha512:{'a' * 128}",
        "x" * 5000,
        "\x1b[31mred",
    ],
)
def test_text_that_no_registry_can_be_asked_about_is_denied(tmp_path: Path, image: str) -> None:
    found = Made(tmp_path, document(), allowed=Decision.ALLOW).answer(pod(image))
    assert not found.answer.allowed
    assert found.judged[0].ruling.reason == "not_an_image"
    assert "\x1b" not in found.answer.message + "".join(found.answer.annotations.values())
    assert "\n" not in found.answer.message
    assert len(found.answer.message) < 1500


@pytest.mark.parametrize(
    ("mode", "allowed", "decision"),
    [
        ("enforce", Decision.DENY, Decision.DENY),
        ("enforce", Decision.WARN, Decision.WARN),
        ("enforce", Decision.ALLOW, Decision.ALLOW),
        ("warn", Decision.DENY, Decision.WARN),
        ("audit", Decision.DENY, Decision.ALLOW),
    ],
)
def test_an_image_that_no_policy_is_for_is_denied_as_the_namespace_and_the_option_say(
    tmp_path: Path, mode: str, allowed: Decision, decision: Decision
) -> None:
    made = Made(tmp_path, document(mode=mode), allowed=allowed)
    for image in (
        "busybox",
        "registry.example.com/elsewhere:1",
        f"registry.example.com/x@{REF.partition('@')[2]}",
    ):
        found = made.answer(pod(image))
        assert (found.decision, found.judged[0].ruling.reason) == (decision, "no_policy")
    assert made.registry.asked == []


def test_a_namespace_that_no_policy_is_for_is_left_alone(tmp_path: Path) -> None:
    made = Made(tmp_path, document(match={"images": [IMAGE], "namespaces": {"names": ["prod-*"]}}))
    assert made.answer(pod("busybox")).answer.allowed
    assert not made.answer(pod("busybox"), namespace="prod-1").answer.allowed
    # a request without a namespace cannot be told apart: all policies count
    assert not made.answer(pod("busybox"), namespace="").answer.allowed


def test_policies_count_that_choose_by_labels_where_labels_cannot_be_read(tmp_path: Path) -> None:
    wanted = {"names": ["shop"], "matchLabels": {"env": "prod"}}
    made = Made(tmp_path, document(match={"images": [IMAGE], "namespaces": wanted}))
    assert not made.answer(pod("busybox")).answer.allowed
    assert made.answer(pod("busybox"), namespace="other").answer.allowed


@pytest.mark.parametrize("name", ["..", "../pods", "a/b", "a?b", "A", "", "a" * 64, "a\n"])
def test_a_name_that_no_namespace_has_is_not_asked_of_the_api_server(name: str) -> None:
    class Unasked:
        async def get(self, path: str, **_: object) -> Json:
            raise AssertionError(path)

    found = asyncio.run(Namespaces(Unasked()).get(name))  # type: ignore[arg-type]
    assert (found.name, found.labels) == (name, None)


def test_labels_are_read_once_in_a_while_and_unknown_if_they_cannot_be_read() -> None:
    clock, paths = [0.0], list[str]()

    class Cluster:
        async def get(self, path: str, **_: object) -> Json:
            paths.append(path)
            if len(paths) == 2:
                raise ClusterUnavailable("away")
            return {"metadata": {"labels": {"env": "prod", "odd": 5}}}

    async def run() -> list[Json]:
        namespaces = Namespaces(Cluster(), lambda: clock[0])  # type: ignore[arg-type]
        found = []
        for seconds in (0.0, 4.9, 5.1, 5.2):
            clock[0] = seconds
            found.append((await namespaces.get("shop")).labels)
        return found

    assert asyncio.run(run()) == [{"env": "prod"}, {"env": "prod"}, None, {"env": "prod"}]
    assert paths == ["/api/v1/namespaces/shop"] * 3


def test_an_update_is_judged_by_what_changed_alone(tmp_path: Path) -> None:
    made = Made(tmp_path, document())
    old, new = pod(OTHER_REF), pod(OTHER_REF)
    new["metadata"]["labels"] = {"touched": "yes"}
    assert made.answer(new, "UPDATE", oldObject=old).answer.allowed
    new["spec"]["ephemeralContainers"] = [{"name": "debugger", "image": OTHER_REF}]
    assert not made.answer(new, "UPDATE", oldObject=old).answer.allowed


def test_a_deletion_is_always_allowed(tmp_path: Path) -> None:
    made = Made(tmp_path, document())
    assert made.answer(pod(OTHER_REF), "DELETE", object=None, oldObject=pod(OTHER_REF)).answer.allowed


@pytest.mark.parametrize("broken", ["{", "kind: Policy", "apiVersion: v1\nkind: ConfigMap"])
def test_nothing_is_allowed_before_there_are_policies(tmp_path: Path, broken: str) -> None:
    (tmp_path / "broken.yaml").write_text(broken)
    found = Made(tmp_path).answer(pod(REF))
    assert not found.answer.allowed
    assert found.answer.message.startswith("no policies are in force: ")


@pytest.mark.parametrize(("mode", "allowed"), [("enforce", False), ("warn", True), ("audit", True)])
def test_an_object_that_hides_its_images_is_denied_where_a_policy_enforces(
    tmp_path: Path, mode: str, allowed: bool
) -> None:
    item = pod(REF)
    item["spec"]["containers"] = {"name": "x", "image": OTHER_REF}
    found = Made(tmp_path, document(mode=mode)).answer(item)
    assert found.answer.allowed is allowed
    assert [one.ruling.reason for one in found.judged] == ["object_unreadable"]


def test_an_unknown_kind_is_denied_and_a_configured_one_is_judged(tmp_path: Path) -> None:
    item = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "x"},
        "spec": {"head": {"spec": {}}},
    }
    assert "it is not known where an object of kind RayJob.ray.io names images" in (
        Made(tmp_path, document()).answer(item).answer.message
    )
    item["spec"]["head"]["spec"] = {"containers": [{"name": "c", "image": OTHER_REF}]}  # type: ignore[index]
    found = Made(tmp_path, document(), extra=["ray.io/RayJob=spec.head"]).answer(item)
    assert found.judged[0].image == OTHER_REF
    assert not found.answer.allowed


def test_one_image_is_verified_once_for_many_requests_at_the_same_time(tmp_path: Path) -> None:
    shelf = Shelf(form_b(tekton()))
    found = Made(tmp_path, document(), stores=[shelf]).validate(*[review(pod(REF))] * 50)
    assert [one.answer.allowed for one in found] == [True] * 50
    assert len(shelf.asked) == 1


def test_an_exempt_image_is_allowed_also_while_the_registry_is_away(tmp_path: Path) -> None:
    exemption = {
        "image": REF,
        "rules": ["evidence"],
        "until": "2030-01-01T00:00:00Z",
        "reason": "bought",
        "reference": "SEC-1",
    }
    found = Made(tmp_path, document(exemptions=[exemption]), stores=[Broken()]).answer(pod(REF))
    assert (found.decision, found.judged[0].ruling.is_met) == (Decision.ALLOW, True)


def test_a_denial_says_that_an_exemption_ended_and_which_one(tmp_path: Path) -> None:
    exemption = {
        "image": REF,
        "rules": ["evidence"],
        "until": "2026-01-01T00:00:00Z",
        "reason": "bought",
        "reference": "SEC-1",
    }
    found = Made(tmp_path, document(exemptions=[exemption]), stores=[Shelf()]).answer(pod(REF))
    assert not found.answer.allowed
    ended = "got none found; an exemption ended at 2026-01-01T00:00:00Z: bought (SEC-1); build the image with"
    assert ended in found.answer.message


@pytest.mark.parametrize(("mode", "is_allowed"), [("enforce", False), ("warn", True)])
def test_an_object_with_more_images_than_any_needs_is_not_judged_image_by_image(
    tmp_path: Path, mode: str, is_allowed: bool
) -> None:
    made = Made(tmp_path, document(mode=mode))
    images = [f"{IMAGE}@sha256:{number:064x}" for number in range(MOST_IMAGES + 1)]
    found = made.answer(pod(*images))
    assert (found.answer.allowed, len(found.judged)) == (is_allowed, 1)
    assert found.judged[0].ruling.actual == "it names more than 1000 images: none of them is judged"
    odd = pod(REF)
    odd["spec"]["containers"] = [{"name": f"c{number}", "image": 7} for number in range(5000)]
    assert len(made.answer(odd).judged) == 1
    assert len(made.answer(pod(*images[1:])).judged) == MOST_IMAGES
