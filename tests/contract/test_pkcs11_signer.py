"""PKCS #11 with SoftHSM: PINs, objects, and lost sessions and tokens."""

from __future__ import annotations

from pathlib import Path

import pkcs11
import pytest

from signers.errors import SignerRejected, SignerUnavailable
from signers.keys.public_key import PublicKey
from signers.kms import pkcs11 as room
from signers.open import open_signer
from tests.testbed.key_services.every import KeyServices
from tests.testbed.key_services.softhsm import MODULE, PIN, TOKEN, SoftHsm

pytestmark = pytest.mark.server


@pytest.fixture
def hsm(key_services: KeyServices, monkeypatch: pytest.MonkeyPatch) -> SoftHsm:
    for name in (
        "CHAINS_PKCS11_PIN",
        "COSIGN_PKCS11_PIN",
        "CHAINS_PKCS11_MODULE_PATH",
        "COSIGN_PKCS11_MODULE_PATH",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("signers.kms.service._FIRST_DELAY", 0.001)
    return key_services.server("pkcs11 softhsm")


def log_out() -> None:
    """Drop every session, so that the next one must log in again."""
    module = room._modules[str(MODULE)]
    module.reload(module.loads)


def test_pin_and_module_come_from_the_environment(hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> None:
    hsm.reference("ecdsa-p256")
    log_out() if str(MODULE) in room._modules else None
    monkeypatch.setenv("CHAINS_PKCS11_MODULE_PATH", str(MODULE))
    monkeypatch.setenv("COSIGN_PKCS11_PIN", PIN)
    open_signer(f"pkcs11:token={TOKEN};object=key%20{hsm.made};type=private").sign(b"data")


def test_a_key_is_found_by_its_id(hsm: SoftHsm) -> None:
    identity = hsm.create("ecdsa-p256", "by id")
    encoded = "".join(f"%{byte:02X}" for byte in identity)
    signer = open_signer(f"pkcs11:token={TOKEN};id={encoded}?module-path={MODULE}&pin-source={hsm.pin_file}")
    signer.sign(b"data")
    assert signer.version.endswith(f";id={identity.hex()}")


def test_a_key_of_one_slot_or_serial_is_found(hsm: SoftHsm) -> None:
    reference = hsm.reference("ecdsa-p256")
    token = pkcs11.lib(str(MODULE)).get_token(token_label=TOKEN)
    serial = bytes(token.serial).decode().strip()
    for more in (f"slot-id={token.slot.slot_id}", f"serial={serial}", "manufacturer=SoftHSM%20project"):
        open_signer(reference.replace(f"token={TOKEN}", more)).sign(b"data")
    with pytest.raises(SignerRejected, match="no such token"):
        open_signer(reference.replace(f"token={TOKEN}", "slot-id=999999"))


# python-pkcs11 ends a search a second time when it is collected, and tells that the session is gone
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_session_that_was_closed_is_opened_again(hsm: SoftHsm) -> None:
    signer = open_signer(hsm.reference("ecdsa-p256"))
    for session in room._modules[str(MODULE)].sessions.values():
        session.close()
    PublicKey.from_pem(signer.public_pem).verify(signer.sign(b"data"), b"data")


def test_two_keys_of_a_token_share_what_is_opened_again(hsm: SoftHsm) -> None:
    first, second = (open_signer(hsm.reference("ecdsa-p256")) for _ in range(2))
    log_out()
    for _ in range(2):
        first.sign(b"data")
        second.sign(b"data")


def test_a_token_that_was_removed_is_unavailable_until_it_is_back(hsm: SoftHsm) -> None:
    signer = open_signer(hsm.reference("ecdsa-p256"))
    tokens = hsm.folder / "tokens"
    away = tokens.rename(hsm.folder / "away")
    tokens.mkdir()
    log_out()
    try:
        with pytest.raises(SignerUnavailable, match="no longer present"):
            signer.sign(b"data")
        with pytest.raises(SignerRejected, match="no such token"):
            open_signer(f"pkcs11:token={TOKEN};object=a?module-path={MODULE}&pin-source={hsm.pin_file}")
    finally:
        tokens.rmdir()
        away.rename(tokens)
        log_out()
    signer.sign(b"data")


def test_a_wrong_pin_is_tried_once_and_not_shown(hsm: SoftHsm, tmp_path: Path) -> None:
    reference = hsm.reference("ecdsa-p256")
    log_out()
    wrong = tmp_path / "pin"
    wrong.write_text("wrong-pin-99")
    with pytest.raises(SignerRejected, match="refuses the PIN") as caught:
        open_signer(reference.replace(str(hsm.pin_file), str(wrong)))
    assert "wrong-pin-99" not in str(caught.value)
    open_signer(reference).sign(b"data")


def test_two_keys_of_one_label_are_refused(hsm: SoftHsm) -> None:
    reference = hsm.reference("ecdsa-p256")
    hsm.create("ecdsa-p256", f"key {hsm.made}")
    with pytest.raises(SignerRejected, match="name it by its id"):
        open_signer(reference)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("pkcs11:token=t;object=o?pin-value=4711", "a PIN in the reference is refused"),
        ("pkcs11:token=t?module-path=/m", "names no key"),
        ("pkcs11:object=o", "no module"),
        ("pkcs11:object=o?module-path=/no/such.so", "there is no module /no/such.so"),
        ("pkcs11:object=o?module-path=/etc/hostname", "the module /etc/hostname cannot be loaded"),
        ("pkcs11:object=o;type=public?module-path=/m", "must name a private key"),
        ("pkcs11:object=o;object=p", "unknown, doubled or empty"),
        ("pkcs11:object=o;secret4711=1", "unknown, doubled or empty"),
        ("pkcs11:object=%ff?module-path=/m", "not UTF-8"),
        (f"pkcs11:object=o?module-path={MODULE}&pin-source=|cat%20/4711", "names a command"),
        (f"pkcs11:object=o?module-path={MODULE}&pin-source=/no/such", "PIN file /no/such cannot be read"),
    ],
)
def test_a_reference_that_cannot_be_used_is_told(hsm: SoftHsm, reference: str, expected: str) -> None:
    with pytest.raises(SignerRejected, match=expected.replace("(", "\\(")) as caught:
        open_signer(reference)
    assert "4711" not in str(caught.value)


def test_the_module_is_the_one_that_the_tests_loaded(hsm: SoftHsm) -> None:
    assert pkcs11.lib(str(MODULE)).manufacturer_id.startswith("SoftHSM")
