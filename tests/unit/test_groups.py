"""How ``dev.py test`` runs server tests: in groups side by side, and once more, alone, what failed there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.groups import LONGEST_FIRST, TOGETHER, group_of

ROOT = Path(__file__).parents[2]
DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import dev
dev.ROOT = Path.cwd()
work, arguments = sys.argv[2], sys.argv[3:]
if work == "test":
    dev.test(servers=True, arguments=arguments)
else:
    dev.server_tests(dev.BIN / "python", "-m", "pytest", "-p", "tests.groups", arguments=arguments)
"""
SETTINGS = """
[tool.pytest.ini_options]
addopts = "--strict-markers -p no:cacheprovider -p xdist -p pytest_cov"
markers = ["server", "breaks"]
[tool.coverage.run]
source = ["ours"]
branch = true
parallel = true
"""
GOOD = """
import pytest
import ours.offline, ours.parallel
def test_offline(): assert ours.offline.work() == 1
@pytest.mark.server
def test_parallel(): assert ours.parallel.work() == 1
"""


class Project:
    """A project with tests of its own that is tested as ours is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("offline", "parallel", "alone"):
            self.write(f"ours/{name}.py", "def work():\n    return 1\n")
        self.write("ours/__init__.py", "")
        self.write("tests/__init__.py", "")
        self.write("pyproject.toml", SETTINGS)
        shutil.copy(ROOT / "tests" / "groups.py", folder / "tests")
        self.write("tests/test_good.py", GOOD)
        self.write("tests/once.py", ONCE)

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(exist_ok=True)
        (self.folder / path).write_text(text)

    def tested(self, work: str = "test", *arguments: str) -> tuple[int, str]:
        """Run everything, or the server tests, and return the exit code and what was said."""
        done = subprocess.run(
            [sys.executable, "-c", DRIVER, ROOT, work, *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_XDIST_AUTO_NUM_WORKERS": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


SERVER = "import pytest, os\nfrom tests.once import first\npytestmark = pytest.mark.server\n"
ONCE = """
from pathlib import Path
def first(name):
    try:
        Path(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
"""
FLAKY = """
@pytest.fixture
def starts():
    assert not first("setup"), "not started"
@pytest.fixture
def ends():
    yield
    assert not first("teardown"), "not ended"
@pytest.mark.parametrize("name", ["a@b", "c d"])
def test_flaky(name):
    assert not first(name)
    import ours.alone
    assert ours.alone.work() == 1
def test_starts(starts): pass
def test_ends(ends): pass
def test_good(): assert first("good")
"""
FLAKES = "".join(
    f"!!!   tests/test_flaky.py::{name}\n"
    for name in ("test_flaky[a@b]", "test_flaky[c d]", "test_starts", "test_ends")
)


def test_what_failed_in_parallel_and_passed_alone_is_told_and_the_coverage_of_all_parts_is_one(
    project: Project,
) -> None:
    project.write("tests/test_flaky.py", SERVER + FLAKY)
    code, said = project.tested()
    assert code == 0, said
    assert re.search(r"^TOTAL .* 100%$", said, re.MULTILINE)
    assert f"\n!!! 4 tests failed in parallel and run once more, alone:\n{FLAKES}$ " in said
    assert said.endswith(f"\n!!! 4 tests FAILED IN PARALLEL and passed alone:\n{FLAKES}")
    assert "collected 4 items" in said


def test_what_fails_twice_fails_the_run(project: Project) -> None:
    project.write("tests/test_bad.py", SERVER + FLAKY + "def test_bad(): assert 0\n")
    code, said = project.tested("server_tests")
    assert code == 1, said
    again = f"!!! 5 tests failed in parallel and run once more, alone:\n{FLAKES}!!!   tests/test_bad.py::test_bad\n"
    alone = said.partition(again.replace("test_flaky.py", "test_bad.py"))[2]
    assert "FAILED tests/test_bad.py::test_bad" in alone
    assert "1 failed, 4 passed" in alone


def test_an_offline_test_that_fails_fails_the_run(project: Project) -> None:
    project.write(
        "tests/test_bad.py", "from tests.once import first\ndef test_bad(): assert not first('it')\n"
    )
    code, said = project.tested()
    assert code == 1, said
    assert said.count("test session starts") == 1


BREAKS = {
    "a file that cannot be imported": "if first('it'):\n    raise ValueError\n",
    "a process that crashes": "def test_bad():\n    if first('it'): os._exit(3)\n",
    "an internal error": "@pytest.mark.breaks\ndef test_bad(): pass\n",
    "more failures than others could be the reason of":
        "@pytest.mark.parametrize('n', range(51))\ndef test_bad(n): assert not first(f'it-{n}')\n",
}  # fmt: skip


@pytest.mark.parametrize("how", BREAKS)
def test_a_failure_that_is_no_single_tests_fails_the_run_though_it_comes_but_once(
    project: Project, how: str
) -> None:
    project.write(
        "tests/conftest.py",
        """
from tests.once import first
def pytest_runtest_protocol(item):
    if item.get_closest_marker("breaks") and first("it"):
        raise ValueError("internal")
""",
    )
    project.write("tests/test_bad.py", SERVER + BREAKS[how] + "def test_more(): pass\n")
    project.write("tests/test_more.py", SERVER + "".join(f"def test_{n}(): pass\n" for n in range(9)))
    code, said = project.tested("server_tests")
    assert code not in {0, 5}, said
    assert said.count("test session starts") == 1, said


def test_a_group_is_a_file_or_what_shares_a_node_and_the_longest_are_there() -> None:
    assert group_of("tests/faults/test_a.py::test[tests/e2e/]") == "tests/faults/test_a.py"
    assert (
        group_of("tests/e2e/test_ends.py::test_b")
        == group_of("tests/e2e/test_shipped.py::test_c")
        == "tests/e2e"
    )
    for name in (*TOGETHER, *LONGEST_FIRST):
        assert (ROOT / name).exists(), name
        assert name == group_of(f"{name}/test_a.py" if name in TOGETHER else name)
    assert len(set(LONGEST_FIRST)) == len(LONGEST_FIRST)
