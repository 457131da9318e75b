"""The steps by which an entry gets into a tag, request by request, with a clock that stands still."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.formats.digest import sha256
from storage.formats.manifests import (
    Gathered,
    Layer,
    Manifest,
    ReferrerIndex,
    SignedLayers,
    entry_of,
)
from storage.formats.reference import Repository
from storage.oci import tag_writer
from storage.oci.registry import TagMoved
from storage.oci.requests import RegistryRefused
from storage.oci.tag_writer import TagWriter, Written

HERE = Repository("registry.example", "team/app")
TAG = "sha256-ab.att"
LAYERS, INDEX = SignedLayers(), ReferrerIndex()
Json = Any


def layer(number: int, blob: bool = True) -> Layer:
    data = b"blob %d" % number
    return Layer(
        {"mediaType": "text/plain", "digest": sha256(data), "size": len(data)}, data if blob else b""
    )


def document(*layers: Layer, kind: Any = LAYERS, etag: str = "") -> Manifest:
    made, _ = kind.build(Gathered(), [entry_of(one.descriptor) for one in layers])
    return Manifest(made.media_type, made.digest, made.data, etag)


def forbidden() -> RegistryRefused:
    return RegistryRefused("403 DENIED", status=403)


@dataclass
class Client:
    """A registry's repository; what ``before`` has for a request happens before it is answered, once for each."""

    tags: dict[str, Manifest] = field(default_factory=dict)
    blobs: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    before: dict[str, list[Callable[[], None]]] = field(default_factory=dict)
    listed: bool | None = None

    def happens(self, request: str, *what: Callable[[], None]) -> None:
        self.before.setdefault(request, []).extend(what)

    def _ask(self, request: str) -> None:
        self.asked.append(request)
        if self.before.get(request):
            self.before[request].pop(0)()

    async def put_blob(self, repository: Repository, blob: bytes, digest: str) -> None:
        assert (repository, sha256(blob)) == (HERE, digest)
        self._ask("config" if blob.startswith(b"{") else "blob")
        self.blobs.add(digest)

    async def get_manifest(
        self, repository: Repository, name: str, *, push: bool, prompt: bool = False
    ) -> Manifest | None:
        assert repository == HERE
        assert push
        if name.startswith("sha256:"):
            self._ask("read manifest")
            return self.tags.get(name)
        assert prompt
        self._ask("read")
        return self.tags.get(name)

    async def head_manifest(self, repository: Repository, name: str, *, push: bool, prompt: bool) -> Any:
        assert (repository, push, prompt) == (HERE, True, True)
        self._ask("look")
        return self.tags.get(name)

    async def put_manifest(
        self,
        repository: Repository,
        name: str,
        manifest: Manifest,
        *,
        prompt: bool,
        before_retry: Callable[[], Awaitable[None]],
        replaces: str = "",
    ) -> None:
        assert (repository, prompt) == (HERE, True)
        self._ask(f"write {replaces}".strip())
        self.tags[name] = manifest
        self.retry = before_retry

    async def lists_tag(self, repository: Repository, name: str, *, push: bool) -> bool | None:
        assert (repository, name, push) == (HERE, TAG, True)
        self._ask("list tags")
        return self.listed

    async def has_blob(self, repository: Repository, digest: str, *, sure: bool) -> bool:
        assert (repository, sure) == (HERE, True)
        self._ask("has blob")
        return digest in self.blobs

    async def check_kept(self, repository: Repository, digests: list[str]) -> None:
        assert repository == HERE
        self._ask(f"kept {len(digests)}")


@dataclass
class Time:
    now: float = 1000.0
    slept: list[float] = field(default_factory=list)
    drawn: list[tuple[float, float]] = field(default_factory=list)


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()

    async def note(seconds: float) -> None:
        if seconds:
            found.slept.append(round(seconds, 6))
        await asyncio.sleep(0)

    def draw(least: float, most: float) -> float:
        found.drawn.append((least, most))
        return most

    # the module's own names, so that nothing else stands still
    monkeypatch.setattr(tag_writer, "time", SimpleNamespace(monotonic=lambda: found.now))
    monkeypatch.setattr(tag_writer, "_random", SimpleNamespace(uniform=draw))
    monkeypatch.setattr(
        tag_writer,
        "asyncio",
        SimpleNamespace(
            sleep=note,
            gather=asyncio.gather,
            ensure_future=asyncio.ensure_future,
            get_running_loop=asyncio.get_running_loop,
        ),
    )
    return found


