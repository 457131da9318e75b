"""Gatekeeper's own framework asks our provider over TLS, by the documents that ``policy generate`` writes.

What the policy says itself about the same image stands beside each case: both must agree. The provider here is
``chains.admission.provider`` with evidence made to order; that it misbehaves is played by a stand-in. The server
``chains admission`` answers Gatekeeper in ``tests/integration/test_admission.py``.
"""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from chains.admission.answers import Answers
from chains.admission.certificate import Certificate
from chains.admission.policies import PolicySet
from chains.admission.provider import provide
from chains.policy.engines.gatekeeper import ProviderAt, generate
from chains.policy.engines.generated import to_yaml
from chains.policy.opened import OpenedPolicy
from storage.base import Store
from tests.faults.verify.forge import (
    HEX,
    IMAGE,
    NOW,
    OTHER,
    Broken,
    Shelf,
    evidence,
    form_b,
    provenance,
    signer,
    subject,
    with_payload,
)
from tests.testbed.admission import Gatekeeper, Review
from tests.testbed.certificates import Certificates, ClientAuthority, make_certificates
from tests.testbed.loopback import Answer, Request, serving
from tests.unit.chains.policy.made import decided, document, opened, report, trust

pytestmark = pytest.mark.server
Json = Any
GOOD = f"{IMAGE}@sha256:{HEX}"
BAD = f"{IMAGE}@sha256:{OTHER}"
ELSEWHERE = f"registry.example.com/elsewhere/app@sha256:{HEX}"
SIGNED = form_b(provenance())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("provider"))


class ByDigest(Store):
    """A store that has evidence about one digest alone."""

    def __init__(self, digest: str, *held: Json) -> None:
        self.url = "shelf:"
        self._digest, self._shelf, self._empty = digest, Shelf(*held), Shelf()

    async def put(self, record: Json) -> Json:
        raise NotImplementedError

    async def find(self, digest: str, reference: str = "") -> Json:
        shelf = self._shelf if digest == self._digest else self._empty
        return await shelf.find(digest, reference)


HAS_GOOD = ByDigest(f"sha256:{HEX}", SIGNED)


def answers(policies: Sequence[OpenedPolicy], stores: Sequence[Store]) -> Callable[[Request], Answer]:
    """Answer as the server of admission does: the policy that the request names, asked of the stores."""
    inforce = PolicySet.of(policies)

    async def told(request: Request) -> bytes:
        name = parse_qs(urlsplit(request.path).query).get("policy", [""])[0]
        deadline = asyncio.get_running_loop().time() + 30
        ask = Answers(stores, now=lambda: NOW).ask
        return await provide(request.body, inforce, ask, name=name, deadline=deadline)

    return lambda request: Answer(200, asyncio.run(told(request)))


def pod(*images: str, **spec: Json) -> Json:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {"spec": {"containers": containers, **spec}}


