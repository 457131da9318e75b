"""Answers about signatures are remembered by key, signature and signed bytes, and by nothing less."""

from __future__ import annotations

import pytest

from signers.errors import VerificationError
from signers.keys import known_signatures
from signers.keys.known_signatures import known_made_by, made_by
from signers.keys.public_key import PublicKey
from tests.faults.verify.forge import signer


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_signatures, "_known", {})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The data of every operation with a public key."""
    asked: list[bytes] = []
    original = PublicKey.verify

    def counting(self: PublicKey, signature: bytes, data: bytes) -> None:
        asked.append(data)
        original(self, signature, data)

    monkeypatch.setattr(PublicKey, "verify", counting)
    return asked


OURS, OTHER = signer("ours"), signer("stranger")
KEY, STRANGE = PublicKey.from_pem(OURS.public_pem), PublicKey.from_pem(OTHER.public_pem)


def test_a_question_is_answered_by_the_key_once(asked: list[bytes]) -> None:
    signature = OURS.sign(b"data")
    assert [known_made_by(KEY, signature, b"data") for _ in range(3)] == [True] * 3
    assert [known_made_by(KEY, signature, b"date") for _ in range(3)] == [False] * 3
    assert asked == [b"data", b"date"]


def test_another_key_signature_or_text_is_another_question() -> None:
    signature = OURS.sign(b"data")
    changed = signature[:-1] + bytes([signature[-1] ^ 1])
    for _ in range(2):
        assert known_made_by(KEY, signature, b"data")
        assert not known_made_by(STRANGE, signature, b"data")
        assert not known_made_by(KEY, changed, b"data")
        assert not known_made_by(KEY, signature, b"")
        assert not known_made_by(KEY, b"", b"data")
        assert known_made_by(STRANGE, OTHER.sign(b"data"), b"data")


def test_the_oldest_answer_is_forgotten_and_given_again(
    asked: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_signatures, "MOST", 3)
    signatures = {text: OURS.sign(text) for text in (b"1", b"2", b"3", b"4")}
    for text, signature in signatures.items():
        assert known_made_by(KEY, signature, text)
    assert len(known_signatures._known) == 3
    assert known_made_by(KEY, signatures[b"4"], b"4")
    assert known_made_by(KEY, signatures[b"1"], b"1")
    assert asked == [b"1", b"2", b"3", b"4", b"1"]


def test_the_answer_about_a_long_signature_is_not_kept() -> None:
    assert not known_made_by(KEY, b"x" * 5000, b"data")
    assert known_signatures._known == {}


def test_an_error_that_is_no_answer_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: PublicKey, signature: bytes, data: bytes) -> None:
        raise MemoryError

    signature = OURS.sign(b"data")
    with monkeypatch.context() as patched:
        patched.setattr(PublicKey, "verify", broken)
        with pytest.raises(MemoryError):
            known_made_by(KEY, signature, b"data")
    assert known_made_by(KEY, signature, b"data")
    with pytest.raises(VerificationError):
        KEY.verify(b"", b"data")
    assert not made_by(KEY, b"", b"data")
