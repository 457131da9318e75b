"""All key services. Each is started on first use."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest

from signers.base import Signer
from signers.kms.service import KmsSettings
from signers.open import open_signer
from tests.testbed.key_services import KeyServer

NAMES = ("aws moto", "google wire protocol", "azure wire protocol", "vault wire protocol", "pkcs11 softhsm")


class KeyServices:
    """``server(name)`` starts a service once; ``open`` opens a key as the users of that service do."""

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
        with pytest.MonkeyPatch.context() as patch:
            if name.startswith("aws"):
                self.server(name).set_environment(patch)
            return open_signer(reference, settings=self.settings(name))
