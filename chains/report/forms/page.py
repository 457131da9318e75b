"""From the document of a report to the page that people read."""

from __future__ import annotations

from chains.report.charts.charts import charts_of
from chains.report.document.file import Document
from chains.report.document.format import STATES, Head
from chains.report.forms.appendix import cited, controls, figures, repeat
from chains.report.forms.evidence import artifact_grid, run_grid
from chains.report.forms.model import (
    MOST_ROWS,
    Bullets,
    Cell,
    Grid,
    Page,
    Pairs,
    Part,
    Picture,
    Section,
    Words,
    grid,
    yes,
)
from chains.report.forms.population import population

_VERDICTS = {
    0: ("Every finished run has evidence that verifies", "yes"),
    1: ("Not every finished run has evidence that verifies", "no"),
    4: ("It could not be decided", "unsure"),
}
_AS_KNOWN = "Every finished run that the sources know has evidence that verifies"
"""The answer where no ledger was given: nobody vouches that the sources know every run."""
_NO_LEDGER = "Not known: they are in a ledger, and none was given."


def page_of(document: Document) -> Page:
    """Return the page of a report."""
    head = document.head
    scope = head["scope"]
    verdict, mark = _VERDICTS.get(head["exitCode"], _VERDICTS[4])
    if mark == "yes" and not head["population"]["ledgers"]:
        verdict = _AS_KNOWN
    since, until = (_short(scope[name]) for name in ("since", "until"))
    return Page(
        title="Provenance report",
        period=f"Runs that ended from {since or 'the beginning'} and before {until or scope['at']} (UTC)",
        verdict=verdict,
        mark=mark,
        coverage=head["coverage"]["text"] if head["coverage"] else None,
        tiles=[(state, head["counts"][state]) for state in STATES],
        summary=head["summary"],
        sections=[
            _scope(head),
            population(head),
            Section("coverage", "Coverage and charts", [*_charts(document), _namespaces(head)]),
            Section("runs", "Runs without evidence", run_grid(document, MOST_ROWS)),
            Section("artifacts", "Artifacts", artifact_grid(document, MOST_ROWS)),
            _keys(head),
            _exceptions(head),
            _changes(head),
            *([controls(head)] if head["controls"] else []),
            _unknown(head),
            Section("limits", "What this report does not cover", [Bullets(head["limits"])]),
            figures(head),
            cited(head),
            repeat(),
        ],
    )


def _short(moment: str | None) -> str:
    """Return a time, the day alone for midnight."""
    return (moment or "").removesuffix("T00:00:00Z")


def _unknown(head: Head) -> Section:
    rows = ([one["what"], one["why"]] for one in head["unknown"])
    title = "What is not known"
    return Section("unknown", title, [grid(title, ("what", "why"), rows)])


def _scope(head: Head) -> Section:
    scope, tool, criteria = head["scope"], head["scope"]["tool"], head["scope"]["criteria"]
    source = {
        "clock": "the clock of the machine that made the report",
        "option": "given by whoever made the report; signatures were judged as of this time",
        "SOURCE_DATE_EPOCH": "given by SOURCE_DATE_EPOCH; signatures were judged as of this time",
    }[scope["timeSource"]]
    pairs: list[tuple[str, Cell]] = [
        ("Report time", scope["at"]),
        ("Source of the report time", source),
        ("From", scope["since"] or "open: from the first run that a source knows"),
        ("To", scope["until"] or "open: up to the report time"),
        ("Namespaces", ", ".join(scope["namespaces"]) or "all that the sources have"),
        ("Stores", ", ".join(scope["stores"])),
        ("Trusted signers", ", ".join(criteria["signers"])),
        ("Predicate types", ", ".join(criteria["predicateTypes"])),
        ("Builder", criteria["builderId"] or "any"),
        ("Build type", criteria["buildType"] or "any"),
        ("Demanded besides", ", ".join(criteria["require"]) or "nothing"),
        (
            "Policies",
            ", ".join(f"{one['name']} ({one['digest']})" for one in scope["policies"]) or "none were asked",
        ),
        ("Configuration", scope["configuration"] or "none was given"),
        ("Program", f"{tool['name']} {tool['version']}"),
        ("Digest of the program", tool["digest"]),
    ]
    code = frozenset({"Stores", "Trusted signers", "Configuration", "Digest of the program"})
    return Section("scope", "Scope", [Pairs(pairs, code)])


