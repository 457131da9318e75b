"""Writes ``tests/faults/verify/forged`` again: one bundle per way in which keyless evidence can be wrong.

Run ``python -m tests.testbed.forged_evidence``. The keys of the instance are not stored, so all files must be
written together. :mod:`tests.faults.verify.forged_cases` says why each file must be refused.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID

from signers.keys.keyset import KeyStatus, ListedKey, write_keyset
from signers.keys.public_key import PublicKey
from tests.testbed.forged_faults import certificates, entries, signatures, timestamps
from tests.testbed.forged_signature import Signature
from tests.testbed.forged_sigstore import NOW, V1, V2, Entry, Instance, Wanted, private_key
from tests.testbed.forged_timestamps import Stamp, make_authority
from tests.testbed.sigstore_keys import public_pem, write_json

FOLDER = Path(__file__).parents[1] / "faults" / "verify" / "forged"
Json = Any


class Forger:
    """The trusted instance, its expired parts, and another instance with the same URLs."""

    def __init__(self) -> None:
        self.us, self.ended, self.other = Instance.new(), Instance.new(), Instance.new()
        self.expired = make_authority(self.us.tsa_root, NOW, lasts=timedelta(hours=1))
        self.code_signer = make_authority(self.us.tsa_root, NOW, ExtendedKeyUsageOID.CODE_SIGNING)
        self.root = self.us.trusted_root(self.ended, self.expired, self.code_signer)
        self.key = private_key()

    def signed(self, wanted: Wanted | None = None, by: Instance | None = None) -> Signature:
        """Return a keyless signature; ``by`` is the certificate of another instance."""
        key = private_key()
        return Signature(key, (by or self.us).certificate(key, wanted))

    def stamped(self, one: Signature, moment: datetime = NOW + timedelta(minutes=1)) -> bytes:
        """Return a valid timestamp."""
        return self.us.timestamp(one.signature, Stamp(moment))

    def v2(self, one: Signature | None = None, **made: Json) -> Json:
        """Return a bundle with a Rekor v2 entry and a timestamp; ``made`` replaces either."""
        one = one or self.signed()
        entries = made.get("entries") or [self.us.entry(one.body(V2), made.get("entry"))]
        return one.bundle(entries, made.get("stamps") or [self.stamped(one)])

    def v1(self, one: Signature | None = None, kind: str = "dsse", **entry: Json) -> Json:
        """Return a bundle with a Rekor v1 entry, whose time is the only one."""
        one = one or self.signed()
        return one.bundle([self.us.entry(one.body(V1, kind), Entry(V1, **entry))], [])

    def keyed(self, moment: datetime = NOW, host: str = V2) -> Json:
        """Return a bundle signed with a key, with log entry and time."""
        one = Signature(self.key)
        entry = self.us.entry(one.body(host), Entry(host, moment=moment))
        return one.bundle([entry], [self.stamped(one, moment)] if host == V2 else [])

    def honest(self) -> dict[str, Json]:
        """Return the files without any fault."""
        one = self.signed()
        old = one.bundle([self.us.entry(one.body(V1), Entry(V1))], [], "0.1")
        del old["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]
        two = self.signed()
        both = [self.us.entry(two.body(V2)), self.us.entry(two.body(V1), Entry(V1))]
        return {
            "honest-v2": self.v2(),
            "honest-v1": self.v1(),
            "honest-v1-intoto": self.v1(kind="intoto"),
            "honest-v1-promise-alone": old,
            "honest-two-logs": two.bundle(both, [self.stamped(two)]),
            "honest-unlogged": two.bundle([], [self.stamped(two)]),
            "honest-key-v2": self.keyed(),
            "honest-key-v1": self.keyed(host=V1),
            "honest-key-alone": Signature(self.key).bundle([], []),
        }

    def write(self) -> None:
        """Write all files."""
        FOLDER.mkdir(exist_ok=True)
        for old in FOLDER.glob("*"):
            old.unlink()
        write_json(FOLDER / "trusted_root.json", self.root)
        pem = public_pem(self.key)
        (FOLDER / "key.pub").write_bytes(pem)
        key = PublicKey.from_pem(pem)
        month = timedelta(days=30)
        windows = {
            "ended": ListedKey(key, NOW - month, NOW + month),
            "later": ListedKey(key, NOW + month),
            "revoked": ListedKey(key, status=KeyStatus.REVOKED),
        }
        for name, listed in windows.items():
            (FOLDER / f"keyset-{name}.json").write_bytes(write_keyset([listed]) + b"\n")
        made = (self.honest(), certificates(self), timestamps(self), entries(self), signatures(self))
        for name, bundle in {name: one for part in made for name, one in part.items()}.items():
            (FOLDER / f"{name}.bundle.json").write_text(json.dumps(bundle) + "\n")


def main() -> None:
    """Write the files."""
    Forger().write()


if __name__ == "__main__":
    main()
