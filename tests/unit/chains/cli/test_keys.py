"""Key sets: what their files may say, and which evidence their keys still vouch for."""

import json
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from signers.errors import FormatError
from signers.keys.keyset import MEDIA_TYPE, KeyStatus, ListedKey, parse_keyset, write_keyset
from signers.keys.public_key import PublicKey, load_public_keys
from tests.testbed.sigstore_keys import make_keys, trusted_root

RUN = str(Path(__file__).parents[4] / "examples" / "taskrun-image.json")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
BEFORE, AFTER = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys")
    for name in ("old", "new"):
        assert chains(["keys", "generate", str(path / f"{name}.key")]) == 0
    layout = f"oci-layout:{path / 'layout'}"
    assert chains(["attest", RUN, "--key", str(path / "old.key"), "--store", layout]) == 0
    return path


@pytest.fixture
def old(folder: Path) -> PublicKey:
    return load_public_keys(folder / "old.pub")[0]


@pytest.mark.parametrize(
    ("listed", "signed_at", "words"),
    [
        ({}, None, ""),
        ({"not_after": AFTER}, None, ""),
        ({"not_after": BEFORE}, None, "no trusted time says that the signature is older"),
        ({"not_after": BEFORE, "status": KeyStatus.RETIRED}, None, ""),
        ({"not_after": BEFORE}, datetime(2025, 1, 1, tzinfo=UTC), ""),
        ({"not_after": BEFORE}, NOW, "after the key's notAfter"),
        ({"not_after": BEFORE, "status": KeyStatus.RETIRED}, NOW, "after the key's notAfter"),
        ({"not_before": AFTER}, None, "it is before the key's notBefore"),
        ({"not_before": BEFORE}, datetime(2025, 1, 1, tzinfo=UTC), "before the key's notBefore"),
        ({"status": KeyStatus.REVOKED}, datetime(2025, 1, 1, tzinfo=UTC), "the key is revoked"),
        ({"status": KeyStatus.REVOKED}, None, "the key is revoked"),
    ],
)
def test_a_key_counts_within_its_window(
    old: PublicKey, listed: dict[str, Any], signed_at: datetime | None, words: str
) -> None:
    problem = ListedKey(old, **listed).problem(NOW, signed_at)
    assert (problem == "") == (words == "")
    assert words in problem


def test_a_key_set_is_read_as_it_was_written(old: PublicKey) -> None:
    keys = (ListedKey(old, BEFORE, AFTER, KeyStatus.RETIRED),)
    assert parse_keyset(write_keyset(keys)) == keys


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"notafter": "2026-01-01T00:00:00Z"}, "unknown field 'notafter'"),
        ({"notAfter": "2026-01-01T00:00:00"}, "notAfter: expected a time"),
        ({"notAfter": 3}, "notAfter must be"),
        ({"notAfter": "2025-01-01T00:00:00Z", "notBefore": "2026-01-01T00:00:00Z"}, "is before notBefore"),
        ({"status": "old"}, "expected one of active, retired, revoked"),
        ({"status": []}, "expected one of active, retired, revoked"),
        ({"status": {"active": 1}}, "expected one of active, retired, revoked"),
        ({"keyid": "SHA256:abc"}, "but the PEM is that of"),
        ({"pem": "x"}, "key 1"),
    ],
)
def test_what_a_key_set_may_not_say(old: PublicKey, change: dict[str, Any], words: str) -> None:
    data = json.dumps({"mediaType": MEDIA_TYPE, "keys": [ListedKey(old).to_json() | change]}).encode()
    with pytest.raises(FormatError, match=words):
        parse_keyset(data)