def _charts(document: Document) -> list[Picture]:
    return [Picture(one) for one in charts_of(document)]


def _namespaces(head: Head) -> Grid:
    return grid(
        "Runs by namespace, the worst first",
        ("namespace", *STATES),
        (
            [one["namespace"] or "(none)", *(f"{one['counts'][state]:,}" for state in STATES)]
            for one in head["namespaces"]
        ),
    )


def _keys(head: Head) -> Section:
    parts: list[Part] = [
        grid(
            "Keys and identities",
            (
                "signer", "kind", "algorithm", "held by", "status", "not before", "not after", "attestations",
                "runs", "first run", "last run",
            ),
            (
                [
                    one["signer"], one["kind"], one["algorithm"], one["custody"], one["status"],
                    one["notBefore"], one["notAfter"], f"{one['attestations']:,}", f"{one['runs']:,}",
                    one["firstRun"] if one["runs"] else "none", one["lastRun"] if one["runs"] else "none",
                ]
                for one in head["keys"]
            ),
            code=[0],
        )
    ]  # fmt: skip
    changes = head["keyChanges"]
    parts.append(
        Words(f"Rotations. {_NO_LEDGER}")
        if changes is None
        else grid(
            "Rotations: signers that came into force in the period",
            ("at", "signers", "ledger's key", "in a signed day"),
            ([one["at"], ", ".join(one["signers"]), one["ledger"], yes(one["signed"])] for one in changes),
            code=[1, 2],
        )
    )
    revoked = head["revocations"]
    parts.append(
        Words("Revocations. Not known: no revocation list was given.")
        if revoked is None
        else grid(
            "Revocations that were applied",
            ("kind", "what", "since", "reason", "list"),
            (
                [one["kind"], one["value"], one["since"] or "always", one["reason"], one["list"]]
                for one in revoked
            ),
            code=[1, 4],
        )
    )
    return Section("keys", "Keys, rotations, revocations", parts)


def _exceptions(head: Head) -> Section:
    parts: list[Part] = []
    found = head["exemptions"]
    parts.append(
        Words("Exemptions. Not known: neither a ledger nor policies were given.")
        if found is None
        else grid(
            "Exemptions and overrides",
            ("what", "rules", "approved by", "reason", "reference", "from", "until", "over", "recorded in"),
            (
                [
                    one["what"], ", ".join(one["rules"]) or "all", one["approver"], one["reason"],
                    one["reference"], one["since"], one["until"] or "no end", yes(one["isOver"]),
                    one["source"],
                ]
                for one in found
            ),
        )
    )  # fmt: skip
    deleted = head["dispositions"]
    parts.append(
        Words(f"Deleted evidence. {_NO_LEDGER}")
        if deleted is None
        else grid(
            "Evidence that was deleted, by record",
            ("at", "digest", "place", "by", "reason", "run"),
            (
                [one["at"], one["digest"], one["location"], one["by"], one["reason"], one["uid"]]
                for one in deleted
            ),
            code=[1, 2, 5],
        )
    )
    return Section("exemptions", "Exemptions, overrides, deletions", parts)


def _changes(head: Head) -> Section:
    found = head["configuration"]
    part: Part = (
        Words(_NO_LEDGER)
        if found is None
        else grid(
            "Configurations that came into force",
            ("at", "digest", "changed keys", "in a signed day"),
            (
                [one["at"], one["digest"], ", ".join(one["changed"]) or "none", yes(one["signed"])]
                for one in found
            ),
            code=[1],
        )
    )
    return Section("configuration", "Changes of the configuration", [part])
