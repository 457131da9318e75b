"""A witness of transparency logs: litewitness of torchwood, with a key in an SSH agent of this process."""

from __future__ import annotations

import hashlib
import socket
import sqlite3
import struct
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.testbed.build import binary
from tests.testbed.ports import free_ports
from tests.testbed.process import running

_ASKS_KEYS, _KEYS, _ASKS_SIGNATURE, _SIGNATURE, _FAILURE = 11, 12, 13, 14, 5
EMPTY_ROOT = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True)
class WitnessServer:
    """A running witness: its URL, its verifier key, and the logs that it knows."""

    url: str
    key: str
    database: Path
    log: Path

    def add_log(self, origin: str, key: str) -> None:
        """Let the witness know a log by its verifier key."""
        with closing(sqlite3.connect(self.database, timeout=30)) as database, database:
            empty = b64encode(EMPTY_ROOT).decode()
            database.execute(
                "INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", (origin, empty)
            )
            database.execute("INSERT INTO key (origin, key) VALUES (?, ?)", (origin, key))

    def size_of(self, origin: str) -> int:
        """Return how many entries of a log the witness has signed."""
        with closing(sqlite3.connect(self.database, timeout=30)) as database:
            (size,) = database.execute("SELECT tree_size FROM log WHERE origin = ?", (origin,)).fetchone()
            return int(size)


@contextmanager
def witness_server(folder: Path, name: str = "witness.example/w1") -> Iterator[WitnessServer]:
    """Run a witness for the length of the block. ``folder`` must have a short path: it gets a socket."""
    key = Ed25519PrivateKey.generate()
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    blob = _string(b"ssh-ed25519") + _string(raw)
    fingerprint = "SHA256:" + b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    (port,) = free_ports(1)
    database = folder / "witness.db"
    with _agent(folder / "agent", key, blob):
        command: list[str | Path] = [
            binary("litewitness"), "-name", name, "-db", database, "-ssh-agent", folder / "agent",
            "-listen", f"127.0.0.1:{port}", "-key", fingerprint,
        ]  # fmt: skip
        with running(command, folder / "witness.log", r"msg=listening addr=(\S+)") as server:
            for _ in range(1000):  # it says so just before it listens
                with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.01)
            yield WitnessServer(f"http://{server.address}", _verifier_key(name, raw), database, server.log)


def _verifier_key(name: str, raw: bytes) -> str:
    data = b"\x04" + raw
    key_id = hashlib.sha256(name.encode() + b"\n" + data).digest()[:4]
    return f"{name}+{key_id.hex()}+{b64encode(data).decode()}"


@contextmanager
def _agent(path: Path, key: Ed25519PrivateKey, blob: bytes) -> Iterator[None]:
    """Answer the requests of draft-miller-ssh-agent that litewitness sends, with one key."""
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=_answer, args=(connection, key, blob), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _answer(connection: socket.socket, key: Ed25519PrivateKey, blob: bytes) -> None:
    with closing(connection), connection.makefile("rwb") as stream, suppress(OSError):
        while head := stream.read(4):
            body = stream.read(int.from_bytes(head))
            answer = bytes([_FAILURE])
            if body[0] == _ASKS_KEYS:
                answer = bytes([_KEYS]) + struct.pack(">I", 1) + _string(blob) + _string(b"witness")
            elif body[0] == _ASKS_SIGNATURE:
                _, data = _strings(body[1:])
                signature = _string(b"ssh-ed25519") + _string(key.sign(data))
                answer = bytes([_SIGNATURE]) + _string(signature)
            stream.write(_string(answer))
            stream.flush()


def _string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def _strings(data: bytes) -> tuple[bytes, bytes]:
    found = []
    for _ in range(2):
        size = int.from_bytes(data[:4])
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found[0], found[1]
