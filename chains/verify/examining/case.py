"""One question about one target, with everything that its answer needs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from chains.verify.criteria import Criteria
from chains.verify.search import Search
from chains.verify.subject import Wanted
from chains.verify.verdict import Target

if TYPE_CHECKING:
    from chains.revocation.revocations import Revocations


@dataclass(frozen=True, slots=True)
class Case:
    """One question with everything that its answer needs; ``is_alone`` if it is about one file.

    ``revocations`` are what no longer counts, None without any list.
    """

    target: Target
    wanted: Wanted
    criteria: Criteria
    stores: tuple[str, ...]
    now: datetime
    found: Search
    is_alone: bool = False
    revocations: Revocations | None = None
