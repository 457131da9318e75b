"""The bill of materials of one artifact, before it is written in a format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from deploy.release.artifacts import Artifact
from deploy.release.inventory import Component


@dataclass(frozen=True, slots=True)
class Bill:
    """What an artifact contains or brings. Equal bills give equal documents."""

    artifact: Artifact
    root: Component
    """The artifact itself, with the package URLs of its direct dependencies."""
    components: Sequence[Component]
    created: datetime
    """The time of the commit, so that the document can be built again."""
    comment: str
    """Where versions and licences come from, in one sentence or two."""

    @property
    def uuid(self) -> UUID:
        """An id that only this artifact has."""
        return uuid5(NAMESPACE_URL, f"https://provenance.chains/bill/{self.artifact.digest}")
