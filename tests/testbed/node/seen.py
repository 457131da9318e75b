"""What the kernel shows of containers on the node: their processes and the network of each."""

from __future__ import annotations

from pathlib import Path


def processes(container_id: str) -> dict[int, str]:
    """Return the names of a container's processes by process id; ``container_id`` as the kubelet writes it."""
    wanted = container_id.partition("://")[2]
    assert wanted, f"{container_id!r} is no container id"
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "cgroup").read_text():
                found[int(process.name)] = (process / "comm").read_text().strip()
        except OSError:
            continue  # it has ended
    return found


def interfaces(pid: int) -> set[str]:
    """Return the network interfaces of a process."""
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    return {line.partition(":")[0].strip() for line in lines}


def network(pid: int) -> str:
    """Return the network namespace of a process, as the kernel names it."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())
