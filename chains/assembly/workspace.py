"""The configuration and key of a command: from options, a configuration, or the folder ``.chains/``.

An option overrides the configuration, and the configuration overrides ``.chains/`` in the current folder.
That folder holds a P-256 key, made once, and an OCI image layout. Verification uses it only for run files of
the current folder: see :mod:`chains.cli.trust`.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path

from chains.assembly.sealers import open_sealer
from chains.assembly.signers import kms_settings, open_sealers
from chains.config.parse import Config, is_keyless, load_config_file, parse_config
from chains.errors import UsageError
from chains.text import plain
from signers.base import Signer
from signers.errors import SignerError
from signers.keys.keyfile import (
    PASSWORD_VARIABLE,
    generate_key,
    is_encrypted_keyfile,
    open_keyfile,
    write_key_pair,
)
from signers.open import open_signer, scheme_of, shown_reference
from signers.sealer import Sealer
from storage.files import read_file

FOLDER = Path(".chains")
PRIVATE_KEY = FOLDER / "signing.key"
PUBLIC_KEY = FOLDER / "signing.pub"
LAYOUT = f"oci-layout:{FOLDER / 'layout'}"
MAX_PASSWORD_BYTES = 4096
Tell = Callable[[str], None]
"""Reports a chosen default, at once, because what is opened next may fail."""
_DEFAULTS = {
    "artifacts.taskrun.format": "slsa/v2alpha4",
    "artifacts.pipelinerun.format": "slsa/v2alpha4",
    "storage.oci.encoding-format": "both",
}
"""The configuration of ``deploy/base``. A given configuration has the defaults of Tekton Chains instead."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A parsed configuration, its data, and whether the user gave one."""

    config: Config
    data: Mapping[str, str]
    given: bool


def load_settings(path: str) -> Settings:
    """Read the configuration file; an empty ``path`` gives the defaults. Raises :class:`ConfigError`."""
    if not path:
        return Settings(parse_config(_DEFAULTS), _DEFAULTS, False)
    data = load_config_file(Path(path))
    return Settings(parse_config(data), data, True)


def open_key(
    reference: str, config: Config | None = None, *, password_file: str = "", tell: Tell | None = None
) -> Signer:
    """Open the signing key of the reference, or the key of ``.chains/``.

    If ``.chains/`` has no key, one is made and reported to ``tell``; without ``tell`` it is an error.
    ``config`` has the login to a key service. The password of an encrypted key file is the first line of
    ``password_file``, else ``COSIGN_PASSWORD``, else what is typed at the terminal. Raises
    :class:`UsageError` with the signer's error.
    """
    try:
        if not reference:
            if tell is not None:
                _make_key_once(tell)
            elif not PRIVATE_KEY.exists():
                raise UsageError(
                    f"no key: name one, or make one with chains keys generate; there is no {PRIVATE_KEY} here"
                )
        reference = reference or str(PRIVATE_KEY)
        if scheme_of(reference) == "file":
            return open_keyfile(reference, _password(reference, password_file))
        if password_file:
            raise UsageError("--password-file opens key files alone, and this key is in a key service")
        return open_signer(reference, settings=kms_settings(config))
    except (SignerError, OSError) as error:
        raise UsageError(f"key {shown_reference(reference or str(PRIVATE_KEY))}: {error}") from error


def _password(reference: str, password_file: str) -> bytes | None:
    """Return the password of a key file, None if none was given and none can be asked for."""
    if password_file:
        try:
            return read_file(password_file, MAX_PASSWORD_BYTES).split(b"\n", 1)[0].rstrip(b"\r")
        except OSError as error:
            raise UsageError(f"--password-file {password_file} cannot be read: {error.strerror}") from error
    asks = PASSWORD_VARIABLE not in os.environ and sys.stdin is not None and sys.stdin.isatty()
    if asks and is_encrypted_keyfile(reference):
        return getpass(f"password of {plain(reference)}: ").encode()
    return None


def open_sealers_for(
    config: Config, reference: str, password_file: str = "", *, tell: Tell
) -> dict[str, Sealer]:
    """Return the sealers as :func:`open_sealers` does, with the key of ``.chains/`` for ``x509``.

    A ``reference`` to a key replaces every signer. ``password_file`` is that of :func:`open_key`. ``tell``
    gets the identity of keyless signing. Raises :class:`UsageError` and :class:`ConfigError`.
    """
    if reference:
        return one_signer(config, open_key(reference, config, password_file=password_file, tell=tell))
    found = open_sealers(config, lambda: open_key("", password_file=password_file, tell=tell))
    if is_keyless(config):
        tell(f"signing as {found['x509'].identity}")
    return found


def one_signer(config: Config, signer: Signer) -> dict[str, Sealer]:
    """Return the sealer with ``signer`` under the name of every signer of the configuration."""
    names = ("x509", "kms", *(one.sealer for one in config.signers.extra))
    return dict.fromkeys(names, open_sealer(config, signer))


def _make_key_once(tell: Tell) -> None:
    if PRIVATE_KEY.exists():
        return
    FOLDER.mkdir(exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    with os.fdopen(os.open(FOLDER / ".lock", flags, 0o644), "rb") as lock:
        # two commands that start at once must use the same key
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PRIVATE_KEY.exists():
            write_key_pair(PRIVATE_KEY, generate_key())
            tell(f"made a new P-256 key: {PRIVATE_KEY} (public half: {PUBLIC_KEY})")


def own_layout() -> bool:
    """Whether this folder has a layout in ``.chains/``."""
    return (FOLDER / "layout").is_dir()


def own_public_key() -> str:
    """Return the path of the public key in ``.chains/``. Raises :class:`UsageError` for none."""
    if not PUBLIC_KEY.is_file():
        raise UsageError(f"no key: pass --key PUBLIC_KEY; there is no {PUBLIC_KEY} in this folder")
    return str(PUBLIC_KEY)
