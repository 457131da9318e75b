"""A report document in memory: by default one in which everything that a control can demand holds."""

from __future__ import annotations

from typing import Any

from chains.report.document.file import Document
from chains.report.document.format import SCHEMA

SIGNER = "SHA256:" + "a1" * 32
LEDGER_SIGNER = "SHA256:" + "b2" * 32
PROVENANCE = "https://slsa.dev/provenance/v1"
SCAI = "https://in-toto.io/attestation/scai/v0.3"


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def counts(**given: int) -> dict[str, int]:
    states = ("evidenced", "failed", "missing", "unattestable", "unknown", "skipped", "disposed", "open")
    return {state: given.get(state, 0) for state in states}


def run(number: int, state: str = "evidenced", **given: Any) -> dict[str, Any]:
    return {
        "uid": f"00000000-0000-0000-0000-{number:012d}",
        "kind": "TaskRun",
        "namespace": "shop",
        "name": f"build-{number}",
        "state": state,
        "reason": "verified" if state == "evidenced" else "no_evidence",
        "detail": None,
        "words": None if state == "evidenced" else "there is no evidence",
        "created": "2026-10-01T08:00:00Z",
        "started": "2026-10-01T08:00:01Z",
        "finished": f"2026-10-{1 + number % 28:02d}T09:00:00Z",
        "outcome": "succeeded",
        "pipeline": "release",
        "level": "enforced",
        "levelReason": None,
        "sources": [0],
        "attestations": [digest(10 * number), digest(10 * number + 1)] if state == "evidenced" else [],
    } | given


def artifact(number: int, state: str = "evidenced", **given: Any) -> dict[str, Any]:
    known = state == "evidenced"
    return {
        "digest": digest(1_000_000 + number),
        "name": f"registry.example.com/shop/app-{number}",
        "uid": f"00000000-0000-0000-0000-{number:012d}",
        "run": f"taskrun/shop/build-{number}",
        "finished": "2026-10-02T09:00:00Z",
        "state": state,
        "attested": known,
        "source": "https://git.example.com/shop" if known else None,
        "commit": "f" * 40 if known else None,
        "builder": "https://chains.example.com/builder" if known else None,
        "buildLevel": None,
        "hermetic": "enforced" if known else None,
        "attestations": [digest(10 * number)] if known else [],
    } | given


def attestation(number: int, predicate_type: str = PROVENANCE, **given: Any) -> dict[str, Any]:
    return {
        "digest": digest(number),
        "uid": f"00000000-0000-0000-0000-{number // 10:012d}",
        "predicateType": predicate_type,
        "form": "bundle",
        "places": [f"s3://evidence/{number}", f"oci://registry.example.com/evidence/{number}"],
        "signer": SIGNER,
        "times": [{"time": "2026-10-02T09:01:00Z", "source": "timestamp"}],
        "logEntries": [],
        "result": "verified",
        "reason": None,
        "detail": None,
    } | given


def key(signer: str = SIGNER, **given: Any) -> dict[str, Any]:
    return {
        "signer": signer,
        "kind": "key",
        "algorithm": "ECDSA P-256",
        "custody": "awskms",
        "status": "active",
        "notBefore": "2026-01-01T00:00:00Z",
        "notAfter": "2027-01-01T00:00:00Z",
        "trusted": True,
        "attestations": 2,
        "runs": 1,
        "firstRun": "2026-10-02T09:00:00Z",
        "lastRun": "2026-10-02T09:00:00Z",
    } | given


def ledger(**given: Any) -> dict[str, Any]:
    return {
        "log": "share-0-of-1",
        "day": "2026-10-31",
        "size": 4000,
        "root": "c" * 64,
        "signer": LEDGER_SIGNER,
        "signed": "2026-11-01T00:00:04Z",
        "firstDay": "2026-03-01",
        "days": 245,
        "notVerified": 0,
        "notClosed": 0,
    } | given


def source(**given: Any) -> dict[str, Any]:
    return {
        "name": "ledger chains.example.com/prod",
        "kind": "ledger",
        "shows": "every run that the controller saw",
        "cannotShow": "what ran while no controller watched",
        "query": "chains audit --ledger LEDGER",
        "since": "2026-03-01T00:00:00Z",
        "until": "2026-11-01T00:00:00Z",
        "runs": 3,
        "finished": 3,
        "problems": [],
        "notes": [],
    } | given


