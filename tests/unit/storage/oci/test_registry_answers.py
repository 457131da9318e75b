"""What answers of registries mean: a case for each row of the table in docs/registries.md, and none beside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.google.errors import answered
from storage.http_client.answer import Answer
from storage.http_client.meanings import is_busy
from storage.oci import tag_writer
from storage.oci.docker_config import Credential
from storage.oci.store import RegistryStore
from storage.open import open_store
from storage.record import Stored
from tests.testbed.clouds.archivista import Envelopes, archivista_endpoint
from tests.testbed.clouds.web import Answer as Served
from tests.unit.storage import records
from tests.unit.storage.fake_registry import FakeRegistry, Fault, index_response, refused, serving
from tests.unit.storage.oci.test_login import FAST, Several, image_in, user

DOCS = Path(__file__).parents[4] / "docs" / "registries.md"
ROBOT = user("robot")
BOTH = frozenset({"att", "referrer"})
EXEMPT = "exempt tags that begin with sha256-"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_writer, "SHORTEST_PAUSE", 0.002)
    monkeypatch.setattr(tag_writer, "SHORTEST_WATCH", 0.002)


Made = Callable[[FakeRegistry], Fault]


@dataclass(frozen=True)
class Row:
    registry: str
    request: str
    answer: str
    meaning: str
    source: str
    """``owner/name#number`` of an issue or pull request on GitHub, else a section of an RFC."""
    made: Made
    stored: frozenset[str] = frozenset()
    """The forms that get a receipt; the others fail."""
    transient: bool = False
    words: tuple[str, ...] = ()
    """In the reason of each failure."""
    settings: Mapping[str, bool] = field(default_factory=dict)
    credentials: tuple[Credential, ...] = (Credential("none"),)

    def __str__(self) -> str:
        return f"{self.registry}: {self.request}: {self.answer}"

    def line(self) -> str:
        name, _, number = self.source.partition("#")
        link = f"[{name}#{number}](https://github.com/{name}/issues/{number})" if number else self.source
        return f"| {self.registry} | {self.request} | {self.answer} | {self.meaning} | {link} |"


def on(method: str, part: str, answer: Callable[[], web.Response]) -> Made:
    def made(_: FakeRegistry) -> Fault:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            return answer() if request.method in method.split() and part in request.path_qs else None

        return fault

    return made


def absent(answer: Callable[[], web.Response], methods: str = "GET HEAD") -> Made:
    """Answer so to a look at a manifest that is not there."""

    def made(registry: FakeRegistry) -> Fault:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            _, kind, reference = request.path.rpartition("/manifests/")
            there = any(key[1] == reference for key in registry.manifests)
            return answer() if kind and not there and request.method in methods.split() else None

        return fault

    return made


def there_already(registry: FakeRegistry) -> Fault:
    """Refuse the last request of an upload, whose blob somebody else has brought."""

    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PUT" or "/blobs/" not in request.path:
            return None
        registry.push_blob("team/app", await request.read())
        return refused(400, "BLOB_UPLOAD_INVALID", "the blob cannot be updated")

    return fault


