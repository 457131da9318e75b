"""Tests that are run with each key service of the testbed."""

from __future__ import annotations

import pytest

from tests.testbed.key_services.every import NAMES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for ``service_name`` with each service; SoftHSM has to be installed.

    A module has no requests that could be refused: a test that asks for ``networked`` runs without it.
    """
    if "service_name" in metafunc.fixturenames:
        marks = {"pkcs11 softhsm": [pytest.mark.server]}
        names = [name for name in NAMES if name not in marks or "networked" not in metafunc.fixturenames]
        metafunc.parametrize(
            "service_name", [pytest.param(name, marks=marks.get(name, [])) for name in names]
        )
