"""From a configuration to what closes the days of a ledger: its own signer, and stores for statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from chains.assembly.sealers import open_sealer
from chains.assembly.signers import kms_settings
from chains.assembly.stores import STORE_URLS, open_url, store_options
from chains.config.ledger import LedgerSettings, is_origin
from chains.config.parse import Config
from chains.errors import ConfigError, UnreachableError, UsageError
from signers.base import Signer
from signers.errors import FormatError, SignerError, SignerUnavailable
from signers.keys.public_key import PublicKey
from signers.open import KEY_SERVICES, open_signer, scheme_of
from signers.sealer import Sealer
from signers.sigstore.cosignature import WitnessKey, log_key
from storage.base import Store
from storage.limits.circuits import Circuits


@dataclass(frozen=True, slots=True)
class LedgerParts:
    """The settings of a ledger, what seals its days, and where their statements are stored."""

    settings: LedgerSettings
    sealer: Sealer
    stores: tuple[Store, ...] = ()
    witnesses: tuple[tuple[str, WitnessKey], ...] = ()
    """URL and key of each witness."""

    async def close(self) -> None:
        """Release signer and stores."""
        self.sealer.close()
        for store in self.stores:
            await store.close()


def open_ledger(
    config: Config, sealers: Mapping[str, Sealer], circuits: Circuits | None = None
) -> LedgerParts | None:
    """Return the parts of the configured ledger, None without one.

    ``sealers`` sign the runs: none of them may have the ledger's key, because who can make evidence must not
    be able to make the record of it. Raises :class:`UnreachableError` if a later attempt can help, else
    :class:`ConfigError`.
    """
    settings = config.ledger
    if not settings.enabled:
        return None
    if not is_origin(settings.origin):
        raise ConfigError(
            f"ledger.origin: {settings.origin[:80]!r} is no name of a ledger: expected such as "
            "chains.example.com/prod"
        )
    if not settings.signer:
        raise ConfigError("ledger.signer: is missing, but ledger.folder is set")
    if settings.transparency and not config.transparency.enabled:
        raise ConfigError("ledger.transparency: is true, but transparency.enabled is false")
    try:
        signer = open_signer(settings.signer, settings=kms_settings(config))
    except (SignerError, OSError) as error:
        again = isinstance(error, SignerUnavailable) or scheme_of(settings.signer) in KEY_SERVICES
        raise (UnreachableError if again else ConfigError)(f"ledger.signer: {error}") from error
    for name, sealer in sealers.items():
        if sealer.signer.keyid == signer.keyid:
            raise ConfigError(
                f"ledger.signer: its key {signer.keyid} is that of {name}, which signs runs: whoever can "
                "sign evidence could then also write its record; take another key"
            )
    try:
        stores = tuple(
            open_url(STORE_URLS[name](config), store_options(config, circuits)) for name in settings.storage
        )
    except UsageError as error:
        raise ConfigError(f"ledger.storage: {error}") from error
    return LedgerParts(settings, open_sealer(config, signer), stores, tuple(_witnesses(config, signer)))


def _witnesses(config: Config, signer: Signer) -> Iterator[tuple[str, WitnessKey]]:
    """Yield URL and key of each witness. Raises :class:`ConfigError`."""
    settings = config.ledger
    names = set[str]()
    try:
        if settings.witnesses:
            log_key(settings.origin, PublicKey.from_pem(signer.public_pem))
        for text, url in settings.witnesses:
            key = WitnessKey.parse(text)
            if key.name in names:
                raise ConfigError(f"ledger.witnesses: {key.name} is named twice")
            if not url.startswith(("https://", "http://")):
                raise ConfigError(
                    f"ledger.witnesses: {key.name}: expected a URL after its key, got {url[:80]!r}"
                )
            names.add(key.name)
            yield url, key
    except FormatError as error:
        raise ConfigError(f"ledger.witnesses: {error}") from error
