"""Images that are pushed after their run has ended: a registry in memory, the real store and the flow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chains.attest.earlier import Earlier
from chains.attest.flow import Flow
from chains.attest.stores import Stores
from chains.config.parse import parse_config
from chains.tekton.snapshot import take_snapshot
from signers.base import Signer
from signers.keys.keyfile import generate_key, open_keyfile, write_key_pair
from signers.sealer import Sealer
from storage.base import StoreOptions
from storage.oci import tag_writer
from storage.open import open_store
from storage.record import Subject
from tests.unit.chains.late_images import CONFIG, DIGEST, Messages, build, push, serve
from tests.unit.storage import records
from tests.unit.storage.fake_registry import FakeRegistry, digest_of, refused

Json = Any


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tag is looked at again a moment after it was written, among requests that a test counts."""
    monkeypatch.setattr(tag_writer, "SHORTEST_WATCH", tag_writer.SHORTEST_PAUSE)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    path = tmp_path_factory.mktemp("key") / "signing.key"
    write_key_pair(path, generate_key())
    return open_keyfile(str(path))


@pytest.mark.parametrize(
    ("status", "code", "absence"),
    [(404, "NAME_UNKNOWN", "certain"), (403, "DENIED", "possible"), (401, "UNAUTHORIZED", "possible"),
     (400, "BAD", ""), (404, "UNSUPPORTED", "")],
)  # fmt: skip
@pytest.mark.parametrize("form", ["dsse", "sigstore-bundle"])
def test_a_refusal_may_mean_that_there_is_no_such_repository_yet(
    status: int, code: str, absence: str, form: str
) -> None:
    """``HEAD`` has no body, so that its 404 says the same of a repository as of an image."""

    async def work(registry: FakeRegistry) -> None:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            return None if request.path == "/v2/" else refused(status, code)

        registry.fault = fault
        record = records.attestation(Subject(f"{registry.host}/team/app", {"sha256": DIGEST[7:]}))
        async with open_store("oci:", StoreOptions(encoding_format=form, attempts=1)) as store:
            (failure,) = (await store.put(record)).failures
        expected = "certain" if form == "sigstore-bundle" and status == 404 else absence
        assert (failure.absence, failure.transient) == (expected, False)

    serve(work)


def test_a_refusal_beside_an_image_that_is_there_is_about_permission() -> None:
    async def work(registry: FakeRegistry) -> None:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            return refused(403, "DENIED") if request.method in {"POST", "PUT"} else None

        push(registry)
        registry.fault = fault
        record = records.attestation(Subject(f"{registry.host}/team/app", {"sha256": DIGEST[7:]}))
        async with open_store("oci:", StoreOptions(attempts=1)) as store:
            failures = (await store.put(record)).failures
        assert [(one.form, one.absence) for one in failures] == [("att", ""), ("referrer", "")]

    serve(work)


def test_another_repository_for_evidence_that_does_not_exist_is_not_waited_for() -> None:
    async def work(registry: FakeRegistry) -> None:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            return refused(404, "NAME_UNKNOWN") if "/evidence/" in request.path else None

        push(registry)
        registry.fault = fault
        record = records.attestation(Subject(f"{registry.host}/team/app", {"sha256": DIGEST[7:]}))
        options = StoreOptions(repository=f"{registry.host}/evidence", encoding_format="dsse", attempts=1)
        async with open_store("oci:", options) as store:
            (failure,) = (await store.put(record)).failures
        assert failure.absence == ""

    serve(work)


def test_a_repository_that_does_not_exist_teaches_nothing_about_how_a_registry_takes_uploads() -> None:
    async def work(registry: FakeRegistry) -> None:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            return refused(404, "NAME_UNKNOWN") if "/gone/" in request.path else None

        push(registry)
        registry.fault = fault
        async with open_store("oci:", StoreOptions(encoding_format="dsse", attempts=1)) as store:
            await store.put(records.attestation(Subject(f"{registry.host}/gone/app", {"sha256": DIGEST[7:]})))
            registry.seen.clear()
            await store.put(records.attestation(Subject(f"{registry.host}/team/app", {"sha256": DIGEST[7:]})))
        assert registry.count("POST .*digest=") == registry.count("POST")

    serve(work)


def test_a_store_lacks_an_image_until_it_is_there() -> None:
    async def work(registry: FakeRegistry) -> None:
        name = f"{registry.host}/team/app"
        for form, expected in (("both", True), ("sigstore-bundle", True), ("dsse", False)):
            async with open_store("oci:", StoreOptions(encoding_format=form)) as store:
                assert await store.lacks(DIGEST, name) is expected
                assert await store.lacks(DIGEST, "taskrun/ns/build") is False
        push(registry)
        async with open_store("oci:") as store:
            assert await store.lacks(DIGEST, name) is False

    serve(work)


@dataclass
class Attempts:
    """Tries one run again and again as the controller does."""

    stores: Stores
    signer: Signer
    config: Mapping[str, str] = field(default_factory=lambda: CONFIG)
    earlier: Earlier = field(default_factory=dict)

    async def __call__(self, raw: Json, *, waits: bool = True) -> Any:
        config = parse_config(self.config)
        flow = Flow(config, self.signer, self.stores)
        found = await flow.attest(take_snapshot(raw), earlier=self.earlier, waits=waits)
        self.earlier = found.earlier
        return found


