from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from signers.base import Signer
from signers.errors import SignerRejected, VerificationError
from signers.keys.public_key import PublicKey, find_key, load_public_keys

SPKI = PublicFormat.SubjectPublicKeyInfo

# made with ssh-keygen and openssl from one key: the two names of a key, checked by other programs
FIXED_PEM = b"""-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
"""
FIXED_KEYID = "SHA256:bbXpuKG6zhzdmnxq256TlqzFBzRl2f6OOg722cYNbU8"
FIXED_HINT = "BuP9j9opu2CrWVV95h7bCuzbIxE0vjDnW0Vfjht5L6k="


def test_keys_are_named_as_openssh_and_cosign_name_them() -> None:
    key = PublicKey.from_pem(FIXED_PEM)
    assert (key.keyid, key.cosign_hint, key.algorithm) == (FIXED_KEYID, FIXED_HINT, "ed25519")
    assert key.pem == FIXED_PEM


def test_names_are_the_same_for_every_kind(keys: dict[str, PublicKey]) -> None:
    assert {name: key.algorithm for name, key in keys.items()} == {
        "ecdsa-p256": "ecdsa-p256-sha256",
        "ecdsa-p384": "ecdsa-p384-sha256",
        "rsa-3072": "rsa-3072-sha256",
        "ed25519": "ed25519",
    }
    for key in keys.values():
        der = base64.b64decode(b"".join(key.pem.splitlines()[1:-1]))
        assert key.cosign_hint == base64.b64encode(hashlib.sha256(der).digest()).decode()
        assert len(key.keyid) == len("SHA256:") + 43
        assert find_key(list(keys.values()), key.keyid) is key
        assert find_key(list(keys.values()), key.cosign_hint) is key
    assert find_key(list(keys.values()), "") is None


def test_a_key_does_not_depend_on_the_form_it_was_read_from() -> None:
    private = rsa.generate_private_key(65537, 2048)
    pkcs1 = private.public_key().public_bytes(Encoding.PEM, PublicFormat.PKCS1)
    spki = private.public_key().public_bytes(Encoding.PEM, SPKI)
    assert PublicKey.from_pem(pkcs1) == PublicKey.from_pem(b"a comment\r\n" + spki.replace(b"\n", b"\r\n"))
    assert PublicKey.from_pem(pkcs1).pem == spki
    assert "_key" not in repr(PublicKey.from_pem(spki))


