"""What people see is escaped in one place, and nothing of the product writes past it."""

from __future__ import annotations

import ast
import asyncio
import io
import json
import logging
import os
import pty
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chains import terminal
from chains.attest.outcome import FAILED, Outcome
from chains.attest.stores import Entry
from chains.cluster.events import write_event
from chains.controller.log_lines import JsonLines
from chains.controller.marks.patches import compact_outcome, mark_patch
from chains.controller.metrics import Metrics
from chains.controller.work.retry import Trouble
from chains.terminal import TextLines, traceback_lines
from chains.text import plain, plain_json, to_json

ROOT = Path(__file__).parents[3]
HOSTILE = (
    "a\x1b[31m\x00\r\nchains: error: forged\x7f\x9b2J\u202e\u2066\u200f\u061c\u200b\u2028\u2029\ufeff\udc9b"
)
ESCAPED = (
    r"a\x1b[31m\x00\r\nchains: error: forged\x7f\x9b2J\u202e\u2066\u200f\u061c\u200b\u2028\u2029\ufeff\udc9b"
)
ORDINARY = "plain ~ äöü ßçñ Ελληνικά Кириллица עברית العربية हिन्दी ไทย 한국어 漢字かな é 🎉👍 €©→ \\x1b"
UNSEEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def test_control_direction_width_and_line_characters_are_escaped_in_one_readable_way() -> None:
    assert plain(HOSTILE) == ESCAPED
    assert plain(ESCAPED) == ESCAPED, "doing it twice changes nothing"


def test_ordinary_text_of_every_script_stays_as_it_is() -> None:
    assert plain(ORDINARY) == ORDINARY
    assert plain_json(ORDINARY) == ORDINARY


def test_no_code_point_of_any_kind_that_is_not_seen_passes() -> None:
    invisible = {
        *(0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0),
        *range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0000, 0xE1000),
    }  # fmt: skip
    chars: dict[bool, list[str]] = {True: [], False: []}
    for number in range(sys.maxunicode + 1):
        char, category = chr(number), unicodedata.category(chr(number))
        hidden = category in UNSEEN_CATEGORIES or (category == "Zs" and char != " ") or number in invisible
        chars[hidden].append(char)
    for hidden, found in chars.items():
        # many in one call, which costs less than a call for each
        for text in ("".join(found[start : start + 500]) for start in range(0, len(found), 500)):
            got = plain(text)
            assert (got.isascii() and got.isprintable()) if hidden else got == text, ascii(text)


@pytest.mark.parametrize("indent", [False, True])
def test_json_has_the_same_value_and_no_character_that_is_not_seen(indent: bool) -> None:
    value = {HOSTILE: [HOSTILE, {"text": ORDINARY}], "astral": "\U000e0041", "big": 2**70, "none": None}
    text = to_json(value, indent=indent)
    assert json.loads(text) == value
    assert all(char == "\n" or plain(char) == char for char in text)
    assert ("\n" in text) is indent
    assert "Ελληνικά" in to_json({"text": ORDINARY}), "ordinary text stays readable"


def writes_past(tree: ast.AST) -> Iterator[str]:
    """What writes to a person without the one module: print, the standard streams, handlers, tracebacks."""
    names = {
        ("sys", "stdout"), ("sys", "stderr"), ("sys", "__stdout__"), ("sys", "__stderr__"),
        ("logging", "StreamHandler"), ("logging", "basicConfig"), ("logging", "lastResort"),
        ("warnings", "warn"), ("warnings", "showwarning"), ("sys", "excepthook"),
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "print":
            yield f"{node.lineno}: print"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = node.value.id
            if (owner, node.attr) in names or (owner == "traceback" and node.attr.startswith("print")):
                yield f"{node.lineno}: {owner}.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node).startswith(("os.write(1,", "os.write(2,")):
            yield f"{node.lineno}: os.write"
        elif isinstance(node, ast.ImportFrom) and node.module in {"sys", "warnings", "traceback"}:
            for one in node.names:
                if (node.module, one.name) in names or one.name.startswith("print"):
                    yield f"{node.lineno}: from {node.module} import {one.name}"


def test_only_one_module_writes_to_the_standard_streams() -> None:
    found = {}
    files = sorted(path for room in ("chains", "signers", "storage") for path in (ROOT / room).rglob("*.py"))
    for path in files:
        lines = list(writes_past(ast.parse(path.read_text(encoding="utf-8"))))
        if lines:
            found[path.relative_to(ROOT).as_posix()] = lines
    assert len(files) > 100
    assert set(found) == {"chains/terminal.py"}, found


def test_the_look_for_other_writers_finds_each_way_to_write() -> None:
    ways = [
        "print(1)", "import sys\nsys.stdout.write('x')", "import sys\nsys.stderr.buffer.write(b'x')",
        "from sys import stderr", "import logging\nlogging.StreamHandler()", "import os\nos.write(2, b'')",
        "import traceback\ntraceback.print_exc()", "from traceback import print_exc",
        "import warnings\nwarnings.warn('x')", "import builtins\nf = print",
    ]  # fmt: skip
    assert [way for way in ways if not list(writes_past(ast.parse(way)))] == []


def test_only_one_function_escapes_and_only_one_module_draws() -> None:
    """``isprintable`` elsewhere is a check of a token or replaces a service's words by spaces."""
    users = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "chains").rglob("*.py")
        if "isprintable" in (text := path.read_text(encoding="utf-8")) or "unicode_escape" in text
    }
    assert users == {"chains/text.py"}


def python(code: str) -> subprocess.CompletedProcess[str]:
    start = "from chains.terminal import *\nfrom chains.terminal import take_over\ntake_over()\n"
    start += f"HOSTILE = {HOSTILE!r}\n"
    done = subprocess.run([sys.executable, "-c", start + code], check=False, capture_output=True, timeout=60)
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode("utf-8")
    )


