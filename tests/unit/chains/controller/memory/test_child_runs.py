"""What the controller remembers of children is of that namespace, that parent and that run, or of none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chains.cluster.client import METADATA_ONLY
from chains.cluster.errors import ClusterUnavailable, ObjectGone
from chains.controller.memory.child_runs import ChildRuns
from chains.isolation.judgement import judge_isolation
from chains.tekton.snapshot import take_snapshot
from tests.owners import owned, task_reference

Json = Any
PATH = "/apis/tekton.dev/v1/namespaces/ns/taskruns/a"
PARENT = ("ns", "p-1")


class Server:
    """Has what is put into it by path."""

    def __init__(self) -> None:
        self.objects: dict[str, Json] = {}
        self.asked: list[tuple[str, str]] = []
        self.away = False

    async def get(self, path: str, *, accept: str = "", check: Any = None) -> Json:
        self.asked.append((path, accept))
        if self.away:
            raise ClusterUnavailable("away")
        if path not in self.objects:
            raise ObjectGone(path)
        found = self.objects[path]
        return {"metadata": found["metadata"]} if accept else found


def run(uid: str, name: str = "a", namespace: str = "ns", owner: str = "p-1", text: str = "") -> Json:
    return {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "ownerReferences": owned(owner)},
        "spec": {"params": [{"name": "of", "value": text or uid}]},
        "status": {"conditions": [{"type": "Succeeded", "status": "True"}]},
    }  # fmt: skip


def parent(*names: str) -> Json:
    return {
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun",
        "metadata": {"name": "p", "namespace": "ns", "uid": "p-1"},
        "status": {"childReferences": [task_reference(name) for name in names or ("a",)]},
    }  # fmt: skip


def child_runs(server: Server | None = None, **options: int) -> ChildRuns:
    return ChildRuns(server or Server(), **options)  # type: ignore[arg-type]


def asked_for(found: ChildRuns) -> tuple[list[str], str]:
    """Return what the children's records say of themselves, and the doubt about ``a``."""
    children = asyncio.run(found.children(parent()))
    texts = [record["spec"]["params"][0]["value"] for record in children.records.values()]
    return texts, children.doubts.get("a", "")


def test_a_kept_child_is_there_when_a_pruner_was_faster() -> None:
    found = child_runs()
    found.keep(run("c-1"))
    assert asked_for(found) == (["c-1"], "")


def test_a_run_of_another_namespace_that_names_the_parent_and_the_child_is_nothing() -> None:
    found = child_runs()
    found.keep(run("c-1"))
    found.keep(run("evil", namespace="attacker"))
    assert asked_for(found) == (["c-1"], "")
    alone = child_runs()
    alone.keep(run("evil", namespace="attacker"))
    assert asked_for(alone) == ([], "")


def test_the_first_record_stays_and_another_run_of_its_name_is_told() -> None:
    found = child_runs()
    found.keep(run("c-1"))
    found.keep(run("c-1", text="changed since"))
    assert asked_for(found) == (["c-1"], "")
    for uid in ("c-2", "c-3"):
        found.keep(run(uid))
    texts, doubt = asked_for(found)
    assert texts == ["c-1"]
    assert "with UID c-2, came after the one that ended first, with UID c-1" in doubt


@pytest.mark.parametrize("owner", ["p-1", "p-2"])
def test_what_stands_in_the_place_of_a_kept_child_replaces_nothing(owner: str) -> None:
    server = Server()
    found = child_runs(server)
    found.keep(run("c-1"))
    server.objects[PATH] = run("c-2", owner=owner)
    texts, doubt = asked_for(found)
    assert texts == ["c-1"]
    assert "with UID c-2" in doubt
    assert asyncio.run(found.children(parent())).there == {}, "nobody waits for the mark of an impostor"


def test_a_child_that_lost_its_owner_since_is_still_what_it_was_at_its_end() -> None:
    server = Server()
    found = child_runs(server)
    found.keep(run("c-1"))
    changed = run("c-1", text="changed since")
    changed["metadata"]["ownerReferences"] = []
    server.objects[PATH] = changed
    assert asked_for(found) == (["c-1"], "")
    assert server.asked == [(PATH, METADATA_ONLY)], "of one that is kept its metadata are enough"


def test_what_nobody_kept_is_read_and_judged_by_the_snapshot() -> None:
    server = Server()
    found = child_runs(server)
    server.objects[PATH] = run("c-1")
    children = asyncio.run(found.children(parent()))
    assert list(children.there) == ["a"]
    assert len(take_snapshot(parent(), children.records).children) == 1
    for owners in ([], owned("p-2")):
        server.objects[PATH]["metadata"]["ownerReferences"] = owners
        children = asyncio.run(found.children(parent()))
        assert children.there == {}
        frozen = take_snapshot(parent(), children.records)
        assert frozen.children == ()
        assert [gap.name for gap in frozen.gaps] == ["a"]


