"""One key of each kind that signs, made once, and the kinds that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from signers.base import Signer
from signers.keys.keyfile import GENERATORS, generate_key, open_keyfile
from signers.keys.public_key import PublicKey


@pytest.fixture(scope="session")
def pems() -> dict[str, bytes]:
    """Algorithm -> private key as unencrypted PEM PKCS #8."""
    return {algorithm: generate_key(algorithm) for algorithm in GENERATORS}


@pytest.fixture(scope="session")
def signers(pems: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Signer]:
    """Algorithm -> signer."""
    folder = tmp_path_factory.mktemp("keys")
    opened = {}
    for algorithm, pem in pems.items():
        path = folder / f"{algorithm}.key"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        opened[algorithm] = open_keyfile(str(path))
    return opened


@pytest.fixture(scope="session")
def keys(signers: dict[str, Signer]) -> dict[str, PublicKey]:
    """Algorithm -> public key."""
    return {algorithm: PublicKey.from_pem(signer.public_pem) for algorithm, signer in signers.items()}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a private file and return its path."""

    def _write(data: bytes, name: str = "the.key", mode: int = 0o600) -> str:
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(mode)
        return str(path)

    return _write