@pytest.mark.parametrize(
    ("code", "status", "first"),
    [
        ("say(HOSTILE)", 0, f"chains: {ESCAPED}"),
        ("say('two', HOSTILE)", 0, "chains: two"),
        ("import warnings\nwarnings.warn(HOSTILE)", 0, f"chains: warning: UserWarning: {ESCAPED}"),
        (
            "import logging\nlogging.getLogger('some.library').warning('%s', HOSTILE)",
            0,
            f"chains: warning: some.library: {ESCAPED}",
        ),
        (
            "import logging\ntry:\n  raise KeyError(HOSTILE)\n"
            "except KeyError:\n  logging.getLogger('x').exception(HOSTILE)",
            0,
            f"chains: error: x: {ESCAPED}",
        ),
        ("raise ValueError(HOSTILE)", 1, "chains: error: an unexpected failure; please report it"),
        (
            "try:\n  raise OSError(HOSTILE)\nexcept OSError as e:\n  raise ExceptionGroup(HOSTILE, [ValueError(HOSTILE)]) from e",
            1,
            "chains: error: an unexpected failure; please report it",
        ),
        (
            "e = ValueError('x')\ne.add_note(HOSTILE)\nraise e",
            1,
            "chains: error: an unexpected failure; please report it",
        ),
        (
            "import threading\ndef f(): raise ValueError(HOSTILE)\n"
            "t = threading.Thread(target=f)\nt.start()\nt.join()",
            0,
            "chains: error: a thread failed",
        ),
        (
            "class A:\n  def __del__(self): raise ValueError(HOSTILE)\nA()",
            0,
            "chains: error: a failure that nobody can catch",
        ),
        (
            "import asyncio\nasync def f():\n  async def g(): raise ValueError(HOSTILE)\n"
            "  t = asyncio.create_task(g())\n  await asyncio.sleep(0)\n  del t\n"
            "asyncio.run(f())\nimport gc\ngc.collect()",
            0,
            "chains: error: asyncio: Task exception was never retrieved",
        ),
    ],
)  # fmt: skip
def test_whatever_python_itself_tells_is_escaped_too(code: str, status: int, first: str) -> None:
    done = python(code)
    lines = done.stderr.splitlines()
    assert done.returncode == status, done.stderr
    assert lines[0].startswith(first)
    assert ESCAPED in done.stderr or repr(HOSTILE)[1:-1] in done.stderr
    assert all(plain(line) == line for line in done.stderr.split("\n"))
    assert all(line.startswith("  ") for line in lines[1:]), "no line of a value begins a line of ours"


def test_a_log_line_that_cannot_be_made_is_told_and_ends_nothing() -> None:
    done = python("import logging\nlogging.getLogger('x').warning('%d', HOSTILE)\nsay('still here')")
    lines = done.stderr.splitlines()
    assert lines == ["chains: a log line of x cannot be written: TypeError", "chains: still here"]


def test_a_traceback_names_the_failures_in_the_order_they_came() -> None:
    def fail() -> None:
        try:
            Path("/nowhere").read_bytes()
        except OSError as error:
            raise ValueError("second\nline") from error

    with pytest.raises(ValueError, match="second") as caught:
        fail()
    lines = list(traceback_lines(caught.value))
    told = [line for line in lines if not line.startswith(" ")]
    assert told == [
        "builtins.FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'",
        "then",
        "builtins.ValueError: second\\nline",
    ]
    assert sum("test_terminal.py" in line for line in lines) == 3


