"""Whole numbers beyond 64 bits in what was signed about a run are compared exactly."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from chains.attest.payloads import build_payloads
from chains.config.parse import parse_config
from chains.tekton.run_files import Intake
from chains.tekton.snapshot import RunSnapshot
from chains.verify.runs.exact import exact, to_text
from chains.verify.verdict import Verdict
from storage import lean_json
from tests.faults.verify.forge import HEX, IMAGE, form_b
from tests.unit.chains.verify.test_runs import ask, config, failed, raw, signed

Json = Any
LARGE = 1 << 64
AS_READ = b"1.8446744073709552e+19"
"""How a run with this number is read, and signed."""


def run_of(number: int) -> RunSnapshot:
    """Return a run of a custom task, whose specification may have any number."""
    custom = {"apiVersion": "example.com/v1", "kind": "Custom", "spec": {"size": "NUMBER"}}
    one = raw(pipelineSpec={"tasks": [{"name": "own", "taskSpec": custom}]})
    one |= {
        "kind": "PipelineRun",
        "status": {key: one["status"][key] for key in ("conditions", "startTime", "completionTime")},
    }
    one["status"]["results"] = [
        {"name": "IMAGE_URL", "value": IMAGE},
        {"name": "IMAGE_DIGEST", "value": f"sha256:{HEX}"},
    ]
    intake = Intake()
    intake.add("run.json", json.dumps(one).replace('"NUMBER"', str(number)).encode())
    assert not intake.problems
    (key,) = intake.top()
    return intake.snapshot(key)


@pytest.mark.parametrize(
    "written", [str(LARGE + 1), str(LARGE - 1), str(LARGE + 2048), "1.8446744073709556e+19"]
)
@pytest.mark.parametrize("name", ["slsa/v2alpha3", "slsa/v2alpha4"])
def test_a_signed_number_that_differs_beyond_64_bits_fails(name: str, written: str) -> None:
    run = run_of(LARGE)
    payloads = build_payloads(run, parse_config(config(name)))
    (statement,) = [one.statement for one in payloads if AS_READ in one.statement]
    reports = signed(run, config(name), only="execution-report")
    for number in (AS_READ, b"%d" % LARGE):
        assert ask(run, form_b(statement.replace(AS_READ, number)), *reports).verdict is Verdict.VERIFIED
    found = ask(run, form_b(statement.replace(AS_READ, written.encode())), *reports)
    assert found.verdict is Verdict.FAILED
    assert f"= {written}, as signed" in failed(found).actual


def test_numbers_of_any_size_are_read_and_written_exactly() -> None:
    for number in (0, 10**18, LARGE - 1, LARGE, LARGE + 1, -(1 << 63) - 1, 10**40):
        assert exact(b'{"n": %d}' % number) == {"n": number}
        assert to_text({"n": number, "a": "\u00e9"}) == f'{{"n":{number},"a":"\u00e9"}}'.encode()
        assert to_text({"n": number, "a": 0}, is_sorted=True) == b'{"a":0,"n":%d}' % number
    assert exact(b'{"n": 1.5e30}') == {"n": 1.5e30}
    with pytest.raises(lean_json.TooMany):
        exact(b"[%b]" % b",".join([b"18446744073709551617"] * 11), 10)
    for broken in (b"{", b"[" * 2000 + b"18446744073709551617" + b"]" * 2000, b'{"n":%b}' % (b"1" * 5000)):
        with pytest.raises(ValueError, match=r"."):
            exact(broken)


def test_the_record_of_a_child_is_decoded_exactly_too() -> None:
    text = base64.b64encode(b'{"kind":"TaskRun","n":18446744073709551617}')
    assert exact(base64.b64decode(text)) == {"kind": "TaskRun", "n": LARGE + 1}
