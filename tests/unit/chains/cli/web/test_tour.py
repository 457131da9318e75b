"""``docs/audit-tour.md``: every command runs and says what stands under it, and every link has the words beside it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.testbed.ports import free_ports
from tests.unit.chains.cli.test_revocation_page import run_shell
from tests.unit.chains.cli.web.test_serving import SECONDS, answer_of
from tests.unit.chains.web.world import visible

ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs" / "audit-tour.md").read_text()
STEPS = re.findall(r"^```sh\n(.*?)^```\n\n```text\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
ADDRESS = "http://127.0.0.1:8088"
LINKS = re.findall(rf"{ADDRESS}(/\S+)(.*?)(?={ADDRESS}|^\d\. |^!)", PAGE, re.DOTALL | re.MULTILINE)
END = "@@ end of a step @@"


@pytest.fixture(scope="module")
def toured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder in which the commands of the page have run, and what each step printed."""
    folder = tmp_path_factory.mktemp("tour")
    shell = "exec 2>&1\n" + "".join(f"{commands}\necho '{END}'\n" for commands, _ in STEPS)
    told = run_shell(shell, folder)
    assert told.returncode == 0, told.stdout
    return folder, told.stdout.split(END)[:-1]


def folded(text: str) -> str:
    return " ".join(text.split())


def test_every_command_says_what_stands_under_it(toured: tuple[Path, list[str]]) -> None:
    assert len(STEPS) == len(re.findall(r"^```sh$", PAGE, re.MULTILINE)) == len(toured[1])
    for (commands, lines), printed in zip(STEPS, toured[1], strict=True):
        rest = folded(printed)
        for line in lines.splitlines():
            wanted = ".*?".join(re.escape(part) for part in folded(line).split("…"))
            found = re.search(wanted, rest)
            assert found, f"after\n{commands}\nthere is no\n{line}\nin\n{printed}"
            rest = rest[found.end() :]


def test_every_link_leads_to_a_page_with_the_words_beside_it(toured: tuple[Path, list[str]]) -> None:
    folder, _ = toured
    (command,) = re.findall(r"^    chains (web .*)$", PAGE, re.MULTILINE)
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "chains", *command.split(), "--port", str(port)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        missing = []
        for link, said in LINKS:
            words = re.findall(r"`([^`]+)`", folded(said))
            assert words, link
            text = visible(answer_of(f"http://127.0.0.1:{port}{link}", process))
            missing += [(link, word, text) for word in words if word not in text]
        assert missing == []
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(SECONDS)
    assert code == 0
    assert len(LINKS) == PAGE.count(ADDRESS)
