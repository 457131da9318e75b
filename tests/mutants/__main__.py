"""Change one thing at a time in the modules that decide what is true, and see whether a test notices.

``python3 dev.py mutants [--fresh] [--survivors] [--list] [MODULE…]``; a MODULE is ``signers/formats/dsse.py`` or
``signers.formats.dsse``. mutmut makes the mutants and runs them, in a copy of the tree in the user's cache folder
(``CHAINS_MUTANTS_CACHE`` changes it), which keeps the results: only what changed runs again, and survivors when
a test of their module changed. Tests of generated examples are left out: they are slow, and notice a mutant by chance.
``--fresh`` forgets the results, ``--survivors`` prints each, ``--list`` runs nothing.

Leaves with 1 where less than 95 per cent are killed of the mutants that a test can kill, and where an entry of
``equivalents.toml`` is no survivor any more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from tests.mutants.findings import (
    LEFT_OUT,
    SURVIVED,
    UNCHECKED,
    UNTESTED,
    Findings,
    Target,
    equivalents,
    fate_of,
    function_of,
    judge,
    read_mutants,
    table,
    targets,
)

ROOT = Path(__file__).parents[2]
_READ_BY_TESTS = ("tests/golden/", "tests/faults/", "tests/unit/signers/formats/broken/")
ROOMS = ("chains", "signers", "storage")
BESIDE = ("tests", "examples", "docs", "deploy", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "dev.py")
LEAST = 95.0
_SETTINGS = """
[tool.mutmut]
source_paths = ["chains", "signers", "storage"]
only_mutate = [{module}]
also_copy = {beside}
pytest_add_cli_args = ["-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not server and not hypothesis"]
pytest_add_cli_args_test_selection = {tests}
process_isolation = "forkserver"
use_git_change_detection = false
on_dependency_change = "ignore"
timeout_constant = 20.0
timeout_multiplier = 3.0
"""


def cache() -> Path:
    """Return the folder where copies and results are kept, outside the tree."""
    named = os.environ.get("CHAINS_MUTANTS_CACHE")
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else home / "provenance-chains" / "mutants"


def files(top: Path) -> Iterator[Path]:
    """Yield the files of a tree, or a file, relative to the project."""
    found = [top] if top.is_file() else sorted(top.rglob("*"))
    for path in found:
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(ROOT)


def lay_out(folder: Path, target: Target) -> tuple[str, str]:
    """Bring a work folder up to date with the tree; returns the digests of the module, and of its tests.

    Of its tests are the files named, and what they read: the golden and the faulty files.
    """
    of_tests = hashlib.sha256(json.dumps([target.tests, target.functions, _SETTINGS]).encode())
    there: set[Path] = set()
    for top in (*ROOMS, *BESIDE):
        for path in files(ROOT / top):
            there.add(path)
            data, copy = (ROOT / path).read_bytes(), folder / path
            if str(path) in target.tests or str(path).startswith(_READ_BY_TESTS):
                of_tests.update(b"%b %d\n%b" % (str(path).encode(), len(data), data))
            # written anew only where it differs: mutmut goes by the time of the last change
            if not copy.is_file() or copy.read_bytes() != data:
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(data)
    for top in (*ROOMS, *BESIDE):
        for copy in [*(folder / top).rglob("*")]:
            if copy.is_file() and copy.relative_to(folder) not in there:
                copy.unlink()
                (folder / "mutants" / copy.relative_to(folder)).unlink(missing_ok=True)
    settings = _SETTINGS.format(
        module=json.dumps(target.module), beside=json.dumps(list(BESIDE)), tests=json.dumps(target.tests)
    )
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + settings)
    return hashlib.sha256((ROOT / target.module).read_bytes()).hexdigest(), of_tests.hexdigest()


def mutate(folder: Path, names: Sequence[str] = ()) -> None:
    """Run mutmut in a work folder, on mutants that were not checked yet, or on those of ``names``."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CHAINS_")}
    # a compiled module is taken for the changed one when time and size are the same
    environ.pop("PYTHONPYCACHEPREFIX", None)
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    program = Path(sys.executable).with_name("mutmut")
    if not program.exists():
        sys.exit("mutmut is not installed: 'python3 dev.py mutants' does that, or 'uv sync --group mutants'")
    log = folder / "mutmut.log"
    with log.open("ab") as output:
        command = [str(program), "run", "--max-children", "1", *names]
        code = subprocess.run(
            command, cwd=folder, env=environ, stdout=output, stderr=output, check=False
        ).returncode
    if code:
        tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        sys.exit(f"mutmut left with {code} in {folder}:\n{tail}")


