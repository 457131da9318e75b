"""Signed evidence made to order, indexes built from it, and the content of an index without its ids."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Connection, select

from chains.index import tables
from chains.index.codes import Role
from chains.index.database import Place, reading
from chains.index.ingest import Ingested, Source, ingest
from chains.index.reading import Trust
from chains.index.target import Target, building, updating
from chains.verify.criteria import Criteria
from signers.formats.bundle import build_bundle
from signers.formats.dsse import Envelope, Signature, pae
from signers.keys.public_key import PublicKey
from storage.base import Store
from storage.errors import StoreError
from storage.open import open_store
from storage.parts import Part
from storage.record import (
    BUNDLE_FORMAT,
    DSSE_FORMAT,
    IN_TOTO_PAYLOAD_TYPE,
    Evidence,
    Findings,
    Origin,
    Record,
    Skipped,
    Stored,
)

Json = Any
NOW = datetime(2026, 11, 20, tzinfo=UTC)
LATER = datetime(2026, 11, 21, tzinfo=UTC)
UID = "11111111-2222-4333-8444-{:012d}".format
SCAI, SLSA = "https://in-toto.io/attestation/scai/v0.3", "https://slsa.dev/provenance/v1"
VSA = "https://slsa.dev/verification_summary/v1"


class Signer:
    """A key of its own that signs statements."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.key = PublicKey.from_key(self._key.public_key())

    def envelope(self, statement: Json, payload: bytes = b"") -> Envelope:
        data = payload or json.dumps(statement).encode()
        signature = self._key.sign(pae(IN_TOTO_PAYLOAD_TYPE, data), ec.ECDSA(hashes.SHA256()))
        return Envelope(data, IN_TOTO_PAYLOAD_TYPE, (Signature(self.key.keyid, signature),))


def dsse(envelope: Envelope, place: str = "", origin: Origin | None = None) -> Evidence:
    """Return an envelope as it is found in a store."""
    return found(envelope.to_bytes(), DSSE_FORMAT, place, origin)


def bundle(envelope: Envelope, place: str = "", hint: str = "") -> Evidence:
    """Return an envelope in a bundle."""
    keyid = envelope.signatures[0].keyid
    data = build_bundle(envelope, keyid)
    return found(
        data.replace(f'"hint":"{keyid}"'.encode(), f'"hint":"{hint or keyid}"'.encode()), BUNDLE_FORMAT, place
    )


def found(data: bytes, form: str, place: str = "", origin: Origin | None = None) -> Evidence:
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    return Evidence("s3", place or f"store/{digest}", digest, form, data, origin=origin)


def subject(name: str) -> Json:
    return {"name": name, "digest": {"sha256": hashlib.sha256(name.encode()).hexdigest()}}


def statement(kind: str, predicate: Json, *subjects: Json) -> Json:
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": list(subjects),
        "predicateType": kind,
        "predicate": predicate,
    }


def provenance(
    number: int,
    *,
    image: str = "registry.example/shop/app",
    pipeline: str = "release",
    commit: str = "a" * 40,
    builder: str = "https://ci.example/tekton",
    inputs: Sequence[Json] = (),
) -> Json:
    """Return the provenance of the run with this number."""
    return statement(
        SLSA,
        {
            "buildDefinition": {
                "buildType": "https://tekton.dev/chains/v2/slsa-tekton",
                "externalParameters": {"runSpec": {"pipelineRef": {"name": pipeline}}},
                "resolvedDependencies": [
                    {
                        "uri": "git+https://git.example/shop.git@refs/heads/main",
                        "digest": {"sha1": commit},
                        "name": "inputs/result",
                    },
                    {"uri": "oci://registry.example/tools/builder:1", "digest": {"sha256": "b" * 64}},
                    *inputs,
                ],
            },
            "runDetails": {
                "builder": {"id": builder},
                "metadata": {"invocationId": UID(number), "finishedOn": "2026-11-18T09:15:11Z"},
            },
        },
        subject(image),
    )


