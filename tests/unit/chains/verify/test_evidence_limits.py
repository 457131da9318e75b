"""Junk beside evidence, evidence beside a thousand images, and payloads that would cost more than they say."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from chains.attest import reuse
from chains.verify import search
from chains.verify.examining import every
from chains.verify.search import Query, searched
from chains.verify.verdict import Verdict
from chains.verify.verifier import Verifier
from signers import strict_json
from signers.errors import FormatError
from signers.formats import dsse
from signers.formats.dsse import MAX_PAYLOAD_VALUES, Envelope, Signature, sign_payload
from storage.base import Store
from storage.formats.digest import sha256
from storage.formats.manifest_evidence import read_manifest
from storage.formats.manifests import DSSE_TYPE, OCI_MANIFEST
from storage.limits.pool import Pool
from storage.open import open_store
from storage.record import IN_TOTO_PAYLOAD_TYPE, Findings, Record, Stored
from tests.faults.verify.forge import (
    NOW,
    Shelf,
    ask,
    criteria,
    evidence,
    form_a,
    form_b,
    provenance,
    reasons,
    signer,
)
from tests.unit.chains.attest.test_reuse import Remote, attest
from tests.unit.storage import records

Json = Any
LISTS = b"[%b[]]" % (b"[]," * 1_500_000)


def test_a_payload_that_nobody_trusted_signed_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    loads = orjson.loads
    monkeypatch.setattr(
        strict_json.orjson, "loads", lambda data: read.append(data.count(b"[]")) or loads(data)
    )
    held = evidence(
        Envelope(LISTS, IN_TOTO_PAYLOAD_TYPE, (Signature("", b"forged"),)).to_bytes(), "dsse", "oci-att"
    )
    found = ask(held)
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"key_unknown"}
    assert read == [0], "the envelope alone, which has the payload in base64"


def test_a_payload_of_too_many_values_is_no_statement_whoever_signed_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dsse, "MAX_PAYLOAD_VALUES", 10**9)
    statement = provenance()
    statement["predicate"]["more"] = [0] * MAX_PAYLOAD_VALUES
    found = ask(form_a(statement))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"statement_invalid"}
    assert "at most 1000000 are read" in next(
        check.actual for check in found.checks if check.id == "statement"
    )


def test_what_could_not_be_read_back_is_not_signed() -> None:
    payload = json.dumps([0] * MAX_PAYLOAD_VALUES).encode()
    with pytest.raises(FormatError, match=r"payload has some 100000\d values, at most 1000000 are read"):
        sign_payload(signer(), payload, IN_TOTO_PAYLOAD_TYPE)


def test_many_signatures_over_a_large_payload_are_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dsse, "MAX_SIGNED_BYTES", 100)
    large = Envelope(b"x" * 51, IN_TOTO_PAYLOAD_TYPE, (Signature("", b"x"),))
    assert Envelope.from_bytes(large.to_bytes()) == large
    with pytest.raises(FormatError, match="2 signatures over 51 bytes are too much to verify"):
        Envelope.from_bytes(replace(large, signatures=large.signatures * 2).to_bytes())


def test_the_statement_of_a_run_with_a_thousand_images_is_judged_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged = []
    examine = every.examine
    monkeypatch.setattr(every, "examine", lambda *given, **more: judged.append(1) or examine(*given, **more))
    one = form_b(provenance())
    held = [replace(one, location=f"registry.example/{number}") for number in range(1000)]
    found = ask(*held)
    assert found.verdict is Verdict.VERIFIED
    assert len(judged) == 1
    assert len(found.attestations) == 1000
    assert {each.location for each in found.attestations} == {each.location for each in held}
    # what differs in anything is judged for itself
    assert len(judged) == 1
    ask(one, replace(one, digest=sha256(b"")), replace(form_a(provenance()), annotations={"a": "b"}))
    assert len(judged) == 4


class Folder(Store):
    """A folder that counts the searches."""

    def __init__(self, path: Path) -> None:
        self.url = f"file:{path}"
        self._store = open_store(self.url)
        self.searches = 0

    async def put(self, record: Record) -> Stored:
        return await self._store.put(record)

    async def find(self, digest: str, reference: str = "") -> Findings:
        self.searches += 1
        return await self._store.find(digest, reference)


def test_a_target_with_much_evidence_is_searched_again_when_its_turn_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Folder(tmp_path)
    made = records.attestation(records.subject())
    digest = f"sha256:{records.subject().digest['sha256']}"

    async def work() -> int:
        await store.put(made)
        held: list[object] = []
        together = 0

        async def one() -> None:
            nonlocal together
            async with searched([store], [Query(digest)]) as found:
                held.append(found)
                together = max(together, len(held))
                await asyncio.sleep(0)
                assert len(found.evidence) == 2
                assert not found.skipped
                held.remove(found)

        await asyncio.gather(*(one() for _ in range(4)))
        return together

    asyncio.run(work())
    assert store.searches == 4
    monkeypatch.setattr(search, "FEW_BYTES", 10)
    assert asyncio.run(work()) == 1, "one at a time"
    assert store.searches == 11, "the first one may have much at once"
    monkeypatch.setattr(search, "MOST_BYTES", len(made.bundle) + 1)

    async def too_much() -> None:
        async with searched([store], [Query(digest)]) as found:
            assert len(found.evidence) == 1
            assert "bytes of evidence" in found.skipped[0].detail

    asyncio.run(too_much())


def test_evidence_that_was_not_read_for_its_size_is_never_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FEW_BYTES", 10)
    monkeypatch.setattr(search, "MOST_BYTES", 10)
    store = Folder(tmp_path)
    digest = f"sha256:{records.subject().digest['sha256']}"

    async def work() -> Any:
        await store.put(records.attestation(records.subject()))
        return await Verifier(criteria(), [store], clock=lambda: NOW).digest(digest)

    found = asyncio.run(work())
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"unreadable"}


# what a controller looks for before it signs


class Junk(Shelf):
    """A store that has junk beside what is put into it."""

    def __init__(self, folder: Path, many: int) -> None:
        super().__init__(url=f"junk:{folder}")
        self._store = open_store(f"file:{folder}")
        self._many = many
        self._folder = folder

    async def put(self, record: Record) -> Stored:
        stored = await self._store.put(record)
        for subject in record.subjects:
            for number in range(self._many):
                links = self._folder / "by-digest" / "sha256" / subject.digest["sha256"]
                (links / f"0-{number}.envelope.json").write_bytes(b"%d" % number + b"x" * 900)
        return stored

    async def find(self, digest: str, reference: str = "") -> Findings:
        return await self._store.find(digest, reference)


def test_its_own_is_found_among_junk_and_nothing_of_the_junk_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer, kept = Remote(tmp_path), []
    stored_envelope = reuse._stored_envelope

    async def noted(statement: bytes, sealer: Json, found: Json, *, log: bool) -> Json:
        kept.extend(found)
        return await stored_envelope(statement, sealer, found, log=log)

    monkeypatch.setattr(reuse, "_stored_envelope", noted)
    pool = Pool(300_000)
    monkeypatch.setattr(reuse, "REOPENING", pool)
    store = Junk(tmp_path / "store", many=500)
    assert attest(signer, store).state == "signed"
    before = len(signer.signed)
    assert attest(signer, Junk(tmp_path / "store", many=0)).state == "signed"
    assert len(signer.signed) == before, "all of it was there"
    assert kept
    assert all(one.data for one in kept)
    assert not any(one.data.endswith(b"xxx") for one in kept)
    assert pool.free == pool.size


# what one manifest can make of itself


def test_annotations_of_a_manifest_are_not_copied_to_each_of_its_layers() -> None:
    layers = [{"mediaType": DSSE_TYPE, "digest": sha256(b"%d" % number), "size": 1} for number in range(1000)]
    notes = {f"dev.sigstore.{number}": "x" for number in range(5000)} | {"other": "y" * 1000}
    data = json.dumps({"mediaType": OCI_MANIFEST, "layers": layers, "annotations": notes}).encode()
    tracemalloc.start()
    try:
        found = read_manifest(data, "oci-att", "here", sha256(data), "")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.wanted) == 1000
    assert {len(one.annotations) for one in found.wanted} == {32}
    assert peak < 10_000_000


def test_of_a_referrer_few_layers_are_read_and_the_rest_is_told() -> None:
    layers = [{"mediaType": DSSE_TYPE, "digest": sha256(b"%d" % number), "size": 1} for number in range(20)]
    data = json.dumps({"mediaType": OCI_MANIFEST, "layers": layers}).encode()
    found = read_manifest(data, "oci-referrer", "here", sha256(data), "", 8)
    assert len(found.wanted) == 8
    assert [one.reason for one in found.skipped] == ["12 layers after the first 8 were not read"]


def test_a_manifest_of_too_many_values_is_told_and_not_read() -> None:
    data = b'{"layers":%b}' % LISTS
    (skipped,) = read_manifest(data, "oci-att", "here", sha256(data), "").skipped
    assert "the manifest is not read: it has some 3000005 values, at most 400000 are read" in skipped.reason
