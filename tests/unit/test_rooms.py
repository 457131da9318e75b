"""The layout of the code, as far as import-linter does not hold it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("chains", "signers", "storage")
ROOMS = sorted(
    path.parent.relative_to(ROOT).as_posix()
    for package in PACKAGES
    for path in (ROOT / package).rglob("__init__.py")
)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_its_purpose_and_has_at_most_twenty_files(room: str) -> None:
    files = list((ROOT / room).glob("*.py"))
    assert len(files) <= 20
    assert ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))


def test_every_folder_with_code_is_a_room() -> None:
    folders = {
        path.parent.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    }
    assert folders == set(ROOMS)


def test_unit_tests_lie_as_the_code_does() -> None:
    tests = ROOT / "tests" / "unit"
    found = {
        path.parent.relative_to(tests).as_posix()
        for package in PACKAGES
        for path in (tests / package).rglob("test_*.py")
    }
    assert {"chains/verify", "signers/formats", "storage/oci"} <= found <= set(ROOMS)
