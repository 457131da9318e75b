"""The member names of the JSON objects that carry verification material, for :func:`check_shape`.

Sources: sigstore/protobuf-specs (``sigstore_rekor.proto``, ``sigstore_trustroot.proto``), cosign's
annotations, and the entry types of Rekor.
"""

from __future__ import annotations

from signers.strict_json import Shape

_HASH: Shape = {"algorithm": None, "value": None}
_PERIOD: Shape = {"start": None, "end": None}
LOG_ENTRY: Shape = {
    "logIndex": None,
    "logId": {"keyId": None},
    "kindVersion": {"kind": None, "version": None},
    "integratedTime": None,
    "inclusionPromise": {"signedEntryTimestamp": None},
    "inclusionProof": {
        "logIndex": None,
        "rootHash": None,
        "treeSize": None,
        "hashes": None,
        "checkpoint": {"envelope": None},
    },
    "canonicalizedBody": None,
}
TIMESTAMP: Shape = {"signedTimestamp": None}
MATERIAL: Shape = {
    "tlogEntries": LOG_ENTRY,
    "timestampVerificationData": {"rfc3161Timestamps": TIMESTAMP},
}
COSIGN_BUNDLE: Shape = {
    "SignedEntryTimestamp": None,
    "Payload": {"body": None, "integratedTime": None, "logIndex": None, "logID": None},
}
COSIGN_TIMESTAMP: Shape = {"SignedRFC3161Timestamp": None}
_BODY: Shape = {"apiVersion": None, "kind": None}
ENTRY_BODIES: dict[tuple[str, str], Shape] = {
    ("hashedrekord", "0.0.1"): {
        **_BODY,
        "spec": {
            "signature": {"content": None, "publicKey": {"content": None}},
            "data": {"hash": _HASH},
        },
    },
    ("hashedrekord", "0.0.2"): {
        **_BODY,
        "spec": {
            "hashedRekordV002": {
                "data": {"algorithm": None, "digest": None},
                "signature": {
                    "content": None,
                    "verifier": {
                        "keyDetails": None,
                        "x509Certificate": {"rawBytes": None},
                        "publicKey": {"rawBytes": None},
                    },
                },
            }
        },
    },
    ("dsse", "0.0.1"): {
        **_BODY,
        "spec": {
            "envelopeHash": _HASH,
            "payloadHash": _HASH,
            "signatures": {"signature": None, "verifier": None},
        },
    },
    ("intoto", "0.0.2"): {
        **_BODY,
        "spec": {
            "content": {
                "hash": _HASH,
                "payloadHash": _HASH,
                "envelope": {
                    "payload": None,
                    "payloadType": None,
                    "signatures": {"keyid": None, "publicKey": None, "sig": None},
                },
            }
        },
    },
}
_LOG: Shape = {
    "baseUrl": None,
    "hashAlgorithm": None,
    "publicKey": {"rawBytes": None, "keyDetails": None, "validFor": _PERIOD},
    "logId": {"keyId": None},
    "checkpointKeyId": {"keyId": None},
    "operator": None,
}
_AUTHORITY: Shape = {
    "subject": {"organization": None, "commonName": None},
    "uri": None,
    "certChain": {"certificates": {"rawBytes": None}},
    "validFor": _PERIOD,
    "operator": None,
}
TRUSTED_ROOT: Shape = {
    "mediaType": None,
    "tlogs": _LOG,
    "ctlogs": _LOG,
    "certificateAuthorities": _AUTHORITY,
    "timestampAuthorities": _AUTHORITY,
}
_SERVICE: Shape = {"url": None, "majorApiVersion": None, "validFor": _PERIOD, "operator": None}
SIGNING_CONFIG: Shape = {
    "mediaType": None,
    "caUrls": _SERVICE,
    "oidcUrls": _SERVICE,
    "rekorTlogUrls": _SERVICE,
    "rekorTlogConfig": {"selector": None, "count": None},
    "tsaUrls": _SERVICE,
    "tsaConfig": {"selector": None, "count": None},
}
COSIGN_KEY: Shape = {
    "kdf": {"name": None, "params": {"N": None, "r": None, "p": None}, "salt": None},
    "cipher": {"name": None, "nonce": None},
    "ciphertext": None,
}
