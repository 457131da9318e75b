"""``python -m tests.bench.signers [--seconds N] [--threads N] [--only WORD]``: signatures a second and latency of each signer.

Key services run in this process or beside it (see ``tests/testbed/key_services``): what is measured is our side,
the client libraries and the local server together, with no network between, so it is an upper bound. The last
lines are whole seals: a certificate of the real Fulcio, a timestamp over the signature and one over the envelope,
and an entry of the real Rekor v2, which answers after about a second however many wait.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from signers.base import Signer
from signers.keys.keyfile import GENERATORS, generate_key, write_key_pair
from signers.open import open_signer
from signers.sealer import AT_ONCE
from signers.sigstore.fulcio import Fulcio
from signers.sigstore.identity_token import TokenSource
from signers.sigstore.keyless import Keyless
from signers.sigstore.rekor_v2 import RekorV2
from signers.sigstore.sealer import MaterialSealer
from signers.sigstore.timestamp import TimestampAuthority
from signers.sigstore.trusted_root import TrustedRoot
from tests.testbed.key_services.every import NAMES, KeyServices
from tests.testbed.sigstore import SigstoreServices, sigstore

PAYLOAD = b"x" * 6000
"""About as long as the provenance of a run."""
TYPE = "application/vnd.in-toto+json"
Sign = Callable[[bytes], object]


def measure(sign: Sign, seconds: float, threads: int) -> tuple[float, list[float]]:
    """Sign from ``threads`` at once for a time; return signatures a second and the seconds of each."""
    sign(PAYLOAD)
    end = time.perf_counter() + seconds

    def work(_: int) -> list[float]:
        took = []
        while (started := time.perf_counter()) < end:
            sign(PAYLOAD)
            took.append(time.perf_counter() - started)
        return took

    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        took = sorted(value for part in pool.map(work, range(threads)) for value in part)
    return len(took) / (time.perf_counter() - started), took


@contextmanager
def signers() -> Iterator[dict[str, Callable[[], Signer]]]:
    """Give a way to open a key file of each kind, and one P-256 key of each service."""
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as text, ExitStack() as stack:
        folder = Path(text)
        services = KeyServices(folder, stack)

        def file(algorithm: str) -> Signer:
            path = folder / f"{algorithm}.key"
            write_key_pair(path, generate_key(algorithm))
            return open_signer(str(path))

        def service(name: str) -> Signer:
            return services.open(name, services.server(name).reference("ecdsa-p256"))

        yield {f"file {algorithm}": partial(file, algorithm) for algorithm in GENERATORS} | {
            f"{name} ecdsa-p256": partial(service, name) for name in NAMES
        }


@contextmanager
def seals() -> Iterator[dict[str, Sign]]:
    """Give ways to seal with what stands beside a signature: a timestamp, a log entry, a certificate."""
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as text:
        folder = Path(text)
        with sigstore(folder) as services:
            made = _sealers(services, folder)
            yield {
                name: partial(sealer.seal_now, payload_type=TYPE, log=True) for name, sealer in made.items()
            }
            for sealer in made.values():
                sealer.close()


def _sealers(services: SigstoreServices, folder: Path) -> dict[str, MaterialSealer]:
    root = TrustedRoot.from_path(services.trusted_root)
    log, authority = RekorV2(services.rekor, root), TimestampAuthority(services.timestamp, root)
    (folder / "token").write_text(services.issuer.token())
    keyless = Keyless(Fulcio(services.fulcio, root), TokenSource(file=str(folder / "token")))
    write_key_pair(folder / "the.key", generate_key())
    key = open_signer(str(folder / "the.key"))
    return {
        "keyless": MaterialSealer(keyless, root=root),
        "keyless, timestamp": MaterialSealer(keyless, authority=authority, root=root),
        "keyless, timestamp, rekor v2": MaterialSealer(keyless, log=log, authority=authority, root=root),
        "file ecdsa-p256, timestamp, rekor v2": MaterialSealer(key, log=log, authority=authority, root=root),
    }


def main() -> None:
    """Print one line for each signer."""
    parser = argparse.ArgumentParser(prog="tests.bench.signers", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--threads", type=int, default=16)
    parser.add_argument("--only", default="", metavar="WORD", help="those with this in their name")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    print(
        f"{os.cpu_count()} processors, load {load:.1f}, Python {sys.version.split()[0]}, {len(PAYLOAD)} bytes"
    )
    with signers() as kinds:
        for name, opened in kinds.items():
            if options.only in name:
                _report(name, opened().sign, options.seconds, (1, options.threads))
    with seals() as ways:
        for name, seal in ways.items():
            if options.only in name:
                # as many at once as the controller lets wait for a log
                _report(name, seal, options.seconds, (1, AT_ONCE if "rekor" in name else options.threads))


def _report(name: str, sign: Sign, seconds: float, several: Sequence[int]) -> None:
    cells = []
    for threads in several:
        rate, took = measure(sign, seconds, threads)
        middle, tail = statistics.median(took), took[int(len(took) * 0.99)]
        cells.append(
            f"{threads} threads: {rate:.{0 if rate > 10 else 1}f}/s, median {middle * 1000:.2f} ms, 99 % {tail * 1000:.1f} ms"
        )
    print(f"{name}: {'; '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
