"""Registries that break, hang, lie, refuse and lead astray: each ends in a stated failure, in time."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from storage.base import FORM_A, FORM_B, StoreOptions
from storage.errors import StoreRejected, StoreUnavailable
from storage.formats.reference import Repository
from storage.http_client.attempts import LONGEST_WAIT, wait_before
from storage.limits import allowance
from storage.oci import find, tag_writer
from storage.oci.docker_config import Credential
from storage.oci.store import RegistryStore
from storage.open import open_store
from storage.record import Findings, Record, Stored, Subject
from tests.testbed.images import Registry
from tests.unit.storage import records
from tests.unit.storage.fake_registry import (
    OCI_INDEX,
    OCI_MANIFEST,
    FakeRegistry,
    Fault,
    digest_of,
    index_response,
    refused,
    serving,
)

FAST = StoreOptions(timeout=1.5, attempts=2)
SECRET = "open-sesame-4711"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(work())  # type: ignore[arg-type]


@dataclass
class OneCredential:
    """A keychain with one user for everything."""

    credential: Credential = field(default_factory=lambda: Credential("the test's keychain", "robot", SECRET))

    async def candidates(self, repository: Repository, *, again: bool = False) -> list[Credential]:
        del repository, again
        return [self.credential]


def image_in(registry: FakeRegistry, content: str = "image") -> Subject:
    digest = registry.push_image("team/app", content)
    return Subject(f"{registry.host}/team/app", {"sha256": digest.removeprefix("sha256:")})


def put_against(
    fault: Fault | None, options: StoreOptions = FAST, **settings: bool
) -> tuple[Stored, FakeRegistry]:
    """Put one attestation into a registry with ``fault``."""

    async def go() -> tuple[Stored, FakeRegistry]:
        async with serving(**settings) as registry:
            image = image_in(registry)
            registry.fault = fault
            async with open_store("oci:", options) as store:
                return await store.put(records.attestation(image)), registry

    return asyncio.run(go())


def find_against(
    arrange: Callable[[FakeRegistry, Subject, Record], Fault | None], options: StoreOptions = FAST
) -> Findings:
    """Look for the evidence of one attestation that is there, with what ``arrange`` does to the registry."""

    async def go() -> Findings:
        async with serving() as registry:
            image = image_in(registry)
            record = records.attestation(image)
            async with open_store("oci:") as store:
                assert not (await store.put(record)).failures
            registry.fault = arrange(registry, image, record)
            async with open_store("oci:", options) as store:
                return await store.find(f"sha256:{image.digest['sha256']}", image.name)

    return asyncio.run(go())


def on(method: str, part: str, answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Fault:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        hit = request.method == method and part in request.path_qs
        return await answer(request) if hit else None

    return fault


def answering(
    status: int, code: str = "X", message: str = "no", **headers: str
) -> Callable[..., Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return refused(status, code, message, **headers)

    return answer


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Send half of the body that was announced, then close."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"x" * 500)
    assert request.transport is not None
    request.transport.close()
    return response


# failures that pass


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_fault_is_tried_again(status: int) -> None:
    failures = []

    async def fault(request: web.Request) -> web.Response | None:
        if request.method in {"PUT", "POST", "GET"} and len(failures) < 3:
            failures.append(request.path)
            return refused(status, "UNAVAILABLE")
        return None

    stored, _ = put_against(fault, StoreOptions(timeout=5))
    assert len(stored.receipts) == 2
    assert not stored.failures
    assert len(failures) == 3


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answering(500, "INTERNAL", "boom"), "answered 500 INTERNAL: boom (2 tries)"),
        (answering(503), "answered 503"),
        (answering(429), "answered 429"),
        (hang, "no answer in 1.5 s (2 tries)"),
        (hang_up, "the connection broke"),
    ],
)
@pytest.mark.parametrize(("method", "part"), [("POST", "/blobs/"), ("PUT", "/manifests/"), ("GET", ".att")])
def test_a_lasting_fault_is_a_transient_failure_of_that_form(
    method: str, part: str, answer: Callable[..., Awaitable[web.StreamResponse]], words: str
) -> None:
    begun = time.monotonic()
    stored, registry = put_against(on(method, part, answer), replace(FAST, encoding_format=FORM_A))
    assert time.monotonic() - begun < 10
    assert not stored.receipts
    (failure,) = stored.failures
    assert failure.transient
    assert words in failure.reason
    assert f"{registry.host}/team/app" in failure.reason


def test_a_failing_form_does_not_fail_the_other() -> None:
    stored, _ = put_against(on("PUT", ".att", answering(500)))
    assert [receipt.form for receipt in stored.receipts] == ["referrer"]
    assert [failure.form for failure in stored.failures] == ["att"]


def test_a_registry_that_is_not_there_is_transient() -> None:
    async def work() -> None:
        async with open_store("oci:", FAST) as store:
            stored = await store.put(records.attestation(records.subject("127.0.0.1:9/team/app")))
            with pytest.raises(StoreUnavailable, match="cannot connect"):
                await store.find("sha256:" + "a" * 64, "127.0.0.1:9/team/app")
        assert {failure.form for failure in stored.failures} == {"att", "referrer"}
        assert all(failure.transient and "cannot connect" in failure.reason for failure in stored.failures)

    run(work)


def test_the_registrys_wish_to_wait_is_heeded() -> None:
    asked: list[float] = []

    async def fault(request: web.Request) -> web.Response | None:
        if request.method == "PUT" and ".att" in request.path:
            asked.append(time.monotonic())
            if len(asked) == 1:
                return refused(429, "TOOMANYREQUESTS", **{"Retry-After": "1"})
        return None

    stored, _ = put_against(fault, StoreOptions(encoding_format=FORM_A))
    assert stored.receipts
    assert asked[1] - asked[0] >= 1


def test_waits_grow_have_jitter_and_are_capped() -> None:
    assert all(0.1 <= wait_before(1, 0) <= 0.3 for _ in range(100))
    assert all(0.8 <= wait_before(4, 0) <= 2.4 for _ in range(100))
    assert len({wait_before(1, 0) for _ in range(10)}) > 1
    assert wait_before(30, 0) == LONGEST_WAIT
    assert wait_before(1, 86400) == LONGEST_WAIT
    assert wait_before(1, 3) == 3


def test_a_search_never_answers_nothing_when_it_could_not_look() -> None:
    for part in (".att", ".sig", "referrers"):
        with pytest.raises(StoreUnavailable, match="answered 500"):
            find_against(lambda *_, part=part: on("GET", part, answering(500)))  # type: ignore[misc]
    with pytest.raises(StoreUnavailable, match="no answer"):
        find_against(lambda *_: on("GET", "/blobs/", hang))
    with pytest.raises(StoreUnavailable, match="the connection broke"):
        find_against(lambda *_: on("GET", "/manifests/", hang_up))


def test_a_tag_that_never_keeps_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_writer, "MOST_TRIES", 3)
    monkeypatch.setattr(tag_writer, "SHORTEST_PAUSE", 0.01)

    async def go() -> Stored:
        async with serving() as registry:
            image = image_in(registry)
            tag = f"sha256-{image.digest['sha256']}.att"

            async def fault(request: web.Request) -> web.Response | None:
                if request.method == "HEAD" and request.path.endswith(".att"):
                    config = {"mediaType": "x", "digest": registry.push_blob("team/app", b"{}"), "size": 2}
                    other = {"mediaType": OCI_MANIFEST, "config": config, "layers": []}
                    registry.push_manifest("team/app", json.dumps(other).encode(), tag)
                return None

            registry.fault = fault
            async with open_store("oci:", replace(FAST, encoding_format=FORM_A)) as store:
                return await store.put(records.attestation(image))

    (failure,) = asyncio.run(go()).failures
    assert failure.transient
    assert "changed with each of 3 writes" in failure.reason


def test_an_entry_that_was_written_over_is_written_again() -> None:
    async def go() -> tuple[Stored, FakeRegistry, Subject]:
        async with serving() as registry:
            image = image_in(registry)
            tag = f"sha256-{image.digest['sha256']}.att"
            seen = []

            async def fault(request: web.Request) -> web.Response | None:
                if request.method == "HEAD" and request.path.endswith(".att") and not seen:
                    seen.append(1)
                    config = {"mediaType": "x", "digest": registry.push_blob("team/app", b"{}"), "size": 2}
                    layer = {"mediaType": "text/plain", "digest": config["digest"], "size": 2}
                    other = {"mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
                    registry.push_manifest("team/app", json.dumps(other).encode(), tag)
                return None

            registry.fault = fault
            async with open_store("oci:", StoreOptions(encoding_format=FORM_A)) as store:
                return await store.put(records.attestation(image)), registry, image

    stored, registry, image = asyncio.run(go())
    (receipt,) = stored.receipts
    assert receipt.changed
    manifest = json.loads(registry.manifests["team/app", f"sha256-{image.digest['sha256']}.att"][1])
    assert len(manifest["layers"]) == 2, "theirs and ours"


def test_an_entry_that_a_slower_writer_undoes_after_the_receipt_is_written_again() -> None:
    async def go(*, down: bool = False) -> tuple[Stored, FakeRegistry, Subject]:
        async with serving() as registry:
            image = image_in(registry)
            tag = f"sha256-{image.digest['sha256']}.att"
            async with open_store("oci:", replace(FAST, encoding_format=FORM_A)) as store:
                stored = await store.put(records.attestation(image))
                config = {"mediaType": "x", "digest": registry.push_blob("team/app", b"{}"), "size": 2}
                layer = {"mediaType": "text/plain", "digest": config["digest"], "size": 2}
                other = {"mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
                registry.push_manifest("team/app", json.dumps(other).encode(), tag)
                if down:
                    registry.fault = on("HEAD", ".att", answering(503))
            return stored, registry, image

    def layers(registry: FakeRegistry, image: Subject) -> int:
        return len(
            json.loads(registry.manifests["team/app", f"sha256-{image.digest['sha256']}.att"][1])["layers"]
        )

    stored, registry, image = asyncio.run(go())
    assert stored.receipts[0].changed
    assert layers(registry, image) == 2, "theirs and ours"
    stored, registry, image = asyncio.run(go(down=True))
    assert stored.receipts
    assert layers(registry, image) == 1, "nobody could look, and closing the store did not fail"


def test_a_failed_write_of_a_tag_is_tried_again_over_what_was_read_alone() -> None:
    async def go() -> tuple[Stored, FakeRegistry, Subject]:
        async with serving() as registry:
            image = image_in(registry)
            tag = f"sha256-{image.digest['sha256']}.att"
            refusals = []

            async def fault(request: web.Request) -> web.Response | None:
                if request.method == "PUT" and request.path.endswith(".att") and not refusals:
                    refusals.append(1)
                    config = {"mediaType": "x", "digest": registry.push_blob("team/app", b"{}"), "size": 2}
                    layer = {"mediaType": "text/plain", "digest": config["digest"], "size": 2}
                    other = {"mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
                    registry.push_manifest("team/app", json.dumps(other).encode(), tag)
                    return refused(503, "UNAVAILABLE")
                return None

            registry.fault = fault
            async with open_store("oci:", StoreOptions(encoding_format=FORM_A)) as store:
                return await store.put(records.attestation(image)), registry, image

    stored, registry, image = asyncio.run(go())
    assert stored.receipts[0].changed
    manifest = json.loads(registry.manifests["team/app", f"sha256-{image.digest['sha256']}.att"][1])
    assert len(manifest["layers"]) == 2, "what came between the two tries is kept"


def test_a_blob_that_vanished_before_its_tag_was_written_is_uploaded_again() -> None:
    async def go(times: int) -> tuple[Stored, int]:
        async with serving() as registry:
            image = image_in(registry)
            record = records.attestation(image)
            swept = []

            async def fault(request: web.Request) -> web.Response | None:
                if request.method == "PUT" and request.path.endswith(".att") and len(swept) < times:
                    swept.append(registry.blobs.pop(("team/app", digest_of(record.envelope))))
                return None

            registry.fault = fault
            async with open_store("oci:", replace(FAST, encoding_format=FORM_A)) as store:
                return await store.put(record), len(swept)

    stored, swept = asyncio.run(go(2))
    assert stored.receipts
    assert swept == 2
    stored, swept = asyncio.run(go(100))
    assert "MANIFEST_BLOB_UNKNOWN" in stored.failures[0].reason
    assert swept <= 5


def test_a_caller_that_is_cancelled_leaves_the_store_usable() -> None:
    async def work() -> None:
        async with serving() as registry:
            image = image_in(registry)
            registry.fault = on("PUT", ".att", hang)
            async with open_store("oci:", StoreOptions(timeout=1.5, attempts=1)) as store:
                waiting = asyncio.ensure_future(store.put(records.attestation(image)))
                await asyncio.sleep(0.2)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                registry.fault = None
                stored = await store.put(records.attestation(image_in(registry, "other")))
            assert len(stored.receipts) == 2

    run(work)


# lies


def test_a_blob_with_other_bytes_is_skipped_and_both_digests_named() -> None:
    def arrange(registry: FakeRegistry, image: Subject, record: Record) -> None:
        registry.blobs["team/app", digest_of(record.bundle)] = b"x" * len(record.bundle)

    found = find_against(arrange)
    assert [item.format for item in found.evidence] == ["dsse"]
    (skipped,) = found.skipped
    assert f"expected digest {skipped.digest}, got bytes with sha256:" in skipped.reason


def test_a_manifest_with_other_bytes_is_skipped_and_both_digests_named() -> None:
    def arrange(registry: FakeRegistry, image: Subject, record: Record) -> Fault:
        async def other(request: web.Request) -> web.Response:
            return web.Response(body=b'{"layers":[]}', content_type=OCI_MANIFEST)

        return on("GET", "/manifests/sha256:", other)

    found = find_against(arrange)
    assert [item.format for item in found.evidence] == ["dsse"]
    assert "got bytes with sha256:" in found.skipped[0].reason


def test_a_tag_whose_bytes_are_not_what_the_header_says_is_skipped() -> None:
    def arrange(registry: FakeRegistry, image: Subject, record: Record) -> Fault:
        async def other(request: web.Request) -> web.Response:
            headers = {"Docker-Content-Digest": "sha256:" + "0" * 64, "Content-Type": OCI_MANIFEST}
            return web.Response(body=b'{"layers":[]}', headers=headers)

        return on("GET", ".att", other)

    found = find_against(arrange)
    assert [item.format for item in found.evidence] == ["bundle-v0.3"]
    assert "expected digest sha256:" + "0" * 64 in found.skipped[0].reason


def test_a_registry_that_stores_something_else_is_rejected() -> None:
    async def other(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=201, headers={"Docker-Content-Digest": "sha256:" + "0" * 64})

    stored, _ = put_against(on("PUT", "/manifests/", other))
    assert len(stored.failures) == 2
    for failure in stored.failures:
        assert not failure.transient
        assert "the registry stored sha256:" + "0" * 64 in failure.reason


def test_a_registry_that_says_yes_and_stores_nothing_gets_no_receipt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_writer, "MOST_TRIES", 2)

    async def yes(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=201)

    stored, _ = put_against(on("PUT", "/manifests/", yes), tells_digest=False)
    assert not stored.receipts
    assert all(failure.transient for failure in stored.failures)


def test_a_subject_whose_digest_is_another_is_rejected() -> None:
    async def other(request: web.Request) -> web.Response:
        headers = {"Docker-Content-Digest": "sha256:" + "0" * 64, "Content-Length": "5"}
        return web.Response(headers=headers)

    stored, _ = put_against(on("HEAD", "/manifests/sha256:", other), replace(FAST, encoding_format=FORM_B))
    assert "got sha256:" + "0" * 64 in stored.failures[0].reason


def test_a_length_that_is_too_short_is_not_the_evidence() -> None:
    def arrange(registry: FakeRegistry, image: Subject, record: Record) -> Fault:
        async def cut(request: web.Request) -> web.Response:
            return web.Response(body=record.bundle[:100])

        return on("GET", digest_of(record.bundle), cut)

    found = find_against(arrange)
    assert [item.format for item in found.evidence] == ["dsse"]
    assert len(found.skipped) == 1


# too much


def test_oversized_things_are_skipped_unread() -> None:
    async def long_answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 65536)
        except ConnectionError:
            return response

    def arrange(registry: FakeRegistry, image: Subject, record: Record) -> Fault:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            if request.method == "GET" and digest_of(record.bundle) in request.path:
                return await long_answer(request)
            if request.method == "GET" and ".att" in request.path:
                return web.Response(body=b" " * 5_000_000)
            return None

        return fault

    found = find_against(arrange, StoreOptions(timeout=20))
    assert not found.evidence
    reasons = sorted(skipped.reason for skipped in found.skipped)
    assert "more than the limit of 831 bytes" in reasons[1]
    assert "5000000 bytes; the limit is 4194304" in reasons[0]


def test_layers_that_say_they_are_huge_are_not_fetched() -> None:
    def arrange(registry: FakeRegistry, image: Subject, record: Record) -> None:
        tag = f"sha256-{image.digest['sha256']}.att"
        document = json.loads(registry.manifests["team/app", tag][1])
        document["layers"][0]["size"] = 10**12
        registry.push_manifest("team/app", json.dumps(document).encode(), tag)

    found = find_against(arrange)
    assert [item.format for item in found.evidence] == ["bundle-v0.3"]
    assert "the limit is 67108864 bytes" in found.skipped[0].reason


def test_one_search_holds_so_many_bytes_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "MOST_BYTES", 100)
    found = find_against(lambda *_: None)
    assert not found.evidence
    assert {skipped.reason for skipped in found.skipped} == {
        "not read: there are more than 100 bytes of evidence"
    }


@pytest.mark.parametrize("entries", [0, 1, 100])
def test_endless_pages_of_referrers_end(entries: int) -> None:
    def arrange(registry: FakeRegistry, image: Subject, record: Record) -> Fault:
        pages = []

        async def page(request: web.Request) -> web.Response:
            pages.append(request.path_qs)
            following = f'<{request.path}?page={len(pages)}>; rel="next"'
            listed = [
                {"mediaType": OCI_MANIFEST, "digest": digest_of(b"%d-%d" % (len(pages), n)), "size": 2}
                for n in range(entries)
            ]
            return index_response(listed, Link=following)

        return on("GET", "/referrers/", page)

    found = find_against(arrange)
    assert [item.format for item in found.evidence] == ["dsse"]
    assert any("the rest was not listed" in skipped.reason for skipped in found.skipped)


def test_referrers_on_several_pages_are_all_found() -> None:
    def arrange(registry: FakeRegistry, image: Subject, record: Record) -> Fault:
        (digest,) = (
            digest
            for (_, digest), (_, data) in registry.manifests.items()
            if digest.startswith("sha256:") and b"artifactType" in data
        )

        async def page(request: web.Request) -> web.Response:
            if "last" not in request.query:
                return index_response([], Link=f'<{request.path}?n=1&last=x%3D>; rel="next"')
            assert request.query["last"] == "x="
            return index_response([{"mediaType": OCI_MANIFEST, "digest": digest, "size": 2}])

        return on("GET", "/referrers/", page)

    assert sorted(item.format for item in find_against(arrange).evidence) == ["bundle-v0.3", "dsse"]


def test_bundles_come_before_the_rest_and_what_is_over_the_limit_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(find, "MOST_REFERRERS", 3)

    def arrange(registry: FakeRegistry, image: Subject, record: Record) -> None:
        subject = {"digest": f"sha256:{image.digest['sha256']}"}
        for number in range(3):
            other = {"mediaType": OCI_MANIFEST, "subject": subject, "artifactType": f"text/{number}"}
            registry.push_manifest("team/app", json.dumps(other).encode())

    found = find_against(arrange)
    assert sorted(item.format for item in found.evidence) == ["bundle-v0.3", "dsse"]
    reasons = [skipped.reason for skipped in found.skipped]
    assert sum("more than 3 referrers" in reason for reason in reasons) >= 1


@pytest.mark.parametrize(
    "listed",
    [
        [{"mediaType": OCI_MANIFEST, "digest": "sha256:" + "e" * 64, "size": 2}],
        [{"mediaType": OCI_MANIFEST, "digest": "../../../secret", "size": 2}],
        [{}],
    ],
)
def test_referrers_that_cannot_be_read_are_named(listed: list[dict[str, object]]) -> None:
    async def page(request: web.Request) -> web.Response:
        return index_response(listed)

    found = find_against(lambda *_: on("GET", "/referrers/", page))
    assert [item.format for item in found.evidence] == ["dsse"]
    assert len(found.skipped) == 1


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"manifests":{"a":1}}', b'{"manifests":[1]}', b"{}"])
def test_a_list_of_referrers_that_is_none_is_named(body: bytes) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Type": OCI_INDEX})

    found = find_against(lambda *_: on("GET", "/referrers/", page))
    assert [item.format for item in found.evidence] == ["dsse"]
    assert "the answer is not an image index" in found.skipped[0].reason


def test_a_fallback_index_of_another_kind_is_named() -> None:
    def arrange(registry: FakeRegistry, image: Subject, record: Record) -> None:
        registry.push_manifest("team/app", b'{"layers":[]}', f"sha256-{image.digest['sha256']}")

    found = find_against(arrange)
    assert len(found.evidence) == 2
    assert "left alone" in found.skipped[0].reason


# refusals and credentials


def guarded(registry: FakeRegistry, header: str) -> Fault:
    """Ask for ``header`` on everything."""

    async def fault(request: web.Request) -> web.Response | None:
        if request.headers.get("Authorization") == header:
            return None
        return refused(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="test"'})

    return fault


def test_a_refusal_names_the_credentials_tried_and_not_what_they_are() -> None:
    async def work() -> None:
        async with serving() as registry:
            image = image_in(registry)
            registry.fault = guarded(registry, "Basic other")
            async with RegistryStore("oci:", FAST, OneCredential()) as store:
                stored = await store.put(records.attestation(image))
        assert len(stored.failures) == 2
        for failure in stored.failures:
            assert not failure.transient
            assert "answered 401" in failure.reason
            assert "credentials tried: the test's keychain" in failure.reason
            assert f"allowed to push to {image.name}" in failure.reason
            assert SECRET not in failure.reason
            assert base64.b64encode(f"robot:{SECRET}".encode()).decode() not in failure.reason

    run(work)


def test_a_ban_is_a_refusal_too() -> None:
    stored, _ = put_against(on("PUT", "/manifests/", answering(403, "DENIED", "not you")))
    assert all("answered 403 DENIED: not you" in failure.reason for failure in stored.failures)
    with pytest.raises(StoreRejected, match="must be allowed to read"):
        find_against(lambda *_: on("GET", ".att", answering(403)))


def test_basic_credentials_are_learnt_once_and_sent_at_once() -> None:
    async def work() -> None:
        async with serving() as registry:
            image = image_in(registry)
            header = "Basic " + base64.b64encode(f"robot:{SECRET}".encode()).decode()
            registry.fault = guarded(registry, header)
            async with RegistryStore("oci:", FAST, OneCredential()) as store:
                stored = await store.put(records.attestation(image))
            assert not stored.failures
            assert sum("Authorization" not in headers for headers in registry.headers) == 1, "the first look"

    run(work)


def test_the_registrys_message_is_cut_and_made_printable() -> None:
    nasty = "a\nb\x1b[31m" + "x" * 10_000
    stored, _ = put_against(
        on("PUT", ".att", answering(400, "BAD", nasty)), replace(FAST, encoding_format=FORM_A)
    )
    (failure,) = stored.failures
    assert "answered 400 BAD: a b [31mxxx" in failure.reason
    assert len(failure.reason) < 600


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errors":[]}', b'{"errors":["x"]}', b"\xff"])
def test_errors_that_are_no_registry_errors_say_the_status(body: bytes) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=400, body=body)

    stored, _ = put_against(on("PUT", ".att", answer), replace(FAST, encoding_format=FORM_A))
    assert stored.failures[0].reason.endswith("answered 400")


@dataclass
class Tokens:
    """A token server, and the registry's side that asks for its tokens."""

    life: int = 300
    key: str = "token"
    issued: list[dict[str, list[str]]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    broken: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if request.path == "/token":
            if self.broken is not None:
                return await self.broken(request)
            self.issued.append(parse_qs((await request.read()).decode() or request.query_string))
            self.authorizations.append(request.headers.get("Authorization", ""))
            return web.json_response({self.key: f"T{len(self.issued)}", "expires_in": self.life})
        if request.headers.get("Authorization", "") == f"Bearer T{len(self.issued)}":
            return None
        challenge = f'Bearer realm="http://{request.host}/token",service="registry.test"'
        return refused(401, "UNAUTHORIZED", **{"WWW-Authenticate": challenge})


def put_with_tokens(tokens: Tokens, credential: Credential | None = None, runs: int = 2) -> list[Stored]:
    async def go() -> list[Stored]:
        async with serving() as registry:
            images = [image_in(registry, str(number)) for number in range(runs)]
            registry.fault = tokens
            keychain = OneCredential(credential) if credential else OneCredential()
            async with RegistryStore("oci:", FAST, keychain) as store:
                return [await store.put(records.attestation(image)) for image in images]

    return asyncio.run(go())


@pytest.mark.parametrize("key", ["token", "access_token"])
def test_one_token_serves_one_repository_until_it_expires(key: str) -> None:
    tokens = Tokens(key=key)
    assert not any(stored.failures for stored in put_with_tokens(tokens))
    assert tokens.issued == [{"service": ["registry.test"], "scope": ["repository:team/app:pull,push"]}]
    assert tokens.authorizations == ["Basic " + base64.b64encode(f"robot:{SECRET}".encode()).decode()]


class _Clock:
    """A monotonic clock that a test can put forward."""

    ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead


def test_an_expired_token_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, clock = Tokens(life=3000), _Clock()
    for module in ("tokens", "login"):
        monkeypatch.setattr(f"storage.oci.{module}.time", clock)

    async def work() -> None:
        async with serving() as registry:
            images = [image_in(registry, str(number)) for number in range(2)]
            registry.fault = tokens
            async with RegistryStore("oci:", FAST, OneCredential()) as store:
                first = await store.put(records.attestation(images[0]))
                clock.ahead = 3000
                second = await store.put(records.attestation(images[1]))
        assert not first.failures + second.failures

    run(work)
    assert len(tokens.issued) == 2


def test_an_identity_token_is_exchanged_by_post() -> None:
    tokens = Tokens(key="access_token")
    credential = Credential("somewhere", identity_token="IDENTITY")
    assert not any(stored.failures for stored in put_with_tokens(tokens, credential))
    (form,) = tokens.issued
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["IDENTITY"]
    assert form["scope"] == ["repository:team/app:pull,push"]
    assert form["client_id"]
    assert tokens.authorizations == [""]


def test_a_registry_token_is_sent_as_it_is() -> None:
    tokens = Tokens(issued=[{}])
    credential = Credential("somewhere", registry_token="T1")
    assert not any(stored.failures for stored in put_with_tokens(tokens, credential))
    assert len(tokens.issued) == 1


async def _garbage(_: web.Request) -> web.Response:
    return web.Response(body=b"<html>" + SECRET.encode())


async def _no_token(_: web.Request) -> web.Response:
    return web.json_response({"token": ""})


@pytest.mark.parametrize(
    ("broken", "words", "transient"),
    [
        (answering(500), "answered 500", True),
        (answering(429), "answered 429", True),
        (hang, "no answer in 1.5 s", True),
        (answering(401), "answered 401", False),
        (answering(403), "answered 403", False),
        (_garbage, "cannot be parsed as a token", False),
        (_no_token, "no token", False),
    ],
)
def test_a_failing_token_server_is_named(
    broken: Callable[..., Awaitable[web.StreamResponse]], words: str, *, transient: bool
) -> None:
    (stored,) = put_with_tokens(Tokens(broken=broken), runs=1)
    assert len(stored.failures) == 2
    for failure in stored.failures:
        assert "token server 127.0.0.1" in failure.reason
        assert words in failure.reason
        assert failure.transient is transient
        assert SECRET not in failure.reason
        assert "/team/app" in failure.reason


# led astray


def test_a_redirect_to_another_host_goes_without_credentials() -> None:
    async def work() -> None:
        async with serving() as elsewhere, serving() as registry:
            image = image_in(registry)
            record = records.attestation(image)
            header = "Basic " + base64.b64encode(f"robot:{SECRET}".encode()).decode()
            elsewhere.push_blob("x", record.bundle)

            async def fault(request: web.Request) -> web.Response | None:
                answer = await guarded(registry, header)(request)
                if answer is None and request.method == "GET" and digest_of(record.bundle) in request.path:
                    target = (
                        f"http://{elsewhere.host}/v2/x/blobs/{digest_of(record.bundle)}?X-Signature=a%2Fb%2B"
                    )
                    return web.Response(status=307, headers={"Location": target})
                return answer

            registry.fault = fault
            async with RegistryStore("oci:", FAST, OneCredential()) as store:
                await store.put(record)
                found = await store.find(f"sha256:{image.digest['sha256']}", image.name)
            assert {item.data for item in found.evidence} == {record.bundle, record.envelope}
            assert elsewhere.seen[-1].endswith("?X-Signature=a%2Fb%2B"), "not encoded anew"
            assert not any("Authorization" in headers for headers in elsewhere.headers)

    run(work)


def test_an_upload_location_on_another_host_gets_no_credentials() -> None:
    async def work() -> None:
        async with serving() as elsewhere, serving(single_post=False) as registry:
            image = image_in(registry)
            header = "Basic " + base64.b64encode(f"robot:{SECRET}".encode()).decode()

            async def fault(request: web.Request) -> web.Response | None:
                answer = await guarded(registry, header)(request)
                if answer is None and request.method == "POST":
                    location = f"http://{elsewhere.host}/v2/team/app/blobs/uploads/1?secret=signature"
                    return web.Response(status=202, headers={"Location": location})
                return answer

            async def no(request: web.Request) -> web.Response:
                return refused(403, "DENIED")

            registry.fault, elsewhere.fault = fault, on("PUT", "", no)
            async with RegistryStore("oci:", FAST, OneCredential()) as store:
                stored = await store.put(records.attestation(image))
            assert stored.failures
            assert not any("signature" in failure.reason for failure in stored.failures), (
                "a URL with a secret"
            )
            assert elsewhere.seen
            assert not any("Authorization" in headers for headers in elsewhere.headers)

    run(work)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/v2/team/app/manifests/loop.att", "more than 5 redirects"),
        ("file:///etc/passwd", "not an http or https URL"),
        ("http://[", "not an http or https URL"),
    ],
)
def test_redirects_to_nowhere_end(target: str, words: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": target})

    stored, _ = put_against(on("GET", ".att", answer), replace(FAST, encoding_format=FORM_A))
    assert words in stored.failures[0].reason
    assert not stored.failures[0].transient


@pytest.mark.parametrize(
    ("status", "target", "words"),
    [
        (302, "/elsewhere", "redirects a PUT: refused, as 302 turns it into a GET"),
        (307, "https://elsewhere.example/", "redirects a PUT: refused, as it leads to another origin"),
        (308, "http://127.0.0.1:1/", "redirects a PUT: refused, as it leads to another origin"),
    ],
)
def test_a_write_that_is_redirected_away_is_refused(status: int, target: str, words: str) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": target})

    stored, _ = put_against(on("PUT", ".att", answer), replace(FAST, encoding_format=FORM_A))
    assert words in stored.failures[0].reason
    assert not stored.failures[0].transient


def test_an_upload_without_location_is_rejected() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=202)

    stored, _ = put_against(on("POST", "", answer), replace(FAST, encoding_format=FORM_A))
    assert "returned no upload location" in stored.failures[0].reason


