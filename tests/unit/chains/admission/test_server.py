"""The endpoints over HTTP: what cannot be read or judged is an error or a denial, never an allowed request."""

from __future__ import annotations

import asyncio
import gzip
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer

from chains.admission import server as module
from chains.admission.answers import Answers
from chains.admission.images import kinds_with
from chains.admission.judge import Judge, Tags
from chains.admission.mutate import Mutator
from chains.admission.namespaces import Namespaces
from chains.admission.reporting.events import Events
from chains.admission.reporting.metrics import Metrics
from chains.admission.server import application
from chains.admission.validate import Validator
from tests.faults.verify.forge import NOW
from tests.unit.chains.admission.made import OTHER_REF, REF, Made, document, pod, request, review_bytes

Json = Any
GOOD, BAD = review_bytes(request(pod(REF))), review_bytes(request(pod(OTHER_REF)))


def served(folder: Path, ask: Callable[[TestClient[Any, Any], Metrics], Awaitable[None]]) -> None:
    """Let a client ask the application, over a socket and without TLS."""

    async def run() -> None:
        made = Made(folder, document())
        await made.policies.look()
        answers, metrics = Answers(made.stores, now=lambda: NOW), Metrics()
        namespaces, tags = Namespaces(None), Tags(made.registry)
        validator = Validator(made.policies, namespaces, Judge(answers, tags), kinds_with([]))
        mutator = Mutator(made.policies, namespaces, tags)
        app = application(validator, mutator, made.policies, answers, metrics, Events(None, metrics))
        async with TestClient(TestServer(app)) as client:
            await ask(client, metrics)

    asyncio.run(run())


async def post(client: TestClient[Any, Any], path: str, data: Any) -> tuple[int, Json]:
    sent = io.BytesIO(data) if len(data) > 1 << 20 else data
    async with client.post(path, data=sent) as answer:
        is_json = answer.content_type == "application/json"
        return answer.status, (await answer.json())["response"] if is_json else await answer.text()


def test_a_request_is_answered_by_its_webhook(tmp_path: Path) -> None:
    async def ask(client: TestClient[Any, Any], metrics: Metrics) -> None:
        assert (await post(client, "/validate?timeout=10s", GOOD))[1]["allowed"] is True
        status, denied = await post(client, "/validate?timeout=10s", BAD)
        assert (status, denied["allowed"], denied["status"]["code"]) == (200, False, 403)
        assert (await post(client, "/mutate?timeout=10s", BAD))[1]["allowed"] is True
        for path in ("/", "/validate/x", "/metrics"):
            assert (await post(client, path, GOOD))[0] == 404
        async with client.get("/validate") as answer:
            assert answer.status == 405
        assert b'chains_admission_reviews_total{decision="deny",webhook="validate"} 1.0' in metrics.text()

    served(tmp_path, ask)


@pytest.mark.parametrize("path", ["/validate", "/mutate"])
@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", GOOD[:-1], GOOD.replace(b"v1", b"v2", 1)])
def test_what_is_no_review_is_an_error_of_http(tmp_path: Path, path: str, data: bytes) -> None:
    async def ask(client: TestClient[Any, Any], metrics: Metrics) -> None:
        status, text = await post(client, path, data)
        assert status == 400
        assert isinstance(text, str)
        assert b"chains_admission_malformed_total 1.0" in metrics.text()

    served(tmp_path, ask)


def test_a_body_above_the_limit_is_refused_and_one_below_is_judged(tmp_path: Path) -> None:
    async def ask(client: TestClient[Any, Any], _: Metrics) -> None:
        large = pod(OTHER_REF)
        large["metadata"]["annotations"] = {"padding": "x" * (3 << 20)}
        data = review_bytes(request(large, "UPDATE", oldObject={**large, "spec": {}}))
        assert len(data) > 6 << 20
        assert (await post(client, "/validate?timeout=30s", data))[1]["allowed"] is False
        assert (await post(client, "/validate?timeout=30s", data + b" " * (2 << 20)))[0] == 413

    served(tmp_path, ask)


@pytest.mark.parametrize(("path", "allowed"), [("/validate", False), ("/mutate", True)])
def test_a_fault_of_ours_denies_and_only_pins_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, allowed: bool
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret of ours")

    monkeypatch.setattr(Validator, "validate", broken)
    monkeypatch.setattr(Mutator, "mutate", broken)

    async def ask(client: TestClient[Any, Any], metrics: Metrics) -> None:
        status, answer = await post(client, path, GOOD)
        assert (status, answer["allowed"]) == (200, allowed)
        assert "secret" not in str(answer)
        assert b"chains_admission_failures_total 1.0" in metrics.text()

    served(tmp_path, ask)


def test_large_requests_wait_for_each_other_and_small_ones_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, both, entered = asyncio.Event(), asyncio.Event(), list[int]()
    validate = Validator.validate

    async def held(self: Validator, review: Any, deadline: float) -> Any:
        if "padding" in str(review.object["metadata"]):
            entered.append(1)
            if len(entered) == 2:
                both.set()
            await release.wait()
        return await validate(self, review, deadline)

    monkeypatch.setattr(Validator, "validate", held)
    monkeypatch.setattr(module, "MOST_LARGE", 2)
    large = pod(REF)
    large["metadata"]["annotations"] = {"padding": "x" * module.SMALL}
    data = review_bytes(request(large))

    async def ask(client: TestClient[Any, Any], _: Metrics) -> None:
        waiting = [asyncio.create_task(post(client, "/validate?timeout=30s", data)) for _ in range(2)]
        await both.wait()
        assert (await post(client, "/validate?timeout=100ms", data))[0] == 503
        packed = {"Content-Encoding": "gzip"}
        async with client.post("/validate?timeout=100ms", data=gzip.compress(GOOD), headers=packed) as answer:
            assert answer.status == 503, "it may be large once it is unpacked"
        assert (await post(client, "/validate?timeout=10s", GOOD))[1]["allowed"] is True
        assert len(entered) == 2
        release.set()
        assert [answer["allowed"] for _, answer in await asyncio.gather(*waiting)] == [True, True]
        assert (await post(client, "/validate?timeout=30s", data))[1]["allowed"] is True

    served(tmp_path, ask)


def test_a_body_that_does_not_arrive_is_not_waited_for(tmp_path: Path) -> None:
    async def ask(client: TestClient[Any, Any], _: Metrics) -> None:
        async def slowly() -> Any:
            yield b"{"
            await asyncio.Event().wait()

        async with (
            ClientSession() as session,
            session.post(client.make_url("/validate?timeout=100ms"), data=slowly()) as answer,
        ):
            assert answer.status == 408

    served(tmp_path, ask)
