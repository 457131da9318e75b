"""Calls DynamoDB over :mod:`storage.aws_wire`; anything but a plain success goes through the SDK.

Items are in the service's own JSON. Binary values are bytes or base64; :func:`decoded` accepts both.
"""

from __future__ import annotations

import os
import re
import threading
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import orjson

from storage import lean_json
from storage.aws_wire import AskTheSdk, Wire, ca_file_of_sdk
from storage.base import StoreOptions
from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.threads import Blocking

_ACTIONS = "dynamodb:PutItem, dynamodb:GetItem and dynamodb:DeleteItem"
_SCAN = "dynamodb:Scan, or allow_scans=false in storage.docdb.url where nothing needs to be searched for"
_CONNECT_SECONDS = 10.0
"""The time limit of a connection attempt, if the configured time limit is longer."""
_SHOWN = 200
"""The most characters of the service's message in an error."""
_OK, _BAD, _SERVER_ERROR = 200, 400, 500
_LARGEST_ANSWER = 16 * 1024 * 1024
"""The largest answer in bytes. The service returns 4 MiB of items, which base64 makes a third larger, and
their names."""
_TAKEN = "ConditionalCheckFailedException"
_DENIED = "AccessDeniedException"
_TOGETHER = frozenset(
    ("TransactionCanceledException", "ValidationException", "UnknownOperationException", _DENIED)
)
_PLAIN: dict[str, Callable[[Any], Any]] = {
    "NULL": lambda _: None,
    "N": float,
    "B": lambda content: b64decode(content) if isinstance(content, str) else content,
    "SS": frozenset,
}
_LATER = frozenset(
    (
        "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded",
        "InternalServerError", "TransactionConflictException", "ExpiredTokenException", "ServiceUnavailable",
    )
)  # fmt: skip


class Taken(StoreRejected):
    """The condition of a write is not met. ``item`` is the stored item, None if the answer has none."""

    def __init__(self, action: str, item: Mapping[str, Any] | None) -> None:
        super().__init__(f"{action}: another writer changed it at the same time")
        self.item = item


class NotTogether(StoreRejected):
    """Several items cannot be read in one transaction.

    One of them is being written, they are too large together, or the credentials do not allow it. Each can be
    read alone.
    """


class DynamoClient:
    """The DynamoDB of one account. Use from one event loop. Methods raise :class:`StoreError`."""

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        self._threads = Blocking("docdb", explain)
        self._making = threading.Lock()
        self._client: Any = None
        self._wire: _DynamoWire | None = None

    async def call(self, operation: str, arguments: dict[str, Any], action: str) -> dict[str, Any]:
        """Return the answer to ``operation`` (such as ``PutItem``), which must be safe to carry out twice.

        Also raises :class:`Taken`, and :class:`NotTogether` for ``TransactGetItems``.
        """
        if self._wire is not None:
            # Use the fast path if it can handle the answer, else the SDK.
            with suppress(AskTheSdk):
                return await self._wire.call(operation, arguments, action)
        return await self._threads.run(action, lambda: self._by_sdk(operation, arguments, action))

    def _by_sdk(self, operation: str, arguments: dict[str, Any], action: str) -> dict[str, Any]:
        """Make the call with boto3."""
        client = self._made()
        from botocore.exceptions import ClientError  # noqa: PLC0415 - takes a second

        try:
            answer: dict[str, Any] = getattr(client, _snake(operation))(**arguments)
        except ClientError as exc:
            code = str(exc.response.get("Error", {}).get("Code", ""))
            if code == _TAKEN:
                item: Any = exc.response.get("Item")
                raise Taken(action, item) from None
            if operation == "TransactGetItems" and code in _TOGETHER:
                raise NotTogether(f"{action}: {code}") from None
            raise
        headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        # botocore returns an empty answer for JSON it cannot parse; here that would mean "absent"
        if not answer.keys() - {"ResponseMetadata"} and int(headers.get("content-length", 0)) > len("{}"):
            raise StoreUnavailable(f"{action}: the answer cannot be parsed")
        return answer

    def _made(self) -> Any:
        """Return the SDK's client; the first call makes it."""
        with self._making:
            if self._client is None:
                self._client = self._make()
            return self._client

    def _make(self) -> Any:
        try:
            import boto3  # noqa: PLC0415 - takes a second and 30 MB
            from botocore.config import Config  # noqa: PLC0415
        except ImportError as exc:
            raise StoreRejected(f"{exc}: install provenance-chains with its extra aws") from exc
        options = self._options
        config = Config(
            connect_timeout=min(_CONNECT_SECONDS, options.timeout),
            read_timeout=options.timeout,
            retries={"mode": "standard", "total_max_attempts": options.attempts},
            max_pool_connections=32,
        )
        # Other AWS SDKs, also that of Tekton Chains, read AWS_REGION; botocore reads only AWS_DEFAULT_REGION.
        region = os.environ.get("AWS_REGION") or None
        session = boto3.session.Session()
        client = session.client("dynamodb", region_name=region, config=config)
        credentials = session.get_credentials()
        if credentials is not None:
            self._wire = wire = _DynamoWire(credentials, ca_file_of_sdk(), options.timeout)
            # Every request of the SDK tells the wire the current host and region.
            client.meta.events.register("before-send.dynamodb", lambda request, **_: wire.learn(request, ""))
        return client

    async def close(self) -> None:
        """Release threads and connections. A later call opens new ones."""
        await self._threads.close()
        with self._making:
            client, wire = self._client, self._wire
            self._client = self._wire = None
        if wire is not None:
            await wire.close()
        if client is not None:
            client.close()


