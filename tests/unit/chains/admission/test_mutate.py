"""Tags of new pods are pinned where a policy enforces; everything else stays as it is."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest

from chains.admission.judge import Tags
from chains.admission.mutate import Mutator
from chains.admission.namespaces import Namespaces
from chains.admission.validate import Validated
from tests.unit.chains.admission.made import DIGEST, IMAGE, REF, Made, deployment, document, pod, review

Json = Any
TAG = f"{IMAGE}:1"


def mutated(
    made: Made, item: Json, operation: str = "CREATE", *, seconds: float = 60, **more: Json
) -> Validated:
    async def run() -> Validated:
        await made.policies.look()
        mutator = Mutator(made.policies, Namespaces(None), Tags(made.registry))
        deadline = asyncio.get_running_loop().time() + seconds
        return await mutator.mutate(review(item, operation, **more), deadline)

    return asyncio.run(run())


def test_a_tag_is_pinned_in_every_place_with_a_test_of_the_old_value(tmp_path: Path) -> None:
    made = Made(tmp_path, document())
    item = pod(REF, TAG)
    item["spec"]["initContainers"] = [{"name": "i", "image": TAG}]
    item["spec"]["volumes"] = [{"name": "e", "emptyDir": {}}, {"name": "v", "image": {"reference": TAG}}]
    found = mutated(made, item)
    pinned = f"{TAG}@{DIGEST}"
    places = ["/spec/initContainers/0/image", "/spec/containers/1/image", "/spec/volumes/1/image/reference"]
    assert json.loads(found.answer.patch) == [
        operation
        for place in places
        for operation in (
            {"op": "test", "path": place, "value": TAG},
            {"op": "replace", "path": place, "value": pinned},
        )
    ]
    assert found.answer.allowed
    response = json.loads(found.answer.to_bytes("u"))["response"]
    assert (response["patchType"], base64.b64decode(response["patch"])) == ("JSONPatch", found.answer.patch)
    assert made.registry.asked == [TAG], "once"


def test_what_was_pinned_passes_and_is_not_pinned_again(tmp_path: Path) -> None:
    made = Made(tmp_path, document())
    pinned = pod(f"{TAG}@{DIGEST}")
    assert mutated(made, pinned).answer.patch == b""
    assert made.answer(pinned).answer.allowed
    assert made.registry.asked == []


@pytest.mark.parametrize(
    ("item", "operation", "more"),
    [
        (pod(TAG), "UPDATE", {}),
        (pod(TAG), "CREATE", {"subResource": "ephemeralcontainers"}),
        (deployment(TAG), "CREATE", {}),
        (pod("busybox:1"), "CREATE", {}),
        (pod(f"oci://{TAG}"), "CREATE", {}),
        (pod(""), "CREATE", {}),
        (pod(TAG), "CREATE", {"namespace": "elsewhere"}),
        (pod(TAG), "CREATE", {"object": None}),
        (pod(TAG), "CREATE", {"object": {"spec": {"containers": "x"}}}),
    ],
)
def test_everything_else_stays_as_it_is(tmp_path: Path, item: Json, operation: str, more: Json) -> None:
    made = Made(tmp_path, document(match={"images": [IMAGE], "namespaces": {"names": ["shop"]}}))
    found = mutated(made, item, operation, **more)
    assert (found.answer.allowed, found.answer.patch) == (True, b"")
    assert made.registry.asked == []


@pytest.mark.parametrize("mode", ["warn", "audit"])
def test_a_policy_that_does_not_enforce_changes_no_pod(tmp_path: Path, mode: str) -> None:
    made = Made(tmp_path, document(mode=mode))
    assert mutated(made, pod(TAG)).answer.patch == b""


def test_a_tag_that_cannot_be_resolved_stays_with_a_warning_and_the_validating_side_denies(
    tmp_path: Path,
) -> None:
    made = Made(tmp_path, document())
    item = pod(f"{IMAGE}:2", TAG)
    found = mutated(made, item)
    assert [one["path"] for one in json.loads(found.answer.patch)] == ["/spec/containers/1/image"] * 2
    assert found.answer.warnings == [f"{IMAGE}:2 cannot be pinned: registry.example.com answered 503"]
    assert not made.answer(item).answer.allowed


def test_a_pod_that_names_thousands_of_tags_asks_about_some_at_a_time(tmp_path: Path) -> None:
    made = Made(tmp_path, document())
    running, most = 0, 0

    class Slow:
        async def resolve(self, reference: str) -> str:
            nonlocal running, most
            del reference
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            return DIGEST

    made.registry = Slow()  # type: ignore[assignment]
    found = mutated(made, pod(*(f"{IMAGE}:{number}" for number in range(3000))))
    assert (found.answer.allowed, most) == (True, 32)
    pinned = json.loads(found.answer.patch)[1::2]
    assert len(pinned) == 1024, "the rest stays as it is, for the validating webhook to deny"
    assert "other tags are being resolved" in found.answer.warnings[0]


def test_without_policies_nothing_is_changed(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    assert mutated(Made(tmp_path), pod(TAG)).answer.patch == b""
