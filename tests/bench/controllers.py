"""``python3 dev.py bench controllers``: our controller against Tekton Chains' own, in turn on the same servers.

Both get the same finished TaskRuns and the same configuration: provenance and image signature, pushed as
``.att`` and ``.sig``, no execution report. One watch notes when each run is marked; the speed is that from the
start of the process to the last mark, and beside it that from the first mark; what was pushed is counted in the
registry afterwards, and whatever is missing or there twice ends the benchmark.

    tuned      many finished runs; ours with 128 workers, the peer with 32 threads and no client limits
    defaults   both without options; ours once more with everything that our deployment turns on
    live       two runs a second on an idle cluster, then on top of a backlog
    memory     peak memory of both, and of ours with five times as many runs
    far        ours without options, the peer tuned, with a registry behind a proxy that is 20 ms, then 100 ms away
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests.bench.bench_cluster import BenchmarkError, open_cluster
from tests.bench.measure import Bench, Result, batch, live, say
from tests.bench.sides import EVERYTHING, OURS, PEER
from tests.testbed.build import binary
from tests.testbed.cluster import api_server
from tests.testbed.delaying_proxy import delaying_proxy
from tests.testbed.process import ServerError
from tests.testbed.servers import registry

MODES = ("tuned", "defaults", "live", "memory", "far")
_FAR = (0.02, 0.1)
"""Seconds to a far registry and back."""
_SIDES = (OURS, PEER)
_MORE = 5


def main(arguments: Sequence[str]) -> int:
    """Measure as the arguments say, print, and return 0; 1 when a measurement cannot be trusted."""
    options = _parser().parse_args(arguments)
    modes = MODES if options.mode == "all" else (options.mode,)
    programs = ["etcd", "kube-apiserver", "registry", *(["peer-controller"] if options.side != OURS else [])]
    for program in programs:
        binary(program)
    try:
        results = asyncio.run(_measure(options, modes))
    except (BenchmarkError, ServerError) as error:
        print(f"dev.py bench controllers: {error}", file=sys.stderr)
        return 1
    if options.output == "json":
        print(json.dumps(report(results), indent=2))
    else:
        print(text(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dev.py bench controllers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--mode", choices=(*MODES, "all"), default="tuned")
    parser.add_argument("--runs", type=int, default=4000, help="finished runs (default 4000)")
    parser.add_argument("--rounds", type=int, default=1, help="how often both sides take their turn")
    parser.add_argument(
        "--peer-runs", type=int, default=150, help="runs for the peer's defaults (about 5 a second)"
    )
    parser.add_argument("--seconds", type=float, default=60, help="length of a live test (default 60)")
    parser.add_argument(
        "--backlog", type=int, default=5000, help="backlog of the second live test (default 5000)"
    )
    parser.add_argument(
        "--memory-runs", type=int, default=10_000, help="runs of the memory test (default 10000)"
    )
    parser.add_argument(
        "--far-peer-runs", type=int, default=600, help="runs for the peer with a far registry (default 600)"
    )
    parser.add_argument("--side", choices=_SIDES, help="measure one side alone")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    return parser


async def _measure(options: argparse.Namespace, modes: Iterable[str]) -> list[Result]:
    sides = (options.side,) if options.side else _SIDES
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as name:
        folder = Path(name)
        with registry(folder) as images, api_server(folder) as server:
            async with open_cluster(server) as cluster:
                bench = Bench(server, images, cluster, folder)
                for mode in modes:
                    for turn in range(options.rounds):
                        # who goes first changes, so that what grows with time hurts both
                        order = sides if turn % 2 == 0 else sides[::-1]
                        for side in order:
                            async for result in _turn(bench, options, mode, side):
                                say(line(result))
                                results.append(result)
    return results


async def _turn(bench: Bench, options: argparse.Namespace, mode: str, side: str) -> AsyncIterator[Result]:
    ours = side == OURS
    if mode == "tuned":
        yield await batch(bench, side, mode, options.runs, tuned=True)
    elif mode == "defaults":
        count = options.runs if ours else min(options.runs, options.peer_runs)
        yield await batch(bench, side, mode, count, tuned=False)
        if ours:
            yield await batch(bench, side, "everything", count, tuned=False, config=EVERYTHING)
    elif mode == "live":
        for backlog in (0, options.backlog):
            yield await live(bench, side, backlog=backlog, seconds=options.seconds)
    elif mode == "far":
        for seconds in _FAR:
            log = bench.folder / "delaying-proxy.log"
            with delaying_proxy(int(bench.registry.host.rpartition(":")[2]), seconds, log) as proxy:
                away = replace(bench, far=proxy.address)
                # what is far needs many in flight: ours finds out itself, the peer is given its threads
                count = options.runs if ours else min(options.runs, options.far_peer_runs)
                yield await batch(away, side, f"far, {1000 * seconds:.0f} ms", count, tuned=not ours)
    else:
        yield await batch(bench, side, "memory", options.memory_runs, tuned=True)
        if ours:
            yield await batch(bench, side, f"memory, {_MORE} times", _MORE * options.memory_runs, tuned=True)


def line(result: Result) -> str:
    """Return one measurement as a line."""
    shown = (
        f"{result.mode}, {result.side}: {result.runs} runs, {result.from_start:.1f} runs/s from "
        f"the start, {result.per_second:.1f} from the first mark, "
        f"{result.peak:.0f} MB in {result.processes} process{'es' * (result.processes > 1)}, CPU per run: "
    )
    shown += ", ".join(f"{name} {spent:.2f} ms" for name, spent in result.cpu.items())
    shown += f", first mark after {result.first_mark:.1f} s, {result.attestations} attestations"
    if result.latency:
        p50, p95 = percentile(result.latency, 50), percentile(result.latency, 95)
        shown += f", {len(result.latency)} live runs: p50 {p50:.3f} s, p95 {p95:.3f} s"
    return shown


def percentile(ordered: Sequence[float], per_cent: int) -> float:
    """Return the value that ``per_cent`` of the ordered values do not exceed."""
    return ordered[max(0, -(-len(ordered) * per_cent // 100) - 1)]


def ratios(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return ours divided by the peer's, of the medians over all rounds, for each mode that both have done."""
    found = []
    for mode in dict.fromkeys(result.mode for result in results):
        ours, peer = (
            [result for result in results if (result.mode, result.side) == (mode, side)] for side in _SIDES
        )
        if not ours or not peer:
            continue
        ratio: dict[str, Any] = {"mode": mode, "ours": _middle(ours), "peer": _middle(peer)}
        ratio["ratio"] = {
            key: round(value / ratio["peer"][key], 3)
            for key, value in ratio["ours"].items()
            if ratio["peer"].get(key)
        }
        found.append(ratio)
    return found


