"""Layers become an OCI image layout with one index for all architectures (OCI image specification 1.1)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from layer import Layer

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
USER = "65532:65532"
ENVIRONMENT = ("PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1")
Json = Any


@dataclass(frozen=True, slots=True)
class Image:
    """The image of one architecture."""

    architecture: str
    layers: Sequence[tuple[str, Path, Layer]]
    """What each is, its file, and what it says about itself; from the lowest."""


def write(images: Sequence[Image], labels: Mapping[str, str], epoch: int, name: str, layout: Path) -> Json:
    """Write the layout into a new folder; return the descriptor of the index for all architectures."""
    blobs = _Blobs(layout / "blobs" / "sha256")
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    manifests = [_image(blobs, image, labels, created) for image in images]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests, "annotations": dict(labels)}
    described = blobs.put(INDEX, _json(index))
    named = {**described, "annotations": {"org.opencontainers.image.ref.name": name}}
    top = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [named]}
    (layout / "index.json").write_bytes(_json(top))
    (layout / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    return described


def _image(blobs: _Blobs, image: Image, labels: Mapping[str, str], created: str) -> Json:
    config = {
        "created": created,
        "architecture": image.architecture,
        "os": "linux",
        "config": {
            "User": USER,
            "ExposedPorts": {"8080/tcp": {}},
            "Env": list(ENVIRONMENT),
            "Entrypoint": ["chains"],
            "Cmd": ["controller"],
            "Labels": dict(labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [layer["diff_id"] for _, _, layer in image.layers]},
        "history": [{"created": created, "created_by": what} for what, _, _ in image.layers],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blobs.put(CONFIG, _json(config)),
        "layers": [blobs.link(path, layer) for _, path, layer in image.layers],
        "annotations": dict(labels),
    }
    platform = {"architecture": image.architecture, "os": "linux"}
    if image.architecture == "arm64":
        platform["variant"] = "v8"
    return {**blobs.put(MANIFEST, _json(manifest)), "platform": platform}


class _Blobs:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder

    def put(self, kind: str, data: bytes) -> Json:
        digest = hashlib.sha256(data).hexdigest()
        (self._folder / digest).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    def link(self, path: Path, layer: Layer) -> Json:
        """Add a layer's file, copied, so that the layout is independent of the cache."""
        target = self._folder / layer["digest"].removeprefix("sha256:")
        if not target.exists():
            target.write_bytes(path.read_bytes())
        return {"mediaType": LAYER, "digest": layer["digest"], "size": layer["size"]}


def _json(data: Json) -> bytes:
    return json.dumps(data, separators=(",", ":"), sort_keys=True).encode()
