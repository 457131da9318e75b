"""``chains audit reverify``: what a store holds is verified again, piece by piece, by one process or several."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from chains.cli.main import run as chains
from signers.formats.bundle import Bundle
from signers.keys.public_key import PublicKey
from storage.open import open_store
from storage.record import BUNDLE_FORMAT, IN_TOTO_PAYLOAD_TYPE, Evidence, Origin, Record, Subject
from tests.audit_truth import task_run

Json = Any
STORE = ("--store", "file:store")
Reverify = Callable[..., Json]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def reverify(capsys: pytest.CaptureFixture[str]) -> Reverify:
    """Verify the store again, check the exit code, and return the JSON."""

    def run(code: int, *more: str) -> Json:
        capsys.readouterr()
        assert chains(["audit", "reverify", *STORE, "--output", "json", *more]) == code
        return json.loads(capsys.readouterr().out)

    return run


def attest(name: str, *numbers: int) -> None:
    """Attest runs with a key of this name, which is made if there is none: provenance, report and signature."""
    if not Path(f"{name}.key").exists():
        assert chains(["keys", "generate", f"{name}.key"]) == 0
    Path("runs.json").write_text(json.dumps([task_run(number) for number in numbers]))
    assert chains(["attest", "runs.json", *STORE, "--key", f"{name}.key"]) == 0


def test_everything_that_is_unchanged_and_of_a_trusted_key_verifies(reverify: Reverify) -> None:
    attest("good", 1, 2)
    found = reverify(0, "--key", "good.pub")
    assert found["failed"] == 0
    # of each run: provenance and report in two forms, the image's signature, and its statement
    assert found["verified"] == 12
    assert list(found["algorithms"]) == ["ecdsa-p256-sha256"]
    assert (found["broken"], found["expiring"], found["problems"], found["withTrustedTime"]) == (
        [],
        [],
        [],
        0,
    )


def test_what_strangers_signed_and_what_was_changed_is_named(reverify: Reverify) -> None:
    attest("good", 1)
    before = reverify(0, "--key", "good.pub")["verified"]
    attest("bad", 2)
    found = reverify(1, "--key", "good.pub")
    assert (found["verified"], found["failed"]) == (before, before)
    assert {one["reason"] for one in found["broken"]} == {"key_unknown"}
    (envelope, *_) = sorted(
        path
        for path in Path("store").rglob("*")
        if path.is_file()
        and b"payloadType" in path.read_bytes()
        and b"run-1" in b64decode(json.loads(path.read_bytes()).get("payload", ""))
    )
    document = json.loads(envelope.read_bytes())
    document["payload"] = b64encode(b64decode(document["payload"]).replace(b"run-1", b"run-9")).decode()
    envelope.write_text(json.dumps(document))
    found = reverify(1, "--key", "good.pub", "--key", "bad.pub")
    assert (found["verified"], found["failed"]) == (2 * before - 1, 1)
    assert found["broken"][0]["reason"] in {"signature_invalid", "unreadable", "digest_mismatch"}


def test_the_parts_of_several_processes_are_the_whole(reverify: Reverify) -> None:
    attest("good", *range(1, 8))
    whole = reverify(0, "--key", "good.pub")["verified"]
    parts = [reverify(0, "--key", "good.pub", "--shard", f"{number}/3")["verified"] for number in range(3)]
    assert sum(parts) == whole
    assert all(parts)


def test_a_key_that_ends_soon_takes_its_evidence_with_it(reverify: Reverify) -> None:
    attest("good", 1)
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    listed = {
        "pem": Path("good.pub").read_text(),
        "status": "active",
        "notAfter": end.isoformat().replace("+00:00", "Z"),
    }
    media_type = "application/vnd.provenance-chains.keyset.v1+json"

    def keyset(**more: str) -> str:
        Path("keys.json").write_text(json.dumps({"mediaType": media_type, "keys": [listed | more]}))
        return "keys.json"

    found = reverify(0, "--key", keyset())
    (one,) = found["expiring"]
    assert (one["until"], one["pieces"]) == (listed["notAfter"], found["verified"])
    assert one["what"].startswith("key SHA256:")
    assert reverify(0, "--key", keyset(), "--soon", "10")["expiring"] == []
    # nobody can sign with a retired key, so what it signed still counts
    assert reverify(0, "--key", keyset(status="retired"))["expiring"] == []


def test_an_algorithm_that_ends_is_told(reverify: Reverify) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    Path("old.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    Path("old.key").chmod(0o600)
    Path("old.pub").write_bytes(PublicKey.from_key(key.public_key()).pem)
    attest("old", 1)
    found = reverify(0, "--key", "old.pub", "--soon", "1")
    (one,) = found["expiring"]
    assert (one["what"], one["until"]) == ("algorithm rsa-2048-sha256", "2030-12-31T23:59:59Z")
    assert one["pieces"] == found["verified"]


def test_an_empty_store_is_no_proof(reverify: Reverify) -> None:
    attest("good", 1)
    Path("nothing").mkdir()
    assert chains(["audit", "reverify", "--store", "file:nothing", "--key", "good.pub"]) == 3


def test_a_store_that_does_not_answer_is_no_proof(capsys: pytest.CaptureFixture[str]) -> None:
    attest("good", 1)
    words = [
        "audit",
        "reverify",
        "--store",
        "oci://127.0.0.1:1/nowhere",
        "--key",
        "good.pub",
        "--output",
        "json",
    ]
    capsys.readouterr()
    assert chains(words) == 4
    assert "cannot be read whole" in json.loads(capsys.readouterr().out)["problems"][0]


@pytest.mark.parametrize("shard", ["3/3", "x", "1", "-1/3", "0/0"])
def test_a_part_that_is_none_is_told(shard: str, capsys: pytest.CaptureFixture[str]) -> None:
    attest("good", 1)
    assert chains(["audit", "reverify", *STORE, "--key", "good.pub", f"--shard={shard}"]) == 2
    assert "expected NUMBER/TOTAL" in capsys.readouterr().err


GOLDEN = Path(__file__).parents[4] / "golden" / "sigstore"
TRUST = (
    "--trusted-root", str(GOLDEN / "trusted_root.json"), "--key", str(GOLDEN / "signing.pub"),
    "--certificate-identity", json.loads((GOLDEN / "about.json").read_text())["identity"],
    "--certificate-oidc-issuer", json.loads((GOLDEN / "about.json").read_text())["issuer"],
)  # fmt: skip


def keep(*names: str) -> None:
    """Store golden bundles, each as evidence of a run of its own."""

    async def work() -> None:
        async with open_store("file:store") as store:
            for number, name in enumerate(names):
                bundle = (GOLDEN / f"{name}.bundle.json").read_bytes()
                payload = Bundle.from_bytes(bundle).envelope.payload
                origin = Origin("taskrun", "ci", name, f"00000000-0000-4000-8000-{number:012d}")
                subject = Subject("app", {"sha256": "ab" * 32})
                made = Record(
                    origin,
                    (subject,),
                    payload,
                    IN_TOTO_PAYLOAD_TYPE,
                    "https://slsa.dev/provenance/v1",
                    bundle,
                )
                assert (await store.put(made)).receipts

    asyncio.run(work())


def test_certificates_in_evidence_are_listed_with_their_end_and_whether_a_time_outlives_them(
    reverify: Reverify, capsys: pytest.CaptureFixture[str]
) -> None:
    keep("certificate-v1", "certificate-v2", "certificate-unlogged", "key-v2", "key-unlogged")
    found = reverify(0, *TRUST)
    assert (found["verified"], found["expiring"]) == (5, [])
    signing, stamps = found["certificates"]
    # the certificates ended ten minutes after signing: a timestamp, or the time of a log, outlives each
    assert signing == {
        "kind": "signing", "subject": None, "issuer": "CN=fulcio,O=testbed", "algorithm": "ecdsa-p256",
        "pieces": 3, "outlived": 3, "firstEnd": "2026-11-21T12:12:27Z", "lastEnd": "2026-11-21T12:12:27Z",
    }  # fmt: skip
    # one has the time of a log of version 1, and no timestamp; nothing outlives the timestamps of the others
    assert stamps == {
        "kind": "timestamp", "subject": "CN=timestamp authority,O=testbed", "issuer": "CN=timestamp root,O=testbed",
        "algorithm": "ecdsa-p256", "pieces": 4, "outlived": 0,
        "firstEnd": "2036-11-18T12:02:26Z", "lastEnd": "2036-11-18T12:02:26Z",
    }  # fmt: skip
    far = reverify(0, *TRUST, "--soon", "36500")["expiring"]
    ending = next(one for one in far if one["what"].startswith("timestamp certificate "))
    assert (ending["what"], ending["until"], ending["pieces"]) == (
        "timestamp certificate CN=timestamp authority,O=testbed", "2036-11-18T12:02:26Z", 4,
    )  # fmt: skip
    capsys.readouterr()
    assert chains(["audit", "reverify", *STORE, *TRUST]) == 0
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "signing ecdsa-p256 3 3 2026-11-21T12:12:27Z 2026-11-21T12:12:27Z CN=fulcio,O=testbed" in told


@pytest.mark.parametrize(("source", "outlived"), [("Tlog", 1), ("TimestampAuthority", 0)])
def test_the_time_of_a_log_outlives_a_timestamp(source: str, outlived: int) -> None:
    from chains.audit.certificates import CertificatesInEvidence
    from chains.verify.signed_by import SignedBy
    from signers.sigstore.verification_material import VerifiedTime

    data = (GOLDEN / "key-v2.bundle.json").read_bytes()
    found = CertificatesInEvidence()
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    found.add(
        Evidence("file", "x", "sha256:x", BUNDLE_FORMAT, data),
        SignedBy("SHA256:x", times=(VerifiedTime(moment, source, "https://x"),)),
    )
    (one,) = found.listed()
    assert (one.kind, one.pieces, one.outlived) == ("timestamp", 1, outlived)
    far = datetime(2040, 1, 1, tzinfo=UTC)
    assert len(list(found.ending(far))) == 1 - outlived
    assert list(found.ending(moment)) == []


def test_without_a_trusted_root_no_certificate_is_vouched_for(reverify: Reverify) -> None:
    keep("key-v2")
    assert reverify(0, "--key", str(GOLDEN / "signing.pub"))["certificates"] == []


def test_the_end_of_a_certificate_is_that_of_the_one_that_signed() -> None:
    from signers.sigstore.ends import signing_end, timestamp_ends
    from signers.sigstore.verification_material import VerificationMaterial

    bundle = Bundle.from_bytes((GOLDEN / "certificate-v2.bundle.json").read_bytes())
    material = VerificationMaterial.from_bundle(bundle)
    end = signing_end(material)
    assert end is not None
    assert (end.subject, end.issuer) == ("", "CN=fulcio,O=testbed")
    assert [one.subject for one in timestamp_ends(material)] == ["CN=timestamp authority,O=testbed"]
    # what cannot be read has no end, and is no error: verification has judged it before
    assert signing_end(VerificationMaterial(certificate=b"x")) is None
    assert list(timestamp_ends(VerificationMaterial(timestamps=(b"x", b"")))) == []
