"""Gatekeeper's requests as bytes, and what is answered to each: whole, bounded, each key once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.admission.policies import PolicySet
from chains.admission.provider import LARGEST, MOST_KEYS, provide
from chains.admission.ruling import Ruling
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import Decision
from storage.formats.reference import Image
from tests.faults.verify.forge import DIGEST, HEX, IMAGE, OTHER
from tests.unit.chains.policy.made import document, opened

Json = Any
GOOD = f"{IMAGE}@{DIGEST}"
VERSION = "externaldata.gatekeeper.sh/v1beta1"
MET = Ruling(Decision.ALLOW, "VERIFIED", ("production",))
Say = Callable[[str], Ruling]


def unmet(verdict: str, actual: str = "away") -> Ruling:
    told = ("evidence", "some_reason", "something", actual, "do this")
    return Ruling(Decision.DENY, verdict, ("production",), *told)


def request(*keys: Json, **more: Json) -> bytes:
    return json.dumps(
        {"apiVersion": VERSION, "kind": "ProviderRequest", "request": {"keys": list(keys)}} | more
    ).encode()


class Asked:
    """Answers for policies, and notes what was asked."""

    def __init__(self, say: Say = lambda _: MET) -> None:
        self._say = say
        self.images: list[str] = []
        self.policies: list[list[str]] = []

    async def __call__(self, inforce: PolicySet, policies: Sequence[OpenedPolicy], image: Image) -> Ruling:
        self.images.append(f"{image.repository}@{image.digest}")
        self.policies.append([one.policy.name for one in policies])
        return self._say(self.images[-1])


def asked(
    data: bytes,
    ask: Asked | None = None,
    *,
    name: str = "production",
    policies: Sequence[OpenedPolicy] | None = None,
    seconds: float = 30,
) -> Json:
    async def run() -> bytes:
        deadline = asyncio.get_running_loop().time() + seconds
        own = opened(document()) if policies is None else policies
        return await provide(data, PolicySet.of(own), ask or Asked(), name=name, deadline=deadline)

    read = json.loads(asyncio.run(run()))
    assert (read["apiVersion"], read["kind"]) == (VERSION, "ProviderResponse")
    assert read["response"]["idempotent"] is not bool(read["response"]["systemError"])
    return read["response"]


def test_a_verified_image_has_a_value_with_policy_and_digests() -> None:
    found = asked(request(GOOD))
    digest = opened(document())[0].policy.digest
    value = {"verdict": "VERIFIED", "policy": "production", "policyDigest": digest, "digest": DIGEST}
    assert found == {"idempotent": True, "items": [{"key": GOOD, "value": value}], "systemError": ""}


def test_an_image_that_is_exempt_is_told_apart_from_a_verified_one() -> None:
    exempt = Asked(lambda _: Ruling(Decision.ALLOW, "NOT_FOUND", ("production",)))
    (item,) = asked(request(GOOD), exempt)["items"]
    assert item["value"]["verdict"] == "EXEMPT"


@pytest.mark.parametrize("verdict", ["FAILED", "NOT_FOUND"])
def test_a_verdict_that_is_not_met_is_an_error_that_begins_with_it(verdict: str) -> None:
    found = asked(request(GOOD), Asked(lambda _: unmet(verdict, "none\x1b")))
    told = "evidence (some_reason): expected something, got none\\x1b; do this"
    assert found["items"] == [{"key": GOOD, "error": f"{verdict} policy production: {told}"}]
    assert found["systemError"] == ""


def test_what_is_undecided_has_no_item_so_that_it_is_not_kept_and_the_rest_is_answered() -> None:
    other = f"{IMAGE}@sha256:{OTHER}"
    away = unmet("INDETERMINATE", "the registry is away")
    found = asked(request(other, GOOD), Asked(lambda image: away if image == other else MET))
    assert [item["key"] for item in found["items"]] == [GOOD]
    told = "evidence (some_reason): expected something, got the registry is away; do this"
    assert found["systemError"] == f"{other}: {told}"


def test_what_unavailable_does_not_cover_is_an_error_of_the_image() -> None:
    lenient = opened(document(unavailable="warn"))
    refused = unmet("INDETERMINATE", "401: no credentials")
    assert refused.decision is Decision.DENY
    found = asked(request(GOOD), Asked(lambda _: refused), policies=lenient)
    told = "evidence (some_reason): expected something, got 401: no credentials; do this"
    assert found["items"] == [{"key": GOOD, "error": f"INDETERMINATE policy production: {told}"}]
    assert found["systemError"] == ""
    away = replace(refused, decision=Decision.WARN)
    assert asked(request(GOOD), Asked(lambda _: away), policies=lenient)["items"] == []


def test_a_fault_of_ours_is_undecided_and_says_nothing_of_its_text() -> None:
    def fail(_: str) -> Ruling:
        raise RuntimeError("password=hunter2")

    found = asked(request(GOOD), Asked(fail))
    assert found["items"] == []
    assert found["systemError"] == f"{GOOD}: unexpected RuntimeError; please report it"


def test_an_answer_that_comes_too_late_is_undecided() -> None:
    class Never(Asked):
        async def __call__(
            self, inforce: PolicySet, policies: Sequence[OpenedPolicy], image: Image
        ) -> Ruling:
            await asyncio.Event().wait()
            raise AssertionError

    found = asked(request(GOOD), Never(), seconds=0)
    assert found["items"] == []
    assert found["systemError"] == f"{GOOD}: the evidence was not found in time"


def test_many_undecided_images_are_counted() -> None:
    keys = [f"{IMAGE}@sha256:{number:064x}" for number in range(10)]
    told = asked(request(*keys), Asked(lambda _: unmet("INDETERMINATE")))["systemError"]
    assert told.endswith("; and 7 more images")
    assert all(key in told for key in keys[:3])


def test_each_key_is_answered_once_spelled_as_it_was_asked() -> None:
    spelled = [
        f"docker.io/library/nginx@{DIGEST}",
        f"nginx@{DIGEST}",
        f"index.docker.io/library/nginx@{DIGEST}",
    ]
    ask = Asked()
    found = asked(
        request(*spelled, *spelled), ask, policies=opened(document(images=["docker.io/library/nginx"]))
    )
    assert [item["key"] for item in found["items"]] == spelled
    assert set(ask.images) == {f"index.docker.io/library/nginx@{DIGEST}"}


def test_an_image_that_no_policy_is_for_is_unmatched_and_nothing_is_asked() -> None:
    ask = Asked()
    found = asked(request("nginx:1.27", f"registry.example.com/other@{DIGEST}"), ask)
    assert [item["value"]["verdict"] for item in found["items"]] == ["UNMATCHED", "UNMATCHED"]
    assert [item["value"]["policy"] for item in found["items"]] == ["production", "production"]
    assert ask.images == []


@pytest.mark.parametrize("pattern", [IMAGE, f"{IMAGE}@{DIGEST}", "**"])
def test_a_tag_that_a_policy_may_be_for_is_refused(pattern: str) -> None:
    ask = Asked()
    (item,) = asked(request(f"{IMAGE}:1.0"), ask, policies=opened(document(images=[pattern])))["items"]
    assert item["error"].startswith("FAILED not_pinned: policy production asks for a digest")
    assert ask.images == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        " ",
        "A/B/C",
        "registry.example.com/a@sha256:short",
        "registry.example.com/a@md5:0123",
        f"registry.example.com/a@{DIGEST}@{DIGEST}",
        f"oci://registry.example.com/a@{DIGEST}",
        "pkg:oci/a",
        "registry.example.com/../a",
        "registry.example.com/a\u202e:1",
        "\x00",
        "\ud800",
        "registry.example.com/" + "a" * 100_000,
        "http://127.0.0.1/",
    ],
)
def test_what_is_no_image_is_refused_as_it_was_spelled_and_never_asked(key: str) -> None:
    ask = Asked()
    found = asked(request(key, GOOD), ask, policies=opened(document(images=["**"])))
    if not found["items"]:  # JSON of Go has no lone surrogate: the request itself is refused
        assert key == "\ud800"
        assert found["systemError"].startswith("the request cannot be read")
        return
    assert found["items"][0]["key"] == key
    assert found["items"][0]["error"].startswith("FAILED not_")
    assert len(found["items"][0]["error"]) < 1000
    assert found["items"][0]["error"].isprintable()
    assert ask.images == [GOOD]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cannot be read"),
        (b"\xff", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"null", "expected a ProviderRequest"),
        (b"{}", "expected a ProviderRequest"),
        (request(kind="ProviderResponse"), "expected a ProviderRequest"),
        (request(apiVersion="externaldata.gatekeeper.sh/v9"), "expected a ProviderRequest"),
        (request(request=None), "request.keys"),
        (request(request={"keys": "a"}), "request.keys"),
        (request(GOOD, 1), "request.keys"),
        (request(GOOD, None), "request.keys"),
        (request(*(f"{IMAGE}:{number}" for number in range(MOST_KEYS + 1))), "expected at most 1000"),
        (request("a" * LARGEST), "expected at most 2097152"),
    ],
)
def test_what_is_no_request_gets_a_system_error_and_no_item(data: bytes, why: str) -> None:
    ask = Asked()
    found = asked(data, ask)
    assert found["items"] == []
    assert why in found["systemError"]
    assert ask.images == []


def test_a_request_without_keys_has_no_items() -> None:
    assert asked(request()) == {"idempotent": True, "items": [], "systemError": ""}
    # Go leaves an empty list out
    assert asked(request(request={}))["items"] == []


def test_the_policy_that_is_named_decides_alone_and_without_a_name_all_that_match() -> None:
    policies = opened(document(), document("other", ["**"]), document("third", ["quay.io/**"]))
    for name, expected in (
        ("production", ["production"]),
        ("other", ["other"]),
        ("", ["other", "production"]),
    ):
        ask = Asked()
        asked(request(GOOD), ask, name=name, policies=policies)
        assert ask.policies == [expected]


@pytest.mark.parametrize(("policies", "known"), [([], "none"), (opened(document()), "production")])
def test_a_policy_that_is_not_in_force_is_a_system_error(policies: list[OpenedPolicy], known: str) -> None:
    found = asked(request(GOOD), name="prodution\x1b", policies=policies)
    assert found["items"] == []
    assert found["systemError"] == f"no policy 'prodution\\x1b' is in force; there are: {known}"


def test_without_any_policies_in_force_nothing_is_decided() -> None:
    async def run() -> bytes:
        return await provide(request(GOOD), None, Asked(), deadline=1e9)

    found = json.loads(asyncio.run(run()))["response"]
    assert found["items"] == []
    assert found["systemError"].startswith("no policies are in force")


def test_images_of_one_request_are_asked_about_side_by_side_but_not_all_at_once() -> None:
    running: list[int] = []

    class Counting(Asked):
        now = 0

        async def __call__(
            self, inforce: PolicySet, policies: Sequence[OpenedPolicy], image: Image
        ) -> Ruling:
            self.now += 1
            running.append(self.now)
            await asyncio.sleep(0)
            self.now -= 1
            return MET

    keys = [f"{IMAGE}@sha256:{number:064x}" for number in range(50)]
    assert len(asked(request(*keys), Counting())["items"]) == 50
    assert max(running) == 16


def test_the_answer_is_ascii_whatever_a_key_holds() -> None:
    async def run() -> bytes:
        data = request("évil\u2028", f"{IMAGE}@sha256:{HEX}")
        return await provide(data, PolicySet.of(opened(document())), Asked(), deadline=1e9)

    assert asyncio.run(run()).isascii()


_KEYS = st.lists(
    st.one_of(
        st.sampled_from([GOOD, f"{IMAGE}:1", "nginx", "", f"{IMAGE}@sha256:{OTHER}"]),
        st.text(max_size=30),
        st.text("/:@.-aA0", max_size=30),
    ),
    max_size=8,
)
_RULINGS = [
    MET,
    Ruling(Decision.ALLOW, "NOT_FOUND", ("production",)),
    *map(unmet, ("FAILED", "NOT_FOUND", "INDETERMINATE")),
]


@settings(deadline=None)
@given(keys=_KEYS, chance=st.integers(0, 4))
def test_every_key_has_one_item_or_the_answer_is_a_system_error(keys: list[str], chance: int) -> None:
    ruling = _RULINGS[chance]
    found = asked(request(*keys), Asked(lambda _: ruling), policies=opened(document(images=["**"])))
    answered = [item["key"] for item in found["items"]]
    assert len(answered) == len(set(answered))
    missing = set(keys) - set(answered)
    # a lone surrogate is no JSON for Go, so that such a request never comes; all of it is refused
    if not any("\ud800" <= char <= "\udfff" for key in keys for char in key):
        assert bool(missing) is bool(found["systemError"])
        assert not missing or ruling.verdict == "INDETERMINATE"
    for item in found["items"]:
        assert ("error" in item) is not ("value" in item)
        if "value" in item:
            assert ruling.is_met


@settings(deadline=None)
@given(data=st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["request", "keys", "kind"]), inner),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_no_request_makes_it_raise(data: bytes) -> None:
    assert asked(data)["items"] == []


def test_the_id_of_an_image_that_a_node_has_is_no_image_that_the_policy_is_not_for() -> None:
    own = f"sha256:{'a' * 64}"
    (item,) = asked(request(own))["items"]
    assert item["key"] == own
    assert item["error"].startswith("FAILED not_an_image: it is the id of an image that a node has")
