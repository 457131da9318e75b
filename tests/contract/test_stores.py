"""The contract of every store, tested with each: folders, registries of every kind, buckets and databases."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from storage import durable
from storage.base import FORM_A, FORM_B, Store, StoreOptions
from storage.errors import StoreRejected
from storage.grafeas.store import grafeas_url
from storage.open import open_store
from storage.record import Findings, Record, Stored, Subject
from tests.testbed.clouds.dynamodb import make_table
from tests.testbed.cosign import Cosign
from tests.testbed.images import Registry
from tests.testbed.s3 import ACCESS_KEY, SECRET_KEY, S3Server
from tests.testbed.s3_proxy import FLIP, Proxy, s3_proxy
from tests.unit.storage import records

ROOT = Path(__file__).parents[2]
REGISTRIES = ("referrers_registry", "plain_registry", "secured_registry", "token_registry")
FOLDERS = ("oci-layout", "file")
BUCKETS = ("s3_server", "moto_server")
CLOUDS = (
    *("gcs local endpoint", "mongo local endpoint", "dynamodb moto", "firestore local endpoint"),
    *("grafeas local endpoint", "archivista local endpoint"),
)
"""Services that cannot run here. The vendors' own clients talk to servers that speak their protocols."""
EVERYTHING = frozenset({"bundle-v0.3", "dsse", "simplesigning"})
LARGEST = {"mongo": 10_000_000, "dynamodb": 400_000, "firestore": 1_000_000}
"""A payload size in bytes that some databases refuse, for Tekton Chains too."""
_numbers = count(1)


def _param(name: str) -> Any:
    """A place as a parameter. moto is a library and runs offline; every other place is marked as a server."""
    return pytest.param(name, marks=() if "moto" in name else pytest.mark.server)


@dataclass(frozen=True)
class Place:
    """A place to store, which gives a test any number of :class:`Store` objects."""

    url: str
    options: StoreOptions
    environ: dict[str, str]
    new_subject: Callable[[], Subject]
    is_registry: bool
    keeps: frozenset[str] = EVERYTHING
    """The records that it can store: those that Tekton Chains can store there too."""

    @property
    def knows_runs(self) -> bool:
        return not self.is_registry and self.keeps == EVERYTHING

    def kept(self, form: str, *made: Record) -> list[bytes]:
        """Return what is found of ``made`` in one form."""
        if form not in self.keeps:
            return []
        found = [record.bundle if form == "bundle-v0.3" else record.envelope for record in made]
        return sorted(filter(None, found))

    def pieces(self, *made: Record) -> set[bytes]:
        """Return what is found of attestations."""
        return {data for form in ("bundle-v0.3", "dsse") for data in self.kept(form, *made)}

    def open(self, **changes: Any) -> Store:
        return open_store(self.url, replace(self.options, **changes))


@pytest.fixture(
    params=[
        *FOLDERS,
        *(_param(name) for name in (*REGISTRIES, *BUCKETS, *CLOUDS)),
    ],
)
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    if request.param in FOLDERS:
        return _folder_place(request.param, tmp_path)
    if request.param in BUCKETS:
        return _bucket_place(request.getfixturevalue(request.param), monkeypatch)
    if request.param in CLOUDS:
        return _cloud_place(request, monkeypatch)
    return _registry_place(request.getfixturevalue(request.param), tmp_path, monkeypatch)


