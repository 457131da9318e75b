"""How text, digests, times and numbers are shown. Everything that returns markup has escaped its text."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Final
from urllib.parse import quote, urlsplit

from markupsafe import Markup, escape

from chains.text import plain

LONGEST: Final = 300
"""Characters of a text that are shown; the number of the others is told."""
_HIDDEN: Final = re.compile(r"[^\x20-\x7e]")
_DIGEST: Final = re.compile(r"[0-9a-z]{2,16}:[0-9a-f]{32,128}", re.ASCII)
_SHORT: Final = 12
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_LINK: Final = re.compile(r"https?://[\x21-\x7e]+", re.ASCII)
_LONGEST_LINK: Final = 2000


def shown(text: object, longest: int = LONGEST) -> Markup:
    r"""Return text with each control, direction and invisible character as a marked ``\u{202e}``.

    The mark makes it differ from the same letters in the text itself.
    """
    whole = str(text)
    if len(whole) <= longest and not _HIDDEN.search(whole):
        return escape(whole)
    cut = whole[:longest]
    parts: list[str] = []
    last = 0
    for match in _HIDDEN.finditer(cut):
        char = match[0]
        if plain(char) == char:
            continue
        parts += [str(escape(cut[last : match.start()])), _marked(char)]
        last = match.end()
    parts.append(str(escape(cut[last:])))
    if len(whole) > longest:
        parts.append(f'<span class="cut">… ({len(whole):,} characters)</span>')
    return Markup("".join(parts))  # noqa: S704 - every part is escaped above


def _marked(char: str) -> str:
    code = f"{ord(char):x}"
    return f'<span class="hidden-char" title="U+{code.upper():0>4}">\\u{{{code}}}</span>'


def name(text: object, longest: int = LONGEST) -> Markup:
    """Return a name of others, whose direction does not reach the text around it."""
    # what is put together here is escaped; Markup.format would take ten times as long
    return Markup(f'<bdi class="name">{shown(text, longest)}</bdi>')  # noqa: S704


def code(text: object, longest: int = 600) -> Markup:
    """Return text in fixed width, such as a digest or a command."""
    return Markup(f"<code><bdi>{shown(text, longest)}</bdi></code>")  # noqa: S704 - escaped by shown


def short(digest: str) -> str:
    """Return the beginning of a digest: ``sha256:0123456789ab``; any other text as it is."""
    algorithm, _, value = digest.partition(":")
    return f"{algorithm}:{value[:_SHORT]}" if _DIGEST.fullmatch(digest) else digest


def moment(value: object) -> datetime | None:
    """Return a time in UTC from Unix time, a datetime or RFC 3339; None for 0, nothing and what is none."""
    try:
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC) if value else None
        found = datetime.fromisoformat(str(value or ""))
    except (ValueError, OverflowError, OSError):
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)


def when(value: object, otherwise: str = "not known") -> Markup:
    """Return a time in UTC; the script shows the reader's own time beside it."""
    found = moment(value)
    if found is None:
        return Markup('<span class="none">{}</span>').format(shown(value) if value else otherwise)
    written = f"{found:%Y-%m-%dT%H:%M:%S}Z"
    return Markup(f'<time datetime="{written}">{written[:10]} {written[11:19]} UTC</time>')  # noqa: S704


def day(value: object) -> str:
    """Return the day of a time: ``1 Oct 2026``."""
    found = moment(value)
    return f"{found.day} {found:%b %Y}" if found else "not known"


def calendar(value: date) -> str:
    """Return a day of the calendar: ``1 Oct 2026``."""
    return f"{value.day} {value:%b %Y}"


def duration(seconds: float | None) -> str:
    """Return a number of seconds: ``42 s``, ``3 m 5 s``, ``2 h 10 m``, ``3 d 4 h``."""
    if seconds is None:
        return "not known"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} m {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} m"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def number(value: int) -> str:
    """Return a number with its thousands: ``1,204``."""
    return f"{value:,}"


def web_url(text: str) -> str:
    """Return the address if a text is one of the web, as a browser reads it, else an empty text.

    Taken is ``https://`` and ``http://`` without a user, blanks, controls or characters beyond ASCII, and
    git's form of it: ``git+https://HOST/REPO.git@REVISION`` without the revision.
    """
    bare = text.removeprefix("git+")
    if bare != text:
        scheme, _, rest = bare.partition("://")
        bare = f"{scheme}://{rest.partition('@')[0]}"
    if len(bare) > _LONGEST_LINK or not _LINK.fullmatch(bare) or "\\" in bare:
        return ""
    try:
        parts = urlsplit(bare)
        port = parts.port
    except ValueError:
        return ""
    del port
    return bare if parts.hostname and "@" not in parts.netloc else ""


def web_link(text: str, label: str = "") -> Markup:
    """Return a link to an address of the web; the text alone if it is none."""
    url = web_url(text)
    if not url:
        return name(label or text)
    return Markup('<a class="out" href="{}" rel="noopener noreferrer nofollow">{}</a>').format(
        url, name(label or text)
    )


def segment(text: str) -> str:
    """Return text as one part of a path; empty if no browser would keep it as one."""
    return "" if text in {"", ".", ".."} else quote(text, safe="")


def slug(text: str) -> str:
    """Return a text as part of an element's id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:60].strip("-") or "part"
