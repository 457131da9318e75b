"""Builds the OCI documents that hold records. Pure functions; equal input gives equal bytes.

**Form A** is cosign's: an image manifest under the tag ``sha256-<hex>.att`` or ``.sig`` with one layer per
envelope or payload (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md). **Form B** is an
OCI 1.1 artifact manifest with one Sigstore bundle, which refers to its subject
(https://github.com/sigstore/cosign/blob/main/specs/BUNDLE_SPEC.md). For registries without the referrers API,
an index under the tag ``sha256-<hex>`` lists these manifests.
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
"""The largest manifest in bytes. Registries refuse larger ones, and no larger one is read."""
BUNDLE_PREDICATE_KEY = "dev.sigstore.bundle.predicateType"
_LONGEST_WORD = 256
"""The most characters of an artifact type that are kept."""
_MOST_MEMBERS = 64
"""The most members of a document under a tag, besides its list entries."""
_EPOCH = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Media type, digest and size of a stored document or blob."""

    media_type: str
    digest: str
    size: int

    def to_json(self) -> dict[str, Any]:
        """Return the descriptor as a JSON object of OCI."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class Manifest:
    """The bytes of a manifest. ``etag`` is for conditional writes, if the registry returned one."""

    media_type: str
    digest: str
    data: bytes
    etag: str = ""
    hold: object = field(default=None, repr=False, compare=False)
    """Keeps the memory of ``data`` reserved in the shared pool for as long as this object exists."""

    def descriptor(self) -> Descriptor:
        """Return the descriptor of this manifest."""
        return Descriptor(self.media_type, self.digest, len(self.data))


@dataclass(frozen=True, slots=True)
class Layer:
    """One entry of a tag's manifest or index, with its blob (``b""`` if it needs none)."""

    descriptor: Mapping[str, Any]
    blob: bytes = b""

    @property
    def digest(self) -> str:
        """The digest in the entry's descriptor."""
        return str(self.descriptor["digest"])

    @property
    def identity(self) -> tuple[str, str]:
        """The key by which two entries are the same: digest and signature.

        Equal payloads can have signatures by several keys.
        """
        return identity_of(self.descriptor)


def identity_of(descriptor: Mapping[str, Any]) -> tuple[str, str]:
    """Return :attr:`Layer.identity` of a descriptor that was read."""
    annotations = descriptor.get("annotations") or {}
    signature = annotations.get(SIGNATURE_KEY, "") if isinstance(annotations, dict) else ""
    return str(descriptor.get("digest")), str(signature)


def tag_of(digest: str, suffix: str = "") -> str:
    """Return cosign's tag for a subject ``sha256:hex``: ``sha256-hex`` and the suffix, such as ``.att``."""
    return digest.replace(":", "-") + suffix


def layer_of(record: Record, digest: str, extra: Mapping[str, str] | None = None) -> Layer:
    """Return the form A layer of ``record``. ``digest`` is that of its envelope or payload."""
    annotations = {}
    if record.is_image_signature:
        media_type, blob = SIMPLE_SIGNING_TYPE, record.payload
        annotations[SIGNATURE_KEY] = base64.b64encode(record.signature).decode()
    else:
        media_type, blob = DSSE_TYPE, record.envelope
        # cosign requires this annotation, but the signature of an attestation is inside the envelope.
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
    """Return the image configuration that cosign expects for these uncompressed layers."""
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
    """One entry of a :class:`Gathering`: its JSON text, and the members that are compared."""

    data: bytes = field(repr=False)
    identity: tuple[str, str]
    artifact_type: str = ""

    @property
    def digest(self) -> str:
        """The digest in the entry's descriptor."""
        return self.identity[0]

    @property
    def descriptor(self) -> dict[str, Any]:
        """The whole entry, parsed."""
        members: dict[str, Any] = lean_json.loads(self.data)
        return members


def entry_of(descriptor: Mapping[str, Any]) -> Entry:
    """Return a descriptor as an entry."""
    kind = str(descriptor.get("artifactType") or "")[:_LONGEST_WORD]
    return Entry(orjson.dumps(descriptor), identity_of(descriptor), kind)


