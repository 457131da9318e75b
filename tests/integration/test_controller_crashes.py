"""Work that kills the process that does it is found, tried alone, and put aside; nobody else's is."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.integration.test_controller import Running, controller, finished
from tests.integration.test_controller_runs import outcome
from tests.testbed.images import Registry
from tests.testbed.registry_proxy import RegistryProxy, registry_proxy

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any
SIGNED = "chains.tekton.dev/signed"
IN_REGISTRY = {
    "artifacts_taskrun_storage": "oci",
    "artifacts_oci_storage": "oci",
    "storage_oci_encoding__format": "sigstore-bundle",
    "execution_report": "false",
}


@contextmanager
def between(registry: Registry, fault: Callable[[web.Request], Any]) -> Iterator[RegistryProxy]:
    """Run a registry proxy in a thread of its own for the length of the block."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), list[RegistryProxy]()
    stop = asyncio.Event()

    async def work() -> None:
        async with registry_proxy(registry.url) as proxy:
            proxy.fault = fault
            found.append(proxy)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(work(),))
    thread.start()
    assert ready.wait(30)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


def owner_of_port(port: int, pids: list[int]) -> int:
    """Return which process has the local end of a connection on a loopback port."""
    table = Path("/proc/net/tcp").read_text()
    inodes = {line.split()[9] for line in table.splitlines()[1:] if line.split()[1].endswith(f":{port:04X}")}
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:") and re.sub(r"\D", "", target) in inodes:
                return pid
    raise AssertionError(f"nobody has port {port}")


def family(pid: int) -> list[int]:
    """Return a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


class Killer:
    """Kills the controller's process, or whichever of its processes asks, when the image ``poison`` is asked for."""

    def __init__(self, running: Running, *, whoever_asks: bool) -> None:
        self.running, self.whoever_asks = running, whoever_asks
        self.killed: list[int] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if "/poison/" not in request.path:
            return None
        assert self.running.process is not None
        assert request.transport is not None
        pid = self.running.process.pid
        victim = pid
        if self.whoever_asks:
            victim = owner_of_port(request.transport.get_extra_info("peername")[1], family(pid))
        self.killed.append(victim)
        os.kill(victim, signal.SIGKILL)
        request.transport.abort()
        return web.Response(status=500)


class Nurse(threading.Thread):
    """Starts the controller again when it has died, as a kubelet does."""

    def __init__(self, running: Running) -> None:
        super().__init__(daemon=True)
        self.running, self.deaths, self.over = running, list[int](), threading.Event()

    def run(self) -> None:
        for _ in range(20):
            assert self.running.process is not None
            code = self.running.process.wait()
            if self.over.is_set():
                return
            self.deaths.append(code)
            self.running.launch()

    def end(self) -> None:
        self.over.set()
        assert self.running.stop() == 0
        self.join(30)


def images(running: Running, registry: Registry, host: str, *names: str) -> None:
    """Create finished runs, each of which built an image of its own."""
    for name in names:
        repository = f"{running.namespace}/{name}"
        digest = registry.push_image(repository)
        running.server.create_run(finished(running.namespace, name, f"{host}/{repository}", digest))


GOOD = tuple(f"good-{number}" for number in range(8))


@pytest.mark.parametrize(
    ("whoever_asks", "deaths", "how"),
    [
        (True, 1, "the process was ended by SIGKILL"),
        (False, 4, "the controller ended without a word, as if it was killed"),
    ],
    ids=["alone", "the whole container"],
)
def test_a_run_that_kills_the_process_is_put_aside_and_the_others_are_signed(
    controller: Callable[..., Running],
    referrers_registry: Registry,
    *,
    whoever_asks: bool,
    deaths: int,
    how: str,
) -> None:
    running = controller(**IN_REGISTRY)
    killer = Killer(running, whoever_asks=whoever_asks)
    with between(referrers_registry, killer) as proxy:
        images(running, referrers_registry, proxy.host, "poison", *GOOD[:4])
        running.launch()  # it may be killed before it is ready
        nurse = Nurse(running)
        nurse.start()
        images(running, referrers_registry, proxy.host, *GOOD[4:])
        running.wait(lambda: running.signed("poison") != "", 120)
        for name in GOOD:
            assert running.attested(name)["metadata"]["annotations"][SIGNED] == "true"
        told = outcome(running.run("TaskRun", "poison"))
        assert told["state"] == "failed"
        assert told["reason"] == f"quarantined after 3 attempts: tried alone, {how}; please report it"
        events = running.server.request("GET", f"/api/v1/namespaces/{running.namespace}/events")["items"]
        assert [(one["reason"], one["involvedObject"]["name"]) for one in events] == [
            ("RunQuarantined", "poison")
        ]
        assert "chains_runs_quarantined_total 1.0" in running.ask("/metrics")[1]
        # what is put aside is not looked at by the next start
        images(running, referrers_registry, proxy.host, "later")
        assert running.attested("later")["metadata"]["annotations"][SIGNED] == "true"
        nurse.end()
    assert nurse.deaths == [-signal.SIGKILL] * deaths
    assert len(set(killer.killed)) == 4
    assert running.log.read_text().count("a run ended the process in which it was tried alone") == (
        3 if whoever_asks else 0
    )