def report(
    number: int,
    *,
    image: str = "registry.example/shop/app",
    level: str = "enforced",
    outcome: str = "succeeded",
    namespace: str = "ci",
    name: str = "",
    finished: str = "2026-11-18T09:15:11Z",
) -> Json:
    """Return the execution report of a TaskRun with a pod and one step."""
    run = {"name": f"taskrun/{namespace}/{name or f'run-{number}'}", "digest": {"sha256": "c" * 64}}
    conditions = {
        "uid": UID(number),
        "outcome": outcome,
        "reason": "Succeeded",
        "startedOn": "2026-11-18T09:00:00Z",
        "finishedOn": finished,
        "serviceAccountName": "builder",
    }
    return statement(
        SCAI,
        {
            "attributes": [
                {"attribute": "RUN_OUTCOME", "target": run, "conditions": conditions},
                {
                    "attribute": "HERMETIC_LEVEL",
                    "target": run,
                    "conditions": {"level": level, "reason": "no network"},
                },
                {
                    "attribute": "RUN_FACTS",
                    "target": run,
                    "conditions": {
                        "trigger": {"eventListener": "github", "trigger": "push"},
                        "createdBy": {"pipelinesascode.tekton.dev/sender": "alice"},
                        "earlierAttempts": ["pod-0"],
                        "podTemplate": {"nodeSelector": {"karpenter.sh/capacity-type": "spot"}},
                    },
                },
                {
                    "attribute": "POD_FACTS",
                    "target": {"name": "pod/ci/pod", "uri": "pod/ci/pod#1"},
                    "conditions": {"nodeName": "node-7", "startedOn": "2026-11-18T09:00:05Z"},
                },
                {
                    "attribute": "CONTAINER_FACTS",
                    "target": {
                        "name": "step/build",
                        "uri": "oci://registry.example/tools/builder",
                        "digest": {"sha256": "b" * 64},
                    },
                    "conditions": {
                        "container": "step-build",
                        "imageAsWritten": "registry.example/tools/builder:1",
                        "imageAsRun": "registry.example/tools/builder@sha256:" + "b" * 64,
                        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}},
                        "exitCode": 0,
                        "endedAs": "Completed",
                        "startedOn": "2026-11-18T09:00:15Z",
                        "finishedOn": "2026-11-18T09:10:15Z",
                    },
                },
            ]
        },
        subject(image),
    )


def trust(*signers: Signer) -> Trust:
    """Return the trust in these keys."""
    keys = [signer.key for signer in signers]
    return Trust(Criteria(keys=keys), {"keys": sorted(key.keyid for key in keys)}, {})


def built(place: Place, trusted: Trust, *sources: Source | str, now: datetime = NOW) -> Ingested:
    """Build an index, which takes the place of the old one if all of the stores were read."""

    async def work() -> Ingested:
        with building(place, trusted) as target:
            ingested = await _ingest(sources, target, trusted, now)
            if ingested.failed:
                target.keep_old()
            return ingested

    return asyncio.run(work())


async def _ingest(sources: Sequence[Source | str], target: Target, trusted: Trust, now: datetime) -> Ingested:
    """Read sources, which are opened and closed if they are URLs."""
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(open_store(one)) if isinstance(one, str) else one
            for one in sources
        ]
        return await ingest(opened, target, trusted, now, lambda *_: None)


def updated(place: Place, trusted: Trust, *sources: Source | str, now: datetime = NOW) -> Ingested:
    """Add what the stores have to an index."""

    async def work() -> Ingested:
        with updating(place, trusted) as target:
            return await _ingest(sources, target, trusted, now)

    return asyncio.run(work())


_TERMS = {
    "run": "namespace pipeline task builder repository trigger sender account node reason level_reason",
    "attestation": "predicate signer reason namespace pipeline builder repository policy",
    "artifact": "algorithm name",
    "named": "name",
    "step": "name ended_as",
    "place": "folder form",
    "verified_time": "authority",
    "log_entry": "authority",
    "summary": "verifier resource policy",
    "day": "namespace predicate",
}


