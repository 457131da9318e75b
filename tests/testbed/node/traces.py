"""What a node leaves on the machine: nothing, once it has ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.node.sandbox import CGROUPS, KUBELET_SETTINGS, Network

SECONDS = 60
SETTINGS = (*KUBELET_SETTINGS, "net/ipv4/ip_forward")


def settings() -> dict[str, str]:
    """Return the settings of the machine's kernel that a node's programs write."""
    return {name: (Path("/proc/sys") / name).read_text() for name in SETTINGS}


@dataclass(frozen=True, slots=True)
class Traces:
    """Where a node can be seen from outside."""

    network: Network
    folder: Path
    namespace: str
    """The node's own network, as the kernel names it."""
    before: Mapping[str, str]
    """The settings of the machine before the node was there."""

    def found(self) -> list[str]:
        """Return what there is: processes, links, control groups, mounts, files, changed settings."""
        folder, group = str(self.folder), self.network.cgroup.strip("/")
        mounts = Path("/proc/mounts").read_text().splitlines()
        return [
            *(f"process {told}" for told in self._processes()),
            *(f"link {path.name}" for path in Path("/sys/class/net").glob(self.network.link)),
            *(f"control group {path}" for path in CGROUPS.rglob(group)),
            *(f"mount {line}" for line in mounts if folder in line),
            *([f"files {folder}"] if self.folder.exists() else []),
            *(f"setting {name}" for name, value in settings().items() if value != self.before[name]),
        ]

    def left(self, seconds: float = SECONDS) -> list[str]:
        """Return what is still there after ``seconds``; nothing as soon as nothing is."""
        deadline = time.monotonic() + seconds
        while (found := self.found()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _processes(self) -> Iterator[str]:
        """Yield the processes in the node's network, in its pods, and of its folder."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                network = str((process / "ns" / "net").readlink())
                groups = (process / "cgroup").read_text()
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it has ended
            is_in_pod = f":{self.network.cgroup}/" in groups
            if network == self.namespace or is_in_pod or str(self.folder) in command:
                yield f"{process.name} {command[:80]}"
