"""The page on logs has every field that the code writes, and no other; its messages are those of the code."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

from chains.controller.log_lines import JsonLines
from chains.web.access import gate
from chains.web.access import log as access_log

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "logs.md").read_text()
ALWAYS = {"time", "level", "logger", "message"}
LEVELS = {"info", "warning", "error", "exception", "critical", "log"}


def trees() -> Iterator[ast.Module]:
    """Yield the modules that write log lines."""
    for room in ("chains", "signers", "storage"):
        for path in sorted((ROOT / room).rglob("*.py")):
            text = path.read_text()
            if "extra=" in text and "getLogger" in text:
                yield ast.parse(text)


def dictionaries() -> Iterator[ast.Dict]:
    """Yield what is passed as ``extra``, also by a name that it has before."""
    for tree in trees():
        nodes = list(ast.walk(tree))
        named = {
            target.id: node.value
            for node in nodes
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in nodes:
            if isinstance(node, ast.keyword) and node.arg == "extra":
                value = named[node.value.id] if isinstance(node.value, ast.Name) else node.value
                assert isinstance(value, ast.Dict), (
                    "fields are given as a dictionary, so that they can be found"
                )
                yield value


def written() -> set[str]:
    keys = [key for each in dictionaries() for key in each.keys]
    assert all(isinstance(key, ast.Constant) for key in keys), (
        "every field is a literal, so that it can be found"
    )
    return {str(key.value) for key in keys if isinstance(key, ast.Constant)}


def documented(section: str) -> list[str]:
    rows = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def test_the_page_has_every_field_that_is_written_and_no_other() -> None:
    fields = PAGE.partition("## Fields")[2].partition("The access log of")[0]
    names = documented(fields)
    assert len(set(names)) == len(names)
    assert set(names) == written() | ALWAYS | {"error"}


def test_every_line_has_the_fields_of_the_first_table() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("chains.test-of-log-lines")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    logger.info("it happened", extra={"run": "taskrun/ci/a\x1b[31m"})
    try:
        int("broken")
    except ValueError:
        logger.exception("unexpected failure")
    logger.removeHandler(handler)
    plain, broken = map(json.loads, stream.getvalue().splitlines())
    assert set(plain) == ALWAYS | {"run"}
    assert set(broken) == ALWAYS | {"error"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", plain["time"])
    assert "\x1b" not in stream.getvalue()


def test_the_fields_of_the_access_log_are_those_that_it_writes() -> None:
    section = PAGE.partition("The access log of")[2].partition("\n## ")[0]
    entry = ast.walk(ast.parse(Path(access_log.__file__).read_text()))
    fixed = {
        str(key.value)
        for node in entry
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    facts = {
        keyword.arg
        for node in ast.walk(ast.parse(Path(gate.__file__).read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "self._log.write"
        for keyword in node.keywords
    }
    assert set(documented(section)) == fixed | facts


def test_the_messages_of_the_page_are_those_of_the_code() -> None:
    texts = {
        str(node.value)
        for room in ("chains", "signers", "storage")
        for path in (ROOT / room).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    section = PAGE.partition("## What to look for")[2].partition("\n`tests/")[0]
    messages = [
        name
        for row in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", row)
    ]
    queried = re.findall(r'message ?[:=] ?"([^"]+)"', PAGE)
    assert len(messages) > 5
    for message in {*messages, *queried}:
        assert message in texts, message
