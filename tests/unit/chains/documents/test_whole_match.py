"""Names and regular expressions: the answer of Python's engine, in bounded work."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.documents.whole_match import MOST_PARTS, Unsupported, WholeMatch, whole_match

ATOMS = [
    "a",
    "b",
    ".",
    "[ab]",
    "[^a]",
    r"\d",
    r"\w",
    r"\.",
    "[a-c0-1]",
    r"[^\d]",
    "(?i:A)",
    "(?s:.)",
    r"[\w.-]",
    "^",
    "$",
    r"\n",
]


def _expressions() -> st.SearchStrategy[str]:
    def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        return st.one_of(
            st.builds("".join, st.lists(inner, max_size=3)),
            st.builds(lambda one, other: f"(?:{one}|{other})", inner, inner),
            st.builds(
                lambda one, how: f"(?:{one}){how}",
                inner,
                st.sampled_from(["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{0,2}?", "{2,}"]),
            ),
        )

    return st.recursive(st.sampled_from(ATOMS), larger, max_leaves=6)


@given(_expressions(), st.text("abcABC01.-\n é", max_size=7), st.sampled_from(["", "(?i)", "(?s)", "(?a)"]))
@settings(max_examples=400)
def test_the_answer_is_that_of_pythons_engine(pattern: str, name: str, flags: str) -> None:
    wanted = re.fullmatch(flags + pattern, name) is not None
    assert WholeMatch.of(flags + pattern).matches(name) is wanted


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        (r"https://ci\.example\.com/.*", "https://ci.example.com/a/b", True),
        (r"https://ci\.example\.com/.*", "https://ciXexample.com/a/b", False),
        (r"^https://x/[^/]+$", "https://x/y", True),
        (r"\Ahttps://x/[^/]+\Z", "https://x/y/z", False),
        (r"^x$", "x\n", False),
        (r"", "", True),
        (r"", "x", False),
        (r"(?i)ADMIN@example\.com", "admin@EXAMPLE.com", True),
        (r"[\]^\\-]+", "]^\\-", True),
        (r"\N{GREEK SMALL LETTER OMEGA}\x41\u0042", "\u03c9AB", True),
        (r"(^a|b$)", "a", True),
        (r"a$\n", "a\n", True),
        (r"(?:a$)*\n?", "a\n", True),
        (r"a\Z\n", "a\n", False),
        (r"a^b", "ab", False),
    ],
)
def test_names_of_certificates(pattern: str, name: str, fits: bool) -> None:
    assert WholeMatch.of(pattern).matches(name) is fits


EXPLODING = [
    r"(a+)+",
    r"(a|a)*b",
    r"(?:.*x)*",
    r"(a?){30}a{30}",
    r".*.*.*.*.*x",
    r"(?:a|aa)+b",
    r"(.*)(.*)(.*)y",
]


@pytest.mark.parametrize("pattern", EXPLODING)
def test_no_name_makes_an_expression_slow(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    found = WholeMatch.of(pattern)
    original = type(found._first).takes

    def counting(self: object, char: str) -> bool:
        nonlocal looks
        looks += 1
        return original(self, char)  # type: ignore[arg-type]

    monkeypatch.setattr(type(found._first), "takes", counting)
    assert not found.matches("a" * 2047 + "!")
    assert looks <= 2048 * MOST_PARTS / 4


@pytest.mark.parametrize(
    "pattern",
    [r"(a)\1", r"(?=a)a", r"(?<!a)b", r"a\b.", r"(?m)^a", r"(?>a)b", r"a++", r"(?P<x>a)?(?(x)b|c)"],
)
def test_what_is_no_regular_language_is_not_compared_so(pattern: str) -> None:
    with pytest.raises(Unsupported):
        WholeMatch.of(pattern)
    assert whole_match(pattern) is None


def test_an_expression_has_a_limited_number_of_parts() -> None:
    assert whole_match("a{400}") is not None
    assert whole_match("(?:a{100}){100}") is None
    assert whole_match("((((a{9}){9}){9}){9}){9}") is None