def test_a_child_in_doubt_keeps_its_pipeline_run_from_being_enforced() -> None:
    server = Server()
    found = child_runs(server)
    found.keep(run("c-1"))
    server.objects[PATH] = run("c-2")
    asked = parent()
    asked["metadata"]["annotations"] = {"experimental.tekton.dev/execution-mode": "hermetic"}
    children = asyncio.run(found.children(asked))
    frozen = take_snapshot(asked, children.records, children.doubts)
    assert [child.uid for child in frozen.children] == ["c-1"]
    (gap,) = frozen.gaps
    assert (gap.name, gap.uid) == ("a", "c-1")
    assert judge_isolation(frozen).level != "enforced"


def test_a_child_that_is_named_often_is_read_once() -> None:
    server = Server()
    server.objects[PATH] = run("c-1")
    asked = parent()
    asked["status"]["childReferences"] *= 100
    children = asyncio.run(child_runs(server).children(asked))
    assert list(children.records) == [("TaskRun", "ns", "a")]
    assert len(server.asked) == 1


def test_names_that_lead_elsewhere_and_other_kinds_are_not_read() -> None:
    server = Server()
    asked = parent("../../secrets/x", "b")
    asked["status"]["childReferences"].append({**task_reference("c"), "kind": "CustomRun"})
    asked["status"]["childReferences"].append({**task_reference("d"), "apiVersion": "example.com/v1"})
    asyncio.run(child_runs(server).children(asked))
    assert [path for path, _ in server.asked] == [PATH[:-1] + "b"]


def test_children_that_could_not_be_read_again_are_asked_for_again() -> None:
    server = Server()
    found = child_runs(server)
    server.away = True
    for _ in range(2):
        with pytest.raises(ClusterUnavailable):
            asyncio.run(found.seed(parent()))
    server.away = False
    server.objects[PATH] = run("c-1")
    for _ in range(2):
        asyncio.run(found.seed(parent()))
    assert len(server.asked) == 3
    del server.objects[PATH]
    assert asked_for(found) == (["c-1"], "")


def test_what_is_kept_is_bounded_and_forgotten_with_its_parent() -> None:
    found = child_runs(max_bytes=2000)
    for number in range(100):
        for _ in range(2):
            found.keep(run(f"c-{number}", owner=f"parent-{number}"))
    assert 0 < found.kept_bytes <= 2000
    for number in range(100):
        found.forget(("other", f"parent-{number}"))
    assert found.kept_bytes > 0
    for number in range(100):
        found.forget(("ns", f"parent-{number}"))
    assert found.kept_bytes == 0
    alone = run("c-1")
    del alone["metadata"]["ownerReferences"]
    found.keep(alone)
    assert found.kept_bytes == 0


def test_a_flood_of_children_drives_out_no_child_of_another_namespace() -> None:
    found = child_runs(max_bytes=4000)
    found.keep(run("c-1"))
    for number in range(200):
        found.keep(run(f"evil-{number}", f"n-{number}", "attacker"))
        found.marked(run(f"evil-{number}", "a", "attacker")["metadata"])
    assert asked_for(found) == (["c-1"], "")
    found.forget_all(lambda uid: uid == "p-1")
    assert found.kept_bytes == 0


def test_only_the_child_itself_wakes_its_parent() -> None:
    found = child_runs()
    woken: list[str] = []
    assert found.waits_for(PARENT, {("a", "c-1")}, lambda: woken.append("p-1"))
    for other in (run("c-1", namespace="attacker"), run("c-2"), run("c-1", "b"), run("c-1", owner="p-2")):
        found.marked(other["metadata"])
    assert woken == []
    found.marked(run("c-1")["metadata"])
    assert woken == ["p-1"]


def test_a_child_that_is_marked_while_the_others_are_read_is_not_waited_for() -> None:
    found = child_runs()
    found.marked(run("c-1")["metadata"])
    woken: list[str] = []
    assert not found.waits_for(PARENT, {("a", "c-1")}, lambda: woken.append("p"))
    assert found.waits_for(PARENT, {("a", "c-1"), ("b", "c-2")}, lambda: woken.append("p"))
    assert found.waits_for(PARENT, {("a", "c-9")}, lambda: woken.append("p")), "a mark is of one UID"
    found.waits_for(PARENT, {("b", "c-2")}, lambda: woken.append("p"))
    found.marked(run("c-2", "b")["metadata"])
    assert woken == ["p"]


def test_a_status_that_names_thousands_of_children_takes_no_more_than_its_part_of_the_connections() -> None:
    class Counting:
        now = most = 0

        async def get(self, path: str, **_: Any) -> Any:
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            raise ObjectGone("gone")

    cluster = Counting()
    reference = {"apiVersion": "tekton.dev/v1", "kind": "TaskRun"}
    parent = {
        "metadata": {"name": "p", "namespace": "ns", "uid": "p"},
        "status": {"childReferences": [{**reference, "name": f"c{number}"} for number in range(2000)]},
    }
    found = asyncio.run(ChildRuns(cluster).children(parent))  # type: ignore[arg-type]
    assert found.records == {}
    assert cluster.most == 16
