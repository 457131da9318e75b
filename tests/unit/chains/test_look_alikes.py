"""No member may look like one with a fixed name, at any level: readers in Go would take it for that one."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.errors import InputError
from chains.statements.claims import run_uid
from chains.tekton.run_files import Intake
from chains.verify.fixed_names import check_statement_names
from chains.verify.reasons import Reason
from chains.verify.verdict import Verdict
from signers import shapes
from signers.errors import FormatError
from signers.formats.bundle import Bundle
from signers.formats.dsse import Envelope
from signers.sigstore.signing_config import load_signing_config
from signers.sigstore.trusted_root import TrustedRoot
from signers.strict_json import check_names, check_shape
from tests.faults.verify.forge import (
    ask,
    envelope,
    form_b,
    old_provenance,
    provenance,
    reasons,
)
from tests.unit.chains.verify.test_hermetic import report

Json = Any
FORGED = Path(__file__).parents[2] / "faults" / "verify" / "forged"
TEKTON = {"buildConfigSource": {"ref": "sha1:a", "repository": "r", "path": "p"}, "runSpec": {"taskRef": {"resolver": "git"}}}  # fmt: skip
DESCRIPTOR = {"name": "n", "uri": "u", "digest": {"sha256": "aa"}, "annotations": {}}


def whole_provenance() -> Json:
    made = provenance()
    made["predicate"]["buildDefinition"] |= {
        "externalParameters": copy.deepcopy(TEKTON), "resolvedDependencies": [dict(DESCRIPTOR)],
    }  # fmt: skip
    made["predicate"]["runDetails"]["byproducts"] = [dict(DESCRIPTOR)]
    return made


def alike(name: str) -> set[str]:
    """Return spellings that Go's readers, or protobuf's, take for ``name``."""
    found = {
        name.upper(),
        name.lower(),
        name.title(),
        f"{name}_",
        name.replace("_", ""),
    }
    snake = "".join(f"_{char.lower()}" if char.isupper() else char for char in name)
    found |= {snake, name.replace("s", "\u017f"), name.replace("k", "\u212a"), name.swapcase()}
    return found - {name, ""}


def objects(value: Json, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], dict[str, Json]]]:
    if isinstance(value, dict):
        yield path, value
    for key, item in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from objects(item, (*path, key))


FREE = {
    "digest",
    "annotations",
    "internalParameters",
    "parameters",
    "environment",
    "buildConfig",
    "conditions",
}


def fixed(value: Json) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield (path, name) of each member with a fixed name; what lies in a free-form one is left out."""
    for path, found in objects(value):
        if not FREE.isdisjoint(path):
            continue
        yield from ((path, name) for name in found)


def beside(value: Json, path: tuple[Any, ...], name: str, other: str, *, instead: bool) -> Json:
    changed = copy.deepcopy(value)
    place = changed
    for key in path:
        place = place[key]
    place[other] = place.pop(name) if instead else copy.deepcopy(place[name])
    return changed


STATEMENTS = {"v1": whole_provenance(), "v0.2": old_provenance(), "report": report()}
CASES = [(kind, path, name) for kind, made in STATEMENTS.items() for path, name in fixed(made)]


@pytest.mark.parametrize(("kind", "path", "name"), CASES, ids=[f"{kind}-{'.'.join(map(str, (*path, name)))}" for kind, path, name in CASES])  # fmt: skip
def test_a_statement_with_a_member_that_looks_like_another_is_refused(
    kind: str, path: tuple[Any, ...], name: str
) -> None:
    check_statement_names(STATEMENTS[kind])
    for other in alike(name) - {"invocationID"}:
        for instead in (False, True):
            if (instead and path == () and name == "predicateType") or (instead and name == "buildType"):
                continue  # which names are fixed hangs on these: without them it is no such statement
            changed = beside(STATEMENTS[kind], path, name, other, instead=instead)
            with pytest.raises(FormatError, match="must be spelled"):
                check_statement_names(changed)


@pytest.mark.parametrize("name", ["_Type", "type", "_TYPE", "\u017fubject", "predicate_type", "Predicate", "PREDICATETYPE"])  # fmt: skip
def test_signed_evidence_with_a_look_alike_is_never_verified(name: str) -> None:
    found = ask(form_b(provenance() | {name: "x"}))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {Reason.STATEMENT_INVALID.value}


