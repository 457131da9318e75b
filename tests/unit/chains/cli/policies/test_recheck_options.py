"""The options of re-check: what is refused before anything is opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chains.cli.main import run as chains
from tests.unit.chains.policy.made import document


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--recheck", "often"], "--recheck 'often': expected 0 or a time up to 30d, such as 90s, 30m or 1h"),
        (["--recheck", "31d"], "--recheck '31d': expected 0 or a time up to 30d, such as 90s, 30m or 1h"),
        (["--recheck-reports"], "--recheck-reports belongs to --recheck: there is nothing to report"),
        (
            ["--recheck", "0s", "--recheck-reports"],
            "--recheck-reports belongs to --recheck: there is nothing",
        ),
        (
            ["--recheck", "1h", "--no-cluster"],
            "--recheck reads the pods of a cluster: leave --no-cluster out",
        ),
    ],
)
def test_an_option_of_recheck_that_means_nothing_is_refused(
    given: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(document()))
    assert chains(["admission", str(policy), *given]) == 2
    assert told in capsys.readouterr().err


def test_the_interval_comes_from_the_environment_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps(document()))
    monkeypatch.setenv("CHAINS_RECHECK", "often")
    code = chains(["admission", str(policy)])
    told = capsys.readouterr().err
    assert (code, "--recheck 'often'" in told) == (2, True), told
