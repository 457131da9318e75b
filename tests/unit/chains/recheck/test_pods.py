"""Which images run, and of which workloads."""

from __future__ import annotations

from typing import Any

import pytest

from chains.preflight.answer import State
from chains.recheck import pods
from chains.recheck.pods import TooManyImagesError
from chains.tekton.workloads import UseKind, Workload
from storage.record import Platform
from tests.faults.verify.forge import DIGEST, HEX, IMAGE, Shelf, form_b
from tests.unit.chains.policy.made import REF, document, tekton
from tests.unit.chains.preflight.made import OTHER_REF, Tags
from tests.unit.chains.preflight.test_platforms import Registry
from tests.unit.chains.recheck.made import OWNER, checks_of, pod, running_of

Json = Any
TAG = f"{IMAGE}:1"


def test_the_pods_of_one_owner_are_one_workload_and_their_image_is_asked_about_once() -> None:
    shelf = Shelf(form_b(tekton()))
    (check,) = checks_of(*(pod(REF, name=f"web-1-{at}") for at in range(100)), stores=[shelf])
    assert check.state is State.PASS
    assert [use.workload for use in check.uses] == [OWNER]
    assert shelf.asked == [(DIGEST, IMAGE)]
    running = running_of(*(pod(REF, name=f"web-1-{at}") for at in range(100)))
    assert (running.pods, len(running.inventory.uses)) == (100, 1)


def test_a_pod_without_a_controller_is_its_own_workload() -> None:
    (check,) = checks_of(pod(OTHER_REF, name="alone", owner=None))
    assert check.state is State.FAIL
    assert [use.workload for use in check.uses] == [Workload("Pod", "shop", "alone", "v1", "uid-of-alone")]


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_runs_nothing(phase: str) -> None:
    assert running_of(pod(OTHER_REF, phase=phase)).inventory.uses == []


def test_a_digest_that_is_named_counts_and_not_what_the_runtime_reports() -> None:
    (check,) = checks_of(pod(REF, running=[f"docker-pullable://{OTHER_REF}"]))
    assert (check.image, check.state) == (REF, State.PASS)
    (pinned,) = checks_of(pod(f"{IMAGE}:v1@{DIGEST}", running=[OTHER_REF]))
    assert (pinned.digest, pinned.state) == (DIGEST, State.PASS)


def test_of_a_tag_what_runs_counts_and_not_where_the_tag_points_now() -> None:
    # the tag leads to an image with evidence, and another one runs
    (check,) = checks_of(pod(TAG, running=[OTHER_REF]))
    assert (check.image, check.state) == (OTHER_REF, State.FAIL)
    assert [use.workload for use in check.uses] == [OWNER]
    # the registry of the tag is away: what runs is known all the same
    (known,) = checks_of(pod(f"{IMAGE}:2", running=[REF]))
    assert (known.image, known.state) == (REF, State.PASS)


def test_a_container_with_a_tag_that_has_not_started_runs_nothing() -> None:
    tags = Tags()
    assert checks_of(pod(TAG), tags=tags) == []
    assert tags.asked == []


def test_a_platform_that_runs_belongs_to_the_index_of_its_tag() -> None:
    platform = "a" * 64
    registry = Registry(HEX, listed={HEX: (Platform(f"sha256:{platform}", "linux/amd64"),)})
    (check,) = checks_of(pod(TAG, running=[f"{IMAGE}@sha256:{platform}"]), stores=[registry])
    assert (check.digest, check.state) == (DIGEST, State.PASS)
    assert {use.kind for use in check.uses} == {UseKind.DESIRED, UseKind.RUNNING}
    assert {use.workload for use in check.uses} == {OWNER}


def test_an_image_volume_with_a_tag_is_judged_by_what_the_tag_is_now() -> None:
    tagged = pod(REF, volumes=[{"name": "data", "image": {"reference": TAG}}])
    (check,) = checks_of(tagged)
    assert {use.container for use in check.uses} == {"c0", "volume data"}
    away = pod(volumes=[{"name": "data", "image": {"reference": f"{IMAGE}:2"}}])
    (unknown,) = checks_of(away)
    assert unknown.state is State.UNDECIDED


def test_only_namespaces_that_a_policy_is_for_are_looked_at() -> None:
    named = document(match={"images": [IMAGE], "namespaces": {"names": ["shop"]}})
    found = running_of(pod(REF), pod(REF, namespace="other"), policies=[named])
    assert {use.namespace for use in found.inventory.uses} == {"shop"}
    labelled = document(match={"images": [IMAGE], "namespaces": {"matchLabels": {"env": "prod"}}})
    # a namespace that is younger than the list of namespaces is left to the next round
    assert running_of(pod(REF), policies=[labelled]).inventory.uses == []


def test_an_odd_pod_is_told_and_hides_no_other() -> None:
    odd = pod(OTHER_REF, name="odd", owner=None)
    odd["spec"]["initContainers"] = "none"
    found = running_of(odd, pod(REF))
    assert {use.image for use in found.inventory.uses} == {REF, OTHER_REF}
    assert found.inventory.problems == ["Pod/shop/odd: initContainers: expected a list of objects"]


@pytest.mark.parametrize(
    ("limit", "more"), [("MOST_USES", REF), ("MOST_IMAGES", f"{IMAGE}@sha256:{'c' * 64}")]
)
def test_a_cluster_with_too_many_images_is_refused_and_not_cut(
    limit: str, more: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods, limit, 2)
    found = running_of(pod(REF), pod(REF), pod(OTHER_REF))
    with pytest.raises(TooManyImagesError, match="let policies be for fewer namespaces"):
        found.add(pod(more, owner=None))
