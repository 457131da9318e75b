"""What the pages of a report say, block by block, as plain JSON values for ``report.typ``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from chains.report.charts.charts import Chart
from chains.report.document.digest import document_digest
from chains.report.document.file import Document
from chains.report.document.format import STATES, Artifact, Control, Counts, Head, Run
from chains.report.pdf.shown import pieces, shown

MOST_ROWS: Final = 1000
"""Rows of one table. What is left out is in ``report.json``, and the page says so."""
Block = dict[str, Any]
Cell = str | int | None
Rows = Iterable[Sequence[Cell]]
_CONTROL_STATES: Final = ("evidenced", "partly", "not-evidenced", "not-here")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, its share of the width, and how its cells are set.

    ``kind`` is ``text``, ``mono`` (digests and ids), ``number`` or ``state``.
    """

    title: str
    share: float = 1.0
    kind: str = "text"


def pages(document: Document, charts: Sequence[Chart]) -> dict[str, Any]:
    """Return the data of the template. The long lists are read twice.

    ``charts`` are shown as the files that :func:`chart_file` names.
    """
    head = document.head
    scope = head["scope"]
    digest = document_digest(document)
    period = f"{scope['since'] or 'the first run'} to {scope['until'] or scope['at']}"
    blocks = [
        *_summary(head),
        *_charts(charts),
        *_population(head),
        *_runs(document),
        *_artifacts(document),
        *_keys(head),
        *_exemptions(head),
        *_configuration(head),
        *_controls(head),
        *_figures(head),
        *_cited(head, digest),
        *_limits(head),
    ]
    return {
        "title": "Evidence of builds",
        "period": shown(period),
        "at": shown(scope["at"]),
        "digest": digest,
        "tool": shown(f"{scope['tool']['name']} {scope['tool']['version']}"),
        "scope": [[shown(name), pieces(value)] for name, value in _scope(head, digest)],
        "blocks": blocks,
    }


def heading(text: str, level: int = 1) -> Block:
    """Return a heading."""
    return {"kind": "heading", "level": level, "text": shown(text)}


def paragraph(text: str) -> Block:
    """Return a paragraph."""
    return {"kind": "text", "pieces": pieces(text)}


def bullets(texts: Iterable[str]) -> Iterator[Block]:
    """Yield a list, or nothing for no texts."""
    items = [pieces(text) for text in texts]
    if items:
        yield {"kind": "list", "items": items}


def table(columns: Sequence[Column], rows: Rows, none: str, total: int | None = None) -> Iterator[Block]:
    """Yield a table of at most :data:`MOST_ROWS` rows, or the sentence ``none`` for no row.

    ``total`` is the number of all rows, if more than are given may exist.
    """
    taken = list(islice(rows, MOST_ROWS + 1))
    if not taken:
        yield paragraph(none)
        return
    if len(taken) > MOST_ROWS or (total is not None and total > len(taken)):
        taken = taken[:MOST_ROWS]
        of = f" of {total:,}" if total is not None else ""
        yield paragraph(f"The first {len(taken):,}{of} rows. All of them are in report.json.")
    yield {
        "kind": "table",
        "columns": [{"title": shown(one.title), "share": one.share, "kind": one.kind} for one in columns],
        "rows": [[_cell(value, one.kind) for value, one in zip(row, columns, strict=True)] for row in taken],
    }


def _cell(value: Cell, kind: str) -> str | list[str]:
    """Return a value as a cell: what is not known is said, never left empty."""
    if value is None or value == "":
        return "not known"
    if isinstance(value, int):
        return f"{value:,}"
    return shown(value) if kind in {"number", "state"} else pieces(value)


def _scope(head: Head, digest: str) -> Iterator[tuple[str, str]]:
    scope, criteria = head["scope"], head["scope"]["criteria"]
    yield "Period", f"{scope['since'] or 'the first run'} to {scope['until'] or scope['at']}"
    yield "Result at", f"{scope['at']} (from: {scope['timeSource']})"
    yield "Namespaces", ", ".join(scope["namespaces"]) or "all"
    yield "Stores", ", ".join(scope["stores"]) or "none"
    yield "Trusted signers", ", ".join(criteria["signers"]) or "none"
    demands = [*criteria["predicateTypes"], *criteria["require"]]
    demands += [one for one in (criteria["builderId"], criteria["buildType"]) if one]
    yield "Demanded besides", ", ".join(demands) or "nothing"
    yield "Policies", ", ".join(f"{one['name']} {one['digest']}" for one in scope["policies"]) or "none"
    yield "Configuration", scope["configuration"] or "none was given"
    yield "Made by", f"{scope['tool']['name']} {scope['tool']['version']}, digest {scope['tool']['digest']}"
    yield "Digest of report.json", f"sha256:{digest}"


