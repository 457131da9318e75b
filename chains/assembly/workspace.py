"""What a command works with: configuration, key and stores, from options, a configuration or ``.chains/``.

An option wins over the configuration, the configuration over the working folder ``.chains/`` below the
current one, which holds a P-256 key made once and an OCI image layout. Verification takes these for run files
of the current folder alone: see :mod:`chains.cli.trust`.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from getpass import getpass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from chains.assembly.key_sources import SCHEMES, read_source
from chains.assembly.sealers import is_keyless, open_sealer
from chains.attest.image_environment import ImageReader
from chains.attest.stores import Stores
from chains.config.parse import Config, load_config_file, parse_config
from chains.errors import ConfigError, UnreachableError, UsageError
from chains.extras import install_hint
from chains.terminal import plain, say
from signers.base import (
    KEY_SERVICES,
    Signer,
    SignerError,
    SignerUnavailable,
    open_signer,
    scheme_of,
    shown_reference,
)
from signers.keys.keyfile import (
    PASSWORD_VARIABLE,
    generate_key,
    is_encrypted_keyfile,
    open_keyfile,
    write_key_pair,
)
from signers.keys.keyset import KeyStatus, ListedKey
from signers.keys.pem import MAX_PEM_BYTES
from signers.keys.public_key import PublicKey, load_public_keys
from signers.sealer import Sealer
from signers.sigstore.trusted_root import TrustedRoot
from storage.base import Store, StoreError, StoreOptions, open_store
from storage.files import read_file
from storage.limits.circuits import Circuits
from storage.redacted_url import shown

if TYPE_CHECKING:
    from signers.kms.service import KmsSettings

FOLDER = Path(".chains")
PRIVATE_KEY = FOLDER / "signing.key"
PUBLIC_KEY = FOLDER / "signing.pub"
LAYOUT = f"oci-layout:{FOLDER / 'layout'}"
MAX_PASSWORD_BYTES = 4096
_PROBE = b"provenance-chains: a probe that the key can sign, and nothing else"
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
    reference: str, config: Config | None = None, *, password_file: str = "", make: bool = True
) -> Signer:
    """Open the signing key: the reference, or the one of ``.chains/``; ``make`` makes that where it is not.

    ``config`` says how to log in to a key service. An encrypted key file is opened by the first line of
    ``password_file``, else by ``COSIGN_PASSWORD``, else by what a person types at the terminal. Raises
    :class:`UsageError` with the signer's words.
    """
    try:
        if not reference:
            if make:
                _make_key_once()
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


def open_signers(config: Config, open_x509: Callable[[], Signer]) -> dict[str, Signer]:
    """Open the signers that the artifacts of the configuration name, by their names.

    The key of ``kms`` signs a probe, so that a missing permission is told once and at the start. Raises
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
    """Return how the configuration logs in to Vault, None without one."""
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
    """Open what the configuration's artifacts are sealed with, by the names of their signers.

    That is a signer of :func:`open_signers`, or certificates, and the log and timestamps that are configured.
    Raises :class:`ConfigError`, and what ``open_x509`` raises.
    """
    found = {name: open_sealer(config, each) for name, each in open_signers(config, open_x509).items()}
    if is_keyless(config):
        found["x509"] = open_sealer(config, None)
    return found | _open_extra(config, found) if config.signers.extra else found


def _open_extra(config: Config, own: Mapping[str, Sealer]) -> dict[str, Sealer]:
    """Open the signers of ``signers.extra``; each must have a key of its own, and prove that it signs."""
    taken = {sealer.identity: f"that of {name}" for name, sealer in own.items()}
    found = {}
    for one in config.signers.extra:
        where = f"signers.extra: {one.name}"
        try:
            signer = open_signer(one.reference, settings=kms_settings(config))
            signer.sign(_PROBE)
        except (SignerError, OSError) as error:
            # what a service refuses now it may grant later; a key file is looked at when it changes
            again = isinstance(error, SignerUnavailable) or scheme_of(one.reference) in KEY_SERVICES
            raise (UnreachableError if again else ConfigError)(f"{where}: {error}") from error
        if signer.keyid in taken:
            raise ConfigError(
                f"{where}: its key is {taken[signer.keyid]}; one key signs one time, remove one"
            )
        taken[signer.keyid] = f"that of {one.name}"
        found[one.sealer] = open_sealer(config, signer)
    return found


