"""Fetches JWT-SVIDs from a SPIRE agent with one gRPC call of the SPIFFE Workload API.

Source: SPIFFE Workload API, ``workload.proto``: ``/SpiffeWorkloadAPI/FetchJWTSVID`` with the metadata
``workload.spiffe.io: true``. Field 1 of the request is the audience (repeated). Field 1 of the answer holds
the SVIDs, and field 2 of an SVID the token. The protobuf is read by hand here, so that no client library is
needed.
"""

from __future__ import annotations

from collections.abc import Iterator

import grpc

from signers.errors import SignerError, SignerRejected, SignerUnavailable

CALL_SECONDS = 10.0
"""The time limit of one call."""
_METHOD = "/SpiffeWorkloadAPI/FetchJWTSVID"
_METADATA = (("workload.spiffe.io", "true"),)
_FIRST, _SECOND = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MORE, _BITS, _LONGEST = 0x80, 7, 63


def fetch_jwt(socket: str, audience: str, setting: str = "signers.kms.auth.spire.sock") -> str:
    """Return a JWT for ``audience`` from the agent at ``unix:///PATH`` or ``tcp://IP:PORT``.

    ``setting`` names the configuration key of the address in errors. Raises :class:`SignerUnavailable` when
    the agent does not answer, and :class:`SignerRejected` when it refuses a token for the audience or the
    workload.
    """
    if not audience:
        raise SignerRejected("spire gives no token without an audience: set signers.kms.auth.spire.audience")
    scheme, colon, rest = socket.partition(":")
    if not colon or scheme not in {"unix", "tcp"} or not rest.strip("/"):
        raise SignerRejected(f"{setting}: expected unix:///PATH or tcp://IP:PORT")
    target = f"unix:{'/' + rest.lstrip('/')}" if scheme == "unix" else rest.lstrip("/")
    try:
        # Plaintext is correct here: the Workload API is a local socket, and the agent authenticates the
        # caller by its process.
        with grpc.insecure_channel(target) as channel:
            call = channel.unary_unary(_METHOD, _identity, _identity)
            answer = call(_request(audience), timeout=CALL_SECONDS, metadata=_METADATA)
    except grpc.RpcError as exc:
        raise _error(exc, setting) from exc
    try:
        # The first SVID is the default identity of the workload.
        svid = next(value for number, value in _fields(answer) if number == _FIRST)
        return next(value for number, value in _fields(svid) if number == _SECOND).decode("ascii")
    except (StopIteration, ValueError, IndexError) as exc:
        raise SignerRejected("spire's answer holds no token: check that the workload is registered") from exc


def _identity(data: bytes) -> bytes:
    return data


def _request(audience: str) -> bytes:
    text = audience.encode()
    return bytes([_FIRST << 3 | _BYTES]) + _varint(len(text)) + text


def _error(exc: grpc.RpcError, setting: str) -> SignerError:
    """Return the exception for a failed call; only states that may pass count as unavailable."""
    code = exc.code() if isinstance(exc, grpc.Call) else None
    name = code.name.lower().replace("_", " ") if code else "an error"
    if code in {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }:
        return SignerUnavailable(f"spire's agent did not answer ({name}): check {setting}")
    return SignerRejected(f"spire gave no token ({name}): check that the workload is registered")


def _varint(number: int) -> bytes:
    """Encode a number as a protobuf varint."""
    encoded = bytearray()
    while number >= _MORE:
        encoded.append(number & (_MORE - 1) | _MORE)
        number >>= _BITS
    return bytes([*encoded, number])


def _read_varint(data: bytes, start: int) -> tuple[int, int]:
    """Return the protobuf varint at ``start`` and the position after it. Raises :class:`ValueError`."""
    number = shift = 0
    while True:
        byte = data[start]
        number |= (byte & (_MORE - 1)) << shift
        start += 1
        if byte < _MORE:
            return number, start
        shift += _BITS
        # A 64-bit varint has at most ten bytes; more would let the number grow without limit.
        if shift > _LONGEST:
            raise ValueError("a number is too long")


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number and value of each length-delimited field of a protobuf message; skip other fields."""
    position = 0
    while position < len(data):
        # A tag is the field number shifted left by three, with the wire type in the low bits.
        tag, position = _read_varint(data, position)
        kind = tag & 7
        if kind == _BYTES:
            size, position = _read_varint(data, position)
            if position + size > len(data):
                raise ValueError("a field is cut off")
            yield tag >> 3, data[position : position + size]
            position += size
        elif kind == _VARINT:
            _, position = _read_varint(data, position)
        elif kind in {_FIXED64, _FIXED32}:
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("an unknown kind of field")
