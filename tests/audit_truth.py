"""A world of runs with holes that the test makes itself, so the right answer of an audit is known.

Sources are an export and the audit log of an API server, as files; evidence is an OCI image layout with real
signatures. :func:`make_world` returns what the audit must say about each run that is not simply evidenced.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from chains.assembly.flow import open_flow
from chains.attest.batch import attest_all
from chains.audit.ledger.entries import EntryKind, GapEntry, Run, RunEntry
from chains.audit.ledger.writer import LogWriter
from chains.config.parse import parse_config
from chains.tekton.run_files import Intake
from signers.keys.keyfile import generate_key, write_key_pair
from tests.owners import owned, task_reference
from tests.unit.chains.audit.ledger.made import ORIGIN, Clock, close_due, sealer_of

Json = Any
CONFIG = {
    "artifacts.taskrun.format": "slsa/v2alpha4",
    "artifacts.pipelinerun.format": "slsa/v2alpha4",
    "artifacts.oci.storage": "",
    "storage.oci.encoding-format": "sigstore-bundle",
    "filter.skip": "example.com/no-provenance",
}
HOLES = (
    "deleted", "removed", "replaced", "stranger", "marked", "skipped", "failed", "stripped", "child", "gap",
)  # fmt: skip
EXPECTED = {
    "deleted": ("missing", "deleted_without_evidence", None),
    "removed": ("missing", "evidence_gone", None),
    "replaced": ("failed", "evidence_invalid", "run_mismatch"),
    "stranger": ("failed", "evidence_invalid", "key_unknown"),
    "marked": ("missing", "marked_without_evidence", None),
    "skipped": ("skipped", "left_out", None),
    "failed": ("failed", "attesting_failed", None),
    "stripped": ("missing", "finalizer_stripped", None),
    "child": ("missing", "child_unknown", None),
    "gap": ("unknown", "in_gap", None),
}
GAP = ("2026-11-01T10:00:00.000000Z", "2026-11-01T11:00:00.000000Z")
"""The hour in which no controller ran."""
FINALIZER = "chains.tekton.dev/taskrun"


def uid_of(number: int) -> str:
    return str(UUID(int=number + (7 << 96)))


def time_of(number: int, seconds: int = 0) -> str:
    minute, second = divmod(number % 3000 + seconds, 60)
    return f"2026-10-{1 + number // 3000 % 28:02d}T{minute // 60:02d}:{minute % 60:02d}:{second:02d}Z"


def task_run(number: int, **metadata: Json) -> Json:
    """Return a finished TaskRun; every ninth run failed itself, which is no reason to have no evidence."""
    image = [
        {"name": "IMAGE_URL", "type": "string", "value": "registry.example/app"},
        {"name": "IMAGE_DIGEST", "type": "string", "value": f"sha256:{number + 1:064x}"},
    ]
    succeeded = number % 9 != 4
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {
            "name": f"run-{number}", "namespace": f"team-{number % 7}", "uid": uid_of(number),
            "creationTimestamp": time_of(number), **metadata,
        },
        "spec": {"params": [{"name": "n", "value": str(number)}]},
        "status": {
            "conditions": [{"type": "Succeeded", "status": str(succeeded), "reason": "Done"}],
            "startTime": time_of(number, 1), "completionTime": time_of(number, 9), "podName": f"p{number}",
            "results": image if succeeded else [],
            "steps": [{"name": "build", "imageID": f"quay.io/step@sha256:{'ab' * 32}", "container": "step-build"}],
            "taskSpec": {"steps": [{"name": "build", "image": "quay.io/step", "script": "make"}]},
        },
    }  # fmt: skip


def pipeline_run(number: int, children: list[str]) -> Json:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "PipelineRun",
        "metadata": {
            "name": f"pipe-{number}", "namespace": f"team-{number % 7}", "uid": uid_of(number),
            "creationTimestamp": time_of(number),
        },
        "spec": {"pipelineSpec": {"tasks": [{"name": name, "taskRef": {"name": "t"}} for name in children]}},
        "status": {
            "conditions": [{"type": "Succeeded", "status": "True", "reason": "Done"}],
            "startTime": time_of(number, 1), "completionTime": time_of(number, 30),
            "childReferences": [task_reference(name) for name in children],
        },
    }  # fmt: skip


def event(
    verb: str, run: Json, at: str, user: str = "system:serviceaccount:tekton:controller", **more: Json
) -> Json:
    """Return one event of the audit log about a run, as the API server writes it at RequestResponse."""
    metadata = run["metadata"]
    return {
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": "1",
        "stage": "ResponseComplete", "requestURI": "/apis/tekton.dev/v1", "verb": verb,
        "user": {"username": user},
        "objectRef": {
            "resource": f"{run['kind'].lower()}s", "namespace": metadata["namespace"], "name": metadata["name"],
            "apiGroup": "tekton.dev", "apiVersion": "v1",
        },
        "responseStatus": {"metadata": {}, "code": 201 if verb == "create" else 200},
        "responseObject": run, "requestReceivedTimestamp": at, "stageTimestamp": at, **more,
    }  # fmt: skip


def without(run: Json, *fields: str) -> Json:
    return {name: value for name, value in run.items() if name not in fields}


def with_metadata(run: Json, **metadata: Json) -> Json:
    return {**run, "metadata": {**run["metadata"], **metadata}}


@dataclass
class World:
    """Where everything is, and the expected answers by UID, or by name for a child that nobody knows."""

    folder: Path
    config: Mapping[str, str]
    finished: int = 0
    expected: dict[str, tuple[str, str, str | None]] = field(default_factory=dict)

    def arguments(self, *more: str) -> list[str]:
        where = self.folder
        return [
            "audit", "--runs", str(where / "runs.json"), "--audit-log", str(where / "log"),
            "--store", f"oci-layout:{where / 'layout'}", "--key", str(where / "good.pub"),
            "--ledger", str(where / "ledger"), "--ledger-key", str(where / "ledger.pub"),
            "--config", str(where / "config.json"), *more,
        ]  # fmt: skip


def make_world(folder: Path, count: int, each: int, *, reports: bool = True) -> World:
    """Make ``count`` runs, of which ``each`` have each kind of hole, with their evidence.

    Without ``reports`` the evidence is provenance alone.
    """
    config = CONFIG | ({} if reports else {"execution.report": "false"})
    world, made = World(folder, config), _Made()
    for name in ("good", "bad"):
        write_key_pair(folder / f"{name}.key", generate_key())
    (folder / "config.json").write_text(json.dumps(config))
    holes = [name for name in HOLES for _ in range(each)]
    stride = max(1, count // len(holes))
    hole_of = {number * stride: name for number, name in enumerate(holes)}
    for number in range(count):
        hole = hole_of.get(number, "")
        if hole == "child":
            world.expected[_make_pipeline(number, count, made)] = EXPECTED[hole]
            world.finished += 3
            continue
        if hole == "gap":
            made.lost.append(with_metadata(task_run(number), creationTimestamp="2026-11-01T09:59:00Z"))
        else:
            _make_task(hole, task_run(number), number, made)
        world.finished += hole != "skipped"
        if hole:
            world.expected[uid_of(number)] = EXPECTED[hole]
    _write(world, made)
    _write_ledger(world, made)
    _attest(world, made.good, "good")
    _attest(world, made.stranger, "bad")
    _remove(folder / "layout", set(made.removed))
    return world


@dataclass
class _Made:
    """Runs of the export, runs to attest with either key, UIDs to take out of the store, runs that were gone
    when the controller came back, and the log."""

    exported: list[Json] = field(default_factory=list)
    good: list[Json] = field(default_factory=list)
    stranger: list[Json] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    lost: list[Json] = field(default_factory=list)
    log: list[Json] = field(default_factory=list)


def _make_pipeline(number: int, count: int, made: _Made) -> str:
    """Make a PipelineRun with two children, of which one is in no source and no store; return its name."""
    names = [f"pipe-{number}-{task}" for task in ("a", "b")]
    parent = pipeline_run(number, names)
    namespace, uid = parent["metadata"]["namespace"], parent["metadata"]["uid"]
    tasks = [
        with_metadata(
            task_run(count + 2 * number + place), name=name, namespace=namespace,
            ownerReferences=owned(uid, f"pipe-{number}"), creationTimestamp=time_of(number),
        )
        for place, name in enumerate(names)
    ]  # fmt: skip
    known = (parent, tasks[0])
    made.exported += known
    # the parent is attested with both, as the controller saw them
    made.good += [parent, *tasks]
    made.removed.append(tasks[1]["metadata"]["uid"])
    made.log += [event("create", without(one, "status"), time_of(number)) for one in known]
    made.log += [event("update", one, time_of(number, 31)) for one in known]
    return f"{namespace}/{names[1]}"


def _make_task(hole: str, run: Json, number: int, made: _Made) -> None:
    uid = run["metadata"]["uid"]
    if hole == "skipped":
        run = with_metadata(run, labels={CONFIG["filter.skip"]: "true"})
    elif hole == "marked":
        run = with_metadata(run, annotations={"chains.tekton.dev/signed": "true"})
    elif hole == "failed":
        told = json.dumps({"uid": uid, "state": "failed", "reason": "registry away"})
        marks = {"chains.tekton.dev/signed": "failed", "chains.tekton.dev/outcome": told}
        run = with_metadata(run, annotations=marks)
    is_gone = hole in {"deleted", "stripped"}
    if not is_gone:
        made.exported.append(run)
    signed = {
        "": made.good, "removed": made.good, "replaced": made.good, "stranger": made.stranger,
    }.get(hole, [])  # fmt: skip
    signed.append({**run, "spec": {"params": [{"name": "n", "value": "x"}]}} if hole == "replaced" else run)
    if hole == "removed":
        made.removed.append(uid)
    held = with_metadata(run, finalizers=[FINALIZER])
    made.log.append(event("create", without(run, "status"), time_of(number), "jane"))
    made.log.append(event("patch", without(held, "status"), time_of(number, 2), "chains"))
    made.log.append(event("update", held, time_of(number, 9)))
    if hole == "stripped":
        made.log.append(event("patch", run, time_of(number, 10), "mallory"))
    if is_gone:
        gone = {"kind": "Status", "details": {"name": run["metadata"]["name"], "uid": uid}}
        made.log.append(event("delete", run, time_of(number, 11), "mallory", responseObject=gone))


def _write(world: World, made: _Made) -> None:
    runs = {"apiVersion": "v1", "kind": "List", "items": made.exported}
    (world.folder / "runs.json").write_bytes(orjson.dumps(runs))
    (world.folder / "log").mkdir()
    half = len(made.log) // 2
    for name, part in (("audit-2026.log", made.log[:half]), ("audit.log", made.log[half:])):
        lines = b"".join(orjson.dumps(one) + b"\n" for one in part)
        (world.folder / "log" / name).write_bytes(lines)


def _write_ledger(world: World, made: _Made) -> None:
    """Write the ledger of a controller that was down for an hour, in which the lost runs vanished.

    It never saw the runs that were deleted at once. Of those with good evidence it says so, of the others
    nothing.
    """
    at = datetime(2026, 10, 1, tzinfo=UTC)
    clock, sealer = Clock(at), sealer_of(world.folder)
    (world.folder / "ledger.pem").chmod(0o600)
    (world.folder / "ledger.pub").write_bytes(sealer.signer.public_pem)
    attested = {raw["metadata"]["uid"] for raw in made.good}
    writer = LogWriter(world.folder / "ledger", ORIGIN, clock)
    for start in range(0, len(made.exported), 500):
        facts = []
        for raw in made.exported[start : start + 500]:
            run, ended = _run(raw), raw["status"]["completionTime"]
            created, succeeded = (
                raw["metadata"]["creationTimestamp"],
                raw["status"]["conditions"][0]["status"] == "True",
            )
            facts += [
                RunEntry(at, EntryKind.SEEN, run, created=created),
                RunEntry(at, EntryKind.FINISHED, run, completed=ended, succeeded=succeeded),
            ]
            if run.uid in attested:
                facts.append(RunEntry(at, EntryKind.EVIDENCED, run))
        assert not any(writer.append(facts))
    clock.now, end = (datetime.fromisoformat(one) for one in GAP)
    begun = [
        RunEntry(at, EntryKind.SEEN, _run(raw), created=raw["metadata"]["creationTimestamp"])
        for raw in made.lost
    ]
    assert not any(writer.append(begun))
    since, clock.now = clock.now, end
    gone = [
        RunEntry(at, EntryKind.REMOVED, _run(raw), reason="gone when the watch began again")
        for raw in made.lost
    ]
    assert not any(writer.append([GapEntry(at, since, end, "no controller ran"), *gone]))
    clock.move(days=1)
    assert close_due(writer, sealer, clock.now)
    writer.close()


def _run(raw: Json) -> Run:
    metadata = raw["metadata"]
    return Run(raw["kind"], metadata["namespace"], metadata["name"], metadata["uid"])


def _attest(world: World, runs: list[Json], key: str) -> None:
    intake = Intake()
    intake.add("runs", orjson.dumps({"apiVersion": "v1", "kind": "List", "items": runs}))
    assert not intake.problems

    async def work() -> None:
        store, signer = f"oci-layout:{world.folder / 'layout'}", str(world.folder / f"{key}.key")
        async with open_flow(parse_config(world.config), stores=[store], signer=signer) as flow:
            outcomes = await attest_all(intake, flow)
        assert {one.state for one in outcomes} <= {"signed"}

    asyncio.run(work())


def _remove(layout: Path, uids: set[str]) -> None:
    """Take the evidence of some runs out of a layout, as somebody who may write to the store can.

    The index has a line for each manifest. The others stay as they are, so that a search stays fast.
    """
    first, *lines, last = (layout / "index.json").read_text().rstrip("\n").split("\n")
    manifests = [json.loads(line.removesuffix(",")) for line in lines]
    kept = [
        line.removesuffix(",")
        for line, one in zip(lines, manifests, strict=True)
        if not uids & set(one.get("annotations", {}).get("provenance.chains/run-uid", "").split(","))
    ]
    (layout / "index.json").write_text("\n".join((first, ",\n".join(kept), last, "")))
