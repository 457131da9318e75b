"""The node, as one fixture for all cases; it ends with the last of them, so that other tests have the machine."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import suppress

import pytest

from tests.testbed.build import BuildError
from tests.testbed.node.cluster import Node, running_node
from tests.testbed.node.sandbox import why_not
from tests.testbed.node.shipped_image import shipped_image
from tests.testbed.node.traces import settings

SECONDS = 600
"""For one case, with the start of the node in the first."""


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with Tekton and our controller, from the shipped image and manifests.

    When it has ended, nothing of it is left on the machine.
    """
    before, folder = settings(), tmp_path_factory.mktemp("node")
    with running_node(folder) as node:
        traces = node.services.traces(before)
        kinds = {trace.split()[0] for trace in traces.found()}
        assert kinds >= {"process", "link", "control", "files"}, "what is looked for is not what a node is"
        yield node
    assert traces.left() == []


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the cases, with the reason, on a machine that cannot run a node; CI makes a failure of that."""
    cases = [item for item in items if "node" in getattr(item, "fixturenames", ())]
    reason = why_not() if cases else ""
    for case in cases:
        case.add_marker(pytest.mark.timeout(SECONDS))
        if reason:
            case.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_collection_finish(session: pytest.Session) -> Generator[None, None, None]:
    """Build the image before the first test, while programs are built: each waits for another thing."""
    cases = [item for item in session.items if "node" in getattr(item, "fixturenames", ())]
    wanted = cases and not session.config.option.collectonly and not cases[0].get_closest_marker("skip")
    building = threading.Thread(target=_build_image)
    if wanted:
        building.start()
    yield
    if wanted:
        building.join()


def _build_image() -> None:
    with suppress(BuildError):
        shipped_image()  # what fails here is raised again by the fixture
