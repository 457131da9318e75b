"""One request to a registry, and what its answer means: where a redirect may lead, and what is a refusal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import urljoin

from yarl import URL

from storage.errors import BadContent, StoreRejected
from storage.formats.manifests import MANIFEST_LIMIT
from storage.formats.reference import Repository
from storage.http_client.answer import Answer
from storage.http_client.attempts import Later
from storage.http_client.meanings import is_busy, next_step
from storage.oci.login import FORBIDDEN, UNAUTHORIZED
from storage.oci.tokens import Authorization

_CLIENT_ERROR = 400
_BLOB_IS_GONE = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"})
NO_REPOSITORY = "NAME_UNKNOWN"
KEEPS_METHOD = frozenset({307, 308})


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a repository. ``purpose`` names it in errors, such as ``read manifest sha256:…``."""

    repository: Repository
    method: str
    path: str
    """Relative to ``/v2/NAME/`` and already percent-encoded, or an absolute URL from the registry.

    With a slash in front it is relative to ``/v2``."""
    purpose: str
    push: bool = False
    prompt: bool = False
    """Whether it must not wait behind uploads, because no other write may happen in between."""
    data: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    limit: int = MANIFEST_LIMIT
    passes: frozenset[int] = frozenset()
    """Statuses of 400 and above that are returned instead of raised."""
    before_retry: Callable[[], Awaitable[None]] | None = None
    """Awaited before each further try. It raises if another try would do harm."""

    def __str__(self) -> str:
        return f"cannot {self.purpose} in {self.repository}"


class RegistryRefused(StoreRejected):
    """The registry refused a request. ``codes`` are its error codes, such as ``MANIFEST_BLOB_UNKNOWN``."""

    def __init__(self, reason: str, codes: Iterable[str] = (), status: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.codes = frozenset(codes)
        if NO_REPOSITORY in self.codes:
            self.absence = "certain"
        elif status in {UNAUTHORIZED, FORBIDDEN}:
            self.absence = "possible"

    @property
    def misses_blob(self) -> bool:
        """Whether the registry lacks a blob of the manifest that was written."""
        return not self.codes.isdisjoint(_BLOB_IS_GONE)


def same_origin(one: URL, other: URL) -> bool:
    """Whether two URLs have the same scheme, host and port; ``https://a`` equals ``https://a:443``."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def resolve(base: URL, location: str) -> URL:
    """Resolve a ``Location`` header without changing its percent-encoding.

    Raises :class:`BadContent` if the result is not an http or https URL.
    """
    try:
        url = URL(urljoin(str(base), location), encoded=True)
        _ = url.port  # yarl parses the port on access; an invalid one raises here
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise BadContent(f"{base.host} leads to something that is not an http or https URL")
    return url


def redirected(request: Request, answer: Answer, url: URL, target: str) -> URL:
    """Return where a redirect leads. Raises :class:`StoreRejected` if the request must not follow it.

    A write follows only 307 and 308, which keep method and body (RFC 9110, section 15.4), and only within one
    origin.
    """
    following = resolve(url, target)
    if request.method in {"GET", "HEAD"}:
        return following
    if answer.status not in KEEPS_METHOD:
        why = f"{answer.status} turns it into a GET"
    elif not same_origin(following, url):
        why = "it leads to another origin"
    else:
        return following
    raise StoreRejected(f"{request}: the registry redirects a {request.method}: refused, as {why}")


def judged(
    request: Request, answer: Answer, authorization: Authorization | None, *, refused: bool = False
) -> Answer:
    """Return an answer that the caller or, with ``refused``, the next attempt handles; else raise."""
    status = answer.status
    if status < _CLIENT_ERROR or status in request.passes or refused:
        return answer
    text = answer.text
    if is_busy(answer, request.repository.name):
        raise Later(text, answer.retry_after)
    if status in {UNAUTHORIZED, FORBIDDEN}:
        source = authorization.source if authorization else "none, because it asked for none that is known"
        right = "push to" if request.push else "read"
        text += f"; credentials tried: {source}; they must be allowed to {right} {request.repository}"
    codes = {code for code, _ in answer.words}
    step = next_step(request.method, request.path, status, codes)
    raise RegistryRefused(f"{request}: {text}{'; ' if step else ''}{step}", codes, status)