@dataclass(frozen=True, slots=True)
class Gathered:
    """The content of such a document. It is kept as text, which takes a hundredth of the memory."""

    entries: tuple[Entry, ...] = ()
    others: Mapping[str, orjson.Fragment] = field(default_factory=dict)
    """The other members as JSON text; the list is present but empty."""


class Gathering(ABC):
    """A document under one tag that collects the entries of many writers."""

    name: str
    """The name of the member that is the list."""
    accepts: frozenset[str]
    most: int

    def read(self, manifest: Manifest | None) -> Gathered:
        """Return the content of a tag; an empty document if the tag does not exist.

        Raises :class:`BadContent` for a document of another kind. It belongs to somebody else and must not be
        replaced.
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
            raise BadContent(f"the tag's {manifest.digest} is not a JSON object") from None
        if media_type not in self.accepts or not sound or len(document) > _MOST_MEMBERS:
            raise BadContent(f"the tag holds a {str(media_type)[:100]} not made by cosign or us: left alone")
        # The empty list stays at its position, so that writing the document keeps the order of members.
        template = document | {self.name: []}
        others = {key: orjson.Fragment(orjson.dumps(value)) for key, value in template.items()}
        return Gathered(tuple(map(entry_of, listed)), others)

    async def read_aside(self, manifest: Manifest | None) -> Gathered:
        """Return what :meth:`read` does, from a thread if the document is large."""
        return await lean_json.aside(manifest.data if manifest else b"", lambda: self.read(manifest))

    @abstractmethod
    def build(self, document: Gathered, entries: Sequence[Entry]) -> tuple[Manifest, bytes]:
        """Return the manifest with ``entries``, and its configuration blob (``b""`` if it has none).

        Other members of ``document``, the content that the tag had, are kept.
        """


class SignedLayers(Gathering):
    """The image manifest of the tags ``.att`` and ``.sig`` (form A)."""

    name = "layers"
    accepts = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
    most = 1000  # cosign reads no more layers from one tag

    def build(self, document: Gathered, entries: Sequence[Entry]) -> tuple[Manifest, bytes]:
        """Return the manifest with these layers, and the image configuration that lists them too."""
        config = image_config([entry.digest for entry in entries])
        made: dict[str, Any] = dict(document.others) | {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
        made["config"] = Descriptor(OCI_CONFIG, sha256(config), len(config)).to_json()
        made["layers"] = [orjson.Fragment(entry.data) for entry in entries]
        return _manifest(OCI_MANIFEST, made), config


class ReferrerIndex(Gathering):
    """The index of the tag ``sha256-<hex>``, for registries without the referrers API."""

    name = "manifests"
    accepts = frozenset({OCI_INDEX})
    most = 10_000

    def build(self, document: Gathered, entries: Sequence[Entry]) -> tuple[Manifest, bytes]:
        """Return the index of these manifests. It has no configuration."""
        made: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_INDEX} | dict(document.others)
        made["manifests"] = [orjson.Fragment(entry.data) for entry in entries]
        return _manifest(OCI_INDEX, made), b""


def referrer_annotations(record: Record, media_type: str = BUNDLE_TYPE) -> dict[str, str]:
    """Return the annotations that let tools list a bundle, or an envelope, without fetching it."""
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
    """Return the OCI 1.1 artifact manifest around one blob (form B).

    The artifact type is the media type of the blob.
    """
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": content.media_type,
        "config": Descriptor(OCI_EMPTY, EMPTY_DIGEST, len(EMPTY)).to_json(),
        "layers": [content.to_json()],
    }
    # The members are in the order of the specification's examples. The order must never change, because it
    # determines the digest.
    if subject is not None:
        document["subject"] = subject.to_json()
    document["annotations"] = annotations
    return _manifest(OCI_MANIFEST, document)


def referrer_entry(manifest: Manifest, annotations: Mapping[str, str]) -> Layer:
    """Return the entry of a form B manifest in an index."""
    entry = manifest.descriptor().to_json()
    return Layer(entry | {"artifactType": BUNDLE_TYPE, "annotations": dict(annotations)})


def _manifest(media_type: str, document: Mapping[str, Any]) -> Manifest:
    data = orjson.dumps(document)
    return Manifest(media_type, sha256(data), data)
