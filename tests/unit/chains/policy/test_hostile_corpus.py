"""The hostile corpus: every piece of it gets a verdict with a reason, within limited memory and processor time.

The limits are those of the operating system for a process of its own, so that no load of the machine matters.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.chains.policy.corpus import CASES, EXPRESSIONS

Json = Any
ROOT = Path(__file__).parents[4]
EXIT_CODES = {"VERIFIED": 0, "FAILED": 1}


@pytest.fixture(scope="module")
def told() -> Json:
    """What the limited process said about all of it."""
    command = [sys.executable, "-m", "tests.unit.chains.policy.corpus"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CASES)
def test_hostile_evidence_gets_a_verdict_with_a_reason(name: str, told: Json) -> None:
    found = told["answers"][name]
    assert found["verdict"] == CASES[name].verdict
    assert found["wrong"] == CASES[name].wrong
    assert found["exitCode"] == EXIT_CODES[CASES[name].verdict]


def test_no_name_of_a_certificate_explodes(told: Json) -> None:
    assert dict(zip(EXPRESSIONS, told["fits"], strict=True)) == {
        "(a+)+": [False, True],
        "(a|a)*b": [False, False],
        "(a?){40}a{40}": [False, False],
        ".*a.*a.*b": [False, False],
        "(?:a|aa)+b": [False, False],
        "(.*)(.*)(.*)y": [False, False],
    }
