"""Our statements against Tekton Chains' own formatter, field for field, for generated runs.

Its order of subjects and dependencies changes from call to call, so those are compared as sets. The module
that can be had is v0.28.1, which lacks the ``stepAction/<step>`` dependencies of v0.29: they are left out of
the comparison and tested in ``tests/unit/chains/statements/test_predicates.py``.
"""

from __future__ import annotations

import copy
import json
import os
from base64 import b64decode
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.attest.payloads import build_provenance
from chains.config.parse import parse_config
from chains.statements import simple_signing
from chains.statements.dependencies import run_results
from chains.statements.type_hints import images
from chains.tekton.late_changes import replaced
from chains.tekton.run_files import read_inputs
from chains.tekton.snapshot import RunSnapshot, take_snapshot
from tests.owners import owned, task_reference
from tests.runs import pipeline_runs, task_runs
from tests.testbed.build import binary
from tests.testbed.peer_client import Peer, schema

pytestmark = pytest.mark.server
Json = Any

FORMATS = ["in-toto", "slsa/v1", "slsa/v2alpha3", "slsa/v2alpha4"]
EXAMPLES = sorted(Path(__file__).parents[2].joinpath("examples").glob("*run-*.[jy]*"))
CONFIGS = st.fixed_dictionaries(
    {},
    optional={
        "artifacts.pipelinerun.enable-deep-inspection": st.sampled_from(["true", "false"]),
        "builddefinition.buildtype": st.sampled_from(
            ["https://tekton.dev/chains/v2/slsa", "https://tekton.dev/chains/v2/slsa-tekton"]
        ),
        "builder.id": st.just("https://example.com/builder"),
    },
)


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    running = Peer(binary("peer"))
    yield running
    running.close()


def comparable(statement: Json) -> Json:
    """Sort what has no order at the peer and drop what only v0.29 has."""
    found = copy.deepcopy(statement)

    def as_set(items: list[Json]) -> list[Json]:
        kept = [item for item in items if not item.get("name", "").startswith("stepAction/")]
        return sorted(kept, key=lambda item: json.dumps(item, sort_keys=True))

    found["subject"] = as_set(found.get("subject", []))
    predicate = found["predicate"]
    if "materials" in predicate:
        predicate["materials"] = as_set(predicate["materials"])
    definition = predicate.get("buildDefinition", {})
    resolved = as_set(definition.pop("resolvedDependencies", []))
    if resolved:
        definition["resolvedDependencies"] = resolved
    # the peer writes one arbitrary digest of the map
    definition.get("externalParameters", {}).get("buildConfigSource", {}).pop("ref", None)
    return found


def without_replacements(statement: Json, frozen: RunSnapshot) -> Json:
    """Drop what the peer tells of sidecars that Tekton replaced to stop them: its image in place of theirs."""
    found = copy.deepcopy(statement)
    predicate = found["predicate"]
    replacements = {
        f"oci://{sidecar['imageID']}"
        for task in (frozen, *frozen.children)
        for sidecar in task.status.get("sidecars", ())
        if sidecar["name"] in replaced(task.raw)
    }
    for holder, key in (
        (predicate, "materials"),
        (predicate.get("buildDefinition", {}), "resolvedDependencies"),
    ):
        if key in holder:
            names = [
                f"{item.get('uri')}@sha256:{item.get('digest', {}).get('sha256')}" for item in holder[key]
            ]
            assert replacements <= set(names)
            kept = zip(holder[key], names, strict=True)
            holder[key] = [item for item, named in kept if named not in replacements]
    return found


def freeze(run: Json, children: list[Json]) -> RunSnapshot:
    return take_snapshot(run, {(child["kind"], "ns", child["metadata"]["name"]): child for child in children})


def check(peer: Peer, run: Json, children: list[Json], name: str, data: dict[str, str]) -> None:
    frozen = freeze(run, children)
    ours = json.loads(build_provenance(frozen, parse_config(data), name).to_bytes())
    answer = peer.ask(run, children, name, data)
    error = answer.get("error", "")
    if error:
        # the only ways the peer fails for a run it can read; ours gave a statement all the same
        assert error.startswith(("payload: expected imageID", "panic: ")), error
        assert ours["predicate"]
        return
    assert comparable(ours) == comparable(answer["statement"])
    if run["kind"] == "TaskRun":
        payloads = [json.loads(simple_signing.build(image)) for image in images(run_results(frozen))]
        expected = answer.get("images", [])
        assert sorted(map(json.dumps, payloads)) == sorted(map(json.dumps, expected))