def review(
    item: Json, kind: str = "Pod", group: str = "", operation: str = "CREATE", old: Json = None, **labels: str
) -> Json:
    """Return a review of an object in the namespace ``shop``, which has ``labels``."""
    kinds = {"group": group, "version": "v1", "kind": kind}
    names = {
        "apiVersion": f"{group}/v1".lstrip("/"),
        "kind": kind,
        "metadata": {"name": "a", "namespace": "shop"},
    }
    request = {
        "uid": "1",
        "kind": kinds,
        "resource": {"group": group, "version": "v1", "resource": f"{kind.lower()}s"},
        "namespace": "shop",
        "name": "a",
        "operation": operation,
        "object": names | item,
        "oldObject": None if old is None else names | old,
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": labels}}
    return {"request": request, "namespace": namespace}


def patient(text: str, seconds: int = 30) -> str:
    """Return documents in which Gatekeeper waits longer: a busy machine must not decide."""
    assert "timeout: 2\n" in text
    return text.replace("timeout: 2\n", f"timeout: {seconds}\n").replace("timeout=2s", f"timeout={seconds}s")


class Door:
    """Gatekeeper with the documents of policies, and a provider behind TLS that answers by ``respond``."""

    def __init__(self, gatekeeper: Gatekeeper, certificates: Certificates) -> None:
        self._gatekeeper, self.certificates = gatekeeper, certificates
        self.asked: list[Json] = []

    def documents(self, policies: Sequence[OpenedPolicy], url: str, ca: bytes = b"") -> str:
        provider = ProviderAt(f"{url}/verify", ca or self.certificates.ca_file.read_bytes())
        return patient(to_yaml([generate(one, NOW, provider) for one in policies], "gatekeeper"))

    def reviews(
        self,
        written: Json | Sequence[Json],
        asked: Sequence[Json],
        *stores: Store,
        respond: Callable[[Request], Answer] | None = None,
        cache_seconds: int = 0,
        change: Callable[[str], str] = lambda text: text,
    ) -> list[Review]:
        policies = opened(*([written] if isinstance(written, Mapping) else written))
        answered = respond or answers(policies, stores or (HAS_GOOD,))

        def noting(request: Request) -> Answer:
            self.asked.append(json.loads(request.body)["request"]["keys"])
            return answered(request)

        with serving(noting, self.certificates) as url:
            text = change(self.documents(policies, url))
            return self._gatekeeper.review(text, asked, cache_seconds=cache_seconds)


@pytest.fixture
def door(gatekeeper: Gatekeeper, certificates: Certificates) -> Door:
    return Door(gatekeeper, certificates)


def exempt(until: str, rule: str = "evidence") -> Json:
    return {"image": BAD, "rules": [rule], "until": until, "reason": "r", "reference": "T"}


CASES: dict[str, tuple[Json, str, Sequence[Json], bool]] = {
    "signed": ({}, GOOD, [SIGNED], True),
    "unsigned": ({}, BAD, [], False),
    "another signer": ({}, GOOD, [form_b(provenance(), signer("other"))], False),
    "another builder": ({}, GOOD, [form_b(provenance(builder="https://evil.example"))], False),
    "another image's evidence": ({}, BAD, [SIGNED], False),
    "a changed payload": (
        {},
        BAD,
        [evidence(with_payload(SIGNED.data, lambda one: one.update(subject=[subject(OTHER)])))],
        False,
    ),
    "another repository with the same digest": ({}, ELSEWHERE, [], True),
    "a level that is not reached": ({"require": {"level": 3}}, GOOD, [SIGNED], False),
    "no execution report": ({"require": {"hermetic": "enforced"}}, GOOD, [SIGNED], False),
    "an execution report": ({"require": {"hermetic": "enforced"}}, GOOD, [SIGNED, form_b(report())], True),
    "an exemption": ({"exemptions": [exempt("2099-01-01T00:00:00Z")]}, BAD, [], True),
    "an expired exemption": ({"exemptions": [exempt("2026-01-01T00:00:00Z")]}, BAD, [], False),
}


def test_gatekeeper_decides_as_the_policy_does(gatekeeper: Gatekeeper, door: Door) -> None:
    for case, (spec, image, held, passes) in CASES.items():
        shelf = Shelf(*held)
        (told,) = door.reviews(document(**spec), [review(pod(image))], shelf)
        assert told.allowed is passes, (case, told)
        ours = decided(document(**spec), shelf, image=image)
        assert (ours is None or ours.strictest.exit_code == 0) is passes, case
        if not passes:
            assert ours is not None
            wrong = ours.strictest.first_wrong
            assert wrong is not None
            assert wrong.reason is not None
            verdict = ours.strictest.verdict.value
            start = f"[production] policy production: {image}: {verdict} policy production: "
            assert told.denials[0].startswith(start), case
            assert wrong.reason.value in told.denials[0], case


@contextmanager
def everywhere(image: str) -> Iterator[Mapping[str, Json]]:
    """Give an object for each place that can name an image beside good ones."""
    container = {"name": "x", "image": image}
    volume = {"name": "v", "image": {"reference": image, "pullPolicy": "Always"}}
    places = {
        "containers": review(pod(GOOD, image)),
        "initContainers": review(pod(GOOD, initContainers=[container])),
        "ephemeralContainers": review(
            pod(GOOD, ephemeralContainers=[container]), operation="UPDATE", old=pod(GOOD)
        ),
        "volumes": review(pod(GOOD, volumes=[{"name": "tmp", "emptyDir": {}}, volume])),
        "a changed container": review(pod(image), operation="UPDATE", old=pod(GOOD)),
        "an image that moves to another container": review(
            pod(GOOD, ephemeralContainers=[container]), operation="UPDATE", old=pod(image)
        ),
        "a pod of the audit": review(pod(image), operation=""),
        "an old object that is not updated": review(pod(image), old=pod(image)),
        "a container without a name": review({"spec": {"containers": [{"image": image}]}}),
    }
    template = {"template": pod(image)}
    for group, kinds in (
        ("apps", ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")),
        ("batch", ("Job",)),
        ("", ("ReplicationController",)),
    ):
        places |= {kind: review({"spec": template}, kind, group) for kind in kinds}
    places["CronJob"] = review({"spec": {"jobTemplate": {"spec": template}}}, "CronJob", "batch")
    places["PodTemplate"] = review(template, "PodTemplate")
    yield places


def test_an_image_is_asked_about_wherever_it_stands(door: Door) -> None:
    with everywhere(BAD) as places:
        for place, told in zip(places, door.reviews(document(), list(places.values())), strict=True):
            assert not told.allowed, place
            assert "no_evidence" in told.denials[0], place
    with everywhere(GOOD) as places:
        for place, told in zip(places, door.reviews(document(), list(places.values())), strict=True):
            assert told == Review(True, (), (), ()), place


def test_what_an_update_leaves_as_it_was_and_what_is_deleted_is_not_asked_about(door: Door) -> None:
    asked = [
        review(pod(BAD), operation="UPDATE", old=pod(BAD)),
        review(pod(BAD), operation="DELETE", old=pod(BAD)),
        review(
            {"spec": {"template": pod(BAD), "replicas": 3}},
            "Deployment",
            "apps",
            "UPDATE",
            {"spec": {"template": pod(BAD)}},
        ),
        review({"spec": {"containers": []}}),
        review({"spec": {"template": pod("")}}, "Deployment", "apps"),
    ]
    assert all(told == Review(True, (), (), ()) for told in door.reviews(document(), asked))
    assert door.asked == []


def test_an_object_in_which_no_pod_is_found_is_denied_and_may_be_deleted(door: Door) -> None:
    empty = {"spec": {"replicas": 1}}
    denied, deleted = door.reviews(
        document(),
        [
            review(empty, "Deployment", "apps"),
            review(empty, "Deployment", "apps", operation="DELETE", old=empty),
        ],
    )
    assert denied.denials == (
        "[production] policy production: it is not known where an object of kind Deployment names images",
    )
    assert deleted.allowed
    assert door.asked == []


def test_a_tag_is_refused_where_the_policy_is_for_its_repository(door: Door) -> None:
    mine, others = door.reviews(
        document(), [review(pod(f"{IMAGE}:1.0")), review(pod("registry.example.com/elsewhere/app:1.0"))]
    )
    assert "not_pinned" in mine.denials[0]
    assert others.allowed


def test_all_images_of_a_pod_are_asked_about_in_one_request_and_each_is_told(door: Door) -> None:
    (told,) = door.reviews(document(), [review(pod(GOOD, BAD, f"{IMAGE}:1.0"))])
    (keys,) = door.asked
    assert sorted(keys) == sorted([GOOD, BAD, f"{IMAGE}:1.0"])
    assert len(told.denials) == 2


def test_the_mode_says_what_a_violation_leads_to(door: Door) -> None:
    for mode, name in (("enforce", "denials"), ("warn", "warnings"), ("audit", "dryrun")):
        (told,) = door.reviews(document(mode=mode), [review(pod(BAD))])
        assert told.allowed is (mode != "enforce")
        assert [bool(getattr(told, one)) for one in ("denials", "warnings", "dryrun")] == [
            one == name for one in ("denials", "warnings", "dryrun")
        ]


def test_namespaces_are_matched_by_name_and_label(door: Door) -> None:
    for wanted, labels, applies in (
        ({"names": ["shop"]}, {}, True),
        ({"names": ["sh*", "other"]}, {}, True),
        ({"names": ["other", "*-shop"]}, {}, False),
        ({"matchLabels": {"env": "prod"}}, {"env": "prod"}, True),
        ({"matchLabels": {"env": "prod"}}, {"env": "test"}, False),
        ({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["test"]}]}, {}, True),
        ({"matchExpressions": [{"key": "env", "operator": "Exists"}]}, {}, False),
        ({"names": ["shop"], "matchLabels": {"env": "prod"}}, {"env": "test"}, False),
        # what Gatekeeper cannot write is for every namespace
        ({"names": ["s*p"]}, {}, True),
    ):
        written = document(match={"images": ["**"], "namespaces": wanted})
        (told,) = door.reviews(written, [review(pod(BAD), **labels)])
        assert told.allowed is not applies, wanted


