"""Proofs of inclusion, checkpoints and numbers, against a tree that is built here from its definition."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signers.errors import VerificationError
from signers.sigstore.transparency import (
    Checkpoint,
    decoded,
    number,
    root_of_proof,
    same_bytes,
    verify_inclusion,
)
from signers.sigstore.trusted_root import Log, Period, TrustedRoot

Json = Any
OUTSIDE, LONG, SHORT = (
    "is outside a log of",
    "the inclusion proof is too long",
    "the inclusion proof is too short",
)


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\0" + data).digest()


def tree(leaves: list[bytes]) -> bytes:
    """The root hash as RFC 9162, section 2.1.1, defines it."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree(leaves[:split]) + tree(leaves[split:])).digest()


def path(index: int, leaves: list[bytes]) -> list[bytes]:
    """The audit path as RFC 9162, section 2.1.3.1, defines it."""
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*path(index, leaves[:split]), tree(leaves[split:])]
    return [*path(index - split, leaves[split:]), tree(leaves[:split])]


SIZES = range(1, 18)


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_of_every_small_tree_is_proved_in_its_place_alone(size: int) -> None:
    leaves = [leaf(b"%d" % number) for number in range(size)]
    root = tree(leaves)
    for index in range(size):
        hashes_ = path(index, leaves)
        assert root_of_proof(index, size, leaves[index], hashes_) == root
        assert wrong(index, size, leaf(b"other"), hashes_) != root
        for place in range(len(hashes_)):
            changed = [*hashes_[:place], leaf(b"other"), *hashes_[place + 1 :]]
            assert root_of_proof(index, size, leaves[index], changed) != root
        for other in range(size):
            if other != index:
                assert wrong(other, size, leaves[index], hashes_) != root
        fails(LONG, index, size, leaves[index], [*hashes_, leaf(b"more")])
        if hashes_:
            fails(SHORT, index, size, leaves[index], hashes_[:-1])


def wrong(index: int, size: int, found: bytes, hashes_: list[bytes]) -> bytes:
    """What a proof leads to; nothing where its length alone says that it is wrong."""
    try:
        return root_of_proof(index, size, found, hashes_)
    except VerificationError:
        return b""


def fails(words: str, index: int, size: int, found: bytes, hashes_: list[bytes]) -> None:
    with pytest.raises(VerificationError) as caught:
        root_of_proof(index, size, found, hashes_)
    assert words in str(caught.value)
    assert caught.value.reason == "signature_invalid"


@pytest.mark.parametrize(("index", "size"), [(-1, 1), (0, 0), (1, 1), (2, 1), (5, 5), (0, -1)])
def test_an_entry_outside_its_log_is_told(index: int, size: int) -> None:
    with pytest.raises(VerificationError) as caught:
        root_of_proof(index, size, b"", [])
    assert str(caught.value) == f"entry {index} {OUTSIDE} {size}"
    assert caught.value.reason == "signature_invalid"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("7", 7), (7, 7), (0, 0), ("0", 0), (None, 0), ("", 0), ("007", 7), ("9" * 19, 10**19 - 1), (2**63 - 1, 2**63 - 1),
    ],
)  # fmt: skip
def test_numbers_of_protobufs_json_are_read_in_either_spelling(value: Json, found: int) -> None:
    assert number({"n": value}, "n") == found
    assert number({}, "n") == 0


@pytest.mark.parametrize(
    "value", [True, -1, "-1", "+1", " 1", "1 ", "1.0", 1.5, "x", "\u0661", "9" * 20, 10**19, [1], {"a": 1}]
)
def test_what_is_no_number_is_told(value: Json) -> None:
    with pytest.raises(VerificationError) as caught:
        number({"logIndex": value}, "logIndex")
    assert (str(caught.value), caught.value.reason) == (
        "the log entry's logIndex is not a number",
        "signature_invalid",
    )


@pytest.mark.parametrize("value", [None, "", 1, "A", "AAA", "AA A", "AAAA!", "é", ["AAAA"]])
def test_what_is_no_base64_is_told(value: Json) -> None:
    assert decoded({"body": "AAAA"}, "body") == b"\0\0\0"
    with pytest.raises(VerificationError) as caught:
        decoded({"body": value}, "body")
    assert str(caught.value) == "the log entry's body is missing or not base64"
    assert caught.value.reason == "signature_invalid"


@pytest.mark.parametrize(
    ("text", "same"),
    [("AAAA", True), ("AAAB", False), ("AAA", False), ("AAAA!", False), ("", False), (None, False), (b"AAAA", False), (0, False)],
)  # fmt: skip
def test_bytes_are_the_same_in_one_spelling(text: Json, same: bool) -> None:
    assert same_bytes(text, b"\0\0\0") is same


KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
LOG = Log(b"log-id", "https://log.example", KEY.public_key(), Period(None, None))
ROOT = TrustedRoot((LOG,), (), (), ())


def sign(data: bytes, key: ec.EllipticCurvePrivateKey = KEY) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def text_of(data: bytes) -> str:
    return b64encode(data).decode()


