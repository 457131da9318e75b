"""Controls, and the appendix of a report: figures of operation, what is cited, how it is checked."""

from __future__ import annotations

from chains.report.document.format import Control, Head
from chains.report.forms.model import Cell, Pairs, Part, Section, Words, grid


def controls(head: Head) -> Section:
    """Return what the facts of the report show for controls, a table for each framework."""
    parts: list[Part] = [
        Words(
            "What the facts of this report show for controls, by control maps. A state falls by data: what "
            "is not in the report evidences nothing."
        )
    ]
    frameworks: dict[str, list[Control]] = {}
    for one in head["controls"]:
        frameworks.setdefault(f"{one['framework']} {one['version']}", []).append(one)
    for name, found in frameworks.items():
        parts.append(
            grid(
                name,
                ("control", "in our words", "state", "why", "not in this report"),
                (
                    [one["id"], one["title"], one["state"], one["reason"], one["missing"] or "nothing"]
                    for one in found
                ),
                state=2,
            )
        )
    return Section("controls", "Controls", parts)


def figures(head: Head) -> Section:
    """Return the figures of operation, each with its limit."""
    parts: list[Part] = [
        Words(
            "Figures from the runs' own data, each with what it does not say. Null is not known, never zero."
        )
    ]
    for one in head["figures"]:
        parts += [
            Words(f"{one['title']}. From {one['basis']}. Known of {one['known']:,} of {one['of']:,} runs."),
            grid(
                one["title"],
                ("figure", "value", "unit"),
                ([each["name"], number(each["value"]), each["unit"]] for each in one["values"]),
            ),
        ]
        if one["table"]["rows"]:
            parts.append(
                grid(
                    f"{one['title']}, in detail",
                    one["table"]["columns"],
                    ([number(each) for each in row] for row in one["table"]["rows"]),
                )
            )
        parts.append(Words(f"Limit: {one['limit']}"))
    return Section("figures", "Appendix: figures of operation", parts, is_appendix=True)


def cited(head: Head) -> Section:
    """Return everything that the report rests on, by digest."""
    return Section(
        "cited",
        "Appendix: what this report rests on",
        [
            Words(
                "The attestations are in report.json and attestations.csv, each with the digest of its bytes."
            ),
            grid(
                "Cited by digest",
                ("what", "name", "digest"),
                ([one["what"], one["name"], one["digest"]] for one in head["cited"]),
                code=[1, 2],
            ),
        ],
        is_appendix=True,
    )


def repeat() -> Section:
    """Return the commands that check the report."""
    commands: list[tuple[str, Cell]] = [
        ("Are these the files that were signed?", "chains verify FOLDER --key PUB"),
        (
            "Does every count hold, against sources and stores?",
            "chains report check FOLDER --runs … --store … --key PUB",
        ),
        ("Are the files whole?", "sha256sum -c SHA256SUMS"),
    ]
    return Section(
        "repeat",
        "Appendix: check it yourself",
        [Pairs(commands, frozenset(name for name, _ in commands))],
        is_appendix=True,
    )


def number(value: int | str | None) -> Cell:
    """Return a value as the text of a cell."""
    return value if value is None or isinstance(value, str) else f"{value:,}"
