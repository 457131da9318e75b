"""From references and files to the keys and trusted roots of a verifier."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from chains.assembly.key_sources import SCHEMES, read_source
from chains.assembly.signers import kms_settings
from chains.config.parse import Config
from chains.errors import UsageError
from chains.extras import install_hint
from signers.errors import SignerError
from signers.keys.keyset import KeyStatus, ListedKey
from signers.keys.pem import MAX_PEM_BYTES
from signers.keys.public_key import PublicKey, load_public_keys
from signers.open import open_signer, scheme_of, shown_reference
from storage.files import read_file

if TYPE_CHECKING:
    from signers.sigstore.trusted_root import TrustedRoot


def open_public_keys(paths: Sequence[str], config: Config | None = None) -> list[PublicKey]:
    """Read public keys to trust, at least one.

    A reference to a key service gives the key of its current version, a key set all keys but the revoked.
    Raises :class:`UsageError` for what cannot be read, and if no key is left.
    """
    listed = open_listed_keys(paths, config)
    found = [one.key for one in listed if one.status is not KeyStatus.REVOKED]
    if not found:
        raise UsageError(f"key {', '.join(map(shown_reference, paths))}: no key that counts, all are revoked")
    return found


def open_listed_keys(
    paths: Sequence[str], config: Config | None = None, *, private: bool = False
) -> list[ListedKey]:
    """Read public keys of key files, key sets and key services, with status and window of key sets.

    ``private`` also reads private key files, for their public halves. Raises :class:`UsageError` as
    :func:`open_public_keys` does, and for a key that is listed twice with different windows or status.
    """
    found: dict[str, ListedKey] = {}
    try:
        for one in (key for path in paths for key in _listed_keys(path, config, private)):
            if found.setdefault(one.key.keyid, one) != one:
                raise UsageError(
                    f"key {one.key.keyid} is given twice, with other times or another status; leave one out"
                )
        return list(found.values())
    except (SignerError, OSError) as error:
        raise UsageError(f"key {', '.join(map(shown_reference, paths))}: {error}") from error


def _is_private(path: str) -> bool:
    file = Path(path.removeprefix("file://"))
    return file.is_file() and b"PRIVATE KEY-----" in read_file(file, MAX_PEM_BYTES)


def _listed_keys(path: str, config: Config | None, private: bool) -> Sequence[ListedKey]:
    is_private = private and scheme_of(path) == "file" and _is_private(path)
    if not is_private and (scheme_of(path) == "file" or path.partition("://")[0] in SCHEMES):
        return read_source(path)
    found = load_public_keys(open_signer(path, settings=kms_settings(config)).public_pem)
    return [ListedKey(key) for key in found]


def open_trusted_root(path: str) -> TrustedRoot:
    """Read the trusted root to verify certificates, log entries and timestamps with.

    Raises :class:`UsageError` if it cannot be read, or a package that it needs is missing.
    """
    if find_spec("rfc3161_client") is None:
        raise UsageError(
            f"certificates, log entries and timestamps need a further package: {install_hint('keyless')}"
        )
    from signers.sigstore.trusted_root import TrustedRoot  # noqa: PLC0415 - keys alone need no certificates

    try:
        return TrustedRoot.from_path(Path(path))
    except SignerError as error:
        raise UsageError(str(error)) from error