def test_missing_evidence_and_an_unavailable_store_only_warn_where_the_policy_says_so(door: Door) -> None:
    written = document(missing="warn")
    missing, wrong = (
        door.reviews(written, [review(pod(BAD))]),
        door.reviews(written, [review(pod(GOOD))], Shelf(form_b(provenance(builder="https://evil.example")))),
    )
    assert missing[0].allowed
    assert "no_evidence" in missing[0].warnings[0]
    assert not wrong[0].allowed
    (away,) = door.reviews(written, [review(pod(GOOD))], Broken())
    assert "no decision was possible" in away.denials[0]
    assert away.warnings == ()
    (away,) = door.reviews(document(unavailable="warn"), [review(pod(GOOD))], Broken())
    assert away.allowed
    assert "registry.example.com answered 503" in away.warnings[0]
    (missing_too,) = door.reviews(document(unavailable="warn"), [review(pod(BAD))])
    assert not missing_too.allowed


def test_a_constraint_may_name_the_digests_of_policies_that_count(door: Door) -> None:
    digest = opened(document())[0].policy.digest
    for listed, passes in ((digest, True), (f"sha256:{OTHER}", False)):
        put = f'parameters:\n    policyDigests: ["{listed}"]\n'
        (told,) = door.reviews(
            document(), [review(pod(GOOD))], change=lambda text, put=put: text.replace("parameters:\n", put)
        )
        assert told.allowed is passes
    assert "not one of this policy" in told.denials[0]


