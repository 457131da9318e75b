"""Key sets to the second and to the letter: windows, states, what is refused and in which words."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from signers.errors import FormatError
from signers.keys import keyset
from signers.keys.keyset import MEDIA_TYPE, KeyStatus, ListedKey, is_keyset, parse_keyset, write_keyset
from signers.keys.public_key import PublicKey

Json = Any
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def key(keys: dict[str, PublicKey]) -> PublicKey:
    return keys["ed25519"]


@pytest.mark.parametrize(
    ("now", "signed_at", "problem"),
    [
        (START, None, ""),
        (START - SECOND, None, "it is before the key's notBefore 2026-01-01T00:00:00+00:00"),
        (END, START, ""),
        (END, END, ""),
        (START, START - SECOND, "signed at 2025-12-31T23:59:59+00:00, before the key's notBefore 2026-01-01T00:00:00+00:00"),
        (END + SECOND, END, ""),
        (START, END + SECOND, "signed at 2026-07-01T00:00:01+00:00, after the key's notAfter 2026-07-01T00:00:00+00:00"),
        (END, None, ""),
        (END + SECOND, None, "the key ended at 2026-07-01T00:00:00+00:00, and no trusted time says that the signature is older"),
    ],
)  # fmt: skip
def test_a_window_has_both_of_its_ends(
    key: PublicKey, now: datetime, signed_at: datetime | None, problem: str
) -> None:
    assert ListedKey(key, START, END).problem(now, signed_at) == problem
    retired = ListedKey(key, START, END, KeyStatus.RETIRED)
    assert retired.problem(now, signed_at) == ("" if "no trusted time" in problem else problem)
    revoked = ListedKey(key, START, END, KeyStatus.REVOKED)
    assert revoked.problem(now, signed_at) == "the key is revoked"


def test_a_key_is_written_with_what_it_has(key: PublicKey) -> None:
    pem = key.pem.decode()
    assert ListedKey(key).to_json() == {"pem": pem, "keyid": key.keyid, "status": "active"}
    assert ListedKey(key, START, END, KeyStatus.RETIRED).to_json() == {
        "pem": pem,
        "keyid": key.keyid,
        "status": "retired",
        "notBefore": "2026-01-01T00:00:00Z",
        "notAfter": "2026-07-01T00:00:00Z",
    }
    east = START.astimezone(timezone(timedelta(hours=2)))
    assert ListedKey(key, east).to_json()["notBefore"] == "2026-01-01T02:00:00+02:00"


def test_a_set_is_written_for_people_too_and_read_back(keys: dict[str, PublicKey]) -> None:
    listed = tuple(ListedKey(one, START) for one in keys.values())
    data = write_keyset(listed)
    assert json.loads(data) == {"mediaType": MEDIA_TYPE, "keys": [one.to_json() for one in listed]}
    assert data.startswith(b'{\n  "mediaType": "application/vnd.provenance-chains.keyset.v1+json",\n')
    assert parse_keyset(data) == listed


@pytest.mark.parametrize("status", KeyStatus)
def test_a_key_is_read_with_its_state(key: PublicKey, status: KeyStatus) -> None:
    (found,) = parse_keyset(whole(key, {"status": status.value}))
    assert found == ListedKey(key, status=status)
    assert (found.problem(START) == "the key is revoked") is (status is KeyStatus.REVOKED)


def whole(key: PublicKey, *change: Json, **members: Json) -> bytes:
    listed = [ListedKey(key).to_json() | one for one in change]
    return json.dumps({"mediaType": MEDIA_TYPE, "keys": listed} | members).encode()


def without(key: PublicKey, *names: str) -> bytes:
    one = {name: value for name, value in ListedKey(key).to_json().items() if name not in names}
    return json.dumps({"mediaType": MEDIA_TYPE, "keys": [one]}).encode()


def test_what_may_be_left_out_is_taken_for_a_key_that_was_given_alone(key: PublicKey) -> None:
    assert parse_keyset(without(key, "keyid", "status")) == (ListedKey(key),)
    zoned = parse_keyset(
        whole(key, {"notBefore": "2026-01-01T02:00:00+02:00", "notAfter": "2026-01-01T00:00:00Z"})
    )
    assert (zoned[0].not_before, zoned[0].not_after) == (START, START)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x" * 41: 1}, f"s: key 1: unknown field '{'x' * 40}': expected keyid, notAfter, notBefore, pem, status"),
        ({"b": 1, "a": 1}, "s: key 1: unknown field 'a': expected keyid, notAfter, notBefore, pem, status"),
        ({"pem": 1}, "s: key 1: pem must be a string, got a number"),
        ({"keyid": "y" * 65}, f"s: key 1: keyid is '{'y' * 64}', but the PEM is that of KEYID"),
        ({"keyid": 5}, "s: key 1: keyid is '5', but the PEM is that of KEYID"),
        ({"status": "z" * 33}, f"s: key 1: status is '{'z' * 32}': expected one of active, retired, revoked"),
        ({"status": None}, "s: key 1: status is 'None': expected one of active, retired, revoked"),
        ({"status": "ACTIVE"}, "s: key 1: status is 'ACTIVE': expected one of active, retired, revoked"),
        ({"notBefore": "2026-01-02T00:00:00Z", "notAfter": "2026-01-01T00:00:00Z"}, "s: key 1: notAfter is before notBefore"),
        ({"notAfter": "t" * 41}, f"s: key 1: notAfter: expected a time such as 2026-01-31T00:00:00Z, got '{'t' * 40}'"),
        ({"notBefore": "2026-01-01T00:00:00"}, "s: key 1: notBefore: expected a time such as 2026-01-31T00:00:00Z, got '2026-01-01T00:00:00'"),
        ({"notBefore": 1}, "s: key 1: notBefore must be a string, got a number"),
    ],
)  # fmt: skip
def test_a_key_is_refused_by_its_number_and_field(key: PublicKey, change: Json, words: str) -> None:
    for keys, number in (([change], 1), ([{}, change], 2)):
        with pytest.raises(FormatError) as caught:
            parse_keyset(whole(key, *keys), "s")
        assert str(caught.value) == words.replace("KEYID", key.keyid).replace("key 1", f"key {number}")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"keys": []}, "s: has no keys"),
        ({"keys": {}}, "s: keys must be an array, got an object"),
        ({"keys": [1]}, "s: key 1 must be an object, got a number"),
        ({"mediaType": "m" * 97}, f"s: mediaType is '{'m' * 96}': expected {MEDIA_TYPE}"),
        ({"mediaType": 1}, "s: mediaType must be a string, got a number"),
        ({"MediaType": 1}, "s: unknown field 'MediaType': expected keys, mediaType"),
    ],
)
def test_a_set_is_refused_by_its_member(key: PublicKey, members: Json, words: str) -> None:
    for source, more in (("s", ("s",)), ("key set", ())):
        with pytest.raises(FormatError) as caught:
            parse_keyset(whole(key, {}, **members), *more)
        assert str(caught.value) == words.replace("s:", f"{source}:", 1).replace(
            "s: key 1", f"{source}: key 1"
        )


def test_a_set_is_read_to_its_limit_and_no_further(key: PublicKey, monkeypatch: pytest.MonkeyPatch) -> None:
    data = whole(key, {})
    monkeypatch.setattr(keyset, "MAX_BYTES", len(data))
    assert len(parse_keyset(data)) == 1
    monkeypatch.setattr(keyset, "MAX_BYTES", len(data) - 1)
    with pytest.raises(FormatError, match=f"^s has {len(data)} bytes, at most {len(data) - 1} are read$"):
        parse_keyset(data, "s")


def test_each_key_is_in_a_set_once(keys: dict[str, PublicKey]) -> None:
    one, other = keys["ed25519"], keys["ecdsa-p256"]
    listed = [ListedKey(other).to_json(), ListedKey(one).to_json(), ListedKey(one, START).to_json()]
    with pytest.raises(FormatError, match=f"^s: {re.escape(one.keyid)} is listed twice$"):
        parse_keyset(json.dumps({"mediaType": MEDIA_TYPE, "keys": listed}).encode(), "s")


def test_a_private_key_is_refused_with_its_place(key: PublicKey, pems: dict[str, bytes]) -> None:
    with pytest.raises(FormatError, match=r"^s: key 1: .*private key") as caught:
        parse_keyset(whole(key, {"pem": pems["ed25519"].decode()}), "s")
    assert "PRIVATE KEY-----" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "is_one"),
    [(b"{", True), (b"  \n{", True), (b"", False), (b"-----BEGIN", False), (b" " * 63 + b"{", True), (b" " * 64 + b"{", False)],
)  # fmt: skip
def test_a_file_begins_as_a_set_or_not(tmp_path: Path, data: bytes, is_one: bool) -> None:
    path = tmp_path / "set.json"
    path.write_bytes(data)
    assert is_keyset(str(path)) is is_one
    assert is_keyset(f"file://{path}") is is_one
    assert not is_keyset(str(tmp_path / "missing"))
    assert not is_keyset("a\0b")