def test_a_log_in_text_and_one_in_json_have_every_record_on_one_line() -> None:
    record = logging.LogRecord("chains.x", logging.ERROR, "f", 1, "%s", (HOSTILE,), None)
    record.reason = HOSTILE
    assert TextLines().format(record) == f"chains: error: chains.x: {ESCAPED}"
    line = JsonLines().format(record)
    assert plain(line) == line
    found = json.loads(line)
    assert (found["message"], found["reason"]) == (HOSTILE, HOSTILE)


def test_an_encoding_that_lacks_a_character_gets_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr("sys.stderr", stream)
    terminal.say("ü漢")
    assert stream.buffer.getvalue() == b"chains: \\xfc\\u6f22\n"  # type: ignore[attr-defined]


def test_without_standard_streams_a_line_is_dropped_and_a_result_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stderr", None)
    monkeypatch.setattr("sys.stdout", None)
    terminal.say("nobody hears it")
    with pytest.raises(OSError, match="closed"):
        terminal.write_document(b"{}")


def through_a_terminal(code: str) -> bytes:
    ours, theirs = pty.openpty()
    try:
        subprocess.run([sys.executable, "-c", code], stdout=theirs, check=True, timeout=60)
        os.close(theirs)
        theirs = -1
        found = b""
        while b"end" not in found:
            found += os.read(ours, 65536)
        return found
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def test_a_signed_document_is_exact_in_a_pipe_and_escaped_on_a_terminal() -> None:
    document = json.dumps({"name": "x\x7f\x9b\u202eü", "end": "end"}, ensure_ascii=False)
    code = f"from chains.terminal import write_document\nwrite_document({document.encode()!r})"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert piped.stdout == document.encode() + b"\n"
    seen = through_a_terminal(code).decode().removesuffix("\r\n")
    assert plain(seen) == seen
    assert "ü" in seen
    assert json.loads(seen) == json.loads(document)


HOSTILE_OUTCOME = Outcome(
    run="taskrun/a/b",
    uid="u",
    state=FAILED,
    reason=HOSTILE,
    entries=(Entry("provenance", HOSTILE, "annotation", HOSTILE, "failed", HOSTILE),),
    logged=(HOSTILE,),
)


def test_the_annotations_of_a_mark_hold_no_character_that_is_not_seen() -> None:
    text = compact_outcome(HOSTILE_OUTCOME)
    assert plain(text) == text
    found = json.loads(text)
    assert found["reason"] == ESCAPED
    assert found["transparency"] == [ESCAPED]
    assert {found["entries"][0][name] for name in ("store", "subject", "detail")} == {ESCAPED}
    patch = mark_patch("TaskRun", {"resourceVersion": "1"}, HOSTILE_OUTCOME)
    assert patch["metadata"]["annotations"]["chains.tekton.dev/transparency"] == ESCAPED


def test_a_note_on_a_run_that_is_tried_again_holds_no_such_character() -> None:
    trouble = Trouble(1_700_000_000.0)
    trouble.reason = HOSTILE
    text = trouble.note(1_700_000_100.0)
    assert plain(text) == text
    assert json.loads(text)["reason"] == ESCAPED


def test_the_message_of_an_event_is_one_plain_line_of_at_most_a_thousand_characters() -> None:
    made = []

    class Cluster:
        async def create(self, path: str, body: object) -> None:
            made.append((path, body))

    about = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "n", "name": "c", "uid": "u"}
    for message in (HOSTILE, "\x1b" * 5000):
        asyncio.run(write_event(Cluster(), about, "ConfigRefused", message))  # type: ignore[arg-type]
    assert made[0][1]["message"] == ESCAPED  # type: ignore[index]
    assert made[1][1]["message"] == r"\x1b" * 250  # type: ignore[index]


def test_labels_of_metrics_are_plain_so_that_the_metrics_can_always_be_read() -> None:
    metrics = Metrics()
    metrics.count("TaskRun", HOSTILE, HOSTILE_OUTCOME, None)
    metrics.count_errors(HOSTILE, HOSTILE_OUTCOME)
    text = metrics.text().decode()
    assert all(plain(line) == line for line in text.split("\n"))
    found = {
        (sample.labels["namespace"], sample.labels.get("store"))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in {"chains_runs_total", "chains_store_errors_total"}
    }
    assert found == {(ESCAPED, None), (ESCAPED, ESCAPED)}
