"""What Tekton Chains' own backends write is read and verified here, what we write is read by them, and both write
the same bytes: gcs, docdb, grafeas, archivista and Kafka, against what speaks the services' protocols here."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bson
import pytest

from chains.cli.main import run as chains
from storage.base import FORM_A, StoreOptions
from storage.grafeas.store import grafeas_url
from storage.open import open_store
from storage.record import Findings, Record
from tests.testbed.clouds.archivista import archivista_endpoint
from tests.testbed.clouds.containeranalysis import containeranalysis_endpoint
from tests.testbed.clouds.dynamodb import make_table
from tests.testbed.clouds.firestore import FirestoreServer
from tests.testbed.clouds.gcs import Bucket
from tests.testbed.clouds.mongo import MongoServer
from tests.testbed.peer_client import PeerStores
from tests.testbed.s3 import S3Server
from tests.unit.storage import records

pytestmark = pytest.mark.server
Json = Any
IMAGE = records.subject("registry.example/team/app")
DIGEST = f"sha256:{IMAGE.digest['sha256']}"
RUN = {
    "apiVersion": "tekton.dev/v1",
    "kind": "TaskRun",
    "metadata": {"name": "build", "namespace": "default", "uid": records.origin().uid},
    "status": {
        "results": [
            {"name": "IMAGE_URL", "type": "string", "value": IMAGE.name},
            {"name": "IMAGE_DIGEST", "type": "string", "value": DIGEST},
        ]
    },
}
V02 = "https://slsa.dev/provenance/v0.2"
FIRESTORE = "projects/p/databases/(default)/documents/evidence"


def provenance() -> Record:
    """A provenance as Chains' format ``slsa/v1``, with numbers, nothing, lists and maps in it."""
    predicate = {
        "builder": {"id": "https://tekton.dev/chains/v2"},
        "buildType": "tekton.dev/v1beta1/TaskRun",
        "invocation": {
            "configSource": {"uri": "git+https://git.example/app", "digest": {"sha1": "ab" * 20}},
            "parameters": {
                "count": 3,
                "ratio": 0.25,
                "large": 1e21,
                "list": ["a", ""],
                "none": None,
                "yes": True,
            },
        },
        "buildConfig": {"steps": [{"arguments": None, "environment": {"container": "build"}}]},
        "metadata": {
            "buildStartedOn": "2026-01-02T03:04:05Z",
            "completeness": {"parameters": False, "environment": False, "materials": False},
            "reproducible": False,
        },
        "materials": [{"uri": "oci://registry.example/step", "digest": {"sha256": "cd" * 32}}],
    }
    return records.attestation(IMAGE, predicate=V02, body=predicate)


MADE = (provenance(), records.image_signature(IMAGE, certificate=b"CERT\n", chain=b"CHAIN\n"))


def item(record: Record) -> Json:
    """What Chains' signing hands to a backend."""
    simple = record.is_image_signature
    return {
        "payload": base64.b64encode(record.payload).decode(),
        "signature": base64.b64encode(record.signature or record.envelope).decode(),
        "cert": record.certificate.decode(),
        "chain": record.chain.decode(),
        "shortKey": DIGEST[7:19] if simple else f"taskrun-{record.origin.uid}",
        "fullKey": f"{IMAGE.name}@{DIGEST}" if simple else f"tekton.dev-v1-TaskRun-{record.origin.uid}",
        "format": "simplesigning" if simple else "slsa/v1",
    }


@dataclass(frozen=True)
class Place:
    """One service: Chains' settings for it, ours, and what it holds as comparable values."""

    backend: str
    config: dict[str, str]
    environ: dict[str, str]
    url: str
    options: StoreOptions
    held: Callable[[], dict[str, Any]]


@pytest.fixture(
    params=["gcs local endpoint", "mongo local endpoint", "mongo local endpoint with id_field=name",
            "dynamodb moto", "firestore local endpoint"]
)  # fmt: skip
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = _place(request)
    for name, value in made.environ.items():
        monkeypatch.setenv(name, value)
    return made


