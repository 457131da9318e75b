"""The node, as one fixture for all cases; it ends with the last of them, so that other tests have the machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.testbed.build import BuildError
from tests.testbed.node.cluster import Node, running_node
from tests.testbed.node.sandbox import why_not
from tests.testbed.node.shipped_image import shipped_image

SECONDS = 600
"""For one case, with the start of the node in the first."""


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with Tekton and our controller, from the shipped image and manifests."""
    with running_node(tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the cases, with the reason, on a machine that cannot run a node; CI makes a failure of that."""
    cases = [item for item in items if "node" in getattr(item, "fixturenames", ())]
    reason = why_not() if cases else ""
    for case in cases:
        case.add_marker(pytest.mark.timeout(SECONDS))
        if reason:
            case.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the image before the first test, as other programs are."""
    cases = [item for item in session.items if "node" in getattr(item, "fixturenames", ())]
    if cases and not session.config.option.collectonly and not cases[0].get_closest_marker("skip"):
        capture = session.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled(), suppress(BuildError):
            shipped_image()  # what fails here is raised again by the fixture
