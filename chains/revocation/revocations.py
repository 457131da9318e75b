"""What is revoked, from all lists that were configured: the object that verification asks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

from chains.revocation.entry import Entry, Kind
from chains.text import count, rfc3339

if TYPE_CHECKING:
    from chains.revocation.document import RevocationList

_COMMIT = "gitCommit"
"""in-toto's name for the digest of a commit: a SHA-1, or a SHA-256 in repositories that have these."""
_SHA256_DIGITS = 64


@dataclass(frozen=True)
class Revocations:
    """All revocation lists that count, and why another that was configured cannot be used.

    ``Revocations()`` is none at all. A list that cannot be used makes every answer undecided; it is never
    left out.
    """

    lists: tuple[RevocationList, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def is_configured(self) -> bool:
        """Whether anybody asked for a list."""
        return bool(self.lists or self.problems)

    @cached_property
    def digest(self) -> str:
        """``sha256:HEX`` of all that was read, for the keys of caches; empty for none at all."""
        if not self.is_configured:
            return ""
        told = "\n".join([*sorted(one.digest for one in self.lists), *sorted(self.problems)])
        return "sha256:" + hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()

    def problem(self, now: datetime) -> str:
        """Return why nothing can be decided now; empty if every list counts."""
        if self.problems:
            return self.problems[0]
        over = next((one for one in self.lists if one.expires is not None and one.is_over(now)), None)
        if over is None or over.expires is None:
            return ""
        return f"version {over.version} of the list ended at {rfc3339(over.expires)}: get the newest list"

    def __str__(self) -> str:
        return " and ".join(
            f"version {one.version}, {count(len(one.entries), 'entry', 'entries')}, {one.digest}"
            for one in self.lists
        )

    def key(self, keyid: str, times: Sequence[datetime]) -> Entry | None:
        """Return the entry because of which a signature of this key does not count."""
        return self._struck(Kind.KEY, [keyid], times)

    def identity(self, identity: str, issuer: str, times: Sequence[datetime]) -> Entry | None:
        """Return the entry because of which a signature with such a certificate does not count."""
        found = [entry for one in self.lists for entry in one.by_identity.get((identity, issuer), ())]
        for entry in (entry for one in self.lists for entry in one.expressions):
            wanted = entry.identity
            if wanted and wanted.san.matches(identity) and wanted.issuer.matches(issuer):
                found.append(entry)
        return _first(found, times)

    def image(self, digest: Mapping[str, str]) -> Entry | None:
        """Return the entry of an image with one of these digests. No time of evidence makes it right."""
        return self._struck(Kind.IMAGE, _spelled(digest), ())

    def builder(self, builder_id: str, times: Sequence[datetime]) -> Entry | None:
        """Return the entry because of which provenance of this builder does not count."""
        return self._struck(Kind.BUILDER, [builder_id], times)

    def verifier(self, verifier_id: str, times: Sequence[datetime]) -> Entry | None:
        """Return the entry because of which a summary by this verifier does not count."""
        return self._struck(Kind.VERIFIER, [verifier_id], times)

    def task(self, digests: Iterable[Mapping[str, str]], times: Sequence[datetime]) -> Entry | None:
        """Return the entry of a Task, Pipeline or StepAction with one of these digest sets."""
        return self._struck(Kind.TASK, [value for digest in digests for value in _spelled(digest)], times)

    def has(self, kind: Kind) -> bool:
        """Whether anything of this kind is revoked."""
        return any(kind in one.kinds for one in self.lists)

    def _struck(self, kind: Kind, values: Iterable[str], times: Sequence[datetime]) -> Entry | None:
        found = (one.by_value.get((kind, value)) for value in values for one in self.lists)
        return _first([entry for entry in found if entry is not None], times)


def all_of(*given: Revocations) -> Revocations:
    """Return what any of these revokes, each list once."""
    lists = {one.digest: one for each in given for one in each.lists}
    problems = {problem: None for each in given for problem in each.problems}
    return Revocations(tuple(lists.values()), tuple(problems))


def _first(found: Sequence[Entry], times: Sequence[datetime]) -> Entry | None:
    return next((entry for entry in found if entry.strikes(times)), None)


def _spelled(digest: Mapping[str, str]) -> list[str]:
    """Return digests as a list has them: hex digits in lower case, a commit by its algorithm."""
    found = []
    for name, value in digest.items():
        if isinstance(value, str):
            commit = "sha256" if len(value) == _SHA256_DIGITS else "sha1"
            found.append(f"{commit if name == _COMMIT else name}:{value.lower()}")
    return found
