"""A plain recount of an audit, for whoever does not want to believe ``chains audit``.

    python3 recount.py runs.json audit.log LAYOUT signing.pub

It counts finished runs in an export and in an audit log of the API server, and those of which an OCI image
layout has provenance with a valid signature. It shares no code with the program that it checks: it needs the
package ``cryptography`` alone, and reads JSON, DSSE and the layout itself. It compares the UID and the
parameters of a run, and nothing else. The key must be ECDSA P-256.
"""

import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_public_key


def has_ended(run):
    """Whether the condition Succeeded is True or False."""
    conditions = (run.get("status") or {}).get("conditions") or []
    return any(
        one.get("type") == "Succeeded" and one.get("status") in ("True", "False") for one in conditions
    )


def finished_runs(export, log):
    """Return the finished runs of an export and of the files of an audit log, by UID."""
    found = {}
    files = sorted(Path(log).iterdir()) if Path(log).is_dir() else [Path(log)]
    for file in files:
        for line in file.read_text().splitlines():
            run = json.loads(line).get("responseObject") or {}
            if run.get("kind") in ("TaskRun", "PipelineRun") and has_ended(run):
                found.setdefault(run["metadata"]["uid"], run)
    for run in json.loads(Path(export).read_text())["items"]:
        if has_ended(run):
            found[run["metadata"]["uid"]] = run
    return found


def blob(layout, digest):
    """Return the bytes of a blob, which must have the digest."""
    algorithm, _, value = digest.partition(":")
    data = (Path(layout) / "blobs" / algorithm / value).read_bytes()
    if hashlib.sha256(data).hexdigest() != value:
        raise SystemExit(f"{digest} has other bytes")
    return data


def signed_statements(layout, key):
    """Yield the in-toto statements of the layout's bundles that the key signed."""
    for entry in json.loads((Path(layout) / "index.json").read_text())["manifests"]:
        for layer in json.loads(blob(layout, entry["digest"])).get("layers", []):
            envelope = json.loads(blob(layout, layer["digest"])).get("dsseEnvelope")
            if not envelope:
                continue
            payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
            signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
            try:
                key.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed, ECDSA(SHA256()))
            except InvalidSignature:
                continue
            yield json.loads(payload)


def recount(export, log, layout, key_file):
    """Return how many runs finished, and the UIDs of those with and without provenance."""
    key = load_pem_public_key(Path(key_file).read_bytes())
    runs, proven = finished_runs(export, log), set()
    for statement in signed_statements(layout, key):
        if statement["predicateType"] != "https://slsa.dev/provenance/v1":
            continue
        uid = statement["predicate"]["runDetails"]["metadata"]["invocationId"]
        asked = statement["predicate"]["buildDefinition"]["externalParameters"]["runSpec"].get("params")
        if uid in runs and asked == runs[uid]["spec"].get("params"):
            proven.add(uid)
    return {"finished": len(runs), "evidenced": sorted(proven), "others": sorted(set(runs) - proven)}


if __name__ == "__main__":
    print(json.dumps(recount(*sys.argv[1:5]), indent=2))
