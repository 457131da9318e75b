"""``docs/ledger.md`` is true from the first command to the last, and lists every entry and code."""

from __future__ import annotations

import re
from pathlib import Path

from chains.audit.ledger.entries import EntryKind
from chains.config.keys import KEYS
from tests.unit.chains.cli.test_revocation_page import run_shell

ROOT = Path(__file__).parents[6]
PAGE = (ROOT / "docs" / "ledger.md").read_text()


def test_the_page_is_true_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    told = run_shell(shell, tmp_path)
    assert told.returncode == 0, told.stderr + told.stdout
    assert told.stdout.count("3 of 3 closed days verified") == 2
    assert "2 of 3 closed days verified" in told.stdout
    assert told.stdout.endswith("exit code 1\n")


def test_the_page_has_a_row_for_every_kind_of_entry() -> None:
    table = PAGE[PAGE.index("| entry | when |") :]
    assert {kind.value for kind in EntryKind} - set(re.findall(r"`([a-z]+)`", table)) == set()


def test_the_page_has_a_row_for_every_code_that_is_found() -> None:
    found = set()
    for path in (ROOT / "chains" / "audit" / "ledger").glob("*.py"):
        found |= set(re.findall(r'(?:find\(|Finding\()\s*"([a-z-]+)"', path.read_text()))
        found |= set(
            re.findall(r"^_CODES = \{(.*)\}", path.read_text(), re.MULTILINE)
            and ["chain", "counts", "balance"]
        )
    table = PAGE[PAGE.index("| code | what is wrong |") :]
    assert found - set(re.findall(r"`([a-z-]+)`", table)) == set()
    assert len(found) >= 13


def test_the_keys_that_the_page_names_exist() -> None:
    named = set(re.findall(r"`(ledger\.[a-z]+)`", PAGE)) - {"ledger.pub", "ledger.pem"}
    assert named == {name for name in KEYS if name.startswith("ledger.")}
