"""Server tests in parallel: which of them form a group, and which of them failed.

``dev.py`` uses this pytest plugin (``-p tests.groups``). It runs the offline tests first, then the server tests in
groups (``--parallel=FILE``), and then those that FILE names once more, one by one, because they failed in parallel.

A group is a file of tests, or a folder of :data:`TOGETHER`. The tests of a group run in one process, in their order.
Each process starts its own servers (fixtures of ``tests/conftest.py``), with their own ports and folders.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/e2e",)
"""Folders that are one group: their tests share a fixture that takes minutes to start."""

LONGEST_FIRST = (
    "tests/faults/test_controller_faults.py",
    "tests/e2e",
    "tests/integration/test_gamedays.py",
    "tests/integration/test_image.py",
    "tests/integration/test_dockerfile.py",
    "tests/integration/test_runbooks.py",
    "tests/contract/test_stores.py",
    "tests/integration/test_controller_starved.py",
    "tests/integration/test_controller_crashes.py",
    "tests/integration/test_deploy.py",
    "tests/interop/test_cosign.py",
    "tests/integration/test_admission_replicas.py",
    "tests/integration/test_audit.py",
    "tests/integration/test_admission.py",
    "tests/integration/test_runbooks_admission.py",
    "tests/integration/test_recheck.py",
    "tests/integration/test_pull_secrets.py",
    "tests/integration/test_controller.py",
    "tests/integration/test_controller_hostile.py",
    "tests/integration/test_replicas.py",
    "tests/integration/test_controller_memory.py",
    "tests/integration/test_controller_runs.py",
    "tests/integration/test_controller_children.py",
    "tests/integration/test_controller_ledger.py",
    "tests/integration/test_controller_index.py",
    "tests/integration/test_web_browser.py",
    "tests/integration/test_triggers.py",
    "tests/integration/install/test_chart_renders.py",
    "tests/integration/test_upgrade.py",
    "tests/integration/test_traces.py",
    "tests/contract/test_index.py",
    "tests/integration/test_retention.py",
)
"""Groups of more than half a minute, the longest first, so that all processes end at about the same time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("groups").addoption(
        "--parallel",
        metavar="FILE",
        help="with pytest-xdist: run groups of tests, and write what failed to FILE",
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ended(config.getoption("parallel")))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the groups that take longest first."""
    if config.getoption("parallel"):
        places = {name: place for place, name in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: places.get(group_of(item.nodeid), len(places)))


def group_of(nodeid: str) -> str:
    """Return the name of a test's group."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), file)


class Groups(LoadScopeScheduling):
    """Assigns groups to processes.

    ``loadgroup`` of pytest-xdist 3.8 does nothing with pytest 9.2: it sets an attribute that pytest no longer reads.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups | None:
    return Groups(config, log) if config.getoption("parallel") else None


class Ended:
    """Checks that every collected test ended, and writes down which ones failed.

    pytest-xdist 3.8 can end with 0 although an internal error of pytest in one process kept tests from running.
    """

    def __init__(self, file: str | None) -> None:
        self.file = file
        self.collected: set[str] = set()
        self.ended: set[str] = set()
        self.failed: dict[str, None] = {}
        self.broken = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.collected.update(item.nodeid for item in session.items)

    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        self.collected.update(ids)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.broken |= report.failed

    def pytest_handlecrashitem(self) -> None:
        self.broken = True

    def pytest_internalerror(self) -> None:
        self.broken = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed[report.nodeid] = None
        if report.when == "teardown":
            self.ended.add(report.nodeid)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        yield
        missing = set() if session.config.option.collectonly else self.collected - self.ended
        if (missing or self.broken) and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
            reporter = session.config.pluginmanager.getplugin("terminalreporter")
            reporter.write_line(
                f"pytest is broken, or a process of it; never ended: {sorted(missing)}", red=True
            )
        if self.file and not self.broken and not missing:
            Path(self.file).write_text("".join(f"{nodeid}\n" for nodeid in self.failed))
