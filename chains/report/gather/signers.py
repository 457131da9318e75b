"""Who signed the evidence of a report, who is trusted, and what is revoked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

from chains.report.document import format as form
from chains.report.document.format import maybe, text
from chains.revocation.revocations import Revocations
from chains.text import rfc3339
from chains.verify.criteria import Criteria

MOST_REVOCATIONS = 10_000
"""Entries of revocation lists in a report; the list itself is cited by its digest."""


@dataclass(slots=True)
class _Use:
    attestations: int = 0
    runs: int = 0
    first: str = ""
    last: str = ""


class Use(TypedDict):
    """What a signer was used for: the last members of :class:`chains.report.document.format.Key`."""

    attestations: int
    runs: int
    firstRun: str | None
    lastRun: str | None


class Signers:
    """Counts what each signer signed, run by run."""

    def __init__(self) -> None:
        self._used: dict[str, _Use] = {}

    def add(self, run: form.Run, attestations: Sequence[form.Attestation]) -> None:
        """Add the evidence of a run; it counts for a signer only if it was verified."""
        seen = set()
        for one in attestations:
            if one["signer"] is None or one["result"] != "verified":
                continue
            use = self._used.setdefault(one["signer"], _Use())
            use.attestations += 1
            if one["signer"] in seen:
                continue
            seen.add(one["signer"])
            use.runs += 1
            ended = run["finished"] or ""
            use.first = min(filter(None, (use.first, ended)), default="")
            use.last = max(use.last, ended)

    def used(self) -> dict[str, Use]:
        """Return what each signer was used for, by its name."""
        return {
            name: {
                "attestations": use.attestations, "runs": use.runs, "firstRun": maybe(use.first),
                "lastRun": maybe(use.last),
            }
            for name, use in self._used.items()
        }  # fmt: skip

    @staticmethod
    def nothing() -> Use:
        """Return the use of a signer who signed nothing."""
        return {"attestations": 0, "runs": 0, "firstRun": None, "lastRun": None}

    def all(self, criteria: Criteria, custody: Mapping[str, str]) -> list[form.Key]:
        """Return every signer that is trusted or was used, in order of the names.

        ``custody`` has the kind of key service of each key id that a service answered for.
        """
        found = {key.keyid: _of_key(key.keyid, key.algorithm, criteria) for key in criteria.keys}
        for name in self._used:
            found.setdefault(name, _key(name, "certificate"))
        for name, use in self.used().items():
            one = found[name]
            one["attestations"], one["runs"] = use["attestations"], use["runs"]
            one["firstRun"], one["lastRun"] = use["firstRun"], use["lastRun"]
        for name, kind in custody.items():
            if name in found:
                found[name]["custody"] = text(kind)
        return [found[name] for name in sorted(found)]


def _of_key(keyid: str, algorithm: str, criteria: Criteria) -> form.Key:
    made = _key(keyid, "key")
    made["algorithm"] = algorithm
    listed = criteria.windows.get(keyid)
    if listed is not None:
        made["status"] = listed.status.value
        made["notBefore"] = rfc3339(listed.not_before) if listed.not_before else None
        made["notAfter"] = rfc3339(listed.not_after) if listed.not_after else None
    return made


def _key(name: str, kind: str) -> form.Key:
    return {
        "signer": text(name), "kind": "key" if kind == "key" else "certificate", "algorithm": None,
        "custody": None, "status": None, "notBefore": None, "notAfter": None, "trusted": True,
        "attestations": 0, "runs": 0, "firstRun": None, "lastRun": None,
    }  # fmt: skip


def criteria_of(criteria: Criteria) -> form.Criteria:
    """Return what evidence had to satisfy."""
    certificate = [str(criteria.certificate)] if criteria.certificate else []
    return {
        "signers": [text(one) for one in (*sorted(key.keyid for key in criteria.keys), *certificate)],
        "predicateTypes": sorted(map(text, criteria.wanted_types)),
        "builderId": maybe(criteria.builder_id),
        "buildType": maybe(criteria.build_type),
        "require": list(criteria.required),
    }


def revocations_of(revocations: Revocations | None) -> list[form.Revocation] | None:
    """Return the entries of the lists that were applied, None without a list."""
    if revocations is None:
        return None
    found: list[form.Revocation] = [
        {
            "kind": one.kind.value,
            "value": text(str(one.identity) if one.identity else one.value),
            "since": rfc3339(one.since) if one.since else None,
            "reason": text(one.reason),
            "list": each.digest,
        }
        for each in revocations.lists
        for one in each.entries
    ]
    return found[:MOST_REVOCATIONS]
