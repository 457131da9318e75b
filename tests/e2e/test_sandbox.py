"""The node's namespaces leave nothing on the machine, however they end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.testbed.build import binary
from tests.testbed.node.sandbox import (
    BRIDGE,
    BRIDGE_ADDRESS,
    CGROUPS,
    KUBELET_SETTINGS,
    Network,
    remove_cgroups,
    sandbox,
    why_not,
)

pytestmark = pytest.mark.server
ROOT = Path(__file__).parents[2]
HELD = """
import sys
from pathlib import Path
from tests.testbed.node.sandbox import sandbox
with sandbox(Path(sys.argv[1])) as made:
    made.run("sh", "-c", "sleep 300 > /dev/null 2>&1 &")
    print(made.network.number, made.init, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True, scope="module")
def _needs_namespaces() -> None:
    if reason := why_not():
        pytest.skip(reason)
    binary("pause")


def settings() -> dict[str, str]:
    return {
        name: (Path("/proc/sys") / name).read_text() for name in (*KUBELET_SETTINGS, "net/ipv4/ip_forward")
    }


def traces(network: Network, folder: Path) -> list[str]:
    """Return what there is of a sandbox: its link, its control groups, its mounts."""
    found = [str(path) for path in Path("/sys/class/net").glob(network.link)]
    found += [str(path) for path in CGROUPS.rglob(network.cgroup.strip("/"))]
    return found + [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]


def gone(network: Network, folder: Path) -> bool:
    deadline = time.monotonic() + 100
    while traces(network, folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not traces(network, folder)


def test_a_sandbox_has_a_network_mounts_and_settings_of_its_own_and_leaves_none(tmp_path: Path) -> None:
    before = settings()
    with sandbox(tmp_path) as made:
        made.run("mount", "-t", "tmpfs", "tmpfs", tmp_path / "settings" / "kernel")
        assert made.run("cat", "/proc/sys/vm/overcommit_memory") == "1\n"
        assert made.network.address in made.run("ip", "address")
        assert len(made.run("ps", "-e", "-o", "pid=").splitlines()) == 2
        assert [trace for trace in traces(made.network, tmp_path) if made.network.link in trace]
        assert not [trace for trace in traces(made.network, tmp_path) if str(tmp_path) in trace]
        assert settings() == before
    assert gone(made.network, tmp_path)
    assert settings() == before


def test_the_node_is_reached_under_one_address_whichever_pods_come_and_go(tmp_path: Path) -> None:
    with sandbox(tmp_path) as made:
        before = made.run("ip", "-o", "link", "show", BRIDGE)
        made.run("ip", "link", "add", "pod", "address", "00:00:00:00:00:02", "type", "veth")
        made.run("ip", "link", "set", "pod", "master", BRIDGE, "up")
        assert BRIDGE_ADDRESS in before
        assert BRIDGE_ADDRESS in made.run("ip", "-o", "link", "show", BRIDGE)


def test_a_sandbox_ends_with_the_process_that_made_it(tmp_path: Path) -> None:
    before = settings()
    command = [sys.executable, "-c", HELD, tmp_path]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as maker:
        assert maker.stdout is not None
        number, init = map(int, maker.stdout.readline().split())
        assert Path(f"/proc/{init}").exists()
        maker.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 100
    while Path(f"/proc/{init}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{init}").exists()
    assert settings() == before
    # empty control groups are all that the kernel does not take back: the next sandbox removes them
    remove_cgroups(Network(number).cgroup)
    assert gone(Network(number), tmp_path)
