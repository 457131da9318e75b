"""Maps the exceptions and answers of Google's APIs to :class:`StoreError`."""

from __future__ import annotations

from storage.errors import StoreError, StoreRejected, StoreUnavailable
from storage.http_client.meanings import names_rate

_SHOWN = 200
"""The most characters of the service's message in an error."""
_LATER = frozenset({0, 408, 429, 500, 502, 503, 504})
_FORBIDDEN, _UNAUTHORIZED = 403, 401


def explain_google(error: Exception, action: str, permission: str) -> StoreError:
    """Return the :class:`StoreError` for an exception of ``action``; ``permission`` is what it needs."""
    from google.api_core import exceptions as api  # noqa: PLC0415 - see storage.gcs
    from google.auth import exceptions as auth  # noqa: PLC0415

    if isinstance(error, auth.DefaultCredentialsError):
        return StoreRejected(
            f"{action}: there are no credentials: set GOOGLE_APPLICATION_CREDENTIALS, or use "
            "workload identity"
        )
    if isinstance(error, auth.GoogleAuthError):
        kind = StoreUnavailable if getattr(error, "retryable", False) else StoreRejected
        return kind(f"{action}: no token for the credentials ({type(error).__name__})")
    if isinstance(error, api.RetryError):
        return StoreUnavailable(f"{action}: no answer in time ({type(error.cause).__name__})")
    if isinstance(error, api.GoogleAPICallError):
        return answered(int(error.code or 0), str(error.message or ""), action, permission)
    transient = isinstance(error, OSError | TimeoutError)  # the exceptions of requests are OSErrors too
    kind = StoreUnavailable if transient else StoreRejected
    return kind(f"{action}: {type(error).__name__}")


def answered(status: int, message: str, action: str, permission: str) -> StoreError:
    """Return the :class:`StoreError` for an error answer of a Google API."""
    # Google also answers 403 when a rate limit is exceeded; only the text tells the two apart.
    if status == _FORBIDDEN and not names_rate(message):
        detail = f" ({message[:_SHOWN]})" if message else ""
        return StoreRejected(f"{action}: 403: not allowed: the account needs {permission}{detail}")
    if status == _UNAUTHORIZED:
        return StoreRejected(f"{action}: 401: the credentials are not accepted")
    kind = StoreUnavailable if status in _LATER or status == _FORBIDDEN else StoreRejected
    return kind(f"{action}: {status}: {message[:_SHOWN]}")
