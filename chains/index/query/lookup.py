"""Words and digests of a query, looked up in an index: what is there that they can mean.

A beginning that fits few words or artifacts is replaced by them, because the newest rows of one are a range
of an index, and those of many are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chains.index.codes import START, What, beginning, clean, digest_bytes, prefix_range, start_of
from chains.index.query.reader import Reader
from chains.index.query.sql import NEVER, Sql, all_of, any_of, between, one_of
from chains.index.query.terms import Digest, Word

MOST = 40
"""Words or artifacts whose rows are looked at one by one."""
MOST_WORDS = 2_000
"""Words or artifacts that are listed in a statement."""
_LAST_CHARACTER, _BEFORE_SURROGATES, _AFTER_SURROGATES = "\U0010ffff", "\ud7ff", "\ue000"
_ALGORITHMS = {
    "sha1": ("sha1", "gitCommit"),
    "sha256": ("sha256", "gitCommit"),
    "gitCommit": ("gitCommit", "sha1", "sha256"),
}
"""Names that in-toto has for one digest: that of a commit may be ``gitCommit``."""


@dataclass(frozen=True, slots=True)
class Found:
    """The ids of what fits, words for example, as a condition on a column.

    ``values`` has each of them, or is None if there are too many; ``condition`` says then which. Of words,
    ``where`` says the same of the columns of ``term``.
    """

    values: tuple[int, ...] | None
    condition: Sql = NEVER
    where: Sql = NEVER

    @property
    def few(self) -> tuple[int, ...] | None:
        """Each of them, None if there are more than :data:`MOST`."""
        return None if self.values is None or len(self.values) > MOST else self.values

    def on(self, column: str) -> Sql:
        """Return the condition that a column has one of them."""
        if self.values is not None:
            return one_of(column, self.values)
        return Sql(self.condition.text.replace("{column}", column), self.condition.values)


def words(reader: Reader, kinds: Iterable[What], word: Word, *others: Word) -> Found:
    """Return the words of these kinds that are, or begin like, one of these."""
    where = all_of(
        (one_of("what", tuple(kinds)), any_of(text_condition("text", one) for one in (word, *others)))
    )
    return _few_words(reader, where)


def last_parts(reader: Reader, kinds: Iterable[What], text: str) -> Found:
    """Return the words of these kinds that are a text, or whose last part behind a slash is."""
    cleaned = clean(text)
    escaped = "".join(f"!{char}" if char in "!%_" else char for char in cleaned)
    like = Sql("text LIKE ? ESCAPE '!'", (f"%/{escaped}",))
    where = all_of((one_of("what", tuple(kinds)), any_of((one_of("text", (cleaned,)), like))))
    # SQLite's LIKE does not tell upper from lower case
    exact = Sql("substr(text, length(text) - length(?) + 1) = ?", (cleaned, cleaned))
    return _few_words(reader, all_of((where, exact)))


def _few_words(reader: Reader, where: Sql) -> Found:
    limit = Sql("LIMIT ?", (MOST_WORDS + 1,))
    rows = reader.rows(Sql(f"SELECT id FROM term WHERE {where.text}", where.values) + limit)  # noqa: S608
    if len(rows) <= MOST_WORDS:
        return Found(tuple(row[0] for row in rows), where=where)
    listed = Sql(f"{{column}} IN (SELECT id FROM term WHERE {where.text})", where.values)  # noqa: S608
    return Found(None, listed, where)


def text_condition(column: str, word: Word) -> Sql:
    """Return the condition that a column with text is, or begins like, a word."""
    if not word.is_prefix:
        return one_of(column, (clean(word.text),))
    first = beginning(word.text)
    return between(column, first, _behind(first))


def _behind(first: str) -> str | None:
    """Return the first text that does not begin so and is behind all that do, None if there is none."""
    rest = first.rstrip(_LAST_CHARACTER)
    if not rest:
        return None
    last = rest[-1]
    return rest[:-1] + (_AFTER_SURROGATES if last == _BEFORE_SURROGATES else chr(ord(last) + 1))


def with_digest(reader: Reader, table: str, column: str, digest: Digest, *conditions: Sql) -> Found:
    """Return the ids in a column of a table whose rows have the digest that a query means.

    The table has an index on :data:`chains.index.codes.START`.
    """
    where = all_of((digest_condition(digest), *conditions))
    select = f"SELECT DISTINCT {column} FROM {table} WHERE {where.text}"  # noqa: S608
    rows = reader.rows(Sql(f"{select} LIMIT ?", (*where.values, MOST_WORDS + 1)))
    if len(rows) <= MOST_WORDS:
        return Found(tuple(row[0] for row in rows))
    return Found(None, Sql(f"{{column}} IN ({select})", where.values))


def digest_condition(digest: Digest) -> Sql:
    """Return the condition on the column ``digest`` of a table."""
    if not digest.is_prefix:
        return is_digest(digest_bytes(digest.hex))
    first, behind = prefix_range(digest.hex)
    parts = [Sql(f"{START} >= ?", (start_of(first),)), between("digest", first, behind)]
    if behind is not None:
        parts.append(Sql(f"{START} <= ?", (start_of(behind),)))
    return all_of(parts)


def is_digest(value: bytes) -> Sql:
    """Return the condition that the column ``digest`` of a table is this, as it is stored."""
    return all_of((one_of(START, (start_of(value),)), one_of("digest", (value,))))


def algorithms(reader: Reader, digest: Digest) -> Sql | None:
    """Return the condition on the column ``algorithm`` of a digest, None if it may be any."""
    if not digest.algorithm:
        return None
    names: Sequence[str] = _ALGORITHMS.get(digest.algorithm, (digest.algorithm,))
    return words(reader, (What.ALGORITHM,), *map(Word, names)).on("algorithm")
