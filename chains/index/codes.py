"""How values are written in the index: numbers for words, bytes for digests, text that databases take.

:func:`clean` is the one door for text: PostgreSQL refuses NUL, and both databases refuse lone surrogates.
Pure, and fast to import: a search needs it before it needs a database.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from enum import IntEnum
from typing import Final

SCHEMA: Final = 6
"""Raised with every change of a table, of a code below or of what fills a column. An index with another
number is built anew."""
SIGNATURE: Final = "#sha256:"
"""What precedes the digest of the signature in the place of an image signature."""
SHORTEST_PREFIX: Final = 12
"""Hex digits from which a digest is searched by its beginning."""
START: Final = f"substr(digest, 1, {SHORTEST_PREFIX // 2})"
"""The first bytes of a digest in SQL: what is in the indexes of digests."""
LONGEST_TEXT: Final = 2000
"""Bytes that are kept of a name: PostgreSQL's indexes take 2,704. What is longer is cut, and ends with ``…``
and a part of its SHA-256."""
_SURELY_SHORT: Final = LONGEST_TEXT // len("\\ud800")
_END: Final = 16
_LONGEST_BEGINNING: Final = LONGEST_TEXT - len("…".encode()) - _END
"""Bytes that are kept of a text that is cut, with a character that is cut in two."""

_REFUSED = re.compile("[\x00\\\\\ud800-\udfff]")
_WRITTEN = re.compile(r"\\(u[0-9a-f]{4}|\\)")
_TEXT: Final = b"text:"
_SHA256_AT_END = re.compile(r"([0-9a-f]{64})(?:#sha256:([0-9a-f]{64}))?\Z", re.ASCII)
_HEX_DIGITS: Final = 64
"""Of a SHA-256."""
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)


class Verdict(IntEnum):
    """What the verification said, at the time of ``attestation.checked``."""

    VERIFIED = 0
    FAILED = 1
    """Not by somebody trusted, or wrong. ``attestation.reason`` says which."""
    INDETERMINATE = 2
    """It could not be decided, for example because a key service did not answer."""
    NOT_JUDGED = 3
    """No policy of the index is for what it is about."""


class Level(IntEnum):
    """The hermetic level in an execution report, from weakest to strongest. 0: no report says one."""

    NONE = 0
    NOT_REQUESTED = 1
    REQUESTED_ONLY = 2
    UNKNOWN = 3
    PARTLY = 4
    ENFORCED = 5


class Outcome(IntEnum):
    """What a run came to. 0: no execution report says it."""

    NONE = 0
    SUCCEEDED = 1
    FAILED = 2
    CANCELLED = 3
    TIMED_OUT = 4
    UNFINISHED = 5


class Kind(IntEnum):
    """The kind of a run; ``OTHER`` is not Tekton's, or not known."""

    OTHER = 0
    TASKRUN = 1
    PIPELINERUN = 2


class Role(IntEnum):
    """What a name or an input is for an attestation."""

    SUBJECT = 0
    SOURCE = 1
    STEP_IMAGE = 2
    TASK = 3
    """A Task, Pipeline or StepAction: its name, or the reference that it was resolved from."""
    DEPENDENCY = 4


class What(IntEnum):
    """What a row of ``term`` is. One word has one row for each use."""

    PREDICATE = 1
    BUILDER = 2
    SIGNER = 3
    """A key's fingerprint, or ``IDENTITY (issuer ISSUER)``."""
    NAMESPACE = 4
    PIPELINE = 5
    TASK = 6
    NAME = 7
    """Of a subject or an input, without digest, tag and transport: ``registry.example/shop``."""
    ALGORITHM = 8
    """Of a digest: ``sha256``, ``gitCommit``."""
    REASON = 9
    """Why evidence was not verified: a code of ``chains/verify/reasons.py``."""
    PLACE = 10
    """The beginning of a place in a store."""
    FORMAT = 11
    ACCOUNT = 12
    """A run's service account."""
    NODE = 13
    TRIGGER = 14
    """What started a run: ``EVENTLISTENER/TRIGGER``."""
    SENDER = 15
    """Who asked for a run, according to its labels and annotations."""
    STEP = 16
    ENDED_AS = 17
    """The reason code of a run's or container's end: ``Completed``, ``OOMKilled``, ``TaskRunTimeout``."""
    VERIFIER = 18
    RESOURCE = 19
    POLICY = 20
    AUTHORITY = 21
    """The URL of a log or timestamp authority."""
    JUDGED_BY = 23
    """The name of the policy document that gave a verdict."""
    LEVEL_REASON = 22
    """Why a run has its level, in words."""


