"""From a file to what is revoked: whatever is wrong with a list makes answers undecided, with the reason."""

from __future__ import annotations

import base64
import json
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chains.revocation.envelope import PAYLOAD_TYPE, sign_list
from chains.revocation.read import ListWanted, read_revocations
from chains.revocation.revocations import Revocations, all_of
from signers.errors import FormatError
from signers.formats.dsse import Envelope, Signature, pae
from signers.keys.keyset import KeyStatus, ListedKey
from tests.faults.verify.forge import NOW, envelope, provenance, public, signer
from tests.unit.chains.revocation.made import SIGNER, document, read, revoked, signed

Json = Any
IMAGE = {"image": "sha256:" + "ab" * 32}


def problem(found: Revocations) -> str:
    assert found.lists == (), "a list that cannot be used says nothing"
    assert found.is_configured
    assert found.digest
    return found.problem(NOW)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "revocations.json"


def test_a_list_by_a_given_key_counts(path: Path) -> None:
    path.write_bytes(signed(IMAGE, version=4))
    found = read(path)
    assert found.problem(NOW) == ""
    assert [one.version for one in found.lists] == [4]
    assert found.image({"sha256": "ab" * 32}) is not None


def test_any_given_key_is_enough(path: Path) -> None:
    path.write_bytes(signed(IMAGE, by="second"))
    assert read(path, keys=(SIGNER, "second")).problem(NOW) == ""


def test_the_digest_is_that_of_the_document_and_the_same_for_another_signature(path: Path) -> None:
    path.write_bytes(signed(IMAGE))
    one = read(path)
    path.write_bytes(signed(IMAGE, by="second"))
    two = read(path, keys=("second",))
    assert one.digest == two.digest
    path.write_bytes(signed(IMAGE, version=2))
    assert read(path).digest != one.digest
    assert Revocations().digest == ""


def test_a_list_of_a_stranger_is_undecided(path: Path) -> None:
    path.write_bytes(signed(IMAGE, by="stranger"))
    assert "no key that may sign the list has signed it" in problem(read(path))


def test_a_changed_list_is_undecided(path: Path) -> None:
    members = json.loads(signed(IMAGE, version=4))
    payload = base64.b64decode(members["payload"]).replace(b'"version": 4', b'"version": 5')
    path.write_text(json.dumps(members | {"payload": base64.b64encode(payload).decode()}))
    assert "its content" in problem(read(path))


def test_a_list_without_signature_is_undecided_and_the_next_step_is_named(path: Path) -> None:
    path.write_bytes(document(IMAGE))
    assert "the list is not signed: chains revoke sign" in problem(read(path))


def test_a_signed_statement_is_no_list(path: Path) -> None:
    path.write_bytes(envelope(provenance(), signer(SIGNER)).to_bytes())
    assert f"expected {PAYLOAD_TYPE}" in problem(read(path))


def test_a_signed_document_that_is_no_list_is_undecided(path: Path) -> None:
    for payload in (b"{}", document({"key": "x"}), b"[]"):
        with pytest.raises(FormatError):
            sign_list(payload, signer(SIGNER))
        signature = signer(SIGNER).sign(pae(PAYLOAD_TYPE, payload))
        made = Envelope(payload, PAYLOAD_TYPE, (Signature("", signature),))
        path.write_bytes(made.to_bytes())
        assert "revocation list" in problem(read(path))


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_list_is_undecided(path: Path, share: float) -> None:
    data = signed(IMAGE)
    path.write_bytes(data[: int(len(data) * share)])
    assert "not a signed revocation list" in problem(read(path))


def test_a_list_that_is_missing_is_undecided(path: Path) -> None:
    assert "No such file" in problem(read(path))


def test_a_folder_a_pipe_and_a_device_are_undecided_and_never_block(path: Path, tmp_path: Path) -> None:
    assert "Is a directory" in problem(read(tmp_path))
    os.mkfifo(path)
    assert "not a regular file" in problem(read(path))
    assert "not a regular file" in problem(read(Path("/dev/zero")))


