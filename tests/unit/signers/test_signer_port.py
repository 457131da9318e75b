from __future__ import annotations

from pathlib import Path

import pytest

from signers import errors
from signers.base import Signer
from signers.errors import SignerError, SignerRejected
from signers.keys.keyfile import generate_key, write_key_pair
from signers.open import SIGNERS, open_signer, shown_reference


def test_a_path_and_its_url_open_the_same_signer(tmp_path: Path) -> None:
    path = str(tmp_path / "a.key")
    write_key_pair(tmp_path / "a.key", generate_key("ed25519"))
    assert open_signer(path).keyid == open_signer(f"file://{path}").keyid


def test_an_unknown_scheme_lists_the_known_and_repeats_no_secret() -> None:
    with pytest.raises(SignerRejected) as caught:
        open_signer("vault://user:hunter2@example.test/key")
    assert str(caught.value) == (
        "unknown scheme 'vault' in a key reference: expected a path or one of awskms://, azurekms://, file://, "
        "gcpkms://, hashivault://, openbao://, pkcs11:"
    )


def test_what_is_no_scheme_is_not_repeated() -> None:
    for reference in ("user:hunter2@host://key", "x" * 33 + "://key"):
        with pytest.raises(SignerRejected, match=r"unknown scheme \(not shown\) in a key reference"):
            open_signer(reference)


def test_a_reference_is_shown_by_its_scheme_alone() -> None:
    shown = {
        "keys/a.key": "keys/a.key",
        "file:///keys/a.key": "file:///keys/a.key",
        "hashivault://s.hunter2@key": "hashivault:…",
        "pkcs11:object=o?pin-value=hunter2": "pkcs11:…",
        "hunter2://x": "(not shown)",
        "-----BEGIN PRIVATE KEY-----": "(a key's text)",
    }
    assert {reference: shown_reference(reference) for reference in shown} == shown


def test_a_key_given_as_its_own_reference_is_not_repeated() -> None:
    pem = generate_key("ed25519").decode()
    for reference in (pem, f"file://{pem}", f"{pem}://"):
        with pytest.raises(SignerRejected) as caught:
            open_signer(reference)
        assert pem.splitlines()[1][:3] not in str(caught.value)


def test_an_entry_that_gives_no_signer_is_a_mistake_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIGNERS, "odd", "signers.errors:SignerRejected")
    with pytest.raises(TypeError, match="did not return a signer"):
        open_signer("odd://x")


def test_every_error_of_the_room_is_a_signer_error() -> None:
    for name in ("SignerUnavailable", "SignerRejected", "FormatError", "VerificationError"):
        assert issubclass(getattr(errors, name), SignerError)
    assert Signer.__abstractmethods__ == {"sign"}
