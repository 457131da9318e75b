"""Man pages: one for every command, valid, the same bytes each time, and nothing of a text is obeyed as a request."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from chains.cli.arguments import OK, Argument, Option
from chains.cli.commands import Command, Group
from chains.cli.main import program
from chains.cli.manual.described import describe
from chains.cli.manual.pages import man_pages
from chains.cli.manual.topics import TOPICS


def groff(*pages: Path) -> str:
    """What groff says about pages with all its warnings on, and nothing else."""
    if shutil.which("groff") is None:
        assert os.environ.get("CI") != "true", "groff is missing: .ci/run installs groff-base"
        pytest.skip("groff is not installed")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tutf8", "-rLL=100n", *map(str, pages)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    return done.stderr + done.stdout if done.stderr else done.stdout


def test_every_command_and_topic_has_a_page_which_groff_formats_without_a_warning(tmp_path: Path) -> None:
    done = CliRunner().invoke(program, ["man", str(tmp_path)])
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"man pages are in {tmp_path}" in done.stderr
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.?")}
    names = {f"man1/{'-'.join(one.path)}.1" for one in describe(program).all()}
    assert written == names | {f"man7/chains-{topic}.7" for topic in TOPICS}
    assert "man1/chains-keys-generate.1" in written
    pages = sorted(tmp_path.rglob("*.?"))
    text = groff(*pages)
    assert "warning" not in text
    assert "error" not in text.partition("NAME")[0]


def test_a_page_says_what_the_help_says() -> None:
    page = man_pages(program, "1.2.3")["chains-verify.1"]
    assert page.startswith('.TH "CHAINS\\-VERIFY" 1 "" "provenance\\-chains 1.2.3" "Chains"\n')
    for option in describe(program, ("verify",)).options:
        assert option.twin in page
    assert ".BR chains (1)," in page
    assert page == man_pages(program, "1.2.3")["chains-verify.1"]


def test_text_is_never_a_request(tmp_path: Path) -> None:
    hostile = '.so /etc/passwd\n\'br \\fBbold -- "quoted" \\'
    command = Command(
        "x", lambda _: OK, [Argument("a", hostile, hostile), Option("--o", hostile)], text=hostile
    )
    pages = man_pages(Group("chains", [command]), "1")
    file = tmp_path / "chains-x.1"
    file.write_text(pages["chains-x.1"], encoding="utf-8")
    shown = " ".join(groff(file).split())
    assert "warning" not in shown
    assert '.so /etc/passwd \'br \\fBbold -- "quoted" \\' in shown
    assert "root:" not in shown


def test_a_description_of_an_unknown_command_is_an_error() -> None:
    with pytest.raises(KeyError, match="keys nothing"):
        describe(program, ("keys", "nothing"))
    assert isinstance(program, click.Group)
