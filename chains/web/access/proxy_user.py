"""Who asks according to a reverse proxy. Its headers count only on connections from its own addresses."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

from multidict import CIMultiDictProxy

from chains.text import plain
from chains.web.access.settings import Access, Proxy
from chains.web.viewer import Viewer

_LONGEST: Final = 256
_LONGEST_GROUPS: Final = 8000


class HeaderRefused(Exception):  # noqa: N818 - named after the outcome
    """A header does not count. The text says why, and has nothing of it."""


def proxy_viewer(access: Access, proxy: Proxy, headers: CIMultiDictProxy[str], address: str) -> Viewer | None:
    """Return whom the proxy names, None if it names nobody.

    Raises :class:`HeaderRefused` for a header from elsewhere, and for one that can be read in two ways.
    """
    given = {name: headers.getall(name, []) for name in (proxy.user_header, proxy.groups_header)}
    if not is_from(proxy, address):
        sent = next((name for name, values in given.items() if values), None)
        if sent is not None:
            raise HeaderRefused(f"the header {sent} does not come from a configured proxy")
        return None
    user = _one(proxy.user_header, given)
    if not user:
        return None
    groups = [one.strip() for one in _one(proxy.groups_header, given, _LONGEST_GROUPS).split(",")]
    return Viewer(user, access.namespaces_of(user, [one for one in groups if one]))


def is_from(proxy: Proxy, address: str) -> bool:
    """Whether a connection comes from the proxy."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    # an IPv4 client of a socket for both
    mapped = getattr(found, "ipv4_mapped", None)
    found = mapped or found
    return any(found.version == network.version and found in network for network in proxy.sources)


def _one(name: str, given: Mapping[str, list[str]], longest: int = _LONGEST) -> str:
    values = given[name]
    if len(values) > 1:
        raise HeaderRefused(f"the header {name} stands there twice")
    value = values[0].strip() if values else ""
    if len(value) > longest or plain(value) != value:
        raise HeaderRefused(f"the header {name} is too long, or has characters that cannot be shown")
    return value
