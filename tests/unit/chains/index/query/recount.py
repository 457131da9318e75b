"""Counts raw statements that fit queries. A program of its own, with nothing of chains, signers or storage in it.

``python recount.py KEY.pem FOLDER < QUERIES``: QUERIES is a JSON list of lists of ``[key, value, is_negated]``;
FOLDER has DSSE envelopes. It prints a JSON list of counts.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

SCAI = "https://in-toto.io/attestation/scai/v0.3"


def read(path: Path, key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """Return what a statement says, and whether the key signed it."""
    envelope = json.loads(path.read_bytes())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)
    (signature,) = envelope["signatures"]
    try:
        key.verify(base64.b64decode(signature["sig"]), signed, ec.ECDSA(hashes.SHA256()))
        is_verified = True
    except InvalidSignature:
        is_verified = False
    statement = json.loads(payload)
    predicate = statement["predicate"]
    said: dict[str, Any] = {
        "type": statement["predicateType"],
        "verdict": "verified" if is_verified else "failed",
        "subjects": [(one["name"], one["digest"]["sha256"]) for one in statement["subject"]],
        "inputs": [],
    }
    if said["type"] == SCAI:
        attributes = {one["attribute"]: one for one in predicate["attributes"]}
        outcome = attributes["RUN_OUTCOME"]
        said["uid"] = outcome["conditions"]["uid"]
        said["namespace"] = outcome["target"]["name"].split("/")[1]
        said["outcome"] = outcome["conditions"]["outcome"]
        said["ended"] = outcome["conditions"]["finishedOn"]
        said["level"] = attributes["HERMETIC_LEVEL"]["conditions"]["level"]
        image = attributes["CONTAINER_FACTS"]["target"]
        said["inputs"].append((image["uri"], image["digest"]["sha256"]))
    else:
        definition, details = predicate["buildDefinition"], predicate["runDetails"]
        said["uid"] = details["metadata"].get("invocationId", "")
        said["ended"] = details["metadata"]["finishedOn"]
        said["builder"] = details["builder"]["id"]
        said["pipeline"] = definition["externalParameters"]["runSpec"]["pipelineRef"]["name"]
        said["inputs"] += [
            (one["uri"], digest)
            for one in definition["resolvedDependencies"]
            for digest in one["digest"].values()
        ]
    return said


def with_runs(said: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each statement with what the verified statements that name its run say.

    What was not verified, or names no run, has what it says itself.
    """
    runs: dict[str, dict[str, Any]] = {}
    names = ("namespace", "outcome", "level", "pipeline", "builder")
    for one in said:
        if one["verdict"] == "verified" and one["uid"]:
            runs.setdefault(one["uid"], {}).update({name: one[name] for name in names if name in one})
    for one in said:
        yield one | (runs[one["uid"]] if one["verdict"] == "verified" and one["uid"] else {})


def fits(one: dict[str, Any], key: str, value: str) -> bool:
    sources = [(uri, digest) for uri, digest in one["inputs"] if uri.startswith("git+")]
    lists = {
        "digest": [digest.startswith(value) for _, digest in one["subjects"]],
        "image": [name == value for name, _ in one["subjects"]],
        "commit": [digest.startswith(value) for _, digest in sources],
        "repo": [uri.removeprefix("git+").split(".git@")[0] == value for uri, _ in sources],
        "input": [digest.startswith(value) for _, digest in one["inputs"]],
        "run": [one["uid"] == value],
        "from": [one["ended"] >= value],
    }
    return any(lists[key]) if key in lists else bool(one.get(key) == value)


def main() -> None:
    key = serialization.load_pem_public_key(Path(sys.argv[1]).read_bytes())
    assert isinstance(key, ec.EllipticCurvePublicKey)
    said = list(with_runs([read(path, key) for path in sorted(Path(sys.argv[2]).iterdir())]))
    queries = json.load(sys.stdin)
    counts = [
        sum(all(fits(one, name, value) is not negated for name, value, negated in query) for one in said)
        for query in queries
    ]
    json.dump(counts, sys.stdout)


if __name__ == "__main__":
    main()
