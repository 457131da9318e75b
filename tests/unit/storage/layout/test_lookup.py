"""The table of what an index names finds what looking through all entries finds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from storage.base import StoreOptions
from storage.formats.manifest_evidence import RUN_UID
from storage.layout.blobs import Blobs
from storage.layout.find import find_digest, find_run
from storage.layout.index import Index, key_of
from storage.layout.lookup import REF_NAME, SUBJECT
from storage.open import open_store
from tests.unit.storage import records

HEXES = ["a" * 64, "b" * 64, "ab" * 32]
UIDS = ["uid-1", "uid-2", ""]
FOREIGN = "application/vnd.dev.sigstore.bundle.v0.3+json"
NAMES = st.sampled_from(
    [f"sha256-{one}{end}" for one in HEXES for end in ("", ".att", ".sig")] + ["app:v1", ""]
)
SUBJECTS = st.lists(st.sampled_from([f"sha256:{one}" for one in HEXES] + ["sha1:" + "a" * 40]), max_size=3)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    annotations: dict[str, Any] = {
        REF_NAME: draw(NAMES),
        SUBJECT: ",".join(draw(SUBJECTS)),
        RUN_UID: ",".join(draw(st.lists(st.sampled_from(UIDS), max_size=2))),
        "note": draw(st.sampled_from(HEXES)),
    }
    kept = draw(st.sets(st.sampled_from(sorted(annotations))))
    return {
        "digest": "sha256:" + draw(st.text("0123456789abcdef", min_size=64, max_size=64)),
        "artifactType": draw(st.sampled_from([FOREIGN, "text/plain"])),
        "annotations": draw(
            st.sampled_from([{name: annotations[name] for name in kept}, None, ["x"], {SUBJECT: 1}])
        ),
    }


@given(st.lists(entries(), max_size=8))
def test_the_second_search_finds_what_the_first_found(listed: list[dict[str, Any]]) -> None:
    rows = {key_of(entry): orjson.dumps(entry) for entry in listed}
    blobs = Blobs(Path("/nonexistent"))
    index = Index(dict(rows))
    for digest in [*(f"sha256:{one}" for one in HEXES), "sha1:" + "a" * 40]:
        # the manifests are not there: each that would be read is told as skipped
        assert find_digest(index, blobs, digest) == find_digest(Index(dict(rows)), blobs, digest)
    for uid in ("uid-1", "uid-2"):
        assert find_run(index, blobs, uid) == find_run(Index(dict(rows)), blobs, uid)


def test_a_store_that_was_searched_finds_what_another_process_wrote_since(tmp_path: Path) -> None:
    subject = records.subject()
    digest = f"sha256:{subject.digest['sha256']}"

    async def go() -> list[int]:
        found = []
        async with open_store(f"oci-layout:{tmp_path}", StoreOptions()) as reader:
            for number in range(3):
                async with open_store(f"oci-layout:{tmp_path}", StoreOptions()) as writer:
                    await writer.put(records.attestation(subject, run=records.origin(number)))
                for _ in range(3):
                    findings = await reader.find(digest)
                    found.append(len(findings.evidence))
        return found

    assert asyncio.run(go()) == [2, 2, 2, 4, 4, 4, 6, 6, 6]
