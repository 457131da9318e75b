"""Somebody makes TaskRuns that pass themselves off as children of a PipelineRun: none gets into its evidence."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.test_controller import Running, controller, finished
from tests.integration.test_controller_pods import Runs, create_pipeline, runs
from tests.integration.test_controller_runs import RUNS, child_of, payload, pipeline_run
from tests.owners import owned
from tests.testbed.cluster import MERGE

__all__ = ["controller", "runs"]
pytestmark = pytest.mark.server
Json = Any
DIGEST, EVIL = "ab" * 32, "ee" * 32
SOURCE, COMMIT = "https://git.example.com/production/app.git", "c" * 40
CONFIG = {
    "artifacts_pipelinerun_format": "slsa/v2alpha4",
    "artifacts_pipelinerun_enable__deep__inspection": "true",
    "artifacts_taskrun_storage": "tekton",
    "artifacts_pipelinerun_storage": "tekton",
    "artifacts_oci_storage": "tekton",
}
OTHER_OWNER = "a run of this name belongs to another owner"
NO_OWNER = "a run of this name has no controller owner reference to a PipelineRun, as Tekton writes it"
TOO_LATE = "a run of this name was created after the PipelineRun had ended"


def now(**offset: int) -> str:
    return (datetime.now(UTC) + timedelta(**offset)).strftime("%Y-%m-%dT%H:%M:%SZ")


def production(running: Running) -> Json:
    """Create a PipelineRun in progress that builds production's source."""
    run = pipeline_run(running.namespace, "whole", ["build"])
    run["spec"]["params"] = [
        {"name": "CHAINS-GIT_URL", "value": SOURCE},
        {"name": "CHAINS-GIT_COMMIT", "value": COMMIT},
    ]
    return running.server.create_run(run)


def path(name: str, namespace: str, kind: str = "taskruns") -> str:
    return f"{RUNS}/{namespace}/{kind}/{name}"


def end_pipeline(running: Running, completed: str = "") -> None:
    status = {
        "conditions": [{"type": "Succeeded", "status": "True"}],
        "completionTime": completed or now(),
    }
    target = f"{path('whole', running.namespace, 'pipelineruns')}/status"
    running.server.request("PATCH", target, {"status": status}, kind=MERGE)


def impostor(running: Running, owners: Json, namespace: str = "") -> Json:
    """Create a finished run called ``build`` that built something else."""
    run = finished(namespace or running.namespace, "build", "registry.example.com/evil", f"sha256:{EVIL}")
    run["metadata"] |= {"ownerReferences": owners, "labels": {"tekton.dev/pipelineTask": "build"}}
    return running.server.create_run(run)


