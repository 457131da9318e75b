"""``python3 dev.py bench admission``: reviews a second, latency and memory of ``chains admission`` over TLS.

A local registry has images and the evidence about them. ``first`` asks about each image for the first time,
one after another; ``kept`` asks again over a number of connections that stay open, as the API server does;
``distinct`` asks about images that are in no registry, each once, and tells how the memory grows. Server,
registry and load share the processors. The benchmark exits with 1 if an answer is not the expected one.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from tests.bench.admission_beside import beside
from tests.bench.admission_load import Server, load, review, told
from tests.bench.attest import CHAINS
from tests.bench.preflight import NAME, digest_of, prepared
from tests.bench.workload import hexdigest, manifest
from tests.testbed.certificates import make_certificates
from tests.testbed.ports import free_ports


@contextmanager
def serving(folder: Path, processes: int) -> Iterator[Server]:
    """Run the server with the policy of a folder, until it is ready."""
    certificates = make_certificates(folder / "certificates")
    tls = folder / "tls"
    tls.mkdir()
    certificates.cert_file.rename(tls / "tls.crt")
    certificates.key_file.rename(tls / "tls.key")
    port, health = free_ports(2)
    command = [
        CHAINS, "admission", "policy.json", "--certificates", "tls", "--host", "127.0.0.1", "--port", str(port),
        "--health-port", str(health), "--no-cluster", "--linger-seconds", "0", "--processes", str(processes),
    ]  # fmt: skip
    with (folder / "admission.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stderr=log)
    try:
        _wait(health, process)
        yield Server(process, port, health, ssl.create_default_context(cafile=str(certificates.ca_file)))
    finally:
        process.terminate()
        process.wait(60)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.1)
    sys.exit("the server of admission does not become ready")


def main(arguments: Sequence[str]) -> int:
    """Measure and print a line for each case."""
    parser = argparse.ArgumentParser(prog="dev.py bench admission", description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--reviews", type=int, default=20_000)
    parser.add_argument("--distinct", type=int, default=25_000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--connections", default="16,200")
    parser.add_argument("--rate", type=int, default=1000, help="reviews that are due each second")
    parser.add_argument(
        "--beside",
        type=int,
        default=0,
        metavar="ROUNDS",
        help="also ask policy-controller's webhook, in turns",
    )
    options = parser.parse_args(arguments)
    print(
        f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, "
        f"{options.processes} processes of admission"
    )
    with prepared(options.images) as (folder, registry), serving(folder, options.processes) as server:
        place = f"{registry.host}/{NAME}"
        known = [review(number, f"{place}@{digest_of(manifest(number))}") for number in range(options.images)]
        before = server.cpu
        _, taken = asyncio.run(load(server, known, 1, allowed=True))
        spent = (server.cpu - before) / len(known) * 1000
        print(
            f"first: {len(known)} images, {told(taken)}, {spent:.1f} ms of CPU each; {server.memory:.0f} MB"
        )
        for connections, rate in itertools.product(
            map(int, options.connections.split(",")), (0, options.rate)
        ):
            requests = (known * (options.reviews // len(known) + 1))[: options.reviews]
            asyncio.run(load(server, requests[: 50 * connections], connections, allowed=True))
            before = server.cpu
            seconds, taken = asyncio.run(load(server, requests, connections, allowed=True, rate=rate))
            spent = (server.cpu - before) / len(requests) * 1e6
            due = f", {rate} due each second" if rate else ""
            print(
                f"kept: {connections} connections{due}, {len(requests) / seconds:.0f} reviews/s, {told(taken)}, "
                f"{spent:.0f} µs of CPU each; {server.memory:.0f} MB"
            )
        for part in range(4):
            begin, end = part * options.distinct // 4, (part + 1) * options.distinct // 4
            strange = [review(at, f"{place}@sha256:{hexdigest(f'strange {at}')}") for at in range(begin, end)]
            seconds, _ = asyncio.run(load(server, strange, 16, allowed=False))
            print(
                f"distinct: {end} images without evidence, {len(strange) / seconds:.0f}/s, {server.memory:.0f} MB"
            )
        if options.beside:
            references = [f"{place}@{digest_of(manifest(number))}" for number in range(options.images)]
            beside(server, folder, references, [1, *map(int, options.connections.split(","))], options.beside)
    return 0
