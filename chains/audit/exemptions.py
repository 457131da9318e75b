"""Exemptions of policies as entries of a ledger, and which of them cover a run. Pure.

An entry says in one form what is exempt: the pattern of images, the rules, the policy. A later entry about
the same ends an earlier one, so an exemption that is withdrawn gets an entry that ends at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from chains.audit.ledger.entries import Entry, Exemption, fit_reason, moment
from chains.errors import UsageError
from chains.policy.document.patterns import ImagePattern
from chains.policy.document.policy import Policy
from chains.tekton.raw import parse_time
from chains.text import plain, rfc3339
from storage.formats.reference import Image

MOST = 1000
"""Exemptions that a ledger notes; of further ones the number."""
WITHDRAWN = "it is in no policy any more"
_WHAT = re.compile(r"(?P<image>\S+) is exempt from (?P<rules>\S+) of (?P<policy>\S+)")


def entries_of(policies: Iterable[Policy], at: datetime) -> list[Exemption]:
    """Return an entry for each exemption of the policies that is not over.

    ``by`` is its reference, such as a ticket, and the digest of the policy.
    """
    found = []
    for policy in policies:
        for one in policy.exemptions:
            if not one.is_over(at):
                what = f"{one.image.text} is exempt from {','.join(one.rules)} of {policy.name}"
                by = fit_reason(f"{one.reference} (policy {policy.digest})")
                found.append(Exemption(at, plain(what), by, fit_reason(one.reason), moment(one.until)))
    if len(found) > MOST:
        left = Exemption(at, f"{len(found) - MOST} more exemptions", "", "they are too many to be noted")
        return [*found[:MOST], left]
    return found


def changes(before: Iterable[Exemption], now: Sequence[Exemption], at: datetime) -> Iterator[Exemption]:
    """Yield the entries that are news: new and changed exemptions, and those that were withdrawn."""
    known = {one.what: one for one in before}
    for one in now:
        old = known.pop(one.what, None)
        if old is None or (old.by, old.reason, old.until) != (one.by, one.reason, one.until):
            yield one
    for old in known.values():
        if old.until and old.until > moment(at):
            yield Exemption(at, old.what, old.by, WITHDRAWN, moment(at))


@dataclass(frozen=True, slots=True)
class SignedExemption:
    """An exemption in a signed day of a ledger, and from when to when it counted."""

    image: ImagePattern
    rules: tuple[str, ...]
    policy: str
    by: str
    reason: str
    since: datetime
    until: datetime | None

    def covers(self, images: Sequence[Image], rules: Sequence[str], start: datetime, end: datetime) -> bool:
        """Whether it is about one of the images and rules, and counted between two times. No rules: any."""
        return (
            self.since <= end
            and (self.until is None or start < self.until)
            and (not rules or not set(rules).isdisjoint(self.rules))
            and any(map(self.image.matches, images))
        )

    @property
    def words(self) -> str:
        """The exemption in one line."""
        end = f" until {rfc3339(self.until)}" if self.until is not None else ""
        return (
            f"{self.image.text} is exempt from {', '.join(self.rules)} of policy {self.policy}{end}: "
            f"{self.reason} ({self.by}; noted at {rfc3339(self.since)})"
        )


def covering(
    found: Iterable[SignedExemption], images: Sequence[Image], rules: Sequence[str], ended: str, now: datetime
) -> str:
    """Return the exemptions that cover a run, in words: those that counted from its end until now."""
    at = parse_time(ended) or now
    return "; ".join(one.words for one in found if one.covers(images, rules, at, now))


def signed_exemptions(entries: Iterable[Entry], until: datetime | None) -> list[SignedExemption]:
    """Return the exemptions of the entries before ``until``, the end of what is signed; None: nothing is."""
    found: list[SignedExemption] = []
    last: dict[str, int] = {}
    for one in entries:
        if not isinstance(one, Exemption) or until is None or one.at >= until:
            continue
        matched = _WHAT.fullmatch(one.what)
        end = parse_time(one.until) if one.until else None
        if matched is None or (one.until and end is None):
            continue
        if (place := last.get(one.what)) is not None:
            old = found[place]
            ends = [each for each in (old.until, one.at) if each is not None]
            found[place] = SignedExemption(
                old.image, old.rules, old.policy, old.by, old.reason, old.since, min(ends)
            )
        try:
            image = ImagePattern.parse(matched["image"])
        except UsageError:
            continue
        last[one.what] = len(found)
        rules = tuple(matched["rules"].split(","))
        found.append(SignedExemption(image, rules, matched["policy"], one.by, one.reason, one.at, end))
    return [one for one in found if one.until is None or one.until > one.since]
