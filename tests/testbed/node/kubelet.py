"""containerd and the kubelet, as processes of the sandbox."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.testbed.build import binary
from tests.testbed.images import Registry
from tests.testbed.node.control_plane import NODE, Services, wait_for
from tests.testbed.node.sandbox import BRIDGE

CONTAINERD = """
version = 3
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = [
  "io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.snapshotter.v1.blockfile",
]
[grpc]
address = "{folder}/containerd.sock"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{registry}/pause:1"
[plugins.'io.containerd.cri.v1.images'.registry]
config_path = "{folder}/registries"
[plugins.'io.containerd.cri.v1.runtime']
netns_mounts_under_state_dir = true
# without CAP_SYS_RESOURCE no score can be lowered
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "{folder}/cni"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "/usr/sbin/runc"
SystemdCgroup = false
"""
REGISTRY = """
server = "http://{host}"
[host."http://{host}"]
capabilities = ["pull", "resolve"]
"""


def start(services: Services, registry: Registry) -> None:
    """Run containerd and the kubelet; returns when the node is ready and runs pods."""
    folder = services.folder / "containerd"
    _containerd(services, registry, folder)
    _kubelet(services, folder)
    api = services.api
    wait_for(
        lambda: any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in api.request("GET", f"/api/v1/nodes/{NODE}")["status"]["conditions"]
        ),
        "the node is ready",
    )
    wait_for(
        lambda: api.request("GET", "/api/v1/namespaces/default/serviceaccounts/default"),
        "there is a service account for pods",
    )


def _containerd(services: Services, registry: Registry, folder: Path) -> None:
    network = services.network
    hosts = folder / "registries" / registry.host
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(REGISTRY.format(host=registry.host))
    (folder / "config.toml").write_text(CONTAINERD.format(folder=folder, registry=registry.host))
    ranges = [[{"subnet": network.pods, "rangeStart": network.first_pod}]]
    bridge = {
        "type": "bridge", "bridge": BRIDGE, "isGateway": True, "hairpinMode": True,
        "ipam": {
            "type": "host-local", "dataDir": str(folder / "addresses"), "ranges": ranges,
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }  # fmt: skip
    (folder / "cni").mkdir()
    (folder / "cni" / "10-node.conflist").write_text(
        json.dumps({"cniVersion": "1.0.0", "name": NODE, "plugins": [bridge]})
    )
    # images are thousands of files: in memory they are gone with the sandbox
    (folder / "root").mkdir()
    services.sandbox.run("mount", "-t", "tmpfs", "tmpfs", folder / "root")
    # containerd finds its shim beside itself or on PATH, by its own name
    programs = folder / "bin"
    programs.mkdir()
    (programs / "containerd-shim-runc-v2").symlink_to(binary("containerd-shim-runc-v2"))
    services.start(
        "containerd",
        [
            "env",
            f"PATH={programs}:{os.environ['PATH']}:/usr/sbin:/sbin",
            binary("containerd"),
            "--config",
            folder / "config.toml",
        ],
        r"(containerd successfully booted)",
    )


def _kubelet(services: Services, containerd: Path) -> None:
    folder, network = services.folder / "kubelet", services.network
    folder.mkdir()
    serving = services.authority.issue("kubelet", f"system:node:{NODE}", hosts=[NODE, network.address])
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{containerd}/containerd.sock",
        "failCgroupV1": False, "cgroupDriver": "cgroupfs", "cgroupRoot": network.cgroup,
        "tlsCertFile": str(serving[0]), "tlsPrivateKeyFile": str(serving[1]),
        "authentication": {
            "anonymous": {"enabled": False}, "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(services.authority.ca_file)},
        },
        "authorization": {"mode": "Webhook"},
        "readOnlyPort": 0, "failSwapOn": False, "resolvConf": "", "makeIPTablesUtilChains": False,
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "maxPods": 100, "syncFrequency": "10s", "nodeStatusUpdateFrequency": "5s", "serializeImagePulls": False,
        "podLogsDir": str(services.folder / "pod-logs"), "volumePluginDir": str(folder / "plugins"),
    }  # fmt: skip
    (folder / "config.yaml").write_text(json.dumps(config))
    services.start(
        "kubelet",
        [
            binary("kubelet"), "--config", folder / "config.yaml", "--kubeconfig", services.kubeconfig("kubelet"),
            "--root-dir", folder, "--cert-dir", folder / "pki", "--hostname-override", NODE,
            "--node-ip", network.address, "--v", "2",
        ],
        r"(Started kubelet)",
    )  # fmt: skip
