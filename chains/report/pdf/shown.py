"""Text that the fonts inside of typst can show, with places where long words may break.

Only these fonts are used, so that the same report has the same bytes on every machine. A character that they
do not have is written as its escape, such as ``\\u4e2d``: an empty box would hide it, PDF/A forbids it, and
typst 0.15 can panic on scripts from right to left.
"""

from __future__ import annotations

import re
from typing import Final

from chains.text import escaped, plain

REPERTOIRE: Final = (
    (0x20, 0x7E), (0xA1, 0xAC), (0xAE, 0x17F), (0x386, 0x386), (0x388, 0x38A), (0x38C, 0x38C), (0x38E, 0x3A1),
    (0x3A3, 0x3CE), (0x400, 0x45F), (0x1E00, 0x1E99), (0x2013, 0x2014), (0x2018, 0x2019), (0x201C, 0x201D),
    (0x2022, 0x2022), (0x2026, 0x2026), (0x20AC, 0x20AC), (0x2190, 0x2193), (0x2500, 0x25FF),
)  # fmt: skip
"""Code points that both fonts of a report can show: Latin, Greek, Cyrillic, some signs."""
_OTHER = re.compile("[^" + "".join(f"{chr(a)}-{chr(b)}".replace("\\", "\\\\") for a, b in REPERTOIRE) + "]")
_LONGEST_WORD: Final = 12
_PIECE: Final = 8
_HEX_PIECE: Final = 16
_HEX = re.compile("[0-9a-f]{32,}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ[,.]? ?")
_ENDS = re.compile(r"(?<=[/:@.,;=&?_+-])")


def shown(text: str) -> str:
    """Return a text on one line in which every character has a glyph."""
    return _OTHER.sub(_escape, plain(text))


def _escape(match: re.Match[str]) -> str:
    return escaped(match[0])


def pieces(text: str) -> list[str]:
    """Return a text in pieces between which a line may break; a digest breaks after every 16 digits."""
    found: list[str] = []
    for word in re.split(r"(?<= )", shown(text)):
        if len(word) <= _LONGEST_WORD:
            found.append(word)
            continue
        if _TIME.fullmatch(word):
            found += [word[:10], word[10:]]
            continue
        for part in filter(None, _ENDS.split(word)):
            size = _HEX_PIECE if _HEX.fullmatch(part.rstrip()) else _PIECE
            is_whole = len(part) <= _LONGEST_WORD
            found += [part] if is_whole else [part[at : at + size] for at in range(0, len(part), size)]
    return _joined(found)


def _joined(parts: list[str]) -> list[str]:
    """Join what follows a blank, where a line may break anyway."""
    found: list[str] = []
    for part in parts:
        if found and found[-1].endswith(" "):
            found[-1] += part
        else:
            found.append(part)
    return found
