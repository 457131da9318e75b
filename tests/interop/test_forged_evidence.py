"""The same forged files before ``chains verify`` and stock cosign: equal answers, but for the documented ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.verify.forged_cases import CASES, COSIGN, file
from tests.testbed.cosign import Cosign

pytestmark = pytest.mark.server


def test_cosign_answers_as_we_do_or_the_difference_is_documented(cosign: Cosign) -> None:
    def is_taken(name: str) -> bool:
        asked = CASES[name].cosign or CASES[name].asked
        done = cosign("verify-blob-attestation", "--bundle", file(name), *COSIGN, *asked, check=False)
        return done.returncode == 0

    with ThreadPoolExecutor(4) as pool:
        found = dict(zip(CASES, pool.map(is_taken, CASES), strict=True))
    # what tests/unit/chains/verify/test_forged.py holds us to, and cosign's word where it is another one
    assert found == {name: not case.reason or case.differs for name, case in CASES.items()}
