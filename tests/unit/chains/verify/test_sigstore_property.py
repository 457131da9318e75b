"""Any byte changed in evidence with certificate, log entry and timestamp: refused, or of no consequence.

Of no consequence is a change after which the answer tells the same statement, signer, log entries and times, since
what was changed is read by nobody: an optional member, or a part of a timestamp that its authority did not sign.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.verify.criteria import CertificateWanted, Criteria, NameWanted
from chains.verify.render import to_text
from chains.verify.verdict import Verdict, Verification
from chains.verify.verifier import Verifier
from signers.keys.public_key import PublicKey
from signers.sigstore.trusted_root import TrustedRoot
from tests.faults.verify.forge import DIGEST
from tests.faults.verify.forged_cases import FOLDER, IDENTITY, ISSUER, file

Json = Any
NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT = TrustedRoot.from_path(FOLDER / "trusted_root.json")
KEY = PublicKey.from_pem((FOLDER / "key.pub").read_bytes())
WANTED = CertificateWanted(NameWanted(IDENTITY), NameWanted(ISSUER))
NAMES = ("honest-v2", "honest-v1", "honest-v1-promise-alone", "honest-key-v2")
STEP = 11
"""Every so many bytes one is changed; all of them, which takes half a minute, found nothing else."""


def answer(name: str, data: bytes) -> Verification:
    """The answer when all is demanded that is there: what was taken away is missed."""
    has_stamp = name.endswith("v2")
    criteria = Criteria(
        [KEY], certificate=WANTED, trusted_root=ROOT, require_log=True, require_timestamp=has_stamp
    )
    return Verifier(criteria, clock=lambda: NOW).judge_bundle(data, ref="file", digest=DIGEST)


def told(found: Verification) -> Json:
    """What an answer says of the evidence, apart from its own bytes."""
    (each,) = found.to_json()["attestations"]
    return {name: value for name, value in each.items() if name not in {"digest", "location"}}


ORIGINAL = {name: file(name).read_bytes() for name in NAMES}
TOLD = {name: told(answer(name, data)) for name, data in ORIGINAL.items()}


def holds(name: str, data: bytes, *, refused: bool) -> Verdict:
    found = answer(name, data)
    reasons = {check.reason.value for check in found.checks if check.reason}
    assert "internal_error" not in reasons, to_text(found, verbose=True)
    assert to_text(found, verbose=True)
    if found.verdict is Verdict.VERIFIED:
        assert not refused
        assert told(found) == TOLD[name]
    return found.verdict


def material(bundle: Json) -> Json:
    return bundle["verificationMaterial"]


def entry(bundle: Json) -> Json:
    return material(bundle)["tlogEntries"][0]


Place = Callable[[Json], tuple[Json, Any]]
"""The object that holds a piece, and the piece's name in it."""
SIGNED: dict[str, Place] = {
    "payload": lambda it: (it["dsseEnvelope"], "payload"),
    "signature": lambda it: (it["dsseEnvelope"]["signatures"][0], "sig"),
    "certificate": lambda it: (material(it)["certificate"], "rawBytes"),
    "old certificate": lambda it: (material(it)["x509CertificateChain"]["certificates"][0], "rawBytes"),
    "body": lambda it: (entry(it), "canonicalizedBody"),
    "log": lambda it: (entry(it)["logId"], "keyId"),
    "promise": lambda it: (entry(it)["inclusionPromise"], "signedEntryTimestamp"),
    "root": lambda it: (entry(it)["inclusionProof"], "rootHash"),
    "first hash": lambda it: (entry(it)["inclusionProof"]["hashes"], 0),
    "last hash": lambda it: (entry(it)["inclusionProof"]["hashes"], -1),
}
"""Base64 of bytes that somebody signed or that lead to what somebody signed: no change of any may pass."""


def stamp(bundle: Json) -> tuple[Json, Any]:
    return material(bundle)["timestampVerificationData"]["rfc3161Timestamps"][0], "signedTimestamp"


def flips(name: str, place: Place, step: int) -> Iterator[bytes]:
    """The bundle with one byte of the piece changed, each time another one."""
    bundle = json.loads(ORIGINAL[name])
    try:
        holder, member = place(bundle)
        raw = base64.b64decode(holder[member])
    except (KeyError, IndexError):
        return
    for position in range(0, len(raw), step):
        mask = 1 << position % 8
        changed = raw[:position] + bytes((raw[position] ^ mask,)) + raw[position + 1 :]
        holder[member] = base64.b64encode(changed).decode()
        yield json.dumps(bundle).encode()


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_byte_of_what_is_signed_is_refused(name: str) -> None:
    assert answer(name, ORIGINAL[name]).verdict is Verdict.VERIFIED
    for place in SIGNED.values():
        for data in flips(name, place, STEP):
            holds(name, data, refused=True)


@pytest.mark.parametrize("name", ["honest-v2", "honest-v1"])
def test_a_changed_character_of_a_checkpoint_is_refused(name: str) -> None:
    bundle = json.loads(ORIGINAL[name])
    checkpoint = entry(bundle)["inclusionProof"]["checkpoint"]
    text = checkpoint["envelope"]
    for position in range(0, len(text) - 1, 3):
        other = "x" if text[position] != "x" else "y"
        checkpoint["envelope"] = text[:position] + other + text[position + 1 :]
        holds(name, json.dumps(bundle).encode(), refused=True)


@pytest.mark.parametrize("name", ["honest-v2", "honest-key-v2"])
def test_a_changed_byte_of_a_timestamp_is_refused_or_of_no_consequence(name: str) -> None:
    assert Verdict.FAILED in {holds(name, data, refused=False) for data in flips(name, stamp, STEP)}


@pytest.mark.parametrize("member", ["logIndex", "integratedTime"])
@pytest.mark.parametrize(
    "value", ["0", "1", "-1", "1e3", "9" * 19, "9" * 40, " 2", "2.0", "٢", None, 2.5, True, [], {}]
)
def test_numbers_of_an_entry_are_those_that_its_log_signed(member: str, value: Json) -> None:
    for name in ("honest-v1", "honest-v1-promise-alone", "honest-v2"):
        bundle = json.loads(ORIGINAL[name])
        entry(bundle)[member] = value
        # a log of version 2 tells no time: nobody reads it
        holds(
            name,
            json.dumps(bundle).encode(),
            refused=not (name == "honest-v2" and member == "integratedTime"),
        )


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(NAMES), where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_a_changed_byte_anywhere_in_the_file_is_refused_or_of_no_consequence(
    name: str, where: float, mask: int
) -> None:
    data = bytearray(ORIGINAL[name])
    data[int(where * len(data))] ^= mask
    holds(name, bytes(data), refused=False)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["AAAA", "0", "1"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["keyId", "logIndex"]), inner)
    ),
    max_leaves=3,
)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(NAMES), pick=st.integers(0, 10**6), value=VALUES)
def test_any_member_of_the_material_replaced_is_refused_or_of_no_consequence(
    name: str, pick: int, value: Json
) -> None:
    bundle = json.loads(ORIGINAL[name])
    places = list(members(material(bundle)))
    holder, member = places[pick % len(places)]
    holder[member] = value
    holds(name, json.dumps(bundle).encode(), refused=False)


def members(value: Json) -> Iterator[tuple[Json, Any]]:
    """Every member below an object or array, as its holder and name."""
    for name, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, name
        if isinstance(inner, dict | list):
            yield from members(inner)
