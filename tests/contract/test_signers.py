"""The contract of every signer: one test body for all kinds. A new kind needs an entry in ``KINDS``."""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from signers.base import Signer
from signers.errors import VerificationError
from signers.formats.bundle import Bundle, build_bundle
from signers.formats.dsse import Envelope, pae, sign_payload, verify_envelope
from signers.keys.keyfile import GENERATORS, generate_key, write_key_pair
from signers.keys.public_key import PublicKey
from signers.open import open_signer
from signers.sigstore.fulcio import Fulcio
from signers.sigstore.identity_token import TokenSource
from signers.sigstore.keyless import Keyless
from signers.sigstore.trusted_root import TrustedRoot
from tests.testbed.commands import Command
from tests.testbed.key_services.every import KeyServices
from tests.testbed.sigstore import SigstoreServices

IN_TOTO = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
DATA = [b"", b"data", b"\0" * 64, bytes(range(256)) * 400, "é".encode()]


# the key of RFC 8032, section 7.1, TEST 1: nobody signs with it
OTHERS = [
    PublicKey.from_pem(
        b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
        b"-----END PUBLIC KEY-----\n"
    )
]


class Kind(NamedTuple):
    """A kind of signer: how to create one in an empty folder, and whether equal data gives equal
    signatures.
    """

    open: Callable[[Path, KeyServices], Signer]
    deterministic: bool


def open_file(algorithm: str, folder: Path, _: KeyServices) -> Signer:
    path = folder / "the.key"
    write_key_pair(path, generate_key(algorithm))
    return open_signer(str(path))


def open_key_service(name: str, algorithm: str, _: Path, services: KeyServices) -> Signer:
    return services.open(name, services.server(name).reference(algorithm))


KEYS = {
    "aws moto": ("ecdsa-p256", "rsa-2048", "rsa-4096"),
    "google wire protocol": ("ecdsa-p256", "ed25519", "rsa-3072"),
    "azure wire protocol": ("ecdsa-p256", "rsa-2048", "rsa-3072"),
    "vault wire protocol": ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"),
    "pkcs11 softhsm": ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048"),
}
KINDS = {f"file {algorithm}": Kind(partial(open_file, algorithm), True) for algorithm in GENERATORS} | {
    f"{name} {algorithm}": Kind(partial(open_key_service, name, algorithm), not algorithm.startswith("ecdsa"))
    for name, algorithms in KEYS.items()
    for algorithm in algorithms
}


KEYLESS = "sigstore_services"
"""The fixture of a running Sigstore instance, whose certificates are one more kind."""


def open_keyless(services: SigstoreServices, folder: Path) -> Signer:
    token = folder / "token"
    token.write_text(services.issuer.token())
    root = TrustedRoot.from_path(services.trusted_root)
    return Keyless(Fulcio(services.fulcio, root), TokenSource(file=str(token))).current()


class Opened(NamedTuple):
    signer: Signer
    key: PublicKey
    kind: Kind


@pytest.fixture(
    params=[
        *(pytest.param(name, marks=[pytest.mark.server] if "softhsm" in name else []) for name in KINDS),
        pytest.param(KEYLESS, marks=[pytest.mark.server], id="keyless fulcio"),
    ],
    scope="module",
)
def opened(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    key_services: KeyServices,
) -> Opened:
    folder = tmp_path_factory.mktemp("signer")
    if request.param == KEYLESS:
        services: SigstoreServices = request.getfixturevalue(KEYLESS)
        kind = Kind(lambda place, _: open_keyless(services, place), False)
    else:
        kind = KINDS[request.param]
    signer = kind.open(folder, key_services)
    return Opened(signer, PublicKey.from_pem(signer.public_pem), kind)


def test_it_names_its_key_by_the_fingerprint(opened: Opened) -> None:
    assert opened.signer.keyid == opened.key.keyid
    assert opened.signer.public_pem == opened.key.pem


def test_what_it_signs_verifies_and_nothing_else_does(opened: Opened) -> None:
    for data in DATA:
        signature = opened.signer.sign(data)
        opened.key.verify(signature, data)
        flipped = signature[:-1] + bytes([signature[-1] ^ 1])
        for wrong, over in (
            (signature, data + b"\0"),
            (signature[:-1], data),
            (signature + b"\0", data),
            (flipped, data),
            (b"", data),
        ):
            with pytest.raises(VerificationError) as caught:
                opened.key.verify(wrong, over)
            assert caught.value.reason == "signature_invalid"


def test_no_other_key_verifies_what_it_signs(opened: Opened) -> None:
    envelope = sign_payload(opened.signer, b"{}", IN_TOTO)
    with pytest.raises(VerificationError) as caught:
        verify_envelope(envelope, OTHERS)
    assert caught.value.reason == "key_unknown"


def test_equal_data_has_equal_signatures_where_promised(opened: Opened) -> None:
    signatures = {opened.signer.sign(b"data") for _ in range(5)}
    assert (len(signatures) == 1) == opened.kind.deterministic == opened.signer.deterministic


def test_its_envelopes_and_bundles_read_back_and_verify(opened: Opened) -> None:
    envelope = sign_payload(opened.signer, b'{"a":1}', IN_TOTO)
    opened.key.verify(envelope.signatures[0].sig, pae(IN_TOTO, b'{"a":1}'))
    assert envelope.signatures[0].keyid == opened.signer.keyid
    assert Envelope.from_bytes(envelope.to_bytes()) == envelope
    bundle = Bundle.from_bytes(build_bundle(envelope, opened.signer.keyid))
    assert bundle.key_hint == opened.signer.keyid
    assert verify_envelope(bundle.envelope, [*OTHERS, opened.key]) == opened.key


@pytest.mark.server
def test_cosign_verifies_its_bundle_offline(opened: Opened, cosign: Command, tmp_path: Path) -> None:
    blob, key, bundle = tmp_path / "blob", tmp_path / "the.pub", tmp_path / "bundle.json"
    blob.write_bytes(b"content")
    key.write_bytes(opened.signer.public_pem)
    statement = (
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"blob","digest":{"sha256":"%b"}}],'
        b'"predicateType":"%b","predicate":{"buildDefinition":{},"runDetails":{}}}'
    ) % (hashlib.sha256(b"content").hexdigest().encode(), PREDICATE_TYPE.encode())
    offline = ("--insecure-ignore-tlog=true", "--type", PREDICATE_TYPE, str(blob))
    made = build_bundle(sign_payload(opened.signer, statement, IN_TOTO), opened.signer.keyid)

    def verify() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                str(cosign.program),
                "verify-blob-attestation",
                "--key",
                str(key),
                "--bundle",
                str(bundle),
                *offline,
            ],
            # an address where nothing listens stands for the network
            env={**os.environ, "HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:9"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    bundle.write_bytes(made)
    accepted = verify()
    assert accepted.returncode == 0, accepted.stderr

    changed = base64.b64encode(statement.replace(b"buildDefinition", b"buildDefinitiom"))
    bundle.write_bytes(made.replace(base64.b64encode(statement), changed))
    refused = verify()
    assert refused.returncode != 0
    assert "could not verify envelope" in refused.stderr