def _middle(results: Sequence[Result]) -> dict[str, float]:
    middle = {
        "runs/s from the start": statistics.median(result.from_start for result in results),
        "runs/s from the first mark": statistics.median(result.per_second for result in results),
        "first mark s": statistics.median(result.first_mark for result in results),
        "peak MB": statistics.median(result.peak for result in results),
    }
    for name in results[0].cpu:
        middle[f"CPU ms, {name}"] = statistics.median(result.cpu[name] for result in results)
    middle["CPU ms, all"] = statistics.median(sum(result.cpu.values()) for result in results)
    latency = sorted(value for result in results for value in result.latency)
    if latency:
        middle |= {"p50 s": percentile(latency, 50), "p95 s": percentile(latency, 95)}
    return {name: round(value, 3) for name, value in middle.items()}


def text(results: Sequence[Result]) -> str:
    """Return every measurement and the ratios as a person reads them."""
    lines = [_machine(), *map(line, results)]
    for ratio in ratios(results):
        lines += ["", f"{ratio['mode']:<28}{'ours':>10}{'peer':>10}{'ratio':>10}"]
        for name, value in ratio["ours"].items():
            shared = ratio["ratio"].get(name)
            lines.append(
                f"{name:<28}{value:>10.3f}{ratio['peer'][name]:>10.3f}"
                + (f"{shared:>10.3f}" if shared else "")
            )
    return "\n".join(lines)


def report(results: Sequence[Result]) -> dict[str, Any]:
    """Return the same for programs."""
    return {
        "machine": _machine(),
        "measurements": [asdict(result) for result in results],
        "compared": ratios(results),
    }


def _machine() -> str:
    load = os.getloadavg()[2]
    return f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load of the last 15 minutes {load:.1f}"
