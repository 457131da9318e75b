"""The values of each key: what is expected, and how text becomes one.

Quotes around a value change nothing but where it ends, and that a ``*`` in it is an ordinary character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

from chains.index.query.errors import QueryError
from chains.index.query.terms import LENGTHS, Age, Digest, Key, Moment, RunWanted, Span, Unit, Value, Word
from chains.isolation.finding import LEVELS
from chains.statements.attributes import RunOutcome
from chains.statements.statement import SCAI
from chains.statements.vsa import SVR, VSA
from chains.text import excerpt

SHORTEST_DIGEST, SHORTEST_COMMIT = 12, 7
"""The least hex digits of the beginning of a digest, and of a commit."""
_LONGEST_DIGEST = max(LENGTHS)
_SHOWN = 60
_SHA256 = 64
_ALGORITHMS = {"sha1": 40, "sha256": 64, "sha384": 96, "sha512": 128, "gitCommit": 0}
"""The algorithms that may stand before a digest, with their hex digits; a git commit has 40 or 64."""
ALGORITHM = re.compile(rf"(?:{'|'.join(_ALGORITHMS)}):")
KEYID = "SHA256:"
"""How the id of a key begins, as OpenSSH writes it."""
_HEX = re.compile(r"[0-9A-Fa-f]+")
_DIGEST = re.compile(rf"(?:(?P<algorithm>{'|'.join(_ALGORITHMS)}):)?(?P<hex>[0-9A-Fa-f]*)")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}"
    r"(?P<day>-[0-9]{2}"
    r"(?P<time>[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?)?"
)
_FIRST_YEAR, _LAST_YEAR = 1970, 9998
_AGE = re.compile(r"(?P<number>[0-9]{1,6})(?P<span>[mhdw])")
_LONGEST_AGE = timedelta(days=36525)
KINDS = ("taskrun", "pipelinerun")
"""The kinds that may stand before a run's namespace."""
_PARTS = 3

TYPES = {
    "provenance": Word("https://slsa.dev/provenance/", is_prefix=True),
    "report": Word(SCAI),
    "vsa": Word(VSA),
    "svr": Word(SVR),
}
"""Short names of predicate types."""
VERDICTS = ("verified", "failed", "indeterminate", "not-judged")
"""The words for what a verification of the index said."""
RESULTS = ("passed", "failed")
"""The words for what a verification summary says."""
WORDS: dict[str, tuple[str, ...]] = {
    Key.TYPE: tuple(TYPES),
    Key.LEVEL: tuple(map(str, LEVELS)),
    Key.VERDICT: VERDICTS,
    Key.RESULT: RESULTS,
    Key.OUTCOME: tuple(map(str, RunOutcome)),
}
"""The words that a key takes, where it has a list of them."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A value as it was written, without its quotes: ``is_prefix`` says that a ``*`` follows it."""

    text: str
    is_quoted: bool = False
    is_prefix: bool = False


def value_of(key: Key, raw: Raw) -> Value:
    """Return the value of a key. Raises :class:`QueryError` that says what is expected."""
    if not raw.text:
        raise QueryError(f"{key}: has no value: expected {EXPECTED[key]}")
    read = _READERS.get(key)
    return read(key, raw) if read else Word(raw.text, raw.is_prefix)


def bare(raw: Raw) -> tuple[Key, Value]:
    """Return what a word without a key means. Raises :class:`QueryError` for a digest with a wrong length.

    A word in quotes is a name. Else 12 or more hex digits are a digest or a commit, ``SHA256:…`` is the id of
    a key, a UUID and ``NAMESPACE/NAME`` are runs, and everything else is a name.
    """
    if not raw.is_quoted:
        is_long = _HEX.fullmatch(raw.text) is not None and len(raw.text) >= SHORTEST_DIGEST
        if is_long or ALGORITHM.match(raw.text.rpartition("@")[2]):
            return Key.HASH, value_of(Key.HASH, raw)
        if raw.text.startswith(KEYID):
            return Key.SIGNER, value_of(Key.SIGNER, raw)
        if _UUID.fullmatch(raw.text) or _BARE_RUN.fullmatch(raw.text):
            return Key.RUN, value_of(Key.RUN, raw)
    return Key.NAME, value_of(Key.NAME, raw)


