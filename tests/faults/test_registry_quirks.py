"""Real registries behind a proxy that throttles, refuses, lies and fails: told in words, and never believed."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Awaitable, Callable
from itertools import count

import pytest
from aiohttp import web

from chains.attest.stores import Stores
from storage.base import FORM_A, StoreOptions
from storage.http_client import attempts
from storage.open import open_store
from storage.record import Findings, Stored, Subject
from tests.testbed.images import Registry
from tests.testbed.registry_proxy import Fault, RegistryProxy, nothing, registry_proxy
from tests.unit.storage import records
from tests.unit.storage.fake_registry import refused

pytestmark = pytest.mark.server

QUICK = StoreOptions(timeout=5, attempts=2)
_numbers = count(1)


@pytest.fixture(params=["referrers_registry", "plain_registry"])
def registry(request: pytest.FixtureRequest) -> Registry:
    found: Registry = request.getfixturevalue(request.param)
    return found


def against(registry: Registry, work: Callable[[RegistryProxy, Subject], Awaitable[None]]) -> None:
    """Run ``work`` with a proxy in front of ``registry``, and an image there."""

    async def go() -> None:
        name = f"quirks/app{next(_numbers)}"
        digest = await asyncio.to_thread(registry.push_image, name)
        async with registry_proxy(registry.url) as proxy:
            await work(proxy, Subject(f"{proxy.host}/{name}", {"sha256": digest[7:]}))

    asyncio.run(go())


async def put(subject: Subject, options: StoreOptions = QUICK) -> Stored:
    async with open_store("oci:", options) as store:
        return await store.put(records.attestation(subject))


async def find(subject: Subject, options: StoreOptions = QUICK) -> Findings:
    async with open_store("oci:", options) as store:
        return await store.find(f"sha256:{subject.digest['sha256']}", subject.name)


def on(method: str, part: str, answer: Callable[[], web.Response], times: int = 1000) -> Fault:
    """Answer so to the first ``times`` requests that match."""
    left = iter(range(times))

    async def fault(request: web.Request) -> web.StreamResponse | None:
        hit = request.method == method and part in request.path_qs
        return answer() if hit and next(left, None) is not None else None

    return fault


def forms(stored: Stored) -> list[str]:
    return sorted(receipt.form for receipt in stored.receipts)


@pytest.mark.parametrize("as_date", [False, True])
def test_a_rate_limit_is_waited_out_as_long_as_it_says(registry: Registry, as_date: bool) -> None:
    async def work(proxy: RegistryProxy, subject: Subject) -> None:
        def busy() -> web.Response:
            # a date has whole seconds: the next but one is one to two seconds away
            after = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else "1"
            return refused(429, "TOOMANYREQUESTS", **{"Retry-After": after})

        proxy.fault = on("PUT", "/manifests/", busy, times=1)
        begun = time.monotonic()
        stored = await put(subject)
        assert not stored.failures
        assert forms(stored) == ["att", "referrer"]
        assert 0.9 <= time.monotonic() - begun < 5

    against(registry, work)


@pytest.mark.parametrize("after", ["86400", "Fri, 31 Dec 2199 23:59:59 GMT"])
def test_a_rate_limit_without_end_is_a_failure_that_passes(
    registry: Registry, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LONGEST_WAIT", 0.1)

    async def work(proxy: RegistryProxy, subject: Subject) -> None:
        proxy.fault = on("PUT", ".att", lambda: refused(429, "TOOMANYREQUESTS", **{"Retry-After": after}))
        stored = await put(subject)
        assert forms(stored) == ["referrer"], "the other form is stored all the same"
        (failure,) = stored.failures
        assert failure.transient
        assert "answered 429 TOOMANYREQUESTS" in failure.reason
        assert "(2 tries)" in failure.reason
        proxy.fault = nothing
        again = await put(subject)
        assert not again.failures
        assert [receipt.form for receipt in again.receipts if receipt.changed] == ["att"]

    against(registry, work)


@pytest.mark.parametrize(
    ("status", "code"), [(400, "MANIFEST_INVALID"), (415, "UNSUPPORTED"), (404, "MANIFEST_UNKNOWN")]
)
def test_a_registry_that_takes_no_artifacts_still_takes_the_tags(
    registry: Registry, status: int, code: str
) -> None:
    async def work(proxy: RegistryProxy, subject: Subject) -> None:
        proxy.fault = on("PUT", "/manifests/sha256:", lambda: refused(status, code, "unknown media type"))
        stored = await put(subject)
        assert forms(stored) == ["att"]
        (failure,) = stored.failures
        assert (failure.form, failure.transient) == ("referrer", False)
        assert f"answered {status} {code}: unknown media type" in failure.reason
        assert "set storage.oci.encoding-format to dsse" in failure.reason
        alone = await put(subject, StoreOptions(encoding_format=FORM_A))
        assert not alone.failures
        assert {item.format for item in (await find(subject)).evidence} == {"dsse"}

    against(registry, work)


def test_a_registry_that_wants_the_image_beside_its_bundle_is_told_apart(registry: Registry) -> None:
    async def work(proxy: RegistryProxy, subject: Subject) -> None:
        options = StoreOptions(
            repository=f"{proxy.host}/quirks/gathered{next(_numbers)}/{{namespace}}",
            bundles_in_repository=True,
        )
        proxy.fault = on("PUT", "/manifests/sha256:", lambda: refused(404, "MANIFEST_UNKNOWN", "no subject"))
        stored = await put(subject, options)
        assert forms(stored) == ["att"]
        (failure,) = stored.failures
        assert not failure.transient
        assert "set storage.oci.bundles-in-repository to false" in failure.reason

    against(registry, work)


def test_a_registry_without_referrers_gets_an_index_instead(registry: Registry) -> None:
    async def work(proxy: RegistryProxy, subject: Subject) -> None:
        proxy.fault = on("GET", "/referrers/", lambda: refused(404, "NOT_FOUND"))
        stored = await put(subject)
        assert not stored.failures
        found = await find(subject)
        assert sorted(item.source for item in found.evidence) == ["oci-att", "oci-referrer"]
        assert not found.skipped

    against(registry, work)


def test_an_outage_in_the_middle_loses_nothing(registry: Registry) -> None:
    async def work(proxy: RegistryProxy, subject: Subject) -> None:
        left = iter(range(4))

        async def down_after_four(request: web.Request) -> web.StreamResponse | None:
            if next(left, None) is None:
                assert request.transport is not None
                request.transport.close()
                return web.Response(status=503)
            return None

        proxy.fault = down_after_four
        stored = await put(subject)
        assert stored.failures
        assert all(failure.transient for failure in stored.failures)
        proxy.fault = nothing
        again = await put(subject)
        assert not again.failures
        assert forms(again) == ["att", "referrer"]
        record = records.attestation(subject)
        found = await find(subject)
        assert {item.data for item in found.evidence} == {record.envelope, record.bundle}
        assert len(found.evidence) == 2

    against(registry, work)


def test_wrong_bytes_are_detected_and_never_given_back(registry: Registry) -> None:
    async def work(proxy: RegistryProxy, subject: Subject) -> None:
        assert not (await put(subject)).failures
        proxy.change = lambda request, body: body[:-1] + b"!" if "/blobs/" in request.path and body else body
        found = await find(subject)
        assert not found.evidence
        assert len(found.skipped) == 2
        assert all("expected digest sha256:" in item.reason for item in found.skipped)

    against(registry, work)


def test_no_permission_is_said_in_words(registry: Registry) -> None:
    async def work(proxy: RegistryProxy, subject: Subject) -> None:
        proxy.fault = on("PUT", "/manifests/", lambda: refused(403, "DENIED", "not you"))
        stored = await put(subject)
        assert not stored.receipts
        for failure in stored.failures:
            assert not failure.transient
            assert "answered 403 DENIED: not you" in failure.reason
            assert f"they must be allowed to push to {subject.name}" in failure.reason

    against(registry, work)


def test_one_store_that_fails_blocks_no_other_and_is_retried_alone(
    referrers_registry: Registry, plain_registry: Registry
) -> None:
    """The retry leaves no new manifest and no new blob in the store that has everything."""

    async def work(good: RegistryProxy, image: Subject) -> None:
        name = image.name.removeprefix(f"{good.host}/")
        async with registry_proxy(plain_registry.url) as bad:
            both = Stores(
                {
                    "one": [open_store(f"oci://{good.host}/{name}", QUICK)],
                    "other": [open_store(f"oci://{bad.host}/{name}-copies", QUICK)],
                }
            )
            digest = await asyncio.to_thread(
                plain_registry.push_image, f"{name}-copies", content=name.encode()
            )
            assert digest == f"sha256:{image.digest['sha256']}"
            record = records.attestation(image)
            bad.fault = on_any(lambda: refused(503, "UNAVAILABLE"))
            first = await both.put("provenance", record, ["one", "other"])
            assert {entry.state for entry in first if good.host in entry.store} == {"stored"}
            assert {entry.state for entry in first if bad.host in entry.store} == {"failed"}
            assert all(entry.transient for entry in first if entry.state == "failed")
            bad.fault = nothing
            sent = set(good.seen)
            good.seen.clear()
            second = await both.put("provenance", record, ["one", "other"])
            assert {entry.state for entry in second if good.host in entry.store} == {"unchanged"}
            assert {entry.state for entry in second if bad.host in entry.store} == {"stored"}
            # the tag's blobs go up while the tag is read, for speed; no manifest is written
            again = {line for line in good.seen if not line.startswith(("GET ", "HEAD "))}
            assert again <= sent, "nothing goes there that it does not have"
            assert not any("/manifests/" in line for line in again)
            await both.close()

    against(referrers_registry, work)


def on_any(answer: Callable[[], web.Response]) -> Fault:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        return None if request.path == "/v2/" else answer()

    return fault
