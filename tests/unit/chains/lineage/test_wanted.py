"""The words of a question: what they mean, and which are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chains.errors import UsageError
from chains.lineage.statement_facts import Input, Role
from chains.lineage.wanted import (
    CommitWanted,
    InputWanted,
    Wanted,
    commit_wanted,
    dependency_wanted,
    is_keyid,
    step_image_wanted,
    task_wanted,
)

SHA, COMMIT = "0" * 64, "a" * 40
KEYID = "SHA256:Ai3+kMDsOx1+48VnwkPriCvVsdNCDcLUA6eWTbBry18"


def one(uri: str = "", *digests: str, role: Role = Role.DEPENDENCY) -> Input:
    return Input(role, uri, digests)


@pytest.mark.parametrize(
    "word", [f"sha256:{SHA}", SHA, f"r.example/a@sha256:{SHA}", f"oci://r.example/a:1@sha256:{SHA}"]
)
@pytest.mark.parametrize("read", [step_image_wanted, task_wanted, dependency_wanted])
def test_a_digest_decides_alone(word: str, read: Callable[[str], InputWanted]) -> None:
    wanted = read(word)
    assert wanted.fits(one("oci://other.example/b", f"sha256:{SHA}"))
    assert not wanted.fits(one("oci://r.example/a", "sha256:" + "1" * 64))
    assert not wanted.fits(one("oci://r.example/a"))


@pytest.mark.parametrize(
    ("word", "uri", "fits"),
    [
        ("r.example/a", "oci://r.example/a", True),
        ("r.example/a:3", "oci://R.example/a", True),
        ("r.example/a", "oci://r.example/a/b", False),
        ("r.example/a", "oci://r.example/ab", False),
        ("docker.io/alpine", "oci://docker.io/library/alpine", True),
        ("r.example/a", "git+https://r.example/a", False),
        ("r.example/a", "", False),
    ],
)
def test_a_step_image_is_a_repository_as_a_whole(word: str, uri: str, fits: bool) -> None:
    assert step_image_wanted(word).fits(one(uri)) is fits


@pytest.mark.parametrize(
    ("word", "uri", "fits"),
    [
        ("git+https://a.example/*", "git+https://a.example/x/y.git", True),
        ("r.example/*", "oci://r.example/a", True),
        ("oci://r.example/a", "oci://r.example/a", True),
        ("r.example/a", "oci://r.example/ab", False),
        ("*log4j*", "pkg:maven/org.apache/log4j-core@2.14", True),
        ("pkg:maven/*/log4j?core*", "pkg:maven/org.apache/log4j-core@2.14", True),
        ("*log4j*", "", False),
        ("git+https://[2001:db8::1]/r.git", "git+https://[2001:db8::1]/r.git", True),
        ("pkg:generic/[ab]", "pkg:generic/a", False),
    ],
)
def test_a_dependency_is_a_uri_with_stars(word: str, uri: str, fits: bool) -> None:
    assert dependency_wanted(word).fits(one(uri)) is fits


@pytest.mark.parametrize("read", [task_wanted, dependency_wanted])
@pytest.mark.parametrize(
    ("word", "digest", "fits"),
    [
        (COMMIT, f"gitCommit:{COMMIT}", True),
        (f"gitCommit:{COMMIT}", f"sha1:{COMMIT}", True),
        (f"gitCommit:{SHA}", f"sha256:{SHA}", True),
        (SHA, f"gitCommit:{SHA}", True),
        (COMMIT, f"gitTree:{COMMIT}", False),
        (f"gitCommit:{COMMIT}", f"gitTree:{COMMIT}", False),
    ],
)
def test_a_commit_is_the_same_by_each_of_its_names(
    read: Callable[[str], InputWanted], word: str, digest: str, fits: bool
) -> None:
    assert read(word).fits(one("git+https://a.example/b", digest)) is fits


@pytest.mark.parametrize(
    ("uri", "fits"),
    [
        (f"git+https://a.example/b@{COMMIT}", True),
        (f"git+https://a.example/b@{COMMIT.upper()}#sub/folder", True),
        (f"git+https://a.example/b@{COMMIT}1", False),
        (f"git+https://a.example/b?ref=@{COMMIT}", False),
        (f"oci://a.example/b@{COMMIT}", True),
    ],
)
def test_a_commit_may_stand_in_the_uri_alone(uri: str, fits: bool) -> None:
    assert commit_wanted(COMMIT).fits(one(uri)) is fits


def test_stars_take_no_time_on_a_hostile_uri() -> None:
    assert not dependency_wanted("*a" * 20 + "b").fits(one("a" * 100_000))


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (COMMIT, CommitWanted(COMMIT)),
        (COMMIT.upper(), CommitWanted(COMMIT)),
        (f"sha1:{COMMIT}", CommitWanted(COMMIT)),
        (SHA, CommitWanted(SHA)),
        (f"https://a.example/b@{COMMIT}", CommitWanted(COMMIT, "https://a.example/b")),
        (f"git@a.example:b.git@sha1:{COMMIT}", CommitWanted(COMMIT, "git@a.example:b.git")),
    ],
)
def test_a_commit_is_whole_and_may_have_a_repository(word: str, expected: CommitWanted) -> None:
    assert commit_wanted(word) == expected


@pytest.mark.parametrize(
    ("uri", "fits"),
    [
        ("git+https://a.example/shop/app.git", True),
        ("git+https://A.example/shop/app", True),
        ("git+https://user:secret@a.example/shop/app.git", True),
        ("git+https://a.example/shop/app@refs/heads/main", True),
        ("git+https://a.example/shop/app.git@main#subfolder", True),
        ("git+https://a.example/shop/app/", True),
        ("git+https://a.example/shop/apps.git", False),
        ("git+https://b.example/shop/app.git", False),
        ("git+ssh://a.example/shop/app.git", True),
        ("git+ssh://git@a.example:2222/shop/app", True),
        ("git+https://a.example:443/shop/app.git", True),
        ("git+http://a.example:8080/shop/app?depth=1", True),
        ("git://a.example/shop/app", True),
        ("git@a.example:shop/app.git", True),
        ("git+git@a.example:shop/app.git", True),
        ("git@A.example:/shop/app.git/", True),
        ("git@b.example:shop/app.git", False),
        ("git@a.example:shop/apps.git", False),
        ("git+ssh://a.example/app.git", False),
        ("git+https://a.example/shop/app/a.example/shop/app.git", False),
        ("git+https://b.example/a.example/shop/app.git", False),
        ("", False),
    ],
)
@pytest.mark.parametrize(
    "written",
    [
        "https://a.example/shop/app",
        "git@a.example:shop/app.git",
        "ssh://git@a.example:22/shop/app.git",
        "git+https://a.example/shop/app.git",
        "a.example/shop/app",
    ],
)
def test_a_repository_has_one_spelling(written: str, uri: str, fits: bool) -> None:
    wanted = commit_wanted(f"{written}@{COMMIT}")
    assert wanted.fits(one(uri, f"sha1:{COMMIT}")) is fits


def test_a_commit_in_any_repository_is_no_image_with_these_digits() -> None:
    wanted = commit_wanted(SHA)
    assert wanted.fits(one("git+https://a.example/b", f"sha256:{SHA}"))
    assert not wanted.fits(one("oci://r.example/a", f"sha256:{SHA}"))
    assert commit_wanted(COMMIT).fits(one("", f"gitCommit:{COMMIT}"))


@pytest.mark.parametrize(
    ("read", "word", "told"),
    [
        (step_image_wanted, "", "names no registry"),
        (step_image_wanted, "alpine", "names no registry"),
        (step_image_wanted, f"sha256:{SHA[:-2]}", "sha256 has 64 hex digits, got 62"),
        (task_wanted, "", "--task is empty"),
        (commit_wanted, "abc1234", "all 40 or 64 hex digits"),
        (commit_wanted, "", "all 40 or 64 hex digits"),
        (dependency_wanted, "", "fits everything"),
        (dependency_wanted, "**", "fits everything"),
        (dependency_wanted, "sha1:12", "sha1 has 40 hex digits, got 2"),
    ],
)
def test_a_word_that_would_find_nothing_or_everything_is_refused(
    read: Callable[[str], object], word: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        read(word)


def test_a_question_needs_a_criterion() -> None:
    with pytest.raises(UsageError, match="nothing to look for: pass one of --key, --identity"):
        Wanted()
    with pytest.raises(UsageError, match="--builder is empty"):
        Wanted(builders=[""])


@pytest.mark.parametrize(
    ("word", "keyid"), [(KEYID, KEYID), ("keyid:abc", "abc"), ("signing.pub", ""), (KEYID[:-1], ""), ("", "")]
)
def test_a_key_id_is_told_from_a_file(word: str, keyid: str) -> None:
    assert is_keyid(word) == keyid
