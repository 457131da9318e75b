import asyncio
import json
from base64 import b64decode

import pytest

from chains.attest.outcome import Outcome
from chains.attest.stores import Entry
from chains.controller.marks.patches import compact_outcome, is_marked, mark_patch
from storage.annotations import AnnotationStore
from storage.base import StoreOptions
from storage.errors import StoreRejected
from storage.record import IN_TOTO_PAYLOAD_TYPE, SIMPLE_SIGNING_TYPE, Origin, Record, Subject

METADATA = {
    "resourceVersion": "7",
    "finalizers": ["keep/me", "chains.tekton.dev/taskrun", "chains.tekton.dev"],
}
ENTRY = Entry("provenance", "oci:", "att", "sha256:ab", "stored", "registry.example.com/app:sha256-ab.att")


def outcome(state: str = "signed", *entries: Entry, reason: str = "") -> Outcome:
    return Outcome("taskrun/ns/r", "u", state, reason, entries or (ENTRY,))


@pytest.mark.parametrize(
    ("state", "word"), [("signed", "true"), ("failed", "failed"), ("skipped", "skipped")]
)
def test_one_patch_marks_labels_and_releases_for_the_version_that_was_read(state: str, word: str) -> None:
    patch = mark_patch("TaskRun", METADATA, outcome(state), {"chains.tekton.dev/payload-x": "eA=="})[
        "metadata"
    ]
    assert patch["resourceVersion"] == "7"
    assert patch["labels"] == {"provenance.chains/done": "true"}
    assert patch["finalizers"] == ["keep/me"]
    assert patch["annotations"]["chains.tekton.dev/signed"] == word
    assert patch["annotations"]["chains.tekton.dev/payload-x"] == "eA=="


def test_a_run_that_chains_marked_is_only_labelled_and_released() -> None:
    patch = mark_patch(
        "PipelineRun", {"resourceVersion": "7", "finalizers": ["chains.tekton.dev/pipelinerun"]}, None
    )
    assert patch["metadata"] == {
        "resourceVersion": "7", "labels": {"provenance.chains/done": "true"}, "finalizers": [],
    }  # fmt: skip
    assert "finalizers" not in mark_patch("TaskRun", {"resourceVersion": "7"}, None)["metadata"]


SIGNED, OUTCOME = "chains.tekton.dev/signed", "chains.tekton.dev/outcome"


@pytest.mark.parametrize("value", ["true", "failed", "skipped"])
def test_a_word_that_ends_a_run_is_a_mark(value: str) -> None:
    assert is_marked({"annotations": {SIGNED: value}})
    assert is_marked({"annotations": {SIGNED: value, OUTCOME: "no json"}})


@pytest.mark.parametrize("annotations", [None, {}, {SIGNED: ""}, {SIGNED: "false"}, {OUTCOME: "{}"}])
def test_nothing_else_is_one(annotations: dict[str, str] | None) -> None:
    assert not is_marked({"annotations": annotations})


def test_the_mark_of_the_run_that_was_copied_is_not_the_copys() -> None:
    told = compact_outcome(outcome("signed"))
    uid = json.loads(told)["uid"]
    assert is_marked({"uid": uid, "annotations": {SIGNED: "true", OUTCOME: told}})
    assert not is_marked({"uid": "another", "annotations": {SIGNED: "true", OUTCOME: told}})


def test_the_outcome_stays_small() -> None:
    written = json.loads(compact_outcome(outcome("failed", *[ENTRY] * 500, reason="x" * 5000)))
    assert written["state"] == "failed"
    assert len(written["reason"]) == 2000
    assert written["cut"] + len(written["entries"]) == 500
    assert len(json.dumps(written)) < 12_000


def record(kind: str, **more: object) -> Record:
    fields = {
        "origin": Origin("taskrun", "ns", "r", "uid-1"),
        "subjects": (Subject("registry.example.com/app", {"sha256": "ab" * 32}),),
        "payload": b"payload", "payload_type": IN_TOTO_PAYLOAD_TYPE, "predicate_type": kind, "bundle": b"{}",
        "envelope": b"envelope",
    }  # fmt: skip
    return Record(**(fields | more))  # type: ignore[arg-type]


def put(*records: Record) -> tuple[AnnotationStore, list[object]]:
    store = AnnotationStore("tekton:", StoreOptions())

    async def work() -> list[object]:
        return [await store.put(each) for each in records]

    return store, asyncio.run(work())


def test_annotations_are_spelled_as_the_peer_spells_them() -> None:
    image = record(
        "https://sigstore.dev/cosign/sign/v1",
        payload_type=SIMPLE_SIGNING_TYPE,
        envelope=b"",
        signature=b"raw",
    )
    store, _ = put(
        record("https://slsa.dev/provenance/v1"), record("https://in-toto.io/attestation/scai/v0.3"), image
    )
    taken = store.take("uid-1")
    assert {name: b64decode(value) for name, value in taken.items()} == {
        "chains.tekton.dev/payload-taskrun-uid-1": b"payload",
        "chains.tekton.dev/signature-taskrun-uid-1": b"envelope",
        "chains.tekton.dev/cert-taskrun-uid-1": b"",
        "chains.tekton.dev/chain-taskrun-uid-1": b"",
        "chains.tekton.dev/payload-report-uid-1": b"payload",
        "chains.tekton.dev/signature-report-uid-1": b"envelope",
        "chains.tekton.dev/cert-report-uid-1": b"",
        "chains.tekton.dev/chain-report-uid-1": b"",
        "chains.tekton.dev/payload-abababababab": b"payload",
        "chains.tekton.dev/signature-abababababab": b"raw",
        "chains.tekton.dev/cert-abababababab": b"",
        "chains.tekton.dev/chain-abababababab": b"",
    }
    assert store.take("uid-1") == {}


def test_what_would_not_fit_into_one_object_is_a_clear_failure() -> None:
    store, stored = put(record("https://slsa.dev/provenance/v1", payload=b"x" * 200_000))
    assert "kubernetes allows 256" in stored[0].failures[0].reason  # type: ignore[attr-defined]
    assert store.take("uid-1") == {}


def test_only_its_own_url_is_taken_and_nothing_is_found_by_digest() -> None:
    with pytest.raises(StoreRejected, match="expected tekton:"):
        AnnotationStore("tekton://x", StoreOptions())
    assert asyncio.run(AnnotationStore("tekton:", StoreOptions()).find("sha256:x")).evidence == ()