def content(place: Place) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of an index, in order and with what they mean in place of ids: equal if two indexes are."""
    with reading(place) as connection:
        terms = {number: (what, text) for number, what, text in connection.execute(select(tables.term))}
        ids: dict[str, dict[Any, Any]] = {
            "attestation": _keys(connection, tables.attestation, "digest"),
            "run": _keys(connection, tables.run, "uid"),
            "store": _keys(connection, tables.store, "url"),
        }
        for table in (tables.artifact, tables.place):
            ids[table.name] = {
                row.id: tuple(_meant(table.name, *item, terms, ids) for item in row._mapping.items())
                for row in connection.execute(select(table))
            }
        assert _used_terms(connection) <= set(terms)
        shown = {}
        for table in tables.metadata.sorted_tables:
            # what nothing uses any more may stay
            if table.name in ("term", "artifact", "place"):
                continue
            rows = [
                tuple(_meant(table.name, name, value, terms, ids) for name, value in row._mapping.items())
                for row in connection.execute(select(table))
            ]
            shown[table.name] = sorted(rows, key=repr)
        return shown


_part, _artifact, _place, _location, _step = (
    tables.part.c,
    tables.artifact.c,
    tables.place.c,
    tables.location.c,
    tables.step.c,
)
_PARTS = (
    select(_part.attestation, *(_artifact[name] for name in ("digest", "algorithm", "role", "name")))
    .join(tables.artifact, _artifact.id == _part.artifact)
    .where(_artifact.digest != b"")
)
_JOINED = {
    "subject": _PARTS.where(_artifact.role == Role.SUBJECT),
    "material": _PARTS.where(_artifact.role != Role.SUBJECT),
    "step": select(
        *(column for column in _step if column.name != "image"),
        _artifact.name.label("image"),
        _artifact.digest,
    ).join(tables.artifact, _artifact.id == _step.image),
    "location": select(
        _location.attestation, _location.digest, _location.end, _place.store, _place.folder, _place.form
    ).join(tables.place, _place.id == _location.place),
}
"""Rows that several tables have together."""
_WORDS = _TERMS | {
    "subject": "algorithm name",
    "material": "algorithm name",
    "step": "name image ended_as",
    "location": "folder form",
}


def rows(place: Place, name: str, **wanted: Any) -> list[dict[str, Any]]:
    """Return the rows of a table, or of :data:`_JOINED`, with texts in place of the ids of words.

    ``wanted`` are values of columns.
    """
    with reading(place) as connection:
        terms = {number: text for number, _, text in connection.execute(select(tables.term))}
        words = _WORDS.get(name, "").split()
        asked = _JOINED[name] if name in _JOINED else select(tables.metadata.tables[name])
        found = [dict(row._mapping) for row in connection.execute(asked)]
    for row in found:
        row |= {word: terms.get(row[word], row[word]) for word in words}
    return [row for row in found if wanted.items() <= row.items()]


def _keys(connection: Connection, table: Any, column: str) -> dict[Any, Any]:
    return {number: _plain(key) for number, key in connection.execute(select(table.c.id, table.c[column]))}


def _plain(value: Any) -> Any:
    return bytes(value).hex() if isinstance(value, bytes | memoryview) else value


def _meant(table: str, name: str, value: Any, terms: dict[int, Any], ids: dict[str, dict[Any, Any]]) -> Any:
    if value is None:
        return None
    if name == "id":
        return None
    if name in _TERMS.get(table, "").split():
        return terms[value] if value else 0
    if name in ("report", "provenance"):
        return ids["attestation"][value]
    if (table, name) == ("step", "image"):
        return ids["artifact"][value]
    return ids[name][value] if name in ids else _plain(value)


def _used_terms(connection: Connection) -> set[int]:
    used: set[int] = set()
    for name, words in _TERMS.items():
        table = tables.metadata.tables[name]
        for word in words.split():
            used |= set(connection.execute(select(table.c[word])).scalars())
    return used - {None, 0}  # type: ignore[arg-type]


def file_at(path: Path) -> Place:
    return Place(path=str(path))


class Held(Store):
    """A store in memory that lists what it has and finds it again; ``held`` may be changed between two readings."""

    def __init__(self, *held: Evidence, url: str = "held:", unseen: str = "") -> None:
        self.url, self.unseen = url, unseen
        self.held = list(held)
        self.skipped: list[Skipped] = []
        self.error: StoreError | None = None
        self.find_error: StoreError | None = None

    async def put(self, record: Record) -> Stored:
        raise NotImplementedError

    async def find(self, digest: str, reference: str = "") -> Findings:
        if self.find_error is not None:
            raise self.find_error
        return Findings(tuple(one for one in self.held if digest in about(one)))

    async def find_run(self, uid: str) -> Findings:
        return Findings(tuple(one for one in self.held if f"run {uid}" in about(one)))

    async def scan(self) -> AsyncIterator[Part]:
        for one in self.held:
            yield Part(Findings((one,)), len(self.held))
        if self.skipped:
            yield Part(Findings(skipped=tuple(self.skipped)), len(self.held))
        if self.error is not None:
            raise self.error


def about(evidence: Evidence) -> set[str]:
    """Return the digests and the run that evidence is about."""
    members = json.loads(evidence.data)
    said = json.loads(base64.b64decode(members.get("dsseEnvelope", members)["payload"]))
    digests = {f"{name}:{value}" for one in said["subject"] for name, value in one["digest"].items()}
    return digests | {f"run {uid}" for uid in re.findall(UID(0)[:-1] + ".", json.dumps(said["predicate"]))}
