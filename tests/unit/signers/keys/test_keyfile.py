from __future__ import annotations

import base64
import errno
import logging
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa, utils
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signers.base import Signer
from signers.errors import SignerError, SignerRejected, SignerUnavailable
from signers.keys.keyfile import GENERATORS, generate_key, open_keyfile, write_key_pair
from signers.keys.public_key import PublicKey, load_public_keys

Write = Callable[..., str]


def private_pem(
    key: PrivateKeyTypes, form: PrivateFormat = PrivateFormat.PKCS8, password: bytes | None = None
) -> bytes:
    lock = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, form, lock)


# RFC 6979, appendices A.2.5 and A.2.6: key, and r and s for SHA-256 over "sample"
RFC6979 = {
    "P-256": (
        ec.SECP256R1(),
        "C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721",
        "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716",
        "F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8",
    ),
    "P-384": (
        ec.SECP384R1(),
        "6B9D3DAD2E1B8C1C05B19875B6659F4DE23C3B667BF297BA9AA47740787137D896D5724E4C70A825F872C9EA60D2EDF5",
        "21B13D1E013C7FA1392D03C5F99AF8B30C570C6F98D4EA8E354B63A21D3DAA33BDE1E888E63355D92FA2B3C36D8FB2CD",
        "F3AA443FB107745BF4BD77CB3891674632068A10CA67E3D45DB2266FA7D1FEEBEFDC63ECCD1AC42EC0CB8668A4FA0AB0",
    ),
}


@pytest.mark.parametrize("curve", RFC6979)
def test_ecdsa_signs_by_rfc_6979(curve: str, write: Write) -> None:
    group, secret, r, s = RFC6979[curve]
    key = ec.derive_private_key(int(secret, 16), group)
    signature = open_keyfile(write(private_pem(key))).sign(b"sample")
    assert utils.decode_dss_signature(signature) == (int(r, 16), int(s, 16))


def test_without_rfc_6979_the_key_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def old(*args: object, **options: object) -> None:
        raise UnsupportedAlgorithm("ECDSA with deterministic signature (RFC 6979) is not supported")

    path = write(generate_key())
    monkeypatch.setattr(ec, "ECDSA", old)
    with pytest.raises(SignerRejected, match="this OpenSSL cannot sign by RFC 6979: install"):
        open_keyfile(path)


def test_forms_of_one_key_open_as_the_same_signer(write: Write) -> None:
    for key, names in (
        (ec.generate_private_key(ec.SECP256R1()), ("PKCS8", "TraditionalOpenSSL")),
        (rsa.generate_private_key(65537, 2048), ("PKCS8", "TraditionalOpenSSL")),
    ):
        forms = [getattr(PrivateFormat, name) for name in names]
        plain = [open_keyfile(write(private_pem(key, form))) for form in forms]
        locked = [open_keyfile(write(private_pem(key, form, b"pw")), b"pw") for form in forms]
        windows = open_keyfile(write(private_pem(key).replace(b"\n", b"\r\n")))
        assert {signer.sign(b"x") for signer in (*plain, *locked, windows)} == {plain[0].sign(b"x")}
        assert {signer.keyid for signer in (*plain, *locked, windows)} == {plain[0].keyid}


def test_a_key_is_found_among_other_blocks(write: Write, pems: dict[str, bytes]) -> None:
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    path = write(b"a comment\n" + parameters + pems["ecdsa-p256"] + certificate)
    assert open_keyfile(path).keyid == open_keyfile(f"file://{path}").keyid


def test_the_password_comes_from_the_argument_or_the_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(private_pem(ec.generate_private_key(ec.SECP256R1()), password=b"p\xc3\xa4ss"))
    monkeypatch.delenv("COSIGN_PASSWORD", raising=False)
    with pytest.raises(SignerRejected, match="is encrypted: give its password, or set COSIGN_PASSWORD"):
        open_keyfile(path)
    monkeypatch.setenv("COSIGN_PASSWORD", "päss")
    assert open_keyfile(path).keyid == open_keyfile(path, "päss".encode()).keyid
    for wrong in (b"other", b""):
        with pytest.raises(SignerRejected, match="cannot be decrypted with this password") as caught:
            open_keyfile(path, wrong)
        assert "other" not in str(caught.value)
        assert "päss" not in str(caught.value)


