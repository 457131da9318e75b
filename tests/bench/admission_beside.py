"""``dev.py bench admission --beside``: policy-controller's webhook and ours, asked about the same images in turns.

Both want a statement that the same key signed and that names the same builder; ours also wants a level and an outcome.
Theirs answers in its own process with its configuration in a real API server, which is not between the load and it.
"""

from __future__ import annotations

import asyncio
import ssl
import statistics
from collections.abc import Sequence
from pathlib import Path

from tests.bench.admission_load import PATH, Server, load, review, told
from tests.integration.test_testbed_admission import cluster_image_policy
from tests.testbed.cluster import api_server
from tests.testbed.policy_webhook import policy_webhook

BUILDER = "https://tekton.dev/chains/v2"


def beside(
    ours: Server, folder: Path, references: Sequence[str], connections: Sequence[int], rounds: int
) -> None:
    """Ask both in turns, print a line for each turn, and their ratio."""
    policy = cluster_image_policy((folder / ".chains" / "signing.pub").read_text(), BUILDER)
    api, theirs = folder / "api", folder / "policy-webhook"
    api.mkdir()
    with api_server(api) as cluster, policy_webhook(cluster, theirs, policy) as webhook:
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        servers = {
            "ours": (ours, PATH),
            "policy-controller": (Server(webhook.process, webhook.port, 0, unverified), webhook.path),
        }
        for number in connections:
            rates: dict[str, list[float]] = {name: [] for name in servers}
            for _ in range(rounds):
                for name, (server, path) in servers.items():
                    requests = [review(at, each, path) for at, each in enumerate(references)]
                    before = server.cpu
                    seconds, taken = asyncio.run(load(server, requests, number, allowed=True))
                    spent = (server.cpu - before) / len(requests) * 1000
                    rates[name].append(len(requests) / seconds)
                    print(
                        f"{name}: {number} connections, {len(requests) / seconds:.0f} reviews/s, {told(taken)}, "
                        f"{spent:.1f} ms of CPU each; {server.memory:.0f} MB"
                    )
            ratios = [mine / other for mine, other in zip(*rates.values(), strict=True)]
            print(f"ratio: {number} connections, ours answers {statistics.median(ratios):.1f} times as many")
