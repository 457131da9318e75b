"""The facts that control maps can demand, each computed from a report document alone.

A fact is None where the report does not say it, and what is None never holds. Each docstring is what people
read about the fact.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from chains.report.controls.fact import Fact, Kind, Value
from chains.report.controls.tally import Tally
from chains.report.document.format import COUNTED, Head, Scope, Source
from chains.report.gather.signers import MOST_REVOCATIONS

_facts: dict[str, Fact] = {}
FACTS: Final[Mapping[str, Fact]] = MappingProxyType(_facts)
"""Every fact by its name."""

Measure = Callable[[Tally], Value]


_AUDIT = (
    "chains audit --ledger LEDGER --ledger-key LEDGER.pub --store STORE --key KEY.pub --from {from} --to {to}"
)
_IMAGES = f"{_AUDIT} --running"
_LEDGER = "chains ledger verify LEDGER --key LEDGER.pub"
_ENTRIES = "chains ledger show LEDGER --key LEDGER.pub"
_AGAIN = "chains audit reverify --store STORE --key KEY.pub"
_PROVENANCE = "chains search 'type:provenance verdict:verified from:{from} to:{to}'"
_REPORTS = "chains search 'type:report verdict:verified from:{from} to:{to}'"
_ENFORCED = "chains search 'level:enforced verdict:verified from:{from} to:{to}'"
_NOT_USED = "chains search -- '-verdict:verified from:{from} to:{to}'"
_CHECK = "chains report check REPORT"
_FITS = "matching "
"""How a report begins the name of an expression in a revocation list."""


def _fact(kind: Kind, query: str) -> Callable[[Measure], Measure]:
    def register(measure: Measure) -> Measure:
        name = measure.__name__.replace("_", "-")
        text = " ".join(inspect.cleandoc(measure.__doc__ or "").split())
        _facts[name] = Fact(name, kind, text, query, measure)
        return measure

    return register


def measure_all(counted: Tally) -> dict[str, Value]:
    """Return the value of every fact."""
    return {name: fact.measure(counted) for name, fact in FACTS.items()}


def _percent(part: int, whole: int) -> Fraction | None:
    """Return an exact percentage, None of nothing."""
    return Fraction(100 * part, whole) if whole else None


# runs


@_fact(Kind.COUNT, _AUDIT)
def finished_runs(counted: Tally) -> Value:
    """Finished runs of which evidence is demanded."""
    return sum(counted.head["counts"][state] for state in COUNTED)


@_fact(Kind.COUNT, _AUDIT)
def evidenced_runs(counted: Tally) -> Value:
    """Runs whose evidence verified at the report time; not known if counts and list of the report differ."""
    claimed = counted.head["counts"]["evidenced"]
    return claimed if claimed == counted.evidenced else None


@_fact(Kind.PERCENT, _AUDIT)
def coverage(counted: Tally) -> Value:
    """The least share of finished runs with evidence that verified; not known if its numbers differ."""
    claimed, found = counted.head["coverage"], counted.head["counts"]
    whole = sum(found[state] for state in COUNTED)
    if claimed is None or (claimed["least"], claimed["finished"]) != (found["evidenced"], whole):
        return None
    if (counted.evidenced, counted.finished) != (found["evidenced"], whole):
        return None
    return _percent(found["evidenced"], whole)


@_fact(Kind.COUNT, _AUDIT)
def unknown_runs(counted: Tally) -> Value:
    """Runs of which it could not be decided whether they have evidence."""
    return counted.head["counts"]["unknown"]


@_fact(Kind.COUNT, _AUDIT)
def failed_runs(counted: Tally) -> Value:
    """Runs whose evidence does not verify, or could not be made."""
    return counted.head["counts"]["failed"]


@_fact(Kind.COUNT, _AUDIT)
def missing_runs(counted: Tally) -> Value:
    """Finished runs without evidence."""
    return counted.head["counts"]["missing"] + counted.head["counts"]["unattestable"]


@_fact(Kind.COUNT, _AUDIT)
def skipped_runs(counted: Tally) -> Value:
    """Runs that the configuration leaves out."""
    return counted.head["counts"]["skipped"]


@_fact(Kind.COUNT, _AUDIT)
def disposed_runs(counted: Tally) -> Value:
    """Runs whose evidence was deleted on purpose, according to a record: nothing of it can be shown."""
    return counted.head["counts"]["disposed"]


@_fact(Kind.PERCENT, _REPORTS)
def runs_with_report(counted: Tally) -> Value:
    """The share of evidenced runs with a verified execution report."""
    levels = counted.head["levels"]
    known = sum(one["runs"] for one in levels if one["level"] is not None)
    return _percent(known, max(counted.evidenced, sum(one["runs"] for one in levels)))


@_fact(Kind.PERCENT, _ENFORCED)
def runs_without_network(counted: Tally) -> Value:
    """The share of evidenced runs of which a verified report proves that no process had a network."""
    levels = counted.head["levels"]
    enforced = sum(one["runs"] for one in levels if one["level"] == "enforced")
    return _percent(enforced, max(counted.evidenced, sum(one["runs"] for one in levels)))


@_fact(Kind.PERCENT, _REPORTS)
def runs_with_outcome(counted: Tally) -> Value:
    """The share of finished runs of which the report says how they ended."""
    return _percent(counted.with_outcome, counted.finished)


@_fact(Kind.PERCENT, _PROVENANCE)
def runs_with_pipeline(counted: Tally) -> Value:
    """The share of finished runs of which the report names the Pipeline or Task."""
    return _percent(counted.with_pipeline, counted.finished)


# how completeness was shown


@_fact(Kind.FLAG, _AUDIT)
def population_whole(counted: Tally) -> Value:
    """No gap is open, every source was read whole, every question had an answer, no source contradicts.

    And none of the images in use that were asked about is without a run.
    """
    population = counted.head["population"]
    if not population["sources"]:
        return False
    lost = any(source["problems"] for source in population["sources"])
    known = any(stray["shouldBeKnown"] for stray in population["evidenceWithoutRun"])
    open_ends = (
        population["undecided"],
        population["gaps"],
        population["problems"],
        population["differences"],
        population["imagesWithoutRun"],
    )
    return not (lost or known or any(open_ends))


@_fact(Kind.COUNT, _AUDIT)
def population_sources(counted: Tally) -> Value:
    """Sources of runs that were compared."""
    return len(counted.head["population"]["sources"])


@_fact(Kind.COUNT, _IMAGES)
def images_without_run(counted: Tally) -> Value:
    """Images in use that no run of the population made; not known if no images were asked about."""
    population = counted.head["population"]
    return len(population["imagesWithoutRun"]) if population["imagesAsked"] else None


@_fact(Kind.FLAG, _AUDIT)
def period_over(counted: Tally) -> Value:
    """The period had ended at the report time."""
    scope = counted.head["scope"]
    return scope["until"] is None or _moment(scope["until"]) <= _moment(scope["at"])


@_fact(Kind.FLAG, _LEDGER)
def ledger_unbroken(counted: Tally) -> Value:
    """Every ledger is verified without a problem, and its signed days cover the period without a gap."""
    population, scope = counted.head["population"], counted.head["scope"]
    ledgers = {source["name"]: source for source in population["sources"] if source["kind"] == "ledger"}
    heads = population["ledgers"]
    if not ledgers or not heads or any(gap["source"] in ledgers for gap in population["gaps"]):
        return False
    if any(head["notVerified"] or head["signer"] is None for head in heads):
        return False
    return all(_covers(source, scope) for source in ledgers.values())


def _covers(source: Source, scope: Scope) -> bool:
    """Return whether the signed days of a ledger without problems cover the period."""
    if source["problems"] or source["since"] is None or source["until"] is None:
        return False
    if scope["since"] is not None and _moment(source["since"]) > _moment(scope["since"]):
        return False
    at = _moment(scope["at"])
    # a day that is not over cannot be signed
    last = min(_moment(scope["until"] or scope["at"]), at.replace(hour=0, minute=0, second=0, microsecond=0))
    return _moment(source["until"]) >= last


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@_fact(Kind.FLAG, _LEDGER)
def ledger_timestamped(counted: Tally) -> Value:
    """A timestamp authority vouches for the last day of each log of the ledger."""
    heads = counted.head["population"]["ledgers"]
    return bool(heads) and all(head["signed"] for head in heads)


@_fact(Kind.FLAG, _LEDGER)
def ledger_key_apart(counted: Tally) -> Value:
    """No key that signs a ledger signed evidence."""
    heads = counted.head["population"]["ledgers"]
    signers = {head["signer"] for head in heads}
    return bool(heads) and None not in signers and not signers & counted.signers


# artifacts and evidence


@_fact(Kind.COUNT, _PROVENANCE)
def artifacts(counted: Tally) -> Value:
    """Artifacts of the finished runs."""
    return counted.artifacts


@_fact(Kind.PERCENT, _PROVENANCE)
def artifacts_attested(counted: Tally) -> Value:
    """The share of artifacts that verified provenance names."""
    return _percent(counted.attested, counted.artifacts)


@_fact(Kind.PERCENT, _PROVENANCE)
def artifacts_with_source(counted: Tally) -> Value:
    """The share of artifacts whose verified provenance names repository and commit."""
    return _percent(counted.with_source, counted.artifacts)


@_fact(Kind.PERCENT, _PROVENANCE)
def artifacts_with_builder(counted: Tally) -> Value:
    """The share of artifacts whose verified provenance names the builder."""
    return _percent(counted.with_builder, counted.artifacts)


@_fact(Kind.COUNT, _AGAIN)
def attestations(counted: Tally) -> Value:
    """Attestations that verified at the report time."""
    return counted.verified


@_fact(Kind.COUNT, _NOT_USED)
def unknown_signers(counted: Tally) -> Value:
    """Pieces of evidence that nobody trusted signed."""
    return counted.unknown_signer


@_fact(Kind.PERCENT, _AGAIN)
def attestations_timed(counted: Tally) -> Value:
    """The share of verified attestations whose time somebody else vouches for."""
    return _percent(counted.timed, counted.verified)


@_fact(Kind.PERCENT, _AGAIN)
def attestations_logged(counted: Tally) -> Value:
    """The share of verified attestations with a verified entry of a transparency log."""
    return _percent(counted.logged, counted.verified)


@_fact(Kind.PERCENT, _AGAIN)
def attestations_stored(counted: Tally) -> Value:
    """The share of verified attestations that were found in a store."""
    return _percent(counted.stored, counted.verified)


@_fact(Kind.PERCENT, _AGAIN)
def attestations_in_two_stores(counted: Tally) -> Value:
    """The share of verified attestations that were found in two stores."""
    return _percent(counted.stored_twice, counted.verified)


# keys, configuration, exemptions


@_fact(Kind.COUNT, _AGAIN)
def signing_keys(counted: Tally) -> Value:
    """Keys and identities that signed evidence that verified."""
    return len(counted.signers)


@_fact(Kind.FLAG, _AGAIN)
def signers_trusted(counted: Tally) -> Value:
    """Each key and identity that signed evidence is listed, and is trusted at the report time."""
    if _may_fit_expression(counted.head):
        return None
    trusted = {key["signer"] for key in counted.head["keys"] if key["trusted"]}
    return bool(counted.signers) and counted.signers <= trusted - _revoked(counted.head)


@_fact(Kind.COUNT, _AGAIN)
def revoked_keys_used(counted: Tally) -> Value:
    """Keys and identities that are revoked at the report time, and signed evidence of the report."""
    listed = counted.head["revocations"]
    if listed is not None and len(listed) >= MOST_REVOCATIONS:
        return None  # the report does not have all entries
    if _may_fit_expression(counted.head):
        return None
    revoked = _revoked(counted.head)
    return sum(key["signer"] in revoked and key["attestations"] > 0 for key in counted.head["keys"])


def _revoked(head: Head) -> set[str]:
    """Return the signers that a key set or a list revokes; evidence of the time before may still count."""
    at = _moment(head["scope"]["at"])
    return {key["signer"] for key in head["keys"] if key["status"] == "revoked"} | {
        one["value"]
        for one in head["revocations"] or ()
        if one["kind"] in {"key", "identity"} and (one["since"] is None or _moment(one["since"]) <= at)
    }


def _may_fit_expression(head: Head) -> bool:
    """Whether a list revokes identities by an expression that a certificate of the report may fit.

    A report has the expression as a person reads it, so it cannot be compared here.
    """
    used = any(key["kind"] == "certificate" and key["attestations"] > 0 for key in head["keys"])
    return used and any(
        one["kind"] == "identity" and (one["value"].startswith(_FITS) or f"(issuer {_FITS}" in one["value"])
        for one in head["revocations"] or ()
    )


@_fact(Kind.FLAG, _CHECK)
def keys_outside_files(counted: Tally) -> Value:
    """A key service or device holds each key that signed evidence, or it is the key of a certificate.

    Not known of a key that is given as a file: the file does not say where the private key is.
    """
    # the key of a certificate lives in a process, for as long as its signature takes
    kept = {key["signer"] for key in counted.head["keys"] if key["kind"] == "certificate" or key["custody"]}
    return True if counted.signers and counted.signers <= kept else None


@_fact(Kind.FLAG, _AGAIN)
def keys_described(counted: Tally) -> Value:
    """The algorithm of each signing key is known, and either the time in which it counts or its identity."""
    keys = {key["signer"]: key for key in counted.head["keys"]}
    found = [keys.get(signer) for signer in counted.signers]
    return bool(found) and all(
        key is not None
        and (key["kind"] == "certificate" or bool(key["algorithm"] and (key["notBefore"] or key["notAfter"])))
        for key in found
    )


@_fact(Kind.FLAG, _ENTRIES)
def key_changes_recorded(counted: Tally) -> Value:
    """A ledger records which keys came into force; each of these entries is in a signed day."""
    changes = counted.head["keyChanges"]
    return None if changes is None else bool(changes) and all(change["signed"] for change in changes)


@_fact(Kind.FLAG, _ENTRIES)
def configuration_recorded(counted: Tally) -> Value:
    """A ledger records which configurations came into force; each of these entries is in a signed day."""
    changes = counted.head["configuration"]
    return None if changes is None else bool(changes) and all(change["signed"] for change in changes)


@_fact(Kind.COUNT, _CHECK)
def policies(counted: Tally) -> Value:
    """Policies that the images of the runs had to pass, too."""
    return len(counted.head["scope"]["policies"])


@_fact(Kind.COUNT, _CHECK)
def exemptions_without_approver(counted: Tally) -> Value:
    """Exemptions of which nobody is named as approver."""
    exemptions = counted.head["exemptions"]
    return None if exemptions is None else sum(not one["approver"] for one in exemptions)


@_fact(Kind.COUNT, _CHECK)
def exemptions_without_end(counted: Tally) -> Value:
    """Exemptions that never end."""
    exemptions = counted.head["exemptions"]
    return None if exemptions is None else sum(one["until"] is None for one in exemptions)


@_fact(Kind.COUNT, _ENTRIES)
def dispositions_without_reason(counted: Tally) -> Value:
    """Deletions of evidence without a reason, or without the one who did it."""
    found = counted.head["dispositions"]
    return None if found is None else sum(not (one["reason"] and one["by"]) for one in found)