def _summary(head: Head) -> Iterator[Block]:
    counts, coverage = head["counts"], head["coverage"]
    yield heading("Summary")
    yield {"kind": "lead", "lines": [pieces(line) for line in head["summary"]]}
    yield {
        "kind": "numbers",
        "items": [
            {"number": shown(coverage["text"] if coverage else "none"), "label": "coverage"},
            {"number": f"{head['population']['finished']:,}", "label": "finished runs"},
            {"number": f"{counts['evidenced']:,}", "label": "evidenced"},
            {
                "number": f"{counts['failed'] + counts['missing'] + counts['unattestable']:,}",
                "label": "without evidence",
            },
            {"number": f"{counts['unknown']:,}", "label": "unknown"},
        ],
    }
    yield from bullets(head["population"]["undecided"])
    yield heading("By namespace", 2)
    columns = [Column("Namespace", 2.4), *(Column(state, 1, "number") for state in STATES)]
    rows: Rows = ([one["namespace"], *_states(one["counts"])] for one in head["namespaces"])
    yield from table(columns, rows, "There is no run.")


def _states(counts: Counts) -> list[int]:
    return [counts[state] for state in STATES]


def chart_file(chart: Chart) -> str:
    """Return the name of a chart's picture for the template."""
    return f"chart-{chart.id}.svg"


def _charts(charts: Sequence[Chart]) -> Iterator[Block]:
    yield heading("Charts")
    for chart in charts:
        yield heading(chart.title, 2)
        yield {"kind": "figure", "file": chart_file(chart), "text": shown(chart.description)}
        if chart.note:
            yield paragraph(chart.note)
        columns = [Column(name) for name in chart.header]
        yield from table(columns, chart.rows, "")


def _population(head: Head) -> Iterator[Block]:
    population = head["population"]
    yield heading("Population and completeness")
    yield paragraph(
        f"{population['runs']:,} runs of the period are known; of {population['finished']:,} evidence is "
        f"demanded. Digest of their UIDs: {population['digest']}"
    )
    yield heading("Sources of runs", 2)
    for source in population["sources"]:
        yield {
            "kind": "facts",
            "rows": [
                ["Source", pieces(source["name"])],
                ["Shows", pieces(source["shows"])],
                ["Cannot show", pieces(source["cannotShow"])],
                ["Time", pieces(f"{source['since'] or 'not known'} to {source['until'] or 'not known'}")],
                ["Runs", pieces(f"{source['runs']:,}, finished {source['finished']:,}")],
                ["Asked by", pieces(source["query"] or "not known")],
            ],
        }
        yield from bullets((*source["problems"], *source["notes"]))
    if not population["sources"]:
        yield paragraph("There is no source of runs.")
    yield heading("Ledgers", 2)
    columns = [
        Column("Log", 1.2), Column("Signed up to", 1.1), Column("Days", 0.7, "number"),
        Column("Not verified", 0.8, "number"), Column("Not closed", 0.8, "number"),
        Column("Size", 0.8, "number"), Column("Root", 2, "mono"), Column("Signer", 2, "mono"),
    ]  # fmt: skip
    rows = (
        [
            one["log"], f"{one['firstDay']} to {one['day']}", one["days"], one["notVerified"],
            one["notClosed"], one["size"], one["root"], one["signer"],
        ]
        for one in population["ledgers"]
    )  # fmt: skip
    yield from table(columns, rows, "No ledger was given.")
    yield heading("Gaps that no source closes", 2)
    gaps = ([one["source"], one["since"], one["until"], one["reason"]] for one in population["gaps"])
    columns = [Column("Source", 2), Column("From", 1.4), Column("To", 1.4), Column("Reason", 3)]
    yield from table(columns, gaps, "There is none.")
    yield heading("Differences between sources", 2)
    differences = (
        [one["run"], one["what"], f"{one['first']}: {one['said']}", f"{one['second']}: {one['contradicted']}"]
        for one in population["differences"]
    )
    columns = [Column("Run", 2), Column("What", 1), Column("One side", 2), Column("Other side", 2)]
    known = len(population["differences"])
    yield from table(columns, differences, "There is none.", known + population["furtherDifferences"])
    yield heading("Evidence whose run no source knows", 2)
    strays = (
        [one["run"], one["store"], one["verdict"], "yes" if one["shouldBeKnown"] else "no"]
        for one in population["evidenceWithoutRun"]
    )
    columns = [
        Column("Run", 2),
        Column("Store", 2),
        Column("Verdict", 1),
        Column("A source should know it", 1),
    ]
    yield from table(columns, strays, "There is none.")
    yield heading("Images in use without a run", 2)
    images = ([one["image"], one["reason"], one["words"]] for one in population["imagesWithoutRun"])
    asked = population["imagesAsked"]
    none = f"None of {asked:,} images." if asked else "No images were asked about."
    yield from table([Column("Image", 3, "mono"), Column("Reason", 1.2), Column("In words", 2)], images, none)
    compared = ([one["name"], one["says"]] for one in population["compared"])
    yield heading("Independent numbers", 2)
    yield from table([Column("Number", 2), Column("It says", 3)], compared, "None was given.")
    yield from bullets((*population["problems"], *population["notes"]))


