"""The value of each fact, for reports that differ in one thing."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from chains.report.controls.fact import Value
from chains.report.controls.facts import FACTS, measure_all
from chains.report.controls.tally import tally
from chains.report.document.file import Document
from chains.report.gather.signers import MOST_REVOCATIONS
from tests.unit.chains.report.controls import made

CERTIFICATE = made.key(kind="certificate", custody=None, algorithm=None, notBefore=None, notAfter=None)
TWO = made.counts(evidenced=2, missing=1, unattestable=3)


def levels(**given: int) -> list[dict[str, Any]]:
    return [{"level": None if name == "none" else name, "runs": runs} for name, runs in given.items()]


def signed(**given: Any) -> Document:
    return made.document(attestations=[made.attestation(10), made.attestation(20, **given)])


LATER = "2026-11-02T10:00:01Z"
"""A second after the report time."""


def revoked(value: str, kind: str = "key", since: str | None = "2026-10-20T00:00:00Z") -> dict[str, Any]:
    return {"kind": kind, "value": value, "since": since, "reason": "lost", "list": made.digest(1)}


CASES: list[tuple[str, Document, Value]] = [
    ("finished-runs", made.document(counts=TWO), 6),
    ("missing-runs", made.document(counts=TWO), 4),
    ("evidenced-runs", made.document(), 3),
    ("evidenced-runs", made.document(run_rows=[made.run(1)]), None),
    ("coverage", made.mixed(2, missing=1), Fraction(200, 3)),
    ("coverage", made.mixed(0, missing=1), Fraction(0)),
    ("coverage", made.mixed(0), None),
    ("coverage", made.document(coverage={"least": 2, "most": 2, "finished": 3, "text": ""}), None),
    ("coverage", made.document(coverage={"least": 3, "most": 3, "finished": 4, "text": ""}), None),
    ("coverage", made.document(run_rows=[made.run(1), made.run(2)]), None),
    ("coverage", made.document(run_rows=[made.run(1), made.run(2), made.run(3, "missing")]), None),
    ("runs-with-report", made.document(4, levels=levels(enforced=1, partly=2, none=1)), Fraction(75)),
    ("runs-without-network", made.document(4, levels=levels(enforced=1, partly=2, none=1)), Fraction(25)),
    ("runs-with-report", made.document(4, levels=levels(enforced=2)), Fraction(50)),
    ("runs-with-outcome", made.document(run_rows=[made.run(1), made.run(2, outcome=None)]), Fraction(50)),
    ("runs-with-pipeline", made.document(run_rows=[made.run(1), made.run(2, pipeline=None)]), Fraction(50)),
    ("runs-with-outcome", made.document(run_rows=[made.run(1, "skipped", outcome=None), made.run(2)]), 100),
    ("ledger-unbroken", made.document(scope=made.scope(since="2026-03-01T00:00:00Z")), True),
    ("ledger-unbroken", made.document(scope=made.scope(since=None)), True),
    ("ledger-timestamped", made.document(population=made.population(ledgers=[])), False),
    (
        "ledger-timestamped",
        made.document(population=made.population(ledgers=[made.ledger(signed=None)])),
        False,
    ),
    ("ledger-key-apart", made.document(population=made.population(ledgers=[])), False),
    (
        "ledger-key-apart",
        made.document(population=made.population(ledgers=[made.ledger(signer=None)])),
        False,
    ),
    ("period-over", made.document(scope=made.scope(until="2026-11-02T10:00:00Z")), True),
    ("period-over", made.document(scope=made.scope(until="2026-11-02T10:00:01Z")), False),
    ("artifacts", made.document(artifacts=[made.artifact(1), made.artifact(2, "skipped")]), 1),
    ("artifacts-with-source", made.document(artifacts=[made.artifact(1, commit=None)]), 0),
    ("artifacts-with-source", made.document(artifacts=[made.artifact(1, source=None)]), 0),
    ("artifacts-with-builder", made.document(artifacts=[made.artifact(1, builder=None)]), 0),
    ("attestations", signed(), 2),
    ("attestations", signed(result="not-used"), 1),
    ("unknown-signers", signed(), 0),
    ("unknown-signers", signed(signer=None, result="not-used"), 1),
    ("attestations-timed", signed(times=[]), Fraction(50)),
    ("attestations-logged", signed(logEntries=[{"log": "l", "index": 1}]), Fraction(50)),
    ("attestations-stored", signed(places=[]), Fraction(50)),
    ("attestations-timed", signed(times=[], result="not-used"), Fraction(100)),
    ("attestations-timed", made.document(attestations=[]), None),
    ("signing-keys", signed(signer="another"), 2),
    ("signing-keys", signed(signer="another", result="not-used"), 1),
    ("signers-trusted", signed(signer="another"), False),
    ("signers-trusted", made.document(keys=[made.key(status="retired")]), True),
    ("revoked-keys-used", made.document(keys=[made.key(status="revoked", attestations=0)]), 0),
    ("revoked-keys-used", made.document(keys=[made.key(status="revoked", attestations=1)]), 1),
    ("revoked-keys-used", made.document(revocations=[revoked(made.SIGNER)]), 1),
    ("revoked-keys-used", made.document(revocations=[revoked(made.SIGNER, since=None)]), 1),
    ("revoked-keys-used", made.document(revocations=[revoked("another")]), 0),
    ("revoked-keys-used", made.document(revocations=[revoked(made.SIGNER, kind="builder")]), 0),
    ("revoked-keys-used", made.document(revocations=[revoked(made.SIGNER, since=LATER)]), 0),
    ("revoked-keys-used", made.document(revocations=[revoked("another")] * MOST_REVOCATIONS), None),
    ("signers-trusted", made.document(revocations=[revoked(made.SIGNER)]), False),
    ("signers-trusted", made.document(revocations=[revoked(made.SIGNER, since=LATER)]), True),
    ("keys-described", made.document(keys=[made.key()]), True),
    ("keys-described", made.document(keys=[CERTIFICATE]), True),
    ("keys-described", made.document(keys=[made.key(algorithm=None)]), False),
    ("keys-described", made.document(keys=[made.key(notBefore=None)]), True),
    ("keys-described", made.document(keys=[made.key(notBefore=None, notAfter=None)]), False),
    ("keys-described", made.document(keys=[]), False),
    ("key-changes-recorded", made.document(keyChanges=[]), False),
    ("configuration-recorded", made.document(configuration=[]), False),
    ("policies", made.document(), 1),
    ("exemptions-without-approver", made.document(exemptions=[{"approver": None, "until": None}]), 1),
    ("exemptions-without-approver", made.document(exemptions=[{"approver": "a", "until": None}]), 0),
    ("exemptions-without-end", made.document(exemptions=[{"approver": None, "until": None}]), 1),
    ("exemptions-without-end", made.document(exemptions=[{"approver": None, "until": "2027"}]), 0),
    ("dispositions-without-reason", made.document(dispositions=[{"reason": "r", "by": "b"}]), 0),
    ("dispositions-without-reason", made.document(dispositions=[{"reason": "r", "by": ""}]), 1),
    ("dispositions-without-reason", made.document(dispositions=[{"reason": "", "by": "b"}]), 1),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_fact_is_what_the_report_says(number: int) -> None:
    name, document, value = CASES[number]
    assert measure_all(tally(document))[name] == value


def test_every_fact_but_those_that_other_tests_try_is_here() -> None:
    elsewhere = {
        "unknown-runs", "failed-runs", "skipped-runs", "disposed-runs", "population-whole", "population-sources",
        "images-without-run", "artifacts-attested", "attestations-in-two-stores", "keys-outside-files",
    }  # fmt: skip
    assert {name for name, _, _ in CASES} | elsewhere == set(FACTS)