def test_two_policies_ask_by_their_own_names_and_namespaces(door: Door) -> None:
    lax = document("lax", ["**"], match={"images": ["**"], "namespaces": {"names": ["sandbox"]}}, mode="warn")
    told = door.reviews([document(trust=[trust("other", "other")]), lax], [review(pod(GOOD))])
    assert [one.partition("]")[0] for one in told[0].denials] == ["[production"]
    assert told[0].warnings == ()


def item(key: str, **told: Json) -> Json:
    return {"key": key, **told}


def verified(key: str, **changed: Json) -> Json:
    value = {"verdict": "VERIFIED", "policy": "production", "policyDigest": "", "digest": ""} | changed
    return item(key, value=value)


def says(*items: Json, status: int = 200, **more: Json) -> Callable[[Request], Answer]:
    written = {
        "apiVersion": "externaldata.gatekeeper.sh/v1beta1",
        "kind": "ProviderResponse",
        "response": {"idempotent": True, "items": list(items), "systemError": ""} | more,
    }
    return lambda _: Answer(status, written)


@pytest.mark.parametrize(
    ("respond", "allowed", "why"),
    [
        (says(verified(GOOD)), True, ""),
        (says(verified(GOOD), status=500), True, ""),
        (says(), False, "the provider did not answer"),
        (says(verified(BAD)), False, "the provider did not answer"),
        (says(verified(GOOD), verified(BAD)), False, "which was not asked"),
        (says(verified(GOOD), item(BAD, error="FAILED x")), False, "FAILED x"),
        (says(verified(GOOD), item(GOOD, error="FAILED x")), False, "FAILED x"),
        (says(item(GOOD, error="FAILED x", value=verified(GOOD)["value"])), False, "FAILED x"),
        (says(verified(GOOD, verdict="FAILED")), False, "not one of this policy"),
        (says(verified(GOOD, policy="other")), False, "not one of this policy"),
        (says(verified(GOOD, verdict=True)), False, "not one of this policy"),
        (says(item(GOOD, value="VERIFIED")), False, "not one of this policy"),
        (says(item(GOOD)), False, "not one of this policy"),
        (says(verified(GOOD.upper())), False, "the provider did not answer"),
        (says(verified(GOOD), systemError="half of it failed"), False, "half of it failed"),
        (lambda _: Answer(200, b"<html>"), False, "failed to unmarshal"),
        (lambda _: Answer(200, b""), False, "failed to unmarshal"),
        (lambda _: Answer(200, b"{}"), False, "the provider did not answer"),
        (lambda _: Answer(200, b"null"), False, "the provider did not answer"),
        (lambda _: Answer(200, b"[]"), False, "failed to unmarshal"),
        (lambda _: Answer(200, {"response": {"items": None}}), False, "the provider did not answer"),
        (lambda _: Answer(302, b"", {"Location": "https://127.0.0.1:1/"}), False, "no decision was possible"),
    ],
)
def test_nothing_but_a_whole_answer_admits(
    door: Door, respond: Callable[[Request], Answer], allowed: bool, why: str
) -> None:
    (told,) = door.reviews(document(), [review(pod(GOOD))], respond=respond)
    assert told.allowed is allowed
    assert why in "; ".join(told.denials)


