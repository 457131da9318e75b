"""Classifies addresses (internet, private network, this machine), and decides where a registry may lead.

A registry names its token server, and where uploads and blobs are. It may lead to the internet, and to
addresses that are not nearer to this process than it is itself. So it must not lead from the internet into
the cluster, nor from the cluster to this machine. Nobody may lead to the services that give a machine its
credentials. The decision uses the address that is connected to, not the host's name: a name can resolve to
any address, and to another one a moment later.

Sources: IANA's special-purpose registries for IPv4 (RFC 6890) and IPv6; RFC 4291 section 2.5.5 (mapped and
compatible addresses), RFC 6052 and RFC 8215 (NAT64), RFC 2765 (SIIT), RFC 3056 (6to4), RFC 4380 (Teredo), RFC
5214 (ISATAP).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache, partial

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Allows = Callable[[str], bool]
"""Whether a connection to an address (as text) is allowed."""


class Zone(IntEnum):
    """How near an address is, in ascending order."""

    PUBLIC = 0
    PRIVATE = 1
    """A private network, or a reserved range."""
    LOOPBACK = 2
    """This machine."""
    LINK = 3
    """The link-local network, where nodes and clouds provide services for this machine only."""
    NOWHERE = 4
    """Never connected to: unspecified, multicast and broadcast addresses, and the services that give a
    machine its credentials."""


def _networks(*texts: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


# The first zone that contains an address counts.
_ZONES: tuple[tuple[Zone, tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]], ...] = (
    (
        Zone.NOWHERE,
        _networks(
            "0.0.0.0/8",
            "255.255.255.255/32",
            "224.0.0.0/4",
            "::/128",
            "ff00::/8",
            "169.254.169.254/32",  # metadata of most clouds
            "169.254.170.2/32",  # credentials of AWS ECS tasks
            "169.254.170.23/32",  # credentials of AWS EKS pods
            "100.100.100.200/32",  # metadata of Alibaba Cloud
            "168.63.129.16/32",  # the platform's services of Azure
            "192.0.0.192/32",  # metadata of Oracle Cloud
            "fd00:ec2::254/128",  # AWS
            "fd00:ec2::23/128",  # AWS EKS
            "fd20:ce::254/128",  # Google Cloud
            "fd00:42::42/128",  # Scaleway
        ),
    ),
    (Zone.LOOPBACK, _networks("127.0.0.0/8", "::1/128")),
    (Zone.LINK, _networks("169.254.0.0/16", "fe80::/10")),
    (
        Zone.PRIVATE,
        _networks(
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "240.0.0.0/4",
            "fc00::/7",
            "fec0::/10",
            "64:ff9b:1::/48",  # NAT64 for local use: its operator decides where it leads
            "100::/64",
            "2001:db8::/32",
            "3fff::/20",
            "5f00::/16",
        ),
    ),
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


@lru_cache(maxsize=4096)
def zone_of(text: str) -> Zone:
    """Return the zone of an address; if an IPv6 address contains an IPv4 address, the nearer zone of both.

    Raises :class:`ValueError` for text that is not an address.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    contained = _held(address)
    return max(map(_zone, (address, *contained)))


def _zone(address: Address) -> Zone:
    """Return the zone of an address, without IPv4 addresses in it."""
    for zone, networks in _ZONES:
        if any(address in network for network in networks):
            return zone
    return Zone.PUBLIC


def _held(address: Address) -> tuple[ipaddress.IPv4Address, ...]:
    """Return the IPv4 addresses to which packets for an IPv6 address may be sent."""
    if isinstance(address, ipaddress.IPv4Address):
        return ()
    named = address.ipv4_mapped or address.sixtofour
    if named is not None:
        return (named,)
    if address.teredo is not None:
        return address.teredo
    number = int(address)
    # :: and ::1 are in the range but contain no IPv4 address.
    is_compatible = address in _COMPATIBLE and number > 1
    if is_compatible or address in _NAT64 or address in _TRANSLATED or number >> 32 & 0xFFFFFFFF in _ISATAP:
        return (ipaddress.IPv4Address(number & 0xFFFFFFFF),)
    return ()


def spelled_address(host: str) -> str:
    """Return the address that ``host`` spells in any form that the C library accepts; ``""`` for a name.

    ``2130706433``, ``0x7f.1``, ``017700000001`` and ``127.0.0.1.`` all mean 127.0.0.1.
    """
    bare = host.strip("[]").rstrip(".")
    try:
        return str(ipaddress.ip_address(bare.partition("%")[0]))
    except ValueError:
        pass
    try:
        # Like getaddrinfo, inet_aton accepts one to four numbers, each decimal, octal or hexadecimal.
        return str(ipaddress.IPv4Address(socket.inet_aton(bare)))
    except (OSError, ValueError):
        return ""


_LEADS = {
    Zone.PUBLIC: {Zone.PUBLIC},
    Zone.PRIVATE: {Zone.PUBLIC, Zone.PRIVATE},
    Zone.LOOPBACK: {Zone.PUBLIC, Zone.PRIVATE, Zone.LOOPBACK},
    Zone.LINK: {Zone.PUBLIC, Zone.PRIVATE, Zone.LINK},
    Zone.NOWHERE: {Zone.PUBLIC},
}


@dataclass(frozen=True, slots=True)
class Home:
    """Where a registry was reached. It decides where the registry may lead."""

    host: str
    """Without port and brackets, in lower case."""
    zone: Zone
    """The zone of the address that was last connected to."""
    plain: bool = False
    """Whether it does not use TLS."""
    keeps_secrets: bool = True
    """Whether credentials may be sent there: over TLS, to this machine, or if the user allowed plain HTTP."""

    def may_lead_to(self, address: str) -> bool:
        """Whether the registry may lead to ``address``, which must be an address and not a name."""
        return zone_of(address) in _LEADS[self.zone]


def zone_of_spelling(host: str) -> Zone:
    """Return the zone of a host by its spelling; a name counts as public."""
    if host == "localhost" or host.endswith(".localhost"):
        return Zone.LOOPBACK
    address = spelled_address(host)
    return zone_of(address) if address else Zone.PUBLIC


def is_somewhere(address: str) -> bool:
    """Whether requests may be sent to ``address`` at all."""
    return zone_of(address) is not Zone.NOWHERE


def is_near(address: str) -> bool:
    """Whether plain HTTP is allowed to ``address`` by default: this machine and private networks."""
    return zone_of(address) in {Zone.PRIVATE, Zone.LOOPBACK}


class Refused(Exception):  # noqa: N818 - named after the outcome
    """No address of a host is allowed. ``address`` is the first of them."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.address = address

    @property
    def reason(self) -> str:
        """The reason, for an error."""
        kind = {
            Zone.PRIVATE: "is in a private network",
            Zone.LOOPBACK: "is this machine",
            Zone.LINK: "is link-local",
            Zone.NOWHERE: "must not be connected to",
        }.get(zone_of(self.address), "is not near")
        return f"its address {self.address} {kind}: refused"


AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]


async def resolve(host: str, port: int) -> list[AddressInfo]:
    """Return the addresses of a host, as ``getaddrinfo`` does. Raises :class:`OSError`."""
    look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    # Not loop.getaddrinfo: under uvloop it has two threads, and a silent name server would hold both.
    found = await asyncio.get_running_loop().run_in_executor(None, look_up)
    return list(found)  # type: ignore[arg-type] # its type is that of every family and kind of socket
