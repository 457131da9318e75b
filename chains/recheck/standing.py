"""What was said about each image that runs, from round to round, and what has to be told: pure.

An image fails until it is said to pass. A round that could not decide about it changes nothing of that, so a
registry that is away for an hour makes nobody hear of a failure twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from chains.errors import UsageError
from chains.policy.document.patterns import read_image, with_registry
from chains.preflight.answer import ImageCheck, State
from chains.tekton.workloads import Workload


class Standing(StrEnum):
    """What the last round said about an image in a namespace.

    An image is skipped if no policy is for it, or if the container runtime reports a digest that no registry
    can look up.
    """

    PASSES = "passes"
    FAILS = "fails"
    UNDECIDED = "undecided"
    SKIPPED = "skipped"


_STANDINGS: Mapping[State, Standing] = {
    State.PASS: Standing.PASSES,
    State.FAIL: Standing.FAILS,
    State.UNDECIDED: Standing.UNDECIDED,
    State.SKIP: Standing.SKIPPED,
}


@dataclass(frozen=True, slots=True)
class Key:
    """An image by digest in a namespace; by its text if it has no digest."""

    namespace: str
    image: str

    @classmethod
    def of(cls, check: ImageCheck) -> Key:
        """Return the key of a check: one image may be written in several ways."""
        namespace = check.uses[0].namespace
        try:
            repository = str(read_image(with_registry(check.image)).repository)
        except UsageError:
            return cls(namespace, check.image)
        return cls(namespace, f"{repository}@{check.digest}" if check.digest else check.image)


@dataclass(slots=True)
class Record:
    """What is remembered about one image.

    ``failing_since`` is None unless it fails. ``has_passed`` says that a round saw it pass. ``told`` are the
    workloads of a failing image that have an Event.
    """

    standing: Standing
    failing_since: datetime | None = None
    has_passed: bool = False
    told: set[Workload] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Change:
    """What has to be told about one image: to which workloads, and whether it fails or passes again."""

    key: Key
    check: ImageCheck
    workloads: Sequence[Workload]
    fails: bool
    since: datetime
    has_passed: bool


class Standings:
    """All images of the last whole round. Use from one event loop."""

    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}

    def take(self, checks: Iterable[ImageCheck], now: datetime) -> list[Change]:
        """Take the checks of a whole round, and return what has to be told. Other images are forgotten."""
        records: dict[Key, Record] = {}
        changes: list[Change] = []
        for check in checks:
            key = Key.of(check)
            standing = _STANDINGS[check.state]
            record = records[key] = self._records.get(key) or Record(standing)
            record.standing = standing
            workloads = list(dict.fromkeys(use.workload for use in check.uses))
            record.told.intersection_update(workloads)
            match standing:
                case Standing.FAILS:
                    since = record.failing_since = record.failing_since or now
                    untold = [one for one in workloads if one not in record.told]
                    if untold:
                        changes.append(Change(key, check, untold, True, since, record.has_passed))
                case Standing.PASSES | Standing.SKIPPED:
                    if record.failing_since is not None and standing is Standing.PASSES and record.told:
                        told = [one for one in workloads if one in record.told]
                        changes.append(Change(key, check, told, False, record.failing_since, True))
                    record.failing_since = None
                    record.told.clear()
                    record.has_passed |= standing is Standing.PASSES
                case Standing.UNDECIDED:
                    pass
        self._records = records
        return changes

    def tell(self, change: Change, workload: Workload) -> None:
        """Remember that a workload was told about a failing image."""
        if change.fails and (record := self._records.get(change.key)) is not None:
            record.told.add(workload)

    def counts(self) -> dict[Standing, int]:
        """Return the number of images with each standing. An image fails until it is said to pass."""
        found = Counter(
            Standing.FAILS if record.failing_since is not None else record.standing
            for record in self._records.values()
        )
        return {standing: found[standing] for standing in Standing}

    def forget(self) -> None:
        """Forget everything: another process has the rounds."""
        self._records = {}
