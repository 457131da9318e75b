"""One test body for every kind of signer: outages, throttling and rotation, from a key file to certificates.

``test_key_services.py`` has what is specific to key services, ``test_sealers.py`` what is specific to
certificates.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from signers.base import Signer
from signers.errors import SignerRejected, SignerUnavailable, VerificationError
from signers.keys.keyfile import KeyFileSigner, generate_key, write_key_pair
from signers.keys.public_key import PublicKey
from signers.open import open_signer
from signers.sigstore.fulcio import Fulcio
from signers.sigstore.identity_token import TokenSource
from signers.sigstore.keyless import Keyless
from signers.sigstore.trusted_root import TrustedRoot
from tests.testbed.http_proxy import proxy
from tests.testbed.key_services import DENY, OUTAGE, THROTTLE
from tests.testbed.key_services.every import NAMES, KeyServices
from tests.testbed.sigstore import SigstoreServices

FILE, HSM = "file", "pkcs11 softhsm"
KEYLESS = "sigstore_services"
"""The name of the fixture, so that its programs are built before the first test."""
KINDS = (FILE, *NAMES, KEYLESS)
SERVERS = {KEYLESS, HSM}
DATA = b"data"


class Life(ABC):
    """One key from its first use to its successor. ``faults`` are the faults that it supports."""

    faults: tuple[str, ...] = (OUTAGE, THROTTLE)

    @abstractmethod
    def open(self) -> Signer:
        """Open the current key with a new signer."""

    @abstractmethod
    def rotate(self) -> None:
        """Replace the key."""

    @abstractmethod
    def meet(self, fault: str) -> None:
        """Let every request meet this fault; an empty one ends it."""


class FileLife(Life):
    faults = ()

    def __init__(self, folder: Path) -> None:
        self.path = folder / "the.key"
        write_key_pair(self.path, generate_key())

    def open(self) -> Signer:
        return open_signer(str(self.path))

    def rotate(self) -> None:
        for path in (self.path, self.path.with_suffix(".pub")):
            path.unlink()
        write_key_pair(self.path, generate_key())

    def meet(self, fault: str) -> None:
        assert not fault


class ServiceLife(Life):
    def __init__(self, services: KeyServices, name: str) -> None:
        self.services, self.name, self.server = services, name, services.server(name)
        self.reference = self.server.reference("ecdsa-p256")
        if name == HSM:  # a module has no requests; tests/contract/test_pkcs11_signer.py takes the token away
            self.faults = ()

    def open(self) -> Signer:
        return self.services.open(self.name, self.reference)

    def rotate(self) -> None:
        self.server.rotate(self.reference)

    def meet(self, fault: str) -> None:
        self.server.faults.clear()
        self.server.faults.forever = fault


class KeylessLife(Life):
    """A certificate of the real Fulcio. Its successor has another key."""

    def __init__(self, services: SigstoreServices, folder: Path, stack: ExitStack) -> None:
        self.fulcio = stack.enter_context(proxy(services.fulcio))
        self.root = TrustedRoot.from_path(services.trusted_root)
        self.token = folder / "token"
        self.token.write_text(services.issuer.token())

    def open(self) -> Signer:
        return Keyless(Fulcio(self.fulcio.url, self.root), TokenSource(file=str(self.token))).current()

    def rotate(self) -> None:
        """Do nothing: every certificate has a new key."""

    def meet(self, fault: str) -> None:
        self.fulcio.fails = {OUTAGE: 503, THROTTLE: 429, DENY: 403, "": 0}[fault]


@pytest.fixture(
    params=[
        pytest.param(
            name,
            marks=[pytest.mark.server] if name in SERVERS else [],
            id="keyless fulcio" if name == KEYLESS else name,
        )
        for name in KINDS
    ]
)
def life(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    key_services: KeyServices,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Life]:
    monkeypatch.setattr("signers.kms.service._FIRST_DELAY", 0.001)
    with ExitStack() as stack:
        if request.param == FILE:
            yield FileLife(tmp_path)
        elif request.param == KEYLESS:
            yield KeylessLife(request.getfixturevalue(KEYLESS), tmp_path, stack)
        else:
            found = ServiceLife(key_services, request.param)
            yield found
            found.meet("")


def verifies(signer: Signer, signature: bytes, data: bytes = DATA) -> bool:
    try:
        PublicKey.from_pem(signer.public_pem).verify(signature, data)
    except VerificationError:
        return False
    return True


def test_it_signs_what_verifies_with_its_key_whole_and_over_that_data_alone(life: Life) -> None:
    signer, other = life.open(), open_another()
    signature = signer.sign(DATA)
    assert verifies(signer, signature)
    assert not verifies(signer, signature, b"other data")
    assert not verifies(signer, signature[:-1])
    assert not verifies(other, signature)


def open_another() -> Signer:
    return KeyFileSigner(ec.generate_private_key(ec.SECP256R1()), "another")


def test_an_outage_or_throttling_makes_it_unavailable_and_passes(life: Life) -> None:
    for fault in life.faults:
        life.meet(fault)
        with pytest.raises(SignerUnavailable):
            life.open()
        life.meet("")
        signer = life.open()
        assert verifies(signer, signer.sign(DATA)), fault


def test_a_refusal_is_an_error_with_the_next_step(life: Life) -> None:
    if not life.faults:
        return  # nobody is asked
    life.meet(DENY)
    with pytest.raises((SignerRejected, SignerUnavailable)) as caught:
        life.open()
    assert len(str(caught.value)) > 40


def test_after_a_rotation_another_key_signs_and_the_old_one_verifies_what_it_signed(life: Life) -> None:
    old = life.open()
    before = old.sign(DATA)
    life.rotate()
    new = life.open()
    after = new.sign(DATA)
    assert new.keyid != old.keyid
    assert [verifies(old, before), verifies(new, after)] == [True, True]
    assert [verifies(new, before), verifies(old, after)] == [False, False]
    # what was opened before goes on with its own key: a signature never stands under another key's id
    assert verifies(old, old.sign(DATA))