def note(
    size: int, root: bytes, *, origin: str = "log.example", extra: str = "", signers: Json = None
) -> str:
    text = f"{origin}\n{size}\n{text_of(root)}\n{extra}"
    lines = [
        f"\N{EM DASH} {name} {text_of(hint + sign(text.encode(), key))}\n"
        for name, hint, key in signers or [("log.example", b"log-", KEY)]
    ]
    return f"{text}\n{''.join(lines)}"


def test_a_checkpoint_is_read_whole() -> None:
    found = Checkpoint.from_note(note(5, b"root", extra="other: data\n"))
    assert (found.origin, found.size, found.root_hash) == ("log.example", 5, b"root")
    assert found.text == b"log.example\n5\ncm9vdA==\nother: data\n"
    ((name, hint, signature),) = found.signatures
    assert (name, hint) == ("log.example", b"log-")
    assert len(signature) > 60
    found.verify(LOG)
    unsigned = Checkpoint.from_note("log.example\n5\ncm9vdA==\n\n")
    assert unsigned.signatures == ()


GOOD = note(5, b"root")
SIGNATURE = GOOD.rpartition(" ")[2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "log.example",
        "log.example\n5\ncm9vdA==\n",
        "log.example\n5\n\n" + GOOD.rpartition("\n\n")[2],
        "log.example\n\ncm9vdA==\n\n",
        GOOD.replace("\n5\n", "\nx\n"),
        GOOD.replace("cm9vdA==", "cm9v!"),
        GOOD.replace("\N{EM DASH}", "-"),
        GOOD.replace("\N{EM DASH} log", "\N{EM DASH}  log"),
        GOOD.replace(SIGNATURE, "AAAA!\n"),
        GOOD.replace(SIGNATURE, f"{SIGNATURE.strip()}!!!!\n"),
        note(5, b"root", extra="\nother: data\n"),
        GOOD.replace(SIGNATURE, "AAAAAA==\n"),
        GOOD.replace(SIGNATURE, "\n"),
    ],
)
def test_what_is_no_signed_note_is_told(text: str) -> None:
    with pytest.raises(VerificationError) as caught:
        Checkpoint.from_note(text)
    assert (str(caught.value), caught.value.reason) == (
        "the log's checkpoint is not a signed note",
        "signature_invalid",
    )


def test_a_signature_is_at_least_one_byte_behind_its_hint() -> None:
    shortest = GOOD.replace(SIGNATURE, f"{text_of(b'log-s')}\n")
    assert Checkpoint.from_note(shortest).signatures == (("log.example", b"log-", b"s"),)


def unsigned(checkpoint: Checkpoint, words: str) -> None:
    with pytest.raises(VerificationError) as caught:
        checkpoint.verify(LOG)
    assert (str(caught.value), caught.value.reason) == (words, "signature_invalid")


def test_witnesses_may_sign_beside_the_log_and_not_in_its_place() -> None:
    witness = ("witness.example", b"wit-", OTHER_KEY)
    own = ("log.example", b"log-", KEY)
    Checkpoint.from_note(note(5, b"root", signers=[witness, own])).verify(LOG)
    Checkpoint.from_note(note(5, b"root", signers=[own, witness])).verify(LOG)
    by = "not by log.example with the trusted root's key"
    alone = Checkpoint.from_note(note(5, b"root", signers=[witness]))
    unsigned(alone, f"the checkpoint is signed by witness.example, {by}")
    unsigned(replace(alone, signatures=()), f"the checkpoint is signed by nobody, {by}")
    both = [witness, ("another.example", b"log-", KEY)]
    named = Checkpoint.from_note(note(5, b"root", signers=both))
    unsigned(named, f"the checkpoint is signed by witness.example, another.example, {by}")
    hinted = Checkpoint.from_note(note(5, b"root", signers=[("log.example", b"hint", KEY)]))
    unsigned(hinted, f"the checkpoint is signed by log.example, {by}")
    false = Checkpoint.from_note(note(5, b"root", signers=[("log.example", b"log-", OTHER_KEY)]))
    unsigned(false, "the log https://log.example did not sign this")
    long = replace(alone, signatures=(("x" * 65, b"", b""),))
    unsigned(long, f"the checkpoint is signed by {'x' * 64}, {by}")


def test_a_checkpoint_of_another_log_is_told_in_short() -> None:
    other = Checkpoint.from_note(note(5, b"root", origin="y" * 65))
    unsigned(other, f"the checkpoint is of '{'y' * 64}', not of log.example")
    Checkpoint.from_note(note(5, b"root", origin="log.example - 1")).verify(LOG)


