"""The key services of the testbed, each started for the first test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest

from signers.base import Signer, open_signer
from signers.kms import KmsSettings
from tests.testbed.key_services import KeyServer

NAMES = ("aws moto", "google wire protocol", "azure wire protocol", "vault wire protocol", "pkcs11 softhsm")


class KeyServices:
    """``server(name)`` starts a service once; ``open`` opens a key as that service's users do."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._running: dict[str, KeyServer] = {}

    def server(self, name: str) -> Any:
        if name not in self._running:
            self._running[name] = self._stack.enter_context(self._start(name))
        return self._running[name]

    def _start(self, name: str) -> AbstractContextManager[KeyServer]:
        # each client library takes a second or more to import
        kind = name.rsplit(maxsplit=1)[-1] if name.startswith("pkcs11") else name.split(maxsplit=1)[0]
        start = getattr(import_module(f"tests.testbed.key_services.{kind}"), kind)
        folders = [self._folder / kind] if kind in {"azure", "softhsm"} else []
        return cast("AbstractContextManager[KeyServer]", start(*folders))

    def settings(self, name: str) -> KmsSettings | None:
        if not name.startswith("vault"):
            return None
        return KmsSettings(address=self.server(name).address, token="root-token")

    def open(self, name: str, reference: str) -> Signer:
        return open_signer(reference, settings=self.settings(name))


@pytest.fixture(scope="session")
def key_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyServices]:
    with ExitStack() as stack:
        yield KeyServices(tmp_path_factory.mktemp("key-services"), stack)


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
