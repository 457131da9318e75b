"""The meanings of answers. A status code has several meanings, and registries differ.

The table with sources is in ``docs/registries.md``; ``tests/unit/storage/oci/test_registry_answers.py`` has a
case for each of its rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from http import HTTPStatus

from storage.http_client.answer import Answer

_TOO_MANY = "TOOMANYREQUESTS"
_RATE = re.compile(
    r"\brate[ -]?limit(?:s|ed|ing)?\b|ratelimitexceeded\b|\brate exceeded\b"
    r"|\btoo ?many ?requests\b|\bthrottl(?:ed|ing)\b",
    re.IGNORECASE,
)
_NOT_MADE = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.HTTP_VERSION_NOT_SUPPORTED})
_BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_RULES = frozenset({HTTPStatus.PRECONDITION_FAILED, HTTPStatus.CONFLICT})
_TAG_RULE = "TAG_INVALID"
_EXEMPT = "exempt tags that begin with sha256-, or name another repository in storage.oci.repository"
_STEPS: dict[int, str] = {
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "the registry takes no writes here (locked, read-only, or a mirror): unlock it, or name another "
        "repository in storage.oci.repository"
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "raise the limit of the registry, or of the proxy before it",
}
_WRITES = frozenset({"PUT", "POST", "PATCH"})


def may_pass(status: int) -> bool:
    """Whether a later request may get another answer than this status, whatever the text says."""
    return status in _BUSY or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status not in _NOT_MADE)


def is_busy(answer: Answer, name: str) -> bool:
    """Whether an answer means "later" and not a refusal.

    Some registries answer 403 when they limit the rate. This is recognised by ``Retry-After``, by the code
    ``TOOMANYREQUESTS`` and, since GitHub sends neither, by the text (:func:`names_rate`, the only place where
    text decides). ``name`` is the repository's name, which is ignored in the text because it may contain such
    words.
    """
    if may_pass(answer.status):
        return True
    if answer.status != HTTPStatus.FORBIDDEN:
        return False
    if "Retry-After" in answer.headers:
        return True
    return any(code == _TOO_MANY or names_rate(message.replace(name, "")) for code, message in answer.words)


def names_rate(text: str) -> bool:
    """Whether the text of a refusal names a rate limit."""
    return _RATE.search(text) is not None


def next_step(method: str, path: str, status: int, codes: Collection[str]) -> str:
    """Return the next step after a refused write; ``""`` if the registry's text must be enough."""
    if method not in _WRITES:
        return ""
    if status in _RULES or _TAG_RULE in codes:
        return f"a rule of the registry keeps it from being written (immutable tags, or a policy): {_EXEMPT}"
    # Writing by digest is never subject to a rule about tags.
    is_tag = "/manifests/" in f"/{path}" and "sha256:" not in path
    if status == HTTPStatus.BAD_REQUEST and is_tag and any(codes):
        return f"where a tag may be written only once (no re-deployment), {_EXEMPT}"
    if "NAME_UNKNOWN" in codes:
        return "create the repository: this registry makes none by itself"
    return _STEPS.get(status, "")
