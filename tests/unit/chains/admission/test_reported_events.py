"""Events about denials and refused policies: what they say, about what, how many, and that none costs an answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from chains.admission.reporting.events import MOST, MOST_OF_NAMESPACE, PERIOD, Events
from chains.admission.reporting.metrics import Metrics
from chains.admission.review import Review
from chains.admission.validate import Validated
from chains.cluster.client import Cluster
from chains.cluster.errors import ClusterForbidden, ObjectChanged
from tests.unit.chains.admission.made import OTHER_REF, REF, Made, deployment, document, pod, review

Json = Any
POD = {"apiVersion": "v1", "kind": "Pod", "namespace": "doors", "name": "door-1", "uid": "u-1"}
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5", "uid": "u-5", "controller": True}


class ApiServer:
    """Takes Events, each name once, as the API server does; ``error`` is what it raises instead."""

    def __init__(self, error: Exception | None = None) -> None:
        self.made: dict[str, Json] = {}
        self.paths: list[str] = []
        self.error = error

    async def create(self, path: str, body: Json) -> Json:
        self.paths.append(path)
        if self.error is not None:
            raise self.error
        name = body["metadata"]["name"]
        if name in self.made:
            raise ObjectChanged("exists")
        self.made[name] = body
        return body

    def events(self, metrics: Metrics, now: Callable[[], float] = lambda: 0.0) -> Events:
        return Events(cast("Cluster", self), metrics, POD, now)


def outcomes(metrics: Metrics) -> dict[str, float]:
    return {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if sample.name == "chains_admission_events_total" and sample.value
    }


def tell(server: ApiServer, folder: Path, *reviews: Review, mode: str = "enforce") -> dict[str, float]:
    """Judge these requests, tell about the answers, and return what became of the Events."""
    found = Made(folder, document(mode=mode)).validate(*reviews)
    return tell_answers(server, list(zip(reviews, found, strict=True)))


def tell_answers(server: ApiServer, answers: Sequence[tuple[Review, Validated]]) -> dict[str, float]:
    metrics = Metrics()

    async def run() -> None:
        events = server.events(metrics)
        for asked, answer in answers:
            events.denied(asked, answer)
        await events.close()

    asyncio.run(run())
    return outcomes(metrics)


def test_a_denial_is_told_about_the_object_with_the_words_of_the_denial(tmp_path: Path) -> None:
    server, asked = ApiServer(), review(deployment(OTHER_REF))
    (found,) = Made(tmp_path, document()).validate(asked)
    assert tell_answers(server, [(asked, found)]) == {"written": 1}
    (event,) = server.made.values()
    assert server.paths == ["/api/v1/namespaces/shop/events"]
    assert (event["type"], event["reason"]) == ("Warning", "ImageDenied")
    assert event["source"] == {"component": "chains-admission"}
    assert event["message"] == found.answer.message
    assert event["involvedObject"] == {
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "namespace": "shop",
    }  # fmt: skip


def owned(*owners: Json, name: str = "web-5-abc") -> Json:
    found = pod(OTHER_REF, name=name)
    found["metadata"]["ownerReferences"] = list(owners)
    return found


def test_a_new_pod_is_told_about_its_controller_and_the_same_denial_once(tmp_path: Path) -> None:
    server = ApiServer()
    told = tell(server, tmp_path, *(review(owned(OWNER, name=f"web-5-{at}")) for at in range(3)))
    assert told == {"written": 1, "known": 2}
    (event,) = server.made.values()
    about = {key: value for key, value in OWNER.items() if key != "controller"}
    assert event["involvedObject"] == {**about, "namespace": "shop"}


@pytest.mark.parametrize(
    ("item", "operation", "name", "uid"),
    [
        (owned({**OWNER, "controller": False}), "CREATE", "web-5-abc", None),
        (owned({**OWNER, "kind": "\x1b[2J"}), "CREATE", "web-5-abc", None),
        (owned({**OWNER, "name": ["web"]}), "CREATE", "web-5-abc", None),
        (owned({**OWNER, "uid": "u\n5"}), "CREATE", "web-5", None),
        (owned(OWNER), "UPDATE", "web-5-abc", "u-9"),
    ],
    ids=["no controller", "odd kind", "odd name", "odd uid", "an object that exists"],
)
def test_an_event_is_about_the_object_if_it_exists_or_its_owner_cannot_be_named(
    tmp_path: Path, item: Json, operation: str, name: str, uid: str | None
) -> None:
    server = ApiServer()
    item = {**item, "metadata": {**item["metadata"], "uid": "u-9"}}
    assert tell(server, tmp_path, review(item, operation)) == {"written": 1}
    (event,) = server.made.values()
    assert (event["involvedObject"]["name"], event["involvedObject"].get("uid")) == (name, uid)


def test_a_name_that_the_api_server_generates_later_is_told_as_far_as_it_is_known(tmp_path: Path) -> None:
    server, item = ApiServer(), pod(OTHER_REF)
    item["metadata"] = {"generateName": "web-", "namespace": "shop"}
    tell(server, tmp_path, review(item, name=""))
    (event,) = server.made.values()
    assert event["involvedObject"]["name"] == "web"


@pytest.mark.parametrize("namespace", ["", "../kube-system", "a/b", "Shop", "x" * 64])
def test_nothing_is_written_where_no_namespace_can_be(tmp_path: Path, namespace: str) -> None:
    server = ApiServer()
    assert tell(server, tmp_path, review(pod(OTHER_REF), namespace=namespace)) == {}
    assert server.paths == []


def test_a_dry_run_an_allowed_image_and_a_warning_tell_nothing(tmp_path: Path) -> None:
    server = ApiServer()
    assert tell(server, tmp_path, review(pod(OTHER_REF), dryRun=True), review(pod(REF))) == {}
    assert tell(server, tmp_path, review(pod(OTHER_REF)), mode="warn") == {}
    assert server.paths == []


def test_a_denial_because_there_are_no_policies_is_not_told_as_one_of_a_policy(tmp_path: Path) -> None:
    server, asked = ApiServer(), review(pod(OTHER_REF))
    (found,) = Made(tmp_path).validate(asked)
    assert not found.answer.allowed
    assert tell_answers(server, [(asked, found)]) == {}


def test_denials_are_bounded_in_a_minute_for_a_namespace_and_in_all(tmp_path: Path) -> None:
    asked = review(pod(OTHER_REF))
    (found,) = Made(tmp_path, document()).validate(asked)
    server, metrics, clock = ApiServer(), Metrics(), [0.0]

    async def run() -> None:
        events = server.events(metrics, lambda: clock[0])

        def flood() -> None:
            for space in range(5):
                for at in range(MOST_OF_NAMESPACE + 1):
                    item = pod(OTHER_REF, name=f"web-{at}")
                    events.denied(review(item, namespace=f"n-{space}"), found)

        flood()
        events.policies("a reason that is told in spite of the flood")
        await events.close()
        spaces = Counter(event["metadata"]["namespace"] for event in server.made.values())
        assert spaces == {"n-0": MOST_OF_NAMESPACE, "n-1": 20, "n-2": 20, "doors": 1}
        assert outcomes(metrics) == {"written": MOST + 1, "left_out": 3 + 2 * 21}
        # in the next minute, what was left out is told
        clock[0] = 60.0
        flood()
        await events.close()
        spaces = Counter(event["metadata"]["namespace"] for event in server.made.values())
        assert spaces == {"n-0": 21, "n-1": 21, "n-2": 21, "n-3": 20, "n-4": 20, "doors": 1}

    asyncio.run(run())


def test_the_same_denial_is_told_again_after_ten_minutes_and_once_by_two_processes(tmp_path: Path) -> None:
    asked = review(pod(OTHER_REF))
    (found,) = Made(tmp_path, document()).validate(asked)
    server, metrics, clock = ApiServer(), Metrics(), [0.0]

    async def run() -> None:
        first, second = (server.events(metrics, lambda: clock[0]) for _ in range(2))
        for now in (0.0, PERIOD - 1.0, float(PERIOD)):
            clock[0] = now
            for events in (first, second):
                events.denied(asked, found)
                await events.close()

    asyncio.run(run())
    assert len(server.made) == 2
    assert outcomes(metrics) == {"written": 2, "known": 4}


def test_an_event_that_is_refused_is_counted_logged_once_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = review(pod(OTHER_REF))
    (found,) = Made(tmp_path, document()).validate(asked)
    server, metrics = ApiServer(ClusterForbidden("events is forbidden")), Metrics()

    async def run() -> None:
        events = server.events(metrics)
        for _ in range(2):
            events.denied(asked, found)
            await events.close()
        server.error = None
        events.denied(asked, found)
        await events.close()

    asyncio.run(run())
    assert outcomes(metrics) == {"failed": 2, "written": 1}
    assert [record.message for record in caplog.records].count("an event was not written") == 1


def test_an_event_waits_for_the_api_server_in_the_background(tmp_path: Path) -> None:
    asked = review(pod(OTHER_REF))
    (found,) = Made(tmp_path, document()).validate(asked)
    server, metrics = ApiServer(), Metrics()

    async def run() -> None:
        events = server.events(metrics)
        events.denied(asked, found)
        assert server.paths == [], "the answer is sent before the API server is asked"
        await events.close()

    asyncio.run(run())
    assert len(server.made) == 1


def test_refused_policies_are_told_once_for_each_change_about_the_pod() -> None:
    server, metrics, clock = ApiServer(), Metrics(), [0.0]

    async def run() -> None:
        events = server.events(metrics, lambda: clock[0])
        for refused in ("", "no YAML", "no YAML", "", "no policies"):
            events.policies(refused)
        clock[0] = float(PERIOD)
        events.policies("no policies")
        await events.close()

    asyncio.run(run())
    assert [(event["reason"], event["message"]) for event in server.made.values()] == [
        ("PoliciesRefused", "the newest policies are refused: no YAML"),
        ("PoliciesRefused", "the newest policies are refused: no policies"),
    ]
    assert [event["involvedObject"] for event in server.made.values()] == [POD, POD]


def test_refused_policies_are_told_at_a_later_look_if_the_api_server_was_away() -> None:
    server, metrics = ApiServer(ClusterForbidden("away")), Metrics()

    async def run() -> None:
        events = server.events(metrics)
        for error in (server.error, None, None):
            server.error = error
            events.policies("no YAML")
            await events.close()

    asyncio.run(run())
    assert outcomes(metrics) == {"failed": 1, "written": 1}


def test_without_a_cluster_or_a_pod_nothing_is_told() -> None:
    server, metrics = ApiServer(), Metrics()

    async def run() -> None:
        for events in (Events(None, metrics, POD), Events(cast("Cluster", server), metrics)):
            events.policies("no YAML")
            await events.close()

    asyncio.run(run())
    assert (server.paths, outcomes(metrics)) == ([], {})
