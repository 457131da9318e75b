"""What a mutation run left behind, read and compared with the survivors that are known to be equivalent."""

from __future__ import annotations

import ast
import difflib
import json
import re
import textwrap
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
KILLED, TIMEOUT, SURVIVED, UNTESTED, UNCHECKED = "killed", "timeout", "survived", "no tests", "not checked"
LEFT_OUT = 34
"""What mutmut notes for mutants that it is not to run."""
_WORDING = re.compile(r"[A-Za-z]{2,},? [A-Za-z]")
_SEPARATOR = "\N{LATIN LETTER LATERAL CLICK}"
"""Between class and method in the names of mutants."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mutant: where it is, what was taken out and put in (lines without indentation), and its fate."""

    module: str
    function: str
    was: tuple[str, ...]
    becomes: tuple[str, ...]
    fate: str
    is_wording: bool = False
    """It only writes a text for people in another way, as ``XX…XX``, in capitals or in small letters."""

    def __str__(self) -> str:
        lines = [f"{self.module}: {self.function}: {self.fate}", *(f"  - {line}" for line in self.was)]
        return "\n".join([*lines, *(f"  + {line}" for line in self.becomes)])


@dataclass(frozen=True, slots=True)
class Equivalent:
    """A mutant that no test can kill, and why; in ``equivalents.toml``."""

    module: str
    function: str
    was: tuple[str, ...]
    becomes: tuple[str, ...]
    reason: str

    def is_of(self, mutant: Mutant) -> bool:
        """Whether this is about a mutant."""
        return (self.module, self.function, self.was, self.becomes) == (
            mutant.module, mutant.function, mutant.was, mutant.becomes,
        )  # fmt: skip


@dataclass(slots=True)
class Findings:
    """The mutants of one module by what became of them, and the equivalents that were none."""

    module: str
    killed: int = 0
    timeouts: int = 0
    wording: int = 0
    equivalent: int = 0
    unchecked: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    stale: list[Equivalent] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many mutants there are."""
        counted = self.killed + self.timeouts + self.wording + self.equivalent + self.unchecked
        return counted + len(self.survivors)

    @property
    def score(self) -> float:
        """Per cent killed of those that tests can kill; mutants that hang are killed."""
        killed = self.killed + self.timeouts
        possible = killed + len(self.survivors) + self.unchecked
        return 100.0 * killed / possible if possible else 100.0


@dataclass(frozen=True, slots=True)
class Target:
    """What of a module is mutated, all of it without ``functions``, and the test files that cover it."""

    module: str
    tests: tuple[str, ...]
    functions: tuple[str, ...] = ()

    @property
    def patterns(self) -> list[str]:
        """The names of its mutants as mutmut takes them; empty for all."""
        dotted = self.module.removesuffix(".py").replace("/", ".")
        mangled = (
            "x" + "".join(_SEPARATOR + part for part in name.split(".")) if "." in name else f"x_{name}"
            for name in self.functions
        )
        return [f"{dotted}.{name}__mutmut_*" for name in mangled]

    def has(self, function: str) -> bool:
        """Whether the mutants of a function of the module are of the target."""
        return not self.functions or function in self.functions


def targets() -> dict[str, Target]:
    """Return the targets by module path, in the order in which modules are run."""
    read = tomllib.loads((HERE / "targets.toml").read_text(encoding="utf-8"))
    return {
        module: Target(module, tuple(target["tests"]), tuple(target.get("functions", ())))
        for module, target in read.items()
    }


def equivalents(path: Path = HERE / "equivalents.toml") -> list[Equivalent]:
    """Return the known survivors. Raises :class:`KeyError` and :class:`ValueError` for a wrong file."""
    found = []
    for one in tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", []):
        if not one["reason"].strip():
            raise ValueError(f"{one['module']}: {one['function']}: an equivalent mutant needs a reason")
        was, becomes = _lines(one["was"]), _lines(one["becomes"])
        found.append(Equivalent(one["module"], one["function"], was, becomes, one["reason"]))
    return found


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def judge(module: str, mutants: Sequence[Mutant], known: Sequence[Equivalent]) -> Findings:
    """Return what became of a module's mutants. An equivalent that is killed, or is no mutant, is stale."""
    found = Findings(module)
    own = [one for one in known if one.module == module]
    used: set[Equivalent] = set()
    for mutant in mutants:
        if mutant.fate == KILLED:
            found.killed += 1
        elif mutant.fate == TIMEOUT:
            found.timeouts += 1
        elif mutant.fate == UNCHECKED:
            found.unchecked += 1
        elif mutant.is_wording:
            found.wording += 1
        elif same := [one for one in own if one.is_of(mutant)]:
            used.update(same)
            found.equivalent += 1
        else:
            found.survivors.append(mutant)
    found.stale = [one for one in own if one not in used]
    return found


