"""The chart on a real API server: install, upgrade, rollback, uninstall, with both ways in which helm writes objects."""

from __future__ import annotations

import re
import shlex
import shutil
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.cli.main import run as chains
from tests.integration.install.cluster import CONFIGURATION, NAMESPACE, ROOT, Cluster, within
from tests.integration.install.test_chart_renders import CHART, DEPLOY
from tests.integration.install.working import controller, delete_all, exists, kept, make_runs, metadata
from tests.integration.test_deploy import run_in, store_in_annotations
from tests.testbed.commands import CommandError
from tests.testbed.kustomize import build, identity
from tests.testbed.pods_of_hooks import kubelet

pytestmark = pytest.mark.server
Json = Any
Key = tuple[str, str, str]
IN = ("--namespace", NAMESPACE)
WAYS = ("--server-side=true", "--server-side=false")
"""helm's own default for new releases, and how helm 3 writes."""
MADE_BY_OTHERS = {"Namespace", "EndpointSlice", "Endpoints"}
both_ways = pytest.mark.parametrize("way", WAYS)
STORAGE, FORMAT, ENCODING = (
    "artifacts.taskrun.storage",
    "artifacts.pipelinerun.format",
    "storage.oci.encoding-format",
)


def shell_blocks() -> list[str]:
    """Return the commands of docs/install.md, block by block."""
    text = (ROOT / "docs" / "install.md").read_text()
    return [
        textwrap.dedent(each)
        for each in re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    ]


def install(cluster: Cluster, *options: str) -> str:
    return cluster.helm("install", "chains", CHART, *IN, *options).stdout


def upgrade(cluster: Cluster, chart: Path, *options: str) -> str:
    return cluster.helm("upgrade", "chains", chart, *IN, *options).stdout


def newer(folder: Path, changed: dict[str, str | None]) -> Path:
    """Return a chart of a later version whose defaults of ``chains-config`` differ; None removes one."""
    chart = folder / f"newer-{len(list(folder.iterdir()))}"
    shutil.copytree(CHART, chart)
    values = yaml.safe_load((chart / "values.yaml").read_text())
    data = values["config"]["data"] | changed
    values["config"]["data"] = {key: value for key, value in data.items() if value is not None}
    (chart / "values.yaml").write_text(yaml.safe_dump(values))
    text = (chart / "Chart.yaml").read_text()
    (chart / "Chart.yaml").write_text(re.sub(r"^version: .*$", "version: 99.0.0", text, flags=re.MULTILINE))
    return chart


def defaults() -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load((CHART / "values.yaml").read_text())["config"]["data"]
    return found


@both_ways
def test_an_installation_has_every_object_of_the_base_and_the_same_again_changes_nothing(
    cluster: Cluster, way: str
) -> None:
    notes = install(cluster, way)
    base = {identity(each): each for each in build(DEPLOY / "base") if each["kind"] != "Namespace"}
    found = {key: item for key, item in cluster.ours().items() if key[0] not in MADE_BY_OTHERS}
    assert set(found) == set(base)
    assert [key for key, wanted in base.items() if not within(wanted, found[key])] == []
    assert "image.repository is the placeholder" in notes
    assert "Nothing is signed without a key" not in notes
    before = cluster.versions()
    upgrade(cluster, CHART)
    assert cluster.versions() == before