def test_free_form_members_may_hold_names_that_differ_in_case_alone() -> None:
    made = whole_provenance()
    pair = {"Foo": "1", "foo": "2", "_foo": "3"}
    definition = made["predicate"]["buildDefinition"]
    definition["internalParameters"] = {**pair, "annotations": pair}
    definition["externalParameters"] |= pair
    definition["externalParameters"]["runSpec"] |= {"params": [{"name": "x", "value": pair}], **pair}
    definition["resolvedDependencies"][0]["annotations"] = pair
    made["subject"][0]["annotations"] = pair
    made["extension"], made["Extension"] = 1, 2
    assert ask(form_b(made)).verdict is Verdict.VERIFIED
    # parameters of other builders have names of their own, even those of Tekton's
    definition |= {"buildType": "urn:other", "externalParameters": {"runSpec": {}, "RunSpec": {}}}
    assert ask(form_b(made)).verdict is Verdict.VERIFIED
    old = old_provenance()
    old["predicate"]["invocation"] = {"parameters": pair, "environment": {"labels": pair}}
    assert ask(form_b(old)).verdict is Verdict.VERIFIED
    told = report()
    told["predicate"]["attributes"].append({"attribute": "RUN_FACTS", "conditions": pair})
    check_statement_names(told)


def test_the_older_spelling_of_the_invocation_id_is_read_and_not_beside_the_newer() -> None:
    made = provenance()
    metadata = made["predicate"]["runDetails"]["metadata"]
    metadata["invocationID"] = metadata.pop("invocationId")
    found = ask(form_b(made))
    assert found.verdict is Verdict.VERIFIED
    assert found.attestations[0].statement is not None
    assert run_uid(found.attestations[0].statement) == "uid-1"
    metadata["invocationId"] = "uid-2"
    assert ask(form_b(made)).verdict is Verdict.FAILED


def walk(shape: shapes.Shape) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, below in shape.items():
        yield (), name
        yield from (((name, *path), inner) for path, inner in walk(below or {}))


SHAPES = {
    "trusted root": shapes.TRUSTED_ROOT, "signing config": shapes.SIGNING_CONFIG, "material": shapes.MATERIAL,
    "cosign's entry": shapes.COSIGN_BUNDLE, "cosign's time": shapes.COSIGN_TIMESTAMP, "cosign's key": shapes.COSIGN_KEY,
    **{" ".join(kind): shape for kind, shape in shapes.ENTRY_BODIES.items()},
}  # fmt: skip


@pytest.mark.parametrize("which", SHAPES)
@pytest.mark.parametrize("in_list", [False, True])
def test_every_name_of_every_shape_is_held_to_its_spelling(which: str, in_list: bool) -> None:
    for path, name in walk(SHAPES[which]):
        for other in alike(name):
            if other in {inner for place, inner in walk(SHAPES[which]) if place == path}:
                continue
            value: Json = {other: 1}
            for key in reversed(path):
                value = {key: [value] if in_list else value}
            with pytest.raises(FormatError, match="must be spelled"):
                check_shape(value, SHAPES[which], which)
            value = {name: 1, "other": 2}
            for key in reversed(path):
                value = {key: value}
            check_shape(value, SHAPES[which], which)


def test_the_readers_of_files_and_bundles_look_at_every_level(tmp_path: Path) -> None:
    root = json.loads((FORGED / "trusted_root.json").read_bytes())
    for path, name in list(fixed(root)):
        changed = beside(root, path, name, name.swapcase(), instead=False)
        with pytest.raises(FormatError, match="must be spelled"):
            TrustedRoot.from_bytes(json.dumps(changed).encode())
    honest = json.loads((FORGED / "honest-v1.bundle.json").read_bytes())
    for path, name in list(fixed(honest)):
        changed = beside(honest, path, name, name.swapcase(), instead=False)
        with pytest.raises(FormatError, match="must be spelled"):
            Bundle.from_bytes(json.dumps(changed).encode())
    known = json.loads(envelope(provenance()).to_bytes())
    for path, name in list(fixed(known)):
        changed = beside(known, path, name, name.swapcase(), instead=False)
        with pytest.raises(FormatError, match="must be spelled"):
            Envelope.from_bytes(json.dumps(changed).encode())
    file = tmp_path / "signing_config.json"
    services = [{"url": "https://x", "majorApiVersion": 1, "validFor": {"start": "2026-01-01T00:00:00Z"}}]
    config = {"mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json", "caUrls": services}
    file.write_text(json.dumps(config))
    load_signing_config(file)
    for path, name in list(fixed(config)):
        file.write_text(json.dumps(beside(config, path, name, name.upper(), instead=False)))
        with pytest.raises(FormatError, match="must be spelled"):
            load_signing_config(file)


