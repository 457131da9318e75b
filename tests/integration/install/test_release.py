"""``release.yaml`` on a real API server, and every command of docs/install.md as a user types it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.install.cluster import CONFIGURATION, NAMESPACE, ROOT, Cluster, within
from tests.integration.install.working import (
    RUNS,
    controller,
    delete_all,
    exists,
    kept,
    make_runs,
    metadata,
)
from tests.integration.test_deploy import store_in_annotations
from tests.testbed.commands import CommandError
from tests.testbed.kustomize import identity
from tests.testbed.pods_of_hooks import kubelet

pytestmark = pytest.mark.server
Json = Any
IMAGE = "registry.example.com/provenance-chains@sha256:{}"
DIGESTS = ("ab" * 32, "cd" * 32)
MADE_BY_OTHERS = {"Namespace", "EndpointSlice", "Endpoints"}
PLACES = {"IMAGE": "registry.example.com/team/chains", "DIGEST": DIGESTS[0]}
"""What stands for the names in capitals on the page."""
NAMESPACE_IS_THERE = "kubectl create namespace tekton-chains"
"""Without the controllers of namespaces none can be deleted here, so it is there from the first test on."""
NEEDS_A_KUBELET = re.compile(r"rollout status|wait --for|kubectl .* logs |helm test")


def release(folder: Path, digest: str = DIGESTS[0]) -> Path:
    """Write the files of a release; return their folder."""
    target = folder / f"release-{digest[:4]}"
    command = [sys.executable, ROOT / "deploy" / "write_release.py"]
    subprocess.run(
        [*command, "--image", IMAGE.format(digest), "--output", target], check=True, capture_output=True
    )
    return target


def documents(path: Path) -> list[Json]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


def others(cluster: Cluster) -> set[tuple[str, str, str]]:
    return {key for key in cluster.ours() if key[0] not in MADE_BY_OTHERS}


def test_one_apply_gives_every_object_and_a_second_changes_nothing(cluster: Cluster, folder: Path) -> None:
    file = release(folder) / "release.yaml"
    wanted = {identity(each): each for each in documents(file)}
    shown = cluster.kubectl("apply", "--filename", file)
    assert shown.stderr == ""
    assert shown.stdout.count(" created\n") == len(wanted)
    found = cluster.ours()
    assert others(cluster) == set(wanted)
    assert [key for key, each in wanted.items() if not within(each, found[key])] == []
    before = cluster.versions()
    # kubectl says "configured" of some objects that stay as they are, so their versions tell what was changed
    cluster.kubectl("apply", "--filename", file)
    assert cluster.versions() == before
    # another version is another image, and nothing else
    cluster.kubectl("apply", "--filename", release(folder, DIGESTS[1]) / "release.yaml")
    after = cluster.versions()
    assert {key for key in after if after[key] != before.get(key)} == {
        ("StatefulSet", NAMESPACE, "tekton-chains-controller")
    }


def test_live_changes_of_the_configuration_survive_every_release(cluster: Cluster, folder: Path) -> None:
    first = release(folder)
    cluster.kubectl("create", "--filename", first / "chains-config.yaml")
    cluster.kubectl("apply", "--filename", first / "release.yaml")
    cluster.edit(
        {"artifacts.taskrun.storage": "oci,tekton", "builder.id": "https://ci", "artifacts.oci.storage": None}
    )
    live = cluster.configuration()
    with pytest.raises(CommandError, match="already exists"):
        cluster.kubectl("create", "--filename", first / "chains-config.yaml")
    cluster.kubectl("apply", "--filename", release(folder, DIGESTS[1]) / "release.yaml")
    cluster.kubectl("delete", "--filename", first / "release.yaml")
    assert cluster.configuration() == live


def test_what_kustomize_does_to_a_changed_configuration_is_what_the_page_says(cluster: Cluster) -> None:
    base, without = (ROOT / "deploy" / name for name in ("base", "overlays/from-tekton-chains"))
    cluster.kubectl("apply", "--kustomize", base)
    cluster.edit({"artifacts.taskrun.storage": "oci,tekton", "builder.id": "https://ci"})
    live = cluster.configuration()
    cluster.kubectl("apply", "--kustomize", without)
    assert cluster.configuration() == live
    cluster.kubectl("apply", "--kustomize", base)
    assert cluster.configuration() == live | {"artifacts.taskrun.storage": "oci"}
    # and with server-side apply it refuses that one object, which keeps every key
    cluster.edit({"artifacts.taskrun.storage": "oci,tekton"})
    with pytest.raises(CommandError, match=r"conflict with .*\.data\.artifacts\.taskrun\.storage"):
        cluster.kubectl("apply", "--server-side", "--kustomize", base)
    assert cluster.configuration() == live


def test_runs_can_be_deleted_after_an_uninstallation_and_nothing_is_orphaned(
    cluster: Cluster, folder: Path
) -> None:
    files = release(folder)
    cluster.kubectl("create", "--filename", files / "chains-config.yaml")
    cluster.kubectl("apply", "--filename", files / "release.yaml")
    store_in_annotations(cluster.server)
    with controller(cluster, documents(files / "release.yaml"), folder):
        make_runs(cluster)
    # without the last step they are stuck
    cluster.kubectl("delete", "--filename", files / "release.yaml")
    cluster.server.request("DELETE", "/apis/tekton.dev/v1/namespaces/ci/taskruns/running")
    assert exists(cluster, "running")
    with kubelet(cluster.server, NAMESPACE, folder) as pods:
        cluster.kubectl("apply", "--filename", files / "uninstall.yaml")
        cluster.kubectl(
            "wait", "--namespace", NAMESPACE, "--for=condition=complete", "job/tekton-chains-uninstall", "--timeout=50s"
        )  # fmt: skip
    assert pods.ran[-1].code == 0
    assert not exists(cluster, "running")
    for name in set(RUNS) - {"running", "deleting"}:
        assert not metadata(cluster, name).get("finalizers"), name
    delete_all(cluster)
    cluster.kubectl("delete", "--filename", files / "uninstall.yaml")
    assert kept(cluster) == {"signing-secrets", CONFIGURATION}
    assert {key for key in others(cluster) if key[0] != "Lease"} == {("ConfigMap", NAMESPACE, CONFIGURATION)}


def blocks() -> list[str]:
    """Return the commands of docs/install.md, block by block."""
    text = (ROOT / "docs" / "install.md").read_text()
    found = re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(each) for each in found]


@pytest.mark.parametrize(
    ("way", "other"), [("helm ", "release/"), ("release/", "helm ")], ids=["helm", "release"]
)
def test_every_command_of_the_page_works(
    install_cluster: Cluster, folder: Path, way: str, other: str
) -> None:
    """Each way of installing is followed from the top of the page to its end, without the blocks of the other."""
    cluster = install_cluster
    cluster.prepare()
    cluster.clean()
    environment = at_a_desk(cluster, folder)
    chosen = [each for each in blocks() if other not in each]
    assert any(way in each for each in chosen)
    with kubelet(cluster.server, NAMESPACE, folder):
        for block in chosen:
            for line in block.replace("\\\n", " ").splitlines():
                if NEEDS_A_KUBELET.search(line) or line == NAMESPACE_IS_THERE:
                    continue
                typed = re.sub(r"\b(IMAGE|DIGEST)\b", lambda found: PLACES[found[1]], line)
                done = subprocess.run(
                    ["bash", "-euc", typed], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
                )  # fmt: skip
                assert done.returncode == 0, (typed, done.stdout, done.stderr)
    assert others(cluster) == {("ConfigMap", NAMESPACE, CONFIGURATION)}
    assert kept(cluster) == {"signing-secrets", "registry-credentials", CONFIGURATION}
    cluster.clean()


def at_a_desk(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Return the environment of an administrator who has the programs, a Docker configuration and the repository."""
    programs, home = folder / "bin", folder / "home"
    programs.mkdir()
    for name, command in (("kubectl", cluster.kubectl), ("helm", cluster.helm)):
        (programs / name).symlink_to(command.program)
    (home / ".docker").mkdir(parents=True)
    (home / ".docker" / "config.json").write_text("{}")
    (folder / "deploy").symlink_to(ROOT / "deploy")
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    settings = cluster.kubectl.settings
    return {
        **os.environ,
        "PATH": path,
        "HOME": str(home),
        "CHAINS_KUBECONFIG": settings["KUBECONFIG"],
        **settings,
    }
