"""The pages that are written from the code say what the code says, and leave nothing out."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from chains.cli.main import program
from chains.cli.manual.described import describe

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
PACKAGES = ("chains", "signers", "storage")
NOT_PRINTED = {
    "Answer": "parts of an attribute, which docs/execution-report.md explains",
    "Consequence": "input: a policy's onMissing and onUnavailable",
    "Effect": "words of generated policies, docs/policy.md",
    "Expected": "input: cases of policies",
    "Format": "input: formats of provenance, docs/configuration.md",
    "HermeticWanted": "input: policies",
    "Highest": "input: control maps",
    "Ids": "input: control maps",
    "Key": "input: queries, docs/evidence-index.md",
    "Kind": "kinds of configuration keys, revocations, facts and criteria: input",
    "LockWanted": "input: retention rules",
    "Missing": "inner: what a question lacks; the command says it in words",
    "Mode": "input: policies",
    "Openness": "inner: what policies leave open; the report says it in words",
    "Operator": "input: policies",
    "OutcomeWanted": "input: policies",
    "Part": "names of containers' parts, docs/execution-report.md",
    "Requirement": "input: policies, docs/policy.md",
    "Role": "docs/evidence-index.md",
    "Severity": "error or warning",
    "Source": "parts of an attribute, docs/execution-report.md",
    "Span": "input: queries",
    "Start": "input: retention rules",
    "Time": "inner",
    "Trust": "parts of an attribute, docs/triggers.md",
    "Unit": "input: queries",
    "UseKind": "desired or running, docs/policy.md",
    "_Form": "inner",
}
"""Enumerations of texts whose members are no codes of an answer, and why; by name."""


def load(name: str) -> ModuleType:
    """Import a generator from its file."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


cli, metrics, reasons = load("generate_cli"), load("generate_metrics"), load("generate_reasons")


@pytest.mark.parametrize(
    ("page", "written", "generator"),
    [
        ("cli.md", cli.cli_page, "generate_cli"),
        ("metrics.md", metrics.metrics_page, "generate_metrics"),
        ("reasons.md", reasons.reasons_page, "generate_reasons"),
    ],
)
def test_the_page_is_as_the_code_is_now(page: str, written: object, generator: str) -> None:
    assert callable(written)
    told = f"run: python docs/{generator}.py"
    assert (REFERENCE / page).read_text(encoding="utf-8") == written(), told


def test_every_command_option_and_twin_is_on_the_page_of_commands() -> None:
    page = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    for command in describe(program).all():
        assert len(command.path) == 1 or f"\n## {command.name}\n" in page
        for option in command.options:
            assert f"| `{option.twin}` |" in page
            assert f"{option.names[-1]}" in page


def test_every_metric_that_is_declared_is_on_the_page_of_metrics() -> None:
    page = (REFERENCE / "metrics.md").read_text(encoding="utf-8")
    declared: set[str] = set()
    for file in (ROOT / "chains").rglob("metrics.py"):
        text = file.read_text(encoding="utf-8")
        declared |= set(re.findall(r"\"((?:chains|watcher)_[a-z_]+)\"", text))
        declared |= {f"chains_recheck_{name}" for name in re.findall(r"gauge\(\s*\"([a-z_]+)\"", text)}
    assert len(declared) > 60
    assert [name for name in sorted(declared) if not re.search(rf"`{name}(_total)?`", page)] == []


def test_every_enumeration_of_codes_is_on_the_page_of_reasons_or_is_no_answer() -> None:
    page = (REFERENCE / "reasons.md").read_text(encoding="utf-8")
    listed = 0
    for file in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            is_codes = isinstance(node, ast.ClassDef) and "StrEnum" in map(ast.unparse, node.bases)
            if not is_codes or node.name in NOT_PRINTED:  # type: ignore[union-attr]
                continue
            values = [
                ast.literal_eval(one.value)
                for one in node.body  # type: ignore[union-attr]
                if isinstance(one, ast.Assign) and isinstance(one.value, ast.Constant)
            ]
            assert values
            lost = [value for value in values if f"\n| `{value}` |" not in page]
            assert lost == [], f"{file}: {node.name}"  # type: ignore[union-attr]
            listed += 1
    assert listed > 20


def test_a_code_that_nothing_explains_is_an_error() -> None:
    section = reasons.Section("States", "", ("new_code",), words={"other": ("x",)})
    with pytest.raises(KeyError, match="States: nothing explains new_code"):
        "".join(reasons._section(section))


def test_the_generators_write_the_files_that_are_tested(tmp_path: Path) -> None:
    """As a command: the page is written beside the others and nothing else changes."""
    before = (REFERENCE / "metrics.md").read_bytes()
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate_metrics.py")],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (REFERENCE / "metrics.md").read_bytes() == before
