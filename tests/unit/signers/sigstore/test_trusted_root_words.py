"""A trusted root's own words: what it trusts, from when to when, and each fault of one."""

from __future__ import annotations

import copy
import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signers.errors import FormatError, SignerRejected, VerificationError
from signers.sigstore.trusted_root import (
    MAX_BYTES,
    Authority,
    Log,
    Period,
    TrustedRoot,
    find_log,
    read_period,
)
from tests.testbed.sigstore_keys import make_keys, trusted_root

Json = Any
START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 2, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"


KEYS = make_keys()
CONTENT = trusted_root(KEYS, "http://fulcio", "http://rekor:3000", "http://ct", "http://tsa")


@pytest.fixture
def content() -> Json:
    return copy.deepcopy(CONTENT)


def read(content: Json) -> TrustedRoot:
    return TrustedRoot.from_bytes(json.dumps(content).encode())


def encoded(data: bytes) -> str:
    return b64encode(data).decode()


def log_of(key: Any, **more: Json) -> Json:
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        "baseUrl": "https://log.example",
        "publicKey": {"rawBytes": encoded(spki)},
        "logId": {"keyId": encoded(b"id")},
    } | more


def test_each_list_is_read_into_its_own_place(content: Json) -> None:
    root = read(content)
    written = content["tlogs"][0]
    (log,) = root.logs
    assert (log.log_id, log.checkpoint_id) == (b64decode(written["logId"]["keyId"]), b"")
    assert (log.url, log.host) == ("http://rekor:3000", "rekor")
    assert [one.url for one in root.ct_logs] == ["http://ct"]
    assert [(one.url, one.chain) for one in root.certificate_authorities] == [
        ("http://fulcio", KEYS.fulcio.chain)
    ]
    assert [(one.url, one.chain) for one in root.timestamp_authorities] == [
        ("http://tsa", KEYS.timestamp.chain)
    ]
    none = read({"mediaType": MEDIA_TYPE})
    assert none == TrustedRoot((), (), (), ())


PERIOD = {"start": "2025-01-01T00:00:00Z", "end": "2025-02-01T00:00:00Z"}


def test_what_counts_for_a_time_counts_at_both_of_its_ends(content: Json) -> None:
    for one in (content["tlogs"][0]["publicKey"], content["ctlogs"][0]["publicKey"]):
        one["validFor"] = PERIOD
    for name in ("certificateAuthorities", "timestampAuthorities"):
        content[name][0]["validFor"] = PERIOD
    root = read(content)
    held: list[Log | Authority] = [
        *root.logs, *root.ct_logs, *root.certificate_authorities, *root.timestamp_authorities,
    ]  # fmt: skip
    assert [one.valid for one in held] == [Period(START, END)] * 4
    (period,) = {one.valid for one in held}
    assert [moment in period for moment in (START - SECOND, START, END, END + SECOND)] == [
        False,
        True,
        True,
        False,
    ]
    assert START - SECOND not in Period(START, None)
    assert END + SECOND in Period(START, None)
    assert END + SECOND not in Period(None, END)
    assert START - SECOND in Period(None, END)
    assert START in Period(None, None)


