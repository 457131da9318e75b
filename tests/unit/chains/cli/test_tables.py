"""Tables on a terminal and in a pipe: rich draws only where somebody watches, and nothing in a cell is obeyed."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import unicodedata
from pathlib import Path

import pytest

from chains.cli.tables import drawn
from chains.columns import table
from chains.terminal import write_styled
from chains.text import plain

ROOT = Path(__file__).parents[4]
STYLE = re.compile(r"\x1b\[[0-9;]*m")
MARKUP = "[bold red]x[/] [link=https://evil.example]y[/link] :smile: [on"
HOSTILE = (
    f"{MARKUP} \x1b[31m\x1b]0;owned\x07\x1b]8;;https://evil.example\x1b\\z\u202e\u2066\u200b\r\nVERIFIED"
)
HEADER = ("RUN", "STATE", "WHERE")
ROWS = [("ci/build", "signed", "oci:one"), (HOSTILE, "failed", MARKUP), ("", "skipped", "漢字かな")]


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "COLUMNS", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)


def test_a_table_on_a_terminal_has_the_same_text_as_in_a_pipe_and_styles() -> None:
    text = drawn(HEADER, ROWS, 500)
    unstyled = [line.rstrip() for line in STYLE.sub("", text).split("\n")]
    assert unstyled == table(HEADER, ROWS).split("\n")
    assert re.search(r"\x1b\[1mRUN", text), "the header is bold"
    assert re.search(r"\x1b\[32msigned", text)
    assert re.search(r"\x1b\[1;31mfailed", text)
    assert "\x1b[2mskipped" in text


def test_only_the_column_of_states_has_colours() -> None:
    text = drawn(("RUN", "STATE"), [("failed", "a failed run"), ("x", "ok")], 100)
    row = text.split("\n")[1]
    assert STYLE.sub("", row).rstrip() == "failed  a failed run"
    assert STYLE.search(row) is None


def test_a_table_that_does_not_fit_is_folded_as_plain_text_is() -> None:
    rows = [("taskrun/ci/build", "signed", "oci:registry.example.com/team/app@sha256:" + "ab" * 32)]
    text = drawn(HEADER, rows, 60)
    assert STYLE.sub("", text).split("\n") == table(HEADER, rows, 60).split("\n")
    assert text.startswith("\x1b[1mRUN")


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
@pytest.mark.parametrize("width", [500, 40])
def test_no_style_is_written_where_none_is_wanted(
    name: str, value: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    text = drawn(HEADER, ROWS, width)
    assert "\x1b" not in text
    assert [line.rstrip() for line in text.split("\n")] == table(HEADER, ROWS, width).split("\n")


def test_an_empty_no_color_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert STYLE.search(drawn(HEADER, ROWS, 500))


def test_nothing_but_styles_passes_to_a_terminal(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    write_styled("\x1b[1mbold\x1b[0m \x1b[2J\x1b]0;t\x07\x9b31m\n\u202eend")
    assert capsysbinary.readouterr().out == (
        b"\x1b[1mbold\x1b[0m \\x1b[2J\\x1b]0;t\\x07\\x9b31m\n\\u202eend\n"
    )


def hostile_run() -> str:
    """A finished run whose name, namespace and results try everything on who reads about it."""
    results = [
        {"name": "IMAGE_URL", "value": f"registry.example.com/{MARKUP}"},
        {"name": "IMAGE_DIGEST", "value": "sha256:" + "ab" * 32},
    ]
    condition = {"type": "Succeeded", "status": "True"}
    status = {"conditions": [condition], "completionTime": "2026-01-02T03:04:05Z", "results": results}
    metadata = {"name": HOSTILE, "namespace": MARKUP, "uid": "u"}
    return json.dumps(
        {"apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": metadata, "status": status}
    )


def on_terminal(folder: Path, *words: str, **environment: str) -> str:
    """What a terminal of 400 columns gets from a command, on both streams; the command ends with 0."""
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 400, 0, 0))
        command = subprocess.Popen(
            [sys.executable, "-m", "chains", *words],
            cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        theirs = -1
        found = bytearray()
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # EIO: nobody has the other side any more
                break
            if not part:
                break
            found += part
        assert command.wait(60) == 0, found.decode()
        return found.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def assert_nothing_is_obeyed(text: str) -> None:
    """Hold that a terminal gets only styles, the bar's own wiping and lines that are plain."""
    left = re.sub(r"\x1b\[(2K|1A)|\r", "", STYLE.sub("", text))
    for line in left.split("\n"):
        assert plain(line) == line
        assert all(unicodedata.category(char) != "Cc" for char in line)
        assert not line.startswith("VERIFIED"), "a value began a line"


def test_a_hostile_run_is_shown_on_a_terminal_and_not_obeyed(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(hostile_run())
    text = on_terminal(tmp_path, "attest", "run.json")
    assert_nothing_is_obeyed(text)
    assert STYLE.search(text), "it was a terminal with colours"
    assert MARKUP in text, "markup, links and emoji codes are shown as they are written"
    assert r"\x1b[31m\x1b]0;owned\x07\x1b]8;;https://evil.example\x1b\z\u202e\u2066\u200b\r\nVERIFIED" in text
    text = on_terminal(tmp_path, "get", "--store", "oci-layout:.chains/layout")
    assert_nothing_is_obeyed(text)
    assert MARKUP in text


def test_no_color_is_honoured_by_the_whole_command(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(hostile_run())
    text = on_terminal(tmp_path, "attest", "run.json", NO_COLOR="1")
    assert MARKUP in text
    assert STYLE.search(text) is None
    assert "\x1b" not in on_terminal(tmp_path, "get", "--store", "oci-layout:.chains/layout", NO_COLOR="1")


def test_a_line_on_standard_error_stands_above_the_progress_bar(tmp_path: Path) -> None:
    code = (
        "from chains.cli.progress import Progress\nfrom chains.terminal import say\n"
        f"bar = Progress(2, 'runs')\nbar.advance()\nsay({MARKUP!r})\nbar.advance()\nbar.close()"
    )
    (tmp_path / "bar.py").write_text(code)
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "bar.py"], cwd=tmp_path, env=environment, stderr=theirs, check=True)
        found = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    # the bar's line is wiped first, and the bar is drawn again below
    _, _, rest = STYLE.sub("", found).partition("1/2 runs")
    assert rest.startswith(f"\r\x1b[2Kchains: {MARKUP}\r\n")
    assert "2/2 runs" in rest


@pytest.mark.parametrize("words", [["attest", "run.json"], ["get", "--store", "oci-layout:.chains/layout"]])
def test_a_pipe_gets_plain_text_and_rich_stays_out(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(hostile_run())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    first = subprocess.run([sys.executable, "-m", "chains", "attest", "run.json"], cwd=tmp_path, env=environment, check=True, capture_output=True)  # fmt: skip
    assert first.returncode == 0
    code = "import sys; from chains.__main__ import main; code = main(); print('rich' in sys.modules); sys.exit(code)"
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    text = done.stdout.decode()
    assert text.endswith("False\n"), "rich was imported for a pipe"
    assert b"\x1b" not in done.stdout + done.stderr
    assert MARKUP in text
    assert all(plain(line) == line for line in text.split("\n"))