def add(client: Any, *layers: Layer, kind: Any = LAYERS, tag: str = TAG) -> list[Written | BaseException]:
    async def work() -> list[Written | BaseException]:
        writer = TagWriter(client)
        adds = [writer.add(HERE, tag, kind, one) for one in layers]
        found = await asyncio.gather(*adds, return_exceptions=True)
        await writer.close()
        return found

    return asyncio.run(work())


def entries(client: Client, tag: str = TAG, kind: Any = LAYERS) -> list[str]:
    return [entry.digest for entry in kind.read(client.tags[tag]).entries]


NEW = ["blob", "config", "read", "write", "look", "kept 1"]
"""Of an entry for a tag that is not there yet."""


def test_a_new_tag_is_read_and_written_once_and_looked_at_before_and_after_the_receipt(time: Time) -> None:
    client = Client()
    (found,) = add(client, layer(1))
    assert found == Written(client.tags[TAG].digest, changed=True)
    assert entries(client) == [layer(1).digest]
    assert client.asked == [*NEW, "look"]
    assert time.slept == [0.03, 0.07], "the shortest pause and what is left of the shortest watch"
    assert time.drawn == [(1, 1.5)]


@pytest.mark.parametrize(("seconds", "pause"), [(0.5, 3.0), (10.0, 4.0)])
def test_the_pause_is_four_times_the_time_between_reading_and_writing(
    time: Time, seconds: float, pause: float
) -> None:
    client = Client()
    client.happens("blob", lambda: setattr(time, "now", time.now + 100))  # comes before, and does not count
    client.happens("write", lambda: setattr(time, "now", time.now + seconds))
    add(client, layer(1))
    assert time.slept == [pause], "so long a pause needs no second look"
    assert client.asked == NEW


def test_entries_that_wait_together_are_written_together() -> None:
    client = Client()
    found = add(client, layer(1), layer(2))
    assert found == [Written(client.tags[TAG].digest, changed=True)] * 2
    assert client.asked == ["blob", "blob", "config", "read", "write", "look", "kept 2", "look"]


def test_an_entry_that_is_there_already_is_not_written() -> None:
    client = Client({TAG: document(layer(1))})
    assert add(client, layer(1)) == [Written(client.tags[TAG].digest, changed=False)]
    assert client.asked == ["blob", "config", "read"]


def test_a_tag_that_has_entries_gets_their_configuration_and_is_looked_at_before_it_is_written(
    time: Time,
) -> None:
    client = Client({TAG: document(layer(1), etag='"e"')})
    client.happens("config", lambda: None, lambda: setattr(time, "now", time.now + 50))
    (found,) = add(client, layer(2))
    assert found == Written(client.tags[TAG].digest, changed=True)
    assert entries(client) == [layer(1).digest, layer(2).digest]
    assert client.asked == ["blob", "config", "read", "config", "look", 'write "e"', "look", "kept 1", "look"]
    assert time.slept[0] == 0.03, (
        "the time of the upload does not count, since the tag was looked at after it"
    )


def test_an_index_has_no_configuration() -> None:
    client = Client({TAG: document(layer(1), kind=INDEX)})
    add(client, layer(2, blob=False), kind=INDEX)
    assert client.asked == ["read", "write", "look", "kept 0", "look"]
    assert entries(client, kind=INDEX) == [layer(1).digest, layer(2).digest]


