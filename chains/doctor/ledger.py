"""The check of the ledger: each log on its own, because one that is damaged stops only its share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chains.audit.ledger.close import due_days, last_closed
from chains.audit.ledger.entries import moment
from chains.audit.ledger.errors import LedgerError, LedgerMissing
from chains.audit.ledger.folder import LogFolder, find_logs
from chains.audit.ledger.replay import position_of
from chains.config.parse import Config
from chains.doctor.report import DoctorCheck
from chains.text import count

_SILENT = timedelta(minutes=20)
"""Two heartbeats."""
_GRACE = timedelta(hours=1)
_MOUNT = "mount the volume of ledger.folder there, writable for the user of this process"
_RESTORE = (
    "'chains ledger verify' names every fault of the log; restore its folder from a copy: the runs of its "
    "share are held until then"
)


def check_ledger(config: Config, now: datetime, *, in_pod: bool) -> Iterator[DoctorCheck]:
    """Yield what is wrong with the ledger's folder and with each log in it; nothing without a ledger."""
    name, folder = "ledger", Path(config.ledger.folder)
    if not config.ledger.enabled:
        return
    if not folder.exists() and not in_pod:
        yield DoctorCheck(name, "skipped", f"{folder} is not on this machine: run it in the controller's pod")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield DoctorCheck(name, "failed", f"{folder}: it does not exist, or cannot be written", _MOUNT)
        return
    try:
        logs = find_logs(folder)
    except LedgerMissing:
        yield DoctorCheck(name, "ok", f"{folder}: no controller has written to it yet")
        return
    except LedgerError as error:
        yield DoctorCheck(name, "failed", str(error), _MOUNT)
        return
    for log in logs:
        yield _check_log(log, now)


def _check_log(log: LogFolder, now: datetime) -> DoctorCheck:
    name = f"ledger {log.path.name}"
    try:
        position = position_of(log, last_closed(log))
        due = list(due_days(log, (now - _GRACE).astimezone(UTC).date()))
    except LedgerError as error:
        return DoctorCheck(name, "failed", str(error), _RESTORE)
    size = count(position.frontier.size, "entry", "entries")
    if due:
        step = "the log of the controller says why ('a day of the ledger cannot be closed')"
        return DoctorCheck(name, "warning", f"{size}; {due[0].isoformat()} is over and not signed", step)
    if position.last is None or position.has_ended:
        return DoctorCheck(name, "ok", size)
    told = f"{size}, the last at {moment(position.last)}"
    if now - position.last > _SILENT:
        step = "start the controller; if it runs, its log says why ('the ledger cannot be written')"
        return DoctorCheck(name, "warning", f"{told}: no controller writes it", step)
    return DoctorCheck(name, "ok", told)
