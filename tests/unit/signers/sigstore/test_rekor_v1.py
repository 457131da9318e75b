"""Rekor v1's protocol on the wire, against a local log that verifies what it is sent."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signers.errors import SignerRejected, SignerUnavailable
from signers.formats.bundle import Bundle
from signers.keys.keyfile import generate_key, write_key_pair
from signers.open import open_signer
from signers.sigstore.rekor_v1 import RekorV1
from signers.sigstore.sealer import MaterialSealer
from signers.sigstore.trusted_root import TrustedRoot
from tests.testbed.rekor_v1 import RekorV1Server, rekor_v1
from tests.testbed.sigstore_keys import START, TRUSTED_ROOT

TYPE = "application/vnd.in-toto+json"
STATEMENT = b'{"_type":"https://in-toto.io/Statement/v0.1"}'


@pytest.fixture
def log() -> Iterator[RekorV1Server]:
    with rekor_v1() as server:
        yield server


def root_of(log: RekorV1Server) -> TrustedRoot:
    spki = log.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    one = {
        "baseUrl": log.url,
        "publicKey": {"rawBytes": base64.b64encode(spki).decode(), "validFor": {"start": START}},
        "logId": {"keyId": base64.b64encode(log.log_id).decode()},
    }
    return TrustedRoot.from_bytes(json.dumps({"mediaType": TRUSTED_ROOT, "tlogs": [one]}).encode())


def sealer_of(log: RekorV1Server, folder: Path, *, trusted: bool = True) -> MaterialSealer:
    key = folder / "the.key"
    if not key.exists():
        write_key_pair(key, generate_key())
    root = root_of(log) if trusted else None
    return MaterialSealer(open_signer(str(key)), log=RekorV1(log.url, root), root=root)


@pytest.mark.parametrize("trusted", [True, False])
def test_an_envelope_becomes_a_dsse_entry_with_its_proof_and_promise(
    log: RekorV1Server, tmp_path: Path, trusted: bool
) -> None:
    sealer = sealer_of(log, tmp_path, trusted=trusted)
    found = [sealer.seal_now(STATEMENT + b" " * number, TYPE, log=True) for number in range(7)]
    assert len(log.leaves) == 7
    for number, sealed in enumerate(found):
        (entry,) = Bundle.from_bytes(sealed.bundle).log_entries
        assert entry["kindVersion"] == {"kind": "dsse", "version": "0.0.1"}
        assert entry["logIndex"] == str(1000 + number)
        assert sealed.entry_url == f"{log.url}/api/v1/log/entries?logIndex={1000 + number}"
        assert (
            sealed.envelope.decode()
            == json.loads(log.requests[number].body)["spec"]["proposedContent"]["envelope"]
        )


def test_an_image_signature_becomes_a_hashedrekord_entry_that_cosign_has_a_form_for(
    log: RekorV1Server, tmp_path: Path
) -> None:
    sealed = sealer_of(log, tmp_path).sign_now(b"simple", log=True)
    bundle: Any = json.loads(sealed.annotations["dev.sigstore.cosign/bundle"])
    body = json.loads(base64.b64decode(bundle["Payload"]["body"]))
    assert body["kind"] == "hashedrekord"
    assert bundle["Payload"]["logID"] == log.log_id.hex()
    assert bundle["Payload"]["logIndex"] == 1000
    assert isinstance(bundle["Payload"]["integratedTime"], int)
    assert bundle["SignedEntryTimestamp"]


def test_an_equal_entry_is_fetched_and_taken(log: RekorV1Server, tmp_path: Path) -> None:
    sealer = sealer_of(log, tmp_path)
    first = sealer.sign_now(b"simple", log=True)
    assert sealer.sign_now(b"simple", log=True) == first
    assert [request.method for request in log.requests] == ["POST", "POST", "GET"]
    assert len(log.leaves) == 1


@pytest.mark.parametrize("spoil", ["signedEntryTimestamp", "rootHash", "logID", "verification"])
def test_a_wrong_answer_is_not_used(log: RekorV1Server, tmp_path: Path, spoil: str) -> None:
    log.spoil = spoil
    with pytest.raises(SignerUnavailable, match="its answer does not verify"):
        sealer_of(log, tmp_path).seal_now(STATEMENT, TYPE, log=True)


@pytest.mark.parametrize(
    ("status", "kind"), [(503, SignerUnavailable), (429, SignerUnavailable), (400, SignerRejected)]
)
def test_a_refusal_is_temporary_or_not(
    log: RekorV1Server, tmp_path: Path, status: int, kind: type[Exception]
) -> None:
    log.status = status
    with pytest.raises(kind, match=f"answered {status}: .*told to"):
        sealer_of(log, tmp_path).seal_now(STATEMENT, TYPE, log=True)


@pytest.mark.parametrize("status", [413, 502])
def test_an_envelope_that_is_too_large_is_refused_for_good(
    log: RekorV1Server, tmp_path: Path, status: int
) -> None:
    log.status = status
    with pytest.raises(SignerRejected, match="use a rekor v2 log"):
        sealer_of(log, tmp_path).seal_now(b"x" * 1024 * 1024, TYPE, log=True)


def test_a_stored_entry_is_taken_again(log: RekorV1Server, tmp_path: Path) -> None:
    sealer = sealer_of(log, tmp_path)
    sealed = sealer.seal_now(STATEMENT, TYPE, log=True)
    found = asyncio.run(sealer.reopen_bundle(sealed.bundle, STATEMENT, TYPE, log=True))
    assert found == sealed
    sealer.close()
