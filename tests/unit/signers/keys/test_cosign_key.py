from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.secret import SecretBox

from signers.base import Signer
from signers.errors import SignerError, SignerRejected
from signers.keys.keyfile import open_keyfile
from signers.keys.public_key import load_public_keys
from tests.testbed.commands import Command

Write = Callable[..., str]
SALT, NONCE = b"s" * 32, b"n" * 24


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def sealed(pem: bytes, password: bytes) -> dict[str, object]:
    """The JSON that cosign writes, with a cheap scrypt."""
    der = load_pem_private_key(pem, None).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    key = Scrypt(salt=SALT, length=32, n=16, r=8, p=1).derive(password)
    return {
        "kdf": {"name": "scrypt", "params": {"N": 16, "r": 8, "p": 1}, "salt": b64(SALT)},
        "cipher": {"name": "nacl/secretbox", "nonce": b64(NONCE)},
        "ciphertext": b64(SecretBox(key).encrypt(der, NONCE).ciphertext),
    }


def armoured(inside: bytes, label: str = "ENCRYPTED SIGSTORE PRIVATE KEY") -> bytes:
    text = base64.b64encode(inside)
    lines = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (label.encode(), lines, label.encode())


@pytest.mark.parametrize("label", ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"])
def test_every_kind_of_key_opens_with_its_password_alone(
    label: str,
    write: Write,
    pems: dict[str, bytes],
    signers: dict[str, Signer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
    for name, pem in pems.items():
        path = write(armoured(orjson.dumps(sealed(pem, b"pw")), label))
        assert open_keyfile(path, b"pw").sign(b"x") == signers[name].sign(b"x")
        for wrong in (b"", b"PW", b"pw "):
            with pytest.raises(
                SignerRejected, match="cannot be decrypted with this password: check"
            ) as caught:
                open_keyfile(path, wrong)
            assert "PW" not in str(caught.value)
        with pytest.raises(SignerRejected, match="is encrypted: give its password, or set COSIGN_PASSWORD"):
            open_keyfile(path)


def test_an_empty_password_is_a_password(
    write: Write, pems: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(armoured(orjson.dumps(sealed(pems["ed25519"], b""))).replace(b"\n", b"\r\n"))
    assert open_keyfile(path, b"")
    monkeypatch.setenv("COSIGN_PASSWORD", "")
    assert open_keyfile(path)


FAULTS: dict[str, tuple[dict[str, object], str]] = {
    "another kdf": ({"kdf": {"name": "argon2"}}, "kdf must be scrypt, got 'argon2'"),
    "another cipher": ({"cipher": {"name": "aes"}}, "cipher must be nacl/secretbox, got 'aes'"),
    "no kdf": ({"kdf": None}, "kdf must be an object, got null"),
    "text for params": ({"kdf": {"name": "scrypt", "params": "N"}}, "params must be an object, got a string"),
    "text for N": (
        {"kdf": {"name": "scrypt", "params": {"N": "16", "r": 8, "p": 1}}},
        "N must be a number, got a string",
    ),
    "a greedy scrypt": (
        {"kdf": {"name": "scrypt", "params": {"N": 1 << 30, "r": 8, "p": 1}, "salt": ""}},
        "scrypt with N 1073741824, r 8, p 1 is out of range",
    ),
    "a scrypt of zero": (
        {"kdf": {"name": "scrypt", "params": {"N": 0, "r": 8, "p": 1}, "salt": ""}},
        "is out of range",
    ),
    "N no power of two": (
        {"kdf": {"name": "scrypt", "params": {"N": 17, "r": 8, "p": 1}, "salt": ""}},
        "its scrypt parameters cannot be used",
    ),
    "a short nonce": (
        {"cipher": {"name": "nacl/secretbox", "nonce": "AAAA"}},
        "nonce must have 24 bytes, got 3",
    ),
    "no ciphertext": ({"ciphertext": ""}, "cannot be decrypted with this password"),
    "text for ciphertext": ({"ciphertext": "?"}, "ciphertext is not base64"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_damaged_key_says_where(name: str, write: Write, pems: dict[str, bytes]) -> None:
    changes, message = FAULTS[name]
    path = write(armoured(orjson.dumps(sealed(pems["ed25519"], b"pw") | changes)))
    with pytest.raises(SignerRejected) as caught:
        open_keyfile(path, b"pw")
    assert message in str(caught.value)
    assert path in str(caught.value)


def test_what_is_not_json_inside_is_rejected(write: Write) -> None:
    with pytest.raises(SignerRejected, match=r"is not unambiguous JSON: .*the key file is damaged"):
        open_keyfile(write(armoured(b"no JSON")), b"pw")
    with pytest.raises(SignerRejected, match="its content is not base64"):
        open_keyfile(write(armoured(b"").replace(b"\n\n", b"\n?\n")), b"pw")


def test_a_box_that_holds_no_key_is_rejected(write: Write) -> None:
    box = SecretBox(Scrypt(salt=SALT, length=32, n=16, r=8, p=1).derive(b"pw"))
    inside: dict[str, object] = {
        "kdf": {"name": "scrypt", "params": {"N": 16, "r": 8, "p": 1}, "salt": b64(SALT)},
        "cipher": {"name": "nacl/secretbox", "nonce": b64(NONCE)},
        "ciphertext": b64(box.encrypt(b"no key", NONCE).ciphertext),
    }
    with pytest.raises(SignerRejected):
        open_keyfile(write(armoured(orjson.dumps(inside))), b"pw")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary()
    | st.dictionaries(st.sampled_from(["kdf", "cipher", "ciphertext"]), st.text()).map(orjson.dumps)
)
def test_any_bytes_inside_are_a_signer_error(write: Write, data: bytes) -> None:
    with pytest.raises(SignerError, match=r"^key file .*the\.key"):
        open_keyfile(write(armoured(data)), b"pw")


@pytest.mark.server
def test_keys_made_by_cosign_open(cosign: Command, tmp_path: Path, pems: dict[str, bytes]) -> None:
    environment = {**os.environ, "COSIGN_PASSWORD": "pw", "HOME": str(tmp_path)}

    def run(*arguments: str) -> None:
        subprocess.run(
            [str(cosign.program), *arguments],
            cwd=tmp_path,
            env=environment,
            check=True,
            capture_output=True,
            timeout=60,
        )

    run("generate-key-pair", "--output-key-prefix", "generated")
    for name, pem in pems.items():
        (tmp_path / f"{name}.pem").write_bytes(pem)
        run("import-key-pair", "--key", f"{name}.pem", "--output-key-prefix", name, "--yes")
    for name in ("generated", *pems):
        signer = open_keyfile(str(tmp_path / f"{name}.key"), b"pw")
        (key,) = load_public_keys(tmp_path / f"{name}.pub")
        key.verify(signer.sign(b"x"), b"x")
        with pytest.raises(SignerRejected, match="cannot be decrypted with this password"):
            open_keyfile(str(tmp_path / f"{name}.key"), b"wrong")
