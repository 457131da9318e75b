"""From a configuration to open signers and their sealers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from chains.assembly.sealers import open_sealer
from chains.config.parse import Config, is_keyless
from chains.errors import ConfigError, UnreachableError
from signers.base import Signer
from signers.errors import SignerError, SignerUnavailable
from signers.open import KEY_SERVICES, open_signer, scheme_of
from signers.sealer import Sealer

if TYPE_CHECKING:
    from signers.kms.service import KmsSettings


_PROBE = b"provenance-chains: a probe that the key can sign, and nothing else"


def open_signers(config: Config, open_x509: Callable[[], Signer]) -> dict[str, Signer]:
    """Return the signers that the configuration's artifacts name, by their names.

    The key of ``kms`` signs a probe, so that a missing permission is an error at the start. Raises
    :class:`ConfigError`, and what ``open_x509`` raises.
    """
    artifacts = (config.taskrun, config.pipelinerun, config.oci)
    names = {artifact.signer for artifact in artifacts if artifact.enabled}
    found = {"x509": open_x509()} if "x509" in names and not is_keyless(config) else {}
    if "kms" in names:
        try:
            found["kms"] = open_kms(config)
            found["kms"].sign(_PROBE)
        except SignerError as error:
            raise UnreachableError(f"signers.kms.kmsref: {error}") from error
    return found


def open_kms(config: Config) -> Signer:
    """Open the key of ``signers.kms.kmsref``. Raises :class:`ConfigError` and :class:`SignerError`."""
    if scheme_of(config.signers.kms.ref) not in KEY_SERVICES:
        known = ", ".join(f"{scheme}:" for scheme in sorted(KEY_SERVICES))
        raise ConfigError(f"signers.kms.kmsref: expected a reference that begins with one of {known}")
    return open_signer(config.signers.kms.ref, settings=kms_settings(config))


def kms_settings(config: Config | None) -> KmsSettings | None:
    """Return the configured login to Vault, None without a configuration."""
    if config is None:
        return None
    from signers.kms.service import KmsSettings  # noqa: PLC0415 - loaded where a configuration has a key service

    kms = config.signers.kms
    return KmsSettings(
        address=kms.address,
        token=kms.token,
        token_path=kms.token_path,
        oidc_path=kms.oidc_path,
        oidc_role=kms.oidc_role,
        oidc_token_path=kms.oidc_token_path,
        spire_sock=kms.spire_sock,
        spire_audience=kms.spire_audience,
    )


def open_sealers(config: Config, open_x509: Callable[[], Signer]) -> dict[str, Sealer]:
    """Return the sealers of the configuration's artifacts, by the names of their signers.

    A sealer has a signer of :func:`open_signers` or certificates, and the configured log and timestamps.
    Raises :class:`ConfigError`, and what ``open_x509`` raises.
    """
    found = {name: open_sealer(config, each) for name, each in open_signers(config, open_x509).items()}
    if is_keyless(config):
        found["x509"] = open_sealer(config, None)
    return found | _open_extra(config, found) if config.signers.extra else found


def _open_extra(config: Config, own: Mapping[str, Sealer]) -> dict[str, Sealer]:
    """Return the sealers of ``signers.extra``. Each must have a different key, and sign a probe."""
    taken = {sealer.identity: f"that of {name}" for name, sealer in own.items()}
    found = {}
    for one in config.signers.extra:
        where = f"signers.extra: {one.name}"
        try:
            signer = open_signer(one.reference, settings=kms_settings(config))
            signer.sign(_PROBE)
        except (SignerError, OSError) as error:
            # a service may grant later what it refuses now; a key file is read again when it changes
            again = isinstance(error, SignerUnavailable) or scheme_of(one.reference) in KEY_SERVICES
            raise (UnreachableError if again else ConfigError)(f"{where}: {error}") from error
        if signer.keyid in taken:
            raise ConfigError(
                f"{where}: its key is {taken[signer.keyid]}; one key signs one time, remove one"
            )
        taken[signer.keyid] = f"that of {one.name}"
        found[one.sealer] = open_sealer(config, signer)
    return found


def check_signers(config: Config, *, key_given: bool) -> None:
    """Raise :class:`ConfigError` for a signer that is named but not configured.

    ``key_given`` says that another key replaces the signers of the configuration.
    """
    if key_given:
        return
    for name, artifact in (
        ("taskrun", config.taskrun),
        ("pipelinerun", config.pipelinerun),
        ("oci", config.oci),
    ):
        if artifact.enabled and artifact.signer == "kms" and not config.signers.kms.ref:
            raise ConfigError(f"signers.kms.kmsref is missing, but artifacts.{name}.signer is kms")


def check_extra_signers(config: Config) -> None:
    """Raise :class:`ConfigError` for a further signer whose signatures no configured store could hold."""
    beside = next((one.name for one in config.signers.extra if not one.instead), None)
    artifacts = {"taskrun": config.taskrun, "pipelinerun": config.pipelinerun, "oci": config.oci}
    for name, artifact in artifacts.items():
        if beside and artifact.enabled and artifact.storage == ("tekton",):
            raise ConfigError(
                f"artifacts.{name}.storage is tekton alone, and annotations of a run hold one signature: "
                f"signers.extra {beside} needs another store, or instead: true"
            )
