"""The section about the population of a report, and how it was shown that no run is missing."""

from __future__ import annotations

from chains.report.document.format import Head
from chains.report.forms.model import MOST_ROWS, Bullets, Pairs, Part, Section, Words, grid, yes


def population(head: Head) -> Section:
    """Return the section about the population: sources, ledgers, gaps, differences, what is undecided."""
    found = head["population"]
    parts: list[Part] = [
        Words(
            "The population are all runs of the period that any source knows, by their UID. Each source says "
            "what it shows and what it cannot show."
        ),
        Pairs(
            [
                ("Runs of the period", f"{found['runs']:,}"),
                ("Finished runs of which evidence is demanded", f"{found['finished']:,}"),
                ("Digest of the sorted UIDs", found["digest"]),
            ],
            frozenset({"Digest of the sorted UIDs"}),
        ),
        grid(
            "Sources of runs",
            ("source", "runs", "finished", "from", "to", "shows", "cannot show", "not read"),
            (
                [
                    one["name"], f"{one['runs']:,}", f"{one['finished']:,}", one["since"], one["until"],
                    one["shows"], one["cannotShow"], "; ".join(one["problems"]) or "nothing",
                ]
                for one in found["sources"]
            ),
            code=[0],
        ),
    ]  # fmt: skip
    parts.append(
        grid(
            "Heads of the ledgers",
            (
                "log", "unbroken from", "to", "days", "entries", "root", "signer", "timestamp",
                "not verified", "not closed",
            ),
            (
                [
                    one["log"], one["firstDay"], one["day"], str(one["days"]), f"{one['size']:,}",
                    one["root"], one["signer"], one["signed"], str(one["notVerified"]), str(one["notClosed"]),
                ]
                for one in found["ledgers"]
            ),
            code=[0, 5, 6],
        )
        if found["ledgers"]
        else Words("No ledger was given, so nobody vouches that the sources know every run.")
    )  # fmt: skip
    told = found["undecided"]
    parts += [Words("What makes the answer not whole:"), Bullets(told)] if told else []
    if found["compared"]:
        parts.append(
            grid(
                "Independent numbers",
                ("from", "says"),
                ([one["name"], one["says"]] for one in found["compared"]),
            )
        )
    parts.append(
        grid(
            "Gaps that no other source closes",
            ("source", "from", "to", "why"),
            ([one["source"], one["since"], one["until"], one["reason"]] for one in found["gaps"]),
        )
    )
    further = (
        f" {found['furtherDifferences']} further ones are not listed." if found["furtherDifferences"] else ""
    )
    parts.append(
        grid(
            f"Where sources contradict each other.{further}",
            ("run", "UID", "what", "one says", "the other says"),
            (
                [
                    one["run"], one["uid"], one["what"], f"{one['first']}: {one['said']}",
                    f"{one['second']}: {one['contradicted']}",
                ]
                for one in found["differences"]
            ),
            code=[1],
        )
    )  # fmt: skip
    parts.append(
        grid(
            "Evidence whose run no source knows",
            ("run", "UID", "finished", "store", "verdict", "a source should know it"),
            (
                [
                    one["run"],
                    one["uid"],
                    one["finished"],
                    one["store"],
                    one["verdict"],
                    yes(one["shouldBeKnown"]),
                ]
                for one in found["evidenceWithoutRun"]
            ),
            code=[1, 3],
        )
    )  # fmt: skip
    if found["imagesAsked"]:
        parts.append(
            grid(
                f"Images in use without a known run, of {found['imagesAsked']} that were asked about",
                ("image", "reason", "words", "where"),
                (
                    [one["image"], one["reason"], one["words"], ", ".join(one["where"])]
                    for one in found["imagesWithoutRun"]
                ),
                code=[0],
            )
        )
    for title, told in (("What had no answer", found["problems"]), ("Notes", found["notes"])):
        if told:
            parts += [Words(f"{title}:"), Bullets(told[:MOST_ROWS])]
    return Section("population", "Population, and how it was shown to be whole", parts)
