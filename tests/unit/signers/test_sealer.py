"""What a sealer with a key in a service gives again, so that nothing is signed twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from signers import sealer as module
from signers.base import Signer
from signers.keys.keyfile import generate_key, open_keyfile, write_key_pair
from signers.sealer import Sealer

PAYLOAD_TYPE = "application/vnd.in-toto+json"


class Remote(Signer):
    """Signs as a service does: off the event loop, and counted."""

    remote = True
    deterministic = False

    def __init__(self) -> None:
        with TemporaryDirectory() as folder:
            write_key_pair(Path(folder) / "a.key", generate_key("ecdsa-p256"))
            self.inner = open_keyfile(str(Path(folder) / "a.key"))
        self.keyid, self.public_pem, self.algorithm = (
            self.inner.keyid, self.inner.public_pem, self.inner.algorithm,
        )  # fmt: skip
        self.signed: list[bytes] = []

    def sign(self, data: bytes) -> bytes:
        self.signed.append(data)
        return self.inner.sign(data)


def signed_by(*payloads: bytes) -> int:
    """Return how many signatures were made for payloads that are sealed one after the other."""
    signer = Remote()
    found = Sealer(signer)

    async def seal() -> None:
        for payload in payloads:
            await found.seal(payload, PAYLOAD_TYPE)

    asyncio.run(seal())
    found.close()
    return len(signer.signed)


def test_what_was_sealed_lately_is_given_again() -> None:
    assert signed_by(b"a", b"b", b"a", b"b") == 2


def test_the_seals_that_are_given_again_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 4000)
    assert signed_by(b"a", b"b", b"a", b"b", b"a", b"b") == 2
    assert signed_by(b"a", b"b", b"c", b"d", b"a") == 5, "the first has made room"


def test_one_that_is_larger_than_all_may_be_is_given_again_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 4000)
    large = b"x" * 10_000
    assert signed_by(b"a", large, large) == 2
    assert signed_by(large, b"b", b"b", large) == 3, "it has made room"


def test_the_same_payload_at_the_same_time_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_BYTES", 4000)
    signer = Remote()
    found = Sealer(signer)

    async def seal() -> None:
        await asyncio.gather(*(found.seal(b"a", PAYLOAD_TYPE) for _ in range(8)))
        await found.seal(b"b", PAYLOAD_TYPE)
        before = len(signer.signed)
        await found.seal(b"a", PAYLOAD_TYPE)
        assert len(signer.signed) == before

    asyncio.run(seal())
    found.close()