_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_BARE_RUN = re.compile(rf"(?:(?:{'|'.join(KINDS)})/)?{_LABEL}/[a-z0-9][a-z0-9.-]*")
"""A namespace is a DNS label (RFC 1123), so a registry with a domain is no namespace."""


def _digest(key: Key, raw: Raw) -> Digest:
    found = _as_digest(key, raw)
    if found is None:
        raise _wrong(key, raw)
    return found


def _as_digest(key: Key, raw: Raw) -> Digest | None:
    """Return a digest, None for a text that is none. Raises :class:`QueryError` for a wrong length.

    Of ``NAME@DIGEST`` the digest counts, because it alone says what the content is.
    """
    match = _DIGEST.fullmatch(raw.text.rpartition("@")[2])
    if match is None:
        return None
    algorithm, digits = match["algorithm"] or "", match["hex"].lower()
    shortest = SHORTEST_COMMIT if key is Key.COMMIT else SHORTEST_DIGEST
    longest = _ALGORITHMS.get(algorithm) or _LONGEST_DIGEST
    if not shortest <= len(digits) <= longest:
        if not algorithm and key in _OR_WORD:
            return None
        raise QueryError(
            f"{key}: {_cut(raw)} has {len(digits)} hex digits: expected {shortest} to {longest}, "
            "the beginning is enough"
        )
    return Digest(digits, algorithm)


def _policy(key: Key, raw: Raw) -> Value:
    """Return a digest if it has an algorithm in front or all of its digits, else a name or a URI."""
    is_digest = raw.text.startswith("sha256:") or len(raw.text) == _SHA256
    found = _as_digest(key, raw) if is_digest and not raw.is_quoted else None
    return found or Word(raw.text, raw.is_prefix)


def _digest_or_word(key: Key, raw: Raw) -> Value:
    return _as_digest(key, raw) or Word(raw.text, raw.is_prefix)


_OR_WORD = (Key.INPUT, Key.STEP_IMAGE, Key.IMAGE)


def _run(key: Key, raw: Raw) -> RunWanted:
    if _UUID.fullmatch(raw.text):
        return RunWanted(uid=raw.text.lower())
    parts = raw.text.split("/")
    if "" in parts or len(parts) > _PARTS:
        raise _wrong(key, raw)
    kind, namespace, name = [""] * (_PARTS - len(parts)) + parts
    if kind and kind.lower() not in KINDS:
        raise _wrong(key, raw)
    return RunWanted("", name, namespace, kind.lower(), raw.is_prefix)


def _type(key: Key, raw: Raw) -> Word:
    if raw.is_prefix or ":" in raw.text:
        return Word(raw.text, raw.is_prefix)
    return TYPES[_choice(WORDS[key])(key, raw).text]


def _choice(words: Sequence[str]) -> Callable[[Key, Raw], Word]:
    def read(key: Key, raw: Raw) -> Word:
        word = raw.text.lower()
        if word in words and not raw.is_prefix:
            return Word(word)
        near = get_close_matches(word[:_SHOWN], words, 1, 0.6)
        raise _wrong(key, raw, near[0] if near else "")

    return read


