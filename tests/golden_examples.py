"""Digests of everything that the commands make of ``examples/``, for a test that finds a changed byte.

``python -m tests.golden_examples`` prints them. Run it with the code of before a change, which must leave
every byte as it was, and compare. Signatures are deterministic: Ed25519, and ECDSA with the nonces of RFC 6979.

Left out of outcomes and verifications is what is prose: warnings, summaries, why something was skipped, and the
expected and actual of checks. Clocks and folders are left out too.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

EXAMPLES = Path(__file__).parents[1] / "examples"
GOLDEN = Path(__file__).parent / "golden" / "examples" / "digests.json"
_SEED = hashlib.sha256(b"a key for golden digests, which signs nothing else").digest()
CONFIGS: Mapping[str, Mapping[str, str] | None] = {
    "defaults": None,
    "examples": {},
    "slsa-v0.2": {
        "artifacts.taskrun.format": "in-toto",
        "artifacts.pipelinerun.format": "in-toto",
        "artifacts.oci.storage": "oci",
        "storage.oci.encoding-format": "dsse",
    },
    "slsa-v2alpha3": {
        "artifacts.taskrun.format": "slsa/v2alpha3",
        "artifacts.pipelinerun.format": "slsa/v2alpha3",
        "artifacts.pipelinerun.enable-deep-inspection": "true",
        "builder.id": "https://ci.example.com/tekton",
    },
}
"""Configurations by name; None for none at all, empty for that of ``examples/``."""
CASES = (
    ("defaults", "ed25519"),
    ("defaults", "p256"),
    ("examples", "ed25519"),
    ("slsa-v0.2", "ed25519"),
    ("slsa-v2alpha3", "ed25519"),
)
_PROSE = {"verifiedAt", "warnings", "summary", "expected", "actual", "detail"}
_STORES = ("oci-layout:layout", "file:files")


def digests(config: str, algorithm: str) -> dict[str, Any]:
    """Return the digests of outcomes, verifications and stored files, all examples attested at once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_keys(folder, algorithm)
        options = [*_config(folder, config), *(word for url in _STORES for word in ("--store", url))]
        options += ["--output", "json"]
        examples = list(map(str, sorted(EXAMPLES.glob("*run*"))))
        attested = orjson.loads(_chains(folder, "attest", *options, "--key", "signing.key", *examples))
        verified = orjson.loads(_chains(folder, "verify", *options, "--key", "signing.pub", *examples))
        stored = dict(_stored(folder))
        return {
            "outcomes": {one["run"]: _sha256(orjson.dumps(_stable(one))) for one in attested["runs"]},
            "verifications": {
                one["subject"]["ref"]: f"{one['verdict']} {_sha256(orjson.dumps(_stable(one)))}"
                for one in verified["results"]
            },
            # the manifests, bundles, envelopes and statements of the layout, each named by its digest
            "blobs": sorted(path.name for path in stored if path.parent.name == "sha256"),
            "index": stored[Path("layout/index.json")],
            "files": _sha256("".join(f"{path} {digest}\n" for path, digest in stored.items()).encode()),
        }


def _stable(value: Any) -> Any:
    """Return an outcome or a verification without prose and times."""
    if isinstance(value, list):
        return [_stable(item) for item in value]
    if not isinstance(value, dict):
        return value
    left_out = _PROSE if value.get("state") not in {"stored", "unchanged"} else _PROSE - {"detail"}
    return {name: _stable(item) for name, item in value.items() if name not in left_out}


def _chains(folder: Path, *words: str) -> bytes:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(EXAMPLES.parent), "HOME": str(folder)}
    command: Sequence[str] = [sys.executable, "-m", "chains", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(f"{' '.join(words)}: {done.stderr.decode()}")
    return done.stdout.replace(str(folder).encode(), b"FOLDER")


def _config(folder: Path, name: str) -> list[str]:
    data = CONFIGS[name]
    if data is None:
        return []
    if not data:
        return ["--config", str(EXAMPLES / "chains-config.yaml")]
    (folder / "config.json").write_bytes(orjson.dumps(data))
    return ["--config", "config.json"]


def _write_keys(folder: Path, algorithm: str) -> None:
    key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    if algorithm == "ed25519":
        key = ed25519.Ed25519PrivateKey.from_private_bytes(_SEED)
    else:
        key = ec.derive_private_key(int.from_bytes(_SEED), ec.SECP256R1())
    secret, public = folder / "signing.key", folder / "signing.pub"
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    secret.chmod(0o600)
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _stored(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield each stored file with its digest."""
    for store in ("layout", "files"):
        for path in sorted((folder / store).rglob("*")):
            if not path.is_file():
                continue
            digest = _sha256(path.read_bytes())
            if path.parent.name == "sha256" and path.name != digest:
                raise AssertionError(f"{path} has other bytes than its name says")
            yield path.relative_to(folder), digest


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    found = {" ".join(case): digests(*case) for case in CASES}
    sys.stdout.buffer.write(orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n")
