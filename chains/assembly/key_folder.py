"""The signing key of a mounted Secret."""

from __future__ import annotations

from pathlib import Path

from chains.errors import ConfigError
from signers.base import Signer
from signers.errors import SignerError
from signers.keys.keyfile import open_keyfile
from storage.files import read_file

KEY_FILES = ("x509.pem", "cosign.key")
"""The key files, in the order in which Tekton Chains looks for them."""
PASSWORD_FILE = "cosign.password"  # noqa: S105 - a file's name
_MOST_PASSWORD = 4096


def open_key_folder(folder: Path) -> Signer:
    """Open ``x509.pem``, else ``cosign.key`` with ``cosign.password``, of the mounted Secret.

    Raises :class:`ConfigError` with the next step.
    """
    for name in KEY_FILES:
        path = folder / name
        if path.is_file():
            password = folder / PASSWORD_FILE
            secret = (
                read_file(password, _MOST_PASSWORD) if name == "cosign.key" and password.is_file() else None
            )
            try:
                return open_keyfile(str(path), secret)
            except SignerError as error:
                raise ConfigError(str(error)) from error
    raise ConfigError(f"{folder} has neither {' nor '.join(KEY_FILES)}: create the Secret signing-secrets")