def _moment(key: Key, raw: Raw) -> Moment:
    match = _TIME.fullmatch(raw.text)
    if match is None or raw.is_prefix:
        raise _wrong(key, raw)
    unit = Unit.SECOND if match["time"] else Unit.DAY if match["day"] else Unit.MONTH
    text = f"{raw.text}-01" if unit is Unit.MONTH else raw.text.upper()
    try:
        found = datetime.fromisoformat(text)
        found = (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(key, raw) from None
    if not _FIRST_YEAR <= found.year <= _LAST_YEAR:
        raise _wrong(key, raw)
    return Moment(found.replace(microsecond=0), unit)


def _age(key: Key, raw: Raw) -> Age:
    match = _AGE.fullmatch(raw.text)
    if match is None or raw.is_prefix:
        raise _wrong(key, raw)
    found = Age(int(match["number"]), Span(match["span"]))
    if not found.number or found.length > _LONGEST_AGE:
        raise _wrong(key, raw)
    return found


def _wrong(key: Key, raw: Raw, near: str = "") -> QueryError:
    hint = f"; did you mean {near}?" if near else ""
    return QueryError(f"{key}: {_cut(raw)}: expected {EXPECTED[key]}{hint}")


def _cut(raw: Raw) -> str:
    return repr(excerpt(raw.text, _SHOWN)) + ("*" if raw.is_prefix else "")


_READERS: dict[Key, Callable[[Key, Raw], Value]] = {
    Key.HASH: _digest,
    Key.DIGEST: _digest,
    Key.COMMIT: _digest,
    Key.IMAGE: _digest_or_word,
    Key.INPUT: _digest_or_word,
    Key.STEP_IMAGE: _digest_or_word,
    Key.RUN: _run,
    Key.TYPE: _type,
    Key.LEVEL: _choice(WORDS[Key.LEVEL]),
    Key.VERDICT: _choice(WORDS[Key.VERDICT]),
    Key.POLICY: _policy,
    Key.RESULT: _choice(WORDS[Key.RESULT]),
    Key.OUTCOME: _choice(WORDS[Key.OUTCOME]),
    Key.FROM: _moment,
    Key.TO: _moment,
    Key.LAST: _age,
}

_TIMES = "a month, a day or a time in RFC 3339, such as 2026-10, 2026-10-01 or 2026-10-01T12:00:00Z"
EXPECTED = {
    Key.HASH: f"at least {SHORTEST_DIGEST} hex digits of a digest or a commit",
    Key.DIGEST: f"[sha256:]HEX with at least {SHORTEST_DIGEST} hex digits",
    Key.COMMIT: f"at least {SHORTEST_COMMIT} hex digits",
    Key.IMAGE: "the name of an image, or a digest",
    Key.INPUT: "a URI or a digest",
    Key.STEP_IMAGE: "the name of an image, or a digest",
    Key.RUN: f"a UID, NAME, NAMESPACE/NAME or KIND/NAMESPACE/NAME with a KIND of {', '.join(KINDS)}",
    Key.NAME: "the name of a run, an image, a pipeline, a task or a namespace",
    Key.NAMESPACE: "a namespace",
    Key.PIPELINE: "the name of a pipeline",
    Key.TASK: "the name of a task",
    Key.TRIGGER: "EVENTLISTENER/TRIGGER",
    Key.SENDER: "who asked for a run",
    Key.NODE: "the name of a node",
    Key.ACCOUNT: "the name of a service account",
    Key.REPO: "the URI of a source repository",
    Key.BUILDER: "the id of a builder",
    Key.SIGNER: "a key id or an identity",
    Key.TYPE: f"a predicate type, or one of {', '.join(TYPES)}",
    Key.LEVEL: f"one of {', '.join(LEVELS)}",
    Key.VERDICT: f"one of {', '.join(VERDICTS)}",
    Key.POLICY: "the name of a policy, the URI of one, or its digest",
    Key.RESULT: f"one of {', '.join(RESULTS)}",
    Key.VERIFIER: "the id of a verifier",
    Key.OUTCOME: f"one of {', '.join(RunOutcome)}",
    Key.FROM: _TIMES,
    Key.TO: _TIMES,
    Key.LAST: f"a number and one of {', '.join(Span)} for minutes, hours, days or weeks, such as 7d",
}
"""What the value of each key has to be, for errors and help."""
