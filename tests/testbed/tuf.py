"""A TUF repository like Sigstore's, with one target: the trusted root."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from tests.testbed.loopback import Answer, Request


class Repository:
    """A TUF repository with one target, made with python-tuf."""

    def __init__(self, target: bytes) -> None:
        self.files: dict[str, bytes] = {}
        self.signer = CryptoSigner.generate_ecdsa()
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        root = Root(expires=until)
        for role in ("root", "timestamp", "snapshot", "targets"):
            root.add_key(self.signer.public_key, role)
        name = "trusted_root.json"
        targets = Targets(expires=until, targets={name: TargetFile.from_data(name, target)})
        self.root = self.sign(root)
        self.files["1.root.json"] = self.root
        self.files["1.targets.json"] = self.sign(targets)
        self.files["1.snapshot.json"] = self.sign(Snapshot(expires=until, meta={"targets.json": MetaFile(1)}))
        self.files["timestamp.json"] = self.sign(Timestamp(expires=until, snapshot_meta=MetaFile(1)))
        self.files[f"targets/{sha256(target).hexdigest()}.{name}"] = target

    def sign(self, signed: Any) -> bytes:
        metadata: Metadata[Any] = Metadata(signed)
        metadata.sign(self.signer)
        return metadata.to_bytes()

    def answer(self, request: Request) -> Answer:
        """Serve a file."""
        found = self.files.get(request.path.lstrip("/"))
        return Answer(200, found) if found is not None else Answer(404)
