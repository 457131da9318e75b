"""What is specific to AWS (moto), Google and Azure (wire protocols): references, and keys that are
refused.
"""

from __future__ import annotations

import sys

import pytest

from signers.errors import SignerRejected, SignerUnavailable
from signers.open import open_signer
from tests.testbed.key_services.aws import Aws
from tests.testbed.key_services.azure import Azure
from tests.testbed.key_services.every import KeyServices
from tests.testbed.key_services.google import RING, Google


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signers.kms.service._FIRST_DELAY", 0.001)


@pytest.fixture
def aws(key_services: KeyServices, monkeypatch: pytest.MonkeyPatch) -> Aws:
    server: Aws = key_services.server("aws moto")
    server.set_environment(monkeypatch)
    return server


@pytest.fixture
def google(key_services: KeyServices) -> Google:
    return key_services.server("google wire protocol")


@pytest.fixture
def azure(key_services: KeyServices) -> Azure:
    return key_services.server("azure wire protocol")


def test_aws_takes_key_ids_arns_and_aliases(aws: Aws) -> None:
    key = aws.create("ecdsa-p256")
    arn = aws.client.describe_key(KeyId=key)["KeyMetadata"]["Arn"]
    aws.client.create_alias(AliasName="alias/team/app", TargetKeyId=key)
    keyids = {open_signer(f"awskms:///{name}").keyid for name in (key, arn, "alias/team/app")}
    assert len(keyids) == 1


def test_aws_takes_an_endpoint_by_https(monkeypatch: pytest.MonkeyPatch, aws: Aws) -> None:
    with pytest.raises(SignerUnavailable, match=r"https://127\.0\.0\.1:9/"):
        open_signer("awskms://127.0.0.1:9/alias/key")


def test_aws_cannot_make_what_cosign_verifies_on_p384(aws: Aws) -> None:
    with pytest.raises(
        SignerRejected, match=r"ECDSA_SHA_384 cannot sign what cosign verifies: use .* ECC_NIST_P256"
    ):
        open_signer(f"awskms:///{aws.create('ecdsa-p384')}")


def test_aws_refuses_keys_that_encrypt_and_disabled_ones(aws: Aws) -> None:
    made = aws.client.create_key(KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")["KeyMetadata"]["KeyId"]
    with pytest.raises(SignerRejected, match="ENCRYPT_DECRYPT"):
        open_signer(f"awskms:///{made}")


def test_aws_without_region_says_what_to_set(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    with pytest.raises(SignerRejected, match="set AWS_REGION"):
        open_signer("awskms:///alias/key")


@pytest.mark.parametrize(
    "reference",
    ["awskms://alias/key", "awskms:///key", "awskms://u:hunter2@host/alias/key", "awskms:///alias/a b",
     "gcpkms://projects/p/cryptoKeys/k", f"gcpkms://{RING}/k/cryptoKeyVersions/new", "gcpkms://hunter2",
     "azurekms://vault", "azurekms://vault/key/1/2", "azurekms://u:hunter2@vault/key"],
)  # fmt: skip
def test_a_wrong_reference_is_refused_and_not_repeated(reference: str) -> None:
    with pytest.raises(SignerRejected, match="wrong form: expected ") as caught:
        open_signer(reference)
    assert "hunter2" not in str(caught.value)


def test_google_takes_the_newest_enabled_version_or_the_named_one(google: Google) -> None:
    reference = google.reference("ecdsa-p256")
    google.rotate(reference)
    google.rotate(reference)
    google.disabled.add(f"{reference.removeprefix('gcpkms://')}/cryptoKeyVersions/3")
    assert open_signer(reference).version.endswith("/cryptoKeyVersions/2")
    assert open_signer(f"{reference}/cryptoKeyVersions/1").version.endswith("/cryptoKeyVersions/1")
    assert open_signer(f"{reference}/versions/1").version.endswith("/cryptoKeyVersions/1")


@pytest.mark.parametrize("damaged", ["public key", "signature"])
def test_google_checksums_are_compared_and_damage_is_tried_again(google: Google, damaged: str) -> None:
    reference = google.reference("ecdsa-p256")
    signer = open_signer(reference)
    google.corrupt = 2
    if damaged == "signature":
        signer.sign(b"data")
    else:
        open_signer(reference)
    assert google.corrupt == 0
    google.corrupt = 100
    with pytest.raises(SignerUnavailable, match="damaged in transit"):
        signer.sign(b"data")
    google.corrupt = 0


def test_google_refuses_keys_whose_signatures_cosign_would_refuse(google: Google) -> None:
    for algorithm, name in (("ecdsa-p384", "EC_SIGN_P384_SHA384"), ("pss", "RSA_SIGN_PSS_2048_SHA256")):
        reference = google.reference("rsa-2048" if algorithm == "pss" else algorithm)
        google.keys.algorithms[reference.rpartition("/")[2]] = algorithm
        with pytest.raises(SignerRejected, match=f"{name} cannot sign what cosign verifies"):
            open_signer(reference)


def test_google_without_an_enabled_version_is_rejected(google: Google) -> None:
    reference = google.reference("ecdsa-p256")
    google.disabled.add(f"{reference.removeprefix('gcpkms://')}/cryptoKeyVersions/1")
    with pytest.raises(SignerRejected, match="no enabled version"):
        open_signer(reference)


def test_azure_pins_the_version_and_takes_a_named_one(azure: Azure) -> None:
    reference = azure.reference("ecdsa-p256")
    first = open_signer(reference)
    azure.rotate(reference)
    assert first.version.endswith(f"/{1:032x}")
    assert open_signer(reference).version.endswith(f"/{2:032x}")
    assert open_signer(f"{reference}/{1:032x}").keyid == first.keyid


def test_azure_cannot_make_what_cosign_verifies_on_p384(azure: Azure) -> None:
    with pytest.raises(SignerRejected, match="EC P-384 cannot sign what cosign verifies"):
        open_signer(azure.reference("ecdsa-p384"))


def test_azure_refused_credentials_are_told_without_the_token(
    azure: Azure, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = azure.reference("ecdsa-p256")
    given = azure.token
    signer = open_signer(reference)
    monkeypatch.setattr(azure, "token", "another")
    with pytest.raises(SignerRejected, match="credentials were refused") as caught:
        signer.sign(b"data")
    assert given not in str(caught.value)


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "signers.kms.aws", raising=False)
    with pytest.raises(
        SignerRejected,
        match=r"awskms keys need the package boto3: install provenance-chains with its extra aws",
    ):
        open_signer("awskms:///alias/key")