def _runs(document: Document) -> Iterator[Block]:
    counts = document.head["counts"]
    yield heading("Runs without evidence")
    total = sum(counts[state] for state in STATES if state != "evidenced")
    columns = [
        Column("Run", 2.4), Column("Ended", 1.3), Column("State", 1.1, "state"), Column("Reason", 1.3),
        Column("In words", 2.6),
    ]  # fmt: skip
    rows = (_run(run) for run in document.runs() if run["state"] != "evidenced")
    yield from table(columns, rows, "Every run of the period is evidenced, or there is none.", total)


def _run(run: Run) -> list[Cell]:
    name = f"{run['kind'].lower()}/{run['namespace']}/{run['name']}"
    return [name, run["finished"], run["state"], run["reason"], run["words"]]


def _artifacts(document: Document) -> Iterator[Block]:
    yield heading("Artifacts")
    columns = [
        Column("Artifact", 2.3), Column("Digest", 2.4, "mono"), Column("Source and commit", 2.2),
        Column("Builder", 1.6), Column("Level", 0.9), Column("Hermetic", 0.9), Column("Result", 1, "state"),
    ]  # fmt: skip
    yield from table(
        columns,
        map(_artifact, document.artifacts()),
        "The runs of the period made no artifact that is known.",
    )


def _artifact(one: Artifact) -> list[Cell]:
    source = " ".join(filter(None, (one["source"], one["commit"])))
    result = one["state"] if one["attested"] else f"claim, {one['state']}"
    return [one["name"], one["digest"], source, one["builder"], one["buildLevel"], one["hermetic"], result]


def _keys(head: Head) -> Iterator[Block]:
    yield heading("Keys and identities")
    columns = [
        Column("Signer", 2.2, "mono"), Column("Kind", 1), Column("Held by", 0.9), Column("Status", 0.9),
        Column("Valid", 1.6), Column("Signed", 0.8, "number"), Column("First and last run", 1.7),
    ]  # fmt: skip
    keys = (
        [
            one["signer"], " ".join(filter(None, (one["kind"], one["algorithm"]))), one["custody"],
            one["status"], f"{one['notBefore'] or 'open'} to {one['notAfter'] or 'open'}",
            one["attestations"],
            " ".join(filter(None, (one["firstRun"], one["lastRun"]))) or "none",
        ]
        for one in head["keys"]
    )  # fmt: skip
    yield from table(columns, keys, "Nobody is trusted.")
    yield heading("Rotations", 2)
    yield from _known(
        head["keyChanges"],
        [Column("At", 1.2), Column("Signers", 3, "mono"), Column("In a signed day", 0.8)],
        lambda one: [one["at"], ", ".join(one["signers"]), "yes" if one["signed"] else "no"],
        "The ledger has none in the period.",
        "No ledger was given, so rotations are not known.",
    )
    yield heading("Revocations that were applied", 2)
    yield from _known(
        head["revocations"],
        [Column("Kind", 0.8), Column("What", 2.4, "mono"), Column("Since", 1.2), Column("Reason", 2)],
        lambda one: [one["kind"], one["value"], one["since"] or "always", one["reason"]],
        "The list has no entry.",
        "No revocation list was given.",
    )


def _known(
    found: Sequence[Any] | None,
    columns: Sequence[Column],
    row: Callable[[Any], list[Cell]],
    none: str,
    unknown: str,
) -> Iterator[Block]:
    if found is None:
        yield paragraph(unknown)
        return
    yield from table(columns, map(row, found), none)


