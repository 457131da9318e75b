"""Policies and evidence made to order for the tests of policies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from chains.policy.answer import answer
from chains.policy.document.load import parse_policies
from chains.policy.document.patterns import read_image
from chains.policy.document.policy import Namespace
from chains.policy.opened import OpenedPolicy, open_policy
from chains.policy.verdict import ImageAnswer, PolicyVerdict
from chains.statements.statement import SCAI, STATEMENT_V1
from storage.base import Store
from storage.record import Evidence
from tests.faults.verify.forge import BUILDER, DIGEST, IMAGE, NOW, Shelf, public, subject

Json = Any
REF = f"{IMAGE}@{DIGEST}"
CATALOG = "git+https://git.example.com/platform/catalog.git"
STOREFRONT = "git+https://git.example.com/shop/storefront.git"


def trust(
    name: str = "tekton", *keys: str, builder: str = BUILDER, level: int = 2, **window: str
) -> dict[str, Json]:
    """Return a trust entry for keys of ``forge``, by default that of ``ours``."""
    listed = [{"pem": public(key).pem.decode(), **window} for key in keys or ("ours",)]
    return {"name": name, "signer": {"keys": listed}, "builderId": builder, "maxLevel": level}


def document(
    name: str = "production", images: Sequence[str] = (f"{IMAGE}",), **spec: Json
) -> dict[str, Json]:
    """Return a policy document; ``spec`` has further parts of it."""
    return {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": name},
        "spec": {"match": {"images": list(images)}, "trust": [trust()], **spec},
    }


def opened(*documents: dict[str, Json]) -> list[OpenedPolicy]:
    """Open policies; a document that is wrong fails the test with its problems."""
    found = []
    for one in documents:
        read = parse_policies(json.dumps(one).encode(), "policy.json")
        assert not read.errors, read.errors
        found += [open_policy(policy) for policy in read.policies]
    return found


def problems(written: dict[str, Json] | bytes) -> set[str]:
    """Return the codes of what is wrong with a document."""
    data = written if isinstance(written, bytes) else json.dumps(written).encode()
    return {problem.code for problem in parse_policies(data, "policy.yaml").problems}


def decided(
    written: dict[str, Json] | Sequence[dict[str, Json]],
    *held: Evidence | Store,
    image: str = REF,
    now: datetime = NOW,
    namespace: Namespace | None = None,
) -> ImageAnswer | None:
    """Return what policies say about an image of which one shelf, or the stores given, have evidence."""
    documents = [written] if isinstance(written, dict) else list(written)
    pieces = [one for one in held if isinstance(one, Evidence)]
    stores = [one for one in held if isinstance(one, Store)]
    if pieces or not stores:
        stores = [Shelf(*pieces), *stores]
    policies = opened(*documents)
    return asyncio.run(answer(policies, read_image(image), stores=stores, now=now, namespace=namespace))


def verdict(written: dict[str, Json], *held: Evidence | Store, **more: Json) -> PolicyVerdict:
    """Return the answer of one policy that matches."""
    found = decided(written, *held, **more)
    assert found is not None
    return found.strictest


def wrong(one: PolicyVerdict) -> dict[str, str]:
    """Return each requirement that is not met with its reason code."""
    return {
        str(check.id): check.reason.value if check.reason else "" for check in one.checks if check.is_wrong
    }


def report(
    *,
    uid: str = "uid-1",
    level: str = "enforced",
    outcome: str = "succeeded",
    namespace: str = "ci",
    attributes: Sequence[Json] = (),
    value: str = "",
) -> Json:
    """Return an execution report about the image."""
    target = {"name": f"taskrun/{namespace}/build-1", "digest": {"sha256": "ab" * 32}}
    return {
        "_type": STATEMENT_V1,
        "subject": [subject(value) if value else subject()],
        "predicateType": SCAI,
        "predicate": {
            "attributes": [
                {
                    "attribute": "RUN_OUTCOME",
                    "target": target,
                    "conditions": {"uid": uid, "outcome": outcome},
                },
                {"attribute": "HERMETIC_LEVEL", "target": target, "conditions": {"level": level}},
                *attributes,
            ],
            "producer": {"name": "provenance-chains"},
        },
    }


def tekton(
    *,
    uid: str = "uid-1",
    builder: str = BUILDER,
    external: Json = None,
    dependencies: Sequence[Json] = (),
    build_type: str = "https://tekton.dev/chains/v2/slsa",
    value: str = "",
) -> Json:
    """Return Tekton's provenance about the image."""
    return {
        "_type": STATEMENT_V1,
        "subject": [subject(value) if value else subject()],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": build_type,
                "externalParameters": {} if external is None else external,
                "internalParameters": {},
                "resolvedDependencies": list(dependencies),
            },
            "runDetails": {"builder": {"id": builder}, "metadata": {"invocationId": uid}},
        },
    }


def git_input(uri: str = STOREFRONT) -> Json:
    """Return an input that the task itself named."""
    return {"name": "inputs/result", "uri": uri, "digest": {"sha1": "a" * 40}}
