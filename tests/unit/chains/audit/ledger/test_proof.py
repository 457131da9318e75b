"""Proofs: they hold for what they were made for, and a change of any part is found."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest

from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.folder import LogFolder
from chains.audit.ledger.proof import make_proof, verify_proof
from signers.errors import FormatError, SignerError, VerificationError
from tests.unit.chains.audit.ledger.made import ORIGIN, four_days, listed, run, sealer_of

UID = run(10).uid


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ledgers")
    four_days(folder / "log", sealer_of(folder))
    keys = [one.key for one in listed(sealer_of(folder))]
    older = (folder / "log" / "2025-11-26.checkpoint").read_bytes()
    return LogFolder(folder / "log"), keys, older


def test_a_proof_shows_all_entries_of_a_run_in_the_last_closed_head(made):
    log, keys, older = made
    proven = verify_proof(make_proof(log, UID, older), keys)
    assert [(index, entry.kind.value) for index, entry in proven.entries] == [
        (10, "seen"),
        (15, "finished"),
        (16, "evidenced"),
    ]
    assert {entry.run for _, entry in proven.entries} == {run(10)}
    assert (proven.checkpoint.origin, proven.checkpoint.size, proven.since.size) == (ORIGIN, 30, 10)


def test_a_run_that_the_closed_days_do_not_have_has_no_proof(made):
    log, _, _ = made
    assert make_proof(log, run(40).uid) is None
    assert make_proof(log, "") is None


def set_index(proof):
    proof["entries"][0]["index"] += 1


def set_entry(proof):
    proof["entries"][0]["entry"] = proof["entries"][0]["entry"].replace("build-10", "build-11")


def set_other_run(proof):
    proof["run"] = run(11).uid


def set_hash(proof):
    proof["entries"][0]["hashes"][0] = b64encode(b"\0" * 32).decode()


def drop_hash(proof):
    proof["entries"][0]["hashes"].pop()


def drop_entries(proof):
    proof["entries"] = []


def set_size(proof):
    proof["checkpoint"] = proof["checkpoint"].replace("\n30\n", "\n31\n")


def set_signature(proof):
    head, _, blob = proof["checkpoint"].rpartition(" ")
    proof["checkpoint"] = f"{head} {blob[:-6]}AAAA=\n"


def set_older(proof):
    proof["consistency"]["checkpoint"] = proof["checkpoint"]


def drop_consistency_hash(proof):
    proof["consistency"]["hashes"].pop()


def set_type(proof):
    proof["mediaType"] = "application/json"


def add_member(proof):
    proof["note"] = "x"


def many_hashes(proof):
    proof["entries"][0]["hashes"] *= 40


def no_text(proof):
    proof["entries"][0]["hashes"][0] = 1


@pytest.mark.parametrize(
    "change",
    [
        set_index,
        set_entry,
        set_other_run,
        set_hash,
        drop_hash,
        drop_entries,
        set_size,
        set_signature,
        set_older,
        drop_consistency_hash,
        set_type,
        add_member,
        many_hashes,
        no_text,
    ],
    ids=lambda change: change.__name__,
)
def test_a_changed_proof_does_not_hold(made, change):
    log, keys, older = made
    proof = json.loads(make_proof(log, UID, older))
    change(proof)
    with pytest.raises(SignerError):
        verify_proof(json.dumps(proof).encode(), keys)


def test_what_is_no_proof_is_refused(made):
    with pytest.raises(FormatError):
        verify_proof(b"[]", made[1])
    with pytest.raises(VerificationError, match="signed by none of the 0 given keys"):
        verify_proof(make_proof(made[0], UID), [])


@pytest.mark.parametrize(
    "note",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(f"{ORIGIN}\n10\n{b64encode(b'x' * 32).decode()}\n\n".encode(), id="another root"),
        pytest.param(f"{ORIGIN}\n99\n{b64encode(b'x' * 32).decode()}\n\n".encode(), id="more entries"),
        pytest.param(
            f"example.com/other\n10\n{b64encode(b'x' * 32).decode()}\n\n".encode(), id="another log"
        ),
    ],
)
def test_no_proof_is_made_from_a_head_of_another_history(made, note):
    log, _, older = made
    if note:
        with pytest.raises(LedgerError):
            make_proof(log, UID, note)
    else:
        assert make_proof(log, UID, note) != make_proof(log, UID, older)
