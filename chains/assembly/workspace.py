"""What a command works with: configuration and key, from options, a configuration or ``.chains/``.

An option wins over the configuration, the configuration over the working folder ``.chains/`` below the
current one, which holds a P-256 key made once and an OCI image layout. Verification takes these for run files
of the current folder alone: see :mod:`chains.cli.trust`.
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
"""Gets to know what was chosen where nothing named it, at once: what is opened after it may fail."""
_DEFAULTS = {
    "artifacts.taskrun.format": "slsa/v2alpha4",
    "artifacts.pipelinerun.format": "slsa/v2alpha4",
    "storage.oci.encoding-format": "both",
}
"""What ``deploy/base`` configures too; for keys that a given configuration leaves out, Chains' own hold."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A parsed configuration and whether the user gave one; ``data`` is what it was parsed from."""

    config: Config
    data: Mapping[str, str]
    given: bool


def load_settings(path: str) -> Settings:
    """Read the configuration file; take the defaults for an empty ``path``. Raises :class:`ConfigError`."""
    if not path:
        return Settings(parse_config(_DEFAULTS), _DEFAULTS, False)
    data = load_config_file(Path(path))
    return Settings(parse_config(data), data, True)


def open_key(
    reference: str, config: Config | None = None, *, password_file: str = "", tell: Tell | None = None
) -> Signer:
    """Open the signing key: the reference, or the one of ``.chains/``.

    Where ``.chains/`` has no key, one is made and ``tell`` gets to know it; without ``tell`` none is made.
    ``config`` says how to log in to a key service. An encrypted key file is opened by the first line of
    ``password_file``, else by ``COSIGN_PASSWORD``, else by what a person types at the terminal. Raises
    :class:`UsageError` with the signer's words.
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
    """Return the password that was given for a key file, None where there is none to ask for."""
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
    """As :func:`open_sealers`, with the key of ``.chains/``; a ``reference`` to a key replaces every signer.

    ``password_file`` opens an encrypted key file; see :func:`open_key`.

    ``tell`` gets to know who signs, where no key says it. Raises :class:`UsageError` and
    :class:`ConfigError`.
    """
    if reference:
        return one_signer(config, open_key(reference, config, password_file=password_file, tell=tell))
    found = open_sealers(config, lambda: open_key("", password_file=password_file, tell=tell))
    if is_keyless(config):
        tell(f"signing as {found['x509'].identity}")
    return found


def one_signer(config: Config, signer: Signer) -> dict[str, Sealer]:
    """Return what seals with ``signer`` in place of every signer of the configuration, by their names."""
    names = ("x509", "kms", *(one.sealer for one in config.signers.extra))
    return dict.fromkeys(names, open_sealer(config, signer))


def _make_key_once(tell: Tell) -> None:
    if PRIVATE_KEY.exists():
        return
    FOLDER.mkdir(exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    with os.fdopen(os.open(FOLDER / ".lock", flags, 0o644), "rb") as lock:
        # two commands started at once must end with one key
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
