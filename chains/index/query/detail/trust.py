"""Whom an index trusted when it judged: as its build was told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chains.index.query.scope import View
from chains.index.query.sql import Sql


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A public key as PEM, with its status and the times between which it counts, as they were given."""

    pem: str
    status: str
    not_before: str
    not_after: str


@dataclass(frozen=True, slots=True)
class Trusted:
    """The keys, and everything else of the trust as JSON. ``digest`` is the SHA-256 of all of it, in hex."""

    keys: tuple[TrustedKey, ...]
    rest: Mapping[str, Any]
    digest: str


def trusted_of(view: View) -> Trusted:
    """Return whom the index trusted, as far as the view may tell it. What is not there is empty.

    Readers of some namespaces are not told the names of policies: those are about all namespaces.
    """
    rows = view.reader.rows(Sql("SELECT key, value FROM meta WHERE key IN ('criteria', 'policy')"))
    known = {key: value for key, value in rows}  # noqa: C416 - rows are tuples of one of two drivers
    try:
        told = json.loads(known.get("criteria", "{}"))
    except ValueError:
        told = {}
    told = told if isinstance(told, dict) else {}
    if view.namespaces is not None:
        told.pop("documents", None)
    keys = [one for one in told.pop("keys", None) or () if isinstance(one, dict) and one.get("pem")]
    return Trusted(
        tuple(
            TrustedKey(
                str(one["pem"]),
                str(one.get("status") or ""),
                str(one.get("notBefore") or ""),
                str(one.get("notAfter") or ""),
            )
            for one in keys
        ),
        {name: value for name, value in told.items() if value},
        known.get("policy", ""),
    )
