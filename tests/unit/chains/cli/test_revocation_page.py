"""``docs/revocation.md`` is true from the first command to the last, and the runbook's commands exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from chains.cli.arguments import Option
from chains.cli.main import program
from chains.revocation.document import parse_list
from chains.revocation.entry import Kind

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "revocation.md").read_text()
IMAGE = (
    "registry.example.com/shop/storefront@"
    "sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
)


def run_shell(shell: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    more = {"PATH": path, "EXAMPLES": str(ROOT / "examples"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", shell],
        cwd=folder,
        env={**os.environ, **more, "XDG_STATE_HOME": str(folder / "state")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_page_is_true_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "use.py").write_text(f"IMAGE = {IMAGE!r}\n{block}")
    told = run_shell(f"{shell}\npython use.py\n", tmp_path)
    assert told.returncode == 0, told.stderr + told.stdout
    verdicts = re.findall(r"^(VERIFIED|FAILED|INDETERMINATE) ", told.stdout, re.MULTILINE)
    assert verdicts == ["VERIFIED", "VERIFIED", "FAILED", *["INDETERMINATE"] * 3]
    assert told.stdout.count("key_revoked") >= 1
    assert told.stdout.count("revocation_list_unusable") >= 3
    assert told.stdout.endswith(" FAILED\n")


def test_the_document_of_the_page_is_right() -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert parse_list(block.encode()).version == 7


def test_the_page_has_a_row_for_every_kind() -> None:
    for kind in Kind:
        assert re.search(rf"^\| `--{kind.value}`", PAGE, re.MULTILINE), kind


def test_the_commands_of_the_runbook_do_what_it_says(tmp_path: Path) -> None:
    """Of an example run's key that leaked: steps 2 and 3, the latter with exit code 1."""
    runbook = (ROOT / "docs" / "runbooks" / "a-key-leaked.md").read_text()
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", runbook, re.DOTALL | re.MULTILINE)
    (revoke,) = [one for one in blocks if "revoke sign" in one]
    (check,) = [one for one in blocks if "chains verify" in one]
    given = {
        "TIME": "2026-11-20T08:00:00Z",
        "KEYID": '"$(chains keys public .chains/signing.key --output json | python -c '
        """'import json, sys; print(json.load(sys.stdin)["keyid"])')\"""",
        "IMAGE@sha256:…": IMAGE,
        "--store oci:": "--store oci-layout:.chains/layout",
    }
    for word, value in given.items():
        revoke, check = revoke.replace(word, value), check.replace(word, value)
    example = ROOT / "examples" / "taskrun-image.json"
    shell = f"""
chains attest {example}
chains keys generate lists.pem
cp .chains/signing.pub old.pub
{revoke}
code=0
{check.rstrip()} || code=$?
test $code -eq 1
"""
    told = run_shell(shell, tmp_path)
    assert told.returncode == 0, told.stderr + told.stdout
    assert "key_revoked" in told.stdout


@pytest.mark.parametrize("name", ["verify"])
def test_the_page_names_every_option_with_its_variable(name: str) -> None:
    command = program.get_command(click.Context(program), name)
    assert command is not None
    ours = [one for one in command.params if isinstance(one, Option) and "revocations" in one.opts[0]]
    assert len(ours) == 4
    for option in ours:
        assert f"| `{option.opts[0]}" in PAGE
        assert f"| `{option.twin}` |" in PAGE
