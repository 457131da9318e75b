"""URLs of stores as they may be shown: without users, passwords, and what looks like a secret in a query.

No store takes a password in its URL; people try, and the refusal must not print it.
"""

from __future__ import annotations

import re

HIDDEN = "***"
_SHORTEST_PART = 3
_FOLDERS = ("file:", "oci-layout:")
"""What follows is a path, where everything may be in a name."""
_SECRETS = re.compile(
    # user and password; a password may hold slashes, and an image's digest comes behind an @ too
    r"(?<=://)(?P<user>[^\s?#]*)(?=@(?!sha\d+:))"
    r"|^[\w.+-]+:(?!//)(?P<bare>[^\s/@:]*:[^\s@]*)(?=@(?!sha\d+:))"
    r"|[?&;][^=&;#\s]*(?:passw|pwd|secret|token|credential|signature|auth|(?:access|api|private|account)[-_.]?key)"
    r"[^=&;#\s]*=(?P<value>[^&;#\s]+)"
    r"|[?&;](?:sig|x-amz-[\w-]+)=(?P<signed>[^&;#\s]+)",
    re.IGNORECASE,
)


def secrets_in(url: str) -> list[str]:
    """Return the parts of a store's URL that must not be shown, the longest first."""
    if url.startswith(_FOLDERS):
        return []
    found = (part for match in _SECRETS.finditer(url) for part in match.groups() if part)
    return sorted(found, key=len, reverse=True)


def shown(url: str) -> str:
    """Return ``url`` with :data:`HIDDEN` in the place of what must not be shown."""
    return without(url, secrets_in(url))


def without(text: str, secrets: list[str]) -> str:
    """Return ``text`` with :data:`HIDDEN` in the place of each of ``secrets``, and of parts of a password."""
    for secret in secrets:
        password = secret.partition(":")[2] or secret
        parts = [part for part in re.split(r"[/@]", password) if len(part) >= _SHORTEST_PART]
        for hidden in (secret, password, *parts):
            text = text.replace(hidden, HIDDEN)
    return text


_USER = re.compile(r"//[^\s/'\"]*@")


def without_credentials(text: str) -> str:
    """Return a text without the user and password of any URL in it: it is told on runs and in metrics."""
    return _USER.sub("//", text)
