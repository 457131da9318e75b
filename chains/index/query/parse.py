"""Text to a query.

``[-][KEY:]VALUE``, separated by blanks; all of them must hold. A value in double quotes may have blanks, and
``\\"`` and ``\\\\`` in it stand for a quote and a backslash. A ``*`` at the end of a value stands for any
characters. Nothing is ignored: what cannot be understood is a :class:`QueryError`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from chains.index.query.errors import QueryError
from chains.index.query.terms import ONE_VALUE, Age, Key, Moment, Query, Term, Word
from chains.index.query.values import ALGORITHM, KEYID, Raw, bare, value_of
from chains.text import excerpt

LONGEST, MOST_TERMS = 8192, 50
"""Characters and terms of a query."""
_BLANK = re.compile(r"\s+")
_KEY = re.compile(rf"(?!{ALGORITHM.pattern})(?P<key>[A-Za-z][A-Za-z0-9_-]*):")
"""A key; before a digest it is its algorithm."""
_REST_OF_URI = re.compile(r"//|[0-9]{1,5}/")
"""What follows a scheme, or a registry's host. A word before it is no key unless there is such a key."""
_QUOTED = re.compile(r'"(?P<text>(?:[^"\\]|\\["\\])*)"(?P<star>\*?)(?=\s|\Z)')
_UNQUOTED = re.compile(r"[^\s]+")
_MEANT = {
    "after": Key.FROM,
    "before": Key.TO,
    "bundle": Key.INPUT,
    "dependency": Key.INPUT,
    "git": Key.COMMIT,
    "identity": Key.SIGNER,
    "key": Key.SIGNER,
    "material": Key.INPUT,
    "ns": Key.NAMESPACE,
    "predicate": Key.TYPE,
    "revision": Key.COMMIT,
    "sa": Key.ACCOUNT,
    "service-account": Key.ACCOUNT,
    "serviceaccount": Key.ACCOUNT,
    "sha": Key.DIGEST,
    "since": Key.FROM,
    "source": Key.REPO,
    "status": Key.OUTCOME,
    "step": Key.STEP_IMAGE,
    "subject": Key.IMAGE,
    "uid": Key.RUN,
    "until": Key.TO,
}
"""Words of others for our keys. They are suggested and never taken."""
_SHOWN = 60


def parse(text: str) -> Query:
    """Return the query that a text is. Raises :class:`QueryError`."""
    if len(text) > LONGEST:
        raise QueryError(f"the query has {len(text)} characters: expected at most {LONGEST}")
    terms = list(_terms(text))
    if len(terms) > MOST_TERMS:
        raise QueryError(f"the query has {len(terms)} terms: expected at most {MOST_TERMS}")
    query = Query(tuple(terms))
    _check_contradictions(query)
    _check_times(query)
    return query


def _terms(text: str) -> Iterator[Term]:
    place = 0
    while True:
        blank = _BLANK.match(text, place)
        place = blank.end() if blank else place
        if place == len(text):
            return
        term, place = _term(text, place)
        yield term


def _term(text: str, start: int) -> tuple[Term, int]:
    is_negated = text.startswith("-", start)
    start += is_negated
    match = _KEY.match(text, start)
    key = None
    if match is not None and not text.startswith(KEYID, start):
        key = _key(match["key"], is_uri=bool(_REST_OF_URI.match(text, match.end())))
        start = match.end() if key else start
    raw, end = _raw(text, start, key)
    if key is None and not raw.text:
        raise QueryError("a term is empty: write [-][KEY:]VALUE, with a value between the quotes")
    found = (key, value_of(key, raw)) if key else bare(raw)
    if is_negated and isinstance(found[1], Moment | Age):
        raise QueryError(f"-{found[0]}: a time cannot be negated: use from: and to:")
    return Term(*found, is_negated), end


def _key(written: str, *, is_uri: bool) -> Key | None:
    """Return the key that was written, None if a URI begins with it. Raises :class:`QueryError`."""
    name = written.lower().replace("_", "-")
    if name in set(Key):
        return Key(name)
    if is_uri:
        return None
    near = _MEANT.get(name) or next(iter(get_close_matches(name[:_SHOWN], list(Key), 1, 0.5)), "")
    hint = f"; did you mean {near}:?" if near else ""
    raise QueryError(
        f"unknown key {excerpt(written, _SHOWN)}:{hint} known keys: {', '.join(Key)}; "
        "a word with a colon that is no key needs quotes"
    )


def _raw(text: str, start: int, key: Key | None) -> tuple[Raw, int]:
    where = f"{key}: " if key else ""
    if text.startswith('"', start):
        match = _QUOTED.match(text, start)
        if match is None:
            raise QueryError(
                f'{where}a quote is not closed, or the value goes on after it: expected "VALUE", with \\" '
                "for a quote and \\\\ for a backslash in it"
            )
        unescaped = re.sub(r"\\(.)", r"\1", match["text"], flags=re.DOTALL)
        return Raw(unescaped, is_quoted=True, is_prefix=bool(match["star"])), match.end()
    match = _UNQUOTED.match(text, start)
    word = match[0] if match else ""
    value = word.removesuffix("*")
    if '"' in value or "*" in value:
        raise QueryError(
            f"{where}{excerpt(word, _SHOWN)!r}: a * counts at the end of a value alone, and quotes go around "
            "the whole value"
        )
    if word == "*":
        raise QueryError(f"{where}* alone is everything: write how the value begins")
    return Raw(value, is_prefix=value != word), start + len(word)


def _check_contradictions(query: Query) -> None:
    """Refuse a query that nothing can fit. Its author most likely expects one value *or* the other."""
    values: dict[Key, list[Term]] = defaultdict(list)
    for term in query.of(*ONE_VALUE):
        if not term.is_negated and isinstance(term.value, Word) and not term.value.is_prefix:
            values[term.key].append(term)
    for terms in values.values():
        _one(terms, "nothing has two values of it; all terms must hold, so search for each apart")


def _check_times(query: Query) -> None:
    _one(query.of(Key.FROM, Key.LAST), "one of them says where the time begins")
    _one(query.of(Key.TO), "one of them says where the time ends")
    start = next((term.value.start for term in query.of(Key.FROM) if isinstance(term.value, Moment)), None)
    end = query.until()
    if start and end and start >= end:
        raise QueryError("from: is not before to:, so no time is between them")


def _one(terms: Sequence[Term], why: str) -> None:
    if len(terms) > 1:
        raise QueryError(f"{terms[0]} and {terms[1]}: {why}")
