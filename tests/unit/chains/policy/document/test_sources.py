"""Source repositories in one canonical spelling."""

from __future__ import annotations

import pytest

from chains.policy.document.sources import SourceAllowed
from chains.statements.repositories import canonical

SAME = [
    "git+https://git.example.com/shop/app.git",
    "git+https://git.example.com/shop/app",
    "https://git.example.com/shop/app.git",
    "https://git.example.com/shop/app/",
    "https://GIT.example.com:443/shop/app.git/",
    "https://user:token@git.example.com/shop/app.git",
]


@pytest.mark.parametrize("text", SAME)
def test_one_repository_has_one_spelling(text: str) -> None:
    assert str(canonical(text)) == "git+https://git.example.com/shop/app"


@pytest.mark.parametrize(
    "text",
    [
        "https://git.example.com/shop/other/../app",
        "https://git.example.com/shop/%61pp",
        "https://git.example.com/shop//app",
        "https://git.example.com/shop/app?x=1",
        "https://git.example.com/shop/app#x",
        "https://git.example.com/",
        "https://git.example.com:port/shop/app",
        "file:///shop/app",
        "shop/app",
        "",
        "https://git.example.com\\@evil.example/shop/app",
        "https://git.example.com/shop/\u0430pp",
        "https://" + "a" * 3000,
        "https://git.example.com/a/b\n",
        "https://git.example.com/a\t/b",
        " https://git.example.com/a/b",
        "ht\ntps://git.example.com/a/b",
        "\x00https://git.example.com/a/b",
    ],
)
def test_what_has_more_than_one_reading_is_no_repository(text: str) -> None:
    assert canonical(text) is None


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("https://git.example.com/shop/app", "http://git.example.com/shop/app"),
        ("https://git.example.com/shop/app", "https://git.example.com:8443/shop/app"),
        ("https://git.example.com/shop/app", "https://git.example.com.evil.example/shop/app"),
        ("https://git.example.com/shop/app", "https://git.example.com/shop/App"),
        ("https://git.example.com/shop/app", "git@git.example.com:shop/app.git"),
        ("https://git.example.com/shop/app", "https://git.example.com@evil.example/shop/app"),
    ],
)
def test_other_repositories_have_other_spellings(left: str, right: str) -> None:
    assert canonical(left) != canonical(right)


def test_ssh_has_two_spellings_of_one_repository() -> None:
    assert canonical("git@git.example.com:shop/app.git") == canonical("ssh://git@git.example.com:22/shop/app")


def test_a_ref_stands_after_the_path() -> None:
    found = canonical("git+https://github.com/shop/app@refs/tags/v1.2")
    assert found is not None
    assert (found.uri, found.ref) == ("git+https://github.com/shop/app", "refs/tags/v1.2")
    assert SourceAllowed(found.uri, ("refs/tags/*",)).allows(found)
    assert not SourceAllowed(found.uri, ("refs/heads/main",)).allows(found)
    assert not SourceAllowed(found.uri, ("refs/tags/v*/x",)).allows(found)
