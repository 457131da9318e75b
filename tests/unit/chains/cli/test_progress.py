import io
import re

import pytest

from chains.cli.progress import Progress
from chains.columns import table

STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def drawn(total: int = 2) -> str:
    stream = Terminal()
    bar = Progress(total, "runs", stream)
    bar.advance(failed=True)
    bar.advance()
    bar.close()
    return stream.getvalue()


def test_a_bar_is_drawn_on_a_terminal_and_wiped() -> None:
    text = STYLE.sub("", drawn())
    assert "1/2 runs, 1 failed" in text
    assert "━" * 30 + " 2/2 runs, 1 failed" in text
    after = text.rpartition("failed")[2]
    assert after.endswith("\x1b[2K")
    assert re.fullmatch(r"(\s|\x1b\[(2K|1A))*", after), "nothing but the wiping follows"


def test_a_command_that_is_killed_leaves_the_cursor_visible() -> None:
    assert "\x1b[?25" not in drawn()


def test_the_bar_has_no_colour_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert STYLE.search(drawn())
    monkeypatch.setenv("NO_COLOR", "1")
    text = drawn()
    assert "2/2 runs" in text
    assert STYLE.search(text) is None


def test_a_dumb_terminal_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert drawn() == ""


@pytest.mark.parametrize(("stream", "total"), [(io.StringIO(), 2), (Terminal(), 0)])
def test_nothing_is_drawn_where_nobody_watches_or_nothing_is_done(stream: io.StringIO, total: int) -> None:
    bar = Progress(total, "runs", stream)
    bar.advance()
    bar.close()
    assert stream.getvalue() == ""


def test_without_a_standard_error_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)
    bar = Progress(1, "runs")
    bar.advance()
    bar.close()


def test_a_table_is_aligned_and_shows_what_a_terminal_would_obey() -> None:
    text = table(("RUN", "STATE"), [("a\x1b[31m", "signed"), ("longer", "x\ny")])
    assert text.splitlines() == ["RUN        STATE", "a\\x1b[31m  signed", "longer     x\\ny"]
