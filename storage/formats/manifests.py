"""The OCI documents that hold records: pure, the same bytes for the same input.

**Form A** is cosign's: an image manifest under the tag ``sha256-<hex>.att`` or ``.sig``, one layer for each
envelope or payload (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md). **Form B** is an
OCI 1.1 artifact manifest with one Sigstore bundle, referring to its subject
(https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md). Where a registry does not list referrers,
the index under the tag ``sha256-<hex>`` does.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from storage import lean_json
from storage.errors import BadContent
from storage.formats.digest import sha256
from storage.record import BUNDLE_TYPE, SIMPLE_SIGNING_TYPE, Record

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES = (
    OCI_MANIFEST,
    OCI_INDEX,
    DOCKER_MANIFEST,
    DOCKER_INDEX,
)
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DSSE_TYPE = "application/vnd.dsse.envelope.v1+json"
EMPTY = b"{}"
EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
SIGNATURE_KEY = "dev.cosignproject.cosign/signature"
CERTIFICATE_KEY = "dev.sigstore.cosign/certificate"
CHAIN_KEY = "dev.sigstore.cosign/chain"
PREDICATE_KEY = "predicateType"
MANIFEST_LIMIT = 4 * 1024 * 1024
"""Bytes: registries refuse larger manifests, and nothing larger is read."""
BUNDLE_PREDICATE_KEY = "dev.sigstore.bundle.predicateType"
_LONGEST_WORD = 256
_MOST_MEMBERS = 64
_EPOCH = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Type, digest and size of something stored."""

    media_type: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """The descriptor as OCI documents spell it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest's bytes with what they are; ``etag`` guards writing over it, where a registry gave one."""

    media_type: str
    digest: str
    data: bytes
    etag: str = ""
    hold: object = field(default=None, repr=False, compare=False)
    """What books the room for ``data``, as long as somebody refers to it."""

    def descriptor(self) -> Descriptor:
        """Return what refers to this manifest."""
        return Descriptor(self.media_type, self.digest, len(self.data))


@dataclass(frozen=True, slots=True)
class Layer:
    """One entry of a tag's manifest or index, with the blob it needs (``b""``: none beside the entry)."""

    descriptor: Mapping[str, Any]
    blob: bytes = b""

    @property
    def digest(self) -> str:
        """Digest of what the entry describes."""
        return str(self.descriptor["digest"])

    @property
    def identity(self) -> tuple[str, str]:
        """What makes two entries the same: equal payloads may carry several people's signatures."""
        return identity_of(self.descriptor)


def identity_of(descriptor: Mapping[str, Any]) -> tuple[str, str]:
    """Return :attr:`Layer.identity` of an entry as it was read."""
    annotations = descriptor.get("annotations") or {}
    signature = annotations.get(SIGNATURE_KEY, "") if isinstance(annotations, dict) else ""
    return str(descriptor.get("digest")), str(signature)


def tag_of(digest: str, suffix: str = "") -> str:
    """Return cosign's tag for the subject ``sha256:hex``: ``sha256-hex`` and the suffix, as ``.att``."""
    return digest.replace(":", "-") + suffix


def layer_of(record: Record, digest: str, extra: Mapping[str, str] | None = None) -> Layer:
    """Return the form A layer of ``record``, whose envelope or payload has ``digest``."""
    annotations = {}
    if record.is_image_signature:
        media_type, blob = SIMPLE_SIGNING_TYPE, record.payload
        annotations[SIGNATURE_KEY] = base64.b64encode(record.signature).decode()
    else:
        media_type, blob = DSSE_TYPE, record.envelope
        annotations[SIGNATURE_KEY] = ""
        annotations[PREDICATE_KEY] = record.predicate_type
    if record.certificate:
        annotations[CERTIFICATE_KEY] = record.certificate.decode("ascii", "replace")
    if record.chain:
        annotations[CHAIN_KEY] = record.chain.decode("ascii", "replace")
    annotations.update(record.annotations)
    annotations.update(extra or {})
    descriptor = Descriptor(media_type, digest, len(blob)).to_json()
    return Layer(descriptor | {"annotations": annotations}, blob)


