from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from storage.http_client.addresses import (
    Home,
    Zone,
    is_near,
    is_somewhere,
    resolve,
    spelled_address,
    zone_of,
    zone_of_spelling,
)


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("93.184.215.14", Zone.PUBLIC),
        ("2606:4700::1111", Zone.PUBLIC),
        ("172.15.255.255", Zone.PUBLIC),
        ("172.32.0.0", Zone.PUBLIC),
        ("10.0.0.1", Zone.PRIVATE),
        ("172.16.0.1", Zone.PRIVATE),
        ("172.31.255.255", Zone.PRIVATE),
        ("192.168.255.255", Zone.PRIVATE),
        ("100.64.0.1", Zone.PRIVATE),
        ("198.18.0.1", Zone.PRIVATE),
        ("240.0.0.1", Zone.PRIVATE),
        ("fd00::1", Zone.PRIVATE),
        ("fec0::1", Zone.PRIVATE),
        ("64:ff9b:1::1", Zone.PRIVATE),
        ("127.0.0.1", Zone.LOOPBACK),
        ("127.255.255.255", Zone.LOOPBACK),
        ("::1", Zone.LOOPBACK),
        ("169.254.1.1", Zone.LINK),
        ("fe80::1%eth0", Zone.LINK),
        ("169.254.169.254", Zone.NOWHERE),
        ("169.254.170.2", Zone.NOWHERE),
        ("168.63.129.16", Zone.NOWHERE),
        ("100.100.100.200", Zone.NOWHERE),
        ("fd00:ec2::254", Zone.NOWHERE),
        ("0.0.0.0", Zone.NOWHERE),
        ("0.1.2.3", Zone.NOWHERE),
        ("255.255.255.255", Zone.NOWHERE),
        ("224.0.0.1", Zone.NOWHERE),
        ("::", Zone.NOWHERE),
        ("ff02::1", Zone.NOWHERE),
        # what holds an IPv4 address is as near as that
        ("::ffff:93.184.215.14", Zone.PUBLIC),
        ("::ffff:10.0.0.1", Zone.PRIVATE),
        ("::ffff:127.0.0.1", Zone.LOOPBACK),
        ("::ffff:169.254.169.254", Zone.NOWHERE),
        ("::127.0.0.1", Zone.LOOPBACK),
        ("64:ff9b::93.184.215.14", Zone.PUBLIC),
        ("64:ff9b::10.0.0.1", Zone.PRIVATE),
        ("::ffff:0:10.0.0.1", Zone.PRIVATE),
        ("::ffff:0:127.0.0.1", Zone.LOOPBACK),
        ("::ffff:0:169.254.169.254", Zone.NOWHERE),
        ("::ffff:0:93.184.215.14", Zone.PUBLIC),
        ("64:ff9b::7f00:1", Zone.LOOPBACK),
        ("64:ff9b::a9fe:a9fe", Zone.NOWHERE),
        ("2002:5db8:d70e::1", Zone.PUBLIC),
        ("2002:a00:1::", Zone.PRIVATE),
        ("2002:7f00:1::", Zone.LOOPBACK),
        ("2001:0:4136:e378:8000:63bf:a247:28f1", Zone.PUBLIC),
        ("2001:0:4136:e378:8000:63bf:f5ff:fffe", Zone.PRIVATE),  # a Teredo client at 10.0.0.1
        ("2606:4700::5efe:10.0.0.1", Zone.PRIVATE),
        ("2606:4700::200:5efe:127.0.0.1", Zone.LOOPBACK),
    ],
)
def test_each_address_has_a_zone(address: str, zone: Zone) -> None:
    assert zone_of(address) is zone


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("0177.0.0.01", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("[::1]", "::1"),
        ("::ffff:127.0.0.1", "::ffff:7f00:1"),
        ("fe80::1%eth0", "fe80::1"),
        ("registry.example", ""),
        ("localhost", ""),
        ("1.2.3.4.5", ""),
        ("256.0.0.1", ""),
        ("127.0.0.1.nip.io", ""),
        ("", ""),
    ],
)
def test_an_address_is_read_however_it_is_spelled(host: str, address: str) -> None:
    assert spelled_address(host) == address


def test_a_name_is_public_until_it_is_resolved_and_localhost_is_this_machine() -> None:
    assert zone_of_spelling("registry.example") is Zone.PUBLIC
    assert zone_of_spelling("localhost") is Zone.LOOPBACK
    assert zone_of_spelling("registry.localhost") is Zone.LOOPBACK
    assert zone_of_spelling("0x0a.1") is Zone.PRIVATE


@pytest.mark.parametrize(
    ("home", "allowed"),
    [
        (Zone.PUBLIC, {Zone.PUBLIC}),
        (Zone.PRIVATE, {Zone.PUBLIC, Zone.PRIVATE}),
        (Zone.LOOPBACK, {Zone.PUBLIC, Zone.PRIVATE, Zone.LOOPBACK}),
        (Zone.LINK, {Zone.PUBLIC, Zone.PRIVATE, Zone.LINK}),
        (Zone.NOWHERE, {Zone.PUBLIC}),
    ],
)
def test_nobody_leads_nearer_than_he_is_himself(home: Zone, allowed: set[Zone]) -> None:
    addresses = {
        Zone.PUBLIC: "93.184.215.14",
        Zone.PRIVATE: "10.0.0.1",
        Zone.LOOPBACK: "127.0.0.1",
        Zone.LINK: "169.254.1.1",
        Zone.NOWHERE: "169.254.169.254",
    }
    told = {
        zone for zone, address in addresses.items() if Home("registry.example", home).may_lead_to(address)
    }
    assert told == allowed


def test_plain_http_goes_to_this_machine_and_private_networks_alone() -> None:
    assert is_near("127.0.0.1")
    assert is_near("10.0.0.1")
    assert not any(map(is_near, ("93.184.215.14", "169.254.1.1", "169.254.169.254", "0.0.0.0")))
    assert is_somewhere("169.254.1.1")
    assert not is_somewhere("169.254.169.254")


@given(st.ip_addresses())
def test_every_address_has_a_zone_and_none_with_a_private_ipv4_in_it_is_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    zone = zone_of(str(address))
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        assert zone is not Zone.PUBLIC
    if isinstance(address, ipaddress.IPv4Address):
        assert zone_of(f"::ffff:{address}") is zone
        assert zone_of(f"64:ff9b::{address}") is zone


@pytest.mark.parametrize("make_loop", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_names_are_looked_up_by_the_loop_s_own_threads_of_which_there_are_enough(
    make_loop: Callable[[], asyncio.AbstractEventLoop] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("192.0.2.1", 443))]
    together = threading.Barrier(8)

    def look_up(host: str, port: int, **kinds: int) -> list[object]:
        assert (host, port) == ("registry.example", 443)
        assert kinds == {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP}
        together.wait(60)  # nobody comes through alone
        return list(found)

    async def all_of_them() -> list[object]:
        return await asyncio.gather(*(resolve("registry.example", 443) for _ in range(8)))

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.get_loop().set_default_executor(ThreadPoolExecutor(8))
        assert runner.run(all_of_them()) == [found] * 8