def null_realm(registry: FakeRegistry) -> Fault:
    async def fault(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == ROBOT.basic:
            return None
        answer = refused(401, "UNAUTHORIZED")
        answer.headers.add("WWW-Authenticate", 'Bearer realm="null://registry.example/v2/token"')
        answer.headers.add("WWW-Authenticate", 'Basic realm="nexus"')
        return answer

    return fault


def nothing(_: FakeRegistry) -> Fault:
    async def fault(_: web.Request) -> web.StreamResponse | None:
        return None

    return fault


def said(
    status: int, code: str, message: str, detail: object = None, **headers: str
) -> Callable[[], web.Response]:
    error = {"code": code, "message": message} | ({"detail": detail} if detail else {})
    return lambda: web.json_response({"errors": [error]}, status=status, headers=headers)


def plain(status: int, text: str) -> Callable[[], web.Response]:
    return lambda: web.Response(status=status, text=text)


TO_TAG, TO_DIGEST = "/manifests/sha256-", "/manifests/sha256:"
ROWS = [
    Row(
        "Harbor", "`PUT` of a tag", "412 `PRECONDITION`", "a rule (immutable tag): fails permanently, with the registry's message and the next step",
        "goharbor/harbor#17332", on("PUT", TO_TAG, said(412, "PRECONDITION", "configured as immutable")),
        frozenset({"referrer"}), words=("412 PRECONDITION: configured as immutable", "a rule of the registry", EXEMPT),
    ),
    Row(
        "Harbor", "`HEAD` of an image", "412, without a message", "a rule (vulnerable image): asked again with `GET` to get the message",
        "goharbor/harbor#15885", on("GET HEAD", TO_DIGEST, said(412, "PROJECTPOLICYVIOLATION", "the image is vulnerable")),
        frozenset({"att"}), words=("412 PROJECTPOLICYVIOLATION: the image is vulnerable",),
    ),
    Row(
        "Harbor", "upload", "403 `DENIED`, quota exceeded", "the project is full, not a rate limit: fails permanently",
        "goharbor/harbor#8802",
        on("POST PUT", "/blobs/uploads/", said(403, "DENIED", "Quota exceeded when processing the request of adding 1.3 MiB")),
        words=("403 DENIED: Quota exceeded when processing the request of adding 1.3 MiB",),
    ),
    Row(
        "GHCR", "`GET` of referrers", "404 `MANIFEST_UNKNOWN`", "no referrers API: the index under the tag lists bundles",
        "NVIDIA/aicr#1957", on("GET", "/referrers/", said(404, "MANIFEST_UNKNOWN", "manifest unknown")), BOTH,
    ),
    Row(
        "GHCR", "write", "403, secondary rate limit", "a rate limit: tried again later; the credentials are not at fault",
        "markrussinovich/refchecker#67",
        on("PUT", "/manifests/", lambda: web.json_response({"message": "You have exceeded a secondary rate limit"}, status=403)),
        transient=True, words=("403 You have exceeded a secondary rate limit",),
    ),
    Row(
        "GHCR", "`HEAD` of what is absent", "403", "absent, if what was just written can be read",
        "docker/build-push-action#981", absent(said(403, "DENIED", "requested access to the resource is denied")), BOTH,
    ),
    Row(
        "GHCR", "write", "403 `DENIED`, `write_package`", "the credentials may not push: fails permanently",
        "Opendray/opendray#55", on("PUT POST", "/", said(403, "DENIED", "permission_denied: write_package")),
        words=("403 DENIED: permission_denied: write_package", "must be allowed to push to"),
    ),
    Row(
        "ECR", "`PUT` of a tag", "400 `TAG_INVALID`", "a rule (immutable tag): fails permanently, with the registry's message and the next step",
        "JiRaska/open-bank-oss#8981", on("PUT", TO_TAG, said(400, "TAG_INVALID", "the tag is immutable")),
        frozenset({"referrer"}), words=("400 TAG_INVALID: the tag is immutable", "a rule of the registry", EXEMPT),
    ),
    Row(
        "ECR", "upload", "404 `NAME_UNKNOWN`", "the repository does not exist and is not created on push: fails with the next step",
        "plexsystems/sinker#55", on("POST PUT", "/", said(404, "NAME_UNKNOWN", "The repository does not exist in the registry")),
        words=("404 NAME_UNKNOWN: The repository does not exist in the registry", "create the repository"),
    ),
    Row(
        "ECR", "`HEAD` of a manifest", "400, without a message", "asked again with `GET`, which decides",
        "bazel-contrib/rules_oci#720", on("HEAD", "/manifests/", plain(400, "")), BOTH,
    ),
    Row(
        "GAR", "write", "403 `DENIED`, `uploadArtifacts`", "the credentials may not push, or the repository does not exist: fails permanently",
        "GoogleCloudPlatform/cymbal-superstore#4",
        on("PUT POST", "/", said(403, "DENIED", 'Permission "artifactregistry.repositories.uploadArtifacts" denied on resource')),
        words=("uploadArtifacts", "must be allowed to push to"),
    ),
    Row(
        "GAR", "`GET` of referrers", "404", "no referrers API: the index under the tag lists bundles",
        "actions/attest-build-provenance#80", on("GET", "/referrers/", plain(404, "")), BOTH,
    ),
    Row(
        "ACR", "write", "405 `REGISTRY_DISALLOWED_OPERATION`", "locked: fails permanently, with the next step",
        "Azure/azure-sdk-for-net#22827",
        on("PUT", "/manifests/", said(405, "REGISTRY_DISALLOWED_OPERATION", "The operation is disallowed on this registry, repository or image")),
        words=("405 REGISTRY_DISALLOWED_OPERATION: The operation is disallowed", "unlock it"),
    ),
    Row(
        "Quay", "`PUT` of a bundle", "201 without `OCI-Subject`, and an empty list", "the bundle is not listed: the index under the tag lists it",
        "opencontainers/distribution-spec#563", on("GET", "/referrers/", lambda: index_response([])), BOTH,
    ),
    Row(
        "Quay", "`PUT` of a bundle", "415 `MANIFEST_INVALID`", "this version accepts no artifacts: bundles fail permanently, tags are stored",
        "GoogleContainerTools/jib#698",
        on("PUT", TO_DIGEST, said(415, "MANIFEST_INVALID", "manifest invalid", {"message": "manifest schema version not supported"})),
        frozenset({"att"}),
        words=("manifest invalid (manifest schema version not supported)", "set storage.oci.encoding-format to dsse"),
    ),
    Row(
        "Artifactory", "`GET` of what is absent", "403 `UNAUTHORIZED`", "absent, if what was just written can be read",
        "sigstore/cosign#2973", absent(said(403, "UNAUTHORIZED", "The client does not have permission for manifest")), BOTH,
    ),
    Row(
        "Artifactory", "`PUT` of a tag", "400 `MANIFEST_INVALID`", "the tag may not be overwritten: fails permanently, with the registry's detail message",
        "sigstore/cosign#3758",
        on("PUT", TO_TAG, said(400, "MANIFEST_INVALID", "manifest invalid", {"description": "Could not locate artifact"})),
        frozenset({"referrer"}), words=("manifest invalid (Could not locate artifact)", EXEMPT),
    ),
    Row(
        "Nexus", "`PUT` of a tag", "400 `BLOB_UPLOAD_INVALID`", "redeployment is disabled: fails permanently, with the registry's message and the next step",
        "GoogleContainerTools/jib#3057",
        on("PUT", TO_TAG, said(400, "BLOB_UPLOAD_INVALID", "blob upload invalid", "Repository does not allow updating assets: docker")),
        frozenset({"referrer"}), words=("(Repository does not allow updating assets: docker)", EXEMPT),
    ),
    Row(
        "Nexus", "`PUT` of a blob", "400 `BLOB_UPLOAD_INVALID`, cannot be updated", "another client uploaded the blob: it is there",
        "sonatype/nexus-public#967", there_already, BOTH, settings={"single_post": False},
    ),
    Row(
        "Nexus", "`POST` of a whole blob", "400, method not supported", "uploaded with `POST` and `PUT`",
        "docker/buildx#457", on("POST", "digest=", plain(400, "HTTP method POST is not supported by this URL")), BOTH,
        settings={"single_post": False},
    ),
    Row(
        "Nexus", "`HEAD` of a manifest", "405", "asked with `GET`; later requests use `GET` directly",
        "merll/docker-registry-util#3", on("HEAD", "/", plain(405, "")), BOTH,
    ),
    Row(
        "Nexus", "`HEAD` of what is there", "404", "asked again with `GET`, which decides",
        "merll/docker-registry-util#3", on("HEAD", "/", plain(404, "")), BOTH,
    ),
    Row(
        "Nexus", "challenge", "a realm `null://…` and `Basic`", "the scheme that is supported is used",
        "sonatype/nexus-public#580", null_realm, BOTH, credentials=(ROBOT,),
    ),
    Row(
        "Docker Hub", "any", "429, `Too Many Requests (HAP429)` as text", "a rate limit: tried again later, with the registry's message",
        "docker/hub-feedback#1907", on("PUT", "/manifests/", plain(429, "Too Many Requests (HAP429).\n")),
        transient=True, words=("429 Too Many Requests (HAP429).",),
    ),
    Row(
        "Docker Hub", "any", "429 `TOOMANYREQUESTS`", "a rate limit: tried again later, with the registry's message",
        "docker/hub-feedback#2429", on("PUT", "/manifests/", said(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.")),
        transient=True, words=("429 TOOMANYREQUESTS: You have reached your pull rate limit.",),
    ),
    Row(
        "zot", "`PUT` of a bundle", "201 with `OCI-Subject`", "the list is read once and trusted afterwards",
        "project-zot/zot#1410", nothing, BOTH, settings={"tells_subject": True},
    ),
    Row(
        "zot", "`PUT` of a bundle", "500", "transient: tried again later",
        "project-zot/zot#1424", on("PUT", TO_DIGEST, plain(500, "")), frozenset({"att"}), transient=True, words=("answered 500",),
    ),
    Row(
        "GitLab", "`GET` of the tag `sha256-HEX`", "the image itself; no referrers API", "bundles could not be found there: they fail with the next step, tags are stored",
        "oras-project/oras-go#1396", nothing, frozenset({"att"}), words=("resolves the tag", "set storage.oci.encoding-format to dsse"),
        settings={"referrers": False, "dashes": True},
    ),
    Row(
        "any", "any", "403 with `Retry-After`", "a rate limit: tried again after that time",
        "RFC 9110, section 10.2.3", on("PUT", "/manifests/", said(403, "DENIED", "no", **{"Retry-After": "1"})),
        transient=True, words=("403 DENIED: no",),
    ),
    Row(
        "any", "any", "403 `TOOMANYREQUESTS`", "a rate limit: tried again later",
        "OCI distribution specification, error codes", on("PUT", "/manifests/", said(403, "TOOMANYREQUESTS", "slow down")),
        transient=True, words=("403 TOOMANYREQUESTS: slow down",),
    ),
    Row(
        "any", "any", "501", "not supported: fails permanently",
        "RFC 9110, section 15.6.2", on("PUT", TO_TAG, plain(501, "")), frozenset({"referrer"}), words=("answered 501",),
    ),
    Row(
        "any", "write", "413", "too large for the registry or a proxy: fails with the next step",
        "RFC 9110, section 15.5.14", on("PUT", TO_TAG, plain(413, "Request Entity Too Large")), frozenset({"referrer"}),
        words=("413 Request Entity Too Large", "raise the limit of the registry, or of the proxy before it"),
    ),
]  # fmt: skip


def put(row: Row) -> tuple[Stored, FakeRegistry]:
    async def work() -> tuple[Stored, FakeRegistry]:
        async with serving(**row.settings) as registry:
            image = image_in(registry)
            registry.fault = row.made(registry)
            async with RegistryStore("oci:", FAST, Several(row.credentials)) as store:
                return await store.put(records.attestation(image)), registry

    return asyncio.run(work())


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_an_answer_means_what_the_table_says(row: Row) -> None:
    stored, _ = put(row)
    assert {receipt.form for receipt in stored.receipts} == row.stored, stored.failures
    assert {failure.form for failure in stored.failures} == BOTH - row.stored
    for failure in stored.failures:
        assert failure.transient is row.transient, failure.reason
        for word in row.words:
            assert word in failure.reason


def test_the_table_in_the_documentation_has_these_rows_and_no_others() -> None:
    lines = DOCS.read_text().splitlines()
    start = lines.index("|---|---|---|---|---|") + 1
    table = [line for line in lines[start:] if line.startswith("|")]
    assert table == [row.line() for row in ROWS]


def test_the_absent_is_told_from_the_refused_with_credentials_too() -> None:
    def made(registry: FakeRegistry) -> Fault:
        hides = absent(said(403, "UNAUTHORIZED", "no permission for manifest"))(registry)

        async def fault(request: web.Request) -> web.StreamResponse | None:
            if request.headers.get("Authorization") != ROBOT.basic:
                return refused(401, "UNAUTHORIZED", **{"WWW-Authenticate": 'Basic realm="x"'})
            return await hides(request)

        return fault

    stored, _ = put(Row("", "", "", "", "", made, credentials=(ROBOT,)))
    assert {receipt.form for receipt in stored.receipts} == BOTH, stored.failures


def test_a_tag_that_cannot_be_read_is_not_written_over() -> None:
    """Who may push and not pull cannot tell an absent tag from one with entries of others."""

    def made(registry: FakeRegistry) -> Fault:
        async def fault(request: web.Request) -> web.StreamResponse | None:
            reads = request.method in {"GET", "HEAD"} and request.path != "/v2/"
            return refused(403, "DENIED", "no pull") if reads else None

        return fault

    stored, registry = put(Row("", "", "", "", "", made))
    assert not stored.receipts
    assert all("403 DENIED: no pull" in failure.reason for failure in stored.failures)
    assert registry.count("PUT .*/manifests/") == 0


def test_a_tag_that_is_listed_and_refused_is_not_written_over() -> None:
    def made(registry: FakeRegistry) -> Fault:
        image = next(key[1] for key in registry.manifests)
        registry.push_manifest("team/app", b"{}", image.replace(":", "-") + ".att")
        return on("GET HEAD", ".att", said(403, "DENIED", "not this tag"))(registry)

    stored, registry = put(Row("", "", "", "", "", made, settings={"tags": True}))
    (failure,) = stored.failures
    assert failure.form == "att"
    assert "403 DENIED: not this tag" in failure.reason
    assert registry.count("PUT .*[.]att$") == 0


@pytest.mark.parametrize("listed", [True, False])
def test_a_search_takes_a_refused_tag_for_absent_where_the_list_lacks_it(listed: bool) -> None:
    async def work() -> None:
        async with serving(tags=True) as registry:
            image = image_in(registry)
            record = records.attestation(image)
            async with RegistryStore("oci:", FAST, Several([Credential("none")])) as store:
                await store.put(record)
                refuses = said(403, "UNAUTHORIZED", "no permission for manifest")
                registry.fault = (on("GET", ".att", refuses) if listed else absent(refuses))(registry)
                search = store.find(f"sha256:{image.digest['sha256']}", image.name)
                if listed:
                    with pytest.raises(StoreRejected, match="403 UNAUTHORIZED: no permission for manifest"):
                        await search
                else:
                    found = await search
                    assert {one.data for one in found.evidence} == {record.envelope, record.bundle}
                    assert not found.skipped

    asyncio.run(work())


def test_a_rule_behind_a_precondition_is_told_from_a_tag_that_moved() -> None:
    """412 to a guarded write of a tag that nobody touched: the same without the guard decides."""

    async def work() -> None:
        async with serving(etags=True) as registry:
            image = image_in(registry)
            async with RegistryStore("oci:", FAST, Several([Credential("none")])) as store:
                first = await store.put(records.attestation(image, run=records.origin(1)))
                assert not first.failures
                registry.fault = on("PUT", TO_TAG, said(412, "PRECONDITION", "immutable"))(registry)
                registry.seen.clear()
                stored = await store.put(records.attestation(image, run=records.origin(2)))
            assert registry.count("PUT .*[.]att$") == 2
            (failure,) = stored.failures
            assert not failure.transient
            assert "412 PRECONDITION: immutable; a rule of the registry" in failure.reason

    asyncio.run(work())


def test_a_registry_that_heeds_head_is_not_asked_twice_for_what_is_absent() -> None:
    stored, registry = put(Row("", "", "", "", "", nothing))
    assert not stored.failures
    assert registry.count("GET .*/manifests/sha256:") == 0


@pytest.mark.parametrize(
    ("status", "message", "busy"),
    [
        (403, "Rate exceeded", True),
        (403, "API rate limit exceeded for user", True),
        (403, "too many requests", True),
        (403, "request was throttled", True),
        (403, "userRateLimitExceeded", True),
        (403, "requested access to team/rate-limit is denied", False),
        (403, "requested access to the rate-limiter is denied", False),
        (403, "denied", False),
        (401, "rate limit exceeded", False),
        (404, "rate limit exceeded", False),
        (429, "", True),
        (408, "", True),
        (503, "", True),
        (501, "", False),
    ],
)
def test_words_decide_of_a_403_alone_and_never_those_of_a_name(status: int, message: str, busy: bool) -> None:
    body = ('{"errors":[{"code":"DENIED","message":"' + message + '"}]}').encode()
    headers = CIMultiDictProxy(CIMultiDict({"Content-Type": "application/json"}))
    assert is_busy(Answer(status, headers, body, URL("https://r.example/")), "team/rate-limit") is busy


@pytest.mark.parametrize(
    ("message", "kind", "words"),
    [
        ("Rate Limit Exceeded", StoreUnavailable, "403: Rate Limit Exceeded"),
        ("caller lacks storage.objects.create", StoreRejected, "needs the role (caller lacks storage.objects.create)"),
    ],
)  # fmt: skip
def test_a_403_of_googles_services_is_a_rate_limit_or_a_refusal_with_its_words(
    message: str, kind: type[StoreError], words: str
) -> None:
    found = answered(403, message, "write", "the role")
    assert isinstance(found, kind)
    assert words in str(found)


@pytest.mark.parametrize(
    ("message", "transient", "words"),
    [
        ("API rate limit exceeded", True, "403"),
        ("as the test wants", False, "asks for a login (as the test wants)"),
    ],
)
def test_a_403_of_a_web_service_is_a_rate_limit_or_a_refusal_with_its_words(
    message: str, transient: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Envelopes, "answer", lambda *_: Served(403, message.encode(), {"Content-Type": "text/plain"})
    )

    async def work(url: str) -> Stored:
        async with open_store(f"archivista:{url}", FAST) as store:
            return await store.put(records.attestation(records.subject()))

    with archivista_endpoint() as server:
        (failure,) = asyncio.run(work(server.url)).failures
    assert failure.transient is transient
    assert words in failure.reason
