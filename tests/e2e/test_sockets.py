"""Steps that open sockets in every direction: what came through, and what the report says of the network.

Both ends tell: the step, and a server beside the node that the step asks, or that calls the step. And the kernel
shows which network each process had.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.manifests import REPORTED, enforced, step, task_run, told, told_of_run, written
from tests.testbed.node import seen
from tests.testbed.node.cluster import Node

pytestmark = pytest.mark.server
Json = Any
WAYS = ("tcp", "dns", "inbound")
PORT = 8080
LOOK = """
dns=none; push resolve $NAME.tests.example && dns=open
tcp=none; push dial $OUTSIDE && tcp=open
inbound=none; push listen :8080 /tmp/go && inbound=open
printf $tcp > $(results.tcp.path)
printf $dns > $(results.dns.path)
printf $inbound > $(results.inbound.path)
"""
OPEN, CLOSED = dict.fromkeys(WAYS, "open"), dict.fromkeys(WAYS, "none")
CASES = {
    # what the sockets did, the level, and whether the report says that the step was without a network
    "plain": (OPEN, "not-requested", "false"),
    "hermetic": (CLOSED, "enforced", "true"),
    "defeated": (OPEN, "requested-only", "false"),
}


@dataclass
class Outside:
    """A TCP and a DNS server beside the node, which note who asked."""

    address: str
    port: int = 0
    callers: set[str] = field(default_factory=set)
    """Addresses of who connected."""
    names: set[str] = field(default_factory=set)
    """Names that were asked for."""

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, (caller, _) = server.accept()
            except OSError:
                return
            self.callers.add(caller)
            with connection:
                connection.sendall(b"hello from outside")

    def _answer(self, server: socket.socket) -> None:
        while True:
            try:
                query, client = server.recvfrom(512)
            except OSError:
                return
            if not query:
                return
            name, question = _question(query)
            self.names.add(name)
            is_address = query[question - 4 : question - 2] == b"\0\1"
            # one address, or none for another type than A
            head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_address else b"\0\0") + b"\0\0\0\0"
            record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4" + socket.inet_aton("192.0.2.7")
            server.sendto(head + query[12:question] + (record if is_address else b""), client)


def _question(query: bytes) -> tuple[str, int]:
    """Return the name in a DNS query and where its question ends (RFC 1035, 4.1.2)."""
    labels, at = [], 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode())
        at += 1 + length
    return ".".join(labels), at + 5


@contextmanager
def outside(address: str) -> Iterator[Outside]:
    """Serve beside the node for the length of the block, DNS on its own port."""
    made = Outside(address)
    with ExitStack() as stack:
        tcp = stack.enter_context(socket.create_server((address, 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind((address, 53))
        made.port = tcp.getsockname()[1]
        threads = [
            threading.Thread(target=made._accept, args=(tcp,)),
            threading.Thread(target=made._answer, args=(udp,)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield made
        finally:
            with suppress(OSError):
                tcp.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                udp.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


@dataclass(frozen=True, slots=True)
class Tried:
    """A run of which the sockets were tried."""

    run: Json
    address: str
    """The pod's."""
    called: bool
    """Whether somebody outside reached the step."""
    networks: dict[str, set[str]]
    """Interfaces of each of the container's processes, by name."""


@pytest.fixture(scope="module")
def server(node: Node) -> Iterator[Outside]:
    with outside(node.services.network.host) as made:
        yield made


@pytest.fixture(scope="module")
def tried(node: Node, server: Outside) -> dict[str, Tried]:
    namespace = node.namespace("sockets")
    results = {"results": [{"name": way} for way in WAYS]}
    runs = []
    for name, (_, level, _) in CASES.items():
        variables = [
            {"name": "NAME", "value": name},
            {"name": "OUTSIDE", "value": f"{server.address}:{server.port}"},
        ]
        run = task_run(name, step("look", LOOK, env=variables), task=results)
        if level == "not-requested":
            del run["metadata"]["annotations"]
        template = run["spec"]["podTemplate"]
        template["env"][0]["value"] = "x" if level == "requested-only" else ""
        template |= {"dnsPolicy": "None", "dnsConfig": {"nameservers": [server.address]}}
        runs.append(run)
    with node.configured(REPORTED):
        node.apply(namespace, written(*runs))
        found = {name: _call(node, namespace, name) for name in CASES}
        return {name: Tried(node.marked("TaskRun", namespace, name), *one) for name, one in found.items()}


def _call(node: Node, namespace: str, name: str) -> tuple[str, bool, dict[str, set[str]]]:
    """Wait until a step listens, look at its processes, call it, and let it end."""
    found: list[Json] = []

    def listens() -> bool:
        run = node.run("TaskRun", namespace, name)
        if not run.get("status", {}).get("podName"):
            return False
        found[:] = [node.pod_of(run)]
        states = found[0]["status"].get("containerStatuses", ())
        if not any("running" in each["state"] for each in states):
            return False
        return "listening" in node.kubectl(
            "-n", namespace, "logs", found[0]["metadata"]["name"], "-c", "step-look"
        )

    node.wait(listens, f"{name} listens")
    (pod,) = found
    (status,) = pod["status"]["containerStatuses"]
    networks = {
        command: seen.interfaces(pid) for pid, command in seen.processes(status["containerID"]).items()
    }
    address = pod["status"]["podIP"]
    try:
        with socket.create_connection((address, PORT), 3) as connection:
            connection.sendall(b"hello to you")
        called = True
    except OSError:
        called = False
        node.kubectl(
            "-n", namespace, "exec", pod["metadata"]["name"], "-c", "step-look", "--", "touch", "/tmp/go"
        )
    return address, called, networks


@pytest.mark.parametrize("name", CASES)
def test_what_came_through_is_what_the_report_says(
    node: Node, server: Outside, tried: dict[str, Tried], name: str
) -> None:
    one = tried[name]
    through, level, without = CASES[name]
    assert one.run["status"]["conditions"][0]["status"] == "True"
    # by the step, and by the other ends
    assert {each["name"]: each["value"] for each in one.run["status"]["results"]} == through
    assert ("open" if one.called else "none") == through["inbound"]
    assert ("open" if one.address in server.callers else "none") == through["tcp"]
    assert ("open" if f"{name}.tests.example" in server.names else "none") == through["dns"]
    # by the report
    assert told_of_run(node, one.run, "HERMETIC_LEVEL")["level"] == level
    assert enforced(node, one.run) == {"step/look": without}


@pytest.mark.parametrize("name", CASES)
def test_the_kernel_shows_the_network_that_the_report_tells_of(
    node: Node, tried: dict[str, Tried], name: str
) -> None:
    networks = dict(tried[name].networks)
    # Tekton's own program waits in the pod's network
    assert "eth0" in networks.pop("entrypoint")
    assert "push" in networks
    own = [set(found) - {"lo"} for found in networks.values()]
    assert all(not found for found in own) == (CASES[name][2] == "true"), networks
    facts = told(node, tried[name].run, "HERMETIC_EXECUTION")["step/look"]
    assert facts["observed"]["value"] == "true", facts
