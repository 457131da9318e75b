"""The names that reports contain: each is documented, and their values are what verifiers compare."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from chains.isolation.finding import LEVELS, Answer, Level
from chains.statements.attributes import Attribute, RunOutcome
from chains.statements.formats import FORMATS, Format
from chains.statements.provenance import BUILDERS

PAGE = (Path(__file__).parents[4] / "docs" / "execution-report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", [*Attribute, *Level, *RunOutcome])
def test_the_page_of_the_report_has_every_word_of_it(word: str) -> None:
    assert f"`{word}`" in PAGE


def test_levels_are_ordered_from_the_weakest_and_written_as_their_words() -> None:
    assert LEVELS == ("not-requested", "requested-only", "unknown", "partly", "enforced")
    assert orjson.dumps([Level.ENFORCED, Answer.UNKNOWN, Attribute.RUN_OUTCOME]) == (
        b'["enforced","unknown","RUN_OUTCOME"]'
    )


def test_every_format_has_its_builder_and_no_other_name_has_one() -> None:
    assert (
        tuple(BUILDERS)
        == tuple(Format)
        == FORMATS
        == ("in-toto", "slsa/v1", "slsa/v2alpha3", "slsa/v2alpha4")
    )