VALUES = [
    {"verdict": "VERIFIED", "policy": "production", "policyDigest": ""},
    {"verdict": "EXEMPT", "policy": "production", "policyDigest": "x"},
    {"verdict": "UNMATCHED", "policy": "production", "policyDigest": "x", "more": [1]},
    {"verdict": "VERIFIED", "policy": "production"},
    {"verdict": "VERIFIED", "policy": "other", "policyDigest": "x"},
    {"verdict": "NOT_FOUND", "policy": "production", "policyDigest": "x"},
    {"verdict": None, "policy": "production", "policyDigest": "x"},
    {"policy": "production"},
    {},
    "VERIFIED",
    None,
    [],
]
IMAGES = [GOOD, BAD, ELSEWHERE, "a:1"]


def some_answer(chance: random.Random, images: Sequence[str]) -> tuple[list[Json], str]:
    """Return items and a system error: often a whole answer, with some faults."""
    keys = [key for key in images if chance.random() > 0.1]
    keys += chance.choices(IMAGES, k=chance.choice([0, 0, 0, 1]))
    items = [item(key, value=chance.choice(VALUES[:3])) for key in keys]
    for each in items:
        if chance.random() < 0.1:
            each["value"] = chance.choice(VALUES)
        if chance.random() < 0.1:
            each["error"] = chance.choice(["FAILED x", "NOT_FOUND x"])
    chance.shuffle(items)
    return items, chance.choice(["", "", "", "", "away"])


def test_whatever_is_answered_only_a_whole_answer_admits(door: Door) -> None:
    chance = random.Random(40)
    images = [chance.sample(IMAGES, chance.choice([1, 2, 3])) for _ in range(500)]
    told = [some_answer(chance, asked) for asked in images]
    rest = iter(zip(images, told, strict=True))

    def respond(request: Request) -> Answer:
        asked, (items, error) = next(rest)
        assert set(json.loads(request.body)["request"]["keys"]) == set(asked)
        return says(*items, systemError=error)(request)

    found = door.reviews(document(), [review(pod(*asked)) for asked in images], respond=respond)
    for asked, (items, error), one in zip(images, told, found, strict=True):
        is_whole = {each["key"] for each in items} == set(asked) and all(
            "error" not in each and each["value"] in VALUES[:3] for each in items
        )
        assert one.allowed is (is_whole and not error), (asked, items, error, one)
    assert 100 < sum(one.allowed for one in found) < 400


