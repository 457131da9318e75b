"""Names of git repositories in one canonical spelling, so that equal ones compare equal. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

SCHEMES = {"https": 443, "http": 80, "ssh": 22, "git": 9418}
"""The schemes of repositories, with their own ports."""
_SCP = re.compile(r"(?:[A-Za-z0-9._-]+@)?(?P<host>[A-Za-z0-9.-]+):(?P<path>[^/:][^:]*)")
_PLACE = re.compile(r"(?:[A-Za-z0-9._~:%+-]*@)?(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~+-]+)+")
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Source:
    """A repository as ``git+SCHEME://HOST/PATH`` without ``.git``, and the ref that its URI names, if any."""

    uri: str
    ref: str = ""

    def __str__(self) -> str:
        return f"{self.uri}@{self.ref}" if self.ref else self.uri


def canonical(text: str) -> Source | None:
    """Return the canonical spelling of a repository's URI, ``None`` for what is none.

    The host is put in lower case; user names, the scheme's own port, ``.git`` and a slash at the end are left
    out; ``git@host:path`` is ``git+ssh``. ``@REF`` after the path is the ref. A path with ``..``, escapes, a
    query or a fragment has more than one reading and is refused.
    """
    head, separator, rest = _spelled_out(text).partition("://")
    # a ref may hold slashes; a user name stands before the first one
    place, slash, path = rest.partition("/")
    path, _, ref = path.partition("@")
    # urlsplit() leaves out blanks before the scheme, and line ends and tabs everywhere
    if not separator or _PLACE.fullmatch(place) is None or any(char <= " " for char in head + path):
        return None
    try:
        parts = urlsplit(f"{head}{separator}{place}{slash}{path}")
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme.lower(), (parts.hostname or "").lower()
    name = parts.path.rstrip("/").removesuffix(".git").rstrip("/")
    is_plain = not parts.query and not parts.fragment and not {".", ".."} & set(name.split("/"))
    if scheme not in SCHEMES or not host or not is_plain or _PATH.fullmatch(name) is None:
        return None
    own = "" if port in {None, SCHEMES[scheme]} else f":{port}"
    host = f"[{host}]" if ":" in host else host
    return Source(f"git+{scheme}://{host}{own}{name}", ref)


def _spelled_out(text: str) -> str:
    """Return a URI without ``git+``, and ``user@host:path`` as a URI; empty for what is too long."""
    bare = text.removeprefix("git+") if len(text) <= _LONGEST else ""
    match = _SCP.fullmatch(bare) if "://" not in bare else None
    return f"ssh://{match['host']}/{match['path']}" if match else bare
