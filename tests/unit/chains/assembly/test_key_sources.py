"""Public keys from everywhere that ``--key`` may name, and what is refused there."""

from __future__ import annotations

import hashlib
import json
import socket
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from chains.assembly.key_sources import read_source
from chains.cli.main import run as chains
from chains.errors import UsageError
from signers.errors import FormatError, SignerRejected
from signers.keys.key_document import read_keys
from signers.keys.keyfile import GENERATORS, generate_key
from signers.keys.keyset import KeyStatus, ListedKey, write_keyset
from signers.keys.public_key import PublicKey
from tests.faults.verify.forge import bundle, provenance, public
from tests.testbed.certificates import ClientAuthority
from tests.testbed.loopback import Answer, serving


def b64(number: int, size: int) -> str:
    return urlsafe_b64encode(number.to_bytes(size)).rstrip(b"=").decode()


def jwk_of(pem: bytes) -> dict[str, Any]:
    key = load_pem_public_key(pem)
    if isinstance(key, ec.EllipticCurvePublicKey):
        numbers, size = key.public_numbers(), (key.key_size + 7) // 8
        curve = {256: "P-256", 384: "P-384"}[key.key_size]
        return {"kty": "EC", "crv": curve, "x": b64(numbers.x, size), "y": b64(numbers.y, size)}
    if isinstance(key, rsa.RSAPublicKey):
        return {"kty": "RSA", "n": b64(key.public_numbers().n, 384), "e": b64(key.public_numbers().e, 3)}
    assert isinstance(key, ed25519.Ed25519PublicKey)
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {"kty": "OKP", "crv": "Ed25519", "x": urlsafe_b64encode(raw).rstrip(b"=").decode()}


def public_pem(algorithm: str) -> bytes:
    key = load_pem_private_key(generate_key(algorithm), None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("algorithm", GENERATORS)
def test_a_json_web_key_is_the_key_of_its_pem(algorithm: str) -> None:
    pem = public_pem(algorithm)
    expected = (ListedKey(PublicKey.from_pem(pem)),)
    jwk = jwk_of(pem)
    assert read_keys(json.dumps(jwk).encode(), "jwk") == expected
    told = {"keys": [jwk | {"use": "sig", "kid": "a"}, jwk, jwk_of(public_pem("rsa-3072")) | {"use": "enc"}]}
    assert read_keys(json.dumps(told).encode(), "jwks") == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"d": "AAAA"}, "holds a private key"),
        ({"kty": "oct", "k": "AAAA"}, "holds a private key"),
        ({"kty": "oct"}, "kty 'oct' is not supported"),
        ({"crv": "secp256k1"}, "is not a usable JSON web key"),
        ({"x": "AAAA"}, "is not a usable JSON web key"),
        ({"x": 5}, "x must be a string"),
        ({"use": "enc"}, "has no key for signatures"),
        ({"use": ["sig"]}, "has no key for signatures"),
        ({"use": {}}, "has no key for signatures"),
    ],
)
def test_a_json_web_key_that_cannot_be_used_is_refused(change: dict[str, Any], words: str) -> None:
    document = json.dumps({"keys": [jwk_of(public_pem("ecdsa-p256")) | change]}).encode()
    with pytest.raises((FormatError, SignerRejected), match=words):
        read_keys(document, "jwks")


def test_a_certificates_key_counts_while_the_certificate_is_valid(tmp_path: Path) -> None:
    certificate, key = ClientAuthority.make(tmp_path).issue("builder")
    (found,) = read_keys(certificate, "certificate")
    private = load_pem_private_key(key, None)
    assert found.key == PublicKey.from_key(private.public_key())
    now = datetime.now(UTC)
    assert found.problem(now) == ""
    assert "ended at" in found.problem(now + timedelta(days=2))
    assert "before the key's notBefore" in found.problem(now - timedelta(days=2))
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(SignerRejected, match="private key"):
        read_keys(certificate + pem, "certificate")


def test_a_variable_holds_a_key_or_a_key_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", public().pem.decode())
    assert read_source("env://THE_KEY") == (ListedKey(public()),)
    revoked = ListedKey(public(), status=KeyStatus.REVOKED)
    monkeypatch.setenv("THE_KEY", write_keyset([revoked]).decode())
    assert read_source("env://THE_KEY") == (revoked,)
    monkeypatch.delenv("THE_KEY")
    with pytest.raises(UsageError, match="there is no environment variable THE_KEY"):
        read_source("env://THE_KEY")


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let https URLs be asked at a plain local server: what TLS proves is not what is tested here."""
    import urllib.request

    real = urllib.request.urlopen

    def use(url: str) -> None:
        monkeypatch.setattr(
            "urllib.request.urlopen",
            lambda asked, timeout: real(asked.replace("https://keys.example.com", url), timeout=timeout),
        )

    return use


def test_a_url_is_believed_for_the_pinned_content_alone(answering: Callable[[str], None]) -> None:
    answer = public().pem
    with serving(lambda _: Answer(200, answer)) as url:
        answering(url)
        digest = hashlib.sha256(answer).hexdigest()
        assert read_source(f"https://keys.example.com/k.pub#sha256:{digest}") == (ListedKey(public()),)
        other = hashlib.sha256(b"other").hexdigest()
        with pytest.raises(UsageError, match=f"expected content with sha256:{other}, got sha256:{digest}"):
            read_source(f"https://keys.example.com/k.pub#sha256:{other}")
    with pytest.raises(UsageError, match=r"https://keys\.example\.com/k\.pub: "):
        read_source(f"https://keys.example.com/k.pub#sha256:{digest}")


def test_an_answer_that_is_no_http_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        asked, _ = listening.accept()
        with asked:
            asked.recv(4096)
            asked.sendall(b"no http at all\r\n\r\n")

    real = urllib.request.urlopen
    here = f"http://127.0.0.1:{listening.getsockname()[1]}/k"
    monkeypatch.setattr("urllib.request.urlopen", lambda _, timeout: real(here, timeout=timeout))
    with listening, ThreadPoolExecutor(1) as thread:
        thread.submit(answer)
        with pytest.raises(UsageError, match=r"https://keys\.example\.com/k: no http at all"):
            read_source("https://keys.example.com/k#sha256:" + "a" * 64)


@pytest.mark.parametrize(
    "word",
    [
        "https://keys.example.com/k.pub",
        "https://keys.example.com/k.pub#sha256:abc",
        "http://keys.example.com/k.pub#sha256:" + "a" * 64,
        "k8s://one",
        "k8s://../secrets",
        "k8s://ns/a/b",
        "k8s://ns/Name",
    ],
)
def test_a_word_that_can_name_no_key_is_refused_before_anything_is_asked(word: str) -> None:
    with pytest.raises(UsageError, match=r"expected k8s://|ends with the digest"):
        read_source(word)


def test_verify_takes_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "e.sigstore.json").write_bytes(bundle(provenance()))
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [jwk_of(public().pem)]}))
    monkeypatch.setenv("THE_KEY", public().pem.decode())
    for word in ("env://THE_KEY", "jwks.json"):
        assert chains(["verify", "e.sigstore.json", "--key", word]) == 0, capsys.readouterr()
    monkeypatch.setenv("THE_KEY", public("stranger").pem.decode())
    assert chains(["verify", "e.sigstore.json", "--key", "env://THE_KEY"]) == 1
    assert chains(["verify", "e.sigstore.json", "--key", "env://MISSING"]) == 2
