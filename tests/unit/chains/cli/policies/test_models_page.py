"""The page about models, from the first command to the last."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs" / "mlops.md").read_text()


def test_the_page_is_true_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    told = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", shell],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "EXAMPLES": str(ROOT / "examples"),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr + told.stdout
    assert told.stdout.count("\nVERIFIED ") == 2
    assert "dataset          s3://training-data/churn/2026-10/train.parquet" in told.stdout
    assert "FAIL somebody-else (rule_failed)" in told.stdout
