"""Log lines of the processes that work in a cluster: one JSON object each, on standard error."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from chains.masking.forms import mask
from chains.terminal import log_here
from chains.text import to_json

_STANDARD = frozenset(vars(logging.makeLogRecord({})))


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message and what was passed as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        written: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask(record.getMessage()),
        }
        written |= {
            key: mask(value) if isinstance(value, str) else value
            for key, value in vars(record).items()
            if key not in _STANDARD and key[0] != "_"
        }
        if record.exc_info:
            written["error"] = mask(self.formatException(record.exc_info))
        return to_json(written)


def log_as_json() -> None:
    """Send the controller's log lines to standard error; of kopf and aiohttp only warnings and errors."""
    log_here(JsonLines(), logging.INFO)
    for noisy in ("kopf", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
