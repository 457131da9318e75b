#!/usr/bin/env python3
"""Set the project up and work on it, with nothing but Python 3.11 or newer.

    python3 dev.py demo      set up, attest the examples, verify what was stored
    python3 dev.py test      set up, run every check and every test
    python3 dev.py check     formatting, lint, types and import contracts only
    python3 dev.py unit      the offline tests only, a few minutes
    python3 dev.py bench     speed and memory of the flow; "bench controllers" against Tekton Chains,
                              "bench hostile" memory of verify and the controller under attack,
                              "bench policies" evaluations of policies a second,
                              "bench admission" reviews a second of the webhook
    python3 dev.py release   make a release, or verify one: "release --help"
    python3 dev.py mutants   change the modules that decide what is true, and see if tests notice; takes hours

Packages are installed into .venv/ and .uv/ in this folder. Servers for the tests are built once, into the
user's cache folder (CHAINS_TESTBED_CACHE changes it).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
BIN = ROOT / ".venv" / "bin"
UV_VERSION = "0.13.8"
COVERAGE = 90
"""Per cent of lines and branches that the whole test run must reach."""
NO_RESTART = "--max-worker-restart=0"
IN_GROUPS = ("--dist", "loadscope", "--no-loadscope-reorder", NO_RESTART)
"""Options of pytest-xdist. A process that crashes fails the run and is not replaced."""
FAILED = 1
"""Exit code of pytest: tests have failed, and nothing worse happened."""
MOST_FAILED = 50
"""If more server tests than this fail in parallel, running in parallel is not the reason."""


def run(*command: str | Path, cwd: Path | None = None, allowed: tuple[int, ...] = (0,)) -> int:
    """Print and run a command. Exit with its exit code if it is not one of ``allowed``."""
    print("$", *(str(part) for part in command), flush=True)
    code = subprocess.run([str(part) for part in command], cwd=cwd or ROOT, check=False).returncode
    if code not in allowed:
        sys.exit(code)
    return code


def set_up(*, dev: bool, mutants: bool = False) -> None:
    """Install the locked dependencies with uv. If uv is missing, install it first."""
    found = shutil.which("uv")
    uv = Path(found) if found else ROOT / ".uv" / "bin" / "uv"
    if not uv.exists():
        run(
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--root-user-action=ignore",
            "--target",
            ROOT / ".uv",
            f"uv=={UV_VERSION}",
        )
    groups = ["--group", "dev"] if dev else ["--no-dev"]
    groups += ["--group", "mutants"] if mutants else []
    # "--inexact" keeps packages that another command of this file installed
    run(uv, "sync", "--frozen", "--inexact", "--quiet", "--python", sys.executable, *groups)


def release(arguments: list[str]) -> None:
    """Run the release script with the locked packages that it needs."""
    set_up(dev=True)
    code = subprocess.run(
        [BIN / "python", "-m", "deploy.release", *arguments], cwd=ROOT, check=False
    ).returncode
    sys.exit(code)


def demo() -> None:
    """Attest the example runs in a temporary folder and verify the evidence."""
    set_up(dev=False)
    folder = Path(tempfile.mkdtemp(prefix="chains-demo-"))
    chains, names = BIN / "chains", ("taskrun-image.json", "pipelinerun.json")
    for name in names:
        shutil.copy(ROOT / "examples" / name, folder)
    run(chains, "attest", *names, cwd=folder)
    run(chains, "verify", names[0], cwd=folder)
    print(f"\nEverything is in {folder / '.chains'}: the key pair and an OCI image layout.")


def check() -> None:
    """Check formatting, lint, types and import contracts."""
    run(BIN / "ruff", "format", "--check", ".")
    run(BIN / "ruff", "check", ".")
    run(BIN / "mypy")
    run(BIN / "lint-imports")


def test(*, servers: bool, arguments: list[str]) -> None:
    """Run the tests; with ``servers`` all of them, with the coverage gate."""
    pytest = (BIN / "python", "-m", "pytest", "-p", "tests.groups")
    offline = ("-m", "not server", "-n", "auto", NO_RESTART)
    if not servers:
        run(*pytest, *offline, *arguments)
        return
    run(BIN / "coverage", "erase")
    run(*pytest, *offline, "--cov", "--cov-report=", *arguments)
    failed = server_tests(*pytest, "--cov", "--cov-append", "--cov-report=", arguments=arguments)
    run(BIN / "coverage", "report", f"--fail-under={COVERAGE}")
    if failed:
        print(f"\n!!! {len(failed)} tests FAILED IN PARALLEL and passed alone:", *failed, sep="\n!!!   ")


def server_tests(*pytest: str | Path, arguments: list[str]) -> list[str]:
    """Run the groups of server tests in parallel, then the failed ones once more, alone.

    A test that fails twice fails the run. So does an error outside a test: of pytest, of the collection, or
    of a whole process. Return the tests that failed in parallel and passed alone.
    """
    with tempfile.TemporaryDirectory(prefix="chains-tests-") as folder:
        file = Path(folder) / "failed.txt"
        parallel = ("-m", "server", "-n", "auto", "--maxprocesses", "4", *IN_GROUPS, f"--parallel={file}")
        code = run(*pytest, *parallel, *arguments, allowed=(0, FAILED))
        failed = file.read_text().splitlines() if file.exists() else []
    if code == FAILED and not 0 < len(failed) <= MOST_FAILED:
        sys.exit(code)
    if failed:
        print(
            f"\n!!! {len(failed)} tests failed in parallel and run once more, alone:",
            *failed,
            sep="\n!!!   ",
        )
        run(*pytest, *failed)
    return failed


def main(arguments: list[str]) -> None:
    """Run one command."""
    command, *rest = arguments or ["help"]
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    if sys.version_info < (3, 11):  # noqa: UP036 - older versions of Python run this file too
        sys.exit("dev.py: Python 3.11 or newer is needed, this is " + sys.version.split()[0])
    if command == "demo":
        demo()
    elif command == "release":
        release(rest)
    elif command in {"test", "check", "unit", "bench", "mutants"}:
        # the tests run the command on one small module
        set_up(dev=True, mutants=command in {"test", "mutants"})
        if command in {"bench", "mutants"}:
            run(BIN / "python", "-m", f"tests.{command}", *rest)
            return
        if command in {"test", "check"}:
            check()
        if command in {"test", "unit"}:
            # without this, each of the many processes of the tests compiles everything that it imports
            os.environ.pop("PYTHONDONTWRITEBYTECODE")
            os.environ["PYTHONPYCACHEPREFIX"] = str(ROOT / ".venv" / "pycache")
            test(servers=command == "test", arguments=rest)
    else:
        print(__doc__)
        sys.exit(0 if command in {"help", "-h", "--help"} else 2)


if __name__ == "__main__":
    main(sys.argv[1:])
