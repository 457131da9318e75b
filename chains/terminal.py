"""Output: every line on standard output and standard error is written by this module.

All text is escaped as in :mod:`chains.text`. Errors and log lines can quote foreign text, so whatever looks
like a secret is removed from them too. Results are written unmasked.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import TextIO

from chains.text import plain, plain_json, to_json, told

_STYLE = re.compile(r"(\x1b\[[0-9;]*m)")
"""Select Graphic Rendition (ECMA-48, 8.3.117): colour, bold, dim, and back."""
_LEAST_COLUMNS = 40
"""The smallest width for folding; a narrower terminal is treated as this wide."""


def write_text(text: str) -> None:
    """Write lines of a result to standard output.

    A line break begins a new line, so the caller passes every foreign value through ``plain`` first.
    """
    _to_output("\n".join(map(plain, text.split("\n"))))


def write_styled(text: str) -> None:
    """Write lines of a result with colours and other styles to standard output, which is a terminal.

    Styles are the only control sequences that are not escaped. The caller passes every foreign value through
    ``plain`` first, so that it cannot contain styles.
    """
    _to_output("\n".join(map(_plain_but_styles, text.split("\n"))))


def _plain_but_styles(line: str) -> str:
    # split() returns text and styles in turns
    parts = _STYLE.split(line)
    return "".join(part if number % 2 else plain(part) for number, part in enumerate(parts))


def write_line(text: str) -> None:
    """Write one line of a result to standard output."""
    _to_output(plain(text))


def write_json(value: object, *, indent: bool = False) -> None:
    """Write a result as JSON to standard output."""
    _to_output(to_json(value, indent=indent))


def write_document(data: bytes) -> None:
    """Write a JSON document to standard output, byte for byte. On a terminal it is escaped as in JSON."""
    if sys.stdout is not None and sys.stdout.isatty():
        _to_output(plain_json(data.decode(errors="surrogateescape")))
    else:
        _to_output(data)


def _to_output(written: str | bytes) -> None:
    if sys.stdout is None:
        raise OSError(errno.EBADF, "closed")
    data = written.encode() if isinstance(written, str) else written
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


def drop_output() -> None:
    """Discard the rest of standard output, after its reader has closed it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str, *more: str) -> None:
    """Write a message to standard error; each of ``more`` becomes an indented line below it."""
    write_error("\n".join((f"chains: {told(text)}", *(f"  {told(line)}" for line in more))))


def write_error(text: str) -> None:
    """Write lines to standard error. Foreign values in them are ``plain``, as in :func:`write_text`."""
    if sys.stderr is not None:
        lines = "".join(f"{plain(line)}\n" for line in text.split("\n"))
        encoding = sys.stderr.encoding or "utf-8"
        sys.stderr.write(lines.encode(encoding, errors="backslashreplace").decode(encoding))
        sys.stderr.flush()


def write_error_line(text: str) -> None:
    """Write one line to standard error, for a log that may lose none.

    Raises :class:`OSError` if it is closed.
    """
    if sys.stderr is None:
        raise OSError(errno.EBADF, "closed")
    write_error(plain(text))


def watched_error() -> TextIO | None:
    """Return standard error if it is a terminal, else None."""
    stream = sys.stderr  # None if the process was started without it
    return stream if stream is not None and stream.isatty() else None


def terminal_width() -> int | None:
    """Return the width of the terminal in columns, or None if standard output is not a terminal.

    ``COLUMNS`` overrides the width. Output to a file or a pipe is never folded, because programs read it by
    lines.
    """
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return max(shutil.get_terminal_size().columns, _LEAST_COLUMNS)


def traceback_lines(error: BaseException) -> Iterator[str]:
    """Yield the lines of an exception, its causes and the members of its group. Every line is plain."""
    seen: set[int] = set()

    def lines(found: BaseException) -> Iterator[str]:
        seen.add(id(found))
        cause = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
        if cause is not None and id(cause) not in seen:
            yield from lines(cause)
            yield "then"
        for entry in traceback.format_tb(found.__traceback__):
            yield from map(plain, entry.rstrip("\n").split("\n"))
        yield told(f"{type(found).__module__}.{type(found).__qualname__}: {found}")
        yield from (told(str(note)) for note in getattr(found, "__notes__", ()))
        for one in found.exceptions if isinstance(found, BaseExceptionGroup) else ():
            if id(one) not in seen:
                yield from (f"  {line}" for line in lines(one))

    return lines(error)


class TextLines(logging.Formatter):
    """A log line for people: level, logger and message on one line, then the lines of a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines of a record."""
        head = told(f"chains: {record.levelname.lower()}: {record.name}: {record.getMessage()}")
        error = record.exc_info[1] if record.exc_info else None
        below = [] if error is None else [f"  {line}" for line in traceback_lines(error)]
        return "\n".join((head, *below))


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. A failure to format it is written instead and does not raise."""
        try:
            write_error(self.format(record))
        except Exception as error:  # noqa: BLE001 - a log line must never stop the work
            say(f"a log line of {record.name} cannot be written: {type(error).__name__}")


def log_here(formatter: logging.Formatter, level: int) -> None:
    """Send the log lines of the process and of every library to standard error through this module."""
    handler = _LogHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)


def take_over() -> None:
    """Make log lines, warnings and tracebacks of Python itself go through this module."""
    log_here(TextLines(), logging.WARNING)
    warnings.showwarning = _show_warning
    sys.excepthook = _tell_uncaught
    sys.unraisablehook = lambda told: _tell(told.exc_value, "a failure that nobody can catch")
    threading.excepthook = lambda told: _tell(told.exc_value, "a thread failed")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del filename, lineno, file, line
    say(f"warning: {category.__name__}: {message}")


def _tell_uncaught(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    _tell(error, "an unexpected failure; please report it")


def _tell(error: BaseException | None, what: str) -> None:
    say(f"error: {what}", *(traceback_lines(error) if error is not None else ()))
