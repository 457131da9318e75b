"""Golden evidence of a real Sigstore instance, read and damaged; ``docs`` of each file in ``golden_sigstore``."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from chains.verify.criteria import CertificateWanted, Criteria, NameWanted
from chains.verify.verdict import Verification
from chains.verify.verifier import Verifier
from signers.keys.public_key import PublicKey
from signers.sigstore.trusted_root import TrustedRoot
from storage.record import Evidence
from tests.faults.verify.forge import DIGEST, IMAGE, Shelf, evidence

Json = Any
GOLDEN = Path(__file__).parents[2] / "golden" / "sigstore"
ABOUT = json.loads((GOLDEN / "about.json").read_text())
NOW = datetime.fromisoformat(ABOUT["now"])
ROOT = TrustedRoot.from_path(GOLDEN / "trusted_root.json")
KEY = PublicKey.from_pem((GOLDEN / "signing.pub").read_bytes())
IDENTITY, ISSUER = ABOUT["identity"], ABOUT["issuer"]
WANTED = CertificateWanted(NameWanted(IDENTITY), NameWanted(ISSUER))


def by_identity(**more: Json) -> Criteria:
    return Criteria(**{"certificate": WANTED, "trusted_root": ROOT} | more)


def by_key(**more: Json) -> Criteria:
    return Criteria(**{"keys": [KEY], "trusted_root": ROOT} | more)


def content(name: str, form: str = "bundle") -> Json:
    """Return a golden file, to be changed."""
    return json.loads((GOLDEN / f"{name}.{form}.json").read_text())


def bundle_of(members: Json) -> Evidence:
    return evidence(json.dumps(members).encode(), "bundle-v0.3", "oci-referrer")


def layer_of(members: Json) -> Evidence:
    """Return the evidence of form A that a golden file's layer is."""
    data, annotations = members["data"].encode(), members["annotations"]
    if "signature" not in members:
        return evidence(data, "dsse", "oci-att", annotations=annotations)
    signature = bytes.fromhex(members["signature"])
    return evidence(data, "simplesigning", "oci-sig", signature=signature, annotations=annotations)


def golden(name: str, form: str = "bundle") -> Evidence:
    members = content(name, form)
    return bundle_of(members) if form == "bundle" else layer_of(members)


async def answer(*held: Evidence, criteria: Criteria, now: datetime = NOW) -> Verification:
    return await Verifier(criteria, [Shelf(*held)], clock=lambda: now).digest(DIGEST, IMAGE, ref=IMAGE)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def decoded(text: str) -> bytes:
    return base64.b64decode(text)


def root_with(**more: Json) -> TrustedRoot:
    return replace(ROOT, **more)
