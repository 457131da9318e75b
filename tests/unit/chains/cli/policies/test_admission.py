"""``chains admission`` and ``admission-certificates``: wrong options are told before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from chains.cli.main import run as chains


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--workload", "Rollout"], "expected GROUP/KIND=PATH"),
        (["--workload", "/Pod=spec.other"], "is known to be elsewhere"),
        (["--port", "0"], "--port '0': expected a whole number from 1 to 65535"),
        (["--health-port", "x"], "--health-port 'x'"),
        (["--processes", "0"], "--processes '0': expected a whole number from 1 to 64"),
        (["--linger-seconds", "-1"], "--linger-seconds"),
        (["--unmatched", "maybe"], "invalid choice: 'maybe' (choose from 'deny', 'warn', 'allow')"),
        (["--kubeconfig", "somewhere"], "--no-cluster and a kubeconfig: pass one of them"),
        (["--revocations", "list.json"], "--revocations needs --revocations-key"),
        (["--pull-secrets"], "--pull-secrets reads the Secrets of a cluster: leave --no-cluster out"),
    ],
)
def test_a_wrong_option_is_a_usage_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    assert chains(["admission", str(tmp_path), "--no-cluster", *options]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--days", "0"], ["--days", "3001"], ["--pause-seconds", "x"]])
def test_a_wrong_option_of_certificates_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert chains(["admission-certificates", *options]) == 2
    assert f"{options[0]} '{options[1]}'" in capsys.readouterr().err
