"""Verification summaries made to order, and policies that accept them."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from chains.statements.statement import STATEMENT_V1
from chains.statements.vsa import VSA
from signers.formats.dsse import pae
from storage.record import Evidence
from tests.faults.verify.forge import DIGEST, HEX, IMAGE, bundle, evidence, form_b, public, signer, subject
from tests.testbed.forged_sigstore import Instance, encoded, private_key, sign
from tests.testbed.forged_timestamps import Stamp

Json = Any
VERIFIER = "https://security.example.com/verifier"
POLICY = "https://security.example.com/policies/production"
POLICY_HEX = "ab" * 32
PLACE = f"{IMAGE}@{DIGEST}"


def accepted(name: str = "security", *keys: str, **changes: Json) -> Json:
    """Return an entry that accepts the summaries of ``verifier``; None in ``changes`` leaves a name out."""
    listed = [{"pem": public(key).pem.decode()} for key in keys or ("verifier",)]
    entry = {
        "name": name,
        "signer": {"keys": listed},
        "verifierId": VERIFIER,
        "policy": {"uri": POLICY, "digest": f"sha256:{POLICY_HEX}"},
        "maxLevel": 3,
    } | changes
    return {name: value for name, value in entry.items() if value is not None}


def door(*entries: Json, **spec: Json) -> Json:
    """Return a policy that takes summaries alone, by default those of ``verifier`` with level 2."""
    return {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": "door"},
        "spec": {
            "match": {"images": [IMAGE]},
            "accept": {"vsa": list(entries) or [accepted()]},
            "require": {"level": 2},
        }
        | spec,
    }


def vsa(value: str = HEX, **changes: Json) -> Json:
    """Return a summary that passed; ``changes`` replace members of its predicate, None leaves one out."""
    predicate = {
        "verifier": {"id": VERIFIER, "version": {"verifier": "1.0"}},
        "timeVerified": "2026-10-05T08:00:00Z",
        "resourceUri": PLACE,
        "policy": {"uri": POLICY, "digest": {"sha256": POLICY_HEX}},
        "inputAttestations": [{"uri": PLACE, "digest": {"sha256": "cd" * 32}}],
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_2", "TEKTON_HERMETIC_ENFORCED"],
        "slsaVersion": "1.2",
    } | changes
    return {
        "_type": STATEMENT_V1,
        "subject": [subject(value)],
        "predicateType": VSA,
        "predicate": {name: value for name, value in predicate.items() if value is not None},
    }


def failed(**changes: Json) -> Json:
    """Return a summary that failed, an hour later than :func:`vsa`."""
    told = {
        "verificationResult": "FAILED",
        "verifiedLevels": ["FAILED"],
        "timeVerified": "2026-10-05T08:30:00Z",
    }
    return vsa(**(told | changes))


def held(statement: Json, key: str = "verifier") -> Evidence:
    """Return a summary as a store has it."""
    return form_b(statement, signer(key))


@cache
def _instance() -> Instance:
    return Instance.new()


def by_certificate(statement: Json) -> Evidence:
    """Return a statement that a certificate of the instance signed, with a timestamp."""
    key = private_key()
    members = json.loads(bundle(statement))
    payload = base64.b64decode(members["dsseEnvelope"]["payload"])
    signature = sign(key, pae(members["dsseEnvelope"]["payloadType"], payload))
    members["dsseEnvelope"]["signatures"] = [{"sig": encoded(signature)}]
    members["verificationMaterial"] = {
        "certificate": {"rawBytes": encoded(_instance().certificate(key))},
        "timestampVerificationData": {
            "rfc3161Timestamps": [{"signedTimestamp": encoded(_instance().timestamp(signature))}]
        },
    }
    return evidence(json.dumps(members).encode(), "bundle-v0.3", "oci-referrer")


@cache
def trusted_root() -> str:
    """Return the path of a trusted root with the timestamp authority of :func:`stamped`."""
    path = Path(mkdtemp(prefix="root-")) / "trusted_root.json"
    path.write_text(json.dumps(_instance().trusted_root(Instance.new())))
    return str(path)


def stamped(statement: Json, *moments: datetime, key: str = "verifier") -> Evidence:
    """Return a signed statement with a timestamp for each moment."""
    members = json.loads(bundle(statement, signer(key)))
    signature = base64.b64decode(members["dsseEnvelope"]["signatures"][0]["sig"])
    stamps = [_instance().timestamp(signature, Stamp(moment)) for moment in moments]
    members["verificationMaterial"]["timestampVerificationData"] = {
        "rfc3161Timestamps": [{"signedTimestamp": base64.b64encode(one).decode()} for one in stamps]
    }
    return evidence(json.dumps(members).encode(), "bundle-v0.3", "oci-referrer")
