"""A question about a run, apart from what compares it, which a question about an image does not need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from chains.verify.verdict import Check

if TYPE_CHECKING:
    from chains.statements.statement import ResourceDescriptor, Statement
    from chains.tekton.snapshot import RunSnapshot
    from chains.verify.subject import Authentic

REPORT_CHECK = "execution-report"
MATCH_CHECK = "statement-matches-run"
UID_CHECK = "invocation-id"
SIDECAR_CHECK = "sidecars"


class RunQuestion(ABC):
    """What statements must be about: a run, whose record is compared with them."""

    run: RunSnapshot

    @property
    @abstractmethod
    def subjects(self) -> Sequence[ResourceDescriptor]:
        """The artifacts of the run."""

    @abstractmethod
    def match(self, found: Authentic) -> list[Check]:
        """Return the checks that connect a statement with the run."""

    @abstractmethod
    def is_image(self, sha256: str) -> bool:
        """Whether one of the run's artifacts has this digest."""

    @abstractmethod
    def is_uid(self, uid: str) -> bool:
        """Whether ``uid`` is this run's and not empty."""

    @abstractmethod
    def learn(self, report: Statement) -> bool:
        """Note what a valid report records; return whether anything is new."""
