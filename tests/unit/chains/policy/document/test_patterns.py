"""Patterns of images: anchored, by whole path parts, in bounded time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.errors import UsageError
from chains.policy.document.patterns import ImagePattern, path_matches, read_image, wildcard_matches
from tests.faults.verify.forge import DIGEST

MATCHES = [
    ("registry.example.com/shop/app", "registry.example.com/shop/app:1", True),
    ("registry.example.com/shop/app", "registry.example.com/shop/app2", False),
    ("registry.example.com/shop/*", "registry.example.com/shop/app", True),
    ("registry.example.com/shop/*", "registry.example.com/shop/team/app", False),
    ("registry.example.com/shop/*-api", "registry.example.com/shop/cart-api", True),
    ("registry.example.com/shop/*-api", "registry.example.com/shop/cart-api2", False),
    ("registry.example.com/shop/**", "registry.example.com/shop/team/app", True),
    ("registry.example.com/shop/**", "registry.example.com/shop", False),
    ("registry.example.com/shop/**", "registry.example.com/shopping/app", False),
    ("registry.example.com/**/app", "registry.example.com/a/b/app", True),
    ("registry.example.com/**/app", "registry.example.com/app", False),
    ("registry.example.com/shop/**", "evil.example.com/registry.example.com/shop/app", False),
    ("registry.example.com/shop/**", "registry.example.com.evil.example/shop/app", False),
    ("REGISTRY.example.com/shop/**", "registry.EXAMPLE.com/shop/app", True),
    ("registry.example.com:5000/app", "registry.example.com/app", False),
    ("docker.io/library/*", "docker.io/nginx:1", True),
    ("registry.example.com/shop/**", "registry.example.com:443/shop/app", True),
    ("registry.example.com/shop/**", "REGISTRY.example.com:0443/shop/app", True),
    ("registry.example.com:443/shop/**", "registry.example.com/shop/app", True),
    ("registry.example.com:443/shop/**", "registry.example.com:443/shop/app", True),
    ("registry.example.com:*/shop/**", "registry.example.com/shop/app", True),
    ("registry.example.com:*/shop/**", "registry.example.com:5000/shop/app", True),
    ("registry.example.com:5000/app", "registry.example.com:05000/app", True),
    ("registry.example.com/app", "registry.example.com:5000/app", False),
    ("registry.example.com/app", "registry.example.com:80/app", False),
    ("registry.example.com:443/app", "registry.example.com:4430/app", False),
    ("[::1]/app", "[::1]:443/app", True),
    ("[::1]:5000/app", "[::1]/app", False),
    ("docker.io/library/*", "docker.io:443/nginx", True),
    ("docker.io/shop/**", "index.docker.io:443/shop/app", True),
    ("docker.io/shop/**", "registry-1.docker.io/shop/app", True),
    ("registry-1.docker.io/shop/**", "docker.io/shop/app", True),
    ("docker.io/shop/**", "evil-docker.io/shop/app", False),
    ("docker.io/shop/**", "docker.io:5000/shop/app", False),
    ("**", "registry.example.com/app", True),
]


@pytest.mark.parametrize(("pattern", "image", "fits"), MATCHES)
def test_a_pattern_matches_whole_parts_and_the_whole_name(pattern: str, image: str, fits: bool) -> None:
    assert ImagePattern.parse(pattern).matches(read_image(image)) is fits


def test_a_pattern_with_a_digest_is_for_that_image_alone() -> None:
    pattern = ImagePattern.parse(f"registry.example.com/app@{DIGEST}")
    assert pattern.matches(read_image(f"registry.example.com/app@{DIGEST}"))
    assert not pattern.matches(read_image(f"registry.example.com/app@sha256:{'f' * 64}"))
    assert not pattern.matches(read_image("registry.example.com/app:1"))


@pytest.mark.parametrize(
    "text",
    [
        "registry.example.com/app:1",
        "registry.example.com/app@sha256:12",
        "registry.example.com/app@sha512:" + "a" * 128,
        "app",
        "registry.example.com//app",
        "registry.example.com/app/",
        "registry.example.com/a**",
        "registry.example.com/App",
        "docker.io/nginx",
        "registry.example.com/" + "a/" * 70 + "b",
    ],
)
def test_what_can_match_nothing_or_moves_is_no_pattern(text: str) -> None:
    with pytest.raises(UsageError):
        ImagePattern.parse(text)


@settings(deadline=None)
@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_a_wildcard_matches_as_the_simplest_reading_says(pattern: str, text: str) -> None:
    def simplest(left: str, right: str) -> bool:
        if not left:
            return not right
        if left[0] == "*":
            return simplest(left[1:], right) or bool(right and simplest(left, right[1:]))
        return bool(right) and left[0] == right[0] and simplest(left[1:], right[1:])

    assert wildcard_matches(pattern, text) is simplest(pattern, text)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "*", "**", "a*"]), min_size=1, max_size=5),
    st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=5),
)
def test_a_path_matches_as_the_simplest_reading_says(pattern: list[str], path: list[str]) -> None:
    def simplest(left: list[str], right: list[str]) -> bool:
        if not left or not right:
            return not left and not right
        if left[0] == "**":
            return any(simplest(left[1:], right[at:]) for at in range(1, len(right) + 1))
        return wildcard_matches(left[0], right[0]) and simplest(left[1:], right[1:])

    assert path_matches("/".join(pattern), "/".join(path)) is simplest(pattern, path)


def test_a_hostile_name_costs_no_more_than_its_length() -> None:
    assert not wildcard_matches("*a" * 500 + "b", "a" * 20_000)
