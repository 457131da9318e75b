"""Queries made at random, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from chains.index.query.terms import Key
from chains.index.query.values import RESULTS, TYPES, VERDICTS
from chains.isolation.finding import LEVELS
from chains.statements.attributes import RunOutcome

_HEX = st.text("0123456789abcdefABCDEF", min_size=12, max_size=64)
_UUIDS = st.uuids().map(str)
_TIMES = st.one_of(
    st.dates().filter(lambda day: 1970 <= day.year <= 9998).map(lambda day: day.isoformat()),
    st.integers(1970, 9998).map(lambda year: f"{year}-10"),
    st.datetimes().filter(lambda at: 1970 <= at.year <= 9998).map(lambda at: f"{at:%Y}-10-01T{at:%H:%M:%S}Z"),
)
_WORDS = st.text(st.characters(exclude_categories=()), min_size=1, max_size=20)
_HOSTILE = st.sampled_from(
    (
        "'; DROP TABLE run; --",
        '" OR 1=1',
        "%",
        "_",
        "\x00",
        "\ud800",
        "\u202e",
        "a\\",
        '\\"',
        "𐀀\U0010ffff",
        "-",
    )
)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_FREE = st.builds(lambda text, star: _quoted(text) + star, _WORDS | _HOSTILE, st.sampled_from(("", "*")))
_VALUES: dict[Key, st.SearchStrategy[str]] = {
    Key.HASH: _HEX,
    Key.DIGEST: _HEX
    | st.text("0123456789abcdef", min_size=64, max_size=64).map(lambda text: f"sha256:{text}"),
    Key.COMMIT: _HEX,
    Key.RUN: _UUIDS | st.sampled_from(("build-1", "shop/build-*", "taskrun/shop/build-1", '"a b"')),
    Key.TYPE: st.sampled_from((*TYPES, "https://example.com/v1", "https://*")),
    Key.LEVEL: st.sampled_from(LEVELS),
    Key.VERDICT: st.sampled_from(VERDICTS),
    Key.OUTCOME: st.sampled_from(tuple(RunOutcome)),
    Key.POLICY: _FREE | _HEX.map(lambda text: f"sha256:{text}"),
    Key.RESULT: st.sampled_from(RESULTS),
    Key.FROM: _TIMES,
    Key.TO: _TIMES,
    Key.LAST: st.builds(lambda number, unit: f"{number}{unit}", st.integers(1, 999), st.sampled_from("mhdw")),
    Key.IMAGE: _FREE | _HEX,
    Key.INPUT: _FREE | _HEX,
    Key.STEP_IMAGE: _FREE | _HEX,
}


@st.composite
def terms(draw: st.DrawFn) -> str:
    """One term that is most likely right."""
    key = draw(st.sampled_from(Key))
    minus = "" if key in {Key.FROM, Key.TO, Key.LAST} else draw(st.sampled_from(("", "-")))
    return f"{minus}{key}:{draw(_VALUES.get(key, _FREE))}"


queries = st.lists(terms(), max_size=6)
"""Terms of a query that is most likely right. Together they may contradict each other."""
