"""From a configuration to a sealer: a key or certificates, a log, timestamps, and their trusted root."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from chains.config.parse import Config
from chains.errors import ConfigError, UnreachableError
from chains.extras import install_hint
from signers.base import Signer
from signers.errors import SignerError, SignerUnavailable
from signers.sealer import Sealer

if TYPE_CHECKING:
    from signers.sigstore.trusted_root import TrustedRoot

_log = logging.getLogger("chains.sealing")


def open_sealer(config: Config, signer: Signer | None) -> Sealer:
    """Return the sealer with ``signer``, or a keyless one, with the configured log and timestamps.

    Keyless signing gets its first certificate here, so that a wrong token or identity is an error at the
    start. Raises :class:`UnreachableError` if another attempt can help, else :class:`ConfigError`.
    """
    timestamp = config.signers.timestamp_url or config.signers.x509.signing_config
    if signer is not None and not config.transparency.enabled and not timestamp:
        return Sealer(signer)
    try:
        return _open(config, signer)
    except SignerUnavailable as error:
        raise UnreachableError(f"signing: {error}") from error
    except SignerError as error:
        raise ConfigError(f"signing: {error}") from error
    except ImportError as error:
        raise ConfigError(
            f"certificates, logs and timestamps need {error.name}: {install_hint('keyless')}"
        ) from error


def _open(config: Config, signer: Signer | None) -> Sealer:
    # these import packages that an installation without the extra keyless does not have
    from signers.sigstore.fulcio import Fulcio  # noqa: PLC0415
    from signers.sigstore.identity_token import TokenSource  # noqa: PLC0415
    from signers.sigstore.keyless import Keyless  # noqa: PLC0415
    from signers.sigstore.rekor_v1 import RekorV1  # noqa: PLC0415
    from signers.sigstore.rekor_v2 import RekorV2  # noqa: PLC0415
    from signers.sigstore.sealer import MaterialSealer  # noqa: PLC0415
    from signers.sigstore.signing_config import Services, load_signing_config  # noqa: PLC0415
    from signers.sigstore.timestamp import TimestampAuthority  # noqa: PLC0415

    x509, transparency = config.signers.x509, config.transparency
    named = Services("", "", 0, "")
    if x509.signing_config:
        named = load_signing_config(Path(x509.signing_config))
    stamps = config.signers.timestamp_url or named.timestamp
    version = named.log_version or transparency.version
    _refuse_timeless(config, keyless=signer is None, version=version, stamps=stamps)
    root = _trusted_root(config, needed=signer is None)
    log = None
    if transparency.enabled:
        kind = RekorV2 if version == 2 else RekorV1  # noqa: PLR2004
        log = kind(named.log or transparency.url, root)
    authority = TimestampAuthority(stamps, root) if stamps else None
    if signer is not None:
        return MaterialSealer(signer, log=log, authority=authority, root=root)
    assert root is not None  # noqa: S101 - it was needed
    tokens = TokenSource(x509.fulcio_provider, x509.identity_token_file)
    keyless = Keyless(Fulcio(named.fulcio or x509.fulcio_address, root), tokens)
    sealer = MaterialSealer(keyless, log=log, authority=authority, root=root)
    keyless.current()
    return sealer


def _refuse_timeless(config: Config, *, keyless: bool, version: int, stamps: str) -> None:
    """Refuse a configuration whose signatures would have no verifiable time."""
    transparency = config.transparency
    if stamps:
        return
    if transparency.enabled and version == 2:  # noqa: PLR2004
        raise ConfigError(
            "signers.timestamp.url: is missing, but entries of a rekor v2 log carry no time, and verifiers "
            "refuse them without a timestamp; set it"
        )
    if keyless and (not transparency.enabled or transparency.manual):
        raise ConfigError(
            "signers.x509.fulcio.enabled: certificates end after minutes, and without a log entry or a "
            "timestamp nobody can tell later that a signature is older; set transparency.enabled to "
            '"true", or signers.timestamp.url'
        )


def _trusted_root(config: Config, *, needed: bool) -> TrustedRoot | None:
    from signers.sigstore.trusted_root import TrustedRoot  # noqa: PLC0415 - needed only here

    x509 = config.signers.x509
    if x509.trusted_root:
        return TrustedRoot.from_path(Path(x509.trusted_root))
    if not needed and not x509.tuf_root:
        _log.warning(
            "no trusted root: the answers of log and timestamp authority are believed without their "
            "signatures; set signers.x509.trusted-root"
        )
        return None
    from signers.sigstore.tuf_root import fetch_trusted_root  # noqa: PLC0415

    pinned = Path(x509.tuf_root) if x509.tuf_root else None
    return fetch_trusted_root(x509.tuf_mirror_url, pinned)