def image_config(digests: Sequence[str]) -> bytes:
    """Return the image configuration that cosign expects beside the uncompressed layers of ``digests``."""
    return orjson.dumps(
        {
            "architecture": "",
            "created": _EPOCH,
            "history": [{"created": _EPOCH}] * len(digests),
            "os": "",
            "rootfs": {"type": "layers", "diff_ids": digests},
            "config": {},
        }
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a gathering document: its JSON, and what is looked at of it."""

    data: bytes = field(repr=False)
    identity: tuple[str, str]
    artifact_type: str = ""

    @property
    def digest(self) -> str:
        """Digest of what the entry describes."""
        return self.identity[0]

    @property
    def descriptor(self) -> dict[str, Any]:
        """The whole entry, read anew."""
        found: dict[str, Any] = lean_json.loads(self.data)
        return found


def entry_of(descriptor: Mapping[str, Any]) -> Entry:
    """Return the entry of a descriptor."""
    kind = str(descriptor.get("artifactType") or "")[:_LONGEST_WORD]
    return Entry(orjson.dumps(descriptor), identity_of(descriptor), kind)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What such a document holds. Values take a hundred times the memory of their text, so text is kept."""

    entries: tuple[Entry, ...] = ()
    others: Mapping[str, orjson.Fragment] = field(default_factory=dict)
    """Its members as JSON, the list empty."""


class Gathering(ABC):
    """A document under one tag that gathers the entries of many writers."""

    name: str
    """The key of its list."""
    accepts: frozenset[str]
    most: int

    def read(self, manifest: Manifest | None) -> Gathered:
        """Return what a tag holds, an empty document when nothing.

        Raises :class:`BadContent` when it is of another kind: it is somebody else's, not to be replaced.
        """
        if manifest is None:
            return Gathered(others={self.name: orjson.Fragment(b"[]")})
        try:
            document = lean_json.loads(manifest.data)
            media_type = document.get("mediaType") or manifest.media_type
            listed = document.get(self.name) or []
            sound = isinstance(listed, list) and all(isinstance(entry, dict) for entry in listed)
        except lean_json.TooMany as exc:
            raise BadContent(f"the tag's {manifest.digest} is not read: {exc.msg}") from None
        except (orjson.JSONDecodeError, AttributeError):
            raise BadContent(f"the tag holds something that is no JSON object: {manifest.digest}") from None
        if media_type not in self.accepts or not sound or len(document) > _MOST_MEMBERS:
            raise BadContent(f"the tag holds a {str(media_type)[:100]} not made by cosign or us: left alone")
        # the list keeps its place among the members
        kept = document | {self.name: []}
        others = {key: orjson.Fragment(orjson.dumps(value)) for key, value in kept.items()}
        return Gathered(tuple(map(entry_of, listed)), others)

    async def read_aside(self, manifest: Manifest | None) -> Gathered:
        """:meth:`read` that does not hold the event loop up when the document is large."""
        return await lean_json.aside(manifest.data if manifest else b"", lambda: self.read(manifest))

    @abstractmethod
    def build(self, document: Gathered, entries: Sequence[Entry]) -> tuple[Manifest, bytes]:
        """Return the manifest with ``entries`` and the configuration blob it needs, ``b""`` for none.

        Other keys of ``document``, what the tag held, stay.
        """


class SignedLayers(Gathering):
    """The image manifest of the tags ``.att`` and ``.sig`` (form A)."""

    name = "layers"
    accepts = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
    most = 1000  # cosign reads no more from one tag

    def build(self, document: Gathered, entries: Sequence[Entry]) -> tuple[Manifest, bytes]:
        """Return the manifest with these layers, and the image configuration that lists them again."""
        config = image_config([entry.digest for entry in entries])
        made: dict[str, Any] = dict(document.others) | {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
        made["config"] = Descriptor(OCI_CONFIG, sha256(config), len(config)).to_json()
        made["layers"] = [orjson.Fragment(entry.data) for entry in entries]
        return _manifest(OCI_MANIFEST, made), config


class ReferrerIndex(Gathering):
    """The index of the tag ``sha256-<hex>``, for registries that do not list referrers themselves."""

    name = "manifests"
    accepts = frozenset({OCI_INDEX})
    most = 10_000

    def build(self, document: Gathered, entries: Sequence[Entry]) -> tuple[Manifest, bytes]:
        """Return the index with these manifests; it has no configuration."""
        made: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX} | dict(document.others)
        made["manifests"] = [orjson.Fragment(entry.data) for entry in entries]
        return _manifest(OCI_INDEX, made), b""


def referrer_annotations(record: Record, media_type: str = BUNDLE_TYPE) -> dict[str, str]:
    """Return the annotations by which tools list a bundle, or a lone envelope, without reading it."""
    annotations = {PREDICATE_KEY: record.predicate_type}
    if media_type == BUNDLE_TYPE:
        annotations = {
            "dev.sigstore.bundle.content": "dsse-envelope",
            BUNDLE_PREDICATE_KEY: record.predicate_type,
        }
    if record.created:
        annotations["org.opencontainers.image.created"] = record.created
    return annotations


def artifact_manifest(
    content: Descriptor, annotations: Mapping[str, str], subject: Descriptor | None
) -> Manifest:
    """Return the OCI 1.1 artifact manifest around one blob (form B), whose type is also the artifact's."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": content.media_type,
        "config": Descriptor(OCI_EMPTY, EMPTY_DIGEST, len(EMPTY)).to_json(),
        "layers": [content.to_json()],
    }
    if subject is not None:
        document["subject"] = subject.to_json()
    document["annotations"] = annotations
    return _manifest(OCI_MANIFEST, document)


def referrer_entry(manifest: Manifest, annotations: Mapping[str, str]) -> Layer:
    """Return the entry by which an index lists a form B manifest."""
    entry = manifest.descriptor().to_json()
    return Layer(entry | {"artifactType": BUNDLE_TYPE, "annotations": dict(annotations)})


def _manifest(media_type: str, document: Mapping[str, Any]) -> Manifest:
    data = orjson.dumps(document)
    return Manifest(media_type, sha256(data), data)
