"""Firestore's gRPC service, as far as its Python and Go clients use it to get, set, delete and query documents."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import grpc
from google.cloud.firestore_v1.types import document as documents
from google.cloud.firestore_v1.types import firestore as messages
from google.cloud.firestore_v1.types import query as queries
from google.cloud.firestore_v1.types import write as writes
from google.protobuf.timestamp_pb2 import Timestamp

_NOW = Timestamp(seconds=1_767_323_045)
_LARGEST = 1024 * 1024


@dataclass
class FirestoreServer:
    """Documents by their full names, as protobuf messages. ``fails`` is the status of every answer."""

    documents: dict[str, Any] = field(default_factory=dict)
    fails: grpc.StatusCode | None = None
    address: str = ""
    lock: Lock = field(default_factory=Lock)

    def get(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._check(context)
        for name in request.documents:
            answer = messages.BatchGetDocumentsResponse.pb()(read_time=_NOW)
            found = self.documents.get(name)
            if found is None:
                answer.missing = name
            else:
                answer.found.CopyFrom(found)
            yield answer

    def commit(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._check(context)
        answer = messages.CommitResponse.pb()(commit_time=_NOW)
        with self.lock:
            for one in request.writes:
                if one.WhichOneof("operation") == "delete":
                    self.documents.pop(one.delete, None)
                else:
                    if one.update.ByteSize() > _LARGEST:
                        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the document is too large")
                    kept = documents.Document.pb()()
                    kept.CopyFrom(one.update)
                    kept.create_time.CopyFrom(_NOW)
                    kept.update_time.CopyFrom(_NOW)
                    self.documents[one.update.name] = kept
                answer.write_results.append(writes.WriteResult.pb()(update_time=_NOW))
        return answer

    def query(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._check(context)
        query = request.structured_query
        test = query.where.field_filter
        operators = queries.StructuredQuery.FieldFilter.Operator
        path = f"{request.parent}/{query.from_[0].collection_id}/"
        found = [one for name, one in sorted(self.documents.items()) if name.startswith(path)]
        for one in found:
            if not query.HasField("where"):
                yield messages.RunQueryResponse.pb()(document=one, read_time=_NOW)
                continue
            value = one.fields.get(test.field.field_path)
            if value is None:
                continue
            held = list(value.array_value.values) if test.op == operators.ARRAY_CONTAINS else [value]
            if test.value in held:
                yield messages.RunQueryResponse.pb()(document=one, read_time=_NOW)

    def _check(self, context: grpc.ServicerContext) -> None:
        if self.fails is not None:
            context.abort(self.fails, "as the test wants")


@contextmanager
def firestore_endpoint() -> Iterator[FirestoreServer]:
    """A server for the length of a block; ``address`` is for ``FIRESTORE_EMULATOR_HOST``."""
    state = FirestoreServer()

    def one_way(work: Any, asked: Any, *, stream: bool) -> Any:
        make = grpc.unary_stream_rpc_method_handler if stream else grpc.unary_unary_rpc_method_handler
        return make(work, asked.pb().FromString, lambda answer: answer.SerializeToString())

    handlers = {
        "BatchGetDocuments": one_way(state.get, messages.BatchGetDocumentsRequest, stream=True),
        "Commit": one_way(state.commit, messages.CommitRequest, stream=False),
        "RunQuery": one_way(state.query, messages.RunQueryRequest, stream=True),
    }
    service = grpc.method_handlers_generic_handler("google.firestore.v1.Firestore", handlers)
    server = grpc.server(
        ThreadPoolExecutor(16), handlers=[service], options=[("grpc.max_receive_message_length", 32 << 20)]
    )
    state.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield state
    finally:
        server.stop(None).wait()