def open_sealers_for(config: Config, reference: str, password_file: str = "") -> dict[str, Sealer]:
    """As :func:`open_sealers`, with the key of ``.chains/``; a ``reference`` to a key replaces every signer.

    ``password_file`` opens an encrypted key file; see :func:`open_key`.

    Says who signs, where no key tells. Raises :class:`UsageError` and :class:`ConfigError`.
    """
    if reference:
        names = ("x509", "kms", *(one.sealer for one in config.signers.extra))
        signer = open_key(reference, config, password_file=password_file)
        return dict.fromkeys(names, open_sealer(config, signer))
    found = open_sealers(config, lambda: open_key("", password_file=password_file))
    if is_keyless(config):
        say(f"signing as {found['x509'].identity}")
    return found


def _make_key_once() -> None:
    if PRIVATE_KEY.exists():
        return
    FOLDER.mkdir(exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    with os.fdopen(os.open(FOLDER / ".lock", flags, 0o644), "rb") as lock:
        # two commands started at once must end with one key
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PRIVATE_KEY.exists():
            write_key_pair(PRIVATE_KEY, generate_key())
            say(f"made a new P-256 key: {PRIVATE_KEY} (public half: {PUBLIC_KEY})")


def check_signers(config: Config, *, key_given: bool) -> None:
    """Refuse what this version cannot do and would otherwise leave out silently. Raises :class:`ConfigError`.

    ``key_given`` is that ``--key`` replaces the signers of the configuration.
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
    """Refuse further signers that would have no store of the configuration. Raises :class:`ConfigError`."""
    beside = next((one.name for one in config.signers.extra if not one.instead), None)
    artifacts = {"taskrun": config.taskrun, "pipelinerun": config.pipelinerun, "oci": config.oci}
    for name, artifact in artifacts.items():
        if beside and artifact.enabled and artifact.storage == ("tekton",):
            raise ConfigError(
                f"artifacts.{name}.storage is tekton alone, and annotations of a run hold one signature: "
                f"signers.extra {beside} needs another store, or instead: true"
            )


def store_options(config: Config, circuits: Circuits | None = None) -> StoreOptions:
    """Return what the configuration says to every store; ``circuits`` tell which hosts answer."""
    oci = config.storage.oci
    return StoreOptions(
        encoding_format=oci.encoding_format,
        repository=oci.repository,
        bundles_in_repository=oci.bundles_in_repository,
        insecure=oci.insecure,
        ca_file=oci.ca_file,
        circuits=circuits,
        mongo_server_url=config.storage.docdb.mongo_server_url,
        mongo_server_url_dir=config.storage.docdb.mongo_server_url_dir,
        mongo_server_url_path=config.storage.docdb.mongo_server_url_path,
    )


def _needed(value: str, key: str) -> str:
    if not value:
        raise ConfigError(f"{key} is missing")
    return value


def _grafeas_url(config: Config) -> str:
    from storage.grafeas.store import grafeas_url  # noqa: PLC0415 - needs the network's packages

    grafeas = config.storage.grafeas
    return grafeas_url(
        _needed(grafeas.project_id, "storage.grafeas.projectid"),
        noteid=grafeas.note_id,
        notehint=grafeas.note_hint,
        kmsref=config.signers.kms.ref,
    )


def _kafka_url(config: Config) -> str:
    pubsub = config.storage.pubsub
    if pubsub.provider != "kafka":
        raise ConfigError("storage.pubsub.provider: expected kafka; inmemory keeps nothing")
    _needed(pubsub.kafka_bootstrap_servers, "storage.pubsub.kafka.bootstrap.servers")
    _needed(pubsub.topic, "storage.pubsub.topic")
    return pubsub.url


STORE_URLS: Mapping[str, Callable[[Config], str]] = {
    "oci": lambda _: "oci:",
    "s3": lambda config: config.storage.s3.url,
    "gcs": lambda config: f"gcs://{_needed(config.storage.gcs_bucket, 'storage.gcs.bucket')}",
    "docdb": lambda config: _needed(config.storage.docdb.url, "storage.docdb.url"),
    "grafeas": _grafeas_url,
    "archivista": lambda config: (
        f"archivista:{_needed(config.storage.archivista_url, 'storage.archivista.url')}"
    ),
    "kafka": _kafka_url,
}
"""The URL of each store that an artifact's ``storage`` may name, beside ``tekton``. Each raises
:class:`ConfigError` when a key that it needs is missing."""


def open_stores(urls: Sequence[str], settings: Settings) -> Stores:
    """Open the stores to write to. Raises :class:`UsageError` or :class:`ConfigError` with the next step."""
    options = store_options(settings.config)
    if urls:
        return Stores({Stores.EVERYTHING: [open_url(url, options) for url in dict.fromkeys(urls)]})
    named = _configured(settings)
    if not named:
        return Stores({Stores.EVERYTHING: [open_url(LAYOUT, options)]})
    if "tekton" in named:
        raise ConfigError(
            "the configuration stores in tekton, which needs a cluster; pass --store oci-layout:PATH, "
            "file:PATH, oci: or another store"
        )
    return Stores({name: [open_url(STORE_URLS[name](settings.config), options)] for name in sorted(named)})


def _configured(settings: Settings) -> set[str]:
    """Return the stores that the configuration names itself; defaults do not count without a cluster."""
    config = settings.config
    artifacts = {"taskrun": config.taskrun, "pipelinerun": config.pipelinerun, "oci": config.oci}
    explicit = {name for name in artifacts if f"artifacts.{name}.storage" in settings.data}
    if not settings.given or not explicit:
        return set()
    return {store for artifact in artifacts.values() if artifact.enabled for store in artifact.storage}


def open_url(url: str, options: StoreOptions) -> Store:
    """Return the store of a URL, not entered. Raises :class:`UsageError`."""
    try:
        return open_store(url, options)
    except StoreError as error:
        raise UsageError(f"store {shown(url)}: {error}") from error


def open_images(config: Config, circuits: Circuits | None = None) -> ImageReader | None:
    """Return what reads the environments of images, None unless the configuration wants them read."""
    if not config.image_environments:
        return None
    from storage.oci.registry import RegistryClient  # noqa: PLC0415 - needs the network's packages

    return ImageReader(RegistryClient(store_options(config, circuits)))


def own_layout() -> bool:
    """Whether this folder has a layout in ``.chains/``."""
    return (FOLDER / "layout").is_dir()


def own_public_key() -> str:
    """Return the path of the public key in ``.chains/``, saying so. Raises :class:`UsageError` for none."""
    if not PUBLIC_KEY.is_file():
        raise UsageError(f"no key: pass --key PUBLIC_KEY; there is no {PUBLIC_KEY} in this folder")
    say(f"trusting {PUBLIC_KEY}")
    return str(PUBLIC_KEY)


def open_public_keys(paths: Sequence[str], config: Config | None = None) -> list[PublicKey]:
    """Read public keys to trust, at least one.

    A reference to a key service gives the key of its current version, a key set all but the revoked ones.
    Raises :class:`UsageError` for what cannot be read, and when none is left.
    """
    listed = open_listed_keys(paths, config)
    found = [one.key for one in listed if one.status is not KeyStatus.REVOKED]
    if not found:
        raise UsageError(f"key {', '.join(map(shown_reference, paths))}: no key that counts, all are revoked")
    return found


def open_listed_keys(
    paths: Sequence[str], config: Config | None = None, *, private: bool = False
) -> list[ListedKey]:
    """Read public keys with what key sets say of them: of key files, key sets and key services.

    ``private`` takes private key files too, for their public halves. A key that is said two things of is a
    :class:`UsageError`. As :func:`open_public_keys` else.
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

    Raises :class:`UsageError` when it cannot be read, or the packages to use it are missing.
    """
    if find_spec("rfc3161_client") is None:
        raise UsageError(
            f"certificates, log entries and timestamps need a further package: {install_hint('keyless')}"
        )
    try:
        return TrustedRoot.from_path(Path(path))
    except SignerError as error:
        raise UsageError(str(error)) from error
