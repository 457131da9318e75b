"""A blast radius as JSON and as CSV. All texts are foreign: CSV is escaped here, JSON by its writer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chains.columns import csv_line
from chains.lineage.blast_radius import BlastRadius, State, Touched
from chains.lineage.collect import Claim
from chains.text import rfc3339

COLUMNS = (
    "state", "digest", "name", "distance", "because", "through", "verifiedTime", "statedTime", "signer",
    "predicateType", "run", "runUid", "evidenceDigest", "store", "location", "furtherStatements",
)  # fmt: skip


def to_json(found: BlastRadius) -> dict[str, Any]:
    """Return the answer as it is printed. Lists of artifacts are whole; of problems the first are given."""
    collected, window = found.collected, found.window
    times = {"from": window.start, "to": window.end, "since": window.since}
    return {
        "wanted": found.wanted.to_json(),
        **{name: None if moment is None else rfc3339(moment) for name, moment in times.items()},
        "touched": found.touched,
        **{state.value: found.count(state) for state in State},
        "isWhole": collected.is_whole,
        "exitCode": found.exit_code,
        "read": {
            "evidence": collected.pieces,
            "statements": len(collected.claims),
            "artifacts": collected.graph.artifact_count,
            "matching": found.matching,
            "outsideByVerifiedTime": found.left_out[0],
            "outsideByStatedTime": found.left_out[1],
            "forged": collected.forged,
            "unread": collected.unread,
        },
        "artifacts": [_artifact(one, found.collected.claims[one.claim]) for one in found.artifacts],
        "problems": [one.to_json() for one in collected.problems],
        "notes": list(collected.notes),
    }


def _artifact(one: Touched, claim: Claim) -> dict[str, Any]:
    return {
        "state": one.state.value,
        "digest": one.digest,
        "names": list(one.names),
        "distance": one.distance,
        "because": {
            kind.value: {"value": match.text, "isClaimed": match.is_claimed}
            for kind, match in one.because.items()
        },
        "through": list(one.through),
        "statement": {
            "predicateType": claim.predicate_type,
            "signer": claim.signer or None,
            "verifiedTime": None if claim.moment is None else rfc3339(claim.moment),
            "statedTime": None if claim.stated is None else rfc3339(claim.stated),
            "run": claim.run,
            "runUid": claim.run_uid,
            "evidence": [
                {"store": place.store, "location": place.location, "digest": place.digest}
                for place in claim.places
            ],
        },
        "furtherStatements": one.others,
    }


def to_csv(found: BlastRadius) -> Iterator[str]:
    """Yield the lines of a CSV file: a header, then one line for each artifact."""
    yield csv_line(COLUMNS)
    for one in found.artifacts:
        claim = found.collected.claims[one.claim]
        place = claim.places[0]
        yield csv_line((
            one.state.value, one.digest, one.names[0] if one.names else "", str(one.distance), because(one),
            " ".join(one.through), "" if claim.moment is None else rfc3339(claim.moment),
            "" if claim.stated is None else rfc3339(claim.stated), claim.signer, claim.predicate_type,
            claim.run, claim.run_uid, place.digest, place.store, place.location, str(one.others),
        ))  # fmt: skip


def because(one: Touched) -> str:
    """Return what matched, in words; empty for an artifact that is touched through others."""
    return "; ".join(
        f"{'claims ' if match.is_claimed else ''}{kind} {match.text}" for kind, match in one.because.items()
    )