def word(code: IntEnum) -> str:
    """Return a code as users write it: ``timed-out``."""
    return code.name.lower().replace("_", "-")


def clean(text: str) -> str:
    r"""Return text that every database takes: NUL and lone surrogates as ``\uXXXX``, a backslash doubled.

    Different texts stay different. What is longer than :data:`LONGEST_TEXT` is cut.
    """
    written = _REFUSED.sub(_escape, text) if _REFUSED.search(text) else text
    if len(text) > _SURELY_SHORT and len(data := written.encode()) > LONGEST_TEXT:
        end = f"…{hashlib.sha256(data).hexdigest()[:_END]}"
        written = data[: LONGEST_TEXT - len(end.encode())].decode(errors="ignore") + end
    return written


def beginning(text: str) -> str:
    """Return how every cleaned text begins that began with this one.

    Of a long text this is what is kept of it, so that a few other long texts can begin in the same way.
    """
    written = _REFUSED.sub(_escape, text)
    return written.encode()[:_LONGEST_BEGINNING].decode(errors="ignore")


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    return "\\\\" if found == "\\" else f"\\u{ord(found):04x}"


def original(text: str) -> str:
    """Return the text that :func:`clean` was given, if it was not cut."""
    return _WRITTEN.sub(lambda one: "\\" if one[1] == "\\" else chr(int(one[1][1:], 16)), text)


def digest_bytes(value: str) -> bytes:
    """Return a digest's value as it is stored: the bytes of lower-case hex, else ``text:`` and UTF-8.

    The first bytes of a digest are the bytes of its first hex digits, so a prefix is a range.
    """
    try:
        found = bytes.fromhex(value)
    except ValueError:
        found = b""
    # fromhex also takes capitals and blanks
    return found if found and found.hex() == value else _TEXT + clean(value).encode()


def start_of(digest: bytes) -> bytes:
    """Return the first bytes of a stored digest, as :data:`START` does."""
    return digest[: SHORTEST_PREFIX // 2]


def digest_text(value: bytes) -> str:
    """Return the value of a stored digest as it was in the statement."""
    if value.startswith(_TEXT):
        return original(value.removeprefix(_TEXT).decode(errors="replace"))
    return value.hex()


def prefix_range(hexadecimal: str) -> tuple[bytes, bytes | None]:
    """Return the first stored digest that begins with these hex digits, and the first one behind them.

    The second is None if nothing is behind: ``ff``. Raises :class:`ValueError` for what is no lower-case hex.
    """
    if not re.fullmatch("[0-9a-f]+", hexadecimal, re.ASCII):
        raise ValueError("expected hex digits in lower case")
    first = bytes.fromhex(hexadecimal + "0" * (len(hexadecimal) % 2))
    behind = int(hexadecimal, 16) + 1
    if behind == 16 ** len(hexadecimal):
        return first, None
    digits = f"{behind:0{len(hexadecimal)}x}"
    return first, bytes.fromhex(digits + "0" * (len(digits) % 2))


def uid_bytes(uid: str) -> bytes:
    """Return a run's UID as it is stored: a UUID as 16 bytes, other builders' ids as ``text:`` and UTF-8."""
    if _UID.fullmatch(uid):
        return uuid.UUID(uid).bytes
    return _TEXT + clean(uid).encode()


def uid_text(uid: bytes) -> str:
    """Return a stored UID as it was in the statement."""
    if uid.startswith(_TEXT):
        return original(uid.removeprefix(_TEXT).decode(errors="replace"))
    return str(uuid.UUID(bytes=uid))


def place_parts(location: str, digest: bytes) -> tuple[str, bytes]:
    """Return a place as a beginning that many share and an end. ``digest`` is that of the evidence.

    Most places end with a SHA-256, often that of the evidence itself: its end is then empty. Those of image
    signatures end with that of the signature, after :data:`SIGNATURE`.
    """
    if match := _SHA256_AT_END.search(location):
        end = bytes.fromhex(match[1])
        if match[2]:
            return location[: match.start()], end + bytes.fromhex(match[2])
        return location[: match.start()], b"" if end == digest else end
    folder, slash, name = location.rpartition("/")
    return folder + slash, _TEXT + clean(name).encode()


def place(folder: str, end: bytes, digest: bytes) -> str:
    """Return the place that :func:`place_parts` was given; ``folder`` is a term's text."""
    if end.startswith(_TEXT):
        return original(folder) + original(end.removeprefix(_TEXT).decode(errors="replace"))
    shown = (end or digest).hex()
    signature = SIGNATURE + shown[_HEX_DIGITS:] if shown[_HEX_DIGITS:] else ""
    return original(folder) + shown[:_HEX_DIGITS] + signature