def _place(request: pytest.FixtureRequest) -> Place:
    options = StoreOptions(encoding_format=FORM_A)
    kind = request.param.split()[0]
    if kind == "gcs":
        bucket: Bucket = request.getfixturevalue("gcs_bucket")
        environ = {"STORAGE_EMULATOR_HOST": bucket.url}
        return Place("gcs", {"storage.gcs.bucket": "evidence"}, environ, "gcs://evidence", options, lambda: dict(bucket.objects))  # fmt: skip
    if kind == "mongo":
        server: MongoServer = request.getfixturevalue("mongo_server")
        url = f"mongo://chains/evidence?id_field={'name' if 'name' in request.param else 'Name'}"
        config = {"storage.docdb.url": url, "storage.docdb.mongo-server-url": server.url}

        def documents() -> dict[str, Any]:
            return {name: bson.decode(data) for name, data in server.collections["chains.evidence"].items()}

        environ = {"MONGO_SERVER_URL": server.url}
        return Place("docdb", config, environ, url, replace(options, mongo_server_url=server.url), documents)
    if kind == "dynamodb":
        moto: S3Server = request.getfixturevalue("moto_server")
        client = moto.client_for("dynamodb")
        table = make_table(client)
        url = f"dynamodb://{table}?partition_key=Name"

        def items() -> dict[str, Any]:
            return {one["Name"]["S"]: one for one in client.scan(TableName=table)["Items"]}

        return Place("docdb", {"storage.docdb.url": url}, moto.environ(), url, options, items)
    firestore: FirestoreServer = request.getfixturevalue("firestore_server")
    url = f"firestore://{FIRESTORE}?name_field=Name"

    def fields() -> dict[str, Any]:
        return {name.rpartition("/")[2]: dict(one.fields) for name, one in firestore.documents.items()}

    environ = {"FIRESTORE_EMULATOR_HOST": firestore.address}
    return Place("docdb", {"storage.docdb.url": url}, environ, url, options, fields)


def put(place_url: str, options: StoreOptions, *made: Record) -> None:
    async def work() -> None:
        async with open_store(place_url, options) as store:
            for record in made:
                stored = await store.put(record)
                assert not stored.failures
                assert stored.receipts

    asyncio.run(work())


def found(url: str, options: StoreOptions, digest: str = "", uid: str = "", name: str = "") -> Findings:
    async def work() -> Findings:
        async with open_store(url, options) as store:
            return await (store.find(digest, name) if digest else store.find_run(uid))

    return asyncio.run(work())


