"""What is sent to a witness and how each answer is taken, against a server that follows C2SP tlog-witness to the letter."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from chains.audit.ledger.checkpoint import sign_checkpoint, verify_checkpoint
from chains.audit.ledger.merkle import Tree, is_consistent, leaf_hash
from chains.audit.ledger.witness.client import ForkError, WitnessAhead, WitnessClient, WitnessError
from signers.errors import FormatError, VerificationError
from signers.keys.public_key import PublicKey
from signers.sigstore.cosignature import WitnessKey, find_cosignatures, log_key
from signers.sigstore.transparency import Checkpoint
from tests.unit.chains.audit.ledger.made import listed, sealer_of

ORIGIN = "chains.example.com/prod/share-0-of-1"
AT = 1_770_000_000
EMPTY = hashlib.sha256(b"").digest()


class Signer:
    """The key of a witness, and its cosignatures as the specification has them."""

    def __init__(self, name="witness.example/w1", algorithm=0x04):
        self.name, self.algorithm = name, algorithm
        self.key = Ed25519PrivateKey.generate() if algorithm == 0x04 else MLDSA44PrivateKey.generate()
        raw = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        data = bytes([algorithm]) + raw
        self.key_id = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
        self.vkey = f"{name}+{self.key_id.hex()}+{b64encode(data).decode()}"

    def line(self, text, at=AT):
        if self.algorithm == 0x04:
            message = f"cosignature/v1\ntime {at}\n".encode() + text
        else:
            origin, size, root = text.decode().split("\n")[:3]
            name = self.name.encode()
            message = b"subtree/v1\n\0" + bytes([len(name)]) + name + at.to_bytes(8) + bytes([len(origin)])
            message += origin.encode() + bytes(8) + int(size).to_bytes(8) + b64decode(root)
        blob = self.key_id + at.to_bytes(8) + self.key.sign(message)
        return f"— {self.name} {b64encode(blob).decode()}\n".encode()


class Strict:
    """A witness in memory. ``answers`` are given instead of its own, one after the other."""

    def __init__(self, signer, keys):
        self.signer, self.keys, self.size, self.root = signer, keys, 0, EMPTY
        self.answers, self.asked = [], []

    async def add(self, request):  # noqa: PLR0911 - an answer for each rule
        body = await request.read()
        head, _, note = body.partition(b"\n\n")
        lines = head.decode().split("\n")
        old, hashes = (
            int(lines[0].removeprefix("old ")),
            [b64decode(line, validate=True) for line in lines[1:]],
        )
        self.asked.append((old, len(hashes)))
        if self.answers:
            return self.answers.pop(0)
        try:
            checkpoint = verify_checkpoint(note, self.keys)
        except VerificationError:
            return web.Response(status=403)
        if checkpoint.origin != ORIGIN:
            return web.Response(status=404)
        if old > checkpoint.size:
            return web.Response(status=400)
        if old != self.size:
            return conflict(self.size)
        if not is_consistent(old, checkpoint.size, self.root, checkpoint.root_hash, hashes):
            return web.Response(status=422, text="bad proof")
        self.size, self.root = checkpoint.size, checkpoint.root_hash
        return web.Response(body=self.signer.line(checkpoint.text))


def conflict(size, kind="text/x.tlog.size"):
    return web.Response(status=409, body=f"{size}\n".encode(), content_type=kind)


LEAVES = [leaf_hash(b"%d" % number) for number in range(200)]
FORK = [leaf_hash(b"x%d" % number) if number == 3 else leaf for number, leaf in enumerate(LEAVES)]


@pytest.fixture
def sealer(tmp_path):
    return sealer_of(tmp_path)


def note(sealer, size, leaves=LEAVES, origin=ORIGIN):
    return sign_checkpoint(origin, size, Tree(leaves).root(size), sealer.signer)


def with_witness(sealer, work, signer=None):
    """Run ``work`` with a client of a strict witness; return what it returns, and the witness."""
    signer = signer or Signer()
    strict = Strict(signer, [one.key for one in listed(sealer)])

    async def run():
        application = web.Application()
        application.add_routes([web.post("/prefix/add-checkpoint", strict.add)])
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]
        client = WitnessClient(f"http://127.0.0.1:{port}/prefix/", WitnessKey.parse(signer.vkey))
        try:
            return await work(client, strict)
        finally:
            await client.close()
            await runner.cleanup()

    return asyncio.run(asyncio.wait_for(run(), 60))


def proofs(size, leaves=LEAVES):
    async def consistency(old):
        return Tree(leaves).consistency(old, size)

    return consistency


@pytest.mark.parametrize("algorithm", [0x04, 0x06], ids=["ed25519", "ml-dsa-44"])
def test_a_log_that_grows_is_signed_each_time_and_the_signatures_verify(sealer, algorithm):
    signer = Signer(algorithm=algorithm)

    async def work(client, strict):
        known = 0
        for size in (1, 7, 7, 64, 200):
            text = note(sealer, size)
            lines = await client.cosign(text, known, proofs(size))
            checkpoint = Checkpoint.from_note((text + lines).decode())
            found = find_cosignatures(checkpoint, [WitnessKey.parse(signer.vkey)])
            assert found == {signer.name: datetime.fromtimestamp(AT, UTC)}
            # the log's own signature is still found
            assert verify_checkpoint(text + lines, [one.key for one in listed(sealer)]).size == size
            known = size
        return strict.asked

    assert with_witness(sealer, work, signer) == [(0, 0), (1, 3), (7, 0), (7, 7), (64, 2)]


def test_a_client_that_does_not_know_what_the_witness_signed_asks_again_with_the_proof(sealer):
    async def work(client, strict):
        await client.cosign(note(sealer, 50), 0, proofs(50))
        await client.cosign(note(sealer, 120), 0, proofs(120))
        await client.cosign(note(sealer, 130), 7, proofs(130))
        return [old for old, _ in strict.asked]

    assert with_witness(sealer, work) == [0, 0, 50, 7, 120]


def test_a_second_history_is_refused_whichever_size_it_has(sealer):
    async def work(client, strict):
        await client.cosign(note(sealer, 50), 0, proofs(50))
        for size in (50, 51, 120):
            with pytest.raises(
                ForkError, match=r"fork: the witness witness\.example/w1 has signed another history"
            ):
                await client.cosign(note(sealer, size, FORK), 50, proofs(size, FORK))
            with pytest.raises(ForkError):
                await client.cosign(note(sealer, size, FORK), 0, proofs(size, FORK))
        with pytest.raises(WitnessAhead) as ahead:
            await client.cosign(note(sealer, 20, FORK), 0, proofs(20, FORK))
        assert ahead.value.size == 50
        assert (strict.size, strict.root) == (50, Tree(LEAVES).root(50))

    with_witness(sealer, work)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: web.Response(status=404), "does not know the log .*, or its key .*: give its operator the line"),
        (lambda: web.Response(status=403), "does not know the log .*, or its key .*: give its operator the line"),
        (lambda: web.Response(status=400), "400: .*; correct its address or key in ledger.witnesses"),
        (lambda: web.Response(status=401, text="who?"), "asks for a login"),
        (lambda: web.Response(status=302, headers={"Location": "/"}), "at another address"),
        (lambda: conflict(7, "text/plain"), "409 without a size: expected text/x.tlog.size"),
        (lambda: conflict("007"), "409 without a size"),
        (lambda: conflict(-1), "409 without a size"),
        (lambda: web.Response(text="<html>"), "answered with what does not verify"),
        (lambda: web.Response(text=""), "did not sign with the key witness.example/w1"),
        (lambda: web.Response(body=Signer("other.example/w").line(b"x\n1\nAA==\n")), "did not sign with the key"),
    ],
    ids=["unknown", "forbidden", "bad", "login", "moved", "no-size", "zeroes", "negative", "html", "empty", "stranger"],
)  # fmt: skip
def test_every_other_answer_is_an_error_with_a_next_step(sealer, answer, message):
    async def work(client, strict):
        strict.answers = [answer(), answer()]
        with pytest.raises(WitnessError, match=message) as refused:
            await client.cosign(note(sealer, 5), 0, proofs(5))
        assert not isinstance(refused.value, (ForkError, WitnessAhead))

    with_witness(sealer, work)


def test_two_conflicts_in_a_row_end_the_attempt(sealer):
    async def work(client, strict):
        strict.answers = [conflict(3), conflict(4)]
        with pytest.raises(WitnessError, match="a second writer of this log"):
            await client.cosign(note(sealer, 5), 0, proofs(5))
        assert [old for old, _ in strict.asked] == [0, 3]

    with_witness(sealer, work)


def test_signatures_of_unknown_keys_are_ignored_and_a_wrong_one_is_none(sealer):
    signer = Signer()
    same_name = Signer(signer.name)

    async def work(client, strict):
        checkpoint = Checkpoint.from_note(note(sealer, 5).decode())
        good = signer.line(checkpoint.text)
        strict.answers = [web.Response(body=same_name.line(checkpoint.text) + good)]
        assert await client.cosign(note(sealer, 5), 0, proofs(5)) == good
        strict.answers = [web.Response(body=signer.line(b"another\n5\nAAAA\n"))]
        with pytest.raises(WitnessError, match="does not verify"):
            await client.cosign(note(sealer, 5), 0, proofs(5))

    with_witness(sealer, work, signer)


def test_a_cosignature_is_of_one_checkpoint_one_time_and_one_key(sealer):
    signer, key = Signer(), None
    key = WitnessKey.parse(signer.vkey)
    text = note(sealer, 5)
    checkpoint = Checkpoint.from_note(text.decode())
    whole = Checkpoint.from_note((text + signer.line(checkpoint.text)).decode())
    at = datetime.fromtimestamp(AT, UTC)
    assert find_cosignatures(whole, [key], at) == {signer.name: at}
    assert find_cosignatures(whole, [WitnessKey.parse(Signer().vkey)]) == {}, (
        "the same name is not the same key"
    )
    with pytest.raises(VerificationError, match="has not come yet"):
        find_cosignatures(whole, [key], at - timedelta(seconds=1))
    for wrong in (signer.line(checkpoint.text, 0), signer.line(note(sealer, 6).split(b"\n\n")[0] + b"\n")):
        with pytest.raises(VerificationError):
            find_cosignatures(Checkpoint.from_note((text + wrong).decode()), [key])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected NAME"),
        ("witness.example/w1", "expected NAME"),
        ("witness.example/w1+abcd+AAAA", "expected NAME"),
        ("wit ness+00000000+BAAA", "expected NAME"),
        (
            "witness.example/w1+00000000+" + b64encode(b"\x04" + bytes(32)).decode(),
            "its id is not that of its key",
        ),
        (
            "witness.example/w1+00000000+" + b64encode(b"\x04" + bytes(31)).decode(),
            "its id is not that of its key",
        ),
        (
            "witness.example/w1+00000000+" + b64encode(b"\x01" + bytes(32)).decode(),
            "which is the key of a log",
        ),
        ("witness.example/w1+00000000+" + b64encode(b"\x09" + bytes(32)).decode(), "expected 0x04 or 0x06"),
    ],
    ids=["empty", "name", "short-id", "blank", "id", "length", "log", "type"],
)
def test_a_key_that_is_none_of_a_witness_is_refused(text, message):
    with pytest.raises(FormatError, match=message):
        WitnessKey.parse(text)


def test_the_key_of_a_log_is_the_one_by_which_its_checkpoints_are_signed(sealer):
    line = log_key(ORIGIN, PublicKey.from_pem(sealer.signer.public_pem))
    name, key_id, encoded = line.split("+", 2)
    checkpoint = Checkpoint.from_note(note(sealer, 5).decode())
    assert (name, b64decode(encoded)[0]) == (ORIGIN, 1)
    assert checkpoint.signatures[0][:2] == (ORIGIN, bytes.fromhex(key_id))
