"""Read, modify, write against an API server whose object changes meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from chains.cluster.errors import ObjectChanged, ObjectGone
from chains.cluster.update import ATTEMPTS, update
from chains.controller.operations import Done, release_finalizers

Json = Any
PATH = "/apis/tekton.dev/v1/namespaces/ns/taskruns/r"


class Server:
    """Has the versions of one object: each PATCH that fails is followed by the next one."""

    def __init__(self, *newer: Json | None) -> None:
        self.newer, self.patches = list(newer), list[Json]()

    async def get(self, path: str, **_: Any) -> Json:
        assert path == PATH
        found = self.newer.pop(0)
        if found is None:
            raise ObjectGone("404")
        return {"metadata": found}

    async def patch(self, path: str, body: Mapping[str, Any]) -> None:
        assert path == PATH
        self.patches.append(body)
        if self.newer:
            raise ObjectChanged("409")

    async def list(self, path: str, selector: str, *, outlines: bool) -> Any:
        if path.endswith("taskruns"):
            held = {"finalizers": ["chains.tekton.dev"], "resourceVersion": "1"}
            yield {"metadata": {"name": "r", "namespace": "ns", "uid": "u", **held}}


def version(number: int, uid: str = "u") -> Json:
    return {"uid": uid, "resourceVersion": str(number)}


def updated(server: Server, goes_on: Callable[[Json], bool] = lambda _: True) -> list[str]:
    def patch(metadata: Json) -> Json:
        return {"metadata": {"resourceVersion": metadata["resourceVersion"]}}

    try:
        asyncio.run(update(server, PATH, "u", version(1), patch, goes_on=goes_on))  # type: ignore[arg-type]
    finally:
        written = [body["metadata"]["resourceVersion"] for body in server.patches]
    return written


def test_the_patch_is_made_anew_of_each_newer_version() -> None:
    assert updated(Server()) == ["1"]
    assert updated(Server(version(2), version(3))) == ["1", "2", "3"]


def test_it_is_not_tried_for_ever() -> None:
    server = Server(*(version(number) for number in range(2, 50)))
    with pytest.raises(ObjectChanged, match=f"^PATCH {PATH}: it changed {ATTEMPTS} times meanwhile$"):
        updated(server)
    assert len(server.patches) == ATTEMPTS == 10


def test_another_object_of_the_same_name_is_left_alone() -> None:
    server = Server(version(2, uid="another"), version(3))
    with pytest.raises(ObjectChanged, match=r"^409$"):
        updated(server)
    assert len(server.patches) == 1


def test_what_need_not_be_written_any_more_is_not() -> None:
    server = Server(version(2), version(3))
    with pytest.raises(ObjectChanged, match=r"^409$"):
        updated(server, lambda metadata: metadata["resourceVersion"] != "2")
    assert len(server.patches) == 1


def test_a_patch_of_nothing_writes_nothing() -> None:
    server = Server()
    asyncio.run(update(server, PATH, "u", version(1), lambda _: None))  # type: ignore[arg-type]
    assert server.patches == []


def test_finalizers_of_a_run_that_goes_or_is_another_meanwhile_end_nothing() -> None:
    def released(*newer: Json | None) -> list[Done]:
        return asyncio.run(release_finalizers(Server(*newer), ["ns"]))  # type: ignore[arg-type]

    assert released() == [Done("taskrun/ns/r", "released, still running")]
    assert released(None) == [Done("taskrun/ns/r", "gone")]
    assert released(version(2, uid="another")) == [
        Done("taskrun/ns/r", "changes too often; run it again", is_open=True)
    ]
