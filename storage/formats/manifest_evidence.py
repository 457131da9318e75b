"""Finds the evidence in a stored manifest. Pure functions; the caller fetches the bytes.

What cannot be read becomes :class:`Skipped` with the reason. Nothing is verified here.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from storage import lean_json
from storage.formats.digest import is_sha256
from storage.formats.manifests import DOCKER_MANIFEST, DSSE_TYPE, OCI_MANIFEST, SIGNATURE_KEY
from storage.limits.allowance import LARGEST
from storage.record import (
    DSSE_FORMAT,
    SIMPLE_SIGNING_FORMAT,
    SIMPLE_SIGNING_TYPE,
    Evidence,
    Origin,
    SkipKind,
    Skipped,
)

BUNDLE_PREFIX = "application/vnd.dev.sigstore.bundle"
RUN_UID = "provenance.chains/run-uid"
"""The UID of the run that an entry or layer comes from. An entry for a tag has the UIDs of all its layers,
separated by commas."""
RUN = "provenance.chains/run"
"""Kind, namespace and name of that run, separated by slashes."""
_CREATED = "org.opencontainers.image.created"
MOST_LAYERS = 1000
"""The most layers of a manifest that are read. cosign reads no more."""
_OURS = ("dev.sigstore.", "dev.cosignproject.", "provenance.chains/", _CREATED, "predicateType")
"""The prefixes of the annotations that are read. Others are dropped, to bound the memory."""
_MOST_ANNOTATIONS = 32
"""The most annotations that are read from a manifest or layer."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A blob with evidence. The caller fetches it by ``digest`` and passes it to :meth:`evidence`."""

    source: str
    location: str
    digest: str
    size: int
    format: str
    signature: bytes
    annotations: Mapping[str, str]

    def evidence(self, data: bytes) -> Evidence:
        """Return the evidence with the bytes of the blob."""
        origin = run_of(self.annotations)
        return Evidence(
            self.source,
            self.location,
            self.digest,
            self.format,
            data,
            self.signature,
            self.annotations,
            origin,
            self.annotations.get(_CREATED, "") if origin else "",
        )

    def skipped(self, reason: str) -> Skipped:
        """Return this blob as skipped, with the reason why it could not be fetched."""
        return Skipped(self.location, self.digest, reason)


@dataclass(frozen=True, slots=True)
class Contents:
    """The content of a manifest: blobs to fetch, and what is not evidence."""

    wanted: tuple[Wanted, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def read_manifest(
    data: bytes, source: str, location: str, digest: str, subject: str, most: int = MOST_LAYERS
) -> Contents:
    """Return the evidence about ``subject`` in the image manifest ``data``, which has ``digest``.

    A manifest that states another subject is skipped; one that states none is read. At most ``most`` layers
    are read.
    """
    try:
        manifest = lean_json.loads(data)
        media_type = manifest.get("mediaType") or OCI_MANIFEST
        layers = manifest.get("layers") or []
        # The subject of form B. Form A and older manifests have none.
        about = (manifest.get("subject") or {}).get("digest")
        sound = isinstance(layers, list) and all(isinstance(layer, dict) for layer in layers)
    except lean_json.TooMany as exc:
        return _nothing(location, digest, f"the manifest is not read: {exc.msg}", SkipKind.UNREADABLE)
    except (orjson.JSONDecodeError, AttributeError):
        return _nothing(location, digest, "the manifest is not a JSON object", SkipKind.UNREADABLE)
    if media_type not in {OCI_MANIFEST, DOCKER_MANIFEST} or not sound:
        return _nothing(location, digest, f"{str(media_type)[:100]} is no image manifest")
    if about is not None and subject and about != subject:
        return _nothing(location, digest, f"it is about another subject: {str(about)[:100]}")
    if not layers:
        return _nothing(location, digest, "it has no layers")
    shared = _strings(manifest.get("annotations"))
    wanted, skipped = [], []
    for layer in layers[:most]:
        item = _read_layer(layer, source, location, shared)
        if isinstance(item, Wanted):
            wanted.append(item)
        else:
            skipped.append(item)
    if len(layers) > most:
        rest = f"{len(layers) - most} layers after the first {most} were not read"
        skipped.append(Skipped(location, digest, rest))
    return Contents(tuple(wanted), tuple(skipped))


def _read_layer(
    layer: dict[str, Any], source: str, location: str, shared: dict[str, str]
) -> Wanted | Skipped:
    """Return the evidence of one layer; ``shared`` are the annotations of the manifest."""
    digest, size = str(layer.get("digest"))[:100], layer.get("size")
    media_type = str(layer.get("mediaType"))
    kind = format_of(media_type)
    if not kind:
        return Skipped(location, digest, f"{media_type[:100]} is no evidence that we know", SkipKind.FOREIGN)
    if not is_sha256(digest):
        return Skipped(location, digest, "its digest is not sha256")
    if not isinstance(size, int) or not 0 <= size <= LARGEST:
        return Skipped(location, digest, f"its size is {str(size)[:40]}; the limit is {LARGEST} bytes")
    # cosign writes annotations to layers, other tools to the manifest. The layer's take precedence.
    annotations = shared | _strings(layer.get("annotations"))
    try:
        signature = base64.b64decode(annotations.get(SIGNATURE_KEY, ""), validate=True)
    except (binascii.Error, ValueError):
        return Skipped(location, digest, f"its annotation {SIGNATURE_KEY} is not base64")
    if kind == SIMPLE_SIGNING_FORMAT and not signature:
        return Skipped(location, digest, f"it has no signature: the annotation {SIGNATURE_KEY} is missing")
    return Wanted(source, location, digest, size, kind, signature, annotations)


def run_of(annotations: Mapping[str, str]) -> Origin | None:
    """Return the run that our annotations name; None without its UID."""
    uid = annotations.get(RUN_UID, "")
    # Several UIDs: the layers of a tag come from several runs, so the entry names no single one.
    if not uid or "," in uid:
        return None
    kind, _, rest = annotations.get(RUN, "").partition("/")
    namespace, _, name = rest.partition("/")
    return Origin(kind, namespace, name, uid)


def format_of(media_type: str) -> str:
    """Return the :attr:`Evidence.format` of a layer's media type; ``""`` if it is not evidence."""
    if media_type == DSSE_TYPE:
        return DSSE_FORMAT
    if media_type == SIMPLE_SIGNING_TYPE:
        return SIMPLE_SIGNING_FORMAT
    if not media_type.startswith(BUNDLE_PREFIX):
        return ""
    # Two spellings: …bundle+json;version=0.1 (and 0.2), …bundle.v0.3+json.
    version = media_type.removeprefix(BUNDLE_PREFIX).removeprefix("+json;version=").removeprefix(".v")
    return f"bundle-v{version.removesuffix('+json')[:20]}"


def _nothing(location: str, digest: str, reason: str, kind: SkipKind = SkipKind.FOREIGN) -> Contents:
    return Contents(skipped=(Skipped(location, digest, reason, kind),))


def _strings(annotations: object) -> dict[str, str]:
    """Return the annotations that are read, at most :data:`_MOST_ANNOTATIONS`."""
    if not isinstance(annotations, dict):
        return {}
    ours = (
        (key, value) for key, value in annotations.items() if isinstance(value, str) and key.startswith(_OURS)
    )
    return dict(islice(ours, _MOST_ANNOTATIONS))
