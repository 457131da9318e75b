"""The table of store URL schemes, and the function that opens a store by its URL."""

from __future__ import annotations

from importlib import import_module

from storage.base import Store, StoreOptions
from storage.errors import StoreError, StoreRejected
from storage.redacted_url import secrets_in, shown, without

# scheme -> (module, class); the class is called with (url, options)
STORES = {
    "oci-layout": "storage.layout.store:LayoutStore",
    "oci": "storage.oci.store:RegistryStore",
    "file": "storage.filesystem.store:FileStore",
    "s3": "storage.s3.store:S3Store",
    "gcs": "storage.gcs.store:GcsStore",
    "mongo": "storage.docdb.mongo:MongoStore",
    "dynamodb": "storage.docdb.dynamodb.store:DynamoStore",
    "firestore": "storage.docdb.firestore:FirestoreStore",
    "grafeas": "storage.grafeas.store:GrafeasStore",
    "archivista": "storage.archivista:ArchivistaStore",
    "kafka": "storage.kafka.store:KafkaStore",
}


def open_store(url: str, options: StoreOptions | None = None) -> Store:
    """Open the store that ``url`` names.

    The schemes are ``oci:``, ``oci://REGISTRY/REPO``, ``oci-layout:PATH``, ``file:PATH``,
    ``s3://BUCKET/PREFIX`` and those of Tekton Chains: ``gcs://BUCKET``, docstore URLs (``mongo:``,
    ``dynamodb:``, ``firestore:``), ``grafeas://PROJECT``, ``archivista:https://HOST`` and
    ``kafka://HOST:PORT/TOPIC``. Raises :class:`StoreRejected` for an unknown scheme or a URL that the store
    cannot use. No error contains a password of the URL.
    """
    scheme, colon, _ = url.partition(":")
    entry = STORES.get(scheme)
    if not colon or entry is None:
        known = ", ".join(f"{name}:" for name in STORES)
        raise StoreRejected(f"unknown store {shown(url)!r}: expected one of {known}")
    module, name = entry.split(":")
    try:
        store = getattr(import_module(module), name)(url, options or StoreOptions())
    except StoreError as error:
        secrets = secrets_in(url)
        if not secrets:
            raise
        # The error of the store may quote the URL. Its cause is dropped, because it may quote it too.
        raise type(error)(without(str(error), secrets)) from None
    if not isinstance(store, Store):
        raise TypeError(f"{entry} is not a store")
    return store
