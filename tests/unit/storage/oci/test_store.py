"""The registry store against a registry in memory: the exact documents, the requests, what is skipped."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from aiohttp import web

from storage.base import FORM_A, FORM_B, Store, StoreOptions
from storage.errors import StoreRejected
from storage.oci import tag_writer
from storage.open import open_store
from storage.record import Findings, Origin, Record, Stored, Subject
from tests.unit.storage import records
from tests.unit.storage.fake_registry import FakeRegistry, digest_of, serving

EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


def run(work: Callable[[FakeRegistry], Awaitable[None]], **settings: bool) -> FakeRegistry:
    async def go() -> FakeRegistry:
        async with serving(**settings) as registry:
            await work(registry)
            return registry

    return asyncio.run(go())


def image_in(registry: FakeRegistry, name: str = "team/app") -> Subject:
    return Subject(f"{registry.host}/{name}", {"sha256": registry.push_image(name).removeprefix("sha256:")})


async def put(store: Store, *several: Record) -> list[Stored]:
    return await asyncio.gather(*(store.put(record) for record in several))


def test_an_attestation_tag_is_what_cosign_writes() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        record = records.attestation(image, certificate=b"CERT", chain=b"CHAIN")
        async with open_store("oci:", StoreOptions(encoding_format=FORM_A)) as store:
            (stored,) = await put(store, record)
        (receipt,) = stored.receipts
        tag = f"sha256-{image.digest['sha256']}.att"
        media_type, data = registry.manifests["team/app", tag]
        manifest = json.loads(data)
        assert media_type == manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
        (layer,) = manifest["layers"]
        assert layer == {
            "mediaType": "application/vnd.dsse.envelope.v1+json",
            "digest": digest_of(record.envelope),
            "size": len(record.envelope),
            "annotations": {
                "dev.cosignproject.cosign/signature": "",
                "predicateType": records.PROVENANCE,
                "dev.sigstore.cosign/certificate": "CERT",
                "dev.sigstore.cosign/chain": "CHAIN",
            },
        }
        config = json.loads(registry.blobs["team/app", manifest["config"]["digest"]])
        assert manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json"
        assert config["rootfs"] == {"type": "layers", "diff_ids": [layer["digest"]]}
        assert (receipt.form, receipt.changed, receipt.digest) == ("att", True, digest_of(data))
        assert receipt.location == f"{registry.host}/team/app:{tag}"

    run(work)


def test_a_signature_tag_is_what_cosign_writes() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        record = records.image_signature(image)
        async with open_store("oci:", StoreOptions(encoding_format=FORM_A)) as store:
            await put(store, record)
        _, data = registry.manifests["team/app", f"sha256-{image.digest['sha256']}.sig"]
        (layer,) = json.loads(data)["layers"]
        assert layer == {
            "mediaType": "application/vnd.dev.cosign.simplesigning.v1+json",
            "digest": digest_of(record.payload),
            "size": len(record.payload),
            "annotations": {
                "dev.cosignproject.cosign/signature": base64.b64encode(record.signature).decode()
            },
        }

    run(work)


def test_a_bundle_is_a_referrer_of_its_image() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        record = records.attestation(image)
        async with open_store("oci:", StoreOptions(encoding_format=FORM_B)) as store:
            (stored,) = await put(store, record)
        (receipt,) = stored.receipts
        kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
        subject = f"sha256:{image.digest['sha256']}"
        manifest = json.loads(registry.manifests["team/app", receipt.digest][1])
        assert manifest == {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": kind,
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": EMPTY, "size": 2},
            "layers": [{"mediaType": kind, "digest": digest_of(record.bundle), "size": len(record.bundle)}],
            "subject": {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": subject,
                "size": len(registry.manifests["team/app", subject][1]),
            },
            "annotations": {
                "dev.sigstore.bundle.content": "dsse-envelope",
                "dev.sigstore.bundle.predicateType": records.PROVENANCE,
                "org.opencontainers.image.created": records.ENDED,
            },
        }
        assert receipt.form == "referrer"

    run(work)


def test_one_run_costs_twenty_seven_requests_and_its_repetition_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        tag_writer, "SHORTEST_WATCH", tag_writer.SHORTEST_PAUSE
    )  # when the second look comes is chance

    async def work(registry: FakeRegistry) -> None:
        async with open_store("oci:") as store:
            await put(store, *records.records_of_run(image_in(registry)))  # learns about the registry
            other = Subject(f"{registry.host}/team/app", {"sha256": registry.push_image("team/app", "2")[7:]})
            registry.seen.clear()
            stored = await put(store, *records.records_of_run(other, 2))
            assert all(len(one.receipts) == 2 and not one.failures for one in stored)
            assert len(registry.seen) == 27, registry.seen
            assert registry.count(f"HEAD .*manifests/sha256:{other.digest['sha256']}$") == 1
            assert registry.count("PUT .*[.]att$") == 1, "both attestations go in one write"
            registry.seen.clear()
            again = await put(store, *records.records_of_run(other, 2))
            assert not any(receipt.changed for one in again for receipt in one.receipts)
            assert registry.count("PUT") == 0
            assert len(registry.seen) <= 10, registry.seen

    run(work)


def test_without_the_referrers_api_the_index_tag_lists_the_bundles() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        async with open_store("oci:", StoreOptions(encoding_format=FORM_B)) as store:
            first = await put(store, *records.records_of_run(image))
            again = await put(store, *records.records_of_run(image))
            await put(store, *records.records_of_run(image, 2))
        digests = [one.receipts[0].digest for one in first]
        media_type, data = registry.manifests["team/app", f"sha256-{image.digest['sha256']}"]
        index = json.loads(data)
        assert media_type == index["mediaType"] == "application/vnd.oci.image.index.v1+json"
        assert set(digests) <= {entry["digest"] for entry in index["manifests"]}
        assert len(index["manifests"]) == 5, "both runs signed the image, with equal bytes"
        assert {entry["artifactType"] for entry in index["manifests"]} == {
            "application/vnd.dev.sigstore.bundle.v0.3+json"
        }
        assert not any(receipt.changed for one in again for receipt in one.receipts)
        assert registry.count("GET .*/referrers/") == 1, "asked once"

    run(work, referrers=False)


def test_a_repository_that_says_oci_subject_is_looked_at_once_and_then_believed() -> None:
    async def work(registry: FakeRegistry) -> None:
        async with open_store("oci:") as store:
            await put(store, *records.records_of_run(image_in(registry)))
            await put(store, *records.records_of_run(image_in(registry), 2))
        assert registry.count("GET .*/referrers/") == 1

    run(work, tells_subject=True)


def test_an_absent_image_fails_the_bundle_and_not_the_tag() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = records.subject(f"{registry.host}/team/app")
        async with open_store("oci:") as store:
            (stored,) = await put(store, records.attestation(image))
        assert [receipt.form for receipt in stored.receipts] == ["att"]
        (failure,) = stored.failures
        assert (failure.form, failure.transient) == ("referrer", False)
        assert f"does not have sha256:{image.digest['sha256']}" in failure.reason

    run(work)


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (Subject("pkg:maven/org.example/app", {"sha256": "a" * 64}), "names no image"),
        (Subject("com.example:app:1.0.jar", {"sha256": "a" * 64}), "names no registry"),
        (Subject("taskrun/default/build", {"sha256": "a" * 64}), "names no registry"),
        (
            Subject("git+https://github.com/example/app.git", {"sha1": "a" * 40}),
            "no sha256 digest (has sha1)",
        ),
        (Subject("registry.example/Team/App", {"sha256": "a" * 64}), "not a repository name"),
        (Subject("registry.example/app", {"sha256": "xyz"}), "no sha256 digest"),
        (Subject("registry.example/app", {}), "no sha256 digest (has none)"),
        (Subject(f"registry.example/app@sha256:{'b' * 64}", {"sha256": "a" * 64}), "another digest"),
        (Subject("ünïcode/😀", {"sha256": "a" * 64}), "names no registry"),
    ],
)
def test_what_is_no_image_is_skipped_with_a_reason_beside_the_image(odd: Subject, reason: str) -> None:
    async def work(registry: FakeRegistry) -> None:
        async with open_store("oci:") as store:
            (stored,) = await put(store, records.attestation(image_in(registry), odd))
        assert sorted(receipt.form for receipt in stored.receipts) == ["att", "referrer"]
        assert not stored.failures
        (skipped,) = stored.skipped
        assert reason in skipped.reason

    run(work)


def test_a_subject_named_twice_is_stored_once() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        again = Subject(f"oci://{image.name}:latest", image.digest)
        async with open_store("oci:") as store:
            (stored,) = await put(store, records.attestation(image, again))
        assert len(stored.receipts) == 2
        assert not stored.skipped

    run(work)


def test_the_tag_repository_of_chains_takes_the_tags_and_leaves_the_bundles() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        options = StoreOptions(repository=f"{registry.host}/signatures")
        async with open_store("oci:", options) as store:
            (stored,) = await put(store, records.attestation(image))
            digest = f"sha256:{image.digest['sha256']}"
            found = await store.find(digest, image.name)
            only_tags = await store.find(digest)
        locations = {receipt.form: receipt.location for receipt in stored.receipts}
        assert locations["att"].startswith(f"{registry.host}/signatures:sha256-")
        assert locations["referrer"].startswith(f"{registry.host}/team/app@sha256:")
        assert sorted(item.source for item in found.evidence) == ["oci-att", "oci-referrer"]
        assert [item.source for item in only_tags.evidence] == ["oci-att"]

    run(work)


def test_a_template_gathers_both_forms_by_namespace_and_finds_them_again() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        record = records.attestation(image)
        origin = record.origin
        digest = f"sha256:{image.digest['sha256']}"
        gathered = f"{registry.host}/evidence/{origin.namespace}/{origin.kind}"
        template = f"{registry.host}/evidence/{{namespace}}/{{kind}}"
        options = StoreOptions(repository=template, bundles_in_repository=True)
        async with open_store("oci:", options) as store:
            (stored,) = await put(store, record)
            (again,) = await put(store, record)
            by_run = await store.within(origin).find(digest, image.name)
            by_namespace = await store.within(Origin("", origin.namespace, "", "")).find(digest)
            elsewhere = await store.within(Origin("", "other", "", "")).find(digest, image.name)
            with pytest.raises(StoreRejected, match="depends on the run's namespace: pass --namespace"):
                await store.find(digest, image.name)
        assert not stored.failures
        assert {receipt.form for receipt in stored.receipts} == {"att", "referrer"}
        assert all(receipt.location.startswith(gathered) for receipt in stored.receipts)
        assert not any(receipt.changed for receipt in again.receipts)
        assert sorted(item.source for item in by_run.evidence) == ["oci-att", "oci-referrer"]
        assert by_namespace == by_run
        assert elsewhere == Findings()
        assert not registry.count("(PUT|POST) /v2/team/app/"), "nothing is written beside the image"

    run(work)
    run(work, referrers=False)


def test_a_template_takes_the_tags_alone_unless_told_otherwise() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        record = records.attestation(image)
        options = StoreOptions(repository=f"{registry.host}/evidence/{{namespace}}")
        async with open_store("oci:", options) as store:
            (stored,) = await put(store, record)
            found = await store.within(record.origin).find(f"sha256:{image.digest['sha256']}", image.name)
        locations = {receipt.form: receipt.location for receipt in stored.receipts}
        assert locations["att"].startswith(f"{registry.host}/evidence/{record.origin.namespace}:sha256-")
        assert locations["referrer"].startswith(f"{registry.host}/team/app@sha256:")
        assert sorted(item.source for item in found.evidence) == ["oci-att", "oci-referrer"]

    run(work)


@pytest.mark.parametrize("namespace", ["", "../team", "a/b", "UPPER", "a..b", "n" * 250])
def test_a_namespace_that_names_no_repository_is_a_stated_failure(namespace: str) -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        record = replace(records.attestation(image), origin=Origin("taskrun", namespace, "run", "uid"))
        options = StoreOptions(repository=f"{registry.host}/evidence/{{namespace}}")
        async with open_store("oci:", options) as store:
            (stored,) = await put(store, record)
        assert not stored.receipts
        (failure,) = stored.failures
        assert not failure.transient
        assert "repository" in failure.reason
        assert not registry.count("PUT|POST")

    run(work)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("reg.example/{team}", "unknown placeholder {team}, known are {namespace}, {kind}, {name}"),
        ("reg.example/{}", "unknown placeholder"),
        ("reg.example/{{namespace}}", "is not a repository name"),
        ("reg.example/{namespace", "is not a repository name"),
        ("{namespace}.example/evidence", "the registry is fixed"),
        ("reg.example/{namespace}-{name}", "two placeholders in one component"),
        ("reg.example/evidence:{namespace}", "without tag or digest"),
    ],
)
def test_a_template_that_cannot_be_meant_is_refused_at_once(text: str, words: str) -> None:
    with pytest.raises(StoreRejected, match=re.escape(words)):
        open_store("oci:", StoreOptions(repository=text))


def test_one_repository_for_everything_takes_what_is_no_image_too() -> None:
    async def work(registry: FakeRegistry) -> None:
        nothing = Subject("taskrun/default/build", {"sha256": "c" * 64})
        async with open_store(f"oci://{registry.host}/all") as store:
            (stored,) = await put(store, records.attestation(nothing))
            found = await store.find("sha256:" + "c" * 64)
        assert [receipt.location for receipt in stored.receipts] == [
            f"{registry.host}/all:sha256-{'c' * 64}.att"
        ]
        assert [(one.form, one.subject) for one in stored.skipped] == [("referrer", "sha256:" + "c" * 64)]
        assert [item.source for item in found.evidence] == ["oci-att"]

    run(work)


def test_what_others_have_in_the_tag_stays_as_it_is() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        theirs = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": EMPTY, "size": 2},
            "layers": [{"mediaType": "text/plain", "digest": EMPTY, "size": 2, "strange": [1, {"x": None}]}],
            "annotations": {"made": "elsewhere"},
        }
        registry.push_blob("team/app", b"{}")
        tag = f"sha256-{image.digest['sha256']}.att"
        registry.push_manifest("team/app", json.dumps(theirs).encode(), tag)
        async with open_store("oci:") as store:
            await put(store, records.attestation(image))
        now = json.loads(registry.manifests["team/app", tag][1])
        assert now["layers"][0] == theirs["layers"][0]
        assert now["annotations"] == theirs["annotations"]
        assert len(now["layers"]) == 2

    run(work)


def test_a_tag_that_holds_something_else_is_left_alone() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        tag = f"sha256-{image.digest['sha256']}.att"
        index = b'{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}'
        registry.push_manifest("team/app", index, tag)
        async with open_store("oci:", StoreOptions(encoding_format=FORM_A)) as store:
            (stored,) = await put(store, records.attestation(image))
        assert registry.manifests["team/app", tag][1] == index
        assert "left alone" in stored.failures[0].reason

    run(work)


def test_a_full_tag_is_a_failure_that_says_so() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        layer = {"mediaType": "text/plain", "digest": registry.push_blob("team/app", b"{}"), "size": 2}
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": EMPTY, "size": 2}
        full = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [layer] * 1000}
        tag = f"sha256-{image.digest['sha256']}.att"
        registry.push_manifest("team/app", json.dumps(full | {"config": config}).encode(), tag)
        async with open_store("oci:", StoreOptions(encoding_format=FORM_A)) as store:
            (stored,) = await put(store, records.attestation(image))
        assert "is full: 1000 entries" in stored.failures[0].reason
        assert not stored.failures[0].transient

    run(work)


def test_two_signatures_over_the_same_payload_are_both_kept() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        ours = records.image_signature(image)
        theirs = Record(
            **{name: getattr(ours, name) for name in ours.__dataclass_fields__} | {"signature": b"another"}
        )
        async with open_store("oci:", StoreOptions(encoding_format=FORM_A)) as store:
            await put(store, ours)
            (stored,) = await put(store, theirs)
            found = await store.find(f"sha256:{image.digest['sha256']}", image.name)
        assert stored.receipts[0].changed
        assert {item.signature for item in found.evidence} == {ours.signature, b"another"}

    run(work)


def test_a_collected_empty_blob_is_uploaded_again() -> None:
    async def work(registry: FakeRegistry) -> None:
        async with open_store("oci:", StoreOptions(encoding_format=FORM_B)) as store:
            await put(store, records.attestation(image_in(registry)))
            del registry.blobs["team/app", EMPTY]
            other = Subject(f"{registry.host}/team/app", {"sha256": registry.push_image("team/app", "2")[7:]})
            (stored,) = await put(store, records.attestation(other))
        assert stored.receipts
        assert not stored.failures

    run(work)


def test_a_registry_that_tells_no_digest_is_asked_for_the_bytes() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        async with open_store("oci:") as store:
            stored = await put(store, *records.records_of_run(image))
        assert all(len(one.receipts) == 2 for one in stored)

    run(work, tells_digest=False)


def test_a_subject_whose_type_the_header_hides_is_read_for_it() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        digest = f"sha256:{image.digest['sha256']}"
        data = registry.manifests["team/app", digest][1]
        registry.push_manifest("team/app", data, media_type="application/json")
        async with open_store("oci:", StoreOptions(encoding_format=FORM_B)) as store:
            (stored,) = await put(store, records.attestation(image))
        manifest = json.loads(registry.manifests["team/app", stored.receipts[0].digest][1])
        assert manifest["subject"]["mediaType"] == "application/vnd.oci.image.manifest.v1+json"

    run(work)


def test_single_post_is_tried_once_and_given_up() -> None:
    async def work(registry: FakeRegistry) -> None:
        async with open_store("oci:") as store:
            await put(store, *records.records_of_run(image_in(registry)))
            assert registry.count("PUT .*blobs/uploads/1[?]state=s%3D1&digest=") > 3
            assert registry.count("POST .*digest=") > 0
            registry.seen.clear()
            await put(store, *records.records_of_run(image_in(registry), 2))
            assert registry.count("POST .*digest=") == 0

    run(work, single_post=False)


def test_an_etag_guards_the_write_and_a_moved_tag_is_read_again() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        stores = [open_store("oci:", StoreOptions(encoding_format=FORM_A)) for _ in range(4)]
        for number in range(3):
            written = [
                store.put(records.attestation(image, run=records.origin(number * 10 + index)))
                for index, store in enumerate(stores)
            ]
            assert all(stored.receipts for stored in await asyncio.gather(*written))
        for store in stores:
            await store.close()
        tag = f"sha256-{image.digest['sha256']}.att"
        assert len(json.loads(registry.manifests["team/app", tag][1])["layers"]) == 12
        assert any("If-Match" in headers for headers in registry.headers)

    run(work, etags=True)


def test_records_that_lack_what_a_form_needs_fail_in_that_form() -> None:
    async def work(registry: FakeRegistry) -> None:
        image = image_in(registry)
        whole = records.attestation(image)
        lacking = Record(whole.origin, whole.subjects, whole.payload, whole.payload_type, "x", bundle=b"")
        async with open_store("oci:") as store:
            (stored,) = await put(store, lacking)
        assert not stored.receipts
        assert {failure.form: failure.reason for failure in stored.failures} == {
            "att": "the record has no envelope",
            "referrer": "the record has no bundle",
        }

    run(work)


def test_a_record_without_subjects_is_neither_stored_nor_failed() -> None:
    async def work(registry: FakeRegistry) -> None:
        async with open_store("oci:") as store:
            (stored,) = await put(store, records.attestation())
        assert stored == Stored()
        assert not registry.seen

    run(work)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("oci:registry.example/app", "unknown store 'oci:registry.example/app': expected oci: or oci://REGISTRY/REPOSITORY"),
        ("oci://", "'' names no registry: an image is written registry/repository"),
        ("oci://app", "'app' names no registry: an image is written registry/repository"),
        ("oci://r.example/App", "'r.example/App' is not an image reference: 'App' is not a repository name"),
    ],
)  # fmt: skip
def test_urls_that_mean_nothing_are_rejected(url: str, reason: str) -> None:
    with pytest.raises(StoreRejected, match=f"^{re.escape(reason)}"):
        open_store(url)


def test_an_unknown_encoding_format_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(StoreRejected, match="expected one of dsse, sigstore-bundle, both"):
        open_store("oci:", StoreOptions(encoding_format="x"))


def test_finding_needs_a_repository_and_a_digest() -> None:
    async def go() -> None:
        async with open_store("oci:") as store:
            with pytest.raises(StoreRejected, match="name its registry/repository"):
                await store.find("sha256:" + "a" * 64)
            with pytest.raises(StoreRejected, match="expected sha256"):
                await store.find("latest", "registry.example/app")

    asyncio.run(go())


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
def test_a_registry_that_takes_and_forgets_gives_no_receipt(kind: str) -> None:
    async def work(registry: FakeRegistry) -> None:
        async def forget(request: web.Request) -> web.StreamResponse | None:
            if (
                request.method in {"HEAD", "GET"}
                and f"/{kind}/" in request.path
                and request.path.rpartition("/")[2] not in images
            ):
                return web.Response(status=404)
            return None

        image = image_in(registry)
        images = {f"sha256:{image.digest['sha256']}"}
        registry.fault = forget
        async with open_store("oci:", StoreOptions(encoding_format=FORM_B)) as store:
            (stored,) = await put(store, records.attestation(image))
        assert not stored.receipts
        assert "and does not have it" in stored.failures[0].reason
        assert stored.failures[0].transient

    run(work)
