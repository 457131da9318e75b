"""Maps the exceptions of the AWS SDK to :class:`StoreError`, with the next step."""

from __future__ import annotations

from typing import Any

from storage.errors import StoreError, StoreRejected, StoreUnavailable

_SHOWN = 200
"""The most characters of the SDK's message in an error."""
_OK_TO_RETRY_FROM = 500
_FORBIDDEN, _MISSING, _PRECONDITION, _TOO_MANY, _NOT_IMPLEMENTED = 403, 404, 412, 429, 501
_ACTIONS = {
    "put_object": "s3:PutObject (with object lock also s3:PutObjectRetention and s3:PutObjectLegalHold)",
    "get_object": "s3:GetObject and s3:GetObjectVersion",
    "head_object": "s3:GetObject and s3:GetObjectVersion",
    "list_objects_v2": "s3:ListBucket",
    "get_bucket_versioning": "s3:GetBucketVersioning",
    "get_object_lock_configuration": "s3:GetBucketObjectLockConfiguration",
    "put_object_retention": "s3:PutObjectRetention",
    "put_object_legal_hold": "s3:PutObjectLegalHold",
    "get_object_retention": "s3:GetObjectRetention",
    "get_object_legal_hold": "s3:GetObjectLegalHold",
    "list_object_versions": "s3:ListBucketVersions",
    "delete_object": "s3:DeleteObject and s3:DeleteObjectVersion",
}
_LATER = frozenset(
    (
        "SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "TooManyRequests", "InternalError",
        "ServiceUnavailable", "OperationAborted", "RequestLimitExceeded", "ExpiredToken",
        "ExpiredTokenException", "IDPCommunicationError",
    )
)  # fmt: skip
_ADVICE = {
    "NoSuchBucket": "there is no such bucket: create it, or correct its name",
    "RequestTimeTooSkewed": "this machine's clock is wrong: set it",
    "InvalidAccessKeyId": "the service does not know the access key: check the credentials and the endpoint",
    "SignatureDoesNotMatch": "the secret key is wrong, or a proxy changed the request",
    "PermanentRedirect": "the bucket is in another region: set storage.s3.region",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set storage.s3.region",
    "ObjectLockConfigurationNotFoundError": "object lock is off for this bucket",
}


class Missing(StoreRejected):
    """The object does not exist."""


class Exists(StoreRejected):
    """The key exists already (412)."""


class Conflict(StoreUnavailable):
    """Another writer is writing this key at the moment (409)."""


class BadDigest(StoreRejected):
    """The service received bytes that do not have the digest."""


class NotLockable(StoreRejected):
    """The bucket has no object lock."""


class Unlocked(StoreRejected):
    """The object has no lock of the kind that was asked about."""


def explain(error: Exception, operation: str, where: str) -> StoreError:
    """Return the :class:`StoreError` for an exception of ``operation`` on ``where``."""
    from botocore import exceptions as sdk  # noqa: PLC0415 - see storage.s3.client

    action = f"{operation.replace('_', ' ')} {where}"
    if isinstance(error, sdk.ClientError):
        return _answered(error.response, operation, action)
    if isinstance(error, sdk.SSLError):
        return StoreRejected(
            f"{action}: the certificate is not trusted: name its CA with storage.s3.ca-file "
            f"({str(error)[-_SHOWN:]})"
        )
    if isinstance(error, sdk.NoCredentialsError | sdk.PartialCredentialsError):
        # unavailable: the SDK does not distinguish "no credentials" from a metadata service that is down
        where = "environment, shared files, web identity and instance role"
        return StoreUnavailable(f"{action}: there are no credentials; looked in {where}")
    transient = (
        sdk.HTTPClientError,
        sdk.CredentialRetrievalError,
        sdk.MetadataRetrievalError,
        sdk.IncompleteReadError,
        sdk.ConnectionError,
        OSError,
    )
    kind = StoreUnavailable if isinstance(error, transient) else StoreRejected
    return kind(f"{action}: {type(error).__name__}: {str(error)[:_SHOWN]}")


def _answered(response: Any, operation: str, action: str) -> StoreError:
    """Return the exception for an error answer of the service."""
    details = response.get("Error", {})
    code, status = str(details.get("Code", "")), int(response["ResponseMetadata"].get("HTTPStatusCode", 0))
    detail = _ADVICE.get(code) or str(details.get("Message", ""))[:_SHOWN]
    # A 403 has many causes; unless the code names another one, name the permission that is needed.
    if status == _FORBIDDEN and code not in _ADVICE:
        detail = f"not allowed: the credentials need {_ACTIONS.get(operation, operation)}"
    return _kind(code, status, operation)(f"{action}: {status} {code[:60]}: {detail}")


def _kind(code: str, status: int, operation: str) -> type[StoreError]:
    """Return the class of the exception for an error code and status."""
    by_code: dict[object, type[StoreError]] = {
        _PRECONDITION: Exists,
        "ConditionalRequestConflict": Conflict,
        "OperationAborted": Conflict,
        "ObjectLockConfigurationNotFoundError": NotLockable,
        "NoSuchObjectLockConfiguration": Unlocked,
        "BadDigest": BadDigest,
        "NoSuchBucket": StoreRejected,
        "RequestTimeTooSkewed": StoreRejected,
        _NOT_IMPLEMENTED: StoreRejected,
    }
    # For other operations 404 means that the bucket is missing.
    if operation in {"get_object", "head_object"}:
        by_code[_MISSING] = Missing
    known = by_code.get(code) or by_code.get(status)
    if known is not None:
        return known
    may_pass = code in _LATER or status == _TOO_MANY or status >= _OK_TO_RETRY_FROM
    return StoreUnavailable if may_pass else StoreRejected
