"""Decides whether a registry is near enough to try plain HTTP."""

from __future__ import annotations

import ipaddress

from storage.formats.reference import registry_host


def may_be_plain_http(registry: str) -> bool:
    """Whether plain HTTP is tried if ``registry`` does not use TLS. ``https`` is tried first.

    The rule is that of go-containerregistry (loopback, ``localhost``, ``*.localhost``, RFC 1918 addresses),
    but with all of 127.0.0.0/8 instead of 127.0.0.1.
    """
    host = registry_host(registry)
    if is_loopback(host):
        return True
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return any(address in network for network in _RFC1918)


def is_loopback(host: str) -> bool:
    """Whether ``host`` (no port, no brackets) is this machine, by its name or address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


_RFC1918 = tuple(ipaddress.ip_network(net) for net in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
