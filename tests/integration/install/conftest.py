"""The API server of these tests, which is empty before and after each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.install.cluster import NAMESPACE, Cluster
from tests.testbed import cluster as api
from tests.testbed.build import binary
from tests.testbed.commands import Command, CommandError


@pytest.fixture(scope="module")
def install_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of its own for each file: nothing of other tests is in it."""
    with api.api_server(tmp_path_factory.mktemp("install-api")) as server:
        home = tmp_path_factory.mktemp("install-home")
        settings = {"KUBECONFIG": str(server.kubeconfig(home))}
        yield Cluster(
            server,
            Command("kubectl", binary("kubectl"), home, settings),
            Command("helm", binary("helm"), home, settings),
        )


@pytest.fixture
def cluster(install_cluster: Cluster) -> Iterator[Cluster]:
    """A cluster with the Namespace and the Secrets that the user makes, and nothing else of ours."""
    install_cluster.prepare()
    assert {key[0] for key in install_cluster.ours()} <= {"Namespace"}, "a test left something"
    yield install_cluster
    with suppress(CommandError):
        install_cluster.helm("uninstall", "chains", "--namespace", NAMESPACE, "--no-hooks")
    install_cluster.clean()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for files that a user would write."""
    return tmp_path