NAMES = st.sampled_from(["_type", "subject", "predicateType", "predicate", "docker-manifest-digest", "keyid"])
SAME = {"s": "sS\u017f", "k": "kK\u212a"}


@settings(max_examples=300, deadline=None)
@given(st.data(), NAMES)
def test_whatever_folds_to_a_known_name_is_refused_and_nothing_else(data: st.DataObject, name: str) -> None:
    drawn = "".join(data.draw(st.sampled_from([*SAME.get(char, char + char.upper())])) for char in name)
    if drawn == name:
        check_names({drawn: 1}, [name], "x")
    else:
        with pytest.raises(FormatError, match="must be spelled"):
            check_names({drawn: 1, name: 2}, [name], "x")
    check_names({name: 1, f"{name}x": 2, f"\u0301{name}": 3}, [name], "x")


def exported(change: Json = None, status: Json = None, **more: Json) -> Json:
    run = {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": "r", "namespace": "ns", "uid": "u", "labels": {"A": "1", "a": "2"}},
        "spec": {"params": [{"name": "p", "value": {"K": "1", "k": "2"}}], **(change or {})},
        "status": {"conditions": [{"type": "Succeeded", "status": "True"}], **(status or {})},
    }  # fmt: skip
    return run | more


def taken(document: Json) -> Intake:
    intake = Intake()
    intake.add("runs.json", json.dumps(document).encode())
    return intake


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (exported({"Params": []}), "taskrun/ns/r: field spec.Params must be spelled 'params'"),
        (exported({"task_ref": {}}), "taskrun/ns/r: field spec.task_ref must be spelled 'taskRef'"),
        (exported(status={"result\u017f": []}), "taskrun/ns/r: field status.result\u017f must be spelled 'results'"),
        (exported(status={"steps": [{"ImageID": "x"}]}), "field status.steps[0].ImageID must be spelled 'imageID'"),
    ],
)  # fmt: skip
def test_a_run_file_with_a_field_that_looks_like_tektons_is_refused(run: Json, words: str) -> None:
    intake = taken(
        {"apiVersion": "v1", "kind": "List", "items": [run, exported() | {"metadata": {"name": "good"}}]}
    )
    assert not intake.problems
    with pytest.raises(InputError, match=re.escape(words)):
        intake.snapshot(("TaskRun", "ns", "r"))
    assert intake.snapshot(("TaskRun", "default", "good")).name == "good"


@pytest.mark.parametrize("name", ["Kind", "\u212aind", "api_version", "Spec", "METADATA", "\u017ftatus"])
def test_an_object_or_list_with_a_look_alike_of_its_own_names_is_a_problem(name: str) -> None:
    run, good = exported(**{name: {}}), exported()
    good["metadata"]["name"] = "good"
    intake = taken({"apiVersion": "v1", "kind": "List", "items": [run, good]})
    assert [what for what, _ in intake.problems] == ["taskrun/ns/r"]
    assert "must be spelled" in intake.problems[0][1]
    assert list(intake.runs) == [("TaskRun", "ns", "good")]
    assert not taken({"apiVersion": "v1", "kind": "List", "items": [good], "Items": []}).runs
    renamed = exported()
    renamed["metadata"]["Name"] = "other"
    assert not taken(renamed).runs


def test_a_run_file_may_hold_labels_and_parameters_that_differ_in_case_alone() -> None:
    run = taken(exported({"unknown": 1, "Unknown": 2})).snapshot(("TaskRun", "ns", "r"))
    assert run.dropped == ("spec.unknown", "spec.Unknown")