def test_what_is_stored_while_the_image_is_absent_is_not_stored_again_when_it_comes(signer: Signer) -> None:
    async def work(registry: FakeRegistry) -> None:
        topic = Messages()
        async with open_store("oci:") as store:
            attempt = Attempts(Stores({Stores.EVERYTHING: [store, topic]}), signer)
            raw = build(registry.host)
            first = await attempt(raw)
            assert (first.state, first.absence) == ("failed", "certain")
            assert first.reason.startswith(
                f"provenance in oci:: {registry.host}/team/app does not have {DIGEST}"
            )
            assert {entry.form for entry in first.entries if entry.absence} == {"referrer"}
            assert [entry.form for entry in first.entries if entry.is_received].count("att") == 2
            assert len(topic.records) == 3

            registry.seen.clear()
            again = await attempt(raw)
            assert again.entries == first.entries
            assert set(registry.seen) == {f"HEAD /v2/team/app/manifests/{DIGEST}"}, "a look costs no more"

            push(registry)
            registry.seen.clear()
            last = await attempt(raw)
            assert last.state == "signed"
            assert registry.count(r"[.](att|sig)") == 0
            assert len(topic.records) == 3, "each message was sent once"
            states = {entry.form: entry.state for entry in last.entries}
            assert states == {"att": "stored", "sig": "stored", "referrer": "stored", "message": "stored"}
            for envelope in (record.envelope for record in topic.records[:2]):
                assert registry.blobs["team/app", digest_of(envelope)] == envelope

    serve(work)


def test_what_is_signed_by_a_service_is_signed_once_for_both_forms(tmp_path: Path, signer: Signer) -> None:
    class Remote(Signer):
        remote, deterministic = True, False

        def __init__(self) -> None:
            self._key = open_keyfile(str(key)).randomized()
            self.keyid, self.public_pem, self.signed = self._key.keyid, self._key.public_pem, 0

        def sign(self, data: bytes) -> bytes:
            self.signed += 1
            return self._key.sign(data)

    key = tmp_path / "signing.key"
    write_key_pair(key, generate_key())
    remote = Remote()
    sealer = Sealer(remote)

    async def work(registry: FakeRegistry) -> None:
        async with open_store("oci:") as store:
            attempt = Attempts(Stores({Stores.EVERYTHING: [store]}), sealer)  # type: ignore[arg-type]
            raw = build(registry.host)
            await attempt(raw)
            signed = remote.signed
            assert signed == 4
            registry.seen.clear()
            await attempt(raw)
            assert set(registry.seen) == {f"HEAD /v2/team/app/manifests/{DIGEST}"}
            push(registry)
            assert (await attempt(raw)).state == "signed"
            assert remote.signed == signed

    serve(work)
    sealer.close()


def test_a_store_that_is_away_beside_an_absent_image_is_tried_again_all_the_same(signer: Signer) -> None:
    async def work(registry: FakeRegistry) -> None:
        topic = Messages()
        topic.fails = True
        async with open_store("oci:") as store:
            attempt = Attempts(Stores({Stores.EVERYTHING: [store, topic]}), signer)
            first = await attempt(build(registry.host))
            assert any(entry.transient for entry in first.entries)
            topic.fails = False
            second = await attempt(build(registry.host))
        assert len(topic.records) == 3
        assert not any(entry.transient for entry in second.entries)
        assert second.absence == "certain"

    serve(work)


def test_two_images_come_one_after_the_other_and_each_is_attested_when_it_is_there(signer: Signer) -> None:
    async def work(registry: FakeRegistry) -> None:
        raw = build(registry.host)
        other = json.dumps({"mediaType": "application/vnd.oci.image.manifest.v1+json"}).encode()
        raw["status"]["results"] += [
            {"name": "other-IMAGE_URL", "type": "string", "value": f"{registry.host}/team/other"},
            {"name": "other-IMAGE_DIGEST", "type": "string", "value": digest_of(other)},
        ]
        async with open_store("oci:") as store:
            attempt = Attempts(Stores({Stores.EVERYTHING: [store]}), signer)
            await attempt(raw)
            push(registry)
            second = await attempt(raw)
            assert {entry.subject for entry in second.entries if entry.absence} == {digest_of(other)}
            bundles = registry.count("PUT .*/team/app/manifests/sha256:")
            assert bundles == 3
            registry.push_manifest("team/other", other)
            assert (await attempt(raw)).state == "signed"
            assert registry.count("PUT .*/team/app/manifests/sha256:") == bundles

    serve(work)


def test_without_the_image_its_platforms_are_not_known_which_is_waited_for_and_then_told(
    signer: Signer,
) -> None:
    async def work(registry: FakeRegistry) -> None:
        config = CONFIG | {"storage.oci.attach-to-platforms": "true", "storage.oci.encoding-format": "dsse"}
        async with open_store("oci:", StoreOptions(encoding_format="dsse")) as store:
            attempt = Attempts(Stores({Stores.EVERYTHING: [store]}), signer, config)
            first = await attempt(build(registry.host))
            assert (first.state, first.absence, first.entries) == ("failed", "certain", ())
            last = await attempt(build(registry.host), waits=False)
            assert last.state == "failed"
            assert "so its platforms are not known" in last.reason
            assert [entry.form for entry in last.entries if entry.is_received] == ["att", "att", "sig"]
            push(registry)
            assert (await attempt(build(registry.host))).state == "signed"

    serve(work)
