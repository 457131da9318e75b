"""What a command works with: configuration, key and stores, from options, a configuration or ``.chains/``.

An option wins over the configuration, the configuration over the working folder ``.chains/`` below the
current one, which holds a P-256 key made once and an OCI image layout.
"""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chains.config import Config, load_config_file, parse_config
from chains.errors import ConfigError, UsageError
from chains.image_environment import ImageReader
from chains.store import Stores
from signers.base import Signer, SignerError, open_signer
from signers.keyfile import generate_key, write_key_pair
from signers.trust import PublicKey, load_public_keys
from storage.base import Store, StoreError, StoreOptions, open_store

FOLDER = Path(".chains")
PRIVATE_KEY = FOLDER / "signing.key"
PUBLIC_KEY = FOLDER / "signing.pub"
LAYOUT = f"oci-layout:{FOLDER / 'layout'}"
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


def open_key(reference: str) -> Signer:
    """Open the signing key: the reference, or the one of ``.chains/``, made when it is not there.

    Raises :class:`UsageError` with the signer's words.
    """
    try:
        if not reference:
            _make_key_once()
        return open_signer(reference or str(PRIVATE_KEY))
    except (SignerError, OSError) as error:
        raise UsageError(f"key {reference or PRIVATE_KEY}: {error}") from error


def _make_key_once() -> None:
    if PRIVATE_KEY.exists():
        return
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / ".lock").open("a") as lock:
        # two commands started at once must end with one key
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PRIVATE_KEY.exists():
            write_key_pair(PRIVATE_KEY, generate_key())
            say(f"made a new P-256 key: {PRIVATE_KEY} (public half: {PUBLIC_KEY})")


def check_signers(config: Config, *, key_given: bool) -> None:
    """Refuse what this version cannot do and would otherwise leave out silently. Raises :class:`ConfigError`.

    It signs with key files and writes to no transparency log; ``key_given`` is that ``--key`` replaces the
    signers of the configuration.
    """
    if config.transparency.enabled:
        raise ConfigError(
            "transparency.enabled: this version writes to no transparency log, and nothing is stored without "
            "the entry that the configuration asks for; set it to false"
        )
    if key_given:
        return
    if config.signers.x509.fulcio_enabled:
        raise ConfigError(
            "signers.x509.fulcio.enabled: keyless signing is not available in this version; pass --key"
        )
    for name, artifact in (
        ("taskrun", config.taskrun),
        ("pipelinerun", config.pipelinerun),
        ("oci", config.oci),
    ):
        if artifact.enabled and artifact.signer != "x509":
            raise ConfigError(
                f"artifacts.{name}.signer: {artifact.signer!r} is not available in this version; "
                "use x509 with a key file, or pass --key"
            )


def store_options(config: Config) -> StoreOptions:
    """Return what the configuration says to every store."""
    oci = config.storage.oci
    return StoreOptions(
        encoding_format=oci.encoding_format,
        repository=oci.repository,
        insecure=oci.insecure,
        ca_file=oci.ca_file,
    )


def open_stores(urls: Sequence[str], settings: Settings) -> Stores:
    """Open the stores to write to. Raises :class:`UsageError` or :class:`ConfigError` with the next step."""
    options = store_options(settings.config)
    if urls:
        return Stores({Stores.EVERYTHING: [_open(url, options) for url in dict.fromkeys(urls)]})
    named = _configured(settings)
    if not named:
        return Stores({Stores.EVERYTHING: [_open(LAYOUT, options)]})
    unavailable = sorted(named - {"oci"})
    if unavailable:
        raise ConfigError(
            f"the configuration stores in {', '.join(unavailable)}, which needs a cluster or is not there "
            "in this version; pass --store oci-layout:PATH, file:PATH, oci: or oci://REGISTRY/REPOSITORY"
        )
    return Stores({"oci": [_open("oci:", options)]})


def _configured(settings: Settings) -> set[str]:
    """Return the stores that the configuration names itself; defaults do not count without a cluster."""
    config = settings.config
    artifacts = {"taskrun": config.taskrun, "pipelinerun": config.pipelinerun, "oci": config.oci}
    explicit = {name for name in artifacts if f"artifacts.{name}.storage" in settings.data}
    if not settings.given or not explicit:
        return set()
    return {store for artifact in artifacts.values() if artifact.enabled for store in artifact.storage}


def _open(url: str, options: StoreOptions) -> Store:
    try:
        return open_store(url, options)
    except StoreError as error:
        raise UsageError(f"store {url}: {error}") from error


def open_images(config: Config) -> ImageReader | None:
    """Return what reads the environments of images, None unless the configuration wants them read."""
    if not config.image_environments:
        return None
    from storage.registry import RegistryClient  # noqa: PLC0415 - needs the network's packages

    return ImageReader(RegistryClient(store_options(config)))


def open_evidence(urls: Sequence[str], settings: Settings) -> list[Store]:
    """Open the stores to look for evidence in; the layout of ``.chains/`` when none are named, saying so.

    Without either there are none, which is enough for a bundle file. Raises :class:`UsageError`.
    """
    if not urls:
        if not (FOLDER / "layout").is_dir():
            return []
        say(f"looking in {LAYOUT}")
        urls = [LAYOUT]
    return [_open(url, store_options(settings.config)) for url in dict.fromkeys(urls)]


def open_public_keys(paths: Sequence[str]) -> list[PublicKey]:
    """Read the public keys to trust; the one of ``.chains/`` when none are named, saying so.

    Raises :class:`UsageError` when there is none.
    """
    if not paths:
        if not PUBLIC_KEY.is_file():
            raise UsageError(f"no key: pass --key PUBLIC_KEY; there is no {PUBLIC_KEY} in this folder")
        say(f"trusting {PUBLIC_KEY}")
        paths = [str(PUBLIC_KEY)]
    try:
        return [key for path in paths for key in load_public_keys(Path(path))]
    except (SignerError, OSError) as error:
        raise UsageError(f"key {', '.join(paths)}: {error}") from error


def say(text: str) -> None:
    """Tell the user something beside the result, on standard error."""
    if sys.stderr is not None:
        line = f"chains: {text}\n".encode(errors="backslashreplace")
        print(line.decode(sys.stderr.encoding or "utf-8", errors="replace"), end="", file=sys.stderr)  # noqa: T201
