"""What ``verify`` is given by strangers takes it no more memory than it may have: whole processes, as measured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.hostile import MOST_MIB, run_case
from tests.testbed.hostile import hostile_registry

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with hostile_registry() as host:
        yield host


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("bundle-file", 1),
        ("run-file", 4),
        ("layout-index", 4),
        ("folder", 1),
        ("registry-lists", 1),
        ("registry-referrers", 1),
        ("registry-endless", 1),
        ("registry-tokens", 4),
    ],
)
def test_hostile_evidence_is_refused_within_256_mib(registry: str, case: str, code: int) -> None:
    found = run_case(case, registry)
    assert found.code == code, found.said
    assert found.peak <= MOST_MIB


@pytest.mark.parametrize(
    ("case", "code"), [("bundle-file", 1), ("run-file", 4), ("folder", 1), ("registry-referrers", 1)]
)
def test_hostile_evidence_is_no_page_within_256_mib(registry: str, case: str, code: int) -> None:
    found = run_case(case, registry, "inspect")
    assert found.code == code, found.said
    assert found.peak <= MOST_MIB