def test_a_full_tag_takes_what_fits_and_says_so_of_the_others() -> None:
    class Two(SignedLayers):
        most = 2

    client = Client({TAG: document(layer(1))})
    fits, more = add(client, layer(2), layer(3), kind=Two())
    assert fits == Written(client.tags[TAG].digest, changed=True)
    assert isinstance(more, StoreRejected)
    assert str(more) == f"the tag {TAG} of {HERE} is full: 1 entries"
    client.asked.clear()
    (none,) = add(client, layer(4), kind=Two())
    assert str(none) == f"the tag {TAG} of {HERE} is full: 2 entries"
    assert "write" not in client.asked


def test_a_tag_that_was_changed_before_the_write_is_read_again(time: Time) -> None:
    client = Client({TAG: document(layer(1))})
    client.happens("look", lambda: client.tags.update({TAG: document(layer(1), layer(5))}))
    add(client, layer(2))
    assert entries(client) == [layer(number).digest for number in (1, 5, 2)]
    assert client.asked[:7] == ["blob", "config", "read", "config", "look", "config", "read"]
    assert "blob" not in client.asked[1:], "it is uploaded once"
    assert time.drawn[0] == (0, 0.02)


def test_a_registry_that_knows_no_condition_is_written_to_without_one() -> None:
    def moved() -> None:
        raise TagMoved("412")

    client = Client({TAG: document(layer(1), kind=INDEX, etag='"e"')})
    client.happens('write "e"', moved)
    add(client, layer(2, blob=False), kind=INDEX)
    assert client.asked[:4] == ["read", 'write "e"', "look", "write"]
    assert entries(client, kind=INDEX) == [layer(1).digest, layer(2).digest]


def test_a_condition_that_is_not_met_because_the_tag_moved_is_obeyed() -> None:
    def moved() -> None:
        client.tags[TAG] = document(layer(5), kind=INDEX)
        raise TagMoved("412")

    client = Client({TAG: document(layer(1), kind=INDEX, etag='"e"')})
    client.happens('write "e"', moved)
    add(client, layer(2, blob=False), kind=INDEX)
    assert client.asked[:5] == ["read", 'write "e"', "look", "read", "write"]
    assert entries(client, kind=INDEX) == [layer(5).digest, layer(2).digest]


def test_a_failed_write_is_repeated_only_where_the_tag_is_as_before_or_has_it_already() -> None:
    client = Client({TAG: document(layer(1), kind=INDEX)})
    add(client, layer(2, blob=False), kind=INDEX)
    written = client.tags[TAG]
    for content in (document(layer(1), kind=INDEX), written):
        client.tags[TAG] = content
        asyncio.run(client.retry())  # type: ignore[arg-type]
    client.tags[TAG] = document(layer(9), kind=INDEX)
    with pytest.raises(TagMoved) as caught:
        asyncio.run(client.retry())  # type: ignore[arg-type]
    assert str(caught.value) == f"{TAG} of {HERE} was changed at the same time"


def test_a_failed_write_of_a_new_tag_is_repeated_only_where_there_is_none_yet() -> None:
    client = Client()
    add(client, layer(1, blob=False), kind=INDEX)
    client.tags.clear()
    asyncio.run(client.retry())  # type: ignore[arg-type]
    client.tags[TAG] = document(layer(9), kind=INDEX)
    with pytest.raises(TagMoved):
        asyncio.run(client.retry())  # type: ignore[arg-type]


def test_a_tag_that_moves_at_every_write_is_given_up_after_forty_tries(time: Time) -> None:
    def moved() -> None:
        raise TagMoved("409")

    client = Client()
    client.happens("write", *[moved] * 100)
    (found,) = add(client, layer(1))
    assert isinstance(found, StoreUnavailable)
    assert str(found) == f"the tag {TAG} of {HERE} changed with each of 40 writes"
    assert client.asked.count("write") == 40
    assert time.drawn[:2] == [(0, 0.02), (0, 0.04)]
    assert time.drawn[-1] == (0, 0.2)
    assert client.asked.count("blob") == 1