def test_a_link_is_followed_as_mounted_volumes_need_and_one_in_a_circle_is_undecided(
    path: Path, tmp_path: Path
) -> None:
    (tmp_path / "data").write_bytes(signed(IMAGE))
    path.symlink_to(tmp_path / "data")
    assert read(path).problem(NOW) == ""
    path.unlink()
    path.symlink_to(path)
    assert "Too many levels" in problem(read(path))


def test_a_huge_file_is_undecided_and_not_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "at most" in problem(read(path))


def test_a_name_that_no_file_can_have_is_undecided() -> None:
    wanted = ListWanted("a\0b", [ListedKey(public(SIGNER))])
    assert "null" in problem(read_revocations(wanted, NOW))


def test_a_list_below_the_least_version_is_undecided(path: Path) -> None:
    path.write_bytes(signed(IMAGE, version=4))
    assert read(path, minimum=4).problem(NOW) == ""
    assert "has version 4, at least 5 is demanded" in problem(read(path, minimum=5))


def test_a_list_is_undecided_from_its_end_on_even_if_it_was_read_before(path: Path) -> None:
    end = NOW + timedelta(hours=1)
    path.write_bytes(signed(IMAGE, expires=end.isoformat()))
    found = read(path)
    assert found.problem(NOW) == ""
    assert re.search("version 1 of the list ended at .*: get the newest list", found.problem(end))


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (ListedKey(public(SIGNER), status=KeyStatus.REVOKED), "the key is revoked"),
        (ListedKey(public(SIGNER), not_after=NOW - timedelta(days=1)), "the key ended"),
        (ListedKey(public(SIGNER), not_before=NOW + timedelta(days=1)), "before the key's notBefore"),
    ],
    ids=["revoked", "ended", "not begun"],
)
def test_a_key_that_does_not_count_now_signs_no_list(path: Path, key: ListedKey, why: str) -> None:
    path.write_bytes(signed(IMAGE))
    found = read_revocations(ListWanted(str(path), [key]), NOW)
    assert why in problem(found)
    both = read_revocations(ListWanted(str(path), [key, ListedKey(public("second"))]), NOW)
    assert "no key that may sign the list has signed it" in problem(both)


def test_a_list_without_keys_is_undecided(path: Path) -> None:
    path.write_bytes(signed(IMAGE))
    assert "no public key was given" in problem(read_revocations(ListWanted(str(path), []), NOW))


def test_several_lists_all_count_and_one_that_cannot_be_used_spoils_all() -> None:
    one, two = revoked(IMAGE), revoked({"builder": "https://b.example.com"})
    both = all_of(one, two, Revocations())
    assert both.image({"sha256": "ab" * 32}) is not None
    assert both.builder("https://b.example.com", ()) is not None
    assert both.digest == all_of(two, one, one).digest
    assert both.digest not in {one.digest, two.digest}
    spoilt = all_of(both, Revocations(problems=("gone",)))
    assert spoilt.problem(NOW) == "gone"
    assert spoilt.digest != both.digest


def test_lists_are_told_with_version_number_of_entries_and_digest() -> None:
    one, two = revoked(IMAGE, version=7), revoked(IMAGE, {"builder": "https://b"}, version=8)
    told = [f"version 7, 1 entry, {one.lists[0].digest}", f"version 8, 2 entries, {two.lists[0].digest}"]
    assert (str(one), str(two)) == tuple(told)
    assert str(all_of(one, two)) == " and ".join(told)


def test_policies_that_read_one_list_share_it(path: Path, tmp_path: Path) -> None:
    path.write_bytes(signed(IMAGE, version=4))
    copy = tmp_path / "copy.json"
    copy.write_bytes(path.read_bytes())
    one, two = read(path), read(copy)
    assert one.lists[0] is two.lists[0]
    assert one.lists[0].by_value is all_of(one, two).lists[0].by_value
