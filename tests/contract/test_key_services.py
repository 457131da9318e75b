"""The contract of signers whose key is in a service or device, beyond the contract of all signers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from signers.base import Signer
from signers.errors import SignerRejected, SignerUnavailable, VerificationError
from signers.keys.public_key import PublicKey
from signers.kms.service import PUBLIC_KEY_SECONDS
from tests.testbed.key_services import DENY, OUTAGE, THROTTLE, KeyServer
from tests.testbed.key_services.every import KeyServices

SECRETS = ("root-token", "tests-secret", "token-pin-1234")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signers.kms.service._FIRST_DELAY", 0.001)


class Service(NamedTuple):
    name: str
    server: KeyServer
    reference: str
    services: KeyServices

    def open(self) -> Signer:
        return self.services.open(self.name, self.reference)


@pytest.fixture
def service(service_name: str, key_services: KeyServices) -> Iterator[Service]:
    server = key_services.server(service_name)
    server.faults.clear()
    yield Service(service_name, server, server.reference("ecdsa-p256"), key_services)
    server.faults.clear()


@pytest.fixture
def networked(service: Service) -> Service:
    return service


def test_it_asks_a_service_and_names_the_version_that_signs(service: Service) -> None:
    signer = service.open()
    assert signer.remote
    assert signer.version
    assert not any(secret in repr(signer) + signer.version for secret in SECRETS)


@pytest.mark.parametrize("fault", [OUTAGE, THROTTLE])
def test_a_short_fault_delays_opening_and_signing(networked: Service, fault: str) -> None:
    networked.server.faults.waiting = [fault, fault]
    signer = networked.open()
    networked.server.faults.waiting = [fault, fault]
    PublicKey.from_pem(signer.public_pem).verify(signer.sign(b"data"), b"data")
    assert not networked.server.faults.waiting


@pytest.mark.parametrize("fault", [OUTAGE, THROTTLE])
def test_a_lasting_fault_is_unavailable_after_a_bounded_number_of_tries(
    networked: Service, fault: str
) -> None:
    signer = networked.open()
    networked.server.faults.forever = fault
    before = networked.server.faults.seen
    with pytest.raises(SignerUnavailable):
        signer.sign(b"data")
    assert networked.server.faults.seen - before == 5
    with pytest.raises(SignerUnavailable):
        networked.open()
    networked.server.faults.clear()
    signer.sign(b"data")


def test_a_missing_permission_is_rejected_at_once_and_told_without_secrets(networked: Service) -> None:
    signer = networked.open()
    networked.server.faults.forever = DENY
    before = networked.server.faults.seen
    with pytest.raises(SignerRejected) as caught:
        signer.sign(b"data")
    assert networked.server.faults.seen - before == 1
    assert len(str(caught.value)) > 40
    assert not any(secret in str(caught.value) for secret in SECRETS)
    with pytest.raises(SignerRejected):
        networked.open()


def test_a_signature_of_another_key_is_rejected(networked: Service) -> None:
    signer = networked.open()
    networked.server.faults.lying = True
    with pytest.raises(SignerRejected, match="not a signature by its key"):
        signer.sign(b"data")


def test_after_a_rotation_the_old_version_signs_until_the_key_is_opened_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = service.open()
    service.server.rotate(service.reference)
    old_key = PublicKey.from_pem(old.public_pem)
    old_key.verify(old.sign(b"data"), b"data")
    assert old.is_current(), "nobody is asked before the public key expires"
    monkeypatch.setattr("signers.kms.service.PUBLIC_KEY_SECONDS", 0)
    assert not old.is_current()
    new = service.open()
    assert new.is_current()
    assert (new.keyid, new.version) != (old.keyid, old.version)
    with pytest.raises(VerificationError, match="the signature was not made over this data by key SHA256:"):
        old_key.verify(new.sign(b"data"), b"data")
    old_key.verify(old.sign(b"data"), b"data")
    assert PUBLIC_KEY_SECONDS == 300


def test_while_the_service_is_down_the_key_is_thought_to_be_current(
    networked: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = networked.open()
    monkeypatch.setattr("signers.kms.service.PUBLIC_KEY_SECONDS", 0)
    networked.server.faults.forever = OUTAGE
    assert signer.is_current()
    networked.server.faults.forever = DENY
    assert not signer.is_current(), "opening it again tells what is wrong"


def test_many_threads_sign_at_once(service: Service) -> None:
    signer = service.open()
    key = PublicKey.from_pem(signer.public_pem)
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        for turn in range(5):
            data = b"%d %d" % (number, turn)
            key.verify(signer.sign(data), data)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_a_key_that_is_not_there_is_rejected(service: Service) -> None:
    base = service.reference.replace("key-", "missing-").replace("key%20", "missing%20")
    with pytest.raises(SignerRejected):
        service.services.open(service.name, base)
