"""Reports made for tests, from real evidence: the world of :mod:`tests.audit_truth`, audited and gathered.

``report_of`` gives a :class:`Document` whose lists are in memory, ready for any form. A module that needs one
makes it once, in a fixture of the module's scope.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from chains.audit.compare import Period, compare
from chains.audit.ledger.read import read_ledger
from chains.audit.population.audit_log import read_audit_log
from chains.audit.population.exports import read_exports
from chains.audit.population.known import Population
from chains.audit.population.ledger import add_ledger
from chains.config.parse import parse_config
from chains.report.document.file import Document
from chains.report.gather.build import Given, build
from chains.report.gather.ledgers import ledger_facts
from chains.report.gather.recorder import Recorder
from chains.verify.criteria import Criteria
from chains.verify.verifier import Verifier
from signers.keys.keyset import ListedKey
from signers.keys.public_key import PublicKey
from tests.audit_truth import World, make_world

CONFIGURATION = "sha256:" + "c0" * 32
NOW = datetime(2026, 11, 2, 12, tzinfo=UTC)
PERIOD = Period(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 2, tzinfo=UTC))


def small_world(folder: Path) -> World:
    """Make 40 runs, one with each kind of hole."""
    return make_world(folder, 40, 1)


def gathered(world: World, **given) -> Document:
    """Audit a world, and return its report; ``given`` are further fields of :class:`Given`."""

    async def work(recorder: Recorder, population: Population):
        return await compare(population, recorder, PERIOD, NOW)

    key = PublicKey.from_pem((world.folder / "good.pub").read_bytes())
    verifier = Verifier(Criteria(keys=[key]), [f"oci-layout:{world.folder / 'layout'}"], clock=lambda: NOW)
    ledger_key = PublicKey.from_pem((world.folder / "ledger.pub").read_bytes())
    with Population() as population:
        state = read_ledger(world.folder / "ledger", [ListedKey(ledger_key)], NOW)
        add_ledger(state, "ledger", population, PERIOD.until)
        read_exports([str(world.folder / "runs.json")], population)
        read_audit_log([str(world.folder / "log")], population)
        with Recorder(verifier, population, parse_config(world.config), NOW) as recorder:
            audit = asyncio.run(work(recorder, population))
            facts = ledger_facts([state], PERIOD, NOW)
            report = build(
                audit,
                recorder,
                Given("option", **{"configuration": CONFIGURATION, "ledgers": facts, **given}),
            )
            runs, artifacts = list(report.runs()), list(report.artifacts())
            return Document.of(report.head, runs, artifacts, list(report.attestations()))


def report_of(folder: Path, **given) -> Document:
    """Return the report of a small world."""
    return gathered(small_world(folder), **given)
