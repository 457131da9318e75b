"""The running controller takes over where MongoDB is, and with what password, when the mounted file changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.test_controller import Running, controller, finished
from tests.testbed.clouds.mongo import MongoServer, mongo_endpoint

__all__ = ["controller"]
pytestmark = pytest.mark.server


@pytest.mark.parametrize("key", ["dir", "path"])
def test_a_rotated_server_url_counts_without_a_restart(
    key: str, controller: Callable[..., Running], tmp_path: Path
) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    file = mounted / "MONGO_SERVER_URL"

    def kept(server: MongoServer, running: Running, name: str) -> bool:
        run = running.attested(name)
        assert run["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
        return f"taskrun-{run['metadata']['uid']}" in server.collections.get("c.e", {})

    with mongo_endpoint() as first, mongo_endpoint() as second:
        file.write_text(first.url)
        running = controller(
            artifacts_taskrun_storage="docdb",
            artifacts_oci_storage="docdb",
            storage_docdb_url="mongo://c/e?id_field=Name",
            **{f"storage_docdb_mongo__server__url__{key}": str(mounted if key == "dir" else file)},
        )
        running.start()
        running.server.create_run(finished(running.namespace, "before"))
        assert kept(first, running, "before")
        # as kubelet does: the new content is another file under the same name
        (mounted / "new").write_text(second.url)
        (mounted / "new").rename(file)
        running.server.create_run(finished(running.namespace, "after"))
        assert kept(second, running, "after")
        assert len(first.collections["c.e"]) == len(second.collections["c.e"]), "nothing went to both"