def read_mutants(folder: Path, module: str) -> list[Mutant]:
    """Return the mutants of ``module`` in a work folder of mutmut, as its last run left them."""
    written = folder / "mutants" / module
    results = json.loads((written.parent / f"{written.name}.meta").read_text())["exit_code_by_key"]
    spans = json.loads((written.parent / f"{written.name}.spans").read_text())["spans"]
    lines = written.read_text(encoding="utf-8").splitlines()

    def source(name: str) -> str:
        start, end = spans[name]
        return textwrap.dedent("\n".join(lines[start - 1 : end])) + "\n"

    found = []
    for key, code in results.items():
        name = key.rpartition(".")[2]
        stem, _, _ = name.rpartition("__mutmut_")
        before, after = source(f"{stem}__mutmut_orig"), source(name)
        was, becomes = changed(before.replace(f"{stem}__mutmut_orig", "it"), after.replace(name, "it"))
        is_wording = only_wording(before, after)
        found.append(Mutant(module, function_of(key), was, becomes, fate_of(code), is_wording=is_wording))
    return found


def function_of(key: str) -> str:
    """Return ``Class.method`` or ``function`` of a mutant's key."""
    stem, _, _ = key.rpartition(".")[2].rpartition("__mutmut_")
    if stem.startswith(f"x{_SEPARATOR}"):
        return stem.removeprefix(f"x{_SEPARATOR}").replace(_SEPARATOR, ".")
    return stem.removeprefix("x_")


def fate_of(code: int | None) -> str:
    """Return what an exit code of mutmut says; one that is not known, as of a run that broke, says nothing."""
    fates: Mapping[int | None, str] = {
        None: UNCHECKED,
        0: SURVIVED,
        1: KILLED,
        3: KILLED,
        5: UNTESTED,
        33: UNTESTED,
    }
    hung = {-24, 24, 36, 152}
    return TIMEOUT if code in hung else fates.get(code, UNCHECKED)


def changed(before: str, after: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the lines that went and those that came, without indentation."""
    was: list[str] = []
    becomes: list[str] = []
    for line in difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm=""):
        if line.startswith(("---", "+++", "@@")):
            continue
        (was if line.startswith("-") else becomes).append(line[1:].strip())
    return tuple(filter(None, was)), tuple(filter(None, becomes))


def only_wording(before: str, after: str) -> bool:
    """Whether two functions differ in nothing but how a text of several words is written."""
    pairs = list(_different(ast.parse(before).body[0], ast.parse(after).body[0]))
    return bool(pairs) and all(
        isinstance(old, str)
        and isinstance(new, str)
        and _WORDING.search(old) is not None
        and new in {f"XX{old}XX", old.lower(), old.upper()}
        for old, new in pairs
    )


def _different(one: object, other: object) -> Iterator[tuple[object, object]]:
    """Yield the values in which two trees differ; their names, as of functions, are left out."""
    if isinstance(one, ast.AST) and type(one) is type(other):
        for name, value in ast.iter_fields(one):
            if not (name == "name" and isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)):
                yield from _different(value, getattr(other, name))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for left, right in zip(one, other, strict=True):
            yield from _different(left, right)
    elif one != other:
        yield one, other


def table(found: Sequence[Findings]) -> str:
    """Return the results as a table in Markdown."""
    lines = [
        "| module | mutants | killed | wording | equivalent | survived | per cent |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        left = len(one.survivors) + one.unchecked
        numbers = (one.total, one.killed + one.timeouts, one.wording, one.equivalent, left)
        told = " | ".join(map(str, numbers))
        lines.append(f"| `{one.module}` | {told} | {one.score:.1f} |")
    return "\n".join(lines)
