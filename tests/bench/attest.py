"""``python3 dev.py bench [--runs N] [--cases layout,registry]``: runs a second and peak memory of ``attest``.

Each case generates TaskRuns that built one image each, attests them with the installed command in a process of
its own, and prints a line. ``layout`` runs on one core, ``registry`` writes both forms for images that a local
registry has. A case is repeated, and the best, the median and the worst are shown: shared machines are noisy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.workload import push_images, task_run
from tests.testbed.servers import registry

CHAINS = Path(sys.executable).with_name("chains")


def write_runs(folder: Path, count: int, repository: str) -> Path:
    items = [task_run(number, repository) for number in range(count)]
    path = folder / "runs.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return path


def measure(command: list[str], folder: Path, *, cores: int) -> tuple[float, float]:
    """Run a command on the first ``cores`` processors; return its seconds and its peak memory in MB."""
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(ours)[:cores])  # the child inherits it
    started = time.perf_counter()
    with (folder / "output.json").open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output)
        os.sched_setaffinity(0, ours)
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}: see {folder / 'output.json'}")
    return seconds, usage.ru_maxrss / 1024


@contextmanager
def case(name: str, count: int) -> Iterator[tuple[Path, list[str], int]]:
    """Prepare a folder and give it with the command and the number of cores."""
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as text:
        folder = Path(text)
        if name == "layout":
            runs = write_runs(folder, count, "registry.example.com/team/app")
            yield folder, [str(CHAINS), "attest", str(runs), "--output", "json"], 1
            return
        with registry(folder) as server:
            asyncio.run(push_images(server.host, "team/app", count))
            runs = write_runs(folder, count, f"{server.host}/team/app")
            yield folder, [str(CHAINS), "attest", str(runs), "--store", "oci:", "--output", "json"], 2


def main(arguments: Sequence[str]) -> None:
    """Measure the chosen cases and print one line for each."""
    parser = argparse.ArgumentParser(prog="dev.py bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--cases", default="layout,registry")
    options = parser.parse_args(arguments)
    print(
        f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, {options.runs} TaskRuns, {options.repeat} times"
    )
    print(f"memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    for name in options.cases.split(","):
        speeds, peaks = [], []
        for _ in range(options.repeat):
            with case(name, options.runs) as (folder, command, cores):
                seconds, peak = measure(command, folder, cores=cores)
                speeds.append(options.runs / seconds)
                peaks.append(peak)
        speeds.sort()
        print(
            f"{name}: {speeds[-1]:.0f} runs/s best, {statistics.median(speeds):.0f} median, {speeds[0]:.0f} worst; "
            f"peak {max(peaks):.0f} MB"
        )