def test_a_log_on_a_port_of_its_own_may_name_it_or_not() -> None:
    ported = replace(LOG, url="https://log.example:3000")
    for origin in ("log.example", "log.example:3000"):
        Checkpoint.from_note(note(5, b"root", origin=origin, signers=[(origin, b"log-", KEY)])).verify(ported)
    with pytest.raises(VerificationError) as caught:
        Checkpoint.from_note(note(5, b"root", origin="other")).verify(ported)
    assert str(caught.value) == "the checkpoint is of 'other', not of log.example or log.example:3000"
    mixed = note(5, b"root", origin="log.example", signers=[("log.example:3000", b"log-", KEY)])
    with pytest.raises(VerificationError, match=r"is signed by log\.example:3000, not by log\.example with"):
        Checkpoint.from_note(mixed).verify(ported)


def test_an_ed25519_key_is_hinted_at_with_the_name_that_it_signs_under() -> None:
    """C2SP ``signed-note``: the hash is over name, algorithm and key, so another name has another hint."""
    key = ed25519.Ed25519PrivateKey.generate()
    log = Log(b"some-id", "https://log.example", key.public_key(), Period(None, None))
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    for name, is_ours in (("log.example", True), ("other.example", False), ("", False)):
        hint = hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()[:4]
        text = f"log.example\n5\n{text_of(b'root')}\n"
        line = f"\N{EM DASH} log.example {text_of(hint + key.sign(text.encode()))}\n"
        checkpoint = Checkpoint.from_note(f"{text}\n{line}")
        if is_ours:
            checkpoint.verify(log)
        else:
            with pytest.raises(VerificationError, match="with the trusted root's key"):
                checkpoint.verify(log)


LEAVES = [leaf(body) for body in (b"a", b"b", b"body", b"d", b"e")]


def entry(**change: Json) -> Json:
    proof = {
        "logIndex": "2",
        "treeSize": "5",
        "rootHash": text_of(tree(LEAVES)),
        "hashes": [text_of(one) for one in path(2, LEAVES)],
        "checkpoint": {"envelope": note(5, tree(LEAVES))},
    }
    whole = {
        "canonicalizedBody": text_of(b"body"),
        "logId": {"keyId": text_of(b"log-id")},
        "inclusionProof": proof | change.pop("proof", {}),
    }
    return {name: value for name, value in (whole | change).items() if value is not ...}


LACKS = "the log entry has no valid inclusion proof"
NOT_LED = "the inclusion proof of entry 2 does not match the log's checkpoint"


def test_an_entry_is_proved_with_and_without_a_trusted_root() -> None:
    assert verify_inclusion(entry(), ROOT) == b"body"
    assert verify_inclusion(entry(), None) == b"body"
    strange = entry(proof={"checkpoint": {"envelope": note(5, tree(LEAVES), origin="other")}})
    assert verify_inclusion(strange, None) == b"body"
    with pytest.raises(VerificationError, match="the checkpoint is of 'other'"):
        verify_inclusion(strange, ROOT)
    alone = [leaf(b"body")]
    one = {"logIndex": None, "treeSize": "1", "rootHash": text_of(alone[0]), "hashes": None}
    assert (
        verify_inclusion(entry(proof=one | {"checkpoint": {"envelope": note(1, alone[0])}}), ROOT) == b"body"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inclusionProof": ...}, LACKS),
        ({"inclusionProof": "x"}, LACKS),
        ({"proof": {"hashes": 5}}, LACKS),
        ({"proof": {"hashes": [5]}}, LACKS),
        ({"proof": {"hashes": ["!"]}}, LACKS),
        ({"proof": {"checkpoint": {}}}, LACKS),
        ({"proof": {"checkpoint": None}}, LACKS),
        ({"proof": {"checkpoint": {"envelope": 5}}}, LACKS),
        ({"logId": ...}, LACKS),
        ({"logId": "x"}, LACKS),
        ({"logId": {}}, "the log entry's keyId is missing or not base64"),
        ({"proof": {"rootHash": ""}}, "the log entry's rootHash is missing or not base64"),
        ({"canonicalizedBody": ...}, "the log entry's canonicalizedBody is missing or not base64"),
        ({"proof": {"logIndex": "x"}}, "the log entry's logIndex is not a number"),
        ({"proof": {"treeSize": "x"}}, "the log entry's treeSize is not a number"),
        ({"canonicalizedBody": text_of(b"other")}, NOT_LED),
        ({"proof": {"rootHash": text_of(b"other")}}, NOT_LED),
        ({"proof": {"checkpoint": {"envelope": note(6, tree(LEAVES))}}}, NOT_LED),
        ({"proof": {"checkpoint": {"envelope": note(5, b"other")}}}, NOT_LED),
        ({"proof": {"treeSize": "2"}}, "entry 2 is outside a log of 2"),
    ],
)
def test_what_proves_nothing_is_told(change: Json, words: str) -> None:
    for root in (ROOT, None):
        with pytest.raises(VerificationError) as caught:
            verify_inclusion(entry(**dict(change)), root)
        assert (str(caught.value), caught.value.reason) == (words, "signature_invalid")


def test_a_proof_for_another_log_is_not_one_of_the_trusted_root() -> None:
    with pytest.raises(VerificationError) as caught:
        verify_inclusion(entry(logId={"keyId": text_of(b"other")}), ROOT)
    assert caught.value.reason == "key_unknown"
