"""What an image sets by itself decides where the pod leaves it open, and an image that cannot be read says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from chains.attest.image_environment import MOST_PLATFORMS, ImageReader
from chains.isolation.entrypoint import images_that_decide
from chains.isolation.judgement import judge_isolation
from chains.tekton.snapshot import RunSnapshot, take_snapshot
from chains.tekton.surroundings import ImageEnvironment, Surroundings, parse_surroundings
from storage.errors import StoreUnavailable
from storage.formats.manifests import OCI_INDEX, OCI_MANIFEST, Manifest
from storage.formats.reference import Repository
from tests.faults.hermetic import objects

Json = Any
LABEL = "taskrun/ci/build"
NAME = "registry.example.com/mirror/golang"
RUN = "sha256:" + "1f" * 32
RESOURCE = "TEKTON_RESOURCE_NAME"


class Registry:
    """A registry in memory; counts what it is asked, and fails on demand."""

    def __init__(self, **documents: Json) -> None:
        self.documents = {name.replace("_", ":"): value for name, value in documents.items()}
        self.asked: list[str] = []
        self.is_closed = False
        self.is_down = False

    async def get_manifest(self, repository: Repository, reference: str) -> Manifest | None:
        self.asked.append(f"{repository} {reference}")
        await asyncio.sleep(0)
        if self.is_down:
            raise StoreUnavailable("the registry does not answer")
        found = self.documents.get(reference)
        if found is None:
            return None
        kind = OCI_INDEX if "manifests" in found else OCI_MANIFEST
        return Manifest(kind, reference, json.dumps(found).encode())

    async def get_blob(self, repository: Repository, digest: str, limit: int) -> bytes | None:
        del repository, limit
        found = self.documents.get(digest)
        return found if isinstance(found, bytes) or found is None else json.dumps(found).encode()

    async def close(self) -> None:
        self.is_closed = True


def image(*env: str) -> Json:
    return {"config": {"Env": [*env]}}


def manifest(config: str) -> Json:
    return {"config": {"digest": config}}


def one(*env: str) -> Registry:
    registry = Registry(c=image(*env))
    registry.documents[RUN] = manifest("c")
    return registry


def index(*platforms: tuple[str, list[str]]) -> Registry:
    registry = Registry()
    entries = []
    for number, (system, env) in enumerate(platforms):
        registry.documents |= {f"m{number}": manifest(f"c{number}"), f"c{number}": image(*env)}
        entries.append({"digest": f"m{number}", "platform": {"os": system, "architecture": "x"}})
    registry.documents[RUN] = {"manifests": entries}
    return registry


def subject() -> tuple[RunSnapshot, Mapping[str, Surroundings]]:
    found = objects("image-may-set-the-defeating-variable")
    return take_snapshot(found["TaskRun"]), {LABEL: parse_surroundings(pod=found["Pod"])}


def verdict(registry: Registry) -> tuple[str, str, str]:
    run, surroundings = subject()
    added = asyncio.run(ImageReader(registry).add_images(run, surroundings))
    found = judge_isolation(run, added)
    assert found.containers[0].entrypoint is not None
    return found.level, found.containers[0].enforced.value, found.containers[0].entrypoint.reason


def test_an_image_that_leaves_the_variable_alone_proves_the_step() -> None:
    assert verdict(one("PATH=/bin", "HOME"))[:2] == ("enforced", "true")
    assert verdict(one(f"{RESOURCE}="))[:2] == ("enforced", "true")
    assert verdict(one())[:2] == ("enforced", "true")


def test_an_image_that_sets_the_variable_defeats_the_entrypoint() -> None:
    level, value, reason = verdict(one(f"{RESOURCE}=x=y"))
    assert (level, value) == ("requested-only", "false")
    assert reason == f"the image sets {RESOURCE}, so the entrypoint keeps the network"


def test_every_platform_of_an_index_counts() -> None:
    clean, dirty = ["A=1"], [f"{RESOURCE}=x"]
    assert verdict(index(("linux", clean), ("linux", clean), ("unknown", dirty)))[0] == "enforced"
    assert verdict(index(("linux", clean), ("linux", dirty)))[1:] == (
        "unknown",
        f"some platforms of the image set {RESOURCE}",
    )
    assert verdict(index(("linux", dirty), ("linux", dirty)))[1] == "false"
    assert verdict(index())[1] == "unknown"


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ({}, f"{NAME}@sha256:1f1f1f1f1f1f… cannot be read: the registry does not have {RUN}"),
        ({RUN: {"manifests": [{"digest": "m"}]}}, "the registry does not have m"),
        ({RUN: manifest("gone")}, f"{RUN} has no configuration"),
        ({RUN: {}}, f"{RUN} has no configuration"),
        ({RUN: manifest("c"), "c": b"{"}, "unexpected end of data"),
        ({RUN: {"manifests": [], **manifest("c")}}, f"{RUN} is an index and a manifest at once"),
        ({RUN: {"manifests": [{}] * (MOST_PLATFORMS + 1)}}, "it has 33 platforms, more than 32"),
    ],
)
def test_an_image_that_cannot_be_read_leaves_it_unknown_and_says_why(documents: Json, words: str) -> None:
    registry = Registry()
    registry.documents = documents
    level, value, reason = verdict(registry)
    assert (level, value) == ("unknown", "unknown")
    assert words in reason


def test_an_image_id_without_a_name_is_not_looked_for() -> None:
    found = objects("image-may-set-the-defeating-variable")
    run, pod = take_snapshot(found["TaskRun"]), found["Pod"]
    pod["status"]["containerStatuses"][0]["imageID"] = RUN
    registry = Registry()
    added = asyncio.run(ImageReader(registry).add_images(run, {LABEL: parse_surroundings(pod=pod)}))
    assert added[LABEL].images[RUN].problem == f"image id '{RUN}' is no name with a digest"
    assert registry.asked == []


def test_only_what_decides_is_looked_for() -> None:
    run, surroundings = subject()
    found = f"{NAME}@{RUN}"
    assert images_that_decide(run, surroundings[LABEL]) == [found]
    for name in (
        "nothing-wrong",
        "alpha-flags-off",
        "step-sets-the-defeating-variable",
        "pod-of-another-run",
    ):
        other = objects(name)
        assert images_that_decide(take_snapshot(other["TaskRun"]), parse_surroundings(pod=other["Pod"])) == []
    assert images_that_decide(run, parse_surroundings()) == []


def test_an_image_is_read_once_for_many_runs_and_again_after_a_failure() -> None:
    objects_read = objects("image-may-set-the-defeating-variable")
    run, pod = take_snapshot(objects_read["TaskRun"]), objects_read["Pod"]
    state = pod["status"]["containerStatuses"][0]
    state["imageID"] = "docker-pullable://" + state["imageID"]
    surroundings = {LABEL: parse_surroundings(pod=pod)}

    async def work() -> None:
        registry = one("A=1", f"{RESOURCE}=first", f"{RESOURCE}=last")
        registry.is_down = True
        reader = ImageReader(registry)
        failed = await reader.add_images(run, surroundings)
        assert "the registry does not answer" in failed[LABEL].images[state["imageID"]].problem
        registry.is_down = False
        many = await asyncio.gather(*(reader.add_images(run, surroundings) for _ in range(20)))
        assert {len(each[LABEL].images) for each in many} == {1}
        await reader.add_images(run, surroundings)
        assert registry.asked == [f"{NAME} {RUN}"] * 2
        assert many[0][LABEL].images[state["imageID"]] == ImageEnvironment(({RESOURCE: "last"},)), (
            "no other variable is kept"
        )
        await reader.close()
        assert registry.is_closed

    asyncio.run(work())
