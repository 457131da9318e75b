"""How hostile text is shown, and what becomes a link."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.web.render import paths
from chains.web.render.text import duration, name, segment, shown, web_link, web_url, when


def test_control_direction_and_invisible_characters_are_shown_and_marked() -> None:
    text = str(shown("a\u202eb\u200bc\x00d\x1b[31m"))
    for code in ("202e", "200b", "0", "1b"):
        assert f"\\u{{{code}}}</span>" in text
    assert "\u202e" not in text
    assert "\u200b" not in text


def test_the_same_letters_in_the_text_are_not_marked() -> None:
    assert "hidden-char" not in str(shown("\\u{202e}"))


def test_markup_is_text() -> None:
    assert str(name("<script>alert(1)</script>")) == (
        '<bdi class="name">&lt;script&gt;alert(1)&lt;/script&gt;</bdi>'
    )


def test_a_long_text_is_cut_and_its_length_told() -> None:
    assert "(5,000 characters)" in str(shown("a" * 5000))
    assert len(str(shown("a" * 5000))) < 500


@given(st.text(st.characters()))
def test_no_text_leaves_an_angle_bracket_or_an_invisible_character(text: str) -> None:
    found = str(shown(text))
    bare = found
    for tag in ('<span class="cut">', "</span>"):
        bare = bare.replace(tag, "")

    bare = re.sub(r'<span class="hidden-char" title="U\+[0-9A-F]+">', "", bare)
    assert "<" not in bare
    assert '"' not in bare
    assert all(char.isprintable() for char in bare)


@pytest.mark.parametrize(
    "text",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "//evil.example",
        "https:evil.example",
        "https://user@evil.example/",
        "https://evil.example\\@good.example",
        "https://good.example\u202e/x",
        "https://good.example/a b",
        "https://good.example:99999999/",
        "https://[::1",
        "ftp://x.example",
        "git+ssh://git@x.example/y",
        "file:///etc/passwd",
        "https://",
        "https://x.example/\n",
    ],
)
def test_what_is_no_address_of_the_web_is_no_link(text: str) -> None:
    assert web_url(text) == ""
    assert "href" not in str(web_link(text))


def test_addresses_of_the_web_and_of_repositories_are_links() -> None:
    assert web_url("https://git.example/shop") == "https://git.example/shop"
    assert web_url("git+https://git.example/shop.git@refs/heads/main") == "https://git.example/shop.git"
    assert 'rel="noopener noreferrer nofollow"' in str(web_link("http://git.example/shop"))


def test_a_name_that_no_browser_keeps_in_a_path_has_no_page() -> None:
    for text in ("", ".", ".."):
        assert segment(text) == ""
        assert paths.run(text) == ""
    assert paths.run("../x") == "/run/..%2Fx"
    assert paths.signer("a (issuer https://b)") == "/signer/a%20%28issuer%20https%3A%2F%2Fb%29"


def test_times_are_in_utc_and_no_time_is_told() -> None:
    assert str(when("2026-11-18T10:15:11+01:00")) == (
        '<time datetime="2026-11-18T09:15:11Z">2026-11-18 09:15:11 UTC</time>'
    )
    assert "not known" in str(when(0))
    assert "not known" in str(when(None))
    assert "&lt;" in str(when("<b>"))


def test_durations_have_two_units_at_most() -> None:
    assert [duration(one) for one in (0, 59, 60, 3599, 3600, 90_000, None)] == [
        "0 s", "59 s", "1 m 0 s", "59 m 59 s", "1 h 0 m", "1 d 1 h", "not known",
    ]  # fmt: skip
