"""The fault in each file of ``tests/faults/verify/forged``. Everything else in the file is valid."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from signers.keys.public_key import PublicKey
from tests.faults.verify.forge import provenance, to_bytes
from tests.testbed.forged_signature import Signature
from tests.testbed.forged_sigstore import (
    IDENTITY,
    NOW,
    V1,
    V2,
    Entry,
    Instance,
    Wanted,
    encoded,
    private_key,
)
from tests.testbed.forged_timestamps import Stamp
from tests.testbed.sigstore_keys import Authority, public_pem

if TYPE_CHECKING:
    from tests.testbed.forged_evidence import Forger

OTHER = to_bytes(provenance(uid="another"))
FUTURE = NOW + timedelta(days=3600)
EARLY, LATE = NOW - timedelta(minutes=1), NOW + timedelta(minutes=11)
Json = Any
Change = Callable[[Json], object]


def certificates(forger: Forger) -> dict[str, Json]:
    """Return the files with a fault in the certificate only."""
    honest = Wanted()
    impostor = replace(forger.us, fulcio=Authority(forger.other.fulcio.key, forger.us.fulcio.chain))
    other_log = replace(forger.us, ct=forger.other.ct)
    signer = forger.signed()
    below = (x509.load_der_x509_certificate(signer.certificate), *forger.us.fulcio.chain)
    issued = forger.signed(by=replace(forger.us, fulcio=Authority(signer.key, below)))
    chained = issued.bundle([forger.us.entry(issued.body(V2))], [forger.stamped(issued)], "0.2")
    chained["verificationMaterial"]["x509CertificateChain"]["certificates"].append(
        {"rawBytes": encoded(signer.certificate)}
    )
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    stranger = Signature(private_key(), forger.signed().certificate)
    found = {
        "certificate-of-another-authority": forger.v2(forger.signed(by=forger.other)),
        "certificate-of-an-authority-of-that-name": forger.v2(forger.signed(by=impostor)),
        "certificate-issued-by-a-signer": chained,
        "certificate-of-an-ended-authority": forger.v2(
            forger.signed(by=replace(forger.ended, ct=forger.us.ct))
        ),
        "certificate-of-another-key": forger.v2(stranger),
        "sct-of-another-log": forger.v2(forger.signed(by=other_log)),
        "sct-of-an-ended-log": forger.v2(forger.signed(by=replace(forger.us, ct=forger.ended.ct))),
    }
    wanted = {
        "certificate-for-clients": replace(honest, usages=(ExtendedKeyUsageOID.CLIENT_AUTH,)),
        "certificate-for-nothing-told": replace(honest, usages=()),
        "certificate-not-for-signatures": replace(honest, may_sign=False),
        "certificate-of-an-authority": replace(honest, is_authority=True),
        "certificate-for-two-names": replace(honest, names=2),
        "certificate-for-no-name": replace(honest, names=0),
        "certificate-with-an-unknown-rule": replace(honest, extension=unknown),
        "certificate-with-two-issuers": replace(honest, old_issuer="https://issuer.example"),
        "sct-missing": replace(honest, is_logged=False),
        "sct-forged": replace(honest, sct_key=forger.other.ct),
        "sct-of-another-certificate": replace(honest, promised_for=f"{IDENTITY}/other"),
        "identity-of-another": replace(honest, identity="https://evil.example"),
        "identity-longer": replace(honest, identity=f"{IDENTITY}/evil"),
        "identity-inside-another": replace(honest, identity=f"https://evil.example/?{IDENTITY}"),
        "identity-in-capitals": replace(honest, identity=IDENTITY.upper()),
        "identity-with-a-line-break": replace(honest, identity=f"{IDENTITY}\n"),
        "identity-of-a-prefix": replace(honest, identity="https://good.example/evil"),
        "issuer-of-another": replace(honest, issuer="https://evil.example"),
        "issuer-longer": replace(honest, issuer="https://kubernetes.default.svc.evil.example"),
        "issuer-missing": replace(honest, issuer=""),
        "timestamp-before-the-certificate": replace(honest, start=NOW + timedelta(minutes=5)),
        "timestamp-after-the-certificate": replace(honest, start=NOW - timedelta(minutes=30)),
    }
    found |= {name: forger.v2(forger.signed(one)) for name, one in wanted.items()}
    found["certificate-changed"] = changed(forger.v2(), change_certificate)
    found["certificate-unreadable"] = changed(
        forger.v2(), lambda it: it["certificate"].update(rawBytes="AAAA")
    )
    return found


def timestamps(forger: Forger) -> dict[str, Json]:
    """Return the files with a fault in the timestamp only."""
    one = forger.signed()
    impostor = replace(forger.us, tsa=Authority(forger.other.tsa.key, forger.us.tsa.chain))
    good = Stamp(NOW + timedelta(minutes=1))

    def by(instance: Instance, data: bytes = one.signature, **more: Json) -> Json:
        return forger.v2(one, stamps=[instance.timestamp(data, replace(good, **more))])

    second = forger.stamped(one, LATE)
    return {
        "timestamp-of-another-signature": by(forger.us, forger.signed().signature),
        "timestamp-of-the-payload": by(forger.us, one.payload),
        "timestamp-of-another-authority": by(forger.other),
        "timestamp-of-an-authority-of-that-name": by(impostor),
        "timestamp-of-an-ended-authority": by(forger.ended),
        "timestamp-by-an-expired-certificate": by(replace(forger.us, tsa=forger.expired)),
        "timestamp-by-a-signer-of-code": by(replace(forger.us, tsa=forger.code_signer)),
        "timestamp-of-sha1": by(forger.us, algorithm="sha1"),
        "timestamp-not-granted": by(forger.us, status=2),
        "timestamp-changed": by(forger.us, moment=LATE, told=NOW + timedelta(minutes=1)),
        "timestamp-unreadable": forger.v2(one, stamps=[b"no timestamp"]),
        "timestamp-outside-beside-a-good-one": forger.v2(one, stamps=[forger.stamped(one), second]),
        "timestamp-of-another-beside-a-good-one": forger.v2(
            one, stamps=[forger.stamped(one), forger.us.timestamp(b"other")]
        ),
        "timestamps-too-many": forger.v2(one, stamps=[forger.stamped(one)] * 17),
        "timestamp-missing": changed(forger.v2(one), lambda it: it.pop("timestampVerificationData")),
        "log-time-missing": changed(forger.v1(), lambda it: it["tlogEntries"][0].pop("inclusionPromise")),
        "log-time-before-the-certificate": forger.v1(moment=EARLY),
        "log-time-after-the-certificate": forger.v1(moment=LATE),
        "log-time-in-the-future": forger.v1(forger.signed(Wanted(start=FUTURE)), moment=FUTURE),
        "neither-log-nor-time": one.bundle([], []),
    }


def entries(forger: Forger) -> dict[str, Json]:
    """Return the files with a fault in the log entry only."""
    one = forger.signed()
    again = Signature(one.key, one.certificate)
    renewed = Signature(one.key, forger.us.certificate(one.key), signature=one.signature)
    bare = Signature(one.key, signature=one.signature)
    other = Signature(one.key, one.certificate, OTHER, one.signature)
    good = forger.us.entry(one.body(V2))

    def of(body: Json | bytes, **entry: Json) -> Json:
        return forger.v2(one, entries=[forger.us.entry(body, Entry(**entry))])

    def with_entry(change: Change) -> Json:
        return changed(forger.v2(one), lambda it: change(it["tlogEntries"][0]))

    def with_proof(change: Change) -> Json:
        return with_entry(lambda entry: change(entry["inclusionProof"]))

    def with_promise(change: Change) -> Json:
        return changed(forger.v1(one), lambda it: change(it["tlogEntries"][0]))

    promise = forger.us.entry(again.body(V1), Entry(V1))["inclusionPromise"]
    unkind = {**one.body(V2), "kind": "rekord"}
    twice = json.dumps(one.body(V2)).encode().replace(b'{"apiVersion"', b'{"kind":"dsse","apiVersion"', 1)
    v1_again = forger.us.entry(again.body(V1), Entry(V1))
    ended = forger.ended.entry(one.body(V2))
    old = one.bundle([forger.us.entry(one.body(V1), Entry(V1, key=forger.other.logs[V1]))], [], "0.1")
    del old["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
    return {
        "entry-of-another-signature": of(again.body(V2)),
        "entry-of-another-signature-v1": one.bundle([v1_again], []),
        "entry-of-another-payload": of(other.body(V2)),
        "entry-of-another-payload-v1": one.bundle([forger.us.entry(other.body(V1), Entry(V1))], []),
        "entry-of-another-payload-intoto": one.bundle([forger.us.entry(other.body(V1, "intoto"), Entry(V1))], []),
        "entry-of-another-certificate": of(renewed.body(V2)),
        "entry-of-another-certificate-v1": one.bundle([forger.us.entry(renewed.body(V1), Entry(V1))], []),
        "entry-of-the-key-alone": of(bare.body(V2)),
        "entry-of-an-unknown-kind": of(unkind),
        "entry-of-another-kind-than-told": of(one.body(V2), kind="dsse"),
        "entry-no-json": of(b"no json"),
        "entry-with-a-member-twice": of(twice),
        "entry-empty": with_entry(lambda entry: entry.clear()),
        "entry-body-changed": with_entry(change_body),
        "entry-index-of-another": with_entry(lambda entry: entry.update(logIndex="3")),
        "entry-index-no-number": with_entry(lambda entry: entry.update(logIndex="-1")),
        "entry-of-an-unknown-log": with_entry(lambda entry: entry.update(logId={"keyId": encoded(b"\0" * 32)})),
        "entry-of-an-ended-log": forger.v2(one, entries=[ended]),
        "entry-of-another-instance": forger.v2(one, entries=[forger.other.entry(one.body(V2))]),
        "entry-beside-one-of-another": forger.v2(one, entries=[good, forger.us.entry(again.body(V2))]),
        "entries-too-many": forger.v2(one, entries=[good] * 17),
        "entry-missing": one.bundle([], [forger.stamped(one)]),
        "proof-forged": with_proof(lambda proof: proof["hashes"].__setitem__(0, encoded(b"\0" * 32))),
        "proof-too-long": with_proof(lambda proof: proof["hashes"].append(encoded(b"\0" * 32))),
        "proof-too-short": with_proof(lambda proof: proof["hashes"].pop()),
        "proof-of-another-index": with_proof(lambda proof: proof.update(logIndex="1")),
        "proof-of-another-size": with_proof(lambda proof: proof.update(treeSize="6")),
        "proof-of-another-root": with_proof(lambda proof: proof.update(rootHash=encoded(b"\0" * 32))),
        "proof-missing": with_entry(lambda entry: entry.pop("inclusionProof")),
        "proof-missing-v1": with_promise(lambda entry: entry.pop("inclusionProof")),
        "checkpoint-of-another-origin": of(one.body(V2), origin="elsewhere.example"),
        "checkpoint-signed-by-another-name": of(one.body(V2), signed_as="elsewhere.example"),
        "checkpoint-signed-by-another-key": of(one.body(V2), key=forger.other.logs[V2]),
        "checkpoint-changed": with_proof(lambda proof: change_checkpoint(proof, "\n5\n", "\n6\n")),
        "checkpoint-unsigned": with_proof(lambda proof: change_checkpoint(proof, "\N{EM DASH}", "-")),
        "checkpoint-missing": with_proof(lambda proof: proof.pop("checkpoint")),
        "promise-of-another-entry": with_promise(lambda entry: entry.update(inclusionPromise=promise)),
        "promise-of-another-time": with_promise(lambda entry: entry.update(
            integratedTime=str(int(entry["integratedTime"]) + 1))),
        "promise-of-another-index": with_promise(lambda entry: entry.update(logIndex="1003")),
        "promise-by-another-key": old,
    }  # fmt: skip


def signatures(forger: Forger) -> dict[str, Json]:
    """Return the files signed by another signer, or by a key that does not count."""

    def other_payload(bundle: Json) -> Json:
        bundle["dsseEnvelope"]["payload"] = encoded(OTHER)
        return bundle

    def other_hint(bundle: Json) -> Json:
        keyid = PublicKey.from_pem(public_pem(forger.key)).keyid
        bundle["verificationMaterial"]["publicKey"]["hint"] = keyid
        return bundle

    stranger = Signature(private_key())
    entry = forger.us.entry(stranger.body(V2))
    return {
        "payload-changed": other_payload(forger.v2()),
        "payload-changed-key": other_hint(other_payload(forger.keyed())),
        "identity-not-asked-for": forger.v2(),
        "key-of-another": stranger.bundle([entry], [forger.stamped(stranger)]),
        "key-entry-of-another": Signature(forger.key).bundle([entry], []),
        "key-timestamp-of-another": Signature(forger.key).bundle([], [forger.stamped(stranger)]),
        "key-revoked": forger.keyed(),
        "key-used-after-its-end": forger.keyed(NOW + timedelta(days=60)),
        "key-used-before-its-start": forger.keyed(),
    }


def changed(bundle: Json, change: Change) -> Json:
    """Return the bundle with a changed verification material."""
    change(bundle["verificationMaterial"])
    return bundle


def change_certificate(material: Json) -> None:
    """Change the identity in a certificate after signing."""
    raw = base64.b64decode(material["certificate"]["rawBytes"])
    material["certificate"]["rawBytes"] = encoded(raw.replace(b"tekton-chains-c", b"tekton-chains-k"))


def change_body(entry: Json) -> None:
    """Change the digest in an entry's body after logging."""
    body = json.loads(base64.b64decode(entry["canonicalizedBody"]))
    body["spec"]["hashedRekordV002"]["data"]["digest"] = encoded(b"\0" * 32)
    entry["canonicalizedBody"] = encoded(json.dumps(body).encode())


def change_checkpoint(proof: Json, text: str, by: str) -> None:
    """Change the text of a checkpoint after signing."""
    envelope = proof["checkpoint"]["envelope"]
    assert text in envelope
    proof["checkpoint"]["envelope"] = envelope.replace(text, by)
