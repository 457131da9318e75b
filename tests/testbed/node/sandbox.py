"""A machine inside this one: processes with their own network, mounts and process ids.

One process, ``pause``, holds the namespaces. When it ends, the kernel ends every other process in them, and
with those network, mounts and containers disappear. It ends when the test process closes its input or is
killed. Control groups are not covered by namespaces; their folder is removed separately.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.build import binary, cache
from tests.testbed.process import ServerError

CGROUPS = Path("/sys/fs/cgroup")
SECONDS = 60
NAMESPACES = ("--mount", "--net", "--pid", "--ipc", "--uts")
# what a kubelet writes for the whole machine; within the sandbox these are files that have the value already
KUBELET_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
SET_UP = """
set -eu
mount --make-rshared /
for folder in /run /var/lib /var/log; do mount -t tmpfs tmpfs $folder; done
mkdir -p /run/lock
hostname node
ip link set lo up
ip link add {bridge} address {bridge_address} type bridge
ip address add {network.address}/24 dev {bridge}
ip link set {bridge} up
ip link set outside master {bridge} up
echo 1 > /proc/sys/net/ipv4/ip_forward
"""
BRIDGE, BRIDGE_ADDRESS = "pods", "02:00:00:77:00:01"
"""Without an address of its own a bridge takes the lowest of what is on it: with each pod that comes or goes the
node might have another one, and who knows the old one does not reach it for half a minute."""


@dataclass(frozen=True, slots=True)
class Network:
    """The addresses of one sandbox.

    They are private (RFC 1918), so that Go clients use plain HTTP for its registry.
    """

    number: int

    @property
    def pods(self) -> str:
        """The range of the bridge: node, host and pods."""
        return f"10.77.{self.number}.0/24"

    @property
    def address(self) -> str:
        """The address of the node for pods and host."""
        return f"10.77.{self.number}.1"

    @property
    def host(self) -> str:
        """The address of the host on the bridge."""
        return f"10.77.{self.number}.2"

    @property
    def first_pod(self) -> str:
        """The first address for pods."""
        return f"10.77.{self.number}.10"

    @property
    def services(self) -> str:
        """The addresses of Services."""
        return f"10.78.{self.number}.0/24"

    @property
    def api(self) -> str:
        """The Service of the API server."""
        return f"10.78.{self.number}.1"

    @property
    def link(self) -> str:
        """The name of the host's end of the link."""
        return f"chains-node{self.number}"

    @property
    def cgroup(self) -> str:
        """The parent control group of all containers."""
        return f"/chains-node{self.number}"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Existing namespaces."""

    network: Network
    init: int
    """The process id of ``pause`` as seen by this process."""

    def inside(self, *command: str | Path) -> list[str | Path]:
        """Return the command that runs ``command`` in the sandbox."""
        return ["nsenter", "--target", str(self.init), *NAMESPACES, "--", *command]

    def run(self, *command: str | Path, text: str = "") -> str:
        """Run a command in the sandbox and return its output. Raises :class:`ServerError`."""
        return _run(self.inside(*command), text)


def why_not() -> str:
    """Return why this machine cannot run a node; empty if it can."""
    if os.geteuid() != 0:
        return "a node needs root"
    programs = (
        "unshare",
        "nsenter",
        "ip",
        "nft",
        "mount",
        "runc",
        "busybox",
    )
    paths = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    if missing := [name for name in programs if not shutil.which(name, path=paths)]:
        return f"a node needs {', '.join(missing)} (.ci/run installs the packages)"
    if not Path("/usr/lib/cni/bridge").exists():
        return "a node needs the package containernetworking-plugins"
    tried = subprocess.run(
        ["unshare", *NAMESPACES, "--fork", "--mount-proc", "ip", "link", "add", BRIDGE, "type", "bridge"],
        check=False,
        capture_output=True,
        text=True,
    )
    return f"a node needs namespaces of its own: {tried.stderr.strip()}" if tried.returncode else ""


@contextmanager
def sandbox(folder: Path) -> Iterator[Sandbox]:
    """Create the namespaces for the length of the block. Raises :class:`ServerError`."""
    with _network() as network:
        remove_cgroups(network.cgroup)
        command: list[str | Path] = [
            "unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
            binary("pause"), "-input",
        ]  # fmt: skip
        with (folder / "sandbox.log").open("w") as log:
            holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log)
        try:
            made = Sandbox(network, _child_of(holder.pid))
            _set_up(made, folder)
            yield made
        finally:
            assert holder.stdin is not None
            holder.stdin.close()
            try:
                holder.wait(SECONDS)
            except subprocess.TimeoutExpired:
                holder.kill()
                holder.wait()
            remove_cgroups(network.cgroup)


@contextmanager
def _network() -> Iterator[Network]:
    """Reserve addresses that no other node on this machine uses. The lock ends with the process."""
    for number in range(1, 250):
        network = Network(number)
        with (cache() / f".lock-node-{number}").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if (
                _run(["ip", "route", "show", "root", network.pods])
                or Path(f"/sys/class/net/{network.link}").exists()
            ):
                continue
            yield network
            return
    raise ServerError("every network 10.77.x.0/24 is in use")


def _child_of(pid: int) -> int:
    """Return the process that ``unshare`` runs in the namespaces, as soon as it exists."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == binary("pause").name[:15]:
                    return int(child)
        time.sleep(0.01)
    raise ServerError("the namespaces of the node were not made")


def _set_up(made: Sandbox, folder: Path) -> None:
    network = made.network
    _run(
        [
            "ip",
            "link",
            "add",
            network.link,
            "type",
            "veth",
            "peer",
            "name",
            "outside",
            "netns",
            str(made.init),
        ]
    )
    _run(["ip", "address", "add", f"{network.host}/24", "dev", network.link])
    _run(["ip", "link", "set", network.link, "up"])
    # this machine passes on nothing that comes from the pods
    Path(f"/proc/sys/net/ipv4/conf/{network.link}/forwarding").write_text("0")
    script = SET_UP.format(network=network, bridge=BRIDGE, bridge_address=BRIDGE_ADDRESS)
    settings = folder / "settings"
    for name, value in KUBELET_SETTINGS.items():
        (settings / name).parent.mkdir(parents=True, exist_ok=True)
        (settings / name).write_text(f"{value}\n")
        script += f"mount --bind {settings / name} /proc/sys/{name}\n"
    made.run("sh", "-s", text=script)
    for hierarchy in _hierarchies():
        group = hierarchy / network.cgroup.strip("/")
        group.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (group / name).exists():
                (group / name).write_text((hierarchy / name).read_text())


def _hierarchies() -> list[Path]:
    """Return where control groups are: one folder per controller with version 1, one for all with version
    2.
    """
    lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    first = [Path(line[1]) for line in lines if line[2] == "cgroup"]
    return first or [Path(line[1]) for line in lines if line[2] == "cgroup2"]


def remove_cgroups(name: str) -> None:
    """Remove a control group and everything under it. Its processes may need a moment to end."""
    deadline = time.monotonic() + SECONDS
    while True:
        roots = [
            root for folder in (CGROUPS, *CGROUPS.glob("*/")) if (root := folder / name.strip("/")).is_dir()
        ]
        for root in roots:
            for path, _, _ in os.walk(root, topdown=False):
                with suppress(OSError):
                    Path(path).rmdir()
        if not any(root.exists() for root in roots):
            return
        if time.monotonic() > deadline:
            raise ServerError(f"control groups are left: {', '.join(map(str, roots))}")
        time.sleep(0.05)


def _run(command: Sequence[str | Path], text: str = "") -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout
