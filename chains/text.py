"""Text that is fit for a terminal, for a log and for people: escaped, without secrets, counted, cut.

Names, reasons and messages come from runs, registries and configurations that strangers write. A terminal
obeys control characters, a log reader takes a line break for the end of an entry, and an invisible character
makes two names look alike. So each of them is written as an escape that can be read, such as ``\\x1b`` or
``\\u202e``. Ordinary Unicode stays as it is. :func:`told` cleans what people read through other programs:
Events, annotations, answers of the health port.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import orjson

from chains.masking.forms import mask


def count(number: int, noun: str, plural: str = "") -> str:
    """Return the number with its noun in the right form, such as ``1 run`` and ``2 runs``."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


_NOT_ASCII = re.compile(r"[^\x20-\x7e]+")
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""What takes no room or is blank though ``isprintable`` lets it pass: of Default_Ignorable_Code_Point in
https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt, and the empty Braille pattern."""


def plain(text: str) -> str:
    """Return ``text`` on one line, with everything that a terminal obeys or an eye cannot see escaped.

    That is: C0, C1 and DEL; marks of direction, zero width and ignorable characters; separators of lines and
    paragraphs and every space but U+0020; lone surrogates, private and unassigned code points. A backslash
    stays as it is, so doing it twice changes nothing.
    """
    return _NOT_ASCII.sub(_escape, text)


def told(text: str) -> str:
    """Return an error, a reason or a log message as people are told it: plain, and without secrets in it."""
    return plain(mask(text))


def plain_json(text: str) -> str:
    """Return JSON of the same value with the same characters escaped as JSON does; line breaks stay."""
    return _NOT_ASCII.sub(_escape_json, text)


def _escape(match: re.Match[str]) -> str:
    return "".join(
        char if _is_visible(char) else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in match[0]
    )


def _escape_json(match: re.Match[str]) -> str:
    return "".join(
        char if char == "\n" or _is_visible(char) else json.dumps(char)[1:-1].replace("\x7f", "\\u007f")
        for char in match[0]
    )


def _is_visible(char: str) -> bool:
    return char.isprintable() and _INVISIBLE.match(char) is None


def to_json(value: object, *, indent: bool = False) -> str:
    """Return ``value`` as JSON for people and programs; of what is no JSON, ``str`` is taken."""
    try:
        text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 if indent else None).decode()
    except TypeError:  # a lone surrogate, an integer of more than 64 bits, a key that is no text
        text = json.dumps(value, default=str, indent=2 if indent else None)
    return plain_json(text)


_LONGEST = 600


def excerpt(text: str, limit: int = _LONGEST) -> str:
    """Return ``text``, cut where it is longer than ``limit`` characters, saying so."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def rfc3339(moment: datetime) -> str:
    """Return a moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
