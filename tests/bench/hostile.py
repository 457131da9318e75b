"""``python3 dev.py bench hostile``: peak memory and time of ``verify`` and the controller under attack.

A registry that does as much harm as its answers hold (``tests/testbed/hostile.py``), stores that are full of
junk, and files that nobody signed. Each case is a process of its own; its peak is ``VmHWM`` as the system counts
it. A case above 256 MiB, one that lasts a minute, or a wrong answer ends the benchmark with 1. ``controller`` is
the controller beside a real API server (``tests/bench/hostile_controller.py``): its limit of time is on how long
it answers nobody.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from signers.keys.keyfile import generate_key, write_key_pair
from tests.bench.hostile_controller import CONFIG, Attack, Watched, start, watch
from tests.integration.test_controller import Running
from tests.testbed import hostile
from tests.testbed.cluster import api_server
from tests.testbed.hostile import KINDS, MIB, digest_of, hostile_registry

CHAINS = Path(sys.executable).with_name("chains")
MOST_MIB = 256
MOST_SECONDS = 60
MOST_SILENCE = 5.0
"""Seconds for which the controller answers nobody, of the 15 that a Lease lasts."""
_CONTROLLER_SECONDS = 300
_MEASURER = """
import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[2], sys.argv[2:])
_, status, usage = os.wait4(pid, 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process between us and what is measured: a process begins with the peak of the one that started it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One case: how it ended and what it cost."""

    name: str
    code: int
    seconds: float
    peak: float
    """MiB."""
    said: str

    @property
    def is_good(self) -> bool:
        """Whether it stayed within the limits and did not say that anything was verified."""
        return self.peak <= MOST_MIB and self.seconds < MOST_SECONDS and self.code in {1, 3, 4}


def measure(name: str, folder: Path, *arguments: str | Path, stdin: Path | None = None) -> Measured:
    """Run ``chains`` and wait for its end."""
    started = time.perf_counter()
    output, peak = folder / "output.txt", folder / "peak.txt"
    with output.open("wb") as out, (stdin or Path(os.devnull)).open("rb") as given:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURER, peak, CHAINS, *map(str, arguments)],
            cwd=folder, stdin=given, stdout=out, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    said = output.read_text(errors="replace")
    seconds = time.perf_counter() - started
    return Measured(name, done.returncode, seconds, int(peak.read_text()) / 1024, said)


@contextmanager
def keys() -> Iterator[tuple[Path, Path]]:
    """Give a folder and the public key in it that nobody has signed with."""
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as name:
        folder = Path(name)
        write_key_pair(folder / "signing.key", generate_key("ecdsa-p256"))
        yield folder, folder / "signing.pub"


def bundle_file(folder: Path, host: str) -> list[str | Path]:
    """An unsigned bundle of 34 MiB, as a file."""
    del host
    path = folder / "evidence.sigstore.json"
    path.write_bytes(hostile.large())
    return [path]


def deep_file(folder: Path, host: str) -> list[str | Path]:
    """A run whose record is a long list of empty lists."""
    del host
    path = folder / "run.json"
    path.write_bytes(b'{"kind":"List","items":[%b[]]}' % (b"[]," * (32 * MIB // 3)))
    return [path, "--store", f"file:{folder / 'none'}"]


def folder_store(folder: Path, host: str) -> list[str | Path]:
    """A folder full of bundles of 34 MiB."""
    del host
    digest = digest_of(hostile.image()).partition(":")[2]
    links = folder / "store" / "by-digest" / "sha256" / digest
    links.mkdir(parents=True)
    for number in range(8):
        (links / f"{number}.bundle.json").write_bytes(hostile.large() + b" " * number)
    return [f"sha256:{digest}", "--store", f"file:{folder / 'store'}"]


def layout_index(folder: Path, host: str) -> list[str | Path]:
    """An image layout whose index is one long list of empty lists."""
    del host
    root = folder / "layout"
    (root / "blobs" / "sha256").mkdir(parents=True)
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (root / "index.json").write_bytes(b'{"manifests":[%b[]]}' % (b"[]," * (32 * MIB // 3)))
    return [f"sha256:{'0' * 64}", "--store", f"oci-layout:{root}"]


def layout_manifests(folder: Path, host: str) -> list[str | Path]:
    """An image layout full of manifests of 4 MiB and bundles of 34 MiB."""
    del host
    root = folder / "layout"
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    digest = digest_of(hostile.image())
    entries = []
    for number in range(8):
        content = hostile.large() + b" " * number
        manifest = json.dumps(
            {
                "mediaType": hostile.MANIFEST,
                "layers": [{"mediaType": hostile.BUNDLE, "digest": digest_of(content), "size": len(content)}],
            }
        ).encode()
        for data in (content, manifest, hostile.lists() + b" " * number):
            (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
            if data is not content:
                entries.append(
                    {
                        "mediaType": hostile.MANIFEST,
                        "digest": digest_of(data),
                        "annotations": {"provenance.chains/subject": digest},
                    }
                )
    (root / "index.json").write_text(json.dumps({"manifests": entries}))
    return [digest, "--store", f"oci-layout:{root}"]


FILES: dict[str, Callable[[Path, str], list[str | Path]]] = {
    "bundle-file": bundle_file,
    "run-file": deep_file,
    "folder": folder_store,
    "layout-index": layout_index,
    "layout": layout_manifests,
}


def verify_registry(kind: str) -> Callable[[Path, str], list[str | Path]]:
    """Return the case of one kind of harm."""

    def arguments(folder: Path, host: str) -> list[str | Path]:
        del folder
        return [f"{host}/{kind}/app@{digest_of(hostile.image())}", "--store", "oci:"]

    return arguments


CONTROLLER = "controller"
CASES = FILES | {f"registry-{kind}": verify_registry(kind) for kind in KINDS}
ALL = (*CASES, CONTROLLER)


def run_case(name: str, host: str, command: str = "verify") -> Measured:
    """Measure one case of ``verify``, or of a command with its targets."""
    with keys() as (folder, key):
        return measure(name, folder, command, *CASES[name](folder, host), "--key", key)


def run_controller(host: str) -> tuple[Watched, float]:
    """Measure the controller while tenants make everything large; return the seconds that it took, too."""
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as name:
        folder = Path(name)
        with api_server(folder) as server:
            running = Running(server, folder, "hostile", CONFIG)
            try:
                due = start(running, host, Attack())
                begun = time.perf_counter()
                return watch(running, due, _CONTROLLER_SECONDS), time.perf_counter() - begun
            finally:
                if running.process is not None:
                    running.stop()


def shown_controller(found: Watched, seconds: float) -> tuple[bool, str]:
    """Return whether the controller stayed within its limits, and the line that tells it."""
    good = found.peak <= MOST_MIB and found.longest < MOST_SILENCE and not found.unmarked
    return good, (
        f"{'' if good else '! '}{CONTROLLER:24} {len(found.unmarked)} unmarked  {seconds:6.1f} s  "
        f"{found.peak:7.1f} MiB  longest without an answer {found.longest:.2f} s"
    )


def main(arguments: Sequence[str]) -> int:
    """Measure what the arguments say, print a table, and return 0 when everything is within its limits."""
    parser = argparse.ArgumentParser(prog="dev.py bench hostile", description=__doc__)
    parser.add_argument("--cases", default=",".join(ALL), help=f"of {', '.join(ALL)}")
    options = parser.parse_args(arguments)
    good = True
    with hostile_registry() as host:
        for name in options.cases.split(","):
            if name == CONTROLLER:
                is_good, line = shown_controller(*run_controller(host))
                good = good and is_good
                print(line, flush=True)
                continue
            found = run_case(name, host)
            good = good and found.is_good
            print(
                f"{'' if found.is_good else '! '}{name:24} exit {found.code}  {found.seconds:6.1f} s  "
                f"{found.peak:7.1f} MiB  {found.said.strip().splitlines()[0][:100] if found.said.strip() else ''}",
                flush=True,
            )
    return 0 if good else 1