def test_a_blob_that_was_collected_before_the_write_is_uploaded_again_up_to_three_times() -> None:
    def collected() -> None:
        raise RegistryRefused("404", ["MANIFEST_BLOB_UNKNOWN"])

    client = Client()
    client.happens("write", collected, collected, collected)
    (found,) = add(client, layer(1))
    assert isinstance(found, Written)
    assert client.asked.count("blob") == 4
    client = Client()
    client.happens("write", *[collected] * 4)
    (refused,) = add(client, layer(1))
    assert isinstance(refused, StoreRejected)
    assert client.asked.count("write") == 4


def test_a_write_that_is_refused_for_another_reason_is_not_repeated() -> None:
    def refused() -> None:
        raise RegistryRefused("400 no such thing", ["MANIFEST_INVALID"])

    client = Client()
    client.happens("write", refused)
    (found,) = add(client, layer(1))
    assert (type(found), str(found)) == (StoreRejected, "400 no such thing")
    assert client.asked.count("write") == 1


@pytest.mark.parametrize(
    ("listed", "blob", "asked"),
    [
        (False, True, ["list tags"]),
        (None, True, ["list tags", "has blob"]),
        (None, False, ["list tags", "read manifest"]),
    ],
)
def test_a_tag_that_is_refused_and_not_there_counts_as_absent(
    listed: bool | None, blob: bool, asked: list[str]
) -> None:
    def refused() -> None:
        raise forbidden()

    one = layer(1, blob)
    client = Client({one.digest: document()}, listed=listed)
    client.happens("read", refused)
    (found,) = add(client, one)
    assert isinstance(found, Written)
    assert [
        request for request in client.asked if request in {"list tags", "has blob", "read manifest"}
    ] == asked


@pytest.mark.parametrize("listed", [True, None])
@pytest.mark.parametrize("blob", [False, True])
def test_a_tag_that_is_refused_and_may_be_there_is_not_written(listed: bool | None, blob: bool) -> None:
    def refused() -> None:
        raise forbidden()

    client = Client(listed=listed)
    client.happens("read", refused)
    client.happens("has blob", refused)
    (found,) = add(client, layer(1, blob))
    assert (type(found), str(found)) == (StoreRejected, "403 DENIED")
    assert "write" not in client.asked


def test_another_refusal_than_403_is_none_of_absence() -> None:
    def refused() -> None:
        raise RegistryRefused("401", status=401)

    client = Client(listed=False)
    client.happens("read", refused)
    (found,) = add(client, layer(1))
    assert str(found) == "401"
    assert "list tags" not in client.asked


@pytest.mark.parametrize("absent", [True, False])
def test_a_look_that_is_refused_means_absence_where_the_tag_was_refused_and_absent_before(
    absent: bool,
) -> None:
    def refused() -> None:
        raise forbidden()

    client = Client({} if absent else {TAG: document(layer(7), kind=INDEX)}, listed=False)
    if absent:
        client.happens("read", refused)
    add(client, layer(1, blob=False), kind=INDEX)
    client.happens("look", refused)
    if absent:
        asyncio.run(client.retry())  # type: ignore[arg-type]
    else:
        with pytest.raises(RegistryRefused):
            asyncio.run(client.retry())  # type: ignore[arg-type]


def test_an_entry_that_another_writer_removed_in_the_pause_is_written_again() -> None:
    client = Client()
    client.happens("look", lambda: client.tags.update({TAG: document(layer(5))}))
    kept, lost = add(client, layer(5), layer(1))
    assert isinstance(kept, Written)
    assert isinstance(lost, Written)
    assert lost.changed
    assert entries(client) == [layer(5).digest, layer(1).digest]


def test_a_tag_that_was_deleted_in_the_pause_is_written_again() -> None:
    client = Client()
    client.happens("look", client.tags.clear)
    assert add(client, layer(1)) == [Written(client.tags[TAG].digest, changed=True)]
    assert client.asked.count("write") == 2


