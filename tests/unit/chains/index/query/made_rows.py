"""Rows made at random from few words, so that queries with these words find some. Many of the words are hostile."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from hypothesis import strategies as st

from chains.index.codes import Kind, Level, Outcome, Role, Verdict
from chains.index.query.terms import Key
from chains.index.query.values import RESULTS, VERDICTS
from tests.unit.chains.index.query.index import Row, Run, Summary

NAMES = (
    "shop",
    "shop-2",
    "Shop",
    "registry.example/team/shop",
    "registry.example/team/SHOP",
    "https://git.example/shop",
    "x' OR '1'='1",
    "'; DROP TABLE run; --",
    '"quoted" \\ text',
    "per%cent_and_",
    "?",
    "%s {column} {0}",
    "nul\x00inside",
    "lone\ud800surrogate",
    "\u202egnp.exe",
    "\x1b[31mred",
    "a\U0010ffff",
    "\U0010ffff\U0010ffff",
    "a\ud7ff",
    "=cmd|'/c calc'!A0",
    "…",
)
"""Words for every text of a row and of a query."""
HEX = tuple(hashlib.sha256(str(number).encode()).hexdigest() for number in range(3))
_SHARED = HEX[0][:20]
DIGESTS = (*HEX, _SHARED + HEX[1][20:], _SHARED + HEX[2][20:], "ff" * 32, "ff" * 31 + "fe")
"""SHA-256 of which some have a common beginning."""
COMMITS = (HEX[0][:40], HEX[1][:40], HEX[1][:7] + HEX[2][7:40])
SIGNERS = (
    "SHA256:key",
    "alice@example.com (issuer https://issuer.example)",
    "alice@example.com (issuer x)",
    *NAMES,
)
TYPES = (
    "https://slsa.dev/provenance/v1",
    "https://slsa.dev/provenance/v0.2",
    "https://slsa.dev/verification_summary/v1",
)
NAMESPACES = ("shop", "dev", "x' OR '1'='1", "")
FIRST = 1_790_000_000
_name = st.sampled_from(NAMES)
_maybe = st.sampled_from(("", *NAMES[:8]))
_time = st.integers(0, 5).map(lambda days: FIRST + 86_400 * days)
_sha256 = st.sampled_from(DIGESTS).map(lambda digest: f"sha256:{digest}")
_commit = st.builds(
    lambda algorithm, commit: f"{algorithm}:{commit}",
    st.sampled_from(("gitCommit", "sha1")),
    st.sampled_from(COMMITS),
)
_runs = st.builds(
    Run,
    uid=st.integers(0, 5).map(lambda number: f"00000000-0000-4000-8000-00000000000{number}"),
    namespace=st.sampled_from(NAMESPACES),
    name=_name,
    kind=st.sampled_from(Kind),
    pipeline=_maybe,
    trigger=_maybe,
    sender=_maybe,
    account=_maybe,
    node=_maybe,
    outcome=st.sampled_from(Outcome),
    level=st.sampled_from(Level),
    finished=_time,
)


def _row(number: int, run: Run, row: Row) -> Row:
    own = hashlib.sha256(f"row {number}".encode()).hexdigest()
    digest = own if number % 3 else _SHARED + own[20:]
    return Row(
        digest,
        run,
        row.predicate,
        row.builder,
        row.signer,
        row.verdict,
        row.finished,
        row.namespace,
        tuple(dict.fromkeys(row.subjects)),
        tuple(dict.fromkeys(row.materials)),
        tuple(dict.fromkeys(row.tasks)),
        (own,),
        row.policy,
        row.policy_digest,
        row.summary,
    )


_parts = st.builds(
    Row,
    digest=st.just(""),
    run=_runs,
    predicate=st.sampled_from(TYPES),
    builder=_maybe,
    signer=st.sampled_from(("", *SIGNERS)),
    verdict=st.sampled_from(Verdict),
    finished=_time,
    namespace=st.sampled_from(NAMESPACES),
    subjects=st.lists(st.tuples(_sha256, _name), max_size=3).map(tuple),
    materials=st.lists(
        st.tuples(
            _sha256 | _commit, st.sampled_from([role for role in Role if role is not Role.SUBJECT]), _name
        ),
        max_size=3,
    ).map(tuple),
    tasks=st.lists(_name, max_size=1).map(tuple),
    policy=_maybe,
    policy_digest=st.sampled_from(("", *DIGESTS)),
    summary=st.none()
    | st.builds(
        Summary,
        is_passed=st.booleans(),
        verifier=_maybe,
        policy=_maybe,
        policy_digest=st.sampled_from(("", *DIGESTS)),
    ),
)


def _with_one_row_for_each_run(rows: Sequence[Row]) -> list[Row]:
    runs: dict[str, Run] = {}
    for row in rows:
        runs.setdefault(row.run.uid, row.run)
    return [_row(number, runs[row.run.uid], row) for number, row in enumerate(rows)]


rows = st.lists(_parts, max_size=12).map(_with_one_row_for_each_run)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_stars = st.sampled_from(("", "*"))
_words = st.builds(
    lambda text, cut, star: _quoted(text[:cut] if star else text) + star, _name, st.integers(1, 30), _stars
)
_hashes = st.builds(
    lambda algorithm, digest, length: algorithm + digest[:length],
    st.sampled_from(("", "", "sha256:")),
    st.sampled_from((*DIGESTS, *(hashlib.sha256(f"row {n}".encode()).hexdigest() for n in range(4)))),
    st.sampled_from((12, 13, 19, 20, 21, 40, 63, 64)),
)
_of_commits = st.builds(
    lambda algorithm, digest, length: algorithm + digest[:length],
    st.sampled_from(("", "", "gitCommit:", "sha1:")),
    st.sampled_from(COMMITS),
    st.sampled_from((7, 8, 12, 40)),
)
_values: dict[Key, st.SearchStrategy[str]] = {
    Key.HASH: _hashes,
    Key.DIGEST: _hashes,
    Key.COMMIT: _of_commits,
    Key.IMAGE: _words | _hashes,
    Key.INPUT: _words | _hashes,
    Key.STEP_IMAGE: _words | _hashes,
    Key.RUN: st.builds(
        lambda text, star: _quoted(text.replace("/", "")) + star,
        _name,
        _stars,
    )
    | st.sampled_from(("shop/shop", "taskrun/shop/Shop", "shop/sho*"))
    | st.integers(0, 5).map(lambda number: f"00000000-0000-4000-8000-00000000000{number}"),
    Key.TYPE: st.sampled_from((*TYPES, "provenance", "vsa", "https://slsa.dev/*")),
    Key.LEVEL: st.sampled_from(Level).filter(bool).map(lambda level: level.name.lower().replace("_", "-")),
    Key.OUTCOME: st.sampled_from(Outcome).filter(bool).map(lambda one: one.name.lower().replace("_", "-")),
    Key.VERDICT: st.sampled_from(VERDICTS),
    Key.RESULT: st.sampled_from(RESULTS),
    Key.POLICY: _words
    | st.builds(
        lambda digest, length: f"sha256:{digest[:length]}",
        st.sampled_from(DIGESTS),
        st.sampled_from((12, 64)),
    ),
    Key.SIGNER: st.sampled_from(("alice@example.com", *map(_quoted, SIGNERS))) | _words,
}
_keys = [key for key in Key if key not in {Key.FROM, Key.TO, Key.LAST}]


@st.composite
def terms(draw: st.DrawFn) -> str:
    """A term that often finds something."""
    key = draw(st.sampled_from(_keys))
    return f"{draw(st.sampled_from(('', '', '-')))}{key}:{draw(_values.get(key, _words))}"


times = st.sampled_from(
    ("", "", "from:2026-09-23", "to:2026-09-23", "from:2026-09-22 to:2026-09-24", "last:3d")
)
queries = st.builds(lambda some, time: " ".join((*some, time)), st.lists(terms(), max_size=3), times)
NOW = FIRST + 86_400 * 5 + 1
