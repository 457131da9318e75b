"""The user's price table, with which requested resources become requested cost.

::

    {"currency": "EUR", "cpuHour": "0.031", "memoryGiBHour": "0.0042"}
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from chains.documents.load import load_documents, read_bytes
from chains.errors import InputError

_LARGEST = 64 * 1024
_FIELDS = frozenset({"currency", "cpuHour", "memoryGiBHour"})
_LONGEST_CURRENCY = 16
_MOST = Decimal(1_000_000)
_HOUR, _MILLI, _GIB = 3600, 1000, 1024


@dataclass(frozen=True, slots=True)
class Prices:
    """What an hour of a CPU and of a GiB of memory cost. ``digest`` is that of the file."""

    currency: str
    cpu_hour: Decimal
    memory_hour: Decimal
    digest: str

    def cost(self, cpu: int, memory: int) -> Decimal:
        """Return the cost of requested thousandths of a CPU x seconds, and MiB x seconds."""
        return self.cpu_hour * cpu / (_MILLI * _HOUR) + self.memory_hour * memory / (
            _GIB * _HOUR
        )  # Decimal: the same bytes everywhere


def read_prices(path: Path) -> Prices:
    """Read a price table, JSON or YAML. Raises :class:`InputError`."""
    data = read_bytes(path, _LARGEST)
    found = load_documents(data, str(path))
    table = found[0] if len(found) == 1 else None
    if not isinstance(table, dict) or set(table) != _FIELDS:
        raise InputError(f"{path}: expected the members currency, cpuHour and memoryGiBHour, and no others")
    currency = table["currency"]
    if not isinstance(currency, str) or not 0 < len(currency) <= _LONGEST_CURRENCY:
        raise InputError(f"{path}: currency: expected a word such as EUR")
    return Prices(
        currency,
        _price(path, "cpuHour", table["cpuHour"]),
        _price(path, "memoryGiBHour", table["memoryGiBHour"]),
        f"sha256:{hashlib.sha256(data).hexdigest()}",
    )


def _price(path: Path, name: str, value: object) -> Decimal:
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        found = Decimal("NaN")
    if not (found.is_finite() and 0 <= found <= _MOST):
        raise InputError(f'{path}: {name}: expected a price such as "0.031", got {str(value)[:40]!r}')
    return found