# TLS


def put_into(registry: Registry, options: StoreOptions) -> Stored:
    subject = records.subject(f"{registry.host}/faults/app")
    keychain = OneCredential(Credential("the test's keychain", registry.username, registry.password))

    async def go() -> Stored:
        async with RegistryStore("oci:", options, keychain) as store:
            return await store.put(records.attestation(subject))

    return asyncio.run(go())


@pytest.mark.server
def test_an_unknown_ca_is_rejected_with_the_next_step(secured_registry: Registry) -> None:
    stored = put_into(secured_registry, replace(FAST, encoding_format=FORM_A))
    (failure,) = stored.failures
    assert not failure.transient
    assert "its certificate is not trusted" in failure.reason
    assert "storage.oci.ca-file" in failure.reason


@pytest.mark.server
def test_insecure_takes_any_certificate(secured_registry: Registry, token_registry: Registry) -> None:
    for registry in (secured_registry, token_registry):
        stored = put_into(registry, StoreOptions(encoding_format=FORM_A, insecure=True))
        assert [receipt.form for receipt in stored.receipts] == ["att"]


@pytest.mark.server
def test_the_wrong_password_is_a_refusal(secured_registry: Registry, token_registry: Registry) -> None:
    for registry in (secured_registry, token_registry):
        wrong = replace(registry, password="wrong-password")
        stored = put_into(wrong, StoreOptions(encoding_format=FORM_A, ca_file=str(registry.ca_file)))
        (failure,) = stored.failures
        assert not failure.transient
        assert "401" in failure.reason
        assert "the test's keychain" in failure.reason
        assert "wrong-password" not in failure.reason


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_a_ca_file_that_is_none_is_rejected_at_once(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(StoreRejected, match=str(path)):
        open_store("oci:", StoreOptions(ca_file=str(path)))
