"""The plain client library of each store: bundle and envelope in, bundle and envelope out, and nothing checked.

No conditions, no reading back, nothing to find them by: as fast as the library and the server can be.
"""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from storage.docdb.documents import chains_document
from storage.docdb.dynamodb.client import encoded
from storage.docdb.dynamodb.lists import digest_list
from storage.formats.chains_document import document_of, run_bytes
from storage.record import Record
from tests.testbed.images import Registry, digest_of

Work = Callable[[Record], Any]
Pair = tuple[Work, Work | None]
"""What puts a record, and what gets it again."""


def boto3_s3(client: Any, bucket: str) -> Pair:
    def put(record: Record) -> None:
        client.put_object(Bucket=bucket, Key=f"{record.origin.uid}.bundle", Body=record.bundle)
        client.put_object(Bucket=bucket, Key=f"{record.origin.uid}.envelope", Body=record.envelope)

    def get(record: Record) -> None:
        for name in ("bundle", "envelope"):
            client.get_object(Bucket=bucket, Key=f"{record.origin.uid}.{name}")["Body"].read()

    return put, get


def boto3_dynamodb(client: Any, table: str) -> Pair:
    def put(record: Record) -> None:
        item = {"Name": {"S": record.origin.uid}, "B": {"B": record.bundle}, "E": {"B": record.envelope}}
        client.put_item(TableName=table, Item=item)

    def get(record: Record) -> None:
        assert client.get_item(TableName=table, Key={"Name": {"S": record.origin.uid}})["Item"]

    return put, get


def boto3_dynamodb_items(client: Any, table: str) -> Work:
    """The three items that a reader needs: Chains' document, ours, and what leads to them from the digest."""

    def put(record: Record) -> None:
        signed = document_of(record)
        (subject,) = record.subjects
        for item in (
            chains_document(signed),
            {"Name": f"{signed.key}.index", "Run": record.origin.uid, "Bundle": record.bundle},
            {"Name": digest_list(f"sha256:{subject.digest['sha256']}"), "Names": frozenset({signed.key})},
        ):
            client.put_item(TableName=table, Item={name: encoded(value) for name, value in item.items()})

    return put


def files(folder: Path) -> Pair:
    folder.mkdir(parents=True)

    def put(record: Record) -> None:
        (folder / f"{record.origin.uid}.bundle").write_bytes(record.bundle)
        (folder / f"{record.origin.uid}.envelope").write_bytes(record.envelope)

    def get(record: Record) -> None:
        for name in ("bundle", "envelope"):
            (folder / f"{record.origin.uid}.{name}").read_bytes()

    return put, get


def registry_blobs(registry: Registry) -> Pair:
    """urllib: registries have no library of their own; a connection for each request, no manifests."""

    def put(record: Record) -> None:
        for data in (record.bundle, record.envelope):
            registry.push_blob("plain", data)

    def get(record: Record) -> None:
        for data in (record.bundle, record.envelope):
            url = f"{registry.url}/v2/plain/blobs/{digest_of(data)}"
            assert urllib.request.urlopen(url).read() == data

    return put, get


def pymongo(url: str) -> Pair:
    from pymongo import MongoClient

    collection: Any = MongoClient(url, maxPoolSize=64)["plain"]["evidence"]

    def put(record: Record) -> None:
        identity = record.origin.uid
        collection.replace_one({"_id": identity}, {"b": record.bundle, "e": record.envelope}, upsert=True)

    def get(record: Record) -> None:
        assert collection.find_one({"_id": record.origin.uid})

    return put, get


def google_storage(bucket_name: str) -> Pair:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    bucket = Client("p", AnonymousCredentials()).bucket(bucket_name)  # type: ignore[no-untyped-call]

    def put(record: Record) -> None:
        bucket.blob(f"plain/{record.origin.uid}.bundle").upload_from_string(record.bundle)
        bucket.blob(f"plain/{record.origin.uid}.envelope").upload_from_string(record.envelope)

    def get(record: Record) -> None:
        for name in ("bundle", "envelope"):
            bucket.blob(f"plain/{record.origin.uid}.{name}").download_as_bytes()

    return put, get


def google_storage_objects(bucket_name: str) -> Work:
    """The eight objects that a reader needs: Chains' four, bundle and run, and what leads to them."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    bucket = Client("p", AnonymousCredentials()).bucket(bucket_name)  # type: ignore[no-untyped-call]

    def put(record: Record) -> None:
        uid = record.origin.uid
        (subject,) = record.subjects
        for name, data in {
            f"same/{uid}.payload": record.payload,
            f"same/{uid}.signature": record.envelope,
            f"same/{uid}.cert": b"",
            f"same/{uid}.chain": b"",
            f"same/{uid}.bundle": record.bundle,
            f"same/{uid}.run": run_bytes(record),
            f"same/by-run/{uid}": b"",
            f"same/by-digest/{subject.digest['sha256']}/{uid}": b"",
        }.items():
            bucket.blob(name).upload_from_string(data)

    return put


def google_firestore() -> Pair:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.firestore import Client

    collection = Client("p", AnonymousCredentials()).collection("plain")  # type: ignore[no-untyped-call]

    def put(record: Record) -> None:
        collection.document(record.origin.uid).set({"b": record.bundle, "e": record.envelope})

    def get(record: Record) -> None:
        assert collection.document(record.origin.uid).get().exists

    return put, get


def archivista(url: str) -> Pair:
    """urllib: Archivista's own client is in Go; the envelope alone."""
    import hashlib

    def send(path: str, data: bytes | None = None) -> bytes:
        with urllib.request.urlopen(f"{url}/{quote(path)}", data) as answer:
            found: bytes = answer.read()
        return found

    def get(record: Record) -> None:
        data = record.envelope
        gitoid = hashlib.sha256(b"blob %d\0" % len(data) + data).hexdigest()
        assert send(f"download/{gitoid}") == data

    return lambda record: send("upload", record.envelope), get


def kafka(servers: str) -> Pair:
    """confluent-kafka: one message with the envelope, waited for."""
    from threading import Event

    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": servers, "acks": "all", "linger.ms": 0, "log_level": 0})

    def put(record: Record) -> None:
        done = Event()
        producer.produce("plain", record.envelope, on_delivery=lambda *_: done.set())
        while not done.wait(0):
            producer.poll(0.005)

    return put, None
