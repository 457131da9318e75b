"""``chains web`` as a process: the page of its documentation runs, it answers, and it ends when it is told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.testbed.ports import free_ports

ROOT = Path(__file__).parents[5]
SECONDS = 120


def answer_of(url: str, process: subprocess.Popen[bytes]) -> str:
    """Return what a server answers, as soon as it does."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=SECONDS) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise AssertionError(f"{url} was not answered: exit code {process.poll()}")


def test_the_page_s_commands_run_and_the_browser_answers_and_ends(tmp_path: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / "docs/web.md").read_text(), re.DOTALL)
    assert blocks
    environment = os.environ | {
        "EXAMPLES": str(ROOT / "examples"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    script = "set -euo pipefail\n" + "".join(blocks)
    subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path, check=True, capture_output=True)
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "chains", "web", "--port", str(port), "--processes", "2", "--runs", "pipelinerun.json"],
        cwd=tmp_path,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        text = answer_of(f"http://127.0.0.1:{port}/search?q=type:provenance", process)
        assert "registry.example.com/shop/storefront" in text
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(SECONDS)
    assert code == 0


def test_an_address_that_others_reach_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chains", "web", "--host", "0.0.0.0", "--index", "none.db"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "nobody is asked who they are" in done.stderr
