"""What targets share: who may sign after revocations, and what an engine keeps for how long."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from chains.errors import UsageError
from chains.policy.document.load import parse_policies
from chains.policy.engines.demands import kyverno_cache, signers_of_type, vouchers
from chains.policy.engines.generated import Effect, Limit
from chains.policy.opened import OpenedPolicy, open_policy
from chains.revocation.document import RevocationList
from chains.revocation.entry import Entry, Kind
from chains.revocation.revocations import Revocations
from tests.faults.verify.forge import BUILDER, NOW, public
from tests.unit.chains.policy.made import document, opened, trust

Json = Any
OTHER = "https://example.com/other"


def with_list(*entries: Entry, **more: Json) -> OpenedPolicy:
    data = json.dumps(
        document(trust=[trust("a", "ours"), trust("b", "other"), trust("c", "ours", builder=OTHER)])
    )
    (policy,) = parse_policies(data.encode(), "policy.json").policies
    listed = RevocationList(1, NOW - timedelta(days=1), entries, **more)
    return open_policy(policy, revocations=Revocations((listed,)))


def left(policy: OpenedPolicy) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Return the trust entries and builders that are left, and the limits."""
    limits: list[Limit] = []
    found = {(one.trust, one.builder_id) for one in vouchers(policy, NOW, limits)}
    return found, {(limit.effect.value, limit.what) for limit in limits}


def test_a_revoked_key_is_left_out_and_the_list_is_told_to_be_unread() -> None:
    revoked = with_list(Entry(Kind.KEY, public("ours").keyid, "stolen"))
    assert left(revoked) == ({("b", BUILDER)}, {("weaker", "revocations")})
    signers = signers_of_type(revoked, "https://spdx.dev/Document", NOW, [])
    assert [one.key for one in signers] == [public("other")]


def test_a_key_that_is_revoked_since_a_time_is_left_out_and_told_as_stricter() -> None:
    revoked = with_list(Entry(Kind.KEY, public("other").keyid, "stolen", NOW - timedelta(days=3)))
    told = {("weaker", "revocations"), ("stricter", "trust b")}
    assert left(revoked) == ({("a", BUILDER), ("c", OTHER)}, told)


def test_a_revoked_builder_is_left_out() -> None:
    revoked = with_list(Entry(Kind.BUILDER, BUILDER, "taken over"))
    assert left(revoked) == ({("c", OTHER)}, {("weaker", "revocations")})


def test_nothing_is_written_by_a_list_that_cannot_be_used() -> None:
    with pytest.raises(UsageError, match="policy production: version 1 of the list ended"):
        left(with_list(expires=NOW - timedelta(hours=1)))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "--imageVerifyCacheEnabled=false"),
        (300, "--imageVerifyCacheTTLDuration=300s"),
        (3600, ""),
        (86400, ""),
    ],
)
def test_kyverno_is_told_to_keep_a_pass_no_longer_than_the_policy_allows(seconds: int, told: str) -> None:
    limits = kyverno_cache(opened(document(cacheSeconds=seconds))[0].policy)
    assert [limit.effect for limit in limits] == ([Effect.SETUP] if told else [])
    assert all(limit.text.endswith(told) for limit in limits)
