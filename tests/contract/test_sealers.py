"""Sealing with the real services: number of requests, verification of answers, and state after an outage."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

from signers.errors import FormatError, SignerRejected, SignerUnavailable, VerificationError
from signers.formats.bundle import Bundle
from signers.formats.dsse import pae
from signers.keys.keyfile import generate_key, write_key_pair
from signers.keys.public_key import PublicKey
from signers.open import open_signer
from signers.sealer import Sealed, material_of
from signers.sigstore.certificate import check_certificate, verify_sct
from signers.sigstore.fulcio import Fulcio
from signers.sigstore.identity_token import TokenSource
from signers.sigstore.keyless import Keyless
from signers.sigstore.rekor_v2 import RekorV2, check_entry
from signers.sigstore.sealer import MaterialSealer, material_of_annotations
from signers.sigstore.signed import Signed
from signers.sigstore.signing_config import load_signing_config
from signers.sigstore.timestamp import TimestampAuthority
from signers.sigstore.timestamp_verify import check_timestamp
from signers.sigstore.trusted_root import TrustedRoot
from tests.testbed.http_proxy import Proxy, proxy
from tests.testbed.sigstore import SigstoreServices
from tests.testbed.sigstore_keys import make_keys, trusted_root

pytestmark = pytest.mark.server
TYPE = "application/vnd.in-toto+json"
STATEMENT = (
    b'{"_type":"https://in-toto.io/Statement/v0.1","subject":[{"name":"a","digest":{"gitCommit":"aa"}}]}'
)
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def root(sigstore_services: SigstoreServices) -> TrustedRoot:
    return TrustedRoot.from_path(sigstore_services.trusted_root)


@pytest.fixture(scope="module")
def other_root() -> TrustedRoot:
    """The trusted root of another instance with the same URLs."""
    content = trusted_root(make_keys(), "http://x", "http://127.0.0.1", "http://x", "http://x")
    return TrustedRoot.from_bytes(json.dumps(content).encode())


def tokens(services: SigstoreServices, folder: Path, **claims: Any) -> TokenSource:
    path = folder / "token"
    path.write_text(services.issuer.token(**claims))
    return TokenSource(file=str(path))


def sealer_of(
    services: SigstoreServices, root: TrustedRoot, folder: Path, *, fulcio: str = "", margin: float = 60
) -> MaterialSealer:
    keyless = Keyless(Fulcio(fulcio or services.fulcio, root), tokens(services, folder), margin=margin)
    log, authority = RekorV2(services.rekor, root), TimestampAuthority(services.timestamp, root)
    return MaterialSealer(keyless, log=log, authority=authority, root=root)


@pytest.fixture(scope="module")
def sealer(
    sigstore_services: SigstoreServices, root: TrustedRoot, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MaterialSealer]:
    found = sealer_of(sigstore_services, root, tmp_path_factory.mktemp("token"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def sealed(sealer: MaterialSealer) -> Sealed:
    return sealer.seal_now(STATEMENT, TYPE, log=True)


@pytest.fixture
def fulcio(sigstore_services: SigstoreServices) -> Iterator[Proxy]:
    with proxy(sigstore_services.fulcio) as found:
        yield found


def test_a_hundred_signatures_at_once_share_one_certificate_and_wait_together(
    sigstore_services: SigstoreServices,
    root: TrustedRoot,
    tmp_path: Path,
    fulcio: Proxy,
) -> None:
    sealer = sealer_of(sigstore_services, root, tmp_path, fulcio=fulcio.url)
    before = sigstore_services.log_size()

    async def seal() -> list[Sealed]:
        statements = [STATEMENT + b" " * number for number in range(100)]
        return await asyncio.gather(*(sealer.seal(one, TYPE, log=True) for one in statements))

    started = datetime.now(UTC)
    found = asyncio.run(seal())
    sealer.close()
    assert (len({one.certificate for one in found}), len(fulcio.seen)) == (1, 1)
    assert len({one.entry_url for one in found}) == 100
    assert sigstore_services.log_size() == before + 100
    # one after another they would take a hundred seconds
    assert datetime.now(UTC) - started < timedelta(seconds=30)


def test_a_certificate_near_its_end_is_renewed_with_a_fresh_token_and_another_key(
    sigstore_services: SigstoreServices, root: TrustedRoot, tmp_path: Path, fulcio: Proxy
) -> None:
    # a certificate lasts ten minutes, so none lasts for an hour
    keyless = Keyless(Fulcio(fulcio.url, root), tokens(sigstore_services, tmp_path), margin=3600)
    first = keyless.current()
    tokens(sigstore_services, tmp_path, account="another")
    second = keyless.current()
    assert first.certificate.identity.endswith("/tekton-chains-controller")
    assert second.certificate.identity.endswith("/another")
    assert first.keyid != second.keyid
    assert len(fulcio.seen) == 2


def test_who_waits_while_the_request_fails_does_not_ask_again(
    root: TrustedRoot, sigstore_services: SigstoreServices, tmp_path: Path
) -> None:
    with proxy(sigstore_services.fulcio, fails=503) as fulcio:
        sealer = sealer_of(sigstore_services, root, tmp_path, fulcio=fulcio.url)

        async def seal() -> list[Sealed | BaseException]:
            work = (sealer.seal(STATEMENT + b" " * number, TYPE, log=True) for number in range(30))
            return await asyncio.gather(*work, return_exceptions=True)

        found = asyncio.run(seal())
    sealer.close()
    assert all(isinstance(one, SignerUnavailable) for one in found)
    assert len(fulcio.seen) < 30


def test_what_was_sealed_lately_is_given_again(sealer: MaterialSealer) -> None:
    async def seal() -> tuple[Sealed, Sealed, Sealed, Sealed]:
        first = await sealer.seal(STATEMENT, TYPE, log=True)
        second = await sealer.seal(STATEMENT, TYPE, log=True)
        return first, second, await sealer.sign(b"data", log=True), await sealer.sign(b"data", log=True)

    first, second, third, fourth = asyncio.run(seal())
    assert first is second
    assert third is fourth


def test_an_outage_of_the_authority_is_noticed_before_the_log_has_an_entry(
    sigstore_services: SigstoreServices, root: TrustedRoot, tmp_path: Path
) -> None:
    keyless = Keyless(Fulcio(sigstore_services.fulcio, root), tokens(sigstore_services, tmp_path))
    log = RekorV2(sigstore_services.rekor, root)
    sealer = MaterialSealer(keyless, log=log, authority=TimestampAuthority(NOWHERE, root), root=root)
    before = sigstore_services.log_size()
    for work in (lambda: sealer.seal_now(STATEMENT, TYPE, log=True), lambda: sealer.sign_now(b"x", log=True)):
        with pytest.raises(SignerUnavailable, match="timestamp authority"):
            work()
    assert sigstore_services.log_size() == before


def test_a_key_whose_signatures_are_alike_is_logged_once_and_then_refused_in_words(
    sigstore_services: SigstoreServices, root: TrustedRoot, tmp_path: Path
) -> None:
    write_key_pair(tmp_path / "rsa.key", generate_key("rsa-3072"))
    log = RekorV2(sigstore_services.rekor, root)
    sealer = MaterialSealer(open_signer(str(tmp_path / "rsa.key")), log=log, root=root)
    assert sealer.sign_now(b"once", log=True).entry_url
    with pytest.raises(SignerRejected, match="use an ecdsa key"):
        sealer.sign_now(b"once", log=True)


def test_an_ecdsa_key_is_logged_as_often_as_one_likes(
    sigstore_services: SigstoreServices, root: TrustedRoot, tmp_path: Path
) -> None:
    write_key_pair(tmp_path / "p256.key", generate_key())
    log = RekorV2(sigstore_services.rekor, root)
    sealer = MaterialSealer(open_signer(str(tmp_path / "p256.key")), log=log, root=root)
    assert sealer.sign_now(b"x", log=True).entry_url != sealer.sign_now(b"x", log=True).entry_url
    assert not sealer.repeats(log=True)
    assert not sealer.is_local(log=True)
    assert sealer.is_local(log=False)


@pytest.mark.parametrize("algorithm", ["ecdsa-p384", "ed25519"])
def test_a_key_that_the_log_does_not_take_is_refused_at_the_start(
    sigstore_services: SigstoreServices, tmp_path: Path, algorithm: str
) -> None:
    write_key_pair(tmp_path / "the.key", generate_key(algorithm))
    with pytest.raises(SignerRejected, match=f"rekor v2 does not accept {algorithm}"):
        MaterialSealer(open_signer(str(tmp_path / "the.key")), log=RekorV2(sigstore_services.rekor))


def test_a_stored_bundle_is_ours_and_another_is_not(
    sealer: MaterialSealer,
    sealed: Sealed,
    sigstore_services: SigstoreServices,
    root: TrustedRoot,
    tmp_path: Path,
) -> None:
    tokens(sigstore_services, tmp_path, account="another")
    another = Keyless(Fulcio(sigstore_services.fulcio, root), TokenSource(file=str(tmp_path / "token")))
    log, authority = (
        RekorV2(sigstore_services.rekor, root),
        TimestampAuthority(sigstore_services.timestamp, root),
    )
    foreign = MaterialSealer(another, log=log, authority=authority, root=root)
    content = json.loads(sealed.bundle)
    without_log = json.dumps(
        {**content, "verificationMaterial": {**content["verificationMaterial"], "tlogEntries": []}}
    )

    async def reopen() -> list[Sealed | None]:
        return [
            await sealer.reopen_bundle(sealed.bundle, STATEMENT, TYPE, log=True),
            await sealer.reopen_bundle(sealed.bundle, STATEMENT + b" ", TYPE, log=True),
            await sealer.reopen_bundle(without_log.encode(), STATEMENT, TYPE, log=True),
            await sealer.reopen_bundle(without_log.encode(), STATEMENT, TYPE, log=False),
            await foreign.reopen_bundle(sealed.bundle, STATEMENT, TYPE, log=True),
        ]

    ours, changed, unlogged, unlogged_is_enough, others = asyncio.run(reopen())
    foreign.close()
    assert ours is not None
    assert (ours.bundle, ours.envelope, ours.entry_url) == (sealed.bundle, sealed.envelope, sealed.entry_url)
    assert (changed, unlogged, others) == (None, None, None)
    assert unlogged_is_enough is not None


def test_parts_of_a_layer_give_the_same_bundle_again(sealer: MaterialSealer, sealed: Sealed) -> None:
    annotations = {**sealed.annotations, "dev.sigstore.cosign/certificate": sealed.certificate.decode()}
    envelope = Bundle.from_bytes(sealed.bundle).envelope
    material = material_of_annotations(annotations)
    found = sealer.accept(pae(TYPE, STATEMENT), sealed.signature, material, envelope, log=True)
    assert found == sealed
    with pytest.raises(FormatError):
        material_of_annotations({"dev.sigstore.cosign/rfc3161timestamp": "{"})


def logged(sealed: Sealed) -> tuple[dict[str, Any], Signed]:
    bundle = Bundle.from_bytes(sealed.bundle)
    material = material_of(bundle)
    key = PublicKey.from_key(load_der_x509_certificate(material.certificate).public_key())
    signed = Signed(pae(TYPE, STATEMENT), sealed.signature, key, material.certificate, bundle.envelope)
    entry: dict[str, Any] = json.loads(json.dumps(material.entry))
    return entry, signed


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("fault", ["root hash", "index", "body", "checkpoint", "no proof", "size", "hash"])
def test_an_entry_with_a_wrong_proof_is_not_believed(sealed: Sealed, root: TrustedRoot, fault: str) -> None:
    entry, signed = logged(sealed)
    check_entry(entry, signed, root)
    proof = entry["inclusionProof"]
    if fault == "root hash":
        proof["rootHash"] = encoded(b"\0" * 32)
    elif fault == "index":
        proof["logIndex"] = str(int(proof["logIndex"]) + 1)
    elif fault == "body":
        entry["canonicalizedBody"] = encoded(base64.b64decode(entry["canonicalizedBody"]) + b" ")
    elif fault == "checkpoint":
        proof["checkpoint"]["envelope"] = "not a note"
    elif fault == "no proof":
        del entry["inclusionProof"]
    elif fault == "size":
        proof["treeSize"] = str(int(proof["treeSize"]) * 2 + 1)
    else:
        proof["hashes"] = [*proof["hashes"], encoded(b"\0" * 32)] * 3
    with pytest.raises(VerificationError):
        check_entry(entry, signed, root)
    with pytest.raises(VerificationError):
        check_entry(entry, signed, None)


@pytest.mark.parametrize("fault", ["signature", "data", "certificate"])
def test_an_entry_of_another_signature_is_not_believed(sealed: Sealed, root: TrustedRoot, fault: str) -> None:
    entry, signed = logged(sealed)
    other = {
        "signature": replace(signed, signature=signed.signature + b"\0"),
        "data": replace(signed, data=b"other"),
        "certificate": replace(signed, certificate=b""),
    }[fault]
    with pytest.raises(VerificationError, match="another signature"):
        check_entry(entry, other, root)


def test_a_log_certificate_or_timestamp_of_another_instance_is_not_believed(
    sealed: Sealed, root: TrustedRoot, other_root: TrustedRoot
) -> None:
    entry, signed = logged(sealed)
    with pytest.raises(VerificationError, match="not in the trusted root"):
        check_entry(entry, signed, other_root)
    renamed = replace(root, logs=tuple(replace(log, url="http://elsewhere") for log in root.logs))
    with pytest.raises(VerificationError, match="not of elsewhere"):
        check_entry(entry, signed, renamed)
    swapped = replace(root, logs=tuple(replace(log, key=other_root.logs[0].key) for log in root.logs))
    with pytest.raises(VerificationError, match="did not sign"):
        check_entry(entry, signed, swapped)
    stamp = material_of(Bundle.from_bytes(sealed.bundle)).timestamp
    assert check_timestamp(stamp, sealed.signature, root).time <= datetime.now(UTC)
    for signature, trusted in ((b"other", root), (b"other", None), (sealed.signature, other_root)):
        with pytest.raises(VerificationError):
            check_timestamp(stamp, signature, trusted)
    with pytest.raises(VerificationError, match="another query"):
        check_timestamp(stamp, sealed.signature, root, nonce=1)
    with pytest.raises(VerificationError, match="not a timestamp response"):
        check_timestamp(b"junk", sealed.signature, None)


def test_a_certificate_is_believed_with_its_chain_its_time_and_its_promise(
    sealed: Sealed, root: TrustedRoot, other_root: TrustedRoot, sigstore_services: SigstoreServices
) -> None:
    leaf, now = load_pem_x509_certificate(sealed.certificate), datetime.now(UTC)
    found = check_certificate(leaf, root, now)
    assert (found.identity, found.issuer) == (
        sigstore_services.issuer.identity(),
        sigstore_services.issuer.url,
    )
    with pytest.raises(VerificationError, match="valid from"):
        check_certificate(leaf, root, now + timedelta(hours=1))
    with pytest.raises(VerificationError, match="no authority"):
        check_certificate(leaf, other_root, now)
    with pytest.raises(VerificationError, match="not in the trusted root"):
        check_certificate(leaf, replace(root, ct_logs=other_root.ct_logs), now)
    forged = replace(root, ct_logs=tuple(replace(log, key=other_root.logs[0].key) for log in root.ct_logs))
    with pytest.raises(VerificationError, match="is not valid"):
        verify_sct(leaf, found.chain[0], forged)
    with pytest.raises(VerificationError, match="no certificate timestamp"):
        verify_sct(found.chain[0], found.chain[0], root)


def test_the_signing_configuration_names_the_services(
    sigstore_services: SigstoreServices, tmp_path: Path
) -> None:
    services = load_signing_config(sigstore_services.signing_config)
    assert (services.fulcio, services.log_version) == (sigstore_services.fulcio, 2)
    content = json.loads(sigstore_services.signing_config.read_text())
    log = content["rekorTlogUrls"][0]
    content["rekorTlogUrls"] += [
        {**log, "url": "http://newer", "validFor": {"start": "2026-01-01T00:00:00Z"}},
        {**log, "url": "http://ended", "validFor": {"start": "2026-02-01T00:00:00Z", "end": "2026-03-01T00:00:00Z"}},
        {**log, "url": "http://unknown", "majorApiVersion": 3, "validFor": {"start": "2026-02-01T00:00:00Z"}},
        {**log, "url": "http://older", "majorApiVersion": 1, "validFor": {"start": "2026-02-01T00:00:00Z"}},
    ]  # fmt: skip
    path = tmp_path / "signing_config.json"
    path.write_text(json.dumps(content))
    assert load_signing_config(path).log == "http://newer"
    path.write_text(json.dumps({**content, "mediaType": "other"}))
    with pytest.raises(FormatError, match="mediaType"):
        load_signing_config(path)
    with pytest.raises(SignerRejected, match="cannot be read"):
        load_signing_config(tmp_path / "missing")