def test_while_others_write_the_pause_is_repeated_and_made_longer_once(time: Time) -> None:
    client = Client()
    numbers = iter(range(10, 100))

    def another() -> None:
        client.tags[TAG] = document(layer(1), layer(next(numbers)))

    client.happens("look", another, another, another)
    (found,) = add(client, layer(1))
    assert found == Written(client.tags[TAG].digest, changed=True)
    assert time.slept[:4] == [0.03, 0.06, 0.06, 0.06]
    assert time.drawn == [(1, 1.5), (1, 2)]
    time.slept.clear()
    client = Client()
    client.happens("look", *[another] * 100)
    assert isinstance(add(client, layer(1))[0], Written)
    assert client.asked.index("kept 1") == NEW.index("look") + 20, "ten pauses, each with a look and a read"


def test_a_tag_that_the_registry_takes_for_the_image_is_no_place_for_an_index() -> None:
    client = Client()
    image = document(layer(8))
    tag = image.digest.replace(":", "-")
    client.tags[tag] = image
    client.happens("look", lambda: client.tags.update({tag: image}))
    (found,) = add(client, layer(1, blob=False), kind=INDEX, tag=tag)
    assert str(found) == (
        f"{HERE} lists no referrers, and resolves the tag {tag} to the image itself, so that bundles cannot "
        "be found there: set storage.oci.encoding-format to dsse"
    )
    assert client.asked[:2] == ["read", "write"], "it counts as absent, and is written without a condition"


def test_what_a_slower_writer_removed_after_the_receipt_is_written_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = Client()
    client.happens("look", lambda: None, lambda: client.tags.update({TAG: document(layer(5))}))
    add(client, layer(1))
    assert entries(client) == [layer(5).digest, layer(1).digest]

    def away() -> None:
        raise StoreUnavailable("the registry is away")

    client = Client()
    client.happens("look", lambda: None, away)
    with caplog.at_level(logging.WARNING):
        assert isinstance(add(client, layer(1))[0], Written)
    assert caplog.messages == [f"{TAG} of {HERE} cannot be looked at again: the registry is away"]


def test_many_writes_under_way_get_the_long_pause_at_once(time: Time) -> None:
    client = Client()
    entry = layer(1, blob=False)

    async def work() -> None:
        writer = TagWriter(client)  # type: ignore[arg-type]
        await asyncio.gather(*(writer.add(HERE, f"t{number}", INDEX, entry) for number in range(9)))
        await writer.close()

    asyncio.run(work())
    assert time.slept == [0.15] * 9
    assert client.asked.count("look") == 9


@pytest.mark.parametrize(
    "error", [StoreUnavailable("away", "https://h:443"), StoreRejected("no"), ValueError("x")]
)
def test_each_caller_gets_an_error_of_its_own_with_host_and_absence(error: Exception) -> None:
    def fails() -> None:
        raise error

    client = Client()
    client.happens("read", fails)
    if isinstance(error, StoreError):
        error.absence = "certain"
    first, second = add(client, layer(1), layer(2))
    for found in (first, second):
        assert type(found) is type(error)
        assert str(found) == str(error)
        if isinstance(found, StoreError) and isinstance(error, StoreError):
            assert (found.host, found.absence, found.__cause__) == (error.host, "certain", error)
    assert (first is second) is isinstance(error, ValueError)
    assert client.asked.count("read") == 1


def test_a_receipt_needs_blobs_that_can_be_read_back() -> None:
    def lost() -> None:
        raise StoreUnavailable("the registry took a blob and does not have it")

    client = Client()
    client.happens("kept 1", lost)
    (found,) = add(client, layer(1))
    assert (type(found), str(found)) == (StoreUnavailable, "the registry took a blob and does not have it")


def test_a_tag_can_be_written_again_afterwards_also_where_the_write_failed() -> None:
    async def work(client: Any) -> None:
        writer = TagWriter(client)
        with pytest.raises(StoreRejected):
            await writer.add(HERE, TAG, LAYERS, layer(1))
        assert isinstance(await writer.add(HERE, TAG, LAYERS, layer(1)), Written)
        assert isinstance(await writer.add(HERE, TAG, LAYERS, layer(2)), Written)
        await writer.close()

    def refused() -> None:
        raise StoreRejected("no")

    client = Client()
    client.happens("read", refused)
    asyncio.run(work(client))
    assert entries(client) == [layer(1).digest, layer(2).digest]
