"""What the commands make of ``examples/``: every outcome, verification and stored byte is as it was.

``tests/golden_examples.py`` says what is digested. A change that is meant to alter a statement, a manifest or
an outcome writes the digests again, and its message says why.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.golden_examples import CASES, GOLDEN, digests

KNOWN: dict[str, dict[str, Any]] = orjson.loads(GOLDEN.read_bytes())


def test_every_case_has_its_digests() -> None:
    assert list(KNOWN) == [" ".join(case) for case in CASES]


@pytest.mark.parametrize(("config", "algorithm"), CASES)
def test_statements_manifests_and_outcomes_of_the_examples_are_the_same_byte_for_byte(
    config: str, algorithm: str
) -> None:
    known = KNOWN[f"{config} {algorithm}"]
    assert len(known["outcomes"]) == 19
    assert digests(config, algorithm) == known
