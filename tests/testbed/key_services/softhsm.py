"""SoftHSM (Debian's ``softhsm2``): a PKCS #11 module with a token in a folder."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, Mechanism
from pkcs11.util.ec import encode_named_curve_parameters

from tests.testbed.key_services import KeyServer

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
TOKEN, PIN = "chains", "token-pin-1234"
_CURVES = {"ecdsa-p256": "secp256r1", "ecdsa-p384": "secp384r1"}
_EDWARDS25519 = b"\x13\x0cedwards25519"


class SoftHsm(KeyServer):
    """A token. Keys are created through the module itself, in this process."""

    algorithms = ("ecdsa-p256", "ecdsa-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096")

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.pin_file = folder / "pin"
        self.made = 0

    def session(self) -> Any:
        token = pkcs11.lib(str(MODULE)).get_token(token_label=TOKEN)
        try:
            return token.open(rw=True, user_pin=PIN)
        except pkcs11.UserAlreadyLoggedIn:
            return token.open(rw=True)

    def create(self, algorithm: str, label: str) -> bytes:
        """Create a key pair and return its id."""
        self.made += 1
        identity = self.made.to_bytes(2)
        session = self.session()
        options: dict[str, Any] = {"id": identity, "label": label, "store": True}
        if algorithm in _CURVES:
            parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters(_CURVES[algorithm])}
            domain = session.create_domain_parameters(KeyType.EC, parameters, local=True)
            domain.generate_keypair(**options)
        elif algorithm == "ed25519":
            domain = session.create_domain_parameters(
                KeyType.EC_EDWARDS, {Attribute.EC_PARAMS: _EDWARDS25519}, local=True
            )
            domain.generate_keypair(mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN, **options)
        else:
            session.generate_keypair(KeyType.RSA, int(algorithm.removeprefix("rsa-")), **options)
        return identity

    def reference(self, algorithm: str) -> str:
        label = f"key {self.made + 1}"
        self.create(algorithm, label)
        return (
            f"pkcs11:token={TOKEN};object={label.replace(' ', '%20')}"
            f"?module-path={MODULE}&pin-source=file:{self.pin_file}"
        )

    def rotate(self, reference: str) -> None:
        """Move the label to a new key. The old key keeps its id."""
        label = reference.partition("object=")[2].partition("?")[0].replace("%20", " ")
        session = self.session()
        for found in list(session.get_objects({Attribute.LABEL: label})):
            found[Attribute.LABEL] = f"{label} (old)"
        self.create("ecdsa-p256", label)


@contextmanager
def softhsm(folder: Path) -> Iterator[SoftHsm]:
    """Create a token for the length of the block. Skips the test if SoftHSM is not installed."""
    if not MODULE.is_file():
        pytest.skip("SoftHSM is not installed: apt-get install softhsm2")
    tokens = folder / "tokens"
    tokens.mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {tokens}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    server = SoftHsm(folder)
    server.pin_file.write_text(PIN + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(configuration))
        tool = shutil.which("softhsm2-util") or "softhsm2-util"
        subprocess.run(
            [tool, "--init-token", "--free", "--label", TOKEN, "--so-pin", "so-" + PIN, "--pin", PIN],
            check=True,
            capture_output=True,
            timeout=30,
        )
        try:
            yield server
        finally:
            pkcs11.unload(str(MODULE))