def test_what_chains_wrote_is_found_and_verified(
    place: Place, peer_stores: PeerStores, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer_stores.store(place.backend, place.config, RUN, [item(one) for one in MADE], **place.environ)
    by_run = found(place.url, place.options, uid=records.origin().uid)
    assert [one.data for one in by_run.evidence] == [MADE[0].envelope]
    assert by_run.evidence[0].origin is not None
    assert by_run.evidence[0].origin.uid == records.origin().uid
    by_digest = found(place.url, place.options, digest=DIGEST)
    (signature,) = [one for one in by_digest.evidence if one.format == "simplesigning"]
    assert (signature.data, signature.signature) == (MADE[1].payload, MADE[1].signature)
    assert signature.annotations["dev.sigstore.cosign/certificate"] == "CERT\n"
    assert not by_digest.skipped
    if place.url.startswith(("gcs:", "mongo:")):  # the others cannot be asked for what is inside a list
        assert MADE[0].envelope in [one.data for one in by_digest.evidence]

        (tmp_path / "key.pub").write_bytes(records.public_key_pem())
        words = ("verify", f"{IMAGE.name}@{DIGEST}", "--store", place.url, "--key", str(tmp_path / "key.pub"))
        assert chains([*words, "--output", "json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert {V02} <= {one["predicateType"] for one in told["attestations"]}


def test_what_we_write_is_read_by_chains(place: Place, peer_stores: PeerStores) -> None:
    put(place.url, replace(place.options, encoding_format="both"), *MADE)
    if place.url.endswith("id_field=name"):
        with pytest.raises(AssertionError, match="no field matching"):  # not even what it wrote itself
            peer_stores.retrieve(place.backend, place.config, RUN, [item(MADE[0])], **place.environ)
        return
    told = peer_stores.retrieve(
        place.backend, place.config, RUN, [item(one) for one in MADE], **place.environ
    )
    for number, record in enumerate(MADE):
        assert list(told["payloads"][number].values()) == [record.payload.decode()]
        (signatures,) = told["signatures"][number].values()
        assert [base64.b64decode(one) for one in signatures] == [record.signature or record.envelope]


def test_both_write_the_same(place: Place, peer_stores: PeerStores) -> None:
    peer_stores.store(place.backend, place.config, RUN, [item(one) for one in MADE], **place.environ)
    theirs = place.held()
    assert len(theirs) == (8 if place.backend == "gcs" else 2)
    put(place.url, replace(place.options, encoding_format="both"), *MADE)
    assert {name: value for name, value in place.held().items() if name in theirs} == theirs
    for record in MADE:  # and from nothing, not only over what was there
        other = replace(record, origin=replace(record.origin, uid="other", name="other"))
        put(place.url, place.options, other)
    ours = place.held()
    key = "taskrun-other-" if place.backend != "gcs" else "taskrun-default-other/taskrun-other."
    name = next(name for name in theirs if "taskrun-0" in name)
    same = next(one for one in ours if one.startswith(key.rstrip("-")) and one.endswith(name[-5:] if place.backend == "gcs" else "other"))  # fmt: skip
    expected = dict(theirs[name]) if isinstance(theirs[name], dict) else theirs[name]
    if isinstance(expected, dict):
        mine = {field: value for field, value in ours[same].items() if field not in {"_id", "Name"}}
        assert mine == {field: value for field, value in expected.items() if field not in {"_id", "Name"}}
    else:
        assert ours[same] == expected


def test_grafeas_requests_are_those_of_chains(peer_stores: PeerStores) -> None:
    config = {
        "storage.grafeas.projectid": "proj", "storage.grafeas.noteid": "notes", "storage.grafeas.notehint": "hint",
        "signers.kms.kmsref": "gcpkms://key",
    }  # fmt: skip
    told = peer_stores.store("grafeas", config, RUN, [item(one) for one in MADE])["requests"]
    notes = {f"{one['parent']}/notes/{one['noteId']}": one["note"] for one in told if "note" in one}
    occurrences = [one["occurrence"] for one in told if "occurrence" in one]
    assert len(notes) == len(occurrences) == 2
    with containeranalysis_endpoint() as project:
        url = grafeas_url(
            "proj", noteid="notes", notehint="hint", kmsref="gcpkms://key", endpoint=project.url
        )
        put(url, StoreOptions(), *MADE)
        assert project.notes == notes
        ours = [{key: one[key] for key in one if key != "name"} for one in project.occurrences.values()]
        assert ours == occurrences


def test_envelopes_that_chains_uploaded_to_archivista_are_found_on_a_local_endpoint(
    peer_stores: PeerStores,
) -> None:
    with archivista_endpoint() as server:
        peer_stores.store("archivista", {"storage.archivista.url": server.url}, RUN, [item(MADE[0])])
        told = found(f"archivista:{server.url}", StoreOptions(), digest=DIGEST)
        (evidence,) = told.evidence
        assert json.loads(evidence.data)["payload"] == json.loads(MADE[0].envelope)["payload"]
        assert json.loads(evidence.data)["signatures"] == json.loads(MADE[0].envelope)["signatures"]


@pytest.fixture
def kafka_cluster() -> Iterator[str]:
    """librdkafka's own cluster in memory, which speaks Kafka's protocol; it ends with the client."""
    from confluent_kafka import Producer

    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = owner.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    owner.flush(1)


def messages(servers: str, topic: str, expected: int) -> list[Any]:
    from confluent_kafka import Consumer

    consumer = Consumer({"bootstrap.servers": servers, "group.id": topic, "auto.offset.reset": "earliest"})
    try:
        consumer.subscribe([topic])
        told: list[Any] = []
        while len(told) < expected:
            message = consumer.poll(30)
            assert message is not None
            assert message.error() is None
            told.append(message)
        return told
    finally:
        consumer.close()


def test_kafka_messages_are_those_of_chains_on_the_mock_cluster_of_librdkafka(
    peer_stores: PeerStores, kafka_cluster: str
) -> None:
    config = {
        "storage.pubsub.provider": "kafka", "storage.pubsub.topic": "theirs",
        "storage.pubsub.kafka.bootstrap.servers": kafka_cluster,
    }  # fmt: skip
    # Chains cannot send an image's signature, which is no text, and headers of go-cloud are
    peer_stores.store("pubsub", config, RUN, [item(MADE[0])])
    put(f"kafka://{kafka_cluster}/ours", StoreOptions(), MADE[0])
    theirs, ours = (messages(kafka_cluster, topic, 1) for topic in ("theirs", "ours"))

    def shown(several: list[Any]) -> list[Any]:
        return sorted((one.value(), one.key(), sorted(one.headers())) for one in several)

    assert shown(ours) == shown(theirs)