@pytest.mark.parametrize(
    ("state", "code", "reason"),
    [
        ({"status": "active"}, 0, ""),
        ({"status": "retired", "notAfter": "2026-01-02T00:00:00Z"}, 0, ""),
        ({"notAfter": "2026-01-02T00:00:00Z"}, 1, "key_outside_window"),
        ({"status": "revoked"}, 1, "key_revoked"),
    ],
)
def test_verify_takes_key_sets(
    folder: Path, tmp_path: Path, old: PublicKey, state: dict[str, str], code: int, reason: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    new = load_public_keys(folder / "new.pub")[0]
    keys = [ListedKey(new).to_json(), ListedKey(old).to_json() | state]
    path = tmp_path / "keyset.json"
    path.write_text(json.dumps({"mediaType": MEDIA_TYPE, "keys": keys}))
    layout = f"oci-layout:{folder / 'layout'}"
    arguments = ["verify", RUN, "--key", str(path), "--store", layout, "--output", "json"]
    assert chains(arguments) == code
    assert (reason or '"verdict"') in capsys.readouterr().out
    if state.get("status") == "revoked":
        assert chains([*arguments, "--key", str(folder / "old.pub")]) == 2
        assert "given twice" in capsys.readouterr().err


def export(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert chains(["keys", "export", *arguments]) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_every_form_of_export_has_the_keys_that_count(
    folder: Path, old: PublicKey, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = (str(folder / "old.key"), str(folder / "new.pub"))
    new = load_public_keys(folder / "new.pub")[0]
    for form in ("pem", "configmap", "policy-controller", "kyverno"):
        both = export(capsys, *keys, "--format", form).replace("\\n", "\n")
        one = export(capsys, *keys, "--format", form, "--revoke", old.keyid).replace("\\n", "\n")
        assert old.pem.decode().strip() in both
        assert new.pem.decode().strip() in both
        if form != "configmap":  # that has the key set too, which tells of revoked keys
            assert old.pem.decode().strip() not in one
        assert "PRIVATE" not in both
    listed = json.loads(export(capsys, *keys, "--format", "keyset", "--retire", old.keyid))
    assert [key["status"] for key in listed["keys"]] == ["retired", "active"]
    items = json.loads(export(capsys, *keys, "--format", "configmap"))["items"]
    assert [item["kind"] for item in items] == ["ConfigMap", "Role", "RoleBinding"]
    assert parse_keyset(items[0]["data"]["keyset.json"].encode())


def test_export_refuses_what_it_cannot_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = str(folder / "new.pub")
    assert "has no place for keys" in export(capsys, key, "--format", "trusted-root", code=2)
    assert "is none of the keys" in export(capsys, key, "--revoke", "SHA256:x", code=2)
    policy = ("--format", "policy-controller", "--form", "sigstore-bundle")
    assert "dsse alone" in export(capsys, key, *policy, code=2)
    keyid = load_public_keys(folder / "new.pub")[0].keyid
    assert "no key counts now" in export(capsys, key, "--revoke", keyid, code=2)


def test_a_trust_root_has_what_policy_controller_demands_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "root.json"
    content = trusted_root(make_keys(), "http://fulcio", "http://rekor", "http://ct", "http://tsa")
    content["tlogs"].append(content["tlogs"][0] | {"logId": {"keyId": "AAAA"}})
    root.write_text(json.dumps(content))
    made = ("--format", "trust-root", "--trusted-root", str(root))
    found = json.loads(export(capsys, *made))
    assert (found["apiVersion"], found["kind"]) == ("policy.sigstore.dev/v1alpha1", "TrustRoot")
    keys = found["spec"]["sigstoreKeys"]
    for authority in keys["certificateAuthorities"] + keys["timestampAuthorities"]:
        assert all(authority["subject"].values())
        assert authority["uri"].startswith("http://")
        assert b64decode(authority["certChain"]).startswith(b"-----BEGIN CERTIFICATE-----")
    assert [log["baseURL"] for log in keys["tLogs"]] == ["http://rekor"], "it knows logs by their keys alone"
    assert "has no place for keys" in export(capsys, str(root), "--format", "trust-root", code=2)
    del content["certificateAuthorities"][0]["uri"]
    root.write_text(json.dumps(content))
    assert "an authority has no uri" in export(capsys, *made, code=2)
    root.write_text(json.dumps(content | {"certificateAuthorities": [], "timestampAuthorities": []}))
    assert "has no authority" in export(capsys, *made, code=2)
    assert "cannot be read" in export(capsys, *made[:-1], str(tmp_path / "missing"), code=2)
