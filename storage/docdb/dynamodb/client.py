"""Calls of DynamoDB over :mod:`storage.aws_wire`; what is no plain success goes by the SDK.

Items are in the service's own JSON, binary values as bytes or base64: :func:`decoded` reads both.
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
_SHOWN = 200
_OK, _BAD, _SERVER_ERROR = 200, 400, 500
_LARGEST_ANSWER = 16 * 1024 * 1024
"""Bytes: the service gives 4 MiB of items, a third more as base64, and names beside them."""
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
    """The condition of a write does not hold; ``item`` is what is there, None where that was not told."""

    def __init__(self, action: str, item: Mapping[str, Any] | None) -> None:
        super().__init__(f"{action}: somebody else writes it again and again")
        self.item = item


class NotTogether(StoreRejected):
    """Several items cannot be read together: somebody writes one, they are large, or it is not allowed."""


class DynamoClient:
    """One account's DynamoDB; use from one event loop. Methods raise :class:`StoreError`."""

    def __init__(self, options: StoreOptions) -> None:
        self._options = options
        self._threads = Blocking("docdb", explain)
        self._making = threading.Lock()
        self._client: Any = None
        self._wire: _DynamoWire | None = None

    async def call(self, operation: str, arguments: dict[str, Any], action: str) -> dict[str, Any]:
        """Return the answer to ``operation`` (``PutItem``), which must be one that may be carried out twice.

        Raises also :class:`Taken`, and :class:`NotTogether` for ``TransactGetItems``.
        """
        if self._wire is not None:
            with suppress(AskTheSdk):
                return await self._wire.call(operation, arguments, action)
        return await self._threads.run(action, lambda: self._by_sdk(operation, arguments, action))

    def _by_sdk(self, operation: str, arguments: dict[str, Any], action: str) -> dict[str, Any]:
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
        told = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        # botocore takes JSON that it cannot read for an answer that says nothing, which would mean "absent"
        if not answer.keys() - {"ResponseMetadata"} and int(told.get("content-length", 0)) > len("{}"):
            raise StoreUnavailable(f"{action}: the answer makes no sense")
        return answer

    def _made(self) -> Any:
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
        # what other AWS SDKs read, that of Tekton Chains too; botocore reads AWS_DEFAULT_REGION alone
        region = os.environ.get("AWS_REGION") or None
        session = boto3.session.Session()
        client = session.client("dynamodb", region_name=region, config=config)
        credentials = session.get_credentials()
        if credentials is not None:
            self._wire = wire = _DynamoWire(credentials, ca_file_of_sdk(), options.timeout)
            client.meta.events.register("before-send.dynamodb", lambda request, **_: wire.learn(request, ""))
        return client

    async def close(self) -> None:
        """Release threads and connections; a later call opens them again."""
        await self._threads.close()
        with self._making:
            client, wire = self._client, self._wire
            self._client = self._wire = None
        if wire is not None:
            await wire.close()
        if client is not None:
            client.close()


class _DynamoWire(Wire):
    """The protocol ``JSON 1.0`` of AWS: one POST for each call, an answer with its CRC-32."""

    def __init__(self, credentials: Any, ca_file: str, seconds: float) -> None:
        super().__init__("dynamodb", credentials, ca_file, seconds)

    async def call(self, operation: str, arguments: dict[str, Any], action: str) -> dict[str, Any]:
        """Return a good answer. Raises :class:`Taken`, and :class:`AskTheSdk` for any other."""
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": f"DynamoDB_20120810.{operation}",
        }
        data = orjson.dumps(arguments, default=_base64)
        found = await self.ask("POST", "", headers, data, _LARGEST_ANSWER)
        if found.headers.get("x-amz-crc32", "") not in {"", str(zlib.crc32(found.body))}:
            raise AskTheSdk
        if found.status not in {_OK, _BAD}:
            raise AskTheSdk
        try:
            answer = await lean_json.aside(
                found.body, lambda: lean_json.loads(found.body, lean_json.MOST_PAYLOAD_VALUES)
            )
        except orjson.JSONDecodeError:
            raise AskTheSdk from None
        if not isinstance(answer, dict):
            raise AskTheSdk
        if found.status == _OK:
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
    return re.sub(r"(?<!^)([A-Z])", r"_\1", operation).lower()


def explain(error: Exception, action: str) -> StoreError:
    """Return the port's error for what botocore raised."""
    from botocore import exceptions as sdk  # noqa: PLC0415

    if isinstance(error, sdk.ClientError):
        told = error.response.get("Error", {})
        code, status = str(told.get("Code", "")), error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
        if code in {_DENIED, "UnrecognizedClientException", "InvalidSignatureException"}:
            needed = _SCAN if error.operation_name == "Scan" else _ACTIONS
            return StoreRejected(f"{action}: {code}: not allowed: the credentials need {needed}")
        kind = StoreUnavailable if code in _LATER or status >= _SERVER_ERROR else StoreRejected
        return kind(f"{action}: {code[:60]}: {str(told.get('Message', ''))[:_SHOWN]}")
    if isinstance(error, sdk.NoCredentialsError | sdk.PartialCredentialsError):
        return StoreRejected(f"{action}: there are no credentials for AWS")
    if isinstance(error, sdk.NoRegionError):
        return StoreRejected(f"{action}: there is no region: set the variable AWS_REGION")
    transient = (sdk.HTTPClientError, sdk.ConnectionError, sdk.CredentialRetrievalError, OSError)
    kind = StoreUnavailable if isinstance(error, transient) else StoreRejected
    return kind(f"{action}: {type(error).__name__}")


def encoded(value: Any) -> dict[str, Any]:
    """Encode as go-cloud does: an empty string is NULL, a float has no exponent. A set is one of strings."""
    if value is None or value == "":
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, str | bytes):
        return {"S" if isinstance(value, str) else "B": value}
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f")
        return {"N": text.rstrip("0").rstrip(".") if "." in text else text}
    if isinstance(value, Mapping):
        return {"M": {key: encoded(one) for key, one in value.items()}}
    is_set = isinstance(value, frozenset)
    return {"SS": sorted(value)} if is_set else {"L": [encoded(one) for one in value]}


def decoded(value: Mapping[str, Any]) -> Any:
    """Return what an attribute holds."""
    (kind, content), *_ = value.items()
    if kind == "M":
        return {key: decoded(one) for key, one in content.items()}
    if kind == "L":
        return [decoded(one) for one in content]
    plain = _PLAIN.get(kind)
    return content if plain is None else plain(content)


def document_in(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item's fields."""
    return {key: decoded(value) for key, value in item.items()}
