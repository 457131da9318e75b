"""What each file of ``tests/faults/verify/forged`` is refused for; ``tests.testbed.forged_faults`` says what is wrong in it."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chains.verify.criteria import CertificateWanted, Criteria
from signers.formats.layer_annotations import BUNDLE_ANNOTATION, CERTIFICATE_ANNOTATION, MATERIAL_ANNOTATION
from signers.keys.keyset import ListedKey, parse_keyset
from signers.keys.public_key import PublicKey
from signers.sigstore.trusted_root import TrustedRoot
from storage.record import Evidence
from tests.faults.verify.forge import DIGEST, evidence

Json = Any

FOLDER = Path(__file__).parent / "forged"
IDENTITY = "https://kubernetes.io/namespaces/tekton-chains/serviceaccounts/tekton-chains-controller"
ISSUER = "https://kubernetes.default.svc"
ROOT = ("--trusted-root", str(FOLDER / "trusted_root.json"))
BY_IDENTITY = ("--certificate-identity", IDENTITY, "--certificate-oidc-issuer", ISSUER)
BY_KEY = ("--key", str(FOLDER / "key.pub"))
COSIGN = (
    "--digest", DIGEST.removeprefix("sha256:"), "--digestAlg", "sha256",
    "--type", "https://slsa.dev/provenance/v1", *ROOT,
)  # fmt: skip
STAMPS, UNLOGGED = "--use-signed-timestamps", "--insecure-ignore-tlog"


@dataclass(frozen=True)
class Case:
    """A file, how it is asked about, and the answer; ``reason`` is empty when nothing is wrong."""

    reason: str
    asked: tuple[str, ...] = BY_IDENTITY
    cosign: tuple[str, ...] = ()
    """What cosign is asked instead, and what it needs beside."""
    differs: bool = False
    """Whether stock cosign takes it: ``docs/verify.md`` says why."""

    @property
    def code(self) -> int:
        """The exit code."""
        return {"": 0, "time_in_future": 4}.get(self.reason, 1)


def keyset(name: str) -> tuple[str, ...]:
    return ("--key", str(FOLDER / f"keyset-{name}.json"))


def regexp(identity: str, issuer: str = ISSUER) -> tuple[str, ...]:
    return ("--certificate-identity-regexp", identity, "--certificate-oidc-issuer-regexp", issuer)


STAMPED = (*BY_IDENTITY, STAMPS)
HONEST = {
    "honest-v2": Case("", cosign=STAMPED),
    "honest-v1": Case(""),
    "honest-v1-intoto": Case(""),
    "honest-v1-promise-alone": Case(""),
    "honest-two-logs": Case("", cosign=STAMPED),
    "honest-unlogged": Case("", cosign=(*STAMPED, UNLOGGED)),
    "honest-key-v2": Case("", BY_KEY),
    "honest-key-v1": Case("", BY_KEY),
    "honest-key-alone": Case("", BY_KEY, (*BY_KEY, UNLOGGED)),
}
CERTIFICATES = {
    "certificate-changed": Case("certificate_unknown"),
    "certificate-of-another-authority": Case("certificate_unknown"),
    "certificate-of-an-authority-of-that-name": Case("certificate_unknown"),
    "certificate-issued-by-a-signer": Case("certificate_unknown"),
    "certificate-of-an-ended-authority": Case("expired"),
    "certificate-for-clients": Case("certificate_invalid"),
    "certificate-for-nothing-told": Case("certificate_invalid", differs=True),
    "certificate-not-for-signatures": Case("certificate_invalid", differs=True),
    "certificate-of-an-authority": Case("certificate_invalid", differs=True),
    "certificate-for-two-names": Case("certificate_invalid", differs=True),
    "certificate-for-no-name": Case("certificate_invalid"),
    "certificate-with-an-unknown-rule": Case("certificate_invalid"),
    "certificate-with-two-issuers": Case("certificate_invalid", differs=True),
    "certificate-unreadable": Case("certificate_invalid"),
    "certificate-of-another-key": Case("signature_invalid"),
    "sct-missing": Case("sct_missing"),
    "sct-forged": Case("sct_invalid"),
    "sct-of-another-certificate": Case("sct_invalid"),
    "sct-of-another-log": Case("sct_invalid"),
    "sct-of-an-ended-log": Case("sct_invalid"),
}
IDENTITIES = {
    "identity-of-another": Case("identity_mismatch"),
    "identity-longer": Case("identity_mismatch"),
    "identity-in-capitals": Case("identity_mismatch"),
    "identity-with-a-line-break": Case("identity_mismatch", regexp(f"^{IDENTITY}$")),
    "identity-inside-another": Case("identity_mismatch", regexp(IDENTITY), differs=True),
    "identity-of-a-prefix": Case("identity_mismatch", regexp("https://good.example"), differs=True),
    "identity-not-asked-for": Case("keyless_unsupported", BY_KEY),
    "issuer-of-another": Case("issuer_mismatch"),
    "issuer-longer": Case("issuer_mismatch", regexp(IDENTITY), differs=True),
    "issuer-missing": Case("issuer_mismatch", regexp(".*", ".*"), differs=True),
}
TIMES = {
    "timestamp-before-the-certificate": Case("timestamp_outside_cert", cosign=STAMPED),
    "timestamp-after-the-certificate": Case("timestamp_outside_cert", cosign=STAMPED),
    "timestamp-outside-beside-a-good-one": Case("timestamp_outside_cert", cosign=STAMPED, differs=True),
    "timestamp-of-another-beside-a-good-one": Case("timestamp_invalid", cosign=STAMPED, differs=True),
    "timestamps-too-many": Case("timestamp_invalid", cosign=STAMPED, differs=True),
    **{
        f"timestamp-{name}": Case("timestamp_invalid", cosign=STAMPED)
        for name in (
            "of-another-signature", "of-the-payload", "of-another-authority", "of-an-authority-of-that-name",
            "of-an-ended-authority", "by-an-expired-certificate", "by-a-signer-of-code", "of-sha1",
            "not-granted", "changed", "unreadable",
        )
    },
    "timestamp-missing": Case("timestamp_missing", cosign=STAMPED),
    "neither-log-nor-time": Case("timestamp_missing"),
    "log-time-missing": Case("timestamp_missing"),
    "log-time-before-the-certificate": Case("timestamp_outside_cert"),
    "log-time-after-the-certificate": Case("timestamp_outside_cert"),
    "log-time-in-the-future": Case("time_in_future", differs=True),
}  # fmt: skip
ENTRIES = {
    **{
        name: Case("tlog_invalid")
        for name in (
            "entry-of-another-signature", "entry-of-another-signature-v1", "entry-of-another-payload",
            "entry-of-another-payload-v1", "entry-of-another-payload-intoto", "entry-of-another-certificate",
            "entry-of-another-certificate-v1", "entry-of-the-key-alone", "entry-of-an-unknown-kind",
            "entry-no-json", "entry-with-a-member-twice", "entry-empty", "entry-index-of-another",
            "entry-index-no-number", "entry-of-an-unknown-log", "entry-of-another-instance",
            "entry-beside-one-of-another", "entries-too-many", "proof-forged", "proof-too-long",
            "proof-too-short", "proof-missing", "proof-missing-v1", "checkpoint-of-another-origin",
            "checkpoint-signed-by-another-name", "checkpoint-signed-by-another-key", "checkpoint-changed",
            "checkpoint-unsigned", "checkpoint-missing", "promise-of-another-entry", "promise-of-another-time",
            "promise-of-another-index", "promise-by-another-key",
        )
    },
    **{
        name: Case("tlog_invalid", differs=True)
        for name in (
            "entry-body-changed", "entry-of-another-kind-than-told", "entry-of-an-ended-log",
            "proof-of-another-index", "proof-of-another-size", "proof-of-another-root",
        )
    },
    "entry-missing": Case("tlog_missing", (*BY_IDENTITY, "--require-log"), BY_IDENTITY),
}  # fmt: skip
SIGNATURES = {
    "payload-changed": Case("signature_invalid"),
    "payload-changed-key": Case("signature_invalid", BY_KEY),
    "key-of-another": Case("key_unknown", BY_KEY),
    "key-entry-of-another": Case("tlog_invalid", BY_KEY),
    "key-timestamp-of-another": Case("timestamp_invalid", BY_KEY),
    "key-revoked": Case("key_revoked", keyset("revoked"), BY_KEY, differs=True),
    "key-used-after-its-end": Case("key_outside_window", keyset("ended"), BY_KEY, differs=True),
    "key-used-before-its-start": Case("key_outside_window", keyset("later"), BY_KEY, differs=True),
}
CASES = HONEST | CERTIFICATES | IDENTITIES | TIMES | ENTRIES | SIGNATURES


def criteria_of(asked: tuple[str, ...]) -> Criteria:
    """What the options ask for."""
    given = dict(zip(asked[::2], asked[1::2], strict=True))
    path = given.get("--key", "")
    listed = []
    if path:
        data = Path(path).read_bytes()
        listed = list(parse_keyset(data)) if path.endswith(".json") else [ListedKey(PublicKey.from_pem(data))]
    names = [
        f"--certificate-{name}{more}" for name in ("identity", "oidc-issuer") for more in ("", "-regexp")
    ]
    return Criteria(
        [one.key for one in listed],
        windows={one.key.keyid: one for one in listed if one != ListedKey(one.key)},
        certificate=CertificateWanted.from_options(*(given.get(name) for name in names)),
        trusted_root=TrustedRoot.from_path(FOLDER / "trusted_root.json"),
    )


def layer(bundle: Json) -> Evidence:
    """The same evidence in form A: an envelope, and annotations of its layer."""
    material = bundle["verificationMaterial"]
    chain = material.get("x509CertificateChain", {}).get("certificates", [material.get("certificate")])
    annotations = {}
    if chain[0]:
        text = chain[0]["rawBytes"]
        annotations[CERTIFICATE_ANNOTATION] = (
            f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"
        )
    surroundings = {
        name: material[name] for name in ("tlogEntries", "timestampVerificationData") if name in material
    }
    annotations[MATERIAL_ANNOTATION] = json.dumps(surroundings)
    data = json.dumps(bundle["dsseEnvelope"]).encode()
    return evidence(data, "dsse", "oci-att", annotations=annotations)


def layer_of_cosign(bundle: Json) -> Evidence:
    """The same in cosign's own annotations, which have no place for a proof."""
    held = layer(bundle)
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    payload = {
        "body": entry["canonicalizedBody"], "integratedTime": int(entry["integratedTime"]),
        "logIndex": int(entry["logIndex"]), "logID": base64.b64decode(entry["logId"]["keyId"]).hex(),
    }  # fmt: skip
    promise = {"SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"], "Payload": payload}
    annotations = {BUNDLE_ANNOTATION: json.dumps(promise)}
    annotations |= {name: text for name, text in held.annotations.items() if name != MATERIAL_ANNOTATION}
    return replace(held, annotations=annotations)


def file(name: str) -> Path:
    return FOLDER / f"{name}.bundle.json"