def test_a_password_for_an_open_key_is_reported(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    open_keyfile(write(generate_key()), b"hunter2")
    assert "is not encrypted: the password that was given has no effect" in caplog.text
    assert "hunter2" not in caplog.text


def openssh() -> bytes:
    return private_pem(ec.generate_private_key(ec.SECP256R1()), PrivateFormat.OpenSSH)


def public() -> bytes:
    return open_public(generate_key())


def open_public(pem: bytes) -> bytes:
    return PublicKey.from_key(load_pem_private_key(pem, None).public_key()).pem


def mismatched() -> bytes:
    """A P-256 key beside the public key of another: it would sign what nobody can verify."""
    one, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    der = one.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    mixed = der.replace(point(one), point(other))
    assert mixed != der
    return b"-----BEGIN PRIVATE KEY-----\n%b-----END PRIVATE KEY-----\n" % base64.encodebytes(mixed)


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "P-521": (
        lambda: private_pem(ec.generate_private_key(ec.SECP521R1())),
        "ECDSA on secp521r1 is not supported",
    ),
    "secp256k1": (lambda: private_pem(ec.generate_private_key(ec.SECP256K1())), "ECDSA on secp256k1 is not"),
    "RSA-1024": (
        lambda: private_pem(rsa.generate_private_key(65537, 1024)),
        "RSA with 1024 bits is too weak",
    ),
    "DSA": (
        lambda: private_pem(dsa.generate_private_key(2048)),
        "dsa keys are not supported: use ECDSA on P-256",
    ),
    "Ed448": (lambda: private_pem(ed448.Ed448PrivateKey.generate()), "ed448 keys are not supported"),
    "OpenSSH": (openssh, "is an OpenSSH key: convert a copy with 'ssh-keygen"),
    "public": (public, "holds a public key: signing needs the private one"),
    "certificate": (
        lambda: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "holds no private key, but CERTIFICATE",
    ),
    "two": (lambda: generate_key() + generate_key(), "holds 2 private keys: keep one"),
    "empty": (lambda: b"", "is empty: write the key to it again"),
    "blank": (lambda: b" \n\n", "is empty: write the key to it again"),
    "truncated": (lambda: generate_key()[:120], "the PEM block PRIVATE KEY has no end: the file is cut off"),
    "shortened": (
        lambda: b"".join(generate_key().splitlines(keepends=True)[::2]),
        "cannot be read as a private key",
    ),
    "damaged": (lambda: generate_key().replace(b"MIGH", b"MIGG"), "cannot be read as a private key"),
    "DER": (lambda: b"0\x81\x87\x02\x01", "holds no PEM block ('-----BEGIN …'): convert a DER key"),
    "huge": (lambda: generate_key() + b"#" * 300_000, "is longer than 262144 bytes: this is no key file"),
    "halves of two keys": (mismatched, "cannot be read as a private key"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_sign_is_rejected_with_the_reason(name: str, write: Write) -> None:
    make, message = REFUSED[name]
    data = make()
    path = write(data)
    with pytest.raises(SignerRejected) as caught:
        open_keyfile(path)
    text = str(caught.value)
    assert message in text
    assert path in text
    secrets = [line.decode(errors="replace") for line in data.splitlines() if line and b"-----" not in line]
    assert not [line for line in secrets if line in text and line.strip()]


def test_paths_that_cannot_work_say_so(tmp_path: Path, pems: dict[str, bytes]) -> None:
    pem = pems["ed25519"].decode()
    long = str(tmp_path / ("x" * 300))
    for reference, message in (
        (str(tmp_path / "none"), "does not exist: check the path, and that its secret is mounted"),
        (str(tmp_path), "is a directory: name the file in it"),
        (long, "cannot be read: File name too long"),
        (f"{tmp_path}\0x", "the path contains a character that paths cannot have"),
        (pem, "expected a path, got the text of a key"),
    ):
        with pytest.raises(SignerRejected, match=message.replace("'", ".")) as caught:
            open_keyfile(reference)
        assert pem.splitlines()[1] not in str(caught.value)


def test_a_file_that_the_user_may_not_read_says_whose_fault_it_is(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(generate_key())
    for number, kind, message in (
        (errno.EACCES, SignerRejected, "cannot be read by user [0-9]+: change its owner or its mode"),
        (errno.EIO, SignerUnavailable, "cannot be read: Input/output error"),
        (errno.ESTALE, SignerUnavailable, "cannot be read: Stale file handle"),
    ):

        def fail(path: Path, number: int = number) -> None:
            raise OSError(number, os.strerror(number), str(path))

        with monkeypatch.context() as patch:
            patch.setattr("signers.keys.pem.open_file", fail)
            with pytest.raises(kind, match=message):
                open_keyfile(path)


def test_a_file_open_to_every_user_is_a_warning(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    pem = generate_key()
    for mode, warned in ((0o600, False), (0o400, False), (0o440, False), (0o644, True), (0o602, True)):
        caplog.clear()
        open_keyfile(write(pem, mode=mode))
        records = [record for record in caplog.records if "open to every user" in record.getMessage()]
        assert bool(records) is warned, oct(mode)
        assert all(record.levelno == logging.WARNING for record in records)


def test_a_signer_shows_its_name_and_no_key(signers: dict[str, Signer]) -> None:
    for signer in signers.values():
        assert repr(signer).startswith("<KeyFileSigner ")
        assert signer.keyid in repr(signer)


def test_threads_share_a_signer(signers: dict[str, Signer]) -> None:
    data = [b"%d" % number for number in range(64)]
    for signer in signers.values():
        alone = [signer.sign(one) for one in data]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(signer.sign, data)) == alone


def test_generated_keys_open_and_an_unknown_algorithm_lists_the_known(write: Write) -> None:
    for algorithm in GENERATORS:
        pem = generate_key(algorithm)
        assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
        assert open_keyfile(write(pem)).keyid != open_keyfile(write(generate_key(algorithm))).keyid
    with pytest.raises(
        SignerRejected,
        match="unknown key algorithm 'rot13': expected one of ecdsa-p256, ecdsa-p384, rsa-3072",
    ):
        generate_key("rot13")


def test_a_pair_is_written_once_with_its_modes(tmp_path: Path) -> None:
    private, pem = tmp_path / "cosign.key", generate_key()
    old = os.umask(0o077)
    try:
        public = write_key_pair(private, pem)
    finally:
        os.umask(old)
    assert public == tmp_path / "cosign.pub"
    assert private.read_bytes() == pem
    assert (stat.S_IMODE(private.stat().st_mode), stat.S_IMODE(public.stat().st_mode)) == (0o600, 0o644)
    assert [key.keyid for key in load_public_keys(public)] == [open_keyfile(str(private)).keyid]

    with pytest.raises(SignerRejected, match=r"cosign\.pub exists and is not overwritten"):
        write_key_pair(private, generate_key())
    assert private.read_bytes() == pem
    public.unlink()
    with pytest.raises(SignerRejected, match=r"cosign\.key exists and is not overwritten"):
        write_key_pair(private, generate_key())
    assert not public.exists(), "a public key without its private one is not left behind"
    assert private.read_bytes() == pem


def test_a_pair_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "a.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SignerRejected, match="exists and is not overwritten"):
        write_key_pair(tmp_path / "a.key", generate_key())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.key"]


def test_a_pair_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, message in (
        (tmp_path / "none" / "a.key", "cannot be written: No such file"),
        (tmp_path / "a.pub", "ends in .pub, which is the name of the public key"),
        (Path("/"), "is a directory: name the file to write"),
    ):
        with pytest.raises(SignerRejected, match=message):
            write_key_pair(path, generate_key())

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SignerRejected, match="cannot be written: No space left"):
        write_key_pair(tmp_path / "a.key", generate_key())
    assert not list(tmp_path.iterdir())


def test_only_private_keys_that_can_sign_are_written(tmp_path: Path) -> None:
    for pem, message in (
        (public(), "holds a public key"),
        (private_pem(ed448.Ed448PrivateKey.generate()), "no supported kind"),
        (private_pem(ec.generate_private_key(ec.SECP521R1())), "ECDSA on secp521r1 is not supported"),
    ):
        with pytest.raises(SignerRejected, match=message):
            write_key_pair(tmp_path / "a.key", pem)
    assert not list(tmp_path.iterdir())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary()
    | st.builds(lambda raw: b"-----BEGIN PRIVATE KEY-----\n%b\n-----END PRIVATE KEY-----" % raw, st.binary())
)
def test_any_bytes_as_key_file_are_a_signer_error(write: Write, data: bytes) -> None:
    with pytest.raises(SignerError, match=r"^key file .*the\.key"):
        open_keyfile(write(data))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_damaged_keys_are_signer_errors_or_still_keys(
    write: Write, pems: dict[str, bytes], draw: st.DataObject
) -> None:
    data = bytearray(pems[draw.draw(st.sampled_from(["ecdsa-p256", "ed25519", "rsa-3072"]))])
    data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        signer = open_keyfile(write(bytes(data)))
    except SignerError:
        return
    PublicKey.from_pem(signer.public_pem).verify(signer.sign(b"x"), b"x")
