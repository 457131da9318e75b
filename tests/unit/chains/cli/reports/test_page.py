"""``docs/report.md`` is true from the first command to the last, and names every form and part."""

from __future__ import annotations

import re
from pathlib import Path

from chains.report.forms.table import FORMS
from chains.report.gather.limits import LIMITS
from tests.unit.chains.cli.test_revocation_page import run_shell

ROOT = Path(__file__).parents[5]
PAGE = (ROOT / "docs" / "report.md").read_text()


def test_the_page_is_true_from_the_first_command_to_the_last(tmp_path: Path) -> None:
    shell = "\n".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
    told = run_shell(shell, tmp_path)
    assert told.returncode == 0, told.stderr + told.stdout
    assert told.stdout.count("9 of 10 finished runs have evidence that verified") == 2
    assert "VERIFIED november/report.bundle.json" in told.stdout
    assert "Every count of the report is what its sources and stores give now." in told.stdout
    assert "counts.missing: the report says 0, found 1\n" in told.stdout
    assert "FAILED changed/report.bundle.json" in told.stdout
    names = set(re.findall(r"`((?:report|runs|days|[a-z]+)\.(?:json|html|md|csv|pdf))`", PAGE))
    written = {path.name for path in (tmp_path / "november").iterdir()}
    assert names - {"report.schema.json", "prices.json"} <= written | {"report.2.bundle.json"}


def test_the_page_names_every_form() -> None:
    assert {name for name in FORMS if f"`{name}`" not in PAGE} == set()


def test_the_limits_of_the_page_are_those_of_a_report() -> None:
    """The page says them shorter; each subject of one is a subject of the other."""
    told = PAGE[PAGE.index("## What a report does not cover") :]
    for words in ("nothing watched", "no source recorded", "never were runs of Tekton", "what its name says",
                  "two histories", "claims of the cluster"):  # fmt: skip
        assert words in told
        assert any(words in one for one in LIMITS), words