def test_a_provider_with_another_ca_or_that_is_down_denies(
    door: Door, gatekeeper: Gatekeeper, tmp_path: Path
) -> None:
    other = make_certificates(tmp_path).ca_file.read_bytes()
    with serving(says(verified(GOOD)), door.certificates) as url:
        text = door.documents(opened(document()), url, other)
        (told,) = gatekeeper.review(text, [review(pod(GOOD))])
        assert "certificate signed by unknown authority" in told.denials[0]
    text = door.documents(opened(document()), "https://127.0.0.1:1")  # a port that nobody gets by chance
    (told,) = gatekeeper.review(text, [review(pod(GOOD))])
    assert "connection refused" in told.denials[0]


def test_a_provider_that_is_late_denies(door: Door, gatekeeper: Gatekeeper) -> None:
    ended = threading.Event()

    def late(_: Request) -> Answer:
        ended.wait(30)
        return says(verified(GOOD))(_)

    try:
        with serving(late, door.certificates) as url:
            text = door.documents(opened(document()), url).replace("timeout: 30\n", "timeout: 1\n")
            (told,) = gatekeeper.review(text, [review(pod(GOOD))])
            ended.set()
    finally:
        ended.set()
    assert "no decision was possible" in told.denials[0]
    assert "exceeded" in told.denials[0]


def test_gatekeeper_shows_its_certificate_where_the_server_demands_one(
    door: Door, gatekeeper: Gatekeeper, tmp_path: Path
) -> None:
    authority = ClientAuthority.make(tmp_path)
    shutil.copy(door.certificates.cert_file, tmp_path / "tls.crt")
    shutil.copy(door.certificates.key_file, tmp_path / "tls.key")
    files = (tmp_path / "client.pem", tmp_path / "client.key")
    for file, data in zip(files, authority.issue("gatekeeper"), strict=True):
        file.write_bytes(data)
    context = Certificate(tmp_path, authority.ca_file).context
    with serving(says(verified(GOOD)), context) as url:
        text = door.documents(opened(document()), url)
        (told,) = gatekeeper.review(text, [review(pod(GOOD))])
        assert "no decision was possible" in told.denials[0]
        (told,) = gatekeeper.review(text, [review(pod(GOOD))], client=files)
    assert told.allowed


def test_gatekeeper_keeps_verdicts_and_asks_again_about_what_was_not_decided(door: Door) -> None:
    asked = [review(pod(image)) for image in (GOOD, GOOD, BAD, BAD)]
    told = door.reviews(document(), asked, cache_seconds=180)
    assert [one.allowed for one in told] == [True, True, False, False]
    assert door.asked == [[GOOD], [BAD]]
    door.asked.clear()
    told = door.reviews(document(), [review(pod(GOOD))] * 2, Broken(), cache_seconds=180)
    assert [one.allowed for one in told] == [False, False]
    assert door.asked == [[GOOD], [GOOD]]


def test_hostile_names_reach_neither_rego_nor_yaml_as_code(door: Door) -> None:
    names = ['x"; allow { true } #', "a\u2028b", "{{ .x }}", "*a", "&a", "- a: b", "\u202eevil", "%v", "`"]
    images = [f"{IMAGE}:{name}" for name in names]
    (told,) = door.reviews(document(), [review(pod(GOOD, *images))])
    assert len(told.denials) == len(names)
    assert all(any(image in denial for denial in told.denials) for image in images)
    # a namespace of such a name cannot exist; written in a comment it ends no line
    hostile = [name for name in names if name != "*a"] + ["a\u0085- kind: Evil"]
    written = document(match={"images": ["**"], "namespaces": {"names": hostile}})
    told = door.reviews(written, [review(pod(GOOD)), review(pod(BAD))])[1]
    assert not told.allowed
