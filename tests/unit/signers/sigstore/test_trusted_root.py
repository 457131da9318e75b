"""Trusted roots from files and from TUF repositories, and what is refused in them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signers.errors import FormatError, SignerRejected, SignerUnavailable, VerificationError
from signers.sigstore.transparency import Checkpoint, root_of_proof
from signers.sigstore.trusted_root import TrustedRoot, find_log
from signers.sigstore.tuf_root import PUBLIC_GOOD, fetch_trusted_root
from tests.testbed.loopback import serving
from tests.testbed.rekor_v1 import merkle
from tests.testbed.sigstore_keys import SigstoreKeys, make_keys, trusted_root
from tests.testbed.tuf import Repository

Json = dict[str, Any]


@pytest.fixture(scope="module")
def keys() -> SigstoreKeys:
    return make_keys()


@pytest.fixture
def content(keys: SigstoreKeys) -> Json:
    return trusted_root(keys, "http://fulcio", "http://rekor:3000", "http://ct", "http://tsa")


def read(content: Json) -> TrustedRoot:
    return TrustedRoot.from_bytes(json.dumps(content).encode())


@pytest.mark.parametrize("media_type", ["+json;version=0.1", ".v0.2+json"])
def test_a_trusted_root_is_read(content: Json, keys: SigstoreKeys, media_type: str) -> None:
    root = read({**content, "mediaType": f"application/vnd.dev.sigstore.trustedroot{media_type}"})
    assert root.logs[0].host == "rekor"
    assert root.certificate_authorities[0].chain == keys.fulcio.chain
    assert root.timestamp_authorities[0].chain == keys.timestamp.chain
    assert find_log(root.logs, root.logs[0].log_id) is root.logs[0]
    with pytest.raises(VerificationError, match="log 6f74686572… is not in the trusted root"):
        find_log(root.logs, b"other")


def test_keys_and_authorities_count_for_their_time(content: Json) -> None:
    content["tlogs"][0]["publicKey"]["validFor"] = {
        "start": "2025-01-01T00:00:00Z",
        "end": "2025-02-01T00:00:00Z",
    }
    valid = read(content).logs[0].valid
    assert datetime(2025, 1, 15, tzinfo=UTC) in valid
    assert datetime(2024, 12, 31, tzinfo=UTC) not in valid
    assert datetime(2025, 2, 2, tzinfo=UTC) not in valid
    del content["tlogs"][0]["publicKey"]["validFor"]
    assert datetime(1999, 1, 1, tzinfo=UTC) in read(content).logs[0].valid


@pytest.mark.parametrize(
    "change",
    [
        {"mediaType": "other"},
        {"tlogs": {}},
        {"tlogs": [{"publicKey": {"rawBytes": "!"}}]},
        {"tlogs": [{"publicKey": "text"}]},
        {"certificateAuthorities": [{"certChain": {"certificates": []}}]},
        {"certificateAuthorities": [{"certChain": {"certificates": [{"rawBytes": "AAAA"}]}}]},
        {"certificateAuthorities": [{"certChain": {"certificates": [{"rawBytes": 1}]}}]},
    ],
)
def test_what_is_wrong_in_a_trusted_root_is_refused(content: Json, change: Json, tmp_path: Path) -> None:
    path = tmp_path / "trusted_root.json"
    path.write_text(json.dumps(content | change))
    with pytest.raises(FormatError, match=r"trusted_root\.json"):
        TrustedRoot.from_path(path)


def test_a_time_that_is_none_is_refused(content: Json) -> None:
    for value in ("yesterday", 5):
        content["tlogs"][0]["publicKey"]["validFor"] = {"start": value}
        with pytest.raises(FormatError, match="is not a time"):
            read(content)
    content["tlogs"][0]["publicKey"]["validFor"] = "always"
    with pytest.raises(FormatError, match="validFor"):
        read(content)


def test_what_protobuf_leaves_out_is_not_there(content: Json) -> None:
    found = read({**content, "ctlogs": None, "timestampAuthorities": []})
    assert (found.ct_logs, found.timestamp_authorities) == ((), ())
    log = content["tlogs"][0]
    log["checkpointKeyId"] = log.pop("logId")
    assert read(content).logs[0].log_id == b64decode(log["checkpointKeyId"]["keyId"])
    del log["checkpointKeyId"]
    with pytest.raises(FormatError, match="logId is missing"):
        read(content)


@pytest.mark.parametrize(
    ("holder", "name", "other"),
    [
        ((), "tlogs", "TLogs"),
        (("tlogs", 0), "publicKey", "public_key"),
        (("tlogs", 0, "publicKey"), "validFor", "valid_for"),
    ],
)
def test_a_member_that_others_read_is_not_passed_over(
    content: Json, holder: tuple[Any, ...], name: str, other: str
) -> None:
    """A time that only some verifiers see would let a key count for ever here."""
    value: Any = content
    for step in holder:
        value = value[step]
    value[other] = value.pop(name)
    with pytest.raises(FormatError, match="must be spelled"):
        read(content)


def test_a_log_with_an_ed25519_key_signs_checkpoints_as_signed_notes_say(content: Json) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    content["tlogs"][0]["publicKey"]["rawBytes"] = b64encode(spki).decode()
    content["tlogs"][0]["logId"]["keyId"] = b64encode(sha256(spki).digest()).decode()
    log = read(content).logs[0]
    text = "rekor\n1\nAAAA\n"
    for key_hash, words in ((sha256(b"rekor\n\x01" + raw).digest()[:4], ""), (b"none", "not by rekor")):
        note = b64encode(key_hash + key.sign(text.encode())).decode()
        witness = f"\N{EM DASH} witness {b64encode(b'hashsignature').decode()}"
        checkpoint = Checkpoint.from_note(f"{text}\n{witness}\n\N{EM DASH} rekor {note}\n")
        if words:
            with pytest.raises(VerificationError, match=words):
                checkpoint.verify(log)
        else:
            checkpoint.verify(log)


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        ("https://rekor.example.com", ["rekor.example.com"]),
        ("https://rekor.example.com/", ["rekor.example.com"]),
        ("http://localhost:8000", ["localhost", "localhost:8000"]),
        ("https://logs.example.com:8443/2026/", ["logs.example.com/2026", "logs.example.com:8443/2026"]),
        ("https://user@Rekor.example.com", ["rekor.example.com"]),
        ("rekor", ["rekor"]),
    ],
)
def test_a_log_is_named_by_its_host_with_and_without_the_port(
    content: Json, url: str, origins: list[str]
) -> None:
    content["tlogs"][0]["baseUrl"] = url
    assert list(read(content).logs[0].origins) == origins


@pytest.mark.parametrize(
    ("origin", "signer", "words"),
    [
        ("localhost:8000", "localhost:8000", ""),
        ("localhost:8000 - 1234", "localhost:8000", ""),
        ("localhost - 1234", "localhost", ""),
        ("localhost:8000 - 1234", "localhost", "not by localhost:8000"),
        ("localhost:80001 - 1234", "localhost:80001", "not of localhost or localhost:8000"),
        ("localhost:8000.example.com", "localhost:8000.example.com", "not of localhost or localhost:8000"),
        ("localhost:9000 - 1234", "localhost:9000", "not of localhost or localhost:8000"),
    ],
)
def test_a_checkpoint_counts_for_the_logs_own_name_alone(
    content: Json, origin: str, signer: str, words: str
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    content["tlogs"][0]["baseUrl"] = "http://localhost:8000"
    content["tlogs"][0]["publicKey"]["rawBytes"] = b64encode(spki).decode()
    content["tlogs"][0]["logId"]["keyId"] = b64encode(sha256(spki).digest()).decode()
    log = read(content).logs[0]
    text = f"{origin}\n1\nAAAA\n"
    signature = key.sign(text.encode(), ec.ECDSA(SHA256()))
    note = b64encode(sha256(spki).digest()[:4] + signature).decode()
    checkpoint = Checkpoint.from_note(f"{text}\n\N{EM DASH} {signer} {note}\n")
    if words:
        with pytest.raises(VerificationError, match=words):
            checkpoint.verify(log)
    else:
        checkpoint.verify(log)


@pytest.fixture
def repository(content: Json) -> Repository:
    return Repository(json.dumps(content).encode())


@pytest.fixture
def mirror(repository: Repository) -> Iterator[str]:
    with serving(repository.answer) as url:
        yield url


def test_a_mirror_is_believed_as_far_as_its_pinned_root_says(
    repository: Repository, mirror: str, content: Json, tmp_path: Path
) -> None:
    pinned = tmp_path / "root.json"
    pinned.write_bytes(repository.root)
    root = fetch_trusted_root(f"{mirror}/", pinned, tmp_path / "cache")
    assert root == read(content)
    other = tmp_path / "other.json"
    other.write_bytes(Repository(b"{}").root)
    with pytest.raises(SignerRejected, match="does not verify with the pinned root"):
        fetch_trusted_root(mirror, other, tmp_path / "cache")
    (target,) = (name for name in repository.files if name.startswith("targets/"))
    repository.files[target] = b"{}"
    with pytest.raises(SignerRejected):
        fetch_trusted_root(mirror, pinned, tmp_path / "empty")


def test_a_mirror_without_a_pinned_root_or_that_is_down_is_told(
    tmp_path: Path, repository: Repository
) -> None:
    with pytest.raises(SignerRejected, match=r"signers\.x509\.tuf\.root"):
        fetch_trusted_root("http://127.0.0.1:9", None, tmp_path)
    with pytest.raises(SignerRejected, match="cannot be read"):
        fetch_trusted_root("http://127.0.0.1:9", tmp_path / "missing", tmp_path)
    pinned = tmp_path / "root.json"
    pinned.write_bytes(repository.root)
    with pytest.raises(SignerUnavailable, match="does not answer"):
        fetch_trusted_root("http://127.0.0.1:9", pinned, tmp_path / "cache")


def test_the_public_instance_is_pinned_by_the_package() -> None:
    from signers.sigstore.tuf_root import _public_good_root

    assert json.loads(_public_good_root())["signed"]["_type"] == "root"
    assert PUBLIC_GOOD.startswith("https://")


@pytest.mark.parametrize("size", range(1, 18))
def test_every_proof_of_a_tree_leads_to_its_root_and_no_other_length_does(size: int) -> None:
    leaves = [sha256(b"\0" + bytes((number,))).digest() for number in range(size)]
    for index in range(size):
        root, path = merkle(leaves, index)
        assert root_of_proof(index, size, leaves[index], path) == root
        with pytest.raises(VerificationError, match="too long"):
            root_of_proof(index, size, leaves[index], [*path, leaves[0]])
        if size > 1:
            with pytest.raises(VerificationError, match="too short"):
                root_of_proof(index, size, leaves[index], path[:-1])
    with pytest.raises(VerificationError, match="outside"):
        root_of_proof(size, size, leaves[0], [])


@pytest.mark.parametrize(
    "note",
    ["", "a\n1\n", "a\nx\nAAAA\n\n", "a\n1\n!\n\n", "a\n1\nAAAA\n\n- a AAAAAAAA\n", "a\n1\nAAAA\n\n\N{EM DASH} a AAAA\n"],
)  # fmt: skip
def test_what_is_no_signed_note_is_refused(note: str) -> None:
    with pytest.raises(VerificationError, match="not a signed note"):
        Checkpoint.from_note(note)