@pytest.mark.parametrize(
    ("value", "period"),
    [
        (None, Period(None, None)),
        (PERIOD, Period(START, END)),
        ({"start": PERIOD["start"]}, Period(START, None)),
        ({"start": PERIOD["start"], "end": None}, Period(START, None)),
        ({"start": "2025-01-01T00:00:00"}, Period(START, None)),
        ({"start": "2025-01-01T01:00:00+01:00"}, Period(START, None)),
    ],
)
def test_a_period_is_read_in_utc(value: Json, period: Period) -> None:
    found = read_period(value, "here")
    assert found == period
    assert found.start is None or found.start.tzinfo is not None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "here: validFor has no start"),
        ({"start": None}, "here: validFor has no start"),
        ({"end": PERIOD["end"]}, "here: validFor has no start"),
        ("always", "here: validFor is not an object"),
        ([], "here: validFor is not an object"),
        ({"start": 5}, "here: '5' is not a time"),
        ({"start": PERIOD["start"], "end": "x" * 41}, f"here: '{'x' * 40}' is not a time"),
    ],
)
def test_a_period_that_lost_a_part_counts_for_no_time(value: Json, words: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_period(value, "here")
    assert str(caught.value) == words


TLOGS, AUTHORITIES = "trusted root: tlogs", "trusted root: certificateAuthorities"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mediaType": "x" * 97}, f"trusted root: mediaType is '{'x' * 96}': expected application/vnd.dev.sigstore.trustedroot…"),
        ({"mediaType": 1}, "trusted root: mediaType must be a string, got a number"),
        ({"tlogs": {}}, "trusted root: tlogs is not an array"),
        ({"TLogs": []}, "trusted root: member 'TLogs' must be spelled 'tlogs'"),
        ({"ctlogs": "x"}, "trusted root: ctlogs is not an array"),
        ({"tlogs": ["x"]}, f"{TLOGS} 1 must be an object, got a string"),
        ({"tlogs": [{}]}, f"{TLOGS}: publicKey is missing"),
        ({"tlogs": [{"publicKey": "x"}]}, f"{TLOGS}: publicKey must be an object, got a string"),
        ({"tlogs": [{"publicKey": {}}]}, f"{TLOGS}: rawBytes is missing"),
        ({"tlogs": [{"publicKey": {"rawBytes": 1}}]}, f"{TLOGS}: rawBytes must be a string, got a number"),
        ({"tlogs": [{"publicKey": {"rawBytes": "!"}}]}, f"{TLOGS} is not base64"),
        ({"certificateAuthorities": [{}]}, f"{AUTHORITIES}: certChain is missing"),
        ({"certificateAuthorities": [{"certChain": []}]}, f"{AUTHORITIES}: certChain must be an object, got an array"),
        ({"certificateAuthorities": [{"certChain": {}}]}, f"{AUTHORITIES}: certificates is missing"),
        ({"certificateAuthorities": [{"certChain": {"certificates": {}}}]}, f"{AUTHORITIES}: certificates must be an array, got an object"),
        ({"certificateAuthorities": [{"certChain": {"certificates": []}}]}, f"{AUTHORITIES}: an authority has no certificate"),
        ({"certificateAuthorities": [{"certChain": {"certificates": ["x"]}}]}, f"{AUTHORITIES} 1 must be an object, got a string"),
        ({"certificateAuthorities": [{"certChain": {"certificates": [{}]}}]}, f"{AUTHORITIES}: rawBytes is missing"),
        ({"certificateAuthorities": [{"certChain": {"certificates": [{"rawBytes": 1}]}}]}, f"{AUTHORITIES}: rawBytes must be a string, got a number"),
        ({"certificateAuthorities": [{"certChain": {"certificates": [{"rawBytes": "AAAA"}]}}]}, f"{AUTHORITIES}: a certificate cannot be read"),
        ({"certificateAuthorities": [{"certChain": {"certificates": [{"rawBytes": "!"}]}}]}, f"{AUTHORITIES} is not base64"),
    ],
)  # fmt: skip
def test_each_fault_of_a_trusted_root_is_told(
    content: Json, change: Json, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "trusted_root.json"
    path.write_text(json.dumps(content | change))
    with pytest.raises(FormatError) as caught:
        TrustedRoot.from_path(path)
    assert str(caught.value).partition(": Only")[0] == f"{path}: {words}"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"logId": None}, "logId is missing"),
        ({"logId": {"keyId": ""}}, "logId is missing"),
        ({"logId": "x"}, "logId must be an object, got a string"),
        ({"logId": {}}, "keyId is missing"),
        ({"logId": {"keyId": 1}}, "keyId must be a string, got a number"),
        ({"checkpointKeyId": {"keyId": "!"}}, None),
        ({"checkpointKeyId": "x"}, "checkpointKeyId must be an object, got a string"),
        ({"baseUrl": None}, "baseUrl is missing"),
        ({"baseUrl": 1}, "baseUrl must be a string, got a number"),
    ],
)
@pytest.mark.parametrize("name", ["tlogs", "ctlogs"])
def test_each_fault_of_a_log_is_told(content: Json, name: str, change: Json, words: str | None) -> None:
    log = {key: value for key, value in (content[name][0] | change).items() if value is not None}
    with pytest.raises(FormatError) as caught:
        read(content | {name: [log]})
    expected = f"trusted root: {name}" + (f": {words}" if words else " is not base64")
    assert str(caught.value).partition(": Only")[0] == expected


@pytest.mark.parametrize("name", ["tlogs", "ctlogs", "certificateAuthorities", "timestampAuthorities"])
def test_a_period_without_a_start_is_told_with_where_it_is(content: Json, name: str) -> None:
    holder = content[name][0]
    (holder["publicKey"] if name.endswith("logs") else holder)["validFor"] = {}
    with pytest.raises(FormatError) as caught:
        read(content)
    assert str(caught.value) == f"trusted root: {name}: validFor has no start"


