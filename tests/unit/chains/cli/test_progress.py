import io

import pytest

from chains.cli.progress import Progress
from chains.columns import table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_on_a_terminal_and_wiped() -> None:
    stream = Terminal()
    bar = Progress(2, "runs", stream)
    bar.advance(failed=True)
    bar.advance()
    bar.close()
    assert "1/2 runs, 1 failed" in stream.getvalue()
    assert "█" * 30 + " 2/2 runs" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


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
