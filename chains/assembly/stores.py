"""From a configuration or URLs to open stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from chains.assembly.workspace import LAYOUT, Settings
from chains.attest.stores import ClosedStore, Stores
from chains.config.parse import Config
from chains.errors import ConfigError, UsageError
from storage.base import Store, StoreOptions
from storage.errors import StoreError
from storage.limits.circuits import Circuits
from storage.open import open_store
from storage.redacted_url import shown, without_credentials

if TYPE_CHECKING:
    from chains.attest.image_environment import ImageReader
    from storage.annotations import AnnotationStore


class ClusterNeeded(ConfigError):  # noqa: N818 - the name says what is missing
    """The configuration names the store ``tekton``, and there is no cluster: name other stores."""


def store_options(config: Config, circuits: Circuits | None = None) -> StoreOptions:
    """Return the options of every store; ``circuits`` know which hosts do not answer."""
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
"""The URL of each store that an artifact's ``storage`` may name, except ``tekton``. Each function raises
:class:`ConfigError` if a key that it needs is missing."""


def open_stores(urls: Sequence[str], settings: Settings) -> Stores:
    """Open the stores to write to. Raises :class:`UsageError` or :class:`ConfigError` with the next step."""
    options = store_options(settings.config)
    if urls:
        return Stores({Stores.EVERYTHING: [open_url(url, options) for url in dict.fromkeys(urls)]})
    artifacts = {
        "taskrun": settings.config.taskrun,
        "pipelinerun": settings.config.pipelinerun,
        "oci": settings.config.oci,
    }
    explicit = any(f"artifacts.{name}.storage" in settings.data for name in artifacts)
    if not settings.given or not explicit or not _named(settings.config):
        # the default store is tekton, which needs a cluster
        return Stores({Stores.EVERYTHING: [open_url(LAYOUT, options)]})
    return open_named_stores(settings.config)


def open_named_stores(config: Config) -> Stores:
    """Open the stores that the configuration names, without a cluster.

    Raises :class:`ClusterNeeded` where ``tekton`` is one of them, :class:`ConfigError` for all else.
    """
    named = _named(config)
    if "tekton" in named:
        raise ClusterNeeded("the configuration stores in tekton, which needs a cluster")
    options = store_options(config)
    return Stores({name: [open_url(STORE_URLS[name](config), options)] for name in sorted(named)})


def _named(config: Config) -> set[str]:
    artifacts = (config.taskrun, config.pipelinerun, config.oci)
    return {store for artifact in artifacts if artifact.enabled for store in artifact.storage}


def open_url(url: str, options: StoreOptions) -> Store:
    """Return the store of a URL. The caller has to close it. Raises :class:`UsageError`."""
    try:
        return open_store(url, options)
    except StoreError as error:
        raise UsageError(f"store {shown(url)}: {error}") from error


def open_images(config: Config, circuits: Circuits | None = None) -> ImageReader | None:
    """Return the reader of images' environments, None unless the configuration requests it."""
    if not config.image_environments:
        return None
    from chains.attest.image_environment import ImageReader  # noqa: PLC0415 - verify does not need it
    from storage.oci.registry import RegistryClient  # noqa: PLC0415 - needs the network's packages

    return ImageReader(RegistryClient(store_options(config, circuits)))


def open_configured(
    config: Config, annotations: AnnotationStore, circuits: Circuits | None = None
) -> dict[str, list[Store]]:
    """Return every store that the configuration names, by its name, for the controller.

    A store that cannot be opened is a :class:`ClosedStore`, which says why.
    """
    names = _named(config)
    opened: dict[str, list[Store]] = {"tekton": [annotations]}
    for name in sorted(names & STORE_URLS.keys()):
        url = name
        try:
            url = STORE_URLS[name](config)
            opened[name] = [open_store(url, store_options(config, circuits))]
        except (StoreError, ConfigError) as error:
            # one store that cannot be opened must not stop the others
            reason = without_credentials(f"storage.{name}: {error}")
            opened[name] = [ClosedStore(shown(without_credentials(url)), reason)]
    return opened
