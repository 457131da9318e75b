"""AdmissionReviews as the API server sends them, and a validator over policies and evidence made to order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chains.admission.answers import Answers
from chains.admission.images import kinds_with
from chains.admission.judge import Judge, Tags
from chains.admission.namespaces import Namespaces
from chains.admission.policies import PoliciesInForce
from chains.admission.review import Review, read_review
from chains.admission.validate import Validated, Validator
from chains.policy.opened import open_policy
from chains.policy.verdict import Decision
from storage.base import Store
from storage.errors import StoreRejected, StoreUnavailable
from tests.faults.verify.forge import DIGEST, IMAGE, NOW, OTHER, Shelf, form_b
from tests.unit.chains.policy.made import REF, document, tekton

Json = Any
OTHER_REF = f"{IMAGE}@sha256:{OTHER}"
__all__ = ["DIGEST", "IMAGE", "NOW", "OTHER_REF", "REF", "document"]


def pod_spec(*images: str) -> Json:
    return {"containers": [{"name": f"c{at}", "image": image} for at, image in enumerate(images)]}


def pod(*images: str, name: str = "web") -> Json:
    metadata = {"name": name, "namespace": "shop"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod_spec(*images)}


def deployment(*images: str) -> Json:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec(*images)}
    metadata = {"name": "web", "namespace": "shop"}
    spec = {"replicas": 1, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def request(item: Json, operation: str = "CREATE", **more: Json) -> Json:
    """The request about an object, with every member that the API server sends."""
    version, kind = item.get("apiVersion", "v1"), item.get("kind", "")
    group, _, number = version.rpartition("/")
    kinds = {"group": group, "version": number, "kind": kind}
    resource = {"group": group, "version": number, "resource": f"{kind.lower()}s"}
    return {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": kinds,
        "resource": resource,
        "requestKind": kinds,
        "requestResource": resource,
        "name": item.get("metadata", {}).get("name", ""),
        "namespace": "shop",
        "operation": operation,
        "userInfo": {"username": "admin", "groups": ["system:authenticated"]},
        "object": item,
        "oldObject": None,
        "dryRun": False,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
        **more,
    }


def review_bytes(asked: Json, **more: Json) -> bytes:
    written = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": asked}
    return json.dumps(written | more).encode()


def review(item: Json, operation: str = "CREATE", **more: Json) -> Review:
    return read_review(review_bytes(request(item, operation, **more)))


class Registry:
    """A registry with one tag; it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, reference: str) -> str:
        self.asked.append(reference)
        if reference.endswith(":refused"):
            raise StoreRejected("registry.example.com answered 401")
        if not reference.endswith(":1"):
            raise StoreUnavailable("registry.example.com answered 503")
        return DIGEST


class Made:
    """A validator over a folder of policies and one shelf of evidence."""

    def __init__(
        self,
        folder: Path,
        *policies: Json,
        stores: Sequence[Store] = (),
        allowed: Decision = Decision.DENY,
        extra: Sequence[str] = (),
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.folder, self.registry = folder, Registry()
        for at, policy in enumerate(policies):
            (folder / f"{at}.json").write_text(json.dumps(policy))
        self.policies = PoliciesInForce(folder, open_policy)
        self.stores = stores or [Shelf(form_b(tekton()))]
        self._extra, self._allowed, self._clock = extra, allowed, clock

    def validate(self, *reviews: Review, seconds: float = 60.0) -> list[Validated]:
        """Answer reviews at the same time, in one event loop."""

        async def run() -> list[Validated]:
            await self.policies.look()
            answers = Answers(self.stores, clock=self._clock, now=lambda: NOW)
            judge = Judge(answers, Tags(self.registry), self._allowed)
            validator = Validator(self.policies, Namespaces(None), judge, kinds_with(self._extra))
            deadline = asyncio.get_running_loop().time() + seconds
            return list(await asyncio.gather(*(validator.validate(one, deadline) for one in reviews)))

        return asyncio.run(run())

    def answer(self, item: Json, operation: str = "CREATE", **more: Json) -> Validated:
        return self.validate(review(item, operation, **more))[0]
