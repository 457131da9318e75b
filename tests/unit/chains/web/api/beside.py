"""Files beside an index: an audit, a ledger, a report, a policy, records of runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from chains.assembly.trust import open_listed_keys
from chains.audit.report import SCHEMA
from chains.web.settings import WebSettings
from tests.unit.chains.web.world import EXAMPLES, World, chains, inside


def write_audit(path: Path, states: Sequence[tuple[str, str]], at: str = "2026-11-20T00:00:00Z") -> Path:
    """Write the result of an audit with one run for each namespace and state."""
    counts: dict[str, int] = {}
    namespaces: dict[str, dict[str, int]] = {}
    for namespace, state in states:
        counts[state] = counts.get(state, 0) + 1
        own = namespaces.setdefault(namespace, {})
        own[state] = own.get(state, 0) + 1
    told = {
        "schema": SCHEMA,
        "at": at,
        "since": None,
        "until": at,
        "summary": f"{len(states)} runs",
        "exitCode": 1 if set(counts) & {"failed", "missing"} else 0,
        "finished": len(states),
        "counts": counts,
        "coverage": {"text": ["50 %", "50 %"]},
        "namespaces": namespaces,
        "stores": ["oci:registry.example"],
        "sources": [
            {"name": "list", "shows": "x", "cannotShow": "y", "query": "", "runs": len(states), "finished": len(states)}
        ],
        "gaps": [],
        "differences": [],
        "furtherDifferences": len(states),
        "problems": [f"problem of {name}" for name, _ in states],
        "runs": [
            {
                "state": state,
                "reason": "no_evidence",
                "words": f"of {namespace}",
                "kind": "TaskRun",
                "namespace": namespace,
                "name": f"build-{namespace}",
                "uid": f"{number:08}-0000-4000-8000-00000000000a",
                "finished": at,
            }
            for number, (namespace, state) in enumerate(states)
        ],
    }  # fmt: skip
    path.write_text(json.dumps(told))
    return path


def beside(world: World, folder: Path) -> WebSettings:
    """Return settings with everything beside the index of a world."""
    audits = folder / "audits"
    audits.mkdir()
    write_audit(audits / "audit.json", [("secret", "missing"), ("shop", "failed")])
    with inside(world.folder):
        keys = open_listed_keys([str(EXAMPLES / "ledger/ledger.pub")])
        chains(
            "report", "--runs", "taskrun-image.json", "--from", "2025-01-01", "--to", "2026-11-30",
            "--key", ".chains/signing.pub", "--store", "oci-layout:.chains/layout",
            "--out", folder / "reports" / "october",
        )  # fmt: skip
    return replace(
        world.settings,
        audits=(audits,),
        reports=(folder / "reports",),
        ledger=EXAMPLES / "ledger",
        ledger_keys=keys,
    )