SHAPES: dict[str, Callable[[bytes], bytes]] = {
    "truncated by one byte": lambda sig: sig[:-1],
    "truncated to a half": lambda sig: sig[: len(sig) // 2],
    "empty": lambda sig: b"",
    "first byte changed": lambda sig: bytes([sig[0] ^ 1]) + sig[1:],
    "last bit changed": lambda sig: sig[:-1] + bytes([sig[-1] ^ 1]),
    "with a byte more": lambda sig: sig + b"\0",
    "twice": lambda sig: sig + sig,
    "zeros": lambda sig: bytes(len(sig)),
    "text": lambda sig: b"not a signature",
    "DER of zeros": lambda sig: bytes.fromhex("3006020100020100"),
    "very long": lambda sig: sig * 10_000,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_no_signature_is_invalid(
    shape: str, signers: dict[str, Signer], keys: dict[str, PublicKey]
) -> None:
    for name, signer in signers.items():
        with pytest.raises(VerificationError) as caught:
            keys[name].verify(SHAPES[shape](signer.sign(b"data")), b"data")
        assert caught.value.reason == "signature_invalid"


def test_a_signature_is_good_for_its_own_key_and_data_alone(
    signers: dict[str, Signer], keys: dict[str, PublicKey]
) -> None:
    for signing, signer in signers.items():
        signature = signer.sign(b"data")
        for verifying, key in keys.items():
            if signing == verifying:
                key.verify(signature, b"data")
                with pytest.raises(
                    VerificationError, match="the signature was not made over this data by key SHA256:"
                ):
                    key.verify(signature, b"date")
            else:  # another kind of key, and with P-256 and P-384 another curve
                with pytest.raises(
                    VerificationError, match="the signature was not made over this data by key SHA256:"
                ):
                    key.verify(signature, b"data")


def test_another_key_of_the_same_kind_verifies_nothing(signers: dict[str, Signer]) -> None:
    other = PublicKey.from_key(ec.generate_private_key(ec.SECP256R1()).public_key())
    with pytest.raises(
        VerificationError, match=r"not made over this data by key SHA256:.* \(ecdsa-p256-sha256\)"
    ):
        other.verify(signers["ecdsa-p256"].sign(b"data"), b"data")


@settings(deadline=None)
@given(st.binary(max_size=600), st.binary())
def test_any_bytes_as_signature_are_invalid(
    keys: dict[str, PublicKey], signature: bytes, data: bytes
) -> None:
    for key in keys.values():
        with pytest.raises(
            VerificationError, match="the signature was not made over this data by key SHA256:"
        ):
            key.verify(signature, data)


@settings(deadline=None)
@given(
    st.binary()
    | st.binary().map(lambda raw: b"-----BEGIN PUBLIC KEY-----\n%b\n-----END PUBLIC KEY-----" % raw)
)
def test_any_bytes_as_keys_are_rejected(data: bytes) -> None:
    with pytest.raises(SignerRejected):
        load_public_keys(data)


def test_several_keys_are_read_in_order_and_each_once(keys: dict[str, PublicKey], tmp_path: Path) -> None:
    path = tmp_path / "keys.pub"
    pems = [key.pem for key in keys.values()]
    path.write_bytes(b"# trusted\n" + b"and text between\n".join([*pems, pems[0]]))
    for reference in (path, str(path), f"file://{path}", path.read_bytes()):
        assert load_public_keys(reference) == tuple(keys.values())


def pem_of(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, SPKI)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "P-521": (lambda: pem_of(ec.generate_private_key(ec.SECP521R1())), "ECDSA on secp521r1 is not supported"),
    "secp256k1": (lambda: pem_of(ec.generate_private_key(ec.SECP256K1())), "ECDSA on secp256k1 is not"),
    "RSA-1024": (lambda: pem_of(rsa.generate_private_key(65537, 1024)), "RSA with 1024 bits is too weak"),
    "DSA": (lambda: pem_of(dsa.generate_private_key(2048)), "dsa keys are not supported: use ECDSA on P-256"),
    "Ed448": (lambda: pem_of(ed448.Ed448PrivateKey.generate()), "ed448 keys are not supported"),
    "certificate": (
        lambda: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "holds a CERTIFICATE block: expected PUBLIC KEY",
    ),
    "truncated": (lambda: FIXED_PEM[:60], "the PEM block PUBLIC KEY has no end: the file is cut off"),
    "cut inside two": (lambda: FIXED_PEM[:60] + b"\n" + FIXED_PEM, "the PEM block PUBLIC KEY has no end"),
    "label cut": (lambda: b"-----BEGIN PUBLI", "a PEM block has no valid label after BEGIN"),
    "damaged": (lambda: FIXED_PEM.replace(b"MCow", b"MCox"), "cannot be read as a public key"),
    "no PEM": (lambda: b"\x30\x2a\x30", "holds no PEM block"),
    "empty": (lambda: b"", "holds no PEM block"),
    "two": (
        lambda: FIXED_PEM + pem_of(ec.generate_private_key(ec.SECP256R1())),
        "expected one public key, got 2",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_one_usable_public_key_is_rejected(name: str) -> None:
    make, message = REFUSED[name]
    with pytest.raises(SignerRejected) as caught:
        PublicKey.from_pem(make())
    assert message in str(caught.value)


def test_a_private_key_given_by_mistake_is_refused_and_not_repeated(
    pems: dict[str, bytes], keys: dict[str, PublicKey], tmp_path: Path
) -> None:
    for name, pem in pems.items():
        path = tmp_path / f"{name}.pub"
        path.write_bytes(keys[name].pem + pem)
        with pytest.raises(SignerRejected, match="holds a private key: give the public one") as caught:
            load_public_keys(path)
        assert pem.splitlines()[1].decode() not in str(caught.value)
        with pytest.raises(SignerRejected, match="expected a path, got the text of a key") as caught:
            load_public_keys(pem.decode())
        assert pem.splitlines()[1].decode() not in str(caught.value)


def test_files_that_are_not_there_say_so(tmp_path: Path) -> None:
    with pytest.raises(SignerRejected, match=r"public key file .*none does not exist: check the path"):
        load_public_keys(tmp_path / "none")
    with pytest.raises(SignerRejected, match="is a directory: name the file in it"):
        load_public_keys(tmp_path)


def test_from_key_takes_only_keys() -> None:
    with pytest.raises(SignerRejected, match="str keys are not supported"):
        PublicKey.from_key("key")