@pytest.fixture(params=[*FOLDERS, *map(_param, BUCKETS)])
def listing(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place that can list its runs."""
    if request.param in BUCKETS:
        return _bucket_place(request.getfixturevalue(request.param), monkeypatch)
    return _folder_place(request.param, tmp_path)


def _folder_place(scheme: str, tmp_path: Path) -> Place:
    url = f"{scheme}:{tmp_path / 'store'}"
    return Place(url, StoreOptions(), {}, partial(_anything, "registry.example/app"), False)


def _registry_place(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    environ = registry.client_env(tmp_path / "docker")
    monkeypatch.setenv("DOCKER_CONFIG", environ["DOCKER_CONFIG"])

    def new_subject() -> Subject:
        repository = f"contract/app{next(_numbers)}"
        return Subject(f"{registry.host}/{repository}", {"sha256": registry.push_image(repository)[7:]})

    options = StoreOptions(ca_file=str(registry.ca_file or ""))
    return Place("oci:", options, {"DOCKER_CONFIG": environ["DOCKER_CONFIG"]}, new_subject, True)


def _bucket_place(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Place:
    environ = server.environ()
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    bucket = server.make_bucket(f"contract-{next(_numbers)}")
    new_subject = partial(_anything, "registry.example/app")
    return Place(f"s3://{bucket}/evidence", StoreOptions(), environ, new_subject, False)


def _cloud_place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Place:
    options, environ = StoreOptions(), {}
    kind = request.param.split()[0]
    if kind == "gcs":
        environ = {"STORAGE_EMULATOR_HOST": request.getfixturevalue("gcs_bucket").url}
        url = "gcs://evidence"
    elif kind == "mongo":
        options = StoreOptions(mongo_server_url=request.getfixturevalue("mongo_server").url)
        url = "mongo://chains/evidence?id_field=Name"
    elif kind in {"grafeas", "archivista"}:
        server = request.getfixturevalue(f"{kind}_server")
        url = grafeas_url("proj", endpoint=server.url) if kind == "grafeas" else f"archivista:{server.url}"
        keeps = frozenset({"dsse", "simplesigning"} if kind == "grafeas" else {"dsse"})
        return Place(url, options, {}, partial(_anything, "registry.example/app"), False, keeps)
    elif kind == "dynamodb":
        server: S3Server = request.getfixturevalue("moto_server")
        environ = server.environ()
        url = f"dynamodb://{make_table(server.client_for('dynamodb'))}?partition_key=Name"
    else:
        environ = {"FIRESTORE_EMULATOR_HOST": request.getfixturevalue("firestore_server").address}
        url = "firestore://projects/p/databases/(default)/documents/evidence?name_field=Name"
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Place(url, options, environ, partial(_anything, "registry.example/app"), False)


def _anything(name: str) -> Subject:
    name = f"{name}{next(_numbers)}"
    return records.subject(name, name.encode())


async def put(store: Store, *several: Record) -> list[Stored]:
    return await asyncio.gather(*(store.put(record) for record in several))


async def find(store: Store, subject: Subject) -> Findings:
    return await store.find(digest_of(subject), subject.name)


def digest_of(subject: Subject) -> str:
    return f"sha256:{subject.digest['sha256']}"


def bytes_of(findings: Findings, form: str) -> list[bytes]:
    return sorted(item.data for item in findings.evidence if item.format == form)


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


def test_what_was_put_is_found_byte_for_byte(place: Place) -> None:
    async def work() -> None:
        subject = place.new_subject()
        made = records.records_of_run(subject)
        async with place.open() as store:
            stored = await put(store, *made)
            await store.flush()
            found = await find(store, subject)
        async with place.open() as another:
            assert await find(another, subject) == found
        for one in stored:
            assert one.receipts
            assert not one.failures
            assert not one.skipped
            assert all(receipt.changed and receipt.store == store.url for receipt in one.receipts)
            assert all(receipt.digest.startswith("sha256:") and receipt.location for receipt in one.receipts)
        assert not found.skipped
        assert bytes_of(found, "bundle-v0.3") == place.kept("bundle-v0.3", *made)
        if "simplesigning" not in place.keeps:
            assert set(place.kept("dsse", *made[:2])) < set(bytes_of(found, "dsse"))
            assert len(found.evidence) == 3
            return
        assert bytes_of(found, "dsse") == place.kept("dsse", *made[:2])
        (signature,) = [item for item in found.evidence if item.format == "simplesigning"]
        assert (signature.data, signature.signature) == (made[2].payload, made[2].signature)

    run(work)


def test_evidence_tells_where_it_was_and_the_digest_of_its_bytes(place: Place) -> None:
    async def work() -> None:
        subject = place.new_subject()
        async with place.open() as store:
            await put(store, *records.records_of_run(subject))
            found = await find(store, subject)
        for item in found.evidence:
            assert item.digest == digest_of(records.subject("x", item.data))
            assert item.location
            assert item.source in {
                *(name.split()[0] for name in CLOUDS),
                "oci-referrer",
                "oci-att",
                "oci-sig",
                "oci-layout",
                "file",
                "s3",
            }

    run(work)


def test_twice_is_once(place: Place) -> None:
    async def work() -> None:
        subject = place.new_subject()
        made = records.records_of_run(subject)
        async with place.open() as store:
            first = await put(store, *made)
            await store.flush()
            second = await put(store, *made)
        async with place.open() as store:
            third = await put(store, *made)
            found = await find(store, subject)
        assert all(receipt.changed for one in first for receipt in one.receipts)
        for again in (second, third):
            assert not any(receipt.changed for one in again for receipt in one.receipts)
            assert [[receipt.digest for receipt in one.receipts] for one in again if place.url != "oci:"] == [
                [receipt.digest for receipt in one.receipts] for one in first if place.url != "oci:"
            ]
        assert len(found.evidence) == (6 if place.keeps == EVERYTHING else 3)

    run(work)


def test_the_same_record_at_the_same_time_is_stored_once(place: Place) -> None:
    async def work() -> None:
        subject = place.new_subject()
        record = records.attestation(subject)
        async with place.open() as store:
            stored = await put(store, *[record] * 10)
            found = await find(store, subject)
        several = len(place.keeps - {"simplesigning"})
        assert all(len(one.receipts) == several and not one.failures for one in stored)
        assert len(found.evidence) == several

    run(work)


def test_twenty_writers_to_one_subject_lose_nothing(place: Place) -> None:
    async def work() -> None:
        subject = place.new_subject()
        made = [records.attestation(subject, run=records.origin(number)) for number in range(20)]
        stores = [place.open() for _ in range(5)]
        stored = await asyncio.gather(*(stores[number % 5].put(record) for number, record in enumerate(made)))
        for store in stores:
            await store.close()
        async with place.open() as store:
            found = await find(store, subject)
        assert not [failure for one in stored for failure in one.failures]
        assert bytes_of(found, "bundle-v0.3") == place.kept("bundle-v0.3", *made)
        assert bytes_of(found, "dsse") == place.kept("dsse", *made)

    run(work)


def test_writers_in_several_processes_lose_nothing(place: Place) -> None:
    subject = place.new_subject()
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.unit.storage.writer", place.url),
                *(json.dumps(asdict(place.options)), subject.name, subject.digest["sha256"]),
                *(str(first), "5"),
            ],
            cwd=ROOT,
            env={"PATH": "", **place.environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in range(0, 20, 5)
    ]
    failed = [json.loads(process.communicate()[0]) for process in processes]
    assert failed == [[], [], [], []]

    async def work() -> None:
        async with place.open() as store:
            found = await find(store, subject)
        made = [records.attestation(subject, run=records.origin(number)) for number in range(20)]
        assert bytes_of(found, "dsse") == place.kept("dsse", *made)
        assert bytes_of(found, "bundle-v0.3") == place.kept("bundle-v0.3", *made)

    run(work)


@pytest.mark.parametrize("size", [100_000, 10_000_000])
def test_large_payloads_come_back_whole(place: Place, size: int) -> None:
    async def work() -> None:
        subject = place.new_subject()
        record = records.attestation(subject, pad=size)
        async with place.open() as store:
            (stored,) = await put(store, record)
            found = await find(store, subject)
        if size >= LARGEST.get(place.url.partition(":")[0], size + 1):
            assert [failure.transient for failure in stored.failures] == [False]
            assert "store large attestations in oci, gcs or s3" in stored.failures[0].reason
            return
        assert not stored.failures
        assert not found.skipped
        assert {item.data for item in found.evidence} == place.pieces(record)

    run(work)


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "/",
        "..",
        "",
        "a" * 3000,
        "ünïcode 名前 😀",
        "with\nnewline\tand\x00nul",
        "pkg:maven/org.example/app@1.0",
        "-rf",
        "a,b",
    ],
)
def test_odd_names_do_no_harm(place: Place, name: str, tmp_path: Path) -> None:
    async def work() -> None:
        image = place.new_subject()
        odd = Subject(name, {"sha256": "0" * 63 + "1", "sha512": "1" * 128})
        run = records.origin(next(_numbers) + 1000, name=name, namespace=name)
        predicate = f"https://example.test/{name}"
        record = records.attestation(image, odd, run=run, predicate=predicate)
        async with place.open() as store:
            (stored,) = await put(store, record)
            found = await find(store, image)
            by_run = await store.find_run(run.uid) if place.knows_runs else Findings()
        assert stored.receipts
        assert not stored.failures
        assert {item.data for item in found.evidence} == place.pieces(record)
        if place.is_registry:
            (skipped,) = stored.skipped
            assert skipped.reason
        elif place.knows_runs:
            assert {item.data for item in by_run.evidence} == {record.bundle, record.envelope}

    run(work)
    assert {path.name for path in tmp_path.iterdir()} <= {"store", "docker"}


def test_a_record_without_subjects_is_found_by_its_run_or_left_out(place: Place) -> None:
    async def work() -> None:
        run = records.origin(next(_numbers) + 5000)
        record = records.attestation(run=run)
        async with place.open() as store:
            (stored,) = await put(store, record)
            found = await store.find_run(run.uid) if place.knows_runs else Findings()
        assert not stored.failures
        assert bool(found.evidence) is place.knows_runs
        assert {item.data for item in found.evidence} <= {record.bundle, record.envelope}

    run(work)


def test_a_scan_finds_all_evidence_or_says_that_the_store_cannot_be_listed(place: Place) -> None:
    image, other = place.new_subject(), place.new_subject()
    made = [
        record
        for number, one in enumerate((image, other), 9100)
        for record in records.records_of_run(one, number)
    ]

    async def work() -> None:
        async with place.open() as store:
            await put(store, *made)
        homes = {image.name, other.name} if place.is_registry else {""}
        found: set[bytes] = set()
        for home in homes:
            url = f"oci://{home}" if home else place.url
            async with open_store(url, place.options) as store:
                if place.keeps != EVERYTHING:
                    with pytest.raises(StoreRejected, match="cannot list"):
                        [part async for part in store.scan()]
                    return
                parts = [part async for part in store.scan()]
            assert parts
            assert {part.total for part in parts} == {len(parts)}
            found |= {item.data for part in parts for item in part.findings.evidence}
            assert not [item for part in parts for item in part.findings.skipped]
        assert found >= place.pieces(*made)
        assert found >= {record.payload for record in made if record.signature}

    run(work)


def test_a_store_of_all_registries_cannot_be_scanned(tmp_path: Path) -> None:
    async def work() -> None:
        async with open_store("oci:") as store:
            with pytest.raises(StoreRejected, match=r"name oci://REGISTRY/REPOSITORY"):
                [part async for part in store.scan()]

    run(work)


def test_stores_that_know_runs_tell_them_apart(listing: Place) -> None:
    async def work() -> None:
        subject = listing.new_subject()
        made = {number: records.records_of_run(subject, number) for number in (1, 2)}
        async with listing.open() as store:
            for several in made.values():
                await put(store, *several)
            for number, several in made.items():
                found = await store.find_run(records.origin(number).uid)
                assert bytes_of(found, "dsse") == sorted(record.envelope for record in several[:2])
                assert several[0].bundle in bytes_of(found, "bundle-v0.3")
            assert await store.find_run("00000000-0000-4000-8000-999999999999") == Findings()

    run(work)


def test_runs_are_listed_by_the_time_of_their_end(listing: Place) -> None:
    ends = ("2025-12-31T23:59:59Z", "2026-01-02T03:04:05Z", "2026-02-01T00:00:00Z")
    made = [
        replace(records.attestation(listing.new_subject(), run=records.origin(number)), created=end)
        for number, end in enumerate(ends)
    ]

    async def listed(store: Store, since: str = "", until: str = "") -> list[str]:
        return sorted([run.created[:10] async for run in store.list_runs(since, until)])

    async def work() -> None:
        async with listing.open() as store:
            await put(store, *made)
            await store.flush()
            assert await listed(store) == ["2025-12-31", "2026-01-02", "2026-02-01"]
            assert await listed(store, "2026-01-01T00:00:00Z", "2026-01-31T00:00:00Z") == ["2026-01-02"]
            assert await listed(store, until="2026-01-01T00:00:00Z") == ["2025-12-31"]
            async for run in store.list_runs("2026-02-01T00:00:00Z"):
                found = await store.find_run(run.origin.uid)
                assert {item.data for item in found.evidence} == {made[2].bundle, made[2].envelope}
                named = [item for item in found.evidence if item.format == "bundle-v0.3"]
                assert {(item.origin, item.created) for item in named} == {(made[2].origin, ends[2])}

    run(work)


@pytest.mark.parametrize("name", ["oci-layout", pytest.param("s3_server", marks=pytest.mark.server)])
def test_bytes_that_changed_where_they_lie_are_told_and_never_given_back(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names in a plain folder have no digests, so only the signature shows that a file was changed."""
    if name == "s3_server":
        server: S3Server = request.getfixturevalue(name)
        place = _bucket_place(server, monkeypatch)
        root = server.folder or tmp_path
    else:
        place, root = _folder_place(name, tmp_path), tmp_path
    subject = place.new_subject()
    record = records.attestation(subject)
    changed = record.envelope.replace(b'"sig":"', b'"sig":"AAAA')

    async def work() -> None:
        async with place.open() as store:
            await put(store, record)
        (path,) = [
            path for path in root.rglob("*") if path.is_file() and path.read_bytes() == record.envelope
        ]
        path.write_bytes(changed)
        async with place.open() as store:
            found = await find(store, subject)
        assert [item.data for item in found.evidence] == [record.bundle]
        (skipped,) = found.skipped
        assert skipped.digest == digest_of(records.subject("x", record.envelope))
        assert skipped.reason

    run(work)


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
@pytest.mark.parametrize("scheme", FOLDERS)
def test_a_folder_that_fails_in_the_middle_says_why_and_a_retry_loses_nothing(
    scheme: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _folder_place(scheme, tmp_path)
    subject = place.new_subject()
    made = records.records_of_run(subject)
    write, left = os.write, iter(range(2))

    def failing(handle: int, data: bytes) -> int:
        if next(left, None) is None:
            raise OSError(code, os.strerror(code))
        return write(handle, data)

    async def work() -> None:
        async with place.open() as store:
            with monkeypatch.context() as patch:
                patch.setattr(durable.os, "write", failing)
                first = await put(store, *made)
            failures = [failure for one in first for failure in one.failures]
            assert failures
            for failure in failures:
                assert os.strerror(code) in failure.reason
                assert str(tmp_path) in failure.reason
                assert failure.transient is (code != errno.EACCES)
            again = await put(store, *made)
            await store.flush()
            assert not [failure for one in again for failure in one.failures]
            found = await find(store, subject)
        assert bytes_of(found, "bundle-v0.3") == sorted(record.bundle for record in made)
        assert not found.skipped

    run(work)


@pytest.mark.server
@pytest.mark.parametrize("name", BUCKETS)
def test_a_bucket_that_fails_refuses_or_lies_is_told_and_a_retry_loses_nothing(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: S3Server = request.getfixturevalue(name)
    place = _bucket_place(server, monkeypatch)
    subject = place.new_subject()
    made = records.records_of_run(subject)

    async def work(proxy: Proxy) -> None:
        async with place.open(attempts=1) as store:
            for harm, words in ((503, "503"), (403, "need s3:")):
                proxy.seen.clear()
                proxy.fault = lambda *_, harm=harm: harm if len(proxy.seen) > 4 else None  # type: ignore[misc]
                first = await put(store, *made)
                failures = [failure for one in first for failure in one.failures]
                assert failures
                assert all(failure.transient and words in failure.reason for failure in failures), failures
            proxy.fault = lambda *_: None
            again = await put(store, *made)
            assert not [failure for one in again for failure in one.failures]
            found = await find(store, subject)
            assert bytes_of(found, "bundle-v0.3") == sorted(record.bundle for record in made)
            proxy.fault = lambda method, path: FLIP if "/runs/" in path and "list-type" not in path else None
            lied = await find(store, subject)
        assert not lied.evidence
        assert lied.skipped

    with s3_proxy(server.endpoint, ACCESS_KEY, SECRET_KEY) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        run(lambda: work(proxy))


def test_nothing_is_an_empty_answer(place: Place) -> None:
    async def work() -> None:
        subject = place.new_subject()
        async with place.open() as store:
            await put(store, records.attestation(subject))
            assert await store.find("sha256:" + "f" * 64, subject.name) == Findings()

    run(work)


@pytest.mark.parametrize(("form", "formats"), [(FORM_A, {"dsse"}), (FORM_B, {"bundle-v0.3"})])
def test_one_form_alone_is_written_where_the_configuration_says_so(
    place: Place, form: str, formats: set[str]
) -> None:
    if place.url.startswith(("file:", "s3:")):
        formats = {"dsse", "bundle-v0.3"}  # always written in both
    elif not place.is_registry and not place.url.startswith("oci-layout:"):
        formats = (formats | {"dsse"}) & place.keeps  # what Tekton Chains writes is always there

    async def work() -> None:
        subject = place.new_subject()
        async with place.open(encoding_format=form) as store:
            (stored,) = await put(store, records.attestation(subject))
            found = await find(store, subject)
        assert len(stored.receipts) == len(formats)
        assert {item.format for item in found.evidence} == formats

    run(work)


def test_certificates_stay_beside_the_signature(place: Place) -> None:
    async def work() -> None:
        subject = place.new_subject()
        async with place.open() as store:
            await put(store, records.image_signature(subject, certificate=b"CERT\n", chain=b"CHAIN\n"))
            found = await find(store, subject)
        if place.keeps != EVERYTHING:
            return
        (signature,) = [item for item in found.evidence if item.format == "simplesigning"]
        assert signature.annotations["dev.sigstore.cosign/certificate"] == "CERT\n"
        assert signature.annotations["dev.sigstore.cosign/chain"] == "CHAIN\n"

    run(work)


@pytest.mark.server
@pytest.mark.parametrize("name", BUCKETS)
def test_buckets_keep_what_a_layer_carries_besides(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _bucket_place(request.getfixturevalue(name), monkeypatch)
    subject = place.new_subject()
    first, later = ({"dev.sigstore.cosign/rfc3161timestamp": stamp} for stamp in ("first", "later"))
    record = replace(records.image_signature(subject), annotations=first)

    async def work() -> None:
        async with place.open() as store:
            await put(store, record)
            (again,) = await put(store, replace(record, annotations=later))
            found = await find(store, subject)
        assert not again.failures
        assert not any(receipt.changed for receipt in again.receipts)
        assert [item.annotations for item in found.evidence if item.format == "simplesigning"] == [first]

    run(work)


def test_closing_twice_is_closing_once(place: Place) -> None:
    async def work() -> None:
        subject = place.new_subject()
        store = place.open()
        await put(store, records.attestation(subject))
        await store.close()
        await store.close()

    run(work)


# what the outside verifier says about it


def _stored_for_cosign(place: Place, form: str) -> Subject:
    subject = place.new_subject()

    async def work() -> None:
        async with place.open(encoding_format=form) as store:
            stored = await put(store, *records.records_of_run(subject))
        assert not [failure for one in stored for failure in one.failures]

    run(work)
    return subject


@pytest.mark.server
@pytest.mark.parametrize("form", [FORM_A, FORM_B, "both"])
@pytest.mark.parametrize("name", REGISTRIES)
def test_cosign_verifies_what_was_stored(
    name: str,
    form: str,
    cosign: Cosign,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry: Registry = request.getfixturevalue(name)
    subject = _stored_for_cosign(_registry_place(registry, tmp_path, monkeypatch), form)
    reference = f"{subject.name}@{digest_of(subject)}"
    (tmp_path / "key.pub").write_bytes(records.public_key_pem())
    settings = ("--key", tmp_path / "key.pub", "--insecure-ignore-tlog=true")
    env = registry.client_env(tmp_path / "cosign")
    kinds = (records.PROVENANCE, records.REPORT)
    for kind in kinds:
        done = cosign("verify-attestation", *settings, "--type", kind, reference, env=env)
        printed = [json.loads(line) for line in done.stdout.splitlines()]
        assert kind in {json.loads(base64.b64decode(one["payload"]))["predicateType"] for one in printed}
    cosign("verify", *settings, reference, env=env)


@pytest.mark.server
@pytest.mark.parametrize("name", ["referrers_registry", "plain_registry"])
def test_a_repository_for_each_namespace_takes_both_forms(
    name: str,
    cosign: Cosign,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real registries accept and list a bundle whose image is in another repository."""
    registry: Registry = request.getfixturevalue(name)
    place = _registry_place(registry, tmp_path, monkeypatch)
    subject = place.new_subject()
    image = subject.name.removeprefix(f"{registry.host}/")
    made = records.records_of_run(subject)
    template = f"{registry.host}/gathered{next(_numbers)}/{{namespace}}"
    evidence = template.replace("{namespace}", made[0].origin.namespace)

    async def work() -> None:
        async with place.open(repository=template, bundles_in_repository=True) as store:
            stored = await put(store, *made)
            found = await find(store.within(made[0].origin), subject)
            again = await put(store, *made)
        receipts = [receipt for one in stored for receipt in one.receipts]
        assert not [failure for one in stored for failure in one.failures]
        assert len(receipts) == 2 * len(made)
        assert all(receipt.location.startswith(evidence) for receipt in receipts)
        assert not [receipt for one in again for receipt in one.receipts if receipt.changed]
        assert bytes_of(found, "bundle-v0.3") == sorted(record.bundle for record in made)
        assert len(found.evidence) == len(receipts)

    run(work)
    assert registry.tags(image) == []
    (tmp_path / "key.pub").write_bytes(records.public_key_pem())
    settings = ("--key", tmp_path / "key.pub", "--insecure-ignore-tlog=true")
    env = registry.client_env(tmp_path / "cosign") | {"COSIGN_REPOSITORY": evidence}
    cosign("verify", *settings, f"{subject.name}@{digest_of(subject)}", env=env)


@pytest.mark.server
def test_an_attestation_copied_from_a_layout_is_one_for_cosign(
    referrers_registry: Registry, cosign: Cosign, tmp_path: Path
) -> None:
    repository = f"contract/copied{next(_numbers)}"
    digest = referrers_registry.push_image(repository)
    subject = Subject(f"{referrers_registry.host}/{repository}", {"sha256": digest[7:]})
    layout = tmp_path / "layout"

    async def work() -> None:
        async with open_store(f"oci-layout:{layout}") as store:
            await put(store, *records.records_of_run(subject))

    run(work)
    index = json.loads((layout / "index.json").read_bytes())
    for entry in index["manifests"]:
        _copy(layout, entry, referrers_registry, repository)
    (tmp_path / "key.pub").write_bytes(records.public_key_pem())
    settings = ("--key", tmp_path / "key.pub", "--insecure-ignore-tlog=true")
    reference = f"{subject.name}@{digest}"
    cosign("verify-attestation", *settings, "--type", records.PROVENANCE, reference)
    cosign("verify", *settings, reference)


def _copy(layout: Path, entry: dict[str, Any], registry: Registry, repository: str) -> None:
    """Copy one entry of a layout as ``crane push`` and ``oras copy`` do."""
    data = _blob(layout, entry)
    manifest = json.loads(data)
    for part in (manifest["config"], *manifest["layers"]):
        registry.push_blob(repository, _blob(layout, part))
    name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "")
    registry.push_manifest(repository, data, entry["mediaType"], name)


def _blob(layout: Path, descriptor: dict[str, Any]) -> bytes:
    data = (layout / "blobs" / "sha256" / descriptor["digest"].removeprefix("sha256:")).read_bytes()
    assert len(data) == descriptor["size"]
    assert digest_of(records.subject("x", data)) == descriptor["digest"]
    return data