class Silent:
    """Answers nothing about images until it is released; ``asked`` counts the runs' first questions."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self._released = threading.Event()

    async def __call__(self, request: web.Request) -> None:
        if (name := re.search(r"/(good-\d+)/", request.path)) is not None:
            self.asked.add(name[1])
            await asyncio.to_thread(self._released.wait)

    def release(self) -> None:
        self._released.set()


@contextmanager
def silence(registry: Registry) -> Iterator[tuple[Silent, RegistryProxy]]:
    silent = Silent()
    with between(registry, silent) as proxy:
        try:
            yield silent, proxy
        finally:
            silent.release()


def test_runs_that_were_in_work_when_the_process_was_killed_are_signed_however_often_that_is(
    controller: Callable[..., Running], referrers_registry: Registry
) -> None:
    running = controller(**IN_REGISTRY)
    names = GOOD[:4]
    with silence(referrers_registry) as (silent, proxy):
        images(running, referrers_registry, proxy.host, *names)
        running.start()
        running.wait(lambda: silent.asked == set(names))
        for _ in range(6):
            # each time while one of them is tried alone, so that it is taken to be the reason
            running.stop(signal.SIGKILL)
            silent.asked.clear()
            running.start()
            running.wait(lambda: len(silent.asked) == 1, 60)
        silent.release()
        for name in names:
            assert running.attested(name)["metadata"]["annotations"][SIGNED] == "true"
        running.wait(lambda: "chains_runs_suspected 0.0" in running.ask("/metrics")[1])
        label = f'chains_runs_total{{kind="taskrun",namespace="{running.namespace}",state="signed"}} 4.0'
        assert label in running.ask("/metrics")[1]
        assert running.stop() == 0
    assert "quarantined" not in running.log.read_text()


def test_what_is_in_work_when_the_controller_is_told_to_end_is_no_suspect(
    controller: Callable[..., Running], referrers_registry: Registry
) -> None:
    running = controller(**IN_REGISTRY)
    with silence(referrers_registry) as (silent, proxy):
        images(running, referrers_registry, proxy.host, GOOD[0])
        running.start()
        running.wait(lambda: silent.asked == {GOOD[0]})
        assert running.stop() == 0
        silent.release()
        running.start()
        assert running.attested(GOOD[0])["metadata"]["annotations"][SIGNED] == "true"
        assert running.stop() == 0
    assert "in work when the last process ended" not in running.log.read_text()


def test_a_folder_that_cannot_be_used_is_told_and_the_controller_works_without(
    controller: Callable[..., Running], referrers_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINS_STATE_FOLDER", "/proc/nothing")
    running = controller(**IN_REGISTRY)
    images(running, referrers_registry, referrers_registry.host, GOOD[0])
    running.start()
    assert running.attested(GOOD[0])["metadata"]["annotations"][SIGNED] == "true"
    assert running.stop() == 0
    (line,) = [each for each in running.log.read_text().splitlines() if "it cannot be noted" in each]
    assert "/proc/nothing" in line


def test_the_folder_is_there_while_the_controller_is_and_goes_with_it(
    controller: Callable[..., Running],
) -> None:
    running = controller(artifacts_oci_storage="tekton")
    running.start()
    (folder,) = running.folder.glob("chains-controller-*")
    assert [path.name for path in folder.iterdir()] == ["in-work"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert running.stop() == 0
    assert not folder.exists()
