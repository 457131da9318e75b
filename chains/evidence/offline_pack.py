"""An offline pack: bundles that stock cosign verifies, with keys, trusted root and checksums."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from chains.errors import UsageError
from chains.evidence.records import regroup
from chains.evidence.retrieve import Found
from signers.keys.public_key import PublicKey
from storage import lean_json
from storage.record import Record, Skipped

BUNDLES, INDEX, SUMS, README, ROOT = (
    "bundles.jsonl", "index.jsonl", "SHA256SUMS", "README.md", "trusted_root.json"
)  # fmt: skip
_README = """# Offline evidence

Verify the evidence in this folder without a network. `{bundles}` has one Sigstore bundle on each line, and
line N of `{index}` says what line N is about. `keys/` has the public keys{root}. Nothing here proves that
these keys can be trusted: compare them with keys that you trust.

```sh
sha256sum --check {sums}
sed -n 1p {bundles} > bundle.json
cosign verify-blob-attestation --bundle bundle.json --key keys/key-1.pub --insecure-ignore-tlog=true \\
  --type PREDICATE_TYPE --digest HEX --digestAlg sha256
# or with this project
chains verify bundle.json --key keys/key-1.pub --predicate-type PREDICATE_TYPE --digest sha256:HEX
```

`PREDICATE_TYPE` and `HEX` are `predicateType` and the digest of a subject in that line of `{index}`.
"""


@dataclass(slots=True)
class Packed:
    """The contents of a pack, and what was left out with the reason."""

    bundles: int = 0
    refused: list[Skipped] = field(default_factory=list)


def make_folder(folder: Path) -> None:
    """Make the folder. Raises :class:`UsageError` if it is not empty: packs are never mixed."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty: name a new folder")
    folder.mkdir(parents=True, exist_ok=True)


async def write_pack(
    folder: Path, found: AsyncIterator[Found], keys: Sequence[PublicKey], trusted_root: bytes
) -> Packed:
    """Write the pack. With ``keys`` it has only evidence that one of them signed.

    An image signature or an envelope without a bundle is left out, with a reason. Raises :class:`UsageError`
    for a folder that is not empty, and what the stores raise.
    """
    make_folder(folder)
    packed = Packed()
    seen: set[bytes] = set()
    with (folder / BUNDLES).open("wb") as bundles, (folder / INDEX).open("wb") as index:
        async for one in found:
            regrouped = regroup(one.findings, keys, one.run)
            packed.refused += regrouped.refused
            for record in regrouped.records:
                if not record.bundle:
                    packed.refused.append(Skipped(one.what, "", "it has no bundle, and none can be made"))
                    continue
                digest = hashlib.sha256(record.bundle).digest()
                if digest in seen:
                    continue
                seen.add(digest)
                bundles.write(_line(record.bundle))
                index.write(orjson.dumps(_described(record), option=orjson.OPT_APPEND_NEWLINE))
                packed.bundles += 1
    _write_beside(folder, keys, trusted_root)
    return packed


def _write_beside(folder: Path, keys: Sequence[PublicKey], trusted_root: bytes) -> None:
    (folder / "keys").mkdir()
    for number, key in enumerate(keys, start=1):
        (folder / "keys" / f"key-{number}.pub").write_bytes(key.pem)
    if trusted_root:
        (folder / ROOT).write_bytes(trusted_root)
    root = f", and `{ROOT}` verifies keyless bundles" if trusted_root else ""
    text = _README.format(bundles=BUNDLES, index=INDEX, sums=SUMS, root=root)
    (folder / README).write_text(text, encoding="utf-8")
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{_sha256(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(bundle: bytes) -> bytes:
    """Return a bundle on one line. What is signed is base64 in it, so it does not change."""
    if b"\n" in bundle or b"\r" in bundle:
        bundle = orjson.dumps(lean_json.loads(bundle))
    return bundle + b"\n"


def _described(record: Record) -> dict[str, Any]:
    origin = record.origin
    return {
        "run": {"kind": origin.kind, "namespace": origin.namespace, "name": origin.name, "uid": origin.uid},
        "created": record.created,
        "predicateType": record.predicate_type,
        "subjects": [{"name": one.name, "digest": dict(one.digest)} for one in record.subjects],
        "sha256": hashlib.sha256(record.bundle).hexdigest(),
    }
