from __future__ import annotations

import json

import pytest

from storage.errors import BadContent
from storage.formats.digest import sha256
from storage.formats.manifest_evidence import Wanted, format_of, read_manifest
from storage.formats.manifests import (
    DSSE_TYPE,
    OCI_INDEX,
    OCI_MANIFEST,
    Gathered,
    Manifest,
    ReferrerIndex,
    SignedLayers,
    entry_of,
    identity_of,
)
from storage.record import SkipKind

SUBJECT = "sha256:" + "a" * 64
BLOB = "sha256:" + "b" * 64


def read(document: object, subject: str = SUBJECT) -> tuple[list[Wanted], list[str]]:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    contents = read_manifest(data, "oci-att", "here", sha256(data), subject)
    return list(contents.wanted), [skipped.reason for skipped in contents.skipped]


def layer(**changes: object) -> dict[str, object]:
    return {"mediaType": DSSE_TYPE, "digest": BLOB, "size": 3} | changes


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("application/vnd.dev.sigstore.bundle.v0.3+json", "bundle-v0.3"),
        ("application/vnd.dev.sigstore.bundle+json;version=0.1", "bundle-v0.1"),
        ("application/vnd.dev.sigstore.bundle+json;version=0.2", "bundle-v0.2"),
        ("application/vnd.dev.sigstore.bundle.v0.3.1+json", "bundle-v0.3.1"),
        ("application/vnd.dsse.envelope.v1+json", "dsse"),
        ("application/vnd.dev.cosign.simplesigning.v1+json", "simplesigning"),
        ("application/spdx+json", ""),
        ("", ""),
    ],
)
def test_formats_go_by_the_media_type(media_type: str, expected: str) -> None:
    assert format_of(media_type) == expected


def test_a_layer_becomes_wanted_evidence() -> None:
    (wanted,), skipped = read(
        {"mediaType": OCI_MANIFEST, "layers": [layer(annotations={"predicateType": "b", "c": 1})]}
    )
    assert (wanted.digest, wanted.size, wanted.format) == (BLOB, 3, "dsse")
    assert wanted.annotations == {"predicateType": "b"}
    assert not skipped


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"{", "not a JSON object"),
        (b"[]", "not a JSON object"),
        ({"mediaType": OCI_INDEX, "manifests": []}, "no image manifest"),
        ({"layers": "x"}, "no image manifest"),
        ({"layers": []}, "no layers"),
        ({"layers": [layer()], "subject": {"digest": "sha256:" + "c" * 64}}, "another subject"),
        ({"layers": [layer(mediaType="application/spdx+json")]}, "no evidence that we know"),
        ({"layers": [layer(mediaType=None)]}, "no evidence that we know"),
        ({"layers": [layer(digest="sha512:" + "a" * 128)]}, "not sha256"),
        ({"layers": [layer(digest=7)]}, "not sha256"),
        ({"layers": [layer(size=10**9)]}, "the limit is"),
        ({"layers": [layer(size=-1)]}, "the limit is"),
        ({"layers": [layer(size="1")]}, "the limit is"),
        (
            {"layers": [layer(mediaType="application/vnd.dev.cosign.simplesigning.v1+json")]},
            "has no signature",
        ),
        ({"layers": [layer(annotations={"dev.cosignproject.cosign/signature": "%"})]}, "not base64"),
    ],
)
def test_what_cannot_be_read_is_skipped_with_the_reason(document: object, reason: str) -> None:
    wanted, (skipped,) = read(document)
    assert not wanted
    assert reason in skipped


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (b"{", SkipKind.UNREADABLE),
        (b"[]", SkipKind.UNREADABLE),
        ({"mediaType": OCI_INDEX, "manifests": []}, SkipKind.FOREIGN),
        ({"layers": "x"}, SkipKind.FOREIGN),
        ({"layers": []}, SkipKind.FOREIGN),
        ({"layers": [layer()], "subject": {"digest": "sha256:" + "c" * 64}}, SkipKind.FOREIGN),
        ({"layers": [layer(mediaType="application/spdx+json")]}, SkipKind.FOREIGN),
        ({"layers": [layer(digest=7)]}, SkipKind.UNREADABLE),
        ({"layers": [layer(size=10**9)]}, SkipKind.UNREADABLE),
    ],
)
def test_what_is_no_evidence_is_told_by_a_value_from_what_could_not_be_read(
    document: object, kind: SkipKind
) -> None:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    (skipped,) = read_manifest(data, "oci:", "here", "sha256:" + "1" * 64, "sha256:" + "a" * 64).skipped
    assert skipped.kind is kind


def test_one_bad_layer_does_not_hide_the_good_one() -> None:
    wanted, skipped = read({"layers": [layer(mediaType="text/plain"), layer()]})
    assert len(wanted) == len(skipped) == 1


def test_more_layers_than_cosign_reads_are_counted() -> None:
    wanted, skipped = read({"layers": [layer()] * 1003})
    assert len(wanted) == 1000
    assert skipped == ["3 layers after the first 1000 were not read"]


def held(document: object, media_type: str = OCI_MANIFEST) -> Manifest:
    data = json.dumps(document).encode()
    return Manifest(media_type, sha256(data), data)


@pytest.mark.parametrize(
    "document", [[], {"mediaType": OCI_INDEX}, {"layers": 1}, {"layers": [1]}, {"mediaType": "text/plain"}]
)
def test_a_tag_of_another_kind_is_not_taken_for_ours(document: object) -> None:
    with pytest.raises(BadContent):
        SignedLayers().read(held(document))


def test_missing_lists_are_empty_ones() -> None:
    assert SignedLayers().read(None).entries == ()
    assert SignedLayers().read(held({"layers": None})).entries == ()
    assert ReferrerIndex().read(held({"manifests": None}, OCI_INDEX)).entries == ()


def test_documents_are_the_same_bytes_each_time() -> None:
    made = {SignedLayers().build(Gathered(), [entry_of(layer())])[0].data for _ in range(3)}
    assert len(made) == 1


def test_identity_is_the_digest_and_the_signature() -> None:
    key = "dev.cosignproject.cosign/signature"
    assert identity_of({"digest": "d", "annotations": {key: "s"}}) == ("d", "s")
    assert identity_of({"digest": "d"}) == ("d", "")
    assert identity_of({}) == ("None", "")
    assert identity_of({"digest": "d", "annotations": "odd"}) == ("d", "")
