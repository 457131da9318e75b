"""Indexes: the digest that is named counts, and each platform's own digest is looked at, without double rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from chains.preflight.answer import State
from chains.preflight.inventory import Inventory
from storage.base import Store
from storage.errors import StoreRejected, StoreUnavailable, SubjectAbsent
from storage.record import Findings, Platform, Record, Stored
from tests.faults.verify.forge import HEX, IMAGE, OTHER, form_b
from tests.unit.chains.policy.made import REF, document, tekton
from tests.unit.chains.preflight.made import Tags, checked, inventory_of, workload

Json = Any
AMD, ARM = "a" * 64, "b" * 64
LISTED = (Platform(f"sha256:{AMD}", "linux/amd64"), Platform(f"sha256:{ARM}", "linux/arm64/v8"))


class Registry(Store):
    """A registry with one index over two images, and evidence about some digests."""

    def __init__(
        self, *signed: str, listed: Mapping[str, Sequence[Platform]] | Exception | None = None
    ) -> None:
        self.url = "oci:"
        self._signed = set(signed)
        self._listed = {HEX: LISTED} if listed is None else listed
        self.asked: Counter[str] = Counter()
        self.listings: Counter[str] = Counter()

    async def put(self, record: Record) -> Stored:
        raise NotImplementedError

    async def find(self, digest: str, reference: str = "") -> Findings:
        self.asked[digest] += 1
        value = digest.removeprefix("sha256:")
        return Findings((form_b(tekton(value=value)),) if value in self._signed else ())

    async def platforms(self, digest: str, reference: str) -> tuple[Platform, ...] | None:
        self.listings[digest] += 1
        if isinstance(self._listed, Exception):
            raise self._listed
        return tuple(self._listed.get(digest.removeprefix("sha256:"), ()))


def pod(image: str = REF, running: str = "", **more: Json) -> Json:
    item = workload("Pod", image, **more)
    if running:
        item["status"] = {"containerStatuses": [{"name": "c0", "imageID": running}]}
    return item


def platform(value: str) -> str:
    return f"{IMAGE}@sha256:{value}"


@pytest.mark.parametrize(
    ("signed", "state", "amd", "arm", "told"),
    [
        ((HEX, AMD, ARM), State.PASS, State.PASS, State.PASS, ""),
        (
            (HEX,),
            State.PASS,
            State.FAIL,
            State.FAIL,
            "; by their own digests alone: linux/amd64 fail, linux/arm64/v8 fail; the index passes for them",
        ),
        (
            (HEX, AMD),
            State.PASS,
            State.PASS,
            State.FAIL,
            "; by their own digests alone: linux/arm64/v8 fail; the index passes for them",
        ),
        (
            (AMD, ARM),
            State.FAIL,
            State.PASS,
            State.PASS,
            "; by their own digests: linux/amd64 pass, linux/arm64/v8 pass; "
            "the digest that is named is the index's",
        ),
        ((), State.FAIL, State.FAIL, State.FAIL, ""),
    ],
)
def test_the_digest_that_is_named_counts_and_platforms_are_told(
    signed: Sequence[str], state: State, amd: State, arm: State, told: str
) -> None:
    registry = Registry(*signed)
    (check,) = checked(inventory_of(pod()), registry)
    assert check.state is state
    assert [(one.name, one.state) for one in check.platforms] == [
        ("linux/amd64", amd),
        ("linux/arm64/v8", arm),
    ]
    assert check.told == check.explanation + told
    assert registry.asked == {f"sha256:{one}": 1 for one in (HEX, AMD, ARM)}
    assert registry.listings == {f"sha256:{HEX}": 1}
    written = check.to_json()["platforms"]
    assert written[0] == {
        "platform": "linux/amd64",
        "digest": f"sha256:{AMD}",
        "state": amd.value,
        "reason": None if amd is State.PASS else "no_evidence",
    }


@pytest.mark.parametrize("running", [REF, platform(AMD), f"docker-pullable://{platform(AMD)}"])
def test_what_runs_on_a_node_of_one_platform_belongs_to_the_index_that_its_pod_names(running: str) -> None:
    for image in (REF, f"{IMAGE}:1"):
        (check,) = checked(inventory_of(pod(image, running)), Registry(HEX))
        assert (check.image, check.state) == (image, State.PASS)
        assert [use.kind.value for use in check.uses] == ["desired", "running"]


def test_what_runs_and_is_not_of_the_index_has_a_row_of_its_own() -> None:
    """The tag was moved: the pod runs another image than its name means today."""
    found = checked(inventory_of(pod(f"{IMAGE}:1", platform(OTHER))), Registry(HEX))
    assert [(check.image, check.state) for check in found] == [
        (f"{IMAGE}:1", State.PASS),
        (platform(OTHER), State.FAIL),
    ]


def test_an_image_of_another_repository_or_container_is_not_of_the_index() -> None:
    elsewhere = f"registry.example.com/team/other@sha256:{AMD}"
    (first, second) = checked(
        inventory_of(pod(REF, elsewhere)),
        Registry(HEX),
        policies=[document(images=["registry.example.com/team/**"])],
    )
    assert (first.state, second.state) == (State.PASS, State.FAIL)
    item = pod(REF, platform(AMD))
    item["status"]["containerStatuses"][0]["name"] = "debugger"
    assert len(checked(inventory_of(item), Registry(HEX))) == 2


def test_a_platform_that_is_named_itself_is_judged_once_and_by_its_own_digest() -> None:
    registry = Registry(HEX)
    found = checked(inventory_of(pod(), pod(platform(ARM), name="pinned")), registry)
    assert {check.image: check.state for check in found} == {REF: State.PASS, platform(ARM): State.FAIL}
    assert set(registry.asked.values()) == {1}


def test_no_registry_is_asked_about_the_platforms_of_an_image_without_a_policy() -> None:
    registry = Registry(HEX)
    (check,) = checked(inventory_of(pod(f"registry.example.com/elsewhere@sha256:{HEX}")), registry)
    assert check.state is State.SKIP
    assert not registry.listings


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SubjectAbsent("no such image"), "no such image"),
        (StoreUnavailable("503"), "503"),
        (StoreRejected("lists 65 images"), "lists 65 images"),
        (RuntimeError("odd"), "unexpected RuntimeError: odd; please report it"),
    ],
)
def test_what_is_not_known_about_platforms_is_told_and_changes_no_answer(error: Exception, told: str) -> None:
    (check,) = checked(inventory_of(pod()), Registry(HEX, listed=error))
    assert (check.state, check.platforms) == (State.PASS, ())
    assert check.told.endswith(f"; its platforms are not known: {told}")
    assert check.to_json()["platformsUnknown"] == told


def test_policies_of_namespaces_answer_about_platforms_of_that_namespace() -> None:
    strict = document("strict", require={"level": 3})
    strict["spec"]["match"]["namespaces"] = {"names": ["shop"]}
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in ("shop", "lab")
    ]
    inventory: Inventory = inventory_of(*spaces, pod(), pod(namespace="lab"))
    registry = Registry(HEX, AMD, ARM)
    found = checked(inventory, registry, policies=[document(), strict])
    assert {
        check.uses[0].namespace: [check.state, *(one.state for one in check.platforms)] for check in found
    } == {"shop": [State.FAIL] * 3, "lab": [State.PASS] * 3}
    assert set(registry.asked.values()) == {1}


def test_every_image_advances_the_progress_once() -> None:
    states: list[State] = []
    items = [pod(REF, platform(AMD)), pod(f"{IMAGE}:1", REF, name="tag"), pod("busybox", name="other")]
    checked(inventory_of(*items), Registry(HEX), tags=Tags(), advance=states.append)
    assert Counter(states) == {State.PASS: 3, State.SKIP: 1}


def test_without_evidence_the_answers_are_the_same_and_small() -> None:
    whole, lean = (
        checked(inventory_of(pod()), Registry(HEX), keep_evidence=keep)[0] for keep in (True, False)
    )
    assert whole.verdict
    assert lean.verdict
    assert whole.verdict.attestations
    assert not lean.verdict.attestations
    assert (whole.state, whole.told) == (lean.state, lean.told)
