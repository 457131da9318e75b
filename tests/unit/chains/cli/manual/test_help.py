"""``chains help``: the same as ``--help``, and topics that agree with the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from chains.cli.main import program
from chains.cli.manual.topics import STORES, TOPICS, VARIABLES, twins
from signers.open import KEY_SERVICES
from storage.open import STORES as SCHEMES

ROOT = Path(__file__).parents[5]


def printed(*words: str) -> str:
    done = CliRunner().invoke(program, list(words))
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("words", ["verify", "keys", "keys generate", "ledger prove", "help", "report"])
def test_the_help_of_a_command_is_what_its_option_prints(words: str) -> None:
    assert printed("help", *words.split()) == printed(*words.split(), "--help")


def test_help_alone_is_the_program_s_help_and_names_the_topics() -> None:
    first, _, topics = printed("help").partition("\nTopics, for chains help TOPIC:\n")
    assert first == printed("--help")
    assert [line.split()[0] for line in topics.splitlines()] == list(TOPICS)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("verfy", "'verfy' is neither a command nor a topic; did you mean verify?"),
        ("store", "'store' is neither a command nor a topic; did you mean stores?"),
        ("keys generat", "'keys generat' is neither a command nor a topic; did you mean generate?"),
        ("verify x", "'verify x' is neither a command nor a topic; see: chains help"),
    ],
)
def test_an_unknown_word_is_told_with_what_is_near(words: str, told: str) -> None:
    done = CliRunner().invoke(program, ["help", *words.split()])
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr


def test_the_topic_of_exit_codes_has_every_one() -> None:
    text = printed("help", "exit-codes")
    assert re.findall(r"^  (\d+) ", text, re.MULTILINE) == ["0", "1", "2", "3", "4", "130"]


def test_the_topic_of_stores_has_every_scheme_that_opens() -> None:
    assert {form.partition(":")[0] for form in STORES} == set(SCHEMES)


def test_the_topic_of_signers_has_every_scheme_with_its_extra() -> None:
    text = printed("help", "signers")
    for scheme, (_, extra) in KEY_SERVICES.items():
        assert re.search(rf"^  {scheme} .*\(extra {extra}\)$", text, re.MULTILINE)


def test_the_topic_of_the_environment_has_every_twin_and_every_variable_that_the_code_reads() -> None:
    text = printed("help", "environment")
    assert "CHAINS_PUBLIC_KEY" in twins(program)
    for name in twins(program):
        assert re.search(rf"^  {name} ", text, re.MULTILINE)
    # a variable that the code reads by its name is listed, or stands in the line of its family
    read: set[str] = set()
    for file in (path for room in ("chains", "signers", "storage") for path in (ROOT / room).rglob("*.py")):
        found = re.findall(r"environb?(?:\.get\(|\[)\"([A-Z_]+)\"", file.read_text(encoding="utf-8"))
        read |= set(found)
    assert "DOCKER_CONFIG" in read
    families = tuple(f"{name.partition('_')[0]}_" for name in VARIABLES)
    usual = {"HOME", "TERM"}
    known = set(VARIABLES) | set(twins(program)) | usual | set(re.findall(r"[A-Z_]{6,}", text))
    assert [name for name in sorted(read - known) if not name.startswith(families)] == []


def completed(line: str) -> list[str]:
    environment = os.environ | {
        "_CHAINS_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "chains"], env=environment, capture_output=True, text=True, check=False
    )
    return [offered.partition(",")[2] for offered in done.stdout.split()]


@pytest.mark.parametrize(
    ("line", "offered"),
    [("chains help st", ["stores"]), ("chains help keys g", ["generate"]), ("chains help verify x", [])],
)
def test_a_shell_completes_commands_and_topics(line: str, offered: list[str]) -> None:
    assert completed(line) == offered
