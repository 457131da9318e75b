"""Server tests side by side: what belongs together, what is run alone, and what has failed beside others.

A pytest plugin (``-p tests.groups``) of ``dev.py``, which runs pytest up to three times: the offline tests; the
server tests in groups (``--beside=FILE``); then, one by one and with the machine to themselves, the tests marked
``alone`` and those that FILE names, because they failed beside others (``--alone=FILE``).

A group is a file of tests, or a folder of :data:`TOGETHER`. Its tests run in one process, in their order. Each
process has servers of its own (fixtures of ``tests/conftest.py``), on ports and in folders of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

TOGETHER = ("tests/e2e",)
"""Folders that are one group, because their tests share a fixture that takes minutes to start."""

LONGEST_FIRST = ("tests/e2e",)
"""Groups of more than half a minute, the longest first, so that all processes end at about the same time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("groups")
    group.addoption("--beside", metavar="FILE", help="leave out what runs alone; write what failed to FILE")
    group.addoption("--alone", metavar="FILE", help="only what runs alone and what FILE names")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Ended(config.getoption("beside")))


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    for item in items:
        if marked(item, "alone") and not marked(item, "server"):
            item.add_marker(pytest.mark.server)  # offline tests have no part that runs alone
    yield
    if config.getoption("beside"):
        keep(config, items, [item for item in items if not marked(item, "alone")])
        arrange(items)
    elif file := config.getoption("alone"):
        failed = set(Path(file).read_text().splitlines())
        if gone := failed - {item.nodeid for item in items}:
            raise pytest.UsageError(f"tests that failed beside others cannot be found: {sorted(gone)}")
        keep(config, items, [item for item in items if marked(item, "alone") or item.nodeid in failed])


def marked(item: pytest.Item, name: str) -> bool:
    """Return whether a test has a marker, be it through its file."""
    return item.get_closest_marker(name) is not None


def keep(config: pytest.Config, items: list[pytest.Item], kept: list[pytest.Item]) -> None:
    """Leave out the other items, in sight of the user."""
    out = set(items) - set(kept)
    if out:
        config.hook.pytest_deselected(items=[item for item in items if item in out])
        items[:] = kept


def group_of(nodeid: str) -> str:
    """Return the name of a test's group."""
    file = nodeid.partition("::")[0]
    return next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), file)


def arrange(items: list[pytest.Item]) -> None:
    """Put the groups that take longest first."""
    places = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: places.get(group_of(item.nodeid), len(places)))


class Groups(LoadScopeScheduling):
    """Hands out groups. ``loadgroup`` of pytest-xdist 3.8 has no effect with pytest 9.2, whose nodes keep their ids."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Groups | None:
    return Groups(config, log) if config.getoption("beside") else None


class Ended:
    """Sees to it that every collected test has ended, and tells which have failed.

    pytest-xdist 3.8 may end with 0 although an internal error of pytest in one of its processes kept tests from
    running.
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
