"""Writes the golden evidence of ``tests/golden/sigstore`` again, with the real services of the testbed.

Run ``python -m tests.testbed.golden_sigstore``. It needs the servers' binaries and takes some seconds. The
private keys are not stored; tests that forge evidence use their own keys.
"""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sigstore.dsse import Statement
from sigstore.models import ClientTrustConfig
from sigstore.oidc import IdentityToken
from sigstore.sign import SigningContext

from chains.statements import simple_signing
from chains.tekton.image_name import ImageDigest
from signers.base import Signer
from signers.keys.keyfile import generate_key, open_keyfile, write_key_pair
from signers.sealer import Sealed
from signers.sigstore.fulcio import Fulcio
from signers.sigstore.identity_token import TokenSource
from signers.sigstore.keyless import Keyless
from signers.sigstore.rekor_v1 import RekorV1
from signers.sigstore.rekor_v2 import RekorV2
from signers.sigstore.sealer import MaterialSealer
from signers.sigstore.timestamp import TimestampAuthority
from signers.sigstore.transparency import TransparencyLog
from signers.sigstore.trusted_root import TrustedRoot
from storage.record import IN_TOTO_PAYLOAD_TYPE
from tests.faults.verify.forge import HEX, IMAGE, provenance, to_bytes
from tests.testbed.build import binary
from tests.testbed.cosign import cosign_in
from tests.testbed.rekor_v1 import rekor_v1
from tests.testbed.sigstore import SigstoreServices, sigstore
from tests.testbed.sigstore_keys import log_of

BLOB = b"the artifact\n"
GOLDEN = Path(__file__).parent.parent / "golden" / "sigstore"


def main() -> None:
    """Write all files."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        tmp = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        services = stack.enter_context(sigstore(tmp))
        old = stack.enter_context(rekor_v1())
        content = json.loads(services.trusted_root.read_text())
        content["tlogs"].append(log_of(old.key, old.url))
        _write("trusted_root.json", content)
        root = TrustedRoot.from_bytes(json.dumps(content).encode())
        (tmp / "token").write_text(services.issuer.token())
        keyless = Keyless(Fulcio(services.fulcio, root), TokenSource(file=str(tmp / "token")))
        write_key_pair(tmp / "signing.key", generate_key("ecdsa-p256"))
        key = open_keyfile(str(tmp / "signing.key"))
        (GOLDEN / "signing.pub").write_bytes(key.public_pem)
        authority = TimestampAuthority(services.timestamp, root)
        logs: dict[str, TransparencyLog | None] = {
            "v2": RekorV2(services.rekor, root), "v1": RekorV1(old.url, root), "unlogged": None,
        }  # fmt: skip
        sources: dict[str, Signer | Keyless] = {"certificate": keyless, "key": key}
        for name, source in sources.items():
            for version, log in logs.items():
                # an entry of v1 has a time of its own
                sealer = MaterialSealer(
                    source, log=log, authority=None if version == "v1" else authority, root=root
                )
                _seal(f"{name}-{version}", sealer)
                sealer.close()
        _seal_with_peers(services, tmp)
        _write("about.json", {
            "identity": services.issuer.identity(), "issuer": services.issuer.url,
            "now": datetime.now(UTC).isoformat(timespec="seconds"),
        })  # fmt: skip


def _seal_with_peers(services: SigstoreServices, tmp: Path) -> None:
    """Write what stock cosign and sigstore-python make of the same statement, and a message signature."""
    (tmp / "blob").write_bytes(BLOB)
    (tmp / "predicate.json").write_text(json.dumps(provenance()["predicate"]))
    cosign = cosign_in(binary("cosign"), tmp)
    common = [
        "--yes", "--identity-token", str(tmp / "token"), "--signing-config", services.signing_config,
        "--trusted-root", services.trusted_root, "--bundle", str(tmp / "bundle.json"),
    ]  # fmt: skip
    attest = ["attest-blob", "--predicate", tmp / "predicate.json", "--type", "slsaprovenance1"]
    for name, command in (("cosign-attest-blob", attest), ("cosign-sign-blob", ["sign-blob"])):
        cosign(*command, *common, tmp / "blob")
        (GOLDEN / f"{name}.bundle.json").write_bytes((tmp / "bundle.json").read_bytes())
    config = ClientTrustConfig.from_json(services.client_trust_config)
    token = IdentityToken((tmp / "token").read_text(), client_id="sigstore")
    with SigningContext.from_trust_config(config).signer(token) as signer:
        bundle = signer.sign_dsse(Statement(to_bytes(provenance())))
        (GOLDEN / "sigstore-python.bundle.json").write_text(bundle.to_json())


def _seal(name: str, sealer: MaterialSealer) -> None:
    payload = simple_signing.build(ImageDigest(IMAGE, HEX))
    attested = sealer.seal_now(to_bytes(provenance()), IN_TOTO_PAYLOAD_TYPE, log=True)
    signed = sealer.sign_now(payload, log=True)
    (GOLDEN / f"{name}.bundle.json").write_bytes(attested.bundle)
    _write(f"{name}.att.json", {"data": attested.envelope.decode(), "annotations": _annotations(attested)})
    _write(
        f"{name}.sig.json",
        {"data": payload.decode(), "signature": signed.signature.hex(), "annotations": _annotations(signed)},
    )


def _annotations(sealed: Sealed) -> dict[str, str]:
    found = dict(sealed.annotations)
    if sealed.certificate:
        found["dev.sigstore.cosign/certificate"] = sealed.certificate.decode()
        found["dev.sigstore.cosign/chain"] = sealed.chain.decode()
    return found


def _write(name: str, content: Any) -> None:
    (GOLDEN / name).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
