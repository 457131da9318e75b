"""The SLSA project's own verifier takes our Verification Summaries, and refuses each tampered twin."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from signers.formats.dsse import sign_payload
from signers.keys.keyfile import open_keyfile
from tests.testbed.commands import Command

pytestmark = pytest.mark.server
Json = Any
ROOT = Path(__file__).parents[2]
DIGEST = "sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
IMAGE = f"registry.example.com/shop/storefront@{DIGEST}"
STORE = ("--store", "oci-layout:.chains/layout")
VERIFIER = "https://security.example.com/verifier"
URI = "https://security.example.com/policies/first"
ALGORITHMS = ("ecdsa-p256", "ed25519")
"""It hashes with SHA-256 for every elliptic curve, so that it takes no signature of P-384, which is over SHA-384."""


@pytest.fixture(params=ALGORITHMS)
def summary(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Path:
    """Return the bare envelope of a summary; its key is ``vsa.key`` in the working folder."""
    monkeypatch.chdir(tmp_path)
    assert chains(["attest", str(ROOT / "examples" / "taskrun-image.json")]) == 0
    assert chains(["keys", "generate", "vsa.key", "--algorithm", request.param]) == 0
    capsys.readouterr()
    assert chains(["policy", "init", IMAGE, "--key", ".chains/signing.pub", *STORE]) == 0
    Path("policy.yaml").write_text(capsys.readouterr().out)
    attest = ["--attest-vsa", "--vsa-key", "vsa.key", "--verifier-id", VERIFIER, "--policy-uri", URI]
    assert chains(["verify", "--policy", "policy.yaml", *STORE, *attest, "--vsa-folder", "out", IMAGE]) == 0
    (found,) = Path("out").glob("*.vsa.dsse.json")
    return found


def verified(slsa_verifier: Command, path: Path, **other: str) -> bool:
    asked = {
        "subject-digest": DIGEST,
        "attestation-path": str(path.resolve()),
        "verifier-id": VERIFIER,
        "resource-uri": IMAGE,
        "verified-level": "SLSA_BUILD_LEVEL_2",
        "public-key-path": str(Path("vsa.pub").resolve()),
    } | {name.replace("_", "-"): value for name, value in other.items()}
    words = [word for name, value in asked.items() for word in (f"--{name}", value)]
    return slsa_verifier("verify-vsa", *words, check=False).returncode == 0


def test_the_verifier_takes_it_and_refuses_what_was_asked_otherwise(
    summary: Path, slsa_verifier: Command
) -> None:
    assert verified(slsa_verifier, summary)
    assert verified(slsa_verifier, summary, verified_level="SLSA_BUILD_LEVEL_1")
    assert verified(slsa_verifier, summary, verified_level="SLSA_BUILD_LEVEL_2")
    assert chains(["keys", "generate", "other.key"]) == 0
    for other in (
        {"verified_level": "SLSA_BUILD_LEVEL_3"},
        {"verified_level": "TEKTON_HERMETIC_ENFORCED"},
        {"verifier_id": VERIFIER + "/other"},
        {"resource_uri": IMAGE.replace("storefront", "other")},
        {"subject_digest": "sha256:" + "0" * 64},
        {"public_key_path": str(Path("other.pub").resolve())},
    ):
        assert not verified(slsa_verifier, summary, **other), other


def _level(statement: Json) -> None:
    statement["predicate"]["verifiedLevels"] = ["SLSA_BUILD_LEVEL_3"]


def _failed(statement: Json) -> None:
    statement["predicate"]["verificationResult"] = "FAILED"
    statement["predicate"]["verifiedLevels"] = ["FAILED"]


def _image(statement: Json) -> None:
    statement["subject"][0]["digest"]["sha256"] = "0" * 64


@pytest.mark.parametrize("change", [_level, _failed, _image])
def test_a_tampered_twin_is_refused(
    summary: Path, slsa_verifier: Command, change: Callable[[Json], None]
) -> None:
    members = json.loads(summary.read_bytes())
    statement = json.loads(base64.b64decode(members["payload"]))
    change(statement)
    members["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    twin = summary.with_name("twin.json")
    twin.write_text(json.dumps(members))
    assert verified(slsa_verifier, summary)
    assert not verified(slsa_verifier, twin)
    assert not verified(slsa_verifier, twin, verified_level="SLSA_BUILD_LEVEL_3")


def test_a_failure_that_we_sign_is_no_pass(summary: Path, slsa_verifier: Command) -> None:
    members = json.loads(summary.read_bytes())
    statement = json.loads(base64.b64decode(members["payload"]))
    _failed(statement)
    signed = sign_payload(open_keyfile("vsa.key"), json.dumps(statement).encode(), members["payloadType"])
    twin = summary.with_name("failed.json")
    twin.write_bytes(signed.to_bytes())
    assert verified(slsa_verifier, summary)
    assert not verified(slsa_verifier, twin)
    assert not verified(slsa_verifier, twin, verified_level="FAILED")
