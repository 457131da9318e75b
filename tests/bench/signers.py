"""``python -m tests.bench.signers [--seconds N] [--threads N]``: signatures a second and latency of each signer.

Key services run in this process or beside it (see ``tests/testbed/key_services``): what is measured is our side,
the client libraries and the local server together, with no network between, so it is an upper bound.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from signers.base import Signer, open_signer
from signers.keyfile import generate_key, write_key_pair
from tests.testbed.key_services.every import NAMES, KeyServices

PAYLOAD = b"x" * 6000
"""About as long as the provenance of a run."""


def measure(signer: Signer, seconds: float, threads: int) -> tuple[float, list[float]]:
    """Sign from ``threads`` at once for a time; return signatures a second and the seconds of each."""
    signer.sign(PAYLOAD)
    end = time.perf_counter() + seconds

    def work(_: int) -> list[float]:
        took = []
        while (started := time.perf_counter()) < end:
            signer.sign(PAYLOAD)
            took.append(time.perf_counter() - started)
        return took

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        took = sorted(value for part in pool.map(work, range(threads)) for value in part)
    return len(took) / (time.perf_counter() - started), took


@contextmanager
def signers() -> Iterator[dict[str, Callable[[], Signer]]]:
    """Give a way to open one P-256 key of each kind."""
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as text, ExitStack() as stack:
        folder = Path(text)
        path = folder / "the.key"
        write_key_pair(path, generate_key())
        services = KeyServices(folder, stack)

        def opener(name: str) -> Callable[[], Signer]:
            return lambda: services.open(name, services.server(name).reference("ecdsa-p256"))

        yield {"file": lambda: open_signer(str(path)), **{name: opener(name) for name in NAMES}}


def main() -> None:
    """Print one line for each signer."""
    parser = argparse.ArgumentParser(prog="tests.bench.signers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--threads", type=int, default=16)
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, ECDSA P-256, {len(PAYLOAD)} bytes")
    with signers() as kinds:
        for name, opened in kinds.items():
            signer = opened()
            cells = []
            for threads in (1, options.threads):
                rate, took = measure(signer, options.seconds, threads)
                middle, tail = statistics.median(took), took[int(len(took) * 0.99)]
                cells.append(
                    f"{threads} threads: {rate:.0f}/s, median {middle * 1000:.2f} ms, 99 % {tail * 1000:.1f} ms"
                )
            print(f"{name}: {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