@settings(
    max_examples=int(os.environ.get("CHAINS_DIFFERENTIAL_EXAMPLES", "600")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(st.one_of(task_runs().map(lambda run: (run, [])), pipeline_runs()), st.sampled_from(FORMATS), CONFIGS)
def test_generated_runs_give_the_peers_statement(
    peer: Peer, run_and_children: tuple[Json, list[Json]], name: str, data: dict[str, str]
) -> None:
    run, children = run_and_children
    check(peer, run, children, name, data)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("build_type", ["slsa", "slsa-tekton"])
@pytest.mark.parametrize("deep", ["true", "false"])
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_give_the_peers_statement(
    peer: Peer, path: Path, name: str, build_type: str, deep: str
) -> None:
    intake = read_inputs([str(path)])
    data = {
        "builddefinition.buildtype": f"https://tekton.dev/chains/v2/{build_type}",
        "artifacts.pipelinerun.enable-deep-inspection": deep,
    }
    assert intake.runs
    for key in intake.runs:
        frozen = intake.snapshot(key)
        # the peer gets what is attested: a run as it was before anything marked it
        run = orjson.loads(orjson.dumps(frozen.raw))
        children = [orjson.loads(orjson.dumps(child.raw)) for child in frozen.children]
        ours = json.loads(build_provenance(frozen, parse_config(data), name).to_bytes())
        theirs = without_replacements(peer.ask(run, children, name, data)["statement"], frozen)
        assert comparable(ours) == comparable(theirs)


def test_the_image_by_which_tekton_stops_a_sidecar_is_a_dependency_for_the_peer_and_not_for_us(
    peer: Peer,
) -> None:
    """The peer names it when it looks late; of the same run in time both name the sidecar's own image."""
    own, nop = (
        f"registry.example.com/{name}@sha256:{digit * 64}" for name, digit in (("db", "a"), ("nop", "b"))
    )
    state = {"startedAt": "2026-01-02T03:04:01Z"}
    stopped = {
        **state, "exitCode": 137, "reason": "Completed", "containerID": "containerd://c",
        "finishedAt": "2026-01-02T03:04:35Z", "message": "Sidecar container successfully stopped by nop image",
    }  # fmt: skip
    run: Json = {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": "r", "namespace": "ns", "uid": "u"},
        "status": {"completionTime": "2026-01-02T03:04:05Z", "taskSpec": {"sidecars": [{"name": "db", "image": "db:1"}]}},
    }  # fmt: skip
    in_time, late = copy.deepcopy(run), copy.deepcopy(run)
    in_time["status"]["sidecars"] = [
        {"name": "db", "container": "sidecar-db", "imageID": own, "running": state}
    ]
    late["status"]["sidecars"] = [
        {"name": "db", "container": "sidecar-db", "imageID": nop, "terminated": stopped}
    ]
    for kept, ours, theirs in ((in_time, [own], [own]), (late, [], [nop])):
        statement = json.loads(
            build_provenance(freeze(kept, []), parse_config({}), "slsa/v2alpha4").to_bytes()
        )
        found = peer.ask(kept, [], "slsa/v2alpha4", {})["statement"]
        for one, expected in ((statement, ours), (found, theirs)):
            named = one["predicate"]["buildDefinition"].get("resolvedDependencies", [])
            assert [f"{item['uri'][6:]}@sha256:{item['digest']['sha256']}" for item in named] == expected


def test_an_image_id_without_a_digest_fails_the_peer_and_not_us(peer: Peer) -> None:
    run = {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": "r", "namespace": "ns"},
        "status": {"steps": [{"name": "a", "imageID": "sha256:" + "a" * 64}, {"name": "b", "imageID": "x@sha256:b"}]},
    }  # fmt: skip
    assert "expected imageID" in peer.ask(run, [], "slsa/v2alpha4", {})["error"]
    statement = json.loads(build_provenance(freeze(run, []), parse_config({}), "slsa/v2alpha4").to_bytes())
    dependencies = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert dependencies == [{"uri": "oci://x", "digest": {"sha256": "b"}}]


def test_the_content_of_a_pipeline_task_is_byte_for_byte_the_peers(peer: Peer) -> None:
    child = {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {
            "namespace": "ns",
            "name": "c",
            "labels": {"z": "1", "tekton.dev/pipelineTask": "t"},
            "ownerReferences": owned("u"),
        },
        "status": {
            "completionTime": "2026-01-02T03:04:05Z",
            "taskSpec": {"steps": [{"script": "a < b && c > d", "image": "x", "name": "s"}]},
        },
    }
    run = {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "status": {
            "pipelineSpec": {"tasks": [{"name": "t"}]},
            "childReferences": [task_reference("c", "t")],
        },
    }
    data = {"builddefinition.buildtype": "https://tekton.dev/chains/v2/slsa-tekton"}
    theirs = peer.ask(run, [child], "slsa/v2alpha4", data)["statement"]
    ours = json.loads(build_provenance(freeze(run, [child]), parse_config(data), "slsa/v2alpha4").to_bytes())
    contents = [
        b64decode(statement["predicate"]["buildDefinition"]["resolvedDependencies"][0]["content"])
        for statement in (theirs, ours)
    ]
    assert contents[0] == contents[1]
    assert rb"a \u003c b \u0026\u0026 c \u003e d" in contents[0]


def test_our_schema_is_the_one_of_the_go_types(peer: Peer) -> None:
    ours = json.loads(resources.files("chains.tekton").joinpath("schema.json").read_bytes())
    assert ours == schema(binary("peer"))