class _DynamoWire(Wire):
    """The protocol AWS JSON 1.0: one POST per call, an answer with its CRC-32."""

    def __init__(self, credentials: Any, ca_file: str, seconds: float) -> None:
        super().__init__("dynamodb", credentials, ca_file, seconds)

    async def call(self, operation: str, arguments: dict[str, Any], action: str) -> dict[str, Any]:
        """Return a successful answer. Raises :class:`Taken`, and :class:`AskTheSdk` for any other answer."""
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        }
        data = orjson.dumps(arguments, default=_base64)
        reply = await self.ask("POST", "", headers, data, _LARGEST_ANSWER)
        # DynamoDB sends a CRC-32 of the body; a wrong one means that it was damaged in transit.
        if reply.headers.get("x-amz-crc32", "") not in {"", str(zlib.crc32(reply.body))}:
            raise AskTheSdk
        if reply.status not in {_OK, _BAD}:
            raise AskTheSdk
        try:
            answer = await lean_json.aside(
                reply.body, lambda: lean_json.loads(reply.body, lean_json.MOST_PAYLOAD_VALUES)
            )
        except orjson.JSONDecodeError:
            raise AskTheSdk from None
        if not isinstance(answer, dict):
            raise AskTheSdk
        if reply.status == _OK:
            return answer
        if str(answer.get("__type", "")).rpartition("#")[2] == _TAKEN:
            item = answer.get("Item")
            raise Taken(action, item if isinstance(item, dict) else None)
        raise AskTheSdk


def _base64(value: Any) -> str:
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    raise TypeError


def _snake(operation: str) -> str:
    """Return boto3's method name for an operation, such as ``put_item`` for ``PutItem``."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", operation).lower()


def explain(error: Exception, action: str) -> StoreError:
    """Return the :class:`StoreError` for an exception of botocore."""
    from botocore import exceptions as sdk  # noqa: PLC0415

    if isinstance(error, sdk.ClientError):
        details = error.response.get("Error", {})
        code, status = (
            str(details.get("Code", "")),
            error.response["ResponseMetadata"].get("HTTPStatusCode", 0),
        )
        # Name the permission that the failed operation needs.
        if code in {_DENIED, "UnrecognizedClientException", "InvalidSignatureException"}:
            needed = _SCAN if error.operation_name == "Scan" else _ACTIONS
            return StoreRejected(f"{action}: {code}: not allowed: the credentials need {needed}")
        kind = StoreUnavailable if code in _LATER or status >= _SERVER_ERROR else StoreRejected
        return kind(f"{action}: {code[:60]}: {str(details.get('Message', ''))[:_SHOWN]}")
    if isinstance(error, sdk.NoCredentialsError | sdk.PartialCredentialsError):
        return StoreRejected(f"{action}: there are no credentials for AWS")
    if isinstance(error, sdk.NoRegionError):
        return StoreRejected(f"{action}: there is no region: set the variable AWS_REGION")
    transient = (sdk.HTTPClientError, sdk.ConnectionError, sdk.CredentialRetrievalError, OSError)
    kind = StoreUnavailable if isinstance(error, transient) else StoreRejected
    return kind(f"{action}: {type(error).__name__}")


def encoded(value: Any) -> dict[str, Any]:
    """Return a value as a DynamoDB attribute, encoded as go-cloud does.

    An empty string becomes NULL, a float is written without exponent, a frozenset becomes a string set.
    """
    if value is None or value == "":
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, str | bytes):
        return {"S" if isinstance(value, str) else "B": value}
    if isinstance(value, float):
        # repr() is the shortest text of a float; "f" writes it without exponent, as Go's encoder does.
        text = format(Decimal(repr(value)), "f")
        return {"N": text.rstrip("0").rstrip(".") if "." in text else text}
    if isinstance(value, Mapping):
        return {"M": {key: encoded(item) for key, item in value.items()}}
    is_set = isinstance(value, frozenset)
    return {"SS": sorted(value)} if is_set else {"L": [encoded(item) for item in value]}


def decoded(value: Mapping[str, Any]) -> Any:
    """Return the value of a DynamoDB attribute."""
    (kind, content), *_ = value.items()
    if kind == "M":
        return {key: decoded(item) for key, item in content.items()}
    if kind == "L":
        return [decoded(item) for item in content]
    plain = _PLAIN.get(kind)
    return content if plain is None else plain(content)


def document_in(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an item as values."""
    return {key: decoded(value) for key, value in item.items()}
