"""The tutorial, followed literally: its blocks of shell in an empty folder, and what the text promises of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[5]


def test_the_tutorial_leads_from_nothing_to_an_enforced_policy(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), re.DOTALL)
    # "! command" does not end a script, whatever its exit code is, so each is checked
    script = re.sub(
        r"^! (.*)$",
        r"if \1; then echo 'it must fail: \1' >&2; exit 99; fi",
        "".join(blocks),
        flags=re.MULTILINE,
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CHAINS_")}
    environment |= {
        "EXAMPLES": str(ROOT / "examples"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "layer-cache" in done.stderr
    verdicts = re.findall(r"^(VERIFIED|FAILED|NOT_FOUND|INDETERMINATE)\b", done.stdout, re.MULTILINE)
    assert verdicts[:1] == ["VERIFIED"]
    assert "FAILED" in verdicts
    assert "key_unknown" in done.stdout
    assert "NOT_FOUND" in verdicts
    assert "2 images of 2 uses: 1 pass, 1 fail" in done.stdout
    assert "got none found" in done.stdout
    assert "mode: enforce" in (tmp_path / "enforced.yaml").read_text()
