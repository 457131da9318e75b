"""The runbooks of the evidence browser are tried on a process of it: what they describe is brought about and seen.

Of the commands those that read the log are run, by a shell in which ``kubectl`` prints the log of the process.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from tests.testbed.ports import free_ports
from tests.unit.chains.index.query.index import Row, Run, sqlite_index
from tests.unit.chains.web.access.test_gate import PROXY
from tests.unit.test_deploy import RUNBOOKS

pytestmark = pytest.mark.server
CHAINS = Path(sys.executable).with_name("chains")


class Browser:
    """A process of ``chains web``, and whoever reads the runbooks to it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "web.log"
        self.port, self.health = free_ports(2)
        self.access = folder / "access.yaml"
        self.access.write_text(PROXY)
        self.index = folder / "index.db"
        run = Run("00000000-0000-4000-8000-000000000001", "shop", "build")
        sqlite_index(self.index, [Row("01" * 32, run, "x", namespace="shop")])

    @contextmanager
    def running(self, access_log: str) -> Iterator[None]:
        command = [
            CHAINS, "web", "--index", self.index, "--port", str(self.port), "--health-port", str(self.health),
            "--access", self.access, "--access-log", access_log,
        ]  # fmt: skip
        with self.log.open("ab") as log:
            process = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            self.wait(lambda: self.read("/readyz") == "ok\n")
            yield
        finally:
            process.terminate()
            process.wait(60)

    def ask(self, path: str = "/search") -> int:
        """Ask as somebody whom the proxy names; return the status."""
        request = Request(f"http://127.0.0.1:{self.port}{path}", headers={"X-Forwarded-User": "bob"})
        try:
            with urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    def read(self, path: str) -> str:
        """Return what the health port answers; empty when there is no answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.health}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            with error:
                return error.read().decode()
        except (URLError, OSError):
            return ""

    def wait(self, condition, seconds: float = 200) -> None:  # type: ignore[no-untyped-def]
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.1)

    def shows(self, runbook: str) -> None:
        """Wait until everything that the runbook says can be seen is seen."""
        symptoms = (RUNBOOKS / f"{runbook}.md").read_text().partition("## Symptoms")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| ([^|]+) \| (.+) \|$", symptoms, re.MULTILINE)
        assert len(rows) > 1, runbook
        for where, what in rows[1:]:
            self.wait(lambda where=where, what=what: self.sees(where, what))

    def sees(self, where: str, what: str) -> bool:
        quoted = re.findall(r"`([^`]+)`", what)
        if where == "log":
            return quoted[0] in self.log.read_text()
        if where == "`/readyz`":
            return self.read("/readyz") == ""
        assert where == "metric"
        name, _, rest = re.sub(r"\{.*\}", "", quoted[0]).partition(" ")
        labels = re.findall(r'\w+="[^"]+"', quoted[0])
        samples = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", self.read("/metrics"), re.MULTILINE)
        total = sum(float(value) for found, value in samples if all(each in found for each in labels))
        return total == float(rest) if rest else total > 0

    def printed(self, runbook: str) -> str:
        """Run the commands that read the log, and return what they print."""
        text = (RUNBOOKS / f"{runbook}.md").read_text()
        blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines() if " logs " in line]
        script = f"kubectl() {{ cat {self.log}; }}\n" + "\n".join(lines)
        done = subprocess.run(
            ["bash", "-uc", script], capture_output=True, text=True, timeout=60, check=False
        )
        assert not done.stderr, done.stderr
        return done.stdout


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    return Browser(tmp_path)


def test_a_refused_access_file_and_an_index_that_is_gone_show_as_the_runbooks_say(browser: Browser) -> None:
    with browser.running(os.devnull):
        assert browser.ask() == 200
        browser.access.write_text("tokens: [{name: x}]")
        browser.wait(
            lambda: browser.ask() == 200 and browser.sees("metric", "`chains_web_access_refused 1.0`")
        )
        browser.shows("ChainsWebAccessRefused")
        assert "the changed access file is refused" in browser.printed("ChainsWebAccessRefused")
        browser.access.write_text(PROXY)
        browser.wait(
            lambda: browser.ask() == 200 and browser.sees("metric", "`chains_web_access_refused 0.0`")
        )
        browser.shows("ChainsWebSlow")
        browser.index.unlink()
        browser.wait(lambda: browser.ask() >= 500)
        browser.shows("ChainsWebErrors")
        assert "an answer could not be made" in browser.printed("ChainsWebErrors")
    browser.shows("ChainsWebAbsent")
    assert browser.printed("ChainsWebAbsent")


def test_an_access_log_on_a_full_disk_shows_as_the_runbook_says(browser: Browser) -> None:
    with browser.running("/dev/full"):
        assert browser.ask() == 503
        browser.shows("ChainsWebLogFails")
