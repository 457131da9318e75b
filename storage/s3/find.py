"""Finds evidence in a bucket: one listing, then the objects, several at the same time."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import orjson

from storage import lean_json
from storage.errors import BadContent
from storage.formats.digest import sha256
from storage.formats.manifests import CERTIFICATE_KEY, CHAIN_KEY
from storage.limits import allowance
from storage.limits.allowance import Allowance
from storage.record import Evidence, Findings, ListedRun, Origin, Skipped
from storage.s3.client import Got, S3Client
from storage.s3.errors import Missing
from storage.s3.keys import (
    ANNOTATIONS,
    CERTIFICATE,
    CHAIN,
    FORMATS,
    PAYLOAD,
    SIGNATURE,
    SNAPSHOT,
    UNDATED,
    Place,
    created_of,
    origin_of,
    parse_key,
    uid_part,
)
from storage.s3.settings import S3Settings

_MOST_KEYS = 10_000
"""The most objects that one search reads. Anyone with write access can fill a bucket."""


async def find_digest(client: S3Client, settings: S3Settings, folder: str) -> Findings:
    """Return the evidence named by the pointers under ``subjects/<algorithm>/<hex>``."""
    start = f"{settings.root}{folder}/"
    tails = [key[len(start) :] for key in await _some(client, start)]
    return await _read_all(client, settings, tails)


async def find_run(client: S3Client, settings: S3Settings, uid: str) -> Findings:
    """Return the evidence of one run, with its snapshot."""
    part = uid_part(uid)
    start, runs = f"{settings.root}uids/{part}/", f"{settings.root}runs/"
    tails: list[str] = []
    for key in await _some(client, start):
        keys = await _some(client, f"{runs}{key[len(start) :]}/{part}/")
        tails += [evidence_key[len(runs) :] for evidence_key in keys]
    return await _read_all(client, settings, tails)


async def list_runs(
    client: S3Client, settings: S3Settings, since: str, until: str
) -> AsyncIterator[ListedRun]:
    """Yield the runs under the days from ``since`` to ``until``, by kind, namespace and day."""
    first, last = since[:10].replace("-", "/"), until[:10].replace("-", "/")
    root = f"{settings.root}runs/"
    for kind in await client.folders(root):
        for namespace in await client.folders(f"{root}{kind}/"):
            async for day in _days(client, f"{root}{kind}/{namespace}/", first, last):
                created = "" if day == UNDATED else day.replace("/", "-")
                for uid in await client.folders(f"{root}{kind}/{namespace}/{day}/"):
                    yield ListedRun(Origin(kind, namespace, "", uid), created)


async def _days(client: S3Client, start: str, first: str, last: str, done: str = "") -> AsyncIterator[str]:
    """Yield the days that have runs. Only years and months in the period are listed."""
    for name in await client.folders(start + done):
        here = done + name
        # Years, months and days compare as text, each with the same number of characters of the limits.
        if (first and here < first[: len(here)]) or (last and here > last[: len(here)]):
            continue
        if len(here) >= len(UNDATED):
            yield here
        else:
            async for day in _days(client, start, first, last, here + "/"):
                yield day


async def _some(client: S3Client, prefix: str) -> list[str]:
    """Return the keys with this prefix, at most one more than are read."""
    keys = []
    async for key in client.keys(prefix):
        keys.append(key)
        if len(keys) > _MOST_KEYS:
            break
    return keys


async def _read_all(client: S3Client, settings: S3Settings, tails: Sequence[str]) -> Findings:
    """Read the objects with these tails under ``runs/``, each once, in this order."""
    allowed = allowance.current()
    turns = asyncio.Semaphore(allowed.at_once)
    wanted = list(dict.fromkeys(tails))
    places = [(tail, parse_key(tail)) for tail in wanted[:_MOST_KEYS]]
    evidence: list[Evidence] = []
    skipped: list[Skipped] = []
    if len(wanted) > _MOST_KEYS:
        where = f"s3://{settings.bucket}/{settings.root}runs/{wanted[_MOST_KEYS]}"
        skipped.append(
            Skipped(where, "", f"this and the following were not read: the limit is {_MOST_KEYS} objects")
        )
    snapshot = b""
    reads = []
    for tail, place in places:
        location = f"s3://{settings.bucket}/{settings.root}runs/{tail}"
        if place is None:
            skipped.append(Skipped(location, "", "this store does not write such keys"))
        # Certificates and payloads are read together with the evidence that they belong to.
        elif place.suffix in FORMATS or place.what == SNAPSHOT:
            work = _read(client, f"{settings.root}runs/{tail}", location, place, allowed)
            reads.append(_in_turn(turns, work))
    results = await asyncio.gather(*reads, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
        if isinstance(result, bytes):
            snapshot = result
        elif isinstance(result, Evidence):
            evidence.append(result)
        else:
            skipped.append(result)
    return Findings(tuple(evidence), tuple(skipped), snapshot)


async def _in_turn(
    turns: asyncio.Semaphore, work: Coroutine[Any, Any, Evidence | Skipped | bytes]
) -> Evidence | Skipped | bytes:
    """Run one read when a place is free."""
    async with turns:
        return await work


async def _read(
    client: S3Client, key: str, location: str, place: Place, allowed: Allowance
) -> Evidence | Skipped | bytes:
    """Read one object: evidence, or the snapshot as bytes."""
    try:
        got = await client.get(key, allowed)
        if place.suffix == SIGNATURE:
            return await _signed(client, key, location, place, got, allowed)
        if place.digest != sha256(got.data).removeprefix("sha256:"):
            return _wrong(location, got.data, place.digest)
        if place.what == SNAPSHOT:
            return got.data
        annotations = await _beside(client, key.removesuffix(place.suffix), got, allowed)
    except (Missing, BadContent) as error:
        return Skipped(location, f"sha256:{place.digest}", str(error))
    data = allowed.kept(f"sha256:{place.digest}", got.data)
    return _evidence(location, place, got, data, b"", annotations)


async def _signed(
    client: S3Client, key: str, location: str, place: Place, got: Got, allowed: Allowance
) -> Evidence | Skipped:
    """Read the payload of a raw signature. The signature's key contains the payload's digest."""
    try:
        signature = base64.b64decode(got.data, validate=True)
    except (binascii.Error, ValueError):
        return Skipped(location, f"sha256:{place.digest}", "it is not base64")
    # The key of a signature has two digests: the payload's and the signature's own.
    if sha256(signature) != f"sha256:{place.signature}":
        return _wrong(location, signature, place.signature)
    folder = key.rpartition("/")[0]
    payload = await client.get(f"{folder}/{place.digest}{PAYLOAD}", allowed)
    if sha256(payload.data) != f"sha256:{place.digest}":
        return _wrong(location, payload.data, place.digest)
    annotations = await _beside(client, key.removesuffix(SIGNATURE), got, allowed)
    return _evidence(location, place, got, payload.data, signature, annotations)


async def _beside(client: S3Client, stem: str, got: Got, allowed: Allowance) -> dict[str, str]:
    """Read the certificates and annotations that the metadata of an object list."""
    listed = got.metadata.get("beside", "").split(",")
    annotations = {}
    # The metadata name them, so no request is made for certificates that do not exist.
    for word, suffix, name in (("cert", CERTIFICATE, CERTIFICATE_KEY), ("chain", CHAIN, CHAIN_KEY)):
        if word in listed:
            pem = await client.get(stem + suffix, allowed)
            annotations[name] = pem.data.decode("ascii", "replace")
    if "annotations" in listed:
        content = await client.get(stem + ANNOTATIONS, allowed)
        try:
            members = lean_json.loads(content.data, lean_json.FEW_VALUES)
            annotations = {str(key): str(value) for key, value in members.items()} | annotations
        except (orjson.JSONDecodeError, AttributeError):
            raise BadContent(f"{stem}{ANNOTATIONS} is not a JSON object") from None
    return annotations


def _evidence(
    location: str, place: Place, got: Got, data: bytes, signature: bytes, annotations: dict[str, str]
) -> Evidence:
    return Evidence(
        "s3",
        location,
        sha256(data),
        FORMATS[place.suffix],
        data,
        signature,
        annotations,
        origin_of(place, got.metadata),
        created_of(place, got.metadata),
    )


def _wrong(location: str, data: bytes, named: str) -> Skipped:
    """Return an object as skipped because its bytes do not have the digest in its key."""
    reason = f"its bytes have {sha256(data)}, its key says sha256:{named}: they were changed"
    return Skipped(location, f"sha256:{named}", reason)
