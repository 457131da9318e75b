"""``python3 dev.py bench policies``: evaluations of policies a second, the start of the command, signed summaries.

All figures are processor time of one process, so that other work on the machine changes them little. The first line
is the floor: one verification of an ECDSA P-256 signature. Images have the evidence that ``chains attest`` stores in a
layout in both forms: provenance, execution report and image signature.

``first`` forgets before each image what was known about its evidence and signatures. ``again`` asks about images that
were asked about before, as a process does that keeps running: the store is read, and every digest compared. ``decided``
is the decision alone, over evidence that was found before.
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
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from chains.policy.answer import answer
from chains.policy.decide import decide
from chains.policy.document.load import parse_policies
from chains.policy.document.patterns import read_image
from chains.policy.opened import OpenedPolicy, open_policy
from chains.policy.summary import Verifier, attest_summary, summarise
from chains.policy.verdict import PolicyVerdict
from chains.verify.examining.memory import KNOWN
from chains.verify.search import Query, Search, search
from chains.verify.verdict import Verdict
from signers.keys import known_signatures
from signers.keys.keyfile import generate_key, write_key_pair
from signers.keys.public_key import load_public_keys
from signers.open import open_signer
from signers.sealer import Sealer
from storage.base import Store
from storage.formats.reference import Image
from storage.open import open_store
from storage.record import Findings, Record, Stored
from tests.bench.attest import CHAINS, write_runs

REPOSITORY = "registry.example.com/team/app"
BUILDER = "https://tekton.dev/chains/v2"
RULES = [
    {
        "name": "same-run",
        "cel": "provenance.predicate.runDetails.metadata.invocationId == report.runUid",
        "message": "the report is of another run",
    },
    {
        "name": "inputs",
        "cel": "attestations.exists(a, a.predicateType == 'https://slsa.dev/provenance/v1') && "
        "provenance.predicate.buildDefinition.resolvedDependencies.all(d, d.uri != '')",
        "message": "a dependency has no URI",
    },
]
FAILING = [
    {
        "name": "own",
        "cel": "attestations.exists(a, a.runUid == provenance.predicate.runDetails.metadata.invocationId && "
        "a.signer.keyid == '')",
        "message": "never so",
    }
]


class Nowhere(Store):
    """A store that takes everything and keeps nothing."""

    url = "nowhere:"

    async def put(self, record: Record) -> Stored:
        return Stored()

    async def find(self, digest: str, reference: str = "") -> Findings:
        return Findings()


async def _warm(store: Store, digest: str) -> None:
    """Let the store read its index and the table of it."""
    for _ in range(2):
        await store.find(digest, REPOSITORY)


def policy(pem: str, rules: Sequence[dict[str, str]] = (), name: str = "production") -> OpenedPolicy:
    """Return a policy with a requirement of most kinds, and rules."""
    written: dict[str, Any] = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": name},
        "spec": {
            "match": {"images": [REPOSITORY]},
            "trust": [{"name": "tekton", "signer": {"keys": [{"pem": pem}]}, "builderId": BUILDER, "maxLevel": 2}],
            "require": {
                "level": 2,
                "buildTypes": [f"{BUILDER}/slsa"],
                "sources": ["git+https://git.example.com/team/app"],
                "outcome": "succeeded",
                "namespaces": ["team-*"],
            },
        },
    }  # fmt: skip
    if rules:
        written["spec"]["rules"] = list(rules)
    read = parse_policies(json.dumps(written).encode(), "policy.json")
    if read.errors:
        raise SystemExit(f"the benchmark's own policy: {read.errors[0]}")
    return open_policy(read.policies[0])


def attest(folder: Path, runs: int, *, of_one_image: bool = False) -> list[str]:
    """Attest runs into the layout of a folder; return the digests of their images."""
    path = write_runs(folder, runs, REPOSITORY)
    if of_one_image:
        listed = json.loads(path.read_text())
        for run in listed["items"]:
            run["status"]["results"] = listed["items"][0]["status"]["results"]
        path.write_text(json.dumps(listed))
    done = subprocess.run(
        [str(CHAINS), "attest", str(path), "--output", "json"], cwd=folder, capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    subjects = (entry["subject"] for run in found["runs"] for entry in run["entries"])
    return list(dict.fromkeys(subject for subject in subjects if subject))


def cpu(work: Callable[[], Awaitable[object]], times: int, rounds: int) -> float:
    """Return the processor seconds of one of ``times`` pieces of work: the best of several rounds."""

    async def measured() -> float:
        best = float("inf")
        for _ in range(rounds):
            begun = time.process_time()
            await work()
            best = min(best, time.process_time() - begun)
        return best / times

    return asyncio.run(measured())


def floor(folder: Path, rounds: int) -> float:
    """Return the processor seconds of one verification of a signature."""
    signer = open_signer(str(folder / ".chains" / "signing.key"))
    (key,) = load_public_keys(folder / ".chains" / "signing.pub")
    data, times = b"x" * 4000, 500
    signature = signer.sign(data)

    async def verify() -> None:
        for _ in range(times):
            key.verify(signature, data)

    return cpu(verify, times, rounds)


def forget() -> None:
    """Forget what is known about evidence and signatures."""
    known_signatures._known.clear()
    KNOWN.clear()


def decisions(store: Store, opened: OpenedPolicy, digests: Sequence[str], rounds: int) -> float:
    """Return the processor seconds of one decision, without the search for evidence."""
    images = [read_image(f"{REPOSITORY}@{digest}") for digest in digests]
    now = datetime.now(UTC)

    async def find() -> list[tuple[Image, Search]]:
        return [(image, await search([store], [Query(image.digest, REPOSITORY)])) for image in images]

    found = asyncio.run(find())

    async def ask() -> None:
        for image, evidence in found:
            decide(opened, image, evidence, stores=(store.url,), now=now)

    return cpu(ask, len(images), rounds)


def evaluations(
    store: Store, opened: OpenedPolicy, digests: Sequence[str], rounds: int, *, is_first: bool
) -> float:
    """Return the processor seconds of one evaluation."""
    images = [read_image(f"{REPOSITORY}@{digest}") for digest in digests]
    now = datetime.now(UTC)

    async def ask() -> None:
        for image in images:
            if is_first:
                forget()
            found = await answer([opened], image, stores=[store], now=now)
            if found is None or found.strictest.verdict is not Verdict.VERIFIED:
                raise SystemExit(f"{image.digest}: {found and found.strictest.summary}")

    return cpu(ask, len(images), rounds)


def many_runs(folder: Path, runs: int) -> tuple[float, str]:
    """Return the processor seconds of one decision about an image with many runs, and its verdict."""
    (digest,) = attest(folder, runs, of_one_image=True)
    opened = policy((folder / ".chains" / "signing.pub").read_text(), FAILING)
    store = open_store(f"oci-layout:{folder / '.chains' / 'layout'}")
    image, verdicts = read_image(f"{REPOSITORY}@{digest}"), []

    async def ask() -> None:
        found = await answer([opened], image, stores=[store], now=datetime.now(UTC))
        verdicts.append(found.strictest.verdict.value if found else "none")

    return cpu(ask, 1, 1), verdicts[0]


def start(folder: Path, arguments: Sequence[str], times: int = 5) -> float:
    """Return the median processor seconds of the command, from its start to its end."""
    found = []
    # as after an installation: everything that is imported was compiled before
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(folder / "compiled")
    for _ in range(times + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [str(CHAINS), *arguments], cwd=folder, capture_output=True, check=True, env=environment
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(found[1:])


def starts(folder: Path, digest: str) -> dict[str, float]:
    """Return the processor seconds of commands with and without a policy."""
    image = f"{REPOSITORY}@{digest}"
    where = [image, "--store", "oci-layout:.chains/layout"]
    key = ["--key", ".chains/signing.pub"]
    written = subprocess.run(
        [str(CHAINS), "policy", "init", *where, *key], cwd=folder, capture_output=True, check=True
    ).stdout.decode()
    (folder / "plain.yaml").write_text(written)
    rule = '  rules:\n  - {name: r, cel: "provenance.subject.size() > 0", message: "no subject"}\n'
    (folder / "ruled.yaml").write_text(written + rule)
    return {
        "--version": start(folder, ["--version"]),
        "verify IMAGE --key": start(folder, ["verify", *where, *key]),
        "verify IMAGE --policy": start(folder, ["verify", *where, "--policy", "plain.yaml"]),
        "verify IMAGE --policy, with a rule": start(folder, ["verify", *where, "--policy", "ruled.yaml"]),
    }


def summaries(folder: Path, verdict: PolicyVerdict, rounds: int) -> dict[str, float]:
    """Return the processor seconds of one signed VSA with its SVR, kept nowhere and in a layout."""
    write_key_pair(folder / "vsa.key", generate_key())
    signer = open_signer(str(folder / "vsa.key"))
    verifier = Verifier("https://verifier.example.com", "1", Sealer(signer))
    times, found = 100, {}
    for name, store in (
        ("signed", Nowhere()),
        ("signed and stored in a layout", open_store(f"oci-layout:{folder / 'vsa'}")),
    ):

        async def sign(store: Store = store) -> None:
            for _ in range(times):
                summary = summarise(verdict, verifier, "https://policy.example.com")
                await attest_summary(summary, "production", verifier, [store])

        found[name] = cpu(sign, times, rounds)
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure and print everything."""
    parser = argparse.ArgumentParser(prog="dev.py bench policies", description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument(
        "--runs", type=int, default=400, help="of one image; a tag takes 1000 attestations, two of each run"
    )
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    print(
        f"load {load:.1f}, Python {sys.version.split()[0]}, {options.images} images, best of {options.rounds}"
    )
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as name:
        folder = Path(name)
        digests = attest(folder, options.images)
        one = floor(folder, options.rounds)
        print(f"one signature verified: {one * 1e6:.0f} us")
        pem = (folder / ".chains" / "signing.pub").read_text()
        store = open_store(f"oci-layout:{folder / '.chains' / 'layout'}")
        asyncio.run(_warm(store, digests[0]))
        for kind, rules in (("without rules", ()), ("with two rules in CEL", RULES)):
            opened = policy(pem, rules)
            for told, took in (
                ("first", evaluations(store, opened, digests, options.rounds, is_first=True)),
                ("again", evaluations(store, opened, digests, options.rounds, is_first=False)),
                ("decided", decisions(store, opened, digests, options.rounds)),
            ):
                print(
                    f"{kind}, {told}: {1 / took:.0f}/s, {took * 1e6:.0f} us, {took / one:.1f} signatures",
                    flush=True,
                )
        found = asyncio.run(answer([policy(pem)], read_image(f"{REPOSITORY}@{digests[0]}"), stores=[store], now=datetime.now(UTC)))  # fmt: skip
        for told, seconds in starts(folder, digests[0]).items():
            print(f"{told}: {seconds:.2f} s", flush=True)
        if found is not None:
            for told, seconds in summaries(folder, found.strictest, options.rounds).items():
                print(f"VSA and SVR {told}: {1 / seconds:.0f}/s, {seconds * 1e6:.0f} us", flush=True)
    with tempfile.TemporaryDirectory(prefix="chains-bench-") as name:
        seconds, verdict = many_runs(Path(name), options.runs)
        print(
            f"one image with {options.runs} runs and a rule that compares each with all: {seconds:.1f} s, {verdict}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
