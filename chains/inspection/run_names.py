"""Names of the children of a run without the run's own name, which is another one each time."""

from __future__ import annotations

from itertools import takewhile

from chains.inspection.facts import Facts

STEP_OF = "step of "
"""Before the name of a TaskRun, for a result of one of its steps."""


def own_name(facts: Facts) -> str:
    """Return the name of the run; where no statement says it, what the names in its results begin with."""
    if facts.run:
        return facts.run.rpartition("/")[2].rpartition(" ")[2]
    names = {name for one in facts.results if (name := one.task.removeprefix(STEP_OF))}
    if len(names) == 1:
        return names.pop()
    parts = zip(*(name.split("-") for name in names), strict=False)
    return "-".join(one[0] for one in takewhile(lambda part: len(set(part)) == 1, parts))


def shortened(name: str, own: str) -> str:
    """Return the name of a child, or of its results, without that of the run; empty for the run itself."""
    lead = STEP_OF if name.startswith(STEP_OF) else ""
    bare = name.removeprefix(STEP_OF)
    if not own:
        return name
    if bare == own:
        return lead.removesuffix(" of ")
    return lead + bare.removeprefix(f"{own}-")
