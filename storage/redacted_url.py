"""Removes users, passwords and secrets in queries from store URLs, so that they can be shown.

No store accepts a password in its URL. Users try it nevertheless, and the error must not show it.
"""

from __future__ import annotations

import re

HIDDEN = "***"
_SHORTEST_PART = 3
"""Shorter parts of a password are not hidden: they occur in ordinary words."""
_FOLDERS = ("file:", "oci-layout:")
"""Schemes whose rest is a path, in which any character may be part of a name."""
_SECRETS = re.compile(
    # User and password; a password may contain slashes, and "@sha256:" precedes an image's digest.
    r"(?<=://)(?P<user>[^\s?#]*)(?=@(?!sha\d+:))"
    r"|^[\w.+-]+:(?!//)(?P<bare>[^\s/@:]*:[^\s@]*)(?=@(?!sha\d+:))"
    r"|[?&;][^=&;#\s]*(?:passw|pwd|secret|token|credential|signature|auth|(?:access|api|private|account)[-_.]?key)"
    r"[^=&;#\s]*=(?P<value>[^&;#\s]+)"
    r"|[?&;](?:sig|x-amz-[\w-]+)=(?P<signed>[^&;#\s]+)",
    re.IGNORECASE,
)


def secrets_in(url: str) -> list[str]:
    """Return the parts of a store URL that must not be shown, the longest first."""
    if url.startswith(_FOLDERS):
        return []
    secrets = (part for match in _SECRETS.finditer(url) for part in match.groups() if part)
    return sorted(secrets, key=len, reverse=True)


def shown(url: str) -> str:
    """Return ``url`` with :data:`HIDDEN` in place of what must not be shown."""
    return without(url, secrets_in(url))


def without(text: str, secrets: list[str]) -> str:
    """Return ``text`` with :data:`HIDDEN` in place of each of ``secrets`` and of parts of passwords.

    An error may contain only a part of a password, because parsers split a URL at ``/`` and ``@``.
    """
    for secret in secrets:
        # "user:password" is hidden as a whole, and its password also where it appears alone.
        password = secret.partition(":")[2] or secret
        parts = [part for part in re.split(r"[/@]", password) if len(part) >= _SHORTEST_PART]
        for hidden in (secret, password, *parts):
            text = text.replace(hidden, HIDDEN)
    return text


_USER = re.compile(r"//[^\s/'\"]*@")


def without_credentials(text: str) -> str:
    """Return ``text`` without user and password of any URL in it, fit for annotations and metrics."""
    return _USER.sub("//", text)
