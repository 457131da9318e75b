"""What a word on the command line means, and what is refused before anything is looked for."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from chains.assembly.registry_tags import RegistryTags
from chains.errors import UsageError
from chains.verify.render import to_text
from chains.verify.targets import MOST_FILE, DigestTarget, FileTarget, TagTarget, parse_digest, parse_target
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from storage.base import StoreOptions
from storage.errors import StoreUnavailable
from storage.formats.manifests import Descriptor
from storage.oci.registry import RegistryClient
from tests.faults.verify.forge import (
    DIGEST,
    HERE,
    HEX,
    IMAGE,
    NOW,
    OTHER,
    Shelf,
    bundle,
    criteria,
    envelope,
    form_a,
    image_bundle,
    provenance,
    reasons,
    results,
    signer,
    subject,
)

Json = Any


def ask(target: str, *shelves: Shelf, **more: Json) -> Verification:
    stores = shelves or (Shelf(form_a(provenance())),)
    tags = more.pop("resolver", None)
    return asyncio.run(Verifier(criteria(), stores, resolver=tags, clock=lambda: NOW).target(target, **more))


@pytest.mark.parametrize(
    ("word", "digest", "reference"),
    [
        (f"{IMAGE}@{DIGEST}", DIGEST, IMAGE),
        (f"{IMAGE}:v1@{DIGEST}", DIGEST, IMAGE),
        (f"oci://{IMAGE}@{DIGEST}", DIGEST, IMAGE),
        (f"docker://{IMAGE}@{DIGEST}", DIGEST, IMAGE),
        (f"localhost:5000/app@{DIGEST}", DIGEST, "localhost:5000/app"),
        (f"alpine@{DIGEST}", DIGEST, "index.docker.io/library/alpine"),
        (f"docker.io/team/app@{DIGEST}", DIGEST, "index.docker.io/team/app"),
        (DIGEST, DIGEST, ""),
        (HEX, DIGEST, ""),
        ("sha512:" + "ab" * 64, "sha512:" + "ab" * 64, ""),
        ("sha384:" + "ab" * 48, "sha384:" + "ab" * 48, ""),
    ],
)
def test_images_with_digest_and_digests(word: str, digest: str, reference: str) -> None:
    assert parse_target(word) == DigestTarget(word, digest, reference)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("", "is no target"),
        ("x", "no target"),
        ("two words", "no target"),
        ("alpine", "no target"),
        ("https://registry.example.com/app", "no target"),
        ("missing.json", "no such file"),
        ("missing.yaml", "no such file"),
        ("./missing", "no such file"),
        ("/missing", "no such file"),
        ("\0", "no target"),
        ("x" * 5000, "no target"),
        ("sha256:abc", "no digest"),
        ("sha256:", "no digest"),
        (f"sha256:{HEX.upper()}", "lower case"),
        (HEX.upper(), "lower case"),
        (f"SHA256:{HEX}", "no digest"),
        ("sha1:" + "a" * 40, "no digest"),
        ("md5:" + "a" * 32, "no digest"),
        (f"{IMAGE}@sha256:abc", "no image with digest"),
        (f"{IMAGE}@{DIGEST}x", "no image with digest"),
        (f"{IMAGE}@sha256:{HEX.upper()}", "no image with digest"),
        (f"{IMAGE}@sha512:{'ab' * 64}", "no image with digest"),
        (f"@{DIGEST}", "no image with digest"),
        (f"{IMAGE}:v1", "--resolve"),
        (str(HERE), "folder"),
    ],
)
def test_what_is_no_target_is_a_usage_error_that_says_what_is(word: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_target(word)
    assert caught.value.exit_code == 2


def test_a_digest_to_compare_with_may_come_without_its_algorithm() -> None:
    assert parse_digest(HEX) == DIGEST
    for wrong in ("", "x", HEX + "\n", "sha256"):
        with pytest.raises(UsageError, match="is no digest: expected sha256: and 64 hex digits"):
            parse_digest(wrong)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (bundle(provenance()), "bundle"),
        (b"\xef\xbb\xbf" + bundle(provenance()), "bundle"),
        (b" \n" + bundle(provenance()), "bundle"),
        (bundle(provenance())[:400], "bundle"),
        (envelope(provenance()).to_bytes(), "dsse"),
        (envelope(provenance()).to_bytes()[:-5], "dsse"),
        (b'{"kind":"TaskRun","metadata":{"name":"\\"dsseEnvelope\\":"}}', "run"),
        (b'{"kind":"TaskRun","metadata":{"name":"r", "x": "dsseEnvelope"', "run"),
        (b"kind: TaskRun\nmetadata: {name: 'a \"verificationMaterial\": b'}\n", "run"),
        (b"[]", "run"),
        (b"", "run"),
        (b"{}", "run"),
        (b"{", "run"),
        (b'{"verificationMaterial":' + b" " * (40 << 20), "bundle"),
    ],
    ids=range(14),
)
def test_files_are_told_apart_by_what_is_in_them(data: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    found = parse_target(str(path))
    assert isinstance(found, FileTarget)
    assert found.kind == kind


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(bundle(provenance()))))
    found = ask("-")
    assert found.verdict is Verdict.VERIFIED
    assert found.target.ref == "standard input"


def test_a_file_that_cannot_be_read_is_a_usage_error(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(UsageError, match="loop: no such file"):
        parse_target(str(loop))


class Tags:
    def __init__(self, answer: str | Exception) -> None:
        self._answer = answer

    async def resolve(self, reference: str) -> str:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def test_a_tag_whose_registry_is_down_is_not_decided() -> None:
    found = ask(f"{IMAGE}:v1", resolve=True, resolver=Tags(StoreUnavailable("no route")))
    assert found.verdict is Verdict.INDETERMINATE
    assert "no route" in found.summary


def test_a_tag_needs_something_that_resolves_it() -> None:
    with pytest.raises(UsageError, match="resolve"):
        ask(f"{IMAGE}:v1", resolve=True)
    assert parse_target(f"oci://{IMAGE}", resolve=True) == TagTarget(IMAGE)


@pytest.mark.parametrize(
    ("reference", "asked"),
    [
        (f"{IMAGE}:v1", "v1"),
        (IMAGE, "latest"),
        ("localhost:5000/app", "latest"),
        ("localhost:5000/app:x", "x"),
    ],
)
def test_a_registry_is_asked_once_for_what_a_tag_points_to(
    reference: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions: list[str] = []

    async def head(self: Json, repository: Json, tag: str, **more: Json) -> Descriptor | None:
        questions.append(tag)
        return Descriptor("", DIGEST, 1) if tag != "x" else None

    monkeypatch.setattr(RegistryClient, "head_manifest", head)
    if asked == "x":
        with pytest.raises(UsageError, match="no tag"):
            asyncio.run(RegistryTags(StoreOptions()).resolve(reference))
    else:
        assert asyncio.run(RegistryTags().resolve(reference)) == DIGEST
    assert questions == [asked]


def test_a_registry_that_answers_no_digest_leaves_a_tag_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    async def head(self: Json, repository: Json, tag: str, **more: Json) -> Descriptor:
        return Descriptor("", "sha512:x", 1)

    monkeypatch.setattr(RegistryClient, "head_manifest", head)
    assert ask(f"{IMAGE}:v1", resolve=True, resolver=RegistryTags()).verdict is Verdict.INDETERMINATE


@pytest.mark.parametrize("data", [bundle(provenance()), envelope(provenance()).to_bytes()])
def test_a_bundle_file_alone_says_what_it_speaks_for_and_that_nothing_was_compared(
    data: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(data)
    found = asyncio.run(Verifier(criteria(), clock=lambda: NOW).target(str(path)))
    assert found.verdict is Verdict.VERIFIED
    assert results(found)["subject"] == "skip"
    assert f"{IMAGE} {DIGEST}" in next(check.actual for check in found.checks if check.id == "subject")
    assert "subject: not compared" in to_text(found, width=4000).splitlines()[1]
    assert found.to_json()["subject"]["digest"] == {}


def test_a_bundle_file_with_a_digest_is_compared(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(bundle(provenance()))
    found = ask(str(path), digest=HEX)
    assert found.verdict is Verdict.VERIFIED
    assert results(found)["subject"] == "pass"
    assert "not compared" not in to_text(found, verbose=True)
    found = ask(str(path), digest=f"sha256:{OTHER}")
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"subject_mismatch"}
    with pytest.raises(UsageError, match="'sha256:x' is no digest"):
        ask(str(path), digest="sha256:x")


def test_a_digest_to_compare_with_belongs_to_bundle_files() -> None:
    with pytest.raises(UsageError, match="bundle"):
        ask(DIGEST, digest=HEX)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bundle(provenance(), signer("stranger")), "key_unknown"),
        (bundle(provenance(predicateType="https://example.com/x")), "predicate_type_mismatch"),
        (image_bundle().data, "predicate_type_mismatch"),
        (bundle({"_type": "x"}), "statement_invalid"),
        (b"{}", "unreadable"),
    ],
)
def test_a_bundle_file_that_is_wrong_fails(data: bytes, reason: str) -> None:
    found = Verifier(criteria(), clock=lambda: NOW).judge_bundle(data, ref="file")
    assert found.verdict is Verdict.FAILED
    assert reason in reasons(found)


def test_a_bundle_file_of_another_type_is_verified_when_it_was_asked_for() -> None:
    data = bundle(provenance(predicateType="https://example.com/x"))
    asked = criteria(predicate_types=["https://example.com/x"])
    assert Verifier(asked, clock=lambda: NOW).judge_bundle(data, ref="x").verdict is Verdict.VERIFIED


def test_a_bundle_without_subjects_speaks_for_nothing_and_says_so() -> None:
    statement = {**provenance(), "subject": []}
    found = Verifier(criteria(), clock=lambda: NOW).judge_bundle(bundle(statement), ref="x")
    assert "speaks for no subject" in to_text(found, verbose=True)
    many = provenance(*[subject(f"{number:064x}", f"n{number}") for number in range(20)])
    text = to_text(
        Verifier(criteria(), clock=lambda: NOW).judge_bundle(bundle(many), ref="x"), verbose=True, width=2000
    )
    assert "20 subjects: n0 sha256:" in text


def runs_file(tmp_path: Path, *names: str) -> str:
    path = tmp_path / "runs.json"
    items = [
        {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": {"name": name, "namespace": "ns"}}
        for name in names
    ]
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return str(path)


def test_a_file_with_several_runs_needs_one_of_them_named(tmp_path: Path) -> None:
    path = runs_file(tmp_path, "a", "b")
    with pytest.raises(UsageError, match="2 runs"):
        ask(path)
    assert ask(path, run="ns/a").target.ref == "taskrun/ns/a"
    assert ask(path, run="taskrun/ns/b").target.ref == "taskrun/ns/b"
    with pytest.raises(UsageError, match="no run ns/c"):
        ask(path, run="ns/c")


def test_several_targets_are_answered_in_order_and_one_for_each_run(tmp_path: Path) -> None:
    bundle_file = tmp_path / "b.json"
    bundle_file.write_bytes(bundle(provenance()))
    words = [runs_file(tmp_path, "a", "b"), DIGEST, str(bundle_file)]
    shelf = Shelf(form_a(provenance()))
    found = asyncio.run(Verifier(criteria(), [shelf], clock=lambda: NOW).targets(words))
    assert [each.target.ref for each in found] == [
        "taskrun/ns/a", "taskrun/ns/b", DIGEST, str(bundle_file),
    ]  # fmt: skip
    assert [each.exit_code for each in found] == [1, 1, 0, 0]


def test_nothing_is_verified_when_one_of_several_targets_cannot_be_meant() -> None:
    shelf = Shelf(form_a(provenance()))
    with pytest.raises(UsageError, match=r"missing\.json: no such file"):
        asyncio.run(Verifier(criteria(), [shelf], clock=lambda: NOW).targets([DIGEST, "missing.json"]))
    assert shelf.asked == []


def test_a_file_without_runs_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="neither a run nor a bundle"):
        ask(str(HERE / "runs" / "a-pod.json"))


def test_a_file_that_is_larger_than_is_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    with path.open("wb") as file:
        file.truncate(MOST_FILE + 1)
    with pytest.raises(UsageError, match=r"runs\.json: larger than 48 MiB; split it"):
        parse_target(str(path))