def run(target: Target, *, fresh: bool) -> Findings:
    """Run what has to be run of one module, and return its findings."""
    folder = cache() / target.module.removesuffix(".py").replace("/", ".")
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    noted, meta = folder / "digests.json", folder / "mutants" / f"{target.module}.meta"
    before = json.loads(noted.read_text()) if noted.is_file() else ["", ""]
    digests = list(lay_out(folder, target))
    if digests != before or not meta.is_file():
        noted.unlink(missing_ok=True)
        if meta.is_file() and digests[1] != before[1]:
            # other tests reach other functions, and may kill what the last ones did not
            (folder / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)
            forget(meta, {SURVIVED, UNTESTED, UNCHECKED})
        if meta.is_file() and target.functions:
            leave_out(meta, target)
        mutate(folder, [] if meta.is_file() else target.patterns)
        noted.write_text(json.dumps(digests))
    mutants = [mutant for mutant in read_mutants(folder, target.module) if target.has(mutant.function)]
    return judge(target.module, mutants, equivalents())


def leave_out(meta: Path, target: Target) -> None:
    """Keep mutmut from running what is not of the target."""
    noted = json.loads(meta.read_text())
    codes = noted["exit_code_by_key"]
    noted["exit_code_by_key"] = {
        name: code if target.has(function_of(name)) else LEFT_OUT for name, code in codes.items()
    }
    meta.write_text(json.dumps(noted))


def forget(meta: Path, fates: Container[str]) -> None:
    """Let mutmut run again what ended so; what was left out stays so."""
    noted = json.loads(meta.read_text())
    codes = noted["exit_code_by_key"]
    noted["exit_code_by_key"] = {
        name: None if code is not None and code != LEFT_OUT and fate_of(code) in fates else code
        for name, code in codes.items()
    }
    meta.write_text(json.dumps(noted))


def chosen(names: Sequence[str]) -> dict[str, Target]:
    """Return the targets of these names, all without any."""
    known = targets()
    if not names:
        return known
    paths = [name if name.endswith(".py") else name.replace(".", "/") + ".py" for name in names]
    unknown = [path for path in paths if path not in known]
    if unknown:
        sys.exit(f"no target {unknown[0]}: expected one of {', '.join(known)}")
    return {path: known[path] for path in paths}


def main(arguments: Sequence[str]) -> int:
    """Carry out one command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="dev.py mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--survivors", action="store_true", help="print each mutant that survived")
    parser.add_argument("--list", action="store_true", help="print the modules and run nothing")
    options = parser.parse_args(arguments)
    wanted = chosen(options.modules)
    if options.list:
        print("\n".join(wanted))
        return 0
    found: list[Findings] = []
    for target in wanted.values():
        one = run(target, fresh=options.fresh)
        found.append(one)
        print(table([one]).splitlines()[-1], flush=True)
        if options.survivors:
            print(*one.survivors, sep="\n")
        for entry in one.stale:
            print(f"{entry.module}: {entry.function}: no survivor any more: take it out of equivalents.toml")
            print(
                *(f"  - {line}" for line in entry.was), *(f"  + {line}" for line in entry.becomes), sep="\n"
            )
    print(table(found))
    weak = [one.module for one in found if one.score < LEAST]
    if weak:
        print(f"under {LEAST:.0f} per cent: {', '.join(weak)}; --survivors prints what no test noticed")
    return 1 if weak or any(one.stale for one in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
