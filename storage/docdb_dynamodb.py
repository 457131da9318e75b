"""DynamoDB for the store ``docdb``: ``dynamodb://TABLE?partition_key=Name``.

Region, credentials and endpoint come from where the AWS SDK looks. A search by digest scans the table, since
Chains' layout has no other index; give the account ``dynamodb:Scan`` for it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from storage.base import StoreError, StoreOptions, StoreRejected, StoreUnavailable
from storage.docdb import INDEX, Document, DocumentStore, parse_collection_url
from storage.shown import shown

_EXPECTED = "dynamodb://TABLE?partition_key=Name"
_KEY = "Name"
_ACTIONS = "dynamodb:PutItem, dynamodb:GetItem, dynamodb:DeleteItem and dynamodb:Scan"
_MOST_PAGES = 1000
_CONNECT_SECONDS = 10.0
_SHOWN = 200
_SERVER_ERROR = 500
_LATER = frozenset(
    (
        "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded",
        "InternalServerError", "TransactionConflictException", "ExpiredTokenException", "ServiceUnavailable",
    )
)  # fmt: skip


class DynamoStore(DocumentStore):
    """Stores records in a DynamoDB table."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        super().__init__(url, options, DynamoCollection(url, options))


class DynamoCollection:
    """A table whose partition key is ``Name``."""

    source = "dynamodb"
    largest = 400 * 1024

    def __init__(self, url: str, options: StoreOptions) -> None:
        parsed = parse_collection_url(
            url, _EXPECTED, ("partition_key", "sort_key", "allow_scans", "consistent_read", "revision_field")
        )
        if parsed.path or parsed.parameters.get("partition_key") != _KEY or parsed.parameters.get("sort_key"):
            raise StoreRejected(f"storage.docdb.url {shown(url)[:100]!r}: expected {_EXPECTED}")
        self._table, self._options = parsed.host, options
        self._making = threading.Lock()
        self._client: Any = None

    def get(self, name: str) -> Document | None:
        """Return a document, read consistently."""
        answer = self._made().get_item(TableName=self._table, Key={_KEY: {"S": name}}, ConsistentRead=True)
        item = answer.get("Item")
        return {key: _decoded(value) for key, value in item.items()} if item else None

    def put(self, document: Document) -> None:
        """Write as docstore's ``Put``."""
        item = {key: _encoded(value) for key, value in document.items()}
        self._made().put_item(TableName=self._table, Item=item)

    def delete(self, name: str) -> None:
        """Delete a document, if it is there."""
        self._made().delete_item(TableName=self._table, Key={_KEY: {"S": name}})

    def about(self, field: str, value: str) -> list[str]:
        """Scan the documents of ours."""
        found = self._scan(
            FilterExpression="contains(#field, :value)" if field == "Subjects" else "#field = :value",
            ExpressionAttributeNames={"#field": field, "#name": _KEY},
            ExpressionAttributeValues={":value": {"S": value}},
        )
        return [name for name in found if name.endswith(INDEX)]

    def names(self) -> list[str]:
        """Return the names of all documents."""
        return self._scan(ExpressionAttributeNames={"#name": _KEY})

    def _scan(self, **arguments: Any) -> list[str]:
        found: list[str] = []
        more: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            page = self._made().scan(
                TableName=self._table, ProjectionExpression="#name", ConsistentRead=True, **arguments, **more
            )
            found += [str(item[_KEY]["S"]) for item in page["Items"]]
            if "LastEvaluatedKey" not in page:
                return found
            more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        raise StoreRejected(f"table {self._table} is too large to be searched: ask for a run's UID")

    def signed(self, digest: str) -> list[str]:
        """Return nothing: DynamoDB cannot ask for a field of any element of a list."""
        del digest
        return []

    def explain(self, error: Exception, action: str) -> StoreError:
        """Return the port's error for what botocore raised."""
        from botocore import exceptions as sdk  # noqa: PLC0415

        if isinstance(error, sdk.ClientError):
            told = error.response.get("Error", {})
            code, status = (
                str(told.get("Code", "")),
                error.response["ResponseMetadata"].get("HTTPStatusCode", 0),
            )
            if code in {"AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException"}:
                return StoreRejected(f"{action}: {code}: not allowed: the credentials need {_ACTIONS}")
            kind = StoreUnavailable if code in _LATER or status >= _SERVER_ERROR else StoreRejected
            return kind(f"{action}: {code[:60]}: {str(told.get('Message', ''))[:_SHOWN]}")
        if isinstance(error, sdk.NoCredentialsError | sdk.PartialCredentialsError):
            return StoreRejected(f"{action}: there are no credentials for AWS")
        if isinstance(error, sdk.NoRegionError):
            return StoreRejected(f"{action}: there is no region: set the variable AWS_REGION")
        transient = (sdk.HTTPClientError, sdk.ConnectionError, sdk.CredentialRetrievalError, OSError)
        kind = StoreUnavailable if isinstance(error, transient) else StoreRejected
        return kind(f"{action}: {type(error).__name__}")

    def close(self) -> None:
        """Release all connections."""
        with self._making:
            client, self._client = self._client, None
        if client is not None:
            client.close()

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
        config = Config(
            connect_timeout=min(_CONNECT_SECONDS, self._options.timeout),
            read_timeout=self._options.timeout,
            retries={"mode": "standard", "total_max_attempts": self._options.attempts},
            max_pool_connections=32,
        )
        # what other AWS SDKs read, that of Tekton Chains too; botocore reads AWS_DEFAULT_REGION alone
        region = os.environ.get("AWS_REGION") or None
        return boto3.session.Session().client("dynamodb", region_name=region, config=config)


def _encoded(value: Any) -> dict[str, Any]:
    """Encode as go-cloud does: an empty string is NULL, a float has no exponent."""
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
        return {"M": {key: _encoded(one) for key, one in value.items()}}
    return {"L": [_encoded(one) for one in value]}


def _decoded(value: Mapping[str, Any]) -> Any:
    (kind, content), *_ = value.items()
    if kind == "NULL":
        return None
    if kind == "M":
        return {key: _decoded(one) for key, one in content.items()}
    if kind == "L":
        return [_decoded(one) for one in content]
    if kind == "N":
        return float(content)
    return content
