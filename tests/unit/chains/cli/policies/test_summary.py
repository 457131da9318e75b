"""``verify --policy --attest-vsa``: a summary by a key of its own, stored beside the evidence."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from chains.statements.vsa import SVR, VSA
from signers.keys.public_key import PublicKey

Json = Any
ROOT = Path(__file__).parents[5]
DIGEST = "sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
IMAGE = f"registry.example.com/shop/storefront@{DIGEST}"
STORE = ("--store", "oci-layout:.chains/layout")
VERIFIER = "https://security.example.com/verifier"
POLICY_URI = "https://security.example.com/policies/first"
ATTEST = ("--attest-vsa", "--vsa-key", "vsa.key", "--verifier-id", VERIFIER, "--policy-uri", POLICY_URI)


@pytest.fixture(autouse=True)
def _attested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert chains(["attest", str(ROOT / "examples" / "taskrun-image.json")]) == 0
    assert chains(["keys", "generate", "vsa.key"]) == 0
    capsys.readouterr()
    assert chains(["policy", "init", IMAGE, "--key", ".chains/signing.pub", *STORE]) == 0
    Path("policy.yaml").write_text(capsys.readouterr().out)


def decide(*arguments: str, policy: str = "policy.yaml", image: str = IMAGE) -> int:
    return chains(["verify", "--policy", policy, *STORE, *arguments, image])


def statements(capsys: pytest.CaptureFixture[str], *predicate_types: str, key: str = "vsa.pub") -> list[Json]:
    """Return the verified statements of these types."""
    capsys.readouterr()
    types = [word for one in predicate_types for word in ("--predicate-type", one)]
    chains(["verify", IMAGE, *STORE, "--key", key, *types, "--output", "json"])
    found = json.loads(capsys.readouterr().out)["attestations"]
    return [one["verificationResult"]["statement"] for one in found if one["used"]]


def test_a_passed_answer_leaves_a_summary_and_a_simple_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert decide(*ATTEST) == 0
    found = {one["predicateType"]: one for one in statements(capsys, VSA, SVR)}
    assert set(found) == {VSA, SVR}
    predicate = found[VSA]["predicate"]
    assert predicate["verifier"]["id"] == VERIFIER
    assert predicate["resourceUri"] == IMAGE
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == (
        "PASSED",
        ["SLSA_BUILD_LEVEL_2"],
    )
    assert predicate["policy"]["uri"] == POLICY_URI
    used = [one["digest"]["sha256"] for one in predicate["inputAttestations"]]
    assert len(used) == len(set(used)) >= 2
    assert found[VSA]["subject"][0]["digest"] == {"sha256": DIGEST.partition(":")[2]}


def test_the_digest_of_the_policy_is_that_of_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    import hashlib

    assert decide(*ATTEST) == 0
    (summary,) = statements(capsys, VSA)[:1]
    expected = hashlib.sha256(Path("policy.yaml").read_bytes()).hexdigest()
    assert summary["predicate"]["policy"]["digest"] == {"sha256": expected}


def test_evidence_is_verified_as_before_with_summaries_beside_it() -> None:
    assert decide(*ATTEST) == 0
    assert decide() == 0
    assert chains(["verify", IMAGE, *STORE, "--key", ".chains/signing.pub"]) == 0


def test_a_bare_envelope_has_the_keys_fingerprint(tmp_path: Path) -> None:
    assert decide(*ATTEST, "--vsa-folder", "out") == 0
    written = sorted(path.name.rpartition("-")[2] for path in Path("out").iterdir())
    assert written == [f"{DIGEST[7:23]}.svr.dsse.json", f"{DIGEST[7:23]}.vsa.dsse.json"]
    (path,) = Path("out").glob("*.vsa.dsse.json")
    envelope = json.loads(path.read_bytes())
    assert envelope["signatures"][0]["keyid"] == PublicKey.from_pem(Path("vsa.pub").read_bytes()).keyid
    assert json.loads(base64.b64decode(envelope["payload"]))["predicateType"] == VSA


def test_the_key_of_the_evidence_signs_no_summary(capsys: pytest.CaptureFixture[str]) -> None:
    shared = [word if word != "vsa.key" else ".chains/signing.key" for word in ATTEST]
    assert decide(*shared) == 2
    assert "a summary needs a key of its own" in capsys.readouterr().err
    assert statements(capsys, VSA, key=".chains/signing.pub") == []


def failing() -> str:
    text = Path("policy.yaml").read_text().replace("level: 2", "level: 3")
    Path("strict.yaml").write_text(text)
    return "strict.yaml"


def test_a_failed_answer_leaves_nothing_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert decide(*ATTEST, policy=failing()) == 1
    assert "no summary was signed" in capsys.readouterr().err
    assert statements(capsys, VSA, SVR) == []
    assert decide(*ATTEST, "--attest-failures", policy="strict.yaml") == 1
    (summary,) = {json.dumps(one): one for one in statements(capsys, VSA, SVR)}.values()
    predicate = summary["predicate"]
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == ("FAILED", ["FAILED"])


def test_an_undecided_answer_is_never_said_to_have_failed(capsys: pytest.CaptureFixture[str]) -> None:
    unreadable = ("--revocations", "none.json", "--revocations-key", "vsa.pub")
    assert decide(*ATTEST, "--attest-failures", *unreadable) == 4
    assert "INDETERMINATE, no summary was signed" in capsys.readouterr().err
    assert statements(capsys, VSA, SVR) == []


def test_an_image_that_is_exempt_from_evidence_gets_no_passed_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = IMAGE.replace(DIGEST, "sha256:" + "0" * 64)
    exempt = f'  exemptions: [{{image: "{other}", rules: [evidence], until: 2999-01-01T00:00:00Z, reason: r, reference: t}}]\n'
    Path("policy.yaml").write_text(Path("policy.yaml").read_text() + exempt)
    assert decide(*ATTEST, image=other) == 0
    assert "NOT_FOUND, no summary was signed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--attest-vsa"], "--attest-vsa needs --vsa-key and --verifier-id and --policy-uri"),
        (["--vsa-key", "vsa.key"], "--vsa-key belongs to --attest-vsa"),
        (["--attest-failures"], "--attest-failures belongs to --attest-vsa"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert decide(*arguments) == 2
    assert told in capsys.readouterr().err


def test_a_summary_needs_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["verify", IMAGE, *STORE, "--key", ".chains/signing.pub", *ATTEST]) == 2
    assert "--attest-vsa belongs to --policy FILE" in capsys.readouterr().err


def door(digest: str = "", key: str = "vsa.pub", name: str = "door.yaml", **require: Json) -> str:
    """Write a policy that accepts the summaries of ``key`` about the policy file, and nothing else."""
    policy = {
        "uri": POLICY_URI,
        "digest": digest or f"sha256:{sha256(Path('policy.yaml').read_bytes()).hexdigest()}",
    }
    entry = {
        "name": "security",
        "signer": {"keys": [{"ref": key}]},
        "verifierId": VERIFIER,
        "policy": policy,
        "maxLevel": 3,
    }
    spec = {
        "match": {"images": ["registry.example.com/shop/*"]},
        "accept": {"vsa": [entry]},
        "require": {"level": 2} | require,
    }
    written = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": "door"},
        "spec": spec,
    }
    Path(name).write_text(json.dumps(written))
    return name


def test_a_summary_of_ours_is_accepted_by_a_policy_that_trusts_no_builder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert decide(policy=door()) == 1
    assert decide(*ATTEST) == 0
    assert decide("--output", "json", policy=door()) == 0
    capsys.readouterr()
    assert decide("--output", "json", policy=door()) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"], found["basis"], found["trust"], found["level"]) == (
        "VERIFIED",
        "vsa",
        "security",
        2,
    )
    assert decide(policy=door(digest="sha256:" + "0" * 64)) == 1
    assert decide(policy=door(level=3)) == 1


def test_a_failure_that_was_signed_later_takes_the_image_back() -> None:
    assert decide(*ATTEST) == 0
    assert decide(policy=door()) == 0
    Path("strict.yaml").write_text(Path("policy.yaml").read_text().replace("level: 2", "level: 3"))
    assert decide(*ATTEST, "--attest-failures", policy="strict.yaml") == 1
    assert decide(policy=door()) == 1


def test_no_verifier_renews_a_summary_that_it_signed_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert decide(*ATTEST) == 0
    assert decide(*ATTEST, policy=door()) == 2
    assert "a summary needs a key of its own" in capsys.readouterr().err
