"""Stores: records (subjects and signed bytes) go in, receipts come out.

Allowed here: where a record is stored, how it is found again, how to talk to a registry, a folder or a
bucket. Not allowed: Tekton, Kubernetes, keys, the meaning of a predicate. No module here imports ``chains``
or ``signers``; callers pass :class:`storage.record.Record`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from storage.base import Store, StoreOptions
    from storage.errors import BadContent, StoreError, StoreRejected, StoreUnavailable, SubjectAbsent
    from storage.open import open_store
    from storage.record import Evidence, Failure, Findings, Receipt, Record

__all__ = [  # noqa: RUF022 - in the order of the work
    "Store", "open_store", "StoreOptions",  # stores
    "Record", "Receipt", "Failure", "Evidence", "Findings",  # what crosses the port
    "StoreError", "StoreUnavailable", "StoreRejected", "SubjectAbsent", "BadContent",  # errors
]  # fmt: skip
_HOMES = {
    "storage.base": ("Store", "StoreOptions"),
    "storage.open": ("open_store",),
    "storage.record": ("Record", "Receipt", "Failure", "Evidence", "Findings"),
    "storage.errors": ("StoreError", "StoreUnavailable", "StoreRejected", "SubjectAbsent", "BadContent"),
}
"""The module of each public name, which is imported when the name is used for the first time."""

DISTRIBUTION = "provenance-chains"
"""The distribution that this package belongs to. Other distributions also install a package named
``storage``; a caller compares this value to detect that the wrong one is on the path."""


def __getattr__(name: str) -> Any:
    """Import a public name where it is used for the first time (PEP 562)."""
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
