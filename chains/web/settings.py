"""What the browser shows beside the index, and where it listens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chains.index.database import Place
from signers.keys.keyset import ListedKey
from storage.base import StoreOptions


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The options of ``chains web``. Everything but the index is optional: a page says what is not given.

    ``audits`` are files or folders with results of ``chains audit --output json``, ``reports`` and
    ``policies`` are folders or files. ``ledger`` is the folder of a ledger, whose days ``ledger_keys`` may
    sign. ``health_port`` is for probes and metrics; 0: none. ``records`` are files or folders with exported
    runs.
    """

    index: Place
    host: str = "127.0.0.1"
    port: int = 8088
    processes: int = 1
    health_port: int = 0
    audits: Sequence[Path] = ()
    reports: Sequence[Path] = ()
    policies: Sequence[Path] = ()
    records: Sequence[Path] = ()
    ledger: Path | None = None
    ledger_keys: Sequence[ListedKey] = ()
    store_options: StoreOptions = field(default_factory=StoreOptions)
