"""MongoDB's wire protocol, as far as its Python and Go clients use it to find, replace and delete documents."""

from __future__ import annotations

import socketserver
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import Any

import bson

_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013


@dataclass
class MongoServer:
    """Collections by ``database.name``: documents by ``_id``, in BSON. ``fails`` is the code of an error."""

    collections: dict[str, dict[str, bytes]] = field(default_factory=dict)
    fails: int = 0
    users: list[str] = field(default_factory=list)
    """The applications and users in the clients' greetings."""
    address: str = ""
    lock: Lock = field(default_factory=Lock)

    @property
    def url(self) -> str:
        return f"mongodb://{self.address}/?directConnection=true"

    def command(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(asked))
        if name.lower() in {"hello", "ismaster"}:
            self.users.append(asked.get("client", {}).get("application", {}).get("name", ""))
            return {
                "isWritablePrimary": True, "ismaster": True, "helloOk": True, "maxBsonObjectSize": 16 << 20,
                "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "minWireVersion": 0,
                "maxWireVersion": 21, "ok": 1.0,
            }  # fmt: skip
        if name in {"ping", "endSessions", "buildInfo"}:
            return {"ok": 1.0, "version": "7.0.0"}
        if self.fails:
            return {"ok": 0.0, "code": self.fails, "errmsg": "as the test wants", "codeName": "Test"}
        with self.lock:
            documents = self.collections.setdefault(f"{asked['$db']}.{asked[name]}", {})
            return {"find": _find, "update": _update, "delete": _delete}[name](documents, asked)


def _find(documents: dict[str, bytes], asked: dict[str, Any]) -> dict[str, Any]:
    found = [one for one in map(bson.decode, documents.values()) if _matches(one, asked.get("filter", {}))]
    found = found[: abs(asked.get("limit", 0)) or None]
    if asked.get("projection"):
        wanted = {"_id", *asked["projection"]}
        found = [{name: value for name, value in one.items() if name in wanted} for one in found]
    name = f"{asked['$db']}.{asked['find']}"
    return {"ok": 1.0, "cursor": {"id": bson.Int64(0), "ns": name, "firstBatch": found}}


def _update(documents: dict[str, bytes], asked: dict[str, Any]) -> dict[str, Any]:
    count = 0
    for one in asked["updates"]:
        assert one["upsert"]
        assert not any(name.startswith("$") for name in one["u"])
        identity = one["q"]["_id"]
        documents[identity] = bson.encode({"_id": identity, **one["u"]})
        count += 1
    return {"ok": 1.0, "n": count, "nModified": count}


def _delete(documents: dict[str, bytes], asked: dict[str, Any]) -> dict[str, Any]:
    for one in asked["deletes"]:
        documents.pop(one["q"]["_id"], None)
    return {"ok": 1.0, "n": 1}


def _matches(document: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return all(
        bool(set(map(repr, _values(document, name.split(".")))) & set(map(repr, value["$in"] if isinstance(value, dict) else [value])))
        for name, value in wanted.items()
    )  # fmt: skip


def _values(value: Any, path: list[str]) -> Iterator[Any]:
    """Return the values at a dotted path, through arrays as MongoDB does."""
    if isinstance(value, list):
        for one in value:
            yield from _values(one, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _values(value[path[0]], path[1:])


def _read(body: bytes) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    position = 4
    while position < len(body):
        kind = body[position]
        (size,) = struct.unpack_from("<i", body, position + 1)
        part = body[position + 1 : position + 1 + size]
        if kind == 0:
            asked = bson.decode(part) | asked
        else:
            name, _, rest = part[4:].partition(b"\0")
            asked[name.decode()] = bson.decode_all(rest)
        position += 1 + size
    # the command's own name stays first
    return dict(sorted(asked.items(), key=lambda item: item[0] not in {"find", "update", "delete", "hello", "ping", "isMaster", "ismaster", "endSessions", "buildInfo"}))  # fmt: skip


@contextmanager
def mongo_endpoint() -> Iterator[MongoServer]:
    """A server for the length of a block."""
    state = MongoServer()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            try:
                while head := self.rfile.read(16):
                    self._message(head)
            except ConnectionError:
                return

        def _message(self, head: bytes) -> None:
            size, identity, _, kind = struct.unpack("<iiii", head)
            body = self.rfile.read(size - 16)
            if kind == _OP_QUERY:
                start = body.index(b"\0", 4) + 9
                told = bson.encode(
                    state.command(bson.decode(body[start : start + struct.unpack_from("<i", body, start)[0]]))
                )
                content = struct.pack("<iqii", 0, 0, 0, 1) + told
                answer = struct.pack("<iiii", 16 + len(content), 1, identity, _OP_REPLY) + content
            else:
                content = struct.pack("<ib", 0, 0) + bson.encode(state.command(_read(body)))
                answer = struct.pack("<iiii", 16 + len(content), 1, identity, _OP_MSG) + content
            self.wfile.write(answer)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    state.address = f"127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
