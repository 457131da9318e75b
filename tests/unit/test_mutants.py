"""What the mutation run is read as, and what is known of mutants that nothing can kill."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.mutants.findings import (
    KILLED,
    SURVIVED,
    TIMEOUT,
    UNCHECKED,
    UNTESTED,
    Equivalent,
    Mutant,
    Target,
    changed,
    equivalents,
    fate_of,
    function_of,
    judge,
    only_wording,
    read_mutants,
    table,
    targets,
)

ROOT = Path(__file__).parents[2]


def test_every_target_and_its_tests_are_there() -> None:
    for module, target in targets().items():
        assert (ROOT / module).is_file(), module
        assert target.tests
        for test in target.tests:
            assert (ROOT / test).is_file(), f"{module}: {test}"
        assert set(target.functions) <= set(functions(module)), module


@cache
def functions(module: str) -> dict[str, str]:
    """The source of each function and method of a module."""
    text = (ROOT / module).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for node in ast.parse(text).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        for one in inner:
            if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{node.name}.{one.name}" if isinstance(node, ast.ClassDef) else one.name
                found[name] = ast.get_source_segment(text, one) or ""
    return found


def test_every_equivalent_mutant_is_one_of_a_line_that_is_still_there() -> None:
    """Whether it still survives is for the run to say; a line that is gone has no mutants."""
    known = equivalents()
    assert len(set(known)) == len(known), "an entry is there twice"
    for one in known:
        assert one.module in targets()
        source = functions(one.module).get(one.function)
        assert source is not None, f"{one.module} has no {one.function}"
        lines = {line.strip() for line in source.splitlines()}
        assert set(one.was) <= lines, f"{one.module}: {one.function}: {one.was}"
        assert one.was != one.becomes


def mutant(fate: str, *, was: str = "return a", becomes: str = "return b", wording: bool = False) -> Mutant:
    return Mutant("signers/a.py", "f", (was,), (becomes,), fate, is_wording=wording)


def test_an_equivalent_counts_as_long_as_it_survives_and_is_stale_afterwards() -> None:
    known = Equivalent("signers/a.py", "f", ("return a",), ("return b",), "a is b")
    found = judge("signers/a.py", [mutant(SURVIVED), mutant(KILLED, was="x")], [known])
    assert (found.equivalent, found.killed, found.stale, found.survivors) == (1, 1, [], [])
    assert found.score == 100.0
    found = judge("signers/a.py", [mutant(KILLED)], [known])
    assert (found.equivalent, found.killed, found.stale) == (0, 1, [known])
    assert judge("signers/b.py", [], [known]).stale == [], "it is of another module"


def test_what_no_test_reaches_and_what_was_not_run_count_against_a_module() -> None:
    fates = [KILLED] * 6 + [TIMEOUT, SURVIVED, UNTESTED, UNCHECKED]
    found = judge("signers/a.py", [mutant(fate) for fate in fates], [])
    assert (found.total, found.killed, found.timeouts, found.unchecked) == (10, 6, 1, 1)
    assert [one.fate for one in found.survivors] == [SURVIVED, UNTESTED]
    assert found.score == 70.0
    assert table([found]).splitlines()[-1] == "| `signers/a.py` | 10 | 7 | 0 | 0 | 3 | 70.0 |"


def test_wording_that_no_test_compares_is_told_and_does_not_count() -> None:
    found = judge("signers/a.py", [mutant(SURVIVED, wording=True), mutant(KILLED)], [])
    assert (found.wording, found.score) == (1, 100.0)
    found = judge("signers/a.py", [mutant(KILLED, wording=True)], [])
    assert (found.wording, found.killed) == (0, 1)


@pytest.mark.parametrize(
    ("code", "fate"),
    [(0, SURVIVED), (1, KILLED), (3, KILLED), (33, UNTESTED), (5, UNTESTED), (-24, TIMEOUT), (None, UNCHECKED), (2, UNCHECKED), (-9, UNCHECKED), (255, UNCHECKED)],
)  # fmt: skip
def test_exit_codes_are_read_as_mutmut_means_them(code: int | None, fate: str) -> None:
    assert fate_of(code) == fate


@pytest.mark.parametrize(
    ("text", "becomes", "is_wording"),
    [
        ("not a key", "XXnot a keyXX", True),
        ("not a Key", "NOT A KEY", True),
        ("not a Key", "not a key", True),
        ("failed", "XXfailedXX", False),
        (" - ", "XX - XX", False),
        ("sha256 ", "XXsha256 XX", False),
        ("not a key", "another text", False),
    ],
)
def test_only_texts_of_several_words_are_wording(text: str, becomes: str, is_wording: bool) -> None:
    def function(name: str, word: str) -> str:
        return f"def {name}(x):\n    return g(x, {word!r}, 1)\n"

    assert only_wording(function("f_orig", text), function("f_1", becomes)) is is_wording
    other = function("f_1", becomes).replace(", 1)", ", 2)")
    assert not only_wording(function("f_orig", text), other)
    assert not only_wording(function("f_orig", text), function("f_1", text)), "nothing differs but the name"


def test_a_change_is_told_by_its_lines_without_indentation() -> None:
    before = "def it(a):\n    if a:\n        return 1\n    return 2\n"
    assert changed(before, before.replace("return 1", "return 2")) == (("return 1",), ("return 2",))


def test_a_target_may_be_some_functions_of_a_module() -> None:
    target = Target("storage/a.py", ("t.py",), ("f", "C.g"))
    assert target.patterns == ["storage.a.x_f__mutmut_*", "storage.a.xǁCǁg__mutmut_*"]
    keys = (
        "storage.a.x_f__mutmut_1",
        "storage.a.xǁCǁg__mutmut_12",
        "storage.a.x__f__mutmut_1",
        "storage.a.xǁCǁf__mutmut_1",
    )
    assert [function_of(key) for key in keys] == ["f", "C.g", "_f", "C.f"]
    assert [target.has(function_of(key)) for key in keys] == [True, True, False, False]
    assert Target("storage/a.py", ("t.py",)).has("anything")
    assert Target("storage/a.py", ("t.py",)).patterns == []


def test_results_are_read_from_mutmuts_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mutants" / "signers"
    folder.mkdir(parents=True)
    lines = [
        "def x_f__mutmut_orig(a):", "    return a < 1", "def x_f__mutmut_1(a):", "    return a <= 1",
        "class C:", "    def xǁCǁg__mutmut_orig(self):", "        raise ValueError('no such key')",
        "    def xǁCǁg__mutmut_1(self):", "        raise ValueError('XXno such keyXX')",
    ]  # fmt: skip
    (folder / "a.py").write_text("\n".join(lines) + "\n")
    spans = {
        "x_f__mutmut_orig": [1, 2],
        "x_f__mutmut_1": [3, 4],
        "xǁCǁg__mutmut_orig": [6, 7],
        "xǁCǁg__mutmut_1": [8, 9],
    }
    (folder / "a.py.spans").write_text(json.dumps({"version": 1, "spans": spans}))
    codes = {"signers.a.x_f__mutmut_1": 1, "signers.a.xǁCǁg__mutmut_1": 0}
    (folder / "a.py.meta").write_text(json.dumps({"exit_code_by_key": codes}))
    assert read_mutants(tmp_path, "signers/a.py") == [
        Mutant("signers/a.py", "f", ("return a < 1",), ("return a <= 1",), KILLED),
        Mutant(
            "signers/a.py",
            "C.g",
            ("raise ValueError('no such key')",),
            ("raise ValueError('XXno such keyXX')",),
            SURVIVED,
            is_wording=True,
        ),
    ]


def command(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.mutants", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "CHAINS_MUTANTS_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def test_the_command_names_its_targets_and_refuses_others(tmp_path: Path) -> None:
    listed = command(tmp_path, "--list")
    assert (listed.returncode, listed.stdout.splitlines()) == (0, list(targets()))
    unknown = command(tmp_path, "chains.cluster.rate_limit")
    assert unknown.returncode == 1
    assert (
        "no target chains/cluster/rate_limit.py: expected one of chains/verify/conclude.py, "
        in unknown.stderr
    )


def test_the_command_runs_one_small_module(tmp_path: Path) -> None:
    pytest.importorskip("mutmut", reason="install it with 'uv sync --group mutants'")
    found = command(tmp_path, "chains.verify.signed_by")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "| `chains/verify/signed_by.py` | " in found.stdout
    again = command(tmp_path, "chains/verify/signed_by.py")
    assert again.stdout == found.stdout