def _exemptions(head: Head) -> Iterator[Block]:
    yield heading("Exemptions and overrides")
    yield from _known(
        head["exemptions"],
        [
            Column("What", 2), Column("Rules", 1.4), Column("Approved by", 1.2), Column("Reason", 2),
            Column("Until", 1.3), Column("Recorded in", 0.8),
        ],
        lambda one: [
            one["what"], ", ".join(one["rules"]) or "all", one["approver"] or "nobody is named",
            one["reason"], f"{one['until'] or 'no end'}{' (over)' if one['isOver'] else ''}", one["source"],
        ],
        "There is none.",
        "Neither a ledger nor policies were given, so exemptions are not known.",
    )  # fmt: skip
    yield heading("Deletions of evidence", 2)
    yield from _known(
        head["dispositions"],
        [Column("At", 1.2), Column("Digest", 2, "mono"), Column("By", 1.2), Column("Reason", 2)],
        lambda one: [one["at"], one["digest"], one["by"], one["reason"]],
        "The ledger has none in the period.",
        "No ledger was given, so deletions are not known.",
    )


def _configuration(head: Head) -> Iterator[Block]:
    yield heading("Changes of our own configuration")
    yield from _known(
        head["configuration"],
        [
            Column("At", 1.2), Column("Digest", 2, "mono"), Column("Keys that changed", 2.4),
            Column("In a signed day", 0.8),
        ],
        lambda one: [
            one["at"], one["digest"], ", ".join(one["changed"]) or "first seen",
            "yes" if one["signed"] else "no",
        ],
        "The ledger has none in the period.",
        "No ledger was given, so changes of the configuration are not known.",
    )  # fmt: skip


def _controls(head: Head) -> Iterator[Block]:
    yield heading("Controls")
    by_map: dict[str, list[Control]] = {}
    for control in head["controls"]:
        by_map.setdefault(control["map"], []).append(control)
    if not by_map:
        yield paragraph("No control map was used.")
        return
    yield paragraph(
        "Evidenced: everything that the control map demands holds for the whole period. Partly: some of the "
        "control is shown. Not evidenced: this report could show something, and does not. Not here: no "
        "report can show anything of it. A report is about builds alone."
    )
    columns = [Column("Framework", 4), *(Column(state, 1, "number") for state in _CONTROL_STATES)]
    rows: Rows = (
        [
            f"{controls[0]['framework']} {controls[0]['version']}",
            *(sum(one["state"] == state for one in controls) for state in _CONTROL_STATES),
        ]
        for controls in by_map.values()
    )
    yield from table(columns, rows, "")
    for controls in by_map.values():
        yield heading(f"{controls[0]['framework']} {controls[0]['version']}", 2)
        columns = [
            Column("Control", 1.2), Column("It asks for", 2), Column("State", 1.1, "state"),
            Column("Why", 2.4), Column("Not shown by any report", 2),
        ]  # fmt: skip
        yield from table(
            columns,
            (
                [one["id"], one["title"], one["state"], one["reason"], one["missing"] or "nothing is named"]
                for one in controls
            ),
            "",
        )


def _figures(head: Head) -> Iterator[Block]:
    yield heading("Figures of operation")
    if not head["figures"]:
        yield paragraph("There are none.")
    for figure in head["figures"]:
        yield heading(figure["title"], 2)
        yield paragraph(
            f"From: {figure['basis']}. Known of {figure['known']:,} of {figure['of']:,} runs. "
            f"Limit: {figure['limit']}."
        )
        values = (
            [one["name"], one["value"] if one["value"] is None else str(one["value"]), one["unit"]]
            for one in figure["values"]
        )
        columns = [Column("Figure", 3), Column("Value", 1, "number"), Column("Unit", 1)]
        yield from table(columns, values, "Nothing is known.")
        if figure["table"]["rows"]:
            names = [Column(name, 1) for name in figure["table"]["columns"]]
            yield from table(names, ([_plain(cell) for cell in row] for row in figure["table"]["rows"]), "")


def _plain(value: int | str | None) -> Cell:
    return value


def _cited(head: Head, digest: str) -> Iterator[Block]:
    yield heading("Digests of what the report rests on")
    yield paragraph(
        "The digest of each attestation is in report.json, whose own digest stands on the first page."
    )
    rows = ([one["what"], one["name"], one["digest"]] for one in head["cited"])
    columns = [Column("What", 1.2), Column("Name", 2), Column("Digest", 3, "mono")]
    yield from table(columns, [("report", "report.json", f"sha256:{digest}"), *rows], "")


def _limits(head: Head) -> Iterator[Block]:
    yield heading("What is not known")
    rows = ([one["what"], one["why"]] for one in head["unknown"])
    yield from table([Column("What", 2), Column("Why", 3)], rows, "Nothing that the report has a place for.")
    yield heading("What this report does not cover")
    yield from bullets(head["limits"])
    yield paragraph(
        "Characters that the fonts of this page do not have, and invisible ones, are written as escapes such "
        "as \\u202e. The text itself is in report.json."
    )
