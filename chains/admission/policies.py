"""The policies in force: read from a file or folder, and again when it changes.

A change that cannot be used is refused as a whole and reported. The last good policies stay in force.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from chains.documents.load import read_bytes
from chains.errors import ChainsError, InputError
from chains.policy.document.files import files_of, policy_files
from chains.policy.document.format import LARGEST, Mode
from chains.policy.document.load import load_policies
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy, Opener
from chains.text import told
from signers.errors import SignerError
from storage.errors import StoreError

INTERVAL = 2.0
"""Seconds between two looks at the policy files."""
OPEN_AGAIN = 300.0
"""Seconds after which keys that a policy names by reference are read again."""
_STRICTEST = (Mode.ENFORCE, Mode.WARN, Mode.AUDIT)
_log = logging.getLogger("chains.admission")


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Policies that are in force together.

    ``digest`` stands for everything that their answers depend on besides evidence and time: their documents,
    keys, trusted roots and revocation lists. ``moments`` are the times at which an answer may change by
    itself, sorted.
    """

    policies: tuple[OpenedPolicy, ...]
    digest: str
    moments: tuple[datetime, ...]

    @classmethod
    def of(cls, policies: Iterable[OpenedPolicy]) -> PolicySet:
        """Return the set of these policies, ordered by name."""
        ordered = tuple(sorted(policies, key=lambda opened: opened.policy.name))
        parts = [
            "\n".join((one.policy.name, one.policy.digest, *one.trust_digests)).encode() for one in ordered
        ]
        digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
        moments = {moment for opened in ordered for moment in _moments(opened)}
        return cls(ordered, f"sha256:{digest}", tuple(sorted(moments)))

    def fitting(self, namespace: Namespace | None) -> list[OpenedPolicy]:
        """Return the policies for a namespace, in their order."""
        return [opened for opened in self.policies if opened.policy.is_for(namespace)]

    @property
    def needs_labels(self) -> bool:
        """Whether a policy chooses namespaces by their labels."""
        wanted = (opened.policy.namespaces for opened in self.policies)
        return any(one is not None and (one.labels or one.conditions) for one in wanted)

    def next_change(self, now: datetime) -> datetime | None:
        """Return the next moment at which an answer may change by itself, None if there is none."""
        place = bisect_right(self.moments, now)
        return self.moments[place] if place < len(self.moments) else None


def _moments(opened: OpenedPolicy) -> Iterator[datetime]:
    for exemption in opened.policy.exemptions:
        yield exemption.until
    for signer in (*opened.signers, *opened.accept):
        for window in signer.criteria.windows.values():
            yield from (moment for moment in (window.not_before, window.not_after) if moment is not None)
    for one in opened.revocations.lists:
        if one.expires is not None:
            yield one.expires


def strictest_mode(policies: Sequence[OpenedPolicy]) -> Mode:
    """Return the mode that counts where no policy decides about the image itself; there must be a policy."""
    return min((opened.policy.mode for opened in policies), key=_STRICTEST.index)


class PoliciesInForce:
    """Keeps :attr:`current` up to date with a file or folder. ``on_change`` is called after each change.

    ``lists`` are revocation lists that ``opener`` reads besides those that policies name. A list that cannot
    be read is no reason to keep the one before: with it, answers are undecided.
    """

    def __init__(
        self,
        path: Path,
        opener: Opener,
        on_change: Callable[[], None] = lambda: None,
        *,
        lists: Sequence[Path] = (),
    ) -> None:
        self._path, self._opener, self._on_change = path, opener, on_change
        self._given = self._lists = tuple(lists)
        self._seen: object = None
        self._references: tuple[Path, ...] = ()
        self._open_again = 0.0
        self.current: PolicySet | None = None
        """The policies in force, None if there were no good ones yet."""
        self.refused = ""
        """Why the newest policies are not in force, empty if they are."""

    @property
    def trouble(self) -> str:
        """Why there are no policies at all, empty if there are."""
        return "" if self.current is not None else self.refused or "no policies were read yet"

    @property
    def _is_troubled(self) -> bool:
        """Whether something may have been mended that no file shows: the state file of a list, too."""
        policies = self.current.policies if self.current else ()
        return bool(self.refused) or any(one.revocations.problems for one in policies)

    async def look(self) -> None:
        """Look once, and put changed policies into force if all of them can be used. Never raises."""
        try:
            seen = await asyncio.to_thread(self._fingerprint)
            # what was refused is read again although it looks as before: it may have been put back
            if seen == self._seen and not self._is_troubled and time.monotonic() < self._open_again:
                return
            found = await asyncio.to_thread(self._read)
        except (ChainsError, SignerError, StoreError) as error:
            self._refuse(str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a file, the last good policies stay
            _log.exception("the policies cannot be read")
            self._refuse(f"unexpected {type(error).__name__}; please report it")
            return
        is_new = self.current is None or self.current.digest != found.digest
        # what changed is read once more at the next look: its files may have changed while they were read
        self._open_again = time.monotonic() + (0 if is_new else OPEN_AGAIN)
        self._seen = seen
        self._use(found, is_new=is_new)

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            await self.look()

    def _use(self, found: PolicySet, *, is_new: bool) -> None:
        was_refused, self.refused = self.refused, ""
        if is_new:
            self.current = found
            names = [f"{one.policy.name} ({one.policy.mode.value})" for one in found.policies]
            _log.info("new policies are in force", extra={"policies": names, "digest": found.digest})
        elif was_refused:
            _log.info("the policies in force are the newest again", extra={"digest": found.digest})
        self._on_change()

    def _refuse(self, reason: str) -> None:
        if reason != self.refused:
            kept = "the last good ones stay in force" if self.current else "there are none in force"
            _log.error("the newest policies are refused; %s", kept, extra={"reason": told(reason)})
        self.refused = reason
        self._on_change()

    def _read(self) -> PolicySet:
        found = PolicySet.of(self._opener(policy) for policy in load_policies(self._path))
        if not found.policies:
            raise InputError(f"{self._path}: no policies")
        policies = [one.policy for one in found.policies]
        named = (Path(one.folder) / one.revocations.path for one in policies if one.revocations)
        self._lists = tuple(dict.fromkeys((*self._given, *named)))
        named = (path for policy in policies for path in files_of(policy))
        self._references = tuple(path for path in dict.fromkeys(named) if path not in self._lists)
        return found

    def _fingerprint(self) -> object:
        """Return what changes when a policy file, or a file that a policy names, gets another content.

        Raises :class:`InputError`.
        """
        files = [file for file in policy_files(self._path) if file not in self._lists]
        found: list[object] = [
            (str(file), hashlib.sha256(read_bytes(file, LARGEST)).digest())
            for file in (*files, *self._references)
        ]
        return found + [(str(path), _state_of(path)) for path in self._lists]


def _state_of(path: Path) -> object:
    """Return what changes when a file, which may be large or away, gets another content."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        return str(error)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode
