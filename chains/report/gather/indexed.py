"""What an index adds to a report: SLSA levels of verified summaries, and an independent count of runs.

An index says what was confirmed when it was read. So it never decides what became of a run; the audit does.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime

from chains.audit.compare import Period
from chains.index.codes import digest_text, original
from chains.index.database import place_of
from chains.index.query.reader import Reader, reading
from chains.index.query.sql import Bound, Sql
from chains.text import count, rfc3339

_LEVELS = Sql(
    "SELECT t.text, s.digest, m.levels FROM summary AS m JOIN attestation AS a ON a.id = m.attestation "
    "JOIN subject AS s ON s.attestation = a.id JOIN term AS t ON t.id = s.algorithm "
    "WHERE a.verdict = 0 AND m.passed"
)
_BUILD = "SLSA_BUILD_LEVEL_"
_BUILD_SECONDS = 300.0


def ask_index(name: str, period: Period) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the highest SLSA build level by ``algorithm:hex`` of an artifact, and what the index counts.

    Raises :class:`chains.index.errors.IndexAbsent`, :class:`~chains.index.errors.IndexUnavailable` and
    :class:`UsageError`.
    """
    place = place_of(name)
    with reading(place, _BUILD_SECONDS) as reader:
        found: defaultdict[str, set[str]] = defaultdict(set)
        for algorithm, digest, levels in reader.rows(_LEVELS):
            named = {one for one in str(levels).split() if one.startswith(_BUILD)}
            found[f"{original(algorithm)}:{digest_text(bytes(digest))}"] |= named
        says = [(f"index ({place})", _counted(reader, period))]
    return {digest: max(levels) for digest, levels in found.items() if levels}, says


def _counted(reader: Reader, period: Period) -> str:
    """Return how many runs of a period the index knows verified evidence of, and when it was read."""
    where, bound = "verdict = 0", list[Bound]()
    for moment, sign in ((period.since, ">="), (period.until, "<")):
        if moment is not None:
            where += f" AND finished {sign} ?"
            bound.append(int(moment.timestamp()))
    number = reader.rows(Sql(f"SELECT count(*) FROM run WHERE {where}", tuple(bound)))[0][0]  # noqa: S608
    updated = [row[0] for row in reader.rows(Sql("SELECT updated FROM store"))]
    when = "its stores were not read to the end"
    if updated and all(updated):
        when = f"its stores were last read at {rfc3339(datetime.fromtimestamp(min(updated), UTC))}"
    return f"{count(int(number), 'run')} of the period with evidence that was confirmed; {when}"
