"""What the long lists of a report say together, counted in one pass; facts are computed from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from chains.report.document.file import Document
from chains.report.document.format import COUNTED, Artifact, Attestation, Head, Run

_EXAMPLES = 5
"""Attestations that are cited as examples."""
_FOLDERS = frozenset(("file", "oci-layout"))
"""The words with which places in folders begin."""


@dataclass(slots=True)
class Tally:
    """The head of a report, and counts of its artifacts, attestations and runs."""

    head: Head
    artifacts: int = 0
    """Artifacts of runs of which evidence is demanded."""
    attested: int = 0
    with_source: int = 0
    with_builder: int = 0
    verified: int = 0
    """Attestations that verified at the report time."""
    not_used: int = 0
    unknown_signer: int = 0
    timed: int = 0
    logged: int = 0
    stored: int = 0
    stored_twice: int = 0
    finished: int = 0
    """Finished runs of which evidence is demanded, counted again from the list."""
    evidenced: int = 0
    with_outcome: int = 0
    with_pipeline: int = 0
    signers: set[str] = field(default_factory=set)
    """Who signed the evidence that verified."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """By predicate type, the digests of the first attestations that verified."""

    def add_artifact(self, one: Artifact) -> None:
        """Count an artifact. One that no verified provenance names is a claim of the run: it has no facts."""
        if one["state"] not in COUNTED:
            return
        self.artifacts += 1
        if not one["attested"]:
            return
        self.attested += 1
        self.with_source += bool(one["source"] and one["commit"])
        self.with_builder += bool(one["builder"])

    def add_attestation(self, one: Attestation) -> None:
        """Count a piece of evidence."""
        self.unknown_signer += one["signer"] is None
        if one["result"] != "verified":
            self.not_used += 1
            return
        self.verified += 1
        self.timed += bool(one["times"])
        self.logged += bool(one["logEntries"])
        self.stored += bool(one["places"])
        self.stored_twice += len({_store_of(place) for place in one["places"]}) > 1
        if one["signer"]:
            self.signers.add(one["signer"])
        cited = self.examples.setdefault(one["predicateType"] or "", [])
        if len(cited) < _EXAMPLES:
            cited.append(one["digest"])

    def add_run(self, one: Run) -> None:
        """Count a run."""
        if one["state"] not in COUNTED:
            return
        self.finished += 1
        self.evidenced += one["state"] == "evidenced"
        self.with_outcome += bool(one["outcome"])
        self.with_pipeline += bool(one["pipeline"])


def _store_of(place: str) -> str:
    """Return which store a place is in: its kind, and the host or bucket where the place names one.

    Two forms of evidence in one registry, or in two folders of one machine, are in one store. So are a layout
    and plain files: both are folders, and a report does not say that they are on two machines.
    """
    kind, _, rest = place.partition(" ")
    if kind in _FOLDERS:
        return "folder"
    if "://" in kind:
        return "/".join(kind.split("/")[:3])
    return f"oci {rest.partition('/')[0]}" if kind == "oci" else kind


def tally(document: Document) -> Tally:
    """Return the counts of a report. Each list is read once."""
    counted = Tally(document.head)
    for artifact in document.artifacts():
        counted.add_artifact(artifact)
    for attestation in document.attestations():
        counted.add_attestation(attestation)
    for run in document.runs():
        counted.add_run(run)
    return counted
