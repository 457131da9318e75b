from typing import Any

import pytest

from chains.statements import type_hints
from chains.tekton.image_name import parse_image_digest, parse_repository

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (f"registry.example.com/a/b@{DIGEST}", "registry.example.com/a/b"),
        (f"registry.example.com:5000/aa:v1@{DIGEST}", "registry.example.com:5000/aa"),
        (f"alpine@{DIGEST}", "index.docker.io/library/alpine"),
        (f"docker.io/team/app@{DIGEST}", "index.docker.io/team/app"),
        (f"localhost/xy@{DIGEST}", "localhost/xy"),
    ],
)
def test_image_names_are_read_as_the_peer_reads_them(text: str, name: str) -> None:
    image = parse_image_digest(text)
    assert image is not None
    assert (image.repository, image.hex, str(image)) == (name, HEX, f"{name}@{DIGEST}")


@pytest.mark.parametrize(
    "text",
    ["a@b", f"UPPER@{DIGEST}", "alpine@sha256:xyz", f"alpine@{DIGEST}@{DIGEST}", "alpine", f"@{DIGEST}",
     f"alpine@sha512:{HEX}{HEX}", f"alpine@sha256:{HEX.upper()}", "", f"a b@{DIGEST}"],
)  # fmt: skip
def test_what_is_no_image_is_none(text: str) -> None:
    assert parse_image_digest(text) is None


def test_a_repository_alone_is_read_too() -> None:
    assert parse_repository("ghcr.io/team/app") == "ghcr.io/team/app"
    assert parse_repository("") is None


def test_subjects_come_by_first_appearance_and_equal_ones_merge() -> None:
    results: list[type_hints.Result] = [
        ("b-IMAGE_URL", "registry.example.com/bb"),
        ("a-IMAGE_URL", "registry.example.com/aa"),
        ("a-IMAGE_DIGEST", DIGEST),
        ("b-IMAGE_DIGEST", DIGEST),
        ("IMAGES", f"registry.example.com/aa:v1@{DIGEST},\nregistry.example.com/cc@{DIGEST}"),
    ]
    names = [subject.name for subject in type_hints.built_subjects(results)]
    assert names == ["registry.example.com/bb", "registry.example.com/aa", "registry.example.com/cc"]


def test_equal_subjects_merge_with_the_first_that_shares_a_digest() -> None:
    subjects = type_hints.Subjects()
    subjects.add("a", {"sha256": "1"})
    subjects.add("a", {"sha1": "2"})
    subjects.add("a", {"sha1": "2", "sha256": "1", "sha512": "3"})
    subjects.add("b", {"sha256": "1"})
    assert subjects.found == [
        ("a", {"sha256": "1", "sha1": "2", "sha512": "3"}), ("a", {"sha1": "2"}), ("b", {"sha256": "1"}),
    ]  # fmt: skip


def test_only_object_results_marked_as_build_artifacts_are_subjects_of_v2alpha4() -> None:
    marked = {"uri": "pkg:maven/x@1", "digest": DIGEST, "isBuildArtifact": "true"}
    results: list[type_hints.Result] = [
        ("a-ARTIFACT_OUTPUTS", marked),
        ("b-ARTIFACT_OUTPUTS", {"uri": "pkg:maven/y@1", "digest": DIGEST}),
        ("c-ARTIFACT_URI", "pkg:maven/z@1"),
        ("c-ARTIFACT_DIGEST", DIGEST),
    ]
    assert [subject.name for subject in type_hints.built_subjects(results)] == ["pkg:maven/x@1"]
    assert [subject.name for subject in type_hints.all_subjects(results)] == [
        "pkg:maven/z@1", "pkg:maven/x@1", "pkg:maven/y@1",
    ]  # fmt: skip
    assert [type_hints.is_byproduct(result) for result in results] == [False, True, True, True]


def test_a_digest_with_white_space_is_normalised_so_that_verifiers_take_the_statement() -> None:
    assert type_hints.parse_digest(f" SHA256: {HEX} ") == ("sha256", HEX)


@pytest.mark.parametrize(
    "text", ["", "sha256:", f"md5:{HEX}", f"sha256:{HEX[:-1]}", f"sha256:{'g' * 64}", HEX, "a:b:c"]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    assert type_hints.parse_digest(text) is None


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("a-IMAGE_URL", "registry.example.com/aa", "no result a-IMAGE_DIGEST to go with it"),
        ("a-IMAGE_DIGEST", DIGEST, "no result a-IMAGE_URL to go with it"),
        ("a-IMAGE_URL", ["x"], "expected a string that is not empty"),
        ("a-ARTIFACT_URI", "x", "no result a-ARTIFACT_DIGEST to go with it"),
        ("IMAGES", "registry.example.com/a:v1", "is no image with a sha256 digest"),
        ("IMAGES", ["x"], "expected a string of images"),
        ("ARTIFACT_OUTPUTS", "x", "expected an object with uri and digest"),
        ("ARTIFACT_INPUTS", {"digest": DIGEST}, "the object has no uri"),
        ("ARTIFACT_INPUTS", {"uri": "x", "digest": "abc"}, "'abc' is no digest: expected algorithm:hex"),
    ],
)
def test_a_hint_that_is_not_taken_is_told_with_its_reason(name: str, value: Any, reason: str) -> None:
    found = list(type_hints.rejections([(name, value)]))
    assert [item.name for item in found] == [name]
    assert reason in found[0].reason


def test_pairs_with_wrong_digests_are_told() -> None:
    results: list[type_hints.Result] = [("IMAGE_URL", "alpine"), ("IMAGE_DIGEST", "sha256:x")]
    assert "is no image with a sha256 digest" in next(type_hints.rejections(results)).reason
    results = [("ARTIFACT_URI", "alpine"), ("ARTIFACT_DIGEST", "sha256:x")]
    assert "is no digest" in next(type_hints.rejections(results)).reason


def test_git_hints_take_the_last_and_the_spdx_form() -> None:
    assert type_hints.git_hint(
        [("CHAINS-GIT_URL", "a"), ("CHAINS-GIT_COMMIT", "1")], [("CHAINS-GIT_URL", "b"), ("x", "y")]
    ) == ("1", "b")
    assert type_hints.spdx_git("https://git.example.com/r") == "git+https://git.example.com/r.git"
    assert type_hints.spdx_git("git+https://git.example.com/r.git") == "git+https://git.example.com/r.git"
