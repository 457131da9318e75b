"""Regular expressions of policies: whole match, and none that a name can make slow."""

from __future__ import annotations

import re

import pytest

from chains.documents.regexps import regexp_problem

GOOD = [
    r"https://github\.com/shop/.*/\.github/workflows/release\.yml@refs/tags/v[0-9.]+",
    r"ci-(?:build|release)@example\.com",
    r"[a-z]{1,8}@example\.com",
    r".*",
]
BAD = [
    r"(a+)+",
    r"(a|a)*b",
    r"(?:.*x)*",
    r".*.*.*.*x",
    r"(a)\1",
    r"(?=a)a",
    r"(?<!a)b",
    r"[",
    r"(?P<x>a)(?(x)b|c)",
    r"\bci\b",
    r"(?m)^ci$",
    r"(?>a)b",
    "(" * 500 + "a" + ")" * 500 + "{2,}" * 2,
]


@pytest.mark.parametrize("pattern", GOOD)
def test_a_bounded_expression_is_taken(pattern: str) -> None:
    assert regexp_problem(pattern) == ""


@pytest.mark.parametrize("pattern", BAD)
def test_an_expression_that_can_take_for_ever_is_refused(pattern: str) -> None:
    assert regexp_problem(pattern)


def test_the_worst_expression_that_is_taken_ends_soon() -> None:
    pattern = r".*a.*a.*b"
    assert regexp_problem(pattern) == ""
    assert re.fullmatch(pattern, "a" * 512) is None