def evidence(running: Running) -> tuple[list[str], list[Json], Json]:
    """Return what production's provenance says: digests of its subjects, its source, and all of it."""
    run = running.attested("whole", "PipelineRun")
    assert run["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
    statement = payload(run)
    resolved = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    sources = [item for item in resolved if item["uri"].startswith("git+")]
    return [item["digest"]["sha256"] for item in statement.get("subject") or ()], sources, statement


def told(running: Running, attribute: str) -> list[Json]:
    report = payload(running.run("PipelineRun", "whole"), "report")["predicate"]["attributes"]
    return [item["conditions"] for item in report if item["attribute"] == attribute]


@pytest.mark.parametrize("comes", ["before the child", "after the child", "alone"])
def test_a_run_of_another_namespace_is_never_a_child(controller: Callable[..., Running], comes: str) -> None:
    running = controller(**CONFIG)
    attacker = running.server.create_namespace(f"{running.namespace}-evil")
    running.watched = (attacker,)
    running.start()
    parent = production(running)

    def attack() -> None:
        impostor(running, owned(parent["metadata"]["uid"], "whole"), attacker)
        running.wait(
            lambda: (
                "chains.tekton.dev/signed"
                in running.server.get_run("TaskRun", attacker, "build")["metadata"].get("annotations", {})
            )
        )

    if comes == "before the child":
        attack()
    if comes != "alone":
        running.server.create_run(child_of(parent, "build", running.namespace))
        running.attested("build")
        running.server.request("DELETE", path("build", running.namespace))
    if comes != "before the child":
        attack()
    end_pipeline(running)
    digests, sources, statement = evidence(running)
    assert digests == ([] if comes == "alone" else [DIGEST])
    assert [(item["uri"], item["digest"]) for item in sources] == [
        (f"git+{SOURCE}", {"sha1": COMMIT}),
    ]
    assert EVIL not in str(statement)
    gaps = [item["reason"] for item in told(running, "CHILD_WITHOUT_RECORD")]
    assert gaps == (["not in the input, or deleted before the run was recorded"] if comes == "alone" else [])
    assert told(running, "CHILD_IN_DOUBT") == []


@pytest.mark.parametrize("whose", ["nobody's", "of another owner", "of the parent"])
def test_the_record_kept_at_its_end_wins_over_what_comes_under_its_name(
    controller: Callable[..., Running], whose: str
) -> None:
    running = controller(**CONFIG)
    running.start()
    parent = production(running)
    uid = parent["metadata"]["uid"]
    child = running.server.create_run(child_of(parent, "build", running.namespace))
    running.attested("build")
    running.server.request("DELETE", path("build", running.namespace))
    owners = {"nobody's": [], "of another owner": owned("other"), "of the parent": owned(uid, "whole")}[whose]
    other = impostor(running, owners)
    running.attested("build")
    end_pipeline(running)
    digests, sources, statement = evidence(running)
    assert digests == [DIGEST]
    assert [(item["uri"], item["digest"]) for item in sources] == [(f"git+{SOURCE}", {"sha1": COMMIT})]
    assert EVIL not in str(statement)
    (doubt,) = told(running, "CHILD_IN_DOUBT")
    assert (doubt["uid"], doubt["pipelineTask"]) == (child["metadata"]["uid"], "build")
    assert f"another run of this name, with UID {other['metadata']['uid']}," in doubt["reason"]
    assert told(running, "CHILD_WITHOUT_RECORD") == []


@pytest.mark.parametrize(
    ("whose", "why"), [("nobody's", NO_OWNER), ("of another owner", OTHER_OWNER), ("too late", TOO_LATE)]
)
def test_what_is_found_where_nothing_was_kept_is_a_child_only_if_it_is_proven(
    controller: Callable[..., Running], whose: str, why: str
) -> None:
    running = controller(**CONFIG)
    parent = production(running)
    uid, created = parent["metadata"]["uid"], parent["metadata"]["creationTimestamp"]
    begun = datetime.fromisoformat(created)
    # a minute of difference between clocks is allowed, so that the PipelineRun ends a minute ago
    completed = (begun - timedelta(seconds=58)).strftime("%Y-%m-%dT%H:%M:%SZ") if whose == "too late" else ""
    end_pipeline(running, completed)
    owners = {"nobody's": [], "of another owner": owned("other"), "too late": owned(uid, "whole")}[whose]
    running.wait(lambda: datetime.now(UTC) > begun + timedelta(seconds=4))
    impostor(running, owners)
    running.start()
    digests, sources, statement = evidence(running)
    assert digests == []
    assert [item["digest"] for item in sources] == [{"sha1": COMMIT}]
    assert EVIL not in str(statement)
    (gap,) = told(running, "CHILD_WITHOUT_RECORD")
    assert gap == {"pipelineTask": "build", "reason": why}


def test_a_pipeline_run_waits_for_the_mark_of_its_own_child_and_for_nobody_elses(
    controller: Callable[..., Running],
) -> None:
    running = controller(**CONFIG)
    attacker = running.server.create_namespace(f"{running.namespace}-evil")
    running.watched = (attacker,)
    running.start()
    parent = production(running)
    child = child_of(parent, "build", running.namespace)
    status = child.pop("status")
    running.server.create_run(child)
    running.wait(lambda: running.run("TaskRun", "build")["metadata"].get("finalizers") is not None)
    running.wait(lambda: running.run("PipelineRun", "whole")["metadata"].get("finalizers") is not None)
    end_pipeline(running)
    impostor(running, owned(parent["metadata"]["uid"], "whole"), attacker)
    running.wait(
        lambda: (
            "chains.tekton.dev/signed"
            in running.server.get_run("TaskRun", attacker, "build")["metadata"].get("annotations", {})
        )
    )
    assert running.signed("whole", "PipelineRun") == ""
    running.server.request(
        "PATCH", f"{path('build', running.namespace)}/status", {"status": status}, kind=MERGE
    )
    # within the half minute after which it would look again by itself
    began = time.monotonic()
    assert evidence(running)[0] == [DIGEST]
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("whose", ["nobody's", "of the parent"])
def test_a_hermetic_run_in_the_place_of_a_child_that_was_not_makes_nothing_enforced(
    runs: Runs, whose: str
) -> None:
    runs.running.start()
    parent, end = create_pipeline(runs)
    mine = {"labels": {"tekton.dev/pipelineTask": "one"}, "ownerReferences": owned(parent["metadata"]["uid"])}
    runs.create("one", flags={"enable-api-fields": "stable"}, metadata=mine)
    runs.end("one")
    assert runs.level("one")[0] == "requested-only"
    runs.delete_pod("one")
    runs.server.request("DELETE", runs.path("one"))
    runs.create("one", metadata=mine if whose == "of the parent" else {"labels": mine["labels"]})
    runs.end("one")
    assert runs.level("one")[0] == "enforced"
    end()
    assert runs.level("whole", "PipelineRun")[0] == "requested-only"
    assert len(runs.told("whole", "CHILD_IN_DOUBT", "PipelineRun")) == 1


def test_a_child_in_doubt_is_not_enforced_though_its_record_is(runs: Runs) -> None:
    runs.running.start()
    parent, end = create_pipeline(runs)
    mine = {"labels": {"tekton.dev/pipelineTask": "one"}, "ownerReferences": owned(parent["metadata"]["uid"])}
    runs.create("one", metadata=mine)
    runs.end("one")
    assert runs.level("one")[0] == "enforced"
    runs.delete_pod("one")
    runs.server.request("DELETE", runs.path("one"))
    runs.create("one", wish={}, flags={"enable-api-fields": "stable"}, metadata=mine)
    runs.end("one")
    assert runs.level("one")[0] == "not-requested"
    end()
    level, reason = runs.level("whole", "PipelineRun")
    assert level == "unknown"
    assert reason.startswith("taskrun one: in doubt: another run of this name, with UID ")


def test_a_run_without_an_owner_does_not_make_its_pipeline_run_enforced(runs: Runs) -> None:
    _, end = create_pipeline(runs)
    runs.create("one", metadata={"labels": {"tekton.dev/pipelineTask": "one"}})
    runs.end("one")
    end()
    runs.running.start()
    assert runs.level("one")[0] == "enforced"
    assert runs.level("whole", "PipelineRun") == ("unknown", f"taskrun one: no record: {NO_OWNER}")
