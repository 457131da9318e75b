"""The stores of Tekton Chains where they differ from the contract of all stores: outages, permissions, wrong bytes,
rotated passwords, and the stores that cannot be asked for a digest."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from chains.cli.main import run as chains
from storage.base import Store, StoreOptions
from storage.errors import StoreRejected, StoreUnavailable
from storage.grafeas.store import grafeas_url
from storage.open import open_store
from storage.record import Findings, Record, Stored
from tests.testbed.clouds.archivista import archivista_endpoint
from tests.testbed.clouds.containeranalysis import containeranalysis_endpoint
from tests.testbed.clouds.firestore import FirestoreServer
from tests.testbed.clouds.gcs import Bucket
from tests.testbed.clouds.mongo import MongoServer, mongo_endpoint
from tests.testbed.s3 import S3Server
from tests.unit.storage import records

SECRET = "not-for-any-log"
QUICK = StoreOptions(timeout=2.0, attempts=2)
IMAGE = records.subject()
DIGEST = f"sha256:{IMAGE.digest['sha256']}"


def put(url: str, *made: Record, options: StoreOptions = QUICK) -> list[Stored]:
    async def work() -> list[Stored]:
        async with open_store(url, options) as store:
            return [await store.put(record) for record in made]

    return asyncio.run(work())


def find(url: str, options: StoreOptions = QUICK, digest: str = DIGEST) -> Findings:
    async def work() -> Findings:
        async with open_store(url, options) as store:
            return await store.find(digest, IMAGE.name)

    return asyncio.run(work())


def failure(url: str, options: StoreOptions = QUICK) -> tuple[str, bool]:
    (stored,) = put(url, records.attestation(IMAGE), options=options)
    assert not stored.receipts
    (told,) = stored.failures
    assert SECRET not in told.reason
    return told.reason, told.transient


@dataclass
class Service:
    """One of them, with the answers that it can be made to give: all fail with a status of HTTP."""

    url: str
    options: StoreOptions
    fails: Any
    permission: str


@pytest.fixture(
    params=["gcs local endpoint", "mongo local endpoint", "firestore local endpoint", "grafeas local endpoint",
            "archivista local endpoint"]
)  # fmt: skip
def service(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    kind = request.param.split()[0]
    if kind == "gcs":
        bucket: Bucket = request.getfixturevalue("gcs_bucket")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", bucket.url)
        yield Service(
            "gcs://evidence", QUICK, lambda status: setattr(bucket, "fails", status), "storage.objects.create"
        )
    elif kind == "mongo":
        server: MongoServer = request.getfixturevalue("mongo_server")
        codes = {0: 0, 403: 13, 503: 11600}
        options = replace(QUICK, mongo_server_url=server.url)
        yield Service("mongo://c/e?id_field=Name", options, lambda status: setattr(server, "fails", codes[status]), "readWrite")  # fmt: skip
    elif kind == "firestore":
        firestore: FirestoreServer = request.getfixturevalue("firestore_server")
        monkeypatch.setenv("FIRESTORE_EMULATOR_HOST", firestore.address)
        statuses = {0: None, 403: grpc.StatusCode.PERMISSION_DENIED, 503: grpc.StatusCode.UNAVAILABLE}
        url = "firestore://projects/p/databases/(default)/documents/e?name_field=Name"
        yield Service(
            url, QUICK, lambda status: setattr(firestore, "fails", statuses[status]), "roles/datastore.user"
        )
    elif kind == "grafeas":
        with containeranalysis_endpoint() as project:
            url = grafeas_url("proj", endpoint=project.url)
            yield Service(url, QUICK, lambda status: setattr(project, "fails", status), "roles/containeranalysis.occurrences.editor")  # fmt: skip
    else:
        with archivista_endpoint() as envelopes:
            url = f"archivista:{envelopes.url}"
            yield Service(url, QUICK, lambda status: setattr(envelopes, "fails", status), "asks for a login")


def test_an_outage_passes_and_a_missing_permission_is_named(service: Service) -> None:
    service.fails(503)
    reason, transient = failure(service.url, service.options)
    assert transient, reason
    with pytest.raises(StoreUnavailable, match=r"503|no answer in time|cannot be reached"):
        find(service.url, service.options)
    service.fails(403)
    reason, transient = failure(service.url, service.options)
    assert not transient, reason
    assert service.permission in reason
    with pytest.raises(StoreRejected, match="not allowed: ") as refused:
        find(service.url, service.options)
    assert service.permission in str(refused.value)
    service.fails(0)
    (stored,) = put(service.url, records.attestation(IMAGE), options=service.options)
    assert stored.receipts
    assert not stored.failures


def test_the_doctor_is_told_what_is_wrong(service: Service) -> None:
    async def probe() -> list[Any]:
        async with open_store(service.url, service.options) as store:
            return await store.probe()

    (good,) = asyncio.run(probe())
    service.fails(403)
    (bad,) = asyncio.run(probe())
    assert (good.state, bad.state) == ("ok", "failed")
    assert bad.next_step
    assert find_all_is_empty(service)


def find_all_is_empty(service: Service) -> bool:
    service.fails(0)
    return find(service.url, service.options) == Findings()


@pytest.mark.parametrize(
    "url",
    ["mongo://c/e?id_field=Name", "archivista:http://127.0.0.1:9", "kafka://127.0.0.1:9/topic",
     "dynamodb://table?partition_key=Name", "gcs://evidence"],
)  # fmt: skip
def test_a_server_that_is_not_there_may_come_back(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    server = f"mongodb://user:{SECRET}@127.0.0.1:9/?directConnection=true"
    reason, transient = failure(url, replace(QUICK, mongo_server_url=server))
    assert transient, reason


def test_a_rotated_password_is_taken_over_without_a_restart(tmp_path: Path) -> None:
    folder = tmp_path / "mounted"
    folder.mkdir()
    path = folder / "MONGO_SERVER_URL"
    with mongo_endpoint() as first, mongo_endpoint() as second:
        path.write_text(first.url + "\n")
        options = replace(QUICK, mongo_server_url="mongodb://127.0.0.1:9", mongo_server_url_dir=str(folder))

        async def work() -> None:
            async with open_store("mongo://c/e?id_field=Name", options) as store:
                assert (await store.put(records.attestation(IMAGE))).receipts
                # as kubelet does: the new content is another file under the same name
                (folder / "new").write_text(second.url + "\n")
                (folder / "new").rename(path)
                assert (await store.put(records.attestation(IMAGE))).receipts
                path.unlink()
                assert not (await store.put(records.attestation(IMAGE))).receipts[0].changed

        asyncio.run(work())
        assert len(first.collections["c.e"]) == len(second.collections["c.e"]) == 2


def test_the_server_s_url_comes_from_path_then_folder_then_key_then_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "mongo://c/e?id_field=Name"
    monkeypatch.delenv("MONGO_SERVER_URL", raising=False)
    with pytest.raises(StoreRejected, match="MONGO_SERVER_URL"):
        open_store(url)
    places = [tmp_path / "path", tmp_path / "MONGO_SERVER_URL"]
    with mongo_endpoint() as a, mongo_endpoint() as b, mongo_endpoint() as c, mongo_endpoint() as d:
        places[0].write_text(a.url)
        places[1].write_text(b.url)
        monkeypatch.setenv("MONGO_SERVER_URL", d.url)
        settings = {"mongo_server_url_path": str(places[0]), "mongo_server_url_dir": str(tmp_path), "mongo_server_url": c.url}  # fmt: skip
        for server in (a, b, c, d):
            put(url, records.attestation(IMAGE), options=replace(QUICK, **settings))
            assert server.collections["c.e"]
            if settings:
                del settings[next(iter(settings))]
    with pytest.raises(StoreRejected, match="cannot be read"):
        open_store(url, replace(QUICK, mongo_server_url_path=str(tmp_path / "none")))


def test_wrong_bytes_that_come_back_give_no_receipt(
    gcs_bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_bucket.url)
    write = gcs_bucket._write

    def rotten(name: str, data: bytes, query: dict[str, str]) -> Any:
        answer = write(name, data, query)
        if name.endswith(".signature"):
            gcs_bucket.objects[name] = data[:-1] + b"!"
        return answer

    monkeypatch.setattr(gcs_bucket, "_write", rotten)
    reason, transient = failure("gcs://evidence")
    assert "other bytes came back" in reason
    assert transient


def test_archivista_keeps_and_finds_envelopes_by_subject_on_a_local_endpoint() -> None:
    made = records.records_of_run(IMAGE)
    with archivista_endpoint() as server:
        url = f"archivista:{server.url}"
        first, second = put(url, *made), put(url, *made)
        assert [one.receipts[0].changed for one in (*first, *second)] == [True] * 3 + [False] * 3
        told = find(url)
        assert {record.envelope for record in made[:2]} <= {one.data for one in told.evidence}
        signed = [json.loads(one.data) for one in told.evidence]
        assert json.loads(made[2].bundle)["dsseEnvelope"] in signed
        gitoid = next(iter(server.stored))
        server.stored[gitoid] += b" "
        (skipped,) = find(url).skipped
        assert "its bytes do not have this gitoid" in skipped.reason
        server.lost.append("e" * 64)
        with pytest.raises(StoreUnavailable, match=r"download from archivista:.*500"):
            find(url)
        server.missing = 404
        assert "the server does not" in find(url).skipped[-1].reason


def test_grafeas_keeps_and_finds_occurrences_by_image_on_a_local_endpoint() -> None:
    made = records.records_of_run(IMAGE)
    with containeranalysis_endpoint() as project:
        url = grafeas_url("proj", endpoint=project.url)
        first, second = put(url, *made), put(url, *made)
        assert [one.receipts[0].changed for one in (*first, *second)] == [True] * 3 + [False] * 3
        told = find(url)
        assert [one.data for one in told.evidence if one.format == "dsse"] == [
            one.envelope for one in made[:2]
        ]
        (signature,) = [one for one in told.evidence if one.format == "simplesigning"]
        assert (signature.data, signature.signature) == (made[2].payload, made[2].signature)
        notes = [name.rpartition("/")[2] for name in project.notes]
        assert notes == ["tekton-default-taskrun-intoto", "tekton-default-taskrun-report", "tekton-default-simplesigning"]  # fmt: skip
        (nothing,) = put(url, records.attestation())
        assert nothing.skipped
        assert project.tokens == {""}, "no token goes over plain http"

        async def nameless() -> Findings:
            async with open_store(url) as store:
                return await store.find(DIGEST)

        with pytest.raises(StoreRejected, match="pass the image's name"):
            asyncio.run(nameless())


@pytest.fixture
def kafka_servers() -> Iterator[str]:
    from confluent_kafka import Producer

    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = owner.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    owner.flush(1)


def test_kafka_gives_a_receipt_for_each_message_on_the_mock_cluster_of_librdkafka(kafka_servers: str) -> None:
    url = f"kafka://{kafka_servers}/evidence"
    made = [records.attestation(IMAGE, run=records.origin(number)) for number in range(20)]

    async def work() -> None:
        async with open_store(url, StoreOptions()) as store:
            stored = await asyncio.gather(*(store.put(record) for record in made))
            assert not [failure for one in stored for failure in one.failures]
            assert len({one.receipts[0].location for one in stored}) == 20
            assert all(one.receipts[0].location.startswith(f"{url}#") for one in stored)
            (probe,) = await store.probe()
            assert probe.state == "ok"
            await _cannot_be_searched(store)

    asyncio.run(work())


async def _cannot_be_searched(store: Store) -> None:
    with pytest.raises(StoreRejected, match="cannot be searched"):
        await store.find(DIGEST)
    with pytest.raises(StoreRejected, match="cannot be searched"):
        await store.find_run("uid")


def test_runs_are_listed_without_their_times(gcs_bucket: Bucket, mongo_server: MongoServer, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_bucket.url)
    options = replace(QUICK, mongo_server_url=mongo_server.url)
    made = [record for number in (1, 2) for record in records.records_of_run(IMAGE, number)]

    async def listed(url: str, since: str) -> list[str]:
        async with open_store(url, options) as store:
            return [run.origin.uid async for run in store.list_runs(since)]

    for url in ("gcs://evidence", "mongo://c/e?id_field=Name"):
        put(url, *made, options=options)
        assert asyncio.run(listed(url, "")) == [records.origin(number).uid for number in (1, 2)]
        assert asyncio.run(listed(url, "2026-01-01")) == []


def test_a_table_that_is_not_there_is_told(moto_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in moto_server.environ().items():
        monkeypatch.setenv(name, value)
    reason, transient = failure("dynamodb://no-such-table?partition_key=Name")
    assert "ResourceNotFound" in reason
    assert not transient


@pytest.mark.parametrize(
    "url",
    [
        "gcs://", "gcs://UPPER", "gcs://bucket/more", "mongo://db", "mongo://db/coll?other=1", "dynamodb://table",
        f"mongo://user:{SECRET}@db/coll", "dynamodb://table?partition_key=other", "firestore://projects/p?name_field=Name",
        "firestore://projects/p/databases/d/documents/c", "grafeas:", "grafeas://proj?other=1", "archivista:host",
        f"archivista:https://user:{SECRET}@host", "kafka://host:1", f"kafka://user:{SECRET}@host:1/topic",
        "grafeas://proj?endpoint=file:///etc/passwd",
    ],
)  # fmt: skip
def test_urls_that_mean_nothing_are_refused(url: str) -> None:
    with pytest.raises(StoreRejected, match=r"expected|must not contain credentials") as told:
        open_store(url, replace(QUICK, mongo_server_url="mongodb://127.0.0.1:9"))
    assert SECRET not in str(told.value)


def test_attest_stores_in_every_store_that_the_configuration_names(
    gcs_bucket: Bucket, mongo_server: MongoServer, kafka_servers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_bucket.url)
    results = [
        {"name": "IMAGE_URL", "type": "string", "value": IMAGE.name},
        {"name": "IMAGE_DIGEST", "type": "string", "value": DIGEST},
    ]
    done = {"type": "Succeeded", "status": "True", "reason": "Succeeded"}
    status = {"conditions": [done], "completionTime": "2026-01-02T03:04:05Z", "results": results}
    uid = records.origin().uid
    run = {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "spec": {}, "status": status,
        "metadata": {"name": "build", "namespace": "default", "uid": uid},
    }  # fmt: skip
    Path("run.json").write_text(json.dumps(run))
    with archivista_endpoint() as envelopes:
        config = {
            "artifacts.taskrun.format": "slsa/v1",
            "artifacts.taskrun.storage": "gcs,docdb,archivista,kafka",
            "artifacts.pipelinerun.storage": "gcs",
            "artifacts.oci.storage": "gcs,docdb,archivista,kafka",
            "storage.gcs.bucket": "evidence",
            "storage.docdb.url": "mongo://c/e?id_field=Name",
            "storage.docdb.mongo-server-url": mongo_server.url,
            "storage.archivista.url": envelopes.url,
            "storage.pubsub.provider": "kafka",
            "storage.pubsub.topic": "evidence",
            "storage.pubsub.kafka.bootstrap.servers": kafka_servers,
        }
        Path("config.json").write_text(json.dumps(config))
        assert chains(["attest", "run.json", "--config", "config.json"]) == 0
        assert f"taskrun-default-build/taskrun-{uid}.signature" in gcs_bucket.objects
        assert f"taskrun-{uid}" in mongo_server.collections["c.e"]
        assert len(envelopes.stored) == 3
