"""What a request asks to run: new and changed images of every kind, and nothing that is hidden."""

from __future__ import annotations

from typing import Any

import pytest

from chains.admission.images import UnknownKind, asked_images, kinds_with
from chains.errors import UsageError
from chains.tekton.workloads import WORKLOADS
from tests.unit.chains.admission.made import deployment, pod, pod_spec, review

Json = Any
KINDS = kinds_with([])


def test_a_pod_is_asked_for_every_image_once_with_the_first_place() -> None:
    item = pod("r.example.com/a", "r.example.com/b", "r.example.com/a")
    item["spec"]["initContainers"] = [{"name": "i", "image": "r.example.com/c"}]
    item["spec"]["ephemeralContainers"] = [{"name": "e", "image": "r.example.com/d"}]
    item["spec"]["volumes"] = [
        {"name": "v", "image": {"reference": "r.example.com/e", "pullPolicy": "Always"}}
    ]
    asked = asked_images(review(item), KINDS)
    assert asked.images == {
        "r.example.com/c": "init container i",
        "r.example.com/a": "container c0",
        "r.example.com/b": "container c1",
        "r.example.com/d": "ephemeral container e",
        "r.example.com/e": "volume v",
    }
    assert (asked.is_pod, list(asked.problems)) == (True, [])


def test_an_update_is_asked_for_what_changed_in_its_place() -> None:
    old, new = pod("r.example.com/a", "r.example.com/b"), pod("r.example.com/a", "r.example.com/a")
    assert asked_images(review(new, "UPDATE", oldObject=old), KINDS).images == {
        "r.example.com/a": "container c1"
    }
    assert asked_images(review(old, "UPDATE", oldObject=old), KINDS).images == {}


def test_a_create_is_asked_for_everything_whatever_old_object_it_brings() -> None:
    item = pod("r.example.com/a")
    assert asked_images(review(item, oldObject=item), KINDS).images == {"r.example.com/a": "container c0"}


@pytest.mark.parametrize("group_kind", sorted(WORKLOADS))
def test_every_kind_is_asked_and_pods_alone_are_pods(group_kind: tuple[str, str]) -> None:
    group, kind = group_kind
    item: Json = {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind, "metadata": {"name": "x"}}
    place = item
    *above, last = WORKLOADS[group_kind]
    for key in above:
        place = place.setdefault(key, {})
    place[last] = pod_spec("r.example.com/a")
    asked = asked_images(review(item), KINDS)
    assert list(asked.images) == ["r.example.com/a"]
    assert asked.is_pod is (kind == "Pod")


@pytest.mark.parametrize(
    ("version", "kind"), [("v1", "Service"), ("example.com/v1", "Pod"), ("autoscaling/v1", "Scale")]
)
def test_a_kind_whose_images_cannot_be_found_is_refused(version: str, kind: str) -> None:
    with pytest.raises(UnknownKind, match="it is not known where an object of kind"):
        asked_images(review({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}), KINDS)


def test_further_kinds_are_named_with_the_path_to_their_template() -> None:
    kinds = kinds_with(["ray.io/RayJob=spec.head.template", "argoproj.io/Rollout=spec.template"])
    item = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": "x"},
        "spec": {"head": {"template": {"spec": pod_spec("r.example.com/a")}}},
    }
    asked = asked_images(review(item), kinds)
    assert list(asked.images) == ["r.example.com/a"]
    assert not asked.is_pod


@pytest.mark.parametrize(
    "word", ["", "Rollout=spec.template", "a/B", "a/=spec", "a/B=", "a/B=spec..template", "/Pod=elsewhere", "apps/Deployment=x"]
)  # fmt: skip
def test_a_further_kind_that_is_wrong_or_would_hide_a_known_one_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        kinds_with([word])


@pytest.mark.parametrize("item", [None, [], "x", 5])
def test_a_request_without_an_object_is_a_problem(item: Json) -> None:
    found = review(pod("r.example.com/a"), object=item)
    assert list(asked_images(found, KINDS).problems)


def test_places_that_cannot_be_read_are_problems() -> None:
    item = deployment("r.example.com/a")
    item["spec"]["template"]["spec"]["initContainers"] = {"name": "x", "image": "r.example.com/b"}
    asked = asked_images(review(item), KINDS)
    assert list(asked.problems) == ["initContainers: expected a list of objects"]


def test_a_template_without_pod_or_image_asks_for_nothing() -> None:
    item = deployment("")
    assert asked_images(review(item), KINDS).images == {}
    item["spec"] = {"workloadRef": {"name": "other"}}
    assert asked_images(review(item), KINDS).images == {}
