"""A SPIRE agent: the call of the SPIFFE Workload API that returns a JWT, with gRPC's own server.

Source: SPIFFE Workload API, ``workload.proto``, ``FetchJWTSVID``.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

NAME = b"spiffe://t/chains"


@contextmanager
def spire_agent(socket: str, jwt: str) -> Iterator[list[tuple[bytes, dict[str, str]]]]:
    """Serve on a socket; yields a list of the requests and their metadata.

    Without a ``jwt`` the agent answers as for an unregistered workload: without a token.
    """
    asked: list[tuple[bytes, dict[str, str]]] = []
    svid = b"\x0a" + _sized(NAME) + b"\x12" + _sized(jwt.encode())

    def fetch(request: bytes, context: grpc.ServicerContext) -> bytes:
        asked.append((request, dict(context.invocation_metadata())))
        return b"\x0a" + _sized(svid) if jwt else b""

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        handler = grpc.unary_unary_rpc_method_handler(fetch, lambda data: data, lambda data: data)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", {"FetchJWTSVID": handler}),)
        )
        server.add_insecure_port(socket)
        server.start()
        try:
            yield asked
        finally:
            server.stop(None).wait()


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 0x7F | 0x80,)) + _varint(value >> 7)