def population(**given: Any) -> dict[str, Any]:
    return {
        "runs": 3,
        "finished": 3,
        "digest": "sha256:" + "d" * 64,
        "sources": [source()],
        "ledgers": [ledger()],
        "gaps": [],
        "differences": [],
        "furtherDifferences": 0,
        "evidenceWithoutRun": [],
        "imagesAsked": 5,
        "imagesWithoutRun": [],
        "compared": [],
        "problems": [],
        "undecided": [],
        "notes": [],
    } | given


def scope(**given: Any) -> dict[str, Any]:
    return {
        "at": "2026-11-02T10:00:00Z",
        "timeSource": "option",
        "since": "2026-10-01T00:00:00Z",
        "until": "2026-11-01T00:00:00Z",
        "namespaces": [],
        "stores": ["s3://evidence"],
        "criteria": {
            "signers": [SIGNER], "predicateTypes": [], "builderId": None, "buildType": None, "require": [],
        },
        "policies": [{"name": "release", "digest": "sha256:" + "e" * 64}],
        "configuration": "sha256:" + "f" * 64,
        "tool": {"name": "provenance-chains", "version": "0.1.0", "digest": "sha256:" + "9" * 64},
    } | given  # fmt: skip


def head(**given: Any) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "scope": scope(),
        "summary": ["3 of 3 finished runs have evidence that verified."],
        "exitCode": 0,
        "population": population(),
        "counts": counts(evidenced=3),
        "coverage": {"least": 3, "most": 3, "finished": 3, "text": "100 %"},
        "namespaces": [{"namespace": "shop", "counts": counts(evidenced=3)}],
        "days": [{"day": "2026-10-02", "counts": counts(evidenced=3)}],
        "namespaceDays": [],
        "reasons": [],
        "levels": [{"level": "enforced", "runs": 3}],
        "latencies": [{"seconds": 60, "runs": 3}],
        "keys": [key()],
        "keyChanges": [
            {"at": "2026-03-01T00:00:00Z", "signers": [SIGNER], "ledger": LEDGER_SIGNER, "signed": True}
        ],
        "revocations": [],
        "exemptions": [],
        "dispositions": [],
        "configuration": [
            {"at": "2026-03-01T00:00:00Z", "digest": "sha256:" + "f" * 64, "changed": [], "signed": True}
        ],
        "figures": [],
        "controls": [],
        "cited": [],
        "unknown": [],
        "limits": ["what ran while nobody watched"],
    } | given


def document(
    runs: int = 3,
    *,
    run_rows: list[dict[str, Any]] | None = None,
    artifacts: list[dict[str, Any]] | None = None,
    attestations: list[dict[str, Any]] | None = None,
    **given: Any,
) -> Document:
    """A document of so many evidenced runs; lists and members of the head can be given."""
    numbers = range(1, runs + 1)
    if run_rows is None:
        run_rows = [run(number) for number in numbers]
    if artifacts is None:
        artifacts = [artifact(number) for number in numbers]
    if attestations is None:
        attestations = [attestation(10 * number) for number in numbers]
        attestations += [attestation(10 * number + 1, SCAI) for number in numbers]
    return Document.of(head(**given), run_rows, artifacts, attestations)  # type: ignore[arg-type]


def mixed(evidenced: int, **others: int) -> Document:
    """A document with so many runs in each state."""
    total = evidenced + sum(
        count for state, count in others.items() if state not in {"skipped", "disposed", "open"}
    )
    rows = [run(number) for number in range(1, evidenced + 1)]
    number = evidenced
    for state, count in others.items():
        for _ in range(count):
            number += 1
            rows.append(run(number, state))
    covered = evidenced + others.get("unknown", 0)
    return document(
        evidenced,
        run_rows=rows,
        artifacts=[artifact(one) for one in range(1, evidenced + 1)],
        counts=counts(evidenced=evidenced, **others),
        coverage={"least": evidenced, "most": covered, "finished": total, "text": ""} if total else None,
        levels=[{"level": "enforced", "runs": evidenced}],
    )