@both_ways
def test_live_changes_survive_an_upgrade_that_changes_other_defaults(
    cluster: Cluster, folder: Path, way: str
) -> None:
    install(cluster, way)
    cluster.edit({STORAGE: "oci,tekton", "builder.id": "https://ci", FORMAT: None})
    live = cluster.configuration()
    # one default changes, one is new, one goes, and one is another one of a key that was changed in the cluster, too
    changes = {"artifacts.oci.storage": "oci,grafeas", "transparency.enabled": "true", ENCODING: None}
    chart = newer(folder, {**changes, STORAGE: "oci,s3"})
    notes = upgrade(cluster, chart)
    expected = {key: value for key, value in (live | changes).items() if value is not None}
    assert cluster.configuration() == expected
    assert f"  {FORMAT}, {STORAGE}\n" in notes
    before = cluster.versions()
    upgrade(cluster, chart)
    assert (cluster.configuration(), cluster.versions()) == (expected, before)
    # a default that goes back is followed, too, and what was changed in the cluster still stays
    upgrade(cluster, CHART)
    kept = {STORAGE: "oci,tekton", "builder.id": "https://ci"}
    assert cluster.configuration() == {
        key: value for key, value in (defaults() | kept).items() if key != FORMAT
    }
    upgrade(cluster, CHART, "--set", "config.keepLiveChanges=false", *force(way))
    assert cluster.configuration() == defaults() | {"builder.id": "https://ci"}


def force(way: str) -> tuple[str, ...]:
    """Return what makes helm overwrite a field that somebody else wrote."""
    return ("--force-conflicts",) if way == WAYS[0] else ()


@pytest.mark.parametrize("way", WAYS)
def test_a_rollback_refuses_or_puts_back_what_was_changed_in_the_cluster_and_an_upgrade_to_the_old_chart_keeps_it(
    cluster: Cluster, folder: Path, way: str
) -> None:
    install(cluster, way)
    upgrade(cluster, newer(folder, {"artifacts.oci.storage": "oci,grafeas"}), "--set", "replicas=3")
    cluster.edit({STORAGE: "oci,tekton", "builder.id": "https://ci"})
    live = cluster.configuration()
    # the way that docs/install.md recommends
    upgrade(cluster, CHART, "--set", "replicas=2")
    assert cluster.configuration() == live | {"artifacts.oci.storage": "oci"}
    assert cluster.get("StatefulSet", "tekton-chains-controller")["spec"]["replicas"] == 2
    upgrade(cluster, newer(folder, {"artifacts.oci.storage": "oci,grafeas"}), "--set", "replicas=3")
    if way == WAYS[0]:
        with pytest.raises(
            CommandError, match=r"conflict with .*kubectl.*\.data\.artifacts\.taskrun\.storage"
        ):
            cluster.helm("rollback", "chains", "1", *IN)
        assert cluster.configuration()[STORAGE] == "oci,tekton"
    cluster.helm("rollback", "chains", "1", *IN, *force(way))
    assert cluster.configuration()[STORAGE] == "oci"
    assert cluster.get("StatefulSet", "tekton-chains-controller")["spec"]["replicas"] == 2


def test_a_configuration_of_somebody_else_is_not_taken_over(cluster: Cluster) -> None:
    theirs = "artifacts.oci.storage=grafeas"
    cluster.kubectl("create", "configmap", CONFIGURATION, *IN, f"--from-literal={theirs}")
    with pytest.raises(CommandError, match=r"chains-config.* exists and cannot be imported"):
        install(cluster)
    install(cluster, "--set", "config.create=false")
    upgrade(cluster, CHART, "--set", "config.create=false")
    assert cluster.configuration() == {"artifacts.oci.storage": "grafeas"}
    cluster.helm("uninstall", "chains", *IN, "--no-hooks")
    assert cluster.configuration() == {"artifacts.oci.storage": "grafeas"}


def test_a_configuration_is_kept_when_the_chart_no_longer_writes_it(cluster: Cluster) -> None:
    install(cluster)
    upgrade(cluster, CHART, "--set", "config.create=false")
    assert cluster.configuration() == defaults()


