"""A sample of the finished runs that nobody but the auditor can choose, with an evidence pack for each.

Runs are ordered by SHA-256(seed ‖ UID) and the first ones are taken. Who knows the seed before the period is
closed could choose UIDs, so the auditor tells the seed afterwards. Anybody can repeat the choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from chains.audit.findings import Judged, State
from chains.audit.judge import Judge
from chains.audit.population.known import KnownRun, Population
from chains.audit.report import run_to_json, source_to_json
from chains.evidence.offline_pack import SUMS, make_folder, write_pack
from chains.evidence.retrieve import Found
from chains.tekton.snapshot import RunSnapshot
from chains.text import to_json
from chains.verify.runs.run import RunWanted
from chains.verify.verdict import Verification
from chains.verify.verifier import queries_of
from signers.keys.public_key import PublicKey
from storage.base import Store
from storage.record import Evidence, Findings, Origin

SCHEMA = "https://provenance.chains/audit-sample/v1"
METHOD = "the first n finished runs, ordered by SHA-256 of the seed (UTF-8) followed by the UID"
STRATA: dict[str, Callable[[KnownRun], str]] = {
    "namespace": lambda run: run.namespace,
    "kind": lambda run: run.kind,
    "day": lambda run: run.moment[:10],
}
"""What a sample can be spread over: the first run of each is taken, then the second of each, and so on."""


@dataclass(frozen=True, slots=True)
class Item:
    """One run of a sample: what became of it, and how many bundles its pack has. ``order`` is the hash."""

    number: int
    order: str
    judged: Judged
    bundles: int = 0
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample with all that is needed to choose it again. ``digest`` is that of the sorted UIDs."""

    seed: str
    by: str
    population: int
    digest: str
    items: tuple[Item, ...] = field(default=())
    undecided: tuple[str, ...] = ()
    """What the sources could not show in the period: runs in it had no chance to be chosen."""

    @property
    def exit_code(self) -> int:
        """0 if each run of the sample is evidenced, 1 if one is not, 4 if one is unknown or undecided."""
        states = {one.judged.state for one in self.items}
        if states & {State.FAILED, State.MISSING, State.UNATTESTABLE}:
            return 1
        return 4 if not self.items or self.undecided or State.UNKNOWN in states else 0


def order_of(seed: str, uid: str) -> str:
    """Return the place of a run in the order of a seed: SHA-256 of both, as hex."""
    return hashlib.sha256(seed.encode() + uid.encode(errors="backslashreplace")).hexdigest()


def choose(runs: Sequence[KnownRun], n: int, seed: str, by: str = "") -> list[KnownRun]:
    """Return the first ``n`` runs in the order of the seed, spread over :data:`STRATA` if ``by`` is given."""
    ordered = sorted(runs, key=lambda run: order_of(seed, run.uid))
    if not by:
        return ordered[:n]
    strata: dict[str, list[KnownRun]] = {}
    for run in ordered:
        strata.setdefault(STRATA[by](run), []).append(run)
    rounds = max(map(len, strata.values()), default=0)
    spread = [group[turn] for turn in range(rounds) for group in strata.values() if turn < len(group)]
    return spread[:n]


def population_digest(runs: Sequence[KnownRun]) -> str:
    """Return the SHA-256 of the sorted UIDs, each followed by a line break."""
    text = "".join(f"{uid}\n" for uid in sorted(run.uid for run in runs))
    return f"sha256:{hashlib.sha256(text.encode(errors='backslashreplace')).hexdigest()}"


async def write_sample(
    population: Population,
    chosen: Sequence[KnownRun],
    judge: Judge,
    sample: Sample,
    folder: Path | None,
    keys: Sequence[PublicKey] = (),
    trusted_root: bytes = b"",
) -> Sample:
    """Judge the chosen runs, write a pack for each into a new folder, and return the sample with its items.

    Without a folder nothing is written. Raises :class:`UsageError` for a folder that is not empty.
    """
    if folder is not None:
        make_folder(folder)
    items = []
    for number, run in enumerate(chosen, start=1):
        judged, found, snapshot = await judge.verified(run)
        item = Item(number, order_of(sample.seed, run.uid), judged)
        if folder is not None:
            item = await _write_item(
                folder, item, run, found, snapshot, judge, population, keys, trusted_root
            )
        items.append(item)
    whole = replace(sample, items=tuple(items))
    if folder is not None:
        text = to_json(sample_to_json(whole, population), indent=True)
        (folder / "sample.json").write_text(text + "\n", encoding="utf-8")
        _write_sums(folder)
    return whole


def _write_sums(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in files
    ]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


async def _write_item(
    folder: Path,
    item: Item,
    run: KnownRun,
    found: Verification | None,
    snapshot: RunSnapshot | None,
    judge: Judge,
    population: Population,
    keys: Sequence[PublicKey],
    trusted_root: bytes,
) -> Item:
    place = folder / f"{item.number:03d}"
    used = {one.digest for one in found.attestations if one.used} if found is not None else set()
    packed = await write_pack(
        place, _evidence(run, snapshot, used, judge.verifier.stores), keys, trusted_root
    )
    whole = population.whole(run)
    if whole is not None:
        (place / "run.json").write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2))
    told: dict[str, Any] = {"run": run_to_json(item.judged)}
    if found is not None:
        told["verification"] = found.to_json()
    (place / "verification.json").write_text(to_json(told, indent=True) + "\n", encoding="utf-8")
    return Item(item.number, item.order, item.judged, packed.bundles, place.name)


async def _evidence(
    run: KnownRun, snapshot: RunSnapshot | None, used: set[str], stores: Sequence[Store]
) -> AsyncIterator[Found]:
    """Yield the evidence that made the run evidenced, from every store."""
    origin = Origin(run.kind.lower(), run.namespace, run.name, run.uid)
    for store in [one.within(origin) for one in stores] if used else ():
        pieces: list[Evidence] = list((await store.find_run(run.uid)).evidence)
        for query in queries_of(RunWanted(snapshot)) if snapshot is not None and not pieces else ():
            pieces += (await store.find(query.digest, query.reference)).evidence
        kept = tuple({one.digest: one for one in pieces if one.digest in used}.values())
        yield Found(run.label, store.url, Findings(kept))


def sample_to_json(sample: Sample, population: Population) -> dict[str, Any]:
    """Return a sample as plain JSON values."""
    return {
        "schema": SCHEMA,
        "seed": sample.seed,
        "by": sample.by or None,
        "method": METHOD,
        "population": sample.population,
        "populationDigest": sample.digest,
        "sources": [source_to_json(one) for one in population.sources],
        "undecided": list(sample.undecided),
        "exitCode": sample.exit_code,
        "items": [
            {
                "number": one.number,
                "order": one.order,
                **run_to_json(one.judged),
                "bundles": one.bundles,
                "folder": one.folder or None,
            }
            for one in sample.items
        ],
    }
