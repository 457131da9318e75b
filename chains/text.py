"""Text for terminals, logs and people: escaped, without secrets, with counts, cut to a length.

Names, reasons and messages come from runs, registries and configurations, so their authors are strangers. A
terminal obeys control characters, a log reader takes a line break as the end of an entry, and an invisible
character makes two names look equal. Each of these characters is written as a readable escape, such as
``\\x1b`` or ``\\u202e``. Ordinary Unicode stays unchanged. :func:`told` is for text that people read through
other programs: Events, annotations, answers of the health port.
"""

from __future__ import annotations

import errno
import json
import re
from datetime import UTC, datetime

import orjson

from chains.masking.forms import mask


def count(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun in singular or plural, such as ``1 run`` and ``2 runs``."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


_STEPS = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EISDIR: "name a file in it",
    errno.EACCES: "check its permissions",
}


def why_of(error: OSError) -> str:
    """Return why a file cannot be used, and the next step where there is one."""
    step = _STEPS.get(error.errno or 0)
    why = error.strerror or str(error)
    return f"{why}; {step}" if step else why


_NOT_ASCII = re.compile(r"[^\x20-\x7e]+")
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""Characters that are invisible or blank although ``isprintable`` accepts them: Default_Ignorable_Code_Point
of https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt, and the empty Braille pattern."""


def plain(text: str) -> str:
    """Return ``text`` on one line, with all control characters and invisible characters escaped.

    Escaped are: C0, C1 and DEL; direction marks, zero-width and ignorable characters; line and paragraph
    separators and every space but U+0020; lone surrogates, private and unassigned code points. A backslash
    stays unchanged, so a second call changes nothing.
    """
    return _NOT_ASCII.sub(_escape, text)


def escaped(char: str) -> str:
    """Return characters as escapes in ASCII, as :func:`plain` writes those that are not seen."""
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def told(text: str) -> str:
    """Return an error, a reason or a log message for people: escaped, and with secrets masked."""
    return plain(mask(text))


def plain_json(text: str) -> str:
    """Return JSON with the same value, in which the characters of :func:`plain` are JSON escapes.

    Line breaks between the values stay.
    """
    return _NOT_ASCII.sub(_escape_json, text)


def _escape(match: re.Match[str]) -> str:
    return "".join(char if _is_visible(char) else escaped(char) for char in match[0])


def _escape_json(match: re.Match[str]) -> str:
    return "".join(
        char if char == "\n" or _is_visible(char) else json.dumps(char)[1:-1].replace("\x7f", "\\u007f")
        for char in match[0]
    )


def _is_visible(char: str) -> bool:
    return char.isprintable() and _INVISIBLE.match(char) is None


def to_json(value: object, *, indent: bool = False) -> str:
    """Return ``value`` as JSON for people and programs.

    A value that JSON does not have is written as its ``str``.
    """
    try:
        text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 if indent else None).decode()
    except TypeError:  # a lone surrogate, an integer of more than 64 bits, a key that is no text
        text = json.dumps(value, default=str, indent=2 if indent else None)
    return plain_json(text)


_LONGEST = 600


def excerpt(text: str, limit: int = _LONGEST) -> str:
    """Return ``text``, cut after ``limit`` characters with a note of its full length."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def rfc3339(moment: datetime) -> str:
    """Return a time in UTC as RFC 3339, with whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