def test_the_test_of_the_chart_says_what_doctor_says(cluster: Cluster, folder: Path) -> None:
    install(cluster)
    keys = folder / "keys"
    keys.mkdir()
    assert chains(["keys", "generate", str(keys / "x509.pem")]) == 0
    with kubelet(cluster.server, NAMESPACE, folder, {"/etc/signing-secrets": keys}) as pods:
        cluster.helm("test", "chains", *IN)
    (ran,) = pods.ran
    assert (ran.account, ran.arguments, ran.code) == ("tekton-chains-controller", ["doctor"], 0)
    assert " 0 failed" in ran.text or "failed: 0" in ran.text or "ok" in ran.text
    second = folder / "second"
    second.mkdir()
    with (
        kubelet(cluster.server, NAMESPACE, second, {"/etc/signing-secrets": folder / "none"}),
        pytest.raises(CommandError, match="tekton-chains-doctor failed"),
    ):
        cluster.helm("test", "chains", *IN)


@pytest.mark.parametrize("namespaces", [(), ("ci",)], ids=["everywhere", "namespaced"])
def test_an_uninstallation_releases_runs_keeps_what_is_the_user_s_and_leaves_nothing_else(
    cluster: Cluster, folder: Path, namespaces: tuple[str, ...]
) -> None:
    chosen = ["--set", f"namespaces={{{','.join(namespaces)}}}"] if namespaces else []
    install(cluster, "--set", "holdAtCreation=true", *chosen)
    store_in_annotations(cluster.server)
    manifests = [
        each for each in yaml.safe_load_all(cluster.helm("get", "manifest", "chains", *IN).stdout) if each
    ]
    with controller(cluster, manifests, folder) as running:
        make_runs(cluster)
        # its process goes on, as a pod does that has a minute to stop
        with kubelet(cluster.server, NAMESPACE, folder) as pods:
            cluster.helm("uninstall", "chains", *IN)
        job = pods.ran[-1]
        assert (job.name, job.account, job.code) == ("tekton-chains-uninstall", "tekton-chains-uninstall", 0)
        for run, state in (
            ("taskrun/ci/running", "released, still running"),
            ("pipelinerun/ci/whole", "released, still running"),
        ):
            assert re.search(rf"{run} +{state}\n", "".join(each.text for each in pods.ran)), job.text
        # it was being deleted, and is gone at once
        assert not exists(cluster, "deleting")
        # the controller is still alive, and cannot take any run again
        cluster.server.create_run(run_without_end("later"))
        time.sleep(2)
        for name in ("running", "whole"):
            assert not metadata(cluster, name).get("finalizers"), name
        assert running.process.poll() is None
    delete_all(cluster)
    assert kept(cluster) == {"signing-secrets", CONFIGURATION}
    left = {key for key in cluster.ours() if key[0] not in MADE_BY_OTHERS}
    assert left - {("ConfigMap", NAMESPACE, CONFIGURATION)} == {key for key in left if key[0] == "Lease"}
    cluster.kubectl("delete", "lease", *IN, "--selector", "app=tekton-chains-controller")
    assert {key for key in cluster.ours() if key[0] not in MADE_BY_OTHERS} == {
        ("ConfigMap", NAMESPACE, CONFIGURATION)
    }


def run_without_end(name: str) -> Json:
    run = run_in("ci", name)
    del run["status"]
    return run


def test_an_uninstallation_whose_job_fails_says_so_and_the_runs_are_released_by_hand(
    cluster: Cluster, folder: Path
) -> None:
    install(cluster)
    with kubelet(cluster.server, NAMESPACE, folder) as pods:
        pods.fails = True
        with pytest.raises(CommandError, match="uninstallation completed with 1 error"):
            cluster.helm("uninstall", "chains", *IN)
    assert cluster.helm("list", *IN, "--short").stdout == ""
    # helm removes what the Job used, and keeps the Job for its log
    assert {key[0] for key in cluster.ours() if key[2] == "tekton-chains-uninstall"} == {"Job"}
    block = next(each for each in shell_blocks() if "app=tekton-chains-uninstall" in each)
    for line in block.splitlines():
        if line.startswith("kubectl"):
            cluster.kubectl(*shlex.split(line)[1:])
    assert not {key for key in cluster.ours() if key[2] == "tekton-chains-uninstall"}
