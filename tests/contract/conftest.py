"""Runs tests with each key service of the testbed."""

from __future__ import annotations

import pytest

from tests.testbed.key_services.every import NAMES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses ``service_name`` once per key service. SoftHSM must be installed.

    A PKCS #11 module receives no requests, so no request to it can be refused: a test that uses ``networked``
    runs without it.
    """
    if "service_name" in metafunc.fixturenames:
        marks = {"pkcs11 softhsm": [pytest.mark.server]}
        names = [name for name in NAMES if name not in marks or "networked" not in metafunc.fixturenames]
        metafunc.parametrize(
            "service_name", [pytest.param(name, marks=marks.get(name, [])) for name in names]
        )