def test_a_file_that_cannot_be_read_or_is_too_large_is_told(tmp_path: Path) -> None:
    missing = tmp_path / "missing.json"
    with pytest.raises(SignerRejected) as caught:
        TrustedRoot.from_path(missing)
    assert str(caught.value) == f"trusted root {missing} cannot be read: No such file or directory"
    padded = json.dumps({"mediaType": MEDIA_TYPE}).encode()
    assert TrustedRoot.from_bytes(padded + b" " * (MAX_BYTES - len(padded))).logs == ()
    with pytest.raises(FormatError, match=r"^trusted root .*at most"):
        TrustedRoot.from_bytes(padded + b" " * (MAX_BYTES + 1 - len(padded)))
    for data in (b"", b"{", b"[]"):
        with pytest.raises(FormatError, match=r"^trusted root "):
            TrustedRoot.from_bytes(data)


def test_a_log_with_a_key_of_an_unknown_kind_is_passed_over_and_the_others_count(content: Json) -> None:
    good = content["tlogs"][0]
    unknown = log_of(x25519.X25519PrivateKey.generate())
    unreadable = log_of(ed25519.Ed25519PrivateKey.generate()) | {"publicKey": {"rawBytes": "AAAA"}}
    content["tlogs"] = [unknown, unreadable, good, log_of(ed25519.Ed25519PrivateKey.generate())]
    assert [one.url for one in read(content).logs] == ["http://rekor:3000", "https://log.example"]


def test_a_log_is_found_by_its_id_alone(content: Json) -> None:
    one, two = (
        log_of(ed25519.Ed25519PrivateKey.generate(), logId={"keyId": encoded(name)})
        for name in (b"one", b"two")
    )
    logs = read(content | {"tlogs": [one, two]}).logs
    assert [find_log(logs, name) for name in (b"one", b"two")] == list(logs)
    for absent in (b"", b"on", b"other, and longer"):
        with pytest.raises(VerificationError) as caught:
            find_log(logs, absent)
        words = f"log {absent.hex()[:16]}… is not in the trusted root"
        assert (str(caught.value), caught.value.reason) == (words, "key_unknown")


def test_a_log_has_the_id_of_its_checkpoints_where_it_has_no_other(content: Json) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    both = log_of(key, checkpointKeyId={"keyId": encoded(b"check")})
    alone = {name: value for name, value in both.items() if name != "logId"}
    found = read(content | {"tlogs": [both, alone]}).logs
    assert [(one.log_id, one.checkpoint_id) for one in found] == [(b"id", b"check"), (b"check", b"check")]


def signing_keys() -> list[Any]:
    return [
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ]


def signed(key: Any, data: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(SHA256()))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), SHA256())
    return bytes(key.sign(data))


def test_a_log_signs_with_keys_of_three_kinds_and_nobody_else_does(content: Json) -> None:
    keys, strangers = signing_keys(), signing_keys()
    logs = read(content | {"tlogs": [log_of(key) for key in keys]}).logs
    assert len(logs) == 3
    for key, log in zip(keys, logs, strict=True):
        log.verify(signed(key, b"data"), b"data")
        wrong = [(signed(key, b"data"), b"Data"), (b"", b"data"), (b"x" * 64, b"data")]
        wrong += [(signed(other, b"data"), b"data") for other in strangers]
        for signature, data in wrong:
            with pytest.raises(VerificationError) as caught:
                log.verify(signature, data)
            words = "the log https://log.example did not sign this"
            assert (str(caught.value), caught.value.reason) == (words, "signature_invalid")
    with pytest.raises(VerificationError):
        logs[0].verify(keys[0].sign(b"data", ec.ECDSA(SHA384())), b"data")


def test_checkpoints_hint_at_a_key_by_its_ids_and_its_hash(content: Json) -> None:
    elliptic, edwards, _ = signing_keys()
    checkpoints = {
        "checkpointKeyId": {"keyId": encoded(b"check-id")},
        "logId": {"keyId": encoded(b"log-id-x")},
    }
    for key in (elliptic, edwards):
        (log,) = read(content | {"tlogs": [log_of(key, **checkpoints)]}).logs
        public = key.public_key()
        spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        expected = {b"log-", b"chec", sha256(spki).digest()[:4]}
        if key is edwards:
            raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
            expected |= {sha256(b"log.example\n\x01" + raw).digest()[:4]}
        assert log.key_hashes("log.example") == expected
    (plain,) = read(content | {"tlogs": [log_of(elliptic)]}).logs
    spki = elliptic.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert plain.key_hashes("x") == {b"id", sha256(spki).digest()[:4]}


def test_an_authority_without_a_name_has_none(content: Json) -> None:
    for value in ({}, {"uri": None}, {"uri": ""}):
        one = {
            name: held for name, held in content["timestampAuthorities"][0].items() if name != "uri"
        } | value
        assert read(content | {"timestampAuthorities": [one]}).timestamp_authorities[0].url == ""
