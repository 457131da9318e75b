"""The page that teaches ``inspect``, from the first command to the last."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from chains.cli.index import diff, inspect_evidence, lineage

ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs" / "inspect.md").read_text()


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
    assert told.stdout.count("\nVERIFIED ") == 3
    assert "\nDIFFERENT 5 differences\n" in told.stdout
    assert "\nSAME no difference\n" in told.stdout
    assert told.stdout.count("\nLINEAGE made from ") == 3
    ET.parse(tmp_path / "lineage.svg")
    assert json.loads((tmp_path / "page.json").read_text())["verdict"] == "VERIFIED"
    pages = (tmp_path / "pages.txt").read_text()
    assert pages.count("VERIFIED bundle-a") == 3, pages


def test_every_section_of_the_text_is_explained() -> None:
    text = (ROOT / "tests" / "golden" / "pages" / "a-run.txt").read_text()
    sections = set(re.findall(r"^ {0,2}([A-Z][A-Z ]+[A-Z])(?= \(|:|$)", text, re.MULTILINE)) - {"BUILD"}
    assert len(sections) > 10
    for section in sections:
        assert f"`{section}`" in PAGE


@pytest.mark.parametrize("code", range(5))
def test_every_exit_code_is_explained(code: int) -> None:
    assert f"| {code} |" in PAGE


def test_the_options_that_others_do_not_have_are_explained() -> None:
    own = {"run", "policy", "predicate_type", "all", "run_b", "depth", "key", "output"}
    named = {
        option.name
        for option in (*inspect_evidence.inspect.params, *diff.diff.params, *lineage.lineage.params)
    }
    assert own <= named
    for name in own:
        assert f"`--{name.replace('_', '-')}" in PAGE
